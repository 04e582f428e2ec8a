use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Instant as StdInstant;

use bytes::Bytes;
use posthorn_wire::{Line, Secured, take_line};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::egress::rig::{Authority, Identity, terms};
use crate::egress::{Authenticated, DialOptions, Target, TlsDemand, dial};
use crate::tls_report::TlsResult;

/// Says what it is told to say and tells each line of the server as an event.
struct Talk {
    buffer: BytesMut,
    out: VecDeque<Bytes>,
    state: State,
    patience: Option<(Duration, StdInstant)>,
    told: VecDeque<String>,
    line_limit: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Closed,
    /// The owner's word is next.
    Owner,
    Reading,
    Upgrade,
}

impl Talk {
    fn new() -> Self {
        let (buffer, out, told) = (BytesMut::new(), VecDeque::new(), VecDeque::new());
        Self { buffer, out, state: State::Reading, patience: None, told, line_limit: 1024 }
    }

    fn say(&mut self, bytes: impl Into<Bytes>) {
        self.out.push_back(bytes.into());
    }
}

impl Machine for Talk {
    type Event = String;

    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn poll(&mut self, _: StdInstant) -> Step<String> {
        if let Some(out) = self.out.pop_front() {
            return Step::Output(out);
        }
        if let Some(told) = self.told.pop_front() {
            return Step::Event(told);
        }
        match self.state {
            State::Closed => return Step::Closed,
            State::Upgrade => {
                self.state = State::Reading;
                return Step::StartTls;
            }
            State::Owner | State::Reading => {}
        }
        match take_line(&mut self.buffer, self.line_limit) {
            Line::Complete(line) => Step::Event(String::from_utf8_lossy(&line).into_owned()),
            _ if self.state == State::Owner => Step::AwaitAnswer,
            _ => Step::NeedInput,
        }
    }

    fn deadline(&self) -> Option<StdInstant> {
        self.patience.filter(|_| self.state == State::Reading).map(|(time, since)| since + time)
    }

    fn expire(&mut self) {
        self.told.push_back("expired".to_owned());
        self.state = State::Closed;
    }

    fn close(&mut self) {
        self.state = State::Closed;
    }

    fn lost(&mut self) {
        self.told.push_back("lost".to_owned());
    }

    fn secured(&mut self, tls: Secured) {
        self.told.push_back(format!("secured {} {}", tls.version, tls.server_name.unwrap_or_default()));
    }
}

async fn called() -> (Caller<Talk>, TcpStream) {
    called_with(TlsDemand::Opportunistic, &Authority::new()).await
}

async fn called_with(demand: TlsDemand, authority: &Authority) -> (Caller<Talk>, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("free port");
    let target = Target::Tcp(vec![listener.local_addr().expect("bound")]);
    let link = dial(&target, &DialOptions::default()).await.expect("link");
    let (server, _) = listener.accept().await.expect("called");
    let tls = TlsClient::new(authority.roots()).expect("client");
    (Caller::new(Talk::new(), link, tls, terms(demand)), server)
}

async fn event(caller: &mut Caller<Talk>) -> String {
    match caller.next().await {
        Called::Event(event) => event,
        Called::Closed(parted) => panic!("closed: {parted:?}"),
    }
}

async fn parted(caller: &mut Caller<Talk>) -> Parted {
    match caller.next().await {
        Called::Event(event) => panic!("event: {event}"),
        Called::Closed(parted) => parted,
    }
}

#[tokio::test]
async fn a_conversation() {
    let (mut caller, server) = called().await;
    let mut server = BufReader::new(server);
    server.write_all(b"220 hello\r\n").await.expect("written");
    assert_eq!(event(&mut caller).await, "220 hello");
    caller.machine().say("EHLO me\r\n");
    caller.machine().say("MAIL\r\n");
    let (_, told) = tokio::join!(
        async {
            let mut lines = String::new();
            server.read_line(&mut lines).await.expect("read");
            server.read_line(&mut lines).await.expect("read");
            assert_eq!(lines, "EHLO me\r\nMAIL\r\n");
            server.write_all(b"250 one\r\n250 two\r\n").await.expect("written");
        },
        event(&mut caller)
    );
    assert_eq!((told.as_str(), event(&mut caller).await.as_str()), ("250 one", "250 two"));
    caller.machine().say("QUIT\r\n");
    caller.machine().close();
    assert_eq!(parted(&mut caller).await, Parted::Finished);
    assert_eq!(parted(&mut caller).await, Parted::Finished, "and stays so");
    let mut rest = String::new();
    server.read_to_string(&mut rest).await.expect("read");
    assert_eq!(rest, "QUIT\r\n");
    assert_eq!((caller.sent(), caller.received()), (21, 29));
    assert!(caller.facts().peer.is_some());
}

#[tokio::test]
async fn silence_is_the_machines_to_judge() {
    let (mut caller, _server) = called().await;
    caller.machine().patience = Some((Duration::from_millis(30), StdInstant::now()));
    assert_eq!(event(&mut caller).await, "expired");
    assert_eq!(parted(&mut caller).await, Parted::Finished);
}

#[tokio::test]
async fn drops_of_octets_do_not_put_the_deadline_off() {
    let (mut caller, mut server) = called().await;
    let dripping = tokio::spawn(async move {
        while server.write_all(b"2").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    caller.machine().patience = Some((Duration::from_millis(50), StdInstant::now()));
    assert_eq!(event(&mut caller).await, "expired");
    drop(caller);
    dripping.await.expect("ended");
}

#[tokio::test]
async fn an_end_tells_what_is_known_first() {
    let (mut caller, mut server) = called().await;
    server.write_all(b"421 closing\r\n421 par").await.expect("written");
    drop(server);
    assert_eq!(event(&mut caller).await, "421 closing");
    assert_eq!(event(&mut caller).await, "lost");
    assert_eq!(parted(&mut caller).await, Parted::Eof);
    assert_eq!(parted(&mut caller).await, Parted::Eof);
    assert!(caller.flush().await.is_some());
}

#[tokio::test]
async fn an_idle_session_notices_its_end() {
    let (mut caller, mut server) = called().await;
    caller.machine().state = State::Owner;
    let idle = tokio::time::timeout(Duration::from_millis(20), caller.next()).await;
    assert!(idle.is_err(), "nothing happens");
    server.write_all(b"421 bye\r\n").await.expect("written");
    assert_eq!(event(&mut caller).await, "421 bye");
    drop(server);
    assert_eq!(event(&mut caller).await, "lost");
    assert_eq!(parted(&mut caller).await, Parted::Eof);
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let (mut caller, mut server) = called().await;
    caller.machine().line_limit = usize::MAX;
    let flood = tokio::spawn(async move {
        let block = [b'x'; 64 * 1024];
        let mut sent = 0;
        while server.write_all(&block).await.is_ok() {
            sent += block.len();
        }
        sent
    });
    assert_eq!(event(&mut caller).await, "lost");
    assert_eq!(parted(&mut caller).await, Parted::Overrun);
    assert!(caller.machine().buffer.capacity() <= BUFFER_LIMIT * 2, "{}", caller.machine().buffer.capacity());
    assert!(caller.received() <= BUFFER_LIMIT as u64 * 2, "{}", caller.received());
    drop(caller);
    flood.await.expect("ended");
}

#[tokio::test]
async fn who_takes_nothing_is_left() {
    let (caller, _server) = called().await;
    let mut caller = caller.with_write_time(Duration::from_millis(50));
    for _ in 0..2000 {
        caller.machine().say(vec![b'x'; 64 * 1024]);
    }
    assert_eq!(event(&mut caller).await, "lost");
    assert_eq!(parted(&mut caller).await, Parted::Unread);
}

#[tokio::test]
async fn a_large_body_arrives_whole_and_is_never_held_whole() {
    let (mut caller, mut server) = called().await;
    let reading = tokio::spawn(async move {
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.expect("read");
        received
    });
    caller.machine().state = State::Owner;
    let mut expected = Vec::new();
    for n in 0..300_u32 {
        let piece = vec![n as u8; 50_000 + n as usize];
        expected.extend_from_slice(&piece);
        caller.machine().say(piece);
        assert!(caller.flush().await.is_none());
        assert_eq!(caller.outbox.len(), 0);
    }
    caller.machine().close();
    assert_eq!(parted(&mut caller).await, Parted::Finished);
    assert!(reading.await.expect("read") == expected);
    assert_eq!(caller.sent(), expected.len() as u64);
}

#[tokio::test]
async fn last_words_of_a_server_that_breaks_off_are_heard() {
    let (mut caller, mut server) = called().await;
    caller.machine().state = State::Owner;
    server.write_all(b"552 too large\r\n").await.expect("written");
    server.shutdown().await.expect("shut");
    drop(server);
    let mut heard = Vec::new();
    // How far the kernel lets us write before it tells is its own affair.
    for _ in 0..1000 {
        caller.machine().say(vec![b'x'; 64 * 1024]);
        match caller.flush().await {
            None => {}
            Some(Called::Event(event)) => heard.push(event),
            Some(Called::Closed(parted)) => {
                assert_ne!(parted, Parted::Finished);
                break;
            }
        }
    }
    assert_eq!(heard, ["552 too large", "lost"]);
}

#[tokio::test]
async fn next_may_be_dropped() {
    let (mut caller, mut server) = called().await;
    caller.machine().say(vec![b'x'; 3_000_000]);
    for _ in 0..5 {
        let _ = tokio::time::timeout(Duration::from_millis(5), caller.next()).await;
    }
    server.write_all(b"250 par").await.expect("written");
    let _ = tokio::time::timeout(Duration::from_millis(5), caller.next()).await;
    server.write_all(b"ted\r\n").await.expect("written");
    let reading = tokio::spawn(async move {
        let mut octets = vec![0; 3_000_000];
        server.read_exact(&mut octets).await.expect("read");
        octets.iter().all(|octet| *octet == b'x')
    });
    assert_eq!(event(&mut caller).await, "250 parted");
    let _ = tokio::time::timeout(Duration::from_secs(5), async {
        while caller.flush().await.is_none() && caller.sent() < 3_000_000 {}
    })
    .await;
    assert!(reading.await.expect("read"));
}

/// Greets, takes one line, answers `220 go` and whatever else, and shakes hands.
async fn upgrade(
    server: TcpStream,
    identity: &Identity,
    behind: &[u8],
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let mut server = BufReader::new(server);
    let mut line = String::new();
    server.read_line(&mut line).await.expect("read");
    assert_eq!(line, "STARTTLS\r\n");
    server.write_all(&[b"220 go\r\n", behind].concat()).await.expect("written");
    identity.acceptor(rustls::ALL_VERSIONS).accept(server.into_inner()).await.ok()
}

async fn start_tls(caller: &mut Caller<Talk>) {
    caller.machine().say("STARTTLS\r\n");
    assert_eq!(event(caller).await, "220 go");
    caller.machine().state = State::Upgrade;
}

#[tokio::test]
async fn starttls_upgrades_as_demanded() {
    let authority = Authority::new();
    let identity = authority.certify("mx.example", false);
    let demand = TlsDemand::Verified { roots: authority.roots(), names: vec!["mx.example".to_owned()] };
    let (mut caller, server) = called_with(demand, &authority).await;
    let serving = tokio::spawn(async move {
        let mut stream = upgrade(server, &identity, b"").await.expect("TLS");
        let mut octets = [0; 6];
        stream.read_exact(&mut octets).await.expect("read");
        stream.write_all(b"250 secret\r\n").await.expect("written");
        octets
    });
    start_tls(&mut caller).await;
    assert_eq!(event(&mut caller).await, "secured TLSv1.3 mx.example");
    caller.machine().say("EHLO\r\n");
    assert_eq!(event(&mut caller).await, "250 secret");
    assert_eq!(&serving.await.expect("served"), b"EHLO\r\n");
    let facts = caller.facts().tls.as_ref().expect("facts");
    assert_eq!(facts.authenticated, Authenticated::Certificate);
}

#[tokio::test]
async fn what_the_demand_refuses_ends_the_session() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let identity = stranger.certify("mx.example", false);
    let demand = TlsDemand::Verified { roots: authority.roots(), names: vec!["mx.example".to_owned()] };
    let (mut caller, server) = called_with(demand, &authority).await;
    let serving = tokio::spawn(async move { upgrade(server, &identity, b"").await.is_none() });
    start_tls(&mut caller).await;
    assert_eq!(event(&mut caller).await, "lost");
    match parted(&mut caller).await {
        Parted::Tls(failure) => assert_eq!(failure.result, TlsResult::CertificateNotTrusted),
        other => panic!("{other:?}"),
    }
    serving.await.expect("ended");
}

#[tokio::test]
async fn octets_behind_the_answer_to_starttls_end_the_session() {
    let authority = Authority::new();
    let identity = authority.certify("mx.example", false);
    let (mut caller, server) = called_with(TlsDemand::Opportunistic, &authority).await;
    let serving = tokio::spawn(async move { upgrade(server, &identity, b"250 injected\r\n").await.is_none() });
    start_tls(&mut caller).await;
    assert_eq!(event(&mut caller).await, "lost");
    assert_eq!(parted(&mut caller).await, Parted::Injected);
    serving.await.expect("ended");
}
