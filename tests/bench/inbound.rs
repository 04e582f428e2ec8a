//! Inbound delivery: messages a second until they are acknowledged and until they are seen, and what each costs.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::crew::{Mailing, Manner, Share, together};
use crate::imap;
use crate::ledger::Ledger;
use crate::message::{AUTHOR, Texts};
use crate::report::{Report, Row, rate};
use crate::signature::Signing;
use crate::target::Target;

/// How long after the last acknowledgement a message may stay unseen before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Messages of each run.
    #[arg(long, default_value_t = 20_000)]
    messages: u64,
    /// Octets of each message.
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    #[command(flatten)]
    texts: Texts,
    /// Sessions at once; one run for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100")]
    sessions: Vec<usize>,
    /// Recipients u0, u1 … in turn.
    #[arg(long, default_value_t = 10)]
    recipients: usize,
    /// Wait for each reply instead of sending MAIL, RCPT and DATA together.
    #[arg(long)]
    no_pipelining: bool,
    /// Deliver by LMTP.
    #[arg(long)]
    lmtp: bool,
    #[command(flatten)]
    signing: Signing,
    /// Count acknowledgements only, for servers without IMAP.
    #[arg(long)]
    blind: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let options = Rc::new(options);
    let mut report = Report::new("inbound");
    for sessions in &options.sessions {
        report.push(once(&options, *sessions).await.with_context(|| format!("{sessions} sessions"))?);
    }
    Ok(report)
}

async fn once(options: &Rc<Options>, sessions: usize) -> anyhow::Result<Row> {
    let target = &options.target;
    let envelope = |number| {
        let user = target.user(number);
        format!("MAIL FROM:<{AUTHOR}>\r\nRCPT TO:<{user}>\r\nDATA\r\n").into_bytes()
    };
    let mut messages = options.texts.messages(options.size, options.messages)?;
    if let Some(signer) = options.signing.signer()? {
        messages.sign(&signer)?;
    }
    let mailing = Rc::new(Mailing {
        share: Share::new(options.messages),
        messages,
        envelopes: (0..options.recipients).map(envelope).collect(),
    });
    let mut eyes = Eyes::open(options).await?;
    let before = eyes.count().await?;
    let ledger = Ledger::open(target.roots());

    let start = Instant::now();
    let port = if options.lmtp { target.lmtp_port } else { target.smtp_port };
    let manner = Manner { lmtp: options.lmtp, pipelined: !options.no_pipelining };
    together((0..sessions).map(|_| Rc::clone(&mailing).send(target.host.clone(), port, manner))).await?;
    let acknowledged = start.elapsed();
    eyes.wait(before + options.messages).await?;
    let visible = start.elapsed();
    let cost = ledger.close();

    let row = Row::default().with("sessions", sessions).with("messages", options.messages).measure(
        "acked/s",
        rate(options.messages, acknowledged),
        0,
    );
    let row = if options.blind { row } else { row.measure("visible/s", rate(options.messages, visible), 0) };
    Ok(row.latencies(mailing.share.latencies()).costs(cost, options.messages))
}

/// One connection for each mailbox, logged in before the run begins.
struct Eyes(Vec<imap::Connection>);

impl Eyes {
    async fn open(options: &Options) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        for number in 0..if options.blind { 0 } else { options.recipients } {
            let Target { host, imap_port, password, .. } = &options.target;
            let user = options.target.user(number);
            connections.push(imap::Connection::login(host, *imap_port, &user, password).await?);
        }
        Ok(Self(connections))
    }

    async fn count(&mut self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for connection in &mut self.0 {
            sum += connection.status("INBOX", "MESSAGES").await?;
        }
        Ok(sum)
    }

    /// Asks again and again until all are there.
    async fn wait(&mut self, wanted: u64) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.0.is_empty() {
            let count = self.count().await?;
            if count >= wanted {
                break;
            }
            anyhow::ensure!(Instant::now() < end, "{} acknowledged messages are not to be seen", wanted - count);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
