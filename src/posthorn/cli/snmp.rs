//! `posthorn snmp`.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::snmp;
use crate::top::Sample;

/// How long the server may take for its numbers.
const PATIENCE: Duration = Duration::from_secs(3);
/// A walk asks once for each number: they are read once for all of it.
const FRESH: Duration = Duration::from_secs(1);
/// Octets of all numbers.
const LONGEST: u64 = 4 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server's metrics port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9464")]
    from: SocketAddr,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut known: Option<(Instant, Sample)> = None;
    let look = || {
        if let Some((at, sample)) = &known
            && at.elapsed() < FRESH
        {
            return Ok(sample.clone());
        }
        let sample = numbers(args.from)?;
        known = Some((Instant::now(), sample.clone()));
        Ok(sample)
    };
    Ok(snmp::converse(io::stdin().lock(), io::stdout().lock(), look)?)
}

fn numbers(from: SocketAddr) -> anyhow::Result<Sample> {
    let mut stream = TcpStream::connect_timeout(&from, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, text)) if head.split(' ').nth(1) == Some("200") => Ok(Sample::parse(text)),
        _ => bail!("no numbers at {from}"),
    }
}
