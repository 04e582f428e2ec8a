//! PBKDF2 with HMAC-SHA-256 (RFC 8018 §5.2), as Python's passlib and OpenLDAP's pw-pbkdf2 write it.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use super::UnknownScheme;

const ROUNDS_LIMIT: u32 = 10_000_000;

pub(super) struct Pbkdf2 {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Pbkdf2 {
    /// Reads `rounds$salt$hash`.
    pub(super) fn parse(text: &str) -> Result<Self, UnknownScheme> {
        let malformed = UnknownScheme::Malformed;
        let mut parts = text.split('$');
        let (Some(rounds), Some(salt), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        let rounds: NonZeroU32 = rounds.parse().map_err(|_| malformed)?;
        if rounds.get() > ROUNDS_LIMIT {
            return Err(UnknownScheme::TooCostly);
        }
        let octets = |digits: &str| STANDARD_NO_PAD.decode(digits.replace('.', "+")).map_err(|_| malformed);
        let (salt, hash) = (octets(salt)?, octets(hash)?);
        if !(16..=64).contains(&hash.len()) || salt.len() > 1024 {
            return Err(malformed);
        }
        Ok(Self { rounds, salt, hash })
    }

    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, self.rounds, &self.salt, password, &self.hash).is_ok()
    }
}
