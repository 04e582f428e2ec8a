//! The letter that takes a report about a day to those who asked for it.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fields::FieldWriter;

/// Which kind of report.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DailyKind {
    /// DMARC aggregate reports (RFC 9990).
    Aggregate,
    /// TLS reports (RFC 8460).
    Tls,
}

/// All that a letter says.
#[derive(Clone, Debug)]
pub struct DailyLetter<'a> {
    /// The kind of report.
    pub kind: DailyKind,
    /// The address that it is from.
    pub from: &'a str,
    /// The addresses that it is for.
    pub to: &'a [String],
    /// The domain that it is about.
    pub domain: &'a str,
    /// Who reports: our host name.
    pub submitter: &'a str,
    /// The report's id: letters, digits, dots and hyphens.
    pub id: &'a str,
    /// The first and the last second that it is about.
    pub range: (DateTime<Utc>, DateTime<Utc>),
    /// The moment of writing.
    pub date: DateTime<Utc>,
    /// The document, XML or JSON.
    pub document: &'a str,
}

impl DailyLetter<'_> {
    /// The name of the file (RFC 9990 §3.5.1, RFC 8460 §5.1).
    #[must_use]
    pub fn file_name(&self) -> String {
        let Self { submitter, domain, id, range: (begins, ends), .. } = self;
        let ending = match self.kind {
            DailyKind::Aggregate => "xml.gz",
            DailyKind::Tls => "json.gz",
        };
        let plain = |text: &str| -> String {
            text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).collect()
        };
        let (submitter, domain, id) = (plain(submitter), plain(domain), plain(id));
        format!("{submitter}!{domain}!{}!{}!{id}.{ending}", begins.timestamp(), ends.timestamp())
    }

    /// The document, packed.
    #[must_use]
    pub fn packed(&self) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::with_capacity(self.document.len() / 8 + 64), Compression::best());
        // Writing into memory does not fail.
        let written = encoder.write_all(self.document.as_bytes()).and_then(|()| encoder.try_finish());
        written.map_or_else(|_| Vec::new(), |()| encoder.finish().unwrap_or_default())
    }

    /// The whole message around a packed document; every line ends in CRLF.
    #[must_use]
    pub fn build(&self, packed: &[u8]) -> Vec<u8> {
        let Self { domain, submitter, id, .. } = self;
        // A hyphenated id of ours stands in no line of base64 and not at the beginning of a line of the text.
        let boundary: String = id.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        let boundary = format!("=_{boundary}");
        let to: Vec<String> = self.to.iter().map(|to| format!("<{to}>")).collect();
        let mut top = FieldWriter::new(false);
        top.put("From", &format!("<{}>", self.from));
        top.put("To", &to.join(", "));
        top.put("Subject", &format!("Report Domain: {domain} Submitter: {submitter} Report-ID: <{id}>"));
        top.put_date("Date", self.date);
        top.put("Message-ID", &format!("<{id}@{submitter}>"));
        top.put("Auto-Submitted", "auto-generated");
        let (whole, what, media) = match self.kind {
            DailyKind::Aggregate => ("multipart/mixed", "DMARC aggregate report", "application/gzip"),
            DailyKind::Tls => {
                top.put("TLS-Report-Domain", domain);
                top.put("TLS-Report-Submitter", submitter);
                // It must arrive even where TLS is what fails (RFC 8460 §5.3, RFC 8689 §5).
                top.put("TLS-Required", "No");
                ("multipart/report; report-type=tlsrpt", "TLS report", "application/tlsrpt+gzip")
            }
        };
        top.put("MIME-Version", "1.0");
        top.put_raw("Content-Type", &format!("{whole};\r\n boundary=\"{boundary}\""));
        top.end();
        let mut octets = top.into_text().into_bytes();
        let (begins, ends) = (self.range.0.format("%Y-%m-%d %H:%M:%S"), self.range.1.format("%Y-%m-%d %H:%M:%S"));
        let name = self.file_name();
        let head = format!(
            "--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is a {what} of {submitter}\r\nfor {domain}, {begins} to {ends} UTC.\r\n\
             --{boundary}\r\nContent-Type: {media};\r\n name=\"{name}\"\r\nContent-Disposition: attachment;\r\n filename=\"{name}\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n"
        );
        octets.extend_from_slice(head.as_bytes());
        for line in packed.chunks(57) {
            octets.extend_from_slice(BASE64.encode(line).as_bytes());
            octets.extend_from_slice(b"\r\n");
        }
        octets.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        octets
    }
}

/// Whether this is the header of a letter with a report about a day, whoever wrote it (RFC 9990 §3.5, RFC 8460 §5.3).
#[must_use]
pub fn is_daily(header: &[u8]) -> bool {
    posthorn_mime::fields(header)
        .any(|field| field.is("TLS-Report-Domain") || field.is("Subject") && is_subject(&field.text()))
}

/// `Report Domain: … Submitter: … Report-ID: …`; some write small letters, and the last part may be missing.
fn is_subject(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().take(7).map(str::to_ascii_lowercase).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["report", "domain:", _, "submitter:", _] => true,
        ["report", "domain:", _, "submitter:", _, id, ..] => id.starts_with("report-id:"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use posthorn_mime::{fields, header_end, header_fault};

    use super::*;
    use crate::daily;

    #[test]
    fn letters_carry_what_is_read_again() {
        let xml = "<feedback><report_metadata><org_name>o</org_name><report_id>i</report_id><date_range><begin>1</begin>\
            <end>2</end></date_range></report_metadata><policy_published><domain>a.example</domain></policy_published></feedback>";
        let json = r#"{"date-range":{"start-datetime":"2026-01-02T00:00:00Z","end-datetime":"2026-01-02T23:59:59Z"},
            "report-id":"r","policies":[{"policy":{"policy-domain":"a.example"},"summary":{}}]}"#;
        let at = |seconds: i64| DateTime::from_timestamp(1_767_312_000 + seconds, 0).expect("a time");
        for (kind, document, ending) in [(DailyKind::Aggregate, xml, "xml.gz"), (DailyKind::Tls, json, "json.gz")] {
            let letter = DailyLetter {
                kind,
                from: "postmaster@mx.example",
                to: &["a@b.example".to_owned(), "c@d.example".to_owned()],
                domain: "a.example",
                submitter: "mx.example",
                id: "20260102.a.example",
                range: (at(0), at(86_399)),
                date: at(90_000),
                document,
            };
            let name = letter.file_name();
            assert_eq!(name, format!("mx.example!a.example!1767312000!1767398399!20260102.a.example.{ending}"));
            let octets = letter.build(&letter.packed());
            let header = &octets[..header_end(&octets).expect("a header")];
            assert_eq!(header_fault(header), None);
            assert!(is_daily(header));
            let field = |name: &str| {
                let found = fields(header).find(|field| field.is(name)).expect("a field");
                found.text().trim().to_owned()
            };
            assert_eq!(
                field("Subject").replace("\r\n", ""),
                "Report Domain: a.example Submitter: mx.example Report-ID: <20260102.a.example>"
            );
            assert_eq!(field("To"), "<a@b.example>, <c@d.example>");
            let (reports, flaws) = daily(&octets);
            assert_eq!((reports.len(), flaws.len()), (1, 0));
        }
    }
    #[test]
    fn letters_of_others_are_known_by_their_header() {
        for (header, is_one) in [
            ("Subject: Report domain: a.example Submitter: google.com Report-ID: 1234\r\n\r\n", true),
            ("Subject: Report Domain: a.example\r\n Submitter: b.example\r\n Report-ID:<x@b.example>\r\n\r\n", true),
            ("Subject: Report Domain: a.example Submitter: b.example\r\n\r\n", true),
            ("Subject: x\r\nTLS-Report-Domain: a.example\r\n\r\n", true),
            ("Subject: Re: Report Domain: a.example Submitter: b.example Report-ID: 1\r\n\r\n", false),
            ("Subject: Report Domain: a.example Submitter: b.example and much more\r\n\r\n", false),
            ("Subject: hello\r\n\r\nReport Domain: a.example Submitter: b.example\r\n", false),
        ] {
            assert_eq!(is_daily(header.as_bytes()), is_one, "{header}");
        }
    }
}
