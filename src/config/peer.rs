//! `[[listener.peer]]`: what holds for clients of one network.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Network, Size, SmtpExtension, Span};

/// What holds for clients of one network. The most specific network wins, option by option.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The clients: a CIDR block or one address.
    pub network: Network,
    /// Sessions of the whole block at once; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// The options that this block sets.
    #[serde(flatten)]
    pub options: PeerOptions,
}

/// Options that can be set for a block, an address or a listener; what is unset falls back outward.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct PeerOptions {
    /// Exempts the client from checks of its address, such as the banner delay; never allows relaying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<bool>,
    /// Refuses the client at connect; beats `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<bool>,
    /// The only SMTP extensions that are offered; unset offers all that the listener has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp_extensions: Option<Vec<SmtpExtension>>,
    /// Whether the client may say whom it speaks for (XCLIENT); only in peer blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xclient: Option<bool>,
    /// Whether the client may name the original client for the log (XFORWARD); only in peer blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xforward: Option<bool>,
    /// Whether the client may send to other hosts without a login; only in peer blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<bool>,
    /// Whether connections begin with a PROXY header, version 1 or 2; only in peer blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<bool>,
    /// Sessions of one client address at once; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_per_address: Option<u32>,
    /// The largest message; never above `mail.max_message_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_size: Option<Size>,
    /// The most recipients of one message.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_recipients: Option<u32>,
    /// Whether TLS must be up before mail is sent (smtp, lmtp) or a login is taken (submission, imap).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_tls: Option<bool>,
    /// How long a session may be silent; `0 s` is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_time: Option<Span>,
    /// How long a session may last in all; `0 s` is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_time: Option<Span>,
    /// Whether a login is offered, and on submission and imap needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<bool>,
    /// Free words that end up in the trace of every session; merged key by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("examples" = [{ "site": "berlin" }]))]
    pub context: BTreeMap<String, String>,
}
