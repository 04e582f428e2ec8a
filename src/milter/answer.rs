//! What a filter says to an MTA: its verdict on a step, and at the message's end also what to change.

use bytes::Bytes;

use crate::packet::{Malformed, number, put, string, until_nul};

/// A reply of a filter's own: a code of 4yz or 5yz, perhaps an enhanced code, and text, as the MTA tells its client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply(Bytes);

impl Reply {
    /// `550 5.7.1 text`; lines are parted by CRLF, each with its code. `None` for what is no such reply.
    #[must_use]
    pub fn parse(text: impl Into<Bytes>) -> Option<Self> {
        let text = text.into();
        let code = text.first_chunk::<3>()?;
        let refuses = matches!(code[0], b'4' | b'5') && code[1..].iter().all(u8::is_ascii_digit);
        let parted = text.get(3).is_none_or(|next| matches!(next, b' ' | b'-'));
        (refuses && parted && !text.contains(&0)).then_some(Self(text))
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.0.iter().take(3).fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    }

    /// The whole reply, lossy.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// A verdict.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Go on.
    Continue,
    /// This message (or session) needs no filter any more.
    Accept,
    /// Refuse for good: the recipient at RCPT, else the message or the session.
    Reject,
    /// Refuse for now.
    Tempfail,
    /// Refuse with these words.
    Reply(Reply),
    /// Take the message and throw it away.
    Discard,
    /// No more of the body, please; otherwise go on.
    Skip,
    /// Close the connection with 421.
    Shutdown,
    /// The filter fails the connection.
    ConnectionFailed,
}

/// A change to the message, said at its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Another recipient, perhaps with ESMTP parameters.
    AddRecipient(Bytes, Option<Bytes>),
    /// One recipient less.
    DeleteRecipient(Bytes),
    /// Another sender, perhaps with ESMTP parameters.
    Sender(Bytes, Option<Bytes>),
    /// A field at the end of the header.
    AddHeader(Bytes, Bytes),
    /// A field at this place, counted from 0 at the top.
    InsertHeader(u32, Bytes, Bytes),
    /// Another value for the field of this name, counted from 1 among its namesakes; empty: away with it.
    ChangeHeader(u32, Bytes, Bytes),
    /// A piece of a new body. The first one takes the old body's place.
    Body(Bytes),
    /// Hold the message, for this reason.
    Quarantine(Bytes),
}

/// One packet of a filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    Answer(Answer),
    Change(Change),
    /// Still busy.
    Progress,
}

impl Answer {
    pub(crate) fn write(&self) -> Bytes {
        match self {
            Self::Continue => put(b'c', &[]),
            Self::Accept => put(b'a', &[]),
            Self::Reject => put(b'r', &[]),
            Self::Tempfail => put(b't', &[]),
            Self::Reply(Reply(text)) => put(b'y', &[text, b"\0"]),
            Self::Discard => put(b'd', &[]),
            Self::Skip => put(b's', &[]),
            Self::Shutdown => put(b'4', &[]),
            Self::ConnectionFailed => put(b'f', &[]),
        }
    }
}

impl Change {
    pub(crate) fn write(&self) -> Bytes {
        match self {
            Self::AddRecipient(address, None) => put(b'+', &[until_nul(address), b"\0"]),
            Self::AddRecipient(address, Some(parameters)) => {
                put(b'2', &[until_nul(address), b"\0", until_nul(parameters), b"\0"])
            }
            Self::DeleteRecipient(address) => put(b'-', &[until_nul(address), b"\0"]),
            Self::Sender(address, None) => put(b'e', &[until_nul(address), b"\0"]),
            Self::Sender(address, Some(parameters)) => {
                put(b'e', &[until_nul(address), b"\0", until_nul(parameters), b"\0"])
            }
            Self::AddHeader(name, value) => put(b'h', &[until_nul(name), b"\0", until_nul(value), b"\0"]),
            Self::InsertHeader(at, name, value) => {
                put(b'i', &[&at.to_be_bytes(), until_nul(name), b"\0", until_nul(value), b"\0"])
            }
            Self::ChangeHeader(at, name, value) => {
                put(b'm', &[&at.to_be_bytes(), until_nul(name), b"\0", until_nul(value), b"\0"])
            }
            Self::Body(octets) => put(b'b', &[octets]),
            Self::Quarantine(reason) => put(b'q', &[until_nul(reason), b"\0"]),
        }
    }
}

impl Word {
    pub(crate) fn read(letter: u8, mut data: Bytes) -> Result<Self, Malformed> {
        let change = match letter {
            b'c' => return Ok(Self::Answer(Answer::Continue)),
            b'a' => return Ok(Self::Answer(Answer::Accept)),
            b'r' => return Ok(Self::Answer(Answer::Reject)),
            b't' => return Ok(Self::Answer(Answer::Tempfail)),
            b'd' => return Ok(Self::Answer(Answer::Discard)),
            b's' => return Ok(Self::Answer(Answer::Skip)),
            b'4' => return Ok(Self::Answer(Answer::Shutdown)),
            b'f' => return Ok(Self::Answer(Answer::ConnectionFailed)),
            b'y' => {
                let reply = Reply::parse(string(&mut data)?).ok_or(Malformed("a reply that is no refusal"))?;
                return Ok(Self::Answer(Answer::Reply(reply)));
            }
            b'p' => return Ok(Self::Progress),
            b'+' => Change::AddRecipient(string(&mut data)?, None),
            b'2' => {
                let address = string(&mut data)?;
                Change::AddRecipient(address, optional(&mut data)?)
            }
            b'-' => Change::DeleteRecipient(string(&mut data)?),
            b'e' => {
                let address = string(&mut data)?;
                Change::Sender(address, optional(&mut data)?)
            }
            b'h' => {
                let name = string(&mut data)?;
                Change::AddHeader(name, string(&mut data)?)
            }
            b'i' | b'm' => {
                let at = number(&mut data)?;
                let name = string(&mut data)?;
                let value = string(&mut data)?;
                if letter == b'i' {
                    Change::InsertHeader(at, name, value)
                } else {
                    Change::ChangeHeader(at, name, value)
                }
            }
            b'b' => Change::Body(data),
            b'q' => Change::Quarantine(string(&mut data)?),
            _ => return Err(Malformed("an answer that no filter has")),
        };
        Ok(Self::Change(change))
    }
}

fn optional(data: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
    if data.is_empty() { Ok(None) } else { string(data).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::take;
    use bytes::BytesMut;

    fn again(packet: &Bytes) -> Word {
        let mut wire = BytesMut::from(&packet[..]);
        let (letter, data) = take(&mut wire, 1 << 20).expect("sound").expect("whole");
        Word::read(letter, data).expect("readable")
    }

    #[test]
    fn answers_read_as_they_were_written() {
        let reply = Reply::parse(&b"550 5.7.1 not here"[..]).expect("a reply");
        for answer in [
            Answer::Continue,
            Answer::Accept,
            Answer::Reject,
            Answer::Tempfail,
            Answer::Reply(reply),
            Answer::Discard,
            Answer::Skip,
            Answer::Shutdown,
            Answer::ConnectionFailed,
        ] {
            assert_eq!(again(&answer.write()), Word::Answer(answer));
        }
    }

    #[test]
    fn changes_read_as_they_were_written() {
        let b = Bytes::from_static;
        for change in [
            Change::AddRecipient(b(b"<a@b>"), None),
            Change::AddRecipient(b(b"<a@b>"), Some(b(b"NOTIFY=NEVER"))),
            Change::DeleteRecipient(b(b"<a@b>")),
            Change::Sender(b(b"<a@b>"), None),
            Change::Sender(b(b"<a@b>"), Some(b(b"RET=HDRS"))),
            Change::AddHeader(b(b"X-A"), b(b"one\n two")),
            Change::InsertHeader(0, b(b"X-A"), b(b"")),
            Change::ChangeHeader(2, b(b"X-A"), b(b"x")),
            Change::Body(b(b"a\0b")),
            Change::Quarantine(b(b"why")),
        ] {
            assert_eq!(again(&change.write()), Word::Change(change));
        }
    }

    #[test]
    fn only_refusals_are_replies() {
        assert_eq!(Reply::parse(&b"451"[..]).map(|reply| reply.code()), Some(451));
        for text in ["250 fine", "55", "5xx no", "5501 x", "550 a\0b", ""] {
            assert!(Reply::parse(text).is_none(), "{text}");
        }
    }
}
