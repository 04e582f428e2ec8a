//! SHA-crypt, the `$5$` and `$6$` of crypt(3).

use sha_crypt::Params;
use subtle::ConstantTimeEq;

use super::{Digest, UnknownScheme};

const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ROUNDS_LIMIT: u32 = 10_000_000;

/// Each round reads the password up to three times: whoever logs in must not choose how long that takes.
const PASSWORD_LIMIT: usize = 1024;

pub(super) struct ShaCrypt<'a> {
    digest: Digest,
    params: Params,
    salt: &'a str,
    hash: &'a str,
}

impl<'a> ShaCrypt<'a> {
    /// Reads `[rounds=N$]salt$hash`, what follows `$5$` or `$6$`.
    pub(super) fn parse(digest: Digest, text: &'a str) -> Result<Self, UnknownScheme> {
        let malformed = UnknownScheme::Malformed;
        let (params, text) = match text.strip_prefix("rounds=") {
            Some(text) => {
                let (rounds, text) = text.split_once('$').ok_or(malformed)?;
                let rounds: u32 = rounds.parse().map_err(|_| malformed)?;
                if rounds > ROUNDS_LIMIT {
                    return Err(UnknownScheme::TooCostly);
                }
                // crypt(3) computes with 1000 where fewer are asked for.
                (Params::new(rounds.max(Params::ROUNDS_MIN)).map_err(|_| malformed)?, text)
            }
            None => (Params::default(), text),
        };
        let (salt, hash) = text.split_once('$').ok_or(malformed)?;
        let digits = (digest.length() * 8).div_ceil(6);
        if hash.len() != digits || !hash.bytes().all(|b| DIGITS.contains(&b)) {
            return Err(malformed);
        }
        Ok(Self { digest, params, salt, hash })
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        if password.len() > PASSWORD_LIMIT {
            return false;
        }
        let salt = self.salt.as_bytes();
        let digits = match self.digest {
            Digest::Sha256 => digits_256(&sha_crypt::sha256_crypt(password, salt, self.params)),
            _ => digits_512(&sha_crypt::sha512_crypt(password, salt, self.params)),
        };
        digits.ct_eq(self.hash.as_bytes()).into()
    }
}

/// Ten groups of three octets that wander through the thirds of the digest, then the two octets left.
fn digits_256(hash: &[u8; 32]) -> Vec<u8> {
    let mut digits = Vec::with_capacity(43);
    let mut group = [0, 10, 20];
    for _ in 0..10 {
        push(&mut digits, group.map(|at| hash[at]), 4);
        group = [group[2] + 1, group[0] + 1, group[1] + 1];
    }
    push(&mut digits, [0, hash[31], hash[30]], 3);
    digits
}

/// The same with 21 groups, the other way round, and one octet left.
fn digits_512(hash: &[u8; 64]) -> Vec<u8> {
    let mut digits = Vec::with_capacity(86);
    let mut group = [0, 21, 42];
    for _ in 0..21 {
        push(&mut digits, group.map(|at| hash[at]), 4);
        group = [group[1] + 1, group[2] + 1, group[0] + 1];
    }
    push(&mut digits, [0, 0, hash[63]], 2);
    digits
}

/// The lowest six bits come first.
fn push(digits: &mut Vec<u8>, octets: [u8; 3], count: usize) {
    let mut bits = octets.into_iter().fold(0, |bits, octet| bits << 8 | usize::from(octet));
    for _ in 0..count {
        digits.push(DIGITS[bits & 63]);
        bits >>= 6;
    }
}
