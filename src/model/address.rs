//! Mail addresses as envelopes carry them (RFC 5321 §4.1.2).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Domain, DomainError};

/// A mailbox address: local part as written (case kept, quotes removed where they are not needed), domain folded.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    local: String,
    domain: Domain,
}

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressError {
    /// The domain is not one.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The local part is longer than 64 octets (RFC 5321 §4.5.3.1.1).
    #[error("local part is longer than 64 octets")]
    LocalTooLong,
    /// The local part is neither a dot-string nor a quoted string.
    #[error("malformed local part")]
    MalformedLocal,
    /// There is no `@` outside quotes.
    #[error("address has no domain")]
    NoDomain,
}

impl Address {
    /// Parses `local@domain`; the local part may be quoted and, as RFC 6531 allows, hold UTF-8.
    ///
    /// # Errors
    /// [`AddressError`] says which half is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = split_point(text).ok_or(AddressError::NoDomain)?;
        let domain = Domain::parse(&text[at + 1..])?;
        Self::new(&text[..at], domain)
    }

    /// Joins a local part (quoted or not) with a domain.
    ///
    /// # Errors
    /// [`AddressError::MalformedLocal`] or [`AddressError::LocalTooLong`].
    pub fn new(local: &str, domain: Domain) -> Result<Self, AddressError> {
        let local = unquote(local)?;
        if local.len() > 64 {
            return Err(AddressError::LocalTooLong);
        }
        Ok(Self { local, domain })
    }

    /// Joins a local part that carries no quotes, as [`Self::local`] returns it, with a domain.
    ///
    /// # Errors
    /// [`AddressError::MalformedLocal`] or [`AddressError::LocalTooLong`].
    pub fn from_parts(local: impl Into<String>, domain: Domain) -> Result<Self, AddressError> {
        let local = local.into();
        if local.is_empty() || local.chars().any(char::is_control) {
            return Err(AddressError::MalformedLocal);
        }
        if local.len() > 64 {
            return Err(AddressError::LocalTooLong);
        }
        Ok(Self { local, domain })
    }

    /// The local part without quotes, case as written.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The folded domain.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Splits `user+detail` (RFC 5233): the user before the first separator, and the detail when there is one.
    #[must_use]
    pub fn subaddress(&self, separator: char) -> (&str, Option<&str>) {
        match self.local.split_once(separator) {
            Some((user, detail)) if !user.is_empty() => (user, Some(detail)),
            _ => (&self.local, None),
        }
    }

    /// Whether the address needs SMTPUTF8 (RFC 6531 §3.2) to be written.
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_str("\"")?;
        for c in self.local.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The `@` that parts local part and domain: the last one, or the one behind the closing quote.
fn split_point(text: &str) -> Option<usize> {
    if !text.starts_with('"') {
        return text.rfind('@');
    }
    let mut escaped = false;
    for (at, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return (text.as_bytes().get(at + 1) == Some(&b'@')).then_some(at + 1),
            _ => {}
        }
    }
    None
}

fn unquote(local: &str) -> Result<String, AddressError> {
    let Some(inside) = local.strip_prefix('"') else {
        return if is_dot_string(local) { Ok(local.to_owned()) } else { Err(AddressError::MalformedLocal) };
    };
    let inside = inside.strip_suffix('"').ok_or(AddressError::MalformedLocal)?;
    let mut plain = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next().ok_or(AddressError::MalformedLocal)?,
            '"' => return Err(AddressError::MalformedLocal),
            c => c,
        };
        if c.is_control() {
            return Err(AddressError::MalformedLocal);
        }
        plain.push(c);
    }
    if plain.is_empty() { Err(AddressError::MalformedLocal) } else { Ok(plain) }
}

/// RFC 5321 §4.1.2 `Dot-string`, widened by RFC 6531 §3.3 to UTF-8.
fn is_dot_string(local: &str) -> bool {
    let atext =
        |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control());
    !local.is_empty() && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_kept_left_and_folded_right() {
        let address = Address::parse("Bob.Smith@EXAMPLE.org").expect("valid");
        assert_eq!(address.to_string(), "Bob.Smith@example.org");
    }

    #[test]
    fn needless_quotes_go_and_needed_ones_stay() {
        assert_eq!(Address::parse("\"bob\"@example.org").expect("valid").to_string(), "bob@example.org");
        let odd = Address::parse("\"a@b \\\"c\"@example.org").expect("valid");
        assert_eq!(odd.local(), "a@b \"c");
        assert_eq!(Address::parse(&odd.to_string()), Ok(odd));
    }

    #[test]
    fn detail_is_split_once() {
        let address = Address::parse("bob+lists+rust@example.org").expect("valid");
        assert_eq!(address.subaddress('+'), ("bob", Some("lists+rust")));
        assert_eq!(Address::parse("+x@example.org").expect("valid").subaddress('+'), ("+x", None));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "bob", "@example.org", "a b@example.org", "a..b@example.org", ".a@b", "\"a@b", "a\r@b", "\"\"@b"]
        {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }
}
