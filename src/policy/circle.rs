//! For whom somebody is a correspondent: the one who wrote, their domain, or everybody here.

use posthorn_config::{Correspondents, PolicyGreylist};

use crate::digest::Digest;
use crate::generations::Key;

/// For whom, and who.
pub(crate) type Pair = (String, String);

/// What is remembered when one of us writes; `None` when nothing is.
pub(crate) fn pair(section: &PolicyGreylist, ours: &str, theirs: &str) -> Option<Pair> {
    let ours = side(section.correspondents, ours)?;
    let theirs = if section.correspondent_domains { domain(theirs)? } else { theirs.to_owned() };
    Some((ours, theirs))
}

/// What has to be known for mail from them to be expected: under the present setting, and from when whole domains were
/// remembered.
pub(crate) fn pairs(section: &PolicyGreylist, ours: &str, theirs: &str) -> Vec<Pair> {
    let Some(ours) = side(section.correspondents, ours).filter(|_| !theirs.is_empty()) else { return Vec::new() };
    match domain(theirs).filter(|_| section.correspondent_domains) {
        Some(domain) => vec![(ours.clone(), theirs.to_owned()), (ours, domain)],
        None => vec![(ours, theirs.to_owned())],
    }
}

/// The name of a pair in memory.
pub(crate) fn key(digest: &Digest, pair: &Pair) -> Key {
    key_of(digest, &pair.0, &pair.1)
}

/// The same of its sides.
pub(crate) fn key_of(digest: &Digest, ours: &str, theirs: &str) -> Key {
    digest.of(&["correspondent", ours, theirs])
}

fn side(circle: Correspondents, ours: &str) -> Option<String> {
    match circle {
        Correspondents::Off => None,
        Correspondents::User => Some(ours.to_owned()),
        Correspondents::Domain => domain(ours),
        Correspondents::Everyone => Some("*".to_owned()),
    }
}

fn domain(address: &str) -> Option<String> {
    address.rsplit_once('@').map(|(_, domain)| format!("@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_is_looked_for() {
        for correspondents in [Correspondents::User, Correspondents::Domain, Correspondents::Everyone] {
            for correspondent_domains in [false, true] {
                let section = PolicyGreylist { correspondents, correspondent_domains, ..PolicyGreylist::default() };
                let written = pair(&section, "me@example.org", "you@example.com").expect("a pair");
                let wanted = pairs(&section, "me@example.org", "you@example.com");
                assert!(wanted.contains(&written), "{written:?} {wanted:?}");
                let other = pairs(&section, "me@example.org", "else@example.com");
                assert_eq!(other.contains(&written), correspondent_domains);
            }
        }
        let off = PolicyGreylist { correspondents: Correspondents::Off, ..PolicyGreylist::default() };
        assert_eq!((pair(&off, "a@b", "c@d"), pairs(&off, "a@b", "c@d")), (None, Vec::new()));
    }
}
