//! Where a domain wants its reports, and whether those who would get them agreed to that.

use posthorn_model::{Address, Domain};
use posthorn_report::tls;
use posthorn_trust::dmarc::{self, Record, ReportUri, mailbox};
use posthorn_trust::{Found, Resolver};

/// Who gets a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Destination {
    pub(super) address: Address,
    /// The most octets that it takes.
    pub(super) limit: Option<u64>,
    /// Its domain is of the same organization, or said that it wants such reports.
    pub(super) agreed: bool,
}

/// Who gets a report, and of others why they do not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Destinations {
    pub(super) some: Vec<Destination>,
    pub(super) left_out: Vec<String>,
}

/// Addresses that a report is sent to at most.
const MOST: usize = 10;

/// Names that lead to other hosts in each network, or to none.
const NOWHERE: &[&str] = &["localhost", "local", "internal", "home.arpa", "invalid", "onion"];

impl Destinations {
    fn add(&mut self, address: &str, limit: Option<u64>, agreed: bool) {
        match Address::parse(address) {
            Ok(address) if self.some.iter().any(|one| one.address == address) => {}
            Ok(address) if self.some.len() < MOST => self.some.push(Destination { address, limit, agreed }),
            Ok(address) => self.left_out.push(format!("{address}: there are {MOST} already")),
            Err(_) => self.left_out.push("what is no address".to_owned()),
        }
    }
}

/// Of DMARC reports (RFC 9990 §4: others than the domain itself must agree).
///
/// # Errors
/// Why it cannot be told now.
pub(super) async fn of_dmarc(domain: &str, resolver: &dyn Resolver) -> Result<Destinations, String> {
    let record = match dmarc::published(domain, resolver).await {
        Found::Some(record) => record,
        Found::Nothing | Found::NoSuchName => return Ok(Destinations::default()),
        Found::Later(why) => return Err(why),
    };
    let (mut found, mut own) = (Destinations::default(), None);
    for ReportUri { uri, limit } in &record.aggregate {
        let Some((address, host)) = parted(uri) else {
            found.left_out.push(format!("{uri}: only mail is sent"));
            continue;
        };
        if own.is_none() && host != domain {
            own = Some(dmarc::organization(domain, resolver).await?);
        }
        // Whose organization it is needs no agreement.
        if host == domain || own == Some(dmarc::organization(&host, resolver).await?) {
            found.add(&address, *limit, true);
            continue;
        }
        match agreed(domain, &host, resolver).await? {
            None => {
                let name = format!("{domain}._report._dmarc.{host}");
                found.left_out.push(format!("{address}: {host} has not agreed ({name} has no record)"));
            }
            Some(others) if others.is_empty() => found.add(&address, *limit, true),
            Some(others) => {
                for ReportUri { uri, limit } in &others {
                    if let Some((address, _)) = parted(uri).filter(|(_, own)| *own == host) {
                        found.add(&address, *limit, true);
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Whether a host takes reports about a domain, and at which other addresses than that domain says.
async fn agreed(domain: &str, host: &str, resolver: &dyn Resolver) -> Result<Option<Vec<ReportUri>>, String> {
    match resolver.texts(&format!("{domain}._report._dmarc.{host}")).await {
        Found::Some(texts) => {
            let is_record = |text: &&String| {
                let rest = text.strip_prefix("v=DMARC1").map(|rest| rest.trim_start_matches([' ', '\t']));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(';'))
            };
            let record = texts.iter().find(is_record);
            Ok(record.map(|text| Record::parse(text).map(|record| record.aggregate).unwrap_or_default()))
        }
        Found::Nothing | Found::NoSuchName => Ok(None),
        Found::Later(why) => Err(why),
    }
}

/// Of TLS reports. Nobody has to agree to them (RFC 8460 has nothing like RFC 9990 §4), so any domain may name anybody's
/// address. Who said in the way of DMARC that it wants reports about others has agreed; all others get few.
///
/// # Errors
/// Why it cannot be told now.
pub(super) async fn of_tls(domain: &str, resolver: &dyn Resolver) -> Result<Destinations, String> {
    let texts = match resolver.texts(&format!("_smtp._tls.{domain}")).await {
        Found::Some(texts) => texts,
        Found::Nothing | Found::NoSuchName => return Ok(Destinations::default()),
        Found::Later(why) => return Err(why),
    };
    let mut found = Destinations::default();
    for uri in tls::destinations(&texts) {
        match parted(&uri) {
            Some((address, host)) if is_nowhere(&host) => {
                found.left_out.push(format!("{address}: {host} is no domain of the Internet"));
            }
            Some((address, host)) => {
                let agreed = host == domain || wants_tls(domain, &host, resolver).await;
                found.add(&address, None, agreed);
            }
            None => found.left_out.push(format!("{uri}: only mail is sent")),
        }
    }
    Ok(found)
}

/// Whether a host is of a domain's organization or takes reports about it. What cannot be told now does not: a report shall
/// not wait for whom its domain names.
async fn wants_tls(domain: &str, host: &str, resolver: &dyn Resolver) -> bool {
    let own = dmarc::organization(domain, resolver).await;
    if own.is_ok() && own == dmarc::organization(host, resolver).await {
        return true;
    }
    matches!(agreed(domain, host, resolver).await, Ok(Some(_)))
}

fn is_nowhere(host: &str) -> bool {
    let ends = |end: &&str| host.strip_suffix(*end).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    !host.contains('.') || NOWHERE.iter().any(ends)
}

/// The address of a URI, and its domain in A-labels.
fn parted(uri: &str) -> Option<(String, String)> {
    let address = mailbox(uri)?;
    let domain = Domain::parse(address.rsplit_once('@')?.1).ok().filter(|domain| !domain.is_literal())?;
    let host = domain.as_str().to_owned();
    Some((address, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nowhere_get_nothing() {
        for (host, nowhere) in [
            ("localhost", true),
            ("intranet", true),
            ("mail.corp.internal", true),
            ("printer.local", true),
            ("router.home.arpa", true),
            ("example.org", false),
            ("mylocal.example", false),
            ("notlocal", true),
            ("some.notlocal", false),
        ] {
            assert_eq!(is_nowhere(host), nowhere, "{host}");
        }
    }
}
