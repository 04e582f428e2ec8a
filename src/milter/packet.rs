//! Packets: a length of four octets, a letter, and data.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// A packet's letter and its data.
pub(crate) type Packet = (u8, Bytes);

/// What is no milter packet, in a few words for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Takes a packet of at most `limit` octets of data from the front of the buffer; `None` when it is not whole yet.
pub(crate) fn take(buffer: &mut BytesMut, limit: usize) -> Result<Option<Packet>, Malformed> {
    let Some(length) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 {
        return Err(Malformed("a packet without a letter"));
    }
    if length - 1 > limit {
        return Err(Malformed("a packet longer than any may be"));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    let mut packet = buffer.split_to(length).freeze();
    let letter = packet.get_u8();
    Ok(Some((letter, packet)))
}

/// A packet as it goes over the wire, from the pieces of its data.
pub(crate) fn put(letter: u8, pieces: &[&[u8]]) -> Bytes {
    let size: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut out = BytesMut::with_capacity(5 + size);
    // Owners give pieces that came in packets or messages, far below 4 GiB.
    out.put_u32(u32::try_from(size + 1).unwrap_or(u32::MAX));
    out.put_u8(letter);
    for piece in pieces {
        out.put_slice(piece);
    }
    out.freeze()
}

/// The string up to the next NUL, which must be there.
pub(crate) fn string(data: &mut Bytes) -> Result<Bytes, Malformed> {
    let end = memchr::memchr(0, data).ok_or(Malformed("a string without its NUL"))?;
    let text = data.split_to(end);
    data.advance(1);
    Ok(text)
}

/// All strings to the end; the last one may lack its NUL.
pub(crate) fn strings(mut data: Bytes) -> Vec<Bytes> {
    let mut all = Vec::new();
    while !data.is_empty() {
        match string(&mut data) {
            Ok(text) => all.push(text),
            Err(_) => all.push(std::mem::take(&mut data)),
        }
    }
    all
}

pub(crate) fn number(data: &mut Bytes) -> Result<u32, Malformed> {
    data.try_get_u32().map_err(|_| Malformed("a number that is cut off"))
}

/// Octets that go into a string: what NUL would cut off is left out.
pub(crate) fn until_nul(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |at| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_whole_or_not_at_all() {
        let whole = put(b'H', &[b"host", b"\0"]);
        assert_eq!(&whole[..], b"\0\0\0\x06Hhost\0");
        let mut buffer = BytesMut::new();
        for octet in &whole[..whole.len() - 1] {
            buffer.put_u8(*octet);
            assert_eq!(take(&mut buffer, 100), Ok(None));
        }
        buffer.put_slice(b"\0rest");
        assert_eq!(take(&mut buffer, 100), Ok(Some((b'H', Bytes::from_static(b"host\0")))));
        assert_eq!(&buffer[..], b"rest");
    }

    #[test]
    fn lengths_that_lie_are_refused_before_anything_is_kept() {
        assert!(take(&mut BytesMut::from(&b"\0\0\0\0"[..]), 100).is_err());
        assert!(take(&mut BytesMut::from(&b"\xff\xff\xff\xffB"[..]), 100).is_err());
        assert!(take(&mut BytesMut::from(&b"\0\0\0\x66B"[..]), 100).is_err());
        assert_eq!(take(&mut BytesMut::from(&b"\0\0\0\x65B"[..]), 100), Ok(None));
    }

    #[test]
    fn the_last_string_may_lack_its_end() {
        assert_eq!(strings(Bytes::from_static(b"<a@b>\0SIZE=1\0X")), ["<a@b>", "SIZE=1", "X"]);
        assert!(strings(Bytes::new()).is_empty());
    }
}
