//! Disclaimers and signatures together: what is written below a message is written before it is signed, on each way that
//! our own people's mail takes out.

use std::time::{Duration, Instant};

use chrono::Utc;
use harness::server::{Server, ServerOptions};
use posthorn_config::{Config, FilterDisclaimer, FilterPort, FilterWay, Speaks};
use posthorn_mail::dkim::KeyView;
use posthorn_model::Domain;
use posthorn_trust::{Found, KeyType, Keys, Signed};

use crate::filter_ports::{Mta, filter_with, next_hop};
use crate::receiver::{Receiver, Seen};

const BELOW: &str = "Example Ltd, Gr\u{f6}\u{df}e 1";

/// Letters of several makes. All are of seven bits but the last.
const LETTERS: [&str; 4] = [
    "Subject: one\r\n\r\nHello.\r\n",
    "Subject: two\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\
     Content-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\nHello.\r\n--a\r\nContent-Type: text/html\r\n\r\n\
     <html><body><p>Hello.</p></body></html>\r\n--a--\r\n--m\r\nContent-Type: text/plain\r\n\
     Content-Disposition: attachment\r\n\r\nAttached.\r\n--m--\r\n",
    "Subject: three\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
     Content-Transfer-Encoding: quoted-printable\r\n\r\nHello caf=E9.\r\n",
    "Subject: four\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
     Content-Transfer-Encoding: 8bit\r\n\r\nHello caf\u{e9}.\r\n",
];

fn letter(at: usize) -> String {
    format!("From: Bob <bob@example.org>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n{}", LETTERS[at])
}

fn disclaims(config: &mut Config) {
    config.filter.enable = true;
    config.filter.disclaimer = vec![FilterDisclaimer {
        domains: vec!["example.org".parse().expect("a domain"), "example.net".parse().expect("a domain")],
        text: BELOW.to_owned(),
        html: String::new(),
        inside: true,
    }];
}

/// Makes keys, and gives what is published of them.
async fn keys(server: &Server) -> Keys {
    let domain = Domain::parse("example.org").expect("a domain");
    let kinds = [KeyType::Rsa, KeyType::Ed25519];
    let made = server.mail().create_dkim_keys(&domain, &kinds, None, Utc::now()).await.expect("works").expect("keys");
    let record = |key: &KeyView| (key.record_name(), Found::Some(vec![key.record.clone()]));
    made.iter().map(record).collect()
}

/// Both signatures hold over a message whose texts, all that people read first, end in the disclaimer.
#[track_caller]
fn proves(message: &str, keys: &Keys, at: usize) {
    let verified = Signed::parse(message.as_bytes()).expect("a header").verify(keys, Utc::now());
    assert_eq!(
        verified.results().matches("dkim=pass header.d=example.org").count(),
        2,
        "{}\n{message}",
        verified.results()
    );
    let structure = posthorn_mime::Structure::of(message.as_bytes());
    let is_read = |part: &posthorn_mime::Part<'_>| part.is_leaf() && part.disposition_name().is_none();
    let texts: Vec<String> = structure
        .parts()
        .filter(is_read)
        .map(|part| {
            let octets = part.decoded(message.as_bytes()).expect("it decodes");
            posthorn_mime::charset_text(part.parameter("charset"), &octets).into_owned()
        })
        .collect();
    assert_eq!(texts.len(), if at == 1 { 2 } else { 1 }, "{message}");
    for text in texts {
        let plain = text.replace("&#xF6;", "\u{f6}").replace("&#xDF;", "\u{df}");
        assert!(plain.contains("Hello") && plain.contains(BELOW), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_by_submission_is_signed_with_its_disclaimer() {
    // One takes eight bits; for the other all is made seven bits, and signed anew.
    for offers in ["PIPELINING 8BITMIME", "PIPELINING"] {
        let receiver = Receiver::new(offers, |_, _: &Seen| None).await;
        let port = receiver.port;
        let server = Server::start(ServerOptions::new().with(disclaims).with(move |config| {
            let route = format!("[[route]]\nto = \"smtp://127.0.0.1:{port}\"");
            config.route = toml::from_str::<Config>(&route).expect("a route").route;
        }))
        .await;
        server.account("bob@example.org", "right horse").await;
        let keys = keys(&server).await;
        for at in 0..LETTERS.len() {
            let mut client = server.smtp(Speaks::Submissions).await;
            assert!(client.login("bob@example.org", "right horse").await.starts_with("235 "));
            client.expect("MAIL FROM:<bob@example.org> BODY=8BITMIME", "250").await;
            client.expect("RCPT TO:<x@example.net>", "250").await;
            assert!(client.data(&letter(at)).await.starts_with("250 "));
            let began = Instant::now();
            while receiver.messages().len() <= at {
                assert!(began.elapsed() < Duration::from_secs(20), "it leaves");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            proves(&receiver.messages()[at].octets, &keys, at);
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_the_content_filter_is_signed_with_its_disclaimer() {
    let hop = next_hop().await;
    let port = FilterPort { way: FilterWay::Originating, ..FilterPort::default() };
    let server = filter_with(hop.port, port, disclaims).await;
    let keys = keys(&server).await;
    for at in 0..LETTERS.len() {
        let mut client = server.smtp(Speaks::Filter).await;
        client.expect("MAIL FROM:<bob@example.org> BODY=8BITMIME", "250").await;
        client.expect("RCPT TO:<x@example.net>", "250").await;
        let reply = client.data(&letter(at)).await;
        assert!(reply.starts_with("250 "), "{reply}");
        proves(&hop.messages()[at].octets, &keys, at);
    }
    server.stop().await;
}

/// A message as a mail server makes it of what a milter says.
fn changed(message: &str, said: &[(u8, String)]) -> String {
    let (header, body) = message.split_once("\r\n\r\n").expect("a header");
    let mut fields: Vec<(String, String)> = header
        .split("\r\n")
        .map(|line| line.split_once(':').expect("a field"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut new = String::new();
    for (letter, text) in said {
        // NUL is written as a bar.
        let words: Vec<&str> = text.trim_end_matches('|').split('|').collect();
        let behind: Vec<&str> = text.get(4..).unwrap_or_default().split('|').collect();
        let folded = |value: &str| value.replace('\n', "\r\n");
        match letter {
            b'i' => fields.insert(0, (behind[0].to_owned(), folded(behind[1]))),
            b'h' => fields.push((words[0].to_owned(), folded(words[1]))),
            b'm' => {
                let nth = text.chars().nth(3).map_or(1, u32::from) as usize;
                let own = |(name, _): &(String, String)| name.eq_ignore_ascii_case(behind[0]);
                let place = (0..fields.len()).filter(|at| own(&fields[*at])).nth(nth - 1);
                let field = (behind[0].to_owned(), folded(behind[1]));
                match place {
                    Some(at) if behind[1].is_empty() => drop(fields.remove(at)),
                    Some(at) => fields[at] = field,
                    None => fields.push(field),
                }
            }
            b'b' => new.push_str(text),
            _ => {}
        }
    }
    let header: String = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
    format!("{header}\r\n{}", if new.is_empty() { body } else { &new })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_milter_is_asked_about_is_signed_with_its_disclaimer() {
    let server = Server::start(ServerOptions::new().with(disclaims)).await;
    let keys = keys(&server).await;
    for at in 0..3 {
        let mut mta = Mta::which_allows(&server, 0x1ff).await;
        // Handed in on the mail server's own machine: one of our people's.
        mta.tell(b'C', b"localhost\0U").await;
        assert_eq!(mta.hear().await.0, b'c');
        let said = mta.message(&["x@example.net"], &letter(at)).await;
        assert_eq!(said.last().map(|(letter, _)| *letter), Some(b'c'), "{said:?}");
        proves(&changed(&letter(at), &said), &keys, at);
    }
    // A stranger in our name is not signed, nor written below.
    let mut mta = Mta::which_allows(&server, 0x1ff).await;
    mta.tell(b'C', b"mx.example.net\x004\x9c\x40192.0.2.1\0").await;
    assert_eq!(mta.hear().await.0, b'c');
    let said = mta.message(&["x@example.net"], &letter(0)).await;
    assert!(!said.iter().any(|(_, text)| text.contains("DKIM-Signature") || text.contains("Example Ltd")), "{said:?}");
    server.stop().await;
}
