//! What is done about mail that its author's domain disowns (RFC 9989 §5.4), with the word of forwarders that we trust.
//!
//! Where that cannot be told now, a rule counts a little. Where the domain is known to want such mail refused, and what
//! might still show that this is its own cannot be checked now, the sender is asked to come again: to refuse it could be
//! wrong for good, and to take it would let in whoever knows how to disturb a look-up.

use posthorn_config::{Destiny, DomainRange, FilterDmarc};
use posthorn_mail::checks::Checked;
use posthorn_mail::copies::Fate;
use posthorn_mail::feedback::{Applied, Disposition, Override};
use posthorn_trust::Chain;
use posthorn_trust::dmarc::{DmarcResult, Policy};

use crate::{Point, Ruling};

/// What follows from DMARC.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Disowned {
    /// What becomes of the message for everybody, and why; nothing where the domain does not say.
    pub(crate) destiny: Option<(Destiny, String)>,
    /// What it scores. Where the domain wants it refused or suspected, rules say what that scores besides.
    pub(crate) point: Option<Point>,
    /// Who vouches for it: the chain of forwarders that we trust, the last one first, and what the first of them found.
    pub(crate) vouched: Option<String>,
}

/// The rules whose points fall away where somebody vouches for the message.
const OUTWEIGHED: &[&str] = &["DMARC_REJECT", "DMARC_QUARANTINE"];

impl Disowned {
    /// Whether points of this name do not count.
    pub(crate) fn outweighs(&self, name: &str) -> bool {
        self.vouched.is_some() && OUTWEIGHED.contains(&name)
    }

    /// What the domain is told that was done.
    pub(crate) fn applied(&self, checked: &Checked, rulings: &[Ruling]) -> Applied {
        let verdict = &checked.dmarc;
        let any = |wanted: fn(&Fate) -> bool| rulings.iter().any(|ruling| wanted(&ruling.fate));
        let disposition = match &self.destiny {
            Some((Destiny::Refuse, _))
                if any(|fate| matches!(fate, Fate::Refuse(refusal) if !refusal.is_temporary())) =>
            {
                Disposition::Reject
            }
            Some((Destiny::Refuse | Destiny::Junk | Destiny::Hold, _)) if any(|fate| *fate != Fate::Deliver) => {
                Disposition::Quarantine
            }
            _ => Disposition::None,
        };
        let asked = match verdict.published {
            Policy::None => Disposition::None,
            Policy::Quarantine => Disposition::Quarantine,
            Policy::Reject => Disposition::Reject,
        };
        let told = |kind: &str, comment: String| Override { kind: kind.to_owned(), comment };
        let reason = match (&self.vouched, &verdict.record) {
            _ if disposition == asked || verdict.result != DmarcResult::Fail => None,
            (Some(vouched), _) => Some(told("trusted_forwarder", vouched.clone())),
            (None, Some((_, record))) if record.testing && verdict.policy != verdict.published => {
                Some(told("policy_test_mode", String::new()))
            }
            (None, _) if verdict.policy != verdict.published => Some(told("other", "sampled out by pct".to_owned())),
            (None, _) => Some(told("local_policy", String::new())),
        };
        Applied { disposition, reason }
    }
}

pub(crate) fn disowned(checked: &Checked, section: &FilterDmarc) -> Disowned {
    let verdict = &checked.dmarc;
    match verdict.result {
        DmarcResult::Fail => {}
        DmarcResult::TempError => return undecided(checked, section),
        DmarcResult::None | DmarcResult::Pass | DmarcResult::PermError => return Disowned::default(),
    }
    if let Some(vouched) = vouched(checked, &section.trusted_sealers) {
        let why = format!("{} disowns it, but forwarders that are trusted vouch for it: {vouched}", verdict.domain);
        let point = Some(Point::new("DMARC_ARC_TRUSTED", 0.0, why));
        return Disowned { destiny: None, point, vouched: Some(vouched) };
    }
    let why = format!("{} disowns it and asks for {}: {}", verdict.domain, verdict.policy, verdict.why);
    let destiny = match verdict.policy {
        Policy::None => {
            let point = Some(Point::new("DMARC_NONE_FAIL", section.none.as_f64(), why));
            return Disowned { point, ..Disowned::default() };
        }
        Policy::Quarantine => section.quarantine,
        Policy::Reject => section.reject,
    };
    Disowned { destiny: (destiny != Destiny::Deliver).then_some((destiny, why)), ..Disowned::default() }
}

/// What follows while it cannot be told whether the domain disowns it.
fn undecided(checked: &Checked, section: &FilterDmarc) -> Disowned {
    let verdict = &checked.dmarc;
    let refuses = verdict.published == Policy::Reject && matches!(section.reject, Destiny::Refuse | Destiny::Defer);
    let wants_all = verdict.record.as_ref().is_some_and(|(_, record)| !record.testing && record.percent >= 100);
    if !refuses || !wants_all || vouched(checked, &section.trusted_sealers).is_some() {
        return Disowned::default();
    }
    Disowned { destiny: Some((Destiny::Defer, verdict.why.clone())), ..Disowned::default() }
}

/// Who vouches for a message: the last sealers of an intact chain, as far back as they are all trusted, if one of them says
/// that it was its author's domain's when it came there.
fn vouched(checked: &Checked, sealers: &[DomainRange]) -> Option<String> {
    let found = Some(&checked.signatures).filter(|found| found.chain == Chain::Pass)?;
    let domain = checked.dmarc.domain.as_str();
    let trusted = |sealer: &String| sealers.iter().any(|range| range.contains(sealer));
    let hops = found.sealers.iter().zip(&found.vouched).enumerate().rev();
    let mut names: Vec<&str> = Vec::new();
    for (at, (sealer, results)) in hops.take_while(|(_, (sealer, _))| trusted(sealer)) {
        names.push(sealer);
        let Some(results) = results else { continue };
        let of_author = |name: &str, value: Option<&str>| value.is_some_and(|value| value.eq_ignore_ascii_case(name));
        let dmarc =
            results.of("dmarc").any(|one| one.result == "pass" && of_author(domain, one.property("header.from")));
        let dkim = results.of("dkim").any(|one| one.result == "pass" && of_author(domain, one.property("header.d")));
        if dmarc || dkim {
            let what = if dmarc { "dmarc=pass" } else { "dkim=pass" };
            return Some(format!("arc=pass as[{}].d={} found {what}", at + 1, names.join(", ")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use posthorn_mail::copies::Edit;
    use posthorn_model::{EnhancedCode, Refusal};
    use posthorn_trust::results::AuthenticationResults;
    use posthorn_trust::{Verification, dmarc, iprev, spf};

    use super::*;
    use crate::Category;
    use crate::verdict::Level;

    /// Mail that `bank.example` disowns; sealers, each with what it says that it found.
    fn checked(policy: Policy, sealers: &[(&str, &str)], chain: Chain) -> Checked {
        let spf = spf::Verdict {
            result: spf::SpfResult::Fail,
            identity: spf::Identity::MailFrom,
            domain: "bank.example".to_owned(),
            mechanism: None,
            explanation: None,
            why: String::new(),
            lookups: 0,
        };
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let iprev = iprev::Verdict { result: iprev::IprevResult::Fail, address, name: String::new() };
        let results = |(name, said): &(&str, &str)| AuthenticationResults::parse(format!("{name}; {said}").as_bytes());
        let signatures = Verification {
            chain,
            sealers: sealers.iter().map(|(sealer, _)| (*sealer).to_owned()).collect(),
            vouched: sealers.iter().map(results).collect(),
            ..Verification::default()
        };
        let dmarc = dmarc::Verdict {
            result: DmarcResult::Fail,
            domain: "bank.example".to_owned(),
            record: Some(("bank.example".to_owned(), dmarc::Record { policy, ..dmarc::Record::default() })),
            published: policy,
            policy,
            spf_aligned: false,
            dkim_aligned: false,
            why: "nothing is aligned".to_owned(),
        };
        Checked { iprev, spf, signatures, dmarc }
    }

    fn ruling(fate: Fate) -> Ruling {
        Ruling {
            fate,
            edit: Edit::default(),
            category: Category::Clean,
            score: 0.0,
            level: Level::None,
            own: Vec::new(),
            why: String::new(),
        }
    }

    fn refuse() -> Fate {
        Fate::Refuse(Refusal::new(550, EnhancedCode(5, 7, 1), "no"))
    }

    fn trusting() -> FilterDmarc {
        let range = "lists.example".parse().expect("a range");
        FilterDmarc { trusted_sealers: vec![range], ..FilterDmarc::default() }
    }

    const FOUND: &str = "dmarc=pass header.from=bank.example";

    #[test]
    fn what_a_domain_asks_for_is_done() {
        let section = FilterDmarc::default();
        let of = |policy| disowned(&checked(policy, &[], Chain::None), &section);
        assert_eq!(of(Policy::Reject).destiny.map(|one| one.0), Some(Destiny::Refuse));
        assert_eq!(of(Policy::Quarantine).destiny.map(|one| one.0), Some(Destiny::Junk));
        assert_eq!(of(Policy::Reject).point, None, "its rule has the points");
        let none = of(Policy::None);
        assert_eq!((none.destiny, none.point.map(|point| point.value)), (None, Some(0.5)));
    }

    #[test]
    fn what_cannot_be_told_yet_waits_where_it_would_be_refused() {
        let of = |policy, section: &FilterDmarc, sealers: &[(&str, &str)], percent| {
            let mut checked = checked(policy, sealers, Chain::Pass);
            checked.dmarc.result = DmarcResult::TempError;
            checked.dmarc.policy = Policy::None;
            if let Some((_, record)) = &mut checked.dmarc.record {
                record.percent = percent;
            }
            disowned(&checked, section).destiny.map(|one| one.0)
        };
        let plain = FilterDmarc::default();
        assert_eq!(of(Policy::Reject, &plain, &[], 100), Some(Destiny::Defer));
        assert_eq!(of(Policy::Reject, &plain, &[], 0), None);
        assert_eq!(of(Policy::Quarantine, &plain, &[], 100), None);
        let mild = FilterDmarc { reject: Destiny::Junk, ..FilterDmarc::default() };
        assert_eq!(of(Policy::Reject, &mild, &[], 100), None);
        assert_eq!(of(Policy::Reject, &trusting(), &[("lists.example", FOUND)], 100), None);
        let mut unknown = checked(Policy::None, &[], Chain::None);
        (unknown.dmarc.result, unknown.dmarc.record) = (DmarcResult::TempError, None);
        assert_eq!(disowned(&unknown, &plain), Disowned::default(), "its rule has the points");
    }

    #[test]
    fn trusted_sealers_are_believed_what_they_found() {
        let of = |sealers: &[(&str, &str)], chain| disowned(&checked(Policy::Reject, sealers, chain), &trusting());
        let vouched = of(&[("evil.example", FOUND), ("lists.example", FOUND)], Chain::Pass);
        assert_eq!(vouched.destiny, None);
        assert!(vouched.outweighs("DMARC_REJECT") && !vouched.outweighs("GTUBE"));
        assert_eq!(vouched.vouched.as_deref(), Some("arc=pass as[2].d=lists.example found dmarc=pass"));
        let signed = "dkim=pass header.d=Bank.example; dmarc=fail header.from=bank.example";
        assert_eq!(of(&[("lists.example", signed)], Chain::Pass).destiny, None);
        // The first of two that are trusted found it whole, the second found what the first had made of it.
        let twice = [("lists.example", FOUND), ("lists.example", "dmarc=fail header.from=bank.example")];
        assert_eq!(of(&twice, Chain::Pass).destiny, None);
    }

    #[test]
    fn nobody_else_is_believed() {
        let refused = |sealers: &[(&str, &str)], chain| {
            let found = disowned(&checked(Policy::Reject, sealers, chain), &trusting());
            found.destiny.is_some() && !found.outweighs("DMARC_REJECT")
        };
        assert!(refused(&[("lists.example", FOUND), ("evil.example", FOUND)], Chain::Pass));
        assert!(refused(&[("lists.example", FOUND)], Chain::Fail));
        assert!(refused(&[("lists.example", "dmarc=fail header.from=bank.example")], Chain::Pass));
        assert!(refused(&[("lists.example", "dmarc=pass header.from=evil.example")], Chain::Pass));
        assert!(refused(&[("lists.example", "dkim=pass header.d=evil.example; spf=pass")], Chain::Pass));
        // What an untrusted one found before a trusted one is worth nothing.
        let later = [("evil.example", FOUND), ("lists.example", "dmarc=fail header.from=bank.example")];
        assert!(refused(&later, Chain::Pass));
        assert!(refused(&[("lists.example", "(")], Chain::Pass));
    }

    #[test]
    fn domains_are_told_what_was_done_and_why() {
        let told = |policy, section: &FilterDmarc, sealers: &[(&str, &str)], fates: &[Fate]| {
            let checked = checked(policy, sealers, Chain::Pass);
            let rulings: Vec<Ruling> = fates.iter().cloned().map(ruling).collect();
            let applied = disowned(&checked, section).applied(&checked, &rulings);
            (applied.disposition, applied.reason.map(|reason| reason.kind))
        };
        let (plain, kind) = (FilterDmarc::default(), |kind: &str| Some(kind.to_owned()));
        let refused = [refuse()];
        assert_eq!(told(Policy::Reject, &plain, &[], &refused), (Disposition::Reject, None));
        assert_eq!(told(Policy::Quarantine, &plain, &[], &[Fate::Junk]), (Disposition::Quarantine, None));
        // Refused for another reason: not because of the policy.
        assert_eq!(told(Policy::None, &plain, &[], &refused), (Disposition::None, None));
        let mild = FilterDmarc { reject: Destiny::Junk, ..FilterDmarc::default() };
        assert_eq!(told(Policy::Reject, &mild, &[], &[Fate::Junk]), (Disposition::Quarantine, kind("local_policy")));
        let chain = [("lists.example", FOUND)];
        let delivered = [Fate::Deliver];
        assert_eq!(
            told(Policy::Reject, &trusting(), &chain, &delivered),
            (Disposition::None, kind("trusted_forwarder"))
        );
        let mut testing = checked(Policy::Reject, &[], Chain::None);
        testing.dmarc.policy = Policy::Quarantine;
        if let Some((_, record)) = &mut testing.dmarc.record {
            record.testing = true;
        }
        let applied = disowned(&testing, &plain).applied(&testing, &[ruling(Fate::Junk)]);
        assert_eq!(applied.disposition, Disposition::Quarantine);
        assert_eq!(applied.reason.map(|reason| reason.kind), kind("policy_test_mode"));
    }
}
