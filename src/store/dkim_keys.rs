//! Keys that mail of our domains is signed with. Private keys are sealed before they come here.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{Error, Result};

/// One key of a domain.
#[derive(Clone, Eq, PartialEq)]
pub struct DkimKey {
    /// Folded A-labels.
    pub domain: String,
    /// What stands before `._domainkey` in the DNS.
    pub selector: String,
    /// How it signs.
    pub algorithm: DkimAlgorithm,
    /// The private key, sealed with the installation's master key.
    pub private: Vec<u8>,
    /// The public key as the DNS record's `p=` holds it, before base64.
    pub public: Vec<u8>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it begins to sign: the record should be in the DNS by then.
    pub active_at: DateTime<Utc>,
    /// When it stops; `None` when no end is set.
    pub retired_at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DkimKey")
            .field("domain", &self.domain)
            .field("selector", &self.selector)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// How a key signs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DkimAlgorithm {
    /// rsa-sha256 (RFC 6376).
    Rsa,
    /// ed25519-sha256 (RFC 8463).
    Ed25519,
}

impl DkimAlgorithm {
    fn code(self) -> i16 {
        match self {
            Self::Rsa => 1,
            Self::Ed25519 => 2,
        }
    }

    fn from_code(code: i16) -> Result<Self> {
        match code {
            1 => Ok(Self::Rsa),
            2 => Ok(Self::Ed25519),
            _ => Err(Error::Damaged("DKIM key of an unknown algorithm")),
        }
    }
}

struct Row {
    domain: String,
    selector: String,
    algorithm: i16,
    private: Vec<u8>,
    public: Vec<u8>,
    created_at: DateTime<Utc>,
    active_at: DateTime<Utc>,
    retired_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for DkimKey {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            domain: row.domain,
            selector: row.selector,
            algorithm: DkimAlgorithm::from_code(row.algorithm)?,
            private: row.private,
            public: row.public,
            created_at: row.created_at,
            active_at: row.active_at,
            retired_at: row.retired_at,
        })
    }
}

/// Adds a key. Signers hear of it as of a changed directory, see [`crate::changes::tell_directory`].
///
/// # Errors
/// [`Error::Taken`] when the domain has a key with this selector.
pub async fn add(connection: &mut PgConnection, key: &DkimKey) -> Result<()> {
    let done = sqlx::query!(
        "insert into dkim_key (domain, selector, algorithm, private, public, created_at, active_at, retired_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
        key.domain,
        key.selector,
        key.algorithm.code(),
        key.private,
        key.public,
        key.created_at,
        key.active_at,
        key.retired_at
    )
    .execute(connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::Taken(format!("{}._domainkey.{}", key.selector, key.domain)));
    }
    Ok(())
}

/// All keys of a domain (`None`: of all domains), the oldest first.
///
/// # Errors
/// What the database said, or damage.
pub async fn list(connection: &mut PgConnection, domain: Option<&str>) -> Result<Vec<DkimKey>> {
    let rows = sqlx::query_as!(
        Row,
        "select domain, selector, algorithm, private, public, created_at, active_at, retired_at
         from dkim_key where $1::text is null or domain = $1 order by domain, created_at, selector",
        domain
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(DkimKey::try_from).collect()
}

/// The keys that sign for a domain at this moment, the oldest first.
///
/// # Errors
/// What the database said, or damage.
pub async fn active(connection: &mut PgConnection, domain: &str, now: DateTime<Utc>) -> Result<Vec<DkimKey>> {
    let rows = sqlx::query_as!(
        Row,
        "select domain, selector, algorithm, private, public, created_at, active_at, retired_at
         from dkim_key
         where domain = $1 and active_at <= $2 and (retired_at is null or retired_at > $2)
         order by created_at, selector",
        domain,
        now
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(DkimKey::try_from).collect()
}

/// Sets when a key stops signing. `false` when there is no such key.
///
/// # Errors
/// What the database said.
pub async fn retire(
    connection: &mut PgConnection,
    domain: &str,
    selector: &str,
    at: Option<DateTime<Utc>>,
) -> Result<bool> {
    let done =
        sqlx::query!("update dkim_key set retired_at = $3 where domain = $1 and selector = $2", domain, selector, at)
            .execute(connection)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes a key. `false` when there is none.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, domain: &str, selector: &str) -> Result<bool> {
    let done = sqlx::query!("delete from dkim_key where domain = $1 and selector = $2", domain, selector)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}
