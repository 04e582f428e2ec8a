//! Engines of others as scanners of the filter: clamd, rspamd, spamd, milters, content filters behind SMTP or LMTP, and,
//! with the feature `icap`, services of ICAP servers.
//!
//! A [`Protocol`](protocol::Protocol) asks one question over one connection; a [`Service`](service::Service) has what is the
//! same for all of them: which mail is shown, whole or in pieces ([`Pieces`](pieces::Pieces)), several addresses and their backup, connections that stay open, the time that
//! all of it may take, and rest for an engine that has failed three times in a row. What its silence means is configured
//! by direction ([`posthorn_config::ScannerFailure`]); but of one that may have taken the message over, it always defers.
//!
//! What it deliberately is not: it decides nothing. What an engine says is handed to the filter, which holds it against
//! what each recipient wants. An engine that would drop a message has it held.

mod clamd;
mod content_filter;
mod exchange;
mod field;
#[cfg(feature = "icap")]
mod icap;
mod milter;
mod pieces;
mod place;
mod plain;
mod protocol;
mod question;
mod remembered;
#[cfg(test)]
mod rig;
mod rspamd;
mod service;
mod shown;
mod spamd;
#[cfg(not(feature = "icap"))]
mod unbuilt;

use std::sync::Arc;

use posthorn_config::{Scanner as Settings, ScannerKind};
use posthorn_filter::Scanner;
use posthorn_net::egress::TlsClient;
use posthorn_smtp::Dialect;

use crate::clamd::Clamd;
use crate::content_filter::ContentFilter;
use crate::milter::Milter;
use crate::rspamd::Rspamd;
use crate::service::Service;
use crate::spamd::{Request, Spamd};

/// Whether this program can ask engines of this kind.
#[must_use]
pub const fn asks(kind: ScannerKind) -> bool {
    cfg!(feature = "icap") || !matches!(kind, ScannerKind::Icap)
}

/// The scanners of the configuration, in its order. `host` is what we call ourselves.
#[must_use]
pub fn scanners(settings: &[Settings], host: &str, tls: &TlsClient) -> Vec<Arc<dyn Scanner>> {
    settings.iter().map(|settings| scanner(settings.clone(), host, tls)).collect()
}

fn scanner(settings: Settings, host: &str, tls: &TlsClient) -> Arc<dyn Scanner> {
    let (host, tls, time) = (host.to_owned(), tls.clone(), settings.time.duration());
    match settings.kind {
        ScannerKind::Clamd => Arc::new(Service::new(settings, Clamd::default())),
        #[cfg(feature = "icap")]
        ScannerKind::Icap => {
            let service = settings.service.clone().unwrap_or_default();
            Arc::new(Service::new(settings, crate::icap::Icap { host, service }))
        }
        #[cfg(not(feature = "icap"))]
        ScannerKind::Icap => Arc::new(crate::unbuilt::Unbuilt(settings)),
        ScannerKind::Lmtp => {
            Arc::new(Service::new(settings, ContentFilter { dialect: Dialect::Lmtp, host, tls, time }))
        }
        ScannerKind::Milter => Arc::new(Service::new(settings, Milter { host, tls, time })),
        ScannerKind::Rspamd => Arc::new(Service::new(settings, Rspamd { host })),
        ScannerKind::Smtp => {
            Arc::new(Service::new(settings, ContentFilter { dialect: Dialect::Smtp, host, tls, time }))
        }
        ScannerKind::Spamd => {
            let request = Request::of(settings.request.as_deref());
            Arc::new(Service::new(settings, Spamd { request }))
        }
    }
}
