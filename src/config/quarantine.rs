//! `[quarantine]`: mail that is held.

mod category;
mod digest;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use category::HeldCategory;
pub use digest::QuarantineDigest;

use crate::Span;
use crate::check::Checker;

/// Mail that is held until somebody releases or deletes it.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quarantine {
    /// How long it is kept, whole days counted.
    #[serde(rename = "for")]
    pub lasts: Span,
    /// Letters that tell people what is held for them.
    pub digest: QuarantineDigest,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { lasts: Span::from_secs(30 * 86_400), digest: QuarantineDigest::default() }
    }
}

/// Judges what the keys say together.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let section = &checker.config().quarantine;
    digest::check(checker, &section.digest);
}
