//! What the tests of the way out run against: certificates of their own, and a server that shakes hands.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{DialOptions, Link, Target, TlsDemand, TlsTerms, dial};
use crate::Roots;
use crate::tls::provider;

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("an authority")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority"))
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_pem(self.0.pem().as_bytes()).expect("roots")
    }

    /// A server's certificate, its authority's behind it.
    pub(crate) fn certify(&self, name: &str, expired: bool) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("params");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().expect("key");
        let own = params.signed_by(&key, &self.0).expect("certificate");
        Identity { chain: vec![own.der().clone(), self.0.der().clone()], key: key.serialize_der() }
    }
}

/// A chain and its key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn acceptor(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsAcceptor {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).expect("versions");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = builder.with_no_client_auth().with_single_cert(self.chain.clone(), key).expect("identity");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A link to a server that shakes hands as often as it is called, then echoes.
pub(crate) async fn link_to(acceptor: TlsAcceptor) -> Link {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("called");
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let mut octets = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut octets).await {
                if stream.write_all(&octets[..count]).await.is_err() {
                    break;
                }
            }
        }
    });
    dial(&Target::Tcp(vec![address]), &DialOptions::default()).await.expect("link")
}

pub(crate) fn terms(demand: TlsDemand) -> TlsTerms {
    TlsTerms { demand, server_name: "mx.example".to_owned(), time: Duration::from_secs(10) }
}
