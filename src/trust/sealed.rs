//! Secret keys at rest: sealed with AES-256-GCM (NIST SP 800-38D) under one master key.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::Fault;

/// The first octet of what is sealed: the way it is done, should there ever be another.
const FORM: u8 = 1;
const NONCE: usize = 12;

/// The key that other keys are sealed with. It opens nothing under another domain or selector than it was sealed for.
pub struct MasterKey(RandomizedNonceKey);

impl MasterKey {
    /// Takes the 32 octets of a key file.
    ///
    /// # Errors
    /// [`Fault::MasterKey`] for any other length.
    pub fn new(octets: &[u8]) -> Result<Self, Fault> {
        if octets.len() != 32 {
            return Err(Fault::MasterKey);
        }
        RandomizedNonceKey::new(&AES_256_GCM, octets).map(Self).map_err(|_| Fault::MasterKey)
    }

    /// Makes 32 new octets for a key file.
    ///
    /// # Errors
    /// [`Fault::Crypto`] when the system has no randomness.
    pub fn generate() -> Result<Zeroizing<[u8; 32]>, Fault> {
        let mut octets = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *octets).map_err(|_| Fault::Crypto)?;
        Ok(octets)
    }

    /// Seals a secret for a domain and selector: 1 octet of form, 12 of nonce, the encrypted secret, 16 of tag.
    ///
    /// # Errors
    /// [`Fault::Crypto`] when the system has no randomness.
    pub fn seal(&self, domain: &str, selector: &str, secret: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut body = secret.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(place(domain, selector)), &mut body);
        let nonce = nonce.map_err(|_| Fault::Crypto)?;
        Ok([&[FORM], &nonce.as_ref()[..], &body].concat())
    }

    /// Opens what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`Fault::Sealed`] when anything about it is wrong.
    pub fn open(&self, domain: &str, selector: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let [FORM, rest @ ..] = sealed else { return Err(Fault::Sealed) };
        let (nonce, body) = rest.split_at_checked(NONCE).ok_or(Fault::Sealed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Fault::Sealed)?;
        let mut body = Zeroizing::new(body.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(place(domain, selector)), &mut body);
        let length = opened.map_err(|_| Fault::Sealed)?.len();
        body.truncate(length);
        Ok(body)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(secret)")
    }
}

/// What is bound to a sealed key: neither half can hold a NUL, and the DNS folds case.
fn place(domain: &str, selector: &str) -> Vec<u8> {
    format!("dkim\0{domain}\0{selector}").to_ascii_lowercase().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master() -> MasterKey {
        MasterKey::new(&[7; 32]).expect("32 octets")
    }

    #[test]
    fn secrets_open_where_they_were_sealed() {
        let sealed = master().seal("example.org", "k1", b"secret").expect("sealed");
        assert_eq!(sealed.len(), 1 + 12 + 6 + 16);
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(*master().open("Example.ORG", "K1", &sealed).expect("opened"), b"secret");
        assert_ne!(master().seal("example.org", "k1", b"secret").expect("sealed"), sealed, "nonces must differ");
    }

    #[test]
    fn anything_else_stays_shut() {
        let sealed = master().seal("example.org", "k1", b"secret").expect("sealed");
        let other = MasterKey::new(&[8; 32]).expect("32 octets");
        assert_eq!(other.open("example.org", "k1", &sealed), Err(Fault::Sealed));
        assert_eq!(master().open("example.org", "k2", &sealed), Err(Fault::Sealed));
        assert_eq!(master().open("example.net", "k1", &sealed), Err(Fault::Sealed));
        assert_eq!(master().open("example.orgk", "1", &sealed), Err(Fault::Sealed));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(master().open("example.org", "k1", &damaged), Err(Fault::Sealed), "octet {at}");
            assert_eq!(master().open("example.org", "k1", &sealed[..at]), Err(Fault::Sealed), "{at} octets");
        }
    }

    #[test]
    fn master_keys_have_one_length_and_are_not_shown() {
        assert_eq!(MasterKey::new(&[0; 31]).map(|_| ()), Err(Fault::MasterKey));
        assert_ne!(*MasterKey::generate().expect("random"), *MasterKey::generate().expect("random"));
        assert_eq!(format!("{:?}", master()), "MasterKey(secret)");
    }
}
