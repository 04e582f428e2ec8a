//! Receiving, storing, the directory and the listeners, over a whole appliance and a real PostgreSQL.

mod guessing;
mod port25;
mod scram;
mod submission;
