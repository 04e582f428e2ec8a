//! DANE: a server's certificate against TLSA records (RFC 6698, RFC 7671, RFC 7672).
//!
//! The records are given and have been proved secure; where they come from is the business of [`crate::dns`].

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::dns::Tlsa;
use crate::tls::provider;

/// Whether DANE can authenticate with these records: at least one is usable. If not, TLS is demanded without
/// authentication (RFC 7672 §2.2, §3.1.3).
#[must_use]
pub fn is_usable(records: &[Tlsa]) -> bool {
    records.iter().any(Tlsa::is_usable)
}

/// Finds a record that the chain (the server's own certificate first) matches.
///
/// With usage 3 the server's key alone counts: names and dates are not looked at (RFC 7672 §3.1.1). With usage 2 the
/// chain must lead to the authority that the record names, and the certificate must be for one of `names`
/// (RFC 7672 §3.1.2, §3.2.2).
///
/// # Errors
/// Why none matches. [`CertificateError::ApplicationVerificationFailure`] when none is about this chain.
pub(crate) fn verify<'r>(
    records: &'r [Tlsa],
    chain: &[CertificateDer<'_>],
    names: &[ServerName<'_>],
    now: UnixTime,
) -> Result<&'r Tlsa, rustls::Error> {
    let Some((own, others)) = chain.split_first() else { return Err(rustls::Error::NoCertificatesPresented) };
    let usable: Vec<_> = records.iter().filter(|record| record.is_usable() && is_strongest(record, records)).collect();
    if let Some(record) = usable.iter().find(|record| record.usage == 3 && matches(record, own)) {
        return Ok(record);
    }
    let mut failure = CertificateError::ApplicationVerificationFailure.into();
    for record in usable.into_iter().filter(|record| record.usage == 2) {
        for anchor in anchors(record, others) {
            match leads_to(anchor, own, others, names, now) {
                Ok(()) => return Ok(record),
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}

/// The certificates that `record` names as authorities: those of the chain that match, and the record's own octets
/// where they are a whole certificate, which the server need not send (RFC 7671 §5.2.2).
fn anchors(record: &Tlsa, chain: &[CertificateDer<'_>]) -> Vec<CertificateDer<'static>> {
    let mut anchors: Vec<_> = chain.iter().take(LONGEST_CHAIN).filter(|der| matches(record, der)).cloned().collect();
    if anchors.is_empty() && record.selector == 0 && record.matching == 0 {
        anchors.push(CertificateDer::from(record.data.clone()));
    }
    anchors.into_iter().map(CertificateDer::into_owned).collect()
}

fn leads_to(
    anchor: CertificateDer<'static>,
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    names: &[ServerName<'_>],
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(anchor)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut failure = rustls::Error::General("there is no name to verify".into());
    for name in names {
        match verifier.verify_server_cert(own, others, name, &[], now) {
            Ok(_) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn matches(record: &Tlsa, der: &CertificateDer<'_>) -> bool {
    let key;
    let selected: &[u8] = if record.selector == 0 {
        der
    } else {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
        key = certificate.tbs_certificate.subject_pki.raw.to_vec();
        &key
    };
    match record.matching {
        0 => selected == record.data,
        1 => digest(&SHA256, selected).as_ref() == record.data,
        2 => digest(&SHA512, selected).as_ref() == record.data,
        _ => false,
    }
}

/// RFC 7671 §9: beside a stronger digest of the same kind a weaker one does not count.
fn is_strongest(record: &Tlsa, records: &[Tlsa]) -> bool {
    let same = |other: &&Tlsa| (other.usage, other.selector) == (record.usage, record.selector) && other.is_usable();
    record.matching == 0 || records.iter().filter(same).all(|other| other.matching <= record.matching)
}

/// Certificates of a chain that are looked at.
const LONGEST_CHAIN: usize = 10;

#[cfg(test)]
mod tests;
