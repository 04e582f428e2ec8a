//! Bytes that wait to be written: replies are gathered so that a pipelined group costs one packet.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// What a session has said and not yet sent. Small pieces are joined, large ones are kept as they are.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Bytes>,
    joined: BytesMut,
    len: usize,
}

impl Outbox {
    /// Adds a piece behind all others.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.is_empty() {
        } else if self.len == piece.len() || piece.len() > JOIN_LIMIT {
            self.settle();
            self.pieces.push_back(piece);
        } else {
            self.joined.extend_from_slice(&piece);
            if self.joined.len() >= JOINED_LIMIT {
                self.settle();
            }
        }
    }

    /// Octets that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes everything available to [`slices`](Self::slices).
    pub(crate) fn settle(&mut self) {
        if !self.joined.is_empty() {
            self.pieces.push_back(self.joined.split().freeze());
            self.joined = BytesMut::new();
        }
    }

    /// Fills `slices` with the front of the queue, for a vectored write; returns how many were set.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(&self.pieces) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// Forgets `count` octets at the front: they are sent.
    pub(crate) fn sent(&mut self, mut count: usize) {
        self.len -= count.min(self.len);
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else { break };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() && self.pieces.capacity() > IDLE_PIECES {
            self.pieces = VecDeque::new();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Pieces up to this size are copied together rather than sent as a slice of their own.
const JOIN_LIMIT: usize = 1024;
/// How much is copied together before a new slice begins.
const JOINED_LIMIT: usize = 16 * 1024;
/// How many slots an idle session may keep.
const IDLE_PIECES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(outbox: &mut Outbox) -> Vec<u8> {
        outbox.settle();
        let mut slices = [IoSlice::new(&[]); 16];
        let count = outbox.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn order_is_kept_whatever_the_sizes() {
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for size in [3, 5, 0, 2000, 7, 7, 1024, 1025, 1] {
            let piece = vec![b'a' + (expected.len() % 26) as u8; size];
            expected.extend_from_slice(&piece);
            outbox.push(piece.into());
        }
        assert_eq!(outbox.len(), expected.len());
        assert_eq!(rest(&mut outbox), expected);
        for step in [1, 2, 700, 1500] {
            outbox.sent(step);
            expected.drain(..step);
            assert_eq!(rest(&mut outbox), expected);
        }
        outbox.sent(expected.len());
        assert_eq!((outbox.len(), rest(&mut outbox).len()), (0, 0));
    }

    #[test]
    fn a_group_of_replies_is_one_slice_behind_the_first() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.push("250 2.1.5 Ok\r\n".into());
        }
        outbox.settle();
        let mut slices = [IoSlice::new(&[]); 16];
        assert_eq!(outbox.slices(&mut slices), 2);
    }
}
