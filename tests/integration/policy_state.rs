//! What the policy engine remembers: greylisting, throttling, lists, over a real database, a real DNS server and a clock
//! that tests step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use harness::dns::DnsServer;
use harness::postgres::{TestDatabase, database};
use harness::server::{Server, ServerOptions};
use posthorn::resolver::Asking;
use posthorn_config::{Config, LimitKind, PolicyPattern, PolicySection, Speaks};
use posthorn_mail::Mail;
use posthorn_mail::directory::NewAccount;
use posthorn_model::policy::{ClientFacts, Inquiry, SaslFacts, Stage};
use posthorn_model::{Address, Domain};
use posthorn_policy::orders::{Orders, State};
use posthorn_policy::{Policy, Settings};
use posthorn_store::{Options, Store};

use crate::cable::Cable;
use crate::office::Stepped;

const EXAMPLE_NET: &str = "
@   TXT \"v=spf1 ip4:192.0.2.77 include:_spf.example.net -all\"
_spf TXT \"v=spf1 ip4:203.0.113.0/28 ?all\"
@   MX 10 mx
mx  A 203.0.113.200
";

const GREYLIST: &str = "sender.forged = \"off\"\n[greylist]\nenable = true\n";

/// A directory with bob and eve in example.org, and rob in example.com, and engines on it.
struct World {
    clock: Stepped,
    dns: DnsServer,
    section: String,
    database: TestDatabase,
    orders: Orders,
}

impl World {
    async fn new(section: &str) -> Self {
        let database = database(posthorn_store::migrate).await;
        let clock = Stepped::new();
        let dns = DnsServer::start().await;
        dns.zone("example.net", EXAMPLE_NET).zone("example.test", "");
        let mail = duties(&database.url, &clock).await;
        for (name, users) in [("example.org", &["bob", "eve"][..]), ("example.com", &["rob"])] {
            let domain = Domain::parse(name).expect("a domain");
            mail.add_domain(&domain, None).await.expect("the store works").expect("a new domain");
            for user in users {
                let address = Address::parse(&format!("{user}@{name}")).expect("an address");
                mail.add_account(&address, NewAccount::default())
                    .await
                    .expect("the store works")
                    .expect("a new account");
            }
        }
        Self { clock, dns, section: section.to_owned(), orders: Orders::new(mail), database }
    }

    /// One more engine.
    async fn engine(&self) -> Policy {
        self.engine_at(&self.database.url).await
    }

    async fn engine_at(&self, url: &str) -> Policy {
        let section: PolicySection = toml::from_str(&self.section).expect("a section");
        let settings = Settings { policy: section, hostname: "posthorn.example".to_owned() };
        let resolver = Arc::new(Asking::new(self.dns.resolver()));
        Policy::open(duties(url, &self.clock).await, settings, resolver).await.expect("an engine")
    }

    fn step(&self, seconds: i64) {
        self.clock.step(TimeDelta::seconds(seconds));
    }
}

async fn duties(url: &str, clock: &Stepped) -> Mail {
    let options = Options { url: url.to_owned(), connections: 6, writers: 1, batch: 100 };
    let store = Store::open(&options).await.expect("the store opens");
    let mut config = Config::default();
    config.server.hostname = "posthorn.example".to_owned();
    config.dkim.sign = false;
    config.checks.enable = false;
    let mut settings = posthorn_mail::Settings::of(&config);
    settings.clock = Box::new(clock.clone());
    Mail::new(store, settings).await.expect("the duties")
}

/// RCPT from a client outside.
fn rcpt(client: &str, sender: &str, recipient: &str) -> Inquiry {
    Inquiry {
        stage: Stage::Rcpt,
        protocol: "ESMTP".to_owned(),
        client: ClientFacts { address: client.parse().ok(), ..ClientFacts::default() },
        helo: Some("mail.example.test".to_owned()),
        sender: Some(sender.to_owned()),
        recipient: Some(recipient.to_owned()),
        instance: "1.1".to_owned(),
        ..Inquiry::default()
    }
}

/// The end of a message of somebody who has logged in, as our own server asks.
fn sent(login: &str, recipients: &[&str], size: u64) -> Inquiry {
    Inquiry {
        stage: Stage::EndOfMessage,
        recipient: None,
        recipients: recipients.iter().map(|one| (*one).to_owned()).collect(),
        recipient_count: u32::try_from(recipients.len()).expect("a few"),
        sasl: Some(SaslFacts { method: "PLAIN".to_owned(), username: login.to_owned(), sender: None }),
        size,
        ..rcpt("198.51.100.9", login, "")
    }
}

async fn reply(policy: &Policy, inquiry: &Inquiry) -> String {
    policy.decide(inquiry).await.expect("it can be told").reply().to_string()
}

async fn is_held(policy: &Policy, inquiry: &Inquiry) -> bool {
    let reply = reply(policy, inquiry).await;
    assert!(reply == "DUNNO" || reply.starts_with("451 4.7.1 greylisted"), "{reply}");
    reply != "DUNNO"
}

fn pattern(text: &str) -> PolicyPattern {
    text.parse().expect(text)
}

/// Waits until something holds.
async fn soon(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// PD-6.
#[tokio::test(flavor = "multi_thread")]
async fn new_clients_wait_once() {
    let world = World::new(GREYLIST).await;
    let policy = world.engine().await;
    let first = rcpt("198.51.100.1", "a@example.test", "bob@example.org");
    assert!(is_held(&policy, &first).await);
    assert!(is_held(&policy, &first).await, "at once again");
    // What is held is visible.
    policy.write().await.expect("it is written");
    let section: PolicySection = toml::from_str(GREYLIST).expect("a section");
    let held = world.orders.held(&section.greylist, Some("Bob@example.org"), 10).await.expect("rows");
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].client.as_str(), held[0].attempts), ("198.51.100.1", 2));
    world.step(899);
    assert!(is_held(&policy, &first).await);
    world.step(1);
    assert!(!is_held(&policy, &first).await, "after 15 minutes");
    // The whole client is trusted, others are not.
    assert!(!is_held(&policy, &rcpt("198.51.100.1", "b@example.test", "eve@example.org")).await);
    assert!(is_held(&policy, &rcpt("198.51.100.2", "a@example.test", "bob@example.org")).await);
    // Whom the sender's record names need not wait; whom it does not, does.
    assert!(!is_held(&policy, &rcpt("192.0.2.77", "a@example.net", "bob@example.org")).await);
    assert!(is_held(&policy, &rcpt("192.0.2.78", "a@example.net", "bob@example.org")).await);
    // Thirty days later it is new again, unless it came meanwhile.
    let day = 86_400;
    world.step(29 * day);
    assert!(!is_held(&policy, &first).await);
    world.step(29 * day);
    assert!(!is_held(&policy, &first).await);
    world.step(31 * day);
    assert!(is_held(&policy, &first).await);
    // Who does not come back within a day begins anew.
    world.step(day + 1);
    assert!(is_held(&policy, &first).await);
    // A restart forgets nothing.
    world.step(900);
    policy.write().await.expect("it is written");
    let policy = world.engine().await;
    assert!(!is_held(&policy, &first).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_heard_at_once_and_the_most_specific_decides() {
    let world = World::new("sender.forged = \"off\"").await;
    let policy = world.engine().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let work = tokio::spawn(policy.clone().work(async move { stopped.await.expect("somebody stops") }));
    let to_bob = rcpt("198.51.100.1", "a@example.test", "bob@example.org");
    let to_eve = rcpt("198.51.100.1", "a@example.test", "Eve+box@example.org");
    assert!(!is_held(&policy, &to_bob).await, "off by default");
    // Before it listens, nobody hears.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let orders = &world.orders;
    orders.set_greylist(&pattern("*"), &pattern("*"), State::On, "").await.expect("it is set");
    orders.set_greylist(&pattern("eve@example.org"), &pattern("*"), State::Off, "").await.expect("it is set");
    soon("a setting", Duration::from_secs(2), async || is_held(&policy, &to_bob).await).await;
    soon("another", Duration::from_secs(2), async || !is_held(&policy, &to_eve).await).await;
    orders.set_greylist(&pattern("*"), &pattern("198.51.100.*"), State::Exempt, "").await.expect("it is set");
    soon("an exemption", Duration::from_secs(2), async || !is_held(&policy, &to_bob).await).await;
    assert!(orders.unset_greylist(&pattern("*"), &pattern("198.51.100.0/24")).await.expect("it is taken back"));
    soon("its end", Duration::from_secs(2), async || is_held(&policy, &to_bob).await).await;
    // Domains whose servers are white: their networks, and those of the records that they include.
    let domain = Domain::parse("example.net").expect("a domain");
    assert!(orders.add_white_domain(&domain).await.expect("it is added"));
    let asking = Asking::new(world.dns.resolver());
    let networks = orders.look_up(&domain, &asking).await.expect("the store works").expect("networks");
    assert_eq!(networks, ["192.0.2.77/32", "203.0.113.0/28", "203.0.113.200/32"]);
    let other = rcpt("203.0.113.9", "a@example.test", "bob@example.org");
    soon("a white network", Duration::from_secs(2), async || !is_held(&policy, &other).await).await;
    // White and black lists.
    let reject = async || reply(&policy, &other).await.starts_with("554 5.7.1");
    orders.list(false, (&pattern("@example.org"), &pattern("@example.test")), true, "").await.expect("it is listed");
    soon("a black list", Duration::from_secs(2), reject).await;
    orders.list(false, (&pattern("bob@example.org"), &pattern("a@*")), false, "").await.expect("it is listed");
    soon("a white list", Duration::from_secs(2), async || reply(&policy, &other).await == "DUNNO").await;
    assert!(!is_held(&policy, &to_bob).await, "who is welcome does not wait");
    stop.send(()).expect("it works");
    work.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn correspondents_do_not_wait() {
    let world = World::new(GREYLIST).await;
    let policy = world.engine().await;
    // To several at once, among them one of ours.
    let message = sent("bob@example.org", &["You@example.test", "me@example.test", "eve@example.org"], 100);
    policy.wrote(&message).await.expect("it is noted");
    for sender in ["you@example.test", "me@example.test"] {
        assert!(!is_held(&policy, &rcpt("198.51.100.1", sender, "bob@example.org")).await, "{sender}");
        assert!(is_held(&policy, &rcpt("198.51.100.1", sender, "eve@example.org")).await, "{sender}");
    }
    // Nobody is a correspondent of strangers.
    let forged = Inquiry { sasl: None, ..sent("eve@example.org", &["x@example.test"], 1) };
    policy.wrote(&forged).await.expect("it is not noted");
    assert!(is_held(&policy, &rcpt("198.51.100.1", "x@example.test", "eve@example.org")).await);
    // Another engine knows when it is written.
    policy.write().await.expect("it is written");
    let other = world.engine().await;
    assert!(!is_held(&other, &rcpt("198.51.100.3", "you@example.test", "bob@example.org")).await);
}

/// PD-7.
#[tokio::test(flavor = "multi_thread")]
async fn limits_are_kept_and_told_of_once() {
    let world = World::new(
        r#"
        [throttle]
        notify = ["eve@example.org"]
        [[throttle.limit]]
        kind = "outbound"
        period = "1 h"
        messages = 100
        size = "1 MiB"
        [[throttle.limit]]
        kind = "outbound"
        who = "rob@example.com"
        period = "1 h"
        messages = 200
        "#,
    )
    .await;
    let policy = world.engine().await;
    let one = |size| sent("bob@example.org", &["x@example.test"], size);
    assert!(reply(&policy, &one((1 << 20) + 1)).await.starts_with("552"), "too large");
    for _ in 0..90 {
        assert_eq!(reply(&policy, &one(1000)).await, "DUNNO");
    }
    // Ten recipients count ten, those in our domains nothing.
    let ten: Vec<String> = (0..10).map(|number| format!("x{number}@example.test")).collect();
    let mut ten: Vec<&str> = ten.iter().map(String::as_str).collect();
    ten.extend(["eve@example.org", "rob@example.com"]);
    assert_eq!(reply(&policy, &sent("bob@example.org", &ten, 1000)).await, "DUNNO");
    assert!(reply(&policy, &one(1000)).await.starts_with("552 5.7.1"), "the 101st");
    assert!(reply(&policy, &one(1000)).await.starts_with("552 5.7.1"));
    assert_eq!(reply(&policy, &sent("bob@example.org", &["eve@example.org"], 1000)).await, "DUNNO", "inside");
    // It is refused as early as at RCPT, and asking counts nothing.
    let early = Inquiry { stage: Stage::Rcpt, recipients: Vec::new(), ..one(0) };
    let early = Inquiry { recipient: Some("x@example.test".to_owned()), ..early };
    assert!(reply(&policy, &early).await.starts_with("552 5.7.1"));
    // Somebody else has a number of his own, and inherits the size.
    assert!(reply(&policy, &sent("rob@example.com", &["x@example.test"], 1 << 21)).await.starts_with("552"));
    for _ in 0..200 {
        assert_eq!(reply(&policy, &sent("rob@example.com", &["x@example.test"], 1000)).await, "DUNNO");
    }
    assert!(reply(&policy, &sent("rob@example.com", &["x@example.test"], 1000)).await.starts_with("552"));
    // The administrator hears of each once.
    policy.write().await.expect("it is written");
    policy.write().await.expect("it is written");
    assert_eq!(letters(&world).await, 2);
    // A restart forgets nothing.
    let policy = world.engine().await;
    assert!(reply(&policy, &one(1000)).await.starts_with("552 5.7.1"));
    policy.write().await.expect("it is written");
    assert_eq!(letters(&world).await, 2, "in the same window");
    world.step(3600);
    assert_eq!(reply(&policy, &one(1000)).await, "DUNNO", "in the next");
    assert_eq!(reply(&policy, &sent("bob@example.org", &ten[..10], 1000)).await, "DUNNO");
    policy.write().await.expect("it is written");
    let used = world.orders.used(10).await.expect("rows");
    let bob = used.iter().find(|row| row.subject == "bob@example.org").expect("a counter");
    assert_eq!((bob.rule.as_str(), bob.messages), ("outbound *", 11.0));
    // An administrator lets somebody begin anew.
    let many = vec!["x@example.test"; 90];
    assert!(reply(&policy, &sent("bob@example.org", &many, 1000)).await.starts_with("552"));
    let everyone = pattern("*");
    let reset = world.orders.reset(Some((LimitKind::Outbound, &everyone)), Some("Bob@example.org"));
    assert_eq!(reset.await.expect("it is reset"), 1);
    policy.catch_up().await.expect("it is read");
    assert_eq!(reply(&policy, &sent("bob@example.org", &many, 1000)).await, "DUNNO");
}

async fn letters(world: &World) -> i64 {
    let mut connection = connect(&world.database.url).await;
    let count = "select count(*) from membership m join account a on a.id = m.account_id where a.local = 'eve'";
    sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("a number")
}

async fn connect(url: &str) -> sqlx::PgConnection {
    use sqlx::Connection as _;
    sqlx::PgConnection::connect(url).await.expect("the database answers")
}

/// CB-2.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaky_limit_gives_back_in_proportion_across_restarts() {
    let world = World::new(
        "[[throttle.limit]]\nkind = \"outbound\"\nperiod = \"1 h\"\nmessages = 100\nwindow = \"leaky\"\nverdict = \"defer\"\n",
    )
    .await;
    let policy = world.engine().await;
    let message = sent("bob@example.org", &["x@example.test"], 1);
    let fill = async |policy: &Policy| {
        let mut count = 0;
        while reply(policy, &message).await == "DUNNO" {
            count += 1;
        }
        assert!(reply(policy, &message).await.starts_with("450 4.7.1"));
        count
    };
    assert_eq!(fill(&policy).await, 100);
    policy.write().await.expect("it is written");
    world.step(1800);
    let policy = world.engine().await;
    assert_eq!(fill(&policy).await, 50);
    policy.write().await.expect("it is written");
    assert_eq!(fill(&policy).await, 0);
    world.step(3600);
    assert_eq!(fill(&policy).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_agree_within_a_second() {
    let section = format!("{GREYLIST}[[throttle.limit]]\nkind = \"outbound\"\nperiod = \"1 h\"\nmessages = 10\n");
    let world = World::new(&section).await;
    let (one, two) = (world.engine().await, world.engine().await);
    let work = [&one, &two].map(|policy| tokio::spawn(policy.clone().work(std::future::pending())));
    tokio::time::sleep(Duration::from_millis(700)).await;
    let first = rcpt("198.51.100.1", "a@example.test", "bob@example.org");
    assert!(is_held(&one, &first).await);
    let message = sent("bob@example.org", &["x@example.test"], 1);
    for _ in 0..5 {
        assert_eq!(reply(&one, &message).await, "DUNNO");
        assert_eq!(reply(&two, &message).await, "DUNNO");
    }
    for policy in [&one, &two] {
        let met = soon("a common limit", Duration::from_secs(3), async || {
            policy.explain(&message).await.expect("it can be told").decision.action.to_string().starts_with("552")
        });
        assert!(met.await < Duration::from_secs(1));
    }
    // The other engine knows when the client began to wait, and that it came back.
    world.step(900);
    assert!(!is_held(&two, &first).await);
    let other = rcpt("198.51.100.1", "b@example.test", "eve@example.org");
    let heard = soon("a trusted client", Duration::from_secs(3), async || {
        one.explain(&other).await.expect("it can be told").decision.action.to_string() == "DUNNO"
    });
    assert!(heard.await < Duration::from_secs(1));
    work.into_iter().for_each(|work| work.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_it_answers_from_memory() {
    let world =
        World::new(&format!("{GREYLIST}[[throttle.limit]]\nkind = \"external\"\nperiod = \"1 h\"\nmessages = 1000\n"))
            .await;
    let cable = Cable::to(&world.database);
    let policy = world.engine_at(&cable.url).await;
    let work = tokio::spawn(policy.clone().work(std::future::pending()));
    let first = rcpt("198.51.100.1", "a@example.test", "bob@example.org");
    assert!(is_held(&policy, &first).await);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    cable.cut();
    world.step(900);
    // Known ones, new ones: what is learned waits to be written.
    let begun = Instant::now();
    assert!(!is_held(&policy, &first).await);
    assert!(is_held(&policy, &rcpt("198.51.100.2", "a@example.test", "bob@example.org")).await);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    cable.mend();
    soon("what was learned is written", Duration::from_secs(30), async || {
        let mut connection = connect(&world.database.url).await;
        let count = "select count(*) from greylist_triplet where client = '198.51.100.2'";
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.expect("a number") == 1
    })
    .await;
    work.abort();
}

/// Memory is bounded, what it let go is looked up, and a flood of strangers stops nobody.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_let_go_by_memory_is_looked_up() {
    let world = World::new(&format!("{GREYLIST}remembered = 1000\nspf = false\ntrust_client = false\n")).await;
    let policy = world.engine().await;
    let first = rcpt("198.51.100.1", "a@example.test", "bob@example.org");
    assert!(is_held(&policy, &first).await);
    world.step(900);
    assert!(!is_held(&policy, &first).await);
    policy.write().await.expect("it is written");
    for number in 0..3000 {
        assert!(is_held(&policy, &rcpt("198.51.100.2", &format!("s{number}@example.test"), "bob@example.org")).await);
        if number % 500 == 0 {
            policy.write().await.expect("it is written");
        }
    }
    policy.write().await.expect("it is written");
    assert!(!is_held(&policy, &first).await, "it is in the database");
    world.step(900);
    assert!(!is_held(&policy, &rcpt("198.51.100.2", "s0@example.test", "bob@example.org")).await);
}

/// Another server tells at the end how many recipients there are, and not who: they were asked about before.
#[tokio::test(flavor = "multi_thread")]
async fn recipients_of_other_servers_are_counted_each() {
    let world = World::new("[[throttle.limit]]\nkind = \"inbound\"\nperiod = \"1 h\"\nmessages = 2\n").await;
    let policy = world.engine().await;
    for number in 0..3 {
        let instance = format!("1.{number}");
        for name in ["bob@example.org", "eve@example.org"] {
            let rcpt = Inquiry { instance: instance.clone(), ..rcpt("198.51.100.1", "a@example.test", name) };
            let reply = policy.answer(&rcpt).await.expect("it can be told").reply().to_string();
            assert_eq!(reply == "DUNNO", number < 2, "{number} {reply}");
        }
        let end = Inquiry {
            stage: Stage::EndOfMessage,
            recipient: None,
            recipient_count: 2,
            instance,
            ..rcpt("198.51.100.1", "a@example.test", "")
        };
        assert_eq!(policy.answer(&end).await.expect("it can be told").reply().to_string(), "DUNNO", "{number}");
    }
    // Eve alone has had two.
    let end = Inquiry {
        stage: Stage::EndOfMessage,
        recipient_count: 1,
        instance: "1.9".to_owned(),
        ..rcpt("198.51.100.1", "a@example.test", "eve@example.org")
    };
    assert!(policy.answer(&end).await.expect("it can be told").reply().to_string().starts_with("552"));
}

/// Through our own SMTP.
#[tokio::test]
async fn our_own_smtp_holds_strangers_and_counts_people() {
    let section = "[greylist]\nenable = true\nspf = false\n\
                   [[throttle.limit]]\nkind = \"outbound\"\nperiod = \"1 h\"\nmessages = 3\n";
    let policy: PolicySection = toml::from_str(section).expect("a section");
    let server = Server::start(ServerOptions::new().with(move |config| {
        config.policy = policy;
        config.route = toml::from_str::<Config>("[[route]]\nto = 'smtp://127.0.0.1:1'").expect("a route").route;
    }))
    .await;
    server.account("bob@example.org", "right horse").await;
    server.mailbox_only("eve@example.org").await;
    let message = "From: bob@example.org\r\nSubject: hello\r\n\r\nHello.\r\n";
    let mut stranger = server.smtp(Speaks::Smtp).await;
    stranger.expect("MAIL FROM:<you@example.test>", "250").await;
    stranger.expect("RCPT TO:<bob@example.org>", "451 4.7.1 greylisted").await;
    let mut bob = server.smtp(Speaks::Submissions).await;
    assert!(bob.login("bob@example.org", "right horse").await.starts_with("235 2.7.0"));
    let reply = bob.deliver("bob@example.org", &["you@example.test", "me@example.test"], message).await;
    assert!(reply.starts_with("250 "), "{reply}");
    // Whom bob wrote to need not wait, for him.
    stranger.expect("RCPT TO:<bob@example.org>", "250").await;
    stranger.expect("RCPT TO:<eve@example.org>", "451 4.7.1 greylisted").await;
    // Two are used of three.
    bob.expect("MAIL FROM:<bob@example.org>", "250").await;
    bob.expect("RCPT TO:<a@example.test>", "250").await;
    bob.expect("RCPT TO:<b@example.test>", "552 5.7.1").await;
    assert!(bob.data(message).await.starts_with("250 "));
    let reply = bob.deliver("bob@example.org", &["c@example.test"], message).await;
    assert!(reply.starts_with("552 5.7.1"), "{reply}");
    bob.expect("RSET", "250").await;
    let reply = bob.deliver("bob@example.org", &["eve@example.org"], message).await;
    assert!(reply.starts_with("250 "), "inside: {reply}");
    // What is held is visible, and the trace of nobody is broken.
    server.appliance().policy().write().await.expect("it is written");
    let held =
        Orders::new(server.mail().clone()).held(&PolicySection::default().greylist, None, 10).await.expect("rows");
    let recipients: Vec<&str> = held.iter().map(|row| row.recipient.as_str()).collect();
    assert_eq!(recipients.len(), 2, "{recipients:?}");
    assert!(server.check().await.is_empty());
}
