//! What the tests of this crate run: a small line protocol behind real sockets, and a client of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, FutureExt as _};
use posthorn_config::{Config, ListenAddress, Listener, Peer as PeerRow, PeerOptions, Speaks};
use posthorn_wire::{Line, Machine, Secured, Step, take_line};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::{Connection, Ended, Listeners, Local, Next, Overload, Service, Shutdown};

/// Answers each line; a body runs from `BODY` to a dot.
pub(crate) struct Echo {
    buffer: BytesMut,
    out: VecDeque<Bytes>,
    state: State,
    idle: Duration,
    deadline: Option<Instant>,
    secured: Option<Secured>,
    closing: bool,
}

#[derive(PartialEq)]
enum State {
    Body,
    Closed,
    Command,
    Owing,
    StartTls,
}

impl Echo {
    fn new(idle: Duration) -> Self {
        let out = VecDeque::from([Bytes::from_static(b"220 hello\r\n")]);
        let state = State::Command;
        Self { buffer: BytesMut::new(), out, state, idle, deadline: None, secured: None, closing: false }
    }

    fn say(&mut self, text: &str) {
        self.out.push_back(format!("{text}\r\n").into());
    }

    fn answer(&mut self, text: &str) {
        self.say(text);
        self.state = State::Command;
    }

    fn command(&mut self, line: &str) -> Option<String> {
        match line {
            "BODY" => {
                self.say("354 go on");
                self.state = State::Body;
            }
            "QUIT" => {
                self.say("221 bye");
                self.state = State::Closed;
            }
            "STARTTLS" => {
                self.say("220 go ahead");
                self.state = State::StartTls;
            }
            other => {
                self.state = State::Owing;
                return Some(other.to_owned());
            }
        }
        None
    }

    fn body(&mut self, line: &str) {
        if line == "." {
            self.answer("250 stored");
            if self.closing {
                self.close();
            }
        }
    }
}

impl Machine for Echo {
    type Event = String;

    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn poll(&mut self, now: Instant) -> Step<String> {
        loop {
            if let Some(out) = self.out.pop_front() {
                return Step::Output(out);
            }
            match self.state {
                State::Closed => return Step::Closed,
                State::Owing => return Step::AwaitAnswer,
                State::StartTls => {
                    self.state = State::Command;
                    return Step::StartTls;
                }
                State::Body | State::Command => {}
            }
            let Line::Complete(line) = take_line(&mut self.buffer, 1024) else {
                self.deadline.get_or_insert(now + self.idle);
                return Step::NeedInput;
            };
            self.deadline = None;
            let line = String::from_utf8_lossy(&line).into_owned();
            if self.state == State::Body {
                self.body(&line);
            } else if let Some(event) = self.command(&line) {
                return Step::Event(event);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn expire(&mut self) {
        self.say("421 too slow");
        self.state = State::Closed;
    }

    fn close(&mut self) {
        self.closing = true;
        if self.state != State::Body {
            self.say("421 closing");
            self.state = State::Closed;
        }
    }

    fn secured(&mut self, tls: Secured) {
        assert!(self.buffer.is_empty(), "plain text reached the TLS session");
        self.secured = Some(tls);
    }
}

/// The application behind the echo: it knows a few more words.
struct Application {
    idle: Duration,
    ended: mpsc::Sender<Ended>,
    bell: Arc<Notify>,
}

impl Service for Application {
    fn serve(&self, mut connection: Connection) -> BoxFuture<'static, ()> {
        let mut machine = Echo::new(self.idle);
        let (ended, bell) = (self.ended.clone(), Arc::clone(&self.bell));
        async move {
            loop {
                match connection.next(&mut machine, bell.notified()).await {
                    Next::Closed(how) => {
                        let _ = ended.try_send(how);
                        return;
                    }
                    Next::Event(line) => {
                        if let Err(how) = react(&mut connection, &mut machine, &line).await {
                            let _ = ended.try_send(how);
                            return;
                        }
                    }
                    Next::Wake(()) => machine.answer("200 the bell rang"),
                }
            }
        }
        .boxed()
    }

    fn refuse(&self, mut connection: Connection, why: Overload) -> BoxFuture<'static, ()> {
        async move {
            let _ = connection.send(format!("421 {why:?}\r\n").into()).await;
            connection.finish().await;
        }
        .boxed()
    }
}

async fn react(connection: &mut Connection, machine: &mut Echo, line: &str) -> Result<(), Ended> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "BELL" => {}
        "BIG" => {
            for _ in 0..rest.parse::<usize>().expect("a number") {
                machine.out.push_back(Bytes::from(vec![b'x'; 10_000]));
                assert_eq!(connection.flush(machine).await?, None);
            }
            machine.answer("");
        }
        "HANG" => std::future::pending().await,
        "LINGER" => {
            while !connection.has_hung_up(machine) {
                tokio::task::yield_now().await;
            }
            return Err(Ended::Eof);
        }
        "PANIC" => panic!("a session panics on purpose"),
        "PEER" => {
            let peer = connection.peer();
            machine.answer(&format!("{} {} {:?} {}", peer.address, peer.port, peer.proxied_by, peer.listener));
        }
        "PROXY" => machine.answer("500 unknown command"),
        "CONTEXT" => machine.answer(&format!("{:?}", connection.options().context)),
        "TLS" => {
            let tls = machine.secured.clone();
            assert_eq!(tls, connection.peer().tls);
            machine.answer(&format!("{tls:?}"));
        }
        "BINDING" => {
            let binding = machine.secured.as_ref().and_then(|tls| tls.channel_binding.clone());
            machine.answer(&format!("{binding:?}"));
        }
        _ => machine.answer(line),
    }
    Ok(())
}

/// A running server with its folder.
pub(crate) struct Rig {
    pub(crate) listeners: Listeners,
    pub(crate) shutdown: Shutdown,
    pub(crate) ended: mpsc::Receiver<Ended>,
    pub(crate) bell: Arc<Notify>,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) folder: TempDir,
}

impl Rig {
    /// Serves `rows`, with a minute of patience for silent clients.
    pub(crate) fn start(rows: Vec<Listener>) -> Self {
        Self::with(rows, Duration::from_secs(60), |_| {})
    }

    /// Serves `rows` with other settings.
    pub(crate) fn with(rows: Vec<Listener>, idle: Duration, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let mut config = Config { listener: rows, ..Config::default() };
        config.server.data = folder.path().to_owned();
        change(&mut config);
        let listeners = Listeners::bind(&config).expect("bound");
        let (sender, ended) = mpsc::channel(1000);
        let shutdown = Shutdown::new();
        let bell = Arc::new(Notify::new());
        let application = Arc::new(Application { idle, ended: sender, bell: Arc::clone(&bell) });
        let serving = {
            let (listeners, shutdown) = (listeners.clone(), shutdown.clone());
            let router = move |_| Some(Arc::clone(&application) as Arc<dyn Service>);
            tokio::spawn(async move { listeners.serve(router, shutdown).await })
        };
        Self { listeners, shutdown, ended, bell, serving, folder }
    }

    /// The port of the first socket of a listener.
    pub(crate) fn port(&self, listener: &str) -> u16 {
        let bound = self.listeners.bound();
        let found = bound.iter().find(|bound| &*bound.listener == listener).expect("bound");
        let Local::Tcp(address) = &found.address else { panic!("not TCP") };
        address.port()
    }

    /// A client of a plain listener, the greeting read.
    pub(crate) async fn client(&self, listener: &str) -> Client<TcpStream> {
        let mut client = self.raw(listener).await;
        client.expect("220 hello").await;
        client
    }

    /// A client that has read nothing.
    pub(crate) async fn raw(&self, listener: &str) -> Client<TcpStream> {
        Client::new(TcpStream::connect(("127.0.0.1", self.port(listener))).await.expect("connected"))
    }
}

/// A listener on a free loopback port.
pub(crate) fn row(name: &str, speaks: Speaks) -> Listener {
    Listener::new(name, speaks, [ListenAddress::parse("127.0.0.1:0").expect("an address")])
}

/// A peer block.
pub(crate) fn block(network: &str, options: PeerOptions) -> PeerRow {
    PeerRow { network: network.parse().expect("a network"), sessions: None, options }
}

/// The client's side.
pub(crate) struct Client<S> {
    pub(crate) stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("written");
        self.stream.flush().await.expect("flushed");
    }

    /// The next line without its end; empty at the end of the stream or when the connection was reset.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        let _ = tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer in time");
        line.trim_end().to_owned()
    }

    pub(crate) async fn expect(&mut self, wanted: &str) {
        assert_eq!(self.line().await, wanted);
    }

    /// Sends a line and returns the answer.
    pub(crate) async fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.line().await
    }

    /// Everything up to the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), self.stream.read_to_end(&mut rest))
            .await
            .expect("an end in time");
        rest
    }
}
