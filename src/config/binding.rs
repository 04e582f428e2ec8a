//! `[[binding]]` and `[[binding_group]]`: the addresses that mail leaves from.

mod check;
mod pool;

use std::net::IpAddr;

use posthorn_model::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::yes;
use crate::{DeliveryDomain, DeliveryOptions, Pattern};

pub(crate) use check::check;
pub use pool::{Bindings, Pool};

/// A source of mail: addresses, the name in EHLO, and options of delivery.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The name in routes, logs and commands; unique. The binding `default` is used where no route names one.
    #[schemars(example = &"default")]
    pub name: String,
    /// The addresses of this machine to connect from, at most a few of each family; empty lets the system choose.
    #[serde(default)]
    #[schemars(extend("examples" = [["192.0.2.1", "2001:db8::1"]]))]
    pub addresses: Vec<IpAddr>,
    /// The name in EHLO; unset is `server.hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "hostname"), with = "Option<String>", example = &"mail.example.org")]
    pub hostname: Option<Domain>,
    /// The binding group that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"pool")]
    pub group: Option<String>,
    /// The share of the group's mail that it takes; 0 takes none.
    #[serde(default = "one")]
    #[schemars(range(max = 1_000_000))]
    pub weight: u32,
    /// Whether mail that leaves here is signed (DKIM). It is signed when it is accepted: a message is left unsigned only
    /// when nothing of it can leave through a binding that signs.
    #[serde(default = "yes")]
    pub dkim: bool,
    /// What holds for some domains when mail leaves here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domain: Vec<DeliveryDomain>,
    /// The options that this binding sets.
    #[serde(flatten)]
    pub options: DeliveryOptions,
}

impl Binding {
    /// The name of the binding that is used where no route names one.
    pub const DEFAULT: &'static str = "default";

    /// A row with everything else at its default.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            addresses: Vec::new(),
            hostname: None,
            group: None,
            weight: one(),
            dkim: yes(),
            domain: Vec::new(),
            options: DeliveryOptions::default(),
        }
    }
}

/// Bindings that share work and limits.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BindingGroup {
    /// The name in bindings, routes, logs and commands; unique.
    #[schemars(example = &"pool")]
    pub name: String,
    /// What holds for some domains when mail leaves through this group, or through one of its bindings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domain: Vec<GroupDomain>,
    /// The options that this group sets for its bindings.
    #[serde(flatten)]
    pub options: DeliveryOptions,
}

/// What holds for some domains in a group: exactly one of `name` and `pattern` says which.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupDomain {
    /// The one binding of the group that the row is for, which makes it the most specific of all; unset is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"default")]
    pub binding: Option<String>,
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

const fn one() -> u32 {
    1
}
