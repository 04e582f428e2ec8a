//! White and black lists: who may write to whom. The most specific pair of account and peer decides.

use parking_lot::RwLock;
use posthorn_config::{PolicyAccess, PolicyPattern};
use posthorn_mail::Result;
use posthorn_model::{EnhancedCode, Refusal};
use posthorn_store::policy::access::Entry;

use crate::book::{Book, Somebody};
use crate::facts::{Facts, Relation, Sender};
use crate::outcome::Outcome;

/// The lists.
pub(crate) struct Access {
    section: PolicyAccess,
    known: RwLock<Known>,
}

/// By account, then by peer.
#[derive(Default)]
struct Known {
    inbound: Book<Book<Listed>>,
    outbound: Book<Book<Listed>>,
    names_hosts: bool,
}

/// A line of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Listed {
    black: bool,
    why: String,
}

impl Access {
    pub(crate) fn new(section: PolicyAccess) -> Self {
        let this = Self { section, known: RwLock::default() };
        this.set(&[]);
        this
    }

    /// Takes what the database says; its lines come before those of the configuration.
    pub(crate) fn set(&self, entries: &[Entry]) {
        let mut known = Known::default();
        let everyone = known.inbound.at(&PolicyPattern::Everyone, Book::default);
        for (peers, black) in [(&self.section.white, false), (&self.section.black, true)] {
            for peer in peers {
                everyone.put(peer, Listed::new("everybody", &peer.to_string(), black));
            }
        }
        for entry in entries {
            // What cannot be read was not written by this program.
            let (Ok(account), Ok(peer)) = (entry.account.parse(), entry.peer.parse()) else { continue };
            let book = if entry.outbound { &mut known.outbound } else { &mut known.inbound };
            book.at(&account, Book::default).put(&peer, Listed::new(&entry.account, &entry.peer, entry.black));
        }
        known.names_hosts = known.inbound.values().any(Book::names_hosts);
        *self.known.write() = known;
    }

    /// Judges who writes to whom.
    pub(crate) async fn judge(&self, facts: &Facts<'_>) -> Result<Outcome> {
        let (any_in, any_out, names_hosts) = {
            let known = self.known.read();
            (!known.inbound.is_empty(), !known.outbound.is_empty(), known.names_hosts)
        };
        if facts.relation == Relation::Outside {
            if any_in { self.inbound(facts, names_hosts).await } else { Ok(Outcome::Silent) }
        } else if any_out {
            self.outbound(facts).await
        } else {
            Ok(Outcome::Silent)
        }
    }

    async fn inbound(&self, facts: &Facts<'_>, names_hosts: bool) -> Result<Outcome> {
        let sender = match &facts.sender {
            Sender::Address(address) => Some(facts.plain(address).await?),
            Sender::Null => Some(String::new()),
            Sender::Unsaid | Sender::Unreadable => None,
        };
        let recipient = match &facts.recipient {
            Some(recipient) => Some(facts.plain(recipient).await?),
            None => None,
        };
        let names = if names_hosts { Some(facts.client_names().await) } else { None };
        let account = Somebody { address: recipient.as_deref(), ..Somebody::default() };
        let confirmed = names.and_then(|names| names.confirmed.as_deref());
        let peer = Somebody { address: sender.as_deref(), client: facts.client(), host: confirmed };
        let mut found = self.known.read().find(false, account, peer);
        // A name that nobody confirmed may blacken, and never whiten.
        let reverse = names.and_then(|names| names.reverse.first()).map(String::as_str);
        if confirmed.is_none() && found.as_ref().is_none_or(|listed| !listed.black) && reverse.is_some() {
            let claimed = self.known.read().find(false, account, Somebody { host: reverse, ..peer });
            found = claimed.filter(|listed| listed.black).or(found);
        }
        Ok(found.map_or(Outcome::Silent, |listed| self.outcome(&listed, "your mail is not wanted here")))
    }

    async fn outbound(&self, facts: &Facts<'_>) -> Result<Outcome> {
        let Some(recipient) = &facts.recipient else { return Ok(Outcome::Silent) };
        let who = match (facts.login().map(str::to_lowercase), facts.sender.address()) {
            (Some(login), _) if login.contains('@') => login,
            (_, Some(address)) => facts.plain(address).await?,
            _ => return Ok(Outcome::Silent),
        };
        let recipient = facts.plain(recipient).await?;
        let account = Somebody { address: Some(&who), client: facts.client(), host: None };
        let found = self.known.read().find(true, account, Somebody::of(&recipient));
        let Some(listed) = found else { return Ok(Outcome::Silent) };
        if listed.black {
            return Ok(self.outcome(&listed, "nothing is sent to this recipient from here"));
        }
        Ok(Outcome::Pass(listed.why))
    }

    fn outcome(&self, listed: &Listed, text: &'static str) -> Outcome {
        if !listed.black {
            return Outcome::Exempt(listed.why.clone());
        }
        let refusal = Refusal::new(554, EnhancedCode(5, 7, 1), text);
        Outcome::of(self.section.verdict, refusal, listed.why.clone())
    }
}

impl Listed {
    fn new(account: &str, peer: &str, black: bool) -> Self {
        let list = if black { "black" } else { "white" };
        Self { black, why: format!("{peer} is on the {list} list of {account}") }
    }
}

impl Known {
    fn find(&self, outbound: bool, account: Somebody<'_>, peer: Somebody<'_>) -> Option<Listed> {
        let book = if outbound { &self.outbound } else { &self.inbound };
        book.find(account).find_map(|peers| peers.find(peer).next()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn entry(outbound: bool, account: &str, peer: &str, black: bool) -> Entry {
        let (account, peer) = (account.to_owned(), peer.to_owned());
        Entry { outbound, account, peer, black, note: String::new(), added_at: DateTime::UNIX_EPOCH }
    }

    fn access(entries: &[Entry]) -> Access {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().expect(text)).collect();
        let section = PolicyAccess {
            white: patterns(&["192.0.2.0/24"]),
            black: patterns(&["@.example", "192.0.2.7", "~.dyn.example.net"]),
            ..PolicyAccess::default()
        };
        let access = Access::new(section);
        access.set(entries);
        access
    }

    #[test]
    fn the_most_specific_line_decides() {
        let access = access(&[
            entry(false, "@example.org", "bad@good.example", true),
            entry(false, "@example.org", "@good.example", false),
            entry(false, "me@example.org", "bad@*", false),
        ]);
        let known = access.known.read();
        let black = |recipient: &str, sender: &str, client: &str| {
            let peer = Somebody { address: Some(sender), client: client.parse().ok(), host: None };
            known.find(false, Somebody::of(recipient), peer).map(|listed| listed.black)
        };
        let elsewhere = "198.51.100.1";
        assert_eq!(black("you@example.net", "x@bad.example", elsewhere), Some(true));
        assert_eq!(black("you@example.net", "x@bad.test", elsewhere), None);
        assert_eq!(black("you@example.net", "x@bad.test", "192.0.2.1"), Some(false));
        assert_eq!(black("you@example.net", "x@bad.test", "192.0.2.7"), Some(true));
        assert_eq!(black("you@example.org", "x@good.example", elsewhere), Some(false));
        assert_eq!(black("you@example.org", "bad@good.example", elsewhere), Some(true));
        assert_eq!(black("me@example.org", "bad@good.example", elsewhere), Some(false));
        // Before a recipient is known, what holds for everybody does.
        let peer = Somebody { client: "192.0.2.7".parse().ok(), ..Somebody::default() };
        assert_eq!(known.find(false, Somebody::default(), peer).map(|listed| listed.black), Some(true));
        assert!(known.names_hosts);
    }

    #[test]
    fn mail_that_leaves_has_lists_of_its_own() {
        let access = access(&[entry(true, "@example.org", "@rival.example", true)]);
        let known = access.known.read();
        let find = |account| known.find(true, Somebody::of(account), Somebody::of("x@rival.example"));
        assert_eq!(find("me@example.org").map(|listed| listed.black), Some(true));
        assert_eq!(find("me@example.net"), None);
    }
}
