//! `posthorn backup`.

use std::io::{IsTerminal, Stdout, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use chrono::Utc;
use clap::Subcommand;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use posthorn_config::Loaded;
use serde::Serialize;

use super::{Misuse, Told};
use crate::backup::contents::{FileRow, Manifest, Preface};
use crate::backup::restore::moment;
use crate::backup::write::{Wanted, Written};
use crate::backup::{Progress, files, read, upgrade, verify, write};
use crate::database::Database;
use crate::output::{Output, tell};
use crate::serve::{interrupted, named};

/// How often a bar is drawn.
const GLANCE: Duration = Duration::from_millis(120);

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Backups>,
    /// The folder that it is written into, under a name with host and time, mode 0600; - is standard output
    #[arg(required = true, value_name = "FOLDER")]
    target: Option<PathBuf>,
    /// Leave out the master key, passwords and private keys that lie in files, and the configuration's own text
    #[arg(long)]
    without_secrets: bool,
    /// How hard zstd tries
    #[arg(long, default_value_t = 3, value_name = "1-19", value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
    /// Then remove this host's oldest backups in the folder beyond so many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
}

#[derive(Debug, Subcommand)]
enum Backups {
    /// Prove that a backup is whole: restore it into a database made for that, check it, and drop it again
    Verify {
        /// The backup; - is standard input
        file: PathBuf,
        /// Only compare it with its hashes, which needs no database
        #[arg(long)]
        quick: bool,
    },
    /// Tell what is in a backup, by what it says of itself
    Show {
        /// The backup; - is standard input
        file: PathBuf,
    },
}

/// What is in a backup, as programs read it.
#[derive(Debug, Serialize)]
pub(super) struct Inside {
    host: String,
    at: String,
    posthorn: String,
    postgresql: String,
    schema: i64,
    accounts: u64,
    messages: u64,
    queued: u64,
    secrets: bool,
    files: Vec<FileRow>,
    tables: Vec<Table>,
    /// Octets of all rows, before compression.
    octets: u64,
}

#[derive(Debug, Serialize)]
struct Table {
    name: String,
    rows: u64,
    octets: u64,
    sha256: String,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Report {
    /// Where; nothing for standard output.
    path: Option<PathBuf>,
    /// Octets of the archive.
    size: u64,
    seconds: f64,
    removed: Vec<PathBuf>,
    #[serde(flatten)]
    inside: Inside,
}

/// What was verified.
#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    /// Whether it was restored, too.
    restored: bool,
    place: Option<&'static str>,
    findings: Vec<Finding>,
    #[serde(flatten)]
    inside: Inside,
}

#[derive(Debug, Serialize)]
struct Finding {
    invariant: &'static str,
    count: i64,
    places: Vec<String>,
}

pub(super) async fn run(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    match &args.command {
        Some(Backups::Verify { file, quick: true }) => {
            let (preface, manifest) = watched(async |progress| read::verify(file, progress).await).await?;
            let inside = Inside::of(&preface, &manifest);
            let verdict = Verdict { ok: true, restored: false, place: None, findings: Vec::new(), inside };
            output.answer(&verdict, || verdict.text(file))
        }
        Some(Backups::Verify { file, quick: false }) => {
            let verified = watched(async |progress| verify::verify(&loaded.config, file, progress).await).await?;
            let finding = |finding: posthorn_store::check::Finding| Finding {
                invariant: finding.invariant,
                count: finding.count,
                places: finding.places,
            };
            let verdict = Verdict {
                ok: verified.findings.is_empty(),
                restored: true,
                place: Some(verified.place),
                inside: Inside::of(&verified.restored.preface, &verified.restored.manifest),
                findings: verified.findings.into_iter().map(finding).collect(),
            };
            output.answer(&verdict, || verdict.text(file))?;
            if verdict.ok { Ok(()) } else { Err(Told.into()) }
        }
        Some(Backups::Show { file }) => {
            let (preface, manifest) = watched(async |progress| read::verify(file, progress).await).await?;
            let inside = Inside::of(&preface, &manifest);
            output.answer(&inside, || inside.text())
        }
        None => make(loaded, args, output).await,
    }
}

async fn make(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let target = args.target.as_deref().unwrap_or(Path::new("-"));
    let to_standard = target == Path::new("-");
    if to_standard && stdout().is_terminal() {
        return Err(Misuse("a backup is no text for a terminal: name a folder, or send - into a file".into()).into());
    }
    if !to_standard && !target.is_dir() {
        return Err(Misuse(format!("{} is no folder: make it first", target.display())).into());
    }
    let config = named(loaded);
    let host = config.server.hostname.clone();
    let wanted = Wanted {
        host: host.clone(),
        files: files::read(loaded, !args.without_secrets)?,
        with_secrets: !args.without_secrets,
        level: args.level,
    };
    let database = Database::open_beside(&config).await?;
    let url = database.url().to_owned();
    let done = watched(async |progress| {
        tokio::select! {
            done = write_to(target, &host, &url, wanted, progress) => done,
            // Our private server must not be left behind.
            why = interrupted() => Err(anyhow!("{why}: there is no backup")),
        }
    })
    .await;
    database.close().await;
    let (path, written) = done?;
    let removed = match args.keep {
        Some(keep) if !to_standard => upgrade::forget(target, |name| is_of(name, &host), keep)?,
        _ => Vec::new(),
    };
    let report = Report {
        path,
        size: written.octets,
        seconds: written.took.as_secs_f64(),
        removed,
        inside: Inside::of(&written.preface, &written.manifest),
    };
    if to_standard {
        // The archive is the answer; what is told of it goes beside.
        tell(&if output.is_json() { serde_json::to_string_pretty(&report)? } else { report.text() });
        return Ok(());
    }
    output.answer(&report, || report.text())
}

async fn write_to(
    target: &Path,
    host: &str,
    url: &str,
    wanted: Wanted,
    progress: &Progress,
) -> anyhow::Result<(Option<PathBuf>, Written<()>)> {
    if target != Path::new("-") {
        let name = format!("{}{}.tar", beginning(host), Utc::now().format("%Y%m%dT%H%M%S%.3fZ"));
        let (path, written) = upgrade::into_folder(target, &name, url, wanted, progress).await?;
        return Ok((Some(path), written));
    }
    let out: Stdout = stdout();
    let Written { mut out, octets, preface, manifest, took } = write::write(url, wanted, out, progress).await?;
    out.flush().context("standard output cannot be written")?;
    Ok((None, Written { out: (), octets, preface, manifest, took }))
}

/// What the names of a host's backups begin with.
fn beginning(host: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
    format!("posthorn-{}-", host.chars().map(plain).collect::<String>())
}

/// Whether it is a backup of this host, and not of one whose name begins alike.
fn is_of(name: &str, host: &str) -> bool {
    let moment = name.strip_prefix(&beginning(host)).and_then(|rest| rest.strip_suffix(".tar"));
    moment.is_some_and(|moment| chrono::NaiveDateTime::parse_from_str(moment, "%Y%m%dT%H%M%S%.fZ").is_ok())
}

/// Does something while a bar shows how far it has come, where standard error is a terminal.
pub(super) async fn watched<T>(work: impl AsyncFnOnce(&Progress) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let progress = Progress::default();
    let bar = ProgressBar::no_length();
    let template = "{bar:30} {bytes} of {total_bytes} {bytes_per_sec} {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let drawing = {
        let (progress, bar) = (progress.clone(), bar.clone());
        async move {
            loop {
                if progress.of() > 0 {
                    bar.set_length(progress.of().max(progress.done()));
                }
                bar.set_position(progress.done());
                tokio::time::sleep(GLANCE).await;
            }
        }
    };
    let done = tokio::select! {
        done = work(&progress) => done,
        () = drawing => bail!("the bar ended"),
    };
    bar.finish_and_clear();
    done
}

impl Inside {
    pub(super) fn of(preface: &Preface, manifest: &Manifest) -> Self {
        let rows = |name: &str| manifest.tables.iter().find(|sum| sum.name == name).map_or(0, |sum| sum.rows);
        let table = |sum: &crate::backup::contents::Sum| Table {
            name: sum.name.clone(),
            rows: sum.rows,
            octets: sum.octets,
            sha256: sum.sha256.clone(),
        };
        Self {
            host: preface.host.clone(),
            at: moment(preface.at),
            posthorn: preface.posthorn.clone(),
            postgresql: preface.postgresql.clone(),
            schema: preface.schema_version(),
            accounts: rows("account"),
            messages: rows("message"),
            queued: rows("delivery"),
            secrets: preface.with_secrets,
            files: preface.files.clone(),
            tables: manifest.tables.iter().map(table).collect(),
            octets: manifest.tables.iter().map(|sum| sum.octets).sum(),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} as of {}, schema version {}, by Posthorn {}\n\
             database: {} accounts with password hashes, {} messages, {} recipients that wait in the queue, sealed DKIM keys; \
             {} in {} tables\n",
            self.host,
            self.at,
            self.schema,
            self.posthorn,
            self.accounts,
            self.messages,
            self.queued,
            HumanBytes(self.octets),
            self.tables.len()
        );
        for file in &self.files {
            let secret = if file.secret { ", secret" } else { "" };
            text.push_str(&format!("file: {} ({}{secret})\n", file.path.display(), file.what));
        }
        if !self.secrets {
            text.push_str(
                "secrets that lie in files are left out; without the master key DKIM keys cannot be opened\n",
            );
        }
        text.push_str("whoever can read it can read all mail\n");
        text
    }
}

impl Report {
    fn text(&self) -> String {
        let rate = self.inside.octets as f64 / self.seconds.max(0.001);
        let mut text = match &self.path {
            Some(path) => format!("{}: ", path.display()),
            None => String::new(),
        };
        text.push_str(&format!(
            "{}, with {} of rows, in {:.1} s ({}/s)\n{}",
            HumanBytes(self.size),
            HumanBytes(self.inside.octets),
            self.seconds,
            HumanBytes(rate as u64),
            self.inside.text()
        ));
        for path in &self.removed {
            text.push_str(&format!("removed: {}\n", path.display()));
        }
        text
    }
}

impl Verdict {
    fn text(&self, file: &Path) -> String {
        let mut text = match (self.ok, self.place) {
            (true, None) => format!("{} is whole: all of it agrees with its hashes\n", file.display()),
            (true, Some(place)) => {
                let count = posthorn_store::check::invariants().len();
                format!("{} can be restored: tried in {place}; all {count} invariants hold\n", file.display())
            }
            (false, _) => format!("{} can be restored, but the mail in it is damaged:\n", file.display()),
        };
        for finding in &self.findings {
            let (count, places) = (finding.count, finding.places.join(", "));
            text.push_str(&format!("broken in {count} places: {}: {places}\n", finding.invariant));
        }
        text.push_str(&self.inside.text());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_of_other_hosts_are_not_ours() {
        assert!(is_of("posthorn-mail.example.org-20261121T110000Z.tar", "mail.example.org"));
        assert!(is_of("posthorn-mail.example.org-20261121T110000.123Z.tar", "mail.example.org"));
        assert!(!is_of("posthorn-mail.example.org-b-20261121T110000Z.tar", "mail.example.org"));
        assert!(!is_of("posthorn-mail.example.org-20261121T110000Z.tar.old", "mail.example.org"));
        assert_eq!(beginning("a/../b"), "posthorn-a_.._b-");
    }
}
