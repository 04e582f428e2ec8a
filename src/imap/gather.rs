//! Finding the end of a command in the receive buffer: lines, and the literals between them (RFC 9051 §4.3).

use bytes::Bytes;

use crate::Completion;

/// How much of the command at the front of the buffer is known already, so that nothing is looked at twice.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Gather {
    /// Where the current line begins: behind the last accepted literal.
    line: usize,
    /// Up to where no line feed was found.
    scanned: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// The line holds a bare CR or LF; it ends (CRLF included) at this offset.
    Bare(usize),
    /// The command ends (CRLF included) at this offset.
    Complete(usize),
    /// A line ends in a literal's announcement.
    Literal(Announced),
    /// More octets are needed.
    Partial,
    /// The limit is passed.
    TooLong,
}

/// `{n}` or `{n+}` (RFC 7888) with an optional `~` at the end of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Announced {
    /// Where the announcement begins.
    pub(crate) start: usize,
    /// Where the literal begins, behind the CRLF.
    pub(crate) end: usize,
    /// Its size in octets.
    pub(crate) size: u64,
    /// Whether the client waits for a continuation before it sends the literal.
    pub(crate) synchronizing: bool,
    /// Whether it is a literal8 (RFC 3516).
    pub(crate) binary: bool,
}

impl Gather {
    /// Looks for the end of the line. A command may have `limit` octets in all.
    pub(crate) fn step(&mut self, input: &[u8], limit: usize) -> Progress {
        let from = self.scanned.max(self.line);
        if input.len() < from {
            return Progress::Partial;
        }
        let mut at = from;
        let end = loop {
            match memchr::memchr(b'\n', &input[at..]) {
                None => {
                    self.scanned = input.len();
                    return if input.len() >= limit { Progress::TooLong } else { Progress::Partial };
                }
                Some(found) if at + found > self.line && input[at + found - 1] == b'\r' => break at + found - 1,
                Some(found) => at += found + 1,
            }
        };
        if end + 2 > limit {
            return Progress::TooLong;
        }
        let line = &input[self.line..end];
        if memchr::memchr2(b'\r', b'\n', line).is_some() {
            return Progress::Bare(end + 2);
        }
        match announcement(line) {
            None => Progress::Complete(end + 2),
            Some(found) => Progress::Literal(Announced { start: self.line + found.start, end: end + 2, ..found }),
        }
    }

    /// The announced literal is taken into the command.
    pub(crate) fn accept(&mut self, literal: Announced) {
        self.line = literal.end + literal.size as usize;
        self.scanned = self.line;
    }
}

/// The announcement at the end of a line, with offsets in that line.
pub(crate) fn announcement(line: &[u8]) -> Option<Announced> {
    let inside = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inside)?;
    let (digits, synchronizing) = match inside[open + 1..].split_last() {
        Some((b'+', digits)) => (digits, false),
        _ => (&inside[open + 1..], true),
    };
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // A number that overflows is as good as the largest one: both are refused.
    let size = digits.iter().fold(0_u64, |size, digit| size.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    let binary = open > 0 && line[open - 1] == b'~';
    Some(Announced { start: open - usize::from(binary), end: line.len(), size, synchronizing, binary })
}

/// The rest of a refused command, which has to be read past before it is answered.
#[derive(Debug)]
pub(crate) struct Discard {
    /// Octets of a literal left to skip.
    pub(crate) left: u64,
    pub(crate) tag: Bytes,
    pub(crate) completion: Completion,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read() {
        let read = |line: &str| {
            announcement(line.as_bytes()).map(|found| (found.start, found.size, found.synchronizing, found.binary))
        };
        assert_eq!(read("a LOGIN {5}"), Some((8, 5, true, false)));
        assert_eq!(read("a LOGIN {5+}"), Some((8, 5, false, false)));
        assert_eq!(read("x ~{310}"), Some((2, 310, true, true)));
        assert_eq!(read("{99999999999999999999}"), Some((0, u64::MAX, true, false)));
        for line in ["", "}", "{}", "{+}", "{5", "{5}x", "{a}", "{5-}", "{-5}", "{5++}"] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn a_command_ends_at_the_line_without_a_literal() {
        let input = b"a LOGIN {3}\r\nb\nc {2+}\r\n\r\n\r\nrest";
        let mut gather = Gather::default();
        let Progress::Literal(first) = gather.step(input, 100) else { panic!("literal") };
        assert_eq!((first.start, first.end, first.size), (8, 13, 3));
        gather.accept(first);
        let Progress::Literal(second) = gather.step(input, 100) else { panic!("literal") };
        gather.accept(second);
        assert_eq!(gather.step(input, 100), Progress::Complete(input.len() - 4));
    }

    #[test]
    fn bare_line_ends_and_lengths() {
        assert_eq!(Gather::default().step(b"a NOOP\nb NOOP\r\nc", 100), Progress::Bare(15));
        assert_eq!(Gather::default().step(b"a NO\rOP\r\n", 100), Progress::Bare(9));
        assert_eq!(Gather::default().step(b"a NOOP\n", 100), Progress::Partial);
        assert_eq!(Gather::default().step(b"a NOOP\r\n", 7), Progress::TooLong);
        assert_eq!(Gather::default().step(b"aaaaaaaaaa", 10), Progress::TooLong);
    }
}
