//! SASLprep (RFC 4013): one spelling for what people type in several.

use std::borrow::Cow;

/// Prepares a username or an authorization identity; case stays.
///
/// `None` for an empty name and for characters that SASLprep prohibits.
pub(crate) fn name(text: &str) -> Option<String> {
    let prepared = stringprep::saslprep(text).ok()?;
    (!prepared.is_empty()).then(|| prepared.into_owned())
}

/// Prepares a password for a key derivation.
///
/// Passwords that SASLprep refuses (for example because Unicode 3.2 did not know their emoji) are taken as they
/// are: to refuse them would lock people out, and clients do the same.
pub(crate) fn password(text: &str) -> Cow<'_, str> {
    stringprep::saslprep(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4013 §3.
    #[test]
    fn names_are_prepared() {
        assert_eq!(name("I\u{ad}X").as_deref(), Some("IX"));
        assert_eq!(name("USER").as_deref(), Some("USER"));
        assert_eq!(name("\u{aa}").as_deref(), Some("a"));
        assert_eq!(name("\u{2168}").as_deref(), Some("IX"));
        assert_eq!(name("\u{7}"), None);
        assert_eq!(name("\u{627}1"), None);
        assert_eq!(name(""), None);
        assert_eq!(name("\u{ad}"), None);
    }

    #[test]
    fn passwords_are_never_refused() {
        assert_eq!(password("\u{2168}"), "IX");
        assert_eq!(password("caf\u{65}\u{301}"), "caf\u{e9}");
        assert_eq!(password("\u{1f980} crab"), "\u{1f980} crab");
    }
}
