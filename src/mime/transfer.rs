//! Content transfer encodings (RFC 2045 §6) and IMAP BINARY (RFC 3516).

use std::borrow::Cow;

use crate::field::line_content;
use crate::{Encoding, Part, Structure};

/// Why a part cannot be decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The message has no such part.
    #[error("no such part")]
    NoSuchPart,
    /// The content transfer encoding is not known (UNKNOWN-CTE, RFC 9051 §7.1).
    #[error("unknown content transfer encoding")]
    UnknownEncoding,
}

/// The part's content without its transfer encoding (`BINARY[path]`); the empty path is the whole message as it is.
/// Damaged encodings are decoded as far as they make sense.
///
/// # Errors
/// [`DecodeError`], also when `raw` is not the whole message.
pub fn decoded<'r>(structure: &Structure, raw: &'r [u8], path: &[u32]) -> Result<Cow<'r, [u8]>, DecodeError> {
    let (encoding, body) = encoded(structure, raw, path)?;
    decode(encoding, body).ok_or(DecodeError::UnknownEncoding)
}

/// The octets that [`decoded`] gives (`BINARY.SIZE[path]`), without keeping them.
///
/// # Errors
/// [`DecodeError`], also when `raw` is not the whole message.
pub fn decoded_size(structure: &Structure, raw: &[u8], path: &[u32]) -> Result<usize, DecodeError> {
    let (encoding, body) = encoded(structure, raw, path)?;
    size(encoding, body).ok_or(DecodeError::UnknownEncoding)
}

/// The octets of a decoded body; `None` when the encoding is not known.
pub(crate) fn size(encoding: Encoding, body: &[u8]) -> Option<usize> {
    let mut size = 0;
    match encoding {
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => size = body.len(),
        Encoding::Base64 => base64(body, |chunk| size += chunk.len()),
        Encoding::QuotedPrintable => quoted_printable(body, |chunk| size += chunk.len()),
        Encoding::Other => return None,
    }
    Some(size)
}

/// Decodes a whole body; `None` when the encoding is not known.
pub(crate) fn decode(encoding: Encoding, body: &[u8]) -> Option<Cow<'_, [u8]>> {
    match encoding {
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => Some(Cow::Borrowed(body)),
        Encoding::Base64 => {
            let mut bytes = Vec::with_capacity(body.len() / 4 * 3);
            base64(body, |chunk| bytes.extend_from_slice(chunk));
            Some(Cow::Owned(bytes))
        }
        Encoding::QuotedPrintable => {
            let mut bytes = Vec::with_capacity(body.len());
            quoted_printable(body, |chunk| bytes.extend_from_slice(chunk));
            Some(Cow::Owned(bytes))
        }
        Encoding::Other => None,
    }
}

/// Decodes base64, skipping what is not of its alphabet (RFC 2045 §6.8); padding ends a group, not the text.
pub(crate) fn base64(text: &[u8], mut out: impl FnMut(&[u8])) {
    let mut rest = text;
    let (mut bits, mut count) = (0_u32, 0_u8);
    loop {
        if count == 0 {
            while let [a, b, c, d, tail @ ..] = rest {
                let [a, b, c, d] = [a, b, c, d].map(|&b| SEXTETS[usize::from(b)]);
                if (a | b | c | d) & FOREIGN != 0 {
                    break;
                }
                let group = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
                out(&group.to_be_bytes()[1..]);
                rest = tail;
            }
        }
        let Some((&b, tail)) = rest.split_first() else {
            break;
        };
        rest = tail;
        let sextet = SEXTETS[usize::from(b)];
        if sextet & FOREIGN == 0 {
            bits = bits << 6 | u32::from(sextet);
            count += 1;
            if count == 4 {
                out(&bits.to_be_bytes()[1..]);
                (bits, count) = (0, 0);
            }
        } else if b == b'=' {
            partial_group(bits, count, &mut out);
            (bits, count) = (0, 0);
        }
    }
    partial_group(bits, count, &mut out);
}

/// Decodes quoted-printable (RFC 2045 §6.7): soft line ends and white space before line ends go, stray `=` stay.
pub(crate) fn quoted_printable(text: &[u8], mut out: impl FnMut(&[u8])) {
    let mut rest = text;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, tail) = rest.split_at(end);
        rest = tail;
        let full = line_content(line);
        let line_end = &line[full.len()..];
        let content = full.trim_ascii_end();
        match content.strip_suffix(b"=") {
            Some(content) => quoted_line(content, &mut out),
            None => {
                quoted_line(content, &mut out);
                out(line_end);
            }
        }
    }
}

/// The octet that two hexadecimal digits in front of the bytes stand for.
pub(crate) fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match bytes {
        [high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

fn encoded<'r>(structure: &Structure, raw: &'r [u8], path: &[u32]) -> Result<(Encoding, &'r [u8]), DecodeError> {
    if path.is_empty() {
        return Ok((Encoding::Binary, raw));
    }
    let part = structure.part(path).ok_or(DecodeError::NoSuchPart)?;
    let body = raw.get(part.body_range()).ok_or(DecodeError::NoSuchPart)?;
    Ok((effective(part), body))
}

/// Composite parts cannot be encoded (RFC 2045 §6.4), whatever they say.
pub(crate) fn effective(part: Part<'_>) -> Encoding {
    if part.is_multipart() || part.message().is_some() { Encoding::Binary } else { part.encoding() }
}

fn partial_group(bits: u32, count: u8, out: &mut impl FnMut(&[u8])) {
    match count {
        2 => out(&(bits << 12).to_be_bytes()[1..2]),
        3 => out(&(bits << 6).to_be_bytes()[1..3]),
        _ => {}
    }
}

fn quoted_line(mut content: &[u8], out: &mut impl FnMut(&[u8])) {
    while let Some(at) = memchr::memchr(b'=', content) {
        match hex_pair(&content[at + 1..]) {
            Some(value) => {
                out(&content[..at]);
                out(&[value]);
                content = &content[at + 3..];
            }
            None => {
                out(&content[..=at]);
                content = &content[at + 1..];
            }
        }
    }
    out(content);
}

const FOREIGN: u8 = 0x80;

const SEXTETS: [u8; 256] = {
    let mut table = [FOREIGN; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < alphabet.len() {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(encoding: Encoding, text: &[u8]) -> Vec<u8> {
        decode(encoding, text).expect("known").into_owned()
    }

    #[test]
    fn base64_survives_line_ends_and_junk() {
        assert_eq!(plain(Encoding::Base64, b"aGVs\r\nbG8g\r\nd29y bGQ="), b"hello world");
        assert_eq!(plain(Encoding::Base64, b"aGk=\r\naGk="), b"hihi");
        assert_eq!(plain(Encoding::Base64, b"aGVsbG8"), b"hello");
        assert_eq!(plain(Encoding::Base64, b"aGV*sbG8h=A"), b"hello!");
        assert_eq!(plain(Encoding::Base64, b""), b"");
    }

    #[test]
    fn quoted_printable_keeps_hard_line_ends_only() {
        assert_eq!(plain(Encoding::QuotedPrintable, b"a=3D=\r\nb \t\r\nc=\nd"), b"a=b\r\ncd");
        assert_eq!(plain(Encoding::QuotedPrintable, b"=C3=a4 =zz = x=4"), b"\xc3\xa4 =zz = x=4");
        assert_eq!(plain(Encoding::QuotedPrintable, b"a= \r\nb=20\n"), b"ab \n");
    }

    #[test]
    fn binary_sections_are_decoded_and_measured() {
        let raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            aGVsbG8=\r\n--b\r\nContent-Transfer-Encoding: x-odd\r\n\r\nx\r\n--b\r\nContent-Transfer-Encoding: \
            quoted-printable\r\n\r\na=3D\r\n--b--\r\n";
        let structure = Structure::of(raw);
        assert_eq!(decoded(&structure, raw, &[1]).as_deref(), Ok(&b"hello"[..]));
        assert_eq!(decoded_size(&structure, raw, &[1]), Ok(5));
        assert_eq!(decoded(&structure, raw, &[2]), Err(DecodeError::UnknownEncoding));
        assert_eq!(decoded_size(&structure, raw, &[2]), Err(DecodeError::UnknownEncoding));
        assert_eq!(decoded(&structure, raw, &[3]).as_deref(), Ok(&b"a="[..]));
        assert_eq!(decoded_size(&structure, raw, &[3]), Ok(2));
        assert_eq!(decoded(&structure, raw, &[4]), Err(DecodeError::NoSuchPart));
        assert_eq!(decoded(&structure, raw, &[]).as_deref(), Ok(&raw[..]));
        assert_eq!(decoded(&structure, &raw[..60], &[1]), Err(DecodeError::NoSuchPart));
    }
}
