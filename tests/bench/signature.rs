//! DKIM signatures of the messages that are sent, so that their receiver has something to verify (RFC 6376).

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::{digest, signature};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

/// Whose signature messages bear.
#[derive(Args, Clone, Debug)]
pub(crate) struct Signing {
    /// An RSA key (PKCS #8, DER): messages are signed with it.
    #[arg(long = "sign-with")]
    key: Option<PathBuf>,
    /// The domain that signs; that of the author and of the sender.
    #[arg(long = "sign-for", default_value = "bench.example")]
    domain: String,
    /// The selector: the key's public half is the text of SELECTOR._domainkey.DOMAIN.
    #[arg(long = "selector", default_value = "bench")]
    selector: String,
}

/// A key and its name.
pub(crate) struct Signer {
    key: KeyPair,
    domain: String,
    selector: String,
}

/// What is signed: fields that differ from message to message are not, so that a text is signed once.
const FIELDS: [&str; 5] = ["From", "To", "Cc", "Date", "MIME-Version"];

impl Signing {
    pub(crate) fn signer(&self) -> anyhow::Result<Option<Signer>> {
        let Some(path) = &self.key else { return Ok(None) };
        let octets = std::fs::read(path).with_context(|| path.display().to_string())?;
        let key = KeyPair::from_pkcs8(&octets).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
        Ok(Some(Signer { key, domain: self.domain.clone(), selector: self.selector.clone() }))
    }
}

impl Signer {
    /// The field for a message without folded signed fields, whose text ends with one line end.
    pub(crate) fn field(&self, message: &str) -> anyhow::Result<String> {
        let (header, body) = message.split_once("\r\n\r\n").context("a message without text")?;
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, body.as_bytes()));
        let mut field = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d={}; s={};\r\n\th={};\r\n\tbh={hash};\r\n\tb=",
            self.domain,
            self.selector,
            FIELDS.join(":"),
        );
        let mut signed = String::new();
        for name in FIELDS {
            let line = header.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let value = line.with_context(|| format!("a message without {name}"))?;
            write!(signed, "{}:{value}\r\n", name.to_ascii_lowercase())?;
        }
        let own = field.strip_prefix("DKIM-Signature: ").unwrap_or(&field).replace("\r\n\t", " ");
        write!(signed, "dkim-signature:{own}")?;
        let mut octets = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut octets)
            .map_err(|_| anyhow::anyhow!("the key signs nothing"))?;
        let text = STANDARD.encode(octets);
        // Lines as other programs write them.
        let (first, rest) = text.split_at(text.len().min(72));
        field.push_str(first);
        for chunk in rest.as_bytes().chunks(72) {
            write!(field, "\r\n\t{}", std::str::from_utf8(chunk)?)?;
        }
        field.push_str("\r\n");
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_signature_is_over_what_the_standard_says() {
        let made = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public = made.public_key().as_ref().to_vec();
        let key = KeyPair::from_pkcs8(made.as_der().expect("its octets").as_ref()).expect("the same key");
        let signer = Signer { key, domain: "a.example".to_owned(), selector: "s".to_owned() };
        let message =
            "From: a@a.example\r\nTo: b\r\nCc: c\r\nDate: d\r\nMIME-Version: 1.0\r\nSubject: x\r\n\r\nHello\r\n";
        let field = signer.field(message).expect("signed");
        // printf 'Hello\r\n' | openssl dgst -sha256 -binary | base64
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, b"Hello\r\n"));
        assert!(field.contains(&format!("bh={hash};")), "{field}");
        let (unsigned, mark) = field.rsplit_once("\tb=").expect("its value is last");
        let canonical = format!(
            "from:a@a.example\r\nto:b\r\ncc:c\r\ndate:d\r\nmime-version:1.0\r\ndkim-signature:{} b=",
            unsigned.trim_start_matches("DKIM-Signature: ").split_whitespace().collect::<Vec<_>>().join(" ")
        );
        let mark = STANDARD.decode(mark.split_whitespace().collect::<String>()).expect("base64");
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
        key.verify(canonical.as_bytes(), &mark).expect("it verifies");
    }
}
