//! Backups: everything comes back, damage is noticed, and nothing is half restored.

mod accounts;
mod damage;
mod load;
mod refusals;
mod speed;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use posthorn::backup::restore::{self, Options, Restored};
use posthorn::backup::write::{Wanted, write};
use posthorn::backup::{Progress, contents::Manifest};
use posthorn_store::check;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Writes a backup of a database, without files, into a file of a folder.
async fn backed_up(url: &str, folder: &Path) -> (PathBuf, Manifest) {
    let path = folder.join("backup.tar");
    let out = std::fs::File::create(&path).expect("a file");
    let wanted = Wanted { host: "localhost".to_owned(), files: Vec::new(), with_secrets: false, level: 3 };
    let written = write(url, wanted, out, &Progress::default()).await.expect("a backup");
    assert_eq!(written.octets, std::fs::metadata(&path).expect("the file").len());
    (path, written.manifest)
}

async fn restored(url: &str, path: &Path, options: Options) -> anyhow::Result<Restored> {
    restore::prepare(url, path, options, &Progress::default()).await?.commit().await
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the database answers")
}

async fn number(url: &str, question: &str) -> i64 {
    let mut connection = connect(url).await;
    let number = sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut connection).await.expect("a number");
    connection.close().await.expect("closed");
    number
}

async fn run(url: &str, statements: &str) {
    let mut connection = connect(url).await;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect(statements);
    connection.close().await.expect("closed");
}

/// What `posthorn check` finds.
async fn findings(url: &str) -> Vec<check::Finding> {
    let mut connection = connect(url).await;
    let mut findings = Vec::new();
    for place in 0..check::invariants().len() {
        findings.extend(check::check(&mut connection, place).await.expect("the store works"));
    }
    connection.close().await.expect("closed");
    findings
}

/// Every table that there is, whatever it is for, with how many rows it has and a hash of them.
async fn tables(url: &str) -> BTreeMap<String, (i64, String)> {
    let mut connection = connect(url).await;
    let names: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables");
    let mut tables = BTreeMap::new();
    for name in names {
        // Numbers of transactions mean nothing in another server, and when a migration was applied is not mail.
        let question = format!(
            "select count(*), coalesce(md5(string_agg(row, '|' order by row)), '')
             from (select (to_jsonb(t) - 'revision' - 'installed_on' - 'execution_time')::text row from \"{name}\" t) r"
        );
        let sum = sqlx::query_as(AssertSqlSafe(question)).fetch_one(&mut connection).await.expect("rows");
        tables.insert(name, sum);
    }
    connection.close().await.expect("closed");
    tables
}

/// Everything about the schema that is not rows.
async fn schema(url: &str) -> Vec<String> {
    let mut connection = connect(url).await;
    let lines = sqlx::query_scalar(
        "select 'index ' || indexdef from pg_indexes where schemaname = 'public'
         union all
         select 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
         from pg_constraint where connamespace = 'public'::regnamespace
         union all
         select 'column ' || table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable || ' '
             || coalesce(column_default, '') || ' ' || coalesce(identity_generation, '')
         from information_schema.columns where table_schema = 'public'
         union all
         select 'partition ' || relname || ' ' || pg_get_expr(relpartbound, oid) from pg_class
         where relispartition and relkind = 'r' and relnamespace = 'public'::regnamespace
         union all
         select 'options ' || relname || ' ' || reloptions::text from pg_class
         where reloptions is not null and relnamespace = 'public'::regnamespace
         union all
         select 'storage ' || attrelid::regclass || ' ' || attname || ' ' || attstorage::text from pg_attribute a
         join pg_class c on c.oid = attrelid
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and attnum > 0
         union all
         select 'sequence ' || sequencename || ' ' || coalesce(last_value, 0) from pg_sequences
         order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the schema");
    connection.close().await.expect("closed");
    lines
}

/// Puts a row into each table that has none, but for some, made up by the types of its columns.
pub(crate) async fn fill(url: &str, but_for: &[&str]) {
    let empty: Vec<_> =
        tables(url).await.into_iter().filter(|(_, (rows, _))| *rows == 0).map(|(name, _)| name).collect();
    let mut connection = connect(url).await;
    for name in empty.into_iter().filter(|name| !but_for.contains(&name.as_str())) {
        let columns: Vec<(String, String)> = sqlx::query_as(
            "select column_name::text, udt_name::text from information_schema.columns
             where table_schema = 'public' and table_name = $1 and is_identity = 'NO' order by ordinal_position",
        )
        .bind(&name)
        .fetch_all(&mut connection)
        .await
        .expect("columns");
        let value = |kind: &str| match kind {
            "bytea" => "'\\x00ff'::bytea",
            "bool" => "true",
            "text" | "varchar" => "'a text, \"with\" \\ and ä'",
            "timestamptz" => "timestamptz '2026-01-02 03:04:05.678901+00'",
            "date" => "date '2026-01-02'",
            "_text" => "array['one', 'two, three']",
            "_int8" => "array[1, 2]",
            "jsonb" | "json" => "'{\"a\": 1}'",
            "inet" | "cidr" => "'192.0.2.0/24'",
            "uuid" => "'00000000-0000-0000-0000-000000000001'",
            _ => "7",
        };
        let names: Vec<_> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let values: Vec<_> = columns.iter().map(|(_, kind)| value(kind)).collect();
        let insert = format!("insert into {name} ({}) values ({})", names.join(", "), values.join(", "));
        sqlx::raw_sql(AssertSqlSafe(insert.as_str())).execute(&mut connection).await.expect(&insert);
    }
}
