//! The server that relays and content filters send on to: `smtp-sink` of Postfix, which counts and forgets.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};

/// How long nothing may arrive at the next server before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub(crate) struct Next {
    /// Port of the next server: smtp-sink of Postfix, which this program starts there; the server that is measured must
    /// send everything to it.
    #[arg(long)]
    sink_port: u16,
    /// The user that smtp-sink becomes, needed where this runs as root.
    #[arg(long, default_value = "nobody")]
    sink_user: String,
}

/// The next server: counts messages and forgets them.
pub(crate) struct Sink {
    /// Ends with the run.
    _process: Child,
    /// `sess=… quit=… mesg=…`, each followed by a carriage return.
    counters: ChildStdout,
    /// An incomplete counter at the end of what was read.
    rest: String,
}

impl Sink {
    pub(crate) async fn start(next: &Next) -> anyhow::Result<Self> {
        Self::open(next.sink_port, &next.sink_user).await
    }

    /// Listens at a port of the loopback, as that user.
    pub(crate) async fn open(port: u16, user: &str) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{port}");
        let mut process = Command::new("smtp-sink")
            .args(["-c", "-u", user, &address, "1000"])
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("smtp-sink (Debian: postfix)")?;
        let counters = process.stdout.take().context("its counters")?;
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(&address).await.is_ok() {
                return Ok(Self { _process: process, counters, rest: String::new() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("smtp-sink does not listen on {address}")
    }

    /// Reads its counters until it has taken so many messages.
    pub(crate) async fn wait(&mut self, wanted: u64) -> anyhow::Result<()> {
        let mut octets = vec![0; 1 << 16];
        let mut count = 0;
        while count < wanted {
            let reading = tokio::time::timeout(PATIENCE, self.counters.read(&mut octets)).await;
            let length =
                reading.with_context(|| format!("{} acknowledged messages do not arrive", wanted - count))??;
            anyhow::ensure!(length > 0, "smtp-sink ended");
            self.rest.push_str(&String::from_utf8_lossy(&octets[..length]));
            let whole = self.rest.rfind('\r').map_or(0, |end| end + 1);
            let last = self.rest[..whole].rsplit("mesg=").next().and_then(|text| text.trim().parse().ok());
            count = last.unwrap_or(count);
            self.rest.drain(..whole);
        }
        Ok(())
    }
}
