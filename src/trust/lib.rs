//! Whether a message is what it claims to be, and proof that ours are: SPF and DMARC decided, DKIM and ARC signatures
//! made and checked, the keys for them, results written and read, and return paths that only we can have written (SRS
//! and signed variable paths).
//!
//! What must be asked of the DNS is said as a value ([`resolver::Question`]); a [`Resolver`] is somebody else's.
//!
//! Deliberately not here: sockets and clocks, keeping keys, deciding what a failed check costs a message.

pub mod arc;
mod base32;
mod canonical;
pub mod dkim;
pub mod dmarc;
mod fault;
pub mod iprev;
mod key;
#[cfg(test)]
mod oracle;
pub mod resolver;
pub mod results;
mod return_path;
mod sealed;
mod sign;
#[cfg(test)]
mod speed;
pub mod spf;
mod srs;
mod tag;
mod verify;

pub use fault::Fault;
pub use key::{KeyType, SigningKey, txt_strings, zone_line};
pub use resolver::{Found, Resolver};
pub use return_path::{Bounced, ReturnPath};
pub use sealed::MasterKey;
pub use sign::{Signer, sign};
pub use srs::{Srs, SrsFault};
pub use verify::{Chain, DkimResult, Keys, SignatureResult, Signed, Verification};
