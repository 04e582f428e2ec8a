//! Mail that other servers have judged here: every class of unsound headers, lists, what could not be looked at, files for
//! helpers, held mail that goes to others, and more clients than there are places.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use harness::archives;
use harness::server::{Server, ServerOptions, row};
use harness::smtp_client::SmtpClient;
use posthorn_config::{Destiny, FilterDisclaimer, FilterPort, FilterWay, QuarantinePort, ScannerFailure, Span, Speaks};
use posthorn_filter::recipient::orders::Orders;
use posthorn_mail::dkim::KeyView;
use posthorn_mail::trace::TraceOf;
use posthorn_model::{Address, Domain};
use posthorn_trust::{Found, KeyType, Keys, Signed, Signer, SigningKey};

use crate::filter_ports::{BANNED, am_pdp, filter, filter_with, next_hop, plain, posthorn_filter_of};
use crate::filter_verdicts::Clamd;
use crate::receiver::{Receiver, Seen};

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

async fn wish(server: &Server, who: &str, fields: &[(&str, &str)]) {
    let values: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    let orders = Orders::new(server.mail(), &server.config().filter);
    orders.set(who, &values).await.expect("the store works").expect("they fit");
    server.appliance().filter().reload().await.expect("the store works");
}

/// What the trace says of the latest message to somebody.
async fn traced(server: &Server, to: &str) -> String {
    server.mail().store().chronicle().flush().await;
    let of = TraceOf::To(Address::parse(to).expect("an address"));
    let traces = server.mail().trace(&of, 1).await.expect("the store works");
    let entries = traces.iter().flat_map(|trace| &trace.entries);
    entries.map(|entry| format!("{} {}", entry.kind, entry.detail)).collect::<Vec<_>>().join("\n")
}

/// Makes keys of `example.org`, and gives what is published of them.
async fn keys(server: &Server) -> Keys {
    let domain = Domain::parse("example.org").expect("a domain");
    let made = server.mail().create_dkim_keys(&domain, &[KeyType::Ed25519], None, Utc::now()).await;
    let record = |key: &KeyView| (key.record_name(), Found::Some(vec![key.record.clone()]));
    made.expect("the store works").expect("a key").iter().map(record).collect()
}

fn passes(octets: &[u8], keys: &Keys) -> usize {
    let verified = Signed::parse(octets).expect("a header").verify(keys, Utc::now());
    verified.results().matches("dkim=pass").count()
}

#[tokio::test]
async fn every_class_of_bad_headers_has_its_number_in_the_trace() {
    let hop = next_hop().await;
    let server = filter_with(hop.port, FilterPort::default(), |config| {
        config.filter.destiny.bad_header = Destiny::Hold;
    })
    .await;
    let usual = "From: ann@sender.test\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n";
    let broken = [
        format!("{usual}MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n\r\nHello.\r\n"),
        format!("{usual}Subject: Grüße\r\n\r\nHello.\r\n"),
        format!("{usual}Subject: a\0b\r\n\r\nHello.\r\n"),
        format!("{usual}Subject: a\r\n \r\n b\r\n\r\nHello.\r\n"),
        format!("{usual}Subject: {}\r\n\r\nHello.\r\n", "x".repeat(1000)),
        format!("{usual}this is no field\r\n\r\nHello.\r\n"),
        "From: ann@sender.test\r\nSubject: no date\r\n\r\nHello.\r\n".to_owned(),
        format!("{usual}Subject: one\r\nSubject: two\r\n\r\nHello.\r\n"),
    ];
    for (class, message) in (1..).zip(&broken) {
        let mut client = server.smtp(Speaks::Filter).await;
        client.expect("XFORWARD ADDR=192.0.2.7 IDENT=4Q1", "250 ").await;
        let to = format!("n{class}@example.com");
        let reply = client.deliver("ann@sender.test", &[&to], message).await;
        assert!(reply.starts_with("250 2.0.0 held as "), "{class}: {reply}");
        let traced = traced(&server, &to).await;
        for word in [
            "judged ".to_owned(),
            format!("\"verdict\":\"bad header {class}\""),
            "\"foreign_queue_id\":\"4Q1\"".to_owned(),
            "192.0.2.7".to_owned(),
            format!("{to}: held as "),
        ] {
            assert!(traced.contains(&word), "{class}, {word}: {traced}");
        }
    }
    // A milter's client and a clean message leave a trace as well.
    let mut mta = crate::filter_ports::Mta::which_allows(&server, 0x1ff).await;
    let said = mta.message(&["clean@example.com"], &plain("clean")).await;
    assert_eq!(said.last().map(|(letter, _)| *letter), Some(b'c'), "{said:?}");
    let traced = traced(&server, "clean@example.com").await;
    assert!(traced.contains("\"verdict\":\"clean\"") && traced.contains("\"protocol\":\"milter\""), "{traced}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_managers_mail_is_signed_looked_through_for_viruses_alone_and_expanded() {
    let subscribers = Server::start(ServerOptions::new()).await;
    for who in ["bob@example.org", "eve@example.org"] {
        subscribers.mailbox_only(who).await;
    }
    subscribers.alias("talk@example.org", &["bob@example.org", "eve@example.org"]).await;
    let clamd = Clamd::new(true).await;
    let scanner = clamd.row();
    let port = FilterPort { way: FilterWay::List, ..FilterPort::default() };
    let expands = subscribers.port(Speaks::ReinjectExpand);
    let server = filter_with(expands, port, move |config| {
        config.scanner = vec![scanner];
        config.filter.destiny.virus = Destiny::Hold;
    })
    .await;
    let keys = keys(&server).await;
    let post = BANNED.replace("See.", GTUBE).replace("From: a@example.net", "From: ann@example.org\r\nX-Spam-Flag: NO");
    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("talk-bounces@example.org", &["talk@example.org"], &post).await;
    assert!(reply.starts_with("250 2.0.0 from MTA"), "{reply}");
    for who in ["bob@example.org", "eve@example.org"] {
        let [got] = &subscribers.messages(who, "INBOX").await[..] else { panic!("{who} has it once") };
        assert_eq!(passes(got, &keys), 1, "{}", String::from_utf8_lossy(got));
        assert!(!String::from_utf8_lossy(got).contains("X-Spam-Status"), "nobody scored it");
    }
    let traced = traced(&server, "talk@example.org").await;
    assert!(traced.contains("\"verdict\":\"clean\"") && !traced.contains("GTUBE"), "{traced}");
    let bad = plain("bad").replace("Hello.", "EICAR");
    let reply = client.deliver("talk-bounces@example.org", &["talk@example.org"], &bad).await;
    assert!(reply.starts_with("250 2.0.0 held as "), "{reply}");
    assert_eq!(subscribers.messages("bob@example.org", "INBOX").await.len(), 1);
    server.stop().await;
    subscribers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_delivered_all_the_same_says_what_is_wrong_with_it() {
    let hop = next_hop().await;
    let silent = Clamd::new(false).await;
    let mut scanner = silent.row();
    (scanner.time, scanner.on_failure) = (Span::from_secs(1), ScannerFailure::Pass);
    let server = filter_with(hop.port, FilterPort::default(), move |config| config.scanner = vec![scanner]).await;
    wish(&server, "bob@example.com", &[("banned", "deliver")]).await;
    let mut client = server.smtp(Speaks::Filter).await;
    let forged = format!("X-Amavis-Alert: nothing is wrong\r\n{BANNED}");
    for message in [plain("fine"), forged] {
        let reply = client.deliver("ann@example.net", &["bob@example.com"], &message).await;
        assert!(reply.starts_with("250 2.0.0 from MTA"), "{reply}");
    }
    let alerts: Vec<Vec<String>> = hop
        .messages()
        .iter()
        .map(|one| one.octets.lines().filter(|line| line.starts_with("X-Amavis-Alert:")).map(str::to_owned).collect())
        .collect();
    let unchecked = "X-Amavis-Alert: UNCHECKED, no answer from clamd";
    assert_eq!(alerts[0], [unchecked]);
    let [banned, second] = &alerts[1][..] else { panic!("{alerts:?}") };
    assert!(banned.starts_with("X-Amavis-Alert: BANNED, message contains ") && banned.contains("bill.exe"), "{banned}");
    assert_eq!(second, unchecked);
    assert!(!hop.messages()[0].octets.contains("X-Virus-Scanned"));
    server.stop().await;
}

/// The attributes of an answer: names and decoded values.
fn attributes(answer: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let mut octets = Vec::new();
        let mut rest = text.bytes();
        while let Some(octet) = rest.next() {
            match octet {
                b'%' => {
                    let pair = [rest.next(), rest.next()].map(|digit| char::from(digit.expect("two digits")));
                    octets.push(u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("digits"));
                }
                plain => octets.push(plain),
            }
        }
        String::from_utf8(octets).expect("text")
    };
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), decoded(value)));
    answer.lines().filter_map(pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helpers_hear_every_change_that_they_can_make() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = folder.path().to_owned();
    let directories = vec![open.clone()];
    let hop = next_hop().await;
    let server = filter_with(hop.port, FilterPort::default(), move |config| {
        row(config, Speaks::AmPdp).quarantine = Some(QuarantinePort { directories, ..QuarantinePort::default() });
        config.filter.subject_tag = "[SPAM] ".to_owned();
        config.filter.disclaimer = vec![FilterDisclaimer {
            domains: vec!["example.org".parse().expect("a domain")],
            text: "Example Ltd".to_owned(),
            html: String::new(),
            inside: true,
        }];
    })
    .await;
    let keys = keys(&server).await;
    for (who, spam) in [("bob", "deliver"), ("eve", "hold"), ("joe", "deliver")] {
        let extension = if who == "joe" { "junk" } else { "none" };
        wish(
            &server,
            &format!("{who}@example.com"),
            &[("spam", spam), ("spammy", spam), ("extension_spam", extension)],
        )
        .await;
    }
    let spam = format!(
        "X-Spam-Flag: NO\r\nx-spam-score: -5\r\nX-Spam-Flag: NEVER\r\n{}",
        plain("offer").replace("Hello.", GTUBE)
    );
    // Helpers write files as the system has them: lines end in LF.
    std::fs::write(open.join("email.txt"), spam.replace("\r\n", "\n")).expect("written");
    let check = |more: &str, to: &[&str]| {
        let to: String = to.iter().map(|to| format!("recipient=<{to}@example.com>\r\n")).collect();
        format!("request=AM.PDP\r\nsender=<ann@example.net>\r\n{to}tempdir={}\r\n{more}\r\n", open.display())
    };
    let answer = am_pdp(&server, &check("client_address=192.0.2.7\r\nqueue_id=7A\r\n", &["bob", "eve", "joe"])).await;
    let all = attributes(&answer);
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let of = |name: &str| -> Vec<&str> {
        all.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(names[..2], ["version_server", "log_id"], "{answer}");
    assert_eq!(of("version_server"), ["2"]);
    assert_eq!(of("delheader"), ["2 X-Spam-Flag", "1 x-spam-score", "1 X-Spam-Flag"]);
    assert_eq!(of("chgheader"), ["1 Subject [SPAM] offer"]);
    assert!(of("insheader").iter().any(|value| value.starts_with("0 X-Spam-Status Yes, score=")), "{answer}");
    let last_old = names.iter().rposition(|name| matches!(*name, "delheader" | "chgheader"));
    let first_new = names.iter().position(|name| matches!(*name, "insheader" | "addheader"));
    assert!(last_old < first_new, "what is old comes first: {names:?}");
    assert_eq!(of("delrcpt"), ["<eve@example.com>", "<joe@example.com>"]);
    assert_eq!(of("addrcpt"), ["<joe+junk@example.com>"]);
    assert_eq!((of("return_value"), of("exit_code")), (vec!["continue"], vec!["0"]));
    let trace = traced(&server, "bob@example.com").await;
    assert!(trace.contains("\"protocol\":\"am-pdp\"") && trace.contains("\"foreign_queue_id\":\"7A\""), "{trace}");
    assert!(trace.contains("GTUBE=1000") && trace.contains("held for others as "), "{trace}");

    let answer = am_pdp(&server, &check("", &["eve"])).await;
    assert!(answer.contains("return_value=discard\r\n") && answer.contains("exit_code=99\r\n"), "{answer}");
    // Who leaves the delivery to us would believe it done.
    let answer = am_pdp(&server, &check("delivery_care_of=server\r\n", &["bob"])).await;
    assert!(answer.contains("return_value=tempfail\r\n") && answer.contains("exit_code=75\r\n"), "{answer}");

    // Our own people's is signed; no helper can write below a body, so nothing of that is said.
    let own = plain("ours").replace("ann@example.net", "ann@example.org");
    std::fs::write(open.join("email.txt"), own.replace("\r\n", "\n")).expect("written");
    let ask = check("policy_bank=SMTP_AUTH,SMTP_AUTH_PLAIN\r\n", &["bob"]).replace("example.net", "example.org");
    let answer = am_pdp(&server, &ask).await;
    let all = attributes(&answer);
    let inserted: Vec<&str> =
        all.iter().filter(|(name, _)| name == "insheader").map(|(_, value)| value.as_str()).collect();
    let [signature] = &inserted[..] else { panic!("{answer}") };
    let (_, signature) = signature.split_once("DKIM-Signature ").expect("a signature");
    let whole = format!("DKIM-Signature: {}\r\n{own}", signature.replace('\n', "\r\n"));
    assert_eq!(passes(whole.as_bytes(), &keys), 1, "{whole}");
    assert!(!answer.contains("chgheader") && !answer.contains("addheader"), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_release_answers_for_two_and_their_signatures_hold() {
    let hop = next_hop().await;
    let server = filter(hop.port, FilterPort::default()).await;
    for who in ["bob", "eve", "abuse"] {
        server.mailbox_only(&format!("{who}@example.org")).await;
    }
    let key = Arc::new(SigningKey::generate(KeyType::Ed25519).expect("a key"));
    let signer = Signer::new(Domain::parse("example.net").expect("a domain"), "k1", key).expect("a selector");
    let (header, text) = BANNED.split_at(BANNED.find("\r\n\r\n").expect("a header") + 4);
    let top = posthorn_trust::sign(std::slice::from_ref(&signer), header.as_bytes(), text.as_bytes(), Utc::now());
    let signed = [&top.expect("it signs")[..], BANNED.as_bytes()].concat();
    let record = Found::Some(vec![signer.key().record().expect("a record")]);
    let keys: Keys = HashMap::from([("k1._domainkey.example.net".to_owned(), record)]);
    assert_eq!(passes(&signed, &keys), 1);
    let signed = String::from_utf8(signed).expect("text");
    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("a@example.net", &["bob@example.org", "eve@example.org"], &signed).await;
    let id = reply.trim().rsplit(' ').next().expect("a name").to_owned();
    let held = posthorn_filter_of(&server).quarantine().find(&id).await.expect("the store works").expect("it is held");
    let ask = |more: &str| format!("request=release\r\nmail_id={id}\r\nsecret_id={}\r\n{more}\r\n", held.row.secret);
    // Others than those for whom it is held may be named: they get a copy, and it stays held.
    let answer = am_pdp(&server, &ask("recipient=<abuse@example.org>\r\nrecipient=<gone@example.org>\r\n")).await;
    let [copied, nobody] = &answer.lines().filter(|line| line.starts_with("setreply=")).collect::<Vec<_>>()[..] else {
        panic!("{answer}")
    };
    assert!(copied.starts_with("setreply=250 2.0.0 ") && nobody.starts_with("setreply=550 5.1.1 "), "{answer}");
    assert!(server.messages("bob@example.org", "INBOX").await.is_empty());

    let answer = am_pdp(&server, &ask("")).await;
    assert_eq!(answer.matches("setreply=250 2.0.0 ").count(), 2, "{answer}");
    for who in ["bob", "eve", "abuse"] {
        let [got] = &server.messages(&format!("{who}@example.org"), "INBOX").await[..] else { panic!("{who}: once") };
        let text = String::from_utf8_lossy(got);
        assert!(text.contains(&format!("\r\nResent-To: <{who}@example.org>\r\n")), "{text}");
        assert_eq!(passes(got, &keys), 1, "what is on top breaks no signature: {text}");
    }
    let traced = traced(&server, "abuse@example.org").await;
    assert!(traced.contains(&format!("\"sent_on\":\"{id}\"")), "{traced}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_clients_than_places_are_told_to_come_again_at_once() {
    const PLACES: usize = 4;
    let hop = Receiver::new("PIPELINING", |line, _: &Seen| line.starts_with(". ").then(|| "wait".to_owned())).await;
    let server = Arc::new(
        filter_with(hop.port, FilterPort::default(), |config| {
            row(config, Speaks::Filter).listener_sessions = u32::try_from(PLACES).expect("few");
        })
        .await,
    );
    let port = server.port(Speaks::Filter);
    let send = async |number: usize| -> String {
        let mut client = SmtpClient::raw(port, server.tls()).await;
        let greeting = client.reply().await;
        if !greeting.starts_with("220 ") {
            return greeting;
        }
        client.hello("EHLO").await;
        client.deliver("ann@example.net", &["bob@example.com"], &plain(&format!("n{number}"))).await
    };
    // As many as there are places have their message with the next hop, which takes its time.
    let mut busy = tokio::task::JoinSet::new();
    for number in 0..PLACES {
        let (server, tls) = (Arc::clone(&server), server.tls().clone());
        busy.spawn(async move {
            let mut client = SmtpClient::raw(server.port(Speaks::Filter), &tls).await;
            assert!(client.reply().await.starts_with("220 "));
            client.hello("EHLO").await;
            client.deliver("ann@example.net", &["bob@example.com"], &plain(&format!("n{number}"))).await
        });
    }
    let began = Instant::now();
    while hop.seen.open.load(std::sync::atomic::Ordering::Relaxed) < PLACES {
        assert!(began.elapsed() < Duration::from_secs(20), "all of them are handed on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for number in 0..20 {
        let began = Instant::now();
        let reply = send(100 + number).await;
        assert!(reply.starts_with("421 4."), "{reply}");
        assert!(began.elapsed() < Duration::from_secs(5), "it is told at once: {:?}", began.elapsed());
    }
    hop.seen.gate.send_replace(true);
    while let Some(reply) = busy.join_next().await {
        let reply = reply.expect("it ends");
        assert!(reply.starts_with("250 "), "{reply}");
    }
    // There is room again.
    let began = Instant::now();
    while !send(200).await.starts_with("250 ") {
        assert!(began.elapsed() < Duration::from_secs(20), "places are given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hop.messages().len(), PLACES + 1);
    assert!(hop.seen.most.load(std::sync::atomic::Ordering::Relaxed) <= PLACES, "no more are handed on at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_archive_is_held_for_one_and_delivered_to_who_allows_it() {
    let hop = next_hop().await;
    let server = filter(hop.port, FilterPort::default()).await;
    wish(&server, "dev@example.com", &[("banned_sets", "everything")]).await;
    let program = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0\0\0\0\0\0\0@\0\0\0";
    let zip = archives::zip(&[archives::Member::stored("holiday.jpg", program)]);
    let header = "From: ann@example.net\r\nTo: all\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nSubject: photos\r\n";
    let message = archives::attached(header, "filename=photos.zip", &zip);
    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("ann@example.net", &["bob@example.com", "dev@example.com"], &message).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let messages = hop.messages();
    let [one] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(one.recipients, ["dev@example.com"]);
    let held = posthorn_filter_of(&server).quarantine().list(&Default::default(), 10).await.expect("the store works");
    let [held] = &held[..] else { panic!("one is held") };
    let for_whom: Vec<&str> = held.waiting(&[]).iter().map(|row| row.recipient.as_str()).collect();
    assert_eq!((held.row.category, for_whom), (8, vec!["bob@example.com"]));
    server.stop().await;
}
