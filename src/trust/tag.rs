//! Short proofs that we wrote something: truncated HMAC-SHA-256, in letters that survive folding of case.

use aws_lc_rs::{constant_time, hmac};

use crate::base32;

/// A secret that several kinds of text are proved with; each kind has a name, so that no proof serves another.
pub(crate) struct Prover(hmac::Key);

impl Prover {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The proof of some parts, in so many letters of 5 bits each. Case does not count in the parts.
    pub(crate) fn prove(&self, kind: &str, parts: &[&str], letters: usize) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [kind].iter().chain(parts) {
            // The length in front keeps ("ab", "c") apart from ("a", "bc").
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.to_ascii_lowercase().as_bytes());
        }
        let mut proof = base32::encode(context.sign().as_ref());
        proof.truncate(letters);
        proof
    }

    /// Whether a proof is right; takes the same time wherever it is wrong.
    pub(crate) fn holds(&self, kind: &str, parts: &[&str], proof: &str, letters: usize) -> bool {
        let right = self.prove(kind, parts, letters);
        constant_time::verify_slices_are_equal(right.as_bytes(), proof.to_ascii_lowercase().as_bytes()).is_ok()
    }
}

impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prover(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_bind_kind_parts_and_secret() {
        let prover = Prover::new(b"secret");
        let proof = prover.prove("a", &["x", "yz"], 8);
        assert_eq!(proof.len(), 8);
        assert!(prover.holds("a", &["X", "yz"], &proof.to_uppercase(), 8));
        assert!(!prover.holds("b", &["x", "yz"], &proof, 8));
        assert!(!prover.holds("a", &["xy", "z"], &proof, 8));
        assert!(!prover.holds("a", &["x", "yz"], &proof[..7], 8));
        assert!(!prover.holds("a", &["x", "yz"], "", 8));
        assert!(!Prover::new(b"other").holds("a", &["x", "yz"], &proof, 8));
        assert_eq!(format!("{prover:?}"), "Prover(secret)");
    }
}
