//! Whether a message is what it claims to be, and proof that ours are: DKIM and ARC signatures made and checked, the
//! keys for them, and return paths that only we can have written (SRS and signed variable paths).
//!
//! Signatures are made here; checking them is mail-auth's, and this is the one place that speaks to it. Time comes in
//! as an argument except where mail-auth looks at the clock itself to see whether a signature has expired.
//!
//! Deliberately not here: fetching keys and policies (whoever asks owns a resolver), keeping keys, deciding what a
//! failed check costs a message.

pub mod arc;
mod base32;
mod canonical;
pub mod dkim;
mod fault;
mod key;
mod return_path;
mod sealed;
mod sign;
#[cfg(test)]
mod speed;
mod srs;
mod tag;
mod verify;

pub use fault::Fault;
pub use key::{KeyType, SigningKey, txt_strings, zone_line};
pub use return_path::{Bounced, ReturnPath};
pub use sealed::MasterKey;
pub use sign::{Signer, sign};
pub use srs::{Srs, SrsFault};
pub use verify::{Chain, Keys, Lookup, SignatureResult, Signed, Verification};
