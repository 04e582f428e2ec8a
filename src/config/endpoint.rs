//! One address of a listener: one socket.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::{FileMode, ListenAddress, Peer, PeerOptions};

/// One address of a listener: one socket. Written as the address alone or as a table with options.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(from = "Written")]
pub struct Endpoint {
    /// Where to listen.
    pub address: ListenAddress,
    /// Whether the address is bound; a disabled one is still checked.
    pub enable: bool,
    /// Permission bits of a Unix socket; unset takes the listener's.
    pub file_mode: Option<FileMode>,
    /// Connections that the kernel keeps waiting; unset takes the listener's.
    pub listen_backlog: Option<u32>,
    /// Sessions of this address at once; 0 is no limit.
    pub sessions: u32,
    /// What holds for some networks on this address alone.
    pub peer: Vec<Peer>,
    /// The options that this address sets for all its clients.
    pub options: PeerOptions,
}

/// A listen entry as written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Address(ListenAddress),
    Table(Table),
}

/// One address of a listener with its options.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Endpoint")]
struct Table {
    /// Where to listen.
    address: ListenAddress,
    /// Whether the address is bound; a disabled one is still checked.
    #[serde(default = "yes")]
    enable: bool,
    /// Permission bits of a Unix socket; unset takes the listener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_mode: Option<FileMode>,
    /// Connections that the kernel keeps waiting; unset takes the listener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    listen_backlog: Option<u32>,
    /// Sessions of this address at once; 0 is no limit.
    #[serde(default)]
    sessions: u32,
    /// What holds for some networks on this address alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    peer: Vec<Peer>,
    /// The options that this address sets for all its clients.
    #[serde(flatten)]
    options: PeerOptions,
}

impl From<ListenAddress> for Endpoint {
    fn from(address: ListenAddress) -> Self {
        Self {
            address,
            enable: true,
            file_mode: None,
            listen_backlog: None,
            sessions: 0,
            peer: Vec::new(),
            options: PeerOptions::default(),
        }
    }
}

impl From<Written> for Endpoint {
    fn from(written: Written) -> Self {
        match written {
            Written::Address(address) => address.into(),
            Written::Table(Table { address, enable, file_mode, listen_backlog, sessions, peer, options }) => {
                Self { address, enable, file_mode, listen_backlog, sessions, peer, options }
            }
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { address, enable, file_mode, listen_backlog, sessions, peer, options } = self.clone();
        if *self == Self::from(address.clone()) {
            return address.serialize(to);
        }
        Table { address, enable, file_mode, listen_backlog, sessions, peer, options }.serialize(to)
    }
}

impl JsonSchema for Endpoint {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let address = generator.subschema_for::<ListenAddress>();
        let table = generator.subschema_for::<Table>();
        json_schema!({ "anyOf": [address, table] })
    }
}

pub(crate) const fn yes() -> bool {
    true
}
