//! Messages made seven bits wide, for hosts that take nothing else (RFC 6152 §3, RFC 3030 §3).

mod header;
mod quoted;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use self::header::{Change, write_header};
use self::quoted::quoted_printable;
use crate::{Encoding, Part, Structure, transfer};

/// The longest line without its end (RFC 5321 §4.5.3.1.6).
pub(crate) const LINE: usize = 998;

/// Boundaries beyond this are left alone; RFC 2046 §5.1.1 allows 70 octets.
const BOUNDARY: usize = 900;

/// Why a message cannot be made seven bits wide.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unconvertible {
    /// A boundary is not ASCII, or longer than a line.
    #[error("a boundary between its parts has more than ASCII")]
    Boundary,
    /// A part that must not be encoded (RFC 2045 §6.4) is not looked into, or cannot be.
    #[error("a part that must not be encoded has more than ASCII")]
    Composite,
    /// A part has more than ASCII under an encoding that is not known.
    #[error("a part in an unknown encoding has more than ASCII")]
    Encoding,
    /// What came out would not be the same message.
    #[error("its parts cannot be told apart")]
    Structure,
}

/// The message in lines of at most 998 octets of ASCII, each ended by CRLF. Every leaf that needs it is encoded, as
/// quoted-printable where most of it can be read so and as base64 else; boundaries stay, and no part says any more that it is
/// `8bit` or `binary`. Header fields become encoded words. Whoever decodes the leaves finds the same octets. The result
/// has at most four times the octets of `raw` and a line for each part.
///
/// A message that is seven bits wide, and says so, comes out as it is.
///
/// # Errors
/// [`Unconvertible`] when some part cannot be encoded.
pub fn seven_bit(raw: &[u8]) -> Result<Vec<u8>, Unconvertible> {
    let structure = Structure::of(raw);
    let mut out = Writer { raw, out: Vec::with_capacity(raw.len() + raw.len() / 8) };
    out.part(structure.root(), true)?;
    let Writer { out, .. } = out;
    let again = Structure::of(&out);
    if !is_seven_bit(&out)
        || !structure.parts().map(|part| gist(part, raw)).eq(again.parts().map(|part| gist(part, &out)))
    {
        return Err(Unconvertible::Structure);
    }
    Ok(out)
}

/// Whether these are lines of ASCII that any host takes: without NUL, CR and LF only together, at most 998 octets each.
#[must_use]
pub fn is_seven_bit(octets: &[u8]) -> bool {
    if !octets.is_ascii() || memchr::memchr(0, octets).is_some() {
        return false;
    }
    let mut start = 0;
    for at in memchr::memchr2_iter(b'\r', b'\n', octets) {
        if octets[at] == b'\n' {
            if at == 0 || octets[at - 1] != b'\r' || at - 1 - start > LINE {
                return false;
            }
            start = at + 1;
        } else if octets.get(at + 1) != Some(&b'\n') {
            return false;
        }
    }
    octets.len() - start <= LINE
}

/// What a part is, and how much is in it: where parts end in other places, it differs.
fn gist<'p>(part: Part<'p>, raw: &[u8]) -> (&'p str, &'p str, Option<usize>) {
    let body = raw.get(part.body_range()).filter(|_| part.is_leaf());
    let size = body.and_then(|body| transfer::size(part.encoding(), body));
    (part.media_type(), part.media_subtype(), size)
}

struct Writer<'r> {
    raw: &'r [u8],
    out: Vec<u8>,
}

impl Writer<'_> {
    /// A part with all that lies in it; `message` says that its header is that of a message.
    fn part(&mut self, part: Part<'_>, message: bool) -> Result<(), Unconvertible> {
        let header = &self.raw[part.header_range()];
        let inside: Vec<Part<'_>> = part.children().chain(part.message()).collect();
        if inside.is_empty() {
            return self.leaf(part, message);
        }
        if part.parameter("boundary").is_some_and(|boundary| !boundary.is_ascii() || boundary.len() > BOUNDARY) {
            return Err(Unconvertible::Boundary);
        }
        let wide = matches!(part.encoding(), Encoding::EightBit | Encoding::Binary);
        write_header(header, wide.then_some(Change { encoding: "7bit", message, charset: None }), &mut self.out);
        let body = part.body_range();
        let is_message = part.message().is_some();
        let mut at = body.start;
        for inner in inside {
            let start = inner.header_range().start;
            self.between(at..start);
            self.part(inner, is_message)?;
            at = inner.body_range().end;
        }
        self.between(at..body.end);
        Ok(())
    }

    /// What stands before, between and behind parts: delimiters, and text that nobody reads (RFC 2046 §5.1.1).
    fn between(&mut self, range: std::ops::Range<usize>) {
        let Some(text) = self.raw.get(range) else { return };
        if is_seven_bit(text) {
            self.out.extend_from_slice(text);
            return;
        }
        for line in text.split_inclusive(|&b| b == b'\n') {
            let content = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
            for (number, piece) in content.chunks(BOUNDARY + 10).enumerate() {
                if number > 0 {
                    // With the space it cannot become a delimiter.
                    self.out.extend_from_slice(b"\r\n ");
                }
                let plain = |b: &u8| if b.is_ascii() && !matches!(b, 0 | b'\r') { *b } else { b'?' };
                self.out.extend(piece.iter().map(plain));
            }
            if line.ends_with(b"\n") {
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn leaf(&mut self, part: Part<'_>, message: bool) -> Result<(), Unconvertible> {
        let header = &self.raw[part.header_range()];
        let body = &self.raw[part.body_range()];
        // Behind the last part, the line end that SMTP wants must not become its own.
        let whole = part.body_range().end == self.raw.len();
        let mut put = |encoding: &'static str, charset| {
            write_header(header, Some(Change { encoding, message, charset }), &mut self.out);
        };
        let encoding = part.encoding();
        if is_seven_bit(body) {
            match encoding {
                Encoding::EightBit | Encoding::Binary => put("7bit", None),
                _ => write_header(header, None, &mut self.out),
            }
            self.out.extend_from_slice(body);
            return Ok(());
        }
        let content = match encoding {
            Encoding::Other => return Err(Unconvertible::Encoding),
            known => transfer::decode(known, body).ok_or(Unconvertible::Encoding)?,
        };
        if is_opaque(part) {
            return Err(Unconvertible::Composite);
        }
        let charset = (!content.is_ascii()).then(|| if str::from_utf8(&content).is_ok() { "utf-8" } else { UNKNOWN });
        if part.media_type() == "text" && is_mostly_plain(&content) {
            put("quoted-printable", charset);
            quoted_printable(&content, &mut self.out);
            if whole && !content.ends_with(b"\r\n") {
                self.out.extend_from_slice(b"=\r\n");
            }
        } else {
            put("base64", charset);
            for line in content.chunks(57) {
                if !self.out.ends_with(b"\n") {
                    self.out.extend_from_slice(b"\r\n");
                }
                self.out.extend_from_slice(BASE64.encode(line).as_bytes());
            }
            if whole {
                self.out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }
}

/// RFC 1428 §3: a charset that nobody named.
const UNKNOWN: &str = "unknown-8bit";

/// RFC 2045 §6.4, RFC 2046 §5.2: what holds messages or parts must not be encoded.
fn is_opaque(part: Part<'_>) -> bool {
    match part.media_type() {
        "multipart" => true,
        "message" => matches!(part.media_subtype(), "rfc822" | "partial" | "external-body" | "news" | "http"),
        _ => false,
    }
}

/// Whether quoted-printable is shorter than base64, or nearly.
fn is_mostly_plain(content: &[u8]) -> bool {
    let odd = content.iter().filter(|b| !b.is_ascii() || **b == 0).count();
    odd * 4 <= content.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{decoded, header_text};

    fn converted(raw: &[u8]) -> String {
        let out = seven_bit(raw).expect("converted");
        same(raw, &out);
        String::from_utf8(out).expect("ASCII")
    }

    /// The leaves of both, decoded, are the same.
    fn same(raw: &[u8], out: &[u8]) {
        assert!(is_seven_bit(out), "{}", String::from_utf8_lossy(out));
        let (before, after) = (Structure::of(raw), Structure::of(out));
        assert_eq!(before.parts().count(), after.parts().count(), "{}", String::from_utf8_lossy(out));
        for (one, other) in before.parts().zip(after.parts()) {
            assert!(!matches!(other.encoding(), Encoding::EightBit | Encoding::Binary));
            assert_eq!((one.media_type(), one.media_subtype()), (other.media_type(), other.media_subtype()));
            if one.is_leaf() {
                let content = |part: Part<'_>, raw: &[u8]| {
                    transfer::decode(part.encoding(), &raw[part.body_range()]).map(std::borrow::Cow::into_owned)
                };
                assert_eq!(content(one, raw), content(other, out), "{}", String::from_utf8_lossy(out));
            }
        }
    }

    #[test]
    fn plain_text_becomes_quoted_printable() {
        let raw = "From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: 8bit\r\n\r\nGrüße aus Köln, a=b. \r\n.\r\n";
        let expected = "From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe aus K=C3=B6ln, a=3Db.=20\r\n.\r\n";
        assert_eq!(converted(raw.as_bytes()), expected);
    }

    #[test]
    fn what_says_nothing_is_described() {
        let text = converted("Subject: x\r\n\r\nschön\r\n".as_bytes());
        assert_eq!(
            text,
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\nsch=C3=B6n\r\n"
        );
        assert!(converted(b"Subject: x\r\n\r\nsch\xf6n, schon\r\n").contains("charset=unknown-8bit\r\n"));
    }

    #[test]
    fn what_is_narrow_stays_as_it_is() {
        for raw in
            ["", "A: b\r\n\r\nx\r\n", "no header at all", "A: b\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==\r\n"]
        {
            assert_eq!(converted(raw.as_bytes()), raw);
        }
        let said = "A: b\r\nContent-transfer-encoding: 8BIT\r\n\r\nx\r\n";
        assert_eq!(converted(said.as_bytes()), "A: b\r\nContent-Transfer-Encoding: 7bit\r\n\r\nx\r\n");
    }

    #[test]
    fn parts_are_encoded_one_by_one() {
        let raw = b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
            pr\xe9amble\r\n--b\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
            <p>caf\xe9 caf\xe9 caf\xe9\r\n--b\r\n\r\nplain\r\n--b\r\nContent-Type: image/png\r\n\
            Content-Transfer-Encoding: binary\r\n\r\n\0\x01\xff\r\r\n--b\r\nContent-Type: message/rfc822\r\n\
            Content-Transfer-Encoding: 8bit\r\n\r\nSubject: gr\xc3\xbcn\r\n\r\nt\xc3\xb6ne, lang und laut\r\n--b--\r\n\xe9pilogue\r\n";
        let text = converted(raw);
        let parts = [
            "boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\npr?amble\r\n--b\r\n",
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>caf=E9 caf=E9 caf=E9\r\n--b\r\n\r\nplain\r\n--b\r\n",
            "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAH/DQ==\r\n--b\r\n",
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: =?utf-8?B?Z3LDvG4=?=\r\n",
            "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nt=C3=B6ne, lang und laut\r\n--b--\r\n?pilogue\r\n",
        ];
        for part in parts {
            assert!(text.contains(part), "{part}\n\n{text}");
        }
    }

    #[test]
    fn binary_lines_and_ends_survive() {
        let raw = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\rc \r\nend";
        let text = converted(raw);
        assert!(text.ends_with("\r\n\r\na=0Ab=0Dc=20\r\nend=\r\n"), "{text}");
        let long = format!("Subject: x\r\n\r\n{}\r\n", "y".repeat(2000));
        assert!(converted(long.as_bytes()).contains("quoted-printable"));
        let chinese = format!("A: b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}\r\n", "漢字".repeat(400));
        assert!(converted(chinese.as_bytes()).contains("base64"));
        let odd = format!("A: b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nfür=3D{}\r\n", "z".repeat(1200));
        assert!(converted(odd.as_bytes()).contains("f=C3=BCr=3Dzz"));
    }

    #[test]
    fn what_must_not_be_encoded_is_told() {
        let of = |fields: &str| seven_bit(format!("{fields}\r\n\r\nä\r\n").as_bytes());
        assert_eq!(of("Content-Transfer-Encoding: x-uuencode"), Err(Unconvertible::Encoding));
        assert_eq!(of("Content-Type: message/partial; id=x"), Err(Unconvertible::Composite));
        let boundary = "Content-Type: multipart/mixed; boundary=\"ü\"\r\n\r\n--ü\r\n\r\nx\r\n--ü--\r\n";
        assert_eq!(seven_bit(boundary.as_bytes()), Err(Unconvertible::Boundary));
    }

    #[test]
    fn fields_become_encoded_words() {
        let raw = "From: \"Jörg Grün\" <j@example.org>, Ann (die Älteste) <a@example.org>\r\n\
            Subject: ein Käse, zwei Käse und Brot\r\nContent-Type: text/plain; charset=utf-8; name=\"Bücher.txt\"\r\n\r\nx\r\n";
        let text = converted(raw.as_bytes());
        assert_eq!(header_text(text.as_bytes(), "Subject").next().as_deref(), Some("ein Käse, zwei Käse und Brot"));
        let from = header_text(text.as_bytes(), "From").next().expect("there");
        assert_eq!(from, "Jörg Grün <j@example.org>, Ann (die Älteste) <a@example.org>");
        assert_eq!(Structure::of(text.as_bytes()).root().file_name().as_deref(), Some("Bücher.txt"));
        assert!(text.ends_with("\r\n\r\nx\r\n"));
    }

    #[test]
    fn sizes_stay_in_bounds() {
        let raw = [&b"A: b\r\nContent-Type: text/plain\r\n\r\n"[..], &b"a\xff\r\n ".repeat(100_000)].concat();
        let out = seven_bit(&raw).expect("converted");
        assert!(out.len() < raw.len() * 4);
        same(&raw, &out);
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "[ -~]{0,200}".prop_map(String::into_bytes),
            "\\PC{0,40}".prop_map(String::into_bytes),
            Just(b"--b".to_vec()),
            Just(b"--b--".to_vec()),
            Just(b"--c".to_vec()),
            Just(b"".to_vec()),
            Just(b"Content-Type: multipart/mixed; boundary=b".to_vec()),
            Just(b"Content-Type: multipart/digest; boundary=\"c\"".to_vec()),
            Just(b"Content-Type: message/rfc822".to_vec()),
            Just(b"Content-Type: image/png; name=\xfc".to_vec()),
            Just("Subject: grün ist schön".as_bytes().to_vec()),
            Just(b"Content-Transfer-Encoding: 8bit".to_vec()),
            Just(b"Content-Transfer-Encoding: base64".to_vec()),
            Just(b"Content-Transfer-Encoding: quoted-printable".to_vec()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

        #[test]
        fn leaves_decode_to_the_same(lines in proptest::collection::vec(line(), 0..40), end in any::<bool>()) {
            let mut raw = lines.join(&b"\r\n"[..]);
            if end {
                raw.extend_from_slice(b"\r\n");
            }
            if let Ok(out) = seven_bit(&raw) {
                same(&raw, &out);
                let twice = seven_bit(&out);
                prop_assert_eq!(twice.as_ref(), Ok(&out), "twice is once");
            }
        }

        #[test]
        fn any_text_of_a_simple_message_is_converted(body in proptest::collection::vec(any::<u8>(), 0..600)) {
            let raw = [&b"A: b\r\nContent-Type: text/plain\r\n\r\n"[..], &body].concat();
            let out = seven_bit(&raw).expect("converted");
            same(&raw, &out);
            let back = decoded(&Structure::of(&out), &out, &[1]).expect("known").into_owned();
            let ended = [&body[..], b"\r\n"].concat();
            prop_assert!(back == body || back == ended);
        }

        #[test]
        fn any_field_is_converted(name in "[A-Za-z-]{1,20}", value in "[ -~]{0,30}\\PC{0,300}[ -~\\t]{0,300}") {
            let raw = format!("X: y\r\n{name}: {value}\r\n\r\nbody\r\n");
            if let Ok(out) = seven_bit(raw.as_bytes()) {
                prop_assert!(is_seven_bit(&out));
                let after = crate::fields(&out).count();
                prop_assert_eq!(crate::fields(raw.as_bytes()).count(), after);
            }
        }
    }
}
