//! An SMTP and LMTP client that says what a test wants said.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::stream::Stream;

/// One session. Replies are texts with `\n` between their lines.
pub struct SmtpClient {
    /// The connection beneath.
    pub stream: Stream,
    tls: Arc<ClientConfig>,
}

impl SmtpClient {
    /// Connects without reading the greeting.
    pub async fn raw(port: u16, tls: &Arc<ClientConfig>) -> Self {
        Self { stream: Stream::tcp(port).await, tls: Arc::clone(tls) }
    }

    /// Connects to a Unix socket without reading the greeting.
    pub async fn unix(path: &Path, tls: &Arc<ClientConfig>) -> Self {
        Self { stream: Stream::unix(path).await, tls: Arc::clone(tls) }
    }

    /// Speaks over a connection that is there already.
    #[must_use]
    pub fn over(stream: Stream, tls: &Arc<ClientConfig>) -> Self {
        Self { stream, tls: Arc::clone(tls) }
    }

    /// The next reply; empty when the server closed.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        while let Some(line) = self.stream.line().await {
            if !reply.is_empty() {
                reply.push('\n');
            }
            reply.push_str(&String::from_utf8(line.clone()).expect("UTF-8"));
            if line.get(3) != Some(&b'-') {
                break;
            }
        }
        reply
    }

    /// Sends a line and returns the reply.
    pub async fn ask(&mut self, line: &str) -> String {
        self.stream.send(format!("{line}\r\n")).await;
        self.reply().await
    }

    /// Sends a line; the reply must begin so.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn expect<'c>(&'c mut self, line: &'c str, beginning: &'c str) -> impl Future<Output = String> + 'c {
        let caller = std::panic::Location::caller();
        async move {
            let reply = self.ask(line).await;
            assert!(reply.starts_with(beginning), "{caller}: {line:?} was answered {reply:?}, not {beginning:?}");
            reply
        }
    }

    /// Greets; the lines of the answer behind the first are what is offered.
    pub async fn hello(&mut self, verb: &str) -> Vec<String> {
        let reply = self.expect(&format!("{verb} client.example.net"), "250").await;
        reply.lines().skip(1).map(|line| line[4..].to_owned()).collect()
    }

    /// STARTTLS, the handshake, and EHLO again.
    pub async fn starttls(mut self) -> Self {
        self.expect("STARTTLS", "220 ").await;
        let stream = self.stream.secure(&self.tls).await;
        let mut this = Self { stream, tls: self.tls };
        this.hello("EHLO").await;
        this
    }

    /// AUTH PLAIN.
    pub async fn login(&mut self, user: &str, password: &str) -> String {
        let secret = posthorn_sasl::Secret::new(password.to_owned());
        let response = base64(&posthorn_sasl::client::plain(user, &secret));
        self.ask(&format!("AUTH PLAIN {response}")).await
    }

    /// A whole transaction with DATA; the first reply that is not a yes, or that to the message. `message` has its
    /// line ends; dots are stuffed here.
    pub async fn deliver(&mut self, from: &str, to: &[&str], message: &str) -> String {
        let reply = self.ask(&format!("MAIL FROM:<{from}>")).await;
        if !reply.starts_with("250") {
            return reply;
        }
        for to in to {
            let reply = self.ask(&format!("RCPT TO:<{to}>")).await;
            if !reply.starts_with("250") {
                return reply;
            }
        }
        self.data(message).await
    }

    /// DATA and the message; the last reply.
    pub async fn data(&mut self, message: &str) -> String {
        let reply = self.ask("DATA").await;
        if !reply.starts_with("354") {
            return reply;
        }
        self.stream.send(format!("{}.\r\n", stuffed(message))).await;
        self.reply().await
    }
}

/// With a dot before each dot that begins a line (RFC 5321 §4.5.2), and an end of line at the end.
#[must_use]
pub fn stuffed(message: &str) -> String {
    let mut text = message.replace("\r\n.", "\r\n..");
    if text.starts_with('.') {
        text.insert(0, '.');
    }
    if !text.ends_with("\r\n") {
        text.push_str("\r\n");
    }
    text
}

/// Standard base64.
#[must_use]
pub fn base64(octets: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, octets)
}
