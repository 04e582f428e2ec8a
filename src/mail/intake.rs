//! A body on its way in: gathered once, with room in front for the fields that we add.

use bytes::{Bytes, BytesMut};
use posthorn_model::{EnhancedCode, Refusal};

use crate::{Mail, Reservation};

/// Room left in front of a body for the fields that we add, so that the body need not be moved.
const GAP: usize = 4096;

/// A body on its way in.
#[derive(Debug)]
pub struct Intake {
    /// Room that is free yet, the fields put on top so far, then what came.
    buffer: BytesMut,
    /// Where the room ends.
    start: usize,
    /// What was in the buffer, while others may look at it.
    shown: Option<Bytes>,
    reservation: Reservation,
}

impl Intake {
    /// Takes the next octets.
    ///
    /// # Errors
    /// A temporary refusal when the memory for bodies in progress is used up.
    pub fn push(&mut self, octets: &[u8]) -> Result<(), Refusal> {
        self.hide();
        let needed = self.buffer.len() + octets.len();
        if needed > self.buffer.capacity() {
            let capacity = needed.max(self.buffer.capacity() * 2);
            if !self.reservation.grow(capacity - self.buffer.capacity()) {
                return Err(Refusal::new(
                    452,
                    EnhancedCode(4, 3, 1),
                    "too many large messages at the moment, try again later",
                ));
            }
            self.buffer.reserve(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(octets);
        Ok(())
    }

    /// Octets taken so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shown.as_ref().map_or(self.buffer.len(), Bytes::len) - self.start
    }

    /// Whether nothing was taken yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was taken so far, with what was put on top of it.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.shown.as_deref().unwrap_or(&self.buffer)[self.start..]
    }

    /// The same for others to keep a while. What is put on top while they do moves everything.
    #[must_use]
    pub fn show(&mut self) -> Bytes {
        let start = self.start;
        let shown = self.shown.get_or_insert_with(|| std::mem::take(&mut self.buffer).freeze());
        shown.slice(start..)
    }

    /// Takes back what was shown, or moves it where somebody still looks at it.
    fn hide(&mut self) {
        if let Some(shown) = self.shown.take() {
            self.buffer = shown.try_into_mut().unwrap_or_else(|shown| BytesMut::from(&shown[..]));
        }
    }

    /// Puts another message in the place of what was taken.
    pub(crate) fn replace(&mut self, whole: &[u8]) {
        self.shown = None;
        let mut buffer = BytesMut::with_capacity(GAP + whole.len());
        buffer.resize(GAP, 0);
        buffer.extend_from_slice(whole);
        (self.buffer, self.start) = (buffer, GAP);
    }

    /// Puts whole fields on top. Moves nothing as long as they fit into the gap.
    pub(crate) fn prepend(&mut self, fields: &[u8]) {
        self.hide();
        if fields.len() > self.start {
            let mut roomier = BytesMut::with_capacity(GAP + fields.len() + self.len());
            roomier.resize(GAP + fields.len(), 0);
            roomier.extend_from_slice(self.octets());
            self.start = GAP + fields.len();
            self.buffer = roomier;
        }
        self.start -= fields.len();
        self.buffer[self.start..][..fields.len()].copy_from_slice(fields);
    }

    /// Takes so many octets off the front.
    pub(crate) fn cut(&mut self, octets: usize) {
        let size = self.start + self.len();
        self.start = size.min(self.start + octets);
    }

    /// The whole message, and the memory that is reserved for it.
    pub(crate) fn finish(mut self) -> (Bytes, Reservation) {
        (self.show(), self.reservation)
    }
}

impl Mail {
    /// Begins to take a body in.
    #[must_use]
    pub fn intake(&self) -> Intake {
        let mut buffer = BytesMut::with_capacity(GAP + (12 << 10));
        buffer.resize(GAP, 0);
        Intake { buffer, start: GAP, shown: None, reservation: self.shared.budget.reserve() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;

    #[test]
    fn fields_go_on_top_however_many() {
        let mut buffer = BytesMut::new();
        buffer.resize(GAP, 0);
        let mut intake = Intake { buffer, start: GAP, shown: None, reservation: Budget::new(1 << 20).reserve() };
        intake.push(b"body").expect("room");
        assert_eq!(intake.len(), 4);
        let long = vec![b'x'; GAP - 2];
        for fields in [&b"c: 3\r\n"[..], &long, b"a: 1\r\n"] {
            intake.prepend(fields);
        }
        let expected = [&b"a: 1\r\n"[..], &long, b"c: 3\r\nbody"].concat();
        assert_eq!(intake.octets(), expected);
        intake.cut(6);
        assert_eq!(intake.octets(), &expected[6..]);
        let looked_at = intake.show();
        assert_eq!(looked_at, expected[6..]);
        intake.prepend(b"a: 1\r\n");
        drop(looked_at);
        assert_eq!(intake.finish().0, expected);
    }
}
