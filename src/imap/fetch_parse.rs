//! The grammar of FETCH (RFC 9051 §9 `fetch`, RFC 7162 §7).

use crate::cursor::{Cursor, Fault};
use crate::{Fetch, FetchAttribute, Partial, Rfc822, Section, SectionPart};

/// Part numbers in one section: deeper than any message that mail programs make.
const PATH_LIMIT: usize = 64;

/// Different items in one command.
const ATTRIBUTE_LIMIT: usize = 256;

/// `SP sequence-set SP attributes [SP (modifiers)]`
pub(crate) fn fetch(cursor: &mut Cursor<'_>, uid: bool) -> Result<Fetch, Fault> {
    cursor.space()?;
    let set = cursor.sequence_set()?;
    cursor.space()?;
    let mut attributes = attributes(cursor)?;
    let (mut changed_since, mut vanished) = (None, false);
    if cursor.eat(b' ') {
        cursor.list(|cursor| {
            if cursor.looking_at(b"CHANGEDSINCE") {
                cursor.keyword(b"CHANGEDSINCE")?;
                cursor.space()?;
                changed_since = Some(cursor.mod_sequence()?);
                return Ok(());
            }
            vanished = true;
            cursor.keyword(b"VANISHED").map_err(|_| Fault::bad("Unknown FETCH modifier"))
        })?;
    }
    // RFC 7162 §3.2.6
    if vanished && !(uid && changed_since.is_some() && cursor.mode().qresync) {
        return Err(Fault::bad("VANISHED needs UID FETCH, CHANGEDSINCE and ENABLE QRESYNC"));
    }
    if uid && !attributes.contains(&FetchAttribute::Uid) {
        attributes.insert(0, FetchAttribute::Uid);
    }
    if changed_since.is_some() && !attributes.contains(&FetchAttribute::ModSeq) {
        attributes.push(FetchAttribute::ModSeq);
    }
    Ok(Fetch { uid, set, attributes, changed_since, vanished })
}

fn attributes(cursor: &mut Cursor<'_>) -> Result<Vec<FetchAttribute>, Fault> {
    use FetchAttribute::{Body, Envelope, Flags, InternalDate, Rfc822Size};
    if cursor.peek() == Some(b'(') {
        let mut once = Vec::new();
        for attribute in cursor.list(attribute)? {
            if once.len() == ATTRIBUTE_LIMIT {
                return Err(Fault::bad("Too many FETCH items"));
            }
            if !once.contains(&attribute) {
                once.push(attribute);
            }
        }
        return Ok(once);
    }
    let mut ahead = cursor.clone();
    let macro_name = ahead.word()?;
    let expanded = match macro_name.to_ascii_uppercase().as_slice() {
        b"ALL" => vec![Flags, InternalDate, Rfc822Size, Envelope],
        b"FAST" => vec![Flags, InternalDate, Rfc822Size],
        b"FULL" => vec![Flags, InternalDate, Rfc822Size, Envelope, Body],
        _ => return Ok(vec![attribute(cursor)?]),
    };
    *cursor = ahead;
    Ok(expanded)
}

fn attribute(cursor: &mut Cursor<'_>) -> Result<FetchAttribute, Fault> {
    let name = cursor.word()?.to_ascii_uppercase();
    let bracket = cursor.peek() == Some(b'[');
    Ok(match (name.as_slice(), bracket) {
        (b"BINARY", true) => binary(cursor, false)?,
        (b"BINARY.PEEK", true) => binary(cursor, true)?,
        (b"BINARY.SIZE", true) => FetchAttribute::BinarySize { path: binary_path(cursor)? },
        (b"BODY", true) => body_section(cursor, false)?,
        (b"BODY", false) => FetchAttribute::Body,
        (b"BODY.PEEK", true) => body_section(cursor, true)?,
        (b"BODYSTRUCTURE", _) => FetchAttribute::BodyStructure,
        (b"EMAILID", _) => FetchAttribute::EmailId,
        (b"ENVELOPE", _) => FetchAttribute::Envelope,
        (b"FLAGS", _) => FetchAttribute::Flags,
        (b"INTERNALDATE", _) => FetchAttribute::InternalDate,
        (b"MODSEQ", _) => FetchAttribute::ModSeq,
        (b"PREVIEW", _) => preview(cursor)?,
        (b"RFC822", _) => FetchAttribute::Rfc822(Rfc822::Message),
        (b"RFC822.HEADER", _) => FetchAttribute::Rfc822(Rfc822::Header),
        (b"RFC822.SIZE", _) => FetchAttribute::Rfc822Size,
        (b"RFC822.TEXT", _) => FetchAttribute::Rfc822(Rfc822::Text),
        (b"SAVEDATE", _) => FetchAttribute::SaveDate,
        (b"THREADID", _) => FetchAttribute::ThreadId,
        (b"UID", _) => FetchAttribute::Uid,
        _ => return Err(Fault::bad("Unknown FETCH item")),
    })
}

/// `PREVIEW [SP "(" modifiers ")"]` (RFC 8970 §4)
fn preview(cursor: &mut Cursor<'_>) -> Result<FetchAttribute, Fault> {
    // A list behind a lone PREVIEW may also be the FETCH modifiers.
    let lazy = cursor.looking_at(b" (LAZY)");
    if lazy {
        cursor.keyword(b" (LAZY)")?;
    }
    Ok(FetchAttribute::Preview { lazy })
}

fn binary(cursor: &mut Cursor<'_>, peek: bool) -> Result<FetchAttribute, Fault> {
    Ok(FetchAttribute::Binary { path: binary_path(cursor)?, partial: partial(cursor)?, peek })
}

fn binary_path(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, Fault> {
    cursor.expect(b'[')?;
    let mut path = Vec::new();
    if cursor.peek() != Some(b']') {
        path.push(cursor.nz_number()?);
        while cursor.eat(b'.') {
            path.push(cursor.nz_number()?);
            limit(&path)?;
        }
    }
    cursor.expect(b']')?;
    Ok(path)
}

fn body_section(cursor: &mut Cursor<'_>, peek: bool) -> Result<FetchAttribute, Fault> {
    cursor.expect(b'[')?;
    let mut path = Vec::new();
    let mut named = cursor.peek() != Some(b']');
    while matches!(cursor.peek(), Some(b'0'..=b'9')) {
        path.push(cursor.nz_number()?);
        limit(&path)?;
        named = cursor.eat(b'.');
        if !named {
            break;
        }
    }
    let part = if named { section_part(cursor, &path)? } else { SectionPart::Whole };
    cursor.expect(b']')?;
    Ok(FetchAttribute::BodySection { section: Section { path, part }, partial: partial(cursor)?, peek })
}

fn section_part(cursor: &mut Cursor<'_>, path: &[u32]) -> Result<SectionPart, Fault> {
    Ok(match cursor.word()?.to_ascii_uppercase().as_slice() {
        b"HEADER" => SectionPart::Header,
        b"HEADER.FIELDS" => SectionPart::HeaderFields(field_names(cursor)?),
        b"HEADER.FIELDS.NOT" => SectionPart::HeaderFieldsNot(field_names(cursor)?),
        b"MIME" if !path.is_empty() => SectionPart::Mime,
        b"TEXT" => SectionPart::Text,
        _ => return Err(Fault::bad("Unknown section")),
    })
}

fn field_names(cursor: &mut Cursor<'_>) -> Result<Vec<String>, Fault> {
    cursor.space()?;
    cursor.list(Cursor::text)
}

fn partial(cursor: &mut Cursor<'_>) -> Result<Option<Partial>, Fault> {
    if !cursor.eat(b'<') {
        return Ok(None);
    }
    let offset = cursor.digits()?;
    cursor.expect(b'.')?;
    let length = cursor.nz_digits()?;
    cursor.expect(b'>')?;
    Ok(Some(Partial { offset, length }))
}

fn limit(path: &[u32]) -> Result<(), Fault> {
    if path.len() > PATH_LIMIT { Err(Fault::bad("Section is too deep")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Mode;

    fn parse(text: &str, uid: bool) -> Result<Fetch, Fault> {
        let text = format!(" {text}\r\n");
        let mut cursor = Cursor::new(text.as_bytes(), Mode { qresync: true, ..Mode::default() });
        let found = fetch(&mut cursor, uid)?;
        cursor.end()?;
        Ok(found)
    }

    fn one(text: &str) -> FetchAttribute {
        parse(&format!("1 {text}"), false).expect(text).attributes.remove(0)
    }

    fn section(path: &[u32], part: SectionPart) -> Section {
        Section { path: path.to_vec(), part }
    }

    #[test]
    fn macros_expand() {
        use FetchAttribute::{Body, Envelope, Flags, InternalDate, Rfc822Size};
        assert_eq!(parse("1 fast", false).expect("valid").attributes, [Flags, InternalDate, Rfc822Size]);
        let full = parse("1:* FULL", false).expect("valid").attributes;
        assert_eq!(full, [Flags, InternalDate, Rfc822Size, Envelope, Body]);
        assert!(parse("1 (FULL)", false).is_err());
        let many: String = (1..=ATTRIBUTE_LIMIT + 1).map(|part| format!(" BODY[{part}]")).collect();
        assert!(parse(&format!("1 ({})", many.trim()), false).is_err());
    }

    #[test]
    fn simple_items() {
        let all = parse("1 (uid FLAGS BODY BODYSTRUCTURE MODSEQ EMAILID THREADID SAVEDATE RFC822.SIZE UID)", false);
        assert_eq!(all.expect("valid").attributes.len(), 9);
        assert_eq!(one("RFC822"), FetchAttribute::Rfc822(Rfc822::Message));
        assert_eq!(one("rfc822.text"), FetchAttribute::Rfc822(Rfc822::Text));
        assert_eq!(one("PREVIEW"), FetchAttribute::Preview { lazy: false });
        assert_eq!(one("(PREVIEW (LAZY) UID)"), FetchAttribute::Preview { lazy: true });
    }

    #[test]
    fn sections() {
        let body = |section, partial, peek| FetchAttribute::BodySection { section, partial, peek };
        let whole = section(&[], SectionPart::Whole);
        assert_eq!(one("BODY[]"), body(whole.clone(), None, false));
        let window = Some(Partial { offset: 0, length: 1024 });
        assert_eq!(one("BODY.PEEK[]<0.1024>"), body(whole, window, true));
        assert_eq!(one("BODY[1.2]"), body(section(&[1, 2], SectionPart::Whole), None, false));
        assert_eq!(one("BODY[1.mime]"), body(section(&[1], SectionPart::Mime), None, false));
        assert_eq!(one("BODY[4.2.TEXT]"), body(section(&[4, 2], SectionPart::Text), None, false));
        let names = vec!["Date".to_owned(), "From".to_owned()];
        let fields = section(&[], SectionPart::HeaderFields(names.clone()));
        assert_eq!(one("BODY.PEEK[HEADER.FIELDS (Date \"From\")]"), body(fields, None, true));
        let not = section(&[3], SectionPart::HeaderFieldsNot(names));
        assert_eq!(one("BODY[3.HEADER.FIELDS.NOT (Date From)]"), body(not, None, false));
        for text in [
            "BODY[MIME]",
            "BODY[1.]",
            "BODY[0]",
            "BODY[",
            "BODY[]<0.0>",
            "BODY[]<0>",
            "BODY[HEADER.FIELDS ()]",
            "BODY[FOO]",
        ] {
            assert!(parse(&format!("1 {text}"), false).is_err(), "{text}");
        }
        let deep = format!("1 BODY[{}1]", "1.".repeat(PATH_LIMIT));
        assert!(parse(&deep, false).is_err());
    }

    #[test]
    fn binary_items() {
        let partial = Some(Partial { offset: 5, length: 7 });
        assert_eq!(one("BINARY.PEEK[1.2]<5.7>"), FetchAttribute::Binary { path: vec![1, 2], partial, peek: true });
        assert_eq!(one("BINARY.SIZE[]"), FetchAttribute::BinarySize { path: vec![] });
        assert!(parse("1 BINARY", false).is_err());
        assert!(parse("1 BINARY[1.TEXT]", false).is_err());
    }

    #[test]
    fn modifiers_bring_what_they_imply() {
        let fetch = parse("1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)", true).expect("valid");
        assert_eq!(fetch.attributes, [FetchAttribute::Uid, FetchAttribute::Flags, FetchAttribute::ModSeq]);
        assert_eq!((fetch.changed_since, fetch.vanished), (Some(12345), true));
        assert!(parse("1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)", false).is_err());
        assert!(parse("1:* (FLAGS) (VANISHED)", true).is_err());
        assert!(parse("1:* (FLAGS) (FOO)", true).is_err());
        assert!(parse("1:* PREVIEW (CHANGEDSINCE 1)", true).is_ok());
    }
}
