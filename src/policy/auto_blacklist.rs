//! Clients that never come back after greylisting, or that write to traps: refused for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};
use posthorn_config::PolicyAutoBlacklist;
use posthorn_model::policy::Stage;
use posthorn_model::{EnhancedCode, Refusal};
use posthorn_store::policy::auto_blacklist::{Banned, Gone, Review};

use crate::facts::{Facts, Relation};
use crate::outcome::Outcome;

/// More clients than this are not remembered; the latest are.
pub(crate) const MOST: usize = 100_000;

/// The clients that are refused.
pub(crate) struct AutoBlacklist {
    settings: PolicyAutoBlacklist,
    known: RwLock<Known>,
    unwritten: Mutex<Vec<Banned>>,
}

#[derive(Default)]
struct Known {
    networks: HashMap<IpNet, Banned>,
    /// The lengths of prefixes that occur: few.
    lengths: Vec<u8>,
}

impl AutoBlacklist {
    pub(crate) fn new(settings: PolicyAutoBlacklist) -> Self {
        Self { settings, known: RwLock::default(), unwritten: Mutex::default() }
    }

    /// What is asked of the greylist's memory; `None` when nobody is judged by it.
    pub(crate) fn review(&self, now: DateTime<Utc>) -> Option<Review> {
        let settings = &self.settings;
        let before = |span: Duration| now.checked_sub_signed(TimeDelta::from_std(span).ok()?);
        (settings.verdict.is_on() && settings.attempts > 0).then_some(Review {
            since: before(settings.within.duration())?,
            until: before(settings.patience.duration())?,
            attempts: settings.attempts.into(),
            share: settings.share.into(),
        })
    }

    /// Refuses those that did not come back.
    pub(crate) fn refuse(&self, gone: Vec<Gone>, now: DateTime<Utc>) {
        for Gone { network, attempts, lost } in gone {
            let address = parse(&network).map(|network| network.addr());
            if address.is_none_or(|address| self.settings.exempt.iter().any(|one| one.contains(address))) {
                continue;
            }
            let reason = format!("never came back for {lost} of {attempts} messages");
            tracing::info!(client = network, %reason, "a client is refused for a while");
            self.ban(Banned { network, reason, since: now, until: self.until(now) });
        }
    }

    /// Takes what the database says, and keeps what it does not know yet.
    pub(crate) fn set(&self, rows: Vec<Banned>) {
        let mut known = Known::default();
        for row in rows.into_iter().chain(self.unwritten.lock().iter().cloned()) {
            known.insert(row);
        }
        *self.known.write() = known;
    }

    /// Judges the client; who writes to a trap is refused from then on.
    pub(crate) fn judge(&self, facts: &Facts<'_>) -> Outcome {
        let Some(client) = facts.client().filter(|_| facts.relation == Relation::Outside) else {
            return Outcome::Silent;
        };
        if !self.settings.verdict.is_on() {
            return Outcome::Silent;
        }
        if let Some(network) = self.settings.exempt.iter().find(|network| network.contains(client)) {
            return Outcome::Pass(format!("{client} is not judged: {network}"));
        }
        if let Some((until, reason)) = self.known.read().find(client, facts.now) {
            let refusal =
                Refusal::new(550, EnhancedCode(5, 7, 1), format!("mail from {client} is refused for a while"));
            let why = format!("{client} is refused until {}: {reason}", until.format("%F %R"));
            return Outcome::of(self.settings.verdict, refusal, why);
        }
        self.trap(facts, client)
    }

    fn trap(&self, facts: &Facts<'_>, client: IpAddr) -> Outcome {
        let recipient = facts.recipient.as_ref().filter(|_| facts.inquiry.stage == Stage::Rcpt);
        let Some(recipient) = recipient.filter(|one| self.settings.traps.iter().any(|trap| trap.contains(one))) else {
            return Outcome::Pass(format!("{client} has done nothing"));
        };
        let why = format!("{client} writes to the trap {recipient}");
        if !facts.dry {
            self.ban(Banned {
                network: client.to_string(),
                reason: format!("wrote to the trap {recipient}"),
                since: facts.now,
                until: self.until(facts.now),
            });
        }
        let refusal = Refusal::new(550, EnhancedCode(5, 1, 1), format!("no such user: {recipient}"));
        Outcome::of(self.settings.verdict, refusal, why)
    }

    /// Until when somebody is refused from now on.
    fn until(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let span = TimeDelta::from_std(self.settings.lasts.duration()).unwrap_or(TimeDelta::MAX);
        now.checked_add_signed(span).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// Refuses a client from now on.
    fn ban(&self, banned: Banned) {
        let mut known = self.known.write();
        if known.networks.len() < MOST {
            known.insert(banned.clone());
        }
        drop(known);
        let mut unwritten = self.unwritten.lock();
        if unwritten.len() < MOST {
            unwritten.push(banned);
        }
    }

    /// Those to be written down; they stay until [`Self::written`] is told of them.
    pub(crate) fn unwritten(&self) -> Vec<Banned> {
        self.unwritten.lock().clone()
    }

    /// The first so many are in the database.
    pub(crate) fn written(&self, count: usize) {
        let mut unwritten = self.unwritten.lock();
        let count = count.min(unwritten.len());
        unwritten.drain(..count);
    }
}

impl Known {
    fn insert(&mut self, banned: Banned) {
        let Some(network) = parse(&banned.network) else { return };
        if !self.lengths.contains(&network.prefix_len()) {
            self.lengths.push(network.prefix_len());
        }
        let known = self.networks.entry(network).or_insert_with(|| banned.clone());
        if known.until < banned.until {
            *known = banned;
        }
    }

    fn find(&self, client: IpAddr, now: DateTime<Utc>) -> Option<(DateTime<Utc>, String)> {
        self.lengths.iter().find_map(|length| {
            let network = IpNet::new(client, *length).ok()?.trunc();
            let banned = self.networks.get(&network).filter(|banned| banned.until > now)?;
            Some((banned.until, banned.reason.clone()))
        })
    }
}

fn parse(network: &str) -> Option<IpNet> {
    network.parse().ok().or_else(|| network.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banned(network: &str, until: i64) -> Banned {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("a moment");
        Banned { network: network.to_owned(), reason: network.to_owned(), since: at(0), until: at(until) }
    }

    #[test]
    fn networks_and_addresses_are_found_until_their_time_is_over() {
        let blacklist = AutoBlacklist::new(PolicyAutoBlacklist::default());
        blacklist.set(vec![banned("192.0.2.0/24", 100), banned("2001:db8::/64", 100), banned("nonsense", 100)]);
        blacklist.ban(banned("198.51.100.7", 50));
        let find = |client: &str, now| {
            let now = DateTime::from_timestamp(now, 0).expect("a moment");
            blacklist.known.read().find(client.parse().expect("an address"), now).map(|found| found.1)
        };
        assert_eq!(find("192.0.2.9", 99).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(find("192.0.2.9", 100), None);
        assert_eq!(find("2001:db8::5", 1).as_deref(), Some("2001:db8::/64"));
        assert_eq!((find("198.51.100.7", 1).is_some(), find("198.51.100.8", 1)), (true, None));
        // What the database does not know yet outlives a reading of it.
        blacklist.set(Vec::new());
        assert!(find("198.51.100.7", 1).is_some() && find("192.0.2.9", 1).is_none());
        blacklist.written(blacklist.unwritten().len());
        blacklist.set(Vec::new());
        assert_eq!(find("198.51.100.7", 1), None, "forgiven in the database");
    }
}
