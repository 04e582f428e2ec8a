//! The nouns every other crate speaks in: addresses, domains, flags, ids, sets of UIDs, refusals.
//!
//! Words only: no I/O, no async, no clock of its own (a [`Clock`] is passed in), no randomness.

mod address;
mod clock;
mod domain;
mod flags;
mod id;
mod numbers;
pub mod policy;
mod queue;
mod refusal;
mod special_use;

pub use address::{Address, AddressError};
pub use clock::Clock;
pub use domain::{Domain, DomainError};
pub use flags::{Flags, KEYWORD_LIMIT, KeywordError, Keywords, valid_keyword};
pub use id::{AccountId, ClaimId, DeliveryId, DomainId, MailboxId, MalformedId, MessageId, QueueId};
pub use numbers::NumberSet;
pub use queue::{BodyType, ByMode, DeliveryState, Lane, Notify, QueueOrigin, Ret};
pub use refusal::{EnhancedCode, Refusal};
pub use special_use::SpecialUse;

/// A message's number in its mailbox (RFC 9051 §2.3.1.1); never zero, never reused while UIDVALIDITY holds.
pub type Uid = u32;

/// A modification sequence (RFC 7162 §3.1): per account, grows by one with every committed change; never zero.
pub type ModSeq = u64;
