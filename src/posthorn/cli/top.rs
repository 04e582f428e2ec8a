//! `posthorn top`.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use anyhow::Context;
use posthorn_config::{Config, Loaded};

use crate::control::{self, Request};
use crate::output::Output;
use crate::top::screen::Screen;
use crate::top::{History, Moment, Sample};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Look twice, tell what happened in between, and end
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let every = Duration::from_secs(args.every);
    let (mut before, mut looked) = (look(&loaded.config).await?, Instant::now());
    let mut history = History::default();
    if args.once || output.is_json() || !io::stdout().is_terminal() {
        tokio::time::sleep(every).await;
        let moment = Moment::between(Some(&before), &look(&loaded.config).await?, looked.elapsed());
        history.add(moment.taken());
        return output.answer(&moment, || moment.text(false, &history));
    }
    let mut screen = Screen::take().context("the terminal cannot be used; --once needs none")?;
    let mut page = "looking …".to_owned();
    loop {
        screen.draw(&format!("{page}\nq ends this"))?;
        // Keys are waited for on a thread of their own: the terminal knows no tasks.
        let (screen_back, left) = tokio::task::spawn_blocking(move || {
            let left = screen.wait(every);
            (screen, left)
        })
        .await?;
        screen = screen_back;
        if left? {
            return Ok(());
        }
        match look(&loaded.config).await {
            Ok(now) => {
                let moment = Moment::between(Some(&before), &now, looked.elapsed());
                history.add(moment.taken());
                page = moment.text(true, &history);
                (before, looked) = (now, Instant::now());
            }
            // It may be started again in a moment.
            Err(error) => page = format!("{error:#}\n"),
        }
    }
}

async fn look(config: &Config) -> anyhow::Result<Sample> {
    let answer = control::ask(config, &Request::Metrics).await?;
    Ok(Sample::parse(answer.as_str().unwrap_or_default()))
}
