//! What an engine's protocol has to do; everything around it is the same for all.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use posthorn_filter::Scanned;
use posthorn_net::egress::Link;

use crate::question::Question;

/// One protocol of engines.
pub(crate) trait Protocol: Send + Sync + 'static {
    /// What is kept between questions.
    type Connection: Send + 'static;

    /// Whether it looks for viruses.
    const LOOKS_FOR_VIRUSES: bool;

    /// Whether its verdict goes by the content alone, so that it may be remembered.
    const REMEMBERED: bool;

    /// Whether it looks at the parts of a message as well as at a message, so that these may be put to it one by one.
    const TAKES_PARTS: bool = false;

    /// Begins a session.
    fn open(&self, link: Link) -> impl Future<Output = Result<Self::Connection, String>> + Send;

    /// Asks, or says in words why there is no answer. The connection comes back when it may be used again. The future may
    /// be dropped until `handed` is told; from then on the protocol bounds its own time.
    fn ask(
        &self,
        connection: Self::Connection,
        question: &Question<'_>,
        handed: &Handed,
    ) -> impl Future<Output = Result<(Scanned, Option<Self::Connection>), String>> + Send;

    /// Whether what failed may be put once more, because it would now be put in another way.
    fn asks_otherwise(&self) -> bool {
        false
    }
}

/// Whether an engine may have taken a message over, to hand it on itself: until then a question may be given up and put to
/// somebody else, from then on that would make two of the message.
#[derive(Debug, Default)]
pub(crate) struct Handed(AtomicBool);

impl Handed {
    /// It is on its way into the engine's hands.
    pub(crate) fn over(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
