//! Milters of others that change envelopes: to whom a message goes instead or besides, and from whom it is, whichever way it
//! came.

use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::server::{Server, ServerOptions};
use posthorn_config::{Config, FilterPort, Scanner, ScannerKind, ServiceAddress, Speaks};
use posthorn_filter::quarantine::Wanted;
use posthorn_milter::{Answer, Change, Server as Machine, ServerEvent, ServerOptions as MachineOptions};
use posthorn_wire::{Machine as _, Step};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::filter_ports::{Mta, filter_with, next_hop, plain};
use crate::receiver::{Receiver, said};

const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.org";

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn away(path: &'static str) -> Change {
    Change::DeleteRecipient(b(path))
}

fn to(path: &'static str) -> Change {
    Change::AddRecipient(b(path), None)
}

fn from(path: &'static str) -> Change {
    Change::Sender(b(path), None)
}

/// A milter that says these changes of every message, and lets it go on.
async fn milter(changes: Vec<Change>) -> Scanner {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = ServiceAddress::Tcp(listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, changes.clone()));
        }
    });
    Scanner::new("others", ScannerKind::Milter, address)
}

async fn converse(mut stream: TcpStream, changes: Vec<Change>) {
    let now = || tokio::time::Instant::now().into_std();
    let mut machine = Machine::new(MachineOptions::default(), now());
    loop {
        match machine.poll(now()) {
            Step::Output(octets) => {
                if stream.write_all(&octets).await.is_err() {
                    return;
                }
            }
            Step::Event(ServerEvent::EndOfMessage) => {
                assert!(changes.iter().all(|change| machine.change(change)), "it may change all of that");
                machine.answer(&Answer::Continue);
            }
            Step::Event(
                ServerEvent::Connect { .. } | ServerEvent::Helo(_) | ServerEvent::Mail(_) | ServerEvent::Rcpt(_),
            ) => machine.answer(&Answer::Continue),
            Step::Event(_) => {}
            Step::Closed => return,
            _ => {
                if stream.read_buf(machine.buffer()).await.unwrap_or(0) == 0 {
                    return;
                }
            }
        }
    }
}

/// A server for two people, whose mail for others goes to a port of this machine.
async fn server(changes: Vec<Change>, onward: u16) -> Server {
    let scanner = milter(changes).await;
    let options = ServerOptions::new().with(move |config| {
        config.filter.enable = true;
        config.scanner = vec![scanner];
        let route = format!("[[route]]\nto = \"smtp://127.0.0.1:{onward}\"");
        config.route = toml::from_str::<Config>(&route).expect("a route").route;
    });
    let server = Server::start(options).await;
    for address in [BOB, EVE] {
        server.mailbox_only(address).await;
    }
    server
}

async fn inbox(server: &Server, address: &str) -> Vec<String> {
    let stored = server.messages(address, "INBOX").await;
    stored.into_iter().map(|one| String::from_utf8(one).expect("text")).collect()
}

async fn held(server: &Server) -> Vec<String> {
    let list = server.appliance().filter().quarantine().list(&Wanted::default(), 10).await.expect("the store works");
    list.iter().flat_map(|one| one.waiting(&[]).iter().map(|row| row.recipient.clone()).collect::<Vec<_>>()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_goes_to_others_instead_here_and_elsewhere() {
    let elsewhere = Receiver::willing().await;
    let changes =
        vec![away("<bob@example.org>"), to("<eve@example.org>"), to("<zoe@else.test>"), from("<list@example.org>")];
    let server = server(changes, elsewhere.port).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let reply = client.deliver("ann@sender.test", &[BOB], &plain("one")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(inbox(&server, BOB).await.is_empty() && held(&server).await.is_empty());
    let [got] = &inbox(&server, EVE).await[..] else { panic!("Eve has it once") };
    assert!(got.starts_with("Return-Path: <list@example.org>\r\n") && got.contains("Subject: one\r\n"), "{got}");
    let began = Instant::now();
    while elsewhere.messages().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "it leaves");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let messages = elsewhere.messages();
    let [left] = &said(&messages, "zoe@else.test")[..] else { panic!("one copy leaves: {messages:?}") };
    assert!(left.sender.ends_with("=example.org=list@localhost") && left.recipients.len() == 1, "{left:?}");
    assert!(server.check().await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_is_sent_on_gets_a_sender_of_ours() {
    let elsewhere = Receiver::willing().await;
    let server = server(vec![to("<zoe@else.test>")], elsewhere.port).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let reply = client.deliver("ann@sender.test", &[BOB, EVE], &plain("copy")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    for who in [BOB, EVE] {
        let [got] = &inbox(&server, who).await[..] else { panic!("{who} has it once") };
        assert!(got.starts_with("Return-Path: <ann@sender.test>\r\n"), "{got}");
    }
    let began = Instant::now();
    while elsewhere.messages().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "it leaves");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sender = elsewhere.messages()[0].sender.clone();
    assert!(sender.starts_with("SRS0=") && sender.ends_with("@localhost"), "{sender}");
    assert_eq!(elsewhere.messages().len(), 1);
    assert!(server.check().await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_taken_away_for_nobody_has_it_held() {
    let nobody = Receiver::willing().await;
    let server = server(vec![away("<bob@example.org>"), to("<nobody@example.org>")], nobody.port).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let reply = client.deliver("ann@sender.test", &[BOB, EVE], &plain("less")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(held(&server).await, [BOB], "who is to get it in the place is nobody");
    assert_eq!((inbox(&server, BOB).await.len(), inbox(&server, EVE).await.len()), (0, 1));
    assert!(server.check().await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_hop_and_a_mail_server_that_asks_hear_of_it() {
    let hop = next_hop().await;
    let changes =
        vec![away("<bob@example.com>"), away("<joe@example.com>"), to("<eve@example.com>"), from("<list@example.com>")];
    let scanner = milter(changes).await;
    let server = filter_with(hop.port, FilterPort::default(), move |config| config.scanner = vec![scanner]).await;
    let all = ["bob@example.com", "joe@example.com", "zoe@example.com"];
    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("ann@example.net", &all, &plain("hop")).await;
    assert!(reply.starts_with("250 2.0.0 from MTA"), "{reply}");
    let mut sent: Vec<_> = hop.messages().into_iter().map(|one| (one.sender, one.recipients)).collect();
    sent.sort();
    let of = |recipient: &str| ("list@example.com".to_owned(), vec![recipient.to_owned()]);
    assert_eq!(sent, [of("eve@example.com"), of("zoe@example.com")]);

    let mut mta = Mta::which_allows(&server, 0x1ff).await;
    let heard = mta.message(&all, &plain("milter")).await;
    let letters = |all: &[(u8, String)]| -> Vec<String> {
        let own = all.iter().filter(|(letter, _)| b"-+2ectry".contains(letter));
        own.map(|(letter, text)| format!("{}{text}", char::from(*letter))).collect()
    };
    let expected = ["e<list@example.com>|", "-<bob@example.com>|", "+<eve@example.com>|", "-<joe@example.com>|", "c"];
    assert_eq!(letters(&heard), expected, "{heard:?}");
    // 0x8 is for taking recipients away: without it nobody gets what is for somebody else.
    let mut mta = Mta::which_allows(&server, 0x1ff - 0x8).await;
    let heard = mta.message(&all, &plain("milter")).await;
    let [refused] = &letters(&heard)[..] else { panic!("{heard:?}") };
    assert!(refused.starts_with("y554 5.7.0 "), "{refused}");
    server.stop().await;
}
