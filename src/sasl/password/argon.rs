//! argon2id (RFC 9106) in the PHC string form.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use subtle::ConstantTimeEq;

use super::UnknownScheme;

/// OWASP's second recommendation: as hard as one pass over 46 MiB, and kinder to many logins at once.
const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const LENGTH: usize = 32;

const MEMORY_LIMIT: u32 = 1024 * 1024;
/// In KiB over all passes; some five seconds.
const WORK_LIMIT: u64 = 4 * MEMORY_LIMIT as u64;
const LANES_LIMIT: u32 = 64;

pub(super) struct Argon {
    version: Version,
    params: Params,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

pub(super) fn hash(password: &[u8], salt: &[u8; 16]) -> String {
    let params = Params::new(MEMORY, PASSES, LANES, Some(LENGTH)).expect("constants within the bounds of RFC 9106");
    let mut hash = [0; LENGTH];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, &mut hash)
        .expect("16 octets of salt, 32 of hash and a password below 4 GiB");
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    format!("$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}${salt}${hash}")
}

impl Argon {
    /// Reads what follows `$argon2id$`.
    pub(super) fn parse(text: &str) -> Result<Self, UnknownScheme> {
        let malformed = UnknownScheme::Malformed;
        let mut parts = text.split('$');
        let (Some(version), Some(costs), Some(salt), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        let version = match version {
            "v=16" => Version::V0x10,
            "v=19" => Version::V0x13,
            _ => return Err(malformed),
        };
        let [memory, passes, lanes] = costs_of(costs).ok_or(malformed)?;
        if memory > MEMORY_LIMIT || u64::from(memory) * u64::from(passes) > WORK_LIMIT || lanes > LANES_LIMIT {
            return Err(UnknownScheme::TooCostly);
        }
        let salt = STANDARD_NO_PAD.decode(salt).map_err(|_| malformed)?;
        let hash = STANDARD_NO_PAD.decode(hash).map_err(|_| malformed)?;
        if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&hash.len()) {
            return Err(malformed);
        }
        let params = Params::new(memory, passes, lanes, Some(hash.len())).map_err(|_| malformed)?;
        Ok(Self { version, params, salt, hash })
    }

    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        let mut hash = vec![0; self.hash.len()];
        // Refused is only a password over 4 GiB, which is nobody's.
        let done = Argon2::new(Algorithm::Argon2id, self.version, self.params.clone())
            .hash_password_into(password, &self.salt, &mut hash)
            .is_ok();
        done && bool::from(hash.ct_eq(&self.hash))
    }

    pub(super) fn is_present(&self) -> bool {
        self.version == Version::V0x13
            && (self.params.m_cost(), self.params.t_cost(), self.params.p_cost()) == (MEMORY, PASSES, LANES)
            && self.salt.len() == 16
            && self.hash.len() == LENGTH
    }
}

/// `m=…,t=…,p=…` in this order.
fn costs_of(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split(',');
    let mut cost = |name: &str| parts.next()?.strip_prefix(name)?.parse().ok();
    let costs = [cost("m=")?, cost("t=")?, cost("p=")?];
    parts.next().is_none().then_some(costs)
}
