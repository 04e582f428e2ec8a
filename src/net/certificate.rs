//! What a certificate says of itself, for those who watch over it.

use std::path::Path;

use chrono::{DateTime, Utc};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::dns::Tlsa;
use crate::keyring::{Source, names_inside, read_pair};
use crate::tls::provider;
use crate::{Roots, TlsError, dane};

/// A certificate chain that goes with its key.
#[derive(Clone, Debug)]
pub struct CertificateFacts {
    /// The names it is good for, as written inside; `*.example.org` stands for one label.
    pub names: Vec<String>,
    /// From when on it is good.
    pub not_before: DateTime<Utc>,
    /// Until when.
    pub not_after: DateTime<Utc>,
    /// Whether it vouches for itself.
    pub self_signed: bool,
    key: CertifiedKey,
}

impl CertificateFacts {
    /// Reads a chain and its key (PEM) as a listener would.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] when a file cannot be read, is not what it should be, or does not go with the other.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let source = Source { names: Vec::new(), certificate: certificate.to_owned(), key: key.to_owned() };
        let key = read_pair(&source, &provider())?;
        let unusable = |reason: String| TlsError::Unusable { path: certificate.to_owned(), reason };
        let der = key.cert.first().ok_or_else(|| unusable("no certificate in it".to_owned()))?;
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| unusable(error.to_string()))?;
        let time = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::UNIX_EPOCH);
        Ok(Self {
            names: names_inside(&key),
            not_before: time(parsed.validity().not_before.timestamp()),
            not_after: time(parsed.validity().not_after.timestamp()),
            self_signed: parsed.issuer() == parsed.subject(),
            key,
        })
    }

    /// Whether clients that know these authorities take it for `host` at this time.
    ///
    /// # Errors
    /// What they would say.
    pub fn verify(&self, roots: &Roots, host: &str, at: DateTime<Utc>) -> Result<(), String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        roots.verify(&self.key.cert, &[name], unix(at)).map_err(|error| error.to_string())
    }

    /// Whether one of the TLSA records of `host` is about it (RFC 7672 §3.1).
    ///
    /// # Errors
    /// Why none is.
    pub fn verify_tlsa(&self, records: &[Tlsa], host: &str, at: DateTime<Utc>) -> Result<(), String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        dane::verify(records, &self.key.cert, &[name], unix(at)).map(|_| ()).map_err(|error| error.to_string())
    }

    /// What is published of it as a TLSA record: `3 1 1` and the SHA-256 of its public key (RFC 7672 §3.1.1).
    #[must_use]
    pub fn tlsa(&self) -> Option<String> {
        let (_, parsed) = X509Certificate::from_der(self.key.cert.first()?).ok()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, parsed.public_key().raw);
        Some(format!("3 1 1 {}", digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect::<String>()))
    }
}

fn unix(at: DateTime<Utc>) -> UnixTime {
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_tells_its_names_and_dates() {
        let folder = tempfile::tempdir().expect("folder");
        let made = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).expect("certificate");
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let facts = CertificateFacts::read(&certificate, &key).expect("read");
        assert_eq!(facts.names, ["mail.example.org"]);
        assert!(facts.self_signed);
        let now = facts.not_before + chrono::TimeDelta::days(1);
        let roots = Roots::from_pem(made.cert.pem().as_bytes()).expect("roots");
        assert!(facts.verify(&roots, "mail.example.org", facts.not_after + chrono::TimeDelta::days(1)).is_err());
        assert!(facts.verify(&roots, "other.example.org", now).is_err());
        let words = facts.tlsa().expect("a record");
        let data = (0..32).map(|at| u8::from_str_radix(&words[6 + 2 * at..8 + 2 * at], 16).expect("hex")).collect();
        let record = Tlsa { usage: 3, selector: 1, matching: 1, data };
        facts.verify_tlsa(std::slice::from_ref(&record), "mail.example.org", now).expect("its own record");
        let other = Tlsa { data: vec![0; 32], ..record };
        assert!(facts.verify_tlsa(&[other], "mail.example.org", now).is_err());
    }

    #[test]
    fn a_missing_file_is_named() {
        let fault = CertificateFacts::read(Path::new("/nowhere/c.pem"), Path::new("/nowhere/k.pem"));
        assert!(fault.expect_err("no file").to_string().contains("/nowhere/c.pem"));
    }
}
