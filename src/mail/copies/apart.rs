//! One mailbox gets one copy of a message, however many of its recipients lead there and however differently these are
//! treated.
//!
//! Whose own address it is decides: what a person wants of mail holds for what comes by an alias beside it, and where the
//! one is held for a virus, the other does not bring it. Among several that only lead there, the copy counts that is kept
//! least from the inbox, and then the recipient who was named first.

use std::collections::HashMap;
use std::sync::Arc;

use posthorn_model::{AccountId, Address, MailboxId};

use super::{Fate, Group};
use crate::envelope::Envelope;
use crate::route::Route;

/// Recipients whose copies are the same, with an envelope of theirs alone.
pub(super) struct Part {
    pub(super) group: Group,
    pub(super) envelope: Envelope,
}

/// Somewhere that a recipient's copy does not go, because another's does.
pub(super) struct Double {
    /// The part, and the recipient's place in it.
    part: usize,
    own: usize,
    to: To,
    /// The recipient's place in the whole envelope, and that of the other.
    pub(super) at: usize,
    pub(super) other: usize,
}

/// Where a route leads no more: it names each account and each address once.
enum To {
    Account(AccountId),
    Elsewhere(Address),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Goal {
    Mailbox(AccountId, MailboxId),
    Elsewhere(Address),
}

/// A recipient that leads somewhere, the best one first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Claim {
    leads_on: bool,
    kept_from_inbox: u8,
    /// Its place in the whole envelope.
    at: usize,
}

impl Part {
    pub(super) fn of(group: Group, whole: &Envelope) -> Self {
        let recipients = group.members.iter().map(|at| whole.recipients[*at].clone()).collect();
        Self { group, envelope: Envelope { recipients, ..whole.clone() } }
    }

    /// Whether it is taken, and stays for nobody.
    pub(super) fn is_idle(&self) -> bool {
        let goes = |route: &Route| match route {
            Route::Local { places, onward } => !places.is_empty() || !onward.is_empty(),
            _ => true,
        };
        matches!(self.group.fate, Fate::Deliver | Fate::Junk)
            && !self.envelope.recipients.iter().any(|recipient| goes(&recipient.route))
    }
}

/// What leads where another part's copy goes as well. Within a part that is seen to elsewhere; who was written to straight
/// at another host gets what was written.
pub(super) fn doubles(parts: &[Part]) -> Vec<Double> {
    let mut best: HashMap<Goal, (Claim, usize)> = HashMap::new();
    for (number, part) in parts.iter().enumerate() {
        let kept_from_inbox = match part.group.fate {
            Fate::Deliver => 0,
            Fate::Junk => 1,
            Fate::Hold(_) => 2,
            // There is no copy.
            Fate::Refuse(_) => continue,
        };
        for (recipient, at) in part.envelope.recipients.iter().zip(&part.group.members) {
            for (goal, leads_on) in goals(&recipient.route, &recipient.address) {
                let claim = Claim { leads_on, kept_from_inbox, at: *at };
                let known = best.entry(goal).or_insert((claim, number));
                if claim < known.0 {
                    *known = (claim, number);
                }
            }
        }
    }
    let mut doubles = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        if !matches!(part.group.fate, Fate::Deliver | Fate::Junk) {
            continue;
        }
        for (own, (recipient, at)) in part.envelope.recipients.iter().zip(&part.group.members).enumerate() {
            if matches!(*recipient.route, Route::Remote) {
                continue;
            }
            for (goal, _) in goals(&recipient.route, &recipient.address) {
                let Some((claim, _)) = best.get(&goal).filter(|(_, winner)| *winner != number) else { continue };
                let to = match goal {
                    Goal::Mailbox(account, _) => To::Account(account),
                    Goal::Elsewhere(address) => To::Elsewhere(address),
                };
                doubles.push(Double { part: number, own, to, at: *at, other: claim.at });
            }
        }
    }
    doubles
}

/// Takes those out.
pub(super) fn strike(parts: &mut [Part], doubles: &[Double]) {
    for Double { part, own, to, .. } in doubles {
        let recipient = &mut parts[*part].envelope.recipients[*own];
        let Route::Local { places, onward } = &*recipient.route else { continue };
        let (mut places, mut onward) = (places.clone(), onward.clone());
        match to {
            To::Account(account) => places.retain(|place| place.account != *account),
            To::Elsewhere(address) => onward.retain(|one| one != address),
        }
        recipient.route = Arc::new(Route::Local { places, onward });
    }
}

/// Where a route leads, and whether another address than the recipient's own stands there.
fn goals(route: &Route, recipient: &str) -> Vec<(Goal, bool)> {
    if matches!(route, Route::Remote) {
        return Address::parse(recipient).map(|address| (Goal::Elsewhere(address), false)).into_iter().collect();
    }
    let places = route.places().iter().map(|place| (Goal::Mailbox(place.account, place.mailbox), !place.own));
    places.chain(route.onward().iter().map(|address| (Goal::Elsewhere(address.clone()), true))).collect()
}

#[cfg(test)]
mod tests {
    use posthorn_model::{EnhancedCode, Refusal};

    use super::*;
    use crate::copies::{Edit, Hold};
    use crate::envelope::Recipient;
    use crate::route::Destination;

    /// A mailbox of the account with this number, under the recipient's own address or not.
    fn place(account: i64, own: bool) -> Destination {
        Destination {
            account: AccountId(account),
            mailbox: MailboxId(account),
            folder: "INBOX".to_owned(),
            inbox: MailboxId(account),
            has_quota: false,
            own,
        }
    }

    fn local(places: &[Destination], onward: &[&str]) -> Route {
        let onward = onward.iter().map(|one| Address::parse(one).expect("an address")).collect();
        Route::Local { places: places.to_vec(), onward }
    }

    fn hold() -> Fate {
        Fate::Hold(Hold { category: 9, score: 0.0, why: String::new() })
    }

    /// Each recipient in a part of its own: what is left of its route, and on whom the rest is.
    fn parted(recipients: &[(Fate, Route)]) -> (Vec<Route>, Vec<(usize, usize)>) {
        let part = |(at, (fate, route)): (usize, &(Fate, Route))| Part {
            group: Group { fate: fate.clone(), edit: Edit::default(), members: vec![at] },
            envelope: Envelope {
                recipients: vec![Recipient {
                    address: "far@example.com".to_owned(),
                    route: Arc::new(route.clone()),
                    orcpt: None,
                    notify: None,
                }],
                ..Envelope::default()
            },
        };
        let mut parts: Vec<Part> = recipients.iter().enumerate().map(part).collect();
        let doubles = doubles(&parts);
        strike(&mut parts, &doubles);
        let left = parts.iter().map(|part| Route::clone(&part.envelope.recipients[0].route)).collect();
        (left, doubles.iter().map(|double| (double.at, double.other)).collect())
    }

    #[test]
    fn ones_own_address_decides_whatever_an_alias_would_do() {
        let nowhere = local(&[], &[]);
        for fate in [Fate::Deliver, Fate::Junk, hold()] {
            let (own, alias) = (local(&[place(1, true)], &[]), local(&[place(1, false), place(2, false)], &[]));
            let (left, rests) = parted(&[(Fate::Deliver, alias), (fate, own.clone())]);
            assert_eq!(left, [local(&[place(2, false)], &[]), own.clone()]);
            assert_eq!(rests, [(0, 1)]);
            let (left, _) = parted(&[(Fate::Deliver, local(&[place(1, false)], &[])), (Fate::Junk, own.clone())]);
            assert_eq!(left, [nowhere.clone(), own]);
        }
    }

    #[test]
    fn among_aliases_the_one_that_reaches_the_inbox_counts() {
        let alias = || local(&[place(1, false)], &[]);
        let (left, rests) = parted(&[(Fate::Junk, alias()), (Fate::Deliver, alias()), (Fate::Deliver, alias())]);
        assert_eq!(left, [local(&[], &[]), alias(), local(&[], &[])]);
        assert_eq!(rests, [(0, 1), (2, 1)]);
        // What is held for an alias is held for whoever looks after that.
        let (left, rests) = parted(&[(hold(), alias()), (Fate::Junk, alias())]);
        assert_eq!((left, rests), (vec![alias(), alias()], Vec::new()));
    }

    #[test]
    fn who_is_refused_has_no_copy() {
        let refuse = Fate::Refuse(Refusal::new(554, EnhancedCode(5, 7, 0), "no"));
        let (own, alias) = (local(&[place(1, true)], &[]), local(&[place(1, false)], &[]));
        let (left, rests) = parted(&[(refuse, own.clone()), (Fate::Deliver, alias.clone())]);
        assert_eq!((left, rests), (vec![own, alias], Vec::new()));
    }

    #[test]
    fn other_hosts_get_one_copy_as_well() {
        let alias = || local(&[place(1, true)], &["far@example.com"]);
        let (left, rests) = parted(&[(Fate::Deliver, alias()), (Fate::Deliver, Route::Remote)]);
        assert_eq!(left, [local(&[place(1, true)], &[]), Route::Remote]);
        assert_eq!(rests, [(0, 1)]);
        let (left, _) = parted(&[(Fate::Deliver, local(&[], &["far@example.com"])), (Fate::Junk, alias())]);
        assert_eq!(left, [local(&[], &["far@example.com"]), local(&[place(1, true)], &[])]);
    }
}
