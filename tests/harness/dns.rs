//! A DNS server for tests: real questions over UDP and TCP on a loopback port, zones from text, DNSSEC signatures made
//! on the spot, and switches for bad days.
//!
//! It answers like a recursive server that knows all zones there are: aliases are followed from zone to zone. A root
//! zone with the delegations is always there, signed; its key is the trust anchor.

mod zone;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use posthorn_net::dns::{Dns, DnsOptions, Dnssec};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use self::zone::{Zone, Zones};

/// A running server. Gone when dropped.
pub struct DnsServer {
    address: SocketAddr,
    state: Arc<State>,
    folder: TempDir,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    zones: Mutex<Zones>,
    switches: Mutex<Switches>,
    asked: Mutex<Vec<(String, RecordType)>>,
}

#[derive(Clone, Default)]
struct Switches {
    delay: Duration,
    down: bool,
    failing: bool,
    failing_questions: HashSet<(String, RecordType)>,
    silent_questions: HashSet<(String, RecordType)>,
}

impl DnsServer {
    /// Starts it with an empty, signed root.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts it at an address; port 0 is a free one.
    ///
    /// # Panics
    /// When that is taken.
    pub async fn listen(address: SocketAddr) -> Self {
        crate::trace::begin();
        let (udp, tcp) = sockets(address).await;
        let address = udp.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let folder = tempfile::tempdir().expect("a folder");
        let anchor = state.zones.lock().expect("zones").anchor();
        std::fs::write(folder.path().join("anchor"), anchor).expect("written");
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(Arc::new(udp), Arc::clone(&state)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&state)));
        Self { address, state, folder, _tasks: tasks }
    }

    /// Adds or replaces the unsigned zone `apex`, in zone file form; names without a final dot are inside it. SOA and
    /// NS records come by themselves.
    ///
    /// # Panics
    /// When the text is no zone.
    pub fn zone(&self, apex: &str, text: &str) -> &Self {
        self.put(Zone::parse(apex, text, false))
    }

    /// The same for a zone that is signed, and delegated to with a DS record.
    ///
    /// # Panics
    /// When the text is no zone.
    pub fn signed_zone(&self, apex: &str, text: &str) -> &Self {
        self.put(Zone::parse(apex, text, true))
    }

    /// Adds one record to the zone `apex`, which is there already; `name` is absolute and may hold any octets but dots
    /// in its labels.
    ///
    /// # Panics
    /// When there is no such zone, or `name` is none.
    pub fn record(&self, apex: &str, name: &str, data: RData) -> &Self {
        self.state.zones.lock().expect("zones").add(apex, name, data);
        self
    }

    /// From now on the signatures of the zone `apex` are worth nothing.
    ///
    /// # Panics
    /// When there is no such zone.
    pub fn spoil(&self, apex: &str) {
        self.state.zones.lock().expect("zones").spoil(apex);
    }

    /// Every answer comes this late.
    ///
    /// # Panics
    /// Never in practice: a poisoned lock.
    pub fn delay(&self, time: Duration) {
        self.state.switches.lock().expect("switches").delay = time;
    }

    /// While `down`, nothing is answered at all.
    ///
    /// # Panics
    /// Never in practice: a poisoned lock.
    pub fn down(&self, down: bool) {
        self.state.switches.lock().expect("switches").down = down;
    }

    /// While `failing`, everything is answered with SERVFAIL.
    ///
    /// # Panics
    /// Never in practice: a poisoned lock.
    pub fn failing(&self, failing: bool) {
        self.state.switches.lock().expect("switches").failing = failing;
    }

    /// Questions for records of the kind `kind`, such as `AAAA`, of `name` are answered with SERVFAIL from now on.
    ///
    /// # Panics
    /// When the kind is not known.
    pub fn fail(&self, name: &str, kind: &str) {
        let question = (name.to_ascii_lowercase(), kind.parse().expect("a record type"));
        self.state.switches.lock().expect("switches").failing_questions.insert(question);
    }

    /// Questions for records of the kind `kind` of `name` are not answered at all from now on.
    ///
    /// # Panics
    /// When the kind is not known.
    pub fn silence(&self, name: &str, kind: &str) {
        let question = (name.to_ascii_lowercase(), kind.parse().expect("a record type"));
        self.state.switches.lock().expect("switches").silent_questions.insert(question);
    }

    /// How often `name` was asked for records of the kind `kind`, such as `MX`.
    ///
    /// # Panics
    /// When the kind is not known.
    #[must_use]
    pub fn asked(&self, name: &str, kind: &str) -> usize {
        let kind: RecordType = kind.parse().expect("a record type");
        self.state.asked.lock().expect("asked").iter().filter(|(n, k)| n == name && *k == kind).count()
    }

    /// Where it listens, by UDP and TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The root's key, as a trust anchor file.
    #[must_use]
    pub fn anchor(&self) -> PathBuf {
        self.folder.path().join("anchor")
    }

    /// Options for a resolver that asks this server and believes its root.
    #[must_use]
    pub fn options(&self) -> DnsOptions {
        DnsOptions {
            servers: vec![self.address],
            trust_anchor: Some(self.anchor()),
            dnssec: Dnssec::Always,
            timeout: Duration::from_secs(5),
            ..DnsOptions::default()
        }
    }

    /// A resolver with those options.
    ///
    /// # Panics
    /// When the options are not good.
    #[must_use]
    pub fn resolver(&self) -> Dns {
        Dns::new(&self.options()).expect("a resolver")
    }

    fn put(&self, zone: Zone) -> &Self {
        self.state.zones.lock().expect("zones").put(zone);
        self
    }
}

/// The same port by UDP and TCP.
async fn sockets(address: SocketAddr) -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind(address).await.expect("a free port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("bound")).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free by UDP and TCP");
}

async fn serve_udp(socket: Arc<UdpSocket>, state: Arc<State>) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let (question, state, socket) = (buffer[..length].to_vec(), Arc::clone(&state), Arc::clone(&socket));
        tokio::spawn(async move {
            if let Some(answer) = state.answer(&question, true).await {
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(serve_stream(stream, Arc::clone(&state)));
    }
}

async fn serve_stream(mut stream: TcpStream, state: Arc<State>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; length.into()];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let Some(answer) = state.answer(&question, false).await else { continue };
        let framed = [&u16::try_from(answer.len()).unwrap_or_default().to_be_bytes()[..], &answer].concat();
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}

impl State {
    async fn answer(&self, question: &[u8], udp: bool) -> Option<Vec<u8>> {
        let request = Message::from_vec(question).ok()?;
        let query = request.queries.first()?.clone();
        let name: Name = query.name().to_lowercase();
        let text = name.to_ascii().trim_end_matches('.').to_owned();
        self.asked.lock().expect("asked").push((text.clone(), query.query_type()));
        let switches = self.switches.lock().expect("switches").clone();
        let asked = (text, query.query_type());
        if switches.down || switches.silent_questions.contains(&asked) {
            return None;
        }
        tokio::time::sleep(switches.delay).await;
        let proofs = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let mut response = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
        response.metadata.recursion_desired = request.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.add_query(query.clone());
        if switches.failing || switches.failing_questions.contains(&asked) {
            response.metadata.response_code = ResponseCode::ServFail;
        } else {
            let answer = self.zones.lock().expect("zones").answer(&name, query.query_type(), proofs);
            response.metadata.response_code = answer.code;
            response.add_answers(answer.records);
            response.add_authorities(answer.authorities);
        }
        if let Some(asked) = &request.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_DATAGRAM).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
            response.edns = Some(edns);
        }
        let limit = request.edns.as_ref().map_or(512, Edns::max_payload).min(LARGEST_DATAGRAM);
        let whole = response.to_vec().ok()?;
        if !udp || whole.len() <= limit.into() {
            return Some(whole);
        }
        response.metadata.truncation = true;
        response.answers.clear();
        response.authorities.clear();
        response.to_vec().ok()
    }
}

const LARGEST_DATAGRAM: u16 = 1232;
