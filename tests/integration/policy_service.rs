//! A policy server that answers as a test says, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The attributes of one request.
pub(crate) type Request = BTreeMap<String, String>;

/// What is answered: an action, or nothing and the connection is closed.
type Script = Box<dyn Fn(&Request) -> Option<String> + Send + Sync>;

/// A policy server on a free port of 127.0.0.1.
pub(crate) struct PolicyService {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Script,
    requests: Mutex<Vec<Request>>,
    connections: Mutex<usize>,
}

impl PolicyService {
    /// Answers by a script.
    pub(crate) async fn start(script: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared =
            Arc::new(Shared { script: Box::new(script), requests: Mutex::default(), connections: Mutex::default() });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *accepting.connections.lock().expect("whole") += 1;
                tokio::spawn(serve(stream, Arc::clone(&accepting)));
            }
        });
        Self { address, shared }
    }

    /// Says this at a stage, and nothing against it otherwise.
    pub(crate) async fn saying(stage: &'static str, action: &'static str) -> Self {
        let says = move |request: &Request| request["protocol_state"] == stage;
        Self::start(move |request| Some(if says(request) { action } else { "DUNNO" }.to_owned())).await
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("whole").clone()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.lock().expect("whole")
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut request = Request::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((name, value)) = line.split_once('=') {
            request.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let whole = std::mem::take(&mut request);
        let answer = (shared.script)(&whole);
        shared.requests.lock().expect("whole").push(whole);
        let Some(action) = answer else { return };
        if write.write_all(format!("action={action}\n\n").as_bytes()).await.is_err() {
            return;
        }
    }
}
