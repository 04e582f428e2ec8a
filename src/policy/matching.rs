//! Whom the words of rules and groups mean: all words of a side must fit, of a group's members one.

use std::collections::HashMap;
use std::net::IpAddr;

use posthorn_config::{DEEPEST_GROUP, Party, PolicyGroup, Who};
use posthorn_model::Address;

use crate::facts::Sender;

/// What words are held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) client: Option<IpAddr>,
    /// The confirmed name of the client, where somebody looked.
    pub(crate) name: Option<&'a str>,
    pub(crate) login: Option<&'a str>,
    pub(crate) server: Option<IpAddr>,
    pub(crate) sender: &'a Sender,
    pub(crate) recipient: Option<&'a Address>,
}

/// Which side of a rule words are on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// The groups, by their names.
#[derive(Debug, Default)]
pub(crate) struct Groups(HashMap<String, Vec<Party>>);

impl Groups {
    pub(crate) fn new(groups: &[PolicyGroup]) -> Self {
        Self(groups.iter().map(|group| (group.name.clone(), group.members.clone())).collect())
    }

    /// The first word that does not fit; `None` when all do.
    pub(crate) fn misfit<'p>(&self, parties: &'p [Party], side: Side, seen: &Seen<'_>) -> Option<&'p Party> {
        parties.iter().find(|party| !self.fits(party, side, seen, 0))
    }

    /// Whether any of these words needs the name of the client.
    pub(crate) fn need_names(&self, parties: &[Party]) -> bool {
        self.need_names_at(parties, 0)
    }

    fn need_names_at(&self, parties: &[Party], depth: usize) -> bool {
        depth <= DEEPEST_GROUP
            && parties.iter().any(|party| match &party.who {
                Who::Host(_) => true,
                Who::Group(name) => self.0.get(name).is_some_and(|members| self.need_names_at(members, depth + 1)),
                _ => false,
            })
    }

    /// A word about something unknown does not fit, and neither does its opposite.
    fn fits(&self, party: &Party, side: Side, seen: &Seen<'_>, depth: usize) -> bool {
        self.hits(&party.who, side, seen, depth).is_some_and(|hits| hits != party.not)
    }

    fn hits(&self, who: &Who, side: Side, seen: &Seen<'_>, depth: usize) -> Option<bool> {
        match (who, side) {
            (Who::Any, _) => Some(true),
            (Who::Group(name), _) => {
                let members = self.0.get(name).filter(|_| depth < DEEPEST_GROUP)?;
                Some(members.iter().any(|member| self.fits(member, side, seen, depth + 1)))
            }
            (Who::Address(range), Side::Destination) => seen.recipient.map(|address| range.contains(address)),
            (_, Side::Destination) => None,
            (Who::Address(range), Side::Source) => match seen.sender {
                Sender::Unsaid => None,
                Sender::Null | Sender::Unreadable => Some(false),
                Sender::Address(address) => Some(range.contains(address)),
            },
            (Who::Null, Side::Source) => (*seen.sender != Sender::Unsaid).then(|| *seen.sender == Sender::Null),
            (Who::Network(network), Side::Source) => seen.client.map(|client| network.contains(client)),
            (Who::Host(range), Side::Source) => Some(seen.name.is_some_and(|name| range.contains(name))),
            (Who::Login(login), Side::Source) => {
                Some(seen.login.is_some_and(|name| name.eq_ignore_ascii_case(&login.to_string())))
            }
            (Who::AnyLogin, Side::Source) => Some(seen.login.is_some()),
            (Who::NoLogin, Side::Source) => Some(seen.login.is_none()),
            (Who::Server(server), Side::Source) => seen.server.map(|address| address.to_canonical() == *server),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parties(words: &[&str]) -> Vec<Party> {
        words.iter().map(|word| word.parse().expect(word)).collect()
    }

    fn groups(rows: &[(&str, &[&str])]) -> Groups {
        Groups(rows.iter().map(|(name, words)| ((*name).to_owned(), parties(words))).collect())
    }

    fn fits(groups: &Groups, words: &[&str], side: Side, seen: &Seen<'_>) -> bool {
        groups.misfit(&parties(words), side, seen).is_none()
    }

    #[test]
    fn all_words_of_a_side_must_fit() {
        let sender = Sender::Address(Address::parse("a@example.com").expect("an address"));
        let recipient = Address::parse("b@sub.example.org").expect("an address");
        let seen = Seen {
            client: "192.0.2.7".parse().ok(),
            name: Some("mail.example.com"),
            login: None,
            server: "::ffff:198.51.100.1".parse().ok(),
            sender: &sender,
            recipient: Some(&recipient),
        };
        let none = Groups::default();
        for (words, expected) in [
            (&[][..], true),
            (&["any"], true),
            (&["!any"], false),
            (&["@example.com", "192.0.2.0/24"], true),
            (&["@example.com", "!192.0.2.0/24"], false),
            (&["A@example.com", "$-", "!$*"], true),
            (&["$a@example.com"], false),
            (&["~.example.com", "[198.51.100.1]"], true),
            (&["<>"], false),
            (&["!<>"], true),
            (&["%gone"], false),
            (&["!%gone"], false),
        ] {
            assert_eq!(fits(&none, words, Side::Source, &seen), expected, "{words:?}");
        }
        assert!(fits(&none, &["@.example.org", "!@example.org"], Side::Destination, &seen));
        // Who sends is no destination, and neither is its opposite.
        assert!(!fits(&none, &["!$*"], Side::Destination, &seen));
    }

    #[test]
    fn what_is_unknown_fits_nothing() {
        let seen =
            Seen { client: None, name: None, login: None, server: None, sender: &Sender::Unsaid, recipient: None };
        let none = Groups::default();
        for word in ["@example.com", "!@example.com", "192.0.2.1", "!192.0.2.1", "<>", "!<>"] {
            assert!(!fits(&none, &[word], Side::Source, &seen), "{word}");
        }
        assert!(!fits(&none, &["!@example.org"], Side::Destination, &seen));
        let null = Seen { sender: &Sender::Null, ..seen };
        assert!(fits(&none, &["<>", "!@example.com"], Side::Source, &null));
    }

    #[test]
    fn of_a_group_one_member_must_fit() {
        let groups =
            groups(&[("inside", &["10.0.0.0/8", "%more"]), ("more", &["192.0.2.0/24", "!$-"]), ("loop", &["%loop"])]);
        let mut seen = Seen {
            client: "192.0.2.7".parse().ok(),
            name: None,
            login: None,
            server: None,
            sender: &Sender::Null,
            recipient: None,
        };
        assert!(fits(&groups, &["%inside"], Side::Source, &seen) && !fits(&groups, &["!%inside"], Side::Source, &seen));
        seen.client = "198.51.100.1".parse().ok();
        assert!(!fits(&groups, &["%inside"], Side::Source, &seen) && fits(&groups, &["!%inside"], Side::Source, &seen));
        seen.login = Some("x@example.org");
        assert!(fits(&groups, &["%inside"], Side::Source, &seen));
        assert!(!fits(&groups, &["%loop"], Side::Source, &seen));
    }

    #[test]
    fn names_are_needed_where_a_group_says_so() {
        let groups = groups(&[("a", &["%b"]), ("b", &["~mail.example.com"]), ("loop", &["%loop"])]);
        assert!(groups.need_names(&parties(&["%a"])));
        assert!(!groups.need_names(&parties(&["%loop", "any", "%gone"])));
    }
}
