//! bcrypt, whose variants `$2a$`, `$2b$` and `$2y$` are one since their bugs were repaired.

use base64::{Engine, alphabet, engine::GeneralPurpose, engine::general_purpose::NO_PAD};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::UnknownScheme;

/// Writers differ in the bits behind the last octet; readers have never looked at them.
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

/// Some five seconds; each step more doubles it.
const COST_LIMIT: u32 = 16;

/// The key schedule takes no more.
const PASSWORD_LIMIT: usize = 72;

pub(super) struct Bcrypt {
    cost: u32,
    salt: [u8; 16],
    /// The 24th octet of the result is not stored.
    hash: [u8; 23],
}

impl Bcrypt {
    /// Reads what follows `$2b$`: `cost$` and 53 digits.
    pub(super) fn parse(text: &str) -> Result<Self, UnknownScheme> {
        let malformed = UnknownScheme::Malformed;
        let (cost, digits) = text.split_once('$').ok_or(malformed)?;
        let cost = match cost.parse() {
            Ok(cost @ 4..=31) if digits.len() == 53 && digits.is_ascii() => cost,
            _ => return Err(malformed),
        };
        if cost > COST_LIMIT {
            return Err(UnknownScheme::TooCostly);
        }
        let (salt, hash) = digits.split_at(22);
        let octets = |digits: &str| BASE64.decode(digits).map_err(|_| malformed);
        Ok(Self {
            cost,
            salt: octets(salt)?.try_into().map_err(|_| malformed)?,
            hash: octets(hash)?.try_into().map_err(|_| malformed)?,
        })
    }

    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        // The terminating NUL of C belongs to the key, as far as there is room.
        let mut key = Zeroizing::new([password, &[0]].concat());
        key.truncate(PASSWORD_LIMIT);
        bcrypt::bcrypt(self.cost, self.salt, &key)[..23].ct_eq(&self.hash).into()
    }
}
