//! `[filter.classifier]`: what is learned from words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FilterPoints;

/// The statistical classifier: it compares a message's words with those of spam and of other mail that it was shown.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterClassifier {
    /// Whether it is asked.
    pub enable: bool,
    /// What it counts when it is sure of spam.
    pub spam: FilterPoints,
    /// What it counts when it is sure of the contrary.
    pub ham: FilterPoints,
    /// Messages of each kind that it must have been shown by everybody together before it says anything.
    #[schemars(range(min = 1))]
    pub least: u32,
    /// The same for what one account has shown it.
    #[schemars(range(min = 1))]
    pub least_own: u32,
    /// Words of everybody that are kept in memory, 16 octets each.
    #[schemars(range(min = 1000, max = 100_000_000))]
    pub words: u32,
    /// Words of one account that are kept in memory, where it has shown enough.
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub own_words: u32,
    /// Accounts whose words are kept in memory at one time.
    #[schemars(range(max = 100_000))]
    pub accounts: u32,
    /// After so many messages everything learned counts half, so that it follows the times.
    #[schemars(range(min = 100))]
    pub halve_after: u32,
    /// Whether it learns when people move or copy messages into Junk and out of it, or mark them `$Junk` and `$NotJunk`.
    pub learn_from_moves: bool,
    /// Whether what one account says by that counts for everybody too, not for that account alone.
    pub share_moves: bool,
    /// Whether it takes for wanted what answers a message of ours or comes from somebody whom the recipient wrote to, where nothing else speaks against it. Without that it knows hardly anything but spam, and says nothing.
    pub learn_from_answers: bool,
}

impl Default for FilterClassifier {
    fn default() -> Self {
        Self {
            enable: true,
            spam: FilterPoints::thousandths(4500),
            ham: FilterPoints::thousandths(-3000),
            least: 50,
            least_own: 20,
            words: 1_000_000,
            own_words: 100_000,
            accounts: 200,
            halve_after: 100_000,
            learn_from_moves: true,
            share_moves: true,
            learn_from_answers: true,
        }
    }
}
