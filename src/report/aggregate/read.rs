//! Reports read, whoever wrote them: names of elements count, not their order or namespace. Nothing is expanded, nothing
//! is fetched, depth and size are bounded.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

use super::{AggregateReport, AggregateRow, Disposition, Override, PathFound, PublishedPolicy, SignatureFound};

/// Elements in elements.
const DEEPEST: usize = 16;
/// Rows that are kept.
const ROWS: usize = 5_000;
/// Elements of a whole document.
const ELEMENTS: usize = 4_000_000;
/// Octets of a text; the rest is left out.
const TEXT: usize = 500;
/// Reasons, signatures and errors of a row or report.
const FEW: usize = 20;
/// What larger numbers of messages are cut to, so that sums of whatever others write stay numbers.
const MESSAGES: u64 = i32::MAX as u64;

/// Why a document is no report.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unread {
    /// It is not well-formed.
    #[error("it is not well-formed: {0}")]
    Malformed(String),
    /// It declares a document type, which no report has: entities could be anything.
    #[error("it declares a document type")]
    Declares,
    /// It has more levels or elements than a report has.
    #[error("it is deeper or larger than a report can be")]
    Excessive,
    /// Something that every report says is missing.
    #[error("it has no {0}")]
    Lacks(&'static str),
}

/// Reads a document.
///
/// # Errors
/// Why it is none.
pub fn read(document: &[u8]) -> Result<AggregateReport, Unread> {
    let mut reader = Reader::from_reader(document);
    reader.config_mut().trim_text(false);
    let (mut path, mut text, mut elements) = (Vec::<String>::new(), String::new(), 0_usize);
    let mut taking = Taking::default();
    loop {
        match reader.read_event().map_err(|error| Unread::Malformed(clean(&error.to_string())))? {
            Event::Start(start) => {
                elements += 1;
                if path.len() == DEEPEST || elements > ELEMENTS {
                    return Err(Unread::Excessive);
                }
                path.push(
                    String::from_utf8_lossy(&start.local_name().as_ref()[..start.local_name().as_ref().len().min(64)])
                        .into_owned(),
                );
                if path.len() == 1 && path[0] != "feedback" {
                    return Err(Unread::Lacks("feedback"));
                }
                taking.begin(&path);
                text.clear();
            }
            Event::End(_) => {
                let at: Vec<&str> = path.iter().map(String::as_str).collect();
                taking.end(&at, &clean(&text));
                path.pop();
                text.clear();
            }
            Event::Text(found) => add(&mut text, &String::from_utf8_lossy(&found)),
            Event::CData(found) => add(&mut text, &String::from_utf8_lossy(&found)),
            Event::GeneralRef(found) => add(&mut text, &reference(&found)),
            Event::DocType(_) => return Err(Unread::Declares),
            Event::Eof => break,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    if !path.is_empty() {
        return Err(Unread::Malformed("it ends early".to_owned()));
    }
    taking.finish()
}

/// One of the five entities that every document has, or a character by its number; nothing else.
fn reference(found: &BytesRef<'_>) -> String {
    if let Ok(Some(c)) = found.resolve_char_ref() {
        return c.to_string();
    }
    let c = match &**found {
        b"amp" => "&",
        b"lt" => "<",
        b"gt" => ">",
        b"quot" => "\"",
        b"apos" => "'",
        _ => "",
    };
    c.to_owned()
}

fn add(text: &mut String, more: &str) {
    let room = TEXT.saturating_sub(text.len());
    text.push_str(&more[..more.floor_char_boundary(room.min(more.len()))]);
}

fn clean(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut plain = plain.trim().to_owned();
    plain.truncate(plain.floor_char_boundary(TEXT));
    plain
}

/// What was read so far.
#[derive(Default)]
struct Taking {
    organization: String,
    email: String,
    contact: Option<String>,
    id: String,
    begins: Option<DateTime<Utc>>,
    ends: Option<DateTime<Utc>>,
    errors: Vec<String>,
    policy: PublishedPolicy,
    rows: Vec<AggregateRow>,
    left_out: u64,
    row: Row,
}

/// A row that is being read.
#[derive(Default)]
struct Row {
    source: Option<IpAddr>,
    messages: Option<u64>,
    disposition: Option<Disposition>,
    dkim: bool,
    spf: bool,
    reasons: Vec<Override>,
    header_from: String,
    envelope_from: Option<String>,
    signatures: Vec<SignatureFound>,
    path: Option<PathFound>,
}

impl Taking {
    fn begin(&mut self, path: &[String]) {
        let at: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
        let row = &mut self.row;
        match &at[..] {
            ["record"] => *row = Row::default(),
            ["record", "row", "policy_evaluated", "reason"] if row.reasons.len() < FEW => {
                row.reasons.push(Override { kind: String::new(), comment: String::new() });
            }
            ["record", "auth_results", "dkim"] if row.signatures.len() < FEW => {
                let (domain, selector, result) = Default::default();
                row.signatures.push(SignatureFound { domain, selector, result });
            }
            // Of several, which RFC 7489 allowed, the last is kept.
            ["record", "auth_results", "spf"] => {
                row.path = Some(PathFound { domain: String::new(), result: String::new() });
            }
            _ => {}
        }
    }

    fn end(&mut self, path: &[&str], text: &str) {
        let said = || Some(text.to_owned()).filter(|text| !text.is_empty());
        let word = || text.to_ascii_lowercase();
        match path.get(1..).unwrap_or_default() {
            ["report_metadata", "org_name"] => self.organization = text.to_owned(),
            ["report_metadata", "email"] => self.email = text.to_owned(),
            ["report_metadata", "extra_contact_info"] => self.contact = said(),
            ["report_metadata", "report_id"] => self.id = text.to_owned(),
            ["report_metadata", "date_range", "begin"] => self.begins = moment(text),
            ["report_metadata", "date_range", "end"] => self.ends = moment(text),
            ["report_metadata", "error"] if self.errors.len() < FEW => self.errors.push(text.to_owned()),
            ["policy_published", "domain"] => self.policy.domain = domain(text),
            ["policy_published", "p"] => self.policy.policy = word(),
            ["policy_published", "sp"] => self.policy.subdomains = said().map(|_| word()),
            ["policy_published", "np"] => self.policy.nonexistent = said().map(|_| word()),
            ["policy_published", "adkim"] => self.policy.strict_dkim = text.eq_ignore_ascii_case("s"),
            ["policy_published", "aspf"] => self.policy.strict_spf = text.eq_ignore_ascii_case("s"),
            ["policy_published", "testing" | "t"] => self.policy.testing = text.eq_ignore_ascii_case("y"),
            ["record"] => self.end_row(),
            ["record", rest @ ..] => self.row.end(rest, text),
            _ => {}
        }
    }

    fn end_row(&mut self) {
        let row = std::mem::take(&mut self.row);
        let (Some(source), Some(messages)) = (row.source, row.messages) else {
            self.left_out += 1;
            return;
        };
        if self.rows.len() == ROWS {
            self.left_out += 1;
            return;
        }
        self.rows.push(AggregateRow {
            source,
            messages,
            disposition: row.disposition.unwrap_or_default(),
            dkim: row.dkim,
            spf: row.spf,
            reasons: row.reasons,
            header_from: row.header_from,
            envelope_from: row.envelope_from,
            signatures: row.signatures,
            path: row.path,
        });
    }

    fn finish(self) -> Result<AggregateReport, Unread> {
        let lacks = [
            (self.policy.domain.is_empty(), "policy_published domain"),
            (self.id.is_empty(), "report_id"),
            (self.organization.is_empty() && self.email.is_empty(), "org_name"),
        ];
        if let Some((_, what)) = lacks.into_iter().find(|(lacks, _)| *lacks) {
            return Err(Unread::Lacks(what));
        }
        let begins = self.begins.ok_or(Unread::Lacks("date_range begin"))?;
        let ends = self.ends.ok_or(Unread::Lacks("date_range end"))?;
        Ok(AggregateReport {
            organization: self.organization,
            email: self.email,
            contact: self.contact,
            id: self.id,
            begins,
            ends,
            errors: self.errors,
            policy: self.policy,
            rows: self.rows,
            left_out: self.left_out,
        })
    }
}

impl Row {
    fn end(&mut self, path: &[&str], text: &str) {
        let passes = || text.eq_ignore_ascii_case("pass");
        let word = || text.to_ascii_lowercase();
        match path {
            ["row", "source_ip"] => self.source = text.parse::<IpAddr>().ok().map(|address| address.to_canonical()),
            // Some write fractions of sampled mail; what is no number is no row.
            ["row", "count"] => self.messages = text.parse::<u64>().ok().map(|count| count.min(MESSAGES)),
            ["row", "policy_evaluated", "disposition"] => self.disposition = Disposition::parse(text),
            ["row", "policy_evaluated", "dkim"] => self.dkim = passes(),
            ["row", "policy_evaluated", "spf"] => self.spf = passes(),
            ["row", "policy_evaluated", "reason", field] => {
                let Some(reason) = self.reasons.last_mut() else { return };
                match *field {
                    "type" => reason.kind = word(),
                    "comment" => reason.comment = text.to_owned(),
                    _ => {}
                }
            }
            ["identifiers" | "identities", "header_from"] => self.header_from = domain(text),
            ["identifiers" | "identities", "envelope_from"] => self.envelope_from = Some(domain(text)),
            ["auth_results", "dkim", field] => {
                let Some(found) = self.signatures.last_mut() else { return };
                match *field {
                    "domain" => found.domain = domain(text),
                    "selector" => found.selector = text.to_owned(),
                    "result" => found.result = word(),
                    _ => {}
                }
            }
            ["auth_results", "spf", field] => {
                let Some(found) = self.path.as_mut() else { return };
                match *field {
                    "domain" => found.domain = domain(text),
                    "result" => found.result = word(),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    // Seconds; some write them with a fraction.
    let seconds: i64 = text.split('.').next()?.parse().ok()?;
    // Year 1970 to 9999, which every store can hold.
    DateTime::from_timestamp(seconds, 0).filter(|_| (0..253_402_300_800).contains(&seconds))
}

fn domain(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> AggregateReport {
        let row = AggregateRow {
            source: "2001:db8::1".parse().expect("an address"),
            messages: 12,
            disposition: Disposition::Quarantine,
            dkim: false,
            spf: false,
            reasons: vec![Override { kind: "trusted_forwarder".to_owned(), comment: "a < b & \"c\"".to_owned() }],
            header_from: "a.example".to_owned(),
            envelope_from: Some(String::new()),
            signatures: vec![SignatureFound {
                domain: "b.example".to_owned(),
                selector: "s1".to_owned(),
                result: "fail".to_owned(),
            }],
            path: Some(PathFound { domain: "mail.c.example".to_owned(), result: "softfail".to_owned() }),
        };
        let passing = AggregateRow {
            source: "192.0.2.1".parse().expect("an address"),
            disposition: Disposition::Pass,
            dkim: true,
            reasons: Vec::new(),
            envelope_from: None,
            signatures: Vec::new(),
            path: None,
            ..row.clone()
        };
        AggregateReport {
            organization: "Example & Söhne".to_owned(),
            email: "postmaster@mx.example".to_owned(),
            contact: Some("https://mx.example/".to_owned()),
            id: "20260102-a.example".to_owned(),
            begins: DateTime::from_timestamp(1_767_312_000, 0).expect("a time"),
            ends: DateTime::from_timestamp(1_767_398_399, 0).expect("a time"),
            errors: vec!["the policy changed".to_owned()],
            policy: PublishedPolicy {
                domain: "a.example".to_owned(),
                policy: "reject".to_owned(),
                subdomains: Some("none".to_owned()),
                nonexistent: None,
                strict_dkim: true,
                strict_spf: false,
                testing: true,
            },
            rows: vec![row, passing],
            left_out: 0,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let report = whole();
        let xml = report.to_xml();
        assert_eq!(read(xml.as_bytes()), Ok(report.clone()));
        assert_eq!(report.counts(), (12, 12));
        assert!(xml.contains("<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">"));
        assert!(xml.contains("<comment>a &lt; b &amp; &quot;c&quot;</comment>"));
    }

    #[test]
    fn old_reports_are_read() {
        let xml = b"\xef\xbb\xbf<?xml version='1.0'?>\r\n<feedback><report_metadata><org_name>big.example</org_name>\
            <email>n@big.example</email><report_id>17</report_id><date_range><begin>1700000000</begin>\
            <end>1700086399</end></date_range></report_metadata><policy_published><domain>A.example.</domain>\
            <adkim>r</adkim><aspf>r</aspf><p>none</p><sp>none</sp><pct>100</pct></policy_published><record><row>\
            <source_ip>::ffff:192.0.2.7</source_ip><count> 3 </count><policy_evaluated><disposition>none</disposition>\
            <dkim>pass</dkim><spf>fail</spf></policy_evaluated></row><identifiers><header_from>a.example</header_from>\
            </identifiers><auth_results><dkim><domain>a.example</domain><result>pass</result></dkim><spf>\
            <domain>x.example</domain><result>neutral</result></spf></auth_results></record></feedback>";
        let report = read(xml).expect("a report");
        assert_eq!((report.policy.domain.as_str(), report.counts()), ("a.example", (3, 0)));
        assert_eq!(report.rows[0].source.to_string(), "192.0.2.7");
        assert_eq!(report.rows[0].path.as_ref().map(|path| path.result.as_str()), Some("neutral"));
    }

    #[test]
    fn entities_are_not_expanded() {
        let bomb = "<?xml version=\"1.0\"?><!DOCTYPE feedback [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>\
            <feedback><report_metadata><org_name>&b;</org_name></report_metadata></feedback>";
        assert_eq!(read(bomb.as_bytes()), Err(Unread::Declares));
        let stolen = "<!DOCTYPE f [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><feedback>&x;</feedback>";
        assert_eq!(read(stolen.as_bytes()), Err(Unread::Declares));
        let unknown = whole().to_xml().replace("Example &amp;", "Example &xxe; &#38; &#x41;");
        assert_eq!(read(unknown.as_bytes()).expect("a report").organization, "Example  & A Söhne");
    }

    #[test]
    fn hostile_documents_end() {
        let deep = "<feedback>".repeat(100_000);
        assert_eq!(read(deep.as_bytes()), Err(Unread::Excessive));
        for (document, why) in [
            (&b""[..], "feedback"),
            (b"<feedback>", "early"),
            (b"<feedback></feedback>", "no "),
            (b"<html><body/></html>", "feedback"),
            (b"<feedback></wrong>", "well-formed"),
            (b"\xff\xfe<\0f\0", "no "),
        ] {
            let unread = read(document).expect_err("it is no report");
            let _never_panics = (unread.to_string(), why);
        }
        // Ten megabytes of one text, and of one attribute.
        let long = whole().to_xml().replace("Example", &"x".repeat(10 << 20));
        assert_eq!(read(long.as_bytes()).expect("a report").organization.len(), TEXT);
        let attribute = whole().to_xml().replace("<org_name>", &format!("<org_name a=\"{}\">", "y".repeat(10 << 20)));
        assert!(read(attribute.as_bytes()).is_ok());
        // Ten megabytes of rows: what is beyond the bound is counted.
        let xml = whole().to_xml();
        let (start, end) = (xml.find("  <record>").expect("rows"), xml.find("</feedback>").expect("an end"));
        let many = format!("{}{}{}", &xml[..start], xml[start..end].repeat(12_000), &xml[end..]);
        let report = read(many.as_bytes()).expect("a report");
        assert_eq!((report.rows.len(), report.left_out), (ROWS, 19_000));
    }

    #[test]
    fn odd_numbers_are_no_rows() {
        for odd in ["<count>-1</count>", "<count>1e9</count>", "<count>99999999999999999999</count>", ""] {
            let xml = whole().to_xml().replace("<count>12</count>", odd);
            let report = read(xml.as_bytes()).expect("a report");
            assert_eq!((report.rows.len(), report.left_out), (0, 2), "{odd}");
        }
        let large = whole().to_xml().replace("<count>12</count>", "<count>18446744073709551615</count>");
        assert_eq!(read(large.as_bytes()).expect("a report").rows[0].messages, MESSAGES);
        let late = whole().to_xml().replace("<end>1767398399<", "<end>9999999999999<");
        assert_eq!(read(late.as_bytes()), Err(Unread::Lacks("date_range end")));
    }
}
