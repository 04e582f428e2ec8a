-- Mail that leaves: envelopes, their recipients, and the octets of messages that no mailbox got. One NOTIFY, and only
-- when some of it is in nobody's hand.
with
    kept as (
        insert into body (message_id, part, header, text)
        select * from unnest($1::bigint[], $2::integer[], $3::bytea[], $4::bytea[])
    ),
    queued as (
        insert into outgoing
            (id, message_id, sender, top, account_id, origin, body_type, smtputf8, require_tls, envid, ret, priority,
             deliver_by, by_mode, accepted_at, expires_at, size, header_id, remaining, author)
        select *
        from unnest(
            $5::bigint[], $6::bigint[], $7::text[], $8::bytea[], $9::bigint[], $10::smallint[], $11::smallint[],
            $12::boolean[], $13::boolean[], $14::text[], $15::smallint[], $16::smallint[], $17::timestamptz[],
            $18::smallint[], $19::timestamptz[], $20::timestamptz[], $21::bigint[], $22::text[], $23::integer[],
            $35::text[]
        )
    ),
    addressed as (
        insert into delivery
            (id, outgoing_id, recipient, domain, orcpt, notify, lane, state, due_at, notice_at, claim, not_before,
             route, note)
        select
            id, outgoing_id, recipient, domain, orcpt, notify, lane, case when held is null then 1 else 2 end, due_at,
            notice_at, claim, not_before, route, held
        from unnest(
            $24::bigint[], $25::bigint[], $26::text[], $27::text[], $28::text[], $29::smallint[], $30::smallint[],
            $31::timestamptz[], $32::timestamptz[], $33::bigint[],
            $36::timestamptz[], $37::text[], $38::text[]
        ) as d (id, outgoing_id, recipient, domain, orcpt, notify, lane, due_at, notice_at, claim, not_before, route, held)
    )
select count(*) as "told!" from (select pg_notify('posthorn_queue', 'due') where $34::boolean) as told
