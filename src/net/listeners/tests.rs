use posthorn_config::Span;
use tokio::net::TcpStream;

use super::*;
use crate::Ended;
use crate::rig::{Client, Rig, row};

fn two() -> Vec<Listener> {
    vec![row("smtp", Speaks::Smtp), row("imap", Speaks::Imap)]
}

#[tokio::test]
async fn one_endpoint_closes_and_opens_alone() {
    let rig = Rig::start(two());
    let mut running = rig.client("smtp").await;
    let bound = rig.listeners.bound();
    assert_eq!(bound.len(), 2);
    rig.listeners.suspend(bound[0].id).await.expect("suspended");
    let Local::Tcp(address) = bound[0].address.clone() else { panic!("not TCP") };
    assert!(TcpStream::connect(address).await.is_err(), "the socket is closed");
    assert_eq!(rig.listeners.bound(), bound[1..]);
    assert_eq!(running.ask("still here").await, "still here");
    let _other = rig.client("imap").await;
    rig.listeners.resume(bound[0].id).await.expect("resumed");
    rig.listeners.resume(bound[0].id).await.expect("nothing to do");
    assert_eq!(rig.listeners.bound(), bound, "on the port that was chosen first");
    let _new = rig.client("smtp").await;
    assert_eq!(running.ask("undisturbed").await, "undisturbed");
    assert!(matches!(rig.listeners.suspend(EndpointId(9)).await, Err(BindError::Unknown)));
}

#[tokio::test]
async fn disabled_endpoints_can_be_opened_later() {
    let mut rows = two();
    rows[0].enable = false;
    rows[1].listen[0].enable = false;
    let address = rows[0].listen[0].address.clone();
    let rig = Rig::start(rows);
    assert!(rig.listeners.bound().is_empty());
    let id = rig.listeners.endpoint("smtp", &address).expect("known");
    rig.listeners.resume(id).await.expect("opened");
    let _client = rig.client("smtp").await;
    assert_eq!(rig.listeners.bound().len(), 1);
}

#[tokio::test]
async fn a_panic_ends_one_session() {
    let rig = Rig::start(two());
    let mut well = rig.client("smtp").await;
    let mut ill = rig.client("smtp").await;
    ill.send("PANIC\r\n").await;
    assert!(ill.rest().await.is_empty());
    assert_eq!(well.ask("alive").await, "alive");
    let _new = rig.client("smtp").await;
    while rig.listeners.sessions().len() > 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_stop_lets_a_body_finish() {
    let mut rig = Rig::start(two());
    let mut idle = rig.client("imap").await;
    let mut sending = rig.client("smtp").await;
    let port = rig.port("smtp");
    assert_eq!(sending.ask("BODY").await, "354 go on");
    rig.shutdown.stop();
    idle.expect("421 closing").await;
    drop(idle);
    sending.send("half\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "nothing is accepted any more");
    assert!(!rig.serving.is_finished());
    assert_eq!(sending.ask(".").await, "250 stored");
    sending.expect("421 closing").await;
    drop(sending);
    rig.serving.await.expect("stopped");
    assert_eq!(rig.ended.recv().await, Some(Ended::Finished));
    assert_eq!(rig.ended.recv().await, Some(Ended::Finished));
    assert!(!rig.shutdown.is_cutting(), "nobody had to be cut");
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_the_grace() {
    let mut rig = Rig::with(two(), Duration::from_secs(60), |config| config.server.grace = Span::from_millis(100));
    let mut sending = rig.client("smtp").await;
    assert_eq!(sending.ask("BODY").await, "354 go on");
    rig.shutdown.stop();
    rig.serving.await.expect("stopped");
    assert!(sending.rest().await.is_empty());
    assert_eq!(rig.ended.recv().await, Some(Ended::Cut));
}

#[tokio::test(start_paused = true)]
async fn sessions_parked_in_the_application_are_cut() {
    let rig = Rig::start(two());
    let mut hanging = rig.client("smtp").await;
    hanging.send("HANG\r\n").await;
    while rig.listeners.sessions().iter().all(|session| session.busy.is_none()) {
        tokio::task::yield_now().await;
    }
    rig.shutdown.stop();
    rig.serving.await.expect("stopped");
    assert!(rig.listeners.sessions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn stuck_sessions_are_reaped() {
    let rig = Rig::start(two());
    let mut hanging = rig.client("smtp").await;
    hanging.send("HANG\r\n").await;
    while rig.listeners.sessions().iter().all(|session| session.busy.is_none()) {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(STUCK - Duration::from_secs(5)).await;
    assert_eq!(rig.listeners.sessions().len(), 1, "not yet");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(rig.listeners.sessions().is_empty());
}

#[tokio::test]
async fn slow_senders_hold_up_nobody() {
    let mut rows = two();
    rows[0].options.sessions_per_address = Some(0);
    let rig = Rig::start(rows);
    let mut slow = Vec::new();
    for _ in 0..500 {
        slow.push(rig.client("smtp").await);
    }
    for round in 0..5 {
        for client in &mut slow {
            client.send("s").await;
        }
        let mut quick = rig.client("imap").await;
        for n in 0..100 {
            let line = format!("round {round} line {n}");
            assert_eq!(quick.ask(&line).await, line);
        }
        assert_eq!(quick.ask("QUIT").await, "221 bye");
    }
    for client in &mut slow {
        assert_eq!(client.ask("").await, "sssss");
    }
}

#[tokio::test]
async fn internal_services_stay_internal() {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = Config::default();
    config.server.data = folder.path().to_owned();
    let anywhere = ListenAddress::parse("*:0").expect("an address");
    config.listener = vec![Listener::new("lmtp", Speaks::Lmtp, [anywhere])];
    assert!(matches!(Listeners::bind(&config), Err(BindError::Exposed { .. })));
    config.listener[0].exposed = true;
    assert!(matches!(Listeners::bind(&config), Err(BindError::Exposed { .. })));
    config.listener[0].peer.push(crate::rig::block("10.0.0.0/8", Default::default()));
    assert_eq!(Listeners::bind(&config).expect("bound").bound().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_bound_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = ListenAddress::Tcp(taken.local_addr().expect("address"));
    let mut config = Config::default();
    config.server.data = folder.path().to_owned();
    config.listener = vec![Listener::new("smtp", Speaks::Smtp, [address.clone()])];
    let error = Listeners::bind(&config).expect_err("taken").to_string();
    assert!(error.contains(&format!("listener smtp: cannot listen on {address}")), "{error}");
    config.listener[0].listen[0].address = ListenAddress::parse("systemd:smtp").expect("an address");
    assert!(matches!(Listeners::bind(&config), Err(BindError::NotHandedOver { .. })));
}

/// Not a test of its own: the server that [`running_out_of_descriptors_is_survived`] starts with few of them.
#[tokio::test]
#[ignore = "runs only as a server for another test"]
async fn frugal_server() {
    let rig = Rig::start(vec![row("smtp", Speaks::Smtp)]);
    let path = std::env::var("PORT_FILE").expect("a path");
    std::fs::write(&path, "").expect("written");
    std::fs::write(path, rig.port("smtp").to_string() + "\n").expect("written");
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn running_out_of_descriptors_is_survived() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("port");
    let mut server = tokio::process::Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" --exact listeners::tests::frugal_server --ignored"])
        .arg(std::env::current_exe().expect("a path"))
        .env("PORT_FILE", &file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let port: u16 = loop {
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        if let Some(port) = written.strip_suffix('\n') {
            break port.parse().expect("a port");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(Client::new(TcpStream::connect(("127.0.0.1", port)).await.expect("queued at least")));
    }
    clients[0].expect("220 hello").await;
    let starved = tokio::time::timeout(Duration::from_millis(100), clients[59].line()).await;
    assert!(starved.is_err(), "there were descriptors for all");
    assert_eq!(clients[0].ask("served").await, "served", "others do not notice");
    let mut last = clients.pop().expect("one");
    drop(clients);
    assert_eq!(last.ask("my turn").await, "220 hello");
    last.expect("my turn").await;
    server.kill().await.expect("killed");
}
