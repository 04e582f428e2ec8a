//! What is found out about strangers' mail: SPF, DKIM, ARC and DMARC asked over the wire, written on top of the message
//! and into its trace, and sealed into what is forwarded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use harness::dns::DnsServer;
use harness::server::{Server, ServerOptions};
use posthorn_config::{Config, Span, Speaks};
use posthorn_mail::directory::AccountChange;
use posthorn_mail::queue::{Body, Selection};
use posthorn_mail::trace::TraceOf;
use posthorn_model::{Address, Domain};
use posthorn_trust::results::AuthenticationResults;
use posthorn_trust::{Chain, Found, KeyType, Keys, Signed, Signer, SigningKey, arc, sign};

/// A server that asks a DNS server of its own, and that server.
struct Rig {
    server: Server,
    dns: DnsServer,
    /// Of `sender.test`, published there.
    signer: Signer,
}

const MESSAGE: &str = "From: Ann <ann@sender.test>\r\nTo: eve@example.org\r\nSubject: hello\r\n\
    Message-ID: <m1@sender.test>\r\n\r\nHello.\r\n";

async fn rig(zone: &str) -> Rig {
    let dns = DnsServer::start().await;
    let key = Arc::new(SigningKey::generate(KeyType::Ed25519).expect("a key"));
    let record = key.record().expect("a record");
    let signer = Signer::new(Domain::parse("sender.test").expect("a domain"), "k1", key).expect("a signer");
    dns.zone("sender.test", &format!("k1._domainkey TXT \"{record}\"\n{zone}"));
    let (address, anchor) = (dns.address(), dns.anchor());
    let asking = move |config: &mut Config| {
        config.checks.enable = true;
        config.dns.servers = vec![address.to_string().parse().expect("a server")];
        config.dns.trust_anchor = Some(anchor);
        config.route = toml::from_str::<Config>("[[route]]\nto = \"smtp://127.0.0.1:1\"").expect("a route").route;
    };
    let server = Server::start(ServerOptions::new().with(asking)).await;
    server.mailbox_only("eve@example.org").await;
    Rig { server, dns, signer }
}

impl Rig {
    fn signed(&self, message: &str) -> String {
        let (header, text) = message.split_at(message.find("\r\n\r\n").expect("a blank line") + 4);
        let top = sign(std::slice::from_ref(&self.signer), header.as_bytes(), text.as_bytes(), Utc::now());
        format!("{}{message}", String::from_utf8(top.expect("signed")).expect("text"))
    }

    fn sealed(&self, message: &str, chain: Chain) -> String {
        let (header, text) = message.split_at(message.find("\r\n\r\n").expect("a blank line") + 4);
        let found = arc::Found { authserv_id: "list.test", results: "spf=pass", chain };
        let top = arc::seal(&self.signer, &found, header.as_bytes(), text.as_bytes(), Utc::now()).expect("sealed");
        format!("{}{message}", String::from_utf8(top.expect("may be sealed")).expect("text"))
    }

    async fn deliver(&self, message: &str) -> String {
        let mut client = self.server.smtp(Speaks::Smtp).await;
        let reply = client.deliver("ann@sender.test", &["eve@example.org"], message).await;
        assert!(reply.starts_with("250 "), "{reply}");
        reply
    }

    /// What lies in the mailbox last.
    async fn stored(&self) -> String {
        let stored = self.server.messages("eve@example.org", "INBOX").await.pop().expect("a message");
        String::from_utf8(stored).expect("text")
    }

    /// The results that were written on top, and how many such fields there are.
    async fn results(&self) -> (AuthenticationResults, usize) {
        let stored = self.stored().await;
        let header = &stored[..stored.find("\r\n\r\n").expect("a blank line") + 4];
        let all: Vec<_> = posthorn_mime::fields(header.as_bytes())
            .filter(|field| field.is("Authentication-Results"))
            .map(|field| AuthenticationResults::parse(field.value).expect("well-formed"))
            .collect();
        (all.first().expect("results").clone(), all.len())
    }

    async fn words(&self) -> Vec<String> {
        let (results, _) = self.results().await;
        assert_eq!(results.authserv_id, "localhost");
        results.results.iter().map(|one| format!("{}={}", one.method, one.result)).collect()
    }

    async fn queued(&self) -> Vec<String> {
        let queue = self.server.mail().queue();
        let mut all = Vec::new();
        for entry in queue.list(&Selection::default(), None, 100).await.expect("the store works") {
            let body = queue.body(entry.outgoing.message, entry.outgoing.size).await.expect("the store works");
            let Some(Body::Whole(octets)) = body else { panic!("a small message") };
            let top = entry.outgoing.top.as_deref().unwrap_or_default();
            all.push(String::from_utf8([top, &octets.header, &octets.text].concat()).expect("text"));
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_written_down() {
    let rig = rig("@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n").await;
    let forged = "Authentication-Results: LOCALHOST; dkim=pass header.d=bank.test\r\n\
        Authentication-Results: other.test; spf=fail\r\n";
    rig.deliver(&rig.signed(&format!("{forged}{MESSAGE}"))).await;
    assert_eq!(rig.words().await, ["spf=pass", "dkim=pass", "arc=none", "dmarc=pass", "iprev=pass"]);
    let (results, fields) = rig.results().await;
    assert_eq!(fields, 2, "the forged one is gone, the stranger's is not");
    let of = |method: &str, name: &str| results.of(method).next().and_then(|one| one.property(name)).map(str::to_owned);
    assert_eq!(of("spf", "smtp.mailfrom").as_deref(), Some("sender.test"));
    assert_eq!(of("dkim", "header.s").as_deref(), Some("k1"));
    assert_eq!(of("dmarc", "header.from").as_deref(), Some("sender.test"));
    assert!(rig.stored().await.contains("Authentication-Results: other.test; spf=fail\r\n"));
    assert!(!rig.stored().await.contains("bank.test"));

    rig.server.mail().store().chronicle().flush().await;
    let header_id = TraceOf::Header("m1@sender.test".to_owned());
    let traces = rig.server.mail().trace(&header_id, 10).await.expect("the store works");
    let told = &traces[0].entries[0].detail;
    for part in ["ip4:127.0.0.1", "a signature and the reverse path are of sender.test"] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_shown_is_taken_and_says_so() {
    let rig = rig("@ TXT \"v=spf1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n").await;
    rig.deliver(MESSAGE).await;
    assert_eq!(rig.words().await, ["spf=fail", "dkim=none", "arc=none", "dmarc=fail", "iprev=pass"]);
    let (results, _) = rig.results().await;
    let dmarc = results.of("dmarc").next().and_then(|one| one.property("policy.dmarc"));
    assert_eq!(dmarc, Some("reject"));
    rig.deliver(&rig.signed(MESSAGE).replace("Hello", "Hullo")).await;
    assert_eq!(rig.words().await, ["spf=fail", "dkim=fail", "arc=none", "dmarc=fail", "iprev=pass"]);
    // A large message is checked away from the sessions' threads.
    let large = format!("{MESSAGE}{}", "A line of a large message, one of many such.\r\n".repeat(10_000));
    rig.deliver(&rig.signed(&large)).await;
    assert_eq!(rig.words().await, ["spf=fail", "dkim=pass", "arc=none", "dmarc=pass", "iprev=pass"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_known_by_a_name_that_leads_back() {
    let rig = rig("").await;
    rig.deliver(MESSAGE).await;
    // Every resolver knows that name by itself.
    let stored = rig.stored().await;
    assert!(stored.contains("iprev=pass (localhost) policy.iprev=127.0.0.1\r\n"), "{stored}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_whom_we_trust_are_not_looked_into() {
    let rig = rig("@ TXT \"v=spf1 -all\"\n").await;
    let forged = format!("Authentication-Results: localhost; spf=pass\r\n{MESSAGE}");
    let mut lmtp = rig.server.smtp(Speaks::Lmtp).await;
    assert!(lmtp.deliver("ann@sender.test", &["eve@example.org"], &forged).await.starts_with("250 "));
    let stored = rig.stored().await;
    assert_eq!(stored.matches("Authentication-Results: ").count(), 1, "it may have been checked in our name: {stored}");
    rig.server.account("bob@example.org", "right horse").await;
    let mut bob = rig.server.smtp(Speaks::Submissions).await;
    assert!(bob.login("bob@example.org", "right horse").await.starts_with("235 "));
    assert!(bob.deliver("bob@example.org", &["eve@example.org"], &forged).await.starts_with("250 "));
    assert!(!rig.stored().await.contains("Authentication-Results"), "nobody logged in writes in our name");
    assert_eq!(rig.dns.asked("sender.test", "TXT"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_resolver_costs_a_bounded_time() {
    let dns = DnsServer::start().await;
    dns.down(true);
    let address = dns.address();
    let asking = move |config: &mut Config| {
        config.checks.enable = true;
        config.checks.timeout = Span::from_secs(1);
        config.dns.servers = vec![address.to_string().parse().expect("a server")];
    };
    let server = Server::start(ServerOptions::new().with(asking)).await;
    server.mailbox_only("eve@example.org").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let begun = Instant::now();
    let field = "DKIM-Signature: v=1; a=rsa-sha256; d=sender.test; s=k1; h=From; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n";
    let reply = client.deliver("ann@sender.test", &["eve@example.org"], &format!("{field}{MESSAGE}")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let stored = server.messages("eve@example.org", "INBOX").await.pop().expect("a message");
    let stored = String::from_utf8(stored).expect("text");
    for result in ["spf=temperror", "dkim=temperror", "dmarc=temperror", "iprev=temperror"] {
        assert!(stored.contains(result), "{result} in {stored}");
    }
    // Whoever comes next waits less.
    let begun = Instant::now();
    for _ in 0..4 {
        let reply = client.deliver("ann@sender.test", &["eve@example.org"], MESSAGE).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// A signature that says so; its key is asked for.
fn claims(domain: &str, message: &str) -> String {
    format!(
        "DKIM-Signature: v=1; a=rsa-sha256; d={domain}; s=k1; h=From; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; \
         b=AAAA\r\n{message}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobodys_slow_answers_cost_a_domain_its_policy() {
    let dns = DnsServer::start().await;
    dns.zone("bank.test", "@ TXT \"v=spf1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n");
    dns.zone("evil.test", "www A 192.0.2.1\n").zone("mute.test", "@ TXT \"v=spf1 -all\"\n");
    for name in ["evil.test", "k1._domainkey.evil.test", "k1._domainkey.bank.test", "_dmarc.mute.test"] {
        dns.silence(name, "TXT");
    }
    let (address, anchor) = (dns.address(), dns.anchor());
    let asking = move |config: &mut Config| {
        config.checks.enable = true;
        config.checks.timeout = Span::from_secs(2);
        config.filter.enable = true;
        config.policy.enable = false;
        config.dns.servers = vec![address.to_string().parse().expect("a server")];
        config.dns.trust_anchor = Some(anchor);
    };
    let server = Server::start(ServerOptions::new().with(asking)).await;
    server.mailbox_only("eve@example.org").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let of = |author: &str| {
        format!("Date: Fri, 20 Nov 2026 10:00:00 +0000\r\n{}", MESSAGE.replace("ann@sender.test", author))
    };
    let forged = claims("evil.test", &of("ann@bank.test"));
    let reply = client.deliver("x@evil.test", &["eve@example.org"], &forged).await;
    assert!(reply.starts_with("550 5.7.1 the message is not shown to be of bank.test"), "{reply}");

    // The signature may be the bank's own: nobody knows before its key can be asked for.
    let perhaps = claims("bank.test", &of("ann@bank.test"));
    let reply = client.deliver("x@evil.test", &["eve@example.org"], &perhaps).await;
    assert!(reply.starts_with("451 4.7.1 the message is not shown to be of bank.test yet"), "{reply}");
    assert!(server.messages("eve@example.org", "INBOX").await.is_empty());

    // What a domain wants cannot be told now: that counts a little, and the trace names it.
    let reply = client.deliver("ann@mute.test", &["eve@example.org"], &of("ann@mute.test")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    server.mail().store().chronicle().flush().await;
    let id = TraceOf::Header("m1@sender.test".to_owned());
    let traces = server.mail().trace(&id, 10).await.expect("the store works");
    let told = &traces[0].entries[0].detail;
    for part in ["DMARC_TEMPERROR=1 (it cannot be told now", "dmarc=temperror: _dmarc.mute.test TXT cannot be told now"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_go_on_through_a_forward() {
    let rig = rig("@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\n").await;
    let mail = rig.server.mail();
    let domain = Domain::parse("example.org").expect("a domain");
    let made = mail.create_dkim_keys(&domain, &[KeyType::Rsa], Some("ours"), Utc::now()).await;
    let ours = made.expect("works").expect("a key")[0].record.clone();
    let to = AccountChange { forward_to: Some(vec!["far@example.com".to_owned()]), ..AccountChange::default() };
    let eve = Address::parse("eve@example.org").expect("an address");
    mail.set_account(&eve, to).await.expect("the store works").expect("changed");

    let keys = Keys::from([
        ("ours._domainkey.example.org".to_owned(), Found::Some(vec![ours])),
        ("k1._domainkey.sender.test".to_owned(), Found::Some(vec![rig.signer.key().record().expect("a record")])),
    ]);
    let chain = |message: &str| {
        let verified = Signed::parse(message.as_bytes()).expect("a header").verify(&keys, Utc::now());
        (verified.chain, verified.sealers)
    };
    let once = rig.sealed(&rig.signed(MESSAGE), Chain::None);
    let twice = rig.sealed(&once, Chain::Pass);
    rig.deliver(&twice).await;
    let leaves = rig.queued().await.pop().expect("queued");
    assert!(leaves.contains("ARC-Seal: i=3; a=rsa-sha256; cv=pass;"), "{leaves}");
    assert_eq!(
        chain(&leaves),
        (Chain::Pass, ["sender.test", "sender.test", "example.org"].map(str::to_owned).to_vec())
    );
    let sealed = leaves.split("ARC-Authentication-Results: i=3; ").nth(1).expect("results of ours");
    let sealed = sealed.split("\r\nDelivered-To").next().unwrap_or_default().replace("\r\n\t", " ");
    for part in
        ["localhost; spf=pass smtp.mailfrom=sender.test", "dkim=pass header.d=sender.test", "arc=pass", "dmarc=none"]
    {
        assert!(sealed.contains(part), "{part} in {sealed}");
    }

    rig.deliver(&twice.replace("Hello", "Hullo")).await;
    let leaves = rig.queued().await.into_iter().find(|one| one.contains("Hullo")).expect("queued");
    assert!(leaves.contains("ARC-Seal: i=3; a=rsa-sha256; cv=fail;"), "{leaves}");
    assert_eq!(chain(&leaves).0, Chain::Fail);

    // A key that cannot be asked for now says nothing about the chain: it is left as it is.
    rig.dns.fail("late._domainkey.sender.test", "TXT");
    rig.deliver(&once.replace("s=k1", "s=late").replace("Hello", "Later")).await;
    let leaves = rig.queued().await.into_iter().find(|one| one.contains("Later")).expect("queued");
    assert!(leaves.contains("arc=temperror") && !leaves.contains("ARC-Seal: i=2"), "{leaves}");
}
