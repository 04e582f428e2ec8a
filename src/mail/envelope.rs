//! Who a message is from and for, how it came, and what was asked of its further way.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use posthorn_model::{AccountId, Address, BodyType, ByMode, Notify, Ret};

use crate::route::Route;

/// Who a message is from and for.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// The reverse-path; `None` is the null path `<>`.
    pub sender: Option<Address>,
    /// The accepted recipients in the order they came.
    pub recipients: Vec<Recipient>,
    /// Whom it came from.
    pub source: Source,
    /// What was asked of its way.
    pub terms: Terms,
    /// What the trace shall say of how it came: names and values.
    pub story: serde_json::Map<String, serde_json::Value>,
}

/// An accepted recipient.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// As the client wrote it, normalised.
    pub address: String,
    /// Where its mail goes.
    pub route: Arc<Route>,
    /// ORCPT: the type, a semicolon and the decoded address (RFC 3461 §4.2).
    pub orcpt: Option<String>,
    /// NOTIFY; `None` when nothing was said.
    pub notify: Option<Notify>,
}

/// Whom a message came from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Source {
    /// Somebody who logged in.
    Account(AccountId),
    /// A peer that may send through us.
    Relay,
    /// Anybody else. Who the sender is, nobody has shown.
    #[default]
    Stranger,
}

impl Source {
    /// Whether mail from there goes to other hosts.
    #[must_use]
    pub fn may_relay(self) -> bool {
        self != Self::Stranger
    }

    /// Who logged in.
    #[must_use]
    pub fn account(self) -> Option<AccountId> {
        match self {
            Self::Account(account) => Some(account),
            Self::Relay | Self::Stranger => None,
        }
    }
}

/// What was asked of a message's way: the parameters of MAIL that the courier heeds or passes on.
#[derive(Clone, Debug)]
pub struct Terms {
    /// BODY.
    pub body_type: BodyType,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// ENVID, decoded (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// RET (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// MT-PRIORITY: -9 to 9 (RFC 6710).
    pub priority: i8,
    /// BY: the moment, and what becomes of the message then (RFC 2852).
    pub deliver_by: Option<(DateTime<Utc>, ByMode)>,
    /// HOLDFOR or HOLDUNTIL: not to leave before (RFC 4865).
    pub hold_until: Option<DateTime<Utc>>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            body_type: BodyType::SevenBit,
            smtputf8: false,
            require_tls: false,
            envid: None,
            ret: None,
            priority: 0,
            deliver_by: None,
            hold_until: None,
        }
    }
}
