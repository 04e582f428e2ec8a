//! The filter as a milter of other mail servers (protocol 6): they tell a message step by step, and at its end hear what
//! is to become of it.

mod addressed;
pub(crate) mod changes;
mod verdict;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use posthorn_filter::Filter;
use posthorn_mail::envelope::Terms;
use posthorn_mail::{Intake, Mail};
use posthorn_milter::{Answer, Macros, Peer, Server, ServerEvent, ServerOptions};
use posthorn_model::policy::{ClientFacts, Inquiry, SaslFacts};
use posthorn_net::{Connection, Next, Overload, Service};

use self::addressed::Path;
use self::verdict::{Said, Told};
use crate::attendance::Attendance;
use crate::terms;

/// The service behind listeners that speak milter.
#[derive(Clone)]
pub struct Milter {
    mail: Mail,
    engine: Filter,
}

struct Session {
    mail: Mail,
    engine: Filter,
    connection: Connection,
    server: Server,
    client: Client,
    message: Option<Message>,
}

/// Whom the mail server talks to.
#[derive(Default)]
struct Client {
    host: Option<String>,
    peer: Option<Peer>,
    helo: Option<String>,
}

/// A message on its way.
struct Message {
    sender: String,
    terms: Terms,
    paths: Vec<Path>,
    /// `None`: there was no room for it.
    body: Option<Intake>,
}

/// The mail server hears from us so often while we think.
const PROGRESS: Duration = Duration::from_secs(10);
/// More recipients of one message are no mail server's.
const RECIPIENTS: usize = 10_000;

impl Milter {
    /// The service of one engine.
    #[must_use]
    pub fn new(mail: Mail, engine: Filter) -> Self {
        Self { mail, engine }
    }
}

impl Service for Milter {
    fn serve(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let Self { mail, engine } = self.clone();
        async move {
            let defaults = ServerOptions::default();
            let idle = connection.options().idle_time.limit().unwrap_or(defaults.idle);
            let server = Server::new(ServerOptions { idle, ..defaults }, Instant::now());
            let session = Session { mail, engine, connection, server, client: Client::default(), message: None };
            session.run().await;
        }
        .boxed()
    }

    fn refuse(&self, mut connection: Connection, _: Overload) -> BoxFuture<'static, ()> {
        // The protocol has no words for it: the mail server's own default is due.
        async move { connection.finish().await }.boxed()
    }
}

impl Session {
    async fn run(mut self) {
        loop {
            match self.connection.next(&mut self.server, std::future::pending::<()>()).await {
                Next::Event(event) => self.handle(event).await,
                Next::Wake(()) => {}
                Next::Closed(_) => return self.connection.finish().await,
            }
        }
    }

    async fn handle(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Connect { host, peer } => {
                self.client = Client { host: Some(text(&host)), peer: Some(peer), helo: None };
                self.server.answer(&Answer::Continue);
            }
            ServerEvent::Helo(name) => {
                self.client.helo = Some(text(&name));
                self.server.answer(&Answer::Continue);
            }
            ServerEvent::Mail(words) => {
                let sender = words.first().map(|path| bare(path)).unwrap_or_default();
                // Mail on terms that contradict each other has none.
                let terms = terms::told(words.get(1..).unwrap_or_default(), self.mail.now()).unwrap_or_default();
                self.message = Some(Message { sender, terms, paths: Vec::new(), body: Some(self.mail.intake()) });
                self.server.answer(&Answer::Continue);
            }
            ServerEvent::Rcpt(words) => {
                let mut words = words.into_iter();
                let answer = match (&mut self.message, words.next()) {
                    (Some(message), Some(path)) if message.paths.len() < RECIPIENTS => {
                        message.paths.push(Path { path, parameters: words.collect() });
                        Answer::Continue
                    }
                    _ => Answer::Tempfail,
                };
                self.server.answer(&answer);
            }
            ServerEvent::Header { name, value } => {
                for piece in [&name[..], b":", &value, b"\r\n"] {
                    self.take(piece);
                }
            }
            ServerEvent::EndOfHeaders => self.take(b"\r\n"),
            ServerEvent::Body(octets) => self.take(&octets),
            ServerEvent::EndOfMessage => self.end_message().boxed().await,
            ServerEvent::Abort => self.message = None,
            ServerEvent::NextSession => {
                self.message = None;
                self.client = Client::default();
            }
            ServerEvent::Malformed(why) => {
                let peer = self.connection.peer();
                tracing::warn!(session.id = %self.connection.id(), listener = %peer.listener, peer.ip = %peer.address, %why,
                    "not the milter protocol, connection closed");
            }
        }
    }

    fn take(&mut self, octets: &[u8]) {
        if let Some(message) = &mut self.message
            && message.body.as_mut().is_some_and(|body| body.push(octets).is_err())
        {
            message.body = None;
        }
    }

    async fn end_message(&mut self) {
        let Some(Message { sender, terms, paths, body }) = self.message.take() else {
            return self.server.answer(&Answer::Tempfail);
        };
        let Some(body) = body.filter(|_| !paths.is_empty()) else { return self.server.answer(&Answer::Tempfail) };
        let mut inquiry = self.client.inquiry(self.server.macros());
        inquiry.sender = Some(sender);
        inquiry.recipients = paths.iter().map(|one| bare(&one.path)).collect();
        inquiry.recipient_count = u32::try_from(paths.len()).unwrap_or(u32::MAX);
        inquiry.size = body.len() as u64;
        inquiry.instance = self.connection.id().to_string();
        let told = Arc::new(Told {
            mail: self.mail.clone(),
            engine: self.engine.clone(),
            hold: self.connection.listener().milter.clone().unwrap_or_default().hold,
            session: self.connection.id().to_string(),
            inquiry,
            terms,
            paths,
            allowed: self.server.allowed(),
            spaced: self.server.keeps_space(),
            attendance: Attendance::default(),
        });
        let mut judging = pin!(Arc::clone(&told).judge(body));
        let Said { changes, answer } = loop {
            tokio::select! {
                biased;
                said = self.connection.attend(&mut self.server, &mut judging) => match said {
                    Ok(said) => break said,
                    // Nobody waits for the verdict any more.
                    Err(_) => {
                        if told.attendance.leave() {
                            judging.as_mut().await;
                        }
                        return self.server.answer(&Answer::Tempfail);
                    }
                },
                () = tokio::time::sleep(PROGRESS) => {
                    self.server.progress();
                    if self.connection.flush(&mut self.server).await.is_err() {
                        if told.attendance.leave() {
                            judging.as_mut().await;
                        }
                        return self.server.answer(&Answer::Tempfail);
                    }
                }
            }
        };
        let unsaid = changes.iter().filter(|change| !self.server.change(change)).count();
        if unsaid > 0 {
            tracing::warn!(session.id = %self.connection.id(), unsaid, "the mail server lets us change less than is to be changed");
        }
        self.server.answer(&answer);
    }
}

impl Client {
    /// What the mail server says of its client, in the words of policy.
    fn inquiry(&self, macros: &Macros) -> Inquiry {
        let told = |name: &str| macros.text(name).filter(|value| !value.is_empty());
        let (address, port) = match &self.peer {
            Some(Peer::Internet(address)) => (Some(address.ip().to_canonical()), Some(address.port())),
            _ => (None, None),
        };
        let stated = told("client_addr").and_then(|text| text.trim_start_matches("IPv6:").parse().ok());
        let name = self.host.clone().or_else(|| told("client_name"));
        let name = name.filter(|name| !name.starts_with('[') && name != "unknown");
        let login = told("auth_authen");
        let by_hand = matches!(self.peer, Some(Peer::Local(_) | Peer::Unknown)) && stated.is_none();
        Inquiry {
            protocol: told("proto").unwrap_or_else(|| "ESMTP".to_owned()),
            client: ClientFacts {
                address: address.or(stated),
                port: port.or_else(|| told("client_port").and_then(|port| port.parse().ok())),
                name: name.clone(),
                reverse_name: told("client_ptr").or(name),
            },
            helo: self.helo.clone(),
            queue_id: told("i"),
            trusted: login.is_some() || by_hand,
            sasl: login.map(|username| SaslFacts {
                method: told("auth_type").unwrap_or_default(),
                username,
                sender: told("auth_author"),
            }),
            ..Inquiry::default()
        }
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A path without its angle brackets.
fn bare(path: &[u8]) -> String {
    let path = text(path);
    match path.strip_prefix('<').and_then(|inner| inner.strip_suffix('>')) {
        Some(inner) => inner.to_owned(),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_and_local_submission_are_our_own_peoples() {
        let internet = Peer::Internet("192.0.2.1:40000".parse().expect("an address"));
        let stranger = Client { host: Some("[192.0.2.1]".to_owned()), peer: Some(internet), helo: None };
        let inquiry = stranger.inquiry(&Macros::default());
        assert!(!inquiry.trusted && inquiry.client.name.is_none());
        assert_eq!(inquiry.client.address, "192.0.2.1".parse().ok());
        let local = Client { peer: Some(Peer::Unknown), ..Client::default() };
        assert!(local.inquiry(&Macros::default()).trusted);
    }

    #[test]
    fn paths_lose_their_brackets() {
        assert_eq!(bare(b"<anna@example.org>"), "anna@example.org");
        assert_eq!(bare(b"<>"), "");
        assert_eq!(bare(b"anna"), "anna");
    }
}
