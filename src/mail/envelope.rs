//! Who a message is from and for, how it came, and what was asked of its further way.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use posthorn_model::{AccountId, Address, BodyType, ByMode, Notify, Ret};
use posthorn_store::filter::held::NewRelease;

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
    /// Who handed it in, where that is a stranger.
    pub client: Option<Client>,
    /// What was asked of its way.
    pub terms: Terms,
    /// What the trace shall say of how it came: names and values.
    pub story: serde_json::Map<String, serde_json::Value>,
    /// What is held of it for its one recipient: delivered, it is held no longer, in the same commit.
    pub releases: Option<NewRelease>,
}

/// A stranger's host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// What it said in HELO or EHLO.
    pub helo: String,
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
    /// Why it waits until an operator releases it; `None` when it does not.
    pub held: Option<String>,
    /// The name of the route that it takes to other hosts, instead of the one that its recipients have.
    pub route: Option<String>,
    /// Copies for mailboxes here go into Junk; those that are kept back do so when their time has come.
    pub junk: bool,
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
            held: None,
            route: None,
            junk: false,
        }
    }
}
