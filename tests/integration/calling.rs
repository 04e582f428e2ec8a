//! The SMTP client over real sockets: servers that behave, and servers that do not.

use std::time::{Duration, Instant};

use posthorn_model::Address;
use posthorn_net::egress::{DialOptions, Target, TlsClient, TlsDemand, TlsTerms, dial};
use posthorn_net::{Called, Caller, Parted, Roots};
use posthorn_smtp::{Client, ClientEvent, ClientFailure, ClientOptions, ClientTls, Envelope};
use posthorn_smtp::{Dialect, Recipient, Sender, Target as To};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A client on a connection, and the server's side of it, to be played by a test.
async fn caller(dialect: Dialect) -> (Caller<Client>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = Target::Tcp(vec![listener.local_addr().expect("bound")]);
    let link = dial(&target, &DialOptions::default()).await.expect("a link");
    let (server, _) = listener.accept().await.expect("called");
    let options = ClientOptions {
        tls: ClientTls::Never,
        reply_wait: Duration::from_secs(20),
        ..ClientOptions::new(dialect, "client.example")
    };
    let client = Client::new(options, Instant::now());
    let tls = TlsClient::new(Roots::system(None).expect("roots")).expect("a client");
    let (demand, time) = (TlsDemand::Opportunistic, Duration::from_secs(10));
    (Caller::new(client, link, tls, TlsTerms { demand, server_name: "mx.example".to_owned(), time }), server)
}

fn envelope(recipients: &[&str]) -> Envelope {
    let address = |text: &str| Address::parse(text).expect("an address");
    let recipient = |text: &&str| Recipient { target: To::Address(address(text)), notify: None, orcpt: None };
    Envelope {
        sender: Sender { path: Some(address("a@client.example")), ..Sender::default() },
        recipients: recipients.iter().map(recipient).collect(),
        chunking: false,
    }
}

/// Everything that a client says of one message, as words.
async fn send(caller: &mut Caller<Client>, envelope: &Envelope, body: &'static [u8]) -> Vec<String> {
    let mut told = Vec::new();
    let mut sent = false;
    loop {
        let event = match caller.next().await {
            Called::Closed(parted) => {
                told.push(format!("{parted:?}"));
                return told;
            }
            Called::Event(event) => event,
        };
        match event {
            ClientEvent::Ready if sent => caller.machine().quit(),
            ClientEvent::Ready => {
                sent = true;
                caller.machine().send(envelope);
            }
            ClientEvent::BodyWanted => {
                caller.machine().body(body.into());
                match caller.flush().await {
                    None => caller.machine().body_end(),
                    Some(Called::Event(event)) => told.push(format!("{event:?}")),
                    Some(Called::Closed(parted)) => told.push(format!("{parted:?}")),
                }
            }
            ClientEvent::Sender(reply) => told.push(format!("sender {}", reply.code)),
            ClientEvent::Recipient { at, reply } => told.push(format!("recipient {at} {}", reply.code)),
            ClientEvent::Done(results) => {
                told.extend(results.iter().map(|(at, reply)| format!("done {at} {} {}", reply.code, reply.text)));
            }
            ClientEvent::Failed(failure) => told.push(format!("failed {failure:?}")),
            ClientEvent::AuthChallenge(_) | ClientEvent::Authenticated(_) => told.push("auth".to_owned()),
        }
    }
}

/// Plays `script`: `S:` lines are said, `C:` lines are expected, `C*` is everything up to a dot. Tells what a body was.
fn play(server: TcpStream, script: &'static str) -> JoinHandle<(BufReader<TcpStream>, String)> {
    tokio::spawn(async move {
        let mut server = BufReader::new(server);
        let mut body = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (who, text) = line.split_at(2);
            let text = text.trim_start();
            match who {
                "S:" => server.write_all(format!("{text}\r\n").as_bytes()).await.expect("said"),
                "C*" => loop {
                    let mut line = String::new();
                    assert!(server.read_line(&mut line).await.expect("heard") > 0, "closed in the body");
                    if line == ".\r\n" {
                        break;
                    }
                    body.push_str(&line);
                },
                _ => {
                    let mut heard = String::new();
                    server.read_line(&mut heard).await.expect("heard");
                    assert_eq!(heard.trim_end(), text);
                }
            }
        }
        (server, body)
    })
}

#[tokio::test]
async fn a_message_goes_out_pipelined() {
    let (mut caller, server) = caller(Dialect::Smtp).await;
    let playing = play(
        server,
        "S: 220 mx.example ESMTP
         C: EHLO client.example
         S: 250-mx.example
         S: 250 PIPELINING
         C: MAIL FROM:<a@client.example>
         C: RCPT TO:<b@example.org>
         C: RCPT TO:<c@example.org>
         C: DATA
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 550 5.1.1 Nobody
         S: 354 Go on
         C*
         S: 250 2.0.0 Queued
         C: QUIT
         S: 221 2.0.0 Bye",
    );
    let message = b"Subject: x\r\n\r\n.dot\r\nend\r\n";
    let told = send(&mut caller, &envelope(&["b@example.org", "c@example.org"]), message).await;
    assert_eq!(told, ["sender 250", "recipient 0 250", "recipient 1 550", "done 0 250 Queued", "Finished"]);
    assert_eq!(playing.await.expect("played").1, "Subject: x\r\n\r\n..dot\r\nend\r\n");
}

#[tokio::test]
async fn a_reply_without_end_is_no_reply() {
    let (mut caller, mut server) = caller(Dialect::Smtp).await;
    let flood = tokio::spawn(async move {
        let mut sent = 0_u64;
        while sent < 1 << 20 && server.write_all(&[b'2'; 4096]).await.is_ok() {
            sent += 4096;
        }
        server
    });
    let told = send(&mut caller, &envelope(&["b@example.org"]), b"x\r\n").await;
    assert_eq!(told, [format!("failed {:?}", ClientFailure::TooLong), "Finished".to_owned()]);
    assert!(caller.received() < 256 << 10, "{} octets were taken in", caller.received());
    drop(caller);
    flood.await.expect("ended");
}

#[tokio::test]
async fn a_reply_of_a_million_lines_is_no_reply() {
    let (mut caller, mut server) = caller(Dialect::Smtp).await;
    let flood = tokio::spawn(async move { while server.write_all(b"220-hello again\r\n").await.is_ok() {} });
    let told = send(&mut caller, &envelope(&["b@example.org"]), b"x\r\n").await;
    assert_eq!(told, [format!("failed {:?}", ClientFailure::TooLong), "Finished".to_owned()]);
    drop(caller);
    flood.await.expect("ended");
}

#[tokio::test]
async fn binary_noise_is_no_reply() {
    let (mut caller, mut server) = caller(Dialect::Smtp).await;
    server.write_all(b"\x16\x03\x01\x00\xff\r\n").await.expect("said");
    let told = send(&mut caller, &envelope(&["b@example.org"]), b"x\r\n").await;
    assert_eq!(told, [format!("failed {:?}", ClientFailure::Malformed), "Finished".to_owned()]);
}

#[tokio::test]
async fn a_server_that_leaves_in_the_body_leaves_the_outcome_open() {
    let (mut caller, server) = caller(Dialect::Smtp).await;
    let playing = play(
        server,
        "S: 220 mx.example
         C: EHLO client.example
         S: 250 mx.example
         C: MAIL FROM:<a@client.example>
         S: 250 Ok
         C: RCPT TO:<b@example.org>
         S: 250 Ok
         C: DATA
         S: 354 Go on
         C*",
    );
    let leaving = tokio::spawn(async move { drop(playing.await.expect("played")) });
    let told = send(&mut caller, &envelope(&["b@example.org"]), b"x\r\n").await;
    assert_eq!(told, ["sender 250", "recipient 0 250", "Eof"], "nothing is done");
    leaving.await.expect("left");
}

#[tokio::test]
async fn what_lmtp_said_of_some_recipients_counts() {
    let (mut caller, server) = caller(Dialect::Lmtp).await;
    let playing = play(
        server,
        "S: 220 mx.example
         C: LHLO client.example
         S: 250-mx.example
         S: 250 PIPELINING
         C: MAIL FROM:<a@client.example>
         C: RCPT TO:<b@example.org>
         C: RCPT TO:<c@example.org>
         C: DATA
         S: 250 Ok
         S: 250 Ok
         S: 250 Ok
         S: 354 Go on
         C*
         S: 250 2.0.0 b has it",
    );
    let leaving = tokio::spawn(async move { drop(playing.await.expect("played")) });
    let told = send(&mut caller, &envelope(&["b@example.org", "c@example.org"]), b"x\r\n").await;
    assert_eq!(told, ["sender 250", "recipient 0 250", "recipient 1 250", "done 0 250 b has it", "Eof"]);
    leaving.await.expect("left");
}

#[tokio::test]
async fn an_idle_session_hears_its_server_close() {
    let (mut caller, server) = caller(Dialect::Smtp).await;
    let playing = play(
        server,
        "S: 220 mx.example
         C: EHLO client.example
         S: 250 mx.example",
    );
    assert!(matches!(caller.next().await, Called::Event(ClientEvent::Ready)));
    let (server, _) = playing.await.expect("played");
    let idle = tokio::time::timeout(Duration::from_millis(20), caller.next()).await;
    assert!(idle.is_err(), "all is quiet");
    let mut server = server.into_inner();
    server.write_all(b"421 4.3.2 Shutting down\r\n").await.expect("said");
    drop(server);
    let Called::Event(ClientEvent::Failed(ClientFailure::Refused(reply))) = caller.next().await else {
        panic!("not told");
    };
    assert_eq!((reply.code, &*reply.text), (421, "Shutting down"));
    assert!(matches!(caller.next().await, Called::Closed(Parted::Finished)));
}
