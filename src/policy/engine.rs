//! The engine: one inquiry in, the findings of all checks and one decision out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use metrics::counter;
use posthorn_config::{Config, PolicySection};
use posthorn_mail::Mail;
use posthorn_model::Address;
use posthorn_model::policy::{Action, Inquiry};
use posthorn_store::policy::news;
use posthorn_trust::Resolver;
use tokio::sync::Notify;

use crate::access::Access;
use crate::asking::Asking;
use crate::auto_blacklist::AutoBlacklist;
use crate::check::Check;
use crate::client_names::ClientNames;
use crate::decision::{Decision, Explanation, Fault, Finding, Said};
use crate::digest::Digest;
use crate::dns_list::DnsLists;
use crate::facts::{Facts, Relation, Sources};
use crate::greylist::Greylist;
use crate::helo::Helo;
use crate::instances::Instances;
use crate::list_access::Lists;
use crate::log::Log;
use crate::outcome::Outcome;
use crate::rules::Rules;
use crate::sender_login::SenderLogin;
use crate::throttle::Throttle;

/// What the engine is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `[policy]` section.
    pub policy: PolicySection,
    /// Our host name.
    pub hostname: String,
}

impl Settings {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { policy: config.policy.clone(), hostname: config.server.hostname.to_string() }
    }
}

/// The engine; cheap to clone.
#[derive(Clone)]
pub struct Policy {
    pub(crate) shared: Arc<Shared>,
}

/// What checks share.
pub(crate) struct Shared {
    pub(crate) mail: Mail,
    pub(crate) section: PolicySection,
    pub(crate) hostname: String,
    pub(crate) asking: Asking,
    pub(crate) rules: Rules,
    pub(crate) senders: SenderLogin,
    pub(crate) auto_blacklist: AutoBlacklist,
    pub(crate) helo: Helo,
    pub(crate) dns_lists: DnsLists,
    pub(crate) lists: Lists,
    pub(crate) access: Access,
    pub(crate) instances: Instances,
    pub(crate) greylist: Greylist,
    pub(crate) throttle: Throttle,
    pub(crate) digest: Digest,
    /// This engine's name among those on one database.
    pub(crate) name: String,
    /// Who writes down what was learned, or takes over what others learned: one at a time, or what is under way would be
    /// taken for what is not there.
    pub(crate) exchange: tokio::sync::Mutex<()>,
    /// From where on the changes of other engines are not known here.
    pub(crate) floor: AtomicI64,
    pub(crate) log: Log,
    /// Another engine, made of a later configuration, does what must be done once.
    pub(crate) relieved: AtomicBool,
    /// Rings when something was decided that an operator may look for at once.
    pub(crate) acted: Notify,
}

impl Policy {
    /// Reads what the database says, and begins to judge.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(mail: Mail, settings: Settings, resolver: Arc<dyn Resolver>) -> posthorn_mail::Result<Self> {
        let Settings { policy: section, hostname } = settings;
        let asking = Asking::new(resolver, section.lookup.clone());
        let mut connection = mail.store().acquire().await?;
        let secret = posthorn_store::settings::keep(&mut connection, "policy", &random::<32>()?).await?;
        let floor = AtomicI64::new(news::floor(&mut connection).await?);
        drop(connection);
        let shared = Shared {
            rules: Rules::new(&section.group, &section.rule),
            senders: SenderLogin::new(section.sender.clone()),
            auto_blacklist: AutoBlacklist::new(section.auto_blacklist.clone()),
            helo: Helo::new(section.helo.clone()),
            dns_lists: DnsLists::new(section.dns_lists.clone(), &section.dns_list, &asking),
            lists: Lists::default(),
            access: Access::new(section.access.clone()),
            instances: Instances::default(),
            greylist: Greylist::new(section.greylist.clone()),
            throttle: Throttle::new(section.throttle.clone()),
            digest: Digest::new(&secret),
            name: u64::from_be_bytes(random()?).to_string(),
            exchange: tokio::sync::Mutex::default(),
            floor,
            log: Log::new(&section.decisions),
            relieved: AtomicBool::new(false),
            acted: Notify::new(),
            asking,
            section,
            hostname,
            mail,
        };
        let this = Self { shared: Arc::new(shared) };
        this.reload().await?;
        let mut connection = this.shared.mail.store().acquire().await?;
        this.shared.throttle.load(&mut connection, this.shared.mail.now(), &this.shared.digest).await?;
        Ok(this)
    }

    /// Judges an inquiry.
    ///
    /// # Errors
    /// [`Fault`] when the database is away, unless `policy.fail_open` is set: the asking server's default action is due.
    pub async fn decide(&self, inquiry: &Inquiry) -> Result<Decision, Fault> {
        let facts = self.facts(inquiry, inquiry.trusted, false);
        Ok(in_time(self.judge(&facts)).await?.decision)
    }

    /// Judges an inquiry of another server. It does not say whom it lets relay; `policy.trusted` does.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub async fn answer(&self, inquiry: &Inquiry) -> Result<Decision, Fault> {
        let trusted = &self.shared.section.trusted;
        let trusts = inquiry.client.address.is_some_and(|client| trusted.iter().any(|net| net.contains(client)));
        let completed = self.shared.instances.complete(inquiry);
        let facts = self.facts(completed.as_ref().unwrap_or(inquiry), inquiry.trusted || trusts, false);
        let decision = in_time(self.judge(&facts)).await?.decision;
        if decision.action == Action::Dunno {
            self.shared.instances.note(inquiry);
        }
        Ok(decision)
    }

    /// What every check says of an inquiry, and what would be decided; changes nothing.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub async fn explain(&self, inquiry: &Inquiry) -> Result<Explanation, Fault> {
        let facts = self.facts(inquiry, inquiry.trusted, true);
        in_time(self.judge(&facts)).await
    }

    /// Notes that a message was taken: whom our people write to, they want to hear from.
    ///
    /// # Errors
    /// [`Fault`] when the database is away and the domains are not known.
    pub async fn wrote(&self, inquiry: &Inquiry) -> Result<(), Fault> {
        let facts = self.facts(inquiry, inquiry.trusted, false);
        let login = facts.login().and_then(|login| Address::parse(login).ok());
        let Some(author) = login.as_ref().or(facts.sender.address()) else { return Ok(()) };
        if facts.relation == Relation::Outside || facts.our_domain(author.domain()).await?.is_none() {
            return Ok(());
        }
        let ours = facts.plain(author).await?;
        for recipient in inquiry.recipients.iter().chain(&inquiry.recipient) {
            let Ok(recipient) = Address::parse(recipient) else { continue };
            if facts.our_domain(recipient.domain()).await?.is_none() {
                let theirs = facts.plain(&recipient).await?;
                self.shared.greylist.wrote(&ours, &theirs, facts.now, &self.shared.digest);
            }
        }
        Ok(())
    }

    /// What the DNS calls a client, and the same name if it leads back: what other policy servers expect to be told. Takes
    /// no longer than `policy.lookup` allows.
    pub async fn names_of(&self, client: IpAddr) -> (Option<String>, Option<String>) {
        let names = ClientNames::find(&self.shared.asking, client).await;
        let reverse = names.confirmed.clone().or_else(|| names.reverse.into_iter().next());
        (reverse, names.confirmed)
    }

    fn facts<'a>(&'a self, inquiry: &'a Inquiry, relays: bool, dry: bool) -> Facts<'a> {
        let shared = &*self.shared;
        let sources = Sources { mail: &shared.mail, asking: &shared.asking, hostname: &shared.hostname };
        Facts::new(inquiry, relays, dry, sources)
    }

    /// Runs the checks in their order. The first that acts decides; those behind it are only made to explain.
    async fn judge(&self, facts: &Facts<'_>) -> Result<Explanation, Fault> {
        let mut decision = Decision { action: Action::Dunno, additions: Vec::new(), findings: Vec::new() };
        let (mut decided_by, mut exempt) = (None, false);
        for check in Check::ORDER {
            if !check.is_at(facts.inquiry.stage) {
                continue;
            }
            if decided_by.is_some() && !facts.dry {
                break;
            }
            if exempt && check.is_of_spam() {
                continue;
            }
            let outcomes = match check.run(&self.shared, facts).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    tracing::warn!(rule = check.name(), %error, "a check of the policy cannot be made");
                    if !self.shared.section.fail_open {
                        return Err(error.into());
                    }
                    decision.findings.push(Finding { rule: check.name(), said: Said::Unknown, why: error.to_string() });
                    // Each further check would wait for the same database.
                    break;
                }
            };
            for outcome in outcomes {
                let (said, why) = match outcome {
                    Outcome::Silent => continue,
                    Outcome::Pass(why) => (Said::Nothing, why),
                    Outcome::Exempt(why) => {
                        exempt = true;
                        (Said::Exempt, why)
                    }
                    Outcome::Act(action, why) => {
                        if is_addition(&action) {
                            decision.additions.push(action.clone());
                        } else if decided_by.is_none() {
                            decision.action = action.clone();
                            decided_by = Some(check.name());
                        }
                        self.shared.log.note(facts, &action, check.name(), &why);
                        (Said::Act(action), why)
                    }
                };
                decision.findings.push(Finding { rule: check.name(), said, why });
            }
        }
        if !facts.dry {
            counter!("posthorn_policy_decisions_total", "rule" => decided_by.unwrap_or("none")).increment(1);
        }
        if decided_by.is_some() && !facts.dry {
            self.shared.acted.notify_one();
        }
        if decided_by.is_none() && decision.additions.is_empty() {
            self.shared.log.note(facts, &Action::Dunno, "", "no check has anything against it");
        }
        Ok(Explanation { decision, decided_by })
    }
}

/// However long a database or the DNS is silent, no client waits longer (`policy.lookup` bounds each question).
const PATIENCE: Duration = Duration::from_secs(20);

async fn in_time<T>(judged: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(PATIENCE, judged).await.unwrap_or(Err(Fault::Late))
}

/// Whether an action goes together with others.
fn is_addition(action: &Action) -> bool {
    matches!(action, Action::Bcc(_) | Action::Info(_) | Action::Prepend { .. } | Action::Warn(_))
}

fn random<const N: usize>() -> posthorn_mail::Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|_| posthorn_mail::Error::Randomness)?;
    Ok(octets)
}
