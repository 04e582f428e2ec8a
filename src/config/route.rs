//! `[[route]]`: where mail goes next.

mod check;
mod next;
mod table;

use std::path::PathBuf;

use posthorn_model::Address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use check::{check, files};
pub use next::{Next, NextError, NextHost};
pub use table::Routes;

use crate::{DomainRange, TlsDemand};

/// Where some mail goes next, and from which source. A row is for mail that fits every kind of condition it has.
///
/// Of the rows that fit, the one with the most specific recipient wins: the domain itself, then `.parent`, then
/// `.grandparent` …, then `*` or no recipients; among these one with the account, then the one with the most
/// specific sender; then the one written first. Without a fitting row mail goes to the MX hosts of its domain.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A name for commands and the trace; unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"partner")]
    pub name: Option<String>,
    /// Domains of recipients: `example.com`, `.example.com` for what is below it, `*`.
    #[serde(default)]
    #[schemars(extend("examples" = [["example.com", ".example.com"]]))]
    pub recipients: Vec<DomainRange>,
    /// Domains of envelope senders, written likewise.
    #[serde(default)]
    #[schemars(extend("examples" = [["example.org"]]))]
    pub senders: Vec<DomainRange>,
    /// The accounts that submitted it.
    #[serde(default)]
    #[schemars(schema_with = "accounts_schema")]
    pub accounts: Vec<Address>,
    /// Where it goes: `mx`, `smtp://HOST:PORT`, `smtps://HOST:PORT`, `lmtp://HOST:PORT`, `lmtp:/SOCKET`, `discard`, `reject: TEXT`.
    #[serde(default)]
    pub to: Next,
    /// The user to log in as at the next host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"mail@example.org")]
    pub user: Option<String>,
    /// A file whose first line is the password; a credential of the service manager is one too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"), example = &"/run/credentials/posthorn.service/partner.password")]
    pub password_file: Option<PathBuf>,
    /// What TLS must give on this route; unset is what delivery says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsDemand>,
    /// The binding that it leaves through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"default")]
    pub binding: Option<String>,
    /// The binding group that it leaves through, instead of one binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"pool")]
    pub binding_group: Option<String>,
}

impl Default for Route {
    fn default() -> Self {
        Self::to(Next::Mx)
    }
}

impl Route {
    /// A route without conditions and without a source of its own.
    #[must_use]
    pub const fn to(next: Next) -> Self {
        Self {
            name: None,
            recipients: Vec::new(),
            senders: Vec::new(),
            accounts: Vec::new(),
            to: next,
            user: None,
            password_file: None,
            tls: None,
            binding: None,
            binding_group: None,
        }
    }
}

fn accounts_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "items": { "type": "string", "format": "mail-address" },
        "examples": [["user@example.org"]],
    })
}
