//! SMTP, submission and LMTP: one session loop for the three dialects.

mod assent;
mod consult;
mod identity;
mod judge;
mod login;
mod manners;
mod options;
mod orders;
mod standing;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use posthorn_filter::Filter;
use posthorn_mail::Mail;
use posthorn_mail::authenticate::{Dialogue, Login};
use posthorn_model::{EnhancedCode, Refusal};
use posthorn_net::{Connection, Next, Overload, Service};
use posthorn_smtp::{Dialect, Event, Misbehaviour, Server};

pub use self::assent::Assent;
use self::assent::Opinion;
use self::manners::Manners;
use self::transaction::Transaction;
use crate::{Settings, overload};

/// The service behind listeners that speak smtp, submission, submissions and lmtp.
#[derive(Clone)]
pub struct Smtp {
    mail: Mail,
    settings: Arc<Settings>,
    dialect: Dialect,
    manners: Manners,
    assent: Assent,
    filter: Option<Filter>,
    expands: bool,
}

/// One client's session.
struct Session {
    mail: Mail,
    settings: Arc<Settings>,
    dialect: Dialect,
    manners: Manners,
    assent: Assent,
    filter: Option<Filter>,
    /// Aliases and forwards are followed; not where a filter's mail comes back whose recipients are the last ones already.
    expands: bool,
    opinion: Opinion,
    connection: Connection,
    server: Server,
    /// What the client called itself, and whether by EHLO.
    hello: Option<(String, bool)>,
    login: Option<Login>,
    dialogue: Option<Dialogue>,
    /// What a front end said of where the message came from, for the trace.
    forwarded: Vec<(&'static str, String)>,
    transaction: Option<Box<Transaction>>,
}

impl Smtp {
    /// The service of one dialect, which asks `assent` before it takes anything but LMTP: whoever speaks that has
    /// answered for the mail already.
    #[must_use]
    pub fn new(mail: Mail, settings: Arc<Settings>, dialect: Dialect, assent: Assent) -> Self {
        Self { mail, settings, dialect, manners: Manners::default(), assent, filter: None, expands: true }
    }

    /// The same, whose messages this filter judges.
    #[must_use]
    pub fn judged_by(self, filter: Option<Filter>) -> Self {
        Self { filter, ..self }
    }

    /// The same, where aliases and forwards have been followed already.
    #[must_use]
    pub fn unexpanded(self) -> Self {
        Self { expands: false, ..self }
    }
}

impl Service for Smtp {
    fn serve(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let this = self.clone();
        async move { Session::new(this, connection).run().await }.boxed()
    }

    fn refuse(&self, mut connection: Connection, why: Overload) -> BoxFuture<'static, ()> {
        let refusal = match why {
            Overload::Denied => Refusal::new(554, EnhancedCode(5, 7, 1), overload::words(why)),
            Overload::Stopping => Refusal::new(421, EnhancedCode(4, 3, 2), overload::words(why)),
            Overload::Memory => Refusal::new(421, EnhancedCode(4, 3, 0), overload::words(why)),
            _ => Refusal::new(421, EnhancedCode(4, 4, 5), overload::words(why)),
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
    fn new(Smtp { mail, settings, dialect, manners, assent, filter, expands }: Smtp, connection: Connection) -> Self {
        let mut options = options::of(&connection, &settings, dialect, mail.now());
        if manners.are_known_of(connection.peer().address) {
            // What is sent along with the connection is still caught.
            options.banner_delay = options.banner_delay.min(Duration::from_millis(1));
        }
        let server = Server::new(options, std::time::Instant::now());
        Self {
            mail,
            settings,
            dialect,
            manners,
            assent,
            filter,
            expands,
            opinion: Opinion::default(),
            connection,
            server,
            hello: None,
            login: None,
            dialogue: None,
            forwarded: Vec::new(),
            transaction: None,
        }
    }

    async fn run(mut self) {
        let peer = self.connection.peer();
        tracing::debug!(session.id = %self.connection.id(), listener = %peer.listener, peer.ip = %peer.address, "connected");
        // Of people not much is known before they log in.
        if self.dialect == Dialect::Smtp
            && let Err(refusal) = self.assent_to_client().boxed().await
        {
            self.server = Server::refused(refusal);
        }
        loop {
            match self.connection.next(&mut self.server, std::future::pending::<()>()).await {
                Next::Event(event) => self.handle(event).await,
                Next::Wake(()) => {}
                Next::Closed(ended) => {
                    tracing::debug!(session.id = %self.connection.id(), ?ended, "closed");
                    self.connection.finish().await;
                    return;
                }
            }
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Hello { ehlo, name } => {
                if self.hello.replace((name, ehlo)).is_none() {
                    self.manners.remember(self.connection.peer().address);
                }
                self.transaction = None;
                self.opinion.forget_helo();
            }
            Event::Auth { mechanism, initial } => self.begin_login(&mechanism, initial).boxed().await,
            Event::AuthResponse(response) => self.step_login(Some(&response)).boxed().await,
            Event::AuthCancelled => {
                self.dialogue = None;
                self.login = None;
            }
            Event::Mail(sender) => self.begin(sender).boxed().await,
            Event::Rcpt(recipient) => self.add_recipient(recipient).boxed().await,
            Event::BodyStart => self.begin_body().boxed().await,
            Event::Body(octets) => self.take_body(&octets),
            Event::BodyEnd { .. } => self.end_body().boxed().await,
            Event::BodyAborted(fault) => {
                tracing::info!(session.id = %self.connection.id(), peer.ip = %self.connection.peer().address, ?fault,
                    "message refused while it came in");
                self.transaction = None;
            }
            Event::Reset => self.transaction = None,
            Event::Xclient(attributes) => self.assume(attributes).boxed().await,
            Event::Xforward(attributes) => {
                self.forwarded = identity::named(attributes);
                self.server.accept();
            }
            Event::Misbehaved(how) => self.note(how),
        }
    }

    fn note(&self, how: Misbehaviour) {
        let peer = self.connection.peer();
        if how == Misbehaviour::EarlyTalker {
            self.manners.forget(peer.address);
        }
        if how == Misbehaviour::BytesBehindStartTls {
            // An attack on the client, not a clumsy one: somebody sits between the two.
            tracing::warn!(session.id = %self.connection.id(), peer.ip = %peer.address, listener = %peer.listener,
                "bytes behind STARTTLS, session closed");
            return;
        }
        tracing::info!(session.id = %self.connection.id(), peer.ip = %peer.address, listener = %peer.listener, ?how,
            "session ended for misbehaviour");
    }

    /// Logs a fault of ours; the client is told to come back later.
    fn fault(&self, error: &posthorn_mail::Error) -> Refusal {
        tracing::error!(session.id = %self.connection.id(), %error, "temporary failure told to the client");
        Refusal::new(451, EnhancedCode(4, 3, 0), "local error, try again later")
    }
}
