//! Rewritten senders for mail servers beside us: Postfix canonical maps over TCP (tcp_table(5)).
//!
//! A table cannot know whether a message is being sent on, so a server that uses the forward table for all its mail rewrites
//! all foreign senders. Our own SMTP asks neither: it rewrites where it forwards.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use posthorn_mail::Mail;
use posthorn_model::Address;
use posthorn_net::{Connection, Next, Overload, Service};
use posthorn_policyd::table::{Event, Server};

use crate::overload;

/// Which way a table leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From senders to rewritten ones, for `sender_canonical_maps`.
    Forward,
    /// From rewritten senders to the original ones, for `recipient_canonical_maps`.
    Reverse,
}

/// The service behind listeners that speak srs-forward and srs-reverse.
#[derive(Clone)]
pub struct Srs {
    mail: Mail,
    direction: Direction,
}

/// How long a session without a limit of its own may be silent.
const IDLE: Duration = Duration::from_secs(330);

impl Srs {
    /// The table of one direction.
    #[must_use]
    pub fn new(mail: Mail, direction: Direction) -> Self {
        Self { mail, direction }
    }

    async fn answer(&self, server: &mut Server, key: &str) {
        // Postfix also asks for local parts and for domains alone.
        let Ok(address) = Address::parse(key) else { return server.absent() };
        let found = match self.direction {
            Direction::Forward => self.mail.rewritten_sender(&address).await,
            Direction::Reverse => Ok(self.mail.original_sender_of(&address)),
        };
        match found {
            Ok(Some(other)) => server.found(&other.to_string()),
            Ok(None) => server.absent(),
            Err(error) => {
                tracing::error!(%error, "a table cannot be read");
                server.later("temporary failure");
            }
        }
    }
}

impl Service for Srs {
    fn serve(&self, mut connection: Connection) -> BoxFuture<'static, ()> {
        let this = self.clone();
        async move {
            let idle = connection.options().idle_time.limit().unwrap_or(IDLE);
            let mut server = Server::new(idle, Instant::now());
            while let Next::Event(Event::Get(key)) = connection.next(&mut server, std::future::pending::<()>()).await {
                this.answer(&mut server, &key).await;
            }
            connection.finish().await;
        }
        .boxed()
    }

    fn refuse(&self, mut connection: Connection, why: Overload) -> BoxFuture<'static, ()> {
        async move {
            let mut server = Server::refused(overload::words(why), Instant::now());
            let _ended = connection.next(&mut server, std::future::pending::<()>()).await;
            connection.finish().await;
        }
        .boxed()
    }
}
