use aws_lc_rs::digest::{SHA256, digest};

use super::rig::{Authority, Identity, link_to, terms};
use super::*;
use crate::dns::Tlsa;
use crate::tls_report::TlsResult;

async fn shake(authority: &Authority, server: &Identity, demand: TlsDemand) -> Result<TlsFacts, TlsFailure> {
    let client = TlsClient::new(authority.roots()).expect("client");
    let link = link_to(server.acceptor(rustls::ALL_VERSIONS)).await;
    let link = client.secure(link, &terms(demand)).await?;
    Ok(link.facts().tls.clone().expect("facts"))
}

fn verified(authority: &Authority, names: &[&str]) -> TlsDemand {
    TlsDemand::Verified { roots: authority.roots(), names: names.iter().map(|name| (*name).to_owned()).collect() }
}

fn dane(tlsa: Tlsa) -> TlsDemand {
    TlsDemand::Dane { tlsa: vec![tlsa], names: vec!["mx.example".to_owned(), "example".to_owned()] }
}

fn hashed(usage: u8, der: &[u8]) -> Tlsa {
    Tlsa { usage, selector: 0, matching: 1, data: digest(&SHA256, der).as_ref().to_vec() }
}

#[tokio::test]
async fn opportunistic_takes_everything_and_says_what_it_was_worth() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = shake(&authority, &authority.certify("mx.example", false), TlsDemand::Opportunistic).await.expect("TLS");
    assert_eq!((good.version, good.authenticated, good.problem), ("TLSv1.3", Authenticated::Certificate, None));
    assert!(good.cipher.starts_with("TLS13_"), "{}", good.cipher);
    for (server, problem) in [
        (stranger.certify("mx.example", false), "the certificate is not signed by the authority that it names"),
        (Authority::named("another").certify("mx.example", false), "no known authority vouches for the certificate"),
        (authority.certify("other.example", false), "the certificate is not for mx.example but for other.example"),
        (authority.certify("mx.example", true), "the certificate expired on 2020-02-01 00:00 UTC"),
    ] {
        let facts = shake(&authority, &server, TlsDemand::Opportunistic).await.expect("TLS");
        assert_eq!(facts.authenticated, Authenticated::No);
        let told = facts.problem.expect("a problem");
        assert!(told.starts_with(problem), "{told}");
    }
}

#[tokio::test]
async fn verified_takes_what_an_authority_vouches_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.certify("mx.example", false);
    let facts = shake(&stranger, &server, verified(&authority, &["no.example", "mx.example"])).await.expect("TLS");
    assert_eq!((facts.authenticated, facts.problem), (Authenticated::Certificate, None));
    for (server, result) in [
        (stranger.certify("mx.example", false), TlsResult::CertificateNotTrusted),
        (Authority::named("another").certify("mx.example", false), TlsResult::CertificateNotTrusted),
        (authority.certify("other.example", false), TlsResult::CertificateHostMismatch),
        (authority.certify("mx.example", true), TlsResult::CertificateExpired),
    ] {
        let failure = shake(&authority, &server, verified(&authority, &["mx.example"])).await.expect_err("refused");
        assert_eq!(failure.result, result, "{failure}");
    }
    let nameless = shake(&authority, &server, verified(&authority, &["no name"])).await.expect_err("no name");
    assert!(nameless.text.contains("no name"), "{nameless}");
}

#[tokio::test]
async fn dane_takes_what_the_records_name() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = stranger.certify("mx.example", true);
    let facts = shake(&authority, &server, dane(hashed(3, &server.chain[0]))).await.expect("TLS");
    assert_eq!(facts.authenticated, Authenticated::DaneEe, "whatever its date and authority");
    let server = stranger.certify("mx.example", false);
    let facts = shake(&authority, &server, dane(hashed(2, &server.chain[1]))).await.expect("TLS");
    assert_eq!(facts.authenticated, Authenticated::DaneTa);
    let other = shake(&authority, &server, dane(hashed(3, b"other"))).await.expect_err("no match");
    assert_eq!(other.text, "the certificate matches none of the TLSA records");
    let expired = stranger.certify("mx.example", true);
    let failure = shake(&authority, &expired, dane(hashed(2, &expired.chain[1]))).await.expect_err("expired");
    assert_eq!(failure.result, TlsResult::CertificateExpired);
    let unusable = shake(&authority, &server, dane(hashed(0, b"other"))).await.expect("encrypted all the same");
    assert_eq!(unusable.authenticated, Authenticated::No);
    assert_eq!(unusable.problem.as_deref(), Some("none of the TLSA records is usable"));
}

#[tokio::test]
async fn tls_1_2_is_spoken() {
    let authority = Authority::new();
    let acceptor = authority.certify("mx.example", false).acceptor(&[&rustls::version::TLS12]);
    let client = TlsClient::new(authority.roots()).expect("client");
    let link = link_to(acceptor).await;
    let link = client.secure(link, &terms(verified(&authority, &["mx.example"]))).await.expect("TLS");
    let facts = link.facts().tls.as_ref().expect("facts");
    assert_eq!((facts.version, facts.authenticated), ("TLSv1.2", Authenticated::Certificate));
    let secured = link.secured.expect("for the machine");
    assert_eq!((secured.version, secured.channel_binding), ("TLSv1.2", None));
}

#[tokio::test]
async fn a_server_without_tls_fails_in_words() {
    let client = TlsClient::new(Authority::new().roots()).expect("client");
    for (greeting, expected) in [(Some("220 hello\r\n"), "the TLS handshake failed: "), (None, "took too long")] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("free port");
        let target = Target::Tcp(vec![listener.local_addr().expect("bound")]);
        let link = dial(&target, &DialOptions::default()).await.expect("link");
        let (mut stream, _) = listener.accept().await.expect("called");
        if let Some(greeting) = greeting {
            tokio::io::AsyncWriteExt::write_all(&mut stream, greeting.as_bytes()).await.expect("written");
        }
        let terms = TlsTerms { time: Duration::from_millis(200), ..terms(TlsDemand::Opportunistic) };
        let failure = client.secure(link, &terms).await.expect_err("no TLS");
        assert!(failure.text.contains(expected), "{failure}");
        assert_eq!(failure.result, TlsResult::ValidationFailure);
    }
}
