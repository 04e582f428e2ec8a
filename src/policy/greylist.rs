//! Greylisting: a client that was never seen is told to come back.
//!
//! Memory is asked first. It knows whether it holds all that counts; where it does not, what is missing is looked up,
//! together with what others miss at the same moment. What is learned is written behind: a 451 promises nothing.

mod lookup;
mod memory;
mod settings;

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};
use posthorn_config::{PolicyGreylist, Span};
use posthorn_mail::Result;
use posthorn_model::policy::Action;
use posthorn_store::policy::correspondents::{self, Correspondent};
use posthorn_store::policy::greylist::{self, Client, Horizon, Setting, Triplet};
use posthorn_store::policy::white_domains::WhiteDomain;
use posthorn_store::{Connection, Store};
use posthorn_trust::spf::SpfResult;

use self::lookup::{LookUps, Missing, Rows};
use self::memory::{Asked, Memory, Seen, Times, Unwritten};
use self::settings::Settings;
use crate::book::Somebody;
use crate::circle;
use crate::digest::Digest;
use crate::facts::{Facts, Relation, Sender};
use crate::generations::Key;
use crate::outcome::Outcome;

/// Rows of one statement.
const BATCH: usize = 5000;
/// Rows that are read at once.
const PAGE: i64 = 10_000;
/// Changes of other engines that are taken over at once; when there are more, memory does not hold all.
const CHANGES: i64 = 50_000;
/// How long what is missing in memory is waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// The check, with what it remembers.
pub(crate) struct Greylist {
    section: PolicyGreylist,
    settings: RwLock<Settings>,
    memory: Mutex<Memory>,
    lookups: LookUps,
}

/// One attempt to write.
struct Attempt {
    client: String,
    sender: String,
    recipient: String,
    key: Key,
    client_key: Key,
    /// For whom and whom to be a correspondent matters.
    pairs: Vec<(String, String)>,
}

impl Greylist {
    pub(crate) fn new(section: PolicyGreylist) -> Self {
        let most = usize::try_from(section.remembered).unwrap_or(usize::MAX);
        let times = Times {
            delay: seconds(section.delay),
            forget: seconds(section.forget),
            keep: seconds(section.keep),
            correspondence: seconds(section.correspondents_for),
        };
        Self {
            settings: RwLock::new(Settings::new(&section, &[], &[])),
            memory: Mutex::new(Memory::new(most, times)),
            lookups: LookUps::default(),
            section,
        }
    }

    /// Takes what the database says of for whom it holds.
    pub(crate) fn set(&self, rows: &[Setting], domains: &[WhiteDomain]) {
        let settings = Settings::new(&self.section, rows, domains);
        *self.settings.write() = settings;
    }

    /// Judges an attempt.
    pub(crate) async fn judge(&self, facts: &Facts<'_>, digest: &Digest) -> Result<Outcome> {
        let Some(client) = facts.client().filter(|_| facts.relation == Relation::Outside) else {
            return Ok(Outcome::Silent);
        };
        if self.settings.read().is_idle() {
            return Ok(Outcome::Silent);
        }
        let Some(recipient) = &facts.recipient else { return Ok(Outcome::Silent) };
        let sender = match &facts.sender {
            Sender::Unsaid => return Ok(Outcome::Silent),
            Sender::Null => String::new(),
            Sender::Address(address) => facts.plain(address).await?,
            Sender::Unreadable => bounded(facts.inquiry.sender.as_deref().unwrap_or_default()),
        };
        let recipient = facts.plain(recipient).await?;
        let names_hosts = self.settings.read().names_hosts();
        let host = if names_hosts { facts.client_names().await.confirmed.as_deref() } else { None };
        let who = Somebody { address: Some(&sender), client: Some(client), host };
        if let Some(why) = self.settings.read().exempts(&recipient, who) {
            return Ok(why.map_or(Outcome::Silent, Outcome::Pass));
        }
        let attempt = self.attempt(client, sender, recipient, digest);
        let Some(seen) = self.known(facts, &attempt, digest).await? else {
            return Ok(Outcome::Pass("the database does not say in time whether it was here before".to_owned()));
        };
        Ok(match seen {
            Seen::Trusted => Outcome::Pass(format!("{} came back before", attempt.client)),
            Seen::Passed => Outcome::Pass("it came back before".to_owned()),
            Seen::Correspondent => Outcome::Pass("the recipient wrote to the sender".to_owned()),
            Seen::InTime(after) => {
                if !facts.dry {
                    self.pass(facts, &attempt);
                }
                Outcome::Pass(format!("it came back after {after} s"))
            }
            Seen::TooEarly(left) => {
                if !facts.dry {
                    self.again(facts, &attempt);
                }
                self.refused(left, format!("it came back too early: {left} s are left"))
            }
            Seen::Never => self.first(facts, &attempt).await,
        })
    }

    fn attempt(&self, client: IpAddr, sender: String, recipient: String, digest: &Digest) -> Attempt {
        let client = self.network(client);
        let pairs = circle::pairs(&self.section, &recipient, &sender);
        let key = digest.of(&[&client, &sender, &recipient]);
        Attempt { client_key: digest.of(&[&client]), key, client, sender, recipient, pairs }
    }

    /// What is known of an attempt: in memory, or else in the database. `None` when that does not answer in time.
    async fn known(&self, facts: &Facts<'_>, attempt: &Attempt, digest: &Digest) -> Result<Option<Seen>> {
        let now = clock(facts.now);
        let pairs: Vec<Key> = attempt.pairs.iter().map(|pair| circle::key(digest, pair)).collect();
        let trust_client = self.section.trust_client;
        let asked = Asked { key: attempt.key, client: attempt.client_key, pairs: &pairs, trust_client };
        let (mut seen, whole) = {
            let memory = self.memory.lock();
            (memory.known(&asked, now), memory.is_whole())
        };
        if !whole && matches!(seen, Seen::Never | Seen::TooEarly(_)) {
            let client = trust_client.then(|| attempt.client.clone());
            let missing = Missing { key: attempt.key, client, pairs: attempt.pairs.clone() };
            let found = self.lookups.ask(missing, facts.mail.store(), |rows| self.take(rows, now, digest));
            if !tokio::time::timeout(PATIENCE, found).await.unwrap_or(Ok(false))? {
                return Ok(None);
            }
            seen = self.memory.lock().known(&asked, now);
        }
        if !facts.dry {
            let mut memory = self.memory.lock();
            if memory.refresh(&asked, &seen, now) {
                memory.note_seen(attempt_row(attempt, facts.now), &seen);
            }
        }
        Ok(Some(seen))
    }

    /// Takes what was found, or what other engines wrote.
    fn take(&self, rows: &Rows, now: u32, digest: &Digest) {
        // Row by row: nobody waits while many are taken.
        for row in &rows.triplets {
            if let Some(key) = key_of(&row.key) {
                let row = (clock(row.first_seen), clock(row.last_seen), row.passed_at.is_some());
                self.memory.lock().merge(key, row, now);
            }
        }
        for row in &rows.clients {
            let client = digest.of(&[&row.network]);
            self.memory.lock().trust(client, clock(row.last_seen), now);
        }
        for row in &rows.correspondents {
            let pair = circle::key_of(digest, &row.ours, &row.theirs);
            self.memory.lock().correspond(pair, clock(row.last_at), now);
        }
    }

    /// The first attempt of somebody. Who is named by the sender's domain need not come back.
    async fn first(&self, facts: &Facts<'_>, attempt: &Attempt) -> Outcome {
        if self.section.spf
            && let Some(verdict) = facts.spf().await
            && verdict.result == SpfResult::Pass
            && verdict.mechanism.as_deref().is_none_or(|mechanism| !names_everybody(mechanism))
        {
            let domain = &verdict.domain;
            return Outcome::Pass(format!("the SPF record of {domain} names {}", attempt.client));
        }
        let delay = seconds(self.section.delay);
        if facts.dry {
            return self.refused(delay, "it was never seen".to_owned());
        }
        let mut memory = self.memory.lock();
        memory.begin(attempt.key, clock(facts.now));
        memory.note(attempt_row(attempt, facts.now));
        drop(memory);
        self.refused(delay, "it was never seen".to_owned())
    }

    fn again(&self, facts: &Facts<'_>, attempt: &Attempt) {
        self.memory.lock().note(attempt_row(attempt, facts.now));
    }

    fn pass(&self, facts: &Facts<'_>, attempt: &Attempt) {
        let mut memory = self.memory.lock();
        memory.pass(attempt.key, clock(facts.now));
        memory.note(Triplet { passed_at: Some(facts.now), ..attempt_row(attempt, facts.now) });
        if self.section.trust_client {
            memory.trust(attempt.client_key, clock(facts.now), clock(facts.now));
            memory.note_client(Client { network: attempt.client.clone(), passed_at: facts.now, last_seen: facts.now });
        }
    }

    fn refused(&self, left: u32, why: String) -> Outcome {
        if self.section.training {
            return Outcome::Pass(format!("{why} (training)"));
        }
        // RFC 6647 §5: 4.7.1 says that it is policy, and that it passes.
        let minutes = left.div_ceil(60).max(1);
        let text = format!("4.7.1 greylisted, please come back in {minutes} min");
        Outcome::Act(Action::Code { code: 451, text }, why)
    }

    /// Remembers whom one of us wrote to.
    pub(crate) fn wrote(&self, ours: &str, theirs: &str, now: DateTime<Utc>, digest: &Digest) {
        let Some(pair) = circle::pair(&self.section, ours, theirs) else { return };
        let mut memory = self.memory.lock();
        if memory.correspond(circle::key(digest, &pair), clock(now), clock(now)) {
            let (ours, theirs) = pair;
            memory.note_correspondent(Correspondent { ours, theirs, last_at: now });
        }
    }

    /// Writes down what was learned; what cannot be written is kept, as far as there is room. Returns whether anything was.
    pub(crate) async fn flush(&self, connection: &mut Connection, now: DateTime<Utc>) -> posthorn_store::Result<bool> {
        let unwritten = self.memory.lock().take_unwritten();
        if unwritten.is_empty() {
            return Ok(false);
        }
        if unwritten.dropped() > 0 {
            let rows = unwritten.dropped();
            tracing::warn!(rows, "greylisting learns faster than it is written down: some of it is only remembered");
        }
        if let Err(error) = self.write(connection, &unwritten, now).await {
            self.memory.lock().put_back(unwritten);
            return Err(error);
        }
        Ok(true)
    }

    async fn write(
        &self,
        connection: &mut Connection,
        unwritten: &Unwritten,
        now: DateTime<Utc>,
    ) -> posthorn_store::Result<()> {
        let (triplets, clients, pairs) = unwritten.rows();
        for rows in triplets.chunks(BATCH) {
            greylist::put_triplets(connection, rows, self.horizon(now)).await?;
        }
        for rows in clients.chunks(BATCH) {
            greylist::put_clients(connection, rows, self.section.trust_client).await?;
        }
        for rows in pairs.chunks(BATCH) {
            correspondents::put(connection, rows).await?;
        }
        Ok(())
    }

    /// Reads all that counts into memory, as far as there is room.
    pub(crate) async fn load(&self, store: &Store, now: DateTime<Utc>, digest: &Digest) -> posthorn_store::Result<()> {
        let most = usize::try_from(self.section.remembered).unwrap_or(usize::MAX) / 2;
        let mut connection = store.acquire().await?;
        self.memory.lock().begin_loading();
        let (mut behind, mut sum) = (Vec::new(), 0);
        let (horizon, clock) = (self.horizon(now), clock(now));
        let is_partial = loop {
            let triplets = greylist::page(&mut connection, &behind, horizon, PAGE).await?;
            let Some(last) = triplets.last() else { break false };
            behind.clone_from(&last.key);
            sum += triplets.len();
            self.take(&Rows { triplets, ..Rows::default() }, clock, digest);
            if sum >= most {
                break true;
            }
        };
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = Rows {
            clients: greylist::latest_clients(&mut connection, limit).await?,
            correspondents: correspondents::latest(&mut connection, limit).await?,
            ..Rows::default()
        };
        self.take(&rows, clock, digest);
        let is_partial = is_partial || rows.clients.len() >= most || rows.correspondents.len() >= most;
        self.memory.lock().end_loading(is_partial);
        Ok(())
    }

    /// Takes over what other engines wrote since a floor.
    pub(crate) async fn catch_up(
        &self,
        connection: &mut Connection,
        since: i64,
        now: DateTime<Utc>,
        digest: &Digest,
    ) -> posthorn_store::Result<()> {
        let rows = Rows {
            triplets: greylist::changed_triplets(connection, since, CHANGES).await?,
            clients: greylist::changed_clients(connection, since, CHANGES).await?,
            correspondents: correspondents::changed(connection, since, CHANGES).await?,
        };
        self.take(&rows, clock(now), digest);
        let most = usize::try_from(CHANGES).unwrap_or(usize::MAX);
        if [rows.triplets.len(), rows.clients.len(), rows.correspondents.len()].contains(&most) {
            self.set_partial();
        }
        Ok(())
    }

    /// Says that memory does not hold all that counts any more.
    pub(crate) fn set_partial(&self) {
        self.memory.lock().set_partial();
    }

    /// Whether memory holds all that counts.
    pub(crate) fn is_whole(&self) -> bool {
        self.memory.lock().is_whole()
    }

    /// Forgets what is old.
    pub(crate) async fn sweep(&self, connection: &mut Connection, now: DateTime<Utc>) -> posthorn_store::Result<()> {
        self.memory.lock().sweep(clock(now));
        while greylist::sweep(connection, self.horizon(now), SWEPT).await? >= SWEPT.unsigned_abs() {}
        let before = now - span(self.section.correspondents_for);
        while correspondents::sweep(connection, before, SWEPT).await? >= SWEPT.unsigned_abs() {}
        Ok(())
    }

    fn horizon(&self, now: DateTime<Utc>) -> Horizon {
        horizon(&self.section, now)
    }

    /// The network that a client counts as.
    fn network(&self, client: IpAddr) -> String {
        network(&self.section, client)
    }
}

/// The network that a client counts as.
pub(crate) fn network(section: &PolicyGreylist, client: IpAddr) -> String {
    let prefix = if client.is_ipv4() { section.ipv4_prefix } else { section.ipv6_prefix };
    match IpNet::new(client, prefix) {
        Ok(net) if net.prefix_len() < net.max_prefix_len() => net.trunc().to_string(),
        _ => client.to_string(),
    }
}

/// Rows that are forgotten by one statement.
const SWEPT: i64 = 5000;

/// What is too old to count.
pub(crate) fn horizon(section: &PolicyGreylist, now: DateTime<Utc>) -> Horizon {
    Horizon { waiting: now - span(section.forget), passed: now - span(section.keep) }
}

fn attempt_row(attempt: &Attempt, now: DateTime<Utc>) -> Triplet {
    Triplet {
        key: attempt.key.to_be_bytes().to_vec(),
        client: attempt.client.clone(),
        sender: attempt.sender.clone(),
        recipient: attempt.recipient.clone(),
        first_seen: now,
        last_seen: now,
        passed_at: None,
        attempts: 1,
    }
}

fn key_of(octets: &[u8]) -> Option<Key> {
    octets.try_into().ok().map(Key::from_be_bytes)
}

/// Whether a mechanism would name any client, so that it says nothing of this one.
fn names_everybody(mechanism: &str) -> bool {
    let plain = mechanism.trim_start_matches('+').to_ascii_lowercase();
    plain == "all" || plain.ends_with("/0")
}

/// A text that is no address, as the table takes it.
fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    text[..end].replace('\0', "\u{fffd}").to_lowercase()
}

/// The longest address there is (RFC 5321 §4.5.3.1).
const LONGEST: usize = 320;

fn span(span: Span) -> TimeDelta {
    TimeDelta::from_std(span.duration()).unwrap_or(TimeDelta::zero())
}

fn seconds(span: Span) -> u32 {
    u32::try_from(span.duration().as_secs()).unwrap_or(u32::MAX)
}

/// Seconds since 1970, as memory keeps moments.
fn clock(moment: DateTime<Utc>) -> u32 {
    u32::try_from(moment.timestamp().max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_names_everybody_says_nothing() {
        for (mechanism, everybody) in [("+all", true), ("all", true), ("ip4:0.0.0.0/0", true), ("mx", false)] {
            assert_eq!(names_everybody(mechanism), everybody, "{mechanism}");
        }
    }

    #[test]
    fn neighbours_are_one_client_where_that_is_wanted() {
        let exact = Greylist::new(PolicyGreylist::default());
        let wide = Greylist::new(PolicyGreylist { ipv4_prefix: 24, ..PolicyGreylist::default() });
        let client = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(exact.network(client("192.0.2.9")), "192.0.2.9");
        assert_eq!(wide.network(client("192.0.2.9")), "192.0.2.0/24");
        assert_eq!(exact.network(client("2001:db8::1:2:3:4")), "2001:db8::/64");
    }

    #[test]
    fn odd_senders_are_bounded() {
        assert_eq!(bounded("A\0b"), "a\u{fffd}b");
        assert!(bounded(&"ä".repeat(1_000_000)).len() <= LONGEST);
    }
}
