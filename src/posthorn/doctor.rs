//! The doctor: looks for what would keep mail from flowing, before it does and at any time.
//!
//! Each room looks at one thing and tells [`Finding`]s: what is right, what is not, and what to do or to publish. Nothing
//! is changed, and every question to the outside has a bound.

mod certificates;
mod clients;
mod clock;
mod domains;
mod files;
mod listeners;
mod names;
mod outward;
mod postgres;

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt};
use posthorn_config::Config;
use posthorn_mail::Mail;
use posthorn_model::Domain;
use posthorn_net::dns::{Addresses, Answer, Dns};
use posthorn_net::{Roots, sts::Sts};
use serde::Serialize;

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Fine,
    /// Could be better, or could not be looked at.
    Note,
    /// Some mail will have trouble.
    Warning,
    /// Mail does not flow, or is not safe.
    Fault,
}

impl Grade {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// What was found about one thing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Whose: `machine`, `database`, or a domain.
    pub area: String,
    /// What was looked at, such as `SPF`.
    pub subject: String,
    /// How bad it is.
    pub grade: Grade,
    /// What was seen, in a sentence without a final stop.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Records to publish, as lines of a zone file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
}

impl Finding {
    fn new(area: &str, subject: &str, grade: Grade, found: impl Into<String>) -> Self {
        let (area, subject) = (area.to_owned(), subject.to_owned());
        Self { area, subject, grade, found: found.into(), advice: None, publish: Vec::new() }
    }

    fn fine(area: &str, subject: &str, found: impl Into<String>) -> Self {
        Self::new(area, subject, Grade::Fine, found)
    }

    fn note(area: &str, subject: &str, found: impl Into<String>) -> Self {
        Self::new(area, subject, Grade::Note, found)
    }

    fn warning(area: &str, subject: &str, found: impl Into<String>) -> Self {
        Self::new(area, subject, Grade::Warning, found)
    }

    fn fault(area: &str, subject: &str, found: impl Into<String>) -> Self {
        Self::new(area, subject, Grade::Fault, found)
    }

    /// The DNS did not say.
    fn unknown(area: &str, subject: &str, why: &str) -> Self {
        Self::warning(area, subject, format!("the DNS does not say now: {why}"))
            .advise("look whether the name servers in dns.servers answer, then run this again")
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    fn publish(mut self, record: impl Into<String>) -> Self {
        self.publish.push(record.into());
        self
    }
}

/// What to leave out, and whom to ask.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Only these domains; empty: all that mail is received for.
    pub domains: Vec<Domain>,
    /// Whose mail host is called, to see whether port 25 is open outward; `None` calls nobody.
    pub probe: Option<Domain>,
}

/// What the doctor looks with.
pub struct Bag<'a> {
    /// The configuration that a server would run with.
    pub config: &'a Config,
    /// The duties; none when the database cannot be opened.
    pub mail: Option<&'a Mail>,
    /// Who answers questions about names.
    pub dns: Dns,
    /// Who vouches for certificates.
    pub roots: Roots,
    /// Who finds MTA-STS policies.
    pub sts: Sts,
    /// The port of mail hosts; 25.
    pub mx_port: u16,
    /// Now.
    pub now: DateTime<Utc>,
}

/// What is known of this machine once its names were looked up.
struct Machine {
    hostname: String,
    /// Where it is reached, and where its mail comes from: its bindings' addresses, else those of its name.
    addresses: Vec<IpAddr>,
}

/// The longest that one look may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Domains that are looked at side by side.
const ABREAST: usize = 8;

/// Looks at everything, and tells each finding as soon as it is there; `tell` gets them in order.
pub async fn examine(bag: &Bag<'_>, wishes: &Wishes, mut tell: impl FnMut(Finding)) {
    files::examine(bag.config).into_iter().for_each(&mut tell);
    listeners::examine(bag.config).into_iter().for_each(&mut tell);
    certificates::examine(bag).into_iter().for_each(&mut tell);
    clock::examine().await.into_iter().for_each(&mut tell);
    let machine = Machine { hostname: bag.config.server.hostname.clone(), addresses: names::addresses(bag).await };
    in_time("machine", names::examine(bag, &machine)).await.into_iter().for_each(&mut tell);
    if let Some(probe) = &wishes.probe {
        in_time("machine", outward::examine(bag, probe)).await.into_iter().for_each(&mut tell);
    }
    if let Some(mail) = bag.mail {
        in_time("machine", clients::examine(mail, bag.now)).await.into_iter().for_each(&mut tell);
        in_time("database", postgres::examine(mail, bag.now)).await.into_iter().for_each(&mut tell);
    }
    let domains = match bag.mail {
        _ if !wishes.domains.is_empty() => wishes.domains.clone(),
        Some(mail) => match mail.domains().await {
            Ok(rows) => rows.into_iter().filter(|row| row.enabled).map(|row| row.name).collect(),
            Err(error) => {
                tell(Finding::fault("database", "domains", error.to_string()));
                Vec::new()
            }
        },
        None => Vec::new(),
    };
    if domains.is_empty() && bag.mail.is_some() {
        let none = Finding::warning("database", "domains", "there is no domain that mail is received for");
        tell(none.advise("posthorn domain add example.org, or posthorn apply FILE"));
    }
    let mut looked = stream::iter(&domains)
        .map(|domain| in_time(domain.as_str(), domains::examine(bag, &machine, domain)))
        .buffered(ABREAST);
    while let Some(findings) = looked.next().await {
        findings.into_iter().for_each(&mut tell);
    }
}

async fn in_time(area: &str, look: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    let late = || {
        let seconds = PATIENCE.as_secs();
        vec![Finding::warning(area, "time", format!("not all could be looked at within {seconds} s"))]
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| late())
}

/// All addresses of a name; why not, when that cannot be told.
async fn addresses_of(dns: &Dns, name: &str) -> Result<Vec<IpAddr>, String> {
    match dns.addresses(name).await {
        Answer::Found(Addresses { v4, v6, .. }) => {
            Ok(v4.into_iter().map(IpAddr::V4).chain(v6.into_iter().map(IpAddr::V6)).collect())
        }
        Answer::None | Answer::NoSuchName => Ok(Vec::new()),
        Answer::Temporary(why) => Err(why),
    }
}

/// Things in a row, as people say them.
fn listed<T: ToString>(things: &[T]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
