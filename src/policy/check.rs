//! The checks and their order: the table of `lib.rs`, as code.

use posthorn_mail::Result;
use posthorn_model::policy::Stage;
use posthorn_model::{EnhancedCode, Refusal};

use crate::dns_list::Looked;
use crate::engine::Shared;
use crate::facts::{Facts, Relation};
use crate::outcome::Outcome;
use crate::{recipients, reverse_dns, to_hostname};

/// One check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Check {
    Rules,
    NullSender,
    OwnHostname,
    Mismatch,
    Forged,
    Access,
    AutoBlacklist,
    ReverseDns,
    Helo,
    HeloNames,
    DnsLists,
    ListAccess,
    Recipients,
    Throttle,
    Greylist,
}

impl Check {
    /// All of them, in the order in which they are made.
    pub(crate) const ORDER: [Self; 15] = [
        Self::Rules,
        Self::NullSender,
        Self::OwnHostname,
        Self::Mismatch,
        Self::Forged,
        Self::Access,
        Self::AutoBlacklist,
        Self::ReverseDns,
        Self::Helo,
        Self::HeloNames,
        Self::DnsLists,
        Self::ListAccess,
        Self::Recipients,
        Self::Throttle,
        Self::Greylist,
    ];

    /// The name in findings and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rules => "rule",
            Self::NullSender => "null sender",
            Self::OwnHostname => "own hostname",
            Self::Mismatch => "sender mismatch",
            Self::Forged => "forged sender",
            Self::Access => "access",
            Self::AutoBlacklist => "auto blacklist",
            Self::ReverseDns => "reverse dns",
            Self::Helo => "helo",
            Self::HeloNames => "helo names",
            Self::DnsLists => "dns lists",
            Self::ListAccess => "list access",
            Self::Recipients => "recipients",
            Self::Throttle => "throttle",
            Self::Greylist => "greylist",
        }
    }

    /// Whether it is made at a stage.
    pub(crate) fn is_at(self, stage: Stage) -> bool {
        match self {
            // Each says itself when.
            Self::Rules => true,
            Self::Recipients => matches!(stage, Stage::Rcpt | Stage::Data | Stage::EndOfMessage),
            Self::Throttle => matches!(stage, Stage::Rcpt | Stage::EndOfMessage),
            _ => stage == Stage::Rcpt,
        }
    }

    /// Whether it looks for spam, so that who is on a white list is exempt from it.
    pub(crate) fn is_of_spam(self) -> bool {
        matches!(
            self,
            Self::AutoBlacklist | Self::ReverseDns | Self::Helo | Self::HeloNames | Self::DnsLists | Self::Greylist
        )
    }

    /// Makes it.
    pub(crate) async fn run(self, shared: &Shared, facts: &Facts<'_>) -> Result<Outcomes> {
        let section = &shared.section;
        Ok(Outcomes::One(match self {
            Self::Rules => return Ok(Outcomes::Several(shared.rules.judge(facts).await)),
            Self::NullSender => shared.senders.null_sender(facts),
            Self::OwnHostname => to_hostname::judge(section.sender.own_hostname, facts),
            Self::Mismatch => shared.senders.mismatch(facts).await?,
            Self::Forged => shared.senders.forged(facts).await?,
            Self::Access => shared.access.judge(facts).await?,
            Self::AutoBlacklist => shared.auto_blacklist.judge(facts),
            Self::ReverseDns => reverse_dns::judge(&section.reverse_dns, facts).await,
            Self::Helo => shared.helo.judge(facts).await?,
            Self::HeloNames => shared.helo.names(facts).await?,
            Self::DnsLists => dns_lists(shared, facts).await,
            Self::ListAccess => shared.lists.judge(facts).await?,
            Self::Recipients => recipients::judge(&section.recipients, facts),
            Self::Throttle => return Ok(Outcomes::Several(shared.throttle.judge(facts, &shared.digest).await?)),
            Self::Greylist => shared.greylist.judge(facts, &shared.digest).await?,
        }))
    }
}

/// What a check says; rules of the configuration may say several things.
pub(crate) enum Outcomes {
    One(Outcome),
    Several(Vec<Outcome>),
}

impl IntoIterator for Outcomes {
    type Item = Outcome;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Outcome>, std::vec::IntoIter<Outcome>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, several) = match self {
            Self::One(one) => (Some(one), Vec::new()),
            Self::Several(several) => (None, several),
        };
        one.into_iter().chain(several)
    }
}

async fn dns_lists(shared: &Shared, facts: &Facts<'_>) -> Outcome {
    let lists = &shared.dns_lists;
    let Some(client) = facts.client().filter(|_| facts.relation == Relation::Outside && lists.is_on()) else {
        return Outcome::Silent;
    };
    if let Some(network) = lists.settings.exempt.iter().find(|network| network.contains(client)) {
        return Outcome::Pass(format!("{client} is not looked up: {network}"));
    }
    let looked = Looked {
        client,
        helo: facts.inquiry.helo.as_deref(),
        sender_domain: facts.sender.address().map(|address| address.domain().as_str()),
    };
    let score = lists.score(facts.asking, &looked).await;
    let threshold = lists.settings.threshold;
    let why = format!(
        "{client} counts {} of {threshold}{}{}",
        score.sum,
        if score.said.is_empty() { "" } else { "; " },
        score.said.join("; ")
    );
    if score.sum < threshold {
        return Outcome::Pass(why);
    }
    let zone = score.worst.map_or_else(String::new, |zone| format!(" by {zone}"));
    let refusal = Refusal::new(554, EnhancedCode(5, 7, 1), format!("{client} is listed{zone}"));
    Outcome::of(lists.settings.verdict, refusal, why)
}
