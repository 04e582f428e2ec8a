-- $1 courier, $2 now, $3 per domain, $4 limit, $5 after this domain, $6 domains to skip.
with recursive
    -- With few due, their times find them.
    soon as materialized (
        select domain from delivery where claim is null and state = 1 and due_at <= $2 order by due_at limit 1000
    ),
    backlog as materialized (
        select count(*) = 1000 as large from soon
    ),
    -- With many, one domain's could hide all others: from domain to domain, one index probe each.
    walk (domain, step) as (
        (select d.domain, 1
         from delivery d
         where (select large from backlog) and d.claim is null and d.state = 1 and d.domain > $5
         order by d.domain limit 1)
        union all
        select
            (select d.domain from delivery d
             where d.claim is null and d.state = 1 and d.domain > w.domain
             order by d.domain limit 1),
            w.step + 1
        from walk w
        where w.domain is not null and w.step < 250
    ),
    place as (
        select s.domain from (select distinct domain from soon) s where not (select large from backlog)
        union all
        select domain from walk where domain is not null
    ),
    lanes (lane) as (
        values (0::smallint), (1::smallint), (2::smallint)
    ),
    -- So few of each as is enough, when many domains have something due.
    ready as materialized (
        select place.domain, least($3, 1 + 4 * $4::bigint / count(*) over ()) as enough
        from place
        cross join lateral (
            select 1
            from lanes l
            cross join lateral (
                select 1
                from delivery d
                where d.claim is null and d.state = 1 and d.domain = place.domain and d.lane = l.lane and d.due_at <= $2
                limit 1
            ) first
            limit 1
        ) due
        where place.domain <> all ($6::text[])
    ),
    found as (
        select
            waiting.id, waiting.lane, waiting.due_at,
            row_number() over (partition by ready.domain order by waiting.lane, waiting.due_at) as turn
        from ready
        cross join lanes l
        cross join lateral (
            select d.id, d.lane, d.due_at
            from delivery d
            where d.claim is null and d.state = 1 and d.domain = ready.domain and d.lane = l.lane and d.due_at <= $2
            order by d.due_at
            limit ready.enough
        ) waiting
    ),
    chosen as materialized (
        select id, row_number() over (order by turn, lane, due_at) as place
        from found
        where turn <= $3
        order by turn, lane, due_at
        limit $4::bigint
    ),
    -- Only now: a lock is a write. What another courier takes at this moment is left to it.
    free as (
        select d.id from delivery d where d.id in (select id from chosen) and d.claim is null and d.state = 1
        for update skip locked
    ),
    claimed as (
        update delivery d set claim = $1, recalled = false
        from chosen c
        where d.id = c.id and d.id in (select id from free)
        returning d.id, c.place
    )
select
    array(select id from claimed order by place) as ids,
    (select count(*) from chosen) > (select count(*) from claimed) as contested,
    (select domain from walk where step = 250) as after
