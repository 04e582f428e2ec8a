//! The resolver against a real server: what is found, what is not, what cannot be told, and what DNSSEC says of it.

use std::time::Duration;

use harness::dns::DnsServer;
use posthorn_net::dns::{Answer, Dns, DnsOptions, Dnssec, Mx, MxAnswer};

const EXAMPLE: &str = "
@       MX 20 backup
@       MX 10 mx
mx      A 192.0.2.1
mx      AAAA 2001:db8::1
backup  A 192.0.2.2
null    MX 0 .
host    A 192.0.2.3
alias   CNAME host
www     CNAME mx.other.example.
mailto  CNAME elsewhere.other.example.
_25._tcp.mx TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
_mta-sts TXT \"v=STSv1; \" \"id=1;\"
empty   TXT \"nothing else\"
circle  CNAME round
round   CNAME circle
";

const OTHER: &str = "
mx      A 192.0.2.9
@       A 192.0.2.10
elsewhere A 192.0.2.11
_25._tcp.mx TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
";

async fn server() -> DnsServer {
    let server = DnsServer::start().await;
    server.signed_zone("example", EXAMPLE).signed_zone("other.example", OTHER).zone("plain.example", EXAMPLE);
    server
}

async fn hosts(dns: &Dns, domain: &str) -> Mx {
    match dns.mx(domain).await {
        MxAnswer::Hosts(mx) => mx,
        other => panic!("{domain}: {other:?}"),
    }
}

#[tokio::test]
async fn exchangers_come_best_first_with_their_proof() {
    let server = server().await;
    let dns = server.resolver();
    for (domain, secure) in [("example", true), ("plain.example", false)] {
        let mx = hosts(&dns, domain).await;
        let names: Vec<_> = mx.hosts.iter().map(|mx| (mx.preference, mx.host.clone())).collect();
        assert_eq!(names, [(10, format!("mx.{domain}")), (20, format!("backup.{domain}"))]);
        assert_eq!((mx.secure, mx.implicit), (secure, false), "{domain}");
        let lifetime = mx.expires.duration_since(std::time::Instant::now());
        assert!(lifetime > Duration::from_mins(4) && lifetime <= Duration::from_mins(5), "{lifetime:?}");
    }
}

#[tokio::test]
async fn no_exchanger_means_the_host_itself() {
    let server = server().await;
    let dns = server.resolver();
    for (domain, secure) in [("host.example", true), ("host.plain.example", false), ("other.example", true)] {
        let mx = hosts(&dns, domain).await;
        assert_eq!(mx.hosts[0].host, domain);
        assert_eq!((mx.secure, mx.implicit), (secure, true), "{domain}");
    }
}

#[tokio::test]
async fn null_and_nothing_are_told_apart() {
    let server = server().await;
    let dns = server.resolver();
    assert_eq!(dns.mx("null.example").await, MxAnswer::Null);
    assert_eq!(dns.mx("missing.example").await, MxAnswer::NoSuchDomain);
    assert_eq!(dns.mx("missing.plain.example").await, MxAnswer::NoSuchDomain);
    assert_eq!(dns.mx("empty.example").await, MxAnswer::NoSuchDomain);
    assert_eq!(dns.mx("no..name").await, MxAnswer::NoSuchDomain);
    assert_eq!(dns.addresses("missing.example").await, Answer::NoSuchName);
    assert_eq!(dns.addresses("empty.example").await, Answer::None);
    assert_eq!(dns.addresses("empty.plain.example").await, Answer::None);
}

#[tokio::test]
async fn addresses_and_aliases() {
    let server = server().await;
    let dns = server.resolver();
    let mx = dns.addresses("MX.Example").await.found().expect("addresses");
    assert_eq!((mx.v4.len(), mx.v6.len(), mx.secure, mx.canonical), (1, 1, true, None));
    let host = dns.addresses("host.example").await.found().expect("addresses");
    assert_eq!((host.v4.len(), host.v6.len(), host.secure), (1, 0, true));
    let alias = dns.addresses("alias.example").await.found().expect("addresses");
    assert_eq!((alias.secure, alias.canonical.as_deref()), (true, Some("host.example")));
    let far = dns.addresses("www.example").await.found().expect("addresses");
    assert_eq!((far.secure, far.canonical.as_deref()), (true, Some("mx.other.example")));
    let plain = dns.addresses("www.plain.example").await.found().expect("addresses");
    assert!(!plain.secure, "an alias that nobody signed proves nothing");
    assert!(matches!(dns.addresses("circle.example").await, Answer::Temporary(_)));
}

#[tokio::test]
async fn an_alias_to_another_signed_zone_may_lack_records() {
    let server = server().await;
    let dns = server.resolver();
    let mx = hosts(&dns, "mailto.example").await;
    assert_eq!((mx.hosts[0].host.as_str(), mx.implicit), ("mailto.example", true));
    assert_eq!(dns.addresses("mailto.example").await.found().expect("addresses").v4.len(), 1);
}

#[tokio::test]
async fn tlsa_records_count_when_all_is_secure() {
    let server = server().await;
    let dns = server.resolver();
    let set = dns.tlsa("mx.example", 25).await.found().expect("records");
    assert_eq!((set.records[0].usage, set.records[0].is_usable(), set.base.as_str()), (3, true, "mx.example"));
    assert_eq!(dns.tlsa("mx.plain.example", 25).await, Answer::None, "insecure records are none");
    assert!(matches!(dns.tlsa("backup.example", 25).await, Answer::NoSuchName | Answer::None));

    let addresses = dns.addresses("mx.example").await.found().expect("addresses");
    assert!(dns.dane(true, "mx.example", 25, &addresses).await.found().is_some());
    assert_eq!(dns.dane(false, "mx.example", 25, &addresses).await, Answer::None, "the MX set is insecure");
    let alias = dns.addresses("www.example").await.found().expect("addresses");
    let set = dns.dane(true, "www.example", 25, &alias).await.found().expect("records");
    assert_eq!(set.base, "mx.other.example", "the alias' own name is the base");
}

#[tokio::test]
async fn texts_are_joined() {
    let server = server().await;
    let texts = server.resolver().txt("_mta-sts.example").await.found().expect("texts");
    assert_eq!((texts.texts, texts.secure), (vec!["v=STSv1; id=1;".to_owned()], true));
}

#[tokio::test]
async fn a_bad_day_is_temporary_and_ends() {
    let server = server().await;
    let dns = server.resolver();
    server.failing(true);
    assert!(matches!(dns.mx("example").await, MxAnswer::Temporary(text) if text.contains("Server Failure")));
    server.failing(false);
    server.down(true);
    let hasty = Dns::new(&DnsOptions { timeout: Duration::from_millis(100), attempts: 1, ..server.options() });
    let hasty = hasty.expect("resolver");
    assert!(matches!(hasty.mx("host.example").await, MxAnswer::Temporary(text) if text.contains("in time")));
    server.down(false);
    assert_eq!(dns.mx("null.example").await, MxAnswer::Null);
    let back = async {
        while !matches!(dns.mx("example").await, MxAnswer::Hosts(_)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), back).await.expect("failures are forgotten soon");
}

#[tokio::test]
async fn one_family_is_enough() {
    let server = server().await;
    server.fail("mx.example", "AAAA");
    let dns = server.resolver();
    let addresses = dns.addresses("mx.example").await.found().expect("addresses");
    assert_eq!((addresses.v4.len(), addresses.v6.len()), (1, 0));
    assert!(addresses.secure, "else whoever blocks one question switches DANE off");
    server.fail("host.example", "A");
    assert!(matches!(dns.addresses("host.example").await, Answer::Temporary(_)));
    assert!(matches!(dns.mx("host.example").await, MxAnswer::Temporary(_)), "an implicit MX waits as well");
}

#[tokio::test]
async fn spoiled_signatures_are_temporary_failures() {
    let server = server().await;
    server.spoil("other.example");
    let dns = server.resolver();
    assert!(matches!(dns.mx("other.example").await, MxAnswer::Temporary(text) if text.contains("DNSSEC")));
    assert!(matches!(dns.addresses("mx.other.example").await, Answer::Temporary(_)));
    assert!(matches!(dns.tlsa("mx.other.example", 25).await, Answer::Temporary(_)));
    assert!(hosts(&dns, "example").await.secure, "the zone above is untouched");
}

#[tokio::test]
async fn a_crowd_asks_once() {
    let server = server().await;
    let dns = Dns::new(&DnsOptions { dnssec: Dnssec::Never, ..server.options() }).expect("resolver");
    server.delay(Duration::from_millis(50));
    let crowd = (0..50).map(|_| {
        let dns = dns.clone();
        tokio::spawn(async move { hosts(&dns, "example").await.hosts.len() })
    });
    for one in crowd.collect::<Vec<_>>() {
        assert_eq!(one.await.expect("answered"), 2);
    }
    assert_eq!(server.asked("example", "MX"), 1);
    hosts(&dns, "example").await;
    assert_eq!(server.asked("example", "MX"), 1, "and keeps the answer");
    dns.forget();
    hosts(&dns, "example").await;
    assert_eq!(server.asked("example", "MX"), 2);
}

#[tokio::test]
async fn a_chain_of_trust_is_asked_for_once() {
    let server = server().await;
    let dns = server.resolver();
    for name in ["host.example", "mx.example", "backup.example", "mx.other.example"] {
        assert!(dns.addresses(name).await.found().expect("addresses").secure);
    }
    for (zone, kind) in [("", "DNSKEY"), ("example", "DS"), ("example", "DNSKEY"), ("other.example", "DNSKEY")] {
        assert_eq!(server.asked(zone, kind), 1, "{zone} {kind}");
    }
}

#[tokio::test]
async fn zones_may_change_and_come_in_any_order() {
    let server = DnsServer::start().await;
    server.signed_zone("deep.down.test", "@ MX 1 a\n").signed_zone("down.test", "@ MX 1 b\n");
    let dns = server.resolver();
    assert!(hosts(&dns, "deep.down.test").await.secure && hosts(&dns, "down.test").await.secure);
    server.signed_zone("down.test", "@ MX 1 c\n");
    dns.forget();
    assert_eq!(hosts(&dns, "down.test").await.hosts[0].host, "c.down.test");
    assert!(hosts(&dns, "deep.down.test").await.secure);
    server.zone("down.test", "@ MX 1 d\n");
    dns.forget();
    assert!(!hosts(&dns, "deep.down.test").await.secure, "an island: nobody vouches for its key");
}

#[tokio::test]
async fn without_proofs_names_resolve_and_nothing_is_secure() {
    let (server, stranger) = (server().await, DnsServer::start().await);
    // The anchor of another root: this server's proofs are worth nothing.
    let options = DnsOptions { trust_anchor: Some(stranger.anchor()), dnssec: Dnssec::IfPossible, ..server.options() };
    let mx = hosts(&Dns::new(&options).expect("resolver"), "example").await;
    assert!(!mx.secure);
    let always = Dns::new(&DnsOptions { dnssec: Dnssec::Always, ..options }).expect("resolver");
    assert!(matches!(always.mx("example").await, MxAnswer::Temporary(_)));
    let possible = Dns::new(&DnsOptions { dnssec: Dnssec::IfPossible, ..server.options() }).expect("resolver");
    assert!(hosts(&possible, "example").await.secure);
}

#[tokio::test]
async fn large_answers_come_by_tcp() {
    let server = server().await;
    let many: String = (0..200).map(|n| format!("@ MX {n} a-rather-long-host-name-number-{n}\n")).collect();
    let more: String = (0..200).map(|n| format!("a A 192.0.2.{n}\n")).collect();
    server.signed_zone("large.test", &format!("{many}{more}"));
    let dns = server.resolver();
    let mx = hosts(&dns, "large.test").await;
    assert_eq!((mx.hosts.len(), mx.secure), (100, true), "the best hundred");
    let addresses = dns.addresses("a.large.test").await.found().expect("addresses");
    assert_eq!((addresses.v4.len(), addresses.secure), (16, true));
}
