//! What becomes of deliveries, on its way to the database.

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use posthorn_mail::queue::Outgoing;
use posthorn_smtp::Reply;

use crate::job::{Cargo, Row};
use crate::site::Site;

/// One delivery that leaves our hands once this is recorded.
#[derive(Debug)]
pub(crate) struct Settled {
    pub outgoing: Arc<Outgoing>,
    pub row: Row,
    pub verdict: Verdict,
    /// What was said, by the other side or by us.
    pub reply: Option<Reply>,
    /// Where it was to go.
    pub site: Option<Arc<Site>>,
    /// The host that said it.
    pub host: Option<Arc<str>>,
    /// The connection that was used.
    pub session: Option<Arc<SessionFacts>>,
    /// The message, where it is in memory: a report about it need not read it.
    pub cargo: Option<Arc<Cargo>>,
}

/// What is known of a connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SessionFacts {
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    /// TLS in words, such as `TLSv1.3 TLS13_AES_256_GCM_SHA384 dane-ee`; empty without.
    pub tls: String,
    /// Why there is no TLS, or what is wrong with it where that was allowed.
    pub problem: Option<String>,
}

/// What becomes of a delivery.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It was tried and will be again.
    Deferred,
    /// The host failed for others a moment ago, with this reply: nothing was tried for it, but it waits as if.
    NotTried,
    /// The next host has it.
    Delivered(Handover),
    /// Never.
    Failed,
    /// Nothing was tried; later.
    PutOff(DateTime<Utc>),
    /// Nothing was tried; as it was.
    Returned,
    /// Something is wrong with the row or its message.
    SetAside(String),
}

/// Who reports success, if the sender wants to know (RFC 3461 §5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Handover {
    /// We do: it lies in a mailbox now, as far as we can know.
    Final,
    /// The next host does.
    Passed,
    /// We do: the next host took it, and will not report.
    Relayed,
    /// We do, also unasked: the next host took it without a promise about the time (RFC 2852 §4.1.4).
    Unpromised,
}

impl Settled {
    /// With a word.
    pub(crate) fn new(outgoing: &Arc<Outgoing>, row: Row, verdict: Verdict, reply: Reply) -> Self {
        Self { reply: Some(reply), ..Self::quiet(outgoing, row, verdict) }
    }

    /// Without a word.
    pub(crate) fn quiet(outgoing: &Arc<Outgoing>, row: Row, verdict: Verdict) -> Self {
        Self {
            outgoing: Arc::clone(outgoing),
            row,
            verdict,
            reply: None,
            site: None,
            host: None,
            session: None,
            cargo: None,
        }
    }

    /// On the way there.
    pub(crate) fn at(self, site: &Arc<Site>, host: Option<Arc<str>>) -> Self {
        Self { site: Some(Arc::clone(site)), host, ..self }
    }

    /// With the message that is in memory.
    pub(crate) fn bearing(self, cargo: Option<&Arc<Cargo>>) -> Self {
        Self { cargo: cargo.map(Arc::clone), ..self }
    }

    /// Over this connection.
    pub(crate) fn over(self, session: &Arc<SessionFacts>) -> Self {
        Self { session: Some(Arc::clone(session)), ..self }
    }
}
