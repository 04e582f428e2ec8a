//! For whom greylisting holds.

use posthorn_config::PolicyGreylist;
use posthorn_config::PolicyPattern;
use posthorn_store::policy::greylist::{Setting, State};
use posthorn_store::policy::white_domains::WhiteDomain;

use crate::book::{Book, Somebody};

/// The settings, ready to be asked.
pub(super) struct Settings {
    /// Who waits, by account and then by sender.
    pairs: Book<Book<bool>>,
    /// Who never does, by account and then by sender; the values say why.
    exempt: Book<Book<String>>,
    /// Whether those wait of whom nothing is said.
    default: bool,
    is_idle: bool,
    names_hosts: bool,
}

impl Settings {
    /// Those of the configuration, of the database, and the networks of white domains.
    pub(super) fn new(section: &PolicyGreylist, rows: &[Setting], domains: &[WhiteDomain]) -> Self {
        let mut pairs = Book::<Book<bool>>::default();
        let mut exempt = Book::<Book<String>>::default();
        for row in rows {
            // What cannot be read was not written by this program.
            let (Ok(account), Ok(sender)) = (row.account.parse(), row.sender.parse::<PolicyPattern>()) else {
                continue;
            };
            match row.state {
                State::Exempt => {
                    let why = format!("{sender} never waits for {}", row.account);
                    exempt.at(&account, Book::default).put(&sender, why);
                }
                state => pairs.at(&account, Book::default).put(&sender, state == State::On),
            }
        }
        let everyone = exempt.at(&PolicyPattern::Everyone, Book::default);
        for sender in &section.exempt {
            everyone.put(sender, format!("{sender} never waits"));
        }
        for white in domains {
            for network in white.networks.iter().filter_map(|network| network.parse().ok()) {
                let why = format!("{network} is a network of {}", white.domain);
                everyone.put(&PolicyPattern::Network(network), why);
            }
        }
        let any_on = section.enable || pairs.values().any(|senders| senders.values().any(|on| *on));
        let names_hosts = pairs.values().any(Book::names_hosts) || exempt.values().any(Book::names_hosts);
        Self { pairs, exempt, default: section.enable, is_idle: !any_on, names_hosts }
    }

    /// Whether nobody waits at all.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Whether any setting is about names of clients.
    pub(super) fn names_hosts(&self) -> bool {
        self.names_hosts
    }

    /// `None` when it holds; else why it does not, if that is worth a word.
    pub(super) fn exempts(&self, recipient: &str, sender: Somebody<'_>) -> Option<Option<String>> {
        let account = Somebody::of(recipient);
        if let Some(why) = self.exempt.find(account).find_map(|senders| senders.find(sender).next()) {
            return Some(Some(why.clone()));
        }
        let holds = self.pairs.find(account).find_map(|senders| senders.find(sender).next()).copied();
        if holds.unwrap_or(self.default) { None } else { Some(None) }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn setting(account: &str, sender: &str, state: State) -> Setting {
        let (account, sender) = (account.to_owned(), sender.to_owned());
        Setting { account, sender, state, note: String::new(), added_at: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn the_most_specific_pair_decides_and_exempt_always_is() {
        let section = PolicyGreylist::default();
        let rows = [
            setting("*", "*", State::On),
            setting("@example.org", "@example.com", State::Off),
            setting("me@example.org", "*", State::On),
            setting("*", "192.0.2.0/24", State::Exempt),
        ];
        let settings = Settings::new(&section, &rows, &[]);
        let holds = |recipient: &str, sender: &str, client: &str| {
            let who = Somebody { address: Some(sender), client: client.parse().ok(), host: None };
            settings.exempts(recipient, who).is_none()
        };
        assert!(holds("you@example.net", "a@example.com", "198.51.100.1"));
        assert!(!holds("you@example.org", "a@example.com", "198.51.100.1"));
        // The account counts more than the sender.
        assert!(holds("me@example.org", "a@example.com", "198.51.100.1"));
        assert!(!holds("me@example.org", "a@example.com", "192.0.2.1"));
        assert!(!settings.is_idle() && !settings.names_hosts());
    }

    #[test]
    fn without_settings_the_configuration_decides() {
        let who = Somebody::of("a@example.com");
        let off = Settings::new(&PolicyGreylist::default(), &[], &[]);
        assert!(off.is_idle() && off.exempts("me@example.org", who) == Some(None));
        let section = PolicyGreylist {
            enable: true,
            exempt: vec!["~.example.net".parse().expect("a pattern")],
            ..PolicyGreylist::default()
        };
        let on = Settings::new(&section, &[], &[]);
        assert!(on.exempts("me@example.org", who).is_none() && on.names_hosts());
    }

    #[test]
    fn networks_of_white_domains_are_exempt() {
        let section = PolicyGreylist { enable: true, ..PolicyGreylist::default() };
        let white = WhiteDomain {
            domain: "example.com".to_owned(),
            added_at: DateTime::UNIX_EPOCH,
            refreshed_at: None,
            problem: None,
            networks: vec!["192.0.2.0/28".to_owned(), "nonsense".to_owned()],
        };
        let settings = Settings::new(&section, &[], &[white]);
        let from = |client: &str| Somebody { client: client.parse().ok(), ..Somebody::of("x@example.net") };
        assert!(settings.exempts("me@example.org", from("192.0.2.15")).is_some());
        assert!(settings.exempts("me@example.org", from("192.0.2.16")).is_none());
    }
}
