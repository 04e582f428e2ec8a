//! What a service manager wants to know of us, and the sockets it hands us. Without one, everything here is quiet.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use parking_lot::Mutex;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::Shutdown;

/// Tells the service manager that all listeners are bound and the service is ready (`READY=1`, sd_notify(3)).
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells the service manager that we stop (`STOPPING=1`).
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the service manager that the configuration is read again (`RELOADING=1`); [`ready`] tells that it is done.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager could not be told"),
    }
}

/// Asks the service manager for so much more time before it takes the start for failed (`EXTEND_TIMEOUT_USEC`).
pub fn extend(time: Duration) {
    tell(&[NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))]);
}

/// Shows one line of free text in the service manager's status.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// Pings the watchdog at half of its interval (`WATCHDOG_USEC`) until the hard signal; returns at once if none is set.
pub async fn watchdog(shutdown: Shutdown) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else { return };
    let mut ticks = interval(limit / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cutting() => return,
            _ = ticks.tick() => tell(&[NotifyState::Watchdog]),
        }
    }
}

/// A listening socket that the service manager opened.
#[derive(Debug)]
pub(crate) enum Inherited {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix stream socket.
    Unix(UnixListener),
}

/// Takes a copy of each inherited socket named `name` (`FileDescriptorName=`, or the socket unit's own name).
///
/// The originals stay open in this process, so that an endpoint can be closed and opened again.
pub(crate) fn inherited(name: &str) -> io::Result<Vec<Inherited>> {
    let mut kept = INHERITED.lock();
    let sockets = kept.get_or_insert_with(receive);
    sockets.iter().filter(|(own, _)| own == name).map(|(_, socket)| socket.copy()).collect()
}

impl Inherited {
    fn copy(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }
}

fn receive() -> Vec<(String, Inherited)> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut received = ListenFd::from_env();
    let mut names = names.split(':');
    let mut sockets = Vec::with_capacity(received.len());
    for index in 0..received.len() {
        let name = names.next().unwrap_or("unknown").to_owned();
        let tcp = received.take_tcp_listener(index).ok().flatten().map(Inherited::Tcp);
        let socket = tcp.or_else(|| received.take_unix_listener(index).ok().flatten().map(Inherited::Unix));
        match socket {
            Some(socket) => sockets.push((name, socket)),
            None => tracing::warn!(name, "inherited descriptor is neither a TCP nor a Unix stream socket"),
        }
    }
    sockets
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// The sockets arrive once per process; whoever asks first takes them out of the environment.
static INHERITED: Mutex<Option<Vec<(String, Inherited)>>> = Mutex::new(None);

#[cfg(test)]
mod tests {
    use std::net::TcpStream as StdTcpStream;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Stdio};

    use posthorn_config::{ListenAddress, Listener, Speaks};

    use super::*;
    use crate::rig::Rig;

    /// Not a test of its own: what runs in the process that [`a_service_manager_is_served`] starts as systemd would.
    #[tokio::test]
    #[ignore = "runs only with inherited sockets"]
    async fn child() {
        let address = ListenAddress::parse("systemd:mail").expect("an address");
        let mut rig = Rig::start(vec![Listener::new("smtp", Speaks::Smtp, [address])]);
        let pings = tokio::spawn(watchdog(rig.shutdown.clone()));
        ready();
        status("one session, then the end");
        extend(Duration::from_secs(7));
        reloading();
        ready();
        rig.ended.recv().await.expect("a session");
        stopping();
        rig.shutdown.stop();
        rig.serving.await.expect("stopped");
        rig.shutdown.cut();
        pings.await.expect("stopped");
    }

    #[test]
    fn a_service_manager_is_served() {
        let folder = tempfile::tempdir().expect("folder");
        let notices = UnixDatagram::bind(folder.path().join("notify")).expect("bound");
        notices.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let unrelated = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = socket.local_addr().expect("address");
        // The shell moves our sockets to where a service manager puts them, and its process id stays the same.
        let start = "export LISTEN_PID=$$; exec \"$0\" --exact systemd::tests::child --ignored 3<&2 4<&0";
        let mut child = Command::new("sh")
            .args(["-c", start])
            .arg(env::current_exe().expect("a path"))
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", "other:mail")
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .env("WATCHDOG_USEC", "20000")
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stderr(Stdio::from(OwnedFd::from(unrelated)))
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        let mut heard = String::new();
        let mut hear = |wanted: &str| {
            let mut notice = [0; 256];
            while !heard.contains(wanted) {
                let length = notices.recv(&mut notice).expect("a notice in time");
                heard += str::from_utf8(&notice[..length]).expect("text");
            }
        };
        hear("READY=1");
        hear("EXTEND_TIMEOUT_USEC=7000000");
        hear("RELOADING=1");
        hear("MONOTONIC_USEC=");
        hear("WATCHDOG=1");
        let client = StdTcpStream::connect(address).expect("connected");
        let mut greeting = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&client), &mut greeting).expect("read");
        assert_eq!(greeting, "220 hello\r\n");
        drop(client);
        hear("STOPPING=1");
        assert!(child.wait().expect("ended").success());
    }
}
