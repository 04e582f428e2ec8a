//! `posthorn filter`: how mail is judged.

mod senders;
mod settings;
mod words;

use std::path::PathBuf;

use clap::Subcommand;
use posthorn_config::Loaded;

use crate::database::with_mail;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum Filters {
    /// See and set what recipients want
    #[command(subcommand)]
    Settings(settings::Settings),
    /// See and say which senders recipients want, and which they do not
    #[command(subcommand)]
    Senders(senders::Senders),
    /// Print what a message in a file scores, and why
    Test {
        /// A message with its header; - is standard input
        file: PathBuf,
    },
    /// Show messages to the classifier, for everybody
    Learn {
        said: words::Said,
        /// Messages with their headers; - is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

pub(super) async fn run(loaded: &Loaded, command: Filters, output: &mut Output) -> anyhow::Result<()> {
    with_mail(loaded, async |mail| match command {
        Filters::Senders(command) => senders::run(mail, loaded, command, output).await,
        Filters::Settings(command) => settings::run(mail, loaded, command, output).await,
        Filters::Test { file } => words::test(mail, loaded, &file, output).await,
        Filters::Learn { said, files } => words::learn(mail, loaded, (said, &files), output).await,
    })
    .await
}
