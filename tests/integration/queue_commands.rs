//! The commands about mail that leaves, as people run them beside a server.
//!
//! The courier is stopped, so that what is queued stays there to be looked at.

use std::path::PathBuf;
use std::time::Duration;

use harness::program::{Ran, run};
use harness::server::{Server, ServerOptions};
use posthorn_config::Speaks;
use serde_json::Value;
use tempfile::TempDir;

/// A server, and a configuration file for commands on its database.
struct Desk {
    server: Server,
    folder: TempDir,
    config: PathBuf,
}

impl Desk {
    async fn new() -> Self {
        let server = Server::start(ServerOptions::new()).await;
        server.appliance().courier().stop(Duration::ZERO).await;
        Self::of(server).await
    }

    async fn of(server: Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("posthorn.toml");
        let text = format!(
            "[server]\ndata = '{}'\n[database]\nurl = '{}'\n[[route]]\nname = 'partner'\nrecipients = ['partner.example']\nto = 'discard'\n",
            server.config().server.data.display(),
            server.appliance().database().url()
        );
        std::fs::write(&config, text).expect("written");
        server.account("bob@example.org", "right horse").await;
        Self { server, folder, config }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let config = self.config.display().to_string();
        run(&[&["--config", &config], arguments].concat(), "")
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.out
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let out = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// The recipients of what is listed.
    #[track_caller]
    fn listed(&self, conditions: &[&str]) -> Vec<String> {
        let rows = self.json(&[&["queue", "list"], conditions].concat());
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row["recipient"].as_str().expect("a recipient").to_owned()).collect()
    }

    /// Submits a message of bob's to two recipients elsewhere.
    async fn submit(&self) {
        let mut client = self.server.smtp(Speaks::Submissions).await;
        let reply = client.login("bob@example.org", "right horse").await;
        assert!(reply.starts_with("235"), "{reply}");
        let message = "From: bob@example.org\r\nSubject: Offer 7\r\nMessage-ID: <m1@example.org>\r\n\r\nHello.\r\n";
        let reply = client.deliver("bob@example.org", &["ann@one.example", "joe@two.example"], message).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_seen_and_steered() {
    let desk = Desk::new().await;
    desk.submit().await;
    let (ann, joe) = ("ann@one.example", "joe@two.example");

    // Every condition selects.
    assert_eq!(desk.listed(&[]), [ann, joe]);
    assert_eq!(desk.listed(&["--domain", "TWO.example"]), [joe]);
    assert_eq!(desk.listed(&["--recipient", "@one.example", "--sender", "@example.org"]), [ann]);
    assert_eq!(desk.listed(&["--header", "subject:offer"]), [ann, joe]);
    assert_eq!(desk.listed(&["--message-id", "<m1@example.org>", "--newer-than", "1h"]), [ann, joe]);
    for none in [["--sender", "<>"], ["--header", "Subject:invoice"], ["--older-than", "1h"], ["--lane", "bulk"]] {
        assert_eq!(desk.listed(&none), [""; 0], "{none:?}");
    }
    assert_eq!(desk.done(&["queue", "list", "--count"]).trim(), "2");
    let first = &desk.json(&["queue", "list", "--limit", "1"])[0];
    let (id, behind) = (first["queue_id"].as_str().expect("an id"), first["delivery"].as_str().expect("an id"));
    assert_eq!(desk.listed(&["--after", behind]), [joe]);
    assert!(desk.done(&["queue", "show", id]).contains("message-id  m1@example.org"));
    assert_eq!(desk.json(&["queue", "show", id])["deliveries"].as_array().map(Vec::len), Some(2));

    // A dry run changes nothing; the whole queue is only meant on purpose.
    assert_eq!(desk.json(&["queue", "hold", "--domain", "one.example", "--dry-run"])["deliveries"], 1);
    assert_eq!(desk.listed(&["--state", "held"]), [""; 0]);
    assert_eq!(desk.run(&["queue", "hold"]).code, 2);
    assert_eq!(desk.json(&["queue", "hold", "--domain", "one.example", "--note", "audit"])["deliveries"], 1);
    assert_eq!(desk.listed(&["--state", "held", "--error", "AUDIT"]), [ann]);
    assert_eq!(desk.json(&["queue", "release", "--state", "held"])["deliveries"], 1);
    assert_eq!(desk.listed(&["--state", "held"]), [""; 0]);

    // Another way, if it is one.
    assert_eq!(desk.run(&["queue", "reroute", "--id", id, "--to", "partnr"]).code, 2);
    assert_eq!(
        desk.json(&["queue", "reroute", "--id", id, "--to", "partner", "--through", "default"])["deliveries"],
        2
    );
    let routed = desk.json(&["queue", "list"]);
    assert_eq!((&routed[0]["route"], &routed[0]["binding"]), (&Value::from("partner"), &Value::from("default")));
    desk.done(&["queue", "reroute", "--id", id, "--as-configured"]);
    assert_eq!(desk.json(&["queue", "list"])[0]["route"], Value::Null);

    // What is given up is told to its sender.
    assert_eq!(desk.json(&["queue", "fail", "--recipient", joe, "--reason", "no such partner"])["deliveries"], 1);
    assert_eq!(desk.listed(&[]), [ann]);
    let inbox = desk.server.messages("bob@example.org", "INBOX").await;
    let report = inbox.iter().map(|octets| String::from_utf8_lossy(octets)).find(|text| text.contains(joe));
    assert!(report.is_some_and(|text| text.contains("no such partner")), "{inbox:?}");

    // All of it is in the trace.
    let traced = desk.json(&["trace", id]);
    assert_eq!(traced[0]["message_id"], "m1@example.org");
    assert_eq!(desk.json(&["trace", "<m1@example.org>"])[0]["message"], traced[0]["message"]);
    assert_eq!(desk.json(&["trace", "--to", ann])[0]["queued"][0], id);
    assert!(desk.done(&["trace", id]).contains("note: audit"));
    assert_eq!(desk.run(&["trace", "1"]).code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_are_suspended_and_resumed() {
    let desk = Desk::new().await;
    desk.done(&["queue", "suspend", "--domain", "One.Example", "--for", "2h", "--note", "they asked"]);
    desk.done(&["queue", "suspend", "--binding", "default"]);
    let rows = desk.json(&["queue", "suspensions"]);
    let of = |at: usize, key: &str| rows[at][key].as_str().map(str::to_owned);
    assert_eq!(
        (of(0, "suspended"), of(1, "suspended")),
        (Some("binding default".into()), Some("domain one.example".into()))
    );
    assert_eq!((of(0, "until"), of(1, "why")), (None, Some("they asked".into())));
    assert_eq!(desk.run(&["queue", "suspend", "--binding", "nobody"]).code, 2);
    assert_eq!(desk.json(&["queue", "resume", "--domain", "one.example"])["was_suspended"], true);
    assert_eq!(desk.json(&["queue", "resume", "--domain", "one.example"])["was_suspended"], false);
    assert_eq!(desk.json(&["queue", "suspensions"]).as_array().map(Vec::len), Some(1));
    assert_eq!(desk.json(&["queue", "classify", "550 5.1.1 no such user here"])["class"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_rotated_and_published() {
    let desk = Desk::new().await;
    let made = desk.done(&["dkim", "create", "example.org"]);
    assert_eq!(made.lines().count(), 2, "{made}");
    assert!(
        made.contains("._domainkey.example.org. ") && made.contains("k=ed25519") && made.contains("k=rsa"),
        "{made}"
    );
    assert_eq!(desk.run(&["dkim", "create", "elsewhere.example"]).code, 1);
    desk.done(&["dkim", "rotate", "example.org", "--in", "2d"]);
    let states: Vec<_> =
        desk.json(&["dkim", "list"]).as_array().expect("rows").iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| *state == "active").count(), 2, "{states:?}");
    assert_eq!(states.iter().filter(|state| *state == "published").count(), 2, "{states:?}");
    let published = desk.done(&["dkim", "dns", "example.org"]);
    assert_eq!(published.lines().count(), 4, "{published}");
    let selector = desk.json(&["dkim", "list"])[0]["selector"].as_str().expect("a selector").to_owned();
    desk.done(&["dkim", "remove", "example.org", &selector]);
    assert_eq!(desk.json(&["dkim", "list"]).as_array().map(Vec::len), Some(3));
    // The key that they are sealed with lies beside the server's other things, and nowhere else.
    assert!(desk.server.config().server.data.join("dkim.key").exists());
    assert!(!desk.folder.path().join("dkim.key").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_are_suppressed_by_hand() {
    let desk = Desk::new().await;
    desk.done(&["suppression", "add", "ann@one.example", "--reason", "left", "--for", "14d"]);
    desk.done(&["suppression", "add", "joe@two.example", "--sender", "example.org"]);
    let rows = desk.json(&["suppression", "list"]);
    assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
    assert_eq!((&rows[0]["reason"], &rows[1]["sender_domain"]), (&Value::from("left"), &Value::from("example.org")));
    assert!(rows[0]["expires_at"].is_string() && rows[1]["expires_at"].is_null());
    desk.done(&["suppression", "remove", "ann@one.example"]);
    assert_eq!(desk.run(&["suppression", "remove", "ann@one.example"]).code, 1);
    assert_eq!(desk.json(&["suppression", "list"]).as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_for_a_destination_is_explained_with_its_bucket() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("posthorn.toml");
    let text = "[[binding]]\nname = 'a'\ngroup = 'pool'\n[[binding]]\nname = 'b'\ngroup = 'pool'\nmessages_per_second = 5\n\
                [[binding_group]]\nname = 'pool'\nmessages_per_second = 5\n[[delivery.domain]]\nname = 'example.com'\nconnections = 3\n";
    std::fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    let explained = |binding: &str| {
        let arguments =
            ["--config", &config, "config", "explain", "--delivery", "--binding", binding, "--domain", "Example.COM"];
        let ran = run(&arguments, "");
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out
    };
    let line =
        |out: &str, option: &str| out.lines().find(|line| line.starts_with(option)).expect("an option").to_owned();
    let (shared, own) = (line(&explained("a"), "messages_per_second"), line(&explained("b"), "messages_per_second"));
    assert!(
        shared.ends_with(
            ".toml:10 binding_group[0].messages_per_second; bucket binding_group \"pool\": messages_per_second"
        ),
        "{shared}"
    );
    assert!(
        own.ends_with(".toml:7 binding[1].messages_per_second; bucket binding \"b\": messages_per_second"),
        "{own}"
    );
    let connections = line(&explained("a"), "connections =");
    assert!(connections.starts_with("connections = 3  # ") && connections.contains(".toml:13 "), "{connections}");
    let wrong =
        run(&["--config", &config, "config", "explain", "--delivery", "--group", "pol", "--domain", "a.example"], "");
    assert!(wrong.code == 2 && wrong.err.contains("did you mean \"pool\"?"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_and_what_replies_changed_are_shown() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let server = Server::start(ServerOptions::new().with(move |config| {
        let to = format!("[[route]]\nto = 'smtp://127.0.0.1:{dead}'\n");
        config.route = toml::from_str::<posthorn_config::Config>(&to).expect("a route").route;
    }))
    .await;
    let desk = Desk::of(server).await;
    desk.submit().await;
    let end = tokio::time::Instant::now() + Duration::from_secs(120);
    let site = loop {
        assert!(tokio::time::Instant::now() < end, "nothing was refused");
        let sites = desk.json(&["queue", "sites"]);
        match sites.as_array().expect("rows").iter().find(|site| !site["last_refusal"].is_null()) {
            Some(site) => break site.clone(),
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert_eq!(
        (&site["binding"], &site["connections"], &site["hosts"][0]),
        (&"default".into(), &0.into(), &"127.0.0.1".into())
    );
    let text = desk.done(&["queue", "sites"]);
    assert!(text.contains("127.0.0.1") && text.contains("connection refused"), "{text}");

    assert_eq!(desk.json(&["queue", "adapted"]).as_array().map(Vec::len), Some(0));
    let now = desk.server.mail().now();
    let tuning = posthorn_mail::queue::Tuning {
        scope: "site mx.example.net binding default".to_owned(),
        name: "connections".to_owned(),
        value: 5.0,
        previous: Some(10.0),
        changed_at: now,
        // Values are kept for half a day longer than they hold, while they grow.
        until: Some(now + Duration::from_secs(13 * 3600)),
        rule: "any: too many connections".to_owned(),
        reply: Some("421 too many connections".to_owned()),
    };
    desk.server.mail().queue().keep_tuning(&tuning).await.expect("kept");
    let adapted = desk.json(&["queue", "adapted"]);
    let row = &adapted[0];
    assert_eq!((&row["site"], &row["old"], &row["new"]), (&"mx.example.net".into(), &10.into(), &5.into()));
    assert_eq!(
        (&row["rule"], &row["reply"]),
        (&"any: too many connections".into(), &"421 too many connections".into())
    );
    let text = desk.done(&["queue", "adapted"]);
    assert!(text.contains("mx.example.net") && text.contains("too many connections"), "{text}");
}
