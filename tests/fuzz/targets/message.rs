//! The envelope and body structure builder: any octets are a message whose parts lie inside it, and what is kept of
//! it says the same as the message itself.

use std::ops::ControlFlow;

use posthorn_mime::{
    Facts, MAX_DEPTH, MAX_PARTS, SectionPart, Structure, body_text, decoded, decoded_size, envelope, fields,
    header_end, header_fault, header_fields, is_seven_bit, preview, section, seven_bit,
};

/// Takes the octets for a message.
pub fn target(raw: &[u8]) {
    let structure = Structure::of(raw);
    let kept = Structure::from_bytes(&structure.to_bytes()).expect("what was written is read");
    assert_eq!(kept, structure);
    parts(&structure, raw);
    header(&structure, raw);
    sections(&structure, &kept, raw);
    balanced(&structure.body(raw));
    balanced(&structure.bodystructure(raw));
    if let Ok(narrow) = seven_bit(raw) {
        assert!(is_seven_bit(&narrow));
        assert_eq!(seven_bit(&narrow).as_ref(), Ok(&narrow));
    }
    let text = preview(&structure, raw);
    assert!(text.chars().count() <= 256 && !text.contains(['\r', '\n']), "{text:?}");
    let _end = body_text(&structure, raw, |_| ControlFlow::Continue(()));
}

fn parts(structure: &Structure, raw: &[u8]) {
    assert_eq!(structure.size(), raw.len());
    assert!(structure.parts().count() <= MAX_PARTS);
    for part in structure.parts() {
        let (header, body) = (part.header_range(), part.body_range());
        assert!(header.start <= header.end && header.end == body.start && body.start <= body.end);
        assert!(body.end <= raw.len());
        let mut from = body.start;
        for child in part.children().chain(part.message()) {
            assert!(from <= child.header_range().start && child.body_range().end <= body.end);
            from = child.body_range().end;
        }
        if let Some(lines) = part.lines() {
            assert_eq!(lines, raw[body].iter().filter(|octet| **octet == b'\n').count());
        }
        let _name = part.file_name();
    }
}

fn header(structure: &Structure, raw: &[u8]) {
    let header = &raw[..structure.header_size()];
    balanced(&envelope(header));
    assert_eq!(header_end(raw).unwrap_or(raw.len()), header.len());
    assert_eq!(Facts::of(raw).header_size, header.len());
    let together: usize = fields(header).map(|field| field.raw.len()).sum();
    assert!(header.len() - together <= 2, "only the blank line is no field");
    assert!(header_fields(header, &["subject", "to"], false).ends_with(b"\r\n"));
    if let Some(fault) = header_fault(header) {
        assert!(fault.offset < header.len());
    }
}

/// Every section is a piece of the message, the same by the structure that was kept.
fn sections(structure: &Structure, kept: &Structure, raw: &[u8]) {
    let deep = [1; MAX_DEPTH + 2];
    let names = ["subject", "content-type"];
    for path in [&[][..], &[0], &[1], &[2], &[3], &[1, 1], &[1, 2], &[2, 1], &[1, 1, 1], &[u32::MAX], &deep] {
        let fields = SectionPart::HeaderFields { names: &names, not: true };
        for part in [SectionPart::Whole, SectionPart::Header, SectionPart::Text, SectionPart::Mime, fields] {
            let range = structure.section_range(path, part);
            assert_eq!(kept.section_range(path, part), range);
            assert!(range.as_ref().is_none_or(|range| range.start <= range.end && range.end <= raw.len()));
            let content = section(structure, raw, path, part);
            assert_eq!(content, section(kept, raw, path, part));
            if part != fields {
                assert_eq!(content.as_deref(), range.map(|range| &raw[range]));
            }
        }
        let size = decoded(structure, raw, path).map(|octets| octets.len());
        assert_eq!(decoded_size(structure, raw, path), size);
    }
}

/// What goes out to an IMAP client must be one parenthesised list: strings closed, literals counted, nothing behind.
fn balanced(rendered: &[u8]) {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rendered.len() {
        match rendered[at] {
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1).expect("closed more often than opened"),
            b'"' => at = quoted_end(rendered, at + 1),
            b'{' => at = literal_end(rendered, at + 1),
            octet => assert!(octet.is_ascii_graphic() || octet == b' ', "{octet:#x} outside strings"),
        }
        at += 1;
        assert!(depth > 0 || at == rendered.len(), "text behind the list");
    }
    assert_eq!(depth, 0, "{}", rendered.escape_ascii());
}

/// The place of the closing quote.
fn quoted_end(rendered: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        match rendered.get(at).expect("a closing quote") {
            b'"' => return at,
            b'\\' => {
                let escaped = rendered.get(at + 1).expect("an escaped octet");
                assert!(matches!(escaped, b'"' | b'\\'), "{escaped:#x} needs no backslash");
                at += 2;
            }
            octet => {
                assert!(!matches!(octet, 0 | b'\r' | b'\n' | 0x80..), "{octet:#x} in a quoted string");
                at += 1;
            }
        }
    }
}

/// The place of the literal's last octet.
fn literal_end(rendered: &[u8], from: usize) -> usize {
    let digits = rendered[from..].iter().take_while(|octet| octet.is_ascii_digit()).count();
    let text = std::str::from_utf8(&rendered[from..from + digits]).expect("digits");
    let size: usize = text.parse().expect("a size");
    let content = from + digits + 3;
    assert_eq!(&rendered[from + digits..content], b"}\r\n");
    assert!(content + size < rendered.len(), "a literal longer than what holds it");
    content + size - 1
}
