//! `[[filter.uri_list]]`: lists in the DNS of domains that links lead to.

use posthorn_model::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FilterPoints;
use crate::AnswerRange;

/// A list in the DNS of domains (and addresses) that links in messages lead to.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FilterUriList {
    /// The zone that is asked.
    #[schemars(extend("format" = "hostname"), with = "String", example = &"uribl.example")]
    pub zone: Domain,
    /// The name of its points: capital letters, digits and `_`; unset is `URI_LISTED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What an answer counts that `answers` says nothing else about.
    #[serde(default = "usual")]
    pub points: FilterPoints,
    /// What certain answers count. Of several the heaviest counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<UriListAnswer>,
    /// Whether the whole name of the host is asked for, not the domain that is registered.
    #[serde(default)]
    pub whole_host: bool,
    /// Whether links to addresses are asked for too, backwards as in lists of clients.
    #[serde(default)]
    pub addresses: bool,
}

/// What an answer of a list counts.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UriListAnswer {
    /// Which.
    #[schemars(example = &"127.0.0.2-127.0.0.8")]
    pub is: AnswerRange,
    /// What it counts.
    pub points: FilterPoints,
}

const fn usual() -> FilterPoints {
    FilterPoints::thousandths(2500)
}
