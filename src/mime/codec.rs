//! The compact bytes form of a [`Structure`] that the store keeps.
//!
//! A version octet, then the parts in the order of the message. Of each part: the media code, an octet of
//! [`Encoding`] and marks, where marked the attributes, the gap between the end of what comes before and the
//! header, the lengths of header and body, where marked the lines, and where marked the number of parts directly
//! inside, which follow. Numbers are little-endian base 128.

use crate::attributes::Attributes;
use crate::structure::Node;
use crate::{Encoding, MAX_DEPTH, MAX_PARTS, Structure};

/// Why stored bytes are not a structure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// The leading byte names a version that this program does not know.
    #[error("structure bytes of unknown version {0}")]
    Version(u8),
    /// The bytes end early, run on, or contradict themselves.
    #[error("malformed structure bytes")]
    Malformed,
}

const VERSION: u8 = 1;

const ENCODING: u8 = 0b0000_0111;
const HAS_ATTRIBUTES: u8 = 0b0000_1000;
const HAS_LINES: u8 = 0b0001_0000;
const HAS_PARTS: u8 = 0b0010_0000;

/// Stored codes count on the order: append only.
const ENCODINGS: [Encoding; 6] = [
    Encoding::SevenBit,
    Encoding::EightBit,
    Encoding::Binary,
    Encoding::Base64,
    Encoding::QuotedPrintable,
    Encoding::Other,
];

pub(crate) fn encode(structure: &Structure) -> Vec<u8> {
    let nodes = &structure.nodes;
    let mut out = Vec::with_capacity(nodes.len() * 12 + structure.attributes.len() + 1);
    out.push(VERSION);
    // Where each open part ends in the list, and where the bytes of the next part are expected.
    let mut expected = 0;
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        while let Some(&(next, end)) = open.last() {
            if at < next {
                break;
            }
            expected = end;
            open.pop();
        }
        let attributes = structure.attributes.get(node.attributes.clone()).unwrap_or_default();
        let parts = parts_inside(nodes, at);
        let code = ENCODINGS.iter().position(|known| *known == node.encoding).unwrap_or(0);
        let mut marks = u8::try_from(code).unwrap_or(0);
        marks |= if attributes.is_empty() { 0 } else { HAS_ATTRIBUTES };
        marks |= if node.lines.is_some() { HAS_LINES } else { 0 };
        marks |= if parts > 0 { HAS_PARTS } else { 0 };
        put_varint(&mut out, usize::from(node.media));
        out.push(marks);
        if !attributes.is_empty() {
            put_varint(&mut out, attributes.len());
            out.extend_from_slice(attributes);
        }
        put_varint(&mut out, node.header.saturating_sub(expected));
        put_varint(&mut out, node.body.saturating_sub(node.header));
        put_varint(&mut out, node.end.saturating_sub(node.body));
        if let Some(lines) = node.lines {
            put_varint(&mut out, lines);
        }
        if parts > 0 {
            put_varint(&mut out, parts);
            open.push((node.next, node.end));
            expected = node.body;
        } else {
            expected = node.end;
        }
    }
    out
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Structure, CodecError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => decode_parts(rest).ok_or(CodecError::Malformed),
        Some((&other, _)) => Err(CodecError::Version(other)),
        None => Err(CodecError::Malformed),
    }
}

fn decode_parts(mut rest: &[u8]) -> Option<Structure> {
    let mut structure = Structure { nodes: Vec::new(), attributes: Vec::new() };
    // The open parts, and how many parts directly inside are still to come.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut expected = 0;
    loop {
        let at = structure.nodes.len();
        if at >= MAX_PARTS || open.len() > MAX_DEPTH {
            return None;
        }
        let (mut node, parts) = decode_part(&mut rest, expected, &mut structure.attributes)?;
        node.next = at + 1;
        if let Some(&(parent, _)) = open.last() {
            let parent = &structure.nodes[parent];
            if node.header < parent.body || node.end > parent.end {
                return None;
            }
        }
        expected = if parts > 0 { node.body } else { node.end };
        structure.nodes.push(node);
        if parts > 0 {
            open.push((at, parts));
            continue;
        }
        loop {
            let Some((parent, left)) = open.pop() else {
                return rest.is_empty().then_some(structure);
            };
            if left > 1 {
                open.push((parent, left - 1));
                break;
            }
            structure.nodes[parent].next = at + 1;
            expected = structure.nodes[parent].end;
        }
    }
}

/// One part, and how many parts are directly inside it.
fn decode_part(rest: &mut &[u8], expected: usize, all: &mut Vec<u8>) -> Option<(Node, usize)> {
    let media = u16::try_from(take_varint(rest)?).ok()?;
    let (&marks, tail) = rest.split_first()?;
    *rest = tail;
    let encoding = *ENCODINGS.get(usize::from(marks & ENCODING))?;
    let attributes_start = all.len();
    if marks & HAS_ATTRIBUTES != 0 {
        let len = take_varint(rest)?;
        let (attributes, tail) = rest.split_at_checked(len)?;
        if !Attributes::new(attributes).are_sound() {
            return None;
        }
        all.extend_from_slice(attributes);
        *rest = tail;
    }
    let header = expected.checked_add(take_varint(rest)?)?;
    let body = header.checked_add(take_varint(rest)?)?;
    let end = body.checked_add(take_varint(rest)?)?;
    let lines = if marks & HAS_LINES != 0 { Some(take_varint(rest)?) } else { None };
    let parts = if marks & HAS_PARTS != 0 { take_varint(rest)? } else { 0 };
    let attributes = attributes_start..all.len();
    // Whoever knows the place in the list fills in what comes next.
    Some((Node { media, encoding, header, body, end, lines, next: 0, attributes }, parts))
}

fn parts_inside(nodes: &[Node], at: usize) -> usize {
    let end = nodes[at].next;
    let mut count = 0;
    let mut inside = at + 1;
    while inside < end {
        count += 1;
        inside = nodes[inside].next;
    }
    count
}

/// Appends a number, seven bits an octet, lowest first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front of the bytes.
pub(crate) fn take_varint(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0_u64;
    for (place, &b) in rest.iter().take(9).enumerate() {
        number |= u64::from(b & 0x7f) << (7 * place);
        if b & 0x80 == 0 {
            *rest = &rest[place + 1..];
            return usize::try_from(number).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &[u8] = b"Content-Type: multipart/mixed; boundary=a\r\n\r\npre\r\n--a\r\n\r\none\r\n--a\r\n\
        Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/x-odd; boundary=b\r\n\r\n--b\r\n\r\ntwo\r\n--b\r\n\
        Content-Type: image/png; name=\"x y\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n--a\r\n\r\n\
        three\r\n--a--\r\npost";

    #[test]
    fn structures_come_back_as_they_went() {
        for raw in [NESTED, b"", b"A: b", b"\r\n\r\n", b"Content-Type: text/html; charset=utf-8\n\n<p>"] {
            let structure = Structure::of(raw);
            assert_eq!(Structure::from_bytes(&structure.to_bytes()), Ok(structure));
        }
    }

    #[test]
    fn a_simple_message_is_small() {
        let raw =
            [&b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"[..], &b"line\r\n".repeat(500)].concat();
        let bytes = Structure::of(&raw).to_bytes();
        assert!(bytes.len() <= 16, "{}", bytes.len());
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = Structure::of(NESTED).to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Structure::from_bytes(&bytes[..end]), Err(CodecError::Malformed), "{end}");
        }
        assert_eq!(Structure::from_bytes(&[&bytes[..], b"\0"].concat()), Err(CodecError::Malformed));
        assert_eq!(Structure::from_bytes(b"\x02abc"), Err(CodecError::Version(2)));
    }

    #[test]
    fn any_changed_octet_is_read_without_panic() {
        let bytes = Structure::of(NESTED).to_bytes();
        let mut sound = 0;
        for at in 1..bytes.len() {
            for value in [0, 1, 2, 0x7f, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                if let Ok(structure) = Structure::from_bytes(&bytes) {
                    sound += 1;
                    let rendered = structure.bodystructure(NESTED);
                    assert!(rendered.starts_with(b"(") && rendered.ends_with(b")"));
                }
            }
        }
        assert!(sound > 0);
    }

    #[test]
    fn numbers_of_every_size_return() {
        for number in [0, 1, 127, 128, 300, 1 << 32, usize::MAX >> 1] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            let mut rest = &bytes[..];
            assert_eq!((take_varint(&mut rest), rest.len()), (Some(number), 0));
        }
        assert_eq!(take_varint(&mut &[0x80; 12][..]), None);
    }
}
