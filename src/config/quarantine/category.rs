//! What a message is, and so why it is held.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a held message is, the weakest first.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-noun" = "category"))]
#[repr(i16)]
pub enum HeldCategory {
    /// Nothing is wrong with it, but a milter or a rule has it held.
    #[default]
    Clean = 1,
    /// It could not be handed on.
    Trouble,
    /// It is larger than its recipient takes.
    Oversized,
    /// Its header is unsound.
    BadHeader,
    /// Its score reaches `tag2`.
    Spammy,
    /// Its score reaches `kill`.
    Spam,
    /// Not all of it could be looked at.
    Unchecked,
    /// It contains a file that is not allowed.
    Banned,
    /// It contains malware.
    Virus,
}

impl HeldCategory {
    /// All of them, the weakest first.
    pub const ALL: [Self; 9] = [
        Self::Clean,
        Self::Trouble,
        Self::Oversized,
        Self::BadHeader,
        Self::Spammy,
        Self::Spam,
        Self::Unchecked,
        Self::Banned,
        Self::Virus,
    ];

    /// Its number, 1 to 9.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The category with this number.
    #[must_use]
    pub fn of_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.code() == code)
    }

    /// Its letter, as other filters write it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Clean => 'C',
            Self::Trouble => 'T',
            Self::Oversized => 'O',
            Self::BadHeader => 'H',
            Self::Spammy => 'Y',
            Self::Spam => 'S',
            Self::Unchecked => 'U',
            Self::Banned => 'B',
            Self::Virus => 'V',
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Trouble => "trouble",
            Self::Oversized => "oversized",
            Self::BadHeader => "bad-header",
            Self::Spammy => "spammy",
            Self::Spam => "spam",
            Self::Unchecked => "unchecked",
            Self::Banned => "banned",
            Self::Virus => "virus",
        }
    }

    /// The category with this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == word)
    }
}

impl fmt::Display for HeldCategory {
    /// As people read it: in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadHeader => "bad header",
            other => other.name(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_has_the_highest_number() {
        assert_eq!(HeldCategory::Clean.code(), 1);
        assert_eq!(HeldCategory::Virus.code(), 9);
        for category in HeldCategory::ALL {
            assert_eq!(HeldCategory::of_code(category.code()), Some(category));
            assert_eq!(HeldCategory::named(category.name()), Some(category));
        }
        assert_eq!(HeldCategory::of_code(0), None);
        assert_eq!(HeldCategory::of_code(10), None);
        assert!(HeldCategory::Banned > HeldCategory::Spam && HeldCategory::Spam > HeldCategory::BadHeader);
        assert!(HeldCategory::ALL.is_sorted());
    }
}
