//! Copies: one message that is not the same for all its recipients. Some find it in Junk, for some it is held, some read
//! fields that others do not.

mod addressed;
mod apart;
mod hand_out;
mod held;
mod junk;
mod take;
mod taken_over;

use std::borrow::Cow;

use bytes::Bytes;
use posthorn_model::{Address, Refusal};

pub use self::addressed::with_detail;
pub use self::hand_out::HandedOut;
pub(crate) use self::junk::Junk;

/// What becomes of a recipient's copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Fate {
    /// It goes where it was to go.
    #[default]
    Deliver,
    /// It goes to the Junk folder of each mailbox here; what leaves, leaves.
    Junk,
    /// It lies in the quarantine until somebody releases or deletes it.
    Hold(Hold),
    /// It is not taken, and its sender hears why.
    Refuse(Refusal),
}

/// Why a copy is held.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// The number of the category, 1 to 9.
    pub category: i16,
    /// The score.
    pub score: f64,
    /// In words.
    pub why: String,
}

/// What is changed in a copy, and in its envelope.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Edit {
    /// Fields to take out: names, or what names begin with where it ends with `-`; case does not matter.
    pub without: &'static [&'static str],
    /// What goes before the subject.
    pub subject_tag: Option<String>,
    /// Changes to header and body, in this order.
    pub changes: Vec<Change>,
    /// Whole fields to put on top, each with its CRLF.
    pub top: Vec<u8>,
    /// The detail that the address of its recipient gets, where it has none.
    pub extension: Option<String>,
    /// Its sender gets no report of it, whatever was asked for.
    pub quiet: bool,
    /// To whom it goes in its recipient's place, which may be nobody where another's copy is sent instead.
    pub to: Option<Vec<Address>>,
    /// The reverse path in the place of the sender's; inside, `None` is the null path.
    pub sender: Option<Option<Address>>,
}

/// One change that a filter of somebody else's makes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A field behind the last one.
    AddField {
        /// Its name.
        name: String,
        /// Its value, folded where it has several lines.
        value: String,
    },
    /// A field before the one at this place, counted from 0.
    InsertField {
        /// The place.
        at: usize,
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Another value for the `nth` field of this name, counted from 1; where there is none it is added.
    ChangeField {
        /// Which of that name.
        nth: usize,
        /// Its name.
        name: String,
        /// The new value.
        value: String,
    },
    /// The `nth` field of this name goes, counted from 1; without a number all of them.
    RemoveField {
        /// Which of that name.
        nth: Option<usize>,
        /// Its name.
        name: String,
    },
    /// Everything behind the header becomes this.
    Body(Bytes),
}

/// What is done with a recipient's copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Treatment {
    /// What becomes of it.
    pub fate: Fate,
    /// What is changed in it.
    pub edit: Edit,
}

/// Recipients whose copies are the same.
#[derive(Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) fate: Fate,
    pub(crate) edit: Edit,
    /// Their places in the envelope.
    pub(crate) members: Vec<usize>,
}

impl Group {
    /// Recipients by their treatment, in the order of their first members. Who has none has the message as it is.
    pub(crate) fn of(recipients: usize, treatments: &[Treatment]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for at in 0..recipients {
            let Treatment { fate, edit } = treatments.get(at).cloned().unwrap_or_default();
            match groups.iter_mut().find(|group| group.fate == fate && group.edit == edit) {
                Some(group) => group.members.push(at),
                None => groups.push(Self { fate, edit, members: vec![at] }),
            }
        }
        groups
    }
}

impl Edit {
    /// Whether no octet is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.without.is_empty() && self.subject_tag.is_none() && self.changes.is_empty() && self.top.is_empty()
    }

    /// The message with everything changed.
    #[must_use]
    pub fn apply(&self, message: &[u8]) -> Vec<u8> {
        let (header, text) = message.split_at(posthorn_mime::header_end(message).unwrap_or(message.len()));
        let mut fields: Vec<Cow<'_, [u8]>> = posthorn_mime::fields(header)
            .filter(|field| !self.takes_out(field.name))
            .map(|field| self.tagged(field))
            .collect();
        let ended = fields.iter().map(|field| field.len()).sum::<usize>() < header.len();
        let mut body = Cow::Borrowed(text);
        if self.subject_tag.is_some() && !posthorn_mime::has_header(header, "Subject") {
            fields.push(Cow::Owned(line("Subject", self.subject_tag.as_deref().unwrap_or_default().trim())));
        }
        for change in &self.changes {
            match change {
                Change::Body(octets) => body = Cow::Borrowed(octets),
                other => edit_fields(&mut fields, other),
            }
        }
        let size = self.top.len() + fields.iter().map(|field| field.len()).sum::<usize>() + body.len() + 2;
        let mut whole = Vec::with_capacity(size);
        whole.extend_from_slice(&self.top);
        for field in &fields {
            whole.extend_from_slice(field);
        }
        if ended || !body.is_empty() {
            whole.extend_from_slice(b"\r\n");
        }
        whole.extend_from_slice(&body);
        whole
    }

    fn takes_out(&self, name: &[u8]) -> bool {
        self.without.iter().any(|out| {
            let out = out.as_bytes();
            match out.ends_with(b"-") {
                true => name.get(..out.len()).is_some_and(|start| start.eq_ignore_ascii_case(out)),
                false => name.eq_ignore_ascii_case(out),
            }
        })
    }

    fn tagged<'m>(&self, field: posthorn_mime::Field<'m>) -> Cow<'m, [u8]> {
        match &self.subject_tag {
            Some(tag) if field.is("Subject") => {
                let value = field.value.strip_prefix(b" ").unwrap_or(field.value);
                Cow::Owned([b"Subject: ", tag.as_bytes(), value, b"\r\n"].concat())
            }
            _ => Cow::Borrowed(field.raw),
        }
    }
}

/// A field; no value ends a header early, or begins another field.
fn line(name: &str, value: &str) -> Vec<u8> {
    let mut text = format!("{name}: ");
    for (at, part) in value.lines().filter(|part| !part.trim().is_empty()).enumerate() {
        if at > 0 {
            text.push_str(if part.starts_with([' ', '\t']) { "\r\n" } else { "\r\n\t" });
        }
        text.extend(part.chars().filter(|c| *c != '\r' && *c != '\0'));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn edit_fields(fields: &mut Vec<Cow<'_, [u8]>>, change: &Change) {
    let places = |fields: &[Cow<'_, [u8]>], name: &str| -> Vec<usize> {
        let is = |field: &[u8]| posthorn_mime::fields(field).next().is_some_and(|field| field.is(name));
        (0..fields.len()).filter(|at| is(&fields[*at])).collect()
    };
    match change {
        Change::AddField { name, value } => fields.push(Cow::Owned(line(name, value))),
        Change::InsertField { at, name, value } => {
            fields.insert((*at).min(fields.len()), Cow::Owned(line(name, value)))
        }
        Change::ChangeField { nth, name, value } => {
            let new = Cow::Owned(line(name, value));
            match places(fields, name).get(nth.saturating_sub(1)) {
                Some(at) => fields[*at] = new,
                None => fields.push(new),
            }
        }
        Change::RemoveField { nth, name } => {
            for (number, at) in (1..).zip(places(fields, name)).collect::<Vec<_>>().into_iter().rev() {
                if nth.is_none_or(|nth| nth == number) {
                    fields.remove(at);
                }
            }
        }
        Change::Body(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        b"X-Spam-Flag: YES\r\nFrom: a@example.org\r\nSubject: one\r\nx-spam-score: 1\r\n\r\nText\r\n";

    #[test]
    fn fields_go_and_come() {
        let edit = Edit {
            without: &["X-Spam-"],
            subject_tag: Some("[SPAM] ".to_owned()),
            changes: Vec::new(),
            top: b"X-Spam-Flag: NO\r\n".to_vec(),
            ..Edit::default()
        };
        let expected = "X-Spam-Flag: NO\r\nFrom: a@example.org\r\nSubject: [SPAM] one\r\n\r\nText\r\n";
        assert_eq!(String::from_utf8_lossy(&edit.apply(MESSAGE)), expected);
        assert_eq!(Edit::default().apply(MESSAGE), MESSAGE);
        assert!(Edit::default().is_empty() && !edit.is_empty());
    }

    #[test]
    fn equal_treatments_share_a_copy() {
        let junk = Treatment { fate: Fate::Junk, edit: Edit::default() };
        let groups = Group::of(4, &[Treatment::default(), junk.clone(), Treatment::default(), junk]);
        let members: Vec<&[usize]> = groups.iter().map(|group| group.members.as_slice()).collect();
        assert_eq!(members, [&[0, 2][..], &[1, 3]]);
        assert_eq!(Group::of(3, &[]).len(), 1);
    }

    #[test]
    fn others_change_what_they_like_but_not_the_form() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (add, change) = (field("X-A", "1\r\n\r\nevil"), field("Subject", "two"));
        let edit = Edit {
            changes: vec![
                Change::RemoveField { nth: None, name: "X-Spam-Flag".to_owned() },
                Change::RemoveField { nth: Some(2), name: "X-Spam-Score".to_owned() },
                Change::AddField { name: add.0, value: add.1 },
                Change::ChangeField { nth: 1, name: change.0, value: change.1 },
                Change::InsertField { at: 0, name: "X-B".to_owned(), value: "2".to_owned() },
                Change::Body(Bytes::from_static(b"New\r\n")),
            ],
            ..Edit::default()
        };
        let expected =
            "X-B: 2\r\nFrom: a@example.org\r\nSubject: two\r\nx-spam-score: 1\r\nX-A: 1\r\n\tevil\r\n\r\nNew\r\n";
        assert_eq!(String::from_utf8_lossy(&edit.apply(MESSAGE)), expected);
    }
}
