//! Names that look like other names.

use std::borrow::Cow;

use super::hosts::registered;

/// Domains whose look-alikes are told.
#[derive(Debug)]
pub(crate) struct Brands {
    /// Skeleton of the registered label, and the domain.
    known: Vec<(String, String)>,
}

/// Much abused names, with the domains that are really theirs (more than one where they use more).
const ABUSED: [&str; 30] = [
    "paypal.com",
    "microsoft.com",
    "office365.com",
    "outlook.com",
    "apple.com",
    "icloud.com",
    "amazon.com",
    "google.com",
    "gmail.com",
    "facebook.com",
    "instagram.com",
    "whatsapp.com",
    "netflix.com",
    "linkedin.com",
    "dropbox.com",
    "docusign.com",
    "adobe.com",
    "coinbase.com",
    "binance.com",
    "chase.com",
    "wellsfargo.com",
    "bankofamerica.com",
    "citibank.com",
    "americanexpress.com",
    "fedex.com",
    "ups.com",
    "dhl.com",
    "usps.com",
    "ebay.com",
    "spotify.com",
];

/// Brands whose names are words or names of people.
const WORDS: [&str; 2] = ["ups.com", "chase.com"];

impl Brands {
    /// The built-in ones and these.
    pub(crate) fn new(own: &[String]) -> Self {
        let own = own.iter().map(|domain| domain.trim_matches('.').to_ascii_lowercase());
        let all = ABUSED.iter().map(|domain| (*domain).to_owned()).chain(own);
        Self {
            known: all
                .map(|domain| (skeleton(label(&domain)), domain))
                .filter(|(bones, _)| !bones.is_empty())
                .collect(),
        }
    }

    /// The brand's domain whose name this one looks like without being it. The name is in A-labels and small letters.
    pub(crate) fn imitated(&self, name: &str) -> Option<&str> {
        let own = registered(name);
        if self.is_brand(own) {
            return None;
        }
        let own_label = label(own);
        let unicode = unicode(own_label);
        let bones = skeleton(&unicode);
        // The same name under another top level is often the brand's own; what only looks the same never is.
        let drawn = self.known.iter().find(|(known, domain)| *known == bones && label(domain) != unicode);
        if let Some((_, domain)) = drawn {
            return Some(domain);
        }
        // A brand's whole domain in front of another one: www.paypal.com.example.net.
        let (front, _) = name.split_at(name.len() - own.len());
        let fronted = |domain: &str| {
            front.strip_suffix('.').is_some_and(|front| {
                front.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    || front.starts_with(domain) && front[domain.len()..].starts_with('.')
            })
        };
        self.known.iter().find(|(_, domain)| fronted(domain)).map(|(_, domain)| domain.as_str())
    }

    /// Whether a registered domain is one of them.
    pub(crate) fn is_brand(&self, registered: &str) -> bool {
        self.known.iter().any(|(_, domain)| domain == registered)
    }

    /// The brand that a display name claims to be: its label is a word of the name.
    pub(crate) fn claimed(&self, display: &str) -> Option<&str> {
        let folded = skeleton(display);
        let words = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() >= 3);
        let known = |word: &str| self.known.iter().find(|(bones, _)| bones == word).map(|(_, domain)| domain.as_str());
        words.filter_map(known).find(|domain| !WORDS.contains(domain))
    }
}

/// The label that somebody registered.
fn label(domain: &str) -> &str {
    let domain = registered(domain);
    domain.split_once('.').map_or(domain, |(label, _)| label)
}

/// A label as people see it.
fn unicode(label: &str) -> Cow<'_, str> {
    if label.starts_with("xn--") { Cow::Owned(idna::domain_to_unicode(label).0) } else { Cow::Borrowed(label) }
}

/// Whether letters of several alphabets stand in one label, where some look the same.
pub(crate) fn is_mixed(name: &str) -> bool {
    name.split('.').filter(|label| label.starts_with("xn--")).any(|label| {
        let label = unicode(label);
        let has = |range: std::ops::RangeInclusive<u32>| label.chars().any(|c| range.contains(&u32::from(c)));
        let latin = label.chars().any(|c| c.is_ascii_alphabetic()) || has(0xc0..=0x24f);
        usize::from(latin) + usize::from(has(0x370..=0x3ff)) + usize::from(has(0x400..=0x52f)) > 1
    })
}

/// A text with what looks alike made the same.
pub(crate) fn skeleton(text: &str) -> String {
    let mut bones = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        bones.push(plain(c));
    }
    for (pair, one) in [("rn", "m"), ("vv", "w"), ("cl", "d")] {
        if bones.contains(pair) {
            bones = bones.replace(pair, one);
        }
    }
    bones
}

/// The ASCII letter that a character looks like.
fn plain(c: char) -> char {
    match c {
        '0' | 'о' | 'ο' | 'օ' | 'ò'..='ö' | 'ø' | 'ō' | 'ő' => 'o',
        '1' | '|' | 'і' | 'ι' | 'ı' | 'ì'..='ï' | 'ī' | 'l' | 'ł' | 'ӏ' | 'ℓ' | 'i' | '!' => 'l',
        '3' | 'е' | 'ε' | 'è'..='ë' | 'ē' | 'ę' | 'ё' => 'e',
        '5' | '$' | 'ѕ' | 'ś' | 'š' | 'ş' => 's',
        '@' | '4' | 'а' | 'α' | 'à'..='å' | 'ā' | 'ą' => 'a',
        '6' | 'ь' | 'в' => 'b',
        'с' | 'ç' | 'ć' | 'č' | 'ϲ' => 'c',
        'ԁ' | 'đ' | 'ď' => 'd',
        'ɡ' | '9' | 'ğ' | 'ģ' => 'g',
        'һ' | 'н' | 'ħ' => 'h',
        'ј' => 'j',
        'к' | 'κ' | 'ķ' => 'k',
        'м' => 'm',
        'п' | 'ո' | 'η' | 'ñ' | 'ń' => 'n',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' | 'ŕ' | 'ř' => 'r',
        'т' | 'τ' | '7' | 'ť' | 'ţ' => 't',
        'υ' | 'ս' | 'ù'..='ü' | 'ū' | 'ű' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ω' | 'ш' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' | 'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_are_told_and_the_real_ones_left_alone() {
        let brands = Brands::new(&["Example-Bank.example".to_owned()]);
        for (name, brand) in [
            ("paypa1.com", Some("paypal.com")),
            ("www.paypaI.example".to_lowercase().as_str(), Some("paypal.com")),
            ("xn--pypal-4ve.com", Some("paypal.com")),
            ("rnicrosoft.com", Some("microsoft.com")),
            ("www.paypal.com.evil.example", Some("paypal.com")),
            ("examp1e-bank.example", Some("example-bank.example")),
            ("www.paypal.com", None),
            ("amazon.co.uk", None),
            ("example.org", None),
            ("notpaypal.com.example.org", None),
        ] {
            assert_eq!(brands.imitated(name), brand, "{name}");
        }
    }

    #[test]
    fn a_display_name_can_claim_a_brand() {
        let brands = Brands::new(&[]);
        assert_eq!(brands.claimed("PayPаl Service"), Some("paypal.com"));
        assert_eq!(brands.claimed("Ann from the Pay Pals"), None);
        assert_eq!(brands.claimed("DHL Express"), Some("dhl.com"));
        for nobody in ["Chess club", "Chase Miller", "Start ups weekly", "Ed Hl"] {
            assert_eq!(brands.claimed(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn alphabets_do_not_mix_in_honest_labels() {
        assert!(is_mixed("xn--pypal-4ve.com"));
        for honest in ["xn--bcher-kva.example", "xn--e1afmkfd.xn--p1ai", "example.org", "xn--fiqs8s"] {
            assert!(!is_mixed(honest), "{honest}");
        }
    }
}
