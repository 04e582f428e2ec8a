//! Messages put together at random from what is awkward: nothing panics, and what must hold does.

use std::ops::ControlFlow;

use crate::{
    Facts, SectionPart, Structure, body_text, decoded, decoded_size, envelope, fields, header_end, header_fault,
    header_fields, is_seven_bit, preview, section, seven_bit,
};

const PIECES: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b"\xff",
    b"\xc3\xa4",
    b" ",
    b"\t",
    b":",
    b"--",
    b"--a\r\n",
    b"--aa\r\n",
    b"--a--\r\n",
    b"--aa--\n",
    b"--a",
    b"\r\n--a\n",
    b"Content-Type: multipart/mixed; boundary=a\r\n",
    b"Content-Type: multipart/digest; boundary=\"aa\"\r\n\r\n",
    b"Content-Type: message/rfc822\r\n\r\n",
    b"Content-Type: message/global\n\n",
    b"Content-Type: text/html; charset=",
    b"utf-8",
    b"Content-Type:",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Disposition: attachment; filename*0*=x''%",
    b"Content-Language: ,a,,(",
    b"Subject: =?utf-8?Q?=C3?= =?utf-8?B?",
    b"From: \"a\\",
    b"To: x: <@a:b@c>, (",
    b"Date: 1 Jan 2020 00:00",
    b"References: <a> <",
    b"Message-ID: <a@b>\r\n",
    b"<a href='",
    b"<script>&amp;&#x",
    b">",
    b"=\r\n=3D=",
    b"QUJD=",
    b"?=;\"\\[](",
];

/// A small generator (xorshift), so that every run sees the same messages.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }

    fn message(&mut self) -> Vec<u8> {
        const FRONTS: [&[u8]; 3] = [
            b"",
            b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n",
            b"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/x; boundary=aa\n\n--aa\n",
        ];
        let mut raw = FRONTS[self.below(FRONTS.len())].to_vec();
        for _ in 0..self.below(40) {
            raw.extend_from_slice(PIECES[self.below(PIECES.len())]);
        }
        raw
    }
}

#[test]
fn awkward_messages_are_read_soundly() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut nested = 0;
    for _ in 0..20_000 {
        let raw = chance.message();
        let structure = Structure::of(&raw);
        check_structure(&structure, &raw);
        check_header(&structure, &raw);
        check_sections(&structure, &raw);
        if let Ok(narrow) = seven_bit(&raw) {
            assert!(is_seven_bit(&narrow), "{raw:?}");
            assert_eq!(seven_bit(&narrow).as_ref(), Ok(&narrow), "{raw:?}");
        }
        let text = preview(&structure, &raw);
        assert!(text.chars().count() <= 256 && !text.contains(['\r', '\n']));
        let _end = body_text(&structure, &raw, |_| ControlFlow::Continue(()));
        nested += usize::from(structure.parts().count() > 2);
    }
    assert!(nested > 1000, "{nested} messages with parts are too few to mean much");
}

fn check_structure(structure: &Structure, raw: &[u8]) {
    assert_eq!(Structure::from_bytes(&structure.to_bytes()).as_ref(), Ok(structure), "{raw:?}");
    assert_eq!(structure.size(), raw.len());
    for part in structure.parts() {
        assert_eq!(part.header_range().end, part.body_range().start);
        let inside = part.children().chain(part.message());
        let mut from = part.body_range().start;
        for child in inside {
            assert!(from <= child.header_range().start && child.body_range().end <= part.body_range().end, "{raw:?}");
            from = child.body_range().end;
        }
        let body = &raw[part.body_range()];
        if let Some(lines) = part.lines() {
            assert_eq!(lines, body.iter().filter(|&&b| b == b'\n').count());
        }
        let _name = part.file_name();
    }
    for rendered in [structure.body(raw), structure.bodystructure(raw)] {
        check_balance(&rendered);
    }
}

fn check_header(structure: &Structure, raw: &[u8]) {
    let header = &raw[..structure.header_size()];
    check_balance(&envelope(header));
    // Only a delimiter line of the message itself could end its header early, and it has none yet.
    assert_eq!(header_end(raw).unwrap_or(raw.len()), header.len());
    assert_eq!(Facts::of(raw).header_size, header.len());
    let together: usize = fields(header).map(|field| field.raw.len()).sum();
    assert!(header.len() - together <= 2);
    assert!(header_fields(header, &["subject", "to"], false).ends_with(b"\r\n"));
    if let Some(fault) = header_fault(header) {
        assert!(fault.offset < header.len());
    }
}

fn check_sections(structure: &Structure, raw: &[u8]) {
    for path in [&[][..], &[1], &[2], &[1, 1], &[1, 2], &[2, 1], &[1, 1, 1]] {
        for part in [SectionPart::Whole, SectionPart::Header, SectionPart::Text, SectionPart::Mime] {
            let range = structure.section_range(path, part);
            assert_eq!(section(structure, raw, path, part).as_deref(), range.map(|range| &raw[range]));
        }
        let size = decoded(structure, raw, path).map(|bytes| bytes.len());
        assert_eq!(decoded_size(structure, raw, path), size);
    }
}

/// Reads what was rendered as IMAP reads it: strings, literals, and parentheses that match.
fn check_balance(rendered: &[u8]) {
    let mut depth = 0_i32;
    let mut at = 0;
    while at < rendered.len() {
        match rendered[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'"' => {
                at += 1;
                while rendered[at] != b'"' {
                    assert!(matches!(rendered[at], b' '..=b'~' | b'\t'));
                    at += if rendered[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' => {
                let end = at + rendered[at..].iter().position(|&b| b == b'}').expect("a literal has an end");
                let len = std::str::from_utf8(&rendered[at + 1..end]).ok().and_then(|len| len.parse::<usize>().ok());
                let start = end + 3;
                assert_eq!(&rendered[end + 1..start], b"\r\n");
                at = start + len.expect("a literal has a length") - 1;
                assert!(!rendered[start..=at].contains(&0));
            }
            b => assert!(b.is_ascii_alphanumeric() || b == b' ', "{:?}", String::from_utf8_lossy(rendered)),
        }
        assert!(depth > 0 || at + 1 == rendered.len());
        at += 1;
    }
    assert_eq!(depth, 0);
}
