//! SMTP, submission and LMTP as machines: bytes in, events out; answers in, bytes out.
//!
//! One server machine speaks all three as [`Dialect`]s; [`Client`] is its mirror. Nothing here knows a socket, a clock,
//! a mailbox or a policy: who may send what to whom is the application's answer to an [`Event`].

mod attribute;
mod body;
mod client;
mod envelope;
mod event;
mod extension;
mod options;
mod parameter;
mod reply;
mod server;
mod table;
#[cfg(test)]
mod transcript;
mod xtext;

pub use attribute::{Attribute, AttributeName, AttributeValue};
pub use client::{Capabilities, Client, ClientEvent, ClientFailure, ClientOptions, ClientTls, Envelope};
pub use envelope::{BodyType, By, Hold, Late, Notify, OriginalRecipient, Recipient, Ret, Sender, Target};
pub use event::{BodyFault, Event, Misbehaviour};
pub use extension::{Dialect, Extension, Extensions};
pub use options::{Limits, LongestHold, Options};
pub use reply::{Reply, Then};
pub use server::Server;
