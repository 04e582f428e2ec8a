//! RAR archives, versions 4 and 5: names and what is said of the members. What is merely stored is looked into; there is no
//! free decompressor for the rest.

use crate::archive::cursor::Cursor;
use crate::archive::{Data, Entry, name_of};
use crate::binary::{le16, le32, size, slice};
use crate::walk::Walker;
use crate::{Attribute, Attributes};

pub(super) fn walk(walker: &mut Walker<'_>, at: usize, octets: &[u8]) {
    let whole =
        if octets.starts_with(b"Rar!\x1a\x07\x01\0") { five(walker, at, octets) } else { four(walker, at, octets) };
    if whole.is_none() {
        walker.mark(at, Attribute::Damaged);
    }
}

/// `None` when the archive ends in the middle of something.
fn four(walker: &mut Walker<'_>, at: usize, octets: &[u8]) -> Option<()> {
    let mut place = 7_usize;
    while place < octets.len() {
        let (kind, flags) = (*octets.get(place + 2)?, le16(octets, place + 3)?);
        let header = slice(octets, place, le16(octets, place + 5)?.into()).filter(|header| header.len() >= 7)?;
        let mut data_len = if flags & 0x8000 != 0 { u64::from(le32(header, 7)?) } else { 0 };
        match kind {
            0x73 if flags & 0x80 != 0 => {
                walker.mark(at, Attribute::Encrypted);
                return Some(());
            }
            0x74 => {
                let large = flags & 0x100 != 0;
                if large {
                    data_len |= u64::from(le32(header, 32)?) << 32;
                }
                let claimed = u64::from(le32(header, 11)?) | if large { u64::from(le32(header, 36)?) << 32 } else { 0 };
                let name = slice(header, if large { 40 } else { 32 }, le16(header, 26)?.into())?;
                // With the flag for Unicode the plain name is in front of a NUL.
                let name = name_of(name.split(|b| *b == 0).next()?);
                let attributes =
                    marks(flags & 4 != 0, flags & 0xe0 == 0xe0, le32(header, 28)? >> 16 & 0xf000 == 0xa000);
                let stored = header.get(25) == Some(&0x30) && flags & 3 == 0;
                let data = slice(octets, place + header.len(), size(data_len));
                if !walker.entry(at, entry(name, attributes, claimed, data.filter(|_| stored))) {
                    return Some(());
                }
            }
            0x7b => return Some(()),
            _ => {}
        }
        place = place.checked_add(header.len())?.checked_add(size(data_len))?;
        if !walker.step() {
            return Some(());
        }
    }
    Some(())
}

fn five(walker: &mut Walker<'_>, at: usize, octets: &[u8]) -> Option<()> {
    let mut cursor = Cursor::new(octets.get(8..)?);
    while !cursor.rest.is_empty() {
        cursor.take(4)?;
        let length = size(cursor.seven_bits()?);
        let mut header = Cursor::new(cursor.take(length)?);
        let (kind, flags) = (header.seven_bits()?, header.seven_bits()?);
        let extra_len = if flags & 1 != 0 { size(header.seven_bits()?) } else { 0 };
        let data_len = if flags & 2 != 0 { size(header.seven_bits()?) } else { 0 };
        let data = cursor.take(data_len.min(cursor.rest.len()))?;
        match kind {
            2 => {
                let member = file(header, extra_len, data)?;
                if !walker.entry(at, member) {
                    return Some(());
                }
            }
            4 => {
                walker.mark(at, Attribute::Encrypted);
                return Some(());
            }
            5 => return Some(()),
            _ => {}
        }
        if !walker.step() {
            return Some(());
        }
    }
    Some(())
}

/// A file's header behind the general fields.
fn file<'a>(mut header: Cursor<'a>, extra_len: usize, data: &'a [u8]) -> Option<Entry<'a>> {
    let body_len = header.rest.len().checked_sub(extra_len)?;
    let (body, mut extra) = header.rest.split_at(body_len);
    header = Cursor::new(body);
    let (flags, claimed, _attributes) = (header.seven_bits()?, header.seven_bits()?, header.seven_bits()?);
    header.take(if flags & 2 != 0 { 4 } else { 0 })?;
    header.take(if flags & 4 != 0 { 4 } else { 0 })?;
    let (method, _system, name_len) = (header.seven_bits()?, header.seven_bits()?, header.seven_bits()?);
    let name = name_of(header.take(size(name_len))?);
    let (mut encrypted, mut link) = (false, false);
    while !extra.is_empty() {
        let mut record = Cursor::new(extra);
        let length = size(record.seven_bits()?);
        extra = record.rest.get(length..)?;
        match record.seven_bits()? {
            1 => encrypted = true,
            5 => link = true,
            _ => {}
        }
    }
    let stored = method >> 7 & 7 == 0;
    Some(entry(name, marks(encrypted, flags & 1 != 0, link), claimed, Some(data).filter(|_| stored)))
}

fn marks(encrypted: bool, directory: bool, link: bool) -> Attributes {
    let all = [(encrypted, Attribute::Encrypted), (directory, Attribute::Directory), (link, Attribute::SymbolicLink)];
    all.into_iter().filter(|(is, _)| *is).map(|(_, attribute)| attribute).collect()
}

fn entry(name: String, mut attributes: Attributes, claimed: u64, stored: Option<&[u8]>) -> Entry<'_> {
    let data = match stored {
        _ if !attributes.is_empty() => Data::None,
        Some(octets) => Data::Plain(octets),
        None => {
            attributes.insert(Attribute::Unopened);
            Data::None
        }
    };
    Entry { name, attributes, claimed: Some(claimed), data }
}
