//! What an ICAP server answers: a status, fields, and perhaps an HTTP message.

use bytes::Bytes;
use posthorn_filter::Scanned;

use crate::exchange::End;
use crate::shown::shown;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The ICAP status.
    pub(super) status: u16,
    fields: Vec<(String, String)>,
    /// The HTTP status inside, where the answer is an HTTP response.
    http: Option<u16>,
    /// The body inside.
    body: Option<Vec<u8>>,
}

/// Octets of a header, ICAP's or HTTP's.
const HEADER: usize = 32 << 10;
const FIELDS: usize = 200;

/// Where an answer ends.
pub(super) fn end(buffer: &[u8], _: bool) -> Result<End, String> {
    let Some(header) = header_end(buffer)? else { return Ok(End::Later) };
    if !buffer.starts_with(b"ICAP/1.") {
        return Err(format!("it speaks no ICAP: \"{}\"", shown(buffer)));
    }
    let (_, fields) = head(&buffer[..header])?;
    let Some(inside) = Inside::read(&fields)? else { return Ok(End::At(header)) };
    let Some(rest) = buffer.get(header + inside.at..) else { return Ok(End::Later) };
    if !inside.has_body {
        return Ok(End::At(header + inside.at));
    }
    Ok(dechunked(rest, None)?.map_or(End::Later, |length| End::At(header + inside.at + length)))
}

/// Whether it wants the rest of the message.
pub(super) fn goes_on(answer: &[u8]) -> bool {
    answer.get(..12).is_some_and(|line| line.ends_with(b" 100"))
}

impl Answer {
    /// Reads what [`end`] has found the end of.
    pub(super) fn read(answer: &[u8]) -> Result<Self, String> {
        let header = header_end(answer)?.ok_or("it answered by halves")?;
        let (status, fields) = head(&answer[..header])?;
        let mut http = None;
        let mut body = None;
        if let Some(inside) = Inside::read(&fields)? {
            let inner = answer.get(header..header + inside.at).ok_or("it answered by halves")?;
            let response = inside.response.and_then(|at| inner.get(at..));
            http = response.and_then(|response| status_of(response, b"HTTP/1."));
            if inside.has_body {
                let mut octets = Vec::new();
                dechunked(&answer[header + inside.at..], Some(&mut octets))?.ok_or("it answered by halves")?;
                body = Some(octets);
            }
        }
        Ok(Self { status, fields, http, body })
    }

    /// A field by its name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether it closes the connection.
    pub(super) fn closes(&self) -> bool {
        self.field("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// What it says of the message that it was shown.
    pub(super) fn verdict(&self, octets: &Bytes) -> Result<Scanned, String> {
        let found = self.threats();
        if !found.is_empty() {
            return Ok(Scanned { viruses: found, ..Scanned::default() });
        }
        match self.status {
            204 => Ok(Scanned::default()),
            200 | 206 if self.http.is_some_and(|status| status >= 400) => {
                Ok(Scanned { viruses: vec!["blocked by the ICAP service".to_owned()], ..Scanned::default() })
            }
            200 if self.body.as_deref() == Some(octets) => Ok(Scanned::default()),
            200 | 206 => {
                // What may pass only as something else has not passed.
                let why = "the ICAP service would let it pass as something else only".to_owned();
                Ok(Scanned { unchecked: Some(why), ..Scanned::default() })
            }
            status => Err(format!("it answered {status}")),
        }
    }

    /// Names of what was found, in the three ways that servers have of saying it.
    fn threats(&self) -> Vec<String> {
        let name = |text: &str| shown(text.trim().trim_matches('"').as_bytes());
        if let Some(found) = self.field("X-Infection-Found") {
            let threat = found.split(';').find_map(|part| part.trim().strip_prefix("Threat="));
            return vec![threat.map(name).filter(|name| !name.is_empty()).unwrap_or_else(|| "unnamed".to_owned())];
        }
        if let Some(found) = self.field("X-Virus-ID").map(name).filter(|name| !name.is_empty()) {
            return vec![found];
        }
        // A count, then four lines for each: a file, a name, a number and what was done.
        let Some(found) = self.field("X-Violations-Found") else { return Vec::new() };
        let lines: Vec<&str> = found.lines().map(str::trim).collect();
        if lines.first().is_none_or(|count| *count == "0") {
            return Vec::new();
        }
        let names: Vec<String> =
            lines.iter().skip(2).step_by(4).map(|line| name(line)).filter(|name| !name.is_empty()).collect();
        if names.is_empty() { vec!["unnamed".to_owned()] } else { names }
    }
}

/// Where the encapsulated message lies, by `Encapsulated`.
struct Inside {
    /// Octets of the headers inside.
    at: usize,
    /// Where the header of a response begins among them.
    response: Option<usize>,
    has_body: bool,
}

impl Inside {
    fn read(fields: &[(String, String)]) -> Result<Option<Self>, String> {
        let Some((_, value)) = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("Encapsulated")) else {
            return Ok(None);
        };
        let nonsense = || format!("its message has no place: \"{}\"", shown(value.as_bytes()));
        let (mut response, mut last) = (None, None);
        for part in value.split(',') {
            let (name, at) = part.trim().split_once('=').ok_or_else(nonsense)?;
            let at: usize = at.trim().parse().map_err(|_| nonsense())?;
            if at > 2 * HEADER || last.is_some() {
                return Err(nonsense());
            }
            match name.trim().to_ascii_lowercase().as_str() {
                "res-hdr" => response = Some(at),
                "req-hdr" => {}
                "null-body" => last = Some((at, false)),
                "req-body" | "res-body" | "opt-body" => last = Some((at, true)),
                _ => return Err(nonsense()),
            }
        }
        let (at, has_body) = last.ok_or_else(nonsense)?;
        Ok(Some(Self { at, response, has_body }))
    }
}

fn header_end(buffer: &[u8]) -> Result<Option<usize>, String> {
    match memchr::memmem::find(&buffer[..buffer.len().min(HEADER)], b"\r\n\r\n") {
        Some(at) => Ok(Some(at + 4)),
        None if buffer.len() >= HEADER => Err("its header has no end".to_owned()),
        None => Ok(None),
    }
}

/// The status and the fields of a header; the lines of a folded one are kept apart.
fn head(header: &[u8]) -> Result<(u16, Vec<(String, String)>), String> {
    let status = status_of(header, b"ICAP/1.").ok_or_else(|| format!("it speaks no ICAP: \"{}\"", shown(header)))?;
    let text = String::from_utf8_lossy(header);
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.split("\r\n").skip(1).filter(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
            continue;
        }
        if fields.len() >= FIELDS {
            return Err("its header has no end".to_owned());
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| format!("it answered \"{}\"", shown(line.as_bytes())))?;
        fields.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok((status, fields))
}

fn status_of(header: &[u8], protocol: &[u8]) -> Option<u16> {
    let rest = header.strip_prefix(protocol)?.get(1..)?.strip_prefix(b" ")?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok().filter(|status| (100..600).contains(status))
}

/// The length of a chunked body with everything behind its last chunk, and what is in it; `None`: more must come.
fn dechunked(buffer: &[u8], mut into: Option<&mut Vec<u8>>) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(line) = memchr::memmem::find(&buffer[at..], b"\r\n") else {
            return if buffer.len() - at > LINE { Err(NO_CHUNK.to_owned()) } else { Ok(None) };
        };
        let size = buffer[at..at + line].split(|octet| *octet == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size.trim_ascii()).ok().filter(|text| !text.starts_with('+'));
        let size = size.and_then(|text| usize::from_str_radix(text, 16).ok()).ok_or(NO_CHUNK)?;
        at += line + 2;
        if size == 0 {
            // Fields may follow, and an empty line ends them.
            return match memchr::memmem::find(&buffer[at - 2..], b"\r\n\r\n") {
                Some(end) => Ok(Some(at + 2 + end)),
                None if buffer.len() - at > HEADER => Err(NO_CHUNK.to_owned()),
                None => Ok(None),
            };
        }
        let Some(end) = at.checked_add(size).filter(|end| end + 2 <= buffer.len()) else { return Ok(None) };
        if &buffer[end..end + 2] != b"\r\n" {
            return Err(NO_CHUNK.to_owned());
        }
        if let Some(into) = &mut into {
            into.extend_from_slice(&buffer[at..end]);
        }
        at = end + 2;
    }
}

const NO_CHUNK: &str = "its chunks are none";
const LINE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(answer: &str) -> Result<Option<usize>, String> {
        end(answer.as_bytes(), false).map(|end| match end {
            End::At(length) => Some(length),
            End::Later => None,
        })
    }

    fn read(fields: &str, inside: &str) -> Answer {
        let answer = format!("ICAP/1.0 200 OK\r\n{fields}\r\n\r\n{inside}");
        assert_eq!(whole(&answer), Ok(Some(answer.len())), "{answer}");
        for cut in 0..answer.len() {
            assert_eq!(whole(&answer[..cut]), Ok(None), "{}", &answer[..cut]);
        }
        Answer::read(answer.as_bytes()).expect("an answer")
    }

    #[test]
    fn threats_are_named_in_three_ways() {
        let none = Bytes::from_static(b"x");
        for (fields, names) in [
            ("X-Infection-Found: Type=0; Resolution=1; Threat=A.B;", vec!["A.B"]),
            ("X-Infection-Found: nothing said", vec!["unnamed"]),
            ("X-Virus-ID: C.D", vec!["C.D"]),
            ("X-Violations-Found: 2\r\n one.exe\r\n E\r\n 1\r\n 2\r\n two.exe\r\n F\r\n 1\r\n 2", vec!["E", "F"]),
        ] {
            assert_eq!(
                read(fields, "").verdict(&none).map(|said| said.viruses),
                Ok(names.iter().map(|name| (*name).to_owned()).collect())
            );
        }
    }

    #[test]
    fn a_message_that_comes_back_as_it_was_has_passed() {
        let inside = "HTTP/1.1 200 OK\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let answer = read("Encapsulated: res-hdr=0, res-body=19", inside);
        assert_eq!(answer.verdict(&Bytes::from_static(b"abcde")), Ok(Scanned::default()));
        let other = answer.verdict(&Bytes::from_static(b"abcdx")).expect("a verdict");
        assert!(other.viruses.is_empty() && other.unchecked.is_some());
        let blocked = inside.replace("200 OK", "403 No");
        let answer = read("Encapsulated: res-hdr=0, res-body=19", &blocked);
        assert_eq!(answer.verdict(&Bytes::new()).expect("a verdict").viruses.len(), 1);
    }

    #[test]
    fn nonsense_and_lengths_that_lie_are_no_answers() {
        let told = |fields: &str, inside: &str| whole(&format!("ICAP/1.0 200 OK\r\n{fields}\r\n\r\n{inside}"));
        for (fields, inside) in [
            ("Encapsulated: res-body=99999999999999999999", ""),
            ("Encapsulated: res-body=100000", ""),
            ("Encapsulated: res-hdr=0", ""),
            ("Encapsulated: res-body=0, res-hdr=4", ""),
            ("Encapsulated: res-body=0", "x\r\n"),
            ("Encapsulated: res-body=0", "+1\r\na\r\n0\r\n\r\n"),
            ("Encapsulated: res-body=0", "1\r\nabc\r\n"),
            ("no field", ""),
        ] {
            assert!(told(fields, inside).is_err(), "{fields} {inside}");
        }
        assert_eq!(
            told("Encapsulated: res-body=0", "ffffffffffffffff\r\nabc"),
            Ok(None),
            "the limit of the answer bounds it"
        );
        assert!(whole(&"x".repeat(HEADER)).is_err());
        assert!(whole("HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(whole("ICAP/1.0 abc\r\n\r\n").is_err());
    }
}
