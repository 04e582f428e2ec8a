//! Limits of delivery, counted by who receives: what was written once is one bucket, whoever inherits it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use harness::dns::DnsServer;
use posthorn_config::Config;

use crate::office::{Office, until};
use crate::receiver::Receiver;

/// How many messages two bindings of a group may send at each moment of a clock that is stepped from one token of ten in
/// a second to the next.
async fn assert_share(of_binding_b: &str, each_moment: usize) {
    let receiver = Receiver::willing().await;
    let to = format!("to = 'smtp://127.0.0.1:{}'", receiver.port);
    let text = format!(
        "[[binding_group]]\nname = 'g'\nmessages_per_second = 10\n\
         [[binding]]\nname = 'a'\ngroup = 'g'\n\
         [[binding]]\nname = 'b'\ngroup = 'g'\n{of_binding_b}\n\
         [[route]]\nrecipients = ['a.example']\nbinding = 'a'\n{to}\n\
         [[route]]\nrecipients = ['b.example']\nbinding = 'b'\n{to}\n"
    );
    let declared: Config = toml::from_str(&text).expect("a configuration");
    let office = Office::new(receiver.port, |config| {
        (config.binding_group, config.binding, config.route) =
            (declared.binding_group, declared.binding, declared.route);
    })
    .await;
    for number in 0..8 {
        office.send(&[&format!("u{number}@a.example")]).await;
        office.send(&[&format!("u{number}@b.example")]).await;
    }
    for moment in 1..=4 {
        let allowed = moment * each_moment;
        until("as many as may", async || receiver.messages().len() >= allowed).await;
        // Whoever waits looks again each tenth of a second.
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(receiver.messages().len(), allowed, "at moment {moment}");
        office.clock.step(TimeDelta::milliseconds(101));
    }
    let froms = |domain: &str| {
        let of = |message: &&crate::receiver::Message| message.recipients[0].ends_with(domain);
        receiver.messages().iter().filter(of).count()
    };
    if each_moment == 2 {
        assert!(froms("@a.example") >= 4 && froms("@b.example") >= 4);
    }
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_bindings_share_the_limit_of_their_group() {
    assert_share("", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_written_again_is_another_one() {
    assert_share("messages_per_second = 10", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_on_one_set_of_hosts_share_its_connections() {
    for limit in [2, 3] {
        let receiver = Receiver::new("PIPELINING", |line, _| line.starts_with(". ").then(|| "wait".to_owned())).await;
        let dns = DnsServer::start().await;
        let zone = "mx1 A 127.0.0.1\nmx2 A 127.0.0.1\nmx3 A 127.0.0.1\n\
            one MX 10 mx1\none MX 20 mx2\ntwo MX 20 mx2\ntwo MX 10 mx1\nthree MX 10 mx1\nthree MX 20 mx2\nalone MX 10 mx3\n";
        dns.zone("example", zone).zone("example.net", "@ MX 10 mx3.example.\n");
        let office = Office::asking(dns.options(), receiver.port, |config| {
            config.route.clear();
            config.delivery.options.connections = Some(limit);
            config.delivery.options.connections_per_address = Some(0);
        })
        .await;
        let limit = limit as usize;
        for number in 0..6 {
            for domain in ["one", "two", "three", "alone"] {
                office.send(&[&format!("u{number}@{domain}.example")]).await;
            }
        }
        let open = || receiver.seen.open.load(Ordering::Relaxed);
        until("both sites use what they have", async || open() == 2 * limit).await;
        until("everything waits", async || office.courier().stats().resident == 24).await;
        let sites = office.courier().sites();
        let mut connections: Vec<_> = sites.iter().map(|site| (site.name.as_str(), site.connections)).collect();
        connections.sort_unstable();
        assert_eq!(connections, [("mx1.example,mx2.example", limit), ("mx3.example", limit)]);
        receiver.seen.gate.send_replace(true);
        office.settled().await;
        assert_eq!(receiver.messages().len(), 24);
        assert_eq!(receiver.seen.most.load(Ordering::Relaxed), 2 * limit, "never more");
        office.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_to_an_address_keeps_the_limit_of_addresses() {
    let receiver = Receiver::new("PIPELINING", |line, _| line.starts_with(". ").then(|| "wait".to_owned())).await;
    let office = Office::new(receiver.port, |config| {
        config.delivery.options.connections = Some(8);
        config.delivery.options.connections_per_address = Some(2);
    })
    .await;
    for number in 0..8 {
        office.send(&[&format!("u{number}@one.example")]).await;
    }
    until("it uses what it has", async || receiver.seen.open.load(Ordering::Relaxed) == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    receiver.seen.gate.send_replace(true);
    until("all is sent", async || receiver.messages().len() == 8).await;
    office.settled().await;
    assert_eq!(receiver.seen.most.load(Ordering::Relaxed), 2, "never more");
    assert!(office.rows().await.is_empty(), "nothing was deferred for want of a connection");
    office.stop().await;
}
