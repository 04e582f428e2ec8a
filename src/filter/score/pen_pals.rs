//! Whom our people wrote to, and what: answers to it are welcome.

use posthorn_model::Address;

use super::tokens::keyed;

/// Message-IDs of one message that are looked at.
const MOST_IDS: usize = 30;

/// The key of one of us writing to somebody.
pub(crate) fn pair(secret: u64, ours: &str, theirs: &str) -> u64 {
    keyed(secret, &[b"pair", ours.to_lowercase().as_bytes(), theirs.to_lowercase().as_bytes()])
}

/// The key of a Message-ID.
pub(crate) fn message(secret: u64, id: &str) -> u64 {
    keyed(secret, &[b"message", id.as_bytes()])
}

/// The keys of a message that one of us writes.
pub(crate) fn written(secret: u64, sender: Option<&Address>, recipients: &[String], id: Option<&str>) -> Vec<u64> {
    let pairs = sender.map(ToString::to_string).into_iter();
    let pairs = pairs.flat_map(|ours| recipients.iter().map(move |theirs| pair(secret, &ours, theirs)));
    pairs.chain(id.into_iter().flat_map(ids).map(|id| message(secret, id))).collect()
}

/// The Message-IDs in a field: what stands between `<` and `>`.
pub(crate) fn ids(field: &str) -> impl Iterator<Item = &str> {
    let pieces = field.split('<').skip(1).filter_map(|piece| piece.split_once('>'));
    pieces.map(|(id, _)| id.trim()).filter(|id| !id.is_empty() && id.len() <= 998).take(MOST_IDS)
}

/// The Message-IDs that a returned message names: those of the fields in the text of a report.
pub(crate) fn returned_ids(octets: &[u8]) -> impl Iterator<Item = &str> {
    const NAME: &[u8] = b"\nMessage-ID:";
    let colons = memchr::memchr_iter(b':', octets).filter(|at| {
        at.checked_sub(NAME.len() - 1).is_some_and(|start| octets[start..=*at].eq_ignore_ascii_case(NAME))
    });
    let values = colons.filter_map(|at| {
        let value = &octets[at + 1..octets.len().min(at + 1000)];
        // The value may stand on the next line.
        std::str::from_utf8(&value[..memchr::memchr(b'>', value)? + 1]).ok()
    });
    values.take(MOST_IDS).flat_map(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_ids_are_found_again() {
        let me = Address::parse("Me@example.org").expect("an address");
        let keys = written(7, Some(&me), &["You@Example.com".to_owned()], Some(" <a@b>"));
        assert_eq!(keys, [pair(7, "me@example.org", "you@example.com"), message(7, "a@b")]);
        assert_ne!(pair(7, "a", "b"), pair(7, "b", "a"));
        assert_ne!(pair(7, "a", "b"), pair(8, "a", "b"));
    }

    #[test]
    fn references_and_reports_are_read() {
        assert_eq!(ids("<a@b>\r\n <c@d> junk <> <e").collect::<Vec<_>>(), ["a@b", "c@d"]);
        let report = b"x: y\r\nMessage-ID: <1@a>\r\n\r\ntext\r\n\r\nmessage-id:\r\n <2@a>\r\nX-Message-ID: <3@a>\r\n";
        assert_eq!(returned_ids(report).collect::<Vec<_>>(), ["1@a", "2@a"]);
    }
}
