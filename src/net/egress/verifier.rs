//! Verifiers of servers' certificates: anybody's, and those that meet a demand.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::terms::{Authenticated, TlsDemand};
use crate::dane;
use crate::tls::provider;

/// Takes every certificate. Signatures are not looked at either: whoever sits in the middle could show a certificate of
/// his own, and old servers with odd certificates would only be pushed into plain text.
#[derive(Debug)]
pub(super) struct Anybody(Arc<CryptoProvider>);

impl Default for Anybody {
    fn default() -> Self {
        Self(provider())
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes certificates that meet one handshake's demand, and remembers how.
#[derive(Debug)]
pub(super) struct Demanded {
    provider: Arc<CryptoProvider>,
    demand: TlsDemand,
    names: Vec<ServerName<'static>>,
    outcome: Mutex<(Authenticated, Option<String>)>,
}

impl Demanded {
    /// # Errors
    /// When no name is one that a certificate can be for.
    pub(super) fn new(demand: TlsDemand) -> Result<Self, rustls::Error> {
        let names = match &demand {
            TlsDemand::Opportunistic => &[][..],
            TlsDemand::Dane { names, .. } | TlsDemand::Verified { names, .. } => names,
        };
        let names: Vec<_> = names.iter().filter_map(|name| ServerName::try_from(name.clone()).ok()).collect();
        if let (TlsDemand::Verified { .. }, []) = (&demand, &names[..]) {
            return Err(rustls::Error::General("there is no name to verify".into()));
        }
        Ok(Self { provider: provider(), demand, names, outcome: Mutex::new((Authenticated::No, None)) })
    }

    /// How the server proved who it is, and what was wrong with its certificate.
    pub(super) fn outcome(&self) -> (Authenticated, Option<String>) {
        self.outcome.lock().clone()
    }

    fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(Authenticated, Option<&str>), rustls::Error> {
        match &self.demand {
            TlsDemand::Opportunistic => Ok((Authenticated::No, None)),
            TlsDemand::Verified { roots, .. } => {
                roots.verify(chain, &self.names, now)?;
                Ok((Authenticated::Certificate, None))
            }
            TlsDemand::Dane { tlsa, .. } if !dane::is_usable(tlsa) => {
                Ok((Authenticated::No, Some("none of the TLSA records is usable")))
            }
            TlsDemand::Dane { tlsa, .. } => {
                let record = dane::verify(tlsa, chain, &self.names, now)?;
                Ok((if record.usage == 2 { Authenticated::DaneTa } else { Authenticated::DaneEe }, None))
            }
        }
    }

    /// Where nobody is authenticated, a signature proves nothing.
    fn signature(
        &self,
        verified: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let nobody = match &self.demand {
            TlsDemand::Dane { tlsa, .. } => !dane::is_usable(tlsa),
            TlsDemand::Opportunistic => true,
            TlsDemand::Verified { .. } => false,
        };
        if nobody { Ok(HandshakeSignatureValid::assertion()) } else { verified }
    }
}

impl ServerCertVerifier for Demanded {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(own).chain(others).map(|der| CertificateDer::from(&der[..])).collect();
        let (authenticated, problem) = self.judge(&chain, now)?;
        *self.outcome.lock() = (authenticated, problem.map(str::to_owned));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.signature(verify_tls12_signature(message, own, signed, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.signature(verify_tls13_signature(message, own, signed, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
