//! `posthorn restore`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, anyhow};
use chrono::Utc;
use posthorn_config::{Config, Loaded};
use posthorn_model::Address;
use serde::Serialize;

use super::backup::{Inside, watched};
use super::{Misuse, Told};
use crate::backup::account::{self, Account};
use crate::backup::contents::FileRow;
use crate::backup::files::MASTER_KEY;
use crate::backup::restore::{self, Options, Ready};
use crate::database::{Database, with_mail_at};
use crate::output::Output;
use crate::secrets;
use crate::serve::interrupted;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup; - is standard input
    file: PathBuf,
    /// Replace what is in the database; it stays until the backup is there as a whole
    #[arg(long, conflicts_with = "account")]
    replace: bool,
    /// Hold what waits to leave (posthorn queue release), as some of it may have left since
    #[arg(long, conflicts_with = "account")]
    hold_queue: bool,
    /// Leave UIDs and modseqs as they were, for a copy whose clients saw nothing later
    #[arg(long, conflicts_with = "account")]
    exact: bool,
    /// Also write the files of the backup, configuration and secrets, below this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "account")]
    files: Option<PathBuf>,
    /// Only this account's mail, put beside what it has today; what it still has is not put there again
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    account: Option<Address>,
    /// Put it into this account instead
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address, requires = "account")]
    into: Option<Address>,
    /// Only this folder and those below it; may be repeated
    #[arg(long, value_name = "NAME", requires = "account")]
    folder: Vec<String>,
}

/// What was restored, as programs read it.
#[derive(Debug, Serialize)]
struct Report {
    seconds: f64,
    /// Recipients whose mail is held.
    held: u64,
    /// What became of the master key.
    master_key: String,
    /// Files that were written.
    written: Vec<PathBuf>,
    #[serde(flatten)]
    inside: Inside,
}

fn parse_address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| error.to_string())
}

pub(super) async fn run(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    match &args.account {
        Some(from) => one(loaded, args, from, output).await,
        None => all(&loaded.config, args, output).await,
    }
}

async fn all(config: &Config, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    if let Some(folder) = &args.files
        && fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
    {
        return Err(Misuse(format!("{} is not empty: files would be mixed", folder.display())).into());
    }
    let options = Options { exact: args.exact, hold_queue: args.hold_queue, replace: args.replace };
    let database = Database::open_beside(config).await?;
    let ready = tokio::select! {
        ready = prepared(&database, args, options) => ready,
        // Our private server must not be left behind.
        why = interrupted() => Err(anyhow!("{why}: the database is as it was")),
    };
    // Nothing interrupts these two: a key without its database would be found by the next server.
    let done = match ready {
        Ok((ready, written)) => finished(config, ready, written).await,
        Err(error) => Err(error),
    };
    database.close().await;
    let report = done?;
    output.answer(&report, || report.text())
}

/// Everything but the commit, and the files that were asked for.
async fn prepared(database: &Database, args: &Args, options: Options) -> anyhow::Result<(Ready, Vec<PathBuf>)> {
    let ready = watched(async |progress| restore::prepare(database.url(), &args.file, options, progress).await).await?;
    let files = &ready.restored.files;
    let written = args.files.as_deref().map_or_else(|| Ok(Vec::new()), |folder| write_files(folder, files))?;
    Ok((ready, written))
}

async fn finished(config: &Config, ready: Ready, written: Vec<PathBuf>) -> anyhow::Result<Report> {
    // Before the commit: a server must not find the database without its key and make another.
    let placed = place_master_key(config, &ready.restored.files)?;
    let restored = match ready.commit().await {
        Ok(restored) => restored,
        Err(error) => return Err(placed.undone(error)),
    };
    let master_key = placed.words;
    let inside = Inside::of(&restored.preface, &restored.manifest);
    Ok(Report { seconds: restored.took.as_secs_f64(), held: restored.held, master_key, written, inside })
}

/// What became of the master key.
#[derive(Debug)]
struct Placed {
    words: String,
    /// Where it was written, when it was.
    path: Option<PathBuf>,
    /// Where the one before it is now.
    aside: Option<PathBuf>,
}

impl Placed {
    fn nothing(words: String) -> Self {
        Self { words, path: None, aside: None }
    }

    /// Puts the key of before back, as the database is the one of before. Returns the error with what that led to.
    fn undone(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(path) = &self.path else { return error };
        // The connection may have broken behind the commit: the other key is not deleted either.
        let other = path.with_extension(format!("key.of-restore-{}", Utc::now().format("%Y%m%dT%H%M%SZ")));
        let back =
            fs::rename(path, &other).and_then(|()| self.aside.as_ref().map_or(Ok(()), |aside| fs::rename(aside, path)));
        match back {
            Ok(()) => error.context(format!("the backup's master key is now {}", other.display())),
            Err(why) => error.context(format!("{} could not be put back as it was: {why}", path.display())),
        }
    }
}

/// Puts the master key where the configuration looks for it.
fn place_master_key(config: &Config, files: &[(FileRow, Vec<u8>)]) -> anyhow::Result<Placed> {
    let Some((_, key)) = files.iter().find(|(row, _)| row.what == MASTER_KEY) else {
        return Ok(Placed::nothing(
            "not in the backup: put the file of the server that made it into its place (dkim.master_key)".to_owned(),
        ));
    };
    let (path, is_ours) = config.dkim.master_key_file(&config.server.data);
    let shown = path.display();
    let mut aside = None;
    match fs::read(&path) {
        Ok(there) if there == *key => {
            return Ok(Placed::nothing(format!("{shown} is the one of the backup")));
        }
        Ok(_) if !is_ours => {
            return Ok(Placed::nothing(format!(
                "{shown} is ANOTHER than the one of the backup: DKIM keys cannot be opened with it"
            )));
        }
        Ok(_) => {
            // It was made for a database that sealed nothing with it, or is replaced; still, nobody deletes a key.
            let old = path.with_extension(format!("key.before-restore-{}", Utc::now().format("%Y%m%dT%H%M%SZ")));
            fs::rename(&path, &old).with_context(|| format!("{shown} cannot be put aside"))?;
            aside = Some(old);
        }
        Err(_) => {}
    }
    if let Err(error) = secrets::write_once(&path, key) {
        if let Some(old) = &aside {
            fs::rename(old, &path).with_context(|| format!("{shown} could not be put back"))?;
        }
        return Err(error).with_context(|| format!("the master key cannot be written to {shown}"));
    }
    let words = format!("written to {shown}");
    Ok(Placed { words, path: Some(path), aside })
}

/// Writes files below a folder, where they were below the root, for their owner alone.
fn write_files(folder: &Path, files: &[(FileRow, Vec<u8>)]) -> anyhow::Result<Vec<PathBuf>> {
    let mut written: Vec<PathBuf> = Vec::new();
    for (row, octets) in files {
        // Nothing that the archive says leads out of the folder.
        let below: PathBuf = row.path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let path = folder.join(below);
        let named = || format!("{} cannot be written", path.display());
        // A backup may name a file under each of its uses.
        if written.contains(&path) && fs::read(&path).with_context(named)? == *octets {
            continue;
        }
        secrets::make_folder(path.parent().unwrap_or(folder)).with_context(named)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(named)?;
        file.write_all(octets).and_then(|()| file.sync_all()).with_context(named)?;
        written.push(path);
    }
    Ok(written)
}

async fn one(loaded: &Loaded, args: &Args, from: &Address, output: &mut Output) -> anyhow::Result<()> {
    let wanted = Account { from, into: args.into.as_ref().unwrap_or(from), folders: &args.folder };
    let restored = with_mail_at(loaded, async |mail, url| {
        watched(async |progress| account::restore(mail, url, &args.file, &wanted, progress).await).await
    })
    .await?;
    output.answer(&restored, || {
        let mut text = format!(
            "{} messages of {from} as of {} are restored into {}; {} were still there\n",
            restored.restored, restored.at, wanted.into, restored.present
        );
        for (folder, count) in &restored.folders {
            text.push_str(&format!("{folder}: {count}\n"));
        }
        if restored.lost > 0 {
            text.push_str(&format!("{} messages have no body in the backup\n", restored.lost));
        }
        if !restored.flags_left_out.is_empty() {
            let names = restored.flags_left_out.join(", ");
            text.push_str(&format!("keywords that the account has no room for are left out: {names}\n"));
        }
        if let Some(why) = &restored.stopped {
            text.push_str(&format!("stopped before the end: {why}\n"));
        }
        text
    })?;
    if restored.stopped.is_none() { Ok(()) } else { Err(Told.into()) }
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("restored in {:.1} s: {}", self.seconds, self.inside.text());
        text.push_str(&format!("master key: {}\n", self.master_key));
        if self.held > 0 {
            text.push_str(&format!("queue: {} recipients are held; posthorn queue release sends them\n", self.held));
        }
        if !self.written.is_empty() {
            text.push_str(&format!("{} files are written; look at them before you use them\n", self.written.len()));
        }
        text.push_str("posthorn check proves it; then start the server\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str) -> (FileRow, Vec<u8>) {
        let row =
            FileRow { path: path.into(), what: MASTER_KEY.to_owned(), secret: true, octets: 3, sha256: String::new() };
        (row, b"key".to_vec())
    }

    #[test]
    fn no_file_leaves_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        let written = write_files(&inner, &[row("/../../etc/a"), row("b/../c")]).expect("written");
        assert_eq!(written, [inner.join("etc/a"), inner.join("b/c")]);
        assert!(write_files(&inner, &[row("/etc/a")]).is_err(), "it is there");
        let twice = write_files(&folder.path().join("twice"), &[row("/a"), row("/a")]).expect("equal");
        assert_eq!(twice.len(), 1);
        let mut other = row("/a");
        other.1 = b"other".to_vec();
        assert!(write_files(&folder.path().join("unlike"), &[row("/a"), other]).is_err(), "one of them would be lost");
    }

    #[test]
    fn the_master_key_is_placed_and_no_key_is_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.server.data = folder.path().to_owned();
        let files = [row("/elsewhere/dkim.key")];
        assert!(place_master_key(&config, &files).expect("placed").words.starts_with("written to"));
        assert!(place_master_key(&config, &files).expect("there").words.ends_with("is the one of the backup"));
        fs::write(folder.path().join("dkim.key"), "other").expect("written");
        assert!(place_master_key(&config, &files).expect("placed").words.starts_with("written to"));
        assert_eq!(fs::read(folder.path().join("dkim.key")).expect("read"), b"key");
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 2);
        fs::write(folder.path().join("dkim.key"), "older").expect("written");
        let placed = place_master_key(&config, &files).expect("placed");
        placed.undone(anyhow::anyhow!("no commit"));
        assert_eq!(fs::read(folder.path().join("dkim.key")).expect("read"), b"older");
        config.dkim.master_key = Some(folder.path().join("mine"));
        fs::write(folder.path().join("mine"), "other").expect("written");
        assert!(place_master_key(&config, &files).expect("told").words.contains("ANOTHER"));
        assert!(place_master_key(&config, &[]).expect("told").words.starts_with("not in the backup"));
    }
}
