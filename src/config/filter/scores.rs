//! `[filter.scores]`: what is known of who writes, and what it counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FilterPoints;
use crate::Span;

/// What is known of who writes, and what it counts.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterScores {
    /// Whether the built-in rules are used.
    pub rules: bool,
    /// What the worst reputation of an address, a domain or a network counts; the best counts half of it, below zero.
    pub reputation: FilterPoints,
    /// After this time a reputation counts half.
    pub reputation_half_life: Span,
    /// What it counts, below zero, when the recipient has just written to the sender.
    pub pen_pal: FilterPoints,
    /// After this time that counts half.
    pub pen_pal_half_life: Span,
    /// What it counts, below zero, when the message answers one of ours.
    pub reply: FilterPoints,
    /// What one unit of weight of `policy.dns_list` counts here.
    pub dns_list: FilterPoints,
    /// The most domains of links that lists are asked for, for one message.
    #[schemars(range(max = 200))]
    pub uri_domains: u32,
    /// Domains whose look-alikes are told: the built-in ones are much abused brands.
    #[schemars(extend("examples" = [["example.org"]]))]
    pub brands: Vec<String>,
    /// Domains of links that no list is asked for.
    #[schemars(extend("examples" = [["example.org"]]))]
    pub harmless: Vec<String>,
}

impl Default for FilterScores {
    fn default() -> Self {
        Self {
            rules: true,
            reputation: FilterPoints::thousandths(2500),
            reputation_half_life: Span::from_secs(14 * 86_400),
            pen_pal: FilterPoints::thousandths(-3000),
            pen_pal_half_life: Span::from_secs(7 * 86_400),
            reply: FilterPoints::thousandths(-2000),
            dns_list: FilterPoints::thousandths(1000),
            uri_domains: 20,
            brands: Vec::new(),
            harmless: Vec::new(),
        }
    }
}
