//! The appliance's own parts that tests and tools reach without its command line.
//!
//! Not a library for others: its interface follows the program's needs.

pub mod assemble;
pub mod circumstances;
pub mod cli;
pub mod database;
pub mod demo;
pub mod logging;
pub mod output;
pub mod password;
pub mod private_postgres;
pub mod secrets;
pub mod serve;
