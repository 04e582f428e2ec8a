//! What gives points, over a whole server: each is named in X-Spam-Status and in the trace, and lists that are silent
//! cost bounded time and are named, too.

use std::time::{Duration, Instant};

use harness::dns::DnsServer;
use harness::server::{Server, ServerOptions};
use posthorn_config::{Config, FilterPoints, Speaks};
use posthorn_mail::trace::TraceOf;

const EVE: &str = "eve@example.org";

struct Rig {
    server: Server,
    dns: DnsServer,
}

const LISTS: &str = r#"
[policy]
enable = false
[policy.lookup]
time = "500 ms"
failures = 2
[[policy.dns_list]]
zone = "clients.test"
weight = 2
[[filter.uri_list]]
zone = "uris.test"
points = 2.5
answers = [{ is = "127.0.0.8", points = 4 }]
[[filter.rule]]
name = "OURS"
points = 1.5
why = "it names the owl"
body = '(?i)marble owl'
"#;

async fn rig() -> Rig {
    let dns = DnsServer::start().await;
    dns.zone("clients.test", "1.0.0.127 A 127.0.0.2\n");
    dns.zone("uris.test", "bad.test A 127.0.0.2\nworse.test A 127.0.0.8\n");
    dns.zone("sender.test", "@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\n@ A 127.0.0.1\n");
    let (address, anchor) = (dns.address(), dns.anchor());
    let lists: Config = toml::from_str(LISTS).expect("a configuration");
    let options = ServerOptions::new().with(move |config| {
        (config.policy, config.filter) = (lists.policy, lists.filter);
        config.filter.enable = true;
        config.filter.levels.tag = FilterPoints::thousandths(-100_000);
        config.checks.enable = true;
        config.dns.servers = vec![address.to_string().parse().expect("a server")];
        config.dns.trust_anchor = Some(anchor);
    });
    let server = Server::start(options).await;
    server.account(EVE, "a long enough password").await;
    Rig { server, dns }
}

fn message(id: &str, fields: &str, text: &str) -> String {
    let from = if fields.contains("From: ") { "" } else { "From: Ann <ann@sender.test>\r\n" };
    format!(
        "{from}{fields}To: eve@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nSubject: news\r\n\
         Message-ID: <{id}@sender.test>\r\n\r\n{text}\r\n"
    )
}

impl Rig {
    async fn send(&self, message: &str) -> String {
        self.server.smtp(Speaks::Smtp).await.deliver("ann@sender.test", &[EVE], message).await
    }

    /// What the trace says of the message.
    async fn traced(&self, id: &str) -> String {
        self.server.mail().store().chronicle().flush().await;
        let of = TraceOf::Header(format!("{id}@sender.test"));
        let traces = self.server.mail().trace(&of, 10).await.expect("the store works");
        traces[0].entries.iter().map(|entry| entry.detail.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Where the message says what it scored, wherever it lies, and what the trace says.
    async fn judged(&self, id: &str, message: &str) -> (String, String) {
        let reply = self.send(message).await;
        assert!(reply.starts_with("250 "), "{reply}");
        let mut all = self.server.messages(EVE, "INBOX").await;
        all.extend(self.server.messages(EVE, "Junk").await);
        let own = format!("Message-ID: <{id}@sender.test>");
        let texts = all.into_iter().map(|one| String::from_utf8_lossy(&one).replace("\r\n\t", " "));
        let stored = texts.into_iter().find(|one| one.contains(&own)).expect("it is stored");
        let status = stored.lines().find(|line| line.starts_with("X-Spam-Status: ")).expect("a status").to_owned();
        (status, self.traced(id).await)
    }

    async fn gives(&self, id: &str, message: &str, points: &[&str]) {
        let (status, trace) = self.judged(id, message).await;
        for point in points {
            assert!(status.contains(point), "{point}: {status}");
            assert!(trace.contains(point), "{point}: {trace}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_point_is_named_in_the_message_and_in_the_trace() {
    let rig = rig().await;
    let link = "See https://www.bad.test/x and https://good.test/ and https://a.worse.test/.";
    rig.gives("uri", &message("uri", "", link), &["URI_LISTED=4", "CLIENT_LISTED=2"]).await;
    let trace = rig.traced("uri").await;
    assert!(trace.contains("worse.test is listed at uris.test"), "{trace}");
    assert!(trace.contains("clients.test: 127.0.0.2 counts 2"), "{trace}");
    assert_eq!(rig.dns.asked("www.bad.test.uris.test", "A"), 0, "registered domains are asked for");
    assert_eq!(rig.dns.asked("good.test.uris.test", "A"), 1);

    rig.gives("own", &message("own", "", "The Marble Owl is for sale."), &["OURS=1.5"]).await;
    let paypal = "From: PayPal <service@paypa1.com>\r\n";
    rig.gives(
        "look",
        &message("look", paypal, "See https://www.rnicrosoft.com/."),
        &["FROM_LOOKS_LIKE_BRAND=3.5", "LINK_LOOKS_LIKE_BRAND=3.5", "FROM_CLAIMS_BRAND=1.5"],
    )
    .await;
    let charset = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=x-nobody-knows\r\n";
    rig.gives("charset", &message("charset", charset, "Hello."), &["CHARSET_UNKNOWN=1"]).await;
    let mixed = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    let text = "Your p\u{430}yment of y\u{43e}ur acc\u{43e}unt at m\u{430}rket.";
    rig.gives("mixed", &message("mixed", mixed, text), &["MIXED_WORDS=2.5"]).await;
    assert!(rig.server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sent_spam_has_a_name_for_it() {
    let rig = rig().await;
    let gtube = ["XJS*C4JDBQADN1.NSBN3*2IDNEN", "*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"].concat();
    for n in 0..8 {
        let reply = rig.send(&message(&format!("g{n}"), "", &gtube)).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert_eq!(rig.server.messages(EVE, "INBOX").await.len(), 0, "it is spam");
    // SPF proves the domain: address, domain and network have a reputation each.
    rig.gives("after", &message("after", "", "Hello."), &["ADDRESS_BAD=", "DOMAIN_BAD=", "NETWORK_BAD="]).await;
    // Another address of the same network, of a domain that nothing proves.
    let stranger = message("other", "From: Bo <bo@elsewhere.test>\r\n", "Hello.");
    let (status, _) = rig.judged("other", &stranger).await;
    assert!(status.contains("NETWORK_BAD=") && !status.contains("ADDRESS_BAD="), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_lists_cost_bounded_time_and_are_named() {
    let rig = rig().await;
    rig.dns.down(true);
    let link = "See https://bad.test/ and https://one.test/ and https://two.test/ and https://three.test/.";
    let begun = Instant::now();
    rig.gives("down", &message("down", "", link), &[]).await;
    // Checks and lists each wait once, however many questions there are.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    let trace = rig.traced("down").await;
    assert!(trace.contains("uris.test: no answer in time"), "{trace}");
    assert!(trace.contains("clients.test: no answer in time"), "{trace}");
    // Lists that do not answer are left alone: they cost nothing more, and are named still.
    let filter = rig.server.appliance().filter().clone();
    for _ in 0..2 {
        filter_points(&rig, &filter).await;
    }
    let begun = Instant::now();
    let unanswered = filter_points(&rig, &filter).await;
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    assert!(unanswered.iter().any(|one| one.starts_with("uris.test: not asked")), "{unanswered:?}");
}

/// Which lists said nothing of a message with links.
async fn filter_points(rig: &Rig, filter: &posthorn_filter::Filter) -> Vec<String> {
    let octets = bytes::Bytes::from(message("x", "", "See https://bad.test/."));
    let (inquiry, envelope) = Default::default();
    let way = posthorn_filter::Way::Inbound;
    let (octets, now) = (&octets, rig.server.mail().now());
    let case = posthorn_filter::Case { way, inquiry: &inquiry, envelope: &envelope, octets, checked: None, now };
    filter.points(&case).await.unanswered
}
