//! What a server session asks and tells the application.

use std::fmt;

use bytes::Bytes;

use crate::{Attribute, Recipient, Sender};

/// A question to answer, or news. Each variant says which.
pub enum Event {
    /// EHLO, LHLO (`ehlo`) or HELO was accepted. News.
    Hello {
        /// Whether extensions may be used.
        ehlo: bool,
        /// What the client calls itself; printable, unverified.
        name: String,
    },
    /// AUTH with an offered mechanism. Answer with `auth_challenge`, `auth_success` or `auth_failure`.
    Auth {
        /// The mechanism as `Options::auth` spells it.
        mechanism: String,
        /// The initial response, decoded; `Some` of nothing for `=` (RFC 4954 §4).
        initial: Option<Vec<u8>>,
    },
    /// The client's answer to a challenge, decoded. Answer as for [`Event::Auth`].
    AuthResponse(Vec<u8>),
    /// The client gave up, or its response could not be read: forget the exchange, even after `auth_success` with
    /// final data. News.
    AuthCancelled,
    /// MAIL. Answer with `accept`, `accept_with` or `refuse`.
    Mail(Sender),
    /// RCPT. Answer with `accept`, `accept_with` or `refuse`.
    Rcpt(Recipient),
    /// DATA or the first BDAT, with at least one recipient accepted. Answer with `accept` or `refuse`.
    BodyStart,
    /// The next piece of the message: dots unstuffed, CRLF kept, never empty. News.
    Body(Bytes),
    /// The message is whole. Answer with `accept`, `accept_with` or `refuse`; for LMTP also with `replies`.
    BodyEnd {
        /// Octets handed out by [`Event::Body`].
        size: u64,
    },
    /// The message broke the rules and is lost; the session itself refuses it, DATA when its true end comes. After DATA
    /// that ends the transaction; after BDAT an [`Event::Reset`] will. News.
    BodyAborted(BodyFault),
    /// The transaction is gone without a message: RSET, a new EHLO, or the last chunk behind a refused one. News.
    Reset,
    /// XCLIENT. Answer with `accept_xclient` or `refuse`.
    Xclient(Vec<Attribute>),
    /// XFORWARD. Answer with `accept` or `refuse`.
    Xforward(Vec<Attribute>),
    /// The peer did something that ends the session; it has been told where that makes sense. News for the log.
    Misbehaved(Misbehaviour),
}

/// Why a body was refused by the session itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyFault {
    /// A CR that no LF follows.
    BareCr,
    /// An LF that no CR precedes.
    BareLf,
    /// A header section above `Limits::header_bytes`.
    HeaderTooBig,
    /// A line above `Limits::text_line`.
    LineTooLong,
    /// More octets than `Options::max_size`.
    TooBig,
}

/// Why a session was ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Misbehaviour {
    /// Bytes came behind STARTTLS in plaintext; they were thrown away.
    BytesBehindStartTls,
    /// Bytes came before the banner.
    EarlyTalker,
    /// HTTP or TLS where SMTP is spoken.
    ForeignProtocol,
    /// A limit on wrong commands, junk, refused recipients or failed logins was passed.
    TooManyErrors,
    /// A BDAT without a readable size, or a refused body that would not end.
    UnreadableBody,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { ehlo, name } => f.debug_struct("Hello").field("ehlo", ehlo).field("name", name).finish(),
            // What SASL carries is secret, even its length.
            Self::Auth { mechanism, .. } => {
                f.debug_struct("Auth").field("mechanism", mechanism).finish_non_exhaustive()
            }
            Self::AuthResponse(_) => f.write_str("AuthResponse(..)"),
            Self::AuthCancelled => f.write_str("AuthCancelled"),
            Self::Mail(sender) => f.debug_tuple("Mail").field(sender).finish(),
            Self::Rcpt(recipient) => f.debug_tuple("Rcpt").field(recipient).finish(),
            Self::BodyStart => f.write_str("BodyStart"),
            Self::Body(chunk) => write!(f, "Body({} octets)", chunk.len()),
            Self::BodyEnd { size } => f.debug_struct("BodyEnd").field("size", size).finish(),
            Self::BodyAborted(fault) => f.debug_tuple("BodyAborted").field(fault).finish(),
            Self::Reset => f.write_str("Reset"),
            Self::Xclient(attributes) => f.debug_tuple("Xclient").field(attributes).finish(),
            Self::Xforward(attributes) => f.debug_tuple("Xforward").field(attributes).finish(),
            Self::Misbehaved(how) => f.debug_tuple("Misbehaved").field(how).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_debug() {
        let auth = Event::Auth { mechanism: "PLAIN".to_owned(), initial: Some(b"\0user\0hunter2".to_vec()) };
        assert_eq!(
            format!("{auth:?} {:?}", Event::AuthResponse(b"hunter2".to_vec())),
            "Auth { mechanism: \"PLAIN\", .. } AuthResponse(..)"
        );
    }
}
