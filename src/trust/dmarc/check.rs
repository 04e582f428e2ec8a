//! The evaluation (RFC 9989 §4.10, §4.4, §5.3): a machine that stops at each question to the DNS, and the verdict that
//! follows once everything is asked.

use std::collections::HashMap;

use posthorn_model::Domain;

use super::{DmarcResult, Policy, Record, Verdict};
use crate::resolver::{Answer, Found, Question, Records, Resolver};
use crate::spf::SpfResult;
use crate::verify::DkimResult;
use crate::{Verification, spf};

/// A check that is under way.
///
/// All that it asks follows from the header and the envelope. So it begins beside the checks of reverse path and
/// signatures, and whoever answers those slowly takes no time from the policy of the author's domain.
#[derive(Debug)]
pub struct Check {
    author: Result<Option<String>, &'static str>,
    /// Domains of which reverse path and signatures may turn out to be.
    claims: Vec<String>,
    /// The records of names that were asked for, or why they cannot be told now.
    known: HashMap<String, Result<Option<Record>, String>>,
    /// Whether the author's domain exists, where that was asked for.
    exists: Option<bool>,
    question: Option<Question>,
}

/// What a reverse path or a signature says of a domain.
struct Shown {
    domain: String,
    by: By,
    /// It cannot be told now whether it holds.
    is_open: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    Dkim,
    Spf,
}

/// Why a walk has no end.
enum Gap {
    /// The record of this name was not asked for.
    Unasked(String),
    /// It cannot be told now.
    Later(String),
}

/// From longer names labels are skipped so that a walk has at most eight steps (RFC 9989 §4.10).
const MOST_LABELS: usize = 7;

impl Check {
    /// Begins to check a message with this header. `claims` are the domains of its reverse path (or of HELO, where that
    /// stands in) and of its signatures, whatever these prove.
    #[must_use]
    pub fn new(header: &[u8], claims: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut check =
            Self { author: author(header), claims: Vec::new(), known: HashMap::new(), exists: None, question: None };
        for claim in claims {
            if let Ok(domain) = Domain::parse(claim.as_ref().trim_end_matches('.'))
                && !check.claims.iter().any(|known| known == domain.as_str())
            {
                check.claims.push(domain.as_str().to_owned());
            }
        }
        check.question = check.missing();
        check
    }

    /// What must be asked next; the same until it is answered. Nothing when all is known.
    #[must_use]
    pub fn question(&self) -> Option<&Question> {
        self.question.as_ref()
    }

    /// Goes on with the answer to what was asked.
    pub fn answer(&mut self, answer: Answer) {
        let record = match (self.question.take(), answer) {
            (None, _) => return,
            (Some(Question::Txt(name)), answer) => {
                let told = match answer {
                    Found::Later(why) => Err(format!("{name} TXT cannot be told now: {why}")),
                    Found::Some(Records::Texts(texts)) => Ok(record_of(&texts)),
                    Found::Some(_) | Found::Nothing | Found::NoSuchName => Ok(None),
                };
                Some((name.strip_prefix(PREFIX).unwrap_or(&name).to_owned(), told))
            }
            (Some(_), answer) => {
                self.exists = Some(answer != Found::NoSuchName);
                None
            }
        };
        self.known.extend(record);
        self.question = self.missing();
    }

    /// Has everything answered by somebody who can ask.
    #[must_use]
    pub async fn run(mut self, resolver: &dyn Resolver) -> Self {
        while let Some(question) = &self.question {
            let answer = question.ask(resolver).await;
            self.answer(answer);
        }
        self
    }

    /// The verdict, when it is known what the reverse path and the signatures show. `chance` is a number from 0 to 99, of
    /// whatever kind of randomness, for records that want only some messages to be treated.
    #[must_use]
    pub fn verdict(&self, spf: &spf::Verdict, signatures: &Verification, chance: u8) -> Verdict {
        let author = match &self.author {
            Ok(Some(author)) => author,
            Ok(None) => return nothing(DmarcResult::None, "the message names no author"),
            Err(why) => return nothing(DmarcResult::PermError, why),
        };
        let of_author = |result, why: &str| Verdict { domain: author.clone(), ..nothing(result, why) };
        let walk = match self.walk(author) {
            Ok(walk) => walk,
            Err(gap) => return of_author(DmarcResult::TempError, &gap.why()),
        };
        let organization = organization(author, &walk);
        let Some((at, record)) = in_force(author, &walk, &organization) else {
            let why = format!("neither {author} nor a domain above it has a DMARC record");
            return of_author(DmarcResult::None, &why);
        };
        let (mut spf_aligned, mut dkim_aligned, mut open) = (false, false, None);
        for shown in shown(spf, signatures) {
            let (aligned, strict) = match shown.by {
                By::Dkim => (&mut dkim_aligned, record.strict_dkim),
                By::Spf => (&mut spf_aligned, record.strict_spf),
            };
            let is_kin = match shown.domain == *author || strict {
                true => Ok(shown.domain == *author),
                false => self.is_kin(&shown.domain, &organization),
            };
            match is_kin {
                Ok(false) => {}
                Ok(true) if !shown.is_open => *aligned = true,
                Ok(true) => open = Some(shown.why_open()),
                Err(gap) => open = Some(gap.why()),
            }
        }
        let subdomains = record.subdomain_policy.unwrap_or(record.policy);
        let published = match self.exists {
            _ if at == *author => record.policy,
            Some(false) => record.nonexistent_policy.unwrap_or(subdomains),
            _ => subdomains,
        };
        let tried_out = record.testing || chance >= record.percent;
        let (result, policy) = match (spf_aligned || dkim_aligned, &open) {
            (true, _) => (DmarcResult::Pass, Policy::None),
            // What could not be looked at may be what shows it.
            (false, Some(_)) => (DmarcResult::TempError, Policy::None),
            (false, None) if tried_out => (DmarcResult::Fail, published.milder()),
            (false, None) => (DmarcResult::Fail, published),
        };
        let why = match (dkim_aligned, spf_aligned, open) {
            (true, true, _) => format!("a signature and the reverse path are of {author}"),
            (true, false, _) => format!("a signature is of {author}"),
            (false, true, _) => format!("the reverse path is of {author}"),
            (false, false, Some(open)) => {
                format!("{open}, and nothing else shows that it is of {author}, which asks for {published}")
            }
            (false, false, None) => format!("nothing shows that it is of {author}, which asks for {published}"),
        };
        let record = Some((at, record.clone()));
        Verdict { result, domain: author.clone(), record, published, policy, spf_aligned, dkim_aligned, why }
    }

    /// What is not known yet of all that a verdict may depend on.
    fn missing(&self) -> Option<Question> {
        let Ok(Some(author)) = &self.author else { return None };
        let ask = |gap: Gap| match gap {
            Gap::Unasked(name) => Some(Question::Txt(format!("{PREFIX}{name}"))),
            Gap::Later(_) => None,
        };
        let walk = match self.walk(author) {
            Ok(walk) => walk,
            Err(gap) => return ask(gap),
        };
        let organization = organization(author, &walk);
        let (at, record) = in_force(author, &walk, &organization)?;
        if at != *author && record.nonexistent_policy.is_some() && self.exists.is_none() {
            return Some(Question::A(author.clone()));
        }
        if record.strict_dkim && record.strict_spf {
            return None;
        }
        self.claims.iter().find_map(|claim| self.is_kin(claim, &organization).err().and_then(ask))
    }

    /// Whether a domain belongs to the author's organization.
    fn is_kin(&self, domain: &str, author_organization: &str) -> Result<bool, Gap> {
        if domain == author_organization {
            // The top of an organization is its own.
            return Ok(true);
        }
        if !is_below(domain, author_organization) {
            return Ok(false);
        }
        Ok(organization(domain, &self.walk(domain)?) == author_organization)
    }

    /// The records on the way up from a domain, itself included (RFC 9989 §4.10).
    fn walk(&self, domain: &str) -> Result<Vec<(String, &Record)>, Gap> {
        let mut found = Vec::new();
        let mut next = Some(domain);
        while let Some(name) = next {
            match self.known.get(name) {
                None => return Err(Gap::Unasked(name.to_owned())),
                Some(Err(why)) => return Err(Gap::Later(why.clone())),
                Some(Ok(None)) => {}
                Some(Ok(Some(record))) => {
                    found.push((name.to_owned(), record));
                    if record.public_suffix.is_some() {
                        break;
                    }
                }
            }
            next = above(name);
        }
        Ok(found)
    }
}

impl Shown {
    fn why_open(&self) -> String {
        match self.by {
            By::Dkim => format!("a signature of {} cannot be checked now", self.domain),
            By::Spf => format!("it cannot be told now whether the reverse path is of {}", self.domain),
        }
    }
}

impl Gap {
    fn why(self) -> String {
        match self {
            Self::Unasked(name) => format!("nobody asked for {PREFIX}{name}"),
            Self::Later(why) => why,
        }
    }
}

const PREFIX: &str = "_dmarc.";

/// What the reverse path and the signatures show, or may show when they can be checked.
fn shown(spf: &spf::Verdict, signatures: &Verification) -> Vec<Shown> {
    let is_open = |result| result == DkimResult::TempError;
    let dkim = signatures.signatures.iter().filter(|one| one.proves() || is_open(one.result));
    let mut shown: Vec<Shown> =
        dkim.map(|one| Shown { domain: one.domain.clone(), by: By::Dkim, is_open: is_open(one.result) }).collect();
    if matches!(spf.result, SpfResult::Pass | SpfResult::TempError)
        && let Ok(domain) = Domain::parse(spf.domain.trim_end_matches('.'))
    {
        let is_open = spf.result == SpfResult::TempError;
        shown.push(Shown { domain: domain.as_str().to_owned(), by: By::Spf, is_open });
    }
    shown
}

/// The record that counts, and where it is: the author's own, else the organization's, else the public suffix's above
/// that (RFC 9989 §4.10.1).
fn in_force<'r>(author: &str, walk: &[(String, &'r Record)], organization: &str) -> Option<(String, &'r Record)> {
    let own = walk.iter().find(|(name, _)| name == author);
    let at_organization = || walk.iter().find(|(name, _)| name == organization);
    let above = || walk.iter().find(|(_, record)| record.public_suffix == Some(true));
    own.or_else(at_organization).or_else(above).map(|(name, record)| (name.clone(), *record))
}

/// The author's domain; nobody's where no address can be read.
///
/// # Errors
/// Why no domain can be blamed.
fn author(header: &[u8]) -> Result<Option<String>, &'static str> {
    let mut author: Option<String> = None;
    for mailbox in posthorn_mime::authors(header) {
        let domain = mailbox.address.rsplit_once('@').and_then(|(_, domain)| Domain::parse(domain).ok());
        let Some(domain) = domain.filter(|domain| !domain.is_literal()) else {
            return Err("an author's address has no domain");
        };
        match &author {
            Some(other) if other != domain.as_str() => return Err("the message names authors of several domains"),
            _ => author = Some(domain.as_str().to_owned()),
        }
    }
    Ok(author)
}

/// The only record among the texts of a name; several are none (RFC 9989 §4.10).
pub(super) fn record_of(texts: &[String]) -> Option<Record> {
    let mut records = texts.iter().filter(|text| Record::is_record(text));
    let (record, second) = (records.next()?, records.next());
    second.is_none().then(|| Record::parse(record)).flatten()
}

/// The organizational domain of one whose way up has these records (RFC 9989 §4.10.2).
pub(super) fn organization(domain: &str, walk: &[(String, &Record)]) -> String {
    for (name, record) in walk {
        if record.public_suffix == Some(false) {
            return name.clone();
        }
        if record.public_suffix == Some(true) && name != domain {
            // The one below it on the way.
            let start = domain.len() - name.len() - 1;
            let below = domain[..start].rfind('.').map_or(0, |at| at + 1);
            return domain[below..].to_owned();
        }
    }
    walk.last().map_or(domain, |(name, _)| name).to_owned()
}

/// The next name of a walk.
pub(super) fn above(name: &str) -> Option<&str> {
    let labels = name.split('.').count();
    let skipped = if labels > MOST_LABELS + 1 { labels - MOST_LABELS } else { 1 };
    let mut name = name;
    for _ in 0..skipped {
        name = name.split_once('.')?.1;
    }
    Some(name)
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|front| front.ends_with('.'))
}

fn nothing(result: DmarcResult, why: &str) -> Verdict {
    Verdict {
        result,
        domain: String::new(),
        record: None,
        published: Policy::None,
        policy: Policy::None,
        spf_aligned: false,
        dkim_aligned: false,
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::SignatureResult;

    /// What is known of a message, and of the DNS.
    #[derive(Default)]
    struct Case<'c> {
        from: &'c str,
        spf: Option<&'c str>,
        dkim: &'c [&'c str],
        zone: &'c [(&'c str, &'c str)],
        /// Names that exist, besides those in the zone.
        exists: &'c [&'c str],
        chance: u8,
    }

    fn spf(result: SpfResult, domain: &str) -> spf::Verdict {
        spf::Verdict {
            result,
            identity: spf::Identity::MailFrom,
            domain: domain.to_owned(),
            mechanism: None,
            explanation: None,
            why: String::new(),
            lookups: 0,
        }
    }

    fn signatures(result: DkimResult, domains: &[&str]) -> Verification {
        let signature = |domain: &&str| SignatureResult {
            result,
            domain: (*domain).to_owned(),
            selector: "s".to_owned(),
            why: None,
            partial: false,
            testing: false,
        };
        Verification { signatures: domains.iter().map(signature).collect(), ..Verification::default() }
    }

    fn run(case: &Case<'_>) -> (Verdict, Vec<String>) {
        let spf = match case.spf {
            Some(domain) => spf(SpfResult::Pass, domain),
            None => spf(SpfResult::Fail, "other.example"),
        };
        let (check, asked) = asked(case, &[&[spf.domain.as_str()], case.dkim].concat());
        (check.verdict(&spf, &signatures(DkimResult::Pass, case.dkim), case.chance), asked)
    }

    fn asked(case: &Case<'_>, claims: &[&str]) -> (Check, Vec<String>) {
        let header = format!("From: {}\r\n", case.from);
        let mut check = Check::new(header.as_bytes(), claims);
        let mut asked = Vec::new();
        while let Some(question) = check.question() {
            asked.push(question.to_string());
            let answer = match question {
                Question::Txt(name) => {
                    let name = name.strip_prefix("_dmarc.").expect("a record's name");
                    let here = case.zone.iter().filter(|(at, _)| *at == name);
                    let texts: Vec<String> = here.map(|(_, text)| (*text).to_owned()).collect();
                    match () {
                        () if texts.contains(&"later".to_owned()) => Found::Later("slow".to_owned()),
                        () if texts.is_empty() => Found::NoSuchName,
                        () => Found::Some(Records::Texts(texts)),
                    }
                }
                Question::A(name) if case.exists.contains(&name.as_str()) => Found::Nothing,
                _ => Found::NoSuchName,
            };
            check.answer(answer);
        }
        (check, asked)
    }

    fn words(case: &Case<'_>) -> (DmarcResult, Policy) {
        let (verdict, _) = run(case);
        (verdict.result, verdict.policy)
    }

    const REJECT: &str = "v=DMARC1; p=reject";

    #[test]
    fn signatures_and_paths_of_the_organization_are_enough() {
        let zone = &[("a.example", REJECT)][..];
        for (spf, dkim, result) in [
            (None, &["a.example"][..], DmarcResult::Pass),
            (None, &["x.y.a.example"], DmarcResult::Pass),
            (None, &["b.example", "m.a.example"], DmarcResult::Pass),
            (Some("a.example"), &[], DmarcResult::Pass),
            (Some("Bounce.A.example"), &[], DmarcResult::Pass),
            (Some("b.example"), &["b.example"], DmarcResult::Fail),
            (None, &["nota.example"], DmarcResult::Fail),
            (None, &["example"], DmarcResult::Fail),
            (None, &[], DmarcResult::Fail),
        ] {
            for from in ["Ann <ann@a.example>", "ann@sub.A.example"] {
                let case = Case { from, spf, dkim, zone, ..Case::default() };
                let expected = if result == DmarcResult::Pass { Policy::None } else { Policy::Reject };
                assert_eq!(words(&case), (result, expected), "{from} {spf:?} {dkim:?}");
            }
        }
    }

    #[test]
    fn strict_records_want_the_very_domain() {
        let zone = &[("a.example", "v=DMARC1; p=reject; adkim=s; aspf=s")][..];
        let pass = |from, spf, dkim| words(&Case { from, spf, dkim, zone, ..Case::default() }).0 == DmarcResult::Pass;
        assert!(pass("a@a.example", Some("a.example"), &[]) && pass("a@a.example", None, &["a.example"]));
        assert!(!pass("a@a.example", Some("x.a.example"), &["x.a.example"]));
        assert!(!pass("a@x.a.example", Some("a.example"), &["a.example"]));
    }

    #[test]
    fn the_policy_depends_on_where_the_record_is() {
        let zone =
            &[("a.example", "v=DMARC1; p=reject; sp=quarantine; np=none"), ("own.a.example", "v=DMARC1; p=none")][..];
        let policy =
            |from, chance| run(&Case { from, zone, exists: &["x.a.example"], chance, ..Case::default() }).0.policy;
        assert_eq!(policy("a@a.example", 0), Policy::Reject);
        assert_eq!(policy("a@x.a.example", 0), Policy::Quarantine);
        assert_eq!(policy("a@missing.a.example", 0), Policy::None);
        assert_eq!(policy("a@own.a.example", 0), Policy::None);
        let zone = &[("a.example", "v=DMARC1; p=reject; pct=20"), ("t.example", "v=DMARC1; p=reject; t=y")][..];
        let policy = |from, chance| run(&Case { from, zone, chance, ..Case::default() }).0.policy;
        assert_eq!([policy("a@a.example", 19), policy("a@a.example", 20)], [Policy::Reject, Policy::Quarantine]);
        assert_eq!(policy("a@t.example", 0), Policy::Quarantine);
    }

    /// RFC 9989 §4.10: eight steps at most, whatever the length of the name.
    #[test]
    fn walks_are_short() {
        let from = "a@a.b.c.d.e.f.g.h.i.j.mail.example.com";
        let (verdict, asked) = run(&Case { from, ..Case::default() });
        assert_eq!(verdict.result, DmarcResult::None);
        assert_eq!(asked.len(), 8);
        assert_eq!(asked[0], "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com TXT");
        assert_eq!(asked[1], "_dmarc.g.h.i.j.mail.example.com TXT");
        assert_eq!(asked[7], "_dmarc.com TXT");
        let (_, asked) = run(&Case { from: "a@mail.example.com", ..Case::default() });
        assert_eq!(asked, ["_dmarc.mail.example.com TXT", "_dmarc.example.com TXT", "_dmarc.com TXT"]);
    }

    /// RFC 9989 §4.10.2.
    #[test]
    fn organizations_end_where_records_say() {
        // A public suffix: its children are organizations of their own.
        let zone = &[("bank.example", "v=DMARC1; p=reject; psd=y"), ("a.bank.example", REJECT)][..];
        let case = |from, dkim| words(&Case { from, dkim, zone, ..Case::default() });
        assert_eq!(case("x@m.a.bank.example", &["a.bank.example"]).0, DmarcResult::Pass);
        assert_eq!(case("x@a.bank.example", &["b.bank.example"]).0, DmarcResult::Fail);
        assert_eq!(case("x@b.bank.example", &[]), (DmarcResult::Fail, Policy::Reject), "the suffix speaks for it");
        assert_eq!(case("x@b.bank.example", &["bank.example"]).0, DmarcResult::Fail);
        assert_eq!(case("x@bank.example", &["bank.example"]).0, DmarcResult::Pass);
        // A domain below that is an organization of its own.
        let zone = &[("uni.example", REJECT), ("lab.uni.example", "v=DMARC1; p=quarantine; psd=n")][..];
        let case = |from, dkim| words(&Case { from, dkim, zone, ..Case::default() });
        assert_eq!(case("x@lab.uni.example", &["uni.example"]), (DmarcResult::Fail, Policy::Quarantine));
        assert_eq!(case("x@pc.lab.uni.example", &["lab.uni.example"]).0, DmarcResult::Pass);
        assert_eq!(case("x@uni.example", &["lab.uni.example"]).0, DmarcResult::Fail);
        // Records at several heights without a word about it: the highest is the organization's.
        let zone = &[("uni.example", REJECT), ("lab.uni.example", REJECT)][..];
        let case = |from, dkim| words(&Case { from, dkim, zone, ..Case::default() });
        assert_eq!(case("x@lab.uni.example", &["law.uni.example"]).0, DmarcResult::Pass);
    }

    #[test]
    fn authors_are_one_domain() {
        let zone = &[("a.example", REJECT)][..];
        let result = |from| run(&Case { from, zone, ..Case::default() }).0.result;
        assert_eq!(result(""), DmarcResult::None);
        assert_eq!(result("x@a.example, y@A.EXAMPLE"), DmarcResult::Fail);
        assert_eq!(result("x@a.example, y@b.example"), DmarcResult::PermError);
        assert_eq!(result("x"), DmarcResult::PermError);
        assert_eq!(result("x@[192.0.2.1]"), DmarcResult::PermError);
        let (verdict, _) = run(&Case { from: "x@bücher.example", ..Case::default() });
        assert_eq!(verdict.domain, "xn--bcher-kva.example");
        assert_eq!(verdict.results(), "dmarc=none header.from=xn--bcher-kva.example");
    }

    #[test]
    fn records_may_be_several_or_late() {
        let zone =
            &[("a.example", REJECT), ("a.example", REJECT), ("b.example", "later"), ("c.example", "v=spf1 -all")][..];
        let result = |from| run(&Case { from, zone, ..Case::default() }).0;
        assert_eq!(result("x@a.example").result, DmarcResult::None);
        assert_eq!(result("x@c.example").result, DmarcResult::None);
        let late = result("x@b.example");
        assert_eq!((late.result, late.policy), (DmarcResult::TempError, Policy::None));
        assert!(late.why.contains("slow"));
        let fail = run(&Case { from: "x@a.example", zone: &[("a.example", REJECT)], ..Case::default() }).0;
        assert_eq!(fail.results(), "dmarc=fail header.from=a.example policy.dmarc=reject");
    }

    /// What could not be looked at may be what shows it; what could not show it anyway excuses nobody.
    #[test]
    fn what_cannot_be_checked_now_is_open_only_where_it_could_help() {
        let zone = &[("a.example", REJECT), ("sub.a.example", "later")][..];
        let case = Case { from: "x@a.example", zone, ..Case::default() };
        let of = |spf_result, spf_domain, dkim_result, dkim: &[&str]| {
            let (check, _) = asked(&case, &[&[spf_domain], dkim].concat());
            check.verdict(&spf(spf_result, spf_domain), &signatures(dkim_result, dkim), 0)
        };
        let (later, temporary) = (SpfResult::TempError, DkimResult::TempError);
        let forged = of(later, "evil.example", temporary, &["evil.example"]);
        assert_eq!((forged.result, forged.policy), (DmarcResult::Fail, Policy::Reject));
        for verdict in [
            of(SpfResult::Fail, "evil.example", temporary, &["m.a.example"]),
            of(later, "a.example", DkimResult::Fail, &["a.example"]),
            // Whose this signature is cannot be told.
            of(SpfResult::Fail, "evil.example", DkimResult::Pass, &["sub.a.example"]),
        ] {
            let found = (verdict.result, verdict.policy, verdict.published);
            assert_eq!(found, (DmarcResult::TempError, Policy::None, Policy::Reject), "{}", verdict.why);
        }
        assert_eq!(of(SpfResult::Pass, "a.example", temporary, &["a.example"]).result, DmarcResult::Pass);
        assert_eq!(of(later, "a.example", DkimResult::Pass, &["evil.example", "a.example"]).result, DmarcResult::Pass);
    }

    #[test]
    fn everything_is_asked_before_anybody_knows_what_holds() {
        let zone = &[("a.example", REJECT)][..];
        let case = Case { from: "x@a.example", zone, ..Case::default() };
        let claims = ["m.a.example", "evil.example", "M.A.Example.", "a.example"];
        assert_eq!(asked(&case, &claims).1, ["_dmarc.a.example TXT", "_dmarc.example TXT", "_dmarc.m.a.example TXT"]);
        let zone = &[("a.example", "v=DMARC1; p=reject; adkim=s; aspf=s")][..];
        let strict = Case { from: "x@a.example", zone, ..Case::default() };
        assert_eq!(asked(&strict, &claims).1, ["_dmarc.a.example TXT", "_dmarc.example TXT"]);
        let verdict = Check::new(b"From: x@a.example\r\n", claims).verdict(
            &spf(SpfResult::Pass, "a.example"),
            &Verification::default(),
            0,
        );
        assert_eq!(verdict.result, DmarcResult::TempError, "nobody was asked");
    }
}
