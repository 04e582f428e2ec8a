//! The certificate of the first start: good enough to begin with, for whoever is given the file to trust.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use posthorn_config::CertificatePair;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::TlsError;

/// Writes a self-signed pair (ECDSA P-256, ten years) for `hostname`, `localhost` and the loopback addresses, unless
/// both files are there. The key is readable by its owner only.
///
/// # Errors
/// [`TlsError::Create`] when the folder cannot be written or the name cannot stand in a certificate.
pub(crate) fn ensure(pair: &CertificatePair, hostname: &str) -> Result<(), TlsError> {
    if !pair.may_create || (pair.certificate.exists() && pair.key.exists()) {
        return Ok(());
    }
    let failed = |reason: String| TlsError::Create { path: pair.certificate.clone(), reason };
    let (certificate, key) = generate(hostname).map_err(|error| failed(error.to_string()))?;
    write(&pair.key, 0o600, &key).map_err(|error| failed(error.to_string()))?;
    write(&pair.certificate, 0o644, &certificate).map_err(|error| failed(error.to_string()))?;
    tracing::info!(certificate = %pair.certificate.display(), hostname, "made a self-signed certificate");
    Ok(())
}

fn generate(hostname: &str) -> Result<(String, String), rcgen::Error> {
    let mut names = vec![hostname.to_owned()];
    if hostname != "localhost" {
        names.push("localhost".to_owned());
    }
    let mut params = CertificateParams::new(names)?;
    params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    params.subject_alt_names.push(SanType::IpAddress(Ipv6Addr::LOCALHOST.into()));
    params.distinguished_name.push(DnType::CommonName, hostname);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    // A client whose clock is behind ours must be able to connect at once.
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * 3650).into();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Written beside its place and moved there, so that nobody ever reads half a file.
fn write(path: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pair_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name| folder.path().join("tls").join(name);
        let pair = CertificatePair { certificate: path("c.pem"), key: path("k.pem"), may_create: true };
        ensure(&pair, "mail.example.org").expect("made");
        assert_eq!(fs::metadata(&pair.key).expect("key").permissions().mode() & 0o777, 0o600);
        let first = fs::read(&pair.certificate).expect("certificate");
        ensure(&pair, "mail.example.org").expect("kept");
        assert_eq!(fs::read(&pair.certificate).expect("certificate"), first);
    }

    #[test]
    fn nothing_is_made_where_something_was_configured() {
        let folder = tempfile::tempdir().expect("folder");
        let pair = CertificatePair {
            certificate: folder.path().join("c.pem"),
            key: folder.path().join("k.pem"),
            may_create: false,
        };
        ensure(&pair, "mail.example.org").expect("nothing to do");
        assert!(!pair.certificate.exists());
    }
}
