//! `posthorn serve`: the appliance until somebody stops it.

use std::time::Duration;

use posthorn_config::{Config, Loaded, Origin, Sources};
use posthorn_model::Domain;
use posthorn_net::systemd;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::assemble::{Appliance, desk};
use crate::control::{self, Answer, Kind, Order};
use crate::database::{chain, is_away};
use crate::logging::{self, Voice};
use crate::{orphans, revisions, soundness};

/// The author of what SIGHUP asked for: a signal does not say who sent it.
const SIGHUP: &str = "SIGHUP";
/// The author of the configuration that a start began with.
const START: &str = "start";
/// How long reloads may wait for each other.
const ORDERS: usize = 4;
/// How often the service manager is asked for more time while the start goes on, and for how much.
const STILL_STARTING: Duration = Duration::from_secs(20);
const MORE_TIME: Duration = Duration::from_secs(60);
/// How often at most: after six hours something is wrong.
const LONGEST_START: u32 = 6 * 180;

/// Serves until SIGTERM or SIGINT; a second one cuts what is still going on. SIGHUP, and `posthorn config reload`, read
/// the configuration from `sources` again.
///
/// # Errors
/// What could not be started.
pub async fn serve(sources: Sources, loaded: &Loaded) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut hangups = signal(SignalKind::hangup())?;
    orphans::adopt()?;
    let starting = still_starting();
    let started = Appliance::start(&named(loaded)).await;
    starting.abort();
    let mut appliance = started?;
    for bound in appliance.bound() {
        tracing::info!(listener = %bound.listener, speaks = bound.speaks.name(), address = %bound.address, "listening");
    }
    record(&appliance, loaded, START).await;
    let (tell, mut orders) = mpsc::channel(ORDERS);
    let steering = {
        let (path, shutdown) = (appliance.config().server.control_socket(), appliance.shutdown().clone());
        let desk = desk(&appliance, tell);
        tokio::spawn(async move { control::hear(&path, desk, shutdown).await })
    };
    ready(&appliance);
    let watchdog = tokio::spawn(systemd::watchdog(appliance.shutdown().clone()));
    loop {
        let order = tokio::select! {
            () = signals.next() => break,
            _ = hangups.recv() => None,
            Some(order) = orders.recv() => Some(order),
        };
        let (author, reply) = match order {
            Some(Order { author, reply }) => (author, Some(reply)),
            None => (SIGHUP.to_owned(), None),
        };
        let answer = tokio::select! {
            // A reload that waits for a database must not keep the server from stopping.
            () = signals.next() => break,
            answer = reload(&sources, &mut appliance, &author) => answer,
        };
        if let Some(reply) = reply {
            let _nobody_waits = reply.send(answer);
        }
    }
    tracing::info!("stopping");
    systemd::stopping();
    stop(appliance, signals).await;
    watchdog.abort();
    steering.abort();
    Ok(())
}

/// Asks the service manager for time while migrations or a recovery of the database go on.
fn still_starting() -> JoinHandle<()> {
    systemd::status("opening the database");
    tokio::spawn(async {
        for _ in 0..LONGEST_START {
            tokio::time::sleep(STILL_STARTING).await;
            systemd::extend(MORE_TIME);
        }
    })
}

/// Says that everything is served.
fn ready(appliance: &Appliance) {
    systemd::status(&format!("serving {} addresses", appliance.bound().len()));
    systemd::ready();
}

/// Reads the configuration again and applies it. One that cannot be used changes nothing, and is told with file, line
/// and key.
async fn reload(sources: &Sources, appliance: &mut Appliance, author: &str) -> Answer {
    systemd::reloading();
    let answer = apply(sources, appliance, author).await;
    if let Some(error) = &answer.error {
        for line in error.lines() {
            tracing::error!(by = author, "not reloaded: {line}");
        }
    }
    ready(appliance);
    answer
}

async fn apply(sources: &Sources, appliance: &mut Appliance, author: &str) -> Answer {
    let loaded = match soundness::load_sound(sources, true) {
        Ok(loaded) => loaded,
        Err(problems) => return Answer::refused(Kind::Configuration, problems.to_string()),
    };
    let reloaded = match appliance.reload(&named(&loaded)).await {
        Ok(reloaded) => reloaded,
        Err(error) => {
            let kind = if is_away(&error) { Kind::Database } else { Kind::Fault };
            return Answer::refused(kind, chain(&error));
        }
    };
    logging::change(&appliance.config().log, Voice::Server);
    let revision = record(appliance, &loaded, author).await;
    let endpoints = reloaded.endpoints;
    tracing::info!(
        by = author,
        changed = reloaded.changed.join(" "),
        opened = endpoints.opened,
        closed = endpoints.closed,
        revision,
        "configuration and certificates are read again"
    );
    if !reloaded.restart.is_empty() {
        tracing::warn!(keys = reloaded.restart.join(" "), "these settings need a restart");
    }
    Answer::done(json!({
        "changed": reloaded.changed,
        "restart": reloaded.restart,
        "opened": endpoints.opened,
        "closed": endpoints.closed,
        "kept": endpoints.kept,
        "revision": revision,
    }))
}

/// Writes down what runs now, when it is not what ran before.
async fn record(appliance: &Appliance, loaded: &Loaded, author: &str) -> Option<i64> {
    let revision = revisions::revision(loaded, appliance.config(), author);
    revisions::keep(appliance.mail().store(), &revision).await
}

/// The configuration with the machine's own name, unless another is configured.
pub(crate) fn named(loaded: &Loaded) -> Config {
    let mut config = loaded.config.clone();
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if loaded.origin("server.hostname") == Origin::Default && Domain::parse(&machine).is_ok() {
        config.server.hostname = machine;
    }
    config
}

/// Stops softly; at the next signal, at once.
pub(crate) async fn stop(appliance: Appliance, mut signals: Signals) {
    let shutdown = appliance.shutdown().clone();
    let impatient = tokio::spawn(async move {
        signals.next().await;
        shutdown.cut();
    });
    appliance.stop().await;
    impatient.abort();
}

/// Waits until the end is asked for, for a command that must not leave things behind.
pub(crate) async fn interrupted() -> anyhow::Error {
    match Signals::new() {
        Ok(mut signals) => {
            signals.next().await;
            anyhow::anyhow!("interrupted")
        }
        Err(error) => error,
    }
}

/// The signals that ask for the end.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on, so that a signal during the start is not lost.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
