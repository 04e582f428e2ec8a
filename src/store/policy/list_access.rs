//! Who may write to an alias that is a list.

use posthorn_model::{Address, Domain};
use sqlx::PgConnection;

use crate::{Error, Result};

/// Who may write to a list. Its owners and moderators always may.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Senders in the list's domain.
    Domain,
    /// Senders in the list's domain and in domains below it.
    Subdomains,
    /// Those that the list leads to.
    Members,
    /// Its moderators.
    Moderators,
    /// Both.
    MembersAndModerators,
}

impl Access {
    /// All of them, by their numbers in the table.
    pub const ALL: [Self; 6] =
        [Self::Public, Self::Domain, Self::Subdomains, Self::Members, Self::Moderators, Self::MembersAndModerators];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Domain => "domain",
            Self::Subdomains => "subdomains",
            Self::Members => "members",
            Self::Moderators => "moderators",
            Self::MembersAndModerators => "members-and-moderators",
        }
    }

    fn number(self) -> i16 {
        Self::ALL.into_iter().zip(0..).find(|(one, _)| *one == self).map_or(0, |(_, number)| number)
    }
}

/// The access to one list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListAccess {
    /// The list, an alias.
    pub list: Address,
    /// Who may write.
    pub access: Access,
    /// Addresses, folded, that may always.
    pub owners: Vec<String>,
    /// Addresses, folded, of those that look after it.
    pub moderators: Vec<String>,
}

/// All lists that not everybody may write to, by domain and name.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<ListAccess>> {
    let rows = sqlx::query!(
        "select a.local, d.name as domain, l.access, l.owners, l.moderators
         from list_access l join alias a on a.id = l.alias_id join domain d on d.id = a.domain_id
         order by d.name, a.folded"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let domain = Domain::parse(&row.domain).map_err(|_| Error::Damaged("domain name"))?;
            let list = Address::from_parts(row.local, domain).map_err(|_| Error::Damaged("local part"))?;
            let access = usize::try_from(row.access).ok().and_then(|at| Access::ALL.get(at).copied());
            let access = access.ok_or(Error::Damaged("list access"))?;
            Ok(ListAccess { list, access, owners: row.owners, moderators: row.moderators })
        })
        .collect()
}

/// Says who may write to a list, in the place of what was said before; `false` when there is no such alias.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, access: &ListAccess) -> Result<bool> {
    let folded = |all: &[String]| all.iter().map(|one| one.to_lowercase()).collect::<Vec<_>>();
    let done = sqlx::query!(
        "insert into list_access (alias_id, access, owners, moderators)
         select a.id, $3, $4, $5 from alias a join domain d on d.id = a.domain_id
         where d.name = $2 and a.folded = lower($1)
         on conflict (alias_id) do update
         set access = excluded.access, owners = excluded.owners, moderators = excluded.moderators",
        access.list.local(),
        access.list.domain().as_str(),
        access.access.number(),
        &folded(&access.owners),
        &folded(&access.moderators)
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Opens a list to everybody again; `false` when it was.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, list: &Address) -> Result<bool> {
    let done = sqlx::query!(
        "delete from list_access where alias_id in
         (select a.id from alias a join domain d on d.id = a.domain_id where d.name = $2 and a.folded = lower($1))",
        list.local(),
        list.domain().as_str()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places() {
        for access in Access::ALL {
            let at = usize::try_from(access.number()).expect("small");
            assert_eq!(Access::ALL[at], access);
        }
    }
}
