//! Requests: attributes, one on each line, in both directions.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::BytesMut;
use posthorn_model::policy::{CertificateFacts, EncryptionFacts, Inquiry, SaslFacts, Stage};
use posthorn_model::{Address, Domain};

use crate::xtext;

/// Why octets are no request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A value of something that is looked at is longer than any mail system writes it.
    #[error("a value is too long")]
    LongValue,
    /// More attributes or octets than any request has.
    #[error("the request does not end")]
    Endless,
    /// A line without `=`.
    #[error("a line is no attribute")]
    NoAttribute,
    /// A request that does not say `request=smtpd_access_policy`.
    #[error("not a request of the policy protocol")]
    NoRequest,
    /// A request that does not say at which stage it is asked.
    #[error("the request says no protocol_state")]
    NoStage,
    /// An octet that no text has.
    #[error("a NUL")]
    Nul,
}

/// Attributes of one request.
pub(crate) const ATTRIBUTES: u32 = 1000;
/// Octets of one request.
pub(crate) const OCTETS: usize = 4 << 20;
/// Octets of one line that is looked at.
pub(crate) const LINE: usize = 8192;

/// A request as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Request {
    inquiry: Box<Inquiry>,
    named: bool,
    stage: Told,
    sender: Option<String>,
    attributes: u32,
    octets: usize,
}

/// What a request said of its stage.
#[derive(Debug, Default)]
enum Told {
    #[default]
    Nothing,
    Known(Stage),
    /// A stage that this program has not heard of.
    New,
}

/// What a whole request is.
#[derive(Debug)]
pub(crate) enum Whole {
    Inquiry(Box<Inquiry>),
    /// About a stage that nobody here has an opinion of.
    NewStage,
}

impl Request {
    /// Whether anything of it has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.octets > 0
    }

    /// Counts a line of so many octets.
    pub(crate) fn count(&mut self, octets: usize) -> Result<(), Fault> {
        self.attributes += 1;
        self.count_octets(octets)?;
        if self.attributes > ATTRIBUTES { Err(Fault::Endless) } else { Ok(()) }
    }

    /// Counts octets of a line that nobody looks at.
    pub(crate) fn count_octets(&mut self, octets: usize) -> Result<(), Fault> {
        self.octets += octets.max(1);
        if self.octets > OCTETS { Err(Fault::Endless) } else { Ok(()) }
    }

    /// Takes one attribute.
    pub(crate) fn take(&mut self, line: &[u8]) -> Result<(), Fault> {
        let equals = memchr::memchr(b'=', line).filter(|at| *at > 0).ok_or(Fault::NoAttribute)?;
        if memchr::memchr(0, line).is_some() {
            return Err(Fault::Nul);
        }
        let Ok(name) = std::str::from_utf8(&line[..equals]) else { return Ok(()) };
        // Old mail programs put octets of any alphabet into HELO and addresses.
        let value = String::from_utf8_lossy(&line[equals + 1..]);
        if name == "request" {
            self.named = value == "smtpd_access_policy";
            return if self.named { Ok(()) } else { Err(Fault::NoRequest) };
        }
        if value.is_empty() && name != "sender" {
            return Ok(());
        }
        let value: &str = &value;
        if !self.take_envelope(name, value) && !self.take_client(name, value) {
            self.take_security(name, value);
        }
        Ok(())
    }

    /// Whether this attribute is looked at.
    pub(crate) fn knows(name: &[u8]) -> bool {
        NAMES.iter().any(|known| known.as_bytes() == name)
    }

    /// The request is whole.
    pub(crate) fn end(mut self) -> Result<Whole, Fault> {
        if !self.named {
            return Err(Fault::NoRequest);
        }
        let stage = match self.stage {
            Told::Nothing => return Err(Fault::NoStage),
            Told::New => return Ok(Whole::NewStage),
            Told::Known(stage) => stage,
        };
        self.inquiry.stage = stage;
        // Before MAIL an empty sender is one that was not said yet.
        let said = matches!(stage, Stage::Mail | Stage::Rcpt | Stage::Data | Stage::EndOfMessage);
        self.inquiry.sender = self.sender.filter(|sender| said || !sender.is_empty());
        Ok(Whole::Inquiry(self.inquiry))
    }

    fn take_envelope(&mut self, name: &str, value: &str) -> bool {
        let inquiry = &mut *self.inquiry;
        match name {
            "protocol_state" => {
                let data = value.eq_ignore_ascii_case("BDAT").then_some(Stage::Data);
                self.stage = Stage::parse(value).or(data).map_or(Told::New, Told::Known);
            }
            "protocol_name" => value.clone_into(&mut inquiry.protocol),
            "helo_name" => inquiry.helo = Some(value.to_owned()),
            "queue_id" => inquiry.queue_id = Some(value.to_owned()),
            "sender" => self.sender = Some(quoted(value)),
            "recipient" => inquiry.recipient = Some(quoted(value)),
            "recipient_count" => inquiry.recipient_count = value.parse().unwrap_or(0),
            "instance" => value.clone_into(&mut inquiry.instance),
            "size" => inquiry.size = value.parse().unwrap_or(0),
            "etrn_domain" => inquiry.etrn_domain = Some(value.to_owned()),
            "stress" => inquiry.stress = value == "yes",
            "policy_context" => inquiry.policy_context = Some(value.to_owned()),
            "compatibility_level" => inquiry.compatibility_level = Some(value.to_owned()),
            "mail_version" => inquiry.mail_version = Some(value.to_owned()),
            _ => return false,
        }
        true
    }

    fn take_client(&mut self, name: &str, value: &str) -> bool {
        let known = |value: &str| (value != "unknown").then(|| value.to_owned());
        let port = |value: &str| value.parse().ok().filter(|port| *port > 0);
        let Inquiry { client, server, .. } = &mut *self.inquiry;
        match name {
            "client_address" => client.address = address(value),
            "client_port" => client.port = port(value),
            "client_name" => client.name = known(value),
            "reverse_client_name" => client.reverse_name = known(value),
            "server_address" => server.address = address(value),
            "server_port" => server.port = port(value),
            _ => return false,
        }
        true
    }

    fn take_security(&mut self, name: &str, value: &str) {
        let inquiry = &mut *self.inquiry;
        let sasl = |inquiry: &mut Inquiry, put: fn(&mut SaslFacts, String)| {
            put(inquiry.sasl.get_or_insert_default(), value.to_owned());
        };
        let certificate = |inquiry: &mut Inquiry, put: fn(&mut CertificateFacts, String)| {
            put(inquiry.certificate.get_or_insert_default(), xtext::decode(value));
        };
        let encryption = |inquiry: &mut Inquiry, put: fn(&mut EncryptionFacts, &str)| {
            put(inquiry.encryption.get_or_insert_default(), value);
        };
        match name {
            "sasl_method" => sasl(inquiry, |facts, value| facts.method = value),
            "sasl_username" => sasl(inquiry, |facts, value| facts.username = value),
            "sasl_sender" => sasl(inquiry, |facts, value| facts.sender = Some(value)),
            "ccert_subject" => certificate(inquiry, |facts, value| facts.subject = Some(value)),
            "ccert_issuer" => certificate(inquiry, |facts, value| facts.issuer = Some(value)),
            "ccert_fingerprint" => certificate(inquiry, |facts, value| facts.fingerprint = Some(value)),
            "ccert_pubkey_fingerprint" => certificate(inquiry, |facts, value| facts.pubkey_fingerprint = Some(value)),
            "encryption_protocol" => encryption(inquiry, |facts, value| value.clone_into(&mut facts.protocol)),
            "encryption_cipher" => encryption(inquiry, |facts, value| value.clone_into(&mut facts.cipher)),
            // Postfix says 0 where there is no TLS.
            "encryption_keysize" if value != "0" => {
                encryption(inquiry, |facts, value| facts.keysize = value.parse().unwrap_or(0));
            }
            "tls_sni" => encryption(inquiry, |facts, value| facts.sni = Some(value.to_owned())),
            _ => {}
        }
    }
}

/// Every attribute that is looked at.
const NAMES: &[&str] = &[
    "request",
    "protocol_state",
    "protocol_name",
    "helo_name",
    "queue_id",
    "sender",
    "recipient",
    "recipient_count",
    "client_address",
    "client_name",
    "reverse_client_name",
    "instance",
    "sasl_method",
    "sasl_username",
    "sasl_sender",
    "size",
    "ccert_subject",
    "ccert_issuer",
    "ccert_fingerprint",
    "encryption_protocol",
    "encryption_cipher",
    "encryption_keysize",
    "etrn_domain",
    "stress",
    "ccert_pubkey_fingerprint",
    "client_port",
    "policy_context",
    "server_address",
    "server_port",
    "compatibility_level",
    "mail_version",
    "tls_sni",
];

/// Appends an inquiry as a request, with all attributes of Postfix 3.12.
pub(crate) fn write(inquiry: &Inquiry, out: &mut BytesMut) {
    let mut to = Writer(out);
    let state = match inquiry.stage {
        Stage::Helo if inquiry.protocol != "SMTP" => "EHLO",
        stage => stage.name(),
    };
    let (client, server) = (&inquiry.client, &inquiry.server);
    to.put("request", "smtpd_access_policy");
    to.put("protocol_state", state);
    to.put("protocol_name", &inquiry.protocol);
    to.put_some("helo_name", inquiry.helo.as_deref());
    to.put_some("queue_id", inquiry.queue_id.as_deref());
    to.put("sender", &bare(inquiry.sender.as_deref().unwrap_or_default()));
    to.put("recipient", &bare(inquiry.recipient.as_deref().unwrap_or_default()));
    to.put_number("recipient_count", u64::from(inquiry.recipient_count));
    to.put_address("client_address", client.address);
    to.put("client_name", client.name.as_deref().unwrap_or("unknown"));
    to.put("reverse_client_name", client.reverse_name.as_deref().unwrap_or("unknown"));
    to.put("instance", &inquiry.instance);
    let sasl = inquiry.sasl.as_ref();
    to.put_some("sasl_method", sasl.map(|facts| facts.method.as_str()));
    to.put_some("sasl_username", sasl.map(|facts| facts.username.as_str()));
    to.put_some("sasl_sender", sasl.and_then(|facts| facts.sender.as_deref()));
    to.put_number("size", inquiry.size);
    let certificate = inquiry.certificate.as_ref();
    to.put_coded("ccert_subject", certificate.and_then(|facts| facts.subject.as_deref()));
    to.put_coded("ccert_issuer", certificate.and_then(|facts| facts.issuer.as_deref()));
    to.put_coded("ccert_fingerprint", certificate.and_then(|facts| facts.fingerprint.as_deref()));
    to.put_coded("ccert_pubkey_fingerprint", certificate.and_then(|facts| facts.pubkey_fingerprint.as_deref()));
    let encryption = inquiry.encryption.as_ref();
    to.put_some("encryption_protocol", encryption.map(|facts| facts.protocol.as_str()));
    to.put_some("encryption_cipher", encryption.map(|facts| facts.cipher.as_str()));
    to.put_number("encryption_keysize", encryption.map_or(0, |facts| u64::from(facts.keysize)));
    to.put_some("etrn_domain", inquiry.etrn_domain.as_deref());
    to.put("stress", if inquiry.stress { "yes" } else { "" });
    to.put_number("client_port", u64::from(client.port.unwrap_or(0)));
    to.put_some("policy_context", inquiry.policy_context.as_deref());
    to.put_address("server_address", server.address);
    to.put_number("server_port", u64::from(server.port.unwrap_or(0)));
    to.put_some("compatibility_level", inquiry.compatibility_level.as_deref());
    to.put_some("mail_version", inquiry.mail_version.as_deref());
    to.put_some("tls_sni", encryption.and_then(|facts| facts.sni.as_deref()));
    to.0.extend_from_slice(b"\n");
}

struct Writer<'b>(&'b mut BytesMut);

impl Writer<'_> {
    fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"=");
        if value.bytes().any(|b| b.is_ascii_control()) {
            // A line end inside a value would be the beginning of another attribute.
            let clean: Vec<u8> = value.bytes().map(|b| if b.is_ascii_control() { b'?' } else { b }).collect();
            self.0.extend_from_slice(&clean);
        } else {
            self.0.extend_from_slice(value.as_bytes());
        }
        self.0.extend_from_slice(b"\n");
    }

    fn put_some(&mut self, name: &str, value: Option<&str>) {
        self.put(name, value.unwrap_or_default());
    }

    fn put_coded(&mut self, name: &str, value: Option<&str>) {
        self.put(name, &value.map(xtext::encode).unwrap_or_default());
    }

    fn put_number(&mut self, name: &str, value: u64) {
        // Writing to a BytesMut fails only beyond the address space.
        let _written = writeln!(self.0, "{name}={value}");
    }

    fn put_address(&mut self, name: &str, value: Option<IpAddr>) {
        let _written = match value {
            Some(address) => writeln!(self.0, "{name}={}", address.to_canonical()),
            None => writeln!(self.0, "{name}="),
        };
    }
}

/// Clients without an address are `unknown`; old servers put a tag before IPv6.
fn address(value: &str) -> Option<IpAddr> {
    let bare = match value.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPV6:") => &value[5..],
        _ => value,
    };
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Addresses come without the quotes that their local part needs.
fn quoted(value: &str) -> String {
    if value.is_empty() || Address::parse(value).is_ok() {
        return value.to_owned();
    }
    let parsed = value.rsplit_once('@').and_then(|(local, domain)| {
        let domain = Domain::parse(domain).ok()?;
        Address::from_parts(local, domain).ok()
    });
    parsed.map_or_else(|| value.to_owned(), |address| address.to_string())
}

/// An address without quotes, as it is asked about.
fn bare(value: &str) -> String {
    match value.starts_with('"').then(|| Address::parse(value)) {
        Some(Ok(address)) => format!("{}@{}", address.local(), address.domain()),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn read(text: &str) -> Result<Whole, Fault> {
        let mut request = Request::default();
        for line in text.lines() {
            request.count(line.len())?;
            request.take(line.as_bytes())?;
        }
        request.end()
    }

    fn inquiry(text: &str) -> Inquiry {
        match read(&format!("request=smtpd_access_policy\n{text}")) {
            Ok(Whole::Inquiry(inquiry)) => *inquiry,
            other => panic!("{other:?}"),
        }
    }

    fn full() -> Inquiry {
        let mut inquiry = inquiry(
            "protocol_state=RCPT\nprotocol_name=ESMTP\nhelo_name=some.example.org\nqueue_id=8045F2AB23\n\
             sender=foo bar@example.org\nrecipient=bar@example.net\nclient_address=192.0.2.1\nclient_name=a.example\n\
             reverse_client_name=b.example\ninstance=123.456.7\nsasl_method=plain\nsasl_username=you\nsize=12345\n\
             sasl_sender=me@example.org\nccert_subject=solaris9+20x\nccert_issuer=Wietse+20Venema\nccert_fingerprint=C2:9D\n\
             encryption_protocol=TLSv1.3\nencryption_cipher=DHE\nencryption_keysize=256\nstress=yes\n\
             ccert_pubkey_fingerprint=68:B3\nclient_port=1234\npolicy_context=submission\nserver_address=2001:db8::1\n\
             server_port=54321\ncompatibility_level=major.minor.patch\nmail_version=3.12.0\ntls_sni=mx.example.org\nnew=x",
        );
        inquiry.recipient_count = 0;
        inquiry
    }

    #[test]
    fn every_attribute_is_read() {
        let full = full();
        assert_eq!(full.sender.as_deref(), Some("\"foo bar\"@example.org"));
        assert_eq!(full.certificate.as_ref().and_then(|facts| facts.issuer.as_deref()), Some("Wietse Venema"));
        assert_eq!(full.encryption.as_ref().map(|facts| facts.keysize), Some(256));
        assert_eq!(full.encryption.and_then(|facts| facts.sni).as_deref(), Some("mx.example.org"));
        assert_eq!((full.client.port, full.server.port, full.stress), (Some(1234), Some(54321), true));
    }

    #[test]
    fn what_is_written_is_read() {
        for inquiry in [
            full(),
            Inquiry { stage: Stage::Helo, protocol: "SMTP".to_owned(), ..Inquiry::default() },
            Inquiry { stage: Stage::Helo, protocol: "ESMTP".to_owned(), ..Inquiry::default() },
            Inquiry { stage: Stage::EndOfMessage, sender: Some(String::new()), recipient_count: 2, size: 7, ..full() },
        ] {
            let mut out = BytesMut::new();
            write(&inquiry, &mut out);
            let text = String::from_utf8(out.to_vec()).expect("text");
            assert_eq!(text.lines().count(), NAMES.len() + 1, "every attribute has its line");
            assert!(text.ends_with("\n\n"));
            match read(text.trim_end_matches('\n')) {
                Ok(Whole::Inquiry(read)) => assert_eq!(*read, inquiry),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_line_end_in_a_value_begins_no_attribute() {
        let mut out = BytesMut::new();
        write(&Inquiry { helo: Some("a\nsasl_username=root\0".to_owned()), ..Inquiry::default() }, &mut out);
        let text = String::from_utf8(out.to_vec()).expect("text");
        assert!(text.contains("\nhelo_name=a?sasl_username=root?\n"), "{text}");
    }

    #[test]
    fn the_null_sender_is_one_only_when_it_was_said() {
        assert_eq!(inquiry("protocol_state=RCPT\nsender=").sender.as_deref(), Some(""));
        assert_eq!(inquiry("protocol_state=CONNECT\nsender=").sender, None);
        assert_eq!(inquiry("protocol_state=RCPT").sender, None);
    }

    #[test]
    fn unknown_names_are_absent() {
        let found =
            inquiry("protocol_state=CONNECT\nclient_name=unknown\nreverse_client_name=unknown\nclient_address=unknown");
        assert_eq!(found.client, Default::default());
        assert_eq!(inquiry("protocol_state=CONNECT\nencryption_keysize=0").encryption, None);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(read("").err(), Some(Fault::NoRequest));
        assert_eq!(read("request=junk").err(), Some(Fault::NoRequest));
        assert_eq!(read("request=smtpd_access_policy").err(), Some(Fault::NoStage));
        assert_eq!(read("GET / HTTP/1.0").err(), Some(Fault::NoAttribute));
        assert_eq!(read("request=smtpd_access_policy\nsender=a\0b").err(), Some(Fault::Nul));
        let many = format!("request=smtpd_access_policy\n{}", "a=b\n".repeat(1000));
        assert_eq!(read(&many).err(), Some(Fault::Endless));
        assert!(matches!(read("request=smtpd_access_policy\nprotocol_state=FUTURE"), Ok(Whole::NewStage)));
    }
}
