//! `posthorn config reload|log|diff|rollback`: the configuration of the running server, and those before it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use posthorn_config::{Loaded, Problems, Sources};
use posthorn_mail::Mail;
use posthorn_store::config_revisions::{self, NewRevision, Revision};
use serde_json::{Value, json};

use super::Misuse;
use crate::control::{NotRunning, Request, ask};
use crate::database::with_mail;
use crate::output::{Output, tell};
use crate::revisions::{self, diff, lines_changed, with_passwords};
use crate::serve::named;
use crate::soundness::load_sound;

/// What is done with revisions.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Revisions {
    /// Let the running server read its configuration, certificates and secrets again; sessions go on
    Reload,
    /// List the configurations that were applied, newest first
    Log {
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
        /// Also those of other servers on the same database
        #[arg(long)]
        all: bool,
    },
    /// Show what differs: what was applied last against the files of now, one revision against now, or two revisions
    Diff {
        /// A revision's number
        from: Option<i64>,
        /// Another's
        to: Option<i64>,
        /// Compare the files as they were written instead of the settings that they amount to
        #[arg(long)]
        files: bool,
    },
    /// Show how the files would become those of a revision, or with --apply make them so and reload
    Rollback {
        /// The revision's number
        revision: i64,
        /// Write the files (each is kept as FILE.bak) and reload; what the server refuses is put back
        #[arg(long)]
        apply: bool,
    },
}

pub(super) async fn run(
    loaded: &Loaded,
    (sources, problems): (&Sources, Problems),
    command: Revisions,
    output: &mut Output,
) -> anyhow::Result<()> {
    if !problems.0.is_empty() && !matches!(command, Revisions::Reload) {
        tell(&problems.to_string());
    }
    match command {
        Revisions::Reload => match reload(loaded, output).await {
            Err(error) if error.is::<NotRunning>() && !problems.0.is_empty() => Err(problems.into()),
            told => told,
        },
        Revisions::Log { limit, all } => {
            with_mail(loaded, async |mail| log(mail, loaded, (limit, all), output).await).await
        }
        Revisions::Diff { from, to, files } => {
            with_mail(loaded, async |mail| compare(mail, loaded, (from, to, files), output).await).await
        }
        Revisions::Rollback { revision, apply } => {
            let then = with_mail(loaded, async |mail| find(mail, revision).await).await?;
            rollback((loaded, sources), &then, apply, output).await
        }
    }
}

async fn reload(loaded: &Loaded, output: &mut Output) -> anyhow::Result<()> {
    let answer = ask(&loaded.config, &Request::Reload).await?;
    output.answer(&answer, || told(&answer))
}

/// What a reload did, for people.
fn told(answer: &Value) -> String {
    let words =
        |key: &str| -> Vec<&str> { answer[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let (changed, restart) = (words("changed"), words("restart"));
    let mut lines = vec![match &changed[..] {
        [] => "reloaded: the configuration is as it was; certificates and secrets are read again".to_owned(),
        changed => format!("reloaded: {} changed", changed.join(", ")),
    }];
    if let (Some(opened), Some(closed)) = (answer["opened"].as_u64(), answer["closed"].as_u64())
        && opened + closed > 0
    {
        lines.push(format!("addresses: {opened} opened, {closed} closed"));
    }
    lines.extend(restart.iter().map(|key| format!("needs a restart: {key}")));
    if let Some(revision) = answer["revision"].as_i64() {
        lines.push(format!("revision {revision}"));
    }
    lines.join("\n")
}

async fn log(mail: &Mail, loaded: &Loaded, (limit, all): (i64, bool), output: &mut Output) -> anyhow::Result<()> {
    let server = named(loaded).server.hostname;
    // One more than is shown: the last one is compared with it.
    let found = revisions::history(mail.store(), (!all).then_some(&server), limit + 1).await?;
    let shown = found.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).enumerate();
    let rows: Vec<_> = shown
        .map(|(at, revision)| {
            let before = found[at + 1..].iter().find(|other| other.what.server == revision.what.server);
            let (came, went) = match before {
                Some(before) => lines_changed(&before.what.settings, &revision.what.settings),
                None => (revision.what.settings.lines().count(), 0),
            };
            json!({
                "id": revision.id,
                "at": revision.at,
                "author": revision.what.author,
                "server": revision.what.server,
                "version": revision.what.version,
                "files": revision.what.files.iter().map(|(path, _)| path).collect::<Vec<_>>(),
                "lines_added": came,
                "lines_removed": went,
            })
        })
        .collect();
    output.rows(&rows, &["revision", "when", "who", "server", "version", "settings"], |row| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let when = row["at"].as_str().unwrap_or_default().get(..19).unwrap_or_default().replace('T', " ");
        let lines = format!("+{} -{}", row["lines_added"], row["lines_removed"]);
        vec![row["id"].to_string(), when + " UTC", text("author"), text("server"), text("version"), lines]
    })
}

async fn compare(
    mail: &Mail,
    loaded: &Loaded,
    (from, to, files): (Option<i64>, Option<i64>, bool),
    output: &mut Output,
) -> anyhow::Result<()> {
    let running = named(loaded);
    let old = match from {
        Some(id) => find(mail, id).await?,
        None => {
            let mut connection = mail.store().acquire().await?;
            let last = config_revisions::latest(&mut connection, &running.server.hostname).await?;
            last.ok_or_else(|| Misuse("no configuration of this server was applied yet".to_owned()))?
        }
    };
    let (name, new) = match to {
        Some(id) => (format!("revision {id}"), find(mail, id).await?.what),
        None => ("now".to_owned(), revisions::revision(loaded, &running, "")),
    };
    let text = difference(&format!("revision {}", old.id), &old.what, (&name, &new), files);
    output.answer(&json!({ "from": old.id, "to": to, "diff": text }), || text.clone())
}

/// What differs between two configurations, in their settings or in their files.
fn difference(old_name: &str, old: &NewRevision, (name, new): (&str, &NewRevision), files: bool) -> String {
    if !files {
        return diff((old_name, &old.settings), (name, &new.settings));
    }
    let mut paths: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for (path, text) in &old.files {
        paths.entry(path).or_default().0 = text;
    }
    for (path, text) in &new.files {
        paths.entry(path).or_default().1 = text;
    }
    let one = |(path, (before, after)): (&str, (&str, &str))| {
        diff((&format!("{path} ({old_name})"), before), (&format!("{path} ({name})"), after))
    };
    paths.into_iter().map(one).collect()
}

async fn find(mail: &Mail, id: i64) -> anyhow::Result<Revision> {
    let mut connection = mail.store().acquire().await?;
    let found = config_revisions::find(&mut connection, id).await?;
    found.ok_or_else(|| Misuse(format!("there is no revision {id}; see posthorn config log --all")).into())
}

async fn rollback(
    (loaded, sources): (&Loaded, &Sources),
    then: &Revision,
    apply: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
    let now = revisions::revision(loaded, &named(loaded), "");
    if then.what.server != now.server {
        let (there, here) = (&then.what.server, &now.server);
        return Err(Misuse(format!("revision {} is of {there}, and this is {here}", then.id)).into());
    }
    if then.what.files.is_empty() {
        return Err(Misuse(format!("revision {} was read from no file", then.id)).into());
    }
    let text = difference("now", &now, (&format!("revision {}", then.id), &then.what), true);
    if !apply {
        return output.answer(&json!({ "revision": then.id, "applied": false, "diff": text }), || {
            match text.is_empty() {
                true => format!("the files are those of revision {} already", then.id),
                false => format!("{text}\nNothing is written yet: --apply does it."),
            }
        });
    }
    let written = write(&now, &then.what)?;
    let answer = match judged(loaded, sources).await {
        Ok(answer) => answer,
        Err(error) => {
            written.into_iter().rev().try_for_each(Written::put_back).context("the files are not put back")?;
            return Err(error.context("the files are as they were: the revision cannot be used any more"));
        }
    };
    let paths: Vec<_> = written.iter().map(|file| file.path.display().to_string()).collect();
    let document = json!({ "revision": then.id, "applied": true, "files": paths, "diff": text, "reload": answer });
    output.answer(&document, || {
        let reloaded =
            answer.as_ref().map_or_else(|| "no server runs: it counts from the next start on".to_owned(), told);
        format!("written: {} (before: .bak)\n{reloaded}", paths.join(", "))
    })
}

/// Has the running server take the files as they are now; where none runs, they are only judged.
async fn judged(loaded: &Loaded, sources: &Sources) -> anyhow::Result<Option<Value>> {
    match ask(&loaded.config, &Request::Reload).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is::<NotRunning>() => match load_sound(sources, true) {
            Ok(_) => Ok(None),
            Err(problems) => Err(Misuse(problems.to_string()).into()),
        },
        Err(error) => Err(error),
    }
}

/// A file that was replaced.
struct Written {
    path: PathBuf,
    /// What it was, when it was.
    before: Option<PathBuf>,
}

impl Written {
    fn put_back(self) -> std::io::Result<()> {
        match self.before {
            Some(before) => fs::rename(before, self.path),
            None => fs::remove_file(self.path),
        }
    }
}

/// Makes the files those of a revision: each at once, and kept under another name before.
fn write(now: &NewRevision, then: &NewRevision) -> anyhow::Result<Vec<Written>> {
    let mut wanted = Vec::new();
    for (path, text) in &then.files {
        let present = fs::read_to_string(path).unwrap_or_default();
        let text = with_passwords(text, &present).with_context(|| {
            format!(
                "{path} held a password then, which is not kept: change the file by hand (posthorn config diff --files)"
            )
        })?;
        if text != present {
            wanted.push((PathBuf::from(path), Some(text)));
        }
    }
    // A file that was not read then must not be read now.
    let gone = now.files.iter().filter(|(path, _)| !then.files.iter().any(|(other, _)| other == path));
    wanted.extend(gone.map(|(path, _)| (PathBuf::from(path), None)));
    let mut written: Vec<Written> = Vec::new();
    for (path, text) in wanted {
        match replace(&path, text.as_deref()) {
            Ok(done) => written.push(done),
            Err(error) => {
                for file in written.into_iter().rev() {
                    let path = file.path.clone();
                    if let Err(error) = file.put_back() {
                        tell(&format!("{} is not put back: {error}", path.display()));
                    }
                }
                bail!("{} cannot be written: {error}", path.display());
            }
        }
    }
    Ok(written)
}

/// Puts a text in the place of a file, or nothing; what was there is kept beside it.
fn replace(path: &Path, text: Option<&str>) -> std::io::Result<Written> {
    // A name that conf.d does not read.
    let mut kept = path.as_os_str().to_owned();
    kept.push(".bak");
    let kept = PathBuf::from(kept);
    let meta = match fs::metadata(path) {
        Ok(meta) => Some(meta),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let Some(text) = text else {
        fs::rename(path, &kept)?;
        return Ok(Written { path: path.to_owned(), before: Some(kept) });
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    let mode = meta.as_ref().map_or(0o644, |meta| meta.mode() & 0o7777);
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    if let Some(meta) = &meta {
        chown(file.path(), Some(meta.uid()), Some(meta.gid()))?;
        fs::copy(path, &kept)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(Written { path: path.to_owned(), before: meta.map(|_| kept) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(files: &[(&Path, &str)]) -> NewRevision {
        NewRevision {
            server: "a.example".to_owned(),
            author: "root".to_owned(),
            version: "1".to_owned(),
            settings: String::new(),
            files: files.iter().map(|(path, text)| (path.display().to_string(), (*text).to_owned())).collect(),
        }
    }

    #[test]
    fn files_become_those_of_then_and_can_be_put_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b, c) = (folder.path().join("a.toml"), folder.path().join("b.toml"), folder.path().join("c.toml"));
        fs::write(&a, "url = 'postgres://m:secret@db/mail'\nx = 1\n").expect("written");
        fs::set_permissions(&a, fs::Permissions::from_mode(0o640)).expect("set");
        fs::write(&b, "added since\n").expect("written");
        let now = revision(&[(&a, ""), (&b, "")]);
        let then = revision(&[(&a, "url = 'postgres://m:***@db/mail'\nx = 0\n"), (&c, "gone since\n")]);
        let written = write(&now, &then).expect("written");
        let read = |path: &Path| fs::read_to_string(path).ok();
        assert_eq!(read(&a).as_deref(), Some("url = 'postgres://m:secret@db/mail'\nx = 0\n"));
        assert_eq!(fs::metadata(&a).expect("there").permissions().mode() & 0o777, 0o640);
        assert_eq!((read(&b), read(&c).as_deref()), (None, Some("gone since\n")));
        written.into_iter().rev().try_for_each(Written::put_back).expect("put back");
        assert_eq!(read(&a).as_deref(), Some("url = 'postgres://m:secret@db/mail'\nx = 1\n"));
        assert_eq!((read(&b).as_deref(), read(&c)), (Some("added since\n"), None));
    }

    #[test]
    fn a_password_that_nobody_knows_is_not_made_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.toml");
        fs::write(&path, "url = 'postgres://m:secret@elsewhere/mail'\n").expect("written");
        let then = revision(&[(&path, "url = 'postgres://m:***@db/mail'\n")]);
        assert!(write(&revision(&[(&path, "")]), &then).is_err());
        assert_eq!(fs::read_to_string(&path).expect("read"), "url = 'postgres://m:secret@elsewhere/mail'\n");
    }

    #[test]
    fn a_reload_is_told_in_sentences() {
        let nothing = json!({ "changed": [], "restart": [], "opened": 0, "closed": 0, "revision": null });
        assert!(told(&nothing).starts_with("reloaded: the configuration is as it was"));
        let much = json!({ "changed": ["listener", "database.url"], "restart": ["database.url"], "opened": 1,
                           "closed": 0, "revision": 7 });
        assert_eq!(
            told(&much),
            "reloaded: listener, database.url changed\naddresses: 1 opened, 0 closed\nneeds a restart: database.url\nrevision 7"
        );
    }
}
