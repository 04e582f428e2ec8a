//! What clients ask.

use bytes::Bytes;

use crate::encoding::decode;

/// A request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Do something with a message in quarantine.
    Held(Demand, Held),
    /// Judge a message that lies in a file.
    Check(Box<Check>),
    /// Something that nobody here knows, by its name.
    Unknown(String),
}

/// What is to become of a message in quarantine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Demand {
    /// Deliver it, unchecked.
    Release,
    /// Feed it through the filter again.
    Requeue,
    /// Report it as abuse (ARF).
    Report,
}

/// Which message, and for whom.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// Its public id; from the file's name when nothing else says it.
    pub mail_id: String,
    /// What authorises: who knows it owns the message.
    pub secret_id: Option<Secret>,
    /// `F`, `Z`, `B`, `Q` or `M`: how another filter would have stored it.
    pub quar_type: Option<String>,
    /// Where another filter would have stored it.
    pub mail_file: Option<String>,
    /// The part of the quarantine.
    pub partition_tag: Option<String>,
    /// Who asks, for the trace.
    pub requested_by: Option<String>,
    /// Another sender than the message had.
    pub sender: Option<String>,
    /// Other recipients than those that were blocked; empty: those.
    pub recipients: Vec<String>,
}

/// A secret that no log shows.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// What the client said.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A message to judge.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Check {
    /// The reverse path, without angle brackets; empty is the null path.
    pub sender: String,
    /// The recipients, likewise.
    pub recipients: Vec<String>,
    /// The file that holds the message; inside `tempdir` when there is none.
    pub mail_file: Option<String>,
    /// The helper's directory for this message.
    pub tempdir: Option<String>,
    /// Whether the server is to remove that directory: `server` or `client`.
    pub tempdir_removed_by: Option<String>,
    /// Who delivers afterwards: `server` or `client`.
    pub delivery_care_of: Option<String>,
    /// The MTA's id of the message.
    pub queue_id: Option<String>,
    /// How the message came: `SMTP`, `ESMTP` …
    pub protocol_name: Option<String>,
    /// What the client called itself.
    pub helo_name: Option<String>,
    /// The client's address.
    pub client_address: Option<String>,
    /// The client's name.
    pub client_name: Option<String>,
    /// Overlays of the configuration that the helper wants.
    pub policy_bank: Option<String>,
}

/// Why a request is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// An attribute without `=`.
    #[error("a line that is no attribute")]
    NoAttribute,
    /// No `request` at its beginning.
    #[error("a request that does not say what it asks")]
    NoRequest,
    /// Too long, or too many lines.
    #[error("a request without end")]
    TooLong,
    /// No message is named.
    #[error("a request that names no message")]
    NoMessage,
}

/// The attributes of a request on their way in.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    all: Vec<(Bytes, Vec<u8>)>,
    octets: usize,
}

impl Attributes {
    pub(crate) fn has_begun(&self) -> bool {
        self.octets > 0
    }

    /// Takes a line without its end.
    pub(crate) fn take(&mut self, line: Bytes) -> Result<(), Fault> {
        self.octets += line.len() + 1;
        if self.octets > MOST_OCTETS || self.all.len() >= MOST_LINES {
            return Err(Fault::TooLong);
        }
        let at = memchr::memchr(b'=', &line).filter(|at| *at > 0).ok_or(Fault::NoAttribute)?;
        if self.all.is_empty() && &line[..at] != b"request" {
            return Err(Fault::NoRequest);
        }
        self.all.push((line.slice(..at), decode(&line[at + 1..])));
        Ok(())
    }

    /// The whole of it.
    pub(crate) fn end(self) -> Result<Request, Fault> {
        let demand = match self.one("request").as_deref() {
            Some("release") => Demand::Release,
            Some("requeue") => Demand::Requeue,
            Some("report") => Demand::Report,
            Some("AM.PDP") => return Ok(Request::Check(Box::new(self.check()))),
            Some(other) => return Ok(Request::Unknown(other.to_owned())),
            None => return Err(Fault::NoRequest),
        };
        let mail_file = self.one("mail_file");
        let named = self.one("mail_id").filter(|id| !id.is_empty());
        let Some(mail_id) = named.or_else(|| mail_file.as_deref().map(id_in)) else { return Err(Fault::NoMessage) };
        Ok(Request::Held(
            demand,
            Held {
                mail_id,
                secret_id: self.one("secret_id").filter(|secret| !secret.is_empty()).map(Secret),
                quar_type: self.one("quar_type"),
                mail_file,
                partition_tag: self.one("partition_tag"),
                requested_by: self.one("requested_by"),
                sender: self.one("sender").map(bare),
                recipients: self.many("recipient").map(bare).collect(),
            },
        ))
    }

    fn check(&self) -> Check {
        Check {
            sender: self.one("sender").map(bare).unwrap_or_default(),
            recipients: self.many("recipient").map(bare).collect(),
            mail_file: self.one("mail_file"),
            tempdir: self.one("tempdir"),
            tempdir_removed_by: self.one("tempdir_removed_by"),
            delivery_care_of: self.one("delivery_care_of"),
            queue_id: self.one("queue_id"),
            protocol_name: self.one("protocol_name"),
            helo_name: self.one("helo_name"),
            client_address: self.one("client_address"),
            client_name: self.one("client_name"),
            policy_bank: self.one("policy_bank"),
        }
    }

    fn many(&self, name: &str) -> impl Iterator<Item = String> {
        let named = self.all.iter().filter(move |(known, _)| known == name.as_bytes());
        // NUL is what no database keeps in a text.
        named.map(|(_, value)| String::from_utf8_lossy(value).replace('\0', "\u{fffd}"))
    }

    fn one(&self, name: &str) -> Option<String> {
        self.many(name).next()
    }
}

/// A path without its angle brackets.
fn bare(path: String) -> String {
    match path.strip_prefix('<').and_then(|inner| inner.strip_suffix('>')) {
        Some(inner) => inner.to_owned(),
        None => path,
    }
}

/// The id in the name of a file such as `spam-aBcDeFgHiJkL.gz`.
fn id_in(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(".gz").unwrap_or(name);
    // An id has hyphens of its own, so its length tells.
    let kind = |(kind, _): &(&str, &str)| kind.bytes().all(|octet| octet.is_ascii_lowercase());
    match name.split_once('-').filter(kind) {
        Some((_, id)) => id.to_owned(),
        None => name.to_owned(),
    }
}

const MOST_OCTETS: usize = 512 << 10;
const MOST_LINES: usize = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, Fault> {
        let mut attributes = Attributes::default();
        for line in text.lines() {
            attributes.take(Bytes::copy_from_slice(line.as_bytes()))?;
        }
        attributes.end()
    }

    #[test]
    fn a_release_is_read() {
        let text = "request=release\nmail_id=aBcDeFgHiJkL\nquar_type=Q\nsecret_id=s-3cret\nsender=<>\n\
                    recipient=<bob@example.org>\nrecipient=eve%20x@example.org\nrequested_by=Anna%20%25\nnew=1";
        let Ok(Request::Held(Demand::Release, held)) = read(text) else { panic!("{:?}", read(text)) };
        assert_eq!(held.mail_id, "aBcDeFgHiJkL");
        assert_eq!(held.secret_id.as_ref().map(Secret::expose), Some("s-3cret"));
        assert_eq!(held.sender.as_deref(), Some(""));
        assert_eq!(held.recipients, ["bob@example.org", "eve x@example.org"]);
        assert_eq!(held.requested_by.as_deref(), Some("Anna %"));
        assert!(!format!("{held:?}").contains("3cret"));
    }

    #[test]
    fn the_file_may_name_the_message() {
        for (file, id) in [
            ("spam-aBcDeFgHiJkL.gz", "aBcDeFgHiJkL"),
            ("/var/lib/virusmails/Y/virus-YBc-eFgHiJkL", "YBc-eFgHiJkL"),
            ("aBcDeFgHiJkL", "aBcDeFgHiJkL"),
            ("aB-DeFgHiJkL", "aB-DeFgHiJkL"),
        ] {
            let Ok(Request::Held(_, held)) = read(&format!("request=report\nmail_file={file}")) else {
                panic!("{file}")
            };
            assert_eq!(held.mail_id, id);
        }
    }

    #[test]
    fn a_check_is_read() {
        let text =
            "request=AM.PDP\nsender=<a@example.org>\nrecipient=<b@example.org>\ntempdir=/x/y\nclient_address=192.0.2.1";
        let Ok(Request::Check(check)) = read(text) else { panic!("{:?}", read(text)) };
        assert_eq!(check.sender, "a@example.org");
        assert_eq!(check.tempdir.as_deref(), Some("/x/y"));
        assert_eq!(check.client_address.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn what_is_no_text_is_none_of_a_name() {
        let Ok(Request::Held(_, held)) = read("request=release\nmail_id=a%00b\0c%ff\nsender=x%00") else {
            panic!("a request")
        };
        assert_eq!((held.mail_id.as_str(), held.sender.as_deref()), ("a\u{fffd}b\u{fffd}c\u{fffd}", Some("x\u{fffd}")));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(read(""), Err(Fault::NoRequest));
        assert_eq!(read("mail_id=x\nrequest=release"), Err(Fault::NoRequest));
        assert_eq!(read("request=release\nno attribute"), Err(Fault::NoAttribute));
        assert_eq!(read("request=release\n=x"), Err(Fault::NoAttribute));
        assert_eq!(read("request=release"), Err(Fault::NoMessage));
        assert_eq!(read("request=dance"), Ok(Request::Unknown("dance".to_owned())));
        let many = format!("request=release\n{}", "recipient=x\n".repeat(MOST_LINES));
        assert_eq!(read(&many), Err(Fault::TooLong));
        let long = format!("request=release\nmail_id={}", "x".repeat(MOST_OCTETS));
        assert_eq!(read(&long), Err(Fault::TooLong));
    }
}
