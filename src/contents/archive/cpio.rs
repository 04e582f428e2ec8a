//! cpio archives in the newer portable form.

use crate::Attribute;
use crate::archive::{Data, Entry, name_of};
use crate::binary::slice;
use crate::walk::Walker;

pub(super) fn walk(walker: &mut Walker<'_>, at: usize, octets: &[u8]) {
    if !octets.starts_with(b"070701") && !octets.starts_with(b"070702") {
        walker.mark(at, Attribute::Unopened);
        return;
    }
    let mut place = 0_usize;
    while let Some((entry, next)) = member(octets, place) {
        if entry.name == "TRAILER!!!" {
            return;
        }
        if !walker.entry(at, entry) {
            return;
        }
        place = next;
    }
    walker.mark(at, Attribute::Damaged);
}

fn member(octets: &[u8], place: usize) -> Option<(Entry<'_>, usize)> {
    let header = slice(octets, place, 110).filter(|header| header.starts_with(b"07070"))?;
    let number = |field: usize| {
        let text = str::from_utf8(&header[6 + field * 8..14 + field * 8]).ok()?;
        usize::from_str_radix(text, 16).ok()
    };
    let (mode, size, name_len) = (number(1)?, number(6)?, number(11)?);
    let name = slice(octets, place + 110, name_len)?;
    let start = (place + 110 + name_len).next_multiple_of(4);
    let data = slice(octets, start, size)?;
    let mut entry = Entry { name: name_of(name.strip_suffix(b"\0").unwrap_or(name)), ..Entry::default() };
    match mode & 0o170_000 {
        0o040_000 => entry.attributes.insert(Attribute::Directory),
        0o120_000 => entry.attributes.insert(Attribute::SymbolicLink),
        0o100_000 | 0 => (entry.data, entry.claimed) = (Data::Plain(data), Some(crate::binary::number(size))),
        _ => entry.attributes.insert(Attribute::Special),
    }
    Some((entry, (start + size).next_multiple_of(4)))
}
