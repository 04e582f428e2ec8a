//! What the tests stand on: a PostgreSQL that they need not know how to start.
//!
//! Not a test itself, and never part of the program.

pub mod postgres;
