//! FETCH responses, written item by item (RFC 9051 §7.5.2).

use chrono::{DateTime, Utc};
use posthorn_model::{ModSeq, Uid};

use crate::quoted::put_literal_start;
use crate::{Output, Rfc822, Section, SectionPart, date};

/// Writes one `* n FETCH (...)`. Nothing is allocated for an item.
#[derive(Debug)]
pub struct FetchWriter<'o> {
    out: &'o mut Output,
}

impl<'o> FetchWriter<'o> {
    pub(crate) fn begin(out: &'o mut Output, sequence: u32) -> Self {
        out.raw(b"* ");
        out.number(sequence.into());
        out.raw(b" FETCH (");
        out.no_item = true;
        Self { out }
    }

    /// Ends the response.
    pub fn end(&mut self) {
        self.out.raw(b")\r\n");
    }

    /// `UID n`
    pub fn uid(&mut self, uid: Uid) -> &mut Self {
        self.item(b"UID ");
        self.out.number(uid.into());
        self
    }

    /// `FLAGS (names)`
    pub fn flags<'f>(&mut self, names: impl IntoIterator<Item = &'f str>) -> &mut Self {
        self.item(b"FLAGS ");
        self.out.words(names);
        self
    }

    /// `MODSEQ (n)`
    pub fn modseq(&mut self, mod_seq: ModSeq) -> &mut Self {
        self.item(b"MODSEQ (");
        self.out.number(mod_seq);
        self.out.raw(b")");
        self
    }

    /// `INTERNALDATE "..."`, in UTC.
    pub fn internal_date(&mut self, at: DateTime<Utc>) -> &mut Self {
        self.item(b"INTERNALDATE ");
        date::put_date_time(&mut self.out.tail, at);
        self
    }

    /// `RFC822.SIZE n`
    pub fn size(&mut self, octets: u64) -> &mut Self {
        self.item(b"RFC822.SIZE ");
        self.out.number(octets);
        self
    }

    /// `ENVELOPE (...)`, rendered by the caller with its parentheses.
    pub fn envelope(&mut self, rendered: &[u8]) -> &mut Self {
        self.item(b"ENVELOPE ");
        self.out.raw(rendered);
        self
    }

    /// `BODYSTRUCTURE (...)`, rendered by the caller.
    pub fn bodystructure(&mut self, rendered: &[u8]) -> &mut Self {
        self.item(b"BODYSTRUCTURE ");
        self.out.raw(rendered);
        self
    }

    /// `BODY (...)`: the structure without extension data, rendered by the caller.
    pub fn body(&mut self, rendered: &[u8]) -> &mut Self {
        self.item(b"BODY ");
        self.out.raw(rendered);
        self
    }

    /// `BODY[section]<origin> content`; `None` when the section does not exist.
    pub fn section(&mut self, section: &Section, origin: Option<u64>, content: Option<&[u8]>) -> &mut Self {
        self.section_name(section, origin);
        self.content(content)
    }

    /// `BODY[section]<origin> {len}`: exactly `len` octets must follow through [`raw`](Self::raw) or the output's `raw_bytes`.
    pub fn section_start(&mut self, section: &Section, origin: Option<u64>, len: u64) -> &mut Self {
        self.section_name(section, origin);
        put_literal_start(&mut self.out.tail, len);
        self
    }

    /// `RFC822 content` and its kin; `None` for NIL.
    pub fn rfc822(&mut self, part: Rfc822, content: Option<&[u8]>) -> &mut Self {
        self.item(part.name().as_bytes());
        self.out.raw(b" ");
        self.content(content)
    }

    /// `RFC822 {len}` and its kin: exactly `len` octets must follow.
    pub fn rfc822_start(&mut self, part: Rfc822, len: u64) -> &mut Self {
        self.item(part.name().as_bytes());
        self.out.raw(b" ");
        put_literal_start(&mut self.out.tail, len);
        self
    }

    /// `BINARY[path]<origin> content`: as literal8 where it holds NUL (RFC 3516 §4.2); `None` for NIL.
    pub fn binary(&mut self, path: &[u32], origin: Option<u64>, content: Option<&[u8]>) -> &mut Self {
        self.binary_name(path, origin);
        match content {
            Some(octets) if memchr::memchr(0, octets).is_some() => {
                self.out.raw(b"~");
                put_literal_start(&mut self.out.tail, octets.len() as u64);
                self.out.raw(octets);
            }
            content => return self.content(content),
        }
        self
    }

    /// `BINARY[path]<origin> ~{len}`: exactly `len` octets must follow.
    pub fn binary_start(&mut self, path: &[u32], origin: Option<u64>, len: u64) -> &mut Self {
        self.binary_name(path, origin);
        self.out.raw(b"~");
        put_literal_start(&mut self.out.tail, len);
        self
    }

    /// `BINARY.SIZE[path] n`
    pub fn binary_size(&mut self, path: &[u32], octets: u64) -> &mut Self {
        self.item(b"BINARY.SIZE[");
        self.path(path);
        self.out.raw(b"] ");
        self.out.number(octets);
        self
    }

    /// `EMAILID (id)` (RFC 8474)
    pub fn email_id(&mut self, id: &str) -> &mut Self {
        self.item(b"EMAILID (");
        self.out.raw(id.as_bytes());
        self.out.raw(b")");
        self
    }

    /// `THREADID (id)`, or NIL (RFC 8474)
    pub fn thread_id(&mut self, id: Option<&str>) -> &mut Self {
        self.item(b"THREADID ");
        match id {
            None => self.out.raw(b"NIL"),
            Some(id) => {
                self.out.raw(b"(");
                self.out.raw(id.as_bytes());
                self.out.raw(b")");
            }
        }
        self
    }

    /// `SAVEDATE "..."`, or NIL (RFC 8514)
    pub fn saved_date(&mut self, at: Option<DateTime<Utc>>) -> &mut Self {
        self.item(b"SAVEDATE ");
        match at {
            None => self.out.raw(b"NIL"),
            Some(at) => date::put_date_time(&mut self.out.tail, at),
        }
        self
    }

    /// `PREVIEW "..."`, or NIL while there is none (RFC 8970)
    pub fn preview(&mut self, text: Option<&str>) -> &mut Self {
        self.item(b"PREVIEW ");
        self.out.nstring(text.map(str::as_bytes));
        self
    }

    /// Octets inside an announced literal.
    pub fn raw(&mut self, octets: &[u8]) -> &mut Self {
        self.out.raw(octets);
        self
    }

    /// Octets inside an announced literal, without a copy when they are many.
    pub fn raw_bytes(&mut self, octets: bytes::Bytes) -> &mut Self {
        self.out.raw_bytes(octets);
        self
    }

    /// Goes on with a response whose writer was let go while a literal was streamed.
    #[must_use]
    pub fn resume(out: &'o mut Output) -> Self {
        Self { out }
    }

    fn item(&mut self, name: &[u8]) {
        if !std::mem::take(&mut self.out.no_item) {
            self.out.raw(b" ");
        }
        self.out.raw(name);
    }

    /// Always a literal: some clients read content in no other form.
    fn content(&mut self, content: Option<&[u8]>) -> &mut Self {
        match content {
            None => self.out.raw(b"NIL"),
            Some(octets) => {
                put_literal_start(&mut self.out.tail, octets.len() as u64);
                self.out.raw(octets);
            }
        }
        self
    }

    fn path(&mut self, path: &[u32]) {
        for (at, part) in path.iter().enumerate() {
            if at > 0 {
                self.out.raw(b".");
            }
            self.out.number((*part).into());
        }
    }

    fn origin(&mut self, origin: Option<u64>) {
        if let Some(origin) = origin {
            self.out.raw(b"<");
            self.out.number(origin);
            self.out.raw(b">");
        }
        self.out.raw(b" ");
    }

    fn binary_name(&mut self, path: &[u32], origin: Option<u64>) {
        self.item(b"BINARY[");
        self.path(path);
        self.out.raw(b"]");
        self.origin(origin);
    }

    fn section_name(&mut self, section: &Section, origin: Option<u64>) {
        self.item(b"BODY[");
        self.path(&section.path);
        if !section.path.is_empty() && section.part != SectionPart::Whole {
            self.out.raw(b".");
        }
        match &section.part {
            SectionPart::Whole => {}
            SectionPart::Header => self.out.raw(b"HEADER"),
            SectionPart::Mime => self.out.raw(b"MIME"),
            SectionPart::Text => self.out.raw(b"TEXT"),
            SectionPart::HeaderFields(names) => self.fields(b"HEADER.FIELDS (", names),
            SectionPart::HeaderFieldsNot(names) => self.fields(b"HEADER.FIELDS.NOT (", names),
        }
        self.out.raw(b"]");
        self.origin(origin);
    }

    fn fields(&mut self, start: &[u8], names: &[String]) {
        self.out.raw(start);
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                self.out.raw(b" ");
            }
            self.out.astring(name.as_bytes());
        }
        self.out.raw(b")");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    fn written(write: impl Fn(&mut FetchWriter<'_>)) -> String {
        let mut out = Output::new();
        let mut writer = out.fetch(12);
        write(&mut writer);
        writer.end();
        out.take().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    #[test]
    fn metadata() {
        let at = Utc.with_ymd_and_hms(1996, 7, 7, 2, 44, 25).single().expect("valid");
        let line = written(|fetch| {
            fetch.uid(7).flags(["\\Seen", "$Junk"]).modseq(65_402).internal_date(at).size(4286);
            fetch.email_id("M6d99").thread_id(None).thread_id(Some("T64")).saved_date(None).preview(Some("Hi \"you\""));
        });
        let expected = "* 12 FETCH (UID 7 FLAGS (\\Seen $Junk) MODSEQ (65402) INTERNALDATE \" 7-Jul-1996 02:44:25 +0000\" \
             RFC822.SIZE 4286 EMAILID (M6d99) THREADID NIL THREADID (T64) SAVEDATE NIL PREVIEW \"Hi \\\"you\\\"\")\r\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_writer_that_comes_back_knows_whether_it_is_the_first() {
        let mut out = Output::new();
        let _let_go = out.fetch(1);
        FetchWriter::resume(&mut out).uid(7);
        FetchWriter::resume(&mut out).size(9).end();
        assert_eq!(out.take().as_deref(), Some(&b"* 1 FETCH (UID 7 RFC822.SIZE 9)\r\n"[..]));
    }

    #[test]
    fn structures_are_taken_as_they_are() {
        let line = written(|fetch| {
            fetch.envelope(b"(NIL)").bodystructure(b"(\"TEXT\")").body(b"(\"text\")");
        });
        assert_eq!(line, "* 12 FETCH (ENVELOPE (NIL) BODYSTRUCTURE (\"TEXT\") BODY (\"text\"))\r\n");
    }

    #[test]
    fn sections() {
        let names = vec!["Date".to_owned(), "X (odd)".to_owned()];
        let fields = Section { path: vec![1, 3], part: SectionPart::HeaderFields(names) };
        let whole = Section { path: vec![], part: SectionPart::Whole };
        let part = Section { path: vec![4], part: SectionPart::Whole };
        let line = written(|fetch| {
            fetch.section(&fields, None, Some(b"a\r\n")).section(&whole, Some(0), Some(b"x"));
            fetch.section(&part, None, None).section_start(&part, Some(5), 2).raw(b"ab").uid(1);
        });
        let expected = "* 12 FETCH (BODY[1.3.HEADER.FIELDS (Date \"X (odd)\")] {3}\r\na\r\n BODY[]<0> {1}\r\nx BODY[4] NIL \
             BODY[4]<5> {2}\r\nab UID 1)\r\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn binary_with_and_without_nul() {
        let line = written(|fetch| {
            fetch.binary(&[1], None, Some(b"a\0b")).binary(&[], Some(3), Some(b"ab")).binary_size(&[1, 2], 9);
            fetch.rfc822(Rfc822::Header, Some(b"h"));
        });
        let expected =
            "* 12 FETCH (BINARY[1] ~{3}\r\na\0b BINARY[]<3> {2}\r\nab BINARY.SIZE[1.2] 9 RFC822.HEADER {1}\r\nh)\r\n";
        assert_eq!(line, expected);
    }
}
