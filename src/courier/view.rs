//! What operators see of sites; as JSON it goes to those in other processes.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What operators see of a site.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SiteView {
    /// The MX hosts or the route.
    pub name: String,
    /// The binding.
    pub binding: String,
    /// The hosts, best first; an address where a route or a literal names it; none for a Unix socket.
    pub hosts: Vec<String>,
    /// Deliveries that wait in memory.
    pub waiting: usize,
    /// Deliveries on the wire.
    pub in_delivery: usize,
    /// Connections, open and on their way.
    pub connections: usize,
    /// The most connections that it may have at the moment; `None`: there is no limit of its own.
    pub connections_most: Option<usize>,
    /// Until when nothing is sent, where that is so.
    pub suspended_until: Option<DateTime<Utc>>,
    /// Why nothing can be reached, where that is so.
    pub down: Option<String>,
    /// Until when it is not tried again for that.
    pub down_until: Option<DateTime<Utc>>,
    /// The last reply that was no success.
    pub last_refusal: Option<Refusal>,
    /// The values that replies changed.
    pub adapted: Vec<Adapted>,
}

/// A reply that was no success.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Refusal {
    /// When.
    pub at: DateTime<Utc>,
    /// With its codes, on one line.
    pub reply: String,
}

/// A value that replies changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Adapted {
    /// Which, as [`crate::Setting::word`] says.
    pub setting: String,
    /// What it is.
    pub value: u32,
    /// Until when it holds; then it grows back.
    pub until: DateTime<Utc>,
    /// The rule.
    pub rule: String,
}
