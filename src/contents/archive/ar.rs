//! ar archives, and with them packages of Debian.

use crate::Attribute;
use crate::archive::{Data, Entry, name_of};
use crate::binary::slice;
use crate::walk::Walker;

pub(super) fn walk(walker: &mut Walker<'_>, at: usize, octets: &[u8]) {
    let mut place = 8_usize;
    while let Some(header) = slice(octets, place, 60) {
        let size = str::from_utf8(&header[48..58]).ok().and_then(|text| text.trim().parse::<usize>().ok());
        let data = size.and_then(|size| slice(octets, place + 60, size));
        let (Some(data), b"`\n") = (data, &header[58..60]) else {
            walker.mark(at, Attribute::Damaged);
            return;
        };
        let name = name_of(header[..16].trim_ascii_end()).trim_end_matches('/').to_owned();
        let claimed = Some(crate::binary::number(data.len()));
        if !walker.entry(at, Entry { name, claimed, data: Data::Plain(data), ..Entry::default() }) {
            return;
        }
        place += 60 + data.len() + data.len() % 2;
    }
}
