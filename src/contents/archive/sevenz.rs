//! 7z archives: the list of files, packed or not, and the solid blocks of the usual methods.

use std::io::Read;

use lzma_rust2::filter::bcj::BcjReader;
use lzma_rust2::{Lzma2Reader, LzmaReader};

use crate::archive::cursor::Cursor;
use crate::archive::{Data, Entry, Unpacking, WINDOW_LIMIT};
use crate::binary::{le32, le64, size, slice, utf16};
use crate::walk::Walker;
use crate::{Attribute, Attributes};

/// A longer list of files is not unpacked.
const LIST_LIMIT: u64 = 4 << 20;
/// More coders in a row are nobody's.
const CODER_LIMIT: u64 = 8;

const AES: &[u8] = &[0x06, 0xf1, 0x07, 0x01];

/// Octets packed together: what was done to them, and where they are.
struct Block<'a> {
    coders: Vec<Coder>,
    /// Which coder's output goes into which: (in, out).
    bonds: Vec<(usize, usize)>,
    sizes: Vec<u64>,
    /// Sizes of the files in it, one after the other.
    files: Vec<u64>,
    packed: &'a [u8],
}

struct Coder {
    method: Vec<u8>,
    properties: Vec<u8>,
    /// Whether it has one input and one output.
    simple: bool,
}

#[derive(Default)]
struct File {
    name: String,
    empty: bool,
    directory: bool,
}

pub(super) fn walk(walker: &mut Walker<'_>, at: usize, octets: &[u8]) {
    let listed = list_place(octets).and_then(|list| listed(walker, octets, list));
    match listed {
        Some(Listed::Encrypted) => walker.mark(at, Attribute::Encrypted),
        Some(Listed::Files(blocks, files)) => members(walker, at, &blocks, files),
        None => walker.mark(at, Attribute::Damaged),
    }
}

enum Listed<'a> {
    Encrypted,
    Files(Vec<Block<'a>>, Vec<File>),
}

fn list_place(octets: &[u8]) -> Option<&[u8]> {
    slice(octets, 32_usize.checked_add(size(le64(octets, 12)?))?, size(le64(octets, 20)?))
}

/// Reads the list of files; one that is packed is unpacked once or twice.
fn listed<'a>(walker: &mut Walker<'_>, octets: &'a [u8], list: &[u8]) -> Option<Listed<'a>> {
    let mut list = list.to_vec();
    for _ in 0..4 {
        let mut cursor = Cursor::new(&list);
        match cursor.octet() {
            None => return Some(Listed::Files(Vec::new(), Vec::new())),
            Some(0x01) => return header(&list[1..], octets).map(|(blocks, files)| Listed::Files(blocks, files)),
            Some(0x17) => {
                let blocks = streams(&mut cursor, octets)?;
                let block = blocks.first()?;
                if block.is_encrypted() {
                    return Some(Listed::Encrypted);
                }
                let unpacked = block.unpacked_size();
                if unpacked > LIST_LIMIT || !walker.steps(8 * unpacked.div_ceil(1024)) {
                    return None;
                }
                let mut next = Vec::new();
                block.unpacking()?.reader.take(LIST_LIMIT).read_to_end(&mut next).ok()?;
                list = next;
            }
            Some(_) => return None,
        }
    }
    None
}

fn header<'a>(list: &[u8], octets: &'a [u8]) -> Option<(Vec<Block<'a>>, Vec<File>)> {
    let mut cursor = Cursor::new(list);
    let (mut blocks, mut files) = (Vec::new(), Vec::new());
    loop {
        match cursor.octet()? {
            0 => return Some((blocks, files)),
            0x02 => while skip_property(&mut cursor)? {},
            0x03 => drop(streams(&mut cursor, octets)?),
            0x04 => blocks = streams(&mut cursor, octets)?,
            0x05 => files = file_list(&mut cursor)?,
            _ => return None,
        }
    }
}

impl Block<'_> {
    fn is_encrypted(&self) -> bool {
        self.coders.iter().any(|coder| coder.method == AES)
    }

    /// The coder whose output goes nowhere makes the block's octets.
    fn unpacked_size(&self) -> u64 {
        let last = (0..self.coders.len()).find(|out| !self.bonds.iter().any(|bond| bond.1 == *out));
        last.and_then(|last| self.sizes.get(last)).copied().unwrap_or(0)
    }

    /// The coders in a row, from the one that reads the archive; `None` where one is not known.
    fn unpacking(&self) -> Option<Unpacking<'_>> {
        if self.coders.iter().any(|coder| !coder.simple) {
            return None;
        }
        let mut at = (0..self.coders.len()).find(|input| !self.bonds.iter().any(|bond| bond.0 == *input))?;
        let mut unpacking = Unpacking::fast(self.packed);
        for _ in 0..self.coders.len() {
            let (coder, size) = (self.coders.get(at)?, self.sizes.get(at).copied()?);
            unpacking = coder.over(unpacking, size)?;
            match self.bonds.iter().find(|bond| bond.1 == at) {
                Some(bond) => at = bond.0,
                None => return Some(unpacking),
            }
        }
        None
    }
}

impl Coder {
    fn over<'r>(&self, from: Unpacking<'r>, size: u64) -> Option<Unpacking<'r>> {
        let Unpacking { reader, cost } = from;
        Some(match self.method.as_slice() {
            [0] => Unpacking { reader, cost },
            [0x03, 0x01, 0x01] => {
                let (properties, dictionary) = (*self.properties.first()?, le32(&self.properties, 1)?);
                if dictionary > WINDOW_LIMIT {
                    return None;
                }
                Unpacking::slow(LzmaReader::new_with_props(reader, size, properties, dictionary, None).ok()?)
            }
            [0x21] => {
                let exponent = u32::from(*self.properties.first().filter(|exponent| **exponent <= 40)?);
                let dictionary = (2 | u64::from(exponent & 1)) << (exponent / 2 + 11);
                let dictionary = u32::try_from(dictionary).ok().filter(|dictionary| *dictionary <= WINDOW_LIMIT)?;
                Unpacking::slow(Lzma2Reader::new(reader, dictionary, None))
            }
            [0x03, 0x03, 0x01, 0x03] | [0x04] => Unpacking { reader: Box::new(BcjReader::new_x86(reader, 0)), cost },
            [0x04, 0x01, 0x08] => {
                Unpacking { reader: Box::new(flate2::read::DeflateDecoder::new(reader)), cost: cost.max(1) }
            }
            [0x04, 0x02, 0x02] => Unpacking::slow(::bzip2::read::BzDecoder::new(reader)),
            _ => return None,
        })
    }
}

fn streams<'a>(cursor: &mut Cursor<'_>, octets: &'a [u8]) -> Option<Vec<Block<'a>>> {
    let (mut place, mut packed_sizes) = (0, Vec::new());
    let mut blocks: Vec<Block<'a>> = Vec::new();
    let mut listed = false;
    loop {
        match cursor.octet()? {
            0 => break,
            0x06 => (place, packed_sizes) = packed_streams(cursor)?,
            0x07 => blocks = folders(cursor)?,
            0x08 => {
                contained(cursor, &mut blocks)?;
                listed = true;
            }
            _ => return None,
        }
    }
    let mut at = 32_u64.checked_add(place)?;
    let mut sizes = packed_sizes.into_iter();
    for block in &mut blocks {
        if !listed {
            block.files = vec![block.unpacked_size()];
        }
        // What several streams are packed into is not opened, but they have to be passed over.
        let inputs = if block.coders.iter().all(|coder| coder.simple) { 1 } else { block.sizes.len().max(4) };
        for input in 0..inputs {
            let Some(len) = sizes.next() else { break };
            if input == 0 {
                block.packed = slice(octets, size(at), size(len))?;
            }
            at = at.checked_add(len)?;
        }
    }
    Some(blocks)
}

fn packed_streams(cursor: &mut Cursor<'_>) -> Option<(u64, Vec<u64>)> {
    let place = cursor.seven_number()?;
    let count = count(cursor)?;
    let mut sizes = Vec::new();
    loop {
        match cursor.octet()? {
            0 => return Some((place, sizes)),
            0x09 => sizes = (0..count).map(|_| cursor.seven_number()).collect::<Option<_>>()?,
            0x0a => skip_digests(cursor, count)?,
            _ => return None,
        }
    }
}

fn folders<'a>(cursor: &mut Cursor<'_>) -> Option<Vec<Block<'a>>> {
    (cursor.octet()? == 0x0b).then_some(())?;
    let folder_count = count(cursor)?;
    // A list elsewhere is nobody's.
    (cursor.octet()? == 0).then_some(())?;
    let mut blocks = (0..folder_count).map(|_| folder(cursor)).collect::<Option<Vec<_>>>()?;
    (cursor.octet()? == 0x0c).then_some(())?;
    for block in &mut blocks {
        let outputs = block.sizes.len();
        block.sizes = (0..outputs).map(|_| cursor.seven_number()).collect::<Option<_>>()?;
    }
    loop {
        match cursor.octet()? {
            0 => return Some(blocks),
            0x0a => skip_digests(cursor, folder_count)?,
            _ => return None,
        }
    }
}

fn folder<'a>(cursor: &mut Cursor<'_>) -> Option<Block<'a>> {
    let coder_count = cursor.seven_number().filter(|count| (1..=CODER_LIMIT).contains(count))?;
    let (mut coders, mut inputs, mut outputs) = (Vec::new(), 0_u64, 0_u64);
    for _ in 0..coder_count {
        let flags = cursor.octet()?;
        let method = cursor.take((flags & 0x0f).into())?.to_vec();
        let (mut coder_in, mut coder_out) = (1, 1);
        if flags & 0x10 != 0 {
            coder_in = cursor.seven_number().filter(|count| *count <= CODER_LIMIT)?;
            coder_out = cursor.seven_number().filter(|count| *count <= CODER_LIMIT)?;
        }
        let properties = if flags & 0x20 != 0 { size(cursor.seven_number()?) } else { 0 };
        let properties = cursor.take(properties)?.to_vec();
        inputs += coder_in;
        outputs += coder_out;
        coders.push(Coder { method, properties, simple: (coder_in, coder_out) == (1, 1) });
    }
    let bond_count = outputs.checked_sub(1)?;
    let mut bonds = Vec::new();
    for _ in 0..bond_count {
        bonds.push((size(cursor.seven_number()?), size(cursor.seven_number()?)));
    }
    let packed = inputs.checked_sub(bond_count)?;
    if packed > 1 {
        for _ in 0..packed {
            cursor.seven_number()?;
        }
    }
    Some(Block { coders, bonds, sizes: vec![0; size(outputs)], files: Vec::new(), packed: &[] })
}

/// How the blocks are cut into files.
fn contained(cursor: &mut Cursor<'_>, blocks: &mut [Block<'_>]) -> Option<()> {
    let mut counts = vec![1; blocks.len()];
    let mut kind = cursor.octet()?;
    if kind == 0x0d {
        for place in &mut counts {
            *place = count(cursor)?;
        }
        kind = cursor.octet()?;
    }
    for (block, files) in blocks.iter_mut().zip(&counts) {
        let mut left = block.unpacked_size();
        block.files = Vec::new();
        for place in 0..*files {
            let size = if place + 1 == *files {
                left
            } else if kind == 0x09 {
                cursor.seven_number()?
            } else {
                return None;
            };
            left = left.checked_sub(size)?;
            block.files.push(size);
        }
    }
    if kind == 0x09 {
        kind = cursor.octet()?;
    }
    loop {
        match kind {
            0 => return Some(()),
            // Blocks of one file have their sums already, or not: what follows is not worth knowing, only where it ends.
            0x0a => {
                let all = counts.iter().sum();
                if cursor.octet()? == 0 {
                    let bits = cursor.take(usize::div_ceil(all, 8))?;
                    let sums: u32 = bits.iter().map(|b| b.count_ones()).sum();
                    cursor.take(size(sums) * 4)?;
                } else {
                    // Those that are known are left out; the end is where the next octet is its mark.
                    let most = cursor.rest.len() / 4;
                    let sums = (0..=all.min(most)).rev().find(|sums| cursor.rest.get(sums * 4) == Some(&0))?;
                    cursor.take(sums * 4)?;
                }
            }
            _ => return None,
        }
        kind = cursor.octet()?;
    }
}

fn file_list(cursor: &mut Cursor<'_>) -> Option<Vec<File>> {
    let file_count = count(cursor)?;
    let mut files: Vec<File> = (0..file_count).map(|_| File::default()).collect();
    loop {
        let kind = cursor.octet()?;
        if kind == 0 {
            break;
        }
        let len = size(cursor.seven_number()?);
        let mut field = Cursor::new(cursor.take(len)?);
        match kind {
            // Empty ones, and which of them are files and no directories.
            0x0e => {
                files.iter_mut().zip(bits(field.rest)).for_each(|(file, bit)| (file.empty, file.directory) = (bit, bit))
            }
            0x0f => {
                let empty = files.iter_mut().filter(|file| file.empty);
                empty.zip(bits(field.rest)).for_each(|(file, bit)| file.directory = !bit);
            }
            0x11 => {
                (field.octet()? == 0).then_some(())?;
                for file in &mut files {
                    let len = field.rest.chunks_exact(2).position(|pair| pair == [0, 0])? * 2;
                    file.name = utf16(field.take(len)?);
                    field.take(2)?;
                }
            }
            _ => {}
        }
    }
    Some(files)
}

fn bits(octets: &[u8]) -> impl Iterator<Item = bool> {
    octets.iter().flat_map(|b| (0..8).map(move |bit| b & (0x80 >> bit) != 0))
}

/// A number of things, each of which takes at least a bit of what follows.
fn count(cursor: &mut Cursor<'_>) -> Option<usize> {
    let count = size(cursor.seven_number()?);
    (count <= cursor.rest.len().saturating_mul(8)).then_some(count)
}

fn skip_digests(cursor: &mut Cursor<'_>, count: usize) -> Option<()> {
    let sums = if cursor.octet()? == 0 {
        cursor.take(count.div_ceil(8))?.iter().map(|b| b.count_ones()).sum()
    } else {
        u32::try_from(count).ok()?
    };
    cursor.take(size(sums).checked_mul(4)?).map(|_| ())
}

/// Passes over a property of the archive; false at their end.
fn skip_property(cursor: &mut Cursor<'_>) -> Option<bool> {
    if cursor.octet()? == 0 {
        return Some(false);
    }
    let len = size(cursor.seven_number()?);
    cursor.take(len).map(|_| true)
}

/// Hands out the files: those with octets lie in the blocks in their order.
fn members(walker: &mut Walker<'_>, at: usize, blocks: &[Block<'_>], files: Vec<File>) {
    let mut with_octets = Vec::new();
    for file in files {
        if !file.empty {
            with_octets.push(file);
            continue;
        }
        let attributes: Attributes = file.directory.then_some(Attribute::Directory).into_iter().collect();
        let data = if file.directory { Data::None } else { Data::Plain(&[]) };
        if !walker.entry(at, Entry { name: file.name, attributes, claimed: Some(0), data }) {
            return;
        }
    }
    let mut with_octets = with_octets.into_iter();
    for block in blocks {
        if walker.is_over() {
            return;
        }
        let unpacking = if block.is_encrypted() { None } else { block.unpacking() };
        let missing = if block.is_encrypted() { Attribute::Encrypted } else { Attribute::Unopened };
        let unpacked = unpacking.map(|unpacking| walker.unpack(unpacking));
        let mut rest = unpacked.as_ref().map(|unpacked| unpacked.octets.as_slice());
        for length in &block.files {
            let Some(file) = with_octets.next() else { break };
            let mut entry = Entry { name: file.name, claimed: Some(*length), ..Entry::default() };
            match rest.and_then(|all| all.split_at_checked(size(*length))) {
                Some((own, behind)) => {
                    entry.data = Data::Unpacked(own);
                    rest = Some(behind);
                }
                None => {
                    let why = match &unpacked {
                        None => missing,
                        Some(unpacked) if unpacked.too_large => Attribute::TooLarge,
                        Some(_) => Attribute::Damaged,
                    };
                    entry.attributes.insert(why);
                    rest = None;
                }
            }
            if !walker.entry(at, entry) {
                break;
            }
        }
        if let Some(unpacked) = unpacked {
            walker.forget(unpacked);
        }
    }
}
