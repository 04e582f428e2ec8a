//! Digests under a key of the installation: short names for things that strangers choose.

use aws_lc_rs::hmac;

use crate::generations::Key;

/// Makes digests.
pub(crate) struct Digest(hmac::Key);

impl Digest {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The digest of several texts; how they are parted matters.
    pub(crate) fn of(&self, texts: &[&str]) -> Key {
        let mut context = hmac::Context::with_key(&self.0);
        for text in texts {
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text.as_bytes());
        }
        let mut half = [0; 16];
        half.copy_from_slice(&context.sign().as_ref()[..16]);
        Key::from_be_bytes(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_and_the_parting_matter() {
        let digest = Digest::new(b"secret");
        assert_eq!(digest.of(&["a", "bc"]), digest.of(&["a", "bc"]));
        assert_ne!(digest.of(&["a", "bc"]), digest.of(&["ab", "c"]));
        assert_ne!(digest.of(&["a", "bc"]), Digest::new(b"other").of(&["a", "bc"]));
    }
}
