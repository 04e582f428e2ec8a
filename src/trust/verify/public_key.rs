//! Key records (RFC 6376 §3.6.1, RFC 8463 §4) and what they verify.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};

use super::tags::{Tags, parts};
use crate::KeyType;

/// A key as it is published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PublicKey {
    kind: KeyType,
    octets: Vec<u8>,
    bits: usize,
    /// The domain only tries DKIM out (`t=y`).
    pub(super) testing: bool,
    /// The identity must be of the very domain (`t=s`).
    pub(super) strict: bool,
}

/// RFC 8301 §3.2: shorter RSA keys prove nothing.
const SHORTEST: usize = 1024;
const LONGEST: usize = 8192;

impl PublicKey {
    /// The first key among the TXT records of a name.
    ///
    /// # Errors
    /// What is wrong with the last record, when none is a key.
    pub(super) fn of_records(records: &[String]) -> Result<Self, &'static str> {
        let mut flaw = "there is no key record";
        for record in records {
            match Self::parse(record) {
                Ok(key) => return Ok(key),
                Err(what) => flaw = what,
            }
        }
        Err(flaw)
    }

    fn parse(record: &str) -> Result<Self, &'static str> {
        let tags = Tags::parse(record.as_bytes()).ok_or("the key record cannot be read")?;
        match tags.text("v") {
            Some("DKIM1") if tags.first() == Some(b"v") => {}
            None if tags.raw("v").is_none() => {}
            _ => return Err("the key record is of another version"),
        }
        let kind = match tags.text("k") {
            None | Some("rsa") => KeyType::Rsa,
            Some("ed25519") => KeyType::Ed25519,
            Some(_) => return Err("the key is of an unknown kind"),
        };
        let lists =
            |name, word: &[u8]| tags.raw(name).is_none_or(|list| parts(list).any(|one| one == word || one == b"*"));
        if !lists("h", b"sha256") {
            return Err("the key is not for SHA-256");
        }
        if !lists("s", b"email") {
            return Err("the key is not for mail");
        }
        if tags.raw("p").ok_or("the key record has no key")?.is_empty() {
            return Err("the key has been revoked");
        }
        let octets = tags.base64("p").ok_or("the key cannot be read")?;
        let bits = match kind {
            KeyType::Ed25519 => (octets.len() == 32).then_some(256),
            KeyType::Rsa => modulus_bits(&octets),
        };
        let bits = bits.ok_or("the key cannot be read")?;
        let flag = |letter: &[u8]| tags.raw("t").is_some_and(|list| parts(list).any(|one| one == letter));
        Ok(Self { kind, octets, bits, testing: flag(b"y"), strict: flag(b"s") })
    }

    pub(super) fn kind(&self) -> KeyType {
        self.kind
    }

    /// Whether it is of a size that proves something.
    pub(super) fn is_strong(&self) -> bool {
        self.kind == KeyType::Ed25519 || (SHORTEST..=LONGEST).contains(&self.bits)
    }

    /// Whether a signature of a SHA-256 hash is this key's.
    pub(super) fn verifies(&self, hash: &Digest, signature: &[u8]) -> bool {
        match self.kind {
            KeyType::Rsa => UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &self.octets)
                .verify_digest(hash, signature)
                .is_ok(),
            // RFC 8463 §3: the hash is the message.
            KeyType::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.octets).verify(hash.as_ref(), signature).is_ok(),
        }
    }
}

/// The size of an RSA key in DER: a SubjectPublicKeyInfo, or the bare key within (RFC 8017 A.1.1).
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let (inside, _) = element(der, 0x30)?;
    let numbers = match element(inside, 0x30) {
        None => inside,
        Some((_, rest)) => {
            let (bits, _) = element(rest, 0x03)?;
            element(bits.strip_prefix(&[0])?, 0x30)?.0
        }
    };
    let (modulus, _) = element(numbers, 0x02)?;
    let first = modulus.iter().position(|octet| *octet != 0)?;
    let modulus = &modulus[first..];
    Some(modulus.len() * 8 - modulus[0].leading_zeros() as usize)
}

/// The contents of a DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    fn parse(record: &str) -> Result<PublicKey, &'static str> {
        PublicKey::of_records(&[record.to_owned()])
    }

    #[test]
    fn keys_are_read() {
        for kind in [KeyType::Rsa, KeyType::Ed25519] {
            let ours = SigningKey::generate(kind).expect("a key");
            let record = ours.record().expect("a record");
            let key = PublicKey::of_records(&["junk".to_owned(), record.clone()]).expect("a key");
            assert_eq!((key.kind(), key.bits, key.testing, key.strict), (kind, ours.bits(), false, false));
            let flagged = parse(&format!("{record}; t=y : s; n=notes")).expect("a key");
            assert!(flagged.testing && flagged.strict && key.is_strong());
        }
    }

    /// The key of RFC 8463 §A.2, whose RSA key has 1024 bits.
    #[test]
    fn short_keys_are_measured() {
        let key = parse(
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
        )
        .expect("a key");
        assert_eq!(key.bits, 1024);
        assert!(key.is_strong());
        let weak = parse(
            "p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALR3QEeO7C/6J52suLJK01a3y7LZ3J0SCPZn7ZhY5B9A7T04I3o6xhuCbJJaccYOr6nWy6abhBbyfRbGROIDND8CAwEAAQ==",
        )
        .expect("a key");
        assert_eq!(weak.bits, 512);
        assert!(!weak.is_strong());
    }

    #[test]
    fn what_is_no_key_is_told() {
        for (record, why) in [
            ("", "no key"),
            ("v=DKIM2; p=AAAA", "version"),
            ("k=rsa; v=DKIM1; p=AAAA", "version"),
            ("v=DKIM1; k=dsa; p=AAAA", "kind"),
            ("v=DKIM1; p=", "revoked"),
            ("v=DKIM1; k=ed25519; p=AAAA", "cannot be read"),
            ("v=DKIM1; p=AAAA", "cannot be read"),
            ("v=DKIM1; p=?", "cannot be read"),
            ("v=DKIM1; h=sha1; p=AAAA", "SHA-256"),
            ("v=DKIM1; s=web; p=AAAA", "mail"),
        ] {
            assert!(parse(record).is_err_and(|flaw| flaw.contains(why)), "{record}");
        }
        assert!(PublicKey::of_records(&[]).is_err());
    }

    #[test]
    fn lying_lengths_are_no_keys() {
        for der in [
            &[0x30][..],
            &[0x30, 0x84, 0, 0, 0, 1],
            &[0x30, 0x83, 0xff, 0xff, 0xff],
            &[0x30, 2, 2, 5],
            &[0x30, 2, 2, 0],
        ] {
            assert_eq!(modulus_bits(der), None, "{der:?}");
        }
    }
}
