//! Text with uuencoded files in it.

use crate::Attribute;
use crate::archive::{Data, Entry, name_of};
use crate::walk::Walker;

pub(super) fn walk(walker: &mut Walker<'_>, at: usize, octets: &[u8]) {
    let mut lines = octets.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix(b"begin ").and_then(|rest| rest.get(4..)) else { continue };
        let mut data = Vec::new();
        let mut complete = false;
        for line in lines.by_ref() {
            if line == b"end" {
                complete = true;
                break;
            }
            decode(line, &mut data);
        }
        let mut entry = Entry { name: name_of(name.trim_ascii()), data: Data::Plain(&data), ..Entry::default() };
        if !complete {
            entry.attributes.insert(Attribute::Damaged);
        }
        if !walker.entry(at, entry) {
            return;
        }
    }
}

fn decode(line: &[u8], data: &mut Vec<u8>) {
    let Some((length, body)) = line.split_first() else { return };
    let length = usize::from(length.wrapping_sub(b' ') & 0x3f);
    let end = data.len() + length;
    for group in body.chunks(4) {
        let sextet = |place: usize| u32::from(group.get(place).copied().unwrap_or(b' ').wrapping_sub(b' ') & 0x3f);
        let bits = sextet(0) << 18 | sextet(1) << 12 | sextet(2) << 6 | sextet(3);
        let left = end.saturating_sub(data.len()).min(3);
        data.extend_from_slice(&bits.to_be_bytes()[1..=left]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_decoded_to_their_length() {
        let mut data = Vec::new();
        decode(b"#0V%T", &mut data);
        decode(b"!80", &mut data);
        decode(b"`", &mut data);
        decode(b"", &mut data);
        assert_eq!(data, b"Cata");
    }
}
