//! `posthorn migrate`: the schema of the database.

use chrono::SecondsFormat;
use clap::Subcommand;
use posthorn_config::{Config, Loaded};
use posthorn_store::schema::{self, Applied, Version};
use serde::Serialize;

use crate::backup::upgrade;
use crate::database::Database;
use crate::output::Output;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Migrates>,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: show the SQL
    #[arg(long, requires = "dry_run")]
    sql: bool,
}

#[derive(Debug, Subcommand)]
enum Migrates {
    /// List the versions that the database has and those that this program knows
    Status,
}

/// A version, as programs read it.
#[derive(Debug, Serialize)]
struct Row {
    version: i64,
    name: String,
    /// `applied`, `pending`, `newer` than this program, or `altered` since it was applied.
    state: &'static str,
    applied_at: Option<String>,
}

/// What is to be done, or was.
#[derive(Debug, Serialize)]
struct Plan {
    dry_run: bool,
    from: i64,
    to: i64,
    migrations: Vec<Step>,
    /// The folder of the backup before it.
    backup: Option<String>,
}

#[derive(Debug, Serialize)]
struct Step {
    version: i64,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sql: Option<&'static str>,
}

pub(super) async fn run(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let database = Database::open_beside(&loaded.config).await?;
    let done = on(&loaded.config, &database, args, output).await;
    database.close().await;
    done
}

async fn on(config: &Config, database: &Database, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let applied = schema::applied_at(database.url()).await?;
    if matches!(args.command, Some(Migrates::Status)) {
        let rows = rows(&applied);
        return output.rows(&rows, &["version", "name", "state", "applied"], |row| {
            let at = row.applied_at.clone().unwrap_or_default();
            vec![row.version.to_string(), row.name.clone(), row.state.to_owned(), at]
        });
    }
    let plan = plan(config, &applied, args)?;
    if !args.dry_run && !plan.migrations.is_empty() {
        if applied.is_empty() {
            posthorn_store::migrate(database.url()).await?;
        } else {
            upgrade::upgrade(config, database.url()).await?;
        }
    }
    output.answer(&plan, || plan.text())
}

fn plan(config: &Config, applied: &[Applied], args: &Args) -> anyhow::Result<Plan> {
    let pending = schema::pending(applied)?;
    let is_kept = config.backup.before_upgrade && !applied.is_empty() && !pending.is_empty();
    let step = |version: Version| Step {
        version: version.number,
        sql: if args.sql { schema::text(version.number) } else { None },
        name: version.name,
    };
    Ok(Plan {
        dry_run: args.dry_run,
        from: applied.last().map_or(0, |last| last.version.number),
        to: schema::newest(),
        migrations: pending.into_iter().map(step).collect(),
        backup: is_kept.then(|| config.backup.folder(&config.server.data).display().to_string()),
    })
}

/// Everything that either side knows, by number.
fn rows(applied: &[Applied]) -> Vec<Row> {
    let known = schema::known();
    let mut rows = Vec::new();
    for one in applied {
        let state = match known.iter().find(|known| known.number == one.version.number) {
            None => "newer",
            Some(known) if known.checksum != one.version.checksum => "altered",
            Some(_) => "applied",
        };
        let applied_at = Some(one.at.to_rfc3339_opts(SecondsFormat::Secs, true));
        rows.push(Row { version: one.version.number, name: one.version.name.clone(), state, applied_at });
    }
    for version in known {
        if !applied.iter().any(|one| one.version.number == version.number) {
            rows.push(Row { version: version.number, name: version.name, state: "pending", applied_at: None });
        }
    }
    rows.sort_by_key(|row| row.version);
    rows
}

impl Plan {
    fn text(&self) -> String {
        if self.migrations.is_empty() {
            return format!("the database is at schema version {}, as this program needs it", self.to);
        }
        let (would, is) = if self.dry_run { ("would be", "would be") } else { ("was", "is") };
        let mut text = String::new();
        if let Some(folder) = &self.backup {
            text.push_str(&format!("a backup {would} made in {folder}\n"));
        }
        for step in &self.migrations {
            text.push_str(&format!("{:04}_{} {would} applied\n", step.version, step.name));
            if let Some(sql) = step.sql {
                text.push_str(sql);
            }
        }
        text.push_str(&format!("the schema {is} at version {} instead of {}\n", self.to, self.from));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_listed() {
        let applied = |version: Version| Applied { version, at: chrono::DateTime::UNIX_EPOCH };
        let mut there: Vec<_> = schema::known().into_iter().take(2).map(applied).collect();
        there[1].version.checksum.clear();
        there.push(applied(Version { number: 9999, name: "later".into(), checksum: Vec::new() }));
        let states: Vec<_> = rows(&there).iter().map(|row| row.state).collect();
        assert_eq!(states[..3], ["applied", "altered", "pending"]);
        assert_eq!(states.last(), Some(&"newer"));
    }
}
