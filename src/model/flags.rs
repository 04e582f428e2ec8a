//! Message flags as one 64-bit word: five system flags and up to 57 keywords of the account.

use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// How many keywords one account can have: bits 6 to 62 of [`Flags`].
pub const KEYWORD_LIMIT: usize = 57;

const FIRST_KEYWORD: u32 = 6;

/// The flags of one message (RFC 9051 §2.3.2). Bits 0 to 4 are the system flags; a keyword's bit is its place
/// in the account's [`Keywords`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Flags(pub u64);

impl Flags {
    /// `\Seen`
    pub const SEEN: Self = Self(1);
    /// `\Answered`
    pub const ANSWERED: Self = Self(1 << 1);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(1 << 2);
    /// `\Deleted`
    pub const DELETED: Self = Self(1 << 3);
    /// `\Draft`
    pub const DRAFT: Self = Self(1 << 4);

    /// The system flags with their names, in the order they are written.
    pub const SYSTEM: [(Self, &'static str); 5] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// No flag at all.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any keyword is set.
    #[must_use]
    pub const fn has_keywords(self) -> bool {
        self.0 >> FIRST_KEYWORD != 0
    }

    /// The system flag of this name, case folded; `None` for keywords and for `\Recent`.
    #[must_use]
    pub fn system(name: &str) -> Option<Self> {
        Self::SYSTEM.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(flag, _)| *flag)
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Flags {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Flags {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// The keywords of an account, in bit order. Names compare without case (RFC 9051 §2.3.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Keywords(Vec<String>);

/// Why a keyword was not added.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeywordError {
    /// The account has [`KEYWORD_LIMIT`] keywords already.
    #[error("the account has {KEYWORD_LIMIT} keywords already")]
    Limit,
    /// Not an atom (RFC 9051 §9 `flag-keyword`), or longer than 64 octets.
    #[error("not a keyword")]
    Malformed,
}

impl Keywords {
    /// Keywords as the store keeps them.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// All names in bit order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The bit of a keyword that is known already.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Flags> {
        self.0.iter().position(|known| known.eq_ignore_ascii_case(name)).map(bit)
    }

    /// The bit of a keyword, which is added when it is new.
    ///
    /// # Errors
    /// [`KeywordError`] when the name is not an atom or no bit is left.
    pub fn intern(&mut self, name: &str) -> Result<Flags, KeywordError> {
        if let Some(known) = self.find(name) {
            return Ok(known);
        }
        if !valid_keyword(name) {
            return Err(KeywordError::Malformed);
        }
        if self.0.len() >= KEYWORD_LIMIT {
            return Err(KeywordError::Limit);
        }
        self.0.push(name.to_owned());
        Ok(bit(self.0.len() - 1))
    }

    /// Every flag name set in `flags`: system flags first, then keywords.
    pub fn written<'k>(&'k self, flags: Flags) -> impl Iterator<Item = &'k str> + 'k {
        let system = Flags::SYSTEM.iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, name)| *name);
        let own =
            self.0.iter().enumerate().filter(move |(at, _)| flags.contains(bit(*at))).map(|(_, name)| name.as_str());
        system.chain(own)
    }
}

/// Whether a name can be a keyword: an atom of at most 64 octets that does not begin with a backslash.
#[must_use]
pub fn valid_keyword(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b))
}

fn bit(place: usize) -> Flags {
    Flags(1 << (FIRST_KEYWORD + place as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_have_stable_bits() {
        let mut keywords = Keywords::default();
        let junk = keywords.intern("$Junk").expect("room");
        let other = keywords.intern("work").expect("room");
        assert_eq!(keywords.intern("$JUNK"), Ok(junk));
        assert_ne!(junk, other);
        let names: Vec<_> = keywords.written(junk | Flags::SEEN).collect();
        assert_eq!(names, ["\\Seen", "$Junk"]);
    }

    #[test]
    fn the_last_bit_is_the_limit() {
        let mut keywords = Keywords::default();
        for n in 0..KEYWORD_LIMIT {
            keywords.intern(&format!("k{n}")).expect("room");
        }
        assert_eq!(keywords.intern("one-more"), Err(KeywordError::Limit));
        assert_eq!(keywords.find("k56"), Some(Flags(1 << 62)));
    }

    #[test]
    fn backslash_and_list_characters_are_no_keywords() {
        for name in ["", "\\Seen", "a b", "a(b", "a]b", "ä"] {
            assert!(!valid_keyword(name), "{name:?}");
        }
    }
}
