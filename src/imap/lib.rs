//! IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) with their extensions, as a codec and a server session without I/O:
//! bytes in, parsed commands out; answers in, bytes out.
//!
//! The crate owns the grammar, which command is legal when, literals, the writing of responses, and what a client
//! believes about its selected mailbox ([`View`]). It deliberately executes nothing: it knows no accounts, no storage,
//! no sockets and no clock, and it renders neither envelopes nor body structures.

mod append;
mod argument;
mod capability;
mod code;
mod command;
mod cursor;
mod date;
mod dispatch;
mod drive;
mod event;
mod fetch;
mod fetch_parse;
mod fetch_writer;
mod gather;
mod list;
mod list_parse;
pub mod mailbox_name;
mod options;
mod output;
pub mod pattern;
mod quoted;
mod respond;
mod search;
mod search_parse;
mod secret;
mod sequence;
mod server;
#[cfg(test)]
mod session;
mod syntax;
mod table;
mod view;

pub use capability::Enabled;
pub use code::{Completion, ResponseCode, Status};
pub use command::{Command, Qresync, Select, Store, StoreAction};
pub use event::Event;
pub use fetch::{Fetch, FetchAttribute, Partial, Rfc822, Section, SectionPart};
pub use fetch_writer::FetchWriter;
pub use list::{List, ListReturn, ListSelection, StatusItem};
pub use options::{Limits, Options, Timeouts};
pub use output::{Extended, Output};
pub use respond::{EsearchResult, NamespaceList, Quota, StatusValue};
pub use search::{Search, SearchKey, SearchReturn};
pub use secret::Secret;
pub use sequence::{SequenceNumber, SequenceSet};
pub use server::Server;
pub use table::{Entry, States, TABLE, Traits};
pub use view::{Expunged, OutOfRange, Selection, View, Walk};
