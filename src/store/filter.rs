//! What the filter keeps: held mail, and what recipients want.

pub mod digests;
pub mod held;
pub mod settings;
pub mod standing;
pub mod words;
