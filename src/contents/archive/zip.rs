//! ZIP archives (APPNOTE.TXT), by their list of files. What that list does not name is looked for only where there is no list.

use crate::archive::{Data, Entry, Unpacking, WINDOW_LIMIT, name_of, packed};
use crate::binary::{le16, le32, le64, size, slice};
use crate::walk::Walker;
use crate::{Attribute, Attributes};

const LIST_ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const END: &[u8] = b"PK\x05\x06";

/// The end of the list may be followed by a comment of 65535 octets.
const END_WINDOW: usize = 22 + 0xffff;

/// A member as the list has it, and where its octets are.
struct Member {
    name: String,
    attributes: Attributes,
    method: u16,
    unpacked: u64,
    /// Where its local header begins and its octets end; empty where they are nowhere.
    whole: std::ops::Range<usize>,
    /// Where its octets begin.
    data: usize,
}

pub(super) fn walk(walker: &mut Walker<'_>, at: usize, octets: &[u8]) {
    let mut members = end_of_list(octets).map(|end| list(walker, octets, end)).unwrap_or_default();
    if members.is_empty() && memchr::memmem::find(octets, LOCAL).is_some() {
        walker.mark(at, Attribute::Damaged);
        members = unlisted(walker, octets);
    }
    mark_overlaps(&mut members);
    for member in members {
        let Member { name, mut attributes, method, unpacked, whole, data } = member;
        let packed = octets.get(data..whole.end.max(data)).unwrap_or_default();
        let mut entry = Entry { name, claimed: Some(unpacked), ..Entry::default() };
        if attributes.is_empty() || attributes.iter().all(|one| matches!(one, Attribute::Unlisted | Attribute::Damaged))
        {
            match unpack(method, packed, unpacked) {
                Some(data) => entry.data = data,
                None => attributes.insert(Attribute::Unopened),
            }
        }
        entry.attributes = attributes;
        if !walker.entry(at, entry) {
            return;
        }
    }
}

/// Where the record is that ends the list of files.
pub(super) fn end_of_list(octets: &[u8]) -> Option<usize> {
    let from = octets.len().saturating_sub(END_WINDOW);
    let window = &octets[from..];
    memchr::memmem::rfind_iter(window, END)
        .map(|at| from + at)
        .find(|at| le16(octets, at + 20).is_some_and(|comment| at + 22 + usize::from(comment) <= octets.len()))
}

fn unpack(method: u16, packed: &[u8], unpacked: u64) -> Option<Data<'_>> {
    Some(match method {
        0 => Data::Plain(packed),
        8 => Data::Packed(Unpacking::fast(flate2::bufread::DeflateDecoder::new(packed))),
        12 => Data::Packed(packed::bzip2(packed)),
        14 => {
            // Two octets of version, two of the length of properties, the properties, then the data.
            let (properties, dictionary) = (*packed.get(4)?, le32(packed, 5)?);
            let size = if unpacked == 0 { u64::MAX } else { unpacked };
            let rest = packed.get(9..).filter(|_| dictionary <= WINDOW_LIMIT)?;
            let reader = lzma_rust2::LzmaReader::new_with_props(rest, size, properties, dictionary, None).ok()?;
            Data::Packed(Unpacking::slow(reader))
        }
        93 | 20 => Data::Packed(packed::zstd(packed)?),
        95 => Data::Packed(packed::xz(packed)),
        _ => return None,
    })
}

/// The members that the list names; what the count in its end says does not matter.
fn list(walker: &mut Walker<'_>, octets: &[u8], end: usize) -> Vec<Member> {
    let mut length = le32(octets, end + 12).map_or(0, u64::from);
    let mut offset = le32(octets, end + 16).map_or(0, u64::from);
    let mut list_end = end;
    // A larger archive has its numbers in a record that a locator in front of the end points to.
    if let Some(locator) = end.checked_sub(20).filter(|at| slice(octets, *at, 4) == Some(b"PK\x06\x07"))
        && let Some(large) =
            le64(octets, locator + 8).map(size).filter(|at| slice(octets, *at, 4) == Some(b"PK\x06\x06"))
        && let (Some(large_length), Some(large_offset)) =
            (le64(octets, large.saturating_add(40)), le64(octets, large.saturating_add(48)))
    {
        (length, offset, list_end) = (large_length, large_offset, large);
    }
    // What stands in front of the archive shifts all places.
    let begin = size(length);
    let begin = list_end
        .checked_sub(begin)
        .filter(|at| slice(octets, *at, 4) == Some(LIST_ENTRY))
        .unwrap_or_else(|| size(offset));
    let shift = begin.saturating_sub(size(offset));
    let mut members = Vec::new();
    let mut at = begin;
    while let Some((member, next)) = list_entry(octets, at, shift) {
        members.push(member);
        at = next;
        // One more than there may be, so that the limit is met.
        if members.len() > walker.nodes_left() || !walker.step() {
            break;
        }
    }
    members
}

fn list_entry(octets: &[u8], at: usize, shift: usize) -> Option<(Member, usize)> {
    let head = slice(octets, at, 46).filter(|head| head.starts_with(LIST_ENTRY))?;
    let (flags, method) = (le16(head, 8)?, le16(head, 10)?);
    let (name_len, extra_len, comment_len) = (le16(head, 28)?, le16(head, 30)?, le16(head, 32)?);
    let name = slice(octets, at + 46, name_len.into())?;
    let extra = slice(octets, at + 46 + name.len(), extra_len.into())?;
    let (mut unpacked, mut packed, mut place) =
        (u64::from(le32(head, 24)?), u64::from(le32(head, 20)?), u64::from(le32(head, 42)?));
    large_numbers(extra, [&mut unpacked, &mut packed, &mut place]);

    let mut attributes = Attributes::default();
    if flags & 0x2001 != 0 || method == 99 {
        attributes.insert(Attribute::Encrypted);
    }
    // The upper half is the mode where Unix made the archive.
    let unix = matches!(head[5], 3 | 19);
    match le32(head, 38)? >> 16 & 0o170_000 {
        0o120_000 if unix => attributes.insert(Attribute::SymbolicLink),
        0o040_000 if unix && packed == 0 => attributes.insert(Attribute::Directory),
        // What has octets is no directory, whatever it is called.
        _ if packed == 0 && (name.ends_with(b"/") || name.ends_with(b"\\")) => attributes.insert(Attribute::Directory),
        _ => {}
    }
    let begin = size(place).saturating_add(shift);
    let (mut whole, mut data) = (0..0, 0);
    match local(octets, begin) {
        Some((local_name, start)) if start.checked_add(size(packed)).is_some_and(|end| end <= octets.len()) => {
            (whole, data) = (begin..start + size(packed), start);
            if local_name != name {
                attributes.insert(Attribute::Unlisted);
            }
        }
        _ => attributes.insert(Attribute::Damaged),
    }
    let next = at + 46 + name.len() + extra.len() + usize::from(comment_len);
    Some((Member { name: name_of(name), attributes, method, unpacked, whole, data }, next))
}

/// The name in a local header, and where the octets behind it begin.
fn local(octets: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head = slice(octets, at, 30).filter(|head| head.starts_with(LOCAL))?;
    let (name_len, extra_len) = (usize::from(le16(head, 26)?), usize::from(le16(head, 28)?));
    Some((slice(octets, at + 30, name_len)?, at + 30 + name_len + extra_len))
}

/// Numbers that did not fit stand in an extra field, in this order, those only that did not fit.
fn large_numbers(mut extra: &[u8], numbers: [&mut u64; 3]) {
    while let (Some(id), Some(len)) = (le16(extra, 0), le16(extra, 2)) {
        let Some(mut field) = slice(extra, 4, len.into()) else { return };
        if id == 1 {
            for number in numbers {
                if *number == 0xffff_ffff
                    && let Some(large) = le64(field, 0)
                {
                    (*number, field) = (large, &field[8..]);
                }
            }
            return;
        }
        extra = &extra[4 + field.len()..];
    }
}

/// Members by their local headers alone.
fn unlisted(walker: &mut Walker<'_>, octets: &[u8]) -> Vec<Member> {
    let mut members = Vec::new();
    let mut starts = memchr::memmem::find_iter(octets, LOCAL).peekable();
    let mut behind = 0;
    while let Some(at) = starts.next() {
        if at < behind {
            continue;
        }
        let Some((name, data)) = local(octets, at) else { continue };
        let (Some(flags), Some(method), Some(packed), Some(unpacked)) =
            (le16(octets, at + 6), le16(octets, at + 8), le32(octets, at + 18), le32(octets, at + 22))
        else {
            break;
        };
        let next = starts.peek().copied().unwrap_or(octets.len());
        let end = match data.saturating_add(size(packed)) {
            end if packed > 0 && end <= octets.len() => end,
            _ => next.max(data.min(octets.len())),
        };
        let mut attributes = Attributes::from_iter([Attribute::Unlisted]);
        if flags & 1 != 0 || method == 99 {
            attributes.insert(Attribute::Encrypted);
        }
        if name.ends_with(b"/") {
            attributes.insert(Attribute::Directory);
        }
        members.push(Member {
            name: name_of(name),
            attributes,
            method,
            unpacked: u64::from(unpacked),
            whole: at..end,
            data,
        });
        behind = end;
        if members.len() > walker.nodes_left() || !walker.step() {
            break;
        }
    }
    members
}

/// Members that share octets are how a small archive unpacks to a huge one without any nesting. None of them but the first
/// in the file is unpacked.
fn mark_overlaps(members: &mut [Member]) {
    let mut order: Vec<usize> = (0..members.len()).filter(|at| !members[*at].whole.is_empty()).collect();
    order.sort_by_key(|at| members[*at].whole.start);
    let mut taken = 0;
    for at in order {
        let member = &mut members[at];
        if member.whole.start < taken {
            member.attributes.insert(Attribute::Overlapping);
        }
        taken = taken.max(member.whole.end);
    }
}
