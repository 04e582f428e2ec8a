//! Engines that this program was not built for: they never answer, so that nothing passes unseen.

use posthorn_config::{Scanner as Settings, ScannerFailure};
use posthorn_filter::{Case, Fault, Scan, Scanner};

use crate::question::Question;

/// One of them.
pub(crate) struct Unbuilt(pub(crate) Settings);

impl Scanner for Unbuilt {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn looks_for_viruses(&self) -> bool {
        true
    }

    fn scan<'a>(&'a self, case: &'a Case<'a>) -> Scan<'a> {
        let way = Question::of(case).map(|question| question.way);
        let Some(way) = way.filter(|way| self.0.ways.contains(way)) else {
            return Box::pin(async { Ok(posthorn_filter::Scanned::default()) });
        };
        let closed = self.0.failure(way) == ScannerFailure::Defer;
        let text = format!("{}: this program was built without {}", self.0.name, self.0.kind.name());
        Box::pin(async move { Err(Fault { text, closed }) })
    }
}
