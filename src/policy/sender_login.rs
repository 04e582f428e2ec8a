//! Who may say to be whom: a login is itself, and outsiders are none of us.

use std::time::Duration;

use posthorn_config::PolicySender;
use posthorn_mail::Result;
use posthorn_mail::authenticate::Login;
use posthorn_mail::route::Route;
use posthorn_model::{Address, EnhancedCode, Refusal};
use posthorn_trust::spf::SpfResult;

use crate::facts::{Facts, Relation, Sender};
use crate::outcome::Outcome;

/// The rules about senders.
pub(crate) struct SenderLogin {
    settings: PolicySender,
    /// Logins by their names, as the directory knows them.
    logins: moka::sync::Cache<String, Option<Login>>,
}

impl SenderLogin {
    pub(crate) fn new(settings: PolicySender) -> Self {
        let logins = moka::sync::Cache::builder().max_capacity(50_000).time_to_live(REMEMBERED).build();
        Self { settings, logins }
    }

    /// Forgets what it knows of the directory.
    pub(crate) fn forget(&self) {
        self.logins.invalidate_all();
    }

    /// A login that sends from `<>` is past every limit that counts by sender.
    pub(crate) fn null_sender(&self, facts: &Facts<'_>) -> Outcome {
        if facts.relation != Relation::Login || facts.sender != Sender::Null || !self.settings.null.is_on() {
            return Outcome::Silent;
        }
        let refusal = Refusal::new(550, EnhancedCode(5, 7, 1), "who has logged in sends from an address of theirs");
        Outcome::of(self.settings.null, refusal, "a login sends from the null sender")
    }

    /// A login sends as itself, as an alias that leads to it, or as who has delegated an address to it.
    pub(crate) async fn mismatch(&self, facts: &Facts<'_>) -> Result<Outcome> {
        if !self.settings.mismatch.is_on() {
            return Ok(Outcome::Silent);
        }
        let Some(name) = facts.login() else { return Ok(Outcome::Silent) };
        let sender = match &facts.sender {
            Sender::Unsaid | Sender::Null => return Ok(Outcome::Silent),
            Sender::Address(sender) => Some(sender),
            Sender::Unreadable => None,
        };
        if let Some(sender) = sender
            && self.may_send_as(facts, name, sender).await?
        {
            return Ok(Outcome::Pass(format!("{sender} is an address of the login {name}")));
        }
        let shown = facts.inquiry.sender.as_deref().unwrap_or_default();
        let text = format!("{shown} is not an address of the account that logged in");
        let refusal = Refusal::new(553, EnhancedCode(5, 7, 1), text);
        Ok(Outcome::of(self.settings.mismatch, refusal, format!("{shown} is not an address of the login {name}")))
    }

    /// Mail from outside that claims a domain of ours comes from a client that the domain's SPF record names, or its
    /// sender is on the list of those that others may use.
    pub(crate) async fn forged(&self, facts: &Facts<'_>) -> Result<Outcome> {
        let Sender::Address(sender) = &facts.sender else { return Ok(Outcome::Silent) };
        if facts.relation != Relation::Outside || !self.settings.forged.is_on() {
            return Ok(Outcome::Silent);
        }
        if facts.our_domain(sender.domain()).await?.is_none() {
            return Ok(Outcome::Pass(format!("{} is no domain of ours", sender.domain())));
        }
        if let Some(range) = self.settings.forged_allowed.iter().find(|range| range.contains(sender)) {
            return Ok(Outcome::Pass(format!("{sender} may be used by others: {range}")));
        }
        let mut why = format!("{sender} is ours, and the client has not logged in");
        if self.settings.forged_spf {
            match facts.spf().await {
                Some(verdict) if verdict.result == SpfResult::Pass => {
                    return Ok(Outcome::Pass(format!("SPF of {}: {}", sender.domain(), verdict.why)));
                }
                Some(verdict) if verdict.result != SpfResult::TempError => {
                    why = format!("{why}; SPF: {}", verdict.why);
                }
                later => {
                    let reason = later.map_or("no answer in time", |verdict| verdict.why.as_str());
                    why = format!("{why}; SPF cannot be told now: {reason}");
                    let text = "it cannot be told now whether this client may use that sender";
                    // RFC 7372 §3.2: X.7.24 is an SPF check that failed to come to an end.
                    let refusal = Refusal::new(451, EnhancedCode(4, 7, 24), text);
                    return Ok(Outcome::of(self.settings.forged, refusal, why));
                }
            }
        }
        let refusal = Refusal::new(550, EnhancedCode(5, 7, 1), format!("log in to send as {sender}"));
        Ok(Outcome::of(self.settings.forged, refusal, why))
    }

    async fn may_send_as(&self, facts: &Facts<'_>, name: &str, sender: &Address) -> Result<bool> {
        let known = self.logins.get(name);
        let login = match known {
            Some(login) => login,
            None => {
                let login = facts.mail.trusted_login(name).await?;
                self.logins.insert(name.to_owned(), login.clone());
                login
            }
        };
        let Some(login) = login else {
            // A server that asks may have a directory of its own.
            return Ok(name.eq_ignore_ascii_case(&sender.to_string()));
        };
        if !facts.mail.may_send_as(&login, sender).await? {
            return Ok(false);
        }
        Ok(self.settings.list_members || self.is_alone(facts, &login, sender).await?)
    }

    /// Whether an address that a login owns in some way is its own, delegated, or leads to nobody else.
    async fn is_alone(&self, facts: &Facts<'_>, login: &Login, sender: &Address) -> Result<bool> {
        let plain = facts.plain(sender).await?;
        if plain == facts.plain(&login.address).await? {
            return Ok(true);
        }
        if let Route::Local { places, onward } = &*facts.mail.route(sender).await?
            && onward.is_empty()
            && places.iter().all(|place| place.account == login.account)
        {
            return Ok(true);
        }
        let delegated = facts.mail.delegated(login.account).await?;
        let written = sender.to_string();
        Ok(delegated.iter().any(|one| one.eq_ignore_ascii_case(&written) || one.eq_ignore_ascii_case(&plain)))
    }
}

/// As long as the directory's own answers.
const REMEMBERED: Duration = Duration::from_secs(60);
