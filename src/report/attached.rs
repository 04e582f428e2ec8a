//! Reports that come as files of a message: found, unpacked within bounds, read.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder};
use posthorn_mime::Structure;

use crate::aggregate::{self, AggregateReport};
use crate::tls::TlsReport;

/// A report about a day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Daily {
    /// On mail in a domain's name.
    Aggregate(AggregateReport),
    /// On TLS towards a domain.
    Tls(TlsReport),
}

/// Octets of all documents of a message together, unpacked.
const DOCUMENTS: u64 = 32 << 20;
/// Octets of a JSON document, unpacked.
const JSON_DOCUMENT: usize = 2 << 20;
/// Parts and members that are looked into.
const PARTS: usize = 20;

/// What a message brings: reports, and for each file that was meant to be one and is not, why.
#[must_use]
pub fn daily(message: &[u8]) -> (Vec<Daily>, Vec<String>) {
    within(message, DOCUMENTS)
}

/// The same; all files together may have so many octets unpacked.
fn within(message: &[u8], mut room: u64) -> (Vec<Daily>, Vec<String>) {
    let structure = Structure::of(message);
    let (mut reports, mut flaws) = (Vec::new(), Vec::new());
    for part in structure.parts().filter(posthorn_mime::Part::is_leaf).take(PARTS) {
        let Some(octets) = part.decoded(message) else { continue };
        let name = part.file_names().into_iter().next().unwrap_or_default();
        let document = match unpacked(&octets, &mut room) {
            Ok(Some(document)) => document,
            Ok(None) => continue,
            Err(why) => {
                flaws.push(format!("{}: {why}", shown(&name)));
                continue;
            }
        };
        let read = match kind(&document) {
            Some(b'<') => aggregate::read(&document).map(Daily::Aggregate).map_err(|unread| unread.to_string()),
            Some(b'{') if document.len() > JSON_DOCUMENT => {
                Err(format!("it is larger than {} MiB unpacked", JSON_DOCUMENT >> 20))
            }
            Some(b'{') => TlsReport::read(&document).map(Daily::Tls),
            _ => continue,
        };
        match read {
            Ok(report) => reports.push(report),
            // Letters have HTML parts, which are not meant to be reports.
            Err(_) if part.media_type().eq_ignore_ascii_case("text") && name.is_empty() => {}
            Err(why) => flaws.push(format!("{}: {why}", shown(&name))),
        }
    }
    (reports, flaws)
}

fn shown(name: &str) -> String {
    let plain: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    if plain.is_empty() { "a part without a name".to_owned() } else { plain }
}

/// The first octet that says what a document is.
fn kind(document: &[u8]) -> Option<u8> {
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    document.iter().copied().find(|octet| !octet.is_ascii_whitespace())
}

/// A file's document, by its octets and not by its name; `None` for a file that nobody packed and that is no document.
/// What it takes of the `room` is gone for the message's other files, whatever comes of it.
fn unpacked(octets: &[u8], room: &mut u64) -> Result<Option<Vec<u8>>, String> {
    if octets.starts_with(&[0x1f, 0x8b]) {
        return bounded(MultiGzDecoder::new(octets), room).map(Some);
    }
    if octets.starts_with(b"PK\x03\x04") {
        return member(octets, room).map(Some);
    }
    let is_document = matches!(kind(octets), Some(b'<' | b'{'));
    if is_document { bounded(octets, room).map(Some) } else { Ok(None) }
}

fn bounded(reader: impl Read, room: &mut u64) -> Result<Vec<u8>, String> {
    let mut document = Vec::new();
    let read = reader.take(*room + 1).read_to_end(&mut document);
    let left = room.checked_sub(document.len() as u64);
    *room = left.unwrap_or(0);
    read.map_err(|error| format!("it cannot be unpacked: {error}"))?;
    match left {
        Some(_) => Ok(document),
        None => Err(format!("with the files before it, it is larger than {} MiB unpacked", DOCUMENTS >> 20)),
    }
}

/// The first member of a ZIP, which is all that a report's has. Its end is where its packed octets end, whatever the
/// archive says of sizes.
fn member(archive: &[u8], room: &mut u64) -> Result<Vec<u8>, String> {
    let number = |at: usize| archive.get(at..at + 2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])));
    let broken = || "the archive is broken".to_owned();
    let [flags, method, name, extra] = [6, 8, 26, 28].map(|at| number(at).ok_or_else(broken));
    let (flags, start) = (flags?, 30 + name? + extra?);
    let packed = archive.get(start..).ok_or_else(broken)?;
    if flags & 1 != 0 {
        return Err("the archive is encrypted".to_owned());
    }
    match method? {
        0 => {
            let size = archive.get(18..22).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            let size = size.and_then(|size| usize::try_from(size).ok()).ok_or_else(broken)?;
            bounded(packed.get(..size).ok_or_else(broken)?, room)
        }
        8 => bounded(DeflateDecoder::new(packed), room),
        other => Err(format!("the archive is packed by method {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder};

    use super::*;

    const XML: &str = "<feedback><report_metadata><org_name>o</org_name><report_id>i</report_id><date_range><begin>1</begin>\
        <end>2</end></date_range></report_metadata><policy_published><domain>a.example</domain></policy_published></feedback>";
    const JSON: &str = r#"{"date-range":{"start-datetime":"2026-01-02T00:00:00Z","end-datetime":"2026-01-02T23:59:59Z"},
        "report-id":"r","policies":[{"policy":{"policy-domain":"a.example"},"summary":{}}]}"#;

    fn gzip(octets: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(octets).expect("memory");
        encoder.finish().expect("memory")
    }

    /// With a data descriptor, as programs that stream write it: sizes are zero in front.
    fn zip(octets: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(octets).expect("memory");
        let mut archive = b"PK\x03\x04\x14\0\x08\0\x08\0".to_vec();
        archive.extend_from_slice(&[0; 16]);
        archive.extend_from_slice(&[5, 0, 0, 0]);
        archive.extend_from_slice(b"r.xml");
        archive.extend(encoder.finish().expect("memory"));
        archive
    }

    fn message(kind: &str, octets: &[u8]) -> Vec<u8> {
        let coded = BASE64.encode(octets);
        format!(
            "From: r@big.example\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n\
             <p>A report.</p>\r\n--x\r\nContent-Type: {kind}; name=r.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n\
             {coded}\r\n--x--\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn reports_are_found_however_they_are_packed() {
        for octets in [gzip(XML.as_bytes()), zip(XML.as_bytes()), XML.as_bytes().to_vec()] {
            let (reports, flaws) = daily(&message("application/octet-stream", &octets));
            assert!(matches!(&reports[..], [Daily::Aggregate(report)] if report.policy.domain == "a.example"));
            assert_eq!(flaws, [""; 0]);
        }
        let (reports, _) = daily(&message("application/tlsrpt+gzip", &gzip(JSON.as_bytes())));
        assert!(matches!(&reports[..], [Daily::Tls(report)] if report.id == "r"));
        let bare = [
            b"Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            BASE64.encode(gzip(XML.as_bytes())).as_bytes(),
        ]
        .concat();
        assert_eq!(daily(&bare).0.len(), 1);
    }

    #[test]
    fn what_is_none_says_why() {
        for (octets, why) in [
            (gzip(b"<feedback>"), "ends early"),
            (gzip(&vec![b' '; 33 << 20]), "larger than 32 MiB"),
            (zip(&vec![b'<'; 33 << 20]), "larger than 32 MiB"),
            (gzip(XML.as_bytes())[..60].to_vec(), "cannot be unpacked"),
            (b"PK\x03\x04".to_vec(), "broken"),
            (b"{\"policies\": 1}".to_vec(), "invalid type"),
        ] {
            let (reports, flaws) = daily(&message("application/octet-stream", &octets));
            assert_eq!(reports, []);
            assert!(flaws.len() == 1 && flaws[0].contains(why), "{why}: {flaws:?}");
        }
        assert_eq!(daily(b"From: a@b\r\n\r\nHello.\r\n"), (vec![], vec![]));
    }
    #[test]
    fn the_files_of_a_message_share_one_room() {
        let bomb = BASE64.encode(gzip(&vec![b' '; 20 << 10]));
        let part = format!(
            "--x\r\nContent-Type: application/gzip; name=b.gz\r\nContent-Transfer-Encoding: base64\r\n\r\n{bomb}\r\n"
        );
        let report = BASE64.encode(gzip(XML.as_bytes()));
        let last = part.replace(&bomb, &report);
        let message = |bombs: usize| {
            let head = "From: r@big.example\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n";
            format!("{head}{}{last}--x--\r\n", part.repeat(bombs)).into_bytes()
        };
        assert_eq!(within(&message(1), 32 << 10).0.len(), 1);
        let (reports, flaws) = within(&message(15), 32 << 10);
        assert_eq!(reports, [], "nothing is left for it");
        assert_eq!(flaws.len(), 15, "{flaws:?}");
        assert!(flaws.iter().all(|flaw| flaw.contains("larger than 32 MiB")), "{flaws:?}");
    }
}
