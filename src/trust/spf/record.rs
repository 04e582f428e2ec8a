//! SPF records (RFC 7208 §4.5, §4.6, §5, §6): read whole before anything of them is evaluated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::SpfResult;
use super::macros::{MacroString, Place};

/// A record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

/// A mechanism and what follows when it matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Directive {
    pub(super) result: SpfResult,
    pub(super) mechanism: Mechanism,
    /// As it is written.
    pub(super) text: String,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Prefixes),
    Mx(Option<MacroString>, Prefixes),
    Ptr(Option<MacroString>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(MacroString),
}

/// How many bits of an address count, in each family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

impl Prefixes {
    /// Whether two addresses are in one network.
    pub(super) fn join(self, one: IpAddr, other: IpAddr) -> bool {
        match (one, other) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                let differ = one.to_bits() ^ other.to_bits();
                differ.checked_shr(32 - u32::from(self.v4)).unwrap_or(0) == 0
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                let differ = one.to_bits() ^ other.to_bits();
                differ.checked_shr(128 - u32::from(self.v6)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Whether a TXT record is an SPF record (RFC 7208 §4.5).
pub(super) fn is_record(text: &str) -> bool {
    let Some((version, rest)) = text.split_at_checked(VERSION.len()) else { return false };
    version.eq_ignore_ascii_case(VERSION) && (rest.is_empty() || rest.starts_with(' '))
}

const VERSION: &str = "v=spf1";
/// More than any name server can mean; it bounds what reading it costs.
const LONGEST: usize = 16 << 10;

impl Record {
    /// Reads a record for which [`is_record`] holds.
    ///
    /// # Errors
    /// The term that cannot be read, or what else is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err("it is too long".to_owned());
        }
        let mut record = Self { directives: Vec::new(), redirect: None, explanation: None };
        let terms = text.get(VERSION.len()..).unwrap_or_default();
        for term in terms.split(' ').filter(|term| !term.is_empty()) {
            record.take(term)?;
        }
        Ok(record)
    }

    fn take(&mut self, term: &str) -> Result<(), String> {
        let unreadable = || format!("`{}` cannot be read", printable(term));
        let name_end = term.bytes().position(|b| !(b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
        if let Some((name, value)) = name_end.filter(|end| term.as_bytes()[*end] == b'=').and_then(|at| {
            let (name, value) = term.split_at(at);
            Some((name, value.get(1..)?))
        }) {
            if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return Err(unreadable());
            }
            let slot = match () {
                () if name.eq_ignore_ascii_case("redirect") => &mut self.redirect,
                () if name.eq_ignore_ascii_case("exp") => &mut self.explanation,
                () => return MacroString::parse(value, Place::Value).map(|_| ()).ok_or_else(unreadable),
            };
            if slot.is_some() {
                return Err(format!("{}= is there twice", name.to_ascii_lowercase()));
            }
            *slot = Some(MacroString::parse(value, Place::Name).ok_or_else(unreadable)?);
            return Ok(());
        }
        let (result, mechanism) = match term.as_bytes().first() {
            Some(b'+') => (SpfResult::Pass, &term[1..]),
            Some(b'-') => (SpfResult::Fail, &term[1..]),
            Some(b'~') => (SpfResult::SoftFail, &term[1..]),
            Some(b'?') => (SpfResult::Neutral, &term[1..]),
            _ => (SpfResult::Pass, term),
        };
        let mechanism = Mechanism::parse(mechanism).ok_or_else(unreadable)?;
        self.directives.push(Directive { result, mechanism, text: term.to_owned() });
        Ok(())
    }
}

impl Mechanism {
    fn parse(text: &str) -> Option<Self> {
        let end = text.find([':', '/']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let name = name.to_ascii_lowercase();
        let must = || rest.strip_prefix(':').and_then(|name| MacroString::parse(name, Place::Name));
        Some(match name.as_str() {
            "all" if rest.is_empty() => Self::All,
            "include" => Self::Include(must()?),
            "exists" => Self::Exists(must()?),
            "a" => {
                let (name, prefixes) = name_and_prefixes(rest)?;
                Self::A(name, prefixes)
            }
            "mx" => {
                let (name, prefixes) = name_and_prefixes(rest)?;
                Self::Mx(name, prefixes)
            }
            "ptr" if rest.is_empty() => Self::Ptr(None),
            "ptr" => Self::Ptr(Some(must()?)),
            "ip4" => {
                let (address, prefix) = address_and_prefix(rest)?;
                Self::Ip4(address.parse().ok()?, prefix.map_or(Some(32), |text| number(text, 32))?)
            }
            "ip6" => {
                let (address, prefix) = address_and_prefix(rest)?;
                Self::Ip6(address.parse().ok()?, prefix.map_or(Some(128), |text| number(text, 128))?)
            }
            _ => return None,
        })
    }

    /// Whether it counts against the limit of look-ups (RFC 7208 §4.6.4).
    pub(super) fn looks_up(&self) -> bool {
        !matches!(self, Self::All | Self::Ip4(..) | Self::Ip6(..))
    }

    /// The name that it is about, where it does not stand for the domain itself.
    pub(super) fn name(&self) -> Option<&MacroString> {
        match self {
            Self::Include(name) | Self::Exists(name) => Some(name),
            Self::A(name, _) | Self::Mx(name, _) | Self::Ptr(name) => name.as_ref(),
            Self::All | Self::Ip4(..) | Self::Ip6(..) => None,
        }
    }
}

/// `[ ":" domain-spec ] [ "/" ip4-prefix ] [ "//" ip6-prefix ]`; a name may hold slashes, too.
fn name_and_prefixes(rest: &str) -> Option<(Option<MacroString>, Prefixes)> {
    let mut prefixes = Prefixes { v4: 32, v6: 128 };
    let mut rest = rest;
    let behind = |text: &str, mark: &str| -> Option<(usize, String)> {
        let at = text.rfind(mark)?;
        let digits = &text[at + mark.len()..];
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| (at, digits.to_owned()))
    };
    if let Some((at, digits)) = behind(rest, "//") {
        prefixes.v6 = number(&digits, 128)?;
        rest = &rest[..at];
    }
    if let Some((at, digits)) = behind(rest, "/") {
        prefixes.v4 = number(&digits, 32)?;
        rest = &rest[..at];
    }
    if rest.is_empty() {
        return Some((None, prefixes));
    }
    Some((Some(MacroString::parse(rest.strip_prefix(':')?, Place::Name)?), prefixes))
}

fn address_and_prefix(rest: &str) -> Option<(&str, Option<&str>)> {
    let rest = rest.strip_prefix(':')?;
    Some(rest.split_once('/').map_or((rest, None), |(address, prefix)| (address, Some(prefix))))
}

/// Digits without a leading zero, up to a largest value.
fn number(digits: &str, most: u8) -> Option<u8> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|number| plain && *number <= most)
}

/// Others' text for a sentence of ours: short and without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_other_texts() {
        for yes in ["v=spf1", "V=SPF1", "v=spf1 ", "v=spf1 -all"] {
            assert!(is_record(yes), "{yes}");
        }
        for no in ["", "v=spf", "v=spf10 -all", "v=spf1-all", " v=spf1", "v=spf1\t", "ü=spf1 "] {
            assert!(!is_record(no), "{no}");
        }
    }

    #[test]
    fn terms_are_read() {
        let record = Record::parse(
            "v=spf1  A/24//64 mx:x.example ?ip4:192.0.2.0/24 ~ip6:2001:db8::/32 ptr include:a.%{d} \
             -exists:%{i}.x.example moose=%{d} redirect=b.example exp=c.example -ALL",
        )
        .expect("a record");
        let texts: Vec<_> = record.directives.iter().map(|one| (one.result, one.text.as_str())).collect();
        assert_eq!(texts[0], (SpfResult::Pass, "A/24//64"));
        assert_eq!(texts[2], (SpfResult::Neutral, "?ip4:192.0.2.0/24"));
        assert_eq!(texts[7], (SpfResult::Fail, "-ALL"));
        assert_eq!(record.directives[0].mechanism, Mechanism::A(None, Prefixes { v4: 24, v6: 64 }));
        assert!(record.redirect.is_some() && record.explanation.is_some());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for term in [
            "foo",
            "all:x",
            "all.",
            "all/8",
            "a:",
            "a/",
            "a/33",
            "a//129",
            "a/024",
            "a:1.2.3.4",
            "mx:",
            "ip4",
            "ip4:",
            "ip4:1.2.3",
            "ip4:1.2.3.4/",
            "ip4:1.2.3.4/33",
            "ip4:1.2.3.4/32/8",
            "ip4:1.2.3.4//32",
            "ip6:::1/129",
            "ip6::",
            "ip4:::1",
            "include",
            "include:",
            "exists",
            "exists:",
            "ptr:",
            "ptr/8",
            "redirect=",
            "exp=",
            "redirect=%{c}.example",
            "moose=%",
            "1a=b",
            "=b",
            "--all",
            "include:a.example/24",
            "-",
            "all\t",
            "\u{e4}",
            "redirect:a.example",
            "exp=a.example exp=a.example",
            "redirect=a.example REDIRECT=b.example",
        ] {
            assert!(Record::parse(&format!("v=spf1 {term} -all")).is_err(), "{term}");
        }
        assert!(Record::parse(&format!("v=spf1 {}", "a ".repeat(10_000))).is_err());
    }

    #[test]
    fn networks_join_addresses() {
        let join = |v4, v6, one: &str, other: &str| {
            Prefixes { v4, v6 }.join(one.parse().expect("an address"), other.parse().expect("an address"))
        };
        assert!(join(24, 128, "192.0.2.1", "192.0.2.255"));
        assert!(!join(25, 128, "192.0.2.1", "192.0.2.255"));
        assert!(join(0, 0, "192.0.2.1", "10.0.0.1") && join(0, 0, "::1", "2001:db8::"));
        assert!(!join(32, 0, "192.0.2.1", "192.0.2.0") && !join(0, 0, "192.0.2.1", "::1"));
        assert!(join(32, 32, "2001:db8::1", "2001:db8:1::") && !join(0, 128, "::1", "::2"));
    }
}
