//! The ports of the filter, as other mail servers use them: content filter, milter, AM.PDP, reinjection.

use std::sync::Arc;
use std::time::Duration;

use harness::server::{Server, ServerOptions, row};
use harness::smtp_client::SmtpClient;
use posthorn_config::{Config, FilterAsked, FilterPort, NextHopSpeaks, QuarantinePort, ServiceAddress, Speaks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::receiver::{Receiver, Seen};

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
/// A script for a shell, which is banned by its name.
pub(crate) const BANNED: &str = "From: a@example.net\r\nTo: b@example.com\r\nSubject: a file\r\nDate: Mon, 7 Feb 1994 21:52:25 +0000\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nSee.\r\n--x\r\nContent-Type: application/octet-stream\r\n\
    Content-Disposition: attachment; filename=\"bill.exe\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAgAAAAA4fug4AtAnNIbgBTM0h\r\n--x--\r\n";

pub(crate) fn plain(subject: &str) -> String {
    format!(
        "From: Ann <ann@example.net>\r\nTo: Bob <bob@example.com>\r\nSubject: {subject}\r\n\
         Date: Mon, 7 Feb 1994 21:52:25 +0000\r\nMessage-ID: <{subject}@example.net>\r\n\r\nHello.\r\n.a dot\r\n"
    )
}

pub(crate) async fn filter(next_hop: u16, port: FilterPort) -> Server {
    filter_with(next_hop, port, |_| {}).await
}

pub(crate) async fn filter_with(next_hop: u16, port: FilterPort, alter: impl FnOnce(&mut Config) + 'static) -> Server {
    let address = ServiceAddress::Tcp(([127, 0, 0, 1], next_hop).into());
    let port = FilterPort { next_hop: Some(address), ..port };
    let options = ServerOptions::new().with(move |config| {
        config.server.hostname = "filter.example.org".to_owned();
        config.filter.enable = true;
        row(config, Speaks::Filter).filter = Some(port);
        alter(config);
    });
    Server::start(options).await
}

/// Offers all that is to be carried through.
pub(crate) async fn next_hop() -> Receiver {
    const OFFERS: &str = "250-next.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-SIZE 0\r\n\
        250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT";
    Receiver::new("", |line, _: &Seen| line.starts_with("EHLO").then(|| OFFERS.to_owned())).await
}

fn commands(receiver: &Receiver) -> Vec<String> {
    receiver.seen.commands.lock().clone()
}

#[tokio::test]
async fn mail_passes_with_all_that_was_said_of_it() {
    let receiver = next_hop().await;
    let server = filter(receiver.port, FilterPort::default()).await;
    let mut client = server.greeted(Speaks::Filter).await;
    let offered = client.hello("EHLO").await.join("\n");
    for word in ["PIPELINING", "SIZE", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "DSN", "XFORWARD NAME ADDR"] {
        assert!(offered.contains(word), "{word}: {offered}");
    }
    client.expect("XFORWARD NAME=mx.example.net ADDR=IPV6:2001:db8::7 PORT=4711", "250 ").await;
    client.expect("XFORWARD HELO=a+2Bb PROTO=ESMTP SOURCE=REMOTE IDENT=4Q1", "250 ").await;
    client.expect("MAIL FROM:<ann@example.net> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1", "250 ").await;
    client.expect("XFORWARD NAME=late", "503 ").await;
    client.expect("RCPT TO:<bob@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2B@example.com", "250 ").await;
    let reply = client.data(&plain("first")).await;
    assert!(reply.starts_with("250 2.0.0 from MTA(smtp:127.0.0.1:"), "{reply}");
    let said = commands(&receiver);
    let forwarded: Vec<&String> = said.iter().filter(|line| line.starts_with("XFORWARD")).collect();
    let forwarded = forwarded.iter().map(|line| &line["XFORWARD ".len()..]).collect::<Vec<_>>().join(" ");
    for word in
        ["NAME=mx.example.net", "ADDR=IPV6:2001:db8::7", "PORT=4711", "HELO=a+2Bb", "SOURCE=REMOTE", "IDENT=4Q1"]
    {
        assert!(forwarded.split(' ').any(|said| said == word), "{word}: {forwarded}");
    }
    let mail = said.iter().find(|line| line.starts_with("MAIL ")).expect("a sender");
    for word in ["BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=QQ+2B1", "SIZE="] {
        assert!(mail.contains(word), "{mail}");
    }
    assert!(
        said.contains(&"RCPT TO:<bob@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2B@example.com".to_owned())
    );
    let [message] = &receiver.messages()[..] else { panic!("one message") };
    assert!(message.octets.contains("Subject: first\r\n") && message.octets.ends_with("Hello.\r\n..a dot\r\n"));
    assert!(message.octets.starts_with("Received: "), "{}", message.octets);

    // What was said of the first client is not said of the next one; the connection onward is the same.
    let reply = client.deliver("ann@example.net", &["bob@example.com"], &plain("second")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    client.expect("XFORWARD ADDR=192.0.2.7", "250 ").await;
    client.expect("RSET", "250 ").await;
    let reply = client.deliver("", &["bob@example.com"], &plain("third")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let said = commands(&receiver);
    let forwards = said.iter().filter(|line| line.starts_with("XFORWARD")).count();
    assert!(forwards <= 2 && !said.iter().any(|line| line.contains("192.0.2.7")), "{said:?}");
    assert_eq!((receiver.messages().len(), receiver.connections()), (3, 1));
    server.stop().await;
}

#[tokio::test]
async fn xforward_out_of_place_and_nonsense_are_refused() {
    let receiver = next_hop().await;
    let server = filter(receiver.port, FilterPort::default()).await;
    let mut client = server.greeted(Speaks::Filter).await;
    client.expect("MAIL FROM:<>", "503 ").await;
    client.hello("EHLO").await;
    let long = format!("XFORWARD HELO={}", "x".repeat(256));
    for line in [
        "XFORWARD",
        "XFORWARD ADDR",
        "XFORWARD LOGIN=x",
        "XFORWARD ADDR=somewhere",
        "XFORWARD PORT=70000",
        "XFORWARD SOURCE=MARS",
        "XFORWARD HELO=a+4",
        "XFORWARD HELO=a+0D+0ARCPT",
        &long,
    ] {
        client.expect(line, "501 ").await;
    }
    client.expect("XFORWARD NAME=[unavailable] ADDR=[UNAVAILABLE]", "250 ").await;
    client.expect("XCLIENT ADDR=192.0.2.1", "502 ").await;
    client.expect("AUTH PLAIN AGEAYg==", "502 ").await;
    client.expect("RCPT TO:<bob@example.com>", "503 ").await;
    server.stop().await;
}

#[tokio::test]
async fn with_lmtp_each_recipient_has_a_reply() {
    let receiver = Receiver::new("PIPELINING", |line, _: &Seen| match line {
        "RCPT TO:<gone@example.com>" => Some("550 5.1.1 nobody".to_owned()),
        ". bob@example.com" => Some("250 2.0.0 queued for bob".to_owned()),
        ". full@example.com" => Some("452 4.2.2 full".to_owned()),
        _ => None,
    })
    .await;
    let port = FilterPort { next_hop_speaks: NextHopSpeaks::Lmtp, ..FilterPort::default() };
    let server = filter(receiver.port, port).await;
    let mut client = server.greeted(Speaks::Filter).await;
    client.hello("LHLO").await;
    client.expect("MAIL FROM:<ann@example.net>", "250 ").await;
    for recipient in ["bob", "gone", "full"] {
        client.expect(&format!("RCPT TO:<{recipient}@example.com>"), "250 ").await;
    }
    let first = client.data(&plain("lmtp")).await;
    let replies = [first, client.reply().await, client.reply().await];
    assert!(replies[0].starts_with("250 2.0.0 from MTA(lmtp:") && replies[0].contains("for bob"), "{replies:?}");
    assert!(replies[1].starts_with("550 5.1.1 ") && replies[2].starts_with("452 4.2.2 "), "{replies:?}");
    server.stop().await;
}

#[tokio::test]
async fn trouble_behind_us_is_the_mail_servers_to_try_again() {
    let receiver = Receiver::new("PIPELINING", |line, _: &Seen| match line {
        "RCPT TO:<no@example.com>" => Some("554 5.7.1 no".to_owned()),
        line if line.starts_with(". ") || line == "." => Some("451 4.3.0 not now".to_owned()),
        _ => None,
    })
    .await;
    let server = filter(receiver.port, FilterPort::default()).await;
    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("ann@example.net", &["bob@example.com"], &plain("later")).await;
    assert!(reply.starts_with("451 "), "{reply}");
    let reply = client.deliver("ann@example.net", &["no@example.com"], &plain("no")).await;
    assert!(reply.starts_with("554 5.7.1 ") && reply.contains("MTA(smtp:"), "{reply}");
    drop(server);
    // A next hop that is not there.
    let nobody =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound").port();
    let server = filter(nobody, FilterPort::default()).await;
    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("ann@example.net", &["bob@example.com"], &plain("nowhere")).await;
    assert!(reply.starts_with("451 4.5.0 "), "{reply}");
    server.stop().await;
}

#[tokio::test]
async fn behind_a_queue_bad_mail_is_held_and_before_one_it_is_refused() {
    let receiver = next_hop().await;
    let server = filter(receiver.port, FilterPort::default()).await;
    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("forged@example.net", &["bob@example.com", "eve@example.com"], BANNED).await;
    assert!(reply.starts_with("250 2.0.0 held as "), "{reply}");
    assert_eq!(receiver.messages().len(), 0);
    let id = reply.trim().rsplit(' ').next().expect("a name").to_owned();
    let held = am_pdp(&server, &format!("request=release\r\nmail_id={id}\r\nsecret_id=wrong\r\n\r\n")).await;
    assert!(held.starts_with("setreply=554 5.7.1 ") && held.contains("return_value=reject\r\n"), "{held}");

    let before = FilterPort { asked: FilterAsked::BeforeQueue, ..FilterPort::default() };
    let server = filter(receiver.port, before).await;
    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("ann@example.net", &["bob@example.com"], BANNED).await;
    assert!(reply.starts_with("554 5.7"), "{reply}");
    assert_eq!(receiver.messages().len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn judged_mail_comes_back_and_aliases_are_followed_where_they_are_to_be() {
    let server = Server::start(ServerOptions::new()).await;
    server.mailbox_only("bob@example.org").await;
    server.alias("all@example.org", &["bob@example.org"]).await;
    let mut client = server.smtp(Speaks::Reinject).await;
    client.expect("MAIL FROM:<ann@example.net>", "250 ").await;
    client.expect("RCPT TO:<all@example.org>", "550 5.1.1 ").await;
    client.expect("RCPT TO:<bob@example.org>", "250 ").await;
    assert!(client.data(&plain("back")).await.starts_with("250 "));
    let mut client = server.smtp(Speaks::ReinjectExpand).await;
    assert!(client.deliver("ann@example.net", &["all@example.org"], &plain("all")).await.starts_with("250 "));
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 2);
    server.stop().await;
}

/// What the quarantine's port says to these octets.
pub(crate) async fn am_pdp(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port(Speaks::AmPdp))).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut heard = String::new();
    let mut piece = [0; 4096];
    let read = async {
        while !heard.ends_with("\r\n\r\n") {
            match stream.read(&mut piece).await {
                Ok(count) if count > 0 => heard.push_str(&String::from_utf8_lossy(&piece[..count])),
                _ => return,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.expect("an answer in time");
    heard
}

#[tokio::test]
async fn held_mail_is_released_to_who_knows_its_secret() {
    let receiver = next_hop().await;
    let server = filter(receiver.port, FilterPort::default()).await;
    server.mailbox_only("bob@example.org").await;
    server.mailbox_only("eve@example.org").await;
    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("ann@example.net", &["bob@example.org", "eve@example.org"], BANNED).await;
    assert!(reply.starts_with("250 2.0.0 held as "), "{reply}");
    let id = reply.trim().rsplit(' ').next().expect("a name").to_owned();
    let filter = posthorn_filter_of(&server);
    let held = filter.quarantine().find(&id).await.expect("the store works").expect("it is held");
    let secret = held.row.secret.clone();
    for request in
        ["request=release\r\nmail_id=none\r\n\r\n".to_owned(), format!("request=requeue\r\nmail_id={id}\r\n\r\n")]
    {
        let answer = am_pdp(&server, &request).await;
        assert!(answer.starts_with("setreply=554 5.7.1 "), "{answer}");
    }
    let ask = |what: &str, more: &str| {
        format!("request={what}\r\nmail_id={id}\r\nquar_type=Z\r\nsecret_id={secret}\r\n{more}\r\n")
    };
    let answer = am_pdp(&server, &ask("requeue", "")).await;
    assert!(answer.starts_with("setreply=554 5.7.0 "), "it is still banned: {answer}");
    let answer = am_pdp(&server, &ask("report", "")).await;
    assert!(answer.starts_with("setreply=554 "), "nobody takes reports: {answer}");
    let answer = am_pdp(&server, &ask("release", "recipient=<bob@example.org>\r\n")).await;
    assert_eq!(answer.matches("setreply=250 2.0.0 ").count(), 1, "{answer}");
    let answer = am_pdp(&server, &ask("release", "")).await;
    assert_eq!(answer.matches("setreply=250 2.0.0 ").count(), 1, "{answer}");
    let answer = am_pdp(&server, &ask("release", "")).await;
    assert!(answer.starts_with("setreply=554 "), "nobody waits any more: {answer}");
    for who in ["bob@example.org", "eve@example.org"] {
        let [message] = &server.messages(who, "INBOX").await[..] else { panic!("one message for {who}") };
        let text = String::from_utf8_lossy(message);
        assert!(text.contains("\r\nResent-To: ") && text.contains("bill.exe"), "{text}");
    }
    assert_eq!(am_pdp(&server, "request=dance\r\n\r\n").await.lines().last(), Some(""));
    server.stop().await;
}

pub(crate) fn posthorn_filter_of(server: &Server) -> posthorn_filter::Filter {
    server.appliance().filter().clone()
}

#[tokio::test]
async fn files_are_judged_only_inside_the_folders_and_abuse_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let (open, shut) = (folder.path().join("open"), folder.path().join("shut"));
    for (place, octets) in [(&open, plain("fine")), (&shut, plain("secret"))] {
        std::fs::create_dir(place).expect("a folder");
        std::fs::write(place.join("email.txt"), octets).expect("a file");
    }
    std::fs::write(open.join("bad.txt"), BANNED).expect("a file");
    let directories = vec![open.clone()];
    let receiver = next_hop().await;
    let server = filter_with(receiver.port, FilterPort::default(), move |config| {
        row(config, Speaks::AmPdp).quarantine =
            Some(QuarantinePort { report_to: Some("abuse@example.org".to_owned()), directories });
    })
    .await;
    server.mailbox_only("abuse@example.org").await;
    let check = |more: String| {
        format!("request=AM.PDP\r\nsender=<ann@example.net>\r\nrecipient=<bob@example.org>\r\n{more}\r\n\r\n")
    };
    let answer = am_pdp(&server, &check(format!("tempdir={}", open.display()))).await;
    assert!(answer.contains("return_value=continue\r\n") && answer.contains("exit_code=0\r\n"), "{answer}");
    for outside in [shut.join("email.txt"), open.join("../shut/email.txt"), "/etc/passwd".into()] {
        let answer = am_pdp(&server, &check(format!("mail_file={}", outside.display()))).await;
        assert!(answer.starts_with("setreply=450 4.5.0 ") && answer.contains("exit_code=75"), "{answer}");
    }
    let answer = am_pdp(&server, &check(format!("mail_file={}", open.join("bad.txt").display()))).await;
    assert!(answer.contains("\r\nsetreply=554 5.7") && answer.contains("return_value=reject\r\n"), "{answer}");

    let mut client = server.smtp(Speaks::Filter).await;
    let reply = client.deliver("ann@example.net", &["bob@example.com"], BANNED).await;
    let id = reply.trim().rsplit(' ').next().expect("a name").to_owned();
    let held = posthorn_filter_of(&server).quarantine().find(&id).await.expect("the store works").expect("held");
    let answer =
        am_pdp(&server, &format!("request=report\r\nmail_id={id}\r\nsecret_id={}\r\n\r\n", held.row.secret)).await;
    assert!(answer.starts_with("setreply=250 2.0.0 "), "{answer}");
    let [report] = &server.messages("abuse@example.org", "INBOX").await[..] else { panic!("one report") };
    let report = String::from_utf8_lossy(report);
    assert!(report.contains("Feedback-Type: abuse\r\n") && report.contains("Original-Rcpt-To: <bob@example.com>\r\n"));
    server.stop().await;
}

/// A mail server that asks a milter: what it heard.
pub(crate) struct Mta(TcpStream);

impl Mta {
    async fn to(server: &Server) -> Self {
        Self::which_allows(server, 0x1ff).await
    }

    /// One that lets a milter make these changes.
    pub(crate) async fn which_allows(server: &Server, actions: u32) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port(Speaks::Milter))).await.expect("it listens");
        let mut mta = Self(stream);
        let offer = [&6_u32.to_be_bytes()[..], &actions.to_be_bytes(), &0x1f_ffff_u32.to_be_bytes()].concat();
        mta.tell(b'O', &offer).await;
        assert_eq!(mta.hear().await.0, b'O');
        mta
    }

    pub(crate) async fn tell(&mut self, letter: u8, data: &[u8]) {
        let length = u32::try_from(data.len() + 1).expect("small").to_be_bytes();
        self.0.write_all(&[&length[..], &[letter], data].concat()).await.expect("written");
    }

    pub(crate) async fn hear(&mut self) -> (u8, Vec<u8>) {
        let wait = Duration::from_secs(30);
        let length = tokio::time::timeout(wait, self.0.read_u32()).await.expect("in time").expect("an answer");
        let mut packet = vec![0; length as usize];
        self.0.read_exact(&mut packet).await.expect("whole");
        (packet[0], packet.split_off(1))
    }

    /// All that is said of a message.
    pub(crate) async fn message(&mut self, recipients: &[&str], message: &str) -> Vec<(u8, String)> {
        self.tell_message(recipients, message).await;
        let mut all = Vec::new();
        loop {
            let (letter, data) = self.hear().await;
            all.push((letter, String::from_utf8_lossy(&data).replace('\0', "|")));
            if b"acrtdy".contains(&letter) {
                return all;
            }
        }
    }

    /// The same, without waiting for what is said of it.
    pub(crate) async fn tell_message(&mut self, recipients: &[&str], message: &str) {
        self.tell(b'M', b"<ann@example.net>\0").await;
        assert_eq!(self.hear().await.0, b'c');
        for recipient in recipients {
            self.tell(b'R', format!("<{recipient}>\0").as_bytes()).await;
            assert_eq!(self.hear().await.0, b'c');
        }
        self.tell_body(message).await;
    }

    /// What follows the envelope.
    pub(crate) async fn tell_body(&mut self, message: &str) {
        let (header, body) = message.split_once("\r\n\r\n").expect("a header");
        for field in header.replace("\r\n ", "\n ").split("\r\n") {
            let (name, value) = field.split_once(':').expect("a field");
            self.tell(b'L', format!("{name}\0{value}\0").as_bytes()).await;
        }
        self.tell(b'N', b"").await;
        self.tell(b'B', body.as_bytes()).await;
        self.tell(b'E', b"").await;
    }
}

#[tokio::test]
async fn as_a_milter_it_changes_refuses_and_goes_on() {
    let server = Server::start(ServerOptions::new().with(|config| config.filter.enable = true)).await;
    let mut mta = Mta::to(&server).await;
    mta.tell(b'C', b"mx.example.net\x004\x9c\x40192.0.2.1\0").await;
    assert_eq!(mta.hear().await.0, b'c');
    mta.tell(b'H', b"mx.example.net\0").await;
    assert_eq!(mta.hear().await.0, b'c');
    let said = mta.message(&["bob@example.com"], &plain("fine")).await;
    assert_eq!(said.last().map(|(letter, _)| *letter), Some(b'c'), "{said:?}");
    let said = mta.message(&["bob@example.com"], BANNED).await;
    let (letter, words) = said.last().expect("a verdict");
    assert!(*letter == b'y' && words.starts_with("554 5.7"), "{said:?}");
    // Forged words of ours go.
    let forged = format!("X-Spam-Flag: NO\r\n{}", plain("forged").replace("Hello.", GTUBE));
    let said = mta.message(&["bob@example.com"], &forged).await;
    assert!(said.iter().any(|(letter, text)| *letter == b'i' && text.contains("X-Spam-")), "{said:?}");
    let gone = |(letter, text): &(u8, String)| *letter == b'm' && text.ends_with("X-Spam-Flag||");
    assert!(said.iter().any(gone), "{said:?}");
    mta.tell(b'Q', b"").await;
    server.stop().await;
}

#[tokio::test]
async fn lying_milter_lengths_and_requests_without_end_disturb_nobody() {
    let server = Arc::new(Server::start(ServerOptions::new()).await);
    let mut calm = Mta::to(&server).await;
    for octets in
        [&b"\xff\xff\xff\xffO\0\0\0\x06"[..], b"\0\0\0\0", b"\0\0\0\x02OO", b"GET / HTTP/1.1\r\n\r\n", b"\0\x20\0\0L"]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port(Speaks::Milter))).await.expect("it listens");
        stream.write_all(octets).await.expect("written");
        let mut heard = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut heard)).await;
        assert!(closed.is_ok() && heard.is_empty(), "{octets:?}");
    }
    for request in
        ["x".repeat(2 << 20), "request=release\r\n".to_owned() + &"a=b\r\n".repeat(10_000), "\r\n".to_owned()]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port(Speaks::AmPdp))).await.expect("it listens");
        let _cut = stream.write_all(request.as_bytes()).await;
        let mut heard = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut heard)).await;
        assert!(closed.is_ok() && heard.is_empty(), "{}", heard.len());
    }
    let said = calm.message(&["bob@example.com"], &plain("still there")).await;
    assert_eq!(said.last().map(|(letter, _)| *letter), Some(b'c'), "{said:?}");
    let mut client: SmtpClient = server.smtp(Speaks::Filter).await;
    client.expect("NOOP", "250 ").await;
}
