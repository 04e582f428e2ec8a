//! How a message's octets are judged while they stream by: line ends, line lengths, dots (RFC 5321 §4.5.2).

use memchr::{memchr, memchr_iter};

use crate::{BodyFault, Options};

/// What the front of the receive buffer holds while DATA runs.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Scan {
    /// The final dot, three octets with its CRLF.
    End,
    /// Too few octets to tell.
    Partial,
    /// A stuffed dot to drop when `dot`, then octets of the message.
    Text { dot: bool, octets: usize },
}

/// A message in transit: its size so far and the first rule it broke.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    after_cr: bool,
    /// Octets of the current line so far.
    column: usize,
    fault: Option<BodyFault>,
    /// Where the fault was found.
    fault_at: u64,
    /// Octets of the header section so far; `None` behind it.
    header: Option<u64>,
    header_limit: u64,
    line_limit: usize,
    seen: u64,
    size_limit: u64,
}

impl Body {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            after_cr: false,
            column: 0,
            fault: None,
            fault_at: 0,
            header: Some(0),
            header_limit: options.limits.header_bytes,
            line_limit: options.limits.text_line.unwrap_or(usize::MAX),
            seen: 0,
            size_limit: if options.max_size == 0 { u64::MAX } else { options.max_size },
        }
    }

    /// The first rule that was broken.
    pub(crate) fn fault(&self) -> Option<BodyFault> {
        self.fault
    }

    /// Octets of the message so far.
    pub(crate) fn size(&self) -> u64 {
        self.seen
    }

    /// Octets that came behind the fault.
    pub(crate) fn wasted(&self) -> u64 {
        self.seen - self.fault_at
    }

    /// Judges what follows DATA. Only CRLF.CRLF is [`Scan::End`]; every other spelling of a line end is text, and a fault.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Scan {
        let at_line_start = self.column == 0 && !self.after_cr;
        let dot = match bytes {
            [] | [b'.'] | [b'.', b'\r'] if bytes.is_empty() || at_line_start => return Scan::Partial,
            [b'.', b'\r', b'\n', ..] if at_line_start => return Scan::End,
            [b'.', ..] => at_line_start,
            _ => false,
        };
        Scan::Text { dot, octets: self.judge(&bytes[usize::from(dot)..], true) }
    }

    /// Judges a piece of a BDAT chunk of text.
    pub(crate) fn text(&mut self, bytes: &[u8]) {
        self.judge(bytes, false);
    }

    /// Counts a piece of a BDAT chunk in which anything goes.
    pub(crate) fn binary(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
    }

    /// The last chunk was judged: a CR at the very end is bare.
    pub(crate) fn ended(&mut self) {
        if self.after_cr {
            self.blame(BodyFault::BareCr);
        }
    }

    /// Notes that the message is lost, unless it was already.
    fn blame(&mut self, fault: BodyFault) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.fault_at = self.seen;
        }
    }

    /// Judges octets as the continuation of the message and says how many: all, or with `dots` those before a line that
    /// begins with a dot.
    fn judge(&mut self, bytes: &[u8], dots: bool) -> usize {
        if self.fault.is_some() {
            return self.pass(bytes, dots);
        }
        let before = self.clone();
        let octets = self.pass(bytes, dots);
        if self.fault.is_some() {
            // The pass looks for one kind of fault after the other. Octet by octet shows which came first, so that the peer
            // is told the same however its bytes were cut.
            let mut slowly = before;
            for at in 0..octets {
                slowly.pass(&bytes[at..=at], false);
                if slowly.fault.is_some() {
                    (self.fault, self.fault_at) = (slowly.fault, slowly.fault_at);
                    break;
                }
            }
        }
        octets
    }

    fn pass(&mut self, bytes: &[u8], dots: bool) -> usize {
        let mut start = 0;
        // CRs that are accounted for, in this piece.
        let mut paired = 0;
        let mut stop = bytes.len();
        let at_dot = |next: usize| dots && bytes.get(next) == Some(&b'.');
        let mut from = 0;
        if std::mem::take(&mut self.after_cr) && !bytes.is_empty() {
            if bytes[0] == b'\n' {
                self.end_line(0, 1);
                (start, from) = (1, 1);
                if at_dot(1) {
                    stop = 1;
                }
            } else {
                self.blame(BodyFault::BareCr);
                // The CR that was held back counts as one octet of its line.
                self.column += 1;
            }
        }
        for at in memchr_iter(b'\n', &bytes[from..stop]) {
            let at = from + at;
            if at > 0 && bytes[at - 1] == b'\r' {
                paired += 1;
                self.end_line(at - 1 - start, at + 1 - start);
                start = at + 1;
                if at_dot(start) {
                    stop = start;
                    break;
                }
            } else {
                self.blame(BodyFault::BareLf);
            }
        }
        let tail = &bytes[start..stop];
        let held = tail.last() == Some(&b'\r');
        self.after_cr = held;
        self.column += tail.len() - usize::from(held);
        self.check_column();
        if let Some(seen) = &mut self.header {
            *seen += tail.len() as u64;
        }
        if memchr_iter(b'\r', &bytes[..stop]).count() != paired + usize::from(held) {
            self.blame(BodyFault::BareCr);
        }
        self.check_header();
        self.count(stop);
        stop
    }

    fn end_line(&mut self, more: usize, octets: usize) {
        self.column += more;
        self.check_column();
        if let Some(seen) = &mut self.header {
            *seen += octets as u64;
            if self.column == 0 {
                self.check_header();
                self.header = None;
            }
        }
        self.column = 0;
    }

    fn check_column(&mut self) {
        if self.column > self.line_limit {
            self.blame(BodyFault::LineTooLong);
        }
    }

    fn check_header(&mut self) {
        if self.header.is_some_and(|seen| seen > self.header_limit) {
            self.blame(BodyFault::HeaderTooBig);
        }
    }

    fn count(&mut self, octets: usize) {
        if self.seen.saturating_add(octets as u64) > self.size_limit && self.fault.is_none() {
            self.blame(BodyFault::TooBig);
            self.fault_at = self.size_limit;
        }
        self.seen = self.seen.saturating_add(octets as u64);
    }
}

/// How many octets of a buffer can be thrown away while looking for the CRLF that ends an overlong line, and whether it
/// is among them.
pub(crate) fn skip_line(bytes: &[u8]) -> (usize, bool) {
    let mut from = 0;
    while let Some(at) = memchr(b'\r', &bytes[from..]) {
        match bytes.get(from + at + 1) {
            Some(b'\n') => return (from + at + 2, true),
            Some(_) => from += at + 1,
            None => return (from + at, false),
        }
    }
    (bytes.len(), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;

    /// The message and the fault that a stream of pieces yields, and what is left behind the end.
    fn run(pieces: impl Iterator<Item = Vec<u8>>, options: &Options) -> (String, Option<BodyFault>, Option<String>) {
        let mut body = Body::new(options);
        let (mut buffer, mut message, mut end) = (Vec::new(), Vec::new(), None);
        for piece in pieces {
            buffer.extend(piece);
            while end.is_none() {
                match body.scan(&buffer) {
                    Scan::Partial => break,
                    Scan::End => end = Some(buffer.split_off(3)),
                    Scan::Text { dot, octets } => {
                        buffer.drain(..usize::from(dot));
                        message.extend(buffer.drain(..octets));
                    }
                }
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (text(message), body.fault(), end.map(text))
    }

    fn both(stream: &str, options: &Options) -> (String, Option<BodyFault>, bool) {
        let (message, fault, end) = run(std::iter::once(stream.as_bytes().to_vec()), options);
        let slowly = run(stream.bytes().map(|b| vec![b]), options);
        assert_eq!(
            (&slowly.0, slowly.1, slowly.2.is_some()),
            (&message, fault, end.is_some()),
            "{stream:?} byte by byte"
        );
        (message, fault, end.is_some())
    }

    fn judged(stream: &str) -> (String, Option<BodyFault>, bool) {
        both(stream, &Options::new(Dialect::Smtp, "mx.example.org"))
    }

    #[test]
    fn dots_are_unstuffed_and_only_crlf_dot_crlf_ends() {
        assert_eq!(judged("a\r\n..b\r\n.c\r\n.\r\n"), ("a\r\n.b\r\nc\r\n".to_owned(), None, true));
        assert_eq!(judged(".\r\n"), (String::new(), None, true));
        assert_eq!(judged("..\r\n...\r\n.\r\n"), (".\r\n..\r\n".to_owned(), None, true));
        assert_eq!(judged("a.\r\n"), ("a.\r\n".to_owned(), None, false));
    }

    #[test]
    fn false_ends_are_faults() {
        use BodyFault::{BareCr, BareLf};
        for (stream, fault) in [
            ("a\n.\r\n", BareLf),
            ("a\n.\n", BareLf),
            ("a\r\n.\n", BareLf),
            ("a\r.\r", BareCr),
            ("a\r\n.\rb", BareCr),
            ("a\r.\r\n", BareCr),
            ("a\r\r\nb", BareCr),
            ("\n", BareLf),
            ("\rx", BareCr),
        ] {
            let (_, found, end) = judged(stream);
            assert_eq!((found, end), (Some(fault), false), "{stream:?}");
            let (_, found, end) = judged(&format!("{stream}z\r\n.\r\n"));
            assert_eq!((found, end), (Some(fault), true), "{stream:?} and a true end");
        }
        // CR CR LF is a bare CR and then a line end: the dot behind it is the true end.
        assert!(judged("a\r\r\n.\r\n").2);
    }

    #[test]
    fn lengths_are_judged_alike_in_any_cut() {
        let mut options = Options::new(Dialect::Smtp, "mx.example.org");
        let line = |n: usize| format!("{}\r\n.\r\n", "x".repeat(n));
        assert_eq!(both(&line(998), &options).1, None);
        assert_eq!(both(&line(999), &options).1, Some(BodyFault::LineTooLong));
        options.limits.text_line = None;
        assert_eq!(both(&line(5000), &options).1, None);
        options.max_size = 1002;
        assert_eq!(both(&line(1000), &options).1, None);
        assert_eq!(both(&line(1001), &options).1, Some(BodyFault::TooBig));
        options.limits.header_bytes = 8;
        assert_eq!(both("A: 1\r\n\r\nlong body\r\n.\r\n", &options).1, None);
        assert_eq!(both("A: 12\r\n\r\nlong body\r\n.\r\n", &options).1, Some(BodyFault::HeaderTooBig));
        assert_eq!(both("A: 123456\r\n.\r\n", &options).1, Some(BodyFault::HeaderTooBig));
    }

    #[test]
    fn plain_text_is_one_piece() {
        let text = "a line of text\r\n".repeat(640);
        let mut body = Body::new(&Options::new(Dialect::Smtp, "mx.example.org"));
        assert_eq!(body.scan(text.as_bytes()), Scan::Text { dot: false, octets: text.len() });
    }

    #[test]
    fn overlong_lines_are_skipped_to_crlf() {
        assert_eq!(skip_line(b"xxxx\nyy\r\nNOOP"), (9, true));
        assert_eq!(skip_line(b"xxxx\r"), (4, false));
        assert_eq!(skip_line(b"\rx\r\r\n"), (5, true));
        assert_eq!(skip_line(b"xxxx"), (4, false));
    }
}
