//! What a client calls itself, and how often it changes its name.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use posthorn_config::{PolicyHelo, PolicyVerdict};
use posthorn_mail::Result;
use posthorn_model::{Domain, EnhancedCode, Refusal};
use posthorn_store::Connection;
use posthorn_store::policy::helo_names::{self, HeloName};
use posthorn_trust::Found;

use crate::facts::{Facts, Relation};
use crate::outcome::Outcome;
use crate::reverse_dns::within;

/// The rules about HELO and EHLO.
pub(crate) struct Helo {
    settings: PolicyHelo,
    /// The names of each client lately, as far as they have been asked for.
    used: moka::sync::Cache<IpAddr, Arc<Mutex<Used>>>,
    /// Names that were used and are not written down yet.
    unwritten: Mutex<Vec<HeloName>>,
}

/// The names of one client, the latest last; at most one more than it may have.
#[derive(Debug, Default)]
struct Used {
    names: Vec<(String, DateTime<Utc>)>,
}

/// Clients whose names are remembered; the database knows the others.
const CLIENTS: u64 = 100_000;
/// No client is remembered in vain for longer.
const LONGEST_IDLE: Duration = Duration::from_hours(24 * 30);
/// Names that wait to be written; more are only remembered.
const UNWRITTEN: usize = 10_000;
/// A name is written down again only when it was used so much later.
const AGAIN: TimeDelta = TimeDelta::minutes(10);
/// No name is longer (RFC 5321 §4.5.3.1.2).
const LONGEST: usize = 255;

impl Helo {
    pub(crate) fn new(settings: PolicyHelo) -> Self {
        let idle = settings.within.duration().min(LONGEST_IDLE);
        let used = moka::sync::Cache::builder().max_capacity(CLIENTS).time_to_idle(idle).build();
        Self { settings, used, unwritten: Mutex::default() }
    }

    /// Judges the name.
    pub(crate) async fn judge(&self, facts: &Facts<'_>) -> Result<Outcome> {
        let Some((name, client)) = self.asked(facts) else { return Ok(Outcome::Silent) };
        if let Some(network) = self.settings.exempt.iter().find(|network| network.contains(client)) {
            return Ok(Outcome::Pass(format!("{client} is not asked: {network}")));
        }
        if let Some(range) = within(&self.settings.refused, &name) {
            let refusal = refused(format!("clients that call themselves {name} do not send mail here"));
            return Ok(Outcome::of(PolicyVerdict::Reject, refusal, format!("{name} is refused: {range}")));
        }
        let form = Form::of(&name);
        let settings = &self.settings;
        if form == Form::Invalid && settings.invalid.is_on() {
            let refusal = refused("HELO wants your host name, with its domain".to_owned());
            return Ok(Outcome::of(settings.invalid, refusal, format!("{name} is no host name")));
        }
        if settings.ours.is_on() && self.is_ours(facts, &name).await? {
            let refusal = refused(format!("{name} is a name of this server, and not of yours"));
            return Ok(Outcome::of(settings.ours, refusal, format!("{name} is ours")));
        }
        if form == Form::Literal && settings.literal.is_on() {
            let refusal = refused("HELO wants your host name, not your address".to_owned());
            return Ok(Outcome::of(settings.literal, refusal, format!("{name} is an address")));
        }
        if form == Form::Name && settings.unresolvable.is_on() {
            return Ok(self.resolve(facts, &name).await);
        }
        Ok(Outcome::Pass(format!("{name} is as it should be")))
    }

    /// Counts the names of the client, and judges their number.
    pub(crate) async fn names(&self, facts: &Facts<'_>) -> Result<Outcome> {
        let most = self.settings.names as usize;
        let Some((name, client)) = self.asked(facts) else { return Ok(Outcome::Silent) };
        if most == 0 || !self.settings.too_many.is_on() || self.settings.exempt.iter().any(|net| net.contains(client)) {
            return Ok(Outcome::Silent);
        }
        let span = TimeDelta::from_std(self.settings.within.duration()).unwrap_or(TimeDelta::MAX);
        let since = facts.now.checked_sub_signed(span).unwrap_or(DateTime::UNIX_EPOCH);
        let used = match self.used.get(&client) {
            Some(used) => used,
            None => {
                let read = self.read(facts, client, since).await?;
                self.used.get_with(client, || Arc::new(Mutex::new(read)))
            }
        };
        let (count, is_news) = used.lock().count(&name, facts.now, since, most + 1, facts.dry);
        if is_news && !facts.dry {
            let mut unwritten = self.unwritten.lock();
            if unwritten.len() < UNWRITTEN {
                unwritten.push(HeloName { client: client.to_string(), name, last_at: facts.now });
            }
        }
        let why = format!("{client} uses {count} names; {most} are its share");
        if count <= most {
            return Ok(Outcome::Pass(why));
        }
        let refusal = refused("you call yourself by too many names".to_owned());
        Ok(Outcome::of(self.settings.too_many, refusal, why))
    }

    /// Names to be written down, taken away.
    pub(crate) fn take_unwritten(&self) -> Vec<HeloName> {
        std::mem::take(&mut *self.unwritten.lock())
    }

    /// Names that could not be written.
    pub(crate) fn put_back(&self, mut names: Vec<HeloName>) {
        let mut unwritten = self.unwritten.lock();
        names.append(&mut unwritten);
        names.truncate(UNWRITTEN);
        *unwritten = names;
    }

    /// Forgets names that count no more.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn sweep(&self, connection: &mut Connection, now: DateTime<Utc>) -> posthorn_store::Result<()> {
        let span = TimeDelta::from_std(self.settings.within.duration()).unwrap_or(TimeDelta::MAX);
        helo_names::sweep(connection, now.checked_sub_signed(span).unwrap_or(DateTime::UNIX_EPOCH)).await
    }

    /// Whom this is about: a client from outside that has said a name, in lower case.
    fn asked(&self, facts: &Facts<'_>) -> Option<(String, IpAddr)> {
        let name = facts.inquiry.helo.as_deref().filter(|name| !name.is_empty() && name.len() <= LONGEST)?;
        let client = facts.client().filter(|_| facts.relation == Relation::Outside)?;
        Some((name.trim_end_matches('.').to_ascii_lowercase(), client))
    }

    async fn is_ours(&self, facts: &Facts<'_>, name: &str) -> Result<bool> {
        if name.eq_ignore_ascii_case(facts.hostname()) {
            return Ok(true);
        }
        let Ok(domain) = Domain::parse(name) else { return Ok(false) };
        if domain.is_literal() {
            let own = facts.inquiry.server.address;
            return Ok(own.is_some_and(|own| literal(name) == Some(own.to_canonical())));
        }
        Ok(facts.our_domain(&domain).await?.is_some())
    }

    /// A name with an address or a mail exchanger is somebody's. What cannot be told refuses nobody.
    async fn resolve(&self, facts: &Facts<'_>, name: &str) -> Outcome {
        let resolver = facts.asking.resolver();
        let found = facts.asking.in_time(async {
            match resolver.addresses(name).await {
                Found::Nothing => resolver.exchangers(name).await.map(drop),
                other => other.map(drop),
            }
        });
        match found.await.unwrap_or_else(|why| Found::Later(why.to_owned())) {
            Found::Some(()) => Outcome::Pass(format!("{name} is in the DNS")),
            Found::Later(why) => Outcome::Pass(format!("{name} cannot be looked up now: {why}")),
            Found::Nothing | Found::NoSuchName => {
                let refusal = refused(format!("there is no host {name}"));
                Outcome::of(self.settings.unresolvable, refusal, format!("{name} is not in the DNS"))
            }
        }
    }

    async fn read(&self, facts: &Facts<'_>, client: IpAddr, since: DateTime<Utc>) -> Result<Used> {
        let mut connection = facts.mail.store().acquire().await?;
        let limit = i64::from(self.settings.names) + 1;
        let rows = helo_names::of(&mut connection, &client.to_string(), since, limit).await?;
        let mut names: Vec<_> = rows.into_iter().map(|row| (row.name, row.last_at)).collect();
        names.reverse();
        Ok(Used { names })
    }
}

impl Used {
    /// How many names there are with this one, and whether it is worth writing down.
    fn count(&mut self, name: &str, now: DateTime<Utc>, since: DateTime<Utc>, most: usize, dry: bool) -> (usize, bool) {
        let mut live = self.names.iter().filter(|(_, last)| *last > since);
        let known = live.clone().any(|(one, _)| one == name);
        if dry {
            return (live.by_ref().count() + usize::from(!known), false);
        }
        self.names.retain(|(_, last)| *last > since);
        let before = self.names.iter().position(|(one, _)| one == name).map(|at| self.names.remove(at).1);
        // A name that is used all the time keeps the moment that is written down, until that is old.
        let is_news = before.is_none_or(|last| now - last > AGAIN);
        self.names.push((name.to_owned(), before.filter(|_| !is_news).unwrap_or(now)));
        if self.names.len() > most {
            self.names.remove(0);
        }
        (self.names.len(), is_news)
    }
}

/// What a name looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Name,
    Literal,
    Invalid,
}

impl Form {
    fn of(name: &str) -> Self {
        if name.parse::<IpAddr>().is_ok() {
            // An address without its brackets is neither.
            return Self::Invalid;
        }
        match Domain::parse(name) {
            Ok(domain) if domain.is_literal() => Self::Literal,
            Ok(domain) if domain.as_str().contains('.') => Self::Name,
            _ => Self::Invalid,
        }
    }
}

/// The address in a literal.
fn literal(name: &str) -> Option<IpAddr> {
    let inside = name.strip_prefix('[')?.strip_suffix(']')?;
    let bare = inside.get(..5).filter(|tag| tag.eq_ignore_ascii_case("ipv6:")).map_or(inside, |_| &inside[5..]);
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn refused(text: String) -> Refusal {
    Refusal::new(550, EnhancedCode(5, 7, 1), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::minutes(minutes)
    }

    #[test]
    fn forms_are_told_apart() {
        for (name, form) in [
            ("mail.example.org", Form::Name),
            ("[192.0.2.1]", Form::Literal),
            ("[ipv6:2001:db8::1]", Form::Literal),
            ("192.0.2.1", Form::Invalid),
            ("localhost", Form::Invalid),
            ("a..b", Form::Invalid),
            ("[example.org]", Form::Invalid),
            ("-.-", Form::Invalid),
        ] {
            assert_eq!(Form::of(name), form, "{name}");
        }
        assert_eq!(literal("[IPv6:2001:db8::1]"), "2001:db8::1".parse().ok());
    }

    #[test]
    fn names_count_until_they_are_old() {
        let mut used = Used::default();
        let since = |now: DateTime<Utc>| now - TimeDelta::minutes(60);
        for (minute, name, count) in [(0, "a", 1), (1, "b", 2), (2, "a", 2), (50, "c", 3), (61, "c", 1), (62, "d", 2)] {
            assert_eq!(used.count(name, at(minute), since(at(minute)), 9, false).0, count, "{minute} {name}");
        }
    }

    #[test]
    fn memory_is_bounded_and_a_dry_count_changes_nothing() {
        let mut used = Used::default();
        for number in 0..100 {
            used.count(&number.to_string(), at(0), at(-1), 6, false);
        }
        assert_eq!(used.names.len(), 6);
        assert_eq!(used.count("new", at(0), at(-1), 6, true), (7, false));
        assert_eq!(used.names.len(), 6);
    }

    #[test]
    fn what_is_used_all_the_time_is_written_now_and_then() {
        let mut used = Used::default();
        let written: Vec<_> = (0..60).filter(|minute| used.count("a", at(*minute), at(-1), 6, false).1).collect();
        assert_eq!(written, [0, 11, 22, 33, 44, 55]);
    }
}
