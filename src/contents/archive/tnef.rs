//! Outlook's transport form (MS-OXTNEF): the attachments in a winmail.dat.

use crate::Attribute;
use crate::archive::{Data, Entry, name_of};
use crate::binary::{le32, size, slice, utf16};
use crate::walk::Walker;

const ATTACHMENT_BEGINS: u32 = 0x0006_9002;
const TITLE: u32 = 0x0001_8010;
const DATA: u32 = 0x0006_800f;
const PROPERTIES: u32 = 0x0006_9005;
const BODY: u32 = 0x0002_800c;

/// The MAPI property of a long file name, in an 8-bit charset and in UTF-16.
const LONG_NAME: [&[u8]; 2] = [b"\x1e\0\x07\x37", b"\x1f\0\x07\x37"];

#[derive(Default)]
struct Attachment<'a> {
    title: String,
    long: Option<String>,
    data: Option<&'a [u8]>,
}

pub(super) fn walk(walker: &mut Walker<'_>, at: usize, octets: &[u8]) {
    let mut place = 6_usize;
    let mut attachment = Attachment::default();
    while place < octets.len() {
        if !walker.step() {
            return;
        }
        let length = le32(octets, place + 5).map(size);
        let (Some(id), Some(value)) = (le32(octets, place + 1), length.and_then(|len| slice(octets, place + 9, len)))
        else {
            walker.mark(at, Attribute::Damaged);
            break;
        };
        place += 9 + value.len() + 2;
        match id {
            ATTACHMENT_BEGINS if !finish(walker, at, std::mem::take(&mut attachment)) => return,
            TITLE => attachment.title = name_of(value.split(|b| *b == 0).next().unwrap_or_default()),
            DATA => attachment.data = Some(value),
            PROPERTIES => attachment.long = long_name(value),
            BODY => {
                let body = Attachment { title: "body.txt".to_owned(), long: None, data: Some(value) };
                if !finish(walker, at, body) {
                    return;
                }
            }
            _ => {}
        }
    }
    finish(walker, at, attachment);
}

fn finish(walker: &mut Walker<'_>, at: usize, attachment: Attachment<'_>) -> bool {
    let Attachment { title, long, data: Some(data) } = attachment else { return true };
    let name = long.filter(|name| !name.is_empty()).unwrap_or(title);
    walker.entry(at, Entry { name, data: Data::Plain(data), ..Entry::default() })
}

/// The long name among an attachment's properties: tag, count, length, text. Looked for, since properties in front of it
/// may be of any type.
fn long_name(properties: &[u8]) -> Option<String> {
    LONG_NAME.iter().enumerate().find_map(|(wide, tag)| {
        let at = memchr::memmem::find(properties, tag)?;
        let text = slice(properties, at + 12, size(le32(properties, at + 8)?).min(4096))?;
        Some(if wide == 1 { utf16(text) } else { name_of(text.split(|b| *b == 0).next().unwrap_or_default()) })
    })
}
