//! `posthorn import`: what other programs were told, and the mail that they keep.

mod maildir;
mod mariadb;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use posthorn_config::Loaded;
use posthorn_policy::import::{self, Report, TRIPLETS, Tables};
use serde::Serialize;

use super::{Misuse, plain_line};
use crate::database::with_mail;
use crate::output::{Output, table};

#[derive(Debug, Subcommand)]
pub(super) enum Imports {
    /// Take over greylisting, limits and lists from the tables of iRedAPD and Amavis; what was ordered here stays
    Iredapd(Iredapd),
    /// Take over settings, wanted and unwanted senders and held mail from the tables of Amavis; what was ordered here stays
    Amavisd(Amavisd),
    /// Take over the mail of a Maildir, with folders, flags and dates; what the account has already is not put there again
    Maildir(maildir::Args),
}

#[derive(Debug, Args)]
pub(super) struct Amavisd {
    /// The database: postgresql://USER@HOST/amavisd, mysql://USER@HOST/amavisd (read by mariadb-dump), a dump, or - for a
    /// dump on standard input
    #[arg(value_name = "DSN", required = true)]
    sources: Vec<String>,
    /// Only tell what would be taken
    #[arg(long)]
    dry_run: bool,
    /// Take over held mail, too: what lies in the tables, for those who wait for it. All of it is read into memory
    #[arg(long)]
    quarantine: bool,
    /// Where the password is [default: POSTHORN_IMPORT_PASSWORD, or where the clients of the database look]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Iredapd {
    /// The databases: postgresql://USER@HOST/iredapd, mysql://USER@HOST/iredapd (read by mariadb-dump), a dump, or - for
    /// a dump on standard input. iRedMail keeps the lists in another one, amavisd: name both
    #[arg(value_name = "DSN", required = true)]
    sources: Vec<String>,
    /// Only tell what would be taken
    #[arg(long)]
    dry_run: bool,
    /// Take over the clients that came back, too
    #[arg(long)]
    triplets: bool,
    /// Where the password is [default: POSTHORN_IMPORT_PASSWORD, or where the clients of the database look]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// The environment variable that may hold the password.
const PASSWORD: &str = "POSTHORN_IMPORT_PASSWORD";

/// The report as programs read it.
#[derive(Serialize)]
struct Shown {
    dry_run: bool,
    tables: Vec<Counts>,
    remarks: Vec<Remark>,
    more_remarks: u64,
    missing_tables: Vec<&'static str>,
}

#[derive(Serialize)]
struct Counts {
    table: &'static str,
    read: u64,
    taken: u64,
    unchanged: u64,
    changed: u64,
    skipped: u64,
}

#[derive(Serialize)]
struct Remark {
    table: &'static str,
    row: String,
    what: &'static str,
    why: String,
}

pub(super) async fn run(loaded: &Loaded, command: Imports, output: &mut Output) -> anyhow::Result<()> {
    match command {
        Imports::Iredapd(args) => iredapd(loaded, args, output).await,
        Imports::Amavisd(args) => amavisd(loaded, args, output).await,
        Imports::Maildir(args) => maildir::run(loaded, &args, output).await,
    }
}

async fn amavisd(loaded: &Loaded, args: Amavisd, output: &mut Output) -> anyhow::Result<()> {
    let names = posthorn_filter::import::tables(args.quarantine);
    let tables = read_all(&args.sources, args.password_file.as_deref(), &names).await?;
    let report = with_mail(loaded, async |mail| {
        let progress = bar(0, "{bar:30} {pos}/{len} rows");
        let told = |done, all| {
            progress.set_length(all);
            progress.set_position(done);
        };
        let report = posthorn_filter::import::amavisd(mail, &loaded.config.filter, &tables, args.dry_run, told).await?;
        progress.finish_and_clear();
        Ok(report)
    })
    .await?;
    let hints: &[&str] = if args.quarantine { &[] } else { &["held mail is taken over with --quarantine"] };
    let shown = Shown::new(report, &names, args.dry_run);
    output.answer(&shown, || shown.text(hints))
}

async fn iredapd(loaded: &Loaded, args: Iredapd, output: &mut Output) -> anyhow::Result<()> {
    let names = Tables::of_iredapd(args.triplets);
    let tables = read_all(&args.sources, args.password_file.as_deref(), &names).await?;
    let report = with_mail(loaded, async |mail| {
        let plan = import::iredapd(&tables, &loaded.config.policy.greylist, mail.now());
        let progress = bar(plan.len() as u64, "{bar:30} {pos}/{len} orders");
        let report = plan.carry_out(mail, args.dry_run, || progress.inc(1)).await?;
        progress.finish_and_clear();
        Ok(report)
    })
    .await?;
    let shown = Shown::new(report, &names, args.dry_run);
    let has = |table: &str| shown.tables.iter().any(|one| one.table == table && one.taken > 0);
    let mut hints = Vec::new();
    if !args.dry_run && has("greylisting_whitelist_domains") {
        hints.push("look up the networks of the white domains at once: posthorn policy greylist domains refresh");
    }
    if !has(TRIPLETS) && has("greylisting") {
        hints.push("clients that came back are taken over with --triplets");
    }
    output.answer(&shown, || shown.text(&hints))
}

/// The tables of all sources.
async fn read_all(sources: &[String], password_file: Option<&Path>, names: &[&'static str]) -> anyhow::Result<Tables> {
    let password = password(password_file)?;
    let mut tables = Tables::default();
    for source in sources {
        tables = read(source, password.as_deref(), names.to_vec(), tables).await?;
    }
    if tables.is_empty() {
        bail!("none of these tables is there: {}; is it the right database?", names.join(", "));
    }
    Ok(tables)
}

/// Draws on standard error, and only when that is a terminal.
fn bar(length: u64, template: &str) -> ProgressBar {
    let progress = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        progress.set_style(style);
    }
    progress
}

fn password(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    if let Some(file) = file {
        return Ok(Some(crate::password::from_file(file)?.expose().to_owned()));
    }
    Ok(std::env::var(PASSWORD).ok())
}

async fn read(
    source: &str,
    password: Option<&str>,
    names: Vec<&'static str>,
    mut tables: Tables,
) -> anyhow::Result<Tables> {
    let scheme = source.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_some() && holds_password(source) {
        let message = format!(
            "everybody on this machine can read a password on the command line: take it out of the DSN, and put it into {PASSWORD} or --password-file"
        );
        return Err(Misuse(message).into());
    }
    match scheme {
        Some("postgresql" | "postgres") => {
            let progress = bar(0, "{bar:30} {pos}/{len} rows");
            let told = |done, all| {
                progress.set_length(all);
                progress.set_position(done);
            };
            let done = import::read_postgres(source, password, &names, &mut tables, told).await;
            progress.finish_and_clear();
            done.with_context(|| format!("{source} cannot be read"))??;
            Ok(tables)
        }
        Some("mysql" | "mariadb") => {
            let command = mariadb::dump(source, password)?;
            let source = source.to_owned();
            tokio::task::spawn_blocking(move || {
                let mut child = command.start()?;
                from_dump(BufReader::new(child.output()?), &names, &mut tables)
                    .with_context(|| format!("{source} cannot be read"))?;
                child.end()?;
                Ok(tables)
            })
            .await?
        }
        Some(other) => {
            Err(Misuse(format!("\"{other}://\" is not known; write postgresql://, mysql:// or the path of a dump"))
                .into())
        }
        None => {
            let source = source.to_owned();
            tokio::task::spawn_blocking(move || {
                if source == "-" {
                    from_dump(std::io::stdin().lock(), &names, &mut tables)?;
                } else {
                    let file = File::open(&source).with_context(|| format!("{source} cannot be opened"))?;
                    from_dump(BufReader::new(file), &names, &mut tables).with_context(|| source)?;
                }
                Ok(tables)
            })
            .await?
        }
    }
}

fn from_dump(dump: impl BufRead, names: &[&str], tables: &mut Tables) -> anyhow::Result<()> {
    let progress = bar(0, "{spinner} {bytes} of the dump");
    let done = import::read_dump(dump, names, tables, |octets| progress.set_position(octets));
    progress.finish_and_clear();
    Ok(done?)
}

/// Whether a DSN has a password before its host.
fn holds_password(dsn: &str) -> bool {
    let rest = dsn.split_once("://").map_or(dsn, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let before = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    before || query.split('&').any(|pair| pair.starts_with("password="))
}

impl Shown {
    fn new(report: Report, names: &[&'static str], dry_run: bool) -> Self {
        let tables = report.tables.into_iter().map(|one| Counts {
            table: one.table,
            read: one.read,
            taken: one.taken,
            unchanged: one.unchanged,
            changed: one.changed,
            skipped: one.skipped,
        });
        let tables: Vec<_> = tables.collect();
        let remarks = report.remarks.into_iter().map(|one| Remark {
            table: one.table,
            row: plain_line(&one.row, 200),
            what: if one.skipped { "skipped" } else { "changed" },
            why: plain_line(&one.why, 300),
        });
        let is_there = |name: &&&str| tables.iter().any(|one| one.table == **name);
        let told = |name: &&&str| !["users", "mailaddr", "maddr"].contains(*name);
        let missing_tables = names.iter().filter(told).filter(|name| !is_there(name)).copied().collect();
        Self { dry_run, remarks: remarks.collect(), more_remarks: report.more_remarks, missing_tables, tables }
    }

    fn text(&self, hints: &[&str]) -> String {
        let counts = self.tables.iter().map(|one| {
            let numbers = [one.read, one.taken, one.unchanged, one.changed, one.skipped];
            let numbers = numbers.iter().map(ToString::to_string);
            std::iter::once(one.table.to_owned()).chain(numbers).collect()
        });
        let taken = if self.dry_run { "would be taken" } else { "taken" };
        let mut parts = vec![table(false, &["table", "read", taken, "unchanged", "changed", "skipped"], counts)];
        if !self.remarks.is_empty() {
            let row = |one: &Remark| vec![one.what.to_owned(), one.table.to_owned(), one.row.clone(), one.why.clone()];
            parts.push(table(false, &["what", "table", "row", "why"], self.remarks.iter().map(row)));
        }
        if self.more_remarks > 0 {
            parts.push(format!("and {} more rows", self.more_remarks));
        }
        let mut last = Vec::new();
        if !self.missing_tables.is_empty() {
            last.push(format!("not there: {}", self.missing_tables.join(", ")));
        }
        last.extend(hints.iter().map(|hint| (*hint).to_owned()));
        if self.dry_run {
            last.push("nothing was written".to_owned());
        }
        if !last.is_empty() {
            parts.push(last.join("\n"));
        }
        parts.join("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_seen() {
        for dsn in ["postgresql://me:secret@host/db", "mysql://me:@host:1/db", "postgresql://h/db?a=b&password=x"] {
            assert!(holds_password(dsn), "{dsn}");
        }
        for dsn in ["postgresql://me@host:5432/db", "postgresql:///db?host=/run/x:y", "mysql://me@[::1]:3306/db"] {
            assert!(!holds_password(dsn), "{dsn}");
        }
    }
}
