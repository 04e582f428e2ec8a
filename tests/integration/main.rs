//! Receiving, storing, the directory and the listeners, over a whole appliance and a real PostgreSQL.

mod bodies;
mod calling;
mod caps;
mod commands;
mod courier;
mod crash;
mod dns;
mod guessing;
mod outgoing;
mod passwords;
mod peers;
mod port25;
mod proxy;
mod queue_commands;
mod queue_rows;
mod quota;
mod routing;
mod rows;
mod scram;
mod storing;
mod submission;
mod transcripts;
mod transport;
