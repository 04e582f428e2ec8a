//! Policy: what is known of a client and its transaction at a stage, and what is to be done about it.
//!
//! The words are those of the Postfix policy delegation protocol (SMTPD_POLICY_README, access(5)), typed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// When in a session something is asked (`protocol_state`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Stage {
    /// Before the greeting.
    #[default]
    Connect,
    /// HELO or EHLO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT, for each recipient.
    Rcpt,
    /// DATA, before the text comes.
    Data,
    /// When the text is there.
    EndOfMessage,
    /// VRFY.
    Vrfy,
    /// ETRN.
    Etrn,
}

impl Stage {
    /// The word of the protocol; HELO is written `HELO` also for EHLO.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Helo => "HELO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::EndOfMessage => "END-OF-MESSAGE",
            Self::Vrfy => "VRFY",
            Self::Etrn => "ETRN",
        }
    }

    /// The stage of a word of the protocol, whatever its case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all =
            [Self::Connect, Self::Helo, Self::Mail, Self::Rcpt, Self::Data, Self::EndOfMessage, Self::Vrfy, Self::Etrn];
        let known = all.into_iter().find(|stage| stage.name().eq_ignore_ascii_case(word));
        known.or_else(|| word.eq_ignore_ascii_case("EHLO").then_some(Self::Helo))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything that is known of a client and its transaction at a stage. What nobody said is absent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Inquiry {
    /// When it is asked.
    pub stage: Stage,
    /// `SMTP`, `ESMTP` or `LMTP`.
    pub protocol: String,
    /// Who connects.
    pub client: ClientFacts,
    /// Where to.
    pub server: ServerFacts,
    /// What the client calls itself.
    pub helo: Option<String>,
    /// The sender; empty is the null sender, absent when it was not said yet.
    pub sender: Option<String>,
    /// The recipient: at RCPT, and later where there is only one.
    pub recipient: Option<String>,
    /// How many recipients there are; 0 before DATA.
    pub recipient_count: u32,
    /// The message's name in the queue.
    pub queue_id: Option<String>,
    /// What ties together the questions about one message.
    pub instance: String,
    /// Octets: as declared, at the end of the message as they are; 0 is unknown.
    pub size: u64,
    /// The domain of ETRN.
    pub etrn_domain: Option<String>,
    /// Whether the asking server is overloaded.
    pub stress: bool,
    /// Who has logged in.
    pub sasl: Option<SaslFacts>,
    /// The client's certificate.
    pub certificate: Option<CertificateFacts>,
    /// The session's TLS.
    pub encryption: Option<EncryptionFacts>,
    /// Words of the asking server's configuration.
    pub policy_context: Option<String>,
    /// The asking server's compatibility level.
    pub compatibility_level: Option<String>,
    /// The asking server's version.
    pub mail_version: Option<String>,
    /// All recipients so far, without the one that is asked about; known to our own server alone.
    pub recipients: Vec<String>,
    /// Whether the client may relay; known to our own server alone.
    pub trusted: bool,
}

/// Who connects.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientFacts {
    /// From which address.
    pub address: Option<IpAddr>,
    /// From which port.
    pub port: Option<u16>,
    /// Its name, confirmed in both directions.
    pub name: Option<String>,
    /// Its name, unconfirmed.
    pub reverse_name: Option<String>,
}

/// Where a client connects to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerFacts {
    /// To which address.
    pub address: Option<IpAddr>,
    /// To which port.
    pub port: Option<u16>,
}

/// Who has logged in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SaslFacts {
    /// By which mechanism.
    pub method: String,
    /// The name.
    pub username: String,
    /// The sender that the login vouches for (AUTH= at MAIL).
    pub sender: Option<String>,
}

/// The certificate that a client showed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CertificateFacts {
    /// The common name of its subject, when it was verified.
    pub subject: Option<String>,
    /// The common name of its issuer, when it was verified.
    pub issuer: Option<String>,
    /// Its fingerprint.
    pub fingerprint: Option<String>,
    /// The fingerprint of its public key.
    pub pubkey_fingerprint: Option<String>,
}

/// The TLS of a session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EncryptionFacts {
    /// Such as `TLSv1.3`.
    pub protocol: String,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The bits of its key.
    pub keysize: u32,
    /// The name that the client asked for (SNI).
    pub sni: Option<String>,
}

/// What is to be done (access(5)). Texts are one line, without the reply code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Permit, without further questions of the same kind.
    Ok,
    /// No opinion.
    Dunno,
    /// Refuse for good.
    Reject(Option<String>),
    /// Refuse with this code, 400 to 599.
    Code {
        /// The reply code.
        code: u16,
        /// The text, which may begin with an enhanced code.
        text: String,
    },
    /// Refuse for now.
    Defer(Option<String>),
    /// What else would be refused for good is refused for now.
    DeferIfReject(Option<String>),
    /// What else would be permitted is refused for now.
    DeferIfPermit(Option<String>),
    /// One more recipient.
    Bcc(String),
    /// Accept the message, and drop it.
    Discard(Option<String>),
    /// Send the message through a filter, `transport:destination`.
    Filter(String),
    /// The message waits until an operator releases it.
    Hold(Option<String>),
    /// A field on top of the message.
    Prepend {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// All recipients are replaced by this one.
    Redirect(String),
    /// A line in the log.
    Info(Option<String>),
    /// A louder line in the log.
    Warn(Option<String>),
    /// The name of a restriction or of a class of them, to be evaluated by the asking server.
    Restriction(String),
}

/// Why a text is no action.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "\"{0}\" is no action; write OK, DUNNO, REJECT, DEFER, 450 text, 550 text, DEFER_IF_PERMIT, HOLD, DISCARD, FILTER transport:destination, REDIRECT address, BCC address, PREPEND Name: value, INFO or WARN"
)]
pub struct ActionError(String);

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(line: &str) -> Result<Self, ActionError> {
        let refuse = || ActionError(line.to_owned());
        let line = line.trim();
        if line.is_empty() || line.chars().any(char::is_control) {
            return Err(refuse());
        }
        let (word, rest) = line.split_once([' ', '\t']).map_or((line, ""), |(word, rest)| (word, rest.trim_start()));
        let text = || (!rest.is_empty()).then(|| rest.to_owned());
        let needed = || text().ok_or_else(refuse);
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return match word.parse::<u16>() {
                Ok(code @ 400..=599) if word.len() == 3 => Ok(Self::Code { code, text: rest.to_owned() }),
                // Postfix: all digits permit.
                _ if rest.is_empty() => Ok(Self::Ok),
                _ => Err(refuse()),
            };
        }
        Ok(match word.to_ascii_uppercase().as_str() {
            "OK" => Self::Ok,
            "DUNNO" => Self::Dunno,
            "REJECT" => Self::Reject(text()),
            "DEFER" => Self::Defer(text()),
            "DEFER_IF_REJECT" => Self::DeferIfReject(text()),
            "DEFER_IF_PERMIT" => Self::DeferIfPermit(text()),
            "BCC" => Self::Bcc(needed()?),
            "DISCARD" => Self::Discard(text()),
            "FILTER" => Self::Filter(needed()?),
            "HOLD" => Self::Hold(text()),
            "REDIRECT" => Self::Redirect(needed()?),
            "INFO" => Self::Info(text()),
            "WARN" => Self::Warn(text()),
            "PREPEND" => {
                let (name, value) = rest.split_once(':').ok_or_else(refuse)?;
                let is_name = !name.is_empty() && name.bytes().all(|byte| (33..=126).contains(&byte));
                if !is_name {
                    return Err(refuse());
                }
                Self::Prepend { name: name.to_owned(), value: value.trim().to_owned() }
            }
            _ if rest.is_empty() && is_restriction(word) => Self::Restriction(word.to_owned()),
            _ => return Err(refuse()),
        })
    }
}

/// Names of restrictions and classes are lower case with `_`, as Postfix writes its own.
fn is_restriction(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Self::Ok => ("OK", None),
            Self::Dunno => ("DUNNO", None),
            Self::Reject(text) => ("REJECT", text.as_deref()),
            Self::Code { code, text } if text.is_empty() => return write!(f, "{code}"),
            Self::Code { code, text } => return write!(f, "{code} {text}"),
            Self::Defer(text) => ("DEFER", text.as_deref()),
            Self::DeferIfReject(text) => ("DEFER_IF_REJECT", text.as_deref()),
            Self::DeferIfPermit(text) => ("DEFER_IF_PERMIT", text.as_deref()),
            Self::Bcc(address) => ("BCC", Some(address.as_str())),
            Self::Discard(text) => ("DISCARD", text.as_deref()),
            Self::Filter(destination) => ("FILTER", Some(destination.as_str())),
            Self::Hold(text) => ("HOLD", text.as_deref()),
            Self::Prepend { name, value } => return write!(f, "PREPEND {name}: {value}"),
            Self::Redirect(address) => ("REDIRECT", Some(address.as_str())),
            Self::Info(text) => ("INFO", text.as_deref()),
            Self::Warn(text) => ("WARN", text.as_deref()),
            Self::Restriction(name) => (name.as_str(), None),
        };
        match text {
            None => f.write_str(word),
            Some(text) => write!(f, "{word} {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_come_back_as_written() {
        for text in [
            "OK",
            "DUNNO",
            "REJECT",
            "REJECT go away",
            "450 4.7.1 later",
            "554",
            "DEFER_IF_PERMIT wait",
            "BCC a@example.org",
            "DISCARD",
            "FILTER smtp:[127.0.0.1]:10024",
            "HOLD look",
            "PREPEND X-A: b c",
            "REDIRECT a@example.org",
            "INFO x",
            "WARN",
            "reject_unauth_destination",
        ] {
            assert_eq!(text.parse::<Action>().map(|action| action.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("reject now".parse(), Ok(Action::Reject(Some("now".to_owned()))));
        assert_eq!("1".parse(), Ok(Action::Ok));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", " ", "200 fine", "BCC", "FILTER", "PREPEND x", "PREPEND a b: c", "What ever", "REJECT a\rb"] {
            assert!(text.parse::<Action>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn stages_are_known_by_their_words() {
        for stage in [Stage::Connect, Stage::EndOfMessage, Stage::Etrn] {
            assert_eq!(Stage::parse(stage.name()), Some(stage));
        }
        assert_eq!((Stage::parse("EHLO"), Stage::parse("QUIT")), (Some(Stage::Helo), None));
    }
}
