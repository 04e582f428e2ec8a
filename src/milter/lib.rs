//! The mail filter protocol (milter, version 6) as machines: the filter's side, which an MTA calls, and the MTA's side,
//! which calls a filter.
//!
//! It knows packets, what was negotiated, and whose turn it is. What a message is worth, and what is done to it, is its
//! owner's business; it holds no message longer than a packet.

mod answer;
mod client;
mod command;
mod flags;
mod macros;
mod packet;
mod server;

pub use answer::{Answer, Change, Reply};
pub use client::{Client, ClientEvent, ClientFailure, ClientOptions, Outcome};
pub use command::{Command, Peer};
pub use flags::{Actions, Steps};
pub use macros::{Macros, Stage};
pub use packet::Malformed;
pub use server::{Server, ServerEvent, ServerOptions};

/// The version that both sides speak here; MTAs with an older one get what it has.
pub const VERSION: u32 = 6;
