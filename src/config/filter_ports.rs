//! What the ports of the filter do with what they judged: tables of `[[listener]]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ServiceAddress, Span};

/// A content filter's port: whose mail comes here, and where it goes when it was judged.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterPort {
    /// Whose mail comes here.
    pub way: FilterWay,
    /// When the mail server asks.
    pub asked: FilterAsked,
    /// Where judged mail goes; unset is the client's own address, at the port behind the one that it called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"127.0.0.1:10025")]
    pub next_hop: Option<ServiceAddress>,
    /// What is spoken there.
    pub next_hop_speaks: NextHopSpeaks,
    /// The most connections to the next hop that are kept open between two messages.
    #[schemars(range(max = 1000))]
    pub kept_connections: u32,
    /// How long the next hop may take for one answer.
    pub time: Span,
}

impl Default for FilterPort {
    fn default() -> Self {
        Self {
            way: FilterWay::Inbound,
            asked: FilterAsked::AfterQueue,
            next_hop: None,
            next_hop_speaks: NextHopSpeaks::Smtp,
            kept_connections: 20,
            time: Span::from_secs(300),
        }
    }
}

/// Whose mail comes to a filter's port.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-noun" = "way"))]
pub enum FilterWay {
    /// Strangers'.
    #[default]
    Inbound,
    /// Our own people's: it is signed, and 8BITMIME is not offered, so that it is seven bits before it is signed.
    Originating,
    /// Our own list manager's: it is signed likewise, and looked through for viruses alone. Its next hop mostly follows aliases (10028).
    List,
}

/// When a mail server asks its filter.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-noun" = "moment"))]
pub enum FilterAsked {
    /// When the message is in its queue: a refusal would be returned to a sender who may be forged, so mail is held instead.
    #[default]
    AfterQueue,
    /// While its client waits: refusals reach the sender, and all recipients of a message share one verdict.
    BeforeQueue,
}

/// What the next hop of a filter speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-noun" = "protocol"))]
pub enum NextHopSpeaks {
    /// SMTP: one reply for a message.
    #[default]
    Smtp,
    /// LMTP: one reply for each recipient.
    Lmtp,
}

/// What the port of the quarantine may do for its clients.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantinePort {
    /// Who gets reports of abuse (ARF); without it, nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"abuse@example.org")]
    pub report_to: Option<String>,
    /// The folders whose files clients may have judged; without any, no file is opened.
    #[schemars(extend("items" = {"type": "string", "format": "path"}))]
    pub directories: Vec<PathBuf>,
}

/// A milter's port.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MilterPort {
    /// Where mail is held that is not to be delivered at once.
    pub hold: MilterHold,
}

/// Where a milter has mail held.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-noun" = "place"))]
pub enum MilterHold {
    /// In our quarantine, recipient by recipient.
    #[default]
    Here,
    /// In the mail server's own queue, as a whole.
    There,
}
