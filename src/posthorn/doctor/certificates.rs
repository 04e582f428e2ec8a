//! Certificates: whether clients will take them, and for how long.

use std::collections::BTreeMap;
use std::path::PathBuf;

use posthorn_net::CertificateFacts;

use super::{Bag, Finding, listed};

const AREA: &str = "machine";
const SUBJECT: &str = "certificate";
/// Days before the end at which somebody should have renewed.
const SOON: i64 = 14;

pub(super) fn examine(bag: &Bag<'_>) -> Vec<Finding> {
    let config = bag.config;
    let pair = config.tls.pair(&config.server.data);
    if pair.may_create && !pair.certificate.exists() {
        let none = Finding::warning(AREA, SUBJECT, "none is configured: a self-signed one is made at the first start");
        return vec![none.advise("set tls.certificate and tls.key to one that clients know")];
    }
    // The same pair may stand in several places.
    let mut pairs: BTreeMap<(PathBuf, PathBuf), Vec<String>> = BTreeMap::new();
    pairs.insert((pair.certificate, pair.key), vec![config.server.hostname.clone()]);
    for one in &config.tls.certificates {
        pairs.entry((one.certificate.clone(), one.key.clone())).or_default().extend(one.names.iter().cloned());
    }
    for listener in &config.listener {
        if let (Some(certificate), Some(key)) = (&listener.certificate, &listener.key) {
            pairs.entry((certificate.clone(), key.clone())).or_default();
        }
    }
    pairs.into_iter().map(|((certificate, key), names)| look(bag, &certificate, &key, &names)).collect()
}

fn look(bag: &Bag<'_>, certificate: &std::path::Path, key: &std::path::Path, names: &[String]) -> Finding {
    let facts = match CertificateFacts::read(certificate, key) {
        Ok(facts) => facts,
        Err(fault) => return Finding::fault(AREA, SUBJECT, fault.to_string()),
    };
    let path = certificate.display();
    let left = (facts.not_after - bag.now).num_days();
    let until = facts.not_after.format("%Y-%m-%d");
    if facts.not_after < bag.now {
        let found = format!("{path} is out of date since {until}");
        return Finding::fault(AREA, SUBJECT, found).advise("renew it; changed files are read at once");
    }
    // Wildcards are names like any other to whoever verifies; one that was not asked for has nothing to be held against.
    let first = facts.names.first().cloned();
    let wanted = if names.is_empty() { first.into_iter().collect() } else { names.to_vec() };
    for name in wanted.iter().filter(|name| !name.starts_with('*')) {
        if let Err(why) = facts.verify(&bag.roots, name, bag.now) {
            let found = format!("{path} is not taken for {name} by those who verify: {why}");
            let advice = "get one for this name from an authority that clients know";
            return if facts.self_signed {
                Finding::warning(AREA, SUBJECT, format!("{path} is self-signed: mail programs will warn"))
                    .advise(advice)
            } else {
                Finding::fault(AREA, SUBJECT, found).advise(advice)
            };
        }
    }
    let found = format!("{path} is for {}, good until {until} ({left} days)", listed(&facts.names));
    if left < SOON {
        Finding::warning(AREA, SUBJECT, found).advise("see why it was not renewed; changed files are read at once")
    } else {
        Finding::fine(AREA, SUBJECT, found)
    }
}
