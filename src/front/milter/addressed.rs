//! Recipients as a verdict has them: a milter takes the old one away and adds the new one.

use bytes::Bytes;
use posthorn_filter::Edit;
use posthorn_mail::copies::with_detail;
use posthorn_milter::{Actions, Change};
use posthorn_model::Address;

use super::bare;

/// What RCPT said.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// The path in its angle brackets.
    pub(super) path: Bytes,
    /// ESMTP parameters behind it.
    pub(super) parameters: Vec<Bytes>,
}

/// The changes that give a recipient the detail and the silence that its edit wants, as far as the mail server lets us.
pub(super) fn readdressed(one: &Path, edit: &Edit, separator: char, allowed: Actions) -> Vec<Change> {
    let detailed = edit.extension.as_ref().and_then(|detail| {
        let address = Address::parse(&bare(&one.path)).ok()?;
        with_detail(&address, separator, detail)
    });
    if let Some(to) = &edit.to {
        return in_its_place(one, to, allowed);
    }
    let notify = |word: &Bytes| word.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"NOTIFY="));
    let said = one.parameters.iter().find(|word| notify(word));
    let spoken = !said.is_some_and(|word| word[7..].eq_ignore_ascii_case(b"NEVER"));
    let quiet = edit.quiet && spoken && allowed.contains(Actions::ADD_RECIPIENTS_WITH_PARAMETERS);
    if (detailed.is_none() && !quiet) || !allowed.contains(Actions::DELETE_RECIPIENTS) {
        return Vec::new();
    }
    let mut parameters: Vec<&[u8]> =
        one.parameters.iter().filter(|word| !quiet || !notify(word)).map(|word| &word[..]).collect();
    if quiet {
        parameters.push(b"NOTIFY=NEVER");
    }
    let with = (!parameters.is_empty()).then(|| Bytes::from(parameters.join(&b' ')));
    let with = with.filter(|_| allowed.contains(Actions::ADD_RECIPIENTS_WITH_PARAMETERS));
    if with.is_none() && !allowed.contains(Actions::ADD_RECIPIENTS) {
        return Vec::new();
    }
    let path = detailed.map_or_else(|| one.path.clone(), |address| Bytes::from(format!("<{address}>")));
    vec![Change::DeleteRecipient(one.path.clone()), Change::AddRecipient(path, with)]
}

/// The changes that put others in a recipient's place, or beside it.
fn in_its_place(one: &Path, to: &[Address], allowed: Actions) -> Vec<Change> {
    let own = Address::parse(&bare(&one.path)).ok();
    let stays = own.as_ref().is_some_and(|own| to.contains(own));
    let needed = if stays { Actions::ADD_RECIPIENTS } else { Actions::ADD_RECIPIENTS | Actions::DELETE_RECIPIENTS };
    if !allowed.contains(needed) {
        return Vec::new();
    }
    let others = to.iter().filter(|address| Some(*address) != own.as_ref());
    let added = others.map(|address| Change::AddRecipient(Bytes::from(format!("<{address}>")), None));
    let away = (!stays).then(|| Change::DeleteRecipient(one.path.clone()));
    away.into_iter().chain(added).collect()
}

/// Whether a copy that is to go to others would reach its recipient, because the mail server does not let us take anybody
/// away.
pub(super) fn strays(one: &Path, edit: &Edit, allowed: Actions) -> bool {
    let Some(to) = &edit.to else { return false };
    let own = Address::parse(&bare(&one.path)).ok();
    own.is_none_or(|own| !to.contains(&own)) && in_its_place(one, to, allowed).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_take_the_place_of_a_recipient_or_stand_beside_it() {
        let edit = |to: &[&str]| Edit {
            to: Some(to.iter().map(|text| Address::parse(text).expect("an address")).collect()),
            ..Edit::default()
        };
        let away = || Change::DeleteRecipient(b("<bob@example.org>"));
        let eve = || Change::AddRecipient(b("<eve@example.org>"), None);
        let said = path(&["NOTIFY=DELAY"]);
        assert_eq!(readdressed(&said, &edit(&["eve@example.org"]), '+', Actions::ALL), [away(), eve()]);
        assert_eq!(readdressed(&said, &edit(&["bob@example.org", "eve@example.org"]), '+', Actions::ALL), [eve()]);
        assert_eq!(readdressed(&said, &edit(&[]), '+', Actions::ALL), [away()]);
        let few = Actions::ALL - Actions::DELETE_RECIPIENTS;
        assert!(strays(&said, &edit(&[]), few) && !strays(&said, &edit(&[]), Actions::ALL));
        assert!(!strays(&said, &edit(&["bob@example.org", "eve@example.org"]), few));
        assert!(!strays(&said, &Edit::default(), few));
    }

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn path(parameters: &[&'static str]) -> Path {
        Path { path: b("<bob@example.org>"), parameters: parameters.iter().map(|word| b(word)).collect() }
    }

    #[test]
    fn details_and_silence_take_a_new_recipient() {
        let away = || Change::DeleteRecipient(b("<bob@example.org>"));
        let detail = Edit { extension: Some("spam".to_owned()), ..Edit::default() };
        let added = |address, with| vec![away(), Change::AddRecipient(b(address), with)];
        assert_eq!(readdressed(&path(&[]), &detail, '+', Actions::ALL), added("<bob+spam@example.org>", None));
        let kept = Some(b("NOTIFY=DELAY ORCPT=rfc822;b@x"));
        let said = path(&["NOTIFY=DELAY", "ORCPT=rfc822;b@x"]);
        assert_eq!(readdressed(&said, &detail, '+', Actions::ALL), added("<bob+spam@example.org>", kept));
        let quiet = Edit { quiet: true, ..Edit::default() };
        let never = Some(b("ORCPT=rfc822;b@x NOTIFY=NEVER"));
        assert_eq!(readdressed(&said, &quiet, '+', Actions::ALL), added("<bob@example.org>", never));
    }

    #[test]
    fn what_is_so_already_or_not_allowed_is_left() {
        let quiet = Edit { quiet: true, ..Edit::default() };
        assert_eq!(readdressed(&path(&["notify=never"]), &quiet, '+', Actions::ALL), []);
        assert_eq!(readdressed(&path(&[]), &Edit::default(), '+', Actions::ALL), []);
        let detail = Edit { extension: Some("spam".to_owned()), ..Edit::default() };
        for without in [Actions::DELETE_RECIPIENTS, Actions::ADD_RECIPIENTS] {
            assert_eq!(readdressed(&path(&[]), &detail, '+', Actions::ALL - without), []);
        }
        let plain = Actions::ALL - Actions::ADD_RECIPIENTS_WITH_PARAMETERS;
        assert_eq!(readdressed(&path(&[]), &quiet, '+', plain), []);
        assert_eq!(readdressed(&path(&["NOTIFY=DELAY"]), &detail, '+', plain).len(), 2);
    }
}
