//! A database for each test.
//!
//! The first test process of a run starts a private PostgreSQL in a temporary folder, the others join it, and a
//! watchdog takes it away a few seconds after the last one ended, however that ended. The schema is made once in a
//! template; each test gets a copy of its own. Durability is off: a test about crashes starts its own server with
//! [`posthorn::private_postgres`].

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use posthorn::private_postgres::{PrivatePostgres, Settings};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/store/migrations");
const WATCHDOG: &str = include_str!("watchdog.sh");

/// Says that a template is being made; the number only has to differ from the store's own locks.
const TEMPLATE_LOCK: i64 = 0x7465_6d70_6c61_7465;

/// The database of one test; dropped with everything in it when this is.
#[derive(Debug)]
pub struct TestDatabase {
    /// Where to connect to: `postgres://posthorn@%2Ftmp%2F…/t_4711_0`.
    pub url: String,
    server: String,
    name: String,
}

/// A fresh database with the schema. `prepare` makes the schema, once per run and set of migrations: it gets the
/// URL of an empty database and must have closed its connections when it returns. Pass `posthorn_store::migrate`.
///
/// # Panics
/// When PostgreSQL cannot be started or the schema cannot be made: no test can go on without.
pub async fn database<E>(prepare: impl AsyncFnOnce(&str) -> Result<(), E>) -> TestDatabase
where
    E: Into<anyhow::Error>,
{
    let made = async {
        let server = server().await?;
        let template = template(server, &format!("{:x}", fingerprint()?), prepare).await?;
        TestDatabase::create(server, &template).await
    };
    made.await.unwrap_or_else(|error: anyhow::Error| panic!("no test database: {error:?}"))
}

/// A fresh database with nothing in it.
///
/// # Panics
/// When PostgreSQL cannot be started: no test can go on without.
pub async fn empty() -> TestDatabase {
    let made = async { TestDatabase::create(server().await?, "template1").await };
    made.await.unwrap_or_else(|error: anyhow::Error| panic!("no test database: {error:?}"))
}

impl TestDatabase {
    async fn create(server: &str, template: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(server).await.context("connect to the shared PostgreSQL")?;
        // A killed process may have had our process id.
        execute(&mut connection, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        execute(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        connection.close().await?;
        Ok(Self { url: at(server, &name), server: server.to_owned(), name })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let drop_it = async move {
            let mut connection = PgConnection::connect(&server).await?;
            execute(&mut connection, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
            connection.close().await?;
            anyhow::Ok(())
        };
        // The test's own runtime is busy running this very drop. What fails here goes with the server.
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(drop_it)
        });
        let _ = thread.join();
    }
}

/// The URL of the shared server's maintenance database.
async fn server() -> Result<&'static str> {
    static SERVER: OnceCell<String> = OnceCell::const_new();
    SERVER.get_or_try_init(join).await.map(String::as_str)
}

/// Joins the running server, or starts it.
async fn join() -> Result<String> {
    // One at a time, all processes of this checkout: the manifest is a file that is there anyway.
    let lock = File::open(MANIFEST).context(MANIFEST)?;
    let _lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    let live = live_folder()?;
    let began = Instant::now();
    loop {
        if register(&live)? {
            let url = fs::read_to_string(live.join("url")).unwrap_or_default();
            if let Ok(connection) = PgConnection::connect(&url).await {
                connection.close().await?;
                return Ok(url);
            }
            // Whoever started it was killed in the middle.
            end(&live)?;
        } else if live.join("closed").exists() && began.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else if live.exists() {
            end(&live)?;
        } else {
            return start(&live).await;
        }
    }
}

async fn start(live: &Path) -> Result<String> {
    DirBuilder::new().mode(0o700).create(live).with_context(|| live.display().to_string())?;
    fs::create_dir(live.join("users"))?;
    ensure!(register(live)?, "{} vanished", live.display());
    // First the watchdog: from here on, being killed leaves nothing behind.
    watchdog("watch", live).process_group(0).spawn().context("sh")?;
    let settings = Settings { durable: false, connections: 300, ..Settings::new(live) };
    let server = PrivatePostgres::start(settings).await?;
    fs::write(live.join("socket"), server.socket_folder().as_os_str().as_encoded_bytes())?;
    let url = server.url_of("postgres");
    fs::write(live.join("url"), &url)?;
    server.detach().await;
    Ok(url)
}

/// The folder of this user and checkout.
fn live_folder() -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    MANIFEST.hash(&mut hasher);
    let uid = fs::metadata("/proc/self")?.uid();
    let live = fs::canonicalize(std::env::temp_dir())?.join(format!("posthorn-tests-{uid}-{:x}", hasher.finish()));
    if let Ok(meta) = fs::symlink_metadata(&live) {
        ensure!(meta.is_dir() && meta.uid() == uid, "{} belongs to somebody else", live.display());
    }
    Ok(live)
}

/// Says that this process uses the server; `false` when there is none or it is closing.
fn register(live: &Path) -> Result<bool> {
    match File::create(live.join("users").join(std::process::id().to_string())) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| live.display().to_string()),
    }
}

fn end(live: &Path) -> Result<()> {
    watchdog("end", live).status().context("sh")?;
    ensure!(!live.exists(), "{} cannot be removed", live.display());
    Ok(())
}

fn watchdog(task: &str, live: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", WATCHDOG, "watchdog", task]).arg(live).current_dir("/");
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell
}

/// The name of the database with the schema that `label` stands for, made when it is not there yet.
async fn template<E>(server: &str, label: &str, prepare: impl AsyncFnOnce(&str) -> Result<(), E>) -> Result<String>
where
    E: Into<anyhow::Error>,
{
    let name = format!("template_{label}");
    let mut connection = PgConnection::connect(server).await?;
    if !exists(&mut connection, &name).await? {
        execute(&mut connection, format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await?;
        if !exists(&mut connection, &name).await? {
            let fresh = format!("{name}_new");
            execute(&mut connection, format!("DROP DATABASE IF EXISTS {fresh} WITH (FORCE)")).await?;
            execute(&mut connection, format!("CREATE DATABASE {fresh}")).await?;
            prepare(&at(server, &fresh)).await.map_err(Into::into).context("prepare the template")?;
            // Only a complete one gets the name that others look for.
            execute(&mut connection, format!("ALTER DATABASE {fresh} RENAME TO {name}")).await?;
        }
    }
    // Gives the lock back.
    connection.close().await?;
    Ok(name)
}

async fn exists(connection: &mut PgConnection, name: &str) -> Result<bool> {
    let row = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(name).fetch_optional(connection).await?;
    Ok(row.is_some())
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(connection).await.with_context(|| statement.clone())?;
    Ok(())
}

/// Changes with the migrations: a server that outlives an edit must not serve the old schema.
fn fingerprint() -> Result<u64> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(MIGRATIONS).context(MIGRATIONS)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        fs::read(&file)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// The same server, another database.
fn at(server: &str, database: &str) -> String {
    let end = server.rfind('/').map_or(server.len(), |slash| slash + 1);
    format!("{}{database}", &server[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn schema(url: &str) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS probe (word text)").execute(&mut connection).await?;
        connection.close().await
    }

    /// A database of these tests: the template is shared with others, whose schema has no such table.
    async fn probe() -> TestDatabase {
        let database = empty().await;
        schema(&database.url).await.expect("a table");
        database
    }

    async fn words_after_one_more(database: &TestDatabase) -> i64 {
        let mut connection = PgConnection::connect(&database.url).await.expect("it is there");
        sqlx::raw_sql("INSERT INTO probe VALUES ('word')").execute(&mut connection).await.expect("the table is there");
        sqlx::query_scalar("SELECT count(*) FROM probe").fetch_one(&mut connection).await.expect("a number")
    }

    #[tokio::test]
    async fn every_test_has_its_own_and_leaves_nothing() {
        let (one, other) = (probe().await, probe().await);
        assert_eq!(words_after_one_more(&one).await, 1);
        assert_eq!(words_after_one_more(&one).await, 2);
        assert_eq!(words_after_one_more(&other).await, 1);

        let mut admin = PgConnection::connect(&one.server).await.expect("the shared server");
        let gone = one.name.clone();
        drop(one);
        assert!(!exists(&mut admin, &gone).await.expect("an answer"));
        assert!(exists(&mut admin, &other.name).await.expect("an answer"));
    }

    #[tokio::test]
    async fn the_template_is_made_once_and_copied() {
        let server = server().await.expect("the shared server");
        let label = format!("probe_{}", std::process::id());
        let first = template(server, &label, schema).await.expect("made");
        let second = template(server, &label, async |_: &str| Err(anyhow::anyhow!("made twice"))).await.expect("found");
        assert_eq!(first, second);
        let copies = tokio::join!(TestDatabase::create(server, &first), TestDatabase::create(server, &first));
        for copy in [copies.0, copies.1] {
            assert_eq!(words_after_one_more(&copy.expect("a copy")).await, 1);
        }
    }

    #[tokio::test]
    async fn a_template_that_fails_is_not_kept() {
        let server = server().await.expect("the shared server");
        let label = format!("broken_{}", std::process::id());
        let error = template(server, &label, async |_: &str| Err(anyhow::anyhow!("no schema"))).await;
        assert!(format!("{:?}", error.expect_err("it failed")).contains("no schema"));
        template(server, &label, schema).await.expect("made at the second attempt");
    }

    #[tokio::test]
    async fn a_watchdog_without_users_removes_the_folder() {
        let live = std::env::temp_dir().join(format!("posthorn-watchdog-{}", std::process::id()));
        fs::create_dir_all(live.join("users")).expect("writable");
        assert!(register(&live).expect("open"));
        let mut shell = watchdog("watch", &live).spawn().expect("sh");
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(live.exists(), "we use it");
        fs::remove_file(live.join("users").join(std::process::id().to_string())).expect("ours");
        shell.wait().expect("it ends");
        assert!(!live.exists());
        assert!(!register(&live).expect("closed"));
    }

    #[test]
    fn databases_of_one_server() {
        assert_eq!(at("postgres://posthorn@%2Ftmp:5432/postgres", "t_1_2"), "postgres://posthorn@%2Ftmp:5432/t_1_2");
    }
}
