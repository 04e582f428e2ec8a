//! Who may write to an alias that is a list.

use std::collections::{HashMap, HashSet};

use parking_lot::RwLock;
use posthorn_mail::Result;
use posthorn_mail::route::Route;
use posthorn_model::policy::Action;
use posthorn_model::{Address, Domain};
use posthorn_store::policy::list_access::{Access, ListAccess};

use crate::facts::{Facts, Sender};
use crate::outcome::Outcome;

/// The lists that not everybody may write to, by their addresses in lower case.
#[derive(Default)]
pub(crate) struct Lists {
    known: RwLock<HashMap<String, ListAccess>>,
}

/// How many aliases a list may lead through to its members.
const MOST_ALIASES: usize = 1000;

impl Lists {
    /// Takes what the database says.
    pub(crate) fn set(&self, rows: Vec<ListAccess>) {
        *self.known.write() = rows.into_iter().map(|row| (row.list.to_string().to_lowercase(), row)).collect();
    }

    /// Judges the sender at a recipient that is a list.
    pub(crate) async fn judge(&self, facts: &Facts<'_>) -> Result<Outcome> {
        if self.known.read().is_empty() {
            return Ok(Outcome::Silent);
        }
        let Some(recipient) = &facts.recipient else { return Ok(Outcome::Silent) };
        let list = match self.find(facts, recipient).await? {
            Some(list) if list.access != Access::Public => list,
            _ => return Ok(Outcome::Silent),
        };
        let Some((sender, domain)) = who(facts).await? else {
            return Ok(refused(&list, "nobody in particular"));
        };
        let is_among = |all: &[String]| all.contains(&sender);
        if is_among(&list.owners) || is_among(&list.moderators) {
            return Ok(Outcome::Pass(format!("{sender} looks after {}", list.list)));
        }
        let own = list.list.domain();
        let may = match list.access {
            Access::Public => true,
            Access::Domain => domain == *own,
            Access::Subdomains => domain == *own || is_below(&domain, own),
            Access::Moderators => false,
            Access::Members | Access::MembersAndModerators => is_member(facts, &list, &sender).await?,
        };
        if may {
            Ok(Outcome::Pass(format!("{sender} may write to {}", list.list)))
        } else {
            Ok(refused(&list, &sender))
        }
    }

    /// The list of this address: as written, behind an alias domain, without its detail.
    async fn find(&self, facts: &Facts<'_>, recipient: &Address) -> Result<Option<ListAccess>> {
        let Some(domain) = facts.our_domain(recipient.domain()).await? else { return Ok(None) };
        let whole = format!("{}@{domain}", recipient.local().to_lowercase());
        let plain = facts.plain(recipient).await?;
        let known = self.known.read();
        Ok(known.get(&whole).or_else(|| known.get(&plain)).cloned())
    }
}

/// Who writes: the login where there is one, else the sender, who may have invented it.
async fn who(facts: &Facts<'_>) -> Result<Option<(String, Domain)>> {
    let login = facts.login().and_then(|name| Address::parse(name).ok());
    // A login that sends as somebody else may do so, or another rule refuses it.
    let address = match (&facts.sender, login) {
        (Sender::Address(address), _) => address.clone(),
        (_, Some(login)) => login,
        _ => return Ok(None),
    };
    let domain = facts.our_domain(address.domain()).await?.unwrap_or_else(|| address.domain().clone());
    Ok(Some((facts.plain(&address).await?, domain)))
}

fn is_below(domain: &Domain, above: &Domain) -> bool {
    domain.as_str().strip_suffix(above.as_str()).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether mail to the list goes to this sender: as an address that it names, through further aliases too, or as an
/// account that it leads to.
async fn is_member(facts: &Facts<'_>, list: &ListAccess, sender: &str) -> Result<bool> {
    let mut open = vec![list.list.clone()];
    let mut seen = HashSet::new();
    while let Some(address) = open.pop() {
        if !seen.insert(address.to_string().to_lowercase()) || seen.len() > MOST_ALIASES {
            continue;
        }
        for target in facts.mail.alias_targets(&address).await?.unwrap_or_default() {
            let Ok(target) = Address::parse(&target) else { continue };
            if facts.plain(&target).await? == sender {
                return Ok(true);
            }
            open.push(target);
        }
    }
    // A login's alias is as good as its address.
    let Some(login) = facts.login() else { return Ok(false) };
    let Some(login) = facts.mail.trusted_login(login).await? else { return Ok(false) };
    match &*facts.mail.route(&list.list).await? {
        Route::Local { places, .. } => Ok(places.iter().any(|place| place.account == login.account)),
        _ => Ok(false),
    }
}

fn refused(list: &ListAccess, sender: &str) -> Outcome {
    let who = match list.access {
        Access::Public => "everybody",
        Access::Domain => "senders of its domain",
        Access::Subdomains => "senders of its domain and those below it",
        Access::Members => "its members",
        Access::Moderators => "its moderators",
        Access::MembersAndModerators => "its members and moderators",
    };
    let action = Action::Code { code: 550, text: format!("5.7.2 only {who} may write to {}", list.list) };
    Outcome::Act(action, format!("{sender} is none of those that may write to {}: {who}", list.list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_below() {
        let domain = |text| Domain::parse(text).expect("a domain");
        assert!(is_below(&domain("a.b.example.org"), &domain("example.org")));
        assert!(!is_below(&domain("notexample.org"), &domain("example.org")));
        assert!(!is_below(&domain("example.org"), &domain("example.org")));
    }
}
