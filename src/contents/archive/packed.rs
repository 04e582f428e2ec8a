//! Single files that are packed: gzip, bzip2, xz, LZMA, Zstandard.

use crate::archive::{Data, Entry, Unpacking, WINDOW_LIMIT, name_of};
use crate::binary::{le16, slice};
use crate::walk::Walker;
use crate::{Attribute, Kind};

/// The largest window of Zstandard that is unpacked, as the power of two of [`WINDOW_LIMIT`].
const ZSTD_WINDOW: u32 = WINDOW_LIMIT.trailing_zeros();

pub(super) fn walk(walker: &mut Walker<'_>, at: usize, kind: Kind, octets: &[u8]) {
    let unpacking = match kind {
        Kind::Gzip => Some(Unpacking::fast(flate2::bufread::MultiGzDecoder::new(octets))),
        Kind::Bzip2 => Some(bzip2(octets)),
        Kind::Xz => Some(xz(octets)),
        Kind::Lzma => lzma(octets),
        Kind::Zstd => zstd(octets),
        _ => None,
    };
    let Some(unpacking) = unpacking else {
        walker.mark(at, Attribute::Unopened);
        return;
    };
    let name = gzip_name(kind, octets).unwrap_or_else(|| inner_name(walker.name(at)));
    walker.entry(at, Entry { name, data: Data::Packed(unpacking), ..Entry::default() });
}

pub(super) fn bzip2(octets: &[u8]) -> Unpacking<'_> {
    Unpacking::slow(::bzip2::bufread::MultiBzDecoder::new(octets))
}

pub(super) fn xz(octets: &[u8]) -> Unpacking<'_> {
    Unpacking::slow(lzma_rust2::XzReader::new_mem_limit(octets, true, WINDOW_LIMIT / 1024 + 1024))
}

pub(super) fn zstd(octets: &[u8]) -> Option<Unpacking<'_>> {
    let mut decoder = ::zstd::stream::read::Decoder::with_buffer(octets).ok()?;
    decoder.window_log_max(ZSTD_WINDOW).ok()?;
    Some(Unpacking::fast(decoder))
}

fn lzma(octets: &[u8]) -> Option<Unpacking<'_>> {
    lzma_rust2::LzmaReader::new_mem_limit(octets, WINDOW_LIMIT / 1024 + 1024, None).ok().map(Unpacking::slow)
}

/// The name in gzip's header (RFC 1952 §2.3).
fn gzip_name(kind: Kind, octets: &[u8]) -> Option<String> {
    let flags = *octets.get(3).filter(|_| kind == Kind::Gzip)?;
    let extra = if flags & 4 != 0 { 2 + usize::from(le16(octets, 10)?) } else { 0 };
    let rest = octets.get(10 + extra..).filter(|_| flags & 8 != 0)?;
    let end = memchr::memchr(0, &rest[..rest.len().min(4096)])?;
    slice(rest, 0, end).filter(|name| !name.is_empty()).map(name_of)
}

/// The name of what is in a packed file of this name.
fn inner_name(outer: &str) -> String {
    const ENDINGS: [(&str, &str); 11] = [
        (".tgz", ".tar"),
        (".tbz2", ".tar"),
        (".tbz", ".tar"),
        (".txz", ".tar"),
        (".tzst", ".tar"),
        (".gz", ""),
        (".bz2", ""),
        (".xz", ""),
        (".lzma", ""),
        (".zst", ""),
        (".svgz", ".svg"),
    ];
    for (ending, inner) in ENDINGS {
        if let Some(cut) = outer.len().checked_sub(ending.len())
            && outer.get(cut..).is_some_and(|tail| tail.eq_ignore_ascii_case(ending))
        {
            return format!("{}{inner}", &outer[..cut]);
        }
    }
    outer.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_names_lose_the_packing() {
        for (outer, inner) in [("a.tar.GZ", "a.tar"), ("a.tgz", "a.tar"), ("a.exe.xz", "a.exe"), ("a", "a"), ("", "")] {
            assert_eq!(inner_name(outer), inner);
        }
    }
}
