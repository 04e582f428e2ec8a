use std::sync::Arc;

use axum::Extension;
use axum::routing::{get, post};
use posthorn_config::{Config, ListenAddress, Listener, Speaks, TlsMode};
use posthorn_net::{Listeners, Local, Shutdown};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

struct Rig {
    listeners: Listeners,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
    bell: Arc<Notify>,
    folder: tempfile::TempDir,
}

impl Rig {
    fn start(bounds: Bounds, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let plain = Listener::new("plain", Speaks::Policy, [ListenAddress::parse("127.0.0.1:0").expect("an address")]);
        let secure = Listener { name: "secure".to_owned(), tls: Some(TlsMode::Implicit), ..plain.clone() };
        let mut config = Config { listener: vec![plain, secure], ..Config::default() };
        config.server.data = folder.path().to_owned();
        change(&mut config);
        let listeners = Listeners::bind(&config).expect("bound");
        let bell = Arc::new(Notify::new());
        let slow = Arc::clone(&bell);
        let router = Router::new()
            .route("/who", get(|Extension(peer): Extension<Peer>| async move { peer.address.to_string() }))
            .route("/post", post(|body: String| async move { body.len().to_string() }))
            .route(
                "/slow",
                get(move || {
                    let slow = Arc::clone(&slow);
                    async move {
                        slow.notified().await;
                        "at last"
                    }
                }),
            );
        let web: Arc<dyn Service> = Arc::new(Web::new(router).within(bounds));
        let shutdown = Shutdown::new();
        let serving = {
            let (listeners, shutdown) = (listeners.clone(), shutdown.clone());
            tokio::spawn(async move { listeners.serve(move |_| Some(Arc::clone(&web)), shutdown).await })
        };
        Self { listeners, shutdown, serving, bell, folder }
    }

    fn port(&self, name: &str) -> u16 {
        let bound = self.listeners.bound();
        let found = bound.iter().find(|bound| &*bound.listener == name).expect("bound");
        let Local::Tcp(address) = &found.address else { panic!("not TCP") };
        address.port()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port("plain"))).await.expect("connected")
    }

    /// Sends all of `request` and returns all that comes until the server closes.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("written");
        rest(&mut stream).await
    }
}

/// The certificate that was made, wherever it lies.
fn walk(folder: &std::path::Path) -> Option<Vec<u8>> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return walk(&path);
        }
        let text = std::fs::read(&path).ok()?;
        text.starts_with(b"-----BEGIN CERTIFICATE").then_some(text)
    })
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    let _ = read.expect("an end in time");
    String::from_utf8_lossy(&answer).into_owned()
}

const CLOSE: &str = "Host: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn routes_answer_and_know_the_client() {
    let rig = Rig::start(Bounds::default(), |_| {});
    let answer = rig.ask(&format!("GET /who HTTP/1.1\r\n{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("127.0.0.1"), "{answer}");
    assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    let answer = rig.ask(&format!("GET /nothing HTTP/1.1\r\n{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let answer = rig.ask("nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn the_same_over_tls() {
    let rig = Rig::start(Bounds::default(), |_| {});
    let pem = walk(rig.folder.path()).expect("a certificate was made");
    let trust = posthorn_net::client_config(&pem).expect("a client");
    let mut stream =
        posthorn_net::dial_tls(("127.0.0.1", rig.port("secure")), "localhost", &trust).await.expect("a handshake");
    stream.write_all(format!("GET /who HTTP/1.1\r\n{CLOSE}").as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer and TLS's last word");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn what_a_client_sends_is_bounded() {
    let rig = Rig::start(Bounds::default().header(8 * 1024).body(100), |_| {});
    let long = "x".repeat(20_000);
    let answer = rig.ask(&format!("GET /who HTTP/1.1\r\nX-Long: {long}\r\n{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let fields: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer = rig.ask(&format!("GET /who HTTP/1.1\r\n{fields}{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let body = "y".repeat(100);
    let posted =
        |length: usize, body: &str| format!("POST /post HTTP/1.1\r\nContent-Length: {length}\r\n{CLOSE}{body}");
    let answer = rig.ask(&posted(100, &body)).await;
    assert!(answer.ends_with("\r\n100"), "{answer}");
    let answer = rig.ask(&posted(101, "")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let chunked = format!("POST /post HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{CLOSE}65\r\n{body}y\r\n0\r\n\r\n");
    let answer = rig.ask(&chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn silence_and_slowness_end() {
    let brief = Duration::from_millis(200);
    let rig = Rig::start(Bounds::default().header_time(brief).request_time(brief), |_| {});
    for half in ["", "GET /who HT", "GET /who HTTP/1.1\r\nHost: x\r\n"] {
        let answer = rig.ask(half).await;
        assert!(!answer.contains("200 OK"), "{half:?}: {answer}");
    }
    // A connection that was of use may not idle for ever either.
    let answer = rig.ask("GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let answer = rig.ask(&format!("GET /slow HTTP/1.1\r\n{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let answer = rig.ask("POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_closes_what_idles() {
    let rig = Rig::start(Bounds::default(), |_| {});
    let mut idle = rig.connect().await;
    idle.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.expect("an answer");
    let mut busy = rig.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.shutdown.stop();
    rest(&mut idle).await;
    rig.bell.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("at last"), "{answer}");
    timeout(Duration::from_secs(5), rig.serving).await.expect("stopped in time").expect("no panic");
}

#[tokio::test]
async fn who_is_one_too_many_is_told_so() {
    let rig = Rig::start(Bounds::default(), |config| config.limits.sessions = 1);
    let mut first = rig.connect().await;
    first.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let mut begun = [0; 15];
    first.read_exact(&mut begun).await.expect("an answer");
    let answer = rig.ask(&format!("GET /who HTTP/1.1\r\n{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After"), "{answer}");
}
