//! Routes, found by message.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Next, Route};
use crate::DomainRange;
use crate::domain_range::ranges_around;

/// The routes, indexed so that the number of rows does not matter to a look-up.
#[derive(Clone, Debug)]
pub struct Routes {
    rows: Vec<Arc<Route>>,
    /// What each of them says, for the trace.
    words: Vec<Arc<str>>,
    by_recipient: HashMap<String, ByAccount>,
    otherwise: Arc<Route>,
}

/// The rows for one range of recipients.
#[derive(Clone, Debug, Default)]
struct ByAccount {
    accounts: HashMap<String, BySender>,
    others: BySender,
}

/// The rows for one range of recipients and one account: where in the list they are, by range of senders.
type BySender = HashMap<String, usize>;

impl Routes {
    /// Prepares rows in the order of the file.
    #[must_use]
    pub fn new(rows: &[Route]) -> Self {
        let mut by_recipient: HashMap<String, ByAccount> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            for recipients in ranges(&row.recipients) {
                let found = by_recipient.entry(recipients.to_owned()).or_default();
                if row.accounts.is_empty() {
                    add(&mut found.others, row, at);
                }
                for account in &row.accounts {
                    add(found.accounts.entry(folded(&account.to_string())).or_default(), row, at);
                }
            }
        }
        let words = rows.iter().enumerate().map(|(at, row)| words(at, row).into()).collect();
        Self { rows: rows.iter().cloned().map(Arc::new).collect(), words, by_recipient, otherwise: Arc::default() }
    }

    /// The route of a message to a folded domain, from a folded domain (`None` is the null sender), submitted by an
    /// account such as `user@example.org` (`None`: by nobody who logged in). The order is that of [`Route`].
    #[must_use]
    pub fn of(&self, recipient: &str, sender: Option<&str>, account: Option<&str>) -> &Arc<Route> {
        self.chosen(recipient, sender, account).0
    }

    /// As [`Self::of`], with what the row says in words, such as `route 2: senders bulk.test → mx, binding group bulk`;
    /// without words where no row fits.
    #[must_use]
    pub fn chosen(
        &self,
        recipient: &str,
        sender: Option<&str>,
        account: Option<&str>,
    ) -> (&Arc<Route>, Option<&Arc<str>>) {
        let found = self.place(recipient, sender, account);
        match found.and_then(|at| Some((self.rows.get(at)?, self.words.get(at)))) {
            Some(found) => found,
            None => (&self.otherwise, None),
        }
    }

    fn place(&self, recipient: &str, sender: Option<&str>, account: Option<&str>) -> Option<usize> {
        if self.by_recipient.is_empty() {
            return None;
        }
        let account = account.map(folded);
        ranges_around(recipient).find_map(|range| {
            let rows = self.by_recipient.get(range)?;
            let own = account.as_ref().and_then(|account| rows.accounts.get(account));
            own.and_then(|rows| by_sender(rows, sender)).or_else(|| by_sender(&rows.others, sender))
        })
    }

    /// The route that an operator's word means: the name of a row, or a next hop such as `smtp://host:25`.
    #[must_use]
    pub fn named(&self, word: &str) -> Option<Arc<Route>> {
        let row = self.rows.iter().find(|row| row.name.as_deref() == Some(word));
        row.cloned().or_else(|| word.parse::<Next>().ok().map(|next| Arc::new(Route::to(next))))
    }
}

/// A row in words: which one, for what, and where it leads.
fn words(at: usize, row: &Route) -> String {
    let mut text = format!("route {}", at + 1);
    if let Some(name) = &row.name {
        text.push_str(&format!(" \"{name}\""));
    }
    let mut mark = ": ";
    let recipients = row.recipients.iter().map(|range| range.as_str().to_owned()).collect();
    let senders = row.senders.iter().map(|range| range.as_str().to_owned()).collect();
    let accounts = row.accounts.iter().map(ToString::to_string).collect();
    for (word, all) in [("recipients", recipients), ("senders", senders), ("accounts", accounts)] {
        let all: Vec<String> = all;
        if !all.is_empty() {
            let more = if all.len() > SHOWN { ", …" } else { "" };
            text.push_str(&format!("{mark}{word} {}{more}", all[..all.len().min(SHOWN)].join(", ")));
            mark = "; ";
        }
    }
    text.push_str(&format!(" → {}", row.to));
    match (&row.binding, &row.binding_group) {
        (Some(binding), _) => text.push_str(&format!(", binding {binding}")),
        (None, Some(group)) => text.push_str(&format!(", binding group {group}")),
        (None, None) => {}
    }
    text
}

/// The ranges and accounts of one condition that are told.
const SHOWN: usize = 4;

/// Adds a row for each range of senders that it has; of two rows for the same mail the first holds.
fn add(rows: &mut BySender, row: &Route, at: usize) {
    for senders in ranges(&row.senders) {
        rows.entry(senders.to_owned()).or_insert(at);
    }
}

/// The null sender is in no range but `*`.
fn by_sender(rows: &BySender, sender: Option<&str>) -> Option<usize> {
    let every = || rows.get(DomainRange::EVERY);
    let found = match sender {
        Some(sender) => ranges_around(sender).find_map(|range| rows.get(range)),
        None => every(),
    };
    found.copied()
}

/// The ranges of a condition; one that is not written holds for all.
fn ranges(written: &[DomainRange]) -> impl Iterator<Item = &str> {
    let every = written.is_empty().then_some(DomainRange::EVERY);
    written.iter().map(DomainRange::as_str).chain(every)
}

/// Accounts are one whatever case they are written in.
fn folded(account: &str) -> String {
    account.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::load_text;

    /// Rows by name, the least specific first, so that the order of the file does not help.
    const TEXT: &str = "
route = [
  { name = 'every', recipients = ['*'], to = 'smtp://every.example' },
  { name = 'late', recipients = ['*'], senders = ['a.sender.example'], to = 'discard' },
  { name = 'below-sender', senders = ['.sender.example'] },
  { name = 'sender', senders = ['a.sender.example'] },
  { name = 'account', accounts = ['User@Example.org'] },
  { name = 'account-and-sender', accounts = ['user@example.org'], senders = ['a.sender.example'] },
  { name = 'grand', recipients = ['.example'] },
  { name = 'parent', recipients = ['.b.example'] },
  { name = 'itself', recipients = ['a.b.example'] },
  { name = 'itself-from', recipients = ['a.b.example'], senders = ['sender.example'] },
  { name = 'itself-by', recipients = ['a.b.example'], accounts = ['boss@example.org'] },
  { name = 'literal', recipients = ['[192.0.2.1]'] },
]
";

    #[test]
    fn what_is_chosen_is_told() {
        let text = "
route = [
  { recipients = ['a.example'], to = 'discard' },
  { name = 'b', senders = ['a.test', 'b.test', 'c.test', 'd.test', 'e.test'], binding_group = 'bulk' },
]
binding = [{ name = 'x', group = 'bulk' }]
binding_group = [{ name = 'bulk' }]
";
        let config: crate::Config = load_text(text).config;
        let routes = Routes::new(&config.route);
        let told = |recipient, sender| routes.chosen(recipient, sender, None).1.map(|words| words.to_string());
        assert_eq!(told("a.example", None).as_deref(), Some("route 1: recipients a.example → discard"));
        let bulk = "route 2 \"b\": senders a.test, b.test, c.test, d.test, … → mx, binding group bulk";
        assert_eq!(told("b.example", Some("e.test")).as_deref(), Some(bulk));
        assert_eq!(told("b.example", Some("z.test")), None);
    }

    fn name(routes: &Routes, recipient: &str, sender: Option<&str>, account: Option<&str>) -> String {
        routes.of(recipient, sender, account).name.clone().unwrap_or_default()
    }

    #[test]
    fn recipients_come_first_then_accounts_then_senders() {
        // The fourth row is for the same mail as the second, which is written first and so wins; that is refused by
        // the checks, not here.
        let config: crate::Config = load_text(TEXT).config;
        let routes = Routes::new(&config.route);
        let (user, boss) = (Some("USER@example.org"), Some("boss@example.org"));
        for (recipient, sender, account, expected) in [
            ("a.b.example", None, None, "itself"),
            ("a.b.example", Some("sender.example"), None, "itself-from"),
            ("a.b.example", Some("sender.example"), boss, "itself-by"),
            ("a.b.example", Some("a.sender.example"), user, "itself"),
            ("x.b.example", Some("a.sender.example"), user, "parent"),
            ("b.example", None, None, "grand"),
            ("example", None, None, "every"),
            ("example", None, user, "account"),
            ("example", Some("a.sender.example"), user, "account-and-sender"),
            ("example", Some("a.sender.example"), None, "late"),
            ("example", Some("b.sender.example"), None, "below-sender"),
            ("example", Some("sender.example"), None, "every"),
            ("[192.0.2.1]", None, None, "literal"),
            ("[192.0.2.2]", None, None, "every"),
        ] {
            assert_eq!(name(&routes, recipient, sender, account), expected, "{recipient} {sender:?} {account:?}");
        }
    }

    #[test]
    fn without_a_fitting_row_the_mx_hosts_decide() {
        assert_eq!(**Routes::new(&[]).of("example.com", None, None), Route::default());
        let rows = load_text("[[route]]\nrecipients = ['example.com']\nto = 'discard'\n").config.route;
        let routes = Routes::new(&rows);
        assert_eq!(routes.of("example.com", None, None).to, Next::Discard);
        assert_eq!(routes.of("a.example.com", None, None).to, Next::Mx);
    }

    #[test]
    fn an_operator_names_a_row_or_a_next_hop() {
        let routes = Routes::new(&load_text(TEXT).config.route);
        assert_eq!(routes.named("every").map(|route| route.to.to_string()).as_deref(), Some("smtp://every.example:25"));
        assert_eq!(routes.named("mx").map(|route| route.to.clone()), Some(Next::Mx));
        assert_eq!(routes.named("discard").map(|route| route.to.clone()), Some(Next::Discard));
        assert_eq!(routes.named("nothing"), None);
    }
}
