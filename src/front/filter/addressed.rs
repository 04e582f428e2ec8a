//! Recipients as a copy's edit has them: with a detail, without reports, or others in their place.

use posthorn_filter::Edit;
use posthorn_mail::copies::with_detail;
use posthorn_smtp::{Notify, Recipient, Reply, Target};

/// The recipients of a copy for the next hop, each with the place of the one that it stands for among `recipients`.
pub(super) fn addressed(recipients: &[&Recipient], edit: &Edit, separator: char) -> Vec<(usize, Recipient)> {
    let mut all = Vec::with_capacity(recipients.len());
    for (own, recipient) in recipients.iter().copied().enumerate() {
        let mut one = recipient.clone();
        if edit.quiet {
            // NEVER
            one.notify = Some(Notify::default());
        }
        if let Some(to) = &edit.to {
            let other = |address: &posthorn_model::Address| Recipient {
                target: Target::Address(address.clone()),
                ..one.clone()
            };
            all.extend(to.iter().map(|address| (own, other(address))));
            continue;
        }
        if let (Some(detail), Target::Address(address)) = (&edit.extension, &one.target)
            && let Some(detailed) = with_detail(address, separator, detail)
        {
            one.target = Target::Address(detailed);
        }
        all.push((own, one));
    }
    all
}

/// One reply for each of `count` recipients, of those to whom it went in their places: the first that is no success, or
/// else the first.
pub(super) fn gathered(count: usize, stands_for: &[usize], replies: Vec<Reply>) -> Vec<Reply> {
    let mut all: Vec<Option<Reply>> = vec![None; count];
    for (own, reply) in stands_for.iter().zip(replies) {
        let Some(known) = all.get_mut(*own) else { continue };
        if known.as_ref().is_none_or(|known| known.is_positive() && !reply.is_positive()) {
            *known = Some(reply);
        }
    }
    let elsewhere = || Reply::new(250, 1, 5, "sent to others instead");
    all.into_iter().map(|one| one.unwrap_or_else(elsewhere)).collect()
}

#[cfg(test)]
mod tests {
    use posthorn_model::Address;

    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    fn to(text: &str) -> Recipient {
        Recipient { target: Target::Address(address(text)), notify: None, orcpt: None }
    }

    fn sent(edit: &Edit) -> Vec<(usize, String)> {
        let (bob, eve) = (to("bob@example.org"), to("eve+x@example.org"));
        let all = addressed(&[&bob, &eve], edit, '+');
        all.into_iter().map(|(own, one)| (own, one.target.to_string())).collect()
    }

    #[test]
    fn each_stands_for_whom_it_was_sent_to() {
        let named = |own, text: &str| (own, text.to_owned());
        let detail = Edit { extension: Some("spam".to_owned()), ..Edit::default() };
        assert_eq!(sent(&detail), [named(0, "bob+spam@example.org"), named(1, "eve+x@example.org")]);
        let others = Edit { to: Some(vec![address("a@x.example"), address("b@x.example")]), ..Edit::default() };
        let expected = [(0, "a@x.example"), (0, "b@x.example"), (1, "a@x.example"), (1, "b@x.example")];
        assert_eq!(sent(&others), expected.map(|(own, text)| named(own, text)));
        assert_eq!(sent(&Edit { to: Some(Vec::new()), ..Edit::default() }), []);
    }

    #[test]
    fn a_failure_outweighs_and_nobody_is_a_success() {
        let reply = |code| Reply::new(code, 0, 0, "x");
        let all = gathered(3, &[0, 0, 1], vec![reply(250), reply(452), reply(250)]);
        assert_eq!(all.iter().map(|one| one.code).collect::<Vec<_>>(), [452, 250, 250]);
        assert_eq!(all[2].text, "sent to others instead");
    }
}
