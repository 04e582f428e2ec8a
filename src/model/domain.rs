//! Mail domains, folded to their one spelling.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A domain name in lower-case A-label form (RFC 5890 §2.3.2.1), or an address literal such as `[192.0.2.1]`
/// (RFC 5321 §4.1.3). Two spellings of one domain are equal.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Domain(String);

/// Why a text is not a mail domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DomainError {
    /// Longer than 255 octets (RFC 5321 §4.5.3.1.2) or a label longer than 63.
    #[error("domain name is too long")]
    TooLong,
    /// Empty, with an empty label, or with characters no host name has.
    #[error("not a domain name")]
    Malformed,
}

impl Domain {
    /// Parses and folds: case, U-labels to A-labels, one trailing dot dropped.
    ///
    /// # Errors
    /// [`DomainError`] when the text cannot name a mail domain.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        if let Some(inside) = text.strip_prefix('[') {
            return Self::literal(inside.strip_suffix(']').ok_or(DomainError::Malformed)?);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(DomainError::Malformed);
        }
        if text.len() > 1024 {
            return Err(DomainError::TooLong);
        }
        let folded = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).map_err(|_| DomainError::Malformed)?
        };
        if folded.len() > 255 {
            return Err(DomainError::TooLong);
        }
        for label in folded.split('.') {
            match label.len() {
                0 => return Err(DomainError::Malformed),
                1..=63 => {}
                _ => return Err(DomainError::TooLong),
            }
            let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if !label.bytes().all(good) || label.starts_with('-') || label.ends_with('-') {
                return Err(DomainError::Malformed);
            }
        }
        Ok(Self(folded))
    }

    fn literal(inside: &str) -> Result<Self, DomainError> {
        let v6 = inside
            .get(..5)
            .filter(|tag| tag.eq_ignore_ascii_case("IPv6:"))
            .and_then(|_| inside[5..].parse::<std::net::Ipv6Addr>().ok());
        match (v6, inside.parse::<std::net::Ipv4Addr>()) {
            (Some(v6), _) => Ok(Self(format!("[IPv6:{v6}]"))),
            (None, Ok(v4)) => Ok(Self(format!("[{v4}]"))),
            _ => Err(DomainError::Malformed),
        }
    }

    /// The folded form, such as `xn--bcher-kva.example`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an address literal rather than a name.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }

    /// The form people read: A-labels turned back into Unicode where that is possible.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_domain_are_equal() {
        let one = Domain::parse("Bücher.Example.").expect("valid");
        assert_eq!(one, Domain::parse("xn--bcher-kva.EXAMPLE").expect("valid"));
        assert_eq!(one.to_unicode(), "bücher.example");
    }

    #[test]
    fn literals_are_canonical() {
        let one = Domain::parse("[ipv6:2001:DB8:0::1]").expect("valid");
        assert_eq!(one.as_str(), "[IPv6:2001:db8::1]");
        assert!(Domain::parse("[192.0.2.1]").expect("valid").is_literal());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ".", "a..b", "-a.example", "a b", "[192.0.2]", "[", "exa mple", "a\0b", "<x>"] {
            assert!(Domain::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Domain::parse(&"a".repeat(64)), Err(DomainError::TooLong));
    }
}
