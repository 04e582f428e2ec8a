//! Who delivers at the moment: another configuration may put another courier in the place of the first.

use std::sync::Arc;

use arc_swap::ArcSwap;
use posthorn_courier::Courier;

/// The courier that is at work. Clones follow the same change.
#[derive(Clone)]
pub struct OnDuty(Arc<ArcSwap<Courier>>);

impl OnDuty {
    /// Begins with this one.
    #[must_use]
    pub fn new(courier: Courier) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(courier)))
    }

    /// The one of this moment.
    #[must_use]
    pub fn courier(&self) -> Arc<Courier> {
        self.0.load_full()
    }

    /// Puts another in its place, and gives the one before, who is to be stopped.
    pub(crate) fn relieve(&self, courier: Courier) -> Arc<Courier> {
        self.0.swap(Arc::new(courier))
    }
}
