-- One group commit: every message that sessions of this node deliver at the moment, in one statement and so in one
-- transaction. Accounts are locked in id order (no two writers can wait for each other), then each placement is
-- held against its account's quota, and only what fits is stored.
with
    placement as (
        select *
        from unnest(
            $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::bigint[]
        ) with ordinality as p (bond, message_id, account_id, mailbox_id, flags, internal_date, size, place)
    ),
    locked as materialized (
        select s.account_id, s.used_bytes, s.used_messages, s.quota_bytes, s.quota_messages
        from mail_state s
        where s.account_id = any ($3::bigint[])
        order by s.account_id
        for update
    ),
    judged as (
        select
            p.*,
            b.id is not null as has_mailbox,
            l.account_id is not null
                and (l.quota_bytes is null
                    or l.used_bytes + sum(p.size) over same_account <= l.quota_bytes)
                and (l.quota_messages is null
                    or l.used_messages + count(*) over same_account <= l.quota_messages) as fits
        from placement p
        left join locked l on l.account_id = p.account_id
        left join mailbox b on b.account_id = p.account_id and b.id = p.mailbox_id
        window same_account as (partition by p.account_id order by p.place rows unbounded preceding)
    ),
    decided as (
        select *, bool_and(has_mailbox and fits) over (partition by bond) as accepted
        from judged
    ),
    advanced as (
        update mail_state s
        set modseq = s.modseq + 1,
            used_bytes = s.used_bytes + g.bytes,
            used_messages = s.used_messages + g.messages
        from (
            select account_id, sum(size)::bigint as bytes, count(*) as messages
            from decided where accepted group by account_id
        ) g
        where s.account_id = g.account_id
        returning s.account_id, s.modseq
    ),
    grown as (
        update mailbox b
        set uid_next = b.uid_next + g.messages,
            highest_modseq = g.modseq,
            messages = b.messages + g.messages,
            unseen = b.unseen + g.unseen,
            deleted = b.deleted + g.deleted,
            bytes = b.bytes + g.bytes
        from (
            select
                d.account_id, d.mailbox_id, a.modseq, count(*) as messages, sum(d.size)::bigint as bytes,
                count(*) filter (where d.flags & 1 = 0) as unseen,
                count(*) filter (where d.flags & 8 <> 0) as deleted
            from decided d join advanced a on a.account_id = d.account_id
            where d.accepted
            group by d.account_id, d.mailbox_id, a.modseq
        ) g
        where b.account_id = g.account_id and b.id = g.mailbox_id
        returning b.account_id, b.id as mailbox_id, b.uid_validity, b.highest_modseq as modseq,
            b.uid_next - g.messages as first_uid, b.uid_next - 1 as last_uid
    ),
    numbered as (
        select
            d.place, d.account_id, d.mailbox_id, d.message_id, d.flags, d.internal_date, d.size, g.modseq, g.uid_validity,
            g.first_uid - 1 + row_number() over (partition by d.account_id, d.mailbox_id order by d.place) as uid
        from decided d join grown g on g.account_id = d.account_id and g.mailbox_id = d.mailbox_id
        where d.accepted
    ),
    placed as (
        insert into membership
            (account_id, mailbox_id, uid, message_id, flags, modseq, size, internal_date, saved_at)
        select account_id, mailbox_id, uid, message_id, flags, modseq, size, internal_date, now()
        from numbered
    ),
    logged as (
        insert into change (account_id, modseq, mailbox_id, kind, uids)
        select account_id, modseq, mailbox_id, 1, array[first_uid, last_uid]
        from grown
    ),
    stored as (
        insert into message
            (id, size, header_size, received_at, sent_at, message_id, envelope, bodystructure, structure, preview)
        select m.*
        from unnest(
            $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::timestamptz[], $13::text[],
            $14::bytea[], $15::bytea[], $16::bytea[], $17::text[]
        ) as m (id, size, header_size, received_at, sent_at, message_id, envelope, bodystructure, structure, preview)
        where exists (select from numbered n where n.message_id = m.id)
    ),
    kept as (
        insert into body (message_id, part, header, text)
        select b.*
        from unnest($18::bigint[], $19::integer[], $20::bytea[], $21::bytea[]) as b (message_id, part, header, text)
        where exists (select from numbered n where n.message_id = b.message_id)
    ),
    told as (
        -- A payload holds 8000 octets at most, so many accounts are told in several.
        select pg_notify('posthorn', $22::text || ':' || string_agg(account_id || '=' || modseq, ','))
        from (select account_id, modseq, (row_number() over () - 1) / 150 as chunk from advanced) a
        group by chunk
    )
select
    d.place as "place!", d.has_mailbox as "has_mailbox!", d.fits as "fits!",
    n.uid as "uid?", n.uid_validity as "uid_validity?", n.modseq as "modseq?",
    (select count(*) from told) as "told!"
from decided d
left join numbered n on n.place = d.place
order by d.place
