//! An IMAP client that says what a test wants said.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::stream::Stream;

/// One session.
pub struct ImapClient {
    /// The connection beneath.
    pub stream: Stream,
    tls: Arc<ClientConfig>,
    tags: u32,
}

/// What a command was answered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// The untagged lines, literals inside them as they came: `* 1 FETCH (BODY[] {5}\r\nhello)`.
    pub untagged: Vec<Vec<u8>>,
    /// The tagged line without its tag; empty when the server closed.
    pub tagged: String,
}

impl Answer {
    /// Whether the command was done.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.tagged.starts_with("OK")
    }

    /// The untagged lines as text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.untagged.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    /// The first untagged line that holds this text.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<String> {
        self.lines().into_iter().find(|line| line.contains(text))
    }

    /// The octets of the literal in the first untagged line that has one.
    #[must_use]
    pub fn literal(&self) -> Option<Vec<u8>> {
        self.untagged.iter().find_map(|line| {
            let end = line.windows(3).position(|at| at == b"}\r\n")?;
            let begin = line[..end].iter().rposition(|octet| *octet == b'{')?;
            let size: usize = std::str::from_utf8(&line[begin + 1..end]).ok()?.parse().ok()?;
            line.get(end + 3..end + 3 + size).map(<[u8]>::to_vec)
        })
    }
}

impl ImapClient {
    /// Connects in the clear and reads the greeting.
    pub async fn plain(port: u16, tls: &Arc<ClientConfig>) -> Self {
        Self::greeted(Stream::tcp(port).await, tls).await
    }

    /// Connects under TLS and reads the greeting.
    pub async fn secure(port: u16, tls: &Arc<ClientConfig>) -> Self {
        Self::greeted(Stream::tcp(port).await.secure(tls).await, tls).await
    }

    async fn greeted(stream: Stream, tls: &Arc<ClientConfig>) -> Self {
        let mut this = Self { stream, tls: Arc::clone(tls), tags: 0 };
        let greeting = this.line().await.expect("a greeting");
        assert!(greeting.starts_with(b"* OK"), "{}", String::from_utf8_lossy(&greeting));
        this
    }

    /// STARTTLS and the handshake.
    pub async fn starttls(mut self) -> Self {
        let answer = self.ask("STARTTLS").await;
        assert!(answer.is_ok(), "{answer:?}");
        Self { stream: self.stream.secure(&self.tls).await, tls: self.tls, tags: self.tags }
    }

    /// A whole response line with its literals; `None` when the server closed.
    pub async fn line(&mut self) -> Option<Vec<u8>> {
        let mut whole = self.stream.line().await?;
        while let Some(size) = literal_size(&whole) {
            whole.extend_from_slice(b"\r\n");
            whole.extend(self.stream.octets(size).await);
            whole.extend(self.stream.line().await?);
        }
        Some(whole)
    }

    /// Sends a command with a fresh tag and reads its answer. Literals may be written as `{5+}\r\nhello`.
    pub async fn ask(&mut self, command: &str) -> Answer {
        let tag = self.send(command.as_bytes()).await;
        self.answer(&tag).await
    }

    /// The same; it must be done.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn ok<'c>(&'c mut self, command: &'c str) -> impl Future<Output = Answer> + 'c {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.ask(command).await;
            assert!(answer.is_ok(), "{caller}: {command:?} was answered {answer:?}");
            answer
        }
    }

    /// Sends a command with a fresh tag, which it returns, and reads nothing.
    pub async fn send(&mut self, command: &[u8]) -> String {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.stream.send([tag.as_bytes(), b" ", command, b"\r\n"].concat()).await;
        tag
    }

    /// Reads to the tagged answer.
    pub async fn answer(&mut self, tag: &str) -> Answer {
        let mut answer = Answer::default();
        while let Some(line) = self.line().await {
            match line.strip_prefix(tag.as_bytes()).and_then(|rest| rest.strip_prefix(b" ")) {
                Some(tagged) => {
                    answer.tagged = String::from_utf8_lossy(tagged).into_owned();
                    break;
                }
                None => answer.untagged.push(line),
            }
        }
        answer
    }

    /// LOGIN with quoted strings.
    pub async fn login(&mut self, user: &str, password: &str) -> Answer {
        self.ask(&format!("LOGIN \"{user}\" \"{password}\"")).await
    }

    /// APPEND of one message with a non-synchronising literal.
    pub async fn append(&mut self, mailbox: &str, message: &[u8]) -> Answer {
        // Only literal8 may hold NUL (RFC 9051 §9).
        let binary = if message.contains(&0) { "~" } else { "" };
        let head = format!("APPEND {mailbox} {binary}{{{}+}}\r\n", message.len());
        let tag = self.send(&[head.as_bytes(), message].concat()).await;
        self.answer(&tag).await
    }
}

/// The number in `{123}` at the end of a line.
fn literal_size(line: &[u8]) -> Option<usize> {
    let begin = line.strip_suffix(b"}")?.iter().rposition(|octet| *octet == b'{')?;
    let digits = std::str::from_utf8(&line[begin + 1..line.len() - 1]).ok()?;
    digits.parse().ok()
}
