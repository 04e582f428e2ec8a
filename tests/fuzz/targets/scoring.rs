//! The rules against any message.

use std::sync::LazyLock;

use bytes::Bytes;
use posthorn_config::FilterSection;
use posthorn_filter::score::Offline;
use posthorn_filter::{Case, Way};

/// The string that every filter knows, in two parts.
const TEST_STRING: [&str; 2] = ["XJS*C4JDBQADN1.NSBN3*2IDNEN", "*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"];

static OFFLINE: LazyLock<Offline> = LazyLock::new(|| Offline::new(&FilterSection::default()));

/// Scores the octets as a message.
pub fn target(octets: &[u8]) {
    let octets = Bytes::copy_from_slice(octets);
    let (inquiry, envelope) = Default::default();
    let now = chrono::DateTime::UNIX_EPOCH;
    let case = Case { way: Way::Inbound, inquiry: &inquiry, envelope: &envelope, octets: &octets, checked: None, now };
    let points = OFFLINE.points(&case);
    assert!(points.len() < 200 && points.iter().all(|point| point.value.is_finite() && point.value != 0.0));
    let mut names: Vec<&str> = points.iter().map(|point| &*point.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), points.len(), "each counts once");
    assert_eq!(points, OFFLINE.points(&case), "the same again");
    assert!(OFFLINE.words(&case).len() <= 4096);
    // Whatever the octets are, as the subject's field or in front of it, the rest is read.
    let subject: Vec<u8> = octets.iter().take(500).copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    let head = b"From: a@example.org\r\nSubject: ";
    let tail = format!("\r\n\r\n{}\r\n", TEST_STRING.concat());
    let octets = Bytes::from([head.as_slice(), &subject, tail.as_bytes()].concat());
    let points = OFFLINE.points(&Case { octets: &octets, ..case });
    assert!(points.iter().any(|point| point.name == "GTUBE"), "{points:?}");
}
