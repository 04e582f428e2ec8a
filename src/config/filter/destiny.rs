//! `[filter.destiny]`: what becomes of what nobody wants.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a copy. Nothing is ever dropped.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "destiny"))]
#[serde(rename_all = "lowercase")]
pub enum Destiny {
    /// It is delivered.
    Deliver,
    /// It is delivered into Junk.
    Junk,
    /// It is held in the quarantine.
    Hold,
    /// It is refused while its sender is connected; where one reply answers for several recipients who do not agree, it is held.
    Refuse,
    /// Its sender is told to try again later.
    Defer,
}

impl Destiny {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Deliver, Self::Junk, Self::Hold, Self::Refuse, Self::Defer];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Junk => "junk",
            Self::Hold => "hold",
            Self::Refuse => "refuse",
            Self::Defer => "defer",
        }
    }

    /// The destiny with this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == word)
    }
}

/// What becomes of mail by what it is, unless a recipient's settings say otherwise.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterDestiny {
    /// With a virus.
    pub virus: Destiny,
    /// With a file that is not allowed.
    pub banned: Destiny,
    /// That could not be looked at whole, such as an encrypted archive.
    pub unchecked: Destiny,
    /// Whose score reaches `kill`.
    pub spam: Destiny,
    /// Whose score reaches `tag2`.
    pub spammy: Destiny,
    /// With an unsound header.
    pub bad_header: Destiny,
}

impl Default for FilterDestiny {
    fn default() -> Self {
        Self {
            virus: Destiny::Refuse,
            banned: Destiny::Refuse,
            unchecked: Destiny::Deliver,
            spam: Destiny::Junk,
            spammy: Destiny::Junk,
            bad_header: Destiny::Deliver,
        }
    }
}
