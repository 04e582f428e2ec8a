//! The appliance's own parts that tests and tools reach without its command line.
//!
//! Not a library for others: its interface follows the program's needs.

pub mod assemble;
pub mod backup;
pub mod circumstances;
pub mod cli;
pub mod control;
pub mod database;
pub mod demo;
pub mod doctor;
pub mod filing;
mod generation;
pub mod health;
pub mod logging;
pub mod maildir;
pub mod on_duty;
pub mod openmetrics;
mod orphans;
pub mod output;
pub mod password;
pub mod private_postgres;
pub mod reload;
pub mod resolver;
pub mod revisions;
pub mod secrets;
pub mod serve;
pub mod snmp;
mod soundness;
pub mod top;
pub mod watching;
