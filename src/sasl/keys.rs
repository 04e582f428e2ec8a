//! What a server stores to speak SCRAM (RFC 5802 §3): enough to check a proof, not enough to make one.

use std::{fmt, num::NonZeroU32, str::FromStr};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{Secret, preparation};

/// The iterations of new keys: over the 4096 of RFC 7677 §4, and little of the client's time.
///
/// More would burden phones at every login while the argon2id hash beside these keys is what resists guessing best.
pub const DEFAULT_ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");

/// The octets of salt for new keys; decoys have as many.
pub const SALT_LENGTH: usize = 16;

const SCHEME: &str = "SCRAM-SHA-256";
const ITERATION_BOUNDS: std::ops::RangeInclusive<u32> = 4096..=10_000_000;
const SALT_LIMIT: usize = 256;

/// The keys of one account for SCRAM-SHA-256; as text `SCRAM-SHA-256$<iterations>:<salt>$<stored>:<server>` with
/// the last three in base64.
#[derive(Clone, Eq, PartialEq)]
pub struct ScramKeys {
    /// The PBKDF2 iterations.
    pub iterations: NonZeroU32,
    /// The salt, in octets.
    pub salt: Vec<u8>,
    /// `StoredKey`: what a proof is checked with.
    pub stored_key: [u8; 32],
    /// `ServerKey`: what the server proves itself with.
    pub server_key: [u8; 32],
}

/// Why a text is not [`ScramKeys`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeysError {
    /// Not the text form, or lengths that do not fit.
    #[error("malformed SCRAM keys")]
    Malformed,
    /// Iterations below 4096 (RFC 7677 §4) or above 10,000,000.
    #[error("SCRAM iterations are out of bounds")]
    Iterations,
}

impl ScramKeys {
    /// Derives the keys of a password, prepared with SASLprep; `salt` is fresh, [`SALT_LENGTH`] octets.
    ///
    /// Costs `iterations` times two SHA-256 compressions: some 2 ms for [`DEFAULT_ITERATIONS`].
    #[must_use]
    pub fn derive(password: &Secret, salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = salted_password(password, salt, iterations);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(&hmac_sha256(&*salted, b"Client Key")),
            server_key: hmac_sha256(&*salted, b"Server Key"),
        }
    }

    /// Keys for an account that does not exist: no password fits, and neither salt nor iterations change between
    /// attempts, so that nothing tells the account from a real one with keys of [`DEFAULT_ITERATIONS`].
    ///
    /// `username` is the name in the form that accounts are looked up by; `server_secret` never changes and
    /// is known to nobody else.
    #[must_use]
    pub fn decoy(username: &str, server_secret: &[u8]) -> Self {
        let derived = |purpose: &[u8]| {
            let mut input = Vec::with_capacity(purpose.len() + username.len());
            input.extend_from_slice(purpose);
            input.extend_from_slice(username.as_bytes());
            hmac_sha256(server_secret, &input)
        };
        Self {
            iterations: DEFAULT_ITERATIONS,
            salt: derived(b"decoy salt\0")[..SALT_LENGTH].to_vec(),
            stored_key: derived(b"decoy stored key\0"),
            server_key: derived(b"decoy server key\0"),
        }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let malformed = KeysError::Malformed;
        let mut parts = text.split('$');
        let (Some(SCHEME), Some(salting), Some(keys), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        let (iterations, salt) = salting.split_once(':').ok_or(malformed)?;
        let (stored, server) = keys.split_once(':').ok_or(malformed)?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| malformed)?;
        if !ITERATION_BOUNDS.contains(&iterations.get()) {
            return Err(KeysError::Iterations);
        }
        let key = |text: &str| -> Option<[u8; 32]> { STANDARD.decode(text).ok()?.try_into().ok() };
        let salt = STANDARD.decode(salt).map_err(|_| malformed)?;
        if salt.is_empty() || salt.len() > SALT_LIMIT {
            return Err(malformed);
        }
        Ok(Self {
            iterations,
            salt,
            stored_key: key(stored).ok_or(malformed)?,
            server_key: key(server).ok_or(malformed)?,
        })
    }
}

impl FromStr for ScramKeys {
    type Err = KeysError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
        let (salt, stored, server) = (base64(&self.salt), base64(&self.stored_key), base64(&self.server_key));
        write!(f, "{SCHEME}${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// The server key lets its holder pose as the server: never printed.
impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// `SaltedPassword := Hi(Normalize(password), salt, i)` (RFC 5802 §3).
pub(crate) fn salted_password(password: &Secret, salt: &[u8], iterations: NonZeroU32) -> zeroize::Zeroizing<[u8; 32]> {
    let prepared = zeroize::Zeroizing::new(preparation::password(password.expose()).into_owned());
    let mut salted = zeroize::Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, prepared.as_bytes(), &mut *salted);
    salted
}

pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut octets = [0; 32];
    octets.copy_from_slice(tag.as_ref());
    octets
}

pub(crate) fn sha256(message: &[u8]) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest::digest(&digest::SHA256, message).as_ref());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hashlib and hmac.
    #[test]
    fn keys_are_those_of_others() {
        let salt: Vec<u8> = (0..16).collect();
        let text = "SCRAM-SHA-256$10000:AAECAwQFBgcICQoLDA0ODw==$4F9IyJ+yt3Cg04nGBj4ktAYW6GHAfjIjwMOaBqyrggM=:\
                    XHKmXB/o+0xg6SJ3nJO2pauIs6k3tjcZYxLPipvvTrA=";
        let keys = ScramKeys::derive(&Secret::from("pA\u{308}ssword \u{2168}"), &salt, DEFAULT_ITERATIONS);
        assert_eq!(keys.to_string(), text);
        assert_eq!(ScramKeys::parse(text), Ok(keys));
    }

    #[test]
    fn wrong_texts_are_refused() {
        let key = STANDARD.encode([1; 32]);
        for (text, expected) in [
            (String::new(), KeysError::Malformed),
            (format!("SCRAM-SHA-1$4096:AAAA${key}:{key}"), KeysError::Malformed),
            (format!("SCRAM-SHA-256$4096:${key}:{key}"), KeysError::Malformed),
            (format!("SCRAM-SHA-256$0:AAAA${key}:{key}"), KeysError::Malformed),
            (format!("SCRAM-SHA-256$4095:AAAA${key}:{key}"), KeysError::Iterations),
            (format!("SCRAM-SHA-256$10000001:AAAA${key}:{key}"), KeysError::Iterations),
            (format!("SCRAM-SHA-256$4096:AAAA${key}"), KeysError::Malformed),
            (format!("SCRAM-SHA-256$4096:AAAA${key}:AAAA"), KeysError::Malformed),
            (format!("SCRAM-SHA-256$4096:AAAA${key}:{key}$"), KeysError::Malformed),
            (format!("SCRAM-SHA-256$4096:{}${key}:{key}", STANDARD.encode([0; 257])), KeysError::Malformed),
        ] {
            assert_eq!(ScramKeys::parse(&text), Err(expected), "{text}");
        }
        assert!(ScramKeys::parse(&format!("SCRAM-SHA-256$4096:AAAA${key}:{key}")).is_ok());
    }

    #[test]
    fn decoys_are_stable_and_differ_by_name_and_server() {
        let decoy = ScramKeys::decoy("bob", b"secret");
        assert_eq!(decoy, ScramKeys::decoy("bob", b"secret"));
        assert_eq!((decoy.iterations, decoy.salt.len()), (DEFAULT_ITERATIONS, SALT_LENGTH));
        assert_ne!(decoy.salt, ScramKeys::decoy("eve", b"secret").salt);
        assert_ne!(decoy.salt, ScramKeys::decoy("bob", b"other").salt);
        assert_ne!(decoy.stored_key, decoy.server_key);
    }
}
