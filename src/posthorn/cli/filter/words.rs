//! `posthorn filter test` and `posthorn filter learn`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use clap::ValueEnum;
use posthorn_config::{FilterLevels, Loaded};
use posthorn_filter::{Case, Filter, Settings, Way, score};
use posthorn_mail::Mail;
use posthorn_mail::envelope::Envelope;
use posthorn_model::policy::Inquiry;
use serde::Serialize;

use crate::circumstances::Circumstances;
use crate::output::Output;
use crate::resolver::Asking;

/// Octets of one message that are read.
const LARGEST: u64 = 64 << 20;

/// What a message is said to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(in crate::cli) enum Said {
    /// Nobody asked for it
    Spam,
    /// It is wanted
    Ham,
}

#[derive(Serialize)]
struct Row {
    name: String,
    value: f64,
    why: String,
}

/// What `filter test` says.
#[derive(Serialize)]
struct Tested {
    score: f64,
    level: &'static str,
    points: Vec<Row>,
    unanswered: Vec<String>,
}

#[derive(Serialize)]
struct Learned {
    file: String,
    learned: bool,
}

/// Prints what a message scores.
pub(in crate::cli) async fn test(mail: &Mail, loaded: &Loaded, file: &Path, output: &mut Output) -> anyhow::Result<()> {
    let filter = open(mail, loaded).await?;
    let octets = read(file)?;
    let (inquiry, envelope) = (Inquiry::default(), Envelope::default());
    let case = Case {
        way: Way::Inbound,
        inquiry: &inquiry,
        envelope: &envelope,
        octets: &octets,
        checked: None,
        now: mail.now(),
    };
    let score::Scored { mut points, unanswered, .. } = filter.points(&case).await;
    points.sort_by(|one, other| other.value.total_cmp(&one.value));
    let sum: f64 = points.iter().map(|point| point.value).sum();
    let tested = Tested {
        // Nothing is not below zero.
        score: (sum * 1000.0).round() / 1000.0 + 0.0,
        level: level(&loaded.config.filter.levels, sum),
        points: points
            .into_iter()
            .map(|point| Row { name: point.name.into_owned(), value: point.value, why: point.why })
            .collect(),
        unanswered,
    };
    if output.is_json() {
        return output.answer(&tested, String::new);
    }
    output.text(&format!("{} points: {}\n", tested.score, tested.level))?;
    for silent in &tested.unanswered {
        output.text(&format!("{silent}\n"))?;
    }
    output.rows(&tested.points, &["POINTS", "NAME", "WHY"], |row| {
        vec![row.value.to_string(), row.name.clone(), row.why.clone()]
    })
}

/// What a score is called by the levels of the configuration.
fn level(levels: &FilterLevels, score: f64) -> &'static str {
    match score {
        score if score >= levels.kill.as_f64() => "spam beyond doubt (kill)",
        score if score >= levels.tag2.as_f64() => "spam (tag2)",
        score if score >= levels.tag.as_f64() => "suspicious (tag)",
        _ => "clean",
    }
}

/// Shows messages to the classifier.
pub(in crate::cli) async fn learn(
    mail: &Mail,
    loaded: &Loaded,
    (said, files): (Said, &[PathBuf]),
    output: &mut Output,
) -> anyhow::Result<()> {
    let filter = open(mail, loaded).await?;
    let mut rows = Vec::new();
    for file in files {
        let learned = filter.teach(&read(file)?, said == Said::Spam).await?;
        rows.push(Learned { file: file.display().to_string(), learned });
    }
    output.rows(&rows, &["FILE", "LEARNED"], |row| vec![row.file.clone(), crate::output::yes(row.learned)])
}

async fn open(mail: &Mail, loaded: &Loaded) -> anyhow::Result<Filter> {
    let resolver = Asking::new(Circumstances::default().ground(&loaded.config)?.dns);
    Ok(Filter::open(mail.clone(), Settings::of(&loaded.config), Arc::new(resolver), Vec::new()).await?)
}

/// The octets of a file, or of standard input where it is `-`.
fn read(file: &Path) -> anyhow::Result<Bytes> {
    let mut octets = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(LARGEST).read_to_end(&mut octets)
    } else {
        File::open(file).and_then(|opened| opened.take(LARGEST).read_to_end(&mut octets))
    };
    read.with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(octets.into())
}
