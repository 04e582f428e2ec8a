//! What can go wrong with keys and signatures.

/// A fault of a key or of the cryptographic library. None of them shows key material.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The text is not PEM of a private key that we can use.
    #[error("not a private key in PEM (PKCS#8, or PKCS#1 for RSA)")]
    Pem,
    /// The key is damaged, of another type, or RSA below 2048 or above 8192 bits.
    #[error("not an RSA key of 2048 to 8192 bits and not an Ed25519 key")]
    Key,
    /// A secret has the wrong length.
    #[error("a master key has 32 octets")]
    MasterKey,
    /// A sealed secret was changed, or belongs to another key, domain or selector.
    #[error("the sealed key does not open: another master key, domain or selector, or damaged")]
    Sealed,
    /// A selector is not a domain name's labels (RFC 6376 §3.1).
    #[error("not a DKIM selector")]
    Selector,
    /// The cryptographic library refused, as it does when the system has no randomness.
    #[error("the cryptographic library failed")]
    Crypto,
}
