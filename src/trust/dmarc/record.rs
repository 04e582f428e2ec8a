//! DMARC records (RFC 9989 §4.7; of RFC 7489 §6.3 what old records still say).

use super::Policy;
use crate::verify::Tags;

/// A domain's record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// `p=`: for mail of the domain itself.
    pub policy: Policy,
    /// `sp=`: for mail of domains below it.
    pub subdomain_policy: Option<Policy>,
    /// `np=`: for mail of domains below it that do not exist.
    pub nonexistent_policy: Option<Policy>,
    /// `adkim=s`: signatures must be of the very domain.
    pub strict_dkim: bool,
    /// `aspf=s`: the reverse path must be of the very domain.
    pub strict_spf: bool,
    /// `psd=`: whether it is a public suffix; `None` where that is not said.
    pub public_suffix: Option<bool>,
    /// `t=y`: the policy is only tried out.
    pub testing: bool,
    /// `pct=` of RFC 7489: how many of 100 messages the policy is for.
    pub percent: u8,
    /// `rua=`: where reports of many messages are wanted.
    pub aggregate: Vec<ReportUri>,
    /// `ruf=`: where reports of single failures are wanted.
    pub failure: Vec<ReportUri>,
}

/// Where reports are wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReportUri {
    /// The URI, such as `mailto:reports@example.org`.
    pub uri: String,
    /// The largest report that is taken there, in octets (RFC 7489 §6.2; RFC 9989 has it no more, old records do).
    pub limit: Option<u64>,
}

/// More addresses for reports are left out.
const MOST_URIS: usize = 10;

impl Record {
    /// Whether a TXT record is meant to be one.
    pub(super) fn is_record(text: &str) -> bool {
        let Some(rest) = text.strip_prefix('v') else { return false };
        let Some(rest) = rest.trim_start_matches([' ', '\t']).strip_prefix('=') else { return false };
        let Some(rest) = rest.trim_start_matches([' ', '\t']).strip_prefix("DMARC1") else { return false };
        rest.trim_start_matches([' ', '\t']).chars().next().is_none_or(|c| c == ';')
    }

    /// Reads a record for which [`Self::is_record`] holds; `None` for one that says nothing (RFC 9989 §4.7).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let tags = Tags::parse(text.as_bytes()).filter(|_| Self::is_record(text))?;
        let aggregate = uris(tags.text("rua"));
        let (policy, sound) = match tags.raw("p").map(Policy::parse) {
            Some(Some(policy)) => (policy, true),
            Some(None) | None => (Policy::None, false),
        };
        let other = |name| tags.raw(name).map(Policy::parse);
        let (subdomains, nonexistent) = (other("sp"), other("np"));
        if !sound || subdomains == Some(None) || nonexistent == Some(None) {
            // It asks for reports at least.
            if aggregate.is_empty() {
                return None;
            }
            return Some(Self { aggregate, failure: uris(tags.text("ruf")), ..Self::default() });
        }
        let yes = |name| tags.text(name).is_some_and(|value| value.eq_ignore_ascii_case("y"));
        let strict = |name| tags.text(name).is_some_and(|value| value.eq_ignore_ascii_case("s"));
        Some(Self {
            policy,
            subdomain_policy: subdomains.flatten(),
            nonexistent_policy: nonexistent.flatten(),
            strict_dkim: strict("adkim"),
            strict_spf: strict("aspf"),
            public_suffix: match tags.text("psd") {
                Some("y" | "Y") => Some(true),
                Some("n" | "N") => Some(false),
                _ => None,
            },
            testing: yes("t"),
            percent: tags
                .text("pct")
                .and_then(|text| text.parse().ok())
                .filter(|percent| *percent <= 100)
                .unwrap_or(100),
            aggregate,
            failure: uris(tags.text("ruf")),
        })
    }
}

impl Default for Record {
    fn default() -> Self {
        Self {
            policy: Policy::None,
            subdomain_policy: None,
            nonexistent_policy: None,
            strict_dkim: false,
            strict_spf: false,
            public_suffix: None,
            testing: false,
            percent: 100,
            aggregate: Vec::new(),
            failure: Vec::new(),
        }
    }
}

impl ReportUri {
    fn parse(text: &str) -> Option<Self> {
        let (uri, size) = text.trim().split_once('!').map_or((text.trim(), None), |(uri, size)| (uri, Some(size)));
        let (scheme, rest) = uri.split_once(':')?;
        let sound = !scheme.is_empty() && !rest.is_empty() && uri.len() <= 500;
        let sound = sound && uri.bytes().all(|b| b.is_ascii_graphic());
        // A size that cannot be read says nothing.
        sound.then(|| Self { uri: uri.to_owned(), limit: size.and_then(octets) })
    }

    /// The address of a `mailto:` URI, its percent signs resolved, without what follows a question mark.
    #[must_use]
    pub fn mailbox(&self) -> Option<String> {
        mailbox(&self.uri)
    }
}

/// The address of a `mailto:` URI (RFC 6068 §2), its percent signs resolved, without what follows a question mark; the
/// first of several.
#[must_use]
pub fn mailbox(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let address = rest.split(['?', ',']).next().filter(|_| scheme.eq_ignore_ascii_case("mailto"))?;
    let (mut octets, mut left) = (Vec::with_capacity(address.len()), address.as_bytes());
    while let [first, tail @ ..] = left {
        let coded = || tail.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let resolved = coded().and_then(|two| u8::from_str_radix(two, 16).ok());
        octets.push(resolved.unwrap_or(*first));
        left = if resolved.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(octets).ok().filter(|address| !address.chars().any(char::is_control))
}

/// A size such as `10m`: units are powers of 1024.
fn octets(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let power = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << power)
}

fn uris(list: Option<&str>) -> Vec<ReportUri> {
    list.unwrap_or_default().split(',').filter_map(ReportUri::parse).take(MOST_URIS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_other_texts() {
        for yes in ["v=DMARC1", "v=DMARC1;p=none", "v = DMARC1 ; p=none", "v=DMARC1 ;"] {
            assert!(Record::is_record(yes), "{yes}");
        }
        for no in ["", "v=DMARC1p=none", "v=dmarc1; p=none", "p=none; v=DMARC1", "v=DMARC12", "v=spf1 -all"] {
            assert!(!Record::is_record(no), "{no}");
        }
    }

    #[test]
    fn records_are_read() {
        let text = "v=DMARC1; p=Reject; sp=quarantine; np=none; adkim=s; aspf=r; psd=n; t=y; pct=50; \
            rua=mailto:a@b.example!10m, https://x.example/ ,nonsense; ruf=mailto:c@d.example; fo=1; new=x;";
        let record = Record::parse(text).expect("a record");
        assert_eq!(record.policy, Policy::Reject);
        assert_eq!(
            (record.subdomain_policy, record.nonexistent_policy),
            (Some(Policy::Quarantine), Some(Policy::None))
        );
        assert_eq!((record.strict_dkim, record.strict_spf, record.testing, record.percent), (true, false, true, 50));
        let uri = |uri: &str, limit| ReportUri { uri: uri.to_owned(), limit };
        assert_eq!(record.public_suffix, Some(false));
        assert_eq!(record.aggregate, [uri("mailto:a@b.example", Some(10 << 20)), uri("https://x.example/", None)]);
        assert_eq!(record.failure, [uri("mailto:c@d.example", None)]);
    }

    #[test]
    fn what_says_nothing_is_none() {
        for text in
            ["v=DMARC1", "v=DMARC1; p=some", "v=DMARC1; p=none; p=none", "v=DMARC1; p=none; sp=x", "v=DMARC1; p"]
        {
            assert_eq!(Record::parse(text), None, "{text}");
        }
        let asks = Record::parse("v=DMARC1; sp=x; p=reject; rua=mailto:a@b.example").expect("a record");
        assert_eq!((asks.policy, asks.subdomain_policy), (Policy::None, None));
        let odd = Record::parse("v=DMARC1; p=none; pct=101; t=maybe; psd=u; adkim=x").expect("a record");
        assert_eq!(odd, Record::default());
    }

    #[test]
    fn destinations_have_sizes_and_addresses() {
        for (size, limit) in [("10", Some(10)), ("2K", Some(2048)), ("x", None), ("", Some(0)), ("99999999999t", None)]
        {
            let uri = ReportUri::parse(&format!("mailto:a@b.example!{size}")).expect("a URI");
            assert_eq!(uri.limit, if size.is_empty() { None } else { limit }, "{size}");
        }
        for (uri, address) in [
            ("MAILTO:a@b.example?subject=x", Some("a@b.example")),
            ("mailto:a%2Bc%21@b.example,d@e.example", Some("a+c!@b.example")),
            ("mailto:100%@b.example", Some("100%@b.example")),
            ("mailto:a%0d%0a@b.example", None),
            ("https://b.example/", None),
        ] {
            assert_eq!(mailbox(uri).as_deref(), address, "{uri}");
        }
    }
}
