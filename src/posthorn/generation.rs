//! Everything that is made from one configuration, and how long it lives: what a later configuration replaces goes on
//! for the sessions that began with it, and ends with the last of them.

use std::sync::Arc;

use anyhow::Context;
use futures_util::future::BoxFuture;
use posthorn_config::{Config, Speaks};
use posthorn_courier::Ground;
use posthorn_filter::Filter;
use posthorn_front::Assent;
use posthorn_mail::Mail;
use posthorn_net::egress::TlsClient;
use posthorn_net::{Connection, Overload, Router, Service, Shutdown};
use posthorn_policy::{Policy, Resolver};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::assemble::router;
use crate::resolver::Asking;

/// What sessions are served with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Generation {
    pub(crate) mail: Mail,
    pub(crate) policy: Minded<Policy>,
    pub(crate) filter: Minded<Filter>,
    pub(crate) assent: Assent,
    pub(crate) tls: TlsClient,
    pub(crate) ground: Ground,
}

/// An engine whose work in the background goes on while anybody uses it.
#[derive(Clone)]
pub(crate) struct Minded<T> {
    engine: T,
    _lease: Arc<Lease>,
}

/// Ends the work when the last copy is dropped.
struct Lease(#[expect(dead_code, reason = "held for its drop")] oneshot::Sender<()>);

impl<T> Minded<T> {
    /// Begins the work: `work` is given a future that ends when nobody uses the engine any more, or at the hard stop.
    fn begin<W>(
        engine: T,
        shutdown: &Shutdown,
        work: impl FnOnce(BoxFuture<'static, ()>) -> W,
    ) -> (Self, JoinHandle<()>)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (lease, released) = oneshot::channel();
        let shutdown = shutdown.clone();
        let end = Box::pin(async move {
            tokio::select! {
                _ = released => {}
                () = shutdown.cutting() => {}
            }
        });
        let working = tokio::spawn(work(end));
        (Self { engine, _lease: Arc::new(Lease(lease)) }, working)
    }

    pub(crate) fn engine(&self) -> &T {
        &self.engine
    }
}

/// What a generation is made of that may be taken over from the one before.
pub(crate) struct Parts {
    pub(crate) mail: Mail,
    pub(crate) policy: Option<Minded<Policy>>,
    pub(crate) filter: Option<Minded<Filter>>,
    pub(crate) ground: Ground,
}

impl Generation {
    /// Makes what is missing. The tasks that begin with it end when nobody uses what they work for.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) async fn of(
        config: &Config,
        parts: Parts,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(Self, Vec<JoinHandle<()>>)> {
        let Parts { mail, policy, filter, ground } = parts;
        let mut tasks = Vec::new();
        let resolver: Arc<dyn Resolver> = Arc::new(Asking::new(ground.dns.clone()));
        let tls = TlsClient::new(ground.roots.clone())?;
        // Both are read before any of their work begins: what fails leaves nothing behind.
        let new_policy = match &policy {
            Some(_) => None,
            None => {
                let settings = posthorn_policy::Settings::of(config);
                let opened = Policy::open(mail.clone(), settings, Arc::clone(&resolver)).await;
                Some(opened.context("the policy cannot be read from the database")?)
            }
        };
        let new_filter = match &filter {
            Some(_) => None,
            None => {
                let scanners = posthorn_scan::scanners(&config.scanner, &config.server.hostname, &tls);
                let settings = posthorn_filter::Settings::of(config);
                let opened = Filter::open(mail.clone(), settings, Arc::clone(&resolver), scanners).await;
                Some(opened.context("the filter cannot be read from the database")?)
            }
        };
        let policy = policy.or_else(|| {
            let engine = new_policy?;
            let (minded, task) = Minded::begin(engine.clone(), shutdown, |end| engine.work(end));
            tasks.push(task);
            Some(minded)
        });
        let filter = filter.or_else(|| {
            let engine = new_filter?;
            let (minded, task) = Minded::begin(engine.clone(), shutdown, |end| engine.work(end));
            tasks.push(task);
            Some(minded)
        });
        let (Some(policy), Some(filter)) = (policy, filter) else { anyhow::bail!("an engine is missing") };
        let assent = if config.policy.enable {
            Assent::new(policy.engine().clone(), &config.policy.service, &tls)
        } else {
            Assent::default()
        };
        Ok((Self { mail, policy, filter, assent, tls, ground }, tasks))
    }

    /// The services of this generation; each session keeps the generation that it began with.
    /// `watching` answers those who watch the appliance.
    pub(crate) fn router(&self, config: &Config, watching: Arc<dyn Service>) -> Router {
        let services = router(config, self, watching);
        let held = Arc::new(self.clone());
        Arc::new(move |speaks: Speaks| {
            let service = services(speaks)?;
            Some(Arc::new(Lasting { service, generation: Arc::clone(&held) }) as Arc<dyn Service>)
        })
    }
}

/// A service whose sessions keep their generation.
struct Lasting {
    service: Arc<dyn Service>,
    generation: Arc<Generation>,
}

impl Service for Lasting {
    fn serve(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let (session, held) = (self.service.serve(connection), Arc::clone(&self.generation));
        Box::pin(async move {
            session.await;
            drop(held);
        })
    }

    fn refuse(&self, connection: Connection, why: Overload) -> BoxFuture<'static, ()> {
        self.service.refuse(connection, why)
    }
}
