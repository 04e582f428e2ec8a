//! AM.PDP, the protocol in which mail in quarantine is released and helpers ask for a verdict on a message: the server's
//! side as a machine.
//!
//! It knows lines, attributes and their encoding. What is held, who may have it and what a message is worth is its owner's
//! business; it opens no file that a request names.

mod answer;
mod encoding;
mod request;
mod server;

pub use answer::{Answer, Verdict};
pub use request::{Check, Demand, Fault, Held, Request, Secret};
pub use server::{Event, Server, Times};
