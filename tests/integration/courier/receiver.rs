//! A receiver on loopback that says what a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a receiver says to a command line (or `greeting`, or `.` for a message's end): `None` is yes.
pub(super) type Script = Box<dyn Fn(&str, &Seen) -> Option<String> + Send + Sync>;

/// What a receiver has seen.
#[derive(Default)]
pub(super) struct Seen {
    pub messages: Mutex<Vec<Message>>,
    pub commands: Mutex<Vec<String>>,
    pub connections: AtomicUsize,
}

/// A message that was taken.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Message {
    pub sender: String,
    pub recipients: Vec<String>,
    pub octets: String,
}

pub(super) struct Receiver {
    pub port: u16,
    pub seen: Arc<Seen>,
}

impl Receiver {
    /// Says yes to everything.
    pub(super) async fn willing() -> Self {
        Self::new("PIPELINING", |_, _| None).await
    }

    /// Offers these extensions and answers by script. An answer of `close` closes instead.
    pub(super) async fn new(
        offers: &'static str,
        script: impl Fn(&str, &Seen) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Seen::default());
        let (shared, script) = (Arc::clone(&seen), Arc::new(Box::new(script) as Script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, offers, Arc::clone(&shared), Arc::clone(&script)));
            }
        });
        Self { port, seen }
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        self.seen.messages.lock().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }
}

/// One session; ends quietly when the client does.
async fn serve(stream: TcpStream, offers: &str, seen: Arc<Seen>, script: Arc<Script>) {
    let (input, mut output) = stream.into_split();
    let mut lines = BufReader::new(input).lines();
    let mut message = Message::default();
    let mut lmtp = false;
    let greeting = script("greeting", &seen).unwrap_or_else(|| "220 receiver.example".to_owned());
    if output.write_all(format!("{greeting}\r\n").as_bytes()).await.is_err() {
        return;
    }
    while let Ok(Some(line)) = lines.next_line().await {
        seen.commands.lock().push(line.clone());
        let scripted = script(&line, &seen);
        let yes = scripted.is_none();
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let mut reply = scripted.unwrap_or_else(|| match verb.as_str() {
            "EHLO" | "LHLO" => {
                offers.split(' ').fold("250-receiver.example\r\n".to_owned(), |all, one| all + "250-" + one + "\r\n")
                    + "250 HELP"
            }
            "DATA" if message.recipients.is_empty() => "554 5.5.1 for whom?".to_owned(),
            "QUIT" => "221 bye".to_owned(),
            _ => "250 2.0.0 fine".to_owned(),
        });
        lmtp |= verb == "LHLO";
        if reply == "close" {
            return;
        }
        match verb.as_str() {
            "MAIL" => message = Message { sender: path(&line), ..Message::default() },
            "RCPT" if yes => message.recipients.push(path(&line)),
            "DATA" if yes && !message.recipients.is_empty() => {
                if output.write_all(b"354 go on\r\n").await.is_err() {
                    return;
                }
                loop {
                    match lines.next_line().await {
                        Ok(Some(line)) if line == "." => break,
                        Ok(Some(line)) => message.octets.push_str(&(line + "\r\n")),
                        _ => return,
                    }
                }
                let answer = |recipient: &str| script(&format!(". {recipient}"), &seen);
                let each: Vec<_> = match lmtp {
                    true => message.recipients.iter().map(|one| answer(one)).collect(),
                    false => vec![answer("")],
                };
                if each.iter().any(|one| one.as_deref() == Some("close")) {
                    return;
                }
                if each.iter().any(|one| one.as_ref().is_none_or(|one| one.starts_with('2'))) {
                    seen.messages.lock().push(std::mem::take(&mut message));
                }
                let each = each.into_iter().map(|one| one.unwrap_or_else(|| "250 2.0.0 taken".to_owned()));
                reply = each.collect::<Vec<_>>().join("\r\n");
            }
            _ => {}
        }
        let gone = output.write_all(format!("{reply}\r\n").as_bytes()).await.is_err();
        if gone || verb == "QUIT" || reply.starts_with("421") {
            return;
        }
    }
}

fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map(|(path, _)| path.to_owned()).unwrap_or_default()
}
