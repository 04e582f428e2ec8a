//! A client of SMTP and LMTP that sends much and allocates little.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A session that has said EHLO or LHLO.
pub(crate) struct Session {
    stream: TcpStream,
    input: Vec<u8>,
    /// The octets of `input` that hold replies not yet looked at.
    unread: std::ops::Range<usize>,
    output: Vec<u8>,
}

impl Session {
    pub(crate) async fn open(host: &str, port: u16, lmtp: bool) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((host, port)).await.with_context(|| format!("{host}:{port}"))?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream, input: vec![0; 4096], unread: 0..0, output: Vec::with_capacity(16 * 1024) };
        session.reply(220..=220).await.context("greeting")?;
        session.stream.write_all(if lmtp { b"LHLO bench.example\r\n" } else { b"EHLO bench.example\r\n" }).await?;
        session.reply(250..=250).await.context("EHLO")?;
        Ok(session)
    }

    /// Sends the commands of one envelope, MAIL to DATA: in one write, or each after the reply to the one before.
    pub(crate) async fn envelope(&mut self, commands: &[u8], pipelined: bool) -> anyhow::Result<()> {
        let count = memchr::memchr_iter(b'\n', commands).count();
        if pipelined {
            self.stream.write_all(commands).await?;
            for _ in 1..count {
                self.reply(250..=251).await?;
            }
        } else {
            let mut lines = commands.split_inclusive(|octet| *octet == b'\n').peekable();
            while let Some(line) = lines.next() {
                self.stream.write_all(line).await?;
                if lines.peek().is_some() {
                    self.reply(250..=251).await?;
                }
            }
        }
        self.reply(354..=354).await.context("DATA")
    }

    /// Sends what `write` writes and the final dot; the time from the last octet until the reply.
    pub(crate) async fn data(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<Duration> {
        self.output.clear();
        write(&mut self.output);
        self.output.extend_from_slice(b".\r\n");
        self.stream.write_all(&self.output).await?;
        let sent = Instant::now();
        self.reply(250..=250).await.context("end of data")?;
        Ok(sent.elapsed())
    }

    pub(crate) async fn quit(mut self) -> anyhow::Result<()> {
        self.stream.write_all(b"QUIT\r\n").await?;
        self.reply(221..=221).await.context("QUIT")
    }

    /// Reads one reply to its last line.
    pub(crate) async fn reply(&mut self, expected: RangeInclusive<u16>) -> anyhow::Result<()> {
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.input[self.unread.clone()]) {
                let line = &self.input[self.unread.start..self.unread.start + end];
                self.unread.start += end + 1;
                ensure!(line.len() > 3, "the server spoke no SMTP: {}", String::from_utf8_lossy(line));
                if line[3] == b'-' {
                    continue;
                }
                let code = std::str::from_utf8(&line[..3]).ok().and_then(|code| code.parse().ok());
                match code {
                    Some(code) if expected.contains(&code) => return Ok(()),
                    _ => bail!("the server said {}", String::from_utf8_lossy(line).trim_end()),
                }
            }
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            ensure!(self.unread.end < self.input.len(), "a reply line of more than {} octets", self.input.len());
            let count = self.stream.read(&mut self.input[self.unread.end..]).await?;
            ensure!(count > 0, "the server closed the connection");
            self.unread.end += count;
        }
    }
}
