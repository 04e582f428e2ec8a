//! Header blocks in ASCII: another encoding for the body, and encoded words (RFC 2047) for what is not ASCII.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{LINE, UNKNOWN, is_seven_bit};
use crate::content::Content;
use crate::field::{Field, fields, line_content};

/// What a header says anew.
#[derive(Clone, Copy)]
pub(super) struct Change {
    /// Content-Transfer-Encoding.
    pub(super) encoding: &'static str,
    /// Whether it is a message's header, which names MIME's version.
    pub(super) message: bool,
    /// What the text is in, where no Content-Type says so.
    pub(super) charset: Option<&'static str>,
}

/// Writes a header block, with its blank line where it has one.
pub(super) fn write_header(header: &[u8], change: Option<Change>, out: &mut Vec<u8>) {
    if change.is_none() && is_seven_bit(header) {
        out.extend_from_slice(header);
        return;
    }
    let mut change = change;
    let adds = change;
    let (mut typed, mut versioned) = (false, false);
    let mut length = 0;
    for field in fields(header) {
        length += field.raw.len();
        typed |= field.is("Content-Type");
        versioned |= field.is("MIME-Version");
        if adds.is_some() && field.is("Content-Transfer-Encoding") {
            if let Some(change) = change.take() {
                put(out, "Content-Transfer-Encoding", change.encoding);
            }
        } else {
            write_field(&field, out);
        }
    }
    if let Some(adds) = adds {
        // What names an encoding is read as MIME anyway.
        if adds.message && !versioned && change.is_some() {
            put(out, "MIME-Version", "1.0");
        }
        if let Some(charset) = adds.charset.filter(|_| !typed) {
            put(out, "Content-Type", &format!("text/plain; charset={charset}"));
        }
        if let Some(change) = change {
            put(out, "Content-Transfer-Encoding", change.encoding);
        }
    }
    if length < header.len() {
        out.extend_from_slice(b"\r\n");
    }
}

fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
}

fn write_field(field: &Field<'_>, out: &mut Vec<u8>) {
    if is_seven_bit(field.raw) {
        out.extend_from_slice(field.raw);
        return;
    }
    let value: Vec<u8> = field.unfolded().iter().map(|b| if matches!(b, 0 | b'\r') { b' ' } else { *b }).collect();
    if field.name.is_empty() {
        // No field at all: it stays one line that is none.
        let value = line_content(field.raw);
        let folds = |at: usize| value[at] == b'\n' || value[at..].starts_with(b"\r\n");
        let line: Vec<u8> = (0..value.len()).filter(|at| !folds(*at)).map(|at| value[at]).collect();
        plain(&line, out);
    } else {
        let mut line = Line { width: field.name.len() + 1, out, first: true };
        plain(field.name, line.out);
        line.out.push(b':');
        if PARAMETERS.iter().any(|name| field.is(name)) {
            line.parameters(&value);
        } else {
            let structured = ADDRESSES.iter().any(|name| field.is(name));
            tokens(&value, structured).iter().for_each(|token| line.token(token));
        }
    }
    if field.raw.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes what no field's value is: without what cannot be written.
fn plain(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().map(|b| if is_printed(*b) { *b } else { b'?' }));
}

fn is_printed(b: u8) -> bool {
    matches!(b, b' '..=b'~' | b'\t')
}

/// Fields of one word with parameters (RFC 2045 §5, §6, RFC 2183).
const PARAMETERS: [&str; 3] = ["Content-Type", "Content-Disposition", "Content-Transfer-Encoding"];

/// Fields in which quotation marks and angle brackets mean something (RFC 5322 §3.4).
const ADDRESSES: [&str; 12] = [
    "From",
    "To",
    "Cc",
    "Bcc",
    "Sender",
    "Reply-To",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "Resent-Sender",
    "Disposition-Notification-To",
    "Mail-Followup-To",
];

/// A piece of a field's value that is not broken.
#[derive(Debug, Default)]
struct Token {
    /// The white space before it.
    space: Vec<u8>,
    text: Vec<u8>,
    /// Whether it becomes encoded words.
    wide: bool,
}

/// Cuts an unfolded value into tokens. Wide ones that only white space parts are one, because the space between encoded
/// words is not shown (RFC 2047 §6.2).
fn tokens(value: &[u8], structured: bool) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = value;
    loop {
        let length = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let (space, tail) = rest.split_at(length);
        let Some(first) = tail.first() else { return tokens };
        let length = match first {
            b'"' if structured => quoted_length(tail),
            b if structured && SPECIALS.contains(b) => 1,
            _ => {
                let ends = |b: &u8| b.is_ascii_whitespace() || structured && (*b == b'"' || SPECIALS.contains(b));
                tail.iter().position(ends).unwrap_or(tail.len())
            }
        };
        let (text, tail) = tail.split_at(length);
        rest = tail;
        let mut token = Token { space: space.to_vec(), text: text.to_vec(), wide: !text.is_ascii() };
        if token.wide && structured && text.starts_with(b"\"") {
            token.text = unquoted(text);
        }
        match tokens.last_mut() {
            Some(last) if last.wide && token.wide => {
                last.text.append(&mut token.space);
                last.text.append(&mut token.text);
                continue;
            }
            // Encoded words stand apart (RFC 2047 §5).
            Some(last) if token.wide && token.space.is_empty() && last.text != b"(" => token.space.push(b' '),
            Some(last) if last.wide && token.space.is_empty() && !CLOSING.contains(&token.text[0]) => {
                token.space.push(b' ');
            }
            None if token.space.is_empty() => token.space.push(b' '),
            _ => {}
        }
        tokens.push(token);
    }
}

const SPECIALS: &[u8] = b"<>(),;:@";
const CLOSING: &[u8] = b">),;:@";

/// The length of the quoted string that the text begins with.
fn quoted_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, b) in text.iter().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn unquoted(text: &[u8]) -> Vec<u8> {
    let inside = &text[1..];
    let inside = inside.strip_suffix(b"\"").unwrap_or(inside);
    let mut out = Vec::with_capacity(inside.len());
    let mut escaped = false;
    for b in inside {
        escaped = *b == b'\\' && !escaped;
        if !escaped {
            out.push(*b);
        }
    }
    out
}

/// The line that is being written.
struct Line<'o> {
    out: &'o mut Vec<u8>,
    width: usize,
    first: bool,
}

impl Line<'_> {
    fn token(&mut self, token: &Token) {
        if !token.wide {
            return self.piece(&token.space, &token.text);
        }
        let text = str::from_utf8(&token.text).ok();
        let charset = if text.is_some() { "utf-8" } else { UNKNOWN };
        let mut rest = &token.text[..];
        let mut space = &token.space[..];
        while !rest.is_empty() {
            let done = token.text.len() - rest.len();
            let length = match text {
                Some(text) => text.floor_char_boundary(done + WORD) - done,
                None => rest.len().min(WORD),
            };
            let (word, more) = rest.split_at(length);
            let word = format!("=?{charset}?B?{}?=", BASE64.encode(word));
            self.piece(space, word.as_bytes());
            (rest, space) = (more, b" ");
        }
    }

    /// A piece behind its white space, on a new line where it does not fit.
    fn piece(&mut self, space: &[u8], text: &[u8]) {
        let width = self.width + space.len() + text.len();
        if !space.is_empty() && width > if self.first { LINE } else { WIDTH } {
            self.out.extend_from_slice(b"\r\n");
            self.width = 0;
        }
        self.first = false;
        self.out.extend_from_slice(space);
        self.out.extend_from_slice(text);
        self.width += space.len() + text.len();
    }

    /// A value with parameters; what is not ASCII in them is written as RFC 2231 §4 has it.
    fn parameters(&mut self, value: &[u8]) {
        let content = Content::parse(value);
        let mut main = Vec::with_capacity(content.main.len());
        plain(content.main, &mut main);
        self.piece(b" ", &main);
        for (name, value) in content.parameters() {
            if !name.iter().all(u8::is_ascii_graphic) {
                continue;
            }
            let extended = name.contains(&b'*');
            if value.is_ascii() || (extended && !name.ends_with(b"*")) {
                let quoted: Vec<u8> = value
                    .iter()
                    .flat_map(|b| match b {
                        b'"' | b'\\' => vec![b'\\', *b],
                        b if is_printed(*b) => vec![*b],
                        _ => vec![b'?'],
                    })
                    .collect();
                self.parameter(&[&name[..], b"=\"", &quoted, b"\""].concat());
            } else if extended {
                self.parameter(&[&name[..], b"=", &percent(&value, |b| b.is_ascii_graphic() && b != b';')].concat());
            } else {
                let charset = if str::from_utf8(&value).is_ok() { "utf-8" } else { UNKNOWN };
                let pieces: Vec<&[u8]> = value.chunks(PERCENT).collect();
                for (number, piece) in pieces.iter().enumerate() {
                    let place = if pieces.len() == 1 { "*".to_owned() } else { format!("*{number}*") };
                    let label = if number == 0 { format!("{charset}''") } else { String::new() };
                    let coded = percent(piece, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
                    self.parameter(&[&name[..], format!("{place}={label}").as_bytes(), &coded].concat());
                }
            }
        }
    }

    fn parameter(&mut self, text: &[u8]) {
        self.out.push(b';');
        self.width += 1;
        self.piece(b" ", text);
    }
}

fn percent(octets: &[u8], stays: impl Fn(u8) -> bool) -> Vec<u8> {
    let coded = |b: &u8| if stays(*b) { vec![*b] } else { format!("%{b:02X}").into_bytes() };
    octets.iter().flat_map(coded).collect()
}

/// Where lines are folded.
const WIDTH: usize = 76;
/// Octets of an encoded word, which has 75 characters at most (RFC 2047 §2).
const WORD: usize = 39;
/// Octets of a parameter's piece.
const PERCENT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(header: &str) -> String {
        let mut out = Vec::new();
        write_header(header.as_bytes(), None, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn structure_stays_where_fields_have_one() {
        let to = written("To: \"Gr\u{fc}n, J\u{f6}rg\" <j@x.org>,Ann<a@x.org>, \u{c4}nne B <b@x.org>\r\n");
        assert_eq!(
            to,
            "To: =?utf-8?B?R3LDvG4sIErDtnJn?= <j@x.org>,Ann<a@x.org>,\r\n =?utf-8?B?w4RubmU=?= B <b@x.org>\r\n"
        );
        assert_eq!(written("Cc: (\u{fc}) a@x.org\r\n"), "Cc: (=?utf-8?B?w7w=?=) a@x.org\r\n");
    }

    #[test]
    fn parameters_are_extended() {
        let text = written("Content-Disposition: attachment; size=3; filename=\"a \u{fc}.txt\"\r\n\r\n");
        let expected = "Content-Disposition: attachment; size=\"3\"; filename*=utf-8''a%20%C3%BC.txt\r\n\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn hostile_values_take_linear_time() {
        for piece in ["\u{fc}", "\u{fc} ", "\"\u{fc}", "(\u{fc}", "\u{fc},", ";a=\u{fc}", "\\\u{fc}"] {
            for name in ["Subject", "To", "Content-Type"] {
                let begun = std::time::Instant::now();
                assert!(written(&format!("{name}: {}\r\n", piece.repeat(200_000))).len() > 5, "{piece}");
                assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{name}: {piece}");
            }
        }
    }

    #[test]
    fn long_values_are_folded() {
        let text = written(&format!("Subject: {} {}\r\n", "\u{fc}".repeat(200), "word ".repeat(30)));
        assert!(text.split("\r\n").all(|line| line.len() <= WIDTH + 2), "{text}");
    }
}
