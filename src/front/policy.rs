//! The policy engine for other mail servers: Postfix policy delegation, one answer to each request.

use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use posthorn_model::policy::{Action, Inquiry, Stage};
use posthorn_net::{Connection, Next, Overload, Service};
use posthorn_policyd::{Event, Server, Times};

/// The service behind listeners that speak policy.
#[derive(Clone)]
pub struct Policy {
    engine: posthorn_policy::Policy,
}

impl Policy {
    /// The service of one engine.
    #[must_use]
    pub fn new(engine: posthorn_policy::Policy) -> Self {
        Self { engine }
    }

    /// Answers, or closes without an answer: the other server's default action is due then.
    async fn answer(&self, connection: &Connection, server: &mut Server, inquiry: &Inquiry) {
        match self.engine.answer(inquiry).await {
            Ok(decision) => {
                let action = decision.reply();
                tracing::debug!(session.id = %connection.id(), stage = %inquiry.stage, client.ip = ?inquiry.client.address,
                    instance = %inquiry.instance, %action, "asked");
                server.answer(action);
                if inquiry.stage == Stage::Rcpt
                    && inquiry.sasl.is_some()
                    && matches!(action, Action::Dunno | Action::Ok)
                {
                    // With several recipients none is named later, so this is when it can be learned.
                    self.note(inquiry).await;
                }
            }
            Err(error) => {
                tracing::error!(session.id = %connection.id(), %error, "no policy answer, connection closed");
                server.fail();
            }
        }
    }

    /// Whom people of ours write to, they want to hear from.
    async fn note(&self, inquiry: &Inquiry) {
        if let Err(error) = self.engine.wrote(inquiry).await {
            tracing::warn!(%error, "who writes to whom was not noted");
        }
    }
}

impl Service for Policy {
    fn serve(&self, mut connection: Connection) -> BoxFuture<'static, ()> {
        let this = self.clone();
        async move {
            let times = Times::default();
            let idle = connection.options().idle_time.limit().unwrap_or(times.idle);
            let mut server = Server::new(Times { idle, ..times }, Instant::now());
            loop {
                match connection.next(&mut server, std::future::pending::<()>()).await {
                    Next::Event(Event::Asked(inquiry)) => this.answer(&connection, &mut server, &inquiry).await,
                    Next::Event(Event::Garbled(fault)) => {
                        let peer = connection.peer();
                        tracing::warn!(session.id = %connection.id(), listener = %peer.listener, peer.ip = %peer.address, %fault,
                            "not the policy protocol, connection closed");
                    }
                    Next::Wake(()) => {}
                    Next::Closed(_) => return connection.finish().await,
                }
            }
        }
        .boxed()
    }

    fn refuse(&self, mut connection: Connection, _: Overload) -> BoxFuture<'static, ()> {
        async move {
            // The protocol has no words for it: no answer is one.
            let mut server = Server::refused(Instant::now());
            let _ended = connection.next(&mut server, std::future::pending::<()>()).await;
            connection.finish().await;
        }
        .boxed()
    }
}
