//! What the policy engine remembers: settings and lists, clients and their history, and the log of decisions.

pub mod access;
pub mod auto_blacklist;
pub mod correspondents;
pub mod decisions;
pub mod greylist;
pub mod helo_names;
pub mod list_access;
pub mod news;
pub mod throttle;
pub mod white_domains;
