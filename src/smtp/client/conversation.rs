//! Client and server machines talk to each other, and clients to scripted servers.

use std::time::Instant;

use bytes::Bytes;
use posthorn_model::{Address, EnhancedCode, Refusal};
use posthorn_wire::{Machine, Secured, Step};

use super::{Client, ClientEvent, ClientFailure, ClientOptions, ClientTls, Envelope};
use crate::{BodyType, By, Dialect, Event, Extension, Late, Options, Recipient, Reply, Sender, Server, Target};

/// What came of one message.
#[derive(Debug, Default, Eq, PartialEq)]
struct Outcome {
    received: Vec<u8>,
    refused_at_rcpt: Vec<usize>,
    done: Vec<(usize, u16)>,
    client_writes: usize,
    failed: Option<ClientFailure>,
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn envelope(recipients: &[&str], body: BodyType, chunking: bool) -> Envelope {
    let recipients = recipients
        .iter()
        .map(|text| Recipient { target: Target::Address(address(text)), notify: None, orcpt: None })
        .collect();
    Envelope {
        sender: Sender { path: Some(address("a@client.example")), body, ..Sender::default() },
        recipients,
        chunking,
    }
}

/// Sends one message through a server that refuses everybody whose name begins with x, and at the end in LMTP also y.
fn converse(mut client: Client, mut server: Server, envelope: &Envelope, pieces: &[&'static [u8]]) -> Outcome {
    let now = Instant::now();
    let mut outcome = Outcome::default();
    let mut accepted: Vec<String> = Vec::new();
    let mut sent = false;
    let gone = || Refusal::new(550, EnhancedCode(5, 1, 1), "No such user");
    for _ in 0..10_000 {
        let (mut client_waits, mut server_waits) = (false, false);
        match client.poll(now) {
            Step::Output(bytes) => {
                outcome.client_writes += 1;
                server.buffer().extend_from_slice(&bytes);
            }
            Step::StartTls => {
                // Both ends reach the upgrade before either goes on.
                while !matches!(server.poll(now), Step::StartTls) {}
                server.secured(Secured::default());
                client.secured(Secured::default());
            }
            Step::Event(ClientEvent::Ready) if sent => client.quit(),
            Step::Event(ClientEvent::Ready) => {
                sent = true;
                client.send(envelope);
            }
            Step::Event(ClientEvent::BodyWanted) => {
                pieces.iter().for_each(|piece| client.body(Bytes::from_static(piece)));
                client.body_end();
            }
            Step::Event(ClientEvent::Recipient { at, reply }) if !reply.is_positive() => {
                outcome.refused_at_rcpt.push(at)
            }
            Step::Event(ClientEvent::Done(results)) => {
                outcome.done = results.into_iter().map(|(at, reply)| (at, reply.code)).collect();
            }
            Step::Event(ClientEvent::Failed(failure)) => outcome.failed = Some(failure),
            Step::Event(_) => {}
            Step::Closed => return outcome,
            Step::NeedInput | Step::AwaitAnswer => client_waits = true,
        }
        match server.poll(now) {
            Step::Output(bytes) => client.buffer().extend_from_slice(&bytes),
            Step::Event(Event::Rcpt(recipient)) if recipient.target.to_string().starts_with('x') => {
                server.refuse(gone())
            }
            Step::Event(Event::Rcpt(recipient)) => {
                accepted.push(recipient.target.to_string());
                server.accept();
            }
            Step::Event(Event::Mail(_) | Event::BodyStart) => server.accept(),
            Step::Event(Event::Body(piece)) => outcome.received.extend_from_slice(&piece),
            Step::Event(Event::BodyEnd { .. }) if server.options().dialect == Dialect::Lmtp => server.replies(
                accepted.iter().map(|one| if one.starts_with('y') { Err(gone()) } else { Ok(String::new()) }).collect(),
            ),
            Step::Event(Event::BodyEnd { .. }) => server.accept(),
            Step::Event(_) => {}
            Step::NeedInput | Step::Closed => server_waits = true,
            Step::AwaitAnswer | Step::StartTls => {}
        }
        assert!(!(client_waits && server_waits && client.buffer().is_empty()), "both wait");
    }
    panic!("the conversation does not end")
}

fn client(dialect: Dialect) -> Client {
    Client::new(ClientOptions::new(dialect, "client.example"), Instant::now())
}

fn server(options: Options) -> Server {
    Server::new(options, Instant::now())
}

fn plain(dialect: Dialect) -> Options {
    Options::new(dialect, "mx.example.org")
}

#[test]
fn a_pipelined_message_takes_one_write_and_its_body() {
    let outcome = converse(
        client(Dialect::Smtp),
        server(plain(Dialect::Smtp)),
        &envelope(&["b@example.org", "x@example.org", "c@example.org"], BodyType::SevenBit, false),
        &[b"Subject: hi\r\n\r\n.dot\r", b"\n..\r\nno end"],
    );
    assert_eq!(outcome.received, b"Subject: hi\r\n\r\n.dot\r\n..\r\nno end\r\n");
    assert_eq!((outcome.refused_at_rcpt, outcome.done), (vec![1], vec![(0, 250), (2, 250)]));
    // EHLO; MAIL to DATA; the body; QUIT.
    assert_eq!(outcome.client_writes, 4);
}

#[test]
fn without_pipelining_each_command_waits() {
    let mut options = plain(Dialect::Smtp);
    options.extensions = options.extensions.without(Extension::Pipelining);
    let outcome = converse(
        client(Dialect::Smtp),
        server(options),
        &envelope(&["b@example.org"], BodyType::SevenBit, true),
        &[b"x\r\n"],
    );
    assert_eq!((outcome.received.as_slice(), outcome.client_writes), (&b"x\r\n"[..], 6));
}

#[test]
fn chunks_carry_binary() {
    let outcome = converse(
        client(Dialect::Smtp),
        server(plain(Dialect::Smtp)),
        &envelope(&["b@example.org"], BodyType::Binary, false),
        &[b"a\n.\n\0", b"\r.\r\n"],
    );
    assert_eq!((outcome.received.as_slice(), outcome.done), (&b"a\n.\n\0\r.\r\n"[..], vec![(0, 250)]));
}

#[test]
fn a_refused_chunk_is_everybodys() {
    let outcome = converse(
        client(Dialect::Smtp),
        server(plain(Dialect::Smtp)),
        &envelope(&["b@example.org", "c@example.org"], BodyType::SevenBit, true),
        &[b"bare\nline feed", b"more"],
    );
    assert_eq!(outcome.done, [(0, 550), (1, 550)]);
}

#[test]
fn binary_and_unicode_are_refused_where_they_cannot_go() {
    let mut options = plain(Dialect::Smtp);
    options.extensions = options.extensions.without(Extension::Chunking).without(Extension::SmtpUtf8);
    let one = envelope(&["b@example.org"], BodyType::Binary, true);
    let outcome = converse(client(Dialect::Smtp), server(options.clone()), &one, &[b"x"]);
    assert_eq!((outcome.done, outcome.client_writes), (vec![], 2));
    let mut one = envelope(&["b@example.org"], BodyType::SevenBit, false);
    one.sender.smtputf8 = true;
    assert_eq!(converse(client(Dialect::Smtp), server(options), &one, &[b"x"]).client_writes, 2);
}

#[test]
fn what_was_asked_of_us_is_asked_of_the_next_server() {
    let mut one = envelope(&["b@example.org"], BodyType::SevenBit, false);
    one.sender.by = Some(By { seconds: 90, late: Late::Return, trace: true });
    one.sender.priority = Some(-2);
    one.sender.require_tls = true;
    let mut capabilities = super::Capabilities::default();
    assert_eq!(super::line::mail(&one.sender, &capabilities), "MAIL FROM:<a@client.example>\r\n");
    for extension in [Extension::DeliverBy, Extension::MtPriority, Extension::RequireTls] {
        capabilities.extensions = capabilities.extensions.with(extension);
    }
    let line = super::line::mail(&one.sender, &capabilities);
    assert_eq!(line, "MAIL FROM:<a@client.example> BY=90;RT MT-PRIORITY=-2 REQUIRETLS\r\n");
}

#[test]
fn a_message_that_needs_tls_goes_where_it_is_promised() {
    let mut one = envelope(&["b@example.org"], BodyType::SevenBit, false);
    one.sender.require_tls = true;
    let open = converse(client(Dialect::Smtp), server(plain(Dialect::Smtp)), &one, &[b"x\r\n"]);
    assert_eq!((open.done, open.client_writes), (vec![], 2), "EHLO and QUIT");
    let options = Options { tls_available: true, ..plain(Dialect::Smtp) };
    assert_eq!(converse(client(Dialect::Smtp), server(options), &one, &[b"x\r\n"]).done, [(0, 250)]);
}

#[test]
fn a_message_that_must_not_be_late_goes_where_that_is_promised() {
    let open =
        Options { extensions: plain(Dialect::Smtp).extensions.without(Extension::DeliverBy), ..plain(Dialect::Smtp) };
    let mut one = envelope(&["b@example.org"], BodyType::SevenBit, false);
    for (late, done) in [(Late::Return, vec![]), (Late::Notify, vec![(0, 250)])] {
        one.sender.by = Some(By { seconds: 90, late, trace: false });
        let outcome = converse(client(Dialect::Smtp), server(open.clone()), &one, &[b"x\r\n"]);
        assert_eq!(outcome.done, done, "{late:?}");
    }
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let outcome = converse(
        client(Dialect::Lmtp),
        server(plain(Dialect::Lmtp)),
        &envelope(&["b@example.org", "x@example.org", "y@example.org"], BodyType::SevenBit, false),
        &[b"hi\r\n"],
    );
    assert_eq!(outcome.done, [(0, 250), (2, 550)]);
}

#[test]
fn nobody_accepted_means_no_body() {
    for chunking in [false, true] {
        let one = envelope(&["x@example.org", "xx@example.org"], BodyType::SevenBit, chunking);
        let outcome = converse(client(Dialect::Smtp), server(plain(Dialect::Smtp)), &one, &[b"hi\r\n"]);
        assert_eq!((outcome.refused_at_rcpt, outcome.done, outcome.received), (vec![0, 1], vec![], vec![]));
    }
}

#[test]
fn tls_is_taken_when_offered_and_demanded_when_required() {
    let options = Options { tls_available: true, require_tls: true, ..plain(Dialect::Smtp) };
    let one = envelope(&["b@example.org"], BodyType::SevenBit, false);
    assert_eq!(converse(client(Dialect::Smtp), server(options), &one, &[b"x\r\n"]).done, [(0, 250)]);
    let strict = ClientOptions { tls: ClientTls::Required, ..ClientOptions::new(Dialect::Smtp, "client.example") };
    let outcome = converse(Client::new(strict, Instant::now()), server(plain(Dialect::Smtp)), &one, &[]);
    assert_eq!(outcome.failed, Some(ClientFailure::TlsNotOffered));
}

/// Feeds a client replies one by one and gathers what it wrote and told.
fn scripted(client: &mut Client, reply: &str) -> (String, Vec<ClientEvent>) {
    let (mut written, mut told) = (String::new(), Vec::new());
    client.buffer().extend_from_slice(reply.as_bytes());
    loop {
        match client.poll(Instant::now()) {
            Step::Output(bytes) => written.push_str(&String::from_utf8_lossy(&bytes)),
            Step::Event(event) => told.push(event),
            Step::StartTls => written.push_str("[tls]"),
            Step::Closed => return (written + "[closed]", told),
            Step::NeedInput | Step::AwaitAnswer => return (written, told),
        }
    }
}

#[test]
fn nothing_is_sent_behind_a_refused_sender() {
    let mut client = client(Dialect::Smtp);
    scripted(&mut client, "220 mx\r\n");
    scripted(&mut client, "250-mx\r\n250 PIPELINING\r\n");
    client.send(&envelope(&["b@example.org"], BodyType::SevenBit, false));
    // Some servers go on all the same.
    let (written, told) = scripted(&mut client, "451 4.3.2 not now\r\n250 fine\r\n354 go on\r\n");
    assert!(written.ends_with("DATA\r\n.\r\n"), "{written}");
    assert!(!told.iter().any(|event| matches!(event, ClientEvent::BodyWanted)), "{told:?}");
    let (_, told) = scripted(&mut client, "250 taken\r\n");
    assert!(matches!(&told[..], [ClientEvent::Done(results), ClientEvent::Ready] if results.is_empty()), "{told:?}");
}

#[test]
fn logins_go_challenge_by_challenge() {
    let mut client = client(Dialect::Submission);
    assert_eq!(scripted(&mut client, "220 mx\r\n").0, "EHLO client.example\r\n");
    let (_, told) = scripted(&mut client, "250-mx\r\n250 AUTH LOGIN\r\n");
    assert!(matches!(told[..], [ClientEvent::Ready]));
    assert_eq!(client.capabilities().auth, ["LOGIN"]);
    client.authenticate("LOGIN", None);
    let (written, told) = scripted(&mut client, "334 VXNlcg==\r\n");
    assert_eq!(written, "AUTH LOGIN\r\n");
    assert!(matches!(&told[..], [ClientEvent::AuthChallenge(challenge)] if challenge == b"User"));
    client.auth_response(b"me");
    let (written, told) = scripted(&mut client, "535 5.7.8 no\r\n");
    assert_eq!(written, "bWU=\r\n");
    let no = Reply::new(535, 7, 8, "no");
    assert!(matches!(&told[..], [ClientEvent::Authenticated(reply), ClientEvent::Ready] if *reply == no));
}

#[test]
fn plaintext_behind_starttls_ends_the_session() {
    let mut client = client(Dialect::Smtp);
    scripted(&mut client, "220 mx\r\n");
    assert_eq!(scripted(&mut client, "250-mx\r\n250 STARTTLS\r\n").0, "STARTTLS\r\n");
    let (written, told) = scripted(&mut client, "220 go\r\n250 injected\r\n");
    assert_eq!(written, "[closed]");
    assert!(matches!(told[..], [ClientEvent::Failed(ClientFailure::Injection)]));
}

#[test]
fn old_servers_get_helo_and_bad_ones_are_left() {
    let mut one = client(Dialect::Smtp);
    scripted(&mut one, "220 mx\r\n");
    assert_eq!(scripted(&mut one, "500 what\r\n").0, "HELO client.example\r\n");
    assert!(matches!(scripted(&mut one, "250 mx\r\n").1[..], [ClientEvent::Ready]));
    one.close();
    assert_eq!(scripted(&mut one, "221 bye\r\n").0, "QUIT\r\n[closed]");

    for (reply, failure) in [
        ("421 4.4.5 full\r\n", ClientFailure::Refused(Reply::new(421, 4, 5, "full"))),
        ("554 no\r\n", ClientFailure::Refused(Reply::plain(554, "no"))),
        ("HTTP/1.1 400 Bad Request\r\n", ClientFailure::Malformed),
    ] {
        let (written, told) = scripted(&mut client(Dialect::Smtp), reply);
        assert_eq!(written, "[closed]");
        assert!(matches!(&told[..], [ClientEvent::Failed(why)] if *why == failure), "{told:?}");
    }
    let mut silent = client(Dialect::Smtp);
    assert!(silent.deadline().is_some());
    silent.expire();
    assert!(matches!(scripted(&mut silent, "").1[..], [ClientEvent::Failed(ClientFailure::Silent)]));
}

#[test]
fn noise_ends_the_session_at_most() {
    let mut state = 0x5eed_u64;
    for _ in 0..500 {
        let mut client = client(Dialect::Smtp);
        for _ in 0..20 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let line =
                ["220 mx", "250-mx", "250 PIPELINING", "354 go", "421 no", "250 ok", "550-5.1.1 x", "334 =", "\0"]
                    [(state >> 33) as usize % 9];
            let (_, told) = scripted(&mut client, &format!("{line}\r\n"));
            for event in told {
                match event {
                    ClientEvent::Ready => client.send(&envelope(&["b@example.org"], BodyType::SevenBit, true)),
                    ClientEvent::BodyWanted => {
                        client.body(Bytes::from_static(b"x"));
                        client.body_end();
                    }
                    _ => {}
                }
            }
        }
        assert!(client.buffer().len() < 100);
    }
}
