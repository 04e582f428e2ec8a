//! Archives: what each format says of its members. No reader here recurses, trusts a length, or holds what it unpacks;
//! [`Walker::entry`](crate::walk::Walker::entry) does that within the limits.

mod ar;
mod cpio;
mod cursor;
mod packed;
mod rar;
mod sevenz;
pub(crate) mod tar;
mod tnef;
mod uuencoded;
mod zip;

use std::io::Read;

use crate::walk::Walker;
use crate::{Attribute, Attributes, Kind};

/// A member as its archive describes it.
#[derive(Default)]
pub(crate) struct Entry<'a> {
    /// The path in the archive; empty where the format has none.
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
    /// Octets, as the archive says.
    pub(crate) claimed: Option<u64>,
    pub(crate) data: Data<'a>,
}

/// Where a member's octets are.
#[derive(Default)]
pub(crate) enum Data<'a> {
    /// Nowhere that we can reach.
    #[default]
    None,
    /// In the archive as they are.
    Plain(&'a [u8]),
    /// Unpacked already, and paid for.
    Unpacked(&'a [u8]),
    /// To be unpacked.
    Packed(Unpacking<'a>),
}

/// A member's octets as they are unpacked.
pub(crate) struct Unpacking<'a> {
    pub(crate) reader: Box<dyn Read + 'a>,
    /// Steps that a KiB costs.
    pub(crate) cost: u64,
}

impl<'a> Unpacking<'a> {
    /// By a method of the speed of deflate.
    pub(crate) fn fast(reader: impl Read + 'a) -> Self {
        Self { reader: Box::new(reader), cost: 1 }
    }

    /// By bzip2 or of the LZMA family.
    pub(crate) fn slow(reader: impl Read + 'a) -> Self {
        Self { reader: Box::new(reader), cost: 8 }
    }
}

/// Octets that a decompressor's window takes at most; what wants more is not opened.
pub(crate) const WINDOW_LIMIT: u32 = 64 << 20;

/// Looks into the node at this place, if it is an archive. Returns whether it is one that can be looked into.
pub(crate) fn open(walker: &mut Walker<'_>, at: usize, kind: Kind, octets: &[u8]) {
    match kind {
        Kind::Zip | Kind::Jar | Kind::AppPackage | Kind::OfficeOpenXml | Kind::OpenDocument => {
            zip::walk(walker, at, octets)
        }
        Kind::Gzip | Kind::Bzip2 | Kind::Xz | Kind::Lzma | Kind::Zstd => packed::walk(walker, at, kind, octets),
        Kind::Tar => tar::walk(walker, at, octets),
        Kind::SevenZip => sevenz::walk(walker, at, octets),
        Kind::Rar => rar::walk(walker, at, octets),
        Kind::Cpio => cpio::walk(walker, at, octets),
        Kind::Ar | Kind::DebPackage => ar::walk(walker, at, octets),
        Kind::Tnef => tnef::walk(walker, at, octets),
        Kind::Uuencoded => uuencoded::walk(walker, at, octets),
        _ => walker.mark(at, Attribute::Unopened),
    }
}

/// Whether [`open`] has something to do with this kind.
pub(crate) fn is_archive(kind: Kind) -> bool {
    use crate::Family::{Archive, DiskImage};
    matches!(kind.family(), Archive | DiskImage)
        || matches!(
            kind,
            Kind::Jar
                | Kind::AppPackage
                | Kind::OfficeOpenXml
                | Kind::OpenDocument
                | Kind::DebPackage
                | Kind::RpmPackage
                | Kind::CompiledHelp
                | Kind::Uuencoded
        )
}

/// Whether a ZIP's end is at the end of what is something else: programs that unpack themselves, and polyglots.
pub(crate) fn has_zip_at_its_end(octets: &[u8]) -> bool {
    zip::end_of_list(octets).is_some()
}

/// Looks into a ZIP behind something else.
pub(crate) fn open_zip(walker: &mut Walker<'_>, at: usize, octets: &[u8]) {
    zip::walk(walker, at, octets);
}

/// A name's octets as text: UTF-8, or each octet a character.
fn name_of(octets: &[u8]) -> String {
    str::from_utf8(octets).map_or_else(|_| octets.iter().map(|b| char::from(*b)).collect(), str::to_owned)
}
