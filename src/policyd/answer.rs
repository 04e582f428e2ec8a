//! `action=…`: the one line of an answer.

use bytes::BytesMut;
use posthorn_model::policy::Action;

/// The longest line that every version of Postfix reads whole.
const LINE: usize = 2000;

/// Appends an answer as it goes over the wire. Texts become one line of printable ASCII, because they reach clients that
/// know nothing else.
pub(crate) fn write(action: &Action, out: &mut BytesMut) {
    let start = out.len();
    out.extend_from_slice(b"action=");
    // Addresses and field values may be international; only people's words may be changed.
    let exact = matches!(action, Action::Bcc(_) | Action::Redirect(_) | Action::Filter(_) | Action::Prepend { .. });
    let text = action.to_string();
    let room = LINE - (out.len() - start);
    let mut left = room;
    for c in text.chars() {
        let c = match c {
            c if c.is_control() => ' ',
            c if c.is_ascii() || exact => c,
            _ => '?',
        };
        if c.len_utf8() > left {
            break;
        }
        left -= c.len_utf8();
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.extend_from_slice(b"\n\n");
}

/// Reads one attribute of an answer: its value, when it is the action.
pub(crate) fn action(line: &[u8]) -> Option<String> {
    let value = line.strip_prefix(b"action=")?;
    Some(String::from_utf8_lossy(value).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(action: &Action) -> String {
        let mut out = BytesMut::new();
        write(action, &mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn an_answer_is_one_line_and_an_empty_one() {
        assert_eq!(written(&Action::Dunno), "action=DUNNO\n\n");
        let later = Action::Code { code: 451, text: "4.7.1 später\naction=OK".to_owned() };
        assert_eq!(written(&later), "action=451 4.7.1 sp?ter action=OK\n\n");
        assert_eq!(written(&Action::Bcc("jürgen@example.org".to_owned())), "action=BCC jürgen@example.org\n\n");
    }

    #[test]
    fn an_answer_is_never_longer_than_a_line_that_is_read() {
        for text in ["x".repeat(5000), "ü".repeat(5000)] {
            for action in [Action::Reject(Some(text.clone())), Action::Bcc(text)] {
                let written = written(&action);
                assert!(
                    (LINE - 1..=LINE + 2).contains(&written.len()) && written.ends_with("\n\n"),
                    "{}",
                    written.len()
                );
            }
        }
    }
}
