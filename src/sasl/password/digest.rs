//! The LDAP schemes: one digest of the password, with salt (`{SSHA}`) or without (`{SHA}`). Fast to guess, thus only
//! ever read.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;

use super::UnknownScheme;

/// The hash function inside a [`Scheme`](super::Scheme).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Digest {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// How many octets come out.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

pub(super) struct Sha {
    digest: Digest,
    /// Digest, then salt.
    octets: Vec<u8>,
}

impl Sha {
    /// Reads what follows `{NAME}`, the name being in upper case; `None` when it is none of this family.
    pub(super) fn parse(name: &str, text: &str) -> Option<Result<Self, UnknownScheme>> {
        let (digest, salted) = match name {
            "SHA" | "SHA1" => (Digest::Sha1, false),
            "SHA256" => (Digest::Sha256, false),
            "SHA512" => (Digest::Sha512, false),
            "SSHA" => (Digest::Sha1, true),
            "SSHA256" => (Digest::Sha256, true),
            "SSHA512" => (Digest::Sha512, true),
            _ => return None,
        };
        let salt_lengths = if salted { 1..=256 } else { 0..=0 };
        let sha = STANDARD.decode(text).ok().and_then(|octets| {
            let salt = octets.len().checked_sub(digest.length())?;
            salt_lengths.contains(&salt).then_some(Self { digest, octets })
        });
        Some(sha.ok_or(UnknownScheme::Malformed))
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn is_salted(&self) -> bool {
        self.octets.len() > self.digest.length()
    }

    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        let (hash, salt) = self.octets.split_at(self.digest.length());
        let mut context = digest::Context::new(self.digest.algorithm());
        context.update(password);
        context.update(salt);
        context.finish().as_ref().ct_eq(hash).into()
    }
}
