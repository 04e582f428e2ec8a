//! The proof: a message through our own submission port, awaited by IDLE, read back byte for byte.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::environment::Ports;
use super::people::{People, USERS};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends and reads. Returns how long the message took from its first command to its last octet.
pub(super) async fn run(ports: &Ports, people: &People, certificate: &Path) -> anyhow::Result<Duration> {
    let pem = std::fs::read(certificate).with_context(|| format!("{} cannot be read", certificate.display()))?;
    let tls = posthorn_net::client_config(&pem)?;
    let check = async {
        let mut reader = Reader::log_in(ports.imaps, &tls, USERS[1], &people.passwords[1]).await?;
        let before = reader.select().await?;
        reader.idle().await?;
        let message = message()?;
        let start = Instant::now();
        submit(ports.submission, &tls, &people.passwords[0], &message).await.context("submission")?;
        reader.await_more_than(before).await.context("IDLE")?;
        let stored = reader.fetch_last().await.context("FETCH")?;
        ensure!(stored.ends_with(&message), "the message that was read differs from the one that was sent");
        let added = String::from_utf8_lossy(&stored[..stored.len() - message.len()]).into_owned();
        ensure!(added.contains("Received:"), "the stored message has no Received field on top");
        reader.remove_last().await?;
        Ok(start.elapsed())
    };
    timeout(PATIENCE, check).await.context("no answer within 30 seconds")?
}

/// A message with everything that gets lost on careless ways: dots, long lines, trailing spaces, other alphabets.
fn message() -> anyhow::Result<Vec<u8>> {
    let mut random = [0; 12];
    aws_lc_rs::rand::fill(&mut random).ok().context("no randomness from the operating system")?;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
    let long = "=".repeat(900);
    let text = format!(
        "From: Alice <{}>\r\nTo: Bob <{}>\r\nSubject: Posthorn self-check {token}\r\n\
         Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <{token}@localhost>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         .\r\n..\r\n.dot\r\ntrailing space \r\n{long}\r\nGrüße, 挨拶, привет\r\n\r\n",
        USERS[0], USERS[1]
    );
    Ok(text.into_bytes())
}

type Tls = std::sync::Arc<tokio_rustls::rustls::ClientConfig>;

/// Sends by STARTTLS, AUTH PLAIN and DATA, as a mail program does.
async fn submit(port: u16, tls: &Tls, password: &str, message: &[u8]) -> anyhow::Result<()> {
    let mut plain = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    reply(&mut plain, 220).await?;
    command(&mut plain, "EHLO localhost", 250).await?;
    command(&mut plain, "STARTTLS", 220).await?;
    let mut secure = BufReader::new(posthorn_net::secure(plain.into_inner(), "localhost", tls).await?);
    command(&mut secure, "EHLO localhost", 250).await?;
    let initial = base64::engine::general_purpose::STANDARD.encode(format!("\0{}\0{password}", USERS[0]));
    command(&mut secure, &format!("AUTH PLAIN {initial}"), 235).await?;
    command(&mut secure, &format!("MAIL FROM:<{}> BODY=8BITMIME SIZE={}", USERS[0], message.len()), 250).await?;
    command(&mut secure, &format!("RCPT TO:<{}>", USERS[1]), 250).await?;
    command(&mut secure, "DATA", 354).await?;
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            secure.write_all(b".").await?;
        }
        secure.write_all(line).await?;
    }
    command(&mut secure, ".", 250).await?;
    command(&mut secure, "QUIT", 221).await
}

async fn command<S: AsyncBufReadExt + AsyncWriteExt + Unpin>(
    stream: &mut S,
    line: &str,
    code: u16,
) -> anyhow::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await?;
    reply(stream, code).await
}

/// Reads a reply to its last line.
async fn reply<S: AsyncBufReadExt + Unpin>(stream: &mut S, code: u16) -> anyhow::Result<()> {
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line).await? > 0, "the server hung up");
        if line.as_bytes().get(3) == Some(&b'-') {
            continue;
        }
        ensure!(line.starts_with(&code.to_string()), "expected {code}, got: {}", line.trim_end());
        return Ok(());
    }
}

/// An IMAP client as small as can be.
struct Reader {
    stream: BufReader<TlsStream<TcpStream>>,
    exists: u32,
}

impl Reader {
    async fn log_in(port: u16, tls: &Tls, user: &str, password: &str) -> anyhow::Result<Self> {
        let stream = posthorn_net::dial_tls(("127.0.0.1", port), "localhost", tls).await?;
        let mut reader = Self { stream: BufReader::new(stream), exists: 0 };
        reader.line().await?;
        reader.run(&format!("LOGIN {user} {password}")).await.context("LOGIN")?;
        Ok(reader)
    }

    async fn select(&mut self) -> anyhow::Result<u32> {
        self.run("SELECT INBOX").await?;
        Ok(self.exists)
    }

    async fn idle(&mut self) -> anyhow::Result<()> {
        self.send("IDLE").await?;
        let line = self.line().await?;
        ensure!(line.starts_with('+'), "IDLE was answered: {}", line.trim_end());
        Ok(())
    }

    async fn await_more_than(&mut self, before: u32) -> anyhow::Result<()> {
        while self.exists <= before {
            self.line().await?;
        }
        self.stream.write_all(b"DONE\r\n").await?;
        self.stream.flush().await?;
        self.finish().await
    }

    async fn fetch_last(&mut self) -> anyhow::Result<Vec<u8>> {
        self.send(&format!("FETCH {} BODY.PEEK[]", self.exists)).await?;
        let line = self.line().await?;
        let size = line.trim_end().rsplit_once('{').and_then(|(_, size)| size.strip_suffix('}')?.parse().ok());
        let Some(size) = size else { bail!("FETCH was answered: {}", line.trim_end()) };
        let mut octets = vec![0; size];
        self.stream.read_exact(&mut octets).await?;
        self.line().await?;
        self.finish().await?;
        Ok(octets)
    }

    /// Leaves the mailbox as it was found.
    async fn remove_last(&mut self) -> anyhow::Result<()> {
        self.run(&format!("STORE {} +FLAGS.SILENT (\\Deleted)", self.exists)).await?;
        self.run("EXPUNGE").await?;
        self.run("LOGOUT").await
    }

    async fn run(&mut self, command: &str) -> anyhow::Result<()> {
        self.send(command).await?;
        self.finish().await
    }

    async fn send(&mut self, command: &str) -> anyhow::Result<()> {
        self.stream.write_all(format!("t {command}\r\n").as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads to the tagged answer.
    async fn finish(&mut self) -> anyhow::Result<()> {
        loop {
            let line = self.line().await?;
            if let Some(answer) = line.strip_prefix("t ") {
                ensure!(answer.starts_with("OK"), "the server answered: {}", answer.trim_end());
                return Ok(());
            }
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line).await? > 0, "the server hung up");
        if let Some(count) = line.strip_prefix("* ").and_then(|rest| rest.strip_suffix(" EXISTS\r\n")) {
            self.exists = count.parse()?;
        }
        Ok(line)
    }
}
