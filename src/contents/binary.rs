//! Numbers at places of octets, none of which panics.

/// As many octets from this place on.
pub(crate) fn slice(octets: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    octets.get(at..at.checked_add(len)?)
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    slice(octets, at, N)?.try_into().ok()
}

/// Two octets, the lowest first.
pub(crate) fn le16(octets: &[u8], at: usize) -> Option<u16> {
    array(octets, at).map(u16::from_le_bytes)
}

/// Four octets, the lowest first.
pub(crate) fn le32(octets: &[u8], at: usize) -> Option<u32> {
    array(octets, at).map(u32::from_le_bytes)
}

/// Eight octets, the lowest first.
pub(crate) fn le64(octets: &[u8], at: usize) -> Option<u64> {
    array(octets, at).map(u64::from_le_bytes)
}

/// A number as a size in memory; what is too large is the largest.
pub(crate) fn size(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}

/// A size as a number.
pub(crate) fn number(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Text in UTF-16, the low octet first, up to a NUL.
pub(crate) fn utf16(octets: &[u8]) -> String {
    let units = octets.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_outside_are_none() {
        let octets = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!((le16(&octets, 0), le16(&octets, 7), le16(&octets, usize::MAX)), (Some(0x201), None, None));
        assert_eq!(le32(&octets, 4), Some(0x0807_0605));
        assert_eq!((le64(&octets, 0), le64(&octets, 1)), (Some(0x0807_0605_0403_0201), None));
        assert_eq!(utf16(&[b'a', 0, 0xe4, 0, 0, 0, b'b', 0]), "aä");
    }
}
