//! The options that every scope of delivery may set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// Options of delivery; what is unset falls back to the next scope, which zero and `false` do not.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct DeliveryOptions {
    /// What TLS must give before mail is handed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsDemand>,
    /// Whether DANE (RFC 7672) is honoured where the receiver publishes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dane: Option<bool>,
    /// Whether MTA-STS (RFC 8461) is honoured where the receiver publishes it and DANE does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mta_sts: Option<bool>,
    /// Connections at once to one site (the MX hosts that several domains share); written for domains, to all of these together; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Connections at once to one address of a receiver, or of a route; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_address: Option<u32>,
    /// Messages before a connection is closed; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_connection: Option<u32>,
    /// The most recipients in one transaction.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients_per_message: Option<u32>,
    /// Transactions in a second, counted for all that inherit the value together; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_second: Option<u32>,
    /// Transactions in an hour, counted for all that inherit the value together; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_hour: Option<u32>,
    /// New connections in a second, counted for all that inherit the value together; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_second: Option<u32>,
    /// How long a connection without work is kept; `0 s` closes it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span>,
    /// How long connecting to one address may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_time: Option<Span>,
    /// How long a reply may take (RFC 5321 §4.5.3.2 asks for 5 minutes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_time: Option<Span>,
    /// How long the reply to a whole message may take (RFC 5321 §4.5.3.2.6 asks for 10 minutes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_time: Option<Span>,
    /// Whether mail waits instead of being tried. What waits does not expire, and its sender is not told of the delay:
    /// when it may leave again and its time is over, it is tried once more before it is returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Whether mail counts as delivered without being sent, for tests of everything before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blackhole: Option<bool>,
    /// Whether IPv6 is tried before IPv4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefer_ipv6: Option<bool>,
    /// Whether commands are sent in groups (RFC 2920) where the receiver offers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipelining: Option<bool>,
    /// Whether BDAT (RFC 3030) is used where the receiver offers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunking: Option<bool>,
    /// The first wait before another try; unset everywhere is the queue policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_first: Option<Span>,
    /// The longest wait before another try; unset everywhere is the queue policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_most: Option<Span>,
    /// When mail that could not be delivered is given up; unset everywhere is the queue policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<Span>,
}

impl DeliveryOptions {
    /// What `[delivery]` holds while nobody wrote anything: every option but those of the queue policy.
    #[must_use]
    pub const fn built_in() -> Self {
        Self {
            tls: Some(TlsDemand::Opportunistic),
            dane: Some(true),
            mta_sts: Some(true),
            connections: Some(20),
            connections_per_address: Some(5),
            messages_per_connection: Some(100),
            recipients_per_message: Some(100),
            messages_per_second: Some(0),
            messages_per_hour: Some(0),
            connections_per_second: Some(0),
            idle: Some(Span::from_secs(5)),
            connect_time: Some(Span::from_secs(30)),
            reply_time: Some(Span::from_secs(300)),
            final_time: Some(Span::from_secs(600)),
            suspend: Some(false),
            blackhole: Some(false),
            prefer_ipv6: Some(true),
            pipelining: Some(true),
            chunking: Some(false),
            retry_first: None,
            retry_most: None,
            expire: None,
        }
    }
}

/// What TLS must give before mail is handed over.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsDemand {
    /// Not asked for, even where it is offered; DANE and MTA-STS are left alone too.
    Never,
    /// Used where it is offered, whatever certificate comes; without it mail goes in the clear.
    #[default]
    Opportunistic,
    /// Needed, whatever certificate comes.
    Required,
    /// Needed, with a certificate for the host's name by an authority that we know, or as DANE says.
    Verified,
}

impl TlsDemand {
    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Verified => "verified",
        }
    }
}
