//! Receiving, storing, the directory and the listeners, over a whole appliance and a real PostgreSQL.

mod bodies;
mod caps;
mod commands;
mod crash;
mod guessing;
mod passwords;
mod peers;
mod port25;
mod proxy;
mod quota;
mod routing;
mod rows;
mod scram;
mod storing;
mod submission;
mod transcripts;
mod transport;
