//! IMAP as clients see it, over a whole appliance and a real PostgreSQL.

mod appending;
mod fetching;
mod hostile;
mod mailboxes;
mod model;
mod resync;
mod rig;
mod searching;
mod sessions;
mod several;
mod storing;
mod transcripts;
