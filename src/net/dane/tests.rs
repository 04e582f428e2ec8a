use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::*;

/// A chain of two: a server's certificate for `mx.example` and the authority above it.
struct Chain {
    own: CertificateDer<'static>,
    authority: CertificateDer<'static>,
}

impl Chain {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority");
        let mut params = CertificateParams::new(vec!["mx.example".to_owned()]).expect("params");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("key");
        let own = params.signed_by(&key, &authority).expect("certificate");
        Self { own: own.der().clone(), authority: authority.der().clone() }
    }

    fn verify(&self, records: &[Tlsa], name: &str, now: UnixTime) -> Result<u8, rustls::Error> {
        let names = [ServerName::try_from(name.to_owned()).expect("name")];
        verify(records, &[self.own.clone(), self.authority.clone()], &names, now).map(|record| record.usage)
    }
}

fn key(der: &CertificateDer<'_>) -> Vec<u8> {
    X509Certificate::from_der(der).expect("certificate").1.tbs_certificate.subject_pki.raw.to_vec()
}

fn record(usage: u8, selector: u8, matching: u8, der: &CertificateDer<'_>) -> Tlsa {
    let selected = if selector == 0 { der.to_vec() } else { key(der) };
    let data = match matching {
        1 => digest(&SHA256, &selected).as_ref().to_vec(),
        2 => digest(&SHA512, &selected).as_ref().to_vec(),
        _ => selected,
    };
    Tlsa { usage, selector, matching, data }
}

/// So many years after 1970; the certificates hold from 1975 to 4096.
fn year(years: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_hours(years * 365 * 24))
}

#[test]
fn the_servers_own_key_is_enough_whatever_its_name_and_dates() {
    let chain = Chain::new();
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let records = [record(3, selector, matching, &chain.own)];
            assert_eq!(chain.verify(&records, "other.example", year(3000)), Ok(3), "{selector} {matching}");
        }
    }
}

#[test]
fn an_authority_vouches_for_names_and_dates() {
    let chain = Chain::new();
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let records = [record(2, selector, matching, &chain.authority)];
            assert_eq!(chain.verify(&records, "mx.example", year(50)), Ok(2), "{selector} {matching}");
            let error = chain.verify(&records, "other.example", year(50)).expect_err("another name");
            let mismatch =
                matches!(error, rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }));
            assert!(mismatch, "{error:?}");
        }
    }
    let old = chain.verify(&[record(2, 0, 1, &chain.authority)], "mx.example", year(1)).expect_err("not valid yet");
    assert!(matches!(old, rustls::Error::InvalidCertificate(_)), "{old:?}");
}

#[test]
fn an_authority_from_the_dns_need_not_be_sent() {
    let chain = Chain::new();
    let names = [ServerName::try_from("mx.example").expect("name")];
    let own = std::slice::from_ref(&chain.own);
    assert!(verify(&[record(2, 0, 0, &chain.authority)], own, &names, year(50)).is_ok());
    assert!(verify(&[record(2, 0, 1, &chain.authority)], own, &names, year(50)).is_err(), "a digest is no certificate");
}

#[test]
fn other_keys_do_not_match() {
    let (chain, other) = (Chain::new(), Chain::new());
    let mismatch = Err(CertificateError::ApplicationVerificationFailure.into());
    for records in [
        vec![record(3, 1, 1, &other.own)],
        vec![record(3, 1, 1, &chain.authority)],
        vec![record(2, 1, 1, &other.authority), record(3, 0, 2, &other.own)],
        vec![],
    ] {
        assert_eq!(chain.verify(&records, "mx.example", year(50)), mismatch, "{records:?}");
    }
    let both = [record(3, 1, 1, &other.own), record(2, 1, 1, &chain.authority)];
    assert_eq!(chain.verify(&both, "mx.example", year(50)), Ok(2), "one of several is enough");
    let foreign = Tlsa { data: key(&other.authority), ..record(2, 1, 0, &chain.authority) };
    assert!(chain.verify(&[foreign], "mx.example", year(50)).is_err());
}

#[test]
fn a_weaker_digest_does_not_count_beside_a_stronger_one() {
    let (chain, other) = (Chain::new(), Chain::new());
    let weak = record(3, 1, 1, &chain.own);
    assert!(chain.verify(std::slice::from_ref(&weak), "mx.example", year(50)).is_ok());
    assert!(chain.verify(&[weak.clone(), record(3, 1, 2, &other.own)], "mx.example", year(50)).is_err());
    assert!(chain.verify(&[weak, record(3, 0, 2, &other.own)], "mx.example", year(50)).is_ok(), "another selector");
}

#[test]
fn unusable_records_are_told() {
    let chain = Chain::new();
    assert!(is_usable(&[record(3, 1, 1, &chain.own)]));
    assert!(!is_usable(&[record(1, 1, 1, &chain.own), Tlsa { matching: 9, ..record(3, 1, 1, &chain.own) }]));
}
