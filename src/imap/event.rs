//! What a session tells the application.

use bytes::Bytes;
use chrono::{DateTime, FixedOffset};

use crate::{Command, Secret};

/// Something for the application to do or to know. The session goes on after the answer named at each event.
#[derive(Debug)]
pub enum Event {
    /// An APPEND begins; at least one [`AppendMessage`](Self::AppendMessage) follows. No answer.
    AppendBegin {
        /// The command's tag, for the trace.
        tag: Bytes,
        /// Where to.
        mailbox: String,
    },
    /// A piece of the accepted message, never empty. No answer.
    AppendData(Bytes),
    /// All messages of the APPEND are here. Answer: [`finish`](crate::Server::finish).
    AppendEnd,
    /// The APPEND broke off (a syntax error behind a literal, or a message too large); what was received of it must be
    /// dropped, and the client has been told. When the connection just ends, this event does not come. No answer.
    AppendAborted,
    /// A message of an APPEND is announced. Answer: [`accept_literal`](crate::Server::accept_literal) or
    /// [`refuse_append`](crate::Server::refuse_append).
    AppendMessage {
        /// Flag names as written; no `\Recent`.
        flags: Vec<String>,
        /// The INTERNALDATE to give it; `None` for now.
        date: Option<DateTime<FixedOffset>>,
        /// Octets of the message, at most the append limit.
        size: u64,
        /// Whether it came as `UTF8 (...)`, with UTF-8 in its headers (RFC 6855 §4).
        utf8: bool,
        /// Whether it came as literal8 and may hold NUL octets (RFC 3516 §4.4).
        binary: bool,
    },
    /// The last octet of the message was handed out. No answer.
    AppendMessageEnd,
    /// The client gave up, or sent what is not base64; it has been told. The mechanism's state can go. No answer.
    AuthenticateCancelled,
    /// The client's decoded response. Answer: [`challenge`](crate::Server::challenge) or
    /// [`finish`](crate::Server::finish).
    AuthenticateResponse(Secret),
    /// Who the client says it is (RFC 2971); it has been answered. No answer.
    ClientId(Vec<(String, Option<String>)>),
    /// A command to execute. Answer: write what belongs to it, then [`finish`](crate::Server::finish)
    /// ([`challenge`](crate::Server::challenge) for AUTHENTICATE).
    Command {
        /// The command's tag, for the trace.
        tag: Bytes,
        /// What to do.
        command: Command,
    },
    /// The client wants to wait for news. Answer: [`start_idle`](crate::Server::start_idle), or
    /// [`finish`](crate::Server::finish) to refuse.
    Idle {
        /// The command's tag, for the trace.
        tag: Bytes,
    },
    /// The client said DONE. Answer: [`finish`](crate::Server::finish).
    IdleDone,
    /// A search whose result was to be saved was refused with NO, and the client has been told: the saved result is
    /// empty now (RFC 5182 §2.1). No answer.
    SearchLost,
}
