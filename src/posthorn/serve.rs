//! `posthorn serve`: the appliance until somebody stops it.

use posthorn_config::{Config, Loaded, Origin};
use posthorn_model::Domain;
use posthorn_net::systemd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::assemble::Appliance;

/// Serves until SIGTERM or SIGINT; a second one cuts what is still going on.
///
/// # Errors
/// What could not be started.
pub async fn serve(loaded: &Loaded) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let appliance = Appliance::start(&named(loaded)).await?;
    for bound in appliance.bound() {
        tracing::info!(listener = %bound.listener, speaks = bound.speaks.name(), address = %bound.address, "listening");
    }
    systemd::ready();
    let watchdog = tokio::spawn(systemd::watchdog(appliance.shutdown().clone()));
    signals.next().await;
    tracing::info!("stopping");
    systemd::stopping();
    stop(appliance, signals).await;
    watchdog.abort();
    Ok(())
}

/// The configuration with the machine's own name, unless another is configured.
fn named(loaded: &Loaded) -> Config {
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
