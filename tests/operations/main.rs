//! What an operator does to a server that runs: another configuration, another certificate, a listener closed and opened.

mod listeners;
mod maildir;
mod program;
mod reload;
