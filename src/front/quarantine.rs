//! AM.PDP: held mail is released, judged anew or reported, and helpers beside a mail server have files judged.
//!
//! Over TCP the secret of a message authorises; who can open our Unix socket needs none.

mod check;
mod complaint;

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use posthorn_ampdp::{Answer, Demand, Event, Held as Asked, Request, Server, Times, Verdict};
use posthorn_config::QuarantinePort;
use posthorn_filter::Filter;
use posthorn_filter::quarantine::{Again, Held, Release, Requeued};
use posthorn_mail::{Mail, Result};
use posthorn_model::Refusal;
use posthorn_net::{Connection, Local, Next, Overload, Service};

/// The service behind listeners that speak am-pdp.
#[derive(Clone)]
pub struct AmPdp(Arc<Shared>);

struct Shared {
    mail: Mail,
    engine: Filter,
    hostname: String,
    largest: u64,
}

impl AmPdp {
    /// The service of one engine; files above `largest` octets are not judged.
    #[must_use]
    pub fn new(mail: Mail, engine: Filter, hostname: String, largest: u64) -> Self {
        Self(Arc::new(Shared { mail, engine, hostname, largest }))
    }
}

impl Service for AmPdp {
    fn serve(&self, mut connection: Connection) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.0);
        async move {
            let times = Times::default();
            let idle = connection.options().idle_time.limit().unwrap_or(times.idle);
            let mut server = Server::new(Times { idle, ..times }, Instant::now());
            let port = connection.listener().quarantine.clone().unwrap_or_default();
            loop {
                match connection.next(&mut server, std::future::pending::<()>()).await {
                    Next::Event(Event::Asked(request)) => {
                        let answer = shared.answer(&connection, &port, request).boxed().await;
                        server.answer(&answer);
                    }
                    Next::Event(Event::Garbled(fault)) => {
                        let peer = connection.peer();
                        tracing::warn!(session.id = %connection.id(), listener = %peer.listener, peer.ip = %peer.address,
                            %fault, "not AM.PDP, connection closed");
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
            // The protocol has no words for it.
            let mut server = Server::refused(Instant::now());
            let _ended = connection.next(&mut server, std::future::pending::<()>()).await;
            connection.finish().await;
        }
        .boxed()
    }
}

impl Shared {
    async fn answer(&self, connection: &Connection, port: &QuarantinePort, request: Request) -> Answer {
        let (demand, asked) = match request {
            Request::Held(demand, asked) => (demand, asked),
            Request::Check(asked) => return self.check(port, &connection.id().to_string(), &asked).await,
            Request::Unknown(name) => {
                tracing::info!(session.id = %connection.id(), name, "an AM.PDP request that nobody knows");
                return Answer::later("this request is not known here");
            }
        };
        let by_secret = matches!(connection.peer().local, Local::Tcp(_));
        match self.act(port, demand, &asked, by_secret).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(session.id = %connection.id(), %error, "held mail cannot be handed out");
                Answer::later("local error, try again later")
            }
        }
    }

    async fn act(&self, port: &QuarantinePort, demand: Demand, asked: &Asked, by_secret: bool) -> Result<Answer> {
        let found = self.engine.quarantine().find(&asked.mail_id).await?;
        let knows = |held: &Held| asked.secret_id.as_ref().is_some_and(|secret| held.is_secret(secret.expose()));
        // Who knows no secret does not learn either which messages there are.
        let Some(held) = found.filter(|held| !by_secret || knows(held)) else {
            tracing::warn!(
                mail_id = asked.mail_id,
                requested_by = asked.requested_by,
                "held mail was asked for in vain"
            );
            return Ok(refused("no such message, or it has another secret"));
        };
        let by = asked.requested_by.clone().unwrap_or_else(|| "am-pdp".to_owned());
        match demand {
            Demand::Release => self.release(&held, asked, &asked.recipients, by).await,
            Demand::Requeue => self.requeue(&held, asked, &by).await,
            Demand::Report => self.report(port, &held, &by).await,
        }
    }

    async fn release(&self, held: &Held, asked: &Asked, recipients: &[String], by: String) -> Result<Answer> {
        let order = Release { recipients: recipients.to_vec(), sender: asked.sender.clone(), by };
        let quarantine = self.engine.quarantine();
        // Recipients may be others than those for whom it is held (AM.PDP: they replace those of the envelope).
        let mut released = Vec::new();
        if recipients.is_empty() || recipients.iter().any(|name| held.is_for(name)) {
            released = quarantine.release(held, &order).await?;
        }
        released.extend(quarantine.send_on(held, &order).await?);
        if released.is_empty() {
            return Ok(refused("nobody waits for this message any more"));
        }
        Ok(released.iter().fold(Answer::new(), |answer, one| match &one.outcome {
            Ok(()) => answer.reply(250, "2.0.0", &format!("Ok, {} released for {}", held.row.mail_id, one.recipient)),
            Err(refusal) => said(answer, refusal),
        }))
    }

    /// Who would get it by what is known today, gets it; for the others it stays held.
    async fn requeue(&self, held: &Held, asked: &Asked, by: &str) -> Result<Answer> {
        let again = self.engine.requeue(held, &asked.recipients, by, false).await?;
        if again.is_empty() {
            return Ok(refused("nobody waits for this message any more"));
        }
        let name = &held.row.mail_id;
        Ok(again.iter().fold(Answer::new(), |answer, Requeued { recipient, outcome }| match outcome {
            Again::Delivered => answer.reply(250, "2.0.0", &format!("Ok, {name} requeued for {recipient}")),
            Again::Refused(refusal) => said(answer, refusal),
            Again::Held(why) => answer.reply(554, "5.7.0", &format!("{name} stays held for {recipient}: {why}")),
        }))
    }

    async fn report(&self, port: &QuarantinePort, held: &Held, by: &str) -> Result<Answer> {
        let Some(to) = port.report_to.as_deref().and_then(|to| posthorn_model::Address::parse(to).ok()) else {
            return Ok(refused("nobody takes reports of abuse here"));
        };
        let Some(octets) = self.engine.quarantine().copy(held).await?.map(bytes::Bytes::from) else {
            return Ok(refused("the message is gone"));
        };
        Ok(match complaint::send(&self.mail, &self.hostname, &to, held, &octets).await? {
            Ok(()) => {
                tracing::info!(mail_id = held.row.mail_id, recipient = %to, by, "abuse reported");
                Answer::new().reply(250, "2.0.0", &format!("Ok, reported to {to}"))
            }
            Err(refusal) => said(Answer::new(), &refusal),
        })
    }
}

fn said(answer: Answer, refusal: &Refusal) -> Answer {
    answer.reply(refusal.code, &refusal.enhanced.to_string(), &refusal.text)
}

/// What no second try would change.
fn refused(why: &str) -> Answer {
    Answer::new().reply(554, "5.7.1", why).verdict(Verdict::Reject).exit_code(NO_PERMISSION)
}

/// EX_NOPERM of sysexits.
const NO_PERMISSION: u8 = 77;
