//! `[reports]`: what mail systems tell each other once a day.

use posthorn_model::Address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// What mail systems tell each other once a day: what was found of mail in a domain's name (DMARC, RFC 9990), and of TLS towards it (RFC 8460).
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reports {
    /// Whether domains whose DMARC record asks for aggregate reports (`rua`) get them.
    pub dmarc: bool,
    /// Whether domains whose `_smtp._tls` record asks for TLS reports get them.
    pub tls: bool,
    /// Who reports are from; unset is `postmaster` at `server.hostname`. Its domain needs a DKIM key: reports that are not signed are not sent.
    #[schemars(extend("format" = "email"), with = "Option<String>", example = &"dmarc-reports@example.org")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<Address>,
    /// Who reports, in words; unset is `server.hostname`.
    #[schemars(example = &"Example Ltd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Another way to reach us than the sender's address, for receivers of reports.
    #[schemars(example = &"https://www.example.org/mail")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Reports about a day go out in the hours after midnight UTC, each domain's at its own moment within this time.
    pub spread: Span,
    /// Addresses of ours that others send their reports to, as our `_dmarc` and `_smtp._tls` records say (`rua=mailto:`): what comes there is delivered as ever, and the reports in it are kept for `posthorn dmarc` and `posthorn tls-report`.
    #[schemars(extend("examples" = [["dmarc@example.org"]]), with = "Vec<String>")]
    pub received: Vec<Address>,
    /// How long reports of others are kept.
    pub keep: Span,
    /// How many rows of others' reports are kept of one sender's organization on one day (UTC); a row of more than 1 KiB counts as several. What comes beyond is delivered, but not kept. Letters that nobody proved to be their author's, because strangers' mail is not checked here, count as one sender's; where it is checked, such letters are not kept at all.
    pub rows_per_sender: u32,
    /// The same of all senders together.
    pub rows_per_day: u32,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            dmarc: true,
            tls: true,
            sender: None,
            organization: None,
            contact: None,
            spread: Span::from_secs(4 * 3600),
            received: Vec::new(),
            keep: Span::from_secs(400 * 86_400),
            rows_per_sender: 50_000,
            rows_per_day: 200_000,
        }
    }
}
