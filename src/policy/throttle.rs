//! Throttling: how much mail is too much. What is judged counts before it is let through.
//!
//! Numbers are known in memory. What comes to them is written behind, and what the database makes of it (with what other
//! engines wrote) takes their place. A counter that memory let go begins at nothing, until it is written again.

mod limits;
mod meter;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};
use posthorn_config::{LimitKind, LimitPer, LimitWindow, PolicyThrottle, PolicyVerdict};
use posthorn_mail::Result;
use posthorn_model::policy::Stage;
use posthorn_model::{Address, EnhancedCode, Refusal};
use posthorn_store::Connection;
use posthorn_store::policy::throttle::{self, Counter, Delta, LimitRow};

use self::limits::{Applied, Limits, Rule, Unit};
pub(crate) use self::limits::{limit_of, row_of, rule_name};
use self::meter::{Charge, Exceeded, Meter};
use crate::book::Somebody;
use crate::digest::Digest;
use crate::facts::{Facts, Relation, Sender};
use crate::generations::Key;
use crate::outcome::Outcome;

/// Rows of one statement.
const BATCH: usize = 5000;
/// Changes of other engines that are taken over at once.
const CHANGES: i64 = 50_000;
/// Notices that wait to be written; more are not.
const NOTICES: usize = 100;

/// The check, with what it counts.
pub(crate) struct Throttle {
    section: PolicyThrottle,
    limits: RwLock<Limits>,
    meter: Mutex<Meter>,
    notices: Mutex<Vec<Notice>>,
}

/// Somebody met a limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Notice {
    pub(crate) rule: String,
    pub(crate) subject: String,
    pub(crate) why: String,
    pub(crate) at: DateTime<Utc>,
    /// Who was told since then need not be told again.
    pub(crate) since: DateTime<Utc>,
}

/// Whose mail is judged, and how much of it there is.
struct Load<'a> {
    kind: LimitKind,
    account: &'a str,
    /// Messages: one for each recipient that counts.
    messages: u64,
    /// Octets of the message; 0 is unknown.
    size: u64,
    /// Recipients of the message.
    recipients: u64,
}

/// Who takes part, folded.
struct Parties {
    sender: String,
    login: Option<String>,
    recipients: Vec<String>,
}

impl Throttle {
    pub(crate) fn new(section: PolicyThrottle) -> Self {
        let most = usize::try_from(section.remembered).unwrap_or(usize::MAX);
        let limits = Limits::new(&section, &[]);
        Self { section, limits: RwLock::new(limits), meter: Mutex::new(Meter::new(most)), notices: Mutex::default() }
    }

    /// Takes what the database says.
    pub(crate) fn set(&self, rows: &[LimitRow]) {
        let limits = Limits::new(&self.section, rows);
        *self.limits.write() = limits;
    }

    /// Judges a message. Before its end nothing is counted, and only what is known by then is refused.
    pub(crate) async fn judge(&self, facts: &Facts<'_>, digest: &Digest) -> Result<Vec<Outcome>> {
        if !self.section.enable || self.limits.read().is_empty() {
            return Ok(Vec::new());
        }
        let parties = parties(facts).await?;
        let inquiry = facts.inquiry;
        let is_end = inquiry.stage == Stage::EndOfMessage;
        // At RCPT the one that is asked about comes to those that are there.
        let all = if inquiry.recipients.is_empty() && is_end {
            u64::from(inquiry.recipient_count).max(parties.recipients.len() as u64)
        } else {
            parties.recipients.len() as u64
        };
        let recipients = all.max(1);
        let mut loads = Vec::new();
        if facts.relation == Relation::Outside {
            let load = Load {
                kind: LimitKind::External,
                account: &parties.sender,
                messages: recipients,
                size: inquiry.size,
                recipients,
            };
            loads.push(load);
            for recipient in &parties.recipients {
                if self.is_local(facts, recipient).await? {
                    let kind = LimitKind::Inbound;
                    loads.push(Load { kind, account: recipient, messages: 1, size: inquiry.size, recipients });
                }
            }
        } else {
            let internal = if self.section.count_internal { 0 } else { self.internal(facts, &parties).await? };
            let messages = recipients.saturating_sub(internal);
            let account = parties.login.as_deref().unwrap_or(&parties.sender);
            let size = if messages == 0 { 0 } else { inquiry.size };
            let recipients = messages;
            loads.push(Load { kind: LimitKind::Outbound, account, messages, size, recipients });
        }
        Ok(self.weigh(facts, &parties, &loads, is_end, digest))
    }

    /// Holds loads against the limits, and counts them when none is met.
    fn weigh(
        &self,
        facts: &Facts<'_>,
        parties: &Parties,
        loads: &[Load<'_>],
        is_end: bool,
        digest: &Digest,
    ) -> Vec<Outcome> {
        let mut charges: Vec<Charge> = Vec::new();
        let mut outcomes = Vec::new();
        let limits = self.limits.read();
        for load in loads.iter().filter(|load| load.messages > 0) {
            let who = Somebody { address: Some(load.account), client: facts.client(), host: None };
            let applied = limits.find(load.kind, who);
            if let Some((rule, why)) = too_large(&applied, load) {
                return vec![self.refused(rule.limit.verdict, why, "the message has more than it may")];
            }
            for (rule, most_messages, most_octets) in applied.rules() {
                let Some(subject) = subject(rule, load, parties, facts) else { continue };
                let key = digest.of(&["throttle", &rule.name, &subject]);
                let charge = Charge {
                    rule: rule.clone(),
                    subject,
                    key,
                    messages: load.messages,
                    octets: load.size,
                    most_messages,
                    most_octets,
                };
                match charges.iter_mut().find(|other| other.key == key) {
                    Some(other) => {
                        other.messages += charge.messages;
                        other.octets = other.octets.max(charge.octets);
                    }
                    None => charges.push(charge),
                }
            }
        }
        drop(limits);
        let now = facts.now;
        let mut meter = self.meter.lock();
        let exceeded = charges.iter().find_map(|charge| Some((charge, meter.exceeded(charge, now)?)));
        let met = exceeded.map(|(charge, exceeded)| (charge.clone(), exceeded));
        // What goes on counts, although it is too much.
        let lets_go_on = met.as_ref().is_none_or(|(charge, _)| goes_on(charge.rule.limit.verdict));
        if is_end && !facts.dry && lets_go_on {
            for charge in &charges {
                meter.count(charge, now);
            }
        }
        drop(meter);
        match met {
            Some((charge, exceeded)) => {
                let verdict = charge.rule.limit.verdict;
                // Before the end, nothing is known to be too much that would be held or dropped then.
                if is_end || !goes_on(verdict) {
                    let why = told(&charge, &exceeded);
                    if !facts.dry {
                        self.notice(&charge, &why, now);
                    }
                    outcomes.push(self.refused(verdict, why, "too much mail in too little time"));
                }
            }
            None if charges.is_empty() => {}
            None => outcomes.push(Outcome::Pass(format!("within {} limits", charges.len()))),
        }
        outcomes
    }

    fn refused(&self, verdict: PolicyVerdict, why: String, text: &'static str) -> Outcome {
        Outcome::of(verdict, Refusal::new(552, EnhancedCode(5, 7, 1), text), why)
    }

    fn notice(&self, charge: &Charge, why: &str, now: DateTime<Utc>) {
        if self.section.notify.is_empty() {
            return;
        }
        let Some(since) = self.meter.lock().noticed(charge, now) else { return };
        let mut notices = self.notices.lock();
        if notices.len() < NOTICES {
            let (rule, subject) = (charge.rule.name.clone(), charge.subject.clone());
            notices.push(Notice { rule, subject, why: why.to_owned(), at: now, since });
        }
    }

    /// Whether an address is of ours.
    async fn is_local(&self, facts: &Facts<'_>, address: &str) -> Result<bool> {
        match Address::parse(address) {
            Ok(address) => Ok(facts.our_domain(address.domain()).await?.is_some()),
            Err(_) => Ok(false),
        }
    }

    /// How many recipients are ours, of a sender that is: mail that never leaves.
    async fn internal(&self, facts: &Facts<'_>, parties: &Parties) -> Result<u64> {
        if !self.is_local(facts, &parties.sender).await? {
            return Ok(0);
        }
        let mut sum = 0;
        for recipient in &parties.recipients {
            sum += u64::from(self.is_local(facts, recipient).await?);
        }
        Ok(sum)
    }

    /// Reads counters into memory.
    pub(crate) async fn load(
        &self,
        connection: &mut Connection,
        now: DateTime<Utc>,
        digest: &Digest,
    ) -> posthorn_store::Result<()> {
        let limit = i64::from(self.section.remembered) / 2;
        let rows = throttle::latest(connection, now, limit).await?;
        self.take(rows, now, digest);
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
        let rows = throttle::changed(connection, since, CHANGES).await?;
        self.take(rows, now, digest);
        Ok(())
    }

    fn take(&self, rows: Vec<Counter>, now: DateTime<Utc>, digest: &Digest) {
        for row in rows {
            // Of a limit that is no more, nothing has to be known.
            let Some(rule) = self.limits.read().named(&row.rule) else { continue };
            let key = digest.of(&["throttle", &row.rule, &row.subject]);
            self.meter.lock().take(key, &rule, &row, now);
        }
    }

    /// Writes down what was counted; what cannot be written is kept. Returns whether anything was.
    pub(crate) async fn flush(
        &self,
        connection: &mut Connection,
        now: DateTime<Utc>,
        digest: &Digest,
    ) -> posthorn_store::Result<bool> {
        let unwritten = self.meter.lock().take_unwritten();
        let (keys, deltas): (Vec<Key>, Vec<Delta>) = unwritten.into_iter().unzip();
        let mut written = 0;
        for rows in deltas.chunks(BATCH) {
            match throttle::add(connection, rows).await {
                Ok(counters) => self.take(counters, now, digest),
                Err(error) => {
                    let mut meter = self.meter.lock();
                    let left = keys.into_iter().zip(deltas).skip(written);
                    left.for_each(|(key, delta)| meter.put_back(key, delta, now));
                    return Err(error);
                }
            }
            written += rows.len();
        }
        Ok(written > 0)
    }

    /// Notices to be written, taken away.
    pub(crate) fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock())
    }

    /// The section.
    pub(crate) fn section(&self) -> &PolicyThrottle {
        &self.section
    }

    /// Forgets what counts no more.
    pub(crate) async fn sweep(&self, connection: &mut Connection, now: DateTime<Utc>) -> posthorn_store::Result<()> {
        self.meter.lock().sweep(now);
        while throttle::sweep(connection, now, SWEPT).await? >= SWEPT.unsigned_abs() {}
        Ok(())
    }
}

/// Rows that are forgotten by one statement.
const SWEPT: i64 = 5000;

/// Whether mail beyond a limit is not sent back.
fn goes_on(verdict: PolicyVerdict) -> bool {
    !matches!(verdict, PolicyVerdict::Reject | PolicyVerdict::Defer)
}

/// The limit on one message that it breaks.
fn too_large<'a>(applied: &'a Applied, load: &Load<'_>) -> Option<(&'a Rule, String)> {
    if let Some((rule, most)) = &applied.size
        && load.size > *most
    {
        return Some((rule, format!("{} octets are more than {most} ({})", load.size, rule.name)));
    }
    let (rule, most) = applied.recipients.as_ref()?;
    let count = load.recipients;
    (count > *most).then(|| (&**rule, format!("{count} recipients are more than {most} ({})", rule.name)))
}

/// What is counted together under a limit.
fn subject(rule: &Rule, load: &Load<'_>, parties: &Parties, facts: &Facts<'_>) -> Option<String> {
    let client = || facts.client().map(|client| client.to_string());
    let unit = match rule.limit.per {
        LimitPer::Each if rule.limit.who.is_of_clients() => LimitPer::Client,
        per => per,
    };
    match unit {
        LimitPer::Each => Some(load.account.to_owned()),
        LimitPer::Login => parties.login.clone(),
        LimitPer::Sender => Some(parties.sender.clone()),
        // Several recipients of one message are several accounts: only mail to one here is counted so.
        LimitPer::Recipient if load.kind == LimitKind::Inbound => Some(load.account.to_owned()),
        LimitPer::Recipient => parties.recipients.first().filter(|_| parties.recipients.len() == 1).cloned(),
        LimitPer::Client => client(),
        LimitPer::Network => facts.client().and_then(|client| {
            let prefix = if client.is_ipv4() { 24 } else { 64 };
            IpNet::new(client, prefix).ok().map(|net| net.trunc().to_string())
        }),
        LimitPer::Together => Some("*".to_owned()),
    }
}

fn told(charge: &Charge, exceeded: &Exceeded) -> String {
    let Exceeded { unit, used, adds, most } = *exceeded;
    let unit = match unit {
        Unit::Messages => "messages",
        Unit::Octets => "octets",
    };
    let Charge { rule, subject, .. } = charge;
    let window = match rule.limit.window {
        LimitWindow::Fixed => "",
        LimitWindow::Leaky => ", leaky",
    };
    let period = rule.limit.period;
    format!(
        "{subject} has used {used:.0} {unit}, and {adds} more are beyond {most} in {period}{window} ({})",
        rule.name
    )
}

/// Who takes part.
async fn parties(facts: &Facts<'_>) -> Result<Parties> {
    let inquiry = facts.inquiry;
    let sender = match &facts.sender {
        Sender::Address(address) => facts.plain(address).await?,
        Sender::Unreadable => inquiry.sender.as_deref().map(str::to_lowercase).unwrap_or_default(),
        Sender::Unsaid | Sender::Null => String::new(),
    };
    let mut recipients = Vec::with_capacity(inquiry.recipients.len() + 1);
    for recipient in &inquiry.recipients {
        if let Ok(recipient) = Address::parse(recipient) {
            recipients.push(facts.plain(&recipient).await?);
        }
    }
    let is_listed = inquiry.stage == Stage::EndOfMessage && !inquiry.recipients.is_empty();
    if let Some(recipient) = facts.recipient.as_ref().filter(|_| !is_listed) {
        recipients.push(facts.plain(recipient).await?);
    }
    let login = facts.login().map(|login| login.chars().take(LONGEST).collect::<String>().to_lowercase());
    Ok(Parties { sender: sender.chars().take(LONGEST).collect(), login, recipients })
}

/// The longest address there is (RFC 5321 §4.5.3.1).
const LONGEST: usize = 320;
