//! What is refused before it is accepted, and why: the engine behind our own SMTP and behind the policy port.
//!
//! [`Policy`] holds an [`Inquiry`](posthorn_model::policy::Inquiry) against its checks, in this order. The first that acts
//! decides; BCC, PREPEND, WARN and INFO go with what others say. Who is on a white list is exempt from the checks for
//! spam, which gives nobody the right to relay. A check that cannot find out says nothing.
//!
//! | Check | Stage | For whom | Default | Spam |
//! |---|---|---|---|---|
//! | rule | as each says | as each says | none | |
//! | null sender | RCPT | logins | refused | |
//! | own hostname | RCPT | outside | off | |
//! | sender mismatch | RCPT | logins | refused | |
//! | forged sender | RCPT | outside | refused, unless SPF passes | |
//! | access | RCPT | outside, and those who send out | none | |
//! | auto blacklist | RCPT | outside | off | yes |
//! | reverse dns | RCPT | outside | off | yes |
//! | helo, helo names | RCPT | outside | off | yes |
//! | dns lists | RCPT | outside | none | yes |
//! | list access | RCPT | everybody | public | |
//! | recipients | RCPT, DATA, end | everybody | no limit | |
//! | throttle | RCPT, counted at the end | everybody | no limits | |
//! | greylist | RCPT | outside | off | yes |
//!
//! "Outside" is who has neither logged in nor may relay. What comes cheaply comes before what asks the DNS, who says to be
//! whom before what is known of the client.
//!
//! What it deliberately is not: a protocol, a socket, or a filter of texts.

mod access;
mod asking;
mod auto_blacklist;
mod book;
mod check;
mod circle;
mod client_names;
mod decision;
mod digest;
mod dns_list;
mod engine;
mod facts;
mod generations;
mod greylist;
mod helo;
pub mod import;
mod instances;
mod keeping;
mod list_access;
mod log;
mod matching;
pub mod orders;
mod outcome;
mod recipients;
mod reverse_dns;
mod rules;
mod sender_login;
mod standing;
pub mod telling;
mod throttle;
mod to_hostname;

pub use asking::{Asking, Breaker};
pub use decision::{Decision, Explanation, Fault, Finding, Said};
pub use dns_list::{DnsLists, ListScore, Looked, reversed};
pub use engine::{Policy, Settings};
pub use posthorn_trust::{Found, Resolver};
