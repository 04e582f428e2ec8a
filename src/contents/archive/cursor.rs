//! Reading headers piece by piece.

/// What is left of a header; every reading fails at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        self.take(1).map(|octets| octets[0])
    }

    /// A number as 7z writes it: the first octet's leading ones say how many follow.
    pub(super) fn seven_number(&mut self) -> Option<u64> {
        let first = self.octet()?;
        let (mut mask, mut value) = (0x80_u8, 0_u64);
        for place in 0..8 {
            if first & mask == 0 {
                let high = u64::from(first & (mask - 1));
                return Some(value + (high << (8 * place)));
            }
            value |= u64::from(self.octet()?) << (8 * place);
            mask >>= 1;
        }
        Some(value)
    }

    /// A number as RAR 5 writes it: seven bits an octet, the lowest first.
    pub(super) fn seven_bits(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for place in 0..10 {
            let octet = self.octet()?;
            value |= u64::from(octet & 0x7f).checked_shl(7 * place)?;
            if octet & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        let seven = |octets: &[u8]| Cursor::new(octets).seven_number();
        assert_eq!(seven(&[0x7f]), Some(0x7f));
        assert_eq!(seven(&[0x81, 0x02]), Some(0x102));
        assert_eq!(seven(&[0xc0, 0x34, 0x12]), Some(0x1234));
        assert_eq!(seven(&[0xff, 1, 2, 3, 4, 5, 6, 7, 8]), Some(0x0807_0605_0403_0201));
        assert_eq!((seven(&[0xc0, 1]), seven(&[])), (None, None));
        let bits = |octets: &[u8]| Cursor::new(octets).seven_bits();
        assert_eq!((bits(&[0x05]), bits(&[0x80, 0x01]), bits(&[0x80])), (Some(5), Some(128), None));
        assert_eq!(bits(&[0xff; 11]), None);
    }
}
