//! What mail systems tell each other about the fate of a message: delivery status notifications written (RFC 3461,
//! RFC 3464, RFC 6522, RFC 6533) and read, feedback reports read (RFC 5965), and replies of all kinds sorted into
//! classes. And what they tell each other once a day: DMARC aggregate reports (RFC 9990) and TLS reports (RFC 8460),
//! written and read.
//!
//! Words only: bytes or text in, values or bytes out. Reading takes any octets, in bounded space and linear time;
//! what a stranger wrote is cut, cleaned of control characters and never believed to be ours: whoever asks checks
//! the return path's signature first.
//!
//! Deliberately not here: deciding whether a report is due and to whom (the queue knows NOTIFY and null senders),
//! sending it, and what a class means for later mail (suppression).

mod action;
mod advice;
pub mod aggregate;
mod attached;
mod class;
mod classify;
mod complaint;
mod daily;
mod fields;
mod human;
mod incoming;
mod notice;
mod original;
mod prose;
mod read;
#[cfg(test)]
mod soundness;
mod status;
pub mod tls;

pub use action::Action;
pub use attached::{Daily, daily};
pub use class::{Category, Class};
pub use classify::{Verdict, classify, classify_reply, enhanced_code};
pub use complaint::Feedback;
pub use daily::{DailyKind, DailyLetter, is_daily};
pub use incoming::{Incoming, Kind, Reported};
pub use notice::{Built, Notice, NoticeRecipient, build};
pub use read::read;
