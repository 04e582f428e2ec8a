//! All SQL of the appliance: accounts, mailboxes, messages, the change log, and the group-commit writer.
//!
//! Functions on `&mut PgConnection`; rows are private and `model` types come out. Transactions begin in a duty (see
//! [`Store::begin`]); the one exception is the [`writer`], which makes one transaction of many deliveries. The store
//! knows messages, mailboxes and changes. It does not know that SMTP or IMAP exist.

pub mod accounts;
pub mod aliases;
pub mod backup;
mod blob;
pub mod changes;
pub mod check;
pub mod chronicle;
pub mod config_revisions;
mod connect;
pub mod daily_reports;
pub mod dkim_keys;
pub mod domains;
pub mod filter;
pub mod foreign;
pub mod gather;
mod ids;
pub mod mailboxes;
pub mod memberships;
pub mod messages;
mod node;
pub mod orphans;
mod partitions;
pub mod policy;
mod pool;
pub mod queue;
pub mod received_reports;
pub mod restore;
pub mod schema;
pub mod scratch;
pub mod server_settings;
pub mod settings;
pub mod states;
pub mod sts_policies;
pub mod suppressions;
pub mod tls_reports;
pub mod tunings;
pub mod writer;

pub use connect::{Options, Store, migrate};
pub use pool::{Pooled, Transaction};
pub use sqlx::PgConnection as Connection;

/// What can go wrong below SQL. Refusals (no such mailbox, over quota) are values of the functions, not errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row holds what no version of this program writes.
    #[error("stored data is damaged: {0}")]
    Damaged(&'static str),
    /// There is nothing to copy at this moment.
    #[error("{0}")]
    Unready(&'static str),
    /// The statement or the connection failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Migrations could not be applied.
    #[error("database migration: {0}")]
    Migration(sqlx::migrate::MigrateError),
    /// The database was written by a newer Posthorn.
    #[error(
        "the database is at schema version {found}, this program knows up to {known}: \
         run the newer Posthorn, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The newest version found in the database.
        found: i64,
        /// The newest version this program has.
        known: i64,
    },
    /// The database was written by an older Posthorn, and nobody said that it may be changed.
    #[error("the database is at schema version {found}, this program needs {known}")]
    Outdated {
        /// The newest version found in the database.
        found: i64,
        /// The newest version this program has.
        known: i64,
    },
    /// PostgreSQL is too old.
    #[error("PostgreSQL {found} is too old: Posthorn needs version 15 or newer")]
    OldServer {
        /// What the server says it is.
        found: String,
    },
    /// The writer is gone: the program stops.
    #[error("the store is shutting down")]
    Stopping,
    /// What a parcel cannot do without was refused, and nothing of it was done.
    #[error("a mailbox took nothing, and so nothing was done")]
    Refused,
    /// A name that must be unique is taken.
    #[error("{0} exists already")]
    Taken(String),
}

impl Error {
    /// Whether the database itself refused because of a unique constraint.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.is_unique_violation(),
            Self::Taken(_) => true,
            _ => false,
        }
    }

    /// Whether it is the connection that failed, so that the outcome of a commit is not known.
    #[must_use]
    pub fn is_lost_connection(&self) -> bool {
        matches!(
            self,
            Self::Database(
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::WorkerCrashed
            )
        )
    }
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;
