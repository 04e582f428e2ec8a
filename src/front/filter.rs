//! The content filter for other mail servers, by SMTP or LMTP as the client's greeting says.
//!
//! There is no queue here: a message is judged, handed on to the next hop, and answered when that has answered. Whatever
//! goes wrong before, the mail server still has the message. With SMTP it comes again for all its recipients when one of
//! them must wait: who was served by then is left out ([`Served`](posthorn_filter::Served)).

mod addressed;
mod copies;
mod forwarded;
mod passage;
mod reinjection;
mod tries;

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use posthorn_config::{FilterAsked, FilterPort, NextHopSpeaks, ServiceAddress, SmtpExtension};
use posthorn_filter::Filter;
use posthorn_mail::{Intake, Mail};
use posthorn_model::{EnhancedCode, Refusal};
use posthorn_net::egress::TlsClient;
use posthorn_net::{Connection, Local, Next, Overload, Service};
use posthorn_smtp::{Attribute, Dialect, Event, Extension, Limits, Options, Recipient, Sender, Server};

pub(crate) use self::copies::{Copy, Sorted};
use self::forwarded::Forwarded;
use self::passage::{Passage, trouble};
use self::reinjection::{Hop, Reinjection};
use self::tries::Tries;
use crate::{Settings, overload};

/// The service behind listeners that speak filter.
#[derive(Clone)]
pub struct ContentFilter(Arc<Shared>);

/// What all sessions share.
struct Shared {
    mail: Mail,
    engine: Filter,
    settings: Arc<Settings>,
    reinjection: Reinjection,
}

struct Session {
    shared: Arc<Shared>,
    connection: Connection,
    server: Server,
    port: FilterPort,
    hello: Option<String>,
    forwarded: Forwarded,
    transaction: Option<Box<Transaction>>,
}

/// A message in progress.
struct Transaction {
    sender: Sender,
    recipients: Vec<Recipient>,
    body: Option<Intake>,
    /// Why the body cannot be taken, found out while it came in.
    failed: Option<Refusal>,
}

impl ContentFilter {
    /// The service of one engine; `tls` is for next hops elsewhere.
    #[must_use]
    pub fn new(mail: Mail, engine: Filter, settings: Arc<Settings>, tls: TlsClient) -> Self {
        let reinjection = Reinjection::new(settings.hostname.clone(), tls);
        Self(Arc::new(Shared { mail, engine, settings, reinjection }))
    }
}

impl Service for ContentFilter {
    fn serve(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.0);
        async move { Session::new(shared, connection).run().await }.boxed()
    }

    fn refuse(&self, mut connection: Connection, why: Overload) -> BoxFuture<'static, ()> {
        let refusal = match why {
            Overload::Denied => Refusal::new(554, EnhancedCode(5, 7, 1), overload::words(why)),
            _ => Refusal::new(421, EnhancedCode(4, 3, 2), overload::words(why)),
        };
        async move {
            let mut server = Server::refused(refusal);
            let _ended = connection.next(&mut server, std::future::pending::<()>()).await;
            connection.finish().await;
        }
        .boxed()
    }
}

impl Session {
    fn new(shared: Arc<Shared>, connection: Connection) -> Self {
        let port = connection.listener().filter.clone().unwrap_or_default();
        let server = Server::new(options(&connection, &shared, &port), std::time::Instant::now());
        Self { shared, connection, server, port, hello: None, forwarded: Forwarded::default(), transaction: None }
    }

    async fn run(mut self) {
        loop {
            match self.connection.next(&mut self.server, std::future::pending::<()>()).await {
                Next::Event(event) => self.handle(event).await,
                Next::Wake(()) => {}
                Next::Closed(_) => return self.connection.finish().await,
            }
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Hello { name, .. } => {
                self.hello = Some(name);
                self.forget();
            }
            Event::Mail(sender) => {
                let transaction = Transaction { sender, recipients: Vec::new(), body: None, failed: None };
                self.transaction = Some(Box::new(transaction));
                self.server.accept();
            }
            Event::Rcpt(recipient) => self.add_recipient(recipient),
            Event::BodyStart => {
                let body = self.shared.mail.intake();
                match &mut self.transaction {
                    Some(transaction) => {
                        transaction.body = Some(body);
                        self.server.accept();
                    }
                    None => self.server.refuse(Refusal::new(503, EnhancedCode(5, 5, 1), "no transaction")),
                }
            }
            Event::Body(octets) => self.take_body(&octets),
            Event::BodyEnd { .. } => self.end_body().boxed().await,
            Event::BodyAborted(_) | Event::Reset => self.forget(),
            Event::Xforward(attributes) => self.forward(attributes),
            Event::Xclient(_) | Event::Auth { .. } | Event::AuthResponse(_) => {
                // Neither is offered.
                self.server.refuse(Refusal::new(502, EnhancedCode(5, 5, 1), "not offered"));
            }
            Event::AuthCancelled => {}
            Event::Misbehaved(how) => {
                let peer = self.connection.peer();
                tracing::info!(session.id = %self.connection.id(), peer.ip = %peer.address, listener = %peer.listener,
                    ?how, "session ended for misbehaviour");
            }
        }
    }

    /// What was said holds for one message.
    fn forget(&mut self) {
        self.transaction = None;
        self.forwarded = Forwarded::default();
    }

    fn forward(&mut self, attributes: Vec<Attribute>) {
        if Forwarded::is_sound(&attributes) {
            self.forwarded.add(attributes);
            self.server.accept();
        } else {
            self.server.refuse(Refusal::new(501, EnhancedCode(5, 5, 4), "Bad XFORWARD attribute"));
        }
    }

    /// While a sender waits, all recipients of a message share one verdict: those of another policy than the first's come
    /// later, in a message of their own.
    fn add_recipient(&mut self, recipient: Recipient) {
        let Some(transaction) = &mut self.transaction else {
            return self.server.refuse(Refusal::new(503, EnhancedCode(5, 5, 1), "no transaction"));
        };
        let shares_reply = self.server.options().dialect != Dialect::Lmtp;
        if self.port.asked == FilterAsked::BeforeQueue
            && shares_reply
            && let Some(first) = transaction.recipients.first()
        {
            let [first, other] = [first, &recipient].map(|one| one.target.to_string());
            if self.shared.engine.wishes(&first) != self.shared.engine.wishes(&other) {
                let text = "other rules hold for this recipient, send to it in a transaction of its own";
                return self.server.refuse(Refusal::new(452, EnhancedCode(4, 5, 3), text));
            }
        }
        transaction.recipients.push(recipient);
        self.server.accept();
    }

    fn take_body(&mut self, octets: &[u8]) {
        let Some(transaction) = &mut self.transaction else { return };
        if let Some(body) = &mut transaction.body
            && let Err(refusal) = body.push(octets)
        {
            transaction.failed = Some(refusal);
            transaction.body = None;
        }
    }

    async fn end_body(&mut self) {
        let forwarded = std::mem::take(&mut self.forwarded);
        let Some(transaction) = self.transaction.take() else {
            return self.server.refuse(Refusal::new(503, EnhancedCode(5, 5, 1), "no transaction"));
        };
        let Transaction { sender, recipients, body, failed } = *transaction;
        let Some(body) = body else {
            return self.server.refuse(failed.unwrap_or_else(|| trouble("the message was lost on its way in")));
        };
        let each_alone = self.server.options().dialect == Dialect::Lmtp;
        let passage = Passage {
            shared: Arc::clone(&self.shared),
            port: self.port.clone(),
            hop: hop(&self.connection, &self.port),
            session: self.connection.id().to_string(),
            protocol: if each_alone { "LMTP" } else { "ESMTP" },
            helo: self.hello.clone(),
            server: self.connection.peer().address,
            forwarded,
            sender,
            recipients,
            each_alone,
            tries: Tries::default(),
            attendance: Arc::default(),
        };
        let attendance = Arc::clone(&passage.attendance);
        let mut passing = pin!(passage.run(body));
        // A mail server that hangs up has the message still and comes again: it is not to go on twice.
        let Ok(replies) = self.connection.attend(&mut self.server, passing.as_mut()).await else {
            if attendance.leave() {
                passing.await;
            }
            tracing::info!(session.id = %self.connection.id(), "the mail server hung up before the verdict");
            return self.server.refuse(trouble("nobody waited for the verdict"));
        };
        if each_alone {
            return self.server.replies(replies);
        }
        // All alike, or all of them yes: what was handed on says more than what is held.
        let said = |one: &Result<String, Refusal>| one.as_ref().is_ok_and(|text| text.starts_with("from "));
        let at = replies.iter().position(|one| one.is_err()).or_else(|| replies.iter().position(said)).unwrap_or(0);
        match replies.into_iter().nth(at) {
            Some(Ok(text)) => self.server.accept_with(text),
            Some(Err(refusal)) => self.server.refuse(refusal),
            None => self.server.refuse(trouble("a message for nobody")),
        }
    }
}

/// The configured next hop, or the client itself at the port behind ours.
fn hop(connection: &Connection, port: &FilterPort) -> Option<Hop> {
    let address = match (&port.next_hop, &connection.peer().local) {
        (Some(address), _) => address.clone(),
        (None, Local::Tcp(local)) => {
            let port = local.port().checked_add(1)?;
            ServiceAddress::Tcp((connection.peer().address, port).into())
        }
        (None, Local::Unix(_)) => return None,
    };
    let dialect = match port.next_hop_speaks {
        NextHopSpeaks::Smtp => Dialect::Smtp,
        NextHopSpeaks::Lmtp => Dialect::Lmtp,
    };
    let time = port.time.limit().unwrap_or(std::time::Duration::from_secs(300));
    Some(Hop { address, dialect, time, most: port.kept_connections as usize })
}

/// What is offered: what the next hop is told as well, and no more. What that does not take it has said before: the mail
/// server makes seven bits of a message where eight are not offered.
fn options(connection: &Connection, shared: &Shared, port: &FilterPort) -> Options {
    let (settings, effective) = (&shared.settings, connection.options());
    let known = hop(connection, port).map(|hop| shared.reinjection.known(&hop)).unwrap_or_default();
    let mut options = Options::new(Dialect::Smtp, settings.hostname.clone());
    options.by_greeting = true;
    options.banner = "ESMTP LMTP Posthorn filter".to_owned();
    options.max_size = effective.max_message_size.octets();
    options.tls_available = connection.can_secure();
    let mut offered = vec![
        Extension::Pipelining,
        Extension::Size,
        Extension::EnhancedStatusCodes,
        Extension::Dsn,
        Extension::Xforward,
        Extension::Help,
    ];
    if options.tls_available {
        offered.push(Extension::StartTls);
    }
    if known.eight_bits && effective.offers(SmtpExtension::EightBitMime) {
        offered.push(Extension::EightBitMime);
        if known.utf8 && effective.offers(SmtpExtension::SmtpUtf8) {
            offered.push(Extension::SmtpUtf8);
        }
    }
    options.extensions = offered.into_iter().collect();
    options.limits = Limits {
        recipients: effective.max_recipients as usize,
        header_bytes: settings.smtp.max_header_size.octets(),
        // The mail server has taken the line already.
        text_line: None,
        swallow: effective.max_message_size.octets().saturating_mul(2).max(1 << 20),
        session: effective.total_time.limit(),
        ..Limits::default()
    };
    if let Some(idle) = effective.idle_time.limit() {
        options.limits.idle = idle;
    }
    options
}
