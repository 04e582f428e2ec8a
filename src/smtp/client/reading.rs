//! Replies are read (RFC 5321 §4.2.1).

use bytes::BytesMut;
use posthorn_model::EnhancedCode;
use posthorn_wire::{Line, take_line};

use crate::Reply;

/// Octets of one line; an AUTH challenge may have that many (RFC 4954 §4).
const LINE: usize = 12_288;

/// Octets of a whole reply.
const REPLY: usize = 64 << 10;

/// What the front of the buffer holds.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Read {
    Malformed,
    Partial,
    Reply(Reply),
    TooLong,
}

/// Gathers the lines of a reply.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    started: Option<Reply>,
}

impl ReplyReader {
    /// Takes the next whole reply.
    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Read {
        loop {
            let line = match take_line(buffer, LINE) {
                Line::Partial => return Read::Partial,
                Line::Bare => return Read::Malformed,
                Line::TooLong => return Read::TooLong,
                Line::Complete(line) => line,
            };
            let Some((code, more, rest)) = split(&line) else { return Read::Malformed };
            let rest = String::from_utf8_lossy(rest);
            let (enhanced, text) = enhanced(code, &rest);
            match &mut self.started {
                None => {
                    let reply = Reply { enhanced, ..Reply::plain(code, text.to_owned()) };
                    self.started = Some(reply);
                }
                Some(reply) if reply.code != code => return Read::Malformed,
                Some(reply) if reply.text.len() + text.len() > REPLY => return Read::TooLong,
                Some(reply) => {
                    let all = reply.text.to_mut();
                    all.push('\n');
                    all.push_str(text);
                }
            }
            if !more {
                return self.started.take().map_or(Read::Malformed, Read::Reply);
            }
        }
    }
}

/// The code, whether another line follows, and the text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    let code = std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    if !(200..600).contains(&code) {
        return None;
    }
    match rest {
        [] => Some((code, false, rest)),
        [b' ', text @ ..] => Some((code, false, text)),
        [b'-', text @ ..] => Some((code, true, text)),
        _ => None,
    }
}

/// Parts an enhanced code of the reply's own class (RFC 2034 §4) from the text.
fn enhanced(code: u16, text: &str) -> (Option<EnhancedCode>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = word.split('.').map(str::parse::<u16>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(class)), Some(Ok(subject)), Some(Ok(detail)), None) if class == code / 100 => {
            (Some(EnhancedCode(class as u8, subject, detail)), rest)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Read {
        ReplyReader::default().read(&mut BytesMut::from(text))
    }

    #[test]
    fn lines_are_joined_and_codes_parted() {
        assert_eq!(read("250-2.1.0 one\r\n250 2.1.0 two\r\n"), Read::Reply(Reply::new(250, 1, 0, "one\ntwo")));
        assert_eq!(read("354\r\n"), Read::Reply(Reply::plain(354, "")));
        assert_eq!(read("550 4.1.1 odd\r\n"), Read::Reply(Reply::plain(550, "4.1.1 odd")));
        assert_eq!(read("250-one\r\n"), Read::Partial);
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        for text in ["hello\r\n", "25\r\n", "250_x\r\n", "999 x\r\n", "250-a\r\n251 b\r\n", "250 a\n250 b\r\n", "\r\n"]
        {
            assert_eq!(read(text), Read::Malformed, "{text:?}");
        }
        assert_eq!(read(&"x".repeat(LINE + 1)), Read::TooLong);
        assert_eq!(read(&format!("250-{}\r\n", "x".repeat(12_000)).repeat(7)), Read::TooLong);
    }
}
