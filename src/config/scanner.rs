//! `[[scanner]]`: engines of others that look at messages: clamd, rspamd, spamd, milters, content filters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{Checker, Names};
use crate::{ServiceAddress, Size, Span};

/// An engine of somebody else that looks at messages before they are accepted.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scanner {
    /// The name in traces and logs; unique.
    #[schemars(example = &"clamd")]
    pub name: String,
    /// What it speaks.
    pub kind: ScannerKind,
    /// Where it listens: `127.0.0.1:3310`, `[::1]:3310` or the path of a Unix socket. Several are asked in turn.
    #[schemars(extend("examples" = [["127.0.0.1:3310"]]))]
    pub address: Vec<ServiceAddress>,
    /// Asked only when none of `address` answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("examples" = [["192.0.2.7:3310"]]))]
    pub backup: Vec<ServiceAddress>,
    /// Which mail it looks at.
    #[serde(default = "everything")]
    pub ways: Vec<ScannerWay>,
    /// What becomes of mail when it cannot be asked.
    #[serde(default)]
    pub on_failure: ScannerFailure,
    /// The same for mail of our own people; as `on_failure` where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure_originating: Option<ScannerFailure>,
    /// How long a connection may take to come up.
    #[serde(default = "five_seconds")]
    pub connect_time: Span,
    /// How long one message may take, all attempts together. `lmtp` and `smtp`: who was given the message has as long again to answer for it.
    #[serde(default = "sixty_seconds")]
    pub time: Span,
    /// Larger messages are not shown to it, and marked as unchecked. clamd: at most its `StreamMaxLength`.
    #[serde(default = "twenty_five_mebibytes")]
    pub max_size: Size,
    /// The most connections to one address at once; who needs one more waits.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 1000))]
    pub connections: u32,
    /// A connection that was not used for so long is closed. clamd: shorter than its `IdleTimeout`.
    #[serde(default = "twenty_seconds")]
    pub idle_time: Span,
    /// A connection that is older is closed.
    #[serde(default = "thousand_seconds")]
    pub total_time: Span,
    /// clamd: for how long the verdict on the same content is remembered; 0 asks each time.
    #[serde(default = "five_minutes")]
    pub remember: Span,
    /// clamd: what of a message it is shown. Signatures for mail as such, and its own marks of phishing, need `message`.
    #[serde(default)]
    pub shown: ScannerShown,
    /// What spamd is asked for: `SYMBOLS`, `CHECK` or `PROCESS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"SYMBOLS")]
    pub request: Option<String>,
    /// ICAP: the name of the service, such as `avscan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"avscan")]
    pub service: Option<String>,
}

/// What an engine speaks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "kind of scanner"))]
#[serde(rename_all = "kebab-case")]
pub enum ScannerKind {
    /// clamd: one session for many messages, as streams, or as files in memory over a Unix socket, which costs clamd far less.
    Clamd,
    /// A service of an ICAP server, in programs that are built with the feature `icap`.
    Icap,
    /// A content filter behind LMTP that sends messages back to a listener of ours.
    Lmtp,
    /// A milter, such as opendkim.
    Milter,
    /// rspamd: HTTP, `/checkv2`.
    Rspamd,
    /// A content filter behind SMTP that sends messages back to a listener of ours, such as amavisd.
    Smtp,
    /// spamd of SpamAssassin.
    Spamd,
}

impl ScannerKind {
    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clamd => "clamd",
            Self::Icap => "icap",
            Self::Lmtp => "lmtp",
            Self::Milter => "milter",
            Self::Rspamd => "rspamd",
            Self::Smtp => "smtp",
            Self::Spamd => "spamd",
        }
    }

    /// Whether it takes messages over and sends them back itself.
    #[must_use]
    pub const fn takes_over(self) -> bool {
        matches!(self, Self::Lmtp | Self::Smtp)
    }
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "way of mail"))]
#[serde(rename_all = "kebab-case")]
pub enum ScannerWay {
    /// From strangers.
    Inbound,
    /// From a mailing list of ours.
    List,
    /// From our own people.
    Originating,
}

/// What becomes of mail when an engine cannot be asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "way out"))]
#[serde(rename_all = "kebab-case")]
pub enum ScannerFailure {
    /// The client is told to come back (451).
    #[default]
    Defer,
    /// It passes, marked as unchecked.
    Pass,
}

/// What of a message an engine is shown.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "view of a message"))]
#[serde(rename_all = "kebab-case")]
pub enum ScannerShown {
    /// The message as it is, which the engine takes apart itself: for clamd three times the work.
    Message,
    /// Its parts, decoded, one by one; the message as it is where there is any doubt about what its parts are.
    #[default]
    Parts,
}

impl Scanner {
    /// An engine with everything else at its default.
    #[must_use]
    pub fn new(name: &str, kind: ScannerKind, address: ServiceAddress) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            address: vec![address],
            backup: Vec::new(),
            ways: everything(),
            on_failure: ScannerFailure::Defer,
            on_failure_originating: None,
            connect_time: five_seconds(),
            time: sixty_seconds(),
            max_size: twenty_five_mebibytes(),
            connections: twenty(),
            idle_time: twenty_seconds(),
            total_time: thousand_seconds(),
            remember: five_minutes(),
            shown: ScannerShown::default(),
            request: None,
            service: None,
        }
    }

    /// What becomes of mail of this way when the engine cannot be asked.
    #[must_use]
    pub fn failure(&self, way: ScannerWay) -> ScannerFailure {
        let own = self.on_failure_originating.filter(|_| way != ScannerWay::Inbound);
        own.unwrap_or(self.on_failure)
    }
}

/// Judges the engines: unique names, addresses, times that are some, requests that there are.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let mut names = Names::new("scanner");
    let scanners = &checker.config().scanner;
    for (at, scanner) in scanners.iter().enumerate() {
        let key = format!("scanner[{at}]");
        names.take(checker, &format!("{key}.name"), &scanner.name);
        if scanner.address.is_empty() {
            checker.refuse(&format!("{key}.address"), "a scanner without an address is never asked");
        }
        if scanner.ways.is_empty() {
            checker.refuse(&format!("{key}.ways"), "a scanner that looks at nothing is never asked");
        }
        for (name, span) in [("connect_time", scanner.connect_time), ("time", scanner.time)] {
            if span.limit().is_none() {
                checker.refuse(&format!("{key}.{name}"), "without a limit a silent scanner would keep clients waiting");
            }
        }
        if let Err(why) = request(scanner) {
            checker.refuse(&format!("{key}.request"), why);
        }
        if let Err(why) = service(scanner) {
            checker.refuse(&format!("{key}.service"), why);
        }
    }
    let mut behind = scanners.iter().enumerate().filter(|(_, scanner)| scanner.kind.takes_over());
    if let (Some((_, first)), Some((at, _))) = (behind.next(), behind.next()) {
        let why = format!("\"{}\" takes messages over already; one content filter can", first.name);
        checker.refuse(&format!("scanner[{at}].kind"), why);
    }
}

/// Whether what is asked for exists.
fn request(scanner: &Scanner) -> Result<(), String> {
    let Some(request) = &scanner.request else { return Ok(()) };
    match scanner.kind {
        ScannerKind::Spamd if matches!(request.as_str(), "SYMBOLS" | "CHECK" | "PROCESS") => Ok(()),
        ScannerKind::Spamd => Err(format!("spamd has no \"{request}\"; write SYMBOLS, CHECK or PROCESS")),
        kind => Err(format!("{} knows no request", kind.name())),
    }
}

/// Whether an ICAP server is told whom to ask.
fn service(scanner: &Scanner) -> Result<(), String> {
    let written = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~/?=&%".contains(&octet);
    match (&scanner.service, scanner.kind) {
        (Some(name), ScannerKind::Icap) if !name.is_empty() && name.bytes().all(written) => Ok(()),
        (Some(name), ScannerKind::Icap) => Err(format!("\"{name}\" cannot stand in the address of a service")),
        (None, ScannerKind::Icap) => Err("an ICAP server has several; name one, such as avscan".to_owned()),
        (None, _) => Ok(()),
        (Some(_), kind) => Err(format!("{} has no services", kind.name())),
    }
}

fn everything() -> Vec<ScannerWay> {
    vec![ScannerWay::Inbound, ScannerWay::Originating, ScannerWay::List]
}

const fn five_seconds() -> Span {
    Span::from_secs(5)
}

const fn twenty_seconds() -> Span {
    Span::from_secs(20)
}

const fn sixty_seconds() -> Span {
    Span::from_secs(60)
}

const fn five_minutes() -> Span {
    Span::from_secs(300)
}

const fn thousand_seconds() -> Span {
    Span::from_secs(1000)
}

const fn twenty_five_mebibytes() -> Size {
    Size::mebibytes(25)
}

const fn twenty() -> u32 {
    20
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::problems;

    /// One scanner with some more lines, which begin with line 5.
    fn scanner(lines: &str) -> Vec<String> {
        problems(&format!("[[scanner]]\nname = 'a'\nkind = 'spamd'\naddress = ['127.0.0.1:783']\n{lines}\n"))
    }

    #[test]
    fn a_scanner_that_works_is_fine() {
        for lines in ["", "ways = ['inbound']\non_failure = 'pass'", "request = 'CHECK'\nbackup = ['/run/spamd']"] {
            assert_eq!(scanner(lines), [""; 0], "{lines}");
        }
    }

    #[test]
    fn one_that_cannot_work_is_refused_where_it_is_wrong() {
        let another = "[[scanner]]\nname = 'b'\nkind = 'smtp'\naddress = ['127.0.0.1:10024']\n\
            [[scanner]]\nname = 'c'\nkind = 'lmtp'\naddress = ['127.0.0.1:10026']";
        for (lines, expected) in [
            ("ways = []", "5: scanner[0].ways: a scanner that looks at nothing"),
            ("time = 0", "5: scanner[0].time: without a limit"),
            ("connections = 0", "5: scanner[0].connections: "),
            ("request = 'TELL'", "5: scanner[0].request: spamd has no \"TELL\""),
            ("on_failure = 'shrug'", "5: scanner[0].on_failure: "),
            ("service = 'avscan'", "5: scanner[0].service: spamd has no services"),
            (
                "[[scanner]]\nname = 'b'\nkind = 'icap'\naddress = ['127.0.0.1:1344']\nservice = 'a b'",
                "9: scanner[1].service: \"a b\" cannot stand",
            ),
            (
                "[[scanner]]\nname = 'b'\nkind = 'icap'\naddress = ['127.0.0.1:1344']",
                "5: scanner[1].service: an ICAP server has several",
            ),
            (another, "11: scanner[2].kind: \"b\" takes messages over already"),
        ] {
            let found = scanner(lines);
            assert_eq!(found.len(), 1, "{lines}\n{found:#?}");
            assert!(found[0].starts_with(&format!("posthorn.toml:{expected}")), "{lines}\n{found:#?}");
        }
        let found = problems("[[scanner]]\nname = 'a'\nkind = 'clamd'\naddress = []\n");
        assert_eq!(found.len(), 1, "{found:#?}");
    }

    #[test]
    fn what_a_failure_means_goes_by_the_way() {
        let mut scanner = Scanner::new("a", ScannerKind::Clamd, ServiceAddress::Unix("/run/clamd".into()));
        assert_eq!(scanner.failure(ScannerWay::Originating), ScannerFailure::Defer);
        scanner.on_failure_originating = Some(ScannerFailure::Pass);
        assert_eq!(scanner.failure(ScannerWay::List), ScannerFailure::Pass);
        assert_eq!(scanner.failure(ScannerWay::Inbound), ScannerFailure::Defer);
    }
}
