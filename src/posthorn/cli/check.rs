//! `posthorn check`.

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use posthorn_config::Loaded;
use posthorn_mail::Mail;
use posthorn_store::check::{self, Finding};
use serde::Serialize;

use super::Told;
use crate::database::with_mail;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Repair what is found, each invariant in one transaction, and check again
    #[arg(long)]
    repair: bool,
}

/// What a check found, as programs read it.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether no damage is left.
    ok: bool,
    /// How many invariants were checked.
    invariants: usize,
    /// Whether a repair was tried.
    repaired: bool,
    /// What was found at first.
    findings: Vec<Damage>,
    /// What is left; the findings, when nothing was repaired.
    remaining: Vec<Damage>,
}

#[derive(Clone, Debug, Serialize)]
struct Damage {
    invariant: &'static str,
    count: i64,
    /// Up to ten.
    places: Vec<String>,
    repair: &'static str,
}

impl From<Finding> for Damage {
    fn from(finding: Finding) -> Self {
        Self { invariant: finding.invariant, count: finding.count, places: finding.places, repair: finding.repair }
    }
}

pub(super) async fn run(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let report = with_mail(loaded, async |mail| report(mail, args.repair).await).await?;
    output.answer(&report, || report.text())?;
    if report.ok { Ok(()) } else { Err(Told.into()) }
}

async fn report(mail: &Mail, repair: bool) -> anyhow::Result<Report> {
    let findings = all(mail, repair).await?;
    let repaired = repair && !findings.is_empty();
    let remaining = if repaired { all(mail, false).await? } else { findings.clone() };
    Ok(Report { ok: remaining.is_empty(), invariants: check::invariants().len(), repaired, findings, remaining })
}

/// Checks everything in order, repairing as it goes: later invariants count on earlier ones.
async fn all(mail: &Mail, repair: bool) -> anyhow::Result<Vec<Damage>> {
    // Draws on standard error, and only when that is a terminal.
    let progress = ProgressBar::new(check::invariants().len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} {msg}") {
        progress.set_style(style);
    }
    let mut findings = Vec::new();
    for (place, invariant) in check::invariants().enumerate() {
        progress.set_message(invariant);
        progress.tick();
        let mut connection = mail.store().acquire().await?;
        let finding = check::check(&mut connection, place).await?;
        drop(connection);
        if let Some(finding) = finding {
            findings.push(Damage::from(finding));
            if repair {
                let mut transaction = mail.store().begin().await?;
                let mended = check::repair(&mut transaction, place).await;
                mended.with_context(|| format!("the repair of \"{invariant}\" failed"))?;
                transaction.commit().await.with_context(|| format!("the repair of \"{invariant}\" failed"))?;
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(findings)
}

impl Report {
    fn text(&self) -> String {
        if self.findings.is_empty() {
            return format!("all {} invariants hold", self.invariants);
        }
        let mut text = String::new();
        let remains = |damage: &Damage| self.remaining.iter().any(|other| other.invariant == damage.invariant);
        for damage in &self.findings {
            text.push_str(&damage.text(match (self.repaired, remains(damage)) {
                (false, _) => "repair",
                (true, false) => "repaired",
                (true, true) => "not repaired",
            }));
        }
        match (self.repaired, self.ok) {
            (false, _) => text.push_str("run posthorn check --repair to repair this\n"),
            (true, true) => text.push_str(&format!("checked again: all {} invariants hold\n", self.invariants)),
            (true, false) => {
                let names: Vec<_> = self.remaining.iter().map(|damage| damage.invariant).collect();
                text.push_str(&format!("checked again: damage remains: {}\n", names.join("; ")));
            }
        }
        text
    }
}

impl Damage {
    fn text(&self, repair: &str) -> String {
        let times = if self.count == 1 { "place" } else { "places" };
        let mut text = format!("broken in {} {times}: {}\n", self.count, self.invariant);
        for place in &self.places {
            text.push_str(&format!("    {place}\n"));
        }
        let more = self.count - i64::try_from(self.places.len()).unwrap_or(i64::MAX);
        if more > 0 {
            text.push_str(&format!("    and {more} more\n"));
        }
        text.push_str(&format!("  {repair}: {}\n\n", self.repair));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_with_its_repair() {
        let damage = Damage { invariant: "x is y", count: 12, places: vec!["a 1".into()], repair: "x becomes y" };
        let mut report = Report {
            ok: false,
            invariants: 13,
            repaired: false,
            findings: vec![damage.clone()],
            remaining: vec![damage],
        };
        assert_eq!(
            report.text(),
            "broken in 12 places: x is y\n    a 1\n    and 11 more\n  repair: x becomes y\n\n\
             run posthorn check --repair to repair this\n"
        );
        report.repaired = true;
        assert!(report.text().ends_with("  not repaired: x becomes y\n\nchecked again: damage remains: x is y\n"));
        report.ok = true;
        report.remaining.clear();
        assert!(report.text().ends_with("  repaired: x becomes y\n\nchecked again: all 13 invariants hold\n"));
        report.findings.clear();
        assert_eq!(report.text(), "all 13 invariants hold");
    }
}
