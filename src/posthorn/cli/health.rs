//! `posthorn health`.

use posthorn_config::Loaded;
use serde::Serialize;

use super::Told;
use crate::control::{self, Request};
use crate::health::{Check, Report};
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is asked
    #[arg(value_enum, default_value = "ready")]
    question: Question,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Question {
    /// Whether the server answers at all
    Live,
    /// Whether it can take mail: PostgreSQL answers, listeners are open, the queue is worked on
    Ready,
}

/// Exit code 0 when it is well, 1 when not.
pub(super) async fn run(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let report = match control::ask(&loaded.config, &Request::Health).await {
        Ok(answer) => serde_json::from_value(answer)?,
        Err(error) => {
            let check = Check { name: "running".to_owned(), ok: false, found: crate::database::chain(&error) };
            Report { ok: false, checks: vec![check] }
        }
    };
    let answered = report.checks.iter().any(|check| check.name != "running" || check.ok);
    let ok = match args.question {
        Question::Live => answered,
        Question::Ready => report.ok,
    };
    output.answer(&Report { ok, ..report.clone() }, || report.text())?;
    if ok { Ok(()) } else { Err(Told.into()) }
}
