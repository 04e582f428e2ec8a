//! LIST patterns (RFC 9051 §6.3.9): `*` matches anything, `%` anything but the delimiter.

/// Whether a name matches a pattern. `INBOX` must be written in capitals in the name; in the pattern its case is free.
/// Takes time proportional to name times pattern at most, whatever the pattern.
#[must_use]
pub fn matches(pattern: &str, name: &str, delimiter: char) -> bool {
    if pattern == "*" {
        return true;
    }
    let inbox = name.strip_prefix("INBOX").is_some_and(|rest| rest.is_empty() || rest.starts_with(delimiter));
    match pattern.split_at_checked(5) {
        Some((head, rest)) if inbox && head.eq_ignore_ascii_case("INBOX") && is_level(rest, delimiter) => {
            matches_octets(rest.as_bytes(), &name.as_bytes()[5..], delimiter)
        }
        _ => matches_octets(pattern.as_bytes(), name.as_bytes(), delimiter),
    }
}

/// The same pattern with each run of wildcards as the one that it amounts to: after this no pattern can be much longer
/// than the names it matches.
pub(crate) fn simplify(pattern: &str) -> String {
    let mut simple = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        match (simple.chars().next_back(), c) {
            (Some('*' | '%'), '%') | (Some('*'), '*') => {}
            (Some('%'), '*') => {
                simple.pop();
                simple.push('*');
            }
            _ => simple.push(c),
        }
    }
    simple
}

/// Whether the first level of a pattern ends here, or may.
fn is_level(rest: &str, delimiter: char) -> bool {
    rest.chars().next().is_none_or(|c| c == delimiter || c == '*' || c == '%')
}

/// Follows all readings of the pattern at once, octet by octet. UTF-8 is self-synchronising: comparing octets is
/// comparing characters, as long as the delimiter is ASCII.
fn matches_octets(pattern: &[u8], name: &[u8], delimiter: char) -> bool {
    if pattern.iter().filter(|&&octet| !is_wildcard(octet)).count() > name.len() {
        return false;
    }
    // reached[p]: some reading has used up p octets of the pattern.
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    skip_wildcards(&mut reached, pattern);
    for &octet in name {
        for p in (0..=pattern.len()).rev() {
            let stays = match pattern.get(p) {
                Some(b'*') => reached[p],
                Some(b'%') => reached[p] && u32::from(octet) != u32::from(delimiter),
                _ => false,
            };
            reached[p] = stays || (p > 0 && reached[p - 1] && pattern[p - 1] == octet && !is_wildcard(octet));
        }
        skip_wildcards(&mut reached, pattern);
    }
    reached[pattern.len()]
}

/// A wildcard may stand for nothing.
fn skip_wildcards(reached: &mut [bool], pattern: &[u8]) {
    for (p, &octet) in pattern.iter().enumerate() {
        reached[p + 1] |= reached[p] && is_wildcard(octet);
    }
}

const fn is_wildcard(octet: u8) -> bool {
    matches!(octet, b'*' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_cross_levels_and_percents_do_not() {
        for (pattern, name, expected) in [
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("%/%", "a/b", true),
            ("%/%", "a/b/c", false),
            ("a/*", "a/b/c", true),
            ("a/*", "a", false),
            ("a*", "a", true),
            ("*c", "a/b/c", true),
            ("*/c", "c", false),
            ("%b%/d", "abc/d", true),
            ("*%/d", "a/b/d", true),
            ("*%b", "a/xb", true),
            ("%*", "a/b", true),
            ("a%c*f", "abc/d/ef", true),
            ("a%c*f", "a/c/f", false),
            ("", "", true),
            ("", "a", false),
            ("Gr*e", "Grüße", true),
            ("work", "Work", false),
        ] {
            assert_eq!(matches(pattern, name, '/'), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn inbox_matches_in_any_case() {
        assert!(matches("inbox", "INBOX", '/'));
        assert!(matches("Inbox*", "INBOX/a", '/'));
        assert!(matches("inbox/%", "INBOX/a", '/'));
        assert!(!matches("inboxes", "INBOX", '/'));
        assert!(!matches("inbox*", "INBOXES", '/'));
    }

    /// The plain recursive definition, to hold the loop against.
    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|eaten| slow(rest, &name[eaten..])),
            Some((b'%', rest)) => {
                let level = name.iter().position(|&octet| octet == b'/').unwrap_or(name.len());
                (0..=level).any(|eaten| slow(rest, &name[eaten..]))
            }
            Some((octet, rest)) => name.first() == Some(octet) && slow(rest, &name[1..]),
        }
    }

    #[test]
    fn every_short_pattern_agrees_with_the_definition() {
        let words = |alphabet: &[u8], length: usize| {
            let mut all = vec![vec![]];
            for _ in 0..length {
                let longer: Vec<Vec<u8>> = all
                    .iter()
                    .flat_map(|word| alphabet.iter().map(|&octet| [word.as_slice(), &[octet]].concat()))
                    .collect();
                all.extend(longer);
                all.sort();
                all.dedup();
            }
            all
        };
        for pattern in words(b"*%a/", 4) {
            for name in words(b"ab/", 4) {
                assert_eq!(matches_octets(&pattern, &name, '/'), slow(&pattern, &name), "{pattern:?} {name:?}");
            }
        }
    }

    #[test]
    fn simple_patterns_mean_the_same() {
        for (pattern, simple) in [("**", "*"), ("%%", "%"), ("%*%a*%*b%%/", "*a*b%/"), ("", ""), ("a", "a")] {
            assert_eq!(simplify(pattern), simple);
        }
        assert!(matches("a%%b", "axb", '/') && matches(&simplify("a%%b"), "axb", '/'));
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let name = "a".repeat(2000);
        assert!(!matches(&"*a".repeat(500).replace("*a*a", "*a%a"), &format!("{name}/b"), '/'));
    }
}
