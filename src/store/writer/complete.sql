-- What couriers did with the deliveries in their hands. Rows whose claim is another's by now are left alone.
-- outcome: 1 gone, 2 deferred, 3 returned, 4 held, 5 set aside.
with
    outcome as (
        select *
        from unnest(
            $1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::smallint[],
            $8::timestamptz[], $9::timestamptz[], $10::boolean[], $11::text[]
        ) with ordinality
            as c (id, claim, at, binding, host, reply, outcome, due_at, notice_at, attempted, note, place)
    ),
    -- The envelopes of what goes are locked first, in id order: with the last delivery its envelope goes, and of two
    -- statements that finish two deliveries of one envelope at once, the second must see the first one's count.
    locked as materialized (
        select o.id, o.message_id, o.remaining
        from outgoing o
        where o.id = any (array(
            select d.outgoing_id from outcome c join delivery d on d.id = c.id and d.claim = c.claim where c.outcome = 1
        ))
        order by o.id
        for update
    ),
    gone as (
        delete from delivery d
        using outcome c
        where c.outcome = 1 and d.id = c.id and d.claim = c.claim and (select count(*) from locked) >= 0
        returning c.place, d.outgoing_id
    ),
    changed as (
        update delivery d
        set claim = null,
            recalled = false,
            state = case c.outcome when 4 then 2 when 5 then 3 else d.state end,
            due_at = case when c.outcome = 2 then c.due_at else d.due_at end,
            notice_at = case when c.outcome = 2 then c.notice_at else d.notice_at end,
            attempts = d.attempts + c.attempted::integer,
            binding = coalesce(c.binding, d.binding),
            last_at = case when c.outcome = 3 then d.last_at else c.at end,
            last_host = coalesce(c.host, d.last_host),
            last_reply = coalesce(c.reply, d.last_reply),
            note = coalesce(c.note, d.note)
        from outcome c
        where c.outcome <> 1 and d.id = c.id and d.claim = c.claim
        returning c.place
    ),
    counted as (
        select l.id, l.message_id, l.remaining - count(*) as remaining
        from gone g join locked l on l.id = g.outgoing_id
        group by l.id, l.message_id, l.remaining
    ),
    emptied as (
        delete from outgoing o using counted n where n.remaining <= 0 and o.id = n.id returning n.message_id
    ),
    lowered as (
        update outgoing o set remaining = n.remaining from counted n where n.remaining > 0 and o.id = n.id
    ),
    left_over as (
        insert into orphan (message_id) select message_id from emptied
    )
select
    c.place as "place!",
    c.place in (select place from gone) or c.place in (select place from changed) as "done!"
from outcome c
order by c.place
