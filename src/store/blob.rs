//! How octets lie in a column: one codec byte, then the octets, compressed where that saves something.

use std::cell::RefCell;

use crate::{Error, Result};

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Fast rather than small: against level 1 a message takes a fifth more space, and two thirds of the time to pack and to
/// unpack, which is most of what a FETCH of a body costs.
const LEVEL: i32 = -1;

/// Below this many octets compression saves less than it costs.
const WORTH_IT: usize = 512;

/// No column holds more than this after decompression; guards against a damaged length.
const MAX: usize = 64 << 20;

thread_local! {
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = RefCell::new(zstd::bulk::Decompressor::new().ok());
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = RefCell::new(zstd::bulk::Compressor::new(LEVEL).ok());
}

/// Packs octets for a column.
pub(crate) fn pack(octets: &[u8]) -> Vec<u8> {
    if octets.len() >= WORTH_IT
        && let Some(packed) = compress(octets)
    {
        return packed;
    }
    let mut plain = Vec::with_capacity(octets.len() + 1);
    plain.push(PLAIN);
    plain.extend_from_slice(octets);
    plain
}

/// Unpacks a column onto the end of `into`.
pub(crate) fn unpack(packed: &[u8], into: &mut Vec<u8>) -> Result<()> {
    match packed.split_first() {
        None => Err(Error::Damaged("empty body column")),
        Some((&PLAIN, octets)) => {
            into.extend_from_slice(octets);
            Ok(())
        }
        Some((&ZSTD, octets)) => {
            let size = zstd::bulk::Decompressor::upper_bound(octets)
                .filter(|size| *size <= MAX)
                .ok_or(Error::Damaged("body column without a size"))?;
            decompress(octets, size, into).ok_or(Error::Damaged("body column does not decompress"))
        }
        Some(_) => Err(Error::Damaged("body column in an unknown coding")),
    }
}

/// Decompresses straight behind what `into` holds.
fn decompress(octets: &[u8], size: usize, into: &mut Vec<u8>) -> Option<()> {
    let start = into.len();
    into.resize(start + size, 0);
    let written = DECOMPRESSOR
        .with_borrow_mut(|decompressor| decompressor.as_mut()?.decompress_to_buffer(octets, &mut into[start..]).ok())?;
    into.truncate(start + written);
    Some(())
}

/// Compressed form with its codec byte, when it is at least an eighth smaller.
fn compress(octets: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        let mut packed = vec![0; octets.len()];
        packed[0] = ZSTD;
        let written = compressor.as_mut()?.compress_to_buffer(octets, &mut packed[1..]).ok()?;
        packed.truncate(written + 1);
        (packed.len() < octets.len() - octets.len() / 8).then_some(packed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(octets: &[u8]) -> usize {
        let packed = pack(octets);
        let mut back = Vec::new();
        unpack(&packed, &mut back).expect("unpacks");
        assert_eq!(back, octets);
        packed.len()
    }

    #[test]
    fn octets_come_back() {
        assert_eq!(round_trip(b""), 1);
        assert_eq!(round_trip(b"short"), 6);
        assert!(round_trip(&b"Received: from somewhere\r\n".repeat(400)) < 1000);
        let noise: Vec<u8> = (0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        round_trip(&noise);
    }

    #[test]
    fn damage_is_noticed() {
        let mut into = Vec::new();
        assert!(unpack(b"", &mut into).is_err());
        assert!(unpack(b"\x07abc", &mut into).is_err());
        assert!(unpack(b"\x01abc", &mut into).is_err());
    }
}
