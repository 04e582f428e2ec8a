//! A client of IMAP that reads fast: it finds the ends of responses and skips literals, and parses nothing else.

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest buffer; it grows to this only where much is read.
const BUFFER: usize = 1 << 20;

/// A connection after the greeting.
pub(crate) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    unread: std::ops::Range<usize>,
}

/// How much came before a command was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Untagged responses.
    pub(crate) responses: u64,
    /// Octets in literals.
    pub(crate) literals: u64,
}

impl Connection {
    pub(crate) async fn open(host: &str, port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((host, port)).await.with_context(|| format!("{host}:{port}"))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, input: vec![0; 2048], unread: 0..0 };
        connection.until(|line| line.starts_with(b"* OK")).await.context("greeting")?;
        Ok(connection)
    }

    /// Opens a connection and logs in.
    pub(crate) async fn login(host: &str, port: u16, user: &str, password: &str) -> anyhow::Result<Self> {
        let mut connection = Self::open(host, port).await?;
        let login = format!("a LOGIN {} {}\r\n", quoted(user), quoted(password));
        connection.command(login.as_bytes()).await.with_context(|| format!("LOGIN {user}"))?;
        Ok(connection)
    }

    /// Sends a command line, tag and line end included, and reads until it is done.
    pub(crate) async fn command(&mut self, line: &[u8]) -> anyhow::Result<Tally> {
        self.send(line).await?;
        self.done(|_| {}).await
    }

    /// Sends octets as they are.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(octets).await?)
    }

    /// The number that STATUS tells under the item, such as MESSAGES.
    pub(crate) async fn status(&mut self, mailbox: &str, item: &str) -> anyhow::Result<u64> {
        self.send(format!("a STATUS {} ({item})\r\n", quoted(mailbox)).as_bytes()).await?;
        let mut number = None;
        self.done(|line| {
            let text = String::from_utf8_lossy(line);
            let rest = text.rsplit_once('(').map_or("", |(_, rest)| rest);
            number = number
                .or(rest.strip_prefix(item).and_then(|rest| rest.trim_matches([' ', ')', '\r', '\n']).parse().ok()));
        })
        .await?;
        number.with_context(|| format!("STATUS without {item}"))
    }

    /// Reads until the next command is done; `seen` gets each line that is not tagged, without its literals.
    pub(crate) async fn done(&mut self, mut seen: impl FnMut(&[u8])) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let mut inside = false;
        loop {
            let line = self.line().await?;
            if let Some(length) = literal(line) {
                seen(line);
                inside = true;
                tally.literals += u64::try_from(length)?;
                self.skip(length).await?;
            } else if inside || matches!(line.first(), Some(b'*' | b'+')) {
                seen(line);
                inside = false;
                tally.responses += 1;
            } else if line.split(|octet| *octet == b' ').nth(1).is_some_and(|word| word.trim_ascii_end() == b"OK") {
                return Ok(tally);
            } else {
                bail!("the server said {}", String::from_utf8_lossy(line).trim_end());
            }
        }
    }

    /// Reads until a line that is wanted.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&[u8]) -> bool) -> anyhow::Result<()> {
        loop {
            let line = self.line().await?;
            if wanted(line) {
                return Ok(());
            }
            ensure!(!line.starts_with(b"* BYE"), "the server said {}", String::from_utf8_lossy(line).trim_end());
        }
    }

    async fn line(&mut self) -> anyhow::Result<&[u8]> {
        let mut looked = 0;
        loop {
            let waiting = &self.input[self.unread.clone()];
            if let Some(end) = memchr::memchr(b'\n', &waiting[looked..]) {
                let start = self.unread.start;
                self.unread.start += looked + end + 1;
                return Ok(&self.input[start..self.unread.start]);
            }
            looked = waiting.len();
            self.more().await?;
        }
    }

    async fn skip(&mut self, mut count: usize) -> anyhow::Result<()> {
        loop {
            let here = count.min(self.unread.len());
            self.unread.start += here;
            count -= here;
            if count == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.unread.start > 0 {
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.unread.end == self.input.len() {
            self.input.resize(self.input.len() * 4, 0);
        }
        let count = self.stream.read(&mut self.input[self.unread.end..]).await?;
        ensure!(count > 0, "the server closed the connection");
        self.unread.end += count;
        // The server is ahead of us: read more at a time.
        if self.unread.end == self.input.len() && self.input.len() < BUFFER {
            self.input.resize(self.input.len() * 4, 0);
        }
        Ok(())
    }
}

/// The length of the literal that a line announces at its end.
fn literal(line: &[u8]) -> Option<usize> {
    let text = line.strip_suffix(b"}\r\n")?;
    let start = memchr::memrchr(b'{', text)?;
    std::str::from_utf8(&text[start + 1..]).ok()?.parse().ok()
}

/// A quoted string (RFC 9051 §4.3).
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_found_at_the_end_of_a_line_only() {
        assert_eq!(literal(b"* 1 FETCH (BODY[] {123}\r\n"), Some(123));
        assert_eq!(literal(b"* 1 FETCH (X ~{7}\r\n"), Some(7));
        assert_eq!(literal(b"* 1 FETCH (SUBJECT \"{5}\")\r\n"), None);
        assert_eq!(literal(b"* OK {x}\r\n"), None);
    }

    #[test]
    fn strings_are_quoted() {
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
    }
}
