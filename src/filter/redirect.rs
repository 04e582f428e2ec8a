//! What filters of somebody else's change in the envelope: to whom the message goes besides or instead, and from whom it
//! is said to be.
//!
//! Who is taken away while nobody is added gets it held: nothing is dropped. Who is taken away while others are added has
//! it sent to them, as if a name of ours led there.

use posthorn_mail::copies::Fate;
use posthorn_mail::route::Route;
use posthorn_model::Address;

use crate::{Case, Filter, Ruling};

/// A change of the envelope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Redirect {
    /// It goes to this address as well.
    Add(Address),
    /// It does not go to this recipient.
    Remove(Address),
    /// It has this reverse path; `None` is the null path.
    Sender(Option<Address>),
}

/// Why a copy is held that a filter takes away.
const TAKEN_AWAY: &str = "a filter takes this recipient away";

impl Filter {
    /// Makes these changes, as far as the message is delivered.
    pub(crate) async fn redirect(&self, case: &Case<'_>, wanted: &[Redirect], rulings: &mut [Ruling]) {
        if wanted.is_empty() {
            return;
        }
        let recipients: Vec<Option<Address>> =
            case.envelope.recipients.iter().map(|one| Address::parse(&one.address).ok()).collect();
        let is_removed =
            |one: &Address| wanted.iter().any(|redirect| matches!(redirect, Redirect::Remove(away) if away == one));
        let stays = |one: &Address| recipients.iter().flatten().any(|known| known == one && !is_removed(known));
        let mut added: Vec<Address> = Vec::new();
        for redirect in wanted {
            let Redirect::Add(address) = redirect else { continue };
            if added.contains(address) || stays(address) {
                continue;
            }
            match self.shared.mail.route(address).await.as_deref() {
                Ok(Route::Local { .. } | Route::Remote) => added.push(address.clone()),
                _ => tracing::warn!(recipient = %address, "a filter wants mail sent to nobody: it is not"),
            }
        }
        readdress(&recipients, &is_removed, &added, rulings);
        let sender = wanted.iter().rev().find_map(|redirect| match redirect {
            Redirect::Sender(sender) => Some(sender),
            _ => None,
        });
        if let Some(sender) = sender {
            for ruling in rulings.iter_mut().filter(|ruling| is_delivered(ruling)) {
                ruling.edit.sender = Some(sender.clone());
            }
        }
    }
}

fn is_delivered(ruling: &Ruling) -> bool {
    matches!(ruling.fate, Fate::Deliver | Fate::Junk)
}

/// Gives the copies other recipients. One of them goes to all that are added.
fn readdress(
    recipients: &[Option<Address>],
    is_removed: &impl Fn(&Address) -> bool,
    added: &[Address],
    rulings: &mut [Ruling],
) {
    let is_gone = |at: &usize| recipients[*at].as_ref().is_some_and(is_removed);
    let delivered: Vec<usize> = (0..rulings.len()).filter(|at| is_delivered(&rulings[*at])).collect();
    let gone: Vec<usize> = delivered.iter().copied().filter(is_gone).collect();
    if added.is_empty() {
        for at in gone {
            rulings[at].why = TAKEN_AWAY.to_owned();
            rulings[at].fate = Fate::Hold(rulings[at].hold());
        }
        return;
    }
    let names = added.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    for at in &gone {
        rulings[*at].edit.to = Some(Vec::new());
        rulings[*at].why = format!("a filter sends it to {names} instead");
    }
    if let Some(first) = gone.first() {
        rulings[*first].edit.to = Some(added.to_vec());
    } else if let Some((at, own)) = delivered.iter().find_map(|at| Some((*at, recipients[*at].as_ref()?))) {
        rulings[at].edit.to = Some([std::slice::from_ref(own), added].concat());
        rulings[at].why = format!("a filter sends it to {names} as well");
    }
}

#[cfg(test)]
mod tests {
    use posthorn_mail::copies::Hold;

    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    /// To whom each copy goes, of those to a, b and c.
    fn readdressed(removed: &[&str], added: &[&str], fates: [Fate; 3]) -> Vec<(bool, Option<Vec<String>>)> {
        let recipients = ["a@x.example", "b@x.example", "c@x.example"].map(|text| Some(address(text)));
        let removed: Vec<Address> = removed.iter().map(|text| address(text)).collect();
        let added: Vec<Address> = added.iter().map(|text| address(text)).collect();
        let mut rulings = fates.map(|fate| Ruling { fate, ..Ruling::default() });
        readdress(&recipients, &|one: &Address| removed.contains(one), &added, &mut rulings);
        let told = |ruling: Ruling| {
            let to = ruling.edit.to.map(|to| to.iter().map(ToString::to_string).collect());
            (matches!(ruling.fate, Fate::Hold(_)), to)
        };
        rulings.into_iter().map(told).collect()
    }

    #[test]
    fn who_is_taken_away_for_nobody_has_it_held() {
        let all = readdressed(&["b@x.example"], &[], [Fate::Deliver, Fate::Junk, Fate::Deliver]);
        assert_eq!(all, [(false, None), (true, None), (false, None)]);
    }

    #[test]
    fn who_is_taken_away_for_others_has_it_sent_to_them_once() {
        let to = |all: &[&str]| Some(all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        let away = ["a@x.example", "b@x.example"];
        let all = readdressed(&away, &["z@x.example"], [Fate::Deliver, Fate::Deliver, Fate::Deliver]);
        assert_eq!(all, [(false, to(&["z@x.example"])), (false, to(&[])), (false, None)]);
        // What is held stays so, and is nobody else's.
        let hold = || Fate::Hold(Hold { category: 6, score: 9.0, why: String::new() });
        let all = readdressed(&away, &["z@x.example"], [hold(), Fate::Deliver, Fate::Deliver]);
        assert_eq!(all, [(true, None), (false, to(&["z@x.example"])), (false, None)]);
        let all = readdressed(&[], &["z@x.example"], [hold(), Fate::Deliver, Fate::Deliver]);
        assert_eq!(all, [(true, None), (false, to(&["b@x.example", "z@x.example"])), (false, None)]);
        let all = readdressed(&away, &["z@x.example"], [hold(), hold(), hold()]);
        assert_eq!(all, [(true, None), (true, None), (true, None)]);
    }
}
