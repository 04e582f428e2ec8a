//! Signing keys: made, imported, exported, and published in the DNS (RFC 6376 §3.6.1, RFC 8463).

use std::fmt;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::Fault;

/// The two kinds of keys that DKIM knows.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyType {
    /// RSA (RFC 6376); the one that every receiver checks. New keys have 2048 bits.
    Rsa,
    /// Ed25519 (RFC 8463).
    Ed25519,
}

/// A private key. `Debug` shows its type and nothing else; memory is wiped when it goes.
pub struct SigningKey(Kind);

enum Kind {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl KeyType {
    /// The word of `k=` (RFC 6376 §3.6.1): `rsa` or `ed25519`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Reads the word of `k=`, case folded.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Rsa, Self::Ed25519].into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word))
    }

    /// The word of `a=` (RFC 6376 §3.5).
    pub(crate) fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SigningKey {
    /// Makes a new key; RSA takes some hundred milliseconds.
    ///
    /// # Errors
    /// [`Fault::Crypto`] when the system has no randomness.
    pub fn generate(kind: KeyType) -> Result<Self, Fault> {
        let made = match kind {
            KeyType::Rsa => RsaKeyPair::generate(KeySize::Rsa2048).map(Kind::Rsa),
            KeyType::Ed25519 => Ed25519KeyPair::generate().map(Kind::Ed25519),
        };
        made.map(Self).map_err(|_| Fault::Crypto)
    }

    /// Imports the first private key of a PEM text: `PRIVATE KEY` (PKCS#8, RFC 5208) or `RSA PRIVATE KEY` (PKCS#1).
    ///
    /// # Errors
    /// [`Fault::Pem`] when there is none, [`Fault::Key`] when we cannot use it.
    pub fn from_pem(text: &str) -> Result<Self, Fault> {
        const DASHES: &str = "-----";
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY"] {
            let begin = format!("{DASHES}BEGIN {label}{DASHES}");
            let Some((_, rest)) = text.split_once(&begin) else { continue };
            let (inside, _) = rest.split_once(DASHES).ok_or(Fault::Pem)?;
            let packed: Zeroizing<String> = Zeroizing::new(inside.split_ascii_whitespace().collect());
            let der = Zeroizing::new(STANDARD.decode(packed.as_bytes()).map_err(|_| Fault::Pem)?);
            return Self::from_der(&der);
        }
        Err(Fault::Pem)
    }

    /// Reads a key from DER: PKCS#8 as [`Self::to_pkcs8`] writes it, or PKCS#1 for RSA.
    ///
    /// # Errors
    /// [`Fault::Key`].
    pub fn from_der(der: &[u8]) -> Result<Self, Fault> {
        let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Kind::Ed25519);
        let rsa = || RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).map(Kind::Rsa);
        ed25519().or_else(|_| rsa()).map(Self).map_err(|_| Fault::Key)
    }

    /// The key as PKCS#8 (RFC 5208) in DER, to be sealed and kept.
    ///
    /// # Errors
    /// [`Fault::Crypto`].
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let der = match &self.0 {
            Kind::Rsa(key) => AsDer::<Pkcs8V1Der<'_>>::as_der(key),
            Kind::Ed25519(key) => AsDer::<Pkcs8V1Der<'_>>::as_der(key),
        };
        der.map(|der| Zeroizing::new(der.as_ref().to_vec())).map_err(|_| Fault::Crypto)
    }

    /// The key as PEM, `PRIVATE KEY`, for export.
    ///
    /// # Errors
    /// [`Fault::Crypto`].
    pub fn to_pem(&self) -> Result<Zeroizing<String>, Fault> {
        let body = Zeroizing::new(STANDARD.encode(self.to_pkcs8()?));
        let mut pem = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 60));
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        for at in (0..body.len()).step_by(64) {
            pem.push_str(&body[at..body.len().min(at + 64)]);
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Ok(pem)
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> KeyType {
        match &self.0 {
            Kind::Rsa(_) => KeyType::Rsa,
            Kind::Ed25519(_) => KeyType::Ed25519,
        }
    }

    /// Its size in bits: of the modulus for RSA, 256 for Ed25519.
    #[must_use]
    pub fn bits(&self) -> usize {
        match &self.0 {
            Kind::Rsa(key) => key.public_modulus_len() * 8,
            Kind::Ed25519(_) => 256,
        }
    }

    /// The public key as the value of a TXT record (RFC 6376 §3.6.1), such as `v=DKIM1; k=rsa; p=…`. DNS software
    /// wants it in pieces of at most 255 octets: [`txt_strings`].
    ///
    /// # Errors
    /// [`Fault::Crypto`].
    pub fn record(&self) -> Result<String, Fault> {
        let public = match &self.0 {
            Kind::Rsa(key) => {
                let der: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| Fault::Crypto)?;
                STANDARD.encode(der.as_ref())
            }
            Kind::Ed25519(key) => STANDARD.encode(key.public_key().as_ref()),
        };
        Ok(format!("v=DKIM1; k={}; p={public}", self.kind()))
    }

    /// Signs a SHA-256 hash: RSA as PKCS#1 1.5, Ed25519 the hash as its message (RFC 8463 §3).
    pub(crate) fn sign(&self, hash: &Digest) -> Result<Vec<u8>, Fault> {
        match &self.0 {
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign_digest(&RSA_PKCS1_SHA256, hash, &mut signature).map_err(|_| Fault::Crypto)?;
                Ok(signature)
            }
            Kind::Ed25519(key) => {
                let signature = key.try_sign(hash.as_ref()).map_err(|_| Fault::Crypto)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {} bits, secret)", self.kind(), self.bits())
    }
}

/// A TXT record's value in character strings of at most 255 octets (RFC 1035 §3.3.14); the value must be ASCII.
pub fn txt_strings(record: &str) -> impl Iterator<Item = &str> {
    record.as_bytes().chunks(255).map(|piece| std::str::from_utf8(piece).unwrap_or_default())
}

/// A record as a line of a zone file (RFC 1035 §5.1), such as `key._domainkey.example.org. IN TXT "…" "…"`: no
/// parentheses, which a single line does not need and not every reader of zone files takes around strings.
#[must_use]
pub fn zone_line(selector: &str, domain: &str, record: &str) -> String {
    let strings: Vec<String> = txt_strings(record).map(|piece| format!("\"{piece}\"")).collect();
    format!("{selector}._domainkey.{domain}. IN TXT {}", strings.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_export_and_import() {
        for kind in [KeyType::Rsa, KeyType::Ed25519] {
            let key = SigningKey::generate(kind).expect("a key");
            let pem = key.to_pem().expect("PEM");
            assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n") && pem.lines().all(|line| line.len() <= 64));
            let text = format!("Some words before\r\n{}and after", pem.replace('\n', "\r\n"));
            let again = SigningKey::from_pem(&text).expect("imported");
            assert_eq!((again.kind(), again.bits()), (kind, key.bits()));
            assert_eq!(again.record(), key.record());
            assert_eq!(SigningKey::from_der(&key.to_pkcs8().expect("DER")).expect("a key").record(), key.record());
        }
    }

    #[test]
    fn old_rsa_pem_is_taken() {
        // The PKCS#1 key lies in the octet string that ends a PKCS#8 one.
        let key = SigningKey::generate(KeyType::Rsa).expect("a key");
        let pkcs8 = key.to_pkcs8().expect("DER");
        let pem = format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
            STANDARD.encode(&pkcs8[26..])
        );
        assert_eq!(SigningKey::from_pem(&pem).expect("imported").record(), key.record());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n?\n-----END PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(SigningKey::from_pem(text).map(|_| ()), Err(Fault::Pem), "{text}");
        }
        let wrong = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
        assert_eq!(SigningKey::from_pem(wrong).map(|_| ()), Err(Fault::Key));
    }

    #[test]
    fn secrets_stay_out_of_debug() {
        let key = SigningKey::generate(KeyType::Ed25519).expect("a key");
        assert_eq!(format!("{key:?}"), "SigningKey(ed25519 256 bits, secret)");
    }

    #[test]
    fn records_are_split_for_zones() {
        let rsa = SigningKey::generate(KeyType::Rsa).expect("a key").record().expect("a record");
        assert!(rsa.starts_with("v=DKIM1; k=rsa; p=MIIB"), "{rsa}");
        let pieces: Vec<&str> = txt_strings(&rsa).collect();
        assert!(pieces.len() == 2 && pieces.iter().all(|piece| piece.len() <= 255));
        assert_eq!(pieces.concat(), rsa);
        assert_eq!(
            zone_line("k", "example.org", &rsa),
            format!("k._domainkey.example.org. IN TXT \"{}\" \"{}\"", pieces[0], pieces[1])
        );
        let short = SigningKey::generate(KeyType::Ed25519).expect("a key").record().expect("a record");
        assert_eq!(zone_line("k", "example.org", &short), format!("k._domainkey.example.org. IN TXT \"{short}\""));
    }
}
