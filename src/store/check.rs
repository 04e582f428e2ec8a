//! The invariants of stored mail, each as one query that finds what breaks it and one statement that repairs it.

use sqlx::{Connection, PgConnection};

use crate::Result;

/// One kind of damage.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The invariant, in words.
    pub invariant: &'static str,
    /// Up to ten places where it does not hold.
    pub places: Vec<String>,
    /// In how many places it does not hold.
    pub count: i64,
    /// What a repair does about it.
    pub repair: &'static str,
}

struct Invariant {
    text: &'static str,
    /// Rows of one text column that name a place each.
    broken: &'static str,
    repair: &'static str,
    mend: &'static [&'static str],
}

const INVARIANTS: &[Invariant] = &[
    Invariant {
        text: "every account has a mail state and an INBOX",
        broken: "select 'account ' || a.id from account a
                 where not exists (select from mail_state s where s.account_id = a.id)
                    or not exists (select from mailbox b where b.account_id = a.id and b.name = 'INBOX')",
        repair: "the missing mail state is made; a missing INBOX is made by the account's next login",
        mend: &["insert into mail_state (account_id) select id from account on conflict do nothing"],
    },
    Invariant {
        text: "every membership has a mailbox",
        broken: "select 'account ' || m.account_id || ' mailbox ' || m.mailbox_id || ' uid ' || m.uid from membership m
                 where not exists (select from mailbox b where b.account_id = m.account_id and b.id = m.mailbox_id)",
        repair: "memberships without a mailbox are removed, their messages left to the reaper",
        mend: &["with gone as (
                     delete from membership m
                     where not exists (select from mailbox b where b.account_id = m.account_id and b.id = m.mailbox_id)
                     returning m.message_id)
                 insert into orphan (message_id) select message_id from gone"],
    },
    Invariant {
        text: "every membership has a message and a body",
        broken: "select 'account ' || m.account_id || ' mailbox ' || m.mailbox_id || ' uid ' || m.uid from membership m
                 where not exists (select from message g where g.id = m.message_id)
                    or not exists (select from body y where y.message_id = m.message_id and y.part = 0)",
        repair: "memberships whose message is lost are removed",
        mend: &["delete from membership m
                 where not exists (select from message g where g.id = m.message_id)
                    or not exists (select from body y where y.message_id = m.message_id and y.part = 0)"],
    },
    Invariant {
        text: "every message has a membership, leaves, or waits for the reaper",
        broken: "select 'message ' || g.id from message g
                 where not exists (select from membership m where m.message_id = g.id)
                   and not exists (select from outgoing l where l.message_id = g.id)
                   and not exists (select from orphan o where o.message_id = g.id)",
        repair: "lost messages are left to the reaper",
        mend: &["insert into orphan (message_id) select g.id from message g
                 where not exists (select from membership m where m.message_id = g.id)
                   and not exists (select from outgoing l where l.message_id = g.id)
                   and not exists (select from orphan o where o.message_id = g.id)"],
    },
    Invariant {
        text: "every body belongs to a message, leaves, is held, or waits for the reaper; its parts count up from 0",
        broken: "select 'message ' || y.message_id || ' part ' || y.part from body y
                 where not exists (select from message g where g.id = y.message_id)
                       and not exists (select from outgoing l where l.message_id = y.message_id)
                       and not exists (select from held h where h.message_id = y.message_id)
                       and not exists (select from orphan o where o.message_id = y.message_id)
                    or y.part > 0 and not exists (select from body z where z.message_id = y.message_id and z.part = y.part - 1)",
        repair: "lost bodies are left to the reaper; a missing part cannot be repaired",
        mend: &["insert into orphan (message_id) select y.message_id from body y
                 where y.part = 0
                   and not exists (select from message g where g.id = y.message_id)
                   and not exists (select from outgoing l where l.message_id = y.message_id)
                   and not exists (select from held h where h.message_id = y.message_id)
                   and not exists (select from orphan o where o.message_id = y.message_id)",
                "delete from body y
                 where y.part > 0 and not exists (select from body z where z.message_id = y.message_id and z.part = 0)
                   and not exists (select from message g where g.id = y.message_id)"],
    },
    Invariant {
        text: "every held message has a body and recipients",
        broken: "select 'held ' || h.mail_id from held h
                 where not exists (select from body y where y.message_id = h.message_id and y.part = 0)
                    or not exists (select from held_recipient r where r.message_id = h.message_id)",
        repair: "held messages that are lost are forgotten",
        mend: &["with gone as (
                     delete from held h
                     where not exists (select from body y where y.message_id = h.message_id and y.part = 0)
                        or not exists (select from held_recipient r where r.message_id = h.message_id)
                     returning message_id)
                 insert into orphan (message_id) select message_id from gone",
                "delete from held_recipient r where not exists (select from held h where h.message_id = r.message_id)"],
    },
    Invariant {
        text: "every delivery has an outgoing",
        broken: "select 'delivery ' || to_hex(d.id) from delivery d where not exists (select from outgoing o where o.id = d.outgoing_id)",
        repair: "deliveries without their envelope cannot be sent and are removed",
        mend: &["delete from delivery d where not exists (select from outgoing o where o.id = d.outgoing_id)"],
    },
    Invariant {
        text: "every outgoing counts its deliveries and has at least one",
        broken: "select 'outgoing ' || to_hex(o.id) from outgoing o
                 where o.remaining < 1 or o.remaining <> (select count(*) from delivery d where d.outgoing_id = o.id)",
        repair: "deliveries are counted anew; outgoings without any are finished and removed, their messages left to the reaper",
        mend: &["with finished as (
                     delete from outgoing o where not exists (select from delivery d where d.outgoing_id = o.id) returning o.message_id)
                 insert into orphan (message_id) select message_id from finished",
                "update outgoing o set remaining = (select count(*) from delivery d where d.outgoing_id = o.id)
                 where o.remaining <> (select count(*) from delivery d where d.outgoing_id = o.id)"],
    },
    Invariant {
        text: "every outgoing has a body",
        broken: "select 'outgoing ' || to_hex(o.id) from outgoing o
                 where not exists (select from body y where y.message_id = o.message_id and y.part = 0)
                   and exists (select from delivery d where d.outgoing_id = o.id and d.state <> 3)",
        repair: "deliveries of a message that is lost are set aside",
        mend: &["update delivery d set state = 3, claim = null, note = 'the message is lost'
                 from outgoing o
                 where o.id = d.outgoing_id and not exists (select from body y where y.message_id = o.message_id and y.part = 0)"],
    },
    Invariant {
        text: "deliveries are in the hand of couriers that exist",
        broken: "select 'delivery ' || to_hex(d.id) from delivery d
                 where d.claim is not null and not exists (select from courier c where c.id = d.claim)",
        repair: "they are given back to the queue",
        mend: &["update delivery d set claim = null, recalled = false
                 where d.claim is not null and not exists (select from courier c where c.id = d.claim)"],
    },
    Invariant {
        text: "the queue's codes are known ones",
        broken: "select 'outgoing ' || to_hex(id) from outgoing
                 where origin not between 1 and 5 or body_type not between 1 and 3 or ret not between 1 and 2
                    or priority not between -9 and 9 or by_mode not between 1 and 2 or (deliver_by is null) <> (by_mode is null)
                 union all
                 select 'delivery ' || to_hex(id) from delivery
                 where lane not between 0 and 2 or state not between 1 and 3 or notify not between 0 and 7 or attempts < 0",
        repair: "what is unknown is replaced by what is usual; deliveries in an unknown state are set aside",
        mend: &[
            "update outgoing
             set origin = case when origin between 1 and 5 then origin else 2 end,
                 body_type = case when body_type between 1 and 3 then body_type else 2 end,
                 ret = case when ret between 1 and 2 then ret end,
                 priority = greatest(-9, least(9, priority)),
                 deliver_by = case when by_mode between 1 and 2 then deliver_by end,
                 by_mode = case when deliver_by is not null and by_mode between 1 and 2 then by_mode end
             where origin not between 1 and 5 or body_type not between 1 and 3 or ret not between 1 and 2
                or priority not between -9 and 9 or by_mode not between 1 and 2 or (deliver_by is null) <> (by_mode is null)",
            "update delivery
             set lane = case when lane between 0 and 2 then lane else 1 end,
                 state = case when state between 1 and 3 then state else 3 end,
                 notify = case when notify between 0 and 7 then notify end,
                 attempts = greatest(attempts, 0)
             where lane not between 0 and 2 or state not between 1 and 3 or notify not between 0 and 7 or attempts < 0",
        ],
    },
    Invariant {
        text: "a membership's size is its message's",
        broken: "select 'account ' || m.account_id || ' mailbox ' || m.mailbox_id || ' uid ' || m.uid
                 from membership m join message g on g.id = m.message_id where g.size <> m.size",
        repair: "the message's size is taken",
        mend: &["update membership m set size = g.size from message g where g.id = m.message_id and g.size <> m.size"],
    },
    Invariant {
        text: "UIDs are below UIDNEXT",
        broken: "select 'account ' || b.account_id || ' mailbox ' || b.name from mailbox b
                 where b.uid_next <= (select max(m.uid) from membership m where m.account_id = b.account_id and m.mailbox_id = b.id)",
        repair: "UIDNEXT is raised above the largest UID",
        mend: &["update mailbox b set uid_next = 1 + (select max(m.uid) from membership m
                     where m.account_id = b.account_id and m.mailbox_id = b.id)
                 where b.uid_next <= (select max(m.uid) from membership m where m.account_id = b.account_id and m.mailbox_id = b.id)"],
    },
    Invariant {
        text: "UIDs and UIDVALIDITY fit their 32 bits and are not zero",
        broken: "select 'account ' || account_id || ' mailbox ' || name from mailbox
                 where uid_validity not between 1 and 4294967295 or uid_next not between 1 and 4294967295
                 union all
                 select 'account ' || account_id || ' uid ' || uid from membership where uid < 1",
        repair: "a mailbox that ran out of UIDs must be copied to a new one by hand",
        mend: &[],
    },
    Invariant {
        text: "modseqs grow: no membership above its mailbox, no mailbox or change above its account",
        broken: "select 'account ' || b.account_id || ' mailbox ' || b.name from mailbox b
                 where b.highest_modseq < (select max(m.modseq) from membership m where m.account_id = b.account_id and m.mailbox_id = b.id)
                    or b.highest_modseq > (select s.modseq from mail_state s where s.account_id = b.account_id)
                 union all
                 select 'account ' || c.account_id || ' change ' || c.modseq from change c join mail_state s on s.account_id = c.account_id
                 where c.modseq > s.modseq",
        repair: "the account's and the mailbox's modseq are raised to the largest one used",
        mend: &[
            "update mailbox b set highest_modseq = greatest(b.highest_modseq, (select max(m.modseq) from membership m
                 where m.account_id = b.account_id and m.mailbox_id = b.id))",
            "update mail_state s set modseq = greatest(s.modseq,
                 (select max(b.highest_modseq) from mailbox b where b.account_id = s.account_id),
                 (select max(c.modseq) from change c where c.account_id = s.account_id))",
        ],
    },
    Invariant {
        text: "a mailbox's counters equal counts",
        broken: "select 'account ' || b.account_id || ' mailbox ' || b.name from mailbox b
                 left join lateral (
                     select count(*) n, count(*) filter (where m.flags & 1 = 0) u, count(*) filter (where m.flags & 8 <> 0) d,
                            coalesce(sum(m.size), 0) s
                     from membership m where m.account_id = b.account_id and m.mailbox_id = b.id) c on true
                 where (b.messages, b.unseen, b.deleted, b.bytes) <> (c.n, c.u, c.d, c.s)",
        repair: "the counters are counted anew",
        mend: &["update mailbox b set messages = c.n, unseen = c.u, deleted = c.d, bytes = c.s
                 from (select x.account_id, x.id, count(m.uid) n, count(m.uid) filter (where m.flags & 1 = 0) u,
                              count(m.uid) filter (where m.flags & 8 <> 0) d, coalesce(sum(m.size), 0) s
                       from mailbox x left join membership m on m.account_id = x.account_id and m.mailbox_id = x.id
                       group by x.account_id, x.id) c
                 where c.account_id = b.account_id and c.id = b.id
                   and (b.messages, b.unseen, b.deleted, b.bytes) <> (c.n, c.u, c.d, c.s)"],
    },
    Invariant {
        text: "what an account uses equals what its mailboxes hold",
        broken: "select 'account ' || s.account_id from mail_state s
                 left join lateral (select coalesce(sum(b.messages), 0) n, coalesce(sum(b.bytes), 0) z
                                    from mailbox b where b.account_id = s.account_id) c on true
                 where (s.used_messages, s.used_bytes) <> (c.n, c.z)",
        repair: "the sums are taken from the mailboxes",
        mend: &["update mail_state s set used_messages = c.n, used_bytes = c.z
                 from (select x.account_id, coalesce(sum(b.messages), 0) n, coalesce(sum(b.bytes), 0) z
                       from mail_state x left join mailbox b on b.account_id = x.account_id group by x.account_id) c
                 where c.account_id = s.account_id and (s.used_messages, s.used_bytes) <> (c.n, c.z)"],
    },
    Invariant {
        text: "the change log knows every arrival that it reaches back to",
        broken: "select 'account ' || m.account_id || ' mailbox ' || m.mailbox_id || ' uid ' || m.uid from membership m
                 where m.modseq >= (select min(c.modseq) from change c where c.account_id = m.account_id)
                   and not exists (
                     select from change c where c.account_id = m.account_id and c.modseq = m.modseq and c.mailbox_id = m.mailbox_id)",
        repair: "the account's log is cut, so that clients synchronise anew",
        mend: &["delete from change c where c.account_id in (
                     select m.account_id from membership m
                     where m.modseq >= (select min(c.modseq) from change c where c.account_id = m.account_id)
                       and not exists (select from change c where c.account_id = m.account_id and c.modseq = m.modseq
                           and c.mailbox_id = m.mailbox_id))"],
    },
];

/// Each question goes over whole tables. Without statistics, as after a crash, PostgreSQL would take them for small and
/// go over one for every row of the other.
const WHOLE_TABLES: &[&str] = &["set local enable_nestloop = off", "set local work_mem = '64MB'"];

/// The invariants' texts, in the order they are checked.
pub fn invariants() -> impl ExactSizeIterator<Item = &'static str> {
    INVARIANTS.iter().map(|invariant| invariant.text)
}

/// Checks the invariant of this place in [`invariants`]; `None` when it holds. In one statement each, so it can run
/// while mail flows.
///
/// # Errors
/// What the database said.
pub async fn check(connection: &mut PgConnection, place: usize) -> Result<Option<Finding>> {
    let Some(invariant) = INVARIANTS.get(place) else { return Ok(None) };
    let mut transaction = connection.begin().await?;
    for setting in WHOLE_TABLES {
        sqlx::query(*setting).execute(&mut *transaction).await?;
    }
    let places: Vec<String> =
        sqlx::query_scalar(invariant.broken).persistent(false).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    if places.is_empty() {
        return Ok(None);
    }
    let count = i64::try_from(places.len()).unwrap_or(i64::MAX);
    let places = places.into_iter().take(10).collect();
    Ok(Some(Finding { invariant: invariant.text, places, count, repair: invariant.repair }))
}

/// Repairs what breaks the invariant of this place, inside the caller's transaction.
///
/// # Errors
/// What the database said.
pub async fn repair(connection: &mut PgConnection, place: usize) -> Result<()> {
    for mend in INVARIANTS.get(place).into_iter().flat_map(|invariant| invariant.mend) {
        sqlx::query(*mend).execute(&mut *connection).await?;
    }
    Ok(())
}
