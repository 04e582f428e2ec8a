//! `[delivery]`: how mail leaves, for everybody and for some domains.

mod check;
mod domains;
mod effective;
mod explain;
mod limit;
mod options;

use posthorn_model::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Pattern;

pub(crate) use check::{Rows, check, options};
pub use effective::{DeliveryPolicy, EffectiveDelivery, Scope};
pub use explain::{ExplainedDelivery, NoSuchScope};
pub use limit::{Counts, Limit};
pub use options::{DeliveryOptions, TlsDemand};

/// How mail leaves, unless a binding, a group or a domain says otherwise.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Delivery {
    /// The options that hold where no other scope sets them.
    #[serde(flatten)]
    pub options: DeliveryOptions,
    /// What holds for some domains, whatever binding is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domain: Vec<DeliveryDomain>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { options: DeliveryOptions::built_in(), domain: Vec::new() }
    }
}

/// What holds for some domains: exactly one of `name` and `pattern` says which.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryDomain {
    /// One domain; it wins over patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "hostname"), with = "Option<String>", example = &"example.com")]
    pub name: Option<Domain>,
    /// A regular expression for several domains; the first one in the file that matches wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"^(gmail|googlemail)\\.com$")]
    pub pattern: Option<Pattern>,
    /// The options that this row sets.
    #[serde(flatten)]
    pub options: DeliveryOptions,
}

/// How a row is called in the names of its buckets: `example.com` or `/^gmail/`.
fn label(name: Option<&Domain>, pattern: Option<&Pattern>) -> String {
    match (name, pattern) {
        (Some(name), _) => name.to_string(),
        (None, Some(pattern)) => format!("/{pattern}/"),
        (None, None) => String::new(),
    }
}
