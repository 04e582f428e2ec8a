//! The checks of the policy engine over a real directory, a real database and a real DNS server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::dns::DnsServer;
use harness::server::{Server, ServerOptions};
use posthorn::resolver::Asking;
use posthorn_config::{PolicySection, Speaks};
use posthorn_mail::directory::AccountChange;
use posthorn_model::Address;
use posthorn_model::policy::{Action, ClientFacts, Inquiry, SaslFacts, Stage};
use posthorn_policy::telling::{self, Access, ListAccess, Wanted};
use posthorn_policy::{Decision, Policy, Said, Settings};
use sqlx::Connection as _;

/// `192.0.2.1` is called mail.example.net and is; `192.0.2.2` says so and is not; `192.0.2.3` has no name.
const REVERSE: &str = "
1.2.0.192.in-addr.arpa. PTR mail.example.net.
2.2.0.192.in-addr.arpa. PTR mail.example.net.
4.2.0.192.in-addr.arpa. PTR host4.dyn.example.net.
";

const NET: &str = "
mail    A 192.0.2.1
host4.dyn A 192.0.2.4
@       MX 10 mail
";

struct World {
    server: Server,
    dns: DnsServer,
    policy: Policy,
}

impl World {
    /// A directory with bob, eve and joe, and an engine with this `[policy]` section.
    async fn new(section: &str) -> Self {
        let server = Server::start(ServerOptions::new()).await;
        for name in ["bob", "eve", "joe"] {
            server.mailbox_only(&format!("{name}@example.org")).await;
        }
        let dns = DnsServer::start().await;
        dns.zone("in-addr.arpa", REVERSE).zone("example.net", NET);
        dns.zone("example.org", "@ TXT \"v=spf1 ip4:192.0.2.1 -all\"");
        let policy = engine(&server, &dns, section).await;
        Self { server, dns, policy }
    }

    async fn decide(&self, inquiry: &Inquiry) -> Decision {
        self.policy.decide(inquiry).await.expect("it can be told")
    }

    /// What is replied, as the policy port would say it.
    async fn reply(&self, inquiry: &Inquiry) -> String {
        self.decide(inquiry).await.reply().to_string()
    }
}

async fn engine(server: &Server, dns: &DnsServer, section: &str) -> Policy {
    let section: PolicySection = toml::from_str(section).expect("a section");
    let settings = Settings { policy: section, ..Settings::of(server.config()) };
    let resolver = Arc::new(Asking::new(dns.resolver()));
    Policy::open(server.mail().clone(), settings, resolver).await.expect("an engine")
}

/// RCPT from a client outside.
fn outside(client: &str, sender: &str, recipient: &str) -> Inquiry {
    Inquiry {
        stage: Stage::Rcpt,
        protocol: "ESMTP".to_owned(),
        client: ClientFacts { address: client.parse().ok(), ..ClientFacts::default() },
        helo: Some("mail.example.net".to_owned()),
        sender: Some(sender.to_owned()),
        recipient: Some(recipient.to_owned()),
        instance: "1.1".to_owned(),
        ..Inquiry::default()
    }
}

/// RCPT of somebody who has logged in.
fn login(name: &str, sender: &str) -> Inquiry {
    let sasl = SaslFacts { method: "PLAIN".to_owned(), username: name.to_owned(), sender: None };
    Inquiry { sasl: Some(sasl), ..outside("198.51.100.9", sender, "x@example.com") }
}

fn begins(reply: &str, beginning: &str) {
    assert!(reply.starts_with(beginning), "{reply:?} does not begin with {beginning:?}");
}

#[tokio::test]
async fn a_login_sends_as_itself_its_aliases_and_who_delegates() {
    let world = World::new("").await;
    let server = &world.server;
    server.domain("example.com", Some("example.org")).await;
    server.alias("sales@example.org", &["bob@example.org"]).await;
    server.alias("all@example.org", &["bob@example.org", "eve@example.org"]).await;
    let delegated = Some(vec!["boss@example.org".to_owned()]);
    let change = AccountChange { delegated, ..AccountChange::default() };
    let bob = Address::parse("bob@example.org").expect("an address");
    server.mail().set_account(&bob, change).await.expect("works").expect("changed");
    for sender in [
        "bob@example.org",
        "BOB+shop@example.org",
        "bob@example.com",
        "sales@example.org",
        "sales@example.com",
        "all@example.org",
        "boss@example.org",
    ] {
        assert_eq!(world.decide(&login("bob@example.org", sender)).await.action, Action::Dunno, "{sender}");
    }
    for sender in ["eve@example.org", "x@example.net", "boss@example.net", "nonsense"] {
        begins(&world.reply(&login("bob@example.org", sender)).await, "553 5.7.1 ");
    }
    begins(&world.reply(&login("bob@example.org", "")).await, "550 5.7.1 ");
    // A server with a directory of its own asks about a login that we do not know.
    assert_eq!(world.decide(&login("ann@example.net", "Ann@example.net")).await.action, Action::Dunno);
    begins(&world.reply(&login("ann@example.net", "bob@example.org")).await, "553 5.7.1 ");
}

#[tokio::test]
async fn members_of_a_list_send_as_it_only_where_that_is_said() {
    let world = World::new("[sender]\nlist_members = false").await;
    let server = &world.server;
    server.alias("sales@example.org", &["bob@example.org"]).await;
    server.alias("all@example.org", &["bob@example.org", "eve@example.org"]).await;
    assert_eq!(world.decide(&login("bob@example.org", "sales@example.org")).await.action, Action::Dunno);
    begins(&world.reply(&login("bob@example.org", "all@example.org")).await, "553 5.7.1 ");
}

#[tokio::test]
async fn outsiders_are_none_of_us_unless_spf_says_so() {
    let world = World::new("[sender]\nforged_allowed = ['news@example.org']").await;
    let reply = |client: &str, sender: &str| {
        let (policy, inquiry) = (world.policy.clone(), outside(client, sender, "eve@example.org"));
        async move { policy.decide(&inquiry).await.expect("told") }
    };
    begins(&reply("192.0.2.9", "bob@example.org").await.reply().to_string(), "550 5.7.1 log in to send as");
    assert_eq!(reply("192.0.2.1", "bob@example.org").await.action, Action::Dunno, "SPF passes");
    assert_eq!(reply("192.0.2.9", "News@example.org").await.action, Action::Dunno, "others may use it");
    assert_eq!(reply("192.0.2.9", "bob@example.net").await.action, Action::Dunno, "not ours");
    assert_eq!(reply("192.0.2.9", "").await.action, Action::Dunno, "a report");
    let relay = Inquiry { trusted: true, ..outside("192.0.2.9", "bob@example.org", "eve@example.org") };
    assert_eq!(world.decide(&relay).await.action, Action::Dunno, "a client that may relay");
}

#[tokio::test]
async fn what_spf_cannot_tell_now_is_told_later() {
    let world = World::new("").await;
    world.dns.fail("example.org", "TXT");
    let reply = world.reply(&outside("192.0.2.1", "bob@example.org", "eve@example.org")).await;
    begins(&reply, "451 4.7.24 ");
}

#[tokio::test]
async fn names_lead_back_to_their_addresses() {
    let section = "[reverse_dns]\nmissing = 'defer'\nunconfirmed = 'reject'\nrefused = ['.dyn.example.net']";
    let world = World::new(section).await;
    let reply = |client: &'static str| {
        let world = &world;
        async move { world.reply(&outside(client, "a@example.com", "bob@example.org")).await }
    };
    assert_eq!(reply("192.0.2.1").await, "DUNNO");
    begins(&reply("192.0.2.2").await, "550 5.7.25 mail.example.net");
    begins(&reply("192.0.2.3").await, "450 4.7.25 your address");
    begins(&reply("192.0.2.4").await, "550 5.7.1 clients named host4.dyn.example.net");
    // The server that asks has looked already.
    let mut told = outside("192.0.2.3", "a@example.com", "bob@example.org");
    told.client.name = Some("mail.example.com".to_owned());
    assert_eq!(world.reply(&told).await, "DUNNO");
    // What cannot be told refuses nobody.
    world.dns.fail("5.2.0.192.in-addr.arpa", "PTR");
    assert_eq!(reply("192.0.2.5").await, "DUNNO");
    assert_eq!(world.decide(&login("bob@example.org", "bob@example.org")).await.action, Action::Dunno);
}

#[tokio::test]
async fn a_client_says_who_it_is() {
    let section = "[helo]\ninvalid = 'reject'\nliteral = 'reject'\nunresolvable = 'reject'\nours = 'reject'\n\
                   refused = ['.evil.example']\nexempt = ['198.51.100.0/24']";
    let world = World::new(section).await;
    let reply = |helo: &str, client: &str| {
        let mut inquiry = outside(client, "a@example.com", "bob@example.org");
        inquiry.helo = Some(helo.to_owned());
        let world = &world;
        async move { world.reply(&inquiry).await }
    };
    for helo in ["mail.example.net", "example.net", "MAIL.example.NET."] {
        assert_eq!(reply(helo, "192.0.2.1").await, "DUNNO", "{helo}");
    }
    for helo in ["localhost", "192.0.2.1", "[192.0.2.1]", "nobody.example.net", "a.evil.example", "example.org"] {
        begins(&reply(helo, "192.0.2.1").await, "550 5.7.1 ");
    }
    assert_eq!(reply("localhost", "198.51.100.1").await, "DUNNO", "exempt");
}

#[tokio::test]
async fn six_names_from_one_address_are_too_many() {
    let world = World::new("[helo]\nnames = 5").await;
    let asked = |policy: &Policy, number: usize, client: &str| {
        let mut inquiry = outside(client, "a@example.com", "bob@example.org");
        inquiry.helo = Some(format!("host{number}.example.net"));
        let policy = policy.clone();
        async move { policy.decide(&inquiry).await.expect("told").reply().to_string() }
    };
    for number in [1, 2, 3, 4, 5, 5, 1] {
        assert_eq!(asked(&world.policy, number, "192.0.2.1").await, "DUNNO", "{number}");
    }
    begins(&asked(&world.policy, 6, "192.0.2.1").await, "550 5.7.1 you call yourself by too many names");
    assert_eq!(asked(&world.policy, 6, "192.0.2.2").await, "DUNNO", "another address");
    // Another process learns of it by the database.
    world.policy.write().await.expect("written");
    let other = engine(&world.server, &world.dns, "[helo]\nnames = 5").await;
    begins(&asked(&other, 7, "192.0.2.1").await, "550 5.7.1 ");
}

const LISTS: &str = "
[dns_lists]
threshold = 3
[[dns_list]]
zone = 'bl.example'
weight = 2
answers = [{ is = '127.0.0.9', weight = 9 }]
[[dns_list]]
zone = 'wl.example'
weight = -7
[[dns_list]]
zone = 'names.example'
of = 'sender'
weight = 3
[lookup]
time = '200 ms'
rest = '60 s'
";

#[tokio::test]
async fn lists_weigh_clients() {
    let world = World::new(LISTS).await;
    world.dns.zone("bl.example", "1.2.0.192 A 127.0.0.2\n7.2.0.192 A 127.0.0.9\n8.2.0.192 A 127.0.0.9");
    world.dns.zone("wl.example", "8.2.0.192 A 127.0.10.1").zone("names.example", "spam.example A 127.0.0.2");
    let reply = |client: &'static str, sender: &'static str| {
        let world = &world;
        async move { world.reply(&outside(client, sender, "bob@example.org")).await }
    };
    assert_eq!(reply("192.0.2.1", "a@example.com").await, "DUNNO", "2 of 3");
    assert_eq!(reply("192.0.2.7", "a@example.com").await, "554 5.7.1 192.0.2.7 is listed by bl.example");
    assert_eq!(reply("192.0.2.8", "a@example.com").await, "DUNNO", "9 - 7 is 2");
}

#[tokio::test]
async fn a_dead_resolver_costs_little_and_refuses_nobody() {
    let world = World::new(LISTS).await;
    world.dns.down(true);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for number in 0..2000_u32 {
        let client = format!("203.0.{}.{}", number / 250, number % 250);
        let asked = Instant::now();
        assert_eq!(world.reply(&outside(&client, "a@example.com", "bob@example.org")).await, "DUNNO");
        slowest = slowest.max(asked.elapsed());
    }
    // Three failures of 200 ms each, and then nobody waits.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn lists_are_written_to_by_whom_they_admit() {
    let world = World::new("").await;
    let server = &world.server;
    server.domain("sub.example.org", None).await;
    server.mailbox_only("sue@sub.example.org").await;
    server.alias("team@example.org", &["bob@example.org", "inner@example.org", "far@example.net"]).await;
    server.alias("inner@example.org", &["joe@example.org"]).await;
    let list = Address::parse("team@example.org").expect("an address");
    // Members: bob, joe through another alias, far elsewhere. eve is in the domain, sue below it, mod moderates, own owns.
    let senders = [
        "bob@example.org",
        "joe+x@example.org",
        "far@example.net",
        "eve@example.org",
        "sue@sub.example.org",
        "stranger@example.com",
        "mod@example.net",
        "own@example.net",
    ];
    for (access, may) in [
        (Access::Public, "yyyyyyyy"),
        (Access::Domain, "yynynnyy"),
        (Access::Subdomains, "yynyynyy"),
        (Access::Members, "yyynnnyy"),
        (Access::Moderators, "nnnnnnyy"),
        (Access::MembersAndModerators, "yyynnnyy"),
    ] {
        let row = ListAccess {
            list: list.clone(),
            access,
            owners: vec!["Own@example.net".to_owned()],
            moderators: vec!["mod@example.net".to_owned()],
        };
        assert!(telling::set_list_access(server.mail(), &row).await.expect("works"));
        world.policy.reload().await.expect("read");
        let mut found = String::new();
        for sender in senders {
            let name = if sender.ends_with("example.org") { Some(sender) } else { None };
            let mut inquiry = outside("192.0.2.9", sender, "team@example.org");
            inquiry.sasl = name.map(|name| SaslFacts {
                method: "PLAIN".to_owned(),
                username: name.replace("+x", ""),
                sender: None,
            });
            let reply = world.reply(&inquiry).await;
            found.push(if reply == "DUNNO" { 'y' } else { 'n' });
            assert!(reply == "DUNNO" || reply.starts_with("550 5.7.2 only "), "{reply}");
        }
        assert_eq!(found, may, "{access:?}");
    }
    // Nobody at all is no member, and a detail does not open the list.
    begins(&world.reply(&outside("192.0.2.9", "", "team+x@example.org")).await, "550 5.7.2 ");
    assert!(telling::open_list(server.mail(), &list).await.expect("works"));
    world.policy.reload().await.expect("read");
    assert_eq!(world.reply(&outside("192.0.2.9", "", "team@example.org")).await, "DUNNO");
}

#[tokio::test]
async fn rules_tell_sources_and_destinations_apart() {
    let section = "
        [[group]]
        name = 'internal_ips'
        members = ['192.0.2.0/24', '%more']
        [[group]]
        name = 'more'
        members = ['198.51.100.0/24']
        [[group]]
        name = 'internal_domains'
        members = ['@example.org']
        [[rule]]
        name = 'closed'
        priority = 10
        source = ['!%internal_ips', '!%internal_domains']
        destination = ['eve@example.org']
        action = 'REJECT 5.7.1 eve is for insiders'
        [[rule]]
        name = 'mark'
        priority = 5
        source = ['@example.com']
        action = 'PREPEND X-Partner: yes'
        [[rule]]
        name = 'large'
        source = ['$-']
        larger = '1 MiB'
        stage = 'end-of-message'
        action = 'HOLD too large'
        [[rule]]
        name = 'elsewhere'
        source = ['~mail.example.net']
        destination = ['joe@example.org']
        action = 'REDIRECT bob@example.org'
    ";
    let world = World::new(section).await;
    let asked = |client: &'static str, sender: &'static str, recipient: &'static str| {
        let world = &world;
        async move { world.decide(&outside(client, sender, recipient)).await }
    };
    assert_eq!(
        asked("203.0.113.1", "a@example.net", "eve@example.org").await.reply().to_string(),
        "REJECT 5.7.1 eve is for insiders"
    );
    for inside in ["192.0.2.9", "198.51.100.1"] {
        assert_eq!(asked(inside, "a@example.net", "eve@example.org").await.action, Action::Dunno, "{inside}");
    }
    let marked = asked("203.0.113.1", "a@example.com", "eve@example.org").await;
    assert_eq!(marked.additions.len(), 1, "{marked:?}");
    assert!(matches!(marked.action, Action::Reject(_)), "{marked:?}");
    let marked = asked("203.0.113.1", "a@example.com", "bob@example.org").await;
    assert_eq!(marked.reply().to_string(), "PREPEND X-Partner: yes");
    let redirected = asked("192.0.2.1", "a@example.net", "joe@example.org").await;
    assert_eq!(redirected.action, Action::Redirect("bob@example.org".to_owned()));
    let mut end = outside("203.0.113.1", "a@example.net", "bob@example.org");
    (end.stage, end.size) = (Stage::EndOfMessage, 1 << 20);
    assert_eq!(world.decide(&end).await.action, Action::Dunno);
    end.size += 1;
    assert_eq!(world.decide(&end).await.action, Action::Hold(Some("too large".to_owned())));
}

#[tokio::test]
async fn ok_exempts_from_spam_checks_alone() {
    let section = "
        [[rule]]
        name = 'friend'
        source = ['192.0.2.3']
        action = 'OK'
        [reverse_dns]
        missing = 'reject'
    ";
    let world = World::new(section).await;
    assert_eq!(world.reply(&outside("192.0.2.3", "a@example.com", "bob@example.org")).await, "DUNNO");
    begins(&world.reply(&outside("192.0.2.6", "a@example.com", "bob@example.org")).await, "550 5.7.25");
    begins(&world.reply(&outside("192.0.2.3", "bob@example.org", "eve@example.org")).await, "550 5.7.1 log in");
}

#[tokio::test]
async fn recipients_are_counted() {
    let world = World::new("[recipients]\noutside = 3\nnull = 1").await;
    let asked = |sender: &str, before: usize| {
        let mut inquiry = outside("192.0.2.1", sender, "bob@example.org");
        inquiry.recipients = (0..before).map(|number| format!("{number}@example.org")).collect();
        let world = &world;
        async move { world.reply(&inquiry).await }
    };
    assert_eq!(asked("a@example.com", 2).await, "DUNNO");
    begins(&asked("a@example.com", 3).await, "452 4.5.3 ");
    assert_eq!(asked("", 0).await, "DUNNO");
    begins(&asked("", 1).await, "452 4.5.3 ");
    // Another server says how many there are when the text comes.
    let mut data = outside("192.0.2.1", "a@example.com", "bob@example.org");
    (data.stage, data.recipient, data.recipient_count) = (Stage::Data, None, 4);
    begins(&world.reply(&data).await, "552 5.5.3 ");
}

#[tokio::test]
async fn who_writes_to_a_trap_is_refused_everywhere_for_a_while() {
    let section = "[auto_blacklist]\nverdict = 'reject'\ntraps = ['trap@example.org']";
    let world = World::new(section).await;
    let reply = |policy: &Policy, client: &str, recipient: &str| {
        let (policy, inquiry) = (policy.clone(), outside(client, "a@example.com", recipient));
        async move { policy.decide(&inquiry).await.expect("told").reply().to_string() }
    };
    let explained =
        world.policy.explain(&outside("192.0.2.1", "a@example.com", "trap@example.org")).await.expect("told");
    assert_eq!(explained.decided_by, Some("auto blacklist"));
    assert_eq!(reply(&world.policy, "192.0.2.1", "bob@example.org").await, "DUNNO", "asking why changes nothing");
    begins(&reply(&world.policy, "192.0.2.1", "trap@example.org").await, "550 5.1.1 no such user");
    begins(&reply(&world.policy, "192.0.2.1", "bob@example.org").await, "550 5.7.1 mail from 192.0.2.1 is refused");
    assert_eq!(reply(&world.policy, "192.0.2.2", "bob@example.org").await, "DUNNO");
    world.policy.write().await.expect("written");
    let other = engine(&world.server, &world.dns, section).await;
    begins(&reply(&other, "192.0.2.1", "bob@example.org").await, "550 5.7.1 ");
    let mail = world.server.mail();
    assert_eq!(telling::banned(mail, 10).await.expect("read").len(), 1);
    assert!(telling::forgive(mail, "192.0.2.1").await.expect("written"));
    other.reload().await.expect("read");
    assert_eq!(reply(&other, "192.0.2.1", "bob@example.org").await, "DUNNO");
}

#[tokio::test]
async fn who_never_comes_back_is_refused_for_a_while() {
    let section = "[auto_blacklist]\nverdict = 'reject'\nattempts = 10\nshare = 90\nexempt = ['192.0.2.4']";
    let world = World::new(section).await;
    let url = world.server.config().database.url.as_ref().expect("a database").reveal().to_owned();
    let mut database = sqlx::PgConnection::connect(&url).await.expect("a connection");
    // Ten attempts of each, five hours ago, of which so many were tried again.
    for (client, passed) in [("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.4", 0), ("198.51.100.0/24", 0)] {
        sqlx::query(
            "insert into greylist_triplet (key, client, sender, recipient, first_seen, last_seen, passed_at, attempts)
             select convert_to($1 || n, 'utf8'), $1, n::text, '', at, at, case when n <= $2 then at end, 1
             from generate_series(1, 10) as n, (select now() - interval '5 hours' as at) as moment",
        )
        .bind(client)
        .bind(passed)
        .execute(&mut database)
        .await
        .expect("written");
    }
    let reply = |client: &'static str| {
        let world = &world;
        async move { world.reply(&outside(client, "a@example.com", "bob@example.org")).await }
    };
    assert_eq!(reply("192.0.2.1").await, "DUNNO");
    world.policy.review().await.expect("read");
    begins(&reply("192.0.2.1").await, "550 5.7.1 mail from 192.0.2.1 is refused");
    begins(&reply("198.51.100.77").await, "550 5.7.1 ");
    assert_eq!(reply("192.0.2.2").await, "DUNNO", "8 of 10 are not 90 percent");
    assert_eq!(reply("192.0.2.4").await, "DUNNO", "exempt");
    world.policy.write().await.expect("written");
    let banned = telling::banned(world.server.mail(), 10).await.expect("read");
    assert_eq!(banned.len(), 2);
    assert_eq!(banned[0].until - banned[0].since, chrono::TimeDelta::days(10));
    world.policy.review().await.expect("read");
    world.policy.write().await.expect("written");
    assert_eq!(telling::banned(world.server.mail(), 10).await.expect("read"), banned, "once is enough");
}

#[tokio::test]
async fn nobody_from_outside_lives_at_the_hostname() {
    let world = World::new("[sender]\nown_hostname = 'reject'").await;
    let host = world.server.config().server.hostname.to_string();
    let reply = |recipient: String| {
        let world = &world;
        async move { world.reply(&outside("192.0.2.1", "a@example.com", &recipient)).await }
    };
    begins(&reply(format!("root@{host}")).await, "550 5.1.1 ");
    begins(&reply(format!("SRS0=AAAA=BB=example.com=x@{host}")).await, "550 5.1.1 ");
    assert_eq!(reply(format!("Postmaster@{host}")).await, "DUNNO");
    assert_eq!(reply("bob@example.org".to_owned()).await, "DUNNO");
}

#[tokio::test]
async fn why_something_was_refused_can_be_asked_for_a_week() {
    let world = World::new("[reverse_dns]\nmissing = 'reject'").await;
    world.reply(&outside("192.0.2.3", "Anna@example.com", "Bob@example.org")).await;
    world.reply(&outside("192.0.2.1", "anna@example.com", "bob@example.org")).await;
    world.policy.write().await.expect("written");
    world.policy.forget().await.expect("partitions are made");
    let mail = world.server.mail();
    let found = |wanted: Wanted| async move { telling::why(mail, &wanted, 10).await.expect("read") };
    let text = |text: &str| Some(text.to_owned());
    let all = found(Wanted::default()).await;
    assert_eq!(all.len(), 1, "only what was refused: {all:#?}");
    let row = &all[0];
    assert_eq!((row.rule.as_str(), row.why.as_str()), ("reverse dns", "192.0.2.3 has no name"));
    begins(&row.action, "550 5.7.25 ");
    for wanted in [
        Wanted { sender: text("anna@EXAMPLE.com"), ..Wanted::default() },
        Wanted { recipient: text("bob@example.org"), ..Wanted::default() },
        Wanted { client: text("192.0.2.3"), ..Wanted::default() },
        Wanted { since: Some(row.at), ..Wanted::default() },
    ] {
        assert_eq!(found(wanted.clone()).await, all, "{wanted:?}");
    }
    for wanted in [
        Wanted { sender: text(""), ..Wanted::default() },
        Wanted { recipient: text("eve@example.org"), ..Wanted::default() },
        Wanted { login: text("bob@example.org"), ..Wanted::default() },
    ] {
        assert_eq!(found(wanted.clone()).await, [], "{wanted:?}");
    }
}

#[tokio::test]
async fn explaining_tells_what_every_check_finds() {
    let world = World::new("[reverse_dns]\nmissing = 'reject'\n[helo]\nours = 'reject'").await;
    let mut inquiry = outside("192.0.2.3", "bob@example.org", "eve@example.org");
    inquiry.helo = Some("example.org".to_owned());
    let explained = world.policy.explain(&inquiry).await.expect("told");
    assert_eq!(explained.decided_by, Some("forged sender"));
    let acts = |rule: &str| {
        let finding = explained.decision.findings.iter().find(|finding| finding.rule == rule);
        matches!(finding.map(|finding| &finding.said), Some(Said::Act(Action::Code { .. })))
    };
    assert!(acts("forged sender") && acts("reverse dns") && acts("helo"), "{explained:#?}");
    let decided = world.decide(&inquiry).await;
    assert_eq!(decided.findings.len(), 1, "the first that acts ends it: {decided:#?}");
}

#[tokio::test]
async fn whoever_is_on_a_white_list_still_may_not_relay() {
    let ok = |config: &mut posthorn_config::Config| {
        let text = "[[rule]]\nname = 'friends'\nsource = ['any']\naction = 'OK'";
        config.policy = toml::from_str(text).expect("a section");
    };
    let server = Server::start(ServerOptions::new().with(ok)).await;
    server.mailbox_only("bob@example.org").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<a@example.com>", "250").await;
    client.expect("RCPT TO:<x@example.net>", "550 5.7.1").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
}

#[tokio::test]
async fn port_25_believes_nobody_to_be_one_of_us() {
    let dns = DnsServer::start().await;
    dns.zone("example.org", "@ TXT \"v=spf1 ip4:192.0.2.1 -all\"")
        .zone("example.com", "@ TXT \"v=spf1 ip4:127.0.0.1 -all\"");
    let (address, anchor) = (dns.address(), dns.anchor());
    let alter = move |config: &mut posthorn_config::Config| {
        config.dns.servers = vec![address.to_string().parse().expect("a server")];
        config.dns.trust_anchor = Some(anchor);
    };
    let server = Server::start(ServerOptions::new().with(alter)).await;
    server.domain("example.com", None).await;
    server.account("bob@example.org", "secret-of-bob").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<bob@example.org>", "250").await;
    let reply = client.expect("RCPT TO:<bob@example.org>", "550 5.7.1 ").await;
    assert!(reply.contains("log in to send as bob@example.org"), "{reply}");
    client.expect("RSET", "250").await;
    client.expect("MAIL FROM:<x@example.com>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
    let mut client = server.smtp(Speaks::Submission).await.starttls().await;
    begins(&client.login("bob@example.org", "secret-of-bob").await, "235");
    client.expect("MAIL FROM:<>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "550 5.7.1 ").await;
    client.expect("RSET", "250").await;
    client.expect("MAIL FROM:<bob@example.org>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
}
