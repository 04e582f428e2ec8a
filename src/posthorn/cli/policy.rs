//! `posthorn policy`: what is refused before it is accepted, and why.

mod access;
mod explain;
mod greylist;
mod list;
mod service;
mod throttle;
mod why;
mod words;

use clap::Subcommand;
use posthorn_config::Loaded;

use crate::database::with_mail;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum Policies {
    /// Have strangers try again later, once
    #[command(subcommand)]
    Greylist(greylist::Greylists),
    /// Limit how much somebody sends or gets
    #[command(subcommand)]
    Throttle(throttle::Throttles),
    /// Keep white and black lists: who may write to whom
    #[command(subcommand)]
    List(list::Lists),
    /// Say who may write to an alias
    #[command(subcommand)]
    Access(access::Accesses),
    /// See and forgive clients that are refused for what they did
    #[command(subcommand)]
    Banned(why::Bans),
    /// Tell what every check would say now, of options or of a request of Postfix on standard input; changes nothing
    Explain(Box<explain::Explain>),
    /// Tell what was decided, and why
    Why(why::Why),
    /// See the policy servers of others that are asked
    #[command(subcommand)]
    Service(service::Services),
}

pub(super) async fn run(loaded: &Loaded, command: Policies, output: &mut Output) -> anyhow::Result<()> {
    if let Policies::Service(command) = command {
        return service::run(loaded, &command, output);
    }
    with_mail(loaded, async |mail| match command {
        Policies::Greylist(command) => greylist::run(mail, loaded, command, output).await,
        Policies::Throttle(command) => throttle::run(mail, loaded, command, output).await,
        Policies::List(command) => list::run(mail, loaded, command, output).await,
        Policies::Access(command) => access::run(mail, command, output).await,
        Policies::Banned(command) => why::bans(mail, command, output).await,
        Policies::Explain(args) => explain::run(mail, loaded, *args, output).await,
        Policies::Why(args) => why::run(mail, loaded, args, output).await,
        Policies::Service(_) => Ok(()),
    })
    .await
}
