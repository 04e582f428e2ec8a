//! What the DNS must say of a domain of ours, and what it says.

use std::net::IpAddr;

use posthorn_mail::dkim::KeyView;
use posthorn_model::Domain;
use posthorn_net::CertificateFacts;
use posthorn_net::dns::{Answer, Dns, Mx, MxAnswer};
use posthorn_net::sts::{KeptPolicy, StsKeeper, StsMode};
use posthorn_trust::dmarc;
use posthorn_trust::spf::{self, SpfResult};

use super::names::is_private;
use super::{Bag, Finding, Machine, addresses_of, listed};
use crate::resolver::Asking;

pub(super) async fn examine(bag: &Bag<'_>, machine: &Machine, domain: &Domain) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mx = bag.dns.mx(domain.as_str()).await;
    findings.push(mail_hosts(bag, machine, domain, &mx).await);
    findings.extend(sender_policy(bag, machine, domain).await);
    findings.extend(signatures(bag, domain).await);
    findings.push(dmarc_policy(&bag.dns, domain).await);
    findings.push(transport_security(bag, machine, domain).await);
    if let MxAnswer::Hosts(mx) = &mx {
        findings.extend(dane(bag, machine, domain, mx).await);
    }
    findings.push(transport_reports(&bag.dns, domain).await);
    findings
}

/// MX: whether mail for the domain comes here.
async fn mail_hosts(bag: &Bag<'_>, machine: &Machine, domain: &Domain, mx: &MxAnswer) -> Finding {
    const SUBJECT: &str = "MX";
    let area = domain.as_str();
    let record = format!("{domain}. 3600 IN MX 10 {}.", machine.hostname);
    let hosts = match mx {
        MxAnswer::Hosts(mx) if mx.implicit => {
            let found = "there is no MX record; mail goes to the domain's own address";
            return Finding::warning(area, SUBJECT, found).publish(record);
        }
        MxAnswer::Hosts(mx) => mx.hosts.iter().map(|host| host.host.clone()).collect::<Vec<_>>(),
        MxAnswer::Null => {
            return Finding::fault(area, SUBJECT, "the domain says that it takes no mail").publish(record);
        }
        MxAnswer::NoSuchDomain => return Finding::fault(area, SUBJECT, "the DNS has no MX for it").publish(record),
        MxAnswer::Temporary(why) => return Finding::unknown(area, SUBJECT, why),
    };
    for host in &hosts {
        let named = host.eq_ignore_ascii_case(&machine.hostname);
        let leads = named
            || addresses_of(&bag.dns, host).await.is_ok_and(|all| all.iter().any(|ip| machine.addresses.contains(ip)));
        if leads {
            return Finding::fine(area, SUBJECT, listed(&hosts));
        }
    }
    let found = format!("mail goes to {}, none of which is this machine", listed(&hosts));
    Finding::warning(area, SUBJECT, found)
        .advise("right where another host takes the mail and passes it on")
        .publish(record)
}

/// SPF: whether receivers that check our addresses against the domain let them pass.
async fn sender_policy(bag: &Bag<'_>, machine: &Machine, domain: &Domain) -> Vec<Finding> {
    const SUBJECT: &str = "SPF";
    let area = domain.as_str();
    let record = format!("{domain}. 3600 IN TXT \"v=spf1 mx ~all\"");
    let public: Vec<IpAddr> = machine.addresses.iter().copied().filter(|ip| !is_private(*ip)).collect();
    let resolver = Asking::new(bag.dns.clone());
    let sender = format!("postmaster@{domain}");
    let mut passed = Vec::new();
    for client in &public {
        let (helo, receiver) = (machine.hostname.as_str(), machine.hostname.as_str());
        let request = spf::Request { client: *client, helo, sender: &sender, receiver, at: bag.now };
        let verdict = spf::Check::new(&request).run(&resolver).await;
        let said = verdict.why;
        match verdict.result {
            SpfResult::Pass => passed.push(*client),
            SpfResult::None => {
                return vec![Finding::fault(area, SUBJECT, "there is no SPF record").publish(record)];
            }
            SpfResult::TempError => return vec![Finding::unknown(area, SUBJECT, &said)],
            SpfResult::PermError => {
                let found = format!("the record cannot be read: {said}");
                return vec![
                    Finding::fault(area, SUBJECT, found).advise("mend it; receivers take it for none, or refuse"),
                ];
            }
            result => {
                let found = format!("{client}, where our mail comes from, gets {result}: {said}");
                let advice = format!("put ip{}:{client} into the record", if client.is_ipv4() { 4 } else { 6 });
                return vec![Finding::fault(area, SUBJECT, found).advise(advice)];
            }
        }
    }
    if !passed.is_empty() {
        return vec![Finding::fine(area, SUBJECT, format!("{} pass", listed(&passed)))];
    }
    vec![match texts(&bag.dns, area).await {
        Ok(texts) if texts.iter().any(|text| text.to_ascii_lowercase().starts_with("v=spf1")) => {
            Finding::note(area, SUBJECT, "there is a record; our public address is not known, so it was not tried")
                .advise("name the addresses that mail leaves from in a [[binding]]")
        }
        Ok(_) => Finding::fault(area, SUBJECT, "there is no SPF record").publish(record),
        Err(why) => Finding::unknown(area, SUBJECT, &why),
    }]
}

/// DKIM: whether the keys that sign are published, and are the same.
async fn signatures(bag: &Bag<'_>, domain: &Domain) -> Vec<Finding> {
    const SUBJECT: &str = "DKIM";
    let area = domain.as_str();
    let Some(mail) = bag.mail else { return Vec::new() };
    if !bag.config.dkim.sign {
        return vec![Finding::note(area, SUBJECT, "signing is switched off (dkim.sign)")];
    }
    let keys = match mail.dkim_keys(Some(domain)).await {
        Ok(keys) => keys,
        Err(why) => return vec![Finding::fault(area, SUBJECT, why.to_string())],
    };
    let published: Vec<_> = keys.into_iter().filter(|key| key.state.is_published()).collect();
    if published.is_empty() {
        let none = Finding::fault(area, SUBJECT, "no key signs its mail");
        return vec![none.advise(format!("posthorn dkim create {domain}, then publish what it prints"))];
    }
    let mut findings = Vec::new();
    for key in &published {
        findings.push(published_key(&bag.dns, area, key).await);
    }
    findings
}

async fn published_key(dns: &Dns, area: &str, key: &KeyView) -> Finding {
    const SUBJECT: &str = "DKIM";
    let name = key.record_name();
    let texts = match texts(dns, &name).await {
        Ok(texts) => texts,
        Err(why) => return Finding::unknown(area, SUBJECT, &why),
    };
    let ours = public_key(&key.record);
    if texts.iter().any(|text| public_key(text) == ours) {
        let finding = Finding::fine(area, SUBJECT, format!("{} is published ({})", key.selector, key.kind.as_str()));
        return if key.overdue {
            Finding { grade: super::Grade::Note, ..finding }.advise(format!("it is old: posthorn dkim rotate {area}"))
        } else {
            finding
        };
    }
    let found = if texts.is_empty() {
        format!("{name} is not published: signatures of {} cannot be verified", key.selector)
    } else {
        format!("{name} holds another key than ours")
    };
    Finding::fault(area, SUBJECT, found).publish(key.zone_line())
}

/// The key inside a record, without the spaces that some put into it.
fn public_key(record: &str) -> Option<String> {
    let tag = record.split(';').find_map(|tag| tag.trim().strip_prefix("p="))?;
    Some(tag.chars().filter(|c| !c.is_whitespace()).collect())
}

/// DMARC: what receivers are asked to do with mail that only claims to be ours.
async fn dmarc_policy(dns: &Dns, domain: &Domain) -> Finding {
    const SUBJECT: &str = "DMARC";
    let area = domain.as_str();
    let name = format!("_dmarc.{domain}");
    let record = format!("{name}. 3600 IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@{domain}\"");
    let texts = match texts(dns, &name).await {
        Ok(texts) => texts,
        Err(why) => return Finding::unknown(area, SUBJECT, &why),
    };
    let records: Vec<_> = texts.iter().filter_map(|text| dmarc::Record::parse(text)).collect();
    match records.as_slice() {
        [] if texts.is_empty() => Finding::warning(area, SUBJECT, "there is no DMARC record").publish(record),
        [] => Finding::fault(area, SUBJECT, format!("{name} cannot be read: {}", listed(&texts))).publish(record),
        [one] if one.policy == dmarc::Policy::None => {
            Finding::note(area, SUBJECT, "the policy is none: forged mail of the domain is not stopped")
                .advise("when the reports show only mail of yours, set p=quarantine, then p=reject")
        }
        [one] => Finding::fine(area, SUBJECT, format!("the policy is {}", one.policy.as_str())),
        _ => Finding::fault(area, SUBJECT, "there are several records: receivers take that for none")
            .advise("leave one of them"),
    }
}

/// MTA-STS: whether the policy that is published lets mail come here.
async fn transport_security(bag: &Bag<'_>, machine: &Machine, domain: &Domain) -> Finding {
    const SUBJECT: &str = "MTA-STS";
    let area = domain.as_str();
    if let Err(why) = texts(&bag.dns, &format!("_mta-sts.{domain}")).await {
        return Finding::unknown(area, SUBJECT, &why);
    }
    let answer = bag.sts.policy(area, bag.now, &Forgetful).await;
    if let Some(problem) = answer.problem {
        return Finding::fault(area, SUBJECT, format!("the policy cannot be had: {problem}")).advise(format!(
            "it must be at https://mta-sts.{domain}/.well-known/mta-sts.txt, or take the record away"
        ));
    }
    match answer.policy {
        None => Finding::note(area, SUBJECT, "there is no policy: whoever sits between can undo TLS"),
        Some(policy) if !policy.allows(&machine.hostname) => {
            let found = format!("the policy ({}) does not name {}", listed(&policy.mx), machine.hostname);
            Finding::fault(area, SUBJECT, found).advise("add it as an mx line, and change the id in the TXT record")
        }
        Some(policy) if policy.mode == StsMode::Enforce => Finding::fine(area, SUBJECT, "enforced"),
        Some(_) => Finding::note(area, SUBJECT, "only tried out: the mode is not enforce"),
    }
}

/// Keeps nothing: what holds now is asked for.
struct Forgetful;

impl StsKeeper for Forgetful {
    async fn find(&self, _domain: &str) -> Option<KeptPolicy> {
        None
    }

    async fn keep(&self, _domain: &str, _policy: &KeptPolicy) {}
}

/// TLSA: whether the records of our mail host are about the certificate that it shows.
async fn dane(bag: &Bag<'_>, machine: &Machine, domain: &Domain, mx: &Mx) -> Option<Finding> {
    const SUBJECT: &str = "TLSA";
    let area = domain.as_str();
    let host = mx.hosts.iter().find(|host| host.host.eq_ignore_ascii_case(&machine.hostname))?;
    let pair = bag.config.tls.pair(&bag.config.server.data);
    let facts = CertificateFacts::read(&pair.certificate, &pair.key).ok()?;
    let record = || facts.tlsa().map(|data| format!("_25._tcp.{}. 3600 IN TLSA {data}", host.host));
    Some(match bag.dns.tlsa(&host.host, 25).await {
        Answer::Found(set) => match facts.verify_tlsa(&set.records, &host.host, bag.now) {
            Ok(()) => Finding::fine(area, SUBJECT, format!("the records of {} are about its certificate", host.host)),
            Err(why) => {
                let found = format!("the records of {} do not fit its certificate: {why}", host.host);
                let mut finding =
                    Finding::fault(area, SUBJECT, found).advise("hosts that use DANE do not deliver here");
                finding.publish.extend(record());
                finding
            }
        },
        Answer::None | Answer::NoSuchName if mx.secure => {
            let mut finding =
                Finding::note(area, SUBJECT, "the domain is signed (DNSSEC), and there is no TLSA record");
            finding.publish.extend(record());
            finding
        }
        Answer::None | Answer::NoSuchName => return None,
        Answer::Temporary(why) => Finding::unknown(area, SUBJECT, &why),
    })
}

/// TLS-RPT: whether others tell when TLS fails.
async fn transport_reports(dns: &Dns, domain: &Domain) -> Finding {
    const SUBJECT: &str = "TLS-RPT";
    let area = domain.as_str();
    let name = format!("_smtp._tls.{domain}");
    match texts(dns, &name).await {
        Ok(texts) if texts.iter().any(|text| text.starts_with("v=TLSRPTv1")) => {
            Finding::fine(area, SUBJECT, "published")
        }
        Ok(_) => Finding::note(area, SUBJECT, "nobody is asked to tell when TLS to this domain fails")
            .publish(format!("{name}. 3600 IN TXT \"v=TLSRPTv1; rua=mailto:postmaster@{domain}\"")),
        Err(why) => Finding::unknown(area, SUBJECT, &why),
    }
}

/// The TXT records of a name; none when there are none.
async fn texts(dns: &Dns, name: &str) -> Result<Vec<String>, String> {
    match dns.txt(name).await {
        Answer::Found(found) => Ok(found.texts),
        Answer::None | Answer::NoSuchName => Ok(Vec::new()),
        Answer::Temporary(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_without_spaces() {
        assert_eq!(public_key("v=DKIM1; k=rsa; p=AB CD"), public_key("v=DKIM1;p=ABCD; t=s"));
        assert_ne!(public_key("v=DKIM1; p=ABCD"), public_key("v=DKIM1; p=ABCE"));
        assert_eq!(public_key("v=DKIM1"), None);
    }
}
