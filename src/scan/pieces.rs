//! A message in pieces, as people will see them: each part without its transfer encoding.

use bytes::Bytes;
use posthorn_mime::{Encoding, Part, Structure, count_headers, header_text};

/// The parts of a message about which there is no doubt.
pub(crate) struct Pieces<'o> {
    octets: &'o Bytes,
    structure: Structure,
}

/// A larger message is not taken apart: its parts would be in memory a second time.
const LARGEST: usize = 4 << 20;
/// More parts than that are no letter.
const MOST: usize = 32;
/// Octets before the first part of a multipart, or behind the last: a line for programs that know no MIME.
const ASIDE: usize = 256;

impl Pieces<'_> {
    /// Takes a message apart. `None` where another reader could find other parts than we do, or something beside them:
    /// then it has to be looked at as it is.
    pub(crate) fn of(octets: &Bytes) -> Option<Pieces<'_>> {
        if octets.len() > LARGEST {
            return None;
        }
        let structure = Structure::of(octets);
        let known = structure.parts().count() <= MOST && structure.parts().all(|part| is_plain(part, octets));
        known.then_some(Pieces { octets, structure })
    }

    /// What is in each part that has something in it. One at a time is decoded.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Bytes> {
        self.structure.parts().filter(Part::is_leaf).filter_map(|part| {
            let piece = match part.decoded(self.octets)? {
                std::borrow::Cow::Borrowed(_) => self.octets.slice(part.body_range()),
                std::borrow::Cow::Owned(decoded) => Bytes::from(decoded),
            };
            (!piece.trim_ascii().is_empty()).then_some(piece)
        })
    }
}

/// Whether everybody reads this part as we do.
fn is_plain(part: Part<'_>, octets: &[u8]) -> bool {
    let header = &octets[part.header_range()];
    let says_one_thing =
        ["content-type", "content-transfer-encoding"].into_iter().all(|name| count_headers(header, name) <= 1);
    says_one_thing
        && match part.media_type() {
            "multipart" => part.is_multipart() && !is_encoded(part) && is_all_parts(part, octets),
            // A piece of a message, or one that is elsewhere.
            "message" if matches!(part.media_subtype(), "partial" | "external-body") => false,
            _ if !part.is_leaf() => !is_encoded(part),
            _ => !claims_parts(header) && is_soundly_encoded(part, octets),
        }
}

fn is_encoded(part: Part<'_>) -> bool {
    !matches!(part.encoding(), Encoding::SevenBit | Encoding::EightBit | Encoding::Binary)
}

/// Whether a header says that there are parts.
fn claims_parts(header: &[u8]) -> bool {
    let multipart = |text: &str| text.trim_start().get(..9).is_some_and(|word| word.eq_ignore_ascii_case("multipart"));
    header_text(header, "content-type").any(|text| multipart(&text))
}

/// Whether a multipart has nothing in it beside its parts.
fn is_all_parts(part: Part<'_>, octets: &[u8]) -> bool {
    let body = part.body_range();
    let (Some(first), Some(last)) = (part.children().next(), part.children().last()) else { return false };
    let (before, behind) = (body.start..first.header_range().start, last.body_range().end..body.end);
    [before, behind].into_iter().all(|range| octets.get(range).is_some_and(|beside| beside.len() <= ASIDE))
}

/// Whether decoding the part leaves out nothing, and what it gives is not encoded once more in a way of its own.
fn is_soundly_encoded(part: Part<'_>, octets: &[u8]) -> bool {
    let body = &octets[part.body_range()];
    match part.encoding() {
        Encoding::Other => false,
        Encoding::Base64 => {
            let text = body.trim_ascii_end();
            let data = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
            data.iter().all(|octet| octet.is_ascii_alphanumeric() || b"+/\r\n".contains(octet))
        }
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary | Encoding::QuotedPrintable => {
            const INNER: [&[u8]; 3] = [b"\nbegin ", b"\n=ybegin ", b"(This file must be converted with BinHex"];
            let begins = INNER.iter().any(|inner| body.starts_with(inner.strip_prefix(b"\n").unwrap_or(inner)));
            !begins && !INNER.iter().any(|inner| memchr::memmem::find(body, inner).is_some())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Option<Vec<String>> {
        let octets = Bytes::from(text.to_owned());
        let pieces = Pieces::of(&octets)?;
        Some(pieces.iter().map(|piece| String::from_utf8_lossy(&piece).into_owned()).collect())
    }

    fn multipart(parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
        format!("Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nFor old programs.\r\n{parts}--b--\r\n")
    }

    const PICTURE: &str = "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=";

    #[test]
    fn letters_come_in_decoded_parts() {
        assert_eq!(pieces("Subject: x\r\n\r\nbody\r\n").expect("plain"), ["body\r\n"]);
        let text = "\r\ntext";
        let quoted = "Content-Transfer-Encoding: quoted-printable\r\n\r\n=41=42";
        let inner = format!(
            "Content-Type: message/rfc822\r\n\r\n{}",
            multipart(&[PICTURE]).replace("--b", "--c").replace("=b", "=c")
        );
        let whole = multipart(&[text, PICTURE, quoted, "\r\n", &inner]);
        assert_eq!(pieces(&whole).expect("sound"), ["text", "hello", "AB", "hello"]);
        assert_eq!(pieces("Subject: x\r\n\r\n").expect("empty"), [""; 0]);
    }

    #[test]
    fn where_there_is_doubt_the_whole_is_shown() {
        let encoded = |how: &str, text: &str| multipart(&[&format!("Content-Transfer-Encoding: {how}\r\n\r\n{text}")]);
        for (why, text) in [
            ("an encoding of its own", encoded("x-secret", "abc")),
            ("what base64 has not", encoded("base64", "aGVs*bG8=")),
            ("more behind the end", encoded("base64", "aGVsbG8=\r\naGVsbG8=")),
            ("uuencoded", multipart(&["\r\ntext\r\nbegin 644 a.exe\r\n#0V%T\r\n`\r\nend"])),
            ("uuencoded at once", "Subject: x\r\n\r\nbegin 644 a.exe\r\n#0V%T\r\n`\r\nend\r\n".to_owned()),
            ("yEnc", encoded("8bit", "x\r\n=ybegin line=128 size=3 name=a.exe\r\nabc\r\n=yend size=3")),
            ("two types", multipart(&["Content-Type: text/plain\r\nContent-Type: image/png\r\n\r\nx"])),
            (
                "two encodings",
                multipart(&["Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\nx"]),
            ),
            ("a piece", "Content-Type: message/partial; id=x; number=1\r\n\r\nabc\r\n".to_owned()),
            ("no parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\nabc\r\n".to_owned()),
            ("encoded parts", multipart(&["\r\nx"]).replace("Subject: x", "Content-Transfer-Encoding: base64")),
            ("no boundary", "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nabc\r\n--b--\r\n".to_owned()),
            ("much before", multipart(&["\r\nx"]).replace("For old programs.", &"x".repeat(300))),
            ("much behind", format!("{}{}", multipart(&["\r\nx"]), "x".repeat(300))),
            ("many parts", multipart(&["\r\nx"; 40])),
            ("large", format!("Subject: x\r\n\r\n{}", "x".repeat(LARGEST))),
        ] {
            assert_eq!(pieces(&text), None, "{why}");
        }
    }
}
