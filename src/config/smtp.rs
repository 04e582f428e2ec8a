//! `[smtp]`: SMTP, submission and LMTP sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Size, Span};

/// SMTP, submission and LMTP sessions.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// The text behind the host name in the greeting.
    pub banner: String,
    /// How long the greeting of `smtp` listeners waits for clients not known yet, to catch those that talk first.
    pub banner_delay: Span,
    /// Whether HELO is refused (550 5.5.1): every client must speak ESMTP.
    pub require_ehlo: bool,
    /// Whether messages from other servers without From or Date (RFC 5322 §3.6) are refused (550 5.6.0).
    pub require_headers: bool,
    /// The most recipients of one message (RFC 5321 §4.5.3.1.8 asks for at least 100).
    #[schemars(range(min = 1))]
    pub max_recipients: u32,
    /// The most Received headers before a message counts as looping (RFC 5321 §6.3 asks for at least 100).
    #[schemars(range(min = 1))]
    pub max_hops: u32,
    /// The most octets of header in one message.
    pub max_header_size: Size,
    /// Refused or misspelt commands before a session is closed; 0 is no limit.
    pub max_errors: u32,
    /// Commands that move no mail (NOOP, RSET, VRFY …) between two messages; 0 is no limit.
    pub max_junk: u32,
    /// Messages in one session; 0 is no limit.
    pub max_messages: u32,
    /// Whether the Received header of a submitted message names the client's address.
    pub received_shows_client: bool,
    /// How long a session may be silent (RFC 5321 §4.5.3.2.7 asks for at least 5 minutes).
    pub idle_time: Span,
    /// How long a session may last in all; `0 s` is no limit.
    pub total_time: Span,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            banner: "ESMTP Posthorn".into(),
            banner_delay: Span::from_millis(30),
            require_ehlo: false,
            require_headers: false,
            max_recipients: 1000,
            max_hops: 100,
            max_header_size: Size::mebibytes(1),
            max_errors: 20,
            max_junk: 100,
            max_messages: 0,
            received_shows_client: false,
            idle_time: Span::from_secs(300),
            total_time: Span::ZERO,
        }
    }
}
