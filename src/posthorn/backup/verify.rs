//! Trying a backup out: it is restored into a database that is made for that and dropped again, and every invariant is
//! checked there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, anyhow};
use posthorn_config::Config;
use posthorn_store::check::{self, Finding};
use posthorn_store::scratch::Scratch;
use posthorn_store::{Options as StoreOptions, Store};

use super::Progress;
use super::restore::{self, Options, Restored};
use crate::database::{Database, private_settings};
use crate::private_postgres::{self, PrivatePostgres, Settings};
use crate::serve::Signals;

/// What the folder of a PostgreSQL for a verification begins with.
const FOLDER: &str = "posthorn-verify-";
/// Its data folder below that.
const DATA: &str = "data";

/// What came of it.
#[derive(Debug)]
pub struct Verified {
    /// What was restored.
    pub restored: Restored,
    /// What the check found.
    pub findings: Vec<Finding>,
    /// Where it was tried.
    pub place: &'static str,
}

/// Restores and checks. Nothing of it stays.
///
/// # Errors
/// What is damaged, or what the database said.
pub async fn verify(config: &Config, path: &Path, progress: &Progress) -> anyhow::Result<Verified> {
    let database = Database::open_beside(config).await?;
    let done = beside(config, &database, path, progress).await;
    database.close().await;
    done
}

async fn beside(config: &Config, database: &Database, path: &Path, progress: &Progress) -> anyhow::Result<Verified> {
    // From here on the end is asked for, and what is made below is removed first.
    let mut signals = Signals::new()?;
    for left in Scratch::sweep(database.url()).await.context("the databases of earlier runs cannot be looked for")? {
        tracing::warn!(name = left, "a verification that was killed left a database behind: it is dropped");
    }
    let Some(scratch) = Scratch::make(database.url()).await.context("no database can be made")? else {
        // Our role may not make databases there.
        return apart(config, path, progress, &mut signals).await;
    };
    let verified = tokio::select! {
        verified = try_out(scratch.url(), path, progress) => verified,
        () = signals.next() => Err(anyhow!("interrupted")),
    };
    let name = scratch.name().to_owned();
    scratch.drop_it().await.with_context(|| format!("the database {name} could not be dropped again"))?;
    let (restored, findings) = verified?;
    Ok(Verified { restored, findings, place: "a database of its own, dropped again" })
}

/// In a PostgreSQL of its own, in the folder for temporary files.
async fn apart(config: &Config, path: &Path, progress: &Progress, signals: &mut Signals) -> anyhow::Result<Verified> {
    let settings = |folder: &Path| {
        let mut settings = private_settings(config);
        settings.data = folder.join(DATA);
        settings.durable = false;
        settings
    };
    sweep(&std::env::temp_dir(), settings).await;
    let folder = tempfile::Builder::new().prefix(FOLDER).tempdir().context("no temporary folder")?;
    let postgres = PrivatePostgres::start(settings(folder.path())).await;
    let postgres = postgres.context("the role may not create databases, and no private PostgreSQL starts")?;
    let url = postgres.url();
    let verified = tokio::select! {
        verified = try_out(&url, path, progress) => verified,
        () = signals.next() => Err(anyhow!("interrupted")),
    };
    postgres.shutdown().await;
    let (restored, findings) = verified?;
    Ok(Verified { restored, findings, place: "a PostgreSQL of its own, removed again" })
}

/// Removes what runs that were killed left in this folder: a PostgreSQL that nobody needs, and its data.
async fn sweep(temporary: &Path, settings: impl Fn(&Path) -> Settings) {
    let ours = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(temporary).into_iter().flatten().flatten();
    for folder in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(FOLDER)) {
        let folder = folder.path();
        // Everybody may make such a name there, and make it lead elsewhere.
        if !fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir() && meta.uid() == ours) {
            continue;
        }
        let removed = match private_postgres::clear(&settings(&folder)).await {
            Ok(true) => fs::remove_dir_all(&folder).map_err(anyhow::Error::from),
            Ok(false) => continue,
            Err(error) => Err(error.into()),
        };
        match removed {
            Ok(()) => {
                tracing::warn!(path = %folder.display(), "a verification that was killed left this: it is removed")
            }
            Err(error) => tracing::warn!(path = %folder.display(), %error, "what a killed verification left stays"),
        }
    }
}

async fn try_out(url: &str, path: &Path, progress: &Progress) -> anyhow::Result<(Restored, Vec<Finding>)> {
    let options = Options { exact: true, ..Options::default() };
    let restored = restore::prepare(url, path, options, progress).await?.commit().await?;
    let options = StoreOptions { url: url.to_owned(), connections: 1, writers: 1, batch: 1 };
    let store = Store::open(&options).await.context("the restored database cannot be opened")?;
    let findings = async {
        let mut connection = store.acquire().await?;
        let mut findings = Vec::new();
        for place in 0..check::invariants().len() {
            findings.extend(check::check(&mut connection, place).await?);
        }
        anyhow::Ok(findings)
    }
    .await;
    store.close().await;
    Ok((restored, findings?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_killed_run_left_goes_and_what_is_in_use_stays() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = |name: &str| temporary.path().join(format!("{FOLDER}{name}"));
        let settings = |folder: &Path| {
            let mut settings = private_settings(&Config::default());
            settings.data = folder.join(DATA);
            settings.durable = false;
            settings
        };
        for name in ["dead", "live", "begun"] {
            fs::create_dir(folder(name)).expect("made");
        }
        let dead = PrivatePostgres::start(settings(&folder("dead"))).await.expect("started");
        let arguments = format!("/proc/{}/cmdline", dead.pid());
        dead.detach().await;
        let live = PrivatePostgres::start(settings(&folder("live"))).await.expect("started");
        std::os::unix::fs::symlink(folder("live"), folder("elsewhere")).expect("linked");
        sweep(temporary.path(), settings).await;
        assert!(!folder("dead").exists());
        // Nobody in this process waits for it, so it may still be listed, without arguments.
        assert!(fs::read(&arguments).unwrap_or_default().is_empty());
        for name in ["live", "begun", "elsewhere"] {
            assert!(folder(name).exists(), "{name}");
        }
        live.shutdown().await;
    }
}
