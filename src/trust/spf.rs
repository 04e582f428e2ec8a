//! Whether a domain lets a host send for it (SPF, RFC 7208), decided without a socket: a [`Check`] says what it must
//! know of the DNS and ends in a [`Verdict`].
//!
//! ```text
//! loop { match check.step() { Step::Ask(question) => check.answer(question.ask(resolver).await), Step::Done(verdict) => … } }
//! ```

mod check;
mod macros;
mod networks;
mod record;

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use chrono::{DateTime, Utc};

pub use self::check::Check;
pub use self::networks::networks;
use crate::resolver::Question;

/// What is checked: a client and what it says of itself.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The client. IPv4 addresses mapped into IPv6 are taken as IPv4.
    pub client: IpAddr,
    /// What it said in HELO or EHLO.
    pub helo: &'a str,
    /// The reverse path, `local@domain`; empty for the null path, for which HELO stands in (RFC 7208 §2.4).
    pub sender: &'a str,
    /// Our host name, for `%{r}`.
    pub receiver: &'a str,
    /// Now, for `%{t}`.
    pub at: DateTime<Utc>,
}

/// Which of the two identities was checked (RFC 7208 §2.3, §2.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Identity {
    /// The domain of HELO.
    Helo,
    /// The domain of the reverse path.
    MailFrom,
}

/// A result (RFC 7208 §2.6).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SpfResult {
    /// There is no domain to check, or it has no record.
    None,
    /// The domain says nothing about the client.
    Neutral,
    /// The client may send for it.
    Pass,
    /// The client may not.
    Fail,
    /// The client probably may not.
    SoftFail,
    /// It cannot be told now.
    TempError,
    /// The domain's records cannot be read.
    PermError,
}

/// What a check came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The result.
    pub result: SpfResult,
    /// Whose domain it is about.
    pub identity: Identity,
    /// The domain that was asked first, as given.
    pub domain: String,
    /// The term that decided, as written in the record, such as `-all`; `default` where none matched.
    pub mechanism: Option<String>,
    /// The domain's own words about a failure (`exp=`): printable ASCII, of others, not to be believed.
    pub explanation: Option<String>,
    /// Why, in a sentence without a final stop.
    pub why: String,
    /// Terms that took look-ups, at most 10 (RFC 7208 §4.6.4).
    pub lookups: usize,
}

/// What a check needs next.
#[derive(Debug)]
pub enum Step<'c> {
    /// The answer to this, given to [`Check::answer`].
    Ask(&'c Question),
    /// Nothing: it is decided.
    Done(&'c Verdict),
}

impl SpfResult {
    /// The word for it (RFC 7208 §2.6), such as `softfail`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for SpfResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Identity {
    /// The word for it (RFC 7208 §9.1): `helo` or `mailfrom`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Helo => "helo",
            Self::MailFrom => "mailfrom",
        }
    }
}

impl Verdict {
    /// The result for an Authentication-Results field (RFC 8601 §2.7.2), such as `spf=pass smtp.mailfrom=example.org`.
    #[must_use]
    pub fn results(&self) -> String {
        let mut text = format!("spf={}", self.result);
        if is_plain(&self.domain) {
            let _infallible = write!(text, " smtp.{}={}", self.identity.as_str(), self.domain);
        }
        text
    }

    /// A Received-SPF field (RFC 7208 §9.1), whole with its CRLF.
    #[must_use]
    pub fn received_spf(&self, request: &Request<'_>) -> String {
        let Request { client, helo, sender, receiver, .. } = request;
        let mut field = format!("Received-SPF: {} ({}: {})", self.result, plain(receiver), comment(&self.why));
        let client = client.to_canonical();
        let _infallible = write!(field, "\r\n\tclient-ip={client}; identity={};", self.identity.as_str());
        let _infallible = write!(field, "\r\n\tenvelope-from={}; helo={};", quoted(sender), quoted(helo));
        let _infallible = write!(field, "\r\n\treceiver={};", plain(receiver));
        if let Some(mechanism) = &self.mechanism {
            let _infallible = write!(field, "\r\n\tmechanism={};", quoted(mechanism));
        }
        field.push_str("\r\n");
        field
    }
}

/// Whether a word needs no quotes and no second look in a field of ours.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect()
}

/// Text for a comment: without what would end it or the line.
fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if (c.is_ascii_graphic() || c == ' ') && !"()\\".contains(c) { c } else { '?' })
        .take(200)
        .collect()
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars().take(320).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }) {
        if c == '"' || c == '\\' {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Found;
    use crate::resolver::{Answer, Records};

    fn request(sender: &str) -> Request<'_> {
        Request {
            client: [192, 0, 2, 7].into(),
            helo: "mail.example.net",
            sender,
            receiver: "mx.example.org",
            at: DateTime::from_timestamp(1_795_223_379, 0).expect("in range"),
        }
    }

    /// Answers by question as it is displayed; `A` and hosts in a list, texts by `|`, `later`; else no such name.
    fn run(request: &Request<'_>, zone: &[(&str, &str)]) -> (Verdict, Vec<String>) {
        let mut check = Check::new(request);
        let mut asked = Vec::new();
        loop {
            let question = match check.step() {
                Step::Done(verdict) => return (verdict.clone(), asked),
                Step::Ask(question) => question.to_string(),
            };
            let answer = zone
                .iter()
                .find(|(of, _)| *of == question)
                .map_or(Found::NoSuchName, |(_, text)| said(&question, text));
            asked.push(question);
            check.answer(answer);
        }
    }

    fn said(question: &str, text: &str) -> Answer {
        let words = || text.split(' ');
        match question.rsplit(' ').next() {
            _ if text == "later" => Found::Later("slow".to_owned()),
            _ if text.is_empty() => Found::Nothing,
            Some("TXT") => Found::Some(Records::Texts(text.split('|').map(str::to_owned).collect())),
            Some("A" | "AAAA") => {
                Found::Some(Records::Addresses(words().map(|one| one.parse().expect("an address")).collect()))
            }
            _ => Found::Some(Records::Hosts(words().map(str::to_owned).collect())),
        }
    }

    fn result(record: &str, zone: &[(&str, &str)]) -> SpfResult {
        let zone = [&[("a.example TXT", record)], zone].concat();
        run(&request("ann@a.example"), &zone).0.result
    }

    #[test]
    fn verdicts_say_what_decided() {
        let zone = &[
            ("a.example TXT", "v=spf1 ip4:10.0.0.0/8 include:b.example -all"),
            ("b.example TXT", "other|v=spf1 mx -all"),
            ("b.example MX", "m1.example m2.example"),
            ("m1.example A", "10.1.1.1"),
            ("m2.example A", "192.0.2.1 192.0.2.7"),
        ][..];
        let (verdict, asked) = run(&request("ann@a.example"), zone);
        assert_eq!((verdict.result, verdict.identity, verdict.lookups), (SpfResult::Pass, Identity::MailFrom, 2));
        assert_eq!(verdict.mechanism.as_deref(), Some("include:b.example"));
        assert_eq!(
            verdict.why,
            "`mx` in the record of b.example matches 192.0.2.7, which `include:b.example` of a.example includes"
        );
        assert_eq!(asked, ["a.example TXT", "b.example TXT", "b.example MX", "m1.example A", "m2.example A"]);
        let (verdict, _) = run(&request("ann@c.example"), zone);
        assert_eq!((verdict.result, verdict.why.as_str()), (SpfResult::None, "c.example has no SPF record"));
        let (verdict, asked) = run(&request(""), zone);
        assert_eq!((verdict.identity, verdict.domain.as_str()), (Identity::Helo, "mail.example.net"));
        assert_eq!(asked, ["mail.example.net TXT"]);
    }

    #[test]
    fn work_is_bounded() {
        let many = "v=spf1 a:1.x.example a:2.x.example mx:3.x.example exists:4.x.example -all";
        assert_eq!(result(many, &[]), SpfResult::PermError, "three names without records");
        assert_eq!(result("v=spf1 a:1.x.example a:2.x.example -all", &[]), SpfResult::Fail);
        assert_eq!(result("v=spf1 include:a.example -all", &[]), SpfResult::PermError, "it includes itself");
        assert_eq!(result("v=spf1 redirect=a.example", &[]), SpfResult::PermError);
        let hosts = ["h.example"; 11].join(" ");
        assert_eq!(result("v=spf1 mx -all", &[("a.example MX", &hosts)]), SpfResult::PermError);
        // Eleven names of the client: the first ten are looked at.
        let names: Vec<String> = (0..11).map(|at| format!("n{at}.a.example")).collect();
        let zone = [("192.0.2.7 PTR", names.join(" ")), ("n10.a.example A", "192.0.2.7".to_owned())];
        let zone: Vec<(&str, &str)> = zone.iter().map(|(of, text)| (*of, text.as_str())).collect();
        assert_eq!(result("v=spf1 ptr -all", &zone), SpfResult::Fail);
        assert_eq!(
            result("v=spf1 ptr -all", &[("192.0.2.7 PTR", "n.a.example"), ("n.a.example A", "192.0.2.7")]),
            SpfResult::Pass
        );
    }

    #[test]
    fn trouble_is_temporary_and_may_be_given_up() {
        for (record, of) in [("v=spf1 a -all", "a.example A"), ("v=spf1 include:b.example -all", "b.example TXT")] {
            assert_eq!(result(record, &[(of, "later")]), SpfResult::TempError, "{record}");
        }
        assert_eq!(result("later", &[]), SpfResult::TempError);
        // Nobody must hold the bag for the client's own names (RFC 7208 §5.5).
        assert_eq!(result("v=spf1 ptr ~all", &[("192.0.2.7 PTR", "later")]), SpfResult::SoftFail);
        let verdict = Check::new(&request("ann@a.example")).give_up("nobody waits");
        assert_eq!((verdict.result, verdict.why.as_str()), (SpfResult::TempError, "nobody waits"));
        let mut check = Check::new(&request("ann@a.example"));
        check.answer(said("a.example TXT", "v=spf1 -all exp=e.example"));
        assert_eq!(check.give_up("").result, SpfResult::Fail, "only the explanation is missing");
    }

    #[test]
    fn explanations_are_others_words_made_harmless() {
        let long = format!("%{{l}} {}", "x".repeat(2000));
        let zone = &[("a.example TXT", "v=spf1 -all exp=e.example"), ("e.example TXT", &long)][..];
        let sender = "\"a\r\nb\"@a.example";
        let (verdict, _) = run(&request(sender), zone);
        let text = verdict.explanation.expect("an explanation");
        assert!(text.starts_with("\"ab\" xxx") && text.len() == 500, "{text}");
    }

    #[test]
    fn fields_are_written() {
        let zone = &[("a.example TXT", "v=spf1 -all")][..];
        let request = request("ann(x)\"@a.example");
        let (verdict, _) = run(&request, zone);
        assert_eq!(verdict.results(), "spf=fail smtp.mailfrom=a.example");
        let field = verdict.received_spf(&request);
        assert_eq!(posthorn_mime::header_fault(field.as_bytes()), None);
        assert_eq!(
            field,
            "Received-SPF: fail (mx.example.org: `-all` in the record of a.example matches 192.0.2.7)\r\n\tclient-ip=192.0.2.7; identity=mailfrom;\r\n\tenvelope-from=\"ann(x)\\\"@a.example\"; helo=\"mail.example.net\";\r\n\treceiver=mx.example.org;\r\n\tmechanism=\"-all\";\r\n"
        );
        let odd = Verdict { domain: "x; dkim=pass".to_owned(), ..verdict };
        assert_eq!(odd.results(), "spf=fail");
    }
}
