//! `posthorn demo`: a whole appliance on this machine, which proves that it works before it says so.

mod environment;
mod people;
mod self_check;
mod settings;

use std::path::PathBuf;

use anyhow::Context;

use crate::assemble::Appliance;
use crate::output;
use crate::serve::{self, Signals};

use self::environment::Ports;
use self::people::People;

/// What `posthorn demo` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Exit after the self-check: 0 when it passed, 1 when not
    #[arg(long)]
    pub once: bool,
    /// Keep everything in this folder; a later start finds it again (default: a temporary folder, removed at the end)
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// `free` picks free high ports; `standard` takes 25, 465, 587, 143, 993 and 24
    #[arg(long, value_enum, default_value_t = PortChoice::Free)]
    pub ports: PortChoice,
    /// Add the accounts u0 … uN with one shared password
    #[arg(long, value_name = "N")]
    pub accounts: Option<u32>,
    /// The next hop for mail to other domains, which is returned to its sender otherwise
    #[arg(long, value_name = "HOST:PORT")]
    pub relay: Option<String>,
    /// Judge no mail
    #[arg(long)]
    pub no_filter: bool,
    /// Write shell variables with addresses and passwords to this file (mode 0600) when everything is ready
    #[arg(long, value_name = "FILE")]
    pub env: Option<PathBuf>,
}

/// Which ports the demo listens on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum PortChoice {
    /// Free high ports; the same again in a data folder that is kept.
    Free,
    /// The well-known ones.
    Standard,
}

/// Runs the demo.
///
/// # Errors
/// What could not be started, or what the self-check found.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let temporary;
    let data = match &args.data {
        Some(data) => std::path::absolute(data).context("the data folder has no absolute path")?,
        None => {
            temporary = tempfile::Builder::new().prefix("posthorn-demo-").tempdir()?;
            temporary.path().join("data")
        }
    };
    std::fs::create_dir_all(&data).with_context(|| format!("{} cannot be made", data.display()))?;
    let mut config = settings::config(&data, args.ports, args.relay.as_deref())?;
    config.filter.enable = !args.no_filter;
    output::tell("Starting PostgreSQL and the listeners …");
    let appliance = Appliance::start(&config).await?;
    let checked = tokio::select! {
        checked = prepare(args, &data, &appliance) => checked,
        () = signals.next() => Err(anyhow::anyhow!("interrupted")),
    };
    let outcome = match checked {
        Ok(()) if !args.once => {
            signals.next().await;
            output::tell("Stopping …");
            Ok(())
        }
        done => done,
    };
    serve::stop(appliance, signals).await;
    outcome
}

/// Makes the accounts, checks that mail flows, and says where everything is.
async fn prepare(args: &Args, data: &std::path::Path, appliance: &Appliance) -> anyhow::Result<()> {
    let people = People::settle(data, appliance.mail(), args.accounts).await?;
    let ports = Ports::of(&appliance.bound());
    settings::keep_ports(data, args.ports, &ports)?;
    let certificate = data.join("tls/certificate.pem");
    let took = self_check::run(&ports, &people, &certificate).await.context("self-check failed")?;
    output::tell(&format!(
        "Self-check passed: submitted, announced by IDLE and read back byte for byte in {took:.0?}."
    ));
    let facts = environment::Facts { ports: &ports, people: &people, certificate: &certificate, appliance };
    if let Some(file) = &args.env {
        environment::write(file, &facts)?;
    }
    let mut answer = output::Output::standard(false);
    answer.text(&environment::summary(&facts, args.once))
}
