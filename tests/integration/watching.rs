//! What the appliance is watched by: numbers, health, and the doctor.

use harness::dns::DnsServer;
use harness::postgres::empty;
use harness::program::{Ran, run};
use harness::server::{Server, ServerOptions};
use posthorn_config::Speaks;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) async fn get(server: &Server, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port(Speaks::Metrics))).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    (code, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// The value of the line that begins so; 0 when there is none.
pub(crate) fn value(text: &str, begins: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(begins));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

#[tokio::test]
async fn what_happens_is_counted() {
    let server = Server::start(ServerOptions::new()).await;
    server.mailbox_only("bob@example.org").await;
    let taken = r#"posthorn_messages_total{way="smtp",outcome="taken"}"#;
    let refused = r#"posthorn_logins_total{protocol="imap",result="refused"}"#;
    let before = get(&server, "/metrics").await;
    assert_eq!(before.0, 200);
    let client = server.smtp(Speaks::Smtp).await;
    let reply = { client }.deliver("a@example.net", &["bob@example.org"], "Subject: x\r\n\r\nx\r\n").await;
    assert!(reply.starts_with("250"), "{reply}");
    let answer = server.imap().await.login("bob@example.org", "wrong").await;
    assert!(!answer.is_ok());
    let (_, after) = get(&server, "/metrics").await;
    // Other tests of this process are counted too.
    assert!(value(&after, taken) > value(&before.1, taken), "{after}");
    assert!(value(&after, refused) > value(&before.1, refused), "{after}");
    assert!(value(&after, "posthorn_commit_parcels_count") >= 1.0, "{after}");
    assert!(value(&after, r#"posthorn_sessions{listener="metrics""#) >= 1.0, "{after}");
    assert!(after.contains("posthorn_queue_deliveries{state=\"due\"} 0"), "{after}");
    assert!(value(&after, "posthorn_certificate_not_after_seconds") > 1e9, "{after}");
    assert_eq!(get(&server, "/health/live").await, (200, "ok\n".to_owned()));
    let (code, text) = get(&server, "/health/ready").await;
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &report["ok"]), (200, &Value::Bool(true)), "{report}");
    assert_eq!(get(&server, "/nothing").await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_is_not_ready() {
    let server = Server::start(ServerOptions::new()).await;
    let appliance = server.appliance();
    let health = appliance.health();
    assert!(health.ready().await.ok);
    appliance.shutdown().stop();
    let report = health.ready().await;
    assert!(!report.ok && !report.checks[0].ok, "{report:?}");
    server.stop().await;
}

/// Runs the doctor with a resolver of the test's own: what it finds about these subjects.
async fn doctor(dns: &DnsServer, prepare: &[&[&str]]) -> (i32, Vec<Value>) {
    let database = empty().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("posthorn.toml").display().to_string();
    let text = format!(
        "[server]\ndata = '{}'\nhostname = 'mail.example.org'\n[database]\nurl = '{}'\nconnections = 2\n[dns]\n\
         servers = ['{}']\ntimeout = '2 s'\n[[listener]]\nname = 'smtp'\nspeaks = 'smtp'\nlisten = ['127.0.0.1:0']\n",
        folder.path().display(),
        database.url,
        dns.address()
    );
    std::fs::write(&path, text).expect("written");
    let prepare: Vec<Vec<String>> =
        prepare.iter().map(|line| line.iter().map(|word| (*word).to_owned()).collect()).collect();
    let ran = tokio::task::spawn_blocking(move || {
        let command = |words: &[&str]| -> Ran { run(&[&["--config", &path], words].concat(), "") };
        for line in prepare {
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            assert_eq!(command(&words).code, 0, "{words:?}");
        }
        command(&["doctor", "--json", "--probe", "example.com"])
    });
    let ran = ran.await.expect("it ran");
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    assert_eq!(ran.code == 0, report["ok"] == Value::Bool(true), "{report}");
    (ran.code, findings)
}

/// `grade: found` of a finding.
fn of(findings: &[Value], area: &str, subject: &str) -> String {
    let is = |finding: &&Value| finding["area"] == area && finding["subject"] == subject;
    let finding = findings.iter().find(is).unwrap_or_else(|| panic!("{subject} of {area}: {findings:#?}"));
    format!("{}: {}", finding["grade"].as_str().unwrap_or("?"), finding["found"].as_str().unwrap_or("?"))
}

const ADD: &[&str] = &["domain", "add", "example.org"];

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_nobody_published_is_told_what_to_publish() {
    let dns = DnsServer::start().await;
    dns.zone("example.org", "@ A 192.0.2.99\n").zone("example.com", "@ MX 0 .\n");
    let (code, findings) = doctor(&dns, &[ADD]).await;
    assert_eq!(code, 1);
    assert_eq!(of(&findings, "machine", "host name"), "fault: mail.example.org has no address in the DNS");
    assert_eq!(of(&findings, "machine", "port 25 outward"), "note: not tried: example.com takes no mail");
    assert!(of(&findings, "example.org", "MX").starts_with("warning: there is no MX record"), "{findings:?}");
    assert_eq!(of(&findings, "example.org", "SPF"), "fault: there is no SPF record");
    assert_eq!(of(&findings, "example.org", "DKIM"), "fault: no key signs its mail");
    assert_eq!(of(&findings, "example.org", "DMARC"), "warning: there is no DMARC record");
    let record = findings.iter().find(|finding| finding["subject"] == "MX").expect("one")["publish"][0].clone();
    assert_eq!(record, "example.org. 3600 IN MX 10 mail.example.org.");
    assert!(of(&findings, "database", "durability").contains("fsync"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_is_well_is_fine() {
    let dns = DnsServer::start().await;
    dns.zone(
        "example.org",
        "@ MX 10 mail\n@ TXT \"v=spf1 mx -all\"\nmail A 192.0.2.1\n\
         _dmarc TXT \"v=DMARC1; p=reject\"\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:a@example.org\"\n\
         s1._domainkey TXT \"v=DKIM1; k=ed25519; p=bm90IG91cnM=\"\n",
    );
    dns.zone("2.0.192.in-addr.arpa", "1 PTR mail.example.org.\n").zone("example.com", "@ MX 0 .\n");
    let key: &[&str] = &["dkim", "create", "example.org", "--algorithm", "ed25519", "--selector", "s1"];
    let (code, findings) = doctor(&dns, &[ADD, key]).await;
    assert_eq!(of(&findings, "machine", "host name"), "fine: mail.example.org is at 192.0.2.1");
    assert_eq!(of(&findings, "machine", "reverse DNS"), "fine: 192.0.2.1 is mail.example.org, and that leads back");
    assert_eq!(of(&findings, "example.org", "MX"), "fine: mail.example.org");
    assert_eq!(of(&findings, "example.org", "SPF"), "fine: 192.0.2.1 pass");
    assert_eq!(of(&findings, "example.org", "DMARC"), "fine: the policy is reject");
    assert_eq!(of(&findings, "example.org", "TLS-RPT"), "fine: published");
    // The key in the zone is somebody else's: the one fault that is left.
    let other = "fault: s1._domainkey.example.org holds another key than ours";
    assert_eq!((code, of(&findings, "example.org", "DKIM").as_str()), (1, other));
    // Test databases are not flushed to the disk, and the doctor sees it.
    let fault = |one: &&Value| one["grade"] == "fault" && one["area"] != "database";
    let faults: Vec<_> = findings.iter().filter(fault).collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(of(&findings, "database", "durability").starts_with("fault: fsync is off"), "{findings:?}");
}
