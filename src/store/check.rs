//! The invariants of stored mail, each as one query that finds what breaks it and one statement that repairs it.

use sqlx::PgConnection;

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
        text: "every message has a membership or waits for the reaper",
        broken: "select 'message ' || g.id from message g
                 where not exists (select from membership m where m.message_id = g.id)
                   and not exists (select from orphan o where o.message_id = g.id)",
        repair: "lost messages are left to the reaper",
        mend: &["insert into orphan (message_id) select g.id from message g
                 where not exists (select from membership m where m.message_id = g.id)
                   and not exists (select from orphan o where o.message_id = g.id)"],
    },
    Invariant {
        text: "every body belongs to a message and its parts count up from 0",
        broken: "select 'message ' || y.message_id || ' part ' || y.part from body y
                 where not exists (select from message g where g.id = y.message_id)
                    or y.part > 0 and not exists (select from body z where z.message_id = y.message_id and z.part = y.part - 1)",
        repair: "bodies without a message are removed; a missing part cannot be repaired",
        mend: &["delete from body y where not exists (select from message g where g.id = y.message_id)"],
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
    let places: Vec<String> = sqlx::query_scalar(invariant.broken).fetch_all(connection).await?;
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
