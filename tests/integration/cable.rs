//! A cable to PostgreSQL that a test cuts, and mends.

use std::path::PathBuf;
use std::sync::Arc;

use harness::postgres::TestDatabase;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What goes through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Whole,
    /// Whole until somebody says this; then questions arrive, but no answers.
    MuteBehind(&'static [u8]),
    /// Questions arrive, answers do not.
    Mute,
    /// Nothing arrives any more, and nobody hears of it.
    Frozen,
    /// Connections are gone, and new ones end at once.
    Cut,
}

/// A socket whose connections lead to the database.
pub(crate) struct Cable {
    /// Where the database is, seen from the near end.
    pub(crate) url: String,
    state: Arc<watch::Sender<State>>,
    _folder: TempDir,
}

impl Cable {
    pub(crate) fn to(database: &TestDatabase) -> Self {
        let (far, name) = parts(&database.url);
        let folder = tempfile::tempdir().expect("a folder");
        let near = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).expect("a socket");
        let socket = folder.path().display().to_string().replace('/', "%2F");
        let url = format!("postgres://posthorn@{socket}:5432/{name}");
        let state = Arc::new(watch::Sender::new(State::Whole));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = near.accept().await {
                tokio::spawn(lead(stream, far.clone(), Arc::clone(&shared)));
            }
        });
        Self { url, state, _folder: folder }
    }

    /// Lets the next question through that has these octets, but not its answer, nor any later one.
    pub(crate) fn mute_behind(&self, octets: &'static [u8]) {
        self.state.send_replace(State::MuteBehind(octets));
    }

    /// Whether that question was there.
    pub(crate) fn is_mute(&self) -> bool {
        *self.state.borrow() == State::Mute
    }

    pub(crate) fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }

    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub(crate) fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn lead(near: UnixStream, far: PathBuf, state: Arc<watch::Sender<State>>) {
    if *state.borrow() == State::Cut {
        return;
    }
    let Ok(far) = UnixStream::connect(far).await else { return };
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let mut watched = state.subscribe();
    tokio::select! {
        () = copy(from_near, to_far, &state, |state| matches!(state, State::Frozen | State::Cut)) => {}
        () = copy(from_far, to_near, &state, |state| !matches!(state, State::Whole | State::MuteBehind(_))) => {}
        _ = watched.wait_for(|state| *state == State::Cut) => {}
    }
}

/// Copies one way, but not while it is stopped.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &watch::Sender<State>,
    stopped: impl Fn(State) -> bool,
) {
    let mut watched = state.subscribe();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if watched.wait_for(|state| !stopped(*state)).await.is_err() {
            return;
        }
        let octets = &buffer[..count];
        let now = *watched.borrow();
        if let State::MuteBehind(sought) = now
            && octets.windows(sought.len()).any(|window| window == sought)
        {
            state.send_replace(State::Mute);
        }
        if to.write_all(octets).await.is_err() {
            return;
        }
    }
}

/// The socket and the database's name.
fn parts(url: &str) -> (PathBuf, String) {
    let rest = url.strip_prefix("postgres://posthorn@").expect("a URL of the harness");
    let (socket, name) = rest.split_once('/').expect("a name");
    let (folder, port) = socket.split_once(':').expect("a port");
    (PathBuf::from(folder.replace("%2F", "/")).join(format!(".s.PGSQL.{port}")), name.to_owned())
}
