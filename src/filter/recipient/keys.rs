//! Under which patterns something is said of an address, the most specific first.

use posthorn_model::Address;

/// The pattern of everybody.
pub(super) const EVERYONE: &str = "@.";

/// `user+detail@domain`, `user@domain`, `@domain`, `@.domain`, `@.parent` and so on, and `@.` for everybody; folded.
#[must_use]
pub fn keys(address: &Address, separator: char) -> Vec<String> {
    let local = address.local().to_lowercase();
    let domain = address.domain().as_str().to_lowercase();
    let mut keys = vec![format!("{local}@{domain}")];
    if let Some((user, _)) = local.split_once(separator).filter(|(user, _)| !user.is_empty()) {
        keys.push(format!("{user}@{domain}"));
    }
    keys.push(format!("@{domain}"));
    let mut rest = Some(domain.as_str());
    while let Some(name) = rest {
        keys.push(format!("@.{name}"));
        rest = name.split_once('.').map(|(_, parent)| parent);
    }
    keys.push(EVERYONE.to_owned());
    keys
}

/// A pattern as it is kept, or nothing where a text is none.
pub(super) fn pattern(text: &str) -> Option<String> {
    let folded = text.trim().to_lowercase();
    if folded == EVERYONE || folded == "*" {
        return Some(EVERYONE.to_owned());
    }
    let (local, domain) = folded.rsplit_once('@')?;
    let name = if local.is_empty() { domain.strip_prefix('.').unwrap_or(domain) } else { domain };
    let domain_fits = posthorn_model::Domain::parse(name).is_ok();
    let fits = if local.is_empty() { domain_fits } else { Address::parse(&folded).is_ok() };
    fits.then_some(folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_comes_first() {
        let address = Address::parse("Bob+x@Mail.Example.org").expect("an address");
        let expected = [
            "bob+x@mail.example.org",
            "bob@mail.example.org",
            "@mail.example.org",
            "@.mail.example.org",
            "@.example.org",
            "@.org",
            "@.",
        ];
        assert_eq!(keys(&address, '+'), expected);
        assert_eq!(keys(&address, '-').len(), 6);
    }

    #[test]
    fn patterns_are_told_from_nonsense() {
        for (text, kept) in [
            ("Bob@Example.org", Some("bob@example.org")),
            ("@.Example.org", Some("@.example.org")),
            ("*", Some("@.")),
            ("example.org", None),
            ("@", None),
            ("a b@example.org", None),
        ] {
            assert_eq!(pattern(text).as_deref(), kept, "{text}");
        }
    }
}
