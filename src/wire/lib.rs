//! How a protocol is written here: a machine that turns bytes into events and answers into bytes, without
//! sockets, clocks or tasks.
//!
//! One driver in `net` owns reading, writing, deadlines, TLS upgrade and shutdown for all machines.

mod line;
mod machine;

pub use line::{Line, take_line};
pub use machine::{Machine, Secured, Step};
