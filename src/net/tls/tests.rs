use std::fs;
use std::path::Path;
use std::time::Duration;

use posthorn_config::{Certificate, Config, Listener, Speaks};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::rig::{Client, Rig, row};
use crate::{dial_tls, secure};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes NAME.pem and NAME.key.
    fn issue(&self, folder: &Path, name: &str) -> Certificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let file = name.replace('*', "any");
        let written = Certificate {
            names: Vec::new(),
            certificate: folder.join(format!("{file}.pem")),
            key: folder.join(format!("{file}.key")),
        };
        fs::write(&written.certificate, certificate.pem()).expect("written");
        fs::write(&written.key, key.serialize_pem()).expect("written");
        written
    }
}

fn imaps() -> Listener {
    row("imaps", Speaks::Imaps)
}

fn serve(row: Listener, change: impl FnOnce(&mut Config)) -> Rig {
    Rig::with(vec![row], Duration::from_secs(60), change)
}

fn trusting(pem: &str) -> Arc<ClientConfig> {
    crate::client_config(pem.as_bytes()).expect("config")
}

async fn dial(rig: &Rig, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<Client<TlsStream<TcpStream>>> {
    Ok(Client::new(dial_tls(("127.0.0.1", rig.port("imaps")), name, config).await?))
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate() {
    let (folder, ca) = (TempDir::new().expect("folder"), Authority::new("ca"));
    let rig = serve(imaps(), |config| {
        let first = ca.issue(folder.path(), "mail.example.org");
        (config.tls.certificate, config.tls.key) = (Some(first.certificate), Some(first.key));
        let mut named = ca.issue(folder.path(), "inside.example.com");
        named.names = vec!["Outside.example.com".to_owned()];
        config.tls.certificates = vec![ca.issue(folder.path(), "*.example.net"), named];
    });
    let config = trusting(&ca.pem);
    for name in ["mail.example.org", "MAIL.example.org", "a.example.net"] {
        let mut client = dial(&rig, name, &config).await.expect(name);
        client.expect("220 hello").await;
        assert!(client.ask("TLS").await.contains("server_name: Some("));
    }
    for name in ["a.b.example.net", "example.net", "inside.example.com", "outside.example.com"] {
        let error = dial(&rig, name, &config).await.err().expect(name);
        assert!(error.to_string().contains("not valid for name"), "{name}: {error}");
        let right = if name.starts_with("outside") { "inside.example.com" } else { "mail.example.org" };
        assert!(error.to_string().contains(right), "{name}: {error}");
    }
}

#[tokio::test]
async fn changed_files_are_read_again_unless_they_are_bad() {
    let (folder, old, new) = (TempDir::new().expect("folder"), Authority::new("old"), Authority::new("new"));
    let first = old.issue(folder.path(), "mail.example.org");
    let rig = serve(imaps(), |config| {
        (config.tls.certificate, config.tls.key) = (Some(first.certificate.clone()), Some(first.key.clone()));
    });
    dial(&rig, "mail.example.org", &trusting(&old.pem)).await.expect("the old one");
    fs::write(&first.certificate, "half a file").expect("written");
    tokio::time::sleep(LOOK_EVERY + Duration::from_millis(50)).await;
    dial(&rig, "mail.example.org", &trusting(&old.pem)).await.expect("still the old one");
    new.issue(folder.path(), "mail.example.org");
    tokio::time::sleep(LOOK_EVERY + Duration::from_millis(50)).await;
    dial(&rig, "mail.example.org", &trusting(&new.pem)).await.expect("the new one");
    assert!(dial(&rig, "mail.example.org", &trusting(&old.pem)).await.is_err());
}

#[tokio::test]
async fn client_certificates_are_noted_or_demanded() {
    let (folder, ours, theirs) = (TempDir::new().expect("folder"), Authority::new("ours"), Authority::new("theirs"));
    let authority = folder.path().join("ca.pem");
    fs::write(&authority, &ours.pem).expect("written");
    let own = shown(&ours.issue(folder.path(), "client.example.org"));
    let foreign = shown(&theirs.issue(folder.path(), "stranger.example.org"));
    for (mode, own_is, none_is, foreign_is) in [
        (ClientCertificate::None, "None", "None", "None"),
        (ClientCertificate::Optional, "client.example.org", "None", "None"),
        (ClientCertificate::Required, "client.example.org", "no session", "no session"),
    ] {
        let mut row = imaps();
        row.client_certificate = mode;
        let rig = serve(row, |config| config.tls.client_ca = Some(authority.clone()));
        let pem = fs::read(rig.folder.path().join("tls/certificate.pem")).expect("certificate");
        for (shown, wanted) in [(Some(&own), own_is), (None, none_is), (Some(&foreign), foreign_is)] {
            let noted = noted(&rig, &pem, shown).await;
            assert!(noted.contains(wanted), "{mode:?}: {noted}, not {wanted}");
        }
    }
}

type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn shown(files: &Certificate) -> Shown {
    let certificate = CertificateDer::from_pem_file(&files.certificate).expect("certificate");
    (vec![certificate], PrivateKeyDer::from_pem_file(&files.key).expect("key"))
}

/// What the server knows of the client's certificate.
async fn noted(rig: &Rig, ca: &[u8], shown: Option<&Shown>) -> String {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots(ca).expect("roots"));
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).expect("config"),
    };
    let stream = TcpStream::connect(("127.0.0.1", rig.port("imaps"))).await.expect("connected");
    let Ok(stream) = secure(stream, "localhost", &Arc::new(config)).await else { return "no session".to_owned() };
    let mut client = Client::new(stream);
    if client.line().await.is_empty() {
        return "no session".to_owned();
    }
    let facts = client.ask("TLS").await;
    facts.split("client_certificate: ").nth(1).expect("the fact").to_owned()
}

#[tokio::test]
async fn the_minimum_version_is_kept() {
    let old = |ca: &[u8]| {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).expect("versions");
        Arc::new(builder.with_root_certificates(roots(ca).expect("roots")).with_no_client_auth())
    };
    for (minimum, served) in [(TlsVersion::Tls12, true), (TlsVersion::Tls13, false)] {
        let rig = serve(imaps(), |config| config.tls.minimum = minimum);
        let pem = fs::read(rig.folder.path().join("tls/certificate.pem")).expect("certificate");
        let client = dial(&rig, "localhost", &old(&pem)).await;
        assert_eq!(client.is_ok(), served, "{minimum:?}");
        if let Ok(mut client) = client {
            client.expect("220 hello").await;
            let facts = client.ask("TLS").await;
            assert!(facts.contains("TLSv1.2") && facts.contains("channel_binding: None"), "{facts}");
        }
    }
}

#[test]
fn bad_files_are_named() {
    let (folder, ca) = (TempDir::new().expect("folder"), Authority::new("ca"));
    let (one, two) = (ca.issue(folder.path(), "one.example.org"), ca.issue(folder.path(), "two.example.org"));
    let load = |certificate: &Path, key: &Path, client_certificate| {
        let source = Source { names: Vec::new(), certificate: certificate.to_owned(), key: key.to_owned() };
        let wanted = Wanted { minimum: TlsVersion::Tls12, client_certificate, client_ca: None, upgrades: false };
        ServerTls::load(vec![source], wanted).map(|_| ()).map_err(|error| error.to_string())
    };
    let none = ClientCertificate::None;
    assert_eq!(load(&one.certificate, &one.key, none), Ok(()));
    let mixed = load(&one.certificate, &two.key, none).expect_err("another's key");
    assert!(mixed.contains("two.example.org.key") && mixed.contains("not the certificate's key"), "{mixed}");
    let swapped = load(&one.key, &one.key, none).expect_err("no certificate");
    assert!(swapped.contains("one.example.org.key"), "{swapped}");
    assert!(load(Path::new("/nonexistent"), &one.key, none).expect_err("missing").contains("/nonexistent"));
    assert!(load(&one.certificate, &one.key, ClientCertificate::Required).expect_err("no CA").contains("client_ca"));
}

#[tokio::test]
async fn records_that_make_no_sense_end_only_their_session() {
    let rig = serve(imaps(), |_| {});
    let pem = fs::read(rig.folder.path().join("tls/certificate.pem")).expect("certificate");
    let endless = [b"\x16\x03\x01\xff\xff".as_slice(), &[0xff; 70_000]].concat();
    let odd: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", &[0; 512], &endless];
    for bytes in odd {
        let mut client = rig.raw("imaps").await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, bytes).await;
        let rest = client.rest().await;
        assert!(rest.len() < 16, "an alert at most: {rest:?}");
    }
    let config = trusting(&String::from_utf8(pem).expect("text"));
    dial(&rig, "localhost", &config).await.expect("others are served").expect("220 hello").await;
}
