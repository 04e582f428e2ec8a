//! spamd of SpamAssassin (its protocol 1.5): one connection for each message.

use bytes::Bytes;
use posthorn_filter::{Change, Point, Scanned};
use posthorn_net::egress::Link;

use crate::exchange::{End, exchange};
use crate::field::is_name;
use crate::protocol::{Handed, Protocol};
use crate::question::Question;
use crate::shown::shown;

/// The protocol of spamd, and what it is asked for.
pub(crate) struct Spamd {
    pub(crate) request: Request,
}

/// What spamd is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Request {
    /// The score.
    Check,
    /// The message with its fields on top.
    Process,
    /// The score, and the names of the rules behind it.
    Symbols,
}

impl Request {
    /// The word that the configuration has checked.
    pub(crate) fn of(word: Option<&str>) -> Self {
        match word {
            Some("CHECK") => Self::Check,
            Some("PROCESS") => Self::Process,
            _ => Self::Symbols,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Check => "CHECK",
            Self::Process => "PROCESS",
            Self::Symbols => "SYMBOLS",
        }
    }
}

/// Its own lines, beside the message that comes back.
const ANSWER: usize = 256 << 10;

impl Protocol for Spamd {
    type Connection = Link;

    const LOOKS_FOR_VIRUSES: bool = false;
    const REMEMBERED: bool = false;

    async fn open(&self, link: Link) -> Result<Link, String> {
        Ok(link)
    }

    async fn ask(
        &self,
        mut link: Link,
        question: &Question<'_>,
        _: &Handed,
    ) -> Result<(Scanned, Option<Link>), String> {
        let octets = question.octets;
        let head = format!("{} SPAMC/1.5\r\nContent-length: {}\r\n\r\n", self.request.word(), octets.len());
        let limit = ANSWER + if self.request == Request::Process { octets.len() * 2 } else { 0 };
        let until_closed =
            |buffer: &[u8], over| Ok(if over && !buffer.is_empty() { End::At(buffer.len()) } else { End::Later });
        let heard = exchange(&mut link, [Bytes::from(head), octets.clone()], limit, until_closed).await?;
        Ok((read(&heard.answer, self.request)?, None))
    }
}

/// A status line, header lines, an empty line, and what was asked for.
fn read(answer: &[u8], request: Request) -> Result<Scanned, String> {
    let nonsense = || format!("it answered \"{}\"", shown(answer));
    let end = memchr::memmem::find(answer, b"\r\n\r\n").ok_or_else(nonsense)?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let head = std::str::from_utf8(head).map_err(|_| nonsense())?;
    let mut lines = head.split("\r\n");
    let mut status = lines.next().unwrap_or_default().splitn(3, ' ');
    if !status.next().is_some_and(|word| word.starts_with("SPAMD/")) {
        return Err(nonsense());
    }
    if status.next() != Some("0") {
        return Err(nonsense());
    }
    let mut score = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(nonsense)?;
        if name.eq_ignore_ascii_case("Content-length") && value.trim().parse() != Ok(body.len()) {
            return Err("its answer is not as long as it says".to_owned());
        }
        if name.eq_ignore_ascii_case("Spam") {
            score = Some(spam(value).ok_or_else(nonsense)?);
        }
    }
    let score = score.ok_or_else(nonsense)?;
    let mut said = Scanned::default();
    let why = if request == Request::Symbols { shown(body) } else { String::new() };
    said.points.push(Point::new("SPAMD", score, why));
    if request == Request::Process {
        said.changes = fields(body);
    }
    Ok(said)
}

/// `True ; 15.0 / 5.0`
fn spam(value: &str) -> Option<f64> {
    let (verdict, scores) = value.split_once(';')?;
    let known = ["True", "False", "Yes", "No"].iter().any(|word| word.eq_ignore_ascii_case(verdict.trim()));
    let (score, _) = scores.split_once('/').filter(|_| known)?;
    // Its zero is often `-0.0`.
    score.trim().parse().ok().filter(|score: &f64| score.is_finite()).map(|score| score + 0.0)
}

/// The `X-Spam-` fields on top of the message that came back.
fn fields(message: &[u8]) -> Vec<Change> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in message.split(|octet| *octet == b'\n') {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if text.is_empty() || found.len() >= MOST_FIELDS {
            break;
        }
        if text.starts_with([' ', '\t']) {
            if let Some((_, value)) = found.last_mut().filter(|_| inside) {
                value.push_str("\r\n");
                value.push_str(&text);
            }
            continue;
        }
        let field = text.split_once(':').filter(|(name, _)| is_spam_field(name));
        inside = field.is_some();
        found.extend(field.map(|(name, value)| (name.to_owned(), value.trim_start().to_owned())));
    }
    let insert = |(at, (name, value))| Change::InsertField { at, name, value };
    found.into_iter().enumerate().map(insert).collect()
}

fn is_spam_field(name: &str) -> bool {
    name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("X-Spam-")) && is_name(name)
}

const MOST_FIELDS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::{Script, message, question, said};

    #[test]
    fn answers_are_read() {
        let found = read(
            b"SPAMD/1.1 0 EX_OK\r\nContent-length: 17\r\nSpam: True ; 15.1 / 5.0\r\n\r\nGTUBE,NO_RELAYS\r\n",
            Request::Symbols,
        );
        assert_eq!(found.expect("an answer").points, [Point::new("SPAMD", 15.1, "GTUBE,NO_RELAYS")]);
        let found = read(b"SPAMD/1.1 0 EX_OK\r\nSpam: False ; -0.9 / 5.0\r\n\r\n", Request::Check);
        assert_eq!(found.expect("an answer").points, [Point::new("SPAMD", -0.9, "")]);
        let body = "Received: x\r\nX-Spam-Status: No, score=1.0\r\n\ttests=A\r\nSubject: x\r\n y\r\n\r\nX-Spam-X: 1";
        let head = format!("SPAMD/1.1 0 EX_OK\r\nContent-length: {}\r\nSpam: False ; 1.0 / 5.0\r\n\r\n", body.len());
        let processed = head + body;
        let found = read(processed.as_bytes(), Request::Process).expect("an answer");
        let value = "No, score=1.0\r\n\ttests=A".to_owned();
        assert_eq!(found.changes, [Change::InsertField { at: 0, name: "X-Spam-Status".to_owned(), value }]);
    }

    #[test]
    fn malformed_answers_are_no_verdicts() {
        for answer in [
            &b""[..],
            b"\r\n\r\n",
            b"SPAMD/1.1 0 EX_OK\r\n",
            b"SPAMD/1.1 0 EX_OK\r\n\r\n",
            b"SPAMD/1.1 75 EX_TEMPFAIL\r\nSpam: False ; 0 / 5\r\n\r\n",
            b"HTTP/1.1 0 OK\r\nSpam: False ; 0 / 5\r\n\r\n",
            b"SPAMD/1.1 0 EX_OK\r\nSpam False\r\n\r\n",
            b"SPAMD/1.1 0 EX_OK\r\nSpam: Perhaps ; 0 / 5\r\n\r\n",
            b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; much / 5\r\n\r\n",
            b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; NaN / 5\r\n\r\n",
            b"SPAMD/1.1 0 EX_OK\r\nContent-length: 9\r\nSpam: True ; 1 / 5\r\n\r\nshort",
            b"SPAMD/1.1 0 EX_OK\r\nX: \xff\r\nSpam: True ; 1 / 5\r\n\r\n",
        ] {
            assert!(read(answer, Request::Symbols).is_err(), "{}", String::from_utf8_lossy(answer));
        }
    }

    #[tokio::test]
    async fn a_message_is_asked_about() {
        let answer = "SPAMD/1.1 0 EX_OK\r\nContent-length: 3\r\nSpam: False ; 2.5 / 5.0\r\n\r\nA,B";
        let script = Script::new().session(&[answer]).closing();
        let server = script.when(|heard| heard.ends_with(b"body\r\n")).serve().await;
        let service = server.service(Spamd { request: Request::Symbols });
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        assert_eq!(said(&service, &question(&octets)).await.points, [Point::new("SPAMD", 2.5, "A,B")]);
        let expected =
            format!("SYMBOLS SPAMC/1.5\r\nContent-length: {}\r\n\r\nSubject: x\r\n\r\nbody\r\n", octets.len());
        assert_eq!(server.heard(), [expected.into_bytes()]);
    }
}
