//! Somebody else's engine: what it is asked, and what it can say.

use std::future::Future;
use std::pin::Pin;

use posthorn_mail::copies::Change;
use posthorn_model::Refusal;

use crate::{Case, Point, Redirect};

/// The answer of a scanner, in time.
pub type Scan<'a> = Pin<Box<dyn Future<Output = Result<Scanned, Fault>> + Send + 'a>>;

/// Somebody else's engine. Bounds its own time: a scanner that takes longer than it may gives a [`Fault`].
pub trait Scanner: Send + Sync {
    /// Its name in the trace and in `X-Virus-Scanned`.
    fn name(&self) -> &str;

    /// Whether it looks for viruses: mail that such a scanner cannot look at is unchecked.
    fn looks_for_viruses(&self) -> bool;

    /// Whether it hands messages on itself ([`Scanned::taken`]). Such a one is asked last, and only about recipients who
    /// would get the message otherwise.
    fn takes_over(&self) -> bool {
        false
    }

    /// Asks it about a message.
    fn scan<'a>(&'a self, case: &'a Case<'a>) -> Scan<'a>;
}

/// What a scanner said. The default is: nothing against the message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scanned {
    /// The names of viruses that it found.
    pub viruses: Vec<String>,
    /// What it adds to the score.
    pub points: Vec<Point>,
    /// Why it could not see all of the message, such as that it is too large for it.
    pub unchecked: Option<String>,
    /// It wants the message refused with this reply, whatever the score; a temporary one defers it.
    pub refuse: Option<Refusal>,
    /// It wants the message held, and why. Who would drop it says this as well: nothing is dropped.
    pub hold: Option<String>,
    /// What it changes in every copy, in this order.
    pub changes: Vec<Change>,
    /// What it changes in the envelope.
    pub redirects: Vec<Redirect>,
    /// A filter elsewhere took the message and hands it on itself: one answer per recipient. Nothing is stored here.
    pub taken: Option<Vec<Result<String, Refusal>>>,
}

/// Why a scanner has no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    /// Why, such as that nobody listens there.
    pub text: String,
    /// By configuration mail has to wait; otherwise it passes, and is marked as unchecked.
    pub closed: bool,
}
