//! Hostile input against the program itself: what must not happen to the others, and what must not grow.
//!
//! Each test runs the program as a process of its own, so that its memory and open files are nobody else's.

mod bombs;
mod commands;
mod filter_memory;
mod flood;
mod memory;
mod noise;
mod policy;
mod program;
mod proxy;
mod recipients;
mod sizes;
mod slow;
mod starttls;
mod tls;
