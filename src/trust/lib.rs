//! Whether a message is what it claims to be: the one place that speaks to the mail-auth library, and what that
//! library needs beside it.
//!
//! Deliberately not here: fetching keys and policies (whoever asks owns a resolver), deciding what a failed check
//! costs a message, and writing Authentication-Results headers.

pub mod dkim;
