//! Benchmark drivers for mail servers: they speak SMTP, LMTP and IMAP to any server, and print what they saw.
//!
//! No speed is asserted, and only a soak can fail; nothing is imported from Posthorn, so that its peers are
//! measured by the same program.

use clap::Parser;

mod append;
mod crew;
mod filter;
mod idle;
mod imap;
mod inbound;
mod ledger;
mod login;
mod message;
mod milter;
mod mixed;
mod policy;
mod reading;
mod relay;
mod report;
mod signature;
mod sink;
mod smtp;
mod target;

/// Measures a mail server from outside.
#[derive(Debug, Parser)]
#[command(name = "posthorn-bench")]
struct Arguments {
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, clap::Subcommand)]
enum Workload {
    /// Deliver messages by SMTP or LMTP, and wait until IMAP shows them.
    Inbound(inbound::Options),
    /// Fill a mailbox with messages by MULTIAPPEND, for the workloads that read.
    Fill(append::Fill),
    /// APPEND from several sessions at once.
    Append(append::Options),
    /// SELECT a mailbox.
    Select(reading::Options),
    /// FETCH 1:* ENVELOPE.
    Envelopes(reading::Options),
    /// FETCH 1:* FLAGS.
    Flags(reading::Options),
    /// The last fifty messages as a client lists them.
    Last(reading::Options),
    /// All bodies, one FETCH after the other.
    Bodies(reading::Options),
    /// All bodies, a hundred FETCH commands under way at once.
    BodiesPipelined(reading::Options),
    /// All bodies by one FETCH.
    Bulk(reading::Options),
    /// Connect, log in and log out, again and again.
    Login(login::Options),
    /// Many connections in IDLE: the memory of each, and the time until all are told of a message.
    Idle(idle::Options),
    /// Mixed traffic for a long time; fails when the server's memory or open files grow.
    Soak(mixed::Options),
    /// Relay messages to another server, and wait until that has them.
    Relay(relay::Options),
    /// Ask a policy server (Postfix policy delegation).
    Policy(policy::Options),
    /// Have messages judged by a content filter (SMTP with XFORWARD) or a milter.
    Filter(filter::Options),
    /// Write messages into files, for programs that learn from them.
    Compose(message::Compose),
    /// The memory of the server's processes now.
    Memory(target::Target),
}

// One thread: the driver takes little from the server that shares the machine, and its own use is exactly known.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { json, workload } = Arguments::parse();
    let work = async {
        match workload {
            Workload::Inbound(options) => inbound::run(options).await,
            Workload::Fill(options) => append::fill(options).await,
            Workload::Append(options) => append::run(options).await,
            Workload::Select(options) => reading::select(options).await,
            Workload::Envelopes(options) => reading::envelopes(options).await,
            Workload::Flags(options) => reading::flags(options).await,
            Workload::Last(options) => reading::last(options).await,
            Workload::Bodies(options) => reading::bodies(options).await,
            Workload::BodiesPipelined(options) => reading::bodies_pipelined(options).await,
            Workload::Bulk(options) => reading::bulk(options).await,
            Workload::Login(options) => login::run(options).await,
            Workload::Idle(options) => idle::run(options).await,
            Workload::Soak(options) => mixed::run(options, json).await,
            Workload::Relay(options) => relay::run(options).await,
            Workload::Policy(options) => policy::run(options).await,
            Workload::Filter(options) => filter::run(options).await,
            Workload::Compose(options) => options.write(),
            Workload::Memory(target) => Ok(ledger::inventory(&target.roots())),
        }
    };
    tokio::task::LocalSet::new().run_until(work).await?.print(json)
}
