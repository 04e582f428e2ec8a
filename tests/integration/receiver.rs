//! A receiver on loopback that says what a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What a receiver says to a command line (or `greeting`, or `. ` and in LMTP the recipient for a message's end): `None`
/// is yes. Instead of saying something, `close` closes, `hush` (a greeting) says nothing, `wait` (a message's end) waits
/// for the gate, `cut` (DATA) wants the message and closes on its first line, and `raw:` is followed by octets, one in
/// each character.
pub(crate) type Script = Box<dyn Fn(&str, &Seen) -> Option<String> + Send + Sync>;

/// What a receiver has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub messages: Mutex<Vec<Message>>,
    pub commands: Mutex<Vec<String>>,
    pub connections: AtomicUsize,
    /// Those that are open now, and the most that were at any time.
    pub open: AtomicUsize,
    pub most: AtomicUsize,
    /// What waits goes on when this is true.
    pub gate: watch::Sender<bool>,
}

/// A message that was taken.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Message {
    pub sender: String,
    pub recipients: Vec<String>,
    pub octets: String,
}

pub(crate) struct Receiver {
    pub port: u16,
    pub seen: Arc<Seen>,
}

impl Receiver {
    /// Says yes to everything.
    pub(crate) async fn willing() -> Self {
        Self::new("PIPELINING", |_, _| None).await
    }

    /// Offers these extensions and answers by script.
    pub(crate) async fn new(
        offers: &'static str,
        script: impl Fn(&str, &Seen) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(offers, script, None).await
    }

    /// Says yes to everything, under TLS from the first octet; the configuration may be changed at any time.
    pub(crate) async fn secure(tls: watch::Receiver<Arc<ServerConfig>>) -> Self {
        Self::listen("PIPELINING", |_, _| None, Some(tls)).await
    }

    async fn listen(
        offers: &'static str,
        script: impl Fn(&str, &Seen) -> Option<String> + Send + Sync + 'static,
        tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    ) -> Self {
        // So little is taken ahead that whoever sends much notices what is done with it.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(64 << 10).expect("a size");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let listener = socket.listen(1024).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Seen::default());
        let (shared, script) = (Arc::clone(&seen), Arc::new(Box::new(script) as Script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let open = shared.open.fetch_add(1, Ordering::Relaxed) + 1;
                shared.most.fetch_max(open, Ordering::Relaxed);
                let counted = Counted(Arc::clone(&shared));
                let (shared, script) = (Arc::clone(&shared), Arc::clone(&script));
                let acceptor = tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.borrow())));
                tokio::spawn(async move {
                    match acceptor {
                        None => serve((stream, counted), offers, shared, script).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve((stream, counted), offers, shared, script).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen }
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.seen.messages.lock().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }
}

/// An open connection.
struct Counted(Arc<Seen>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One session; ends quietly when the client does.
async fn serve(
    (stream, counted): (impl AsyncRead + AsyncWrite, Counted),
    offers: &str,
    seen: Arc<Seen>,
    script: Arc<Script>,
) {
    let (input, mut output) = tokio::io::split(stream);
    let mut lines = BufReader::new(input).lines();
    let mut message = Message::default();
    let mut counted = Some(counted);
    let mut lmtp = false;
    let greeting = script("greeting", &seen).unwrap_or_else(|| "220 receiver.example".to_owned());
    if greeting == "hush" {
        return while let Ok(Some(_)) = lines.next_line().await {};
    }
    if output.write_all(format!("{greeting}\r\n").as_bytes()).await.is_err() {
        return;
    }
    while let Ok(Some(line)) = lines.next_line().await {
        seen.commands.lock().push(line.clone());
        let scripted = script(&line, &seen);
        let yes = scripted.as_ref().is_none_or(|answer| answer == "cut");
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let mut reply = scripted.unwrap_or_else(|| match verb.as_str() {
            "EHLO" | "LHLO" => {
                offers.split(' ').fold("250-receiver.example\r\n".to_owned(), |all, one| all + "250-" + one + "\r\n")
                    + "250 HELP"
            }
            "DATA" if message.recipients.is_empty() => "554 5.5.1 for whom?".to_owned(),
            "QUIT" => {
                // Whoever hears the answer may open another.
                counted.take();
                "221 bye".to_owned()
            }
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
                if reply == "cut" {
                    let _some = lines.next_line().await;
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
                let mut each: Vec<_> = match lmtp {
                    true => message.recipients.iter().map(|one| answer(one)).collect(),
                    false => vec![answer("")],
                };
                if each.iter().any(|one| one.as_deref() == Some("wait")) {
                    let mut gate = seen.gate.subscribe();
                    let _open = gate.wait_for(|open| *open).await;
                    each.iter_mut().for_each(|one| *one = None);
                }
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
        let octets = match reply.strip_prefix("raw:") {
            Some(raw) => raw.chars().map(|c| u8::try_from(u32::from(c)).expect("an octet")).collect(),
            None => format!("{reply}\r\n").into_bytes(),
        };
        let gone = output.write_all(&octets).await.is_err();
        if gone || verb == "QUIT" || reply.starts_with("421") {
            return;
        }
    }
}

fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map(|(path, _)| path.to_owned()).unwrap_or_default()
}

/// Those of the messages that are for this recipient.
pub(crate) fn said<'m>(messages: &'m [Message], recipient: &str) -> Vec<&'m Message> {
    messages.iter().filter(|message| message.recipients.iter().any(|one| one == recipient)).collect()
}
