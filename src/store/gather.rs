//! One account's mail of long ago, in tables that live as long as their connection, beside the account's mail of today.

use chrono::{DateTime, Utc};
use posthorn_model::{AccountId, Address};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::backup::{Table, quoted};
use crate::connect::options;
use crate::messages::Octets;
use crate::{Error, Result, blob};

/// What is gathered.
#[derive(Debug)]
pub struct Gathering(PgConnection);

/// A mailbox of long ago.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct OldMailbox {
    /// Its id then.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Whether it was subscribed.
    pub subscribed: bool,
}

/// A message in a mailbox of long ago.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct Old {
    /// What is the same for messages of one size and one internal date, and counts up from 1.
    pub class: i64,
    /// Its id then.
    pub message: i64,
    /// The mailbox's name.
    pub mailbox: String,
    /// Its flags.
    pub flags: i64,
    /// Its octets.
    pub size: i64,
    /// INTERNALDATE.
    pub internal_date: DateTime<Utc>,
}

/// A message that is in a mailbox today.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct There {
    /// The class of [`Old`] that it could belong to.
    pub class: i64,
    /// Its id.
    pub message: i64,
    /// The mailbox's name.
    pub mailbox: String,
}

impl Gathering {
    /// Begins on the database behind a URL.
    ///
    /// # Errors
    /// What the database said.
    pub async fn begin(url: &str) -> Result<Self> {
        Ok(Self(options(url)?.application_name("posthorn restore").connect().await?))
    }

    /// Makes room for rows of a table.
    ///
    /// # Errors
    /// What the database said; [`Error::Damaged`] for a column whose type is none.
    pub async fn table(&mut self, table: &Table) -> Result<()> {
        let mut columns = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let plain = |c: char| c.is_ascii_alphanumeric() || " []".contains(c);
            if !column.kind.chars().all(plain) {
                return Err(Error::Damaged("a column without a type"));
            }
            columns.push(format!("{} {}", quoted(&column.name), column.kind));
        }
        self.run(&format!("create temp table {} ({})", quoted(&format!("old_{}", table.name)), columns.join(", ")))
            .await
    }

    /// Takes rows in PostgreSQL's binary COPY format.
    ///
    /// # Errors
    /// What the database said.
    pub async fn load(&mut self, table: &Table, octets: &[u8]) -> Result<()> {
        let copy = format!("copy {} from stdin (format binary)", quoted(&format!("old_{}", table.name)));
        let mut copy = self.0.copy_in_raw(&copy).await?;
        copy.send(octets).await?;
        copy.finish().await?;
        Ok(())
    }

    /// The account of this address then.
    ///
    /// # Errors
    /// What the database said.
    pub async fn account(&mut self, address: &Address) -> Result<Option<AccountId>> {
        let id: Option<i64> = sqlx::query_scalar(
            "select a.id from old_account a join old_domain d on d.id = a.domain_id where a.folded = lower($1) and d.name = $2",
        )
        .bind(address.local())
        .bind(address.domain().as_str())
        .fetch_optional(&mut self.0)
        .await?;
        Ok(id.map(AccountId))
    }

    /// Its mailboxes then, by name; those below come behind those above.
    ///
    /// # Errors
    /// What the database said.
    pub async fn mailboxes(&mut self) -> Result<Vec<OldMailbox>> {
        Ok(sqlx::query_as("select id, name, subscribed from old_mailbox order by name collate \"C\"")
            .fetch_all(&mut self.0)
            .await?)
    }

    /// Its keywords then, in the order of their bits.
    ///
    /// # Errors
    /// What the database said.
    pub async fn keywords(&mut self) -> Result<Vec<String>> {
        let keywords = sqlx::query_scalar("select keywords from old_mail_state").fetch_optional(&mut self.0).await?;
        Ok(keywords.unwrap_or_default())
    }

    /// The messages whose bodies are needed, each once, in order.
    ///
    /// # Errors
    /// What the database said.
    pub async fn messages(&mut self) -> Result<Vec<i64>> {
        Ok(sqlx::query_scalar("select distinct message_id from old_membership order by 1")
            .fetch_all(&mut self.0)
            .await?)
    }

    /// Holds what was against what is: sorts it by size and date. Returns how many classes there are.
    ///
    /// # Errors
    /// What the database said.
    pub async fn compare(&mut self, today: AccountId) -> Result<i64> {
        self.run(&format!(
            "create index on old_body (message_id, part);
             create temp table old as
                 select dense_rank() over (order by m.internal_date, m.size) class, m.message_id message, b.name mailbox,
                        m.flags, m.size, m.internal_date, m.uid
                 from old_membership m join old_mailbox b on b.id = m.mailbox_id;
             create index on old (class);
             create temp table there as
                 select o.class, m.message_id message, b.name mailbox
                 from membership m join mailbox b on b.account_id = m.account_id and b.id = m.mailbox_id
                 join (select distinct class, size, internal_date from old) o
                     on o.size = m.size and o.internal_date = m.internal_date
                 where m.account_id = {};
             create index on there (class);
             analyze old; analyze there",
            today.0
        ))
        .await?;
        Ok(sqlx::query_scalar("select coalesce(max(class), 0) from old").fetch_one(&mut self.0).await?)
    }

    /// What was, and what is, of these classes.
    ///
    /// # Errors
    /// What the database said.
    pub async fn classes(&mut self, first: i64, last: i64) -> Result<(Vec<Old>, Vec<There>)> {
        let old = sqlx::query_as(
            "select class, message, mailbox, flags, size, internal_date from old where class between $1 and $2
             order by class, mailbox, uid",
        )
        .bind(first)
        .bind(last)
        .fetch_all(&mut self.0)
        .await?;
        let there = sqlx::query_as(
            "select class, message, mailbox from there where class between $1 and $2 order by class, mailbox, message",
        )
        .bind(first)
        .bind(last)
        .fetch_all(&mut self.0)
        .await?;
        Ok((old, there))
    }

    /// A message of long ago; `None` when its body is lost.
    ///
    /// # Errors
    /// What the database said, or damage.
    pub async fn octets(&mut self, message: i64) -> Result<Option<Octets>> {
        let rows: Vec<(Option<Vec<u8>>, Vec<u8>)> =
            sqlx::query_as("select header, text from old_body where message_id = $1 order by part")
                .bind(message)
                .fetch_all(&mut self.0)
                .await?;
        let mut octets = Octets::default();
        for (part, (header, text)) in rows.iter().enumerate() {
            if let Some(header) = header.as_ref().filter(|_| part == 0) {
                blob::unpack(header, &mut octets.whole)?;
                octets.header_size = octets.whole.len();
            }
            blob::unpack(text, &mut octets.whole)?;
        }
        Ok((!rows.is_empty()).then_some(octets))
    }

    /// Ends it; what was gathered goes.
    pub async fn end(self) {
        // The tables go with the connection, however that ends.
        let _ = self.0.close().await;
    }

    async fn run(&mut self, statements: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.0).await?;
        Ok(())
    }
}
