//! The Postfix policy delegation protocol (SMTPD_POLICY_README) in both roles, and the server of TCP look-up tables
//! (tcp_table(5)), as machines: bytes in, events out; answers in, bytes out.
//!
//! No rule is here: what an [`Inquiry`](posthorn_model::policy::Inquiry) comes to is the application's answer.

mod answer;
mod client;
mod request;
mod server;
pub mod table;
mod xtext;

pub use client::{Client, ClientEvent, ClientFailure};
pub use request::Fault;
pub use server::{Event, Server, Times};
