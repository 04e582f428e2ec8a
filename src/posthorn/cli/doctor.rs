//! `posthorn doctor`.

use chrono::Utc;
use posthorn_config::Loaded;
use posthorn_mail::Mail;
use posthorn_model::Domain;
use serde::Serialize;

use super::{Told, parse_domain, plain_line};
use crate::circumstances::Circumstances;
use crate::database::{chain, with_mail};
use crate::doctor::{Bag, Finding, Grade, Wishes, examine};
use crate::output::{Output, tell};

/// Characters of a finding that fit a line of a terminal.
const LONGEST: usize = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these domains [default: all that mail is received for]
    #[arg(value_parser = parse_domain)]
    domains: Vec<Domain>,
    /// Whose mail host is called, to see whether port 25 is open outward
    #[arg(long, value_name = "DOMAIN", value_parser = parse_domain, default_value = "gmail.com", conflicts_with = "no_probe")]
    probe: Domain,
    /// Call nobody
    #[arg(long)]
    no_probe: bool,
    /// Tell only what is not as it should be
    #[arg(long, short)]
    quiet: bool,
}

/// What was found, as programs read it.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether nothing is a fault.
    ok: bool,
    faults: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

pub(super) async fn run(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let wishes = Wishes { domains: args.domains.clone(), probe: (!args.no_probe).then(|| args.probe.clone()) };
    let mut findings = Vec::new();
    let looked = with_mail(loaded, async |mail| look(loaded, Some(mail), &wishes, &mut findings).await).await;
    if let Err(error) = looked {
        // The rest is worth looking at all the same; what was seen before is seen again.
        findings.clear();
        findings.push(Finding {
            area: "database".to_owned(),
            subject: "PostgreSQL".to_owned(),
            grade: Grade::Fault,
            found: chain(&error),
            advice: None,
            publish: Vec::new(),
        });
        look(loaded, None, &wishes, &mut findings).await?;
    }
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (faults, warnings) = (count(Grade::Fault), count(Grade::Warning));
    if args.quiet {
        findings.retain(|finding| finding.grade != Grade::Fine);
    }
    let report = Report { ok: faults == 0, faults, warnings, findings };
    output.answer(&report, || report.text())?;
    if report.ok { Ok(()) } else { Err(Told.into()) }
}

async fn look(
    loaded: &Loaded,
    mail: Option<&Mail>,
    wishes: &Wishes,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    let config = crate::serve::named(loaded);
    for problem in crate::soundness::problems(loaded, true) {
        findings.push(Finding {
            area: "machine".to_owned(),
            subject: "configuration".to_owned(),
            grade: Grade::Fault,
            found: problem.to_string(),
            advice: None,
            publish: Vec::new(),
        });
    }
    let world = Circumstances::default();
    let ground = world.ground(&config)?;
    let Some(sts) = ground.sts else { return Ok(()) };
    let bag = Bag {
        config: &config,
        mail,
        dns: ground.dns,
        roots: ground.roots,
        sts,
        mx_port: world.mx_port,
        now: Utc::now(),
    };
    tell("looking; names may take a while to answer");
    examine(&bag, wishes, |finding| findings.push(finding)).await;
    Ok(())
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut area = "";
        let width = self.findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
        for finding in &self.findings {
            if finding.area != area {
                let gap = if area.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}{}\n", finding.area));
                area = &finding.area;
            }
            let (grade, subject) = (finding.grade.as_str(), &finding.subject);
            text.push_str(&format!("  {grade:7}  {subject:width$}  {}\n", plain_line(&finding.found, LONGEST)));
            let indent = " ".repeat(width + 13);
            if let Some(advice) = &finding.advice {
                text.push_str(&format!("{indent}-> {advice}\n"));
            }
            for record in &finding.publish {
                text.push_str(&format!("{indent}publish: {record}\n"));
            }
        }
        let plural = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        text.push_str(&format!("\n{}, {}\n", plural(self.faults, "fault"), plural(self.warnings, "warning")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_stand_below_their_area_with_what_to_do() {
        let finding = |area: &str, grade, advice: Option<&str>, publish: &[&str]| Finding {
            area: area.to_owned(),
            subject: "SPF".to_owned(),
            grade,
            found: "seen\x1b[0m".to_owned(),
            advice: advice.map(str::to_owned),
            publish: publish.iter().map(|one| (*one).to_owned()).collect(),
        };
        let findings = vec![
            finding("machine", Grade::Fine, None, &[]),
            finding("example.org", Grade::Fault, Some("mend it"), &["example.org. IN TXT x"]),
        ];
        let report = Report { ok: false, faults: 1, warnings: 0, findings };
        assert_eq!(
            report.text(),
            "machine\n  fine     SPF  seen\u{fffd}[0m\n\nexample.org\n  fault    SPF  seen\u{fffd}[0m\n                \
             -> mend it\n                publish: example.org. IN TXT x\n\n1 fault, 0 warnings\n"
        );
    }
}
