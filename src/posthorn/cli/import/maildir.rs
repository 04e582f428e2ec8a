//! `posthorn import maildir`.

use std::path::PathBuf;

use posthorn_config::Loaded;
use posthorn_model::Address;

use super::super::Told;
use super::super::backup::watched;
use super::super::plain_line;
use crate::database::with_mail;
use crate::maildir::take_over::{TakenOver, Wanted, take_over};
use crate::output::{Output, table};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The folder that has cur and new in it: one folder, Maildir++, or folders within folders
    path: PathBuf,
    /// Whose mail it becomes
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    account: Address,
    /// Only read all of it, and tell what would be taken
    #[arg(long)]
    dry_run: bool,
}

fn parse_address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| error.to_string())
}

pub(super) async fn run(loaded: &Loaded, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let wanted = Wanted { path: &args.path, into: &args.account, dry_run: args.dry_run };
    let done = with_mail(loaded, async |mail| watched(async |progress| take_over(mail, &wanted, progress).await).await)
        .await?;
    output.answer(&done, || text(&done, args))?;
    if done.failed == 0 && done.stopped.is_none() { Ok(()) } else { Err(Told.into()) }
}

fn text(done: &TakenOver, args: &Args) -> String {
    let taken = if done.dry_run { "would be taken" } else { "taken" };
    let rows = done.folders.iter().map(|one| {
        let numbers = [one.messages, one.taken, one.present].map(|number| number.to_string());
        [plain_line(&one.source, 200), plain_line(&one.mailbox, 200)].into_iter().chain(numbers).collect()
    });
    let mut parts = vec![table(false, &["folder", "mailbox", "messages", taken, "present"], rows)];
    if !done.failures.is_empty() {
        let row = |one: &crate::maildir::take_over::Failure| {
            vec![plain_line(&one.file.display().to_string(), 1000), plain_line(&one.why, 300)]
        };
        parts.push(table(false, &["not taken", "why"], done.failures.iter().map(row)));
    }
    let further = done.failed - done.failures.len() as u64;
    let mut last = Vec::new();
    if further > 0 {
        last.push(format!("and {further} files more are not taken"));
    }
    if done.gone > 0 {
        last.push(format!("{} messages were moved or deleted meanwhile: the next run finds what is left", done.gone));
    }
    if !done.flags_left_out.is_empty() {
        let names: Vec<_> = done.flags_left_out.iter().map(|name| plain_line(name, 100)).collect();
        last.push(format!("keywords that the account has no room for are left out: {}", names.join(", ")));
    }
    last.push(format!("{} messages {taken} into {}, {} were there", done.taken, args.account, done.present));
    match &done.stopped {
        Some(why) => last.push(format!("stopped before the end: {why}")),
        None if done.dry_run => last.push("nothing was written".to_owned()),
        None => {}
    }
    parts.push(last.join("\n"));
    parts.join("\n\n")
}
