//! A copy's edits as a milter says them: field by field.

use bytes::Bytes;
use posthorn_filter::Edit;
use posthorn_mail::copies::Change as Wanted;
use posthorn_milter::Change;

/// The changes that make of a message with this header what an edit makes of it, with `above` on top of everything.
/// `spaced`: values keep the space behind their colon.
pub(crate) fn of(header: &[u8], edit: &Edit, above: &[u8], spaced: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    let value = |raw: &[u8]| written(raw, spaced);
    let taken_out = without(header, edit);
    changes.extend(taken_out.into_iter().rev().map(|(nth, name)| Change::ChangeHeader(nth, name, Bytes::new())));
    if let Some(tag) = &edit.subject_tag {
        match posthorn_mime::fields(header).find(|field| field.is("Subject")) {
            Some(subject) => {
                let old = subject.value.strip_prefix(b" ").unwrap_or(subject.value);
                let tagged = [b" ", tag.as_bytes(), old].concat();
                changes.push(Change::ChangeHeader(1, Bytes::from_static(b"Subject"), value(&tagged)));
            }
            None => {
                let tag = [b" ", tag.trim().as_bytes()].concat();
                changes.push(Change::AddHeader(Bytes::from_static(b"Subject"), value(&tag)));
            }
        }
    }
    for wanted in &edit.changes {
        change(header, wanted, spaced, &mut changes);
    }
    let fields: Vec<_> = posthorn_mime::fields(above).chain(posthorn_mime::fields(&edit.top)).collect();
    for field in fields.into_iter().rev() {
        let name = Bytes::copy_from_slice(field.name);
        changes.push(Change::InsertHeader(0, name, value(field.value)));
    }
    changes
}

/// Fields that go: their number among their namesakes, counted from 1.
fn without(header: &[u8], edit: &Edit) -> Vec<(u32, Bytes)> {
    let goes = |name: &[u8]| {
        edit.without.iter().map(|out| out.as_bytes()).any(|out| match out.ends_with(b"-") {
            true => name.get(..out.len()).is_some_and(|start| start.eq_ignore_ascii_case(out)),
            false => name.eq_ignore_ascii_case(out),
        })
    };
    numbered(header).into_iter().filter(|(_, name)| goes(name)).collect()
}

/// Every field's name with its number among its namesakes.
fn numbered(header: &[u8]) -> Vec<(u32, Bytes)> {
    let mut seen: std::collections::HashMap<Vec<u8>, u32> = std::collections::HashMap::new();
    let number = |field: posthorn_mime::Field<'_>| {
        let count = seen.entry(field.name.to_ascii_lowercase()).or_default();
        *count += 1;
        (*count, Bytes::copy_from_slice(field.name))
    };
    posthorn_mime::fields(header).map(number).collect()
}

fn change(header: &[u8], wanted: &Wanted, spaced: bool, changes: &mut Vec<Change>) {
    let name = |name: &str| Bytes::copy_from_slice(name.as_bytes());
    let value = |text: &str| written([b" ", text.as_bytes()].concat().as_slice(), spaced);
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    match wanted {
        Wanted::AddField { name: of, value: to } => changes.push(Change::AddHeader(name(of), value(to))),
        Wanted::InsertField { at, name: of, value: to } => {
            changes.push(Change::InsertHeader(number(*at), name(of), value(to)));
        }
        Wanted::ChangeField { nth, name: of, value: to } => {
            changes.push(Change::ChangeHeader(number(*nth), name(of), value(to)));
        }
        Wanted::RemoveField { nth: Some(nth), name: of } => {
            changes.push(Change::ChangeHeader(number(*nth), name(of), Bytes::new()));
        }
        Wanted::RemoveField { nth: None, name: of } => {
            let all = numbered(header).into_iter().filter(|(_, name)| name.eq_ignore_ascii_case(of.as_bytes()));
            let all: Vec<_> = all.collect();
            changes.extend(all.into_iter().rev().map(|(nth, name)| Change::ChangeHeader(nth, name, Bytes::new())));
        }
        Wanted::Body(octets) => changes.push(Change::Body(octets.clone())),
    }
}

/// A value as it goes over the wire: lines parted by LF alone.
fn written(raw: &[u8], spaced: bool) -> Bytes {
    let raw = raw.strip_suffix(b"\r\n").unwrap_or(raw);
    let raw = if spaced { raw } else { raw.strip_prefix(b" ").unwrap_or(raw) };
    raw.iter().copied().filter(|octet| *octet != b'\r').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn fields_go_from_behind_and_come_from_below() {
        let header = b"X-Spam-Flag: NO\r\nSubject: one\r\n two\r\nX-Spam-Score: 1\r\nx-spam-flag: YES\r\n\r\n";
        let edit = Edit {
            without: &["X-Spam-"],
            subject_tag: Some("[spam] ".to_owned()),
            changes: Vec::new(),
            top: b"A: 1\r\nB: 2\r\n\t3\r\n".to_vec(),
            ..Edit::default()
        };
        let gone = |nth, name| Change::ChangeHeader(nth, b(name), Bytes::new());
        let expected = [
            gone(2, "x-spam-flag"),
            gone(1, "X-Spam-Score"),
            gone(1, "X-Spam-Flag"),
            Change::ChangeHeader(1, b("Subject"), b("[spam] one\n two")),
            Change::InsertHeader(0, b("B"), b("2\n\t3")),
            Change::InsertHeader(0, b("A"), b("1")),
            Change::InsertHeader(0, b("R"), b("0")),
        ];
        assert_eq!(of(header, &edit, b"R: 0\r\n", false), expected);
        let spaced = of(header, &edit, b"", true);
        assert_eq!(spaced[3], Change::ChangeHeader(1, b("Subject"), b(" [spam] one\n two")));
    }

    #[test]
    fn changes_of_others_are_handed_on() {
        let header = b"A: 1\r\nA: 2\r\n\r\n";
        let named = |name: &str| name.to_owned();
        let edit = Edit {
            changes: vec![
                Wanted::RemoveField { nth: None, name: named("a") },
                Wanted::AddField { name: named("B"), value: named("x") },
                Wanted::ChangeField { nth: 1, name: named("C"), value: named("y") },
                Wanted::Body(b("new")),
            ],
            subject_tag: Some("[x] ".to_owned()),
            ..Edit::default()
        };
        let expected = [
            Change::AddHeader(b("Subject"), b("[x]")),
            Change::ChangeHeader(2, b("A"), Bytes::new()),
            Change::ChangeHeader(1, b("A"), Bytes::new()),
            Change::AddHeader(b("B"), b("x")),
            Change::ChangeHeader(1, b("C"), b("y")),
            Change::Body(b("new")),
        ];
        assert_eq!(of(header, &edit, b"", false), expected);
    }
}
