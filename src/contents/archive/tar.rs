//! tar archives: ustar, GNU's long names, pax paths.

use crate::Attribute;
use crate::archive::{Data, Entry, name_of};
use crate::binary::{number, size, slice};
use crate::walk::Walker;

const BLOCK: usize = 512;

/// A longer name of GNU's or pax's is none.
const NAME_LIMIT: usize = 64 * 1024;

/// Whether octets begin with a header of tar: its check sum is right.
pub(crate) fn is_tar(octets: &[u8]) -> bool {
    octets.get(..BLOCK).is_some_and(|header| header[0] != 0 && is_header(header))
}

pub(super) fn walk(walker: &mut Walker<'_>, at: usize, octets: &[u8]) {
    let mut place = 0_usize;
    let mut long_name: Option<String> = None;
    while let Some(header) = slice(octets, place, BLOCK) {
        if header.iter().all(|b| *b == 0) {
            return;
        }
        let length =
            Some(header).filter(|header| is_header(header)).and_then(|header| octal(&header[124..136])).map(size);
        let data = length.and_then(|length| slice(octets, place + BLOCK, length));
        let Some(data) = data else {
            walker.mark(at, Attribute::Damaged);
            return;
        };
        place += BLOCK + data.len().next_multiple_of(BLOCK);
        let told = &data[..data.len().min(NAME_LIMIT)];
        match header[156] {
            b'L' => long_name = Some(name_of(told.split(|b| *b == 0).next().unwrap_or_default())),
            b'x' => long_name = pax_path(told).or(long_name),
            b'K' | b'g' | b'V' => {}
            kind => {
                let name = long_name.take().unwrap_or_else(|| name(header));
                if !walker.entry(at, member(name, kind, data)) {
                    return;
                }
            }
        }
        if !walker.step() {
            return;
        }
    }
}

fn member(name: String, kind: u8, data: &[u8]) -> Entry<'_> {
    let mut entry = Entry { name, ..Entry::default() };
    match kind {
        b'1' => entry.attributes.insert(Attribute::HardLink),
        b'2' => entry.attributes.insert(Attribute::SymbolicLink),
        b'3' | b'4' | b'6' => entry.attributes.insert(Attribute::Special),
        b'5' => entry.attributes.insert(Attribute::Directory),
        _ => (entry.data, entry.claimed) = (Data::Plain(data), Some(number(data.len()))),
    }
    entry
}

fn is_header(header: &[u8]) -> bool {
    let sum: u64 =
        header.iter().enumerate().map(|(at, b)| u64::from(if (148..156).contains(&at) { b' ' } else { *b })).sum();
    octal(&header[148..156]) == Some(sum)
}

/// A number in octal digits, or in GNU's binary form.
fn octal(field: &[u8]) -> Option<u64> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        let low = field.get(field.len().checked_sub(8)?..)?;
        return Some(low.iter().fold(0, |value, b| value << 8 | u64::from(*b)) & !(1 << 63));
    }
    let text = field.split(|b| *b == 0).next()?.trim_ascii();
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, b| match b {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

fn name(header: &[u8]) -> String {
    let text = |field: &[u8]| name_of(field.split(|b| *b == 0).next().unwrap_or_default());
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    if header[257..].starts_with(b"ustar\0") && !prefix.is_empty() { format!("{prefix}/{name}") } else { name }
}

/// The value of `path` of pax records: `length key=value\n`.
fn pax_path(records: &[u8]) -> Option<String> {
    let mut rest = records;
    let mut path = None;
    while let Some(space) = memchr::memchr(b' ', &rest[..rest.len().min(20)]) {
        let length: usize = str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length)?;
        if let Some(value) = record.strip_prefix(b"path=") {
            path = Some(name_of(value.strip_suffix(b"\n").unwrap_or(value)));
        }
        rest = &rest[length..];
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_paths_are_read() {
        assert_eq!(octal(b"0000644\0"), Some(0o644));
        assert_eq!(octal(b"  17 \0"), Some(0o17));
        assert_eq!(octal(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!((octal(b"9"), octal(b"\0")), (None, None));
        assert_eq!(pax_path(b"8 uid=0\n13 path=a/bc\n").as_deref(), Some("a/bc"));
        assert_eq!((pax_path(b"99 path=x"), pax_path(b"")), (None, None));
    }
}
