use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{RData, Record};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::dns::{DnsOptions, Dnssec};
use crate::egress::rig::{Authority, Identity};

const POLICY: &str = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n";

/// Policies in memory.
#[derive(Default)]
struct Shelf(Mutex<HashMap<String, KeptPolicy>>);

impl StsKeeper for Shelf {
    async fn find(&self, domain: &str) -> Option<KeptPolicy> {
        self.0.lock().get(domain).cloned()
    }

    async fn keep(&self, domain: &str, policy: &KeptPolicy) {
        self.0.lock().insert(domain.to_owned(), policy.clone());
    }
}

/// A domain `example.com`: its TXT record, its policy server, a finder and a shelf.
struct World {
    record: Arc<Mutex<Option<String>>>,
    answer: Arc<Mutex<Vec<u8>>>,
    fetches: Arc<AtomicUsize>,
    sts: Sts,
    shelf: Shelf,
    now: DateTime<Utc>,
}

impl World {
    async fn new() -> Self {
        let authority = Authority::new();
        let identity = authority.certify("mta-sts.example.com", false);
        Self::with(&authority, &identity).await
    }

    async fn with(authority: &Authority, identity: &Identity) -> Self {
        let record = Arc::new(Mutex::new(Some("v=STSv1; id=1".to_owned())));
        let answer = Arc::new(Mutex::new(response("200 OK", "text/plain", POLICY)));
        let fetches = Arc::new(AtomicUsize::new(0));
        let servers = vec![name_server(Arc::clone(&record)).await];
        let dns = DnsOptions { servers, dnssec: Dnssec::Never, cache: 0, ..DnsOptions::default() };
        let dns = Dns::new(&dns).expect("resolver");
        let addresses = vec![web_server(identity, Arc::clone(&answer), Arc::clone(&fetches)).await];
        let time = Duration::from_secs(5);
        let sts = Sts::new(dns, StsOptions { addresses, time, ..StsOptions::new(authority.roots()) }).expect("finder");
        Self { record, answer, fetches, sts, shelf: Shelf::default(), now: Utc::now() }
    }

    async fn ask(&self) -> StsAnswer {
        self.sts.policy("Example.com", self.now, &self.shelf).await
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn response(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Answers TXT questions for `_mta-sts.example.com`.
async fn name_server(record: Arc<Mutex<Option<String>>>) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("free port");
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut octets = [0; 2048];
        loop {
            let (count, from) = socket.recv_from(&mut octets).await.expect("asked");
            let request = Message::from_vec(&octets[..count]).expect("question");
            let mut message = Message::response(request.metadata.id, request.metadata.op_code);
            let query = request.queries[0].clone();
            let text = record.lock().clone().filter(|_| query.name().to_ascii() == "_mta-sts.example.com.");
            match text {
                Some(text) => {
                    let data = RData::TXT(TXT::new(vec![text]));
                    message.add_answer(Record::from_rdata(query.name().clone(), 1, data));
                }
                None => message.metadata.response_code = ResponseCode::NXDomain,
            }
            message.add_query(query);
            socket.send_to(&message.to_vec().expect("octets"), from).await.expect("sent");
        }
    });
    address
}

async fn web_server(identity: &Identity, answer: Arc<Mutex<Vec<u8>>>, fetches: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("free port");
    let address = listener.local_addr().expect("bound");
    let acceptor = identity.acceptor(rustls::ALL_VERSIONS);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("called");
            fetches.fetch_add(1, Ordering::SeqCst);
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut octets = [0; 4096];
            let count = stream.read(&mut octets).await.expect("request");
            let request = String::from_utf8_lossy(&octets[..count]).to_ascii_lowercase();
            assert!(request.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n"), "{request}");
            assert!(request.contains("host: mta-sts.example.com\r\n"), "{request}");
            let answer = answer.lock().clone();
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_kept() {
    let world = World::new().await;
    let answer = world.ask().await;
    let policy = answer.policy.expect("policy");
    assert_eq!((policy.mode, policy.allows("mx.example.com"), answer.problem), (StsMode::Enforce, true, None));
    assert!(world.ask().await.policy.is_some());
    assert_eq!(world.fetches(), 1);
    let kept = world.shelf.find("example.com").await.expect("kept");
    assert_eq!((kept.id.as_str(), kept.text.as_str()), ("1", POLICY));
    assert_eq!((kept.fetched_at, kept.expires_at), (world.now, world.now + TimeDelta::days(1)));
}

#[tokio::test]
async fn a_new_id_or_half_the_lifetime_brings_a_new_fetch() {
    let mut world = World::new().await;
    world.ask().await;
    *world.answer.lock() = response("200 OK", "text/plain; charset=utf-8", &POLICY.replace("enforce", "testing"));
    *world.record.lock() = Some("v=STSv1; id=2".to_owned());
    // The record's second must pass.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(world.ask().await.policy.expect("policy").mode, StsMode::Testing);
    assert_eq!(world.fetches(), 2);
    world.now += TimeDelta::hours(13);
    world.ask().await;
    assert_eq!(world.fetches(), 3);
}

#[tokio::test]
async fn no_record_is_no_policy_but_one_in_use_holds_on() {
    let mut world = World::new().await;
    *world.record.lock() = None;
    let answer = world.ask().await;
    assert!(answer.policy.is_none() && answer.problem.is_none() && world.fetches() == 0);
    *world.record.lock() = Some("v=STSv1; id=1".to_owned());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(world.ask().await.policy.is_some());
    *world.record.lock() = None;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(world.ask().await.policy.is_some());
    world.now += TimeDelta::days(2);
    assert!(world.ask().await.policy.is_none(), "until it ends");
}

#[tokio::test]
async fn what_is_no_policy_is_told_and_not_asked_for_again_at_once() {
    for (answer, result, told) in [
        (response("404 Not Found", "text/plain", POLICY), TlsResult::StsPolicyFetchError, "404"),
        (
            b"HTTP/1.1 301 Moved\r\nLocation: https://mta-sts.example.com/other\r\nContent-Length: 0\r\n\r\n".to_vec(),
            TlsResult::StsPolicyFetchError,
            "301",
        ),
        (response("200 OK", "text/html", POLICY), TlsResult::StsPolicyFetchError, "text/plain"),
        (response("200 OK", "text/plain", "version: STSv9\n"), TlsResult::StsPolicyInvalid, "STSv1"),
        (response("200 OK", "text/plain", &"x: y\n".repeat(20_000)), TlsResult::StsPolicyFetchError, "too long"),
        (b"hello\r\n\r\n".to_vec(), TlsResult::StsPolicyFetchError, "mta-sts.example.com: "),
        (
            response("200 OK", "text/plain", POLICY)[..90].to_vec(),
            TlsResult::StsPolicyFetchError,
            "mta-sts.example.com: ",
        ),
    ] {
        let world = World::new().await;
        *world.answer.lock() = answer;
        for _ in 0..2 {
            let found = world.ask().await;
            let problem = found.problem.expect("a problem");
            assert!(found.policy.is_none());
            assert_eq!(problem.result, result, "{problem}");
            assert!(problem.text.contains(told), "{problem}");
        }
        assert_eq!(world.fetches(), 1);
    }
}

#[tokio::test]
async fn the_server_must_prove_its_name() {
    let authority = Authority::new();
    for identity in [
        Authority::named("another").certify("mta-sts.example.com", false),
        authority.certify("example.com", false),
        authority.certify("mta-sts.example.com", true),
    ] {
        let found = World::with(&authority, &identity).await.ask().await;
        let problem = found.problem.expect("a problem");
        assert_eq!((problem.result, found.policy.is_none()), (TlsResult::StsWebpkiInvalid, true), "{problem}");
    }
}

#[tokio::test]
async fn a_failed_fetch_leaves_the_policy_in_use() {
    let world = World::new().await;
    world.ask().await;
    *world.answer.lock() = response("503 Busy", "text/plain", "");
    *world.record.lock() = Some("v=STSv1; id=2".to_owned());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let found = world.ask().await;
    assert_eq!(found.policy.expect("policy").mode, StsMode::Enforce);
    assert_eq!(found.problem.expect("problem").result, TlsResult::StsPolicyFetchError);
}
