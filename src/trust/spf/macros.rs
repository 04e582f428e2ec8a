//! Macro strings (RFC 7208 §7): parsed once, expanded for a client and a domain.

use std::fmt::Write as _;
use std::net::IpAddr;

use chrono::{DateTime, Utc};

/// A text with macros.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct MacroString(Vec<Piece>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Literal(String),
    Expand { letter: u8, keep: Option<usize>, reverse: bool, delimiters: String, escape: bool },
}

/// Where a macro string stands: what it may hold depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// The name behind a mechanism, `redirect=` or `exp=`.
    Name,
    /// The value of an unknown modifier.
    Value,
    /// The text that `exp=` leads to: spaces, and macros for people.
    Explanation,
}

/// What macros stand for.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) client: IpAddr,
    pub(super) helo: String,
    pub(super) local: String,
    pub(super) sender_domain: String,
    pub(super) receiver: String,
    pub(super) at: DateTime<Utc>,
}

impl MacroString {
    /// The text, if no macros are in it.
    pub(super) fn literal(&self) -> Option<String> {
        let texts = self.0.iter().map(|piece| match piece {
            Piece::Literal(text) => Some(text.as_str()),
            Piece::Expand { .. } => None,
        });
        texts.collect()
    }

    /// Parses it; `None` when it is malformed or, as a name, could not end in a domain (RFC 7208 §7.1 `domain-spec`).
    pub(super) fn parse(text: &str, place: Place) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        let mut ends_in_macro = false;
        while let Some(first) = rest.bytes().next() {
            ends_in_macro = first == b'%';
            if first != b'%' {
                let visible = (0x21..=0x7e).contains(&first) || (first == b' ' && place == Place::Explanation);
                if !visible {
                    return None;
                }
                literal.push(char::from(first));
                rest = &rest[1..];
                continue;
            }
            rest = &rest[1..];
            match rest.bytes().next()? {
                b'%' => literal.push('%'),
                b'_' => literal.push(' '),
                b'-' => literal.push_str("%20"),
                b'{' => {
                    let (inside, behind) = rest[1..].split_once('}')?;
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(expand_of(inside, place)?);
                    rest = behind;
                    continue;
                }
                _ => return None,
            }
            rest = &rest[1..];
        }
        if place == Place::Name && !ends_in_macro && !ends_in_top_label(&literal) {
            return None;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Some(Self(pieces))
    }

    /// Whether it asks for the client's validated name.
    pub(super) fn wants_name(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Expand { letter: b'p', .. }))
    }

    /// The text for a client, `domain` and the client's validated `name`. `None` where the local part is not ASCII and
    /// is asked for: such a term never matches (RFC 8616 §4).
    pub(super) fn expand(&self, facts: &Facts, domain: &str, name: &str) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Expand { letter, keep, reverse, delimiters, escape } => {
                    let value = facts.value(*letter, domain, name)?;
                    let value = transform(value, *keep, *reverse, delimiters);
                    if *escape {
                        put_escaped(&value, &mut text);
                    } else {
                        text.push_str(&value);
                    }
                }
            }
        }
        Some(text)
    }

    /// The same as a domain name: without its final dot, and cut on the left when it is too long (RFC 7208 §7.3).
    pub(super) fn expand_name(&self, facts: &Facts, domain: &str, name: &str) -> Option<String> {
        let mut text = self.expand(facts, domain, name)?;
        if text.ends_with('.') {
            text.pop();
        }
        let mut start = 0;
        while text.len() - start > LONGEST_NAME {
            start += text[start..].find('.')? + 1;
        }
        text.drain(..start);
        Some(text)
    }
}

impl Facts {
    fn value(&self, letter: u8, domain: &str, name: &str) -> Option<String> {
        Some(match letter {
            b's' => {
                ascii(&self.local)?;
                format!("{}@{}", self.local, self.sender_domain)
            }
            b'l' => ascii(&self.local)?.to_owned(),
            b'o' => self.sender_domain.clone(),
            b'd' => domain.to_owned(),
            b'i' => dotted(self.client),
            b'p' => name.to_owned(),
            b'v' => if self.client.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
            b'h' => self.helo.clone(),
            b'c' => self.client.to_string(),
            b'r' => self.receiver.clone(),
            b't' => self.at.timestamp().to_string(),
            _ => return None,
        })
    }
}

const LONGEST_NAME: usize = 253;

fn ascii(text: &str) -> Option<&str> {
    text.is_ascii().then_some(text)
}

/// What is inside the braces: letter, digits, `r`, delimiters.
fn expand_of(inside: &str, place: Place) -> Option<Piece> {
    let first = inside.bytes().next()?;
    let letter = first.to_ascii_lowercase();
    let known = match place {
        Place::Name | Place::Value => b"slodiphv".contains(&letter),
        Place::Explanation => b"slodiphvcrt".contains(&letter),
    };
    if !known {
        return None;
    }
    let rest = &inside[1..];
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = rest.split_at(digits);
    let keep = match number {
        "" => None,
        // More than there can be is the same as all.
        number => Some(number.parse().unwrap_or(usize::MAX)).filter(|keep| *keep > 0),
    };
    if keep.is_none() && !number.is_empty() {
        return None;
    }
    let (reverse, delimiters) = match rest.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if !delimiters.bytes().all(|b| b".-+,/_=".contains(&b)) {
        return None;
    }
    Some(Piece::Expand { letter, keep, reverse, delimiters: delimiters.to_owned(), escape: first != letter })
}

/// Whether a literal ends as `domain-end` wants: `"." toplabel [ "." ]`.
fn ends_in_top_label(literal: &str) -> bool {
    let name = literal.strip_suffix('.').unwrap_or(literal);
    let Some((_, top)) = name.rsplit_once('.') else { return false };
    let plain = top.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let named = top.bytes().any(|b| !b.is_ascii_digit());
    plain && named && !top.starts_with('-') && !top.ends_with('-')
}

fn transform(value: String, keep: Option<usize>, reverse: bool, delimiters: &str) -> String {
    if keep.is_none() && !reverse && delimiters.is_empty() {
        return value;
    }
    let delimiters = if delimiters.is_empty() { "." } else { delimiters };
    let mut parts: Vec<&str> = value.split(|c| delimiters.contains(c)).collect();
    if reverse {
        parts.reverse();
    }
    let skipped = keep.map_or(0, |keep| parts.len().saturating_sub(keep));
    parts[skipped..].join(".")
}

/// RFC 3986 §2.3: everything but unreserved characters is escaped.
fn put_escaped(value: &str, to: &mut String) {
    for b in value.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            to.push(char::from(b));
        } else {
            let _infallible = write!(to, "%{b:02X}");
        }
    }
}

/// An address in dots: of IPv6 the 32 nibbles.
fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let mut text = String::with_capacity(63);
            for octet in address.octets() {
                let _infallible = write!(text, "{:X}.{:X}.", octet >> 4, octet & 15);
            }
            text.pop();
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(client: &str) -> Facts {
        Facts {
            client: client.parse().expect("an address"),
            helo: "mail.example.net".to_owned(),
            local: "strong-bad".to_owned(),
            sender_domain: "email.example.com".to_owned(),
            receiver: "mx.example.org".to_owned(),
            at: DateTime::from_timestamp(1_795_223_379, 0).expect("in range"),
        }
    }

    fn expand(text: &str, client: &str) -> Option<String> {
        MacroString::parse(text, Place::Explanation)?.expand(&facts(client), "email.example.com", "unknown")
    }

    /// The examples of RFC 7208 §7.4.
    #[test]
    fn macros_expand_as_printed() {
        for (text, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
            ("%%%_%-", "% %20"),
            ("%{S}", "strong-bad%40email.example.com"),
            ("%{c} %{r} %{t} %{p}", "192.0.2.3 mx.example.org 1795223379 unknown"),
        ] {
            assert_eq!(expand(text, "192.0.2.3").as_deref(), Some(expected), "{text}");
        }
        assert_eq!(
            expand("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01").map(|name| name.to_ascii_lowercase()).as_deref(),
            Some("1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com")
        );
    }

    #[test]
    fn what_is_malformed_is_no_macro() {
        for text in ["%", "%{", "%{}", "%{x}", "%{d", "%{d0}", "%{d2q}", "%a", "%{d.r}", "ä", "\t", "%{ä}"] {
            assert_eq!(MacroString::parse(text, Place::Explanation), None, "{text}");
        }
        for text in ["a b", "%{c}.example.org", "%{t}"] {
            assert_eq!(MacroString::parse(text, Place::Value), None, "{text}");
        }
        assert!(MacroString::parse("", Place::Value).is_some());
    }

    #[test]
    fn names_end_in_a_top_label_or_a_macro() {
        for good in ["a.example", "a.example.", "x%{d}", "a.x-1", "%{i}%%", "a/b.example", "a.b2c"] {
            assert!(MacroString::parse(good, Place::Name).is_some(), "{good}");
        }
        for bad in ["", "example", "example.", "a.1", "a.-b", "a.b-", "a.b:1", "a..", "%{d}.", "%{d}.1", "a.b c"] {
            assert!(MacroString::parse(bad, Place::Name).is_none(), "{bad}");
        }
    }

    #[test]
    fn long_names_lose_labels_on_the_left() {
        let long = format!("{}.%{{d}}", vec!["a23456789"; 40].join("."));
        let name = MacroString::parse(&long, Place::Name).expect("a name");
        let name = name.expand_name(&facts("192.0.2.3"), "example.com", "").expect("expanded");
        assert!(name.len() <= 253 && name.len() > 243, "{}", name.len());
        assert!(name.starts_with("a23456789.") && name.ends_with(".example.com"), "{name}");
        let unbroken = MacroString::parse(&format!("{}%{{d}}", "x".repeat(400)), Place::Name).expect("a name");
        assert!(unbroken.expand_name(&facts("192.0.2.3"), "example.com", "").is_none_or(|name| name.len() <= 253));
    }

    #[test]
    fn local_parts_that_are_not_ascii_match_nothing() {
        let facts = Facts { local: "jürgen".to_owned(), ..facts("192.0.2.3") };
        let expand = |text| MacroString::parse(text, Place::Name).expect("a name").expand(&facts, "d.example", "");
        assert_eq!(expand("%{l}.%{d}"), None);
        assert_eq!(expand("%{S}.%{d}"), None);
        assert_eq!(expand("%{o}").as_deref(), Some("email.example.com"));
    }
}
