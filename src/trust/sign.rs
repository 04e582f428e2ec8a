//! DKIM signatures on what we send (RFC 6376, RFC 8463): relaxed/relaxed, one hash of the body for all keys.
//!
//! Not mail-auth's signer: that one hashes the body once per key, reads the clock itself and wants header and body in
//! one piece.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use posthorn_model::Domain;

use crate::canonical::{cover, put_signature, unsigned};
use crate::dkim::{Canonicalization, body_hash};
use crate::{Fault, SigningKey};

/// Who signs: a domain, a selector, and the key whose public half is published at `selector._domainkey.domain`.
#[derive(Clone, Debug)]
pub struct Signer {
    domain: Domain,
    selector: String,
    key: Arc<SigningKey>,
}

impl Signer {
    /// A signer.
    ///
    /// # Errors
    /// [`Fault::Selector`] when the selector cannot be a part of a domain name (RFC 6376 §3.1).
    pub fn new(domain: Domain, selector: &str, key: Arc<SigningKey>) -> Result<Self, Fault> {
        let sound = selector.is_ascii() && Domain::parse(selector).is_ok_and(|name| !name.is_literal());
        if !sound || domain.is_literal() {
            return Err(Fault::Selector);
        }
        Ok(Self { domain, selector: selector.to_owned(), key })
    }

    /// The domain of `d=`.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The selector of `s=`.
    #[must_use]
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The tags that say who signs: `a=…; c=relaxed/relaxed; d=…; s=…; t=…`.
    pub(crate) fn tags(&self, at: DateTime<Utc>) -> String {
        let algorithm = self.key.kind().algorithm();
        let Self { domain, selector, .. } = self;
        format!("a={algorithm}; c=relaxed/relaxed;\r\n\td={domain}; s={selector};\r\n\tt={}", at.timestamp())
    }

    /// Completes a field that ends in `b=`: signs what is hashed so far and the field itself.
    pub(crate) fn complete(&self, mut field: String, mut hash: digest::Context) -> Result<String, Fault> {
        hash.update(&unsigned(&field));
        let signature = self.key.sign(&hash.finish())?;
        put_signature(&mut field, &STANDARD.encode(signature));
        Ok(field)
    }
}

/// Signs a message for all signers at once. The result is one whole `DKIM-Signature` field with its CRLF per signer,
/// in their order, to be put on top.
///
/// `header` may end with or without its blank line; `text` is all behind that. Lines end in CRLF. From, To, Cc,
/// Subject, Date, Message-ID, Reply-To, In-Reply-To, References and the MIME fields are signed once more than they
/// are there, so that none can be added.
///
/// # Errors
/// [`Fault::Crypto`].
pub fn sign(signers: &[Signer], header: &[u8], text: &[u8], at: DateTime<Utc>) -> Result<Vec<u8>, Fault> {
    if signers.is_empty() {
        return Ok(Vec::new());
    }
    let covered = cover(header, &[]);
    let body = STANDARD.encode(body_hash(Canonicalization::Relaxed, text, None));
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&covered.canonical);
    let mut top = String::with_capacity(signers.len() * 1024);
    for signer in signers {
        let mut field = format!("DKIM-Signature: v=1; {};\r\n\th=", signer.tags(at));
        let _infallible = write!(field, "{};\r\n\tbh={body};\r\n\tb=", covered.names);
        top.push_str(&signer.complete(field, hash.clone())?);
    }
    Ok(top.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::tests::{keys_of, outcome};
    use crate::{Found, KeyType, Keys};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static SIGNERS: LazyLock<Vec<Signer>> = LazyLock::new(|| {
        let make = |kind, selector: &str| {
            let key = Arc::new(SigningKey::generate(kind).expect("a key"));
            Signer::new(Domain::parse("example.org").expect("a domain"), selector, key).expect("a signer")
        };
        vec![make(KeyType::Rsa, "r1"), make(KeyType::Ed25519, "e1.sub")]
    });

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_223_379, 0).expect("in range")
    }

    fn keys() -> Keys {
        keys_of(&SIGNERS)
    }

    const HEADER: &[u8] =
        b"Received: from a by b; now\r\nFrom: Bob <bob@example.org>\r\nTo: a@example.net,\r\n\tb@example.net\r\n\
        Subject:  two   words \r\nDate: Sat, 21 Nov 2026 01:09:39 +0000\r\nMessage-ID: <1@example.org>\r\n\
        MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";

    #[test]
    fn both_signatures_hold() {
        for text in [&b""[..], b"Hello.\r\n", b"Hello.\r\n \t\r\n\r\n \r\n", b"no end", b"a  b\t c \r\n\xff\xfe\r\n"] {
            let top = sign(&SIGNERS, HEADER, text, at()).expect("signed");
            let message = [&top, HEADER, text].concat();
            assert_eq!(outcome(&message, &keys()), ["pass example.org r1", "pass example.org e1.sub"], "{text:?}");
        }
    }

    #[test]
    fn fields_are_well_formed() {
        let top = sign(&SIGNERS, HEADER, b"x\r\n", at()).expect("signed");
        assert_eq!(posthorn_mime::header_fault(&top), None);
        assert_eq!(posthorn_mime::count_headers(&top, "DKIM-Signature"), 2);
        let top = String::from_utf8(top).expect("ASCII");
        assert!(top.split("\r\n").all(|line| line.len() <= 78), "{top}");
        assert!(top.starts_with(
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n\td=example.org; s=r1;\r\n\tt=1795223379;\r\n\th=from:from:to:to:"
        ), "{top}");
        assert_eq!(sign(&[], HEADER, b"", at()), Ok(Vec::new()));
    }

    #[test]
    fn the_blank_line_of_the_header_does_not_matter() {
        let short = &HEADER[..HEADER.len() - 2];
        assert_eq!(sign(&SIGNERS[1..], HEADER, b"x", at()), sign(&SIGNERS[1..], short, b"x", at()));
    }

    #[test]
    fn what_is_changed_or_added_is_noticed() {
        let text = b"Hello.\r\n";
        let top = sign(&SIGNERS, HEADER, text, at()).expect("signed");
        let judged = |header: &[u8], text: &[u8]| outcome(&[&top[..], header, text].concat(), &keys());
        let broken = |results: Vec<String>| results.len() == 2 && results.iter().all(|one| !one.starts_with("pass"));
        assert!(broken(judged(HEADER, b"Hello!\r\n")));
        for (from, to) in [("bob@", "eve@"), ("two", "tow"), ("Bob <", "Eve <")] {
            let header = String::from_utf8(HEADER.to_vec()).expect("ASCII").replace(from, to);
            assert!(broken(judged(header.as_bytes(), text)), "{to}");
        }
        for name in ["From", "To", "Subject", "Date", "Message-ID", "Cc", "Reply-To", "References", "Content-Type"] {
            let added = [format!("{name}: eve@example.com\r\n").as_bytes(), HEADER].concat();
            assert!(broken(judged(&added, text)), "a {name} was added");
        }
        let relayed = [b"Received: by c; later\r\nList-Id: <x.example>\r\n", HEADER].concat();
        assert_eq!(judged(&relayed, text), ["pass example.org r1", "pass example.org e1.sub"]);
    }

    #[test]
    fn other_keys_do_not_verify() {
        let top = sign(&SIGNERS, HEADER, b"", at()).expect("signed");
        let message = [&top, HEADER].concat();
        assert_eq!(outcome(&message, &Keys::new()), ["permerror example.org r1", "permerror example.org e1.sub"]);
        let mut keys = keys();
        let other = SigningKey::generate(KeyType::Ed25519).expect("a key").record().expect("a record");
        keys.insert("e1.sub._domainkey.example.org".to_owned(), Found::Some(vec![other]));
        keys.insert("r1._domainkey.example.org".to_owned(), Found::Later(String::new()));
        assert_eq!(outcome(&message, &keys), ["temperror example.org r1", "fail example.org e1.sub"]);
    }

    #[test]
    fn selectors_are_checked() {
        let key = Arc::new(SigningKey::generate(KeyType::Ed25519).expect("a key"));
        let domain = Domain::parse("example.org").expect("a domain");
        for selector in ["", "a b", "a;b", "a\r\nb", "ä", "-a", "[192.0.2.1]"] {
            let refused = Signer::new(domain.clone(), selector, key.clone()).map(|_| ());
            assert_eq!(refused, Err(Fault::Selector), "{selector:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Any header and body, as long as lines end as they must: what we sign, we find good, and so does mail-auth.
        #[test]
        fn odd_messages_are_signed_well(lines in prop::collection::vec("[ -~\t]{0,20}", 0..6), text in "([a \t]|\r\n){0,20}", tail in "[ \t]{0,3}") {
            let mut header = String::from("From: x@example.org\r\n");
            for line in lines {
                header.push_str(&format!("Subject: {line}\r\n {tail}\r\n\ty\r\n"));
            }
            let top = sign(&SIGNERS, header.as_bytes(), text.as_bytes(), at()).expect("signed");
            let message = [&top[..], header.as_bytes(), b"\r\n", text.as_bytes()].concat();
            prop_assert_eq!(outcome(&message, &keys()), ["pass example.org r1", "pass example.org e1.sub"]);
            if let Some(passes) = crate::oracle::passes(&message, &keys()) {
                prop_assert_eq!(passes, [true, true]);
            }
        }
    }
}
