//! Search without case.

use memchr::memmem;

/// Folds case for [`contains_fold`]: every character's lower case, final sigma as sigma.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

/// Whether `haystack` holds `needle_folded` (made by [`fold`]) when case is folded. Time is linear in both; an
/// empty needle is everywhere (RFC 9051 §6.4.4).
#[must_use]
pub fn contains_fold(haystack: &str, needle_folded: &str) -> bool {
    if needle_folded.is_empty() {
        return true;
    }
    // Bytes of ASCII never occur inside other characters, so a hit among the ASCII-folded bytes is a hit.
    if memmem::find(haystack.to_ascii_lowercase().as_bytes(), needle_folded.as_bytes()).is_some() {
        return true;
    }
    if haystack.is_ascii() {
        return false;
    }
    // Only the Kelvin sign and the dotted capital I fold to ASCII letters.
    let folds_to_ascii = haystack.contains(['\u{212a}', '\u{130}']);
    (!needle_folded.is_ascii() || folds_to_ascii)
        && memmem::find(fold(haystack).as_bytes(), needle_folded.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_folded_in_ascii_and_beyond() {
        assert!(contains_fold("Hello World", &fold("LO wOR")));
        assert!(!contains_fold("Hello World", &fold("low")));
        assert!(contains_fold("Schöne GRÜSSE", &fold("grüsse")));
        assert!(contains_fold("ΟΔΟΣ και", &fold("οδος")));
        assert!(contains_fold("οδος", &fold("ΟΔΟΣ ")[..8]));
        assert!(contains_fold("300 \u{212a}elvin", &fold("kelvin")));
        assert!(!contains_fold("ä", &fold("a")));
        assert!(contains_fold("", "") && !contains_fold("", "a"));
    }
}
