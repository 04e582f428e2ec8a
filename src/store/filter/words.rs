//! What the classifier learned.

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};

use crate::Result;

/// The account number of what everybody taught together.
pub const EVERYBODY: i64 = 0;

/// How often a word was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Word {
    /// A keyed hash.
    pub token: i64,
    /// Messages of spam with it.
    pub spam: i32,
    /// Other messages with it.
    pub ham: i32,
}

/// How much was learned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Corpus {
    /// Whose: [`EVERYBODY`] or an account's number.
    pub account: i64,
    /// Messages of spam.
    pub spam: i64,
    /// Other messages.
    pub ham: i64,
    /// How often everything was halved.
    pub generation: i32,
}

/// A message that is shown to the classifier.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lesson {
    /// For whom: [`EVERYBODY`] or an account's number.
    pub account: i64,
    /// A keyed hash of the message.
    pub message: i64,
    /// What it is.
    pub is_spam: bool,
    /// Its words, each once.
    pub tokens: Vec<i64>,
}

/// How much was learned, of everybody and each account.
///
/// # Errors
/// What the database said.
pub async fn corpora(connection: &mut PgConnection) -> Result<Vec<Corpus>> {
    Ok(sqlx::query_as!(Corpus, "select account_id as account, spam, ham, generation from filter_corpus")
        .fetch_all(connection)
        .await?)
}

/// The words of everybody or one account, the most frequent first: what fits into memory.
///
/// # Errors
/// What the database said.
pub async fn load(connection: &mut PgConnection, account: i64, limit: i64) -> Result<Vec<Word>> {
    Ok(sqlx::query_as!(
        Word,
        "select token, spam, ham from filter_token where account_id = $1 order by spam + ham desc limit $2",
        account,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Words that changed since a [`floor`](crate::policy::news::floor), with their accounts.
///
/// # Errors
/// What the database said.
pub async fn changed(connection: &mut PgConnection, since: i64, limit: i64) -> Result<Vec<(i64, Word)>> {
    let rows = sqlx::query!(
        "select account_id, token, spam, ham from filter_token where revision >= $1 limit $2",
        since,
        limit
    )
    .fetch_all(connection)
    .await?;
    let word = |token, spam, ham| Word { token, spam, ham };
    Ok(rows.into_iter().map(|row| (row.account_id, word(row.token, row.spam, row.ham))).collect())
}

/// Learns a message, or unlearns what it was held to be before. Returns how much was learned then, and the words as they
/// are; `None` when the message was known as what it is.
///
/// # Errors
/// What the database said.
pub async fn teach(
    connection: &mut PgConnection,
    lesson: &Lesson,
    now: DateTime<Utc>,
) -> Result<Option<(Corpus, Vec<Word>)>> {
    let mut transaction = connection.begin().await?;
    // Locks the corpus, so that two who teach the same account come one after the other.
    sqlx::query!(
        "insert into filter_corpus (account_id, spam, ham) values ($1, 0, 0)
         on conflict (account_id) do update set account_id = excluded.account_id",
        lesson.account
    )
    .execute(&mut *transaction)
    .await?;
    let before = sqlx::query_scalar!(
        "select is_spam from filter_lesson where account_id = $1 and message = $2",
        lesson.account,
        lesson.message
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if before == Some(lesson.is_spam) {
        return Ok(None);
    }
    sqlx::query!(
        "insert into filter_lesson (account_id, message, is_spam, learned_at) values ($1, $2, $3, $4)
         on conflict (account_id, message) do update set is_spam = excluded.is_spam, learned_at = excluded.learned_at",
        lesson.account,
        lesson.message,
        lesson.is_spam,
        now
    )
    .execute(&mut *transaction)
    .await?;
    let mind = i32::from(before.is_some());
    let (spam, ham) = if lesson.is_spam { (1, -mind) } else { (-mind, 1) };
    let corpus = sqlx::query_as!(
        Corpus,
        "update filter_corpus set spam = greatest(spam + $2, 0), ham = greatest(ham + $3, 0) where account_id = $1
         returning account_id as account, spam, ham, generation",
        lesson.account,
        i64::from(spam),
        i64::from(ham)
    )
    .fetch_one(&mut *transaction)
    .await?;
    let words = sqlx::query_as!(
        Word,
        "insert into filter_token as old (account_id, token, spam, ham)
         select $1, token, greatest($3, 0), greatest($4, 0) from unnest($2::bigint[]) as t (token)
         on conflict (account_id, token) do update
         set spam = greatest(old.spam + $3, 0), ham = greatest(old.ham + $4, 0), revision = default
         returning token, spam, ham",
        lesson.account,
        &lesson.tokens,
        spam,
        ham
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some((corpus, words)))
}

/// Halves everything that was learned by everybody or one account, if it comes from more than so many messages. Returns
/// whether it did.
///
/// # Errors
/// What the database said.
pub async fn halve(connection: &mut PgConnection, account: i64, above: i64) -> Result<bool> {
    let mut transaction = connection.begin().await?;
    let done = sqlx::query!(
        "update filter_corpus set spam = spam / 2, ham = ham / 2, generation = generation + 1
         where account_id = $1 and spam + ham > $2",
        account,
        above
    )
    .execute(&mut *transaction)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("delete from filter_token where account_id = $1 and spam < 2 and ham < 2", account)
        .execute(&mut *transaction)
        .await?;
    sqlx::query!(
        "update filter_token set spam = spam / 2, ham = ham / 2, revision = default where account_id = $1",
        account
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}

/// Forgets which messages were learned before a moment, and what accounts taught that are no more.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<()> {
    sqlx::query!("delete from filter_lesson where learned_at < $1", before).execute(&mut *connection).await?;
    let gone = sqlx::query_scalar!(
        "delete from filter_corpus c where account_id <> 0 and not exists (select from account a where a.id = c.account_id)
         returning account_id"
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!("delete from filter_token where account_id = any($1)", &gone).execute(&mut *connection).await?;
    sqlx::query!("delete from filter_lesson where account_id = any($1)", &gone).execute(connection).await?;
    Ok(())
}
