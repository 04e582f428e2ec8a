//! `posthorn apply`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use posthorn_config::Loaded;
use posthorn_mail::apply::{Change, Complaint, Declared, Kind, Plan, Step};
use serde::Serialize;

use super::{Misuse, refused};
use crate::database::with_mail;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file with [[domain]], [[account]] and [[alias]] rows
    file: PathBuf,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Remove what is not in the file, accounts with all their mail
    #[arg(long)]
    prune: bool,
}

/// What changed, as programs read it.
#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    changes: Vec<Row>,
    /// What is not in the file and stays.
    kept: Vec<Kept>,
}

#[derive(Debug, Serialize)]
struct Row {
    /// `add`, `change` or `remove`.
    change: &'static str,
    /// `account`, `alias` or `domain`.
    kind: String,
    name: String,
    fields: Vec<Field>,
}

#[derive(Debug, Serialize)]
struct Field {
    field: &'static str,
    old: Option<String>,
    new: String,
}

#[derive(Debug, Serialize)]
struct Kept {
    kind: String,
    name: String,
}

pub(super) async fn run(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let declared = read(&args.file)?;
    let plan = with_mail(loaded, async |mail| {
        let plan = mail.plan(&declared, args.prune).await?.map_err(|complaints| told(&args.file, &complaints))?;
        if !args.dry_run {
            refused(mail.carry_out(&plan).await?)
                .context("the changes before this one are made; apply the file again when it is mended")?;
        }
        Ok(plan)
    });
    let report = Report::new(&plan.await?, args.dry_run);
    output.answer(&report, || report.text())
}

fn read(file: &Path) -> anyhow::Result<Declared> {
    let text =
        std::fs::read_to_string(file).map_err(|error| Misuse(format!("{} cannot be read: {error}", file.display())))?;
    let mut declared = Declared::parse(&text).map_err(|complaints| told(file, &complaints))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let passwords = declared.read_password_files(folder, |path| std::fs::read_to_string(path));
    passwords.map_err(|complaints| told(file, &complaints))?;
    Ok(declared)
}

/// Each complaint as `file:line: key: message`.
fn told(file: &Path, complaints: &[Complaint]) -> Misuse {
    let lines = complaints.iter().map(|complaint| format!("{}:{complaint}", file.display()));
    Misuse(lines.collect::<Vec<_>>().join("\nposthorn: "))
}

impl Report {
    fn new(plan: &Plan, dry_run: bool) -> Self {
        let kept = |(kind, name): &(Kind, String)| Kept { kind: kind.to_string(), name: name.clone() };
        Self {
            dry_run,
            changes: plan.steps.iter().map(Row::from).collect(),
            kept: plan.kept.iter().map(kept).collect(),
        }
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        for row in &self.changes {
            row.tell(&mut lines);
        }
        for kept in &self.kept {
            lines.push(format!("  {} {} (not in the file, kept; --prune removes it)", kept.kind, kept.name));
        }
        lines.push(self.summary());
        lines.join("\n")
    }

    fn summary(&self) -> String {
        if self.changes.is_empty() {
            return "nothing to do".to_owned();
        }
        let count = |change: &str| self.changes.iter().filter(|row| row.change == change).count();
        let would = if self.dry_run { "would be " } else { "" };
        format!("{would}{} added, {} changed, {} removed", count("add"), count("change"), count("remove"))
    }
}

impl From<&Step> for Row {
    fn from(step: &Step) -> Self {
        let field = |field: &posthorn_mail::apply::Field| Field {
            field: field.name,
            old: field.old.clone(),
            new: field.new.clone(),
        };
        Self {
            change: match step.change {
                Change::Add => "add",
                Change::Change => "change",
                Change::Remove => "remove",
            },
            kind: step.kind.to_string(),
            name: step.name.clone(),
            fields: step.fields.iter().map(field).collect(),
        }
    }
}

impl Row {
    fn tell(&self, lines: &mut Vec<String>) {
        let sign = match self.change {
            "add" => '+',
            "change" => '~',
            _ => '-',
        };
        lines.push(format!("{sign} {} {}", self.kind, self.name));
        let word = |text: &str| if text.is_empty() { "(none)".to_owned() } else { text.to_owned() };
        for field in &self.fields {
            let old = field.old.as_deref().map_or_else(String::new, |old| format!("{} → ", word(old)));
            lines.push(format!("    {}: {old}{}", field.field, word(&field.new)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(change: &'static str, fields: Vec<Field>) -> Row {
        Row { change, kind: "account".into(), name: "a@b.c".into(), fields }
    }

    #[test]
    fn a_diff_is_readable() {
        let field =
            |old: Option<&str>, new: &str| Field { field: "forward_to", old: old.map(str::to_owned), new: new.into() };
        let report = Report {
            dry_run: true,
            changes: vec![
                row("remove", Vec::new()),
                row("add", vec![field(None, "x@y.z")]),
                row("change", vec![field(Some("x@y.z"), "")]),
            ],
            kept: vec![Kept { kind: "alias".into(), name: "i@b.c".into() }],
        };
        assert_eq!(
            report.text(),
            "- account a@b.c\n+ account a@b.c\n    forward_to: x@y.z\n~ account a@b.c\n    forward_to: x@y.z → (none)\n  \
             alias i@b.c (not in the file, kept; --prune removes it)\nwould be 1 added, 1 changed, 1 removed"
        );
        assert_eq!(Report { dry_run: false, changes: Vec::new(), kept: Vec::new() }.text(), "nothing to do");
    }

    #[test]
    fn complaints_have_file_and_line() {
        let complaints = Declared::parse("[[domain]]\nnam = 'a.b'\n").expect_err("no name");
        let text = told(Path::new("x.toml"), &complaints).to_string();
        assert_eq!(
            text,
            "x.toml:1: domain[0].name: missing\n\
             posthorn: x.toml:2: domain[0].nam: unknown key \"nam\" (known: name, alias_of, catch_all, enabled)"
        );
    }
}
