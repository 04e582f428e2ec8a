//! The backup before an upgrade: a new program that changes the schema of a database that is in use keeps what was there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::Utc;
use posthorn_config::{Config, Loaded};
use posthorn_store::schema::{self, Turn};

use super::write::{self, Wanted};
use super::{Progress, files};

/// What the file names begin with.
const NAME: &str = "before-upgrade-";

/// Brings the schema of a database up to this program's, after a backup where the configuration wants one. Of several
/// processes that start at once, one does it and the others wait.
///
/// # Errors
/// Why there is no backup, or what the database said; the schema is as it was then.
pub async fn upgrade(config: &Config, url: &str) -> anyhow::Result<()> {
    let mut turn = Turn::wait(url).await?;
    let done = async {
        let applied = turn.applied().await?;
        let pending = schema::pending(&applied)?;
        let Some(last) = applied.last().filter(|_| !pending.is_empty()) else { return Ok(()) };
        let (from, to) = (last.version.number, schema::newest());
        if config.backup.before_upgrade {
            let path = backup(config, url, (from, to)).await.context(
                "the backup before the upgrade failed, so nothing was upgraded (backup.before_upgrade = false goes on without)",
            )?;
            let backup = path.display();
            tracing::info!(schema.from = from, schema.to = to, %backup, "the database is upgraded after a backup");
        } else {
            tracing::info!(schema.from = from, schema.to = to, "the database is upgraded without a backup");
        }
        turn.migrate().await.context("the schema cannot be upgraded")
    }
    .await;
    turn.end().await;
    done
}

/// Writes it, and forgets the oldest ones.
async fn backup(config: &Config, url: &str, (from, to): (i64, i64)) -> anyhow::Result<PathBuf> {
    let folder = config.backup.folder(&config.server.data);
    let name = format!("{NAME}{from}-to-{to}-{}.tar", Utc::now().format("%Y%m%dT%H%M%S%.3fZ"));
    // What the database holds is what an upgrade changes; files that cannot be read stop it no more than they did before.
    let files = files::read(&Loaded::from(config.clone()), false).unwrap_or_default();
    let wanted = Wanted { host: config.server.hostname.clone(), files, with_secrets: false, level: 1 };
    let path = into_folder(&folder, &name, url, wanted, &Progress::default()).await?.0;
    forget(&folder, |name| name.starts_with(NAME), config.backup.keep)?;
    Ok(path)
}

/// Writes a backup into a folder: under its name when it is whole and on the disk, and not before.
///
/// # Errors
/// What the database or the disk said.
pub async fn into_folder(
    folder: &Path,
    name: &str,
    url: &str,
    wanted: Wanted,
    progress: &Progress,
) -> anyhow::Result<(PathBuf, write::Written<()>)> {
    if !folder.exists() {
        crate::secrets::make_folder(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let path = folder.join(name);
    let named = || format!("{} cannot be written", path.display());
    // Mode 0600 from the beginning; gone again when this fails.
    let file = tempfile::Builder::new().prefix(".").suffix(".partial").tempfile_in(folder).with_context(named)?;
    let (file, partial) = file.into_parts();
    let out = std::io::BufWriter::with_capacity(1 << 20, file);
    let written = write::write(url, wanted, out, progress).await?;
    let write::Written { out, octets, preface, manifest, took } = written;
    let file = out.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(named)?;
    file.sync_all().with_context(named)?;
    partial.persist_noclobber(&path).map_err(|error| error.error).with_context(named)?;
    fs::File::open(folder)?.sync_all()?;
    Ok((path, write::Written { out: (), octets, preface, manifest, took }))
}

/// Removes the oldest backups of a kind beyond so many; their names are in the order of time. Returns those removed.
///
/// # Errors
/// What the disk said.
pub fn forget(folder: &Path, is_of_kind: impl Fn(&str) -> bool, keep: u32) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".tar") && is_of_kind(&name) {
            // The moment is the end of the name.
            let moment = name.rsplit('-').next().unwrap_or_default().to_owned();
            found.push((moment, entry.path()));
        }
    }
    found.sort();
    let count = found.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    let gone: Vec<PathBuf> = found.into_iter().take(count).map(|(_, path)| path).collect();
    for path in &gone {
        fs::remove_file(path).with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_whatever_they_upgraded() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = [
            "before-upgrade-9-to-10-20260101T000000Z.tar",
            "before-upgrade-10-to-11-20260301T000000Z.tar",
            "before-upgrade-10-to-11-20260201T000000Z.tar",
            "posthorn-a-20250101T000000Z.tar",
            "before-upgrade-notes.txt",
        ];
        for name in names {
            fs::write(folder.path().join(name), name).expect("written");
        }
        let gone = forget(folder.path(), |name| name.starts_with(NAME), 2).expect("forgotten");
        assert_eq!(gone, [folder.path().join(names[0])]);
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 4);
        assert!(forget(folder.path(), |name| name.starts_with(NAME), 2).expect("none").is_empty());
    }
}
