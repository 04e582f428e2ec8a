//! What mail systems tell each other once a day: DMARC and TLS reports counted, sent once, received, and shown.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use harness::dns::DnsServer;
use harness::postgres::database;
use harness::program::run;
use harness::server::{Server, ServerOptions};
use posthorn::circumstances::Circumstances;
use posthorn_config::{Config, Span, Speaks};
use posthorn_mail::feedback::{DailyReport, Fate, ReportKind, Which};
use posthorn_mail::queue::{Body, Selection, TlsCount};
use posthorn_model::{Address, Domain};
use posthorn_report::aggregate::{AggregateReport, AggregateRow, Disposition};
use posthorn_report::tls::TlsReport;
use posthorn_report::{Daily, DailyKind, DailyLetter, daily};
use posthorn_store::daily_reports::{DueReport, claim, of_day};
use posthorn_trust::{Chain, Found, KeyType, Keys, Resolver as _, Signed, Signer, SigningKey, arc, sign};
use serde_json::Value;

use crate::office::{Stepped, until};

/// A server whose clock is stepped, with a DNS of its own.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) dns: DnsServer,
    pub(crate) clock: Stepped,
    /// Of `sender.test`, published there.
    signer: Signer,
}

const MESSAGE: &str = "From: Ann <ann@sender.test>\r\nTo: eve@example.org\r\nSubject: hello\r\n\
    Message-ID: <m1@sender.test>\r\n\r\nHello, this is a message of some length.\r\n";

/// The signer of a domain that has this zone, and its key.
pub(crate) fn signer(dns: &DnsServer, domain: &str, zone: &str) -> Signer {
    let key = Arc::new(SigningKey::generate(KeyType::Ed25519).expect("a key"));
    let record = key.record().expect("a record");
    dns.zone(domain, &format!("k1._domainkey TXT \"{record}\"\n{zone}"));
    Signer::new(Domain::parse(domain).expect("a domain"), "k1", key).expect("a signer")
}

pub(crate) fn signed(signer: &Signer, message: &str, now: DateTime<Utc>) -> String {
    let (header, text) = message.split_at(message.find("\r\n\r\n").expect("a blank line") + 4);
    let top = sign(std::slice::from_ref(signer), header.as_bytes(), text.as_bytes(), now).expect("signed");
    format!("{}{message}", String::from_utf8(top).expect("text"))
}

pub(crate) async fn rig(zone: &str, alter: impl FnOnce(&mut Config) + 'static) -> Rig {
    let dns = DnsServer::start().await;
    let signer = signer(&dns, "sender.test", zone);
    let clock = Stepped::new();
    let server = beside(&dns, &clock, None, alter).await;
    server.mailbox_only("eve@example.org").await;
    server.mailbox_only("dmarc@example.org").await;
    let domain = Domain::parse("example.org").expect("a domain");
    let made = server.mail().create_dkim_keys(&domain, &[KeyType::Ed25519], Some("ours"), clock_now(&clock)).await;
    made.expect("the store works").expect("a key");
    Rig { server, dns, clock, signer }
}

async fn beside(
    dns: &DnsServer,
    clock: &Stepped,
    url: Option<&str>,
    alter: impl FnOnce(&mut Config) + 'static,
) -> Server {
    let (address, anchor) = (dns.address(), dns.anchor());
    let asking = move |config: &mut Config| {
        config.checks.enable = true;
        config.filter.enable = true;
        config.dns.servers = vec![address.to_string().parse().expect("a server")];
        config.dns.trust_anchor = Some(anchor);
        config.route = toml::from_str::<Config>("[[route]]\nto = \"smtp://127.0.0.1:1\"").expect("a route").route;
        config.reports.sender = Some(Address::parse("reports@example.org").expect("an address"));
        config.reports.organization = Some("Example & Co".to_owned());
        config.reports.spread = Span::from_secs(0);
        config.reports.received = vec![Address::parse("DMARC@example.org").expect("an address")];
        alter(config);
    };
    let world = Circumstances { clock: Box::new(clock.clone()), ..Circumstances::default() };
    let mut options = ServerOptions::new().with(asking).under(world);
    if let Some(url) = url {
        options = options.on(url);
    }
    Server::start(options).await
}

pub(crate) fn clock_now(clock: &Stepped) -> DateTime<Utc> {
    posthorn_model::Clock::now(clock)
}

impl Rig {
    fn signed(&self, message: &str) -> String {
        signed(&self.signer, message, clock_now(&self.clock))
    }

    async fn says(&self, to: &str, message: &str) -> String {
        self.server.smtp(Speaks::Smtp).await.deliver("ann@sender.test", &[to], message).await
    }

    /// Goes on to the next day, and sends what is due.
    async fn tomorrow(&self) -> NaiveDate {
        self.server.mail().keep_counted().await;
        let day = clock_now(&self.clock).date_naive();
        let next = day.checked_add_days(Days::new(1)).expect("a day").and_hms_opt(6, 0, 0).expect("a time").and_utc();
        self.clock.step(next - clock_now(&self.clock));
        self.send().await;
        day
    }

    async fn send(&self) {
        self.server.mail().send_daily_reports().await.expect("the store works");
    }

    /// Letters in the queue, with their recipients.
    async fn queued(&self) -> Vec<(String, Vec<u8>)> {
        let queue = self.server.mail().queue();
        let mut all = Vec::new();
        for entry in queue.list(&Selection::default(), None, 100).await.expect("the store works") {
            let body = queue.body(entry.outgoing.message, entry.outgoing.size).await.expect("the store works");
            let Some(Body::Whole(octets)) = body else { panic!("a small message") };
            assert_eq!(entry.outgoing.sender, None, "nobody wants it back");
            all.push((entry.delivery.recipient, [octets.header.as_ref(), octets.text.as_ref()].concat()));
        }
        all
    }

    /// What a dry run says of the day before.
    async fn dry(&self, kind: ReportKind) -> Vec<DailyReport> {
        self.server.mail().keep_counted().await;
        let day = clock_now(&self.clock).date_naive().checked_sub_days(Days::new(1)).expect("a day");
        let which = Which { day, domain: None, dry: true };
        let resolver = posthorn::resolver::Asking::new(self.dns.resolver());
        self.server.mail().send_daily_reports_of(kind, &which, &resolver).await.expect("the store works")
    }

    async fn sent(&self, kind: ReportKind) -> Vec<String> {
        let sent = self.server.mail().sent_reports(kind, None, 10).await.expect("the store works");
        sent.into_iter().map(|one| format!("{}: {} ({})", one.domain, one.outcome, one.attempts)).collect()
    }
}

fn aggregate(letter: &[u8]) -> AggregateReport {
    match daily(letter) {
        (mut reports, flaws) if flaws.is_empty() && reports.len() == 1 => match reports.remove(0) {
            Daily::Aggregate(report) => report,
            Daily::Tls(report) => panic!("{report:?}"),
        },
        other => panic!("{other:?}"),
    }
}

const WANTED: &str =
    "@ TXT \"v=spf1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject; sp=none; adkim=s; rua=mailto:rua@sender.test!10m\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_hear_what_came_in_their_name() {
    let rig = rig(WANTED, |_| ()).await;
    let noon = clock_now(&rig.clock).date_naive().and_hms_opt(12, 0, 0).expect("a time").and_utc();
    rig.clock.step(noon - clock_now(&rig.clock));
    for _ in 0..3 {
        let reply = rig.says("eve@example.org", &rig.signed(MESSAGE)).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let reply = rig.says("eve@example.org", MESSAGE).await;
    assert!(reply.starts_with("550 5.7.1 "), "{reply}");
    rig.send().await;
    assert_eq!(rig.queued().await, [], "the day is not over");
    let day = rig.tomorrow().await;
    let letters = rig.queued().await;
    let [(to, letter)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(to, "rua@sender.test");
    let report = aggregate(letter);
    assert_eq!((report.organization.as_str(), report.email.as_str()), ("Example & Co", "reports@example.org"));
    assert_eq!((report.begins.date_naive(), (report.ends - report.begins).num_seconds()), (day, 86_399));
    assert_eq!((report.policy.policy.as_str(), report.policy.subdomains.as_deref()), ("reject", Some("none")));
    assert!(report.policy.strict_dkim && !report.policy.strict_spf);
    let told = |row: &AggregateRow| (row.messages, row.disposition, row.dkim, row.spf, row.source.to_string());
    assert_eq!(
        report.rows.iter().map(told).collect::<Vec<_>>(),
        [
            (3, Disposition::Pass, true, false, "127.0.0.1".to_owned()),
            (1, Disposition::Reject, false, false, "127.0.0.1".to_owned())
        ]
    );
    let row = &report.rows[0];
    assert_eq!((row.header_from.as_str(), row.envelope_from.as_deref()), ("sender.test", Some("sender.test")));
    assert_eq!((row.signatures[0].selector.as_str(), row.signatures[0].result.as_str()), ("k1", "pass"));
    assert_eq!(row.path.as_ref().map(|path| path.result.as_str()), Some("fail"));

    let text = String::from_utf8_lossy(letter);
    let id = format!("{}.dmarc.sender.test", day.format("%Y%m%d"));
    let subject = format!("Subject: Report Domain: sender.test Submitter: localhost Report-ID:\r\n <{id}>\r\n");
    assert!(text.contains(&subject), "{text}");
    let begins = report.begins.timestamp();
    assert!(text.contains(&format!("localhost!sender.test!{begins}!{}!{id}.xml.gz", begins + 86_399)), "{text}");
    // It is signed, as RFC 9990 demands.
    let keys = rig.server.mail().dkim_keys(None).await.expect("the store works");
    let keys = Keys::from([(keys[0].record_name(), Found::Some(vec![keys[0].record.clone()]))]);
    let verified = Signed::parse(letter).expect("a header").verify(&keys, clock_now(&rig.clock));
    assert!(verified.passes_for("example.org"), "{verified:?}");

    rig.send().await;
    assert_eq!(rig.queued().await.len(), 1, "it is sent once");
    assert_eq!(rig.sent(ReportKind::Dmarc).await, ["sender.test: to rua@sender.test (1)"]);
    let dry = rig.dry(ReportKind::Dmarc).await;
    assert!(dry.len() == 1 && dry[0].fate == Fate::Ready && dry[0].document == report.to_xml());
    // Another server on the same database has nothing to do.
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_get_reports_only_if_they_agreed() {
    let uris = "mailto:a@agrees.test,mailto:b@silent.test,mailto:c@moves.test,mailto:d@sub.sender.test,https://x.test/r,\
        mailto:e@sender.test!1k,mailto:f@sender.test!1k";
    let zone = format!("_dmarc TXT \"v=DMARC1; p=none; rua={uris}\"\n")
        .replace("mailto:f@sender.test!1k", "mailto:f@sender.test!10");
    let rig = rig(&zone, |_| ()).await;
    rig.dns.zone("agrees.test", "sender.test._report._dmarc TXT \"v=DMARC1;\"\n");
    rig.dns.zone("silent.test", "sender.test._report._dmarc TXT \"v=spf1 -all\"\n");
    rig.dns.zone(
        "moves.test",
        "sender.test._report._dmarc TXT \"v=DMARC1; rua=mailto:other@moves.test,mailto:z@victim.test\"\n",
    );
    let reply = rig.says("eve@example.org", MESSAGE).await;
    assert!(reply.starts_with("250 "), "{reply}");
    rig.tomorrow().await;
    let mut to: Vec<String> = rig.queued().await.into_iter().map(|(to, _)| to).collect();
    to.sort();
    assert_eq!(to, ["a@agrees.test", "d@sub.sender.test", "e@sender.test", "other@moves.test"]);
    let [sent] = &rig.sent(ReportKind::Dmarc).await[..] else { panic!("one report") };
    for part in [
        "b@silent.test: silent.test has not agreed (sender.test._report._dmarc.silent.test has no record)",
        "https://x.test/r: only mail is sent",
        "f@sender.test: it takes 10 octets",
    ] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
    // A question that has no answer now makes the report wait.
    let again = rig.says("eve@example.org", &rig.signed(MESSAGE)).await;
    assert!(again.starts_with("250 "), "{again}");
    rig.dns.fail("sender.test._report._dmarc.late.test", "TXT");
    rig.dns.zone("sender.test", "_dmarc TXT \"v=DMARC1; p=none; rua=mailto:a@late.test\"\n");
    rig.server.mail().keep_counted().await;
    rig.clock.step(TimeDelta::days(1));
    let waits = rig.dry(ReportKind::Dmarc).await;
    assert!(matches!(&waits[..], [DailyReport { fate: Fate::Waits(_), .. }]), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_report_is_sent_once_more() {
    let database = database(posthorn_store::migrate).await;
    let url = database.url.clone();
    let dns = DnsServer::start().await;
    dns.zone("sender.test", WANTED);
    let clock = Stepped::new();
    let first = beside(&dns, &clock, Some(&url), |_| ()).await;
    let domain = Domain::parse("example.org").expect("a domain");
    let made = first.mail().create_dkim_keys(&domain, &[KeyType::Ed25519], None, clock_now(&clock)).await;
    made.expect("the store works").expect("a key");
    first.mailbox_only("eve@example.org").await;
    let mut client = first.smtp(Speaks::Smtp).await;
    let reply = client.deliver("ann@sender.test", &["eve@example.org"], MESSAGE).await;
    assert!(reply.starts_with("550 "), "{reply}");
    first.mail().keep_counted().await;
    let due = DueReport { day: clock_now(&clock).date_naive(), domain: "sender.test".to_owned(), counted: 1 };
    clock.step(TimeDelta::days(1) + TimeDelta::hours(1));

    // Somebody began, and was never heard of again.
    let now = clock_now(&clock);
    let mut connection = first.mail().store().acquire().await.expect("the store works");
    let begun = claim(&mut connection, ReportKind::Dmarc, &due, (now, now), 2).await.expect("the store works");
    assert_eq!(begun, Some(1));
    drop(connection);
    let count = async || {
        let queued = first.mail().queue().list(&Selection::default(), None, 10).await;
        queued.expect("the store works").len()
    };
    first.mail().send_daily_reports().await.expect("the store works");
    assert_eq!(count().await, 0, "it may still be at it");
    clock.step(TimeDelta::hours(2));
    // Two at once: one of them sends.
    let (one, other) = (first.mail().clone(), first.mail().clone());
    let (one, other) = tokio::join!(one.send_daily_reports(), other.send_daily_reports());
    one.expect("the store works");
    other.expect("the store works");
    assert_eq!(count().await, 1);
    clock.step(TimeDelta::hours(2));
    first.mail().send_daily_reports().await.expect("the store works");
    assert_eq!(count().await, 1);

    // Begun twice and never done: nobody begins again.
    let mut connection = first.mail().store().acquire().await.expect("the store works");
    let due = DueReport { domain: "other.test".to_owned(), ..due };
    let mut begun = Vec::new();
    for _ in 0..3 {
        clock.step(TimeDelta::hours(2));
        let now = clock_now(&clock);
        let times = (now, now - TimeDelta::hours(1));
        begun.push(claim(&mut connection, ReportKind::Dmarc, &due, times, 2).await.expect("the store works"));
    }
    assert_eq!(begun, [Some(1), Some(2), None]);
    drop(connection);
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarders_that_are_trusted_are_told_of() {
    let trusting = |config: &mut Config| {
        config.filter.dmarc.trusted_sealers = vec!["list.test".parse().expect("a range")];
    };
    let rig = rig(WANTED, trusting).await;
    let key = Arc::new(SigningKey::generate(KeyType::Ed25519).expect("a key"));
    rig.dns.zone("list.test", &format!("l1._domainkey TXT \"{}\"\n", key.record().expect("a record")));
    let list = Signer::new(Domain::parse("list.test").expect("a domain"), "l1", key).expect("a signer");
    // The list adds a footer: the author's signature breaks.
    let forwarded = format!("{}A footer of the list.\r\n", rig.signed(MESSAGE));
    let sealed = |results: &str| {
        let (header, text) = forwarded.split_at(forwarded.find("\r\n\r\n").expect("a blank line") + 4);
        let found = arc::Found { authserv_id: "list.test", results, chain: Chain::None };
        let top = arc::seal(&list, &found, header.as_bytes(), text.as_bytes(), clock_now(&rig.clock));
        let top = top.expect("sealed").expect("may be sealed");
        format!("{}{forwarded}", String::from_utf8(top).expect("text"))
    };
    let reply = rig.says("eve@example.org", &sealed("dmarc=fail header.from=sender.test")).await;
    assert!(reply.starts_with("550 5.7.1 "), "it found nothing good itself: {reply}");
    let reply = rig.says("eve@example.org", &sealed("dmarc=pass header.from=sender.test")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    rig.tomorrow().await;
    let report = aggregate(&rig.queued().await.pop().expect("a report").1);
    let overridden = report.rows.iter().find(|row| !row.reasons.is_empty()).expect("an override");
    assert_eq!((overridden.disposition, overridden.messages), (Disposition::None, 1));
    assert_eq!(overridden.reasons[0].kind, "trusted_forwarder");
    assert!(overridden.reasons[0].comment.contains("as[1].d=list.test"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_hear_how_tls_went() {
    let rig = rig("_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@sender.test,https://x.test/\"\n", |_| ()).await;
    let day = clock_now(&rig.clock).date_naive();
    let row = |mx: &str, result: &str, sessions| TlsCount {
        day,
        domain: "sender.test".to_owned(),
        policy_type: "sts".to_owned(),
        policy: "version: STSv1\nmode: enforce\nmx: *.sender.test".to_owned(),
        mx: mx.to_owned(),
        result: result.to_owned(),
        detail: if result.is_empty() { String::new() } else { "expired yesterday".to_owned() },
        sessions,
    };
    let counts = [row("", "", 7), row("mx.sender.test", "certificate-expired", 2)];
    rig.server.mail().queue().count_tls(&counts).await.expect("the store works");
    let unasked = TlsCount { domain: "silent.test".to_owned(), ..row("", "", 1) };
    rig.server.mail().queue().count_tls(&[unasked]).await.expect("the store works");
    rig.tomorrow().await;
    let letters = rig.queued().await;
    let [(to, letter)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(to, "tls@sender.test");
    let (reports, flaws) = daily(letter);
    let [Daily::Tls(report)] = &reports[..] else { panic!("{flaws:?}") };
    assert_eq!(report.counts(), (7, 2));
    let outcome = &report.policies[0];
    assert_eq!((outcome.policy.kind.as_str(), &outcome.policy.mx[..]), ("sts", &["*.sender.test".to_owned()][..]));
    assert_eq!(outcome.failures[0].mx.as_deref(), Some("mx.sender.test"));
    let text = String::from_utf8_lossy(letter);
    for part in
        ["TLS-Report-Domain: sender.test\r\n", "report-type=tlsrpt;", "application/tlsrpt+gzip", "DKIM-Signature: "]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let sent = rig.sent(ReportKind::Tls).await;
    assert!(sent.iter().any(|one| one == "silent.test: the domain does not ask for it (1)"), "{sent:?}");
    assert!(
        sent.iter().any(|one| one.contains("to tls@sender.test; not to https://x.test/: only mail is sent")),
        "{sent:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_did_not_ask_get_few_reports_on_tls() {
    let rig = rig("", |_| ()).await;
    let day = clock_now(&rig.clock).date_naive();
    // What the domains say, the n-th of many below one name each.
    let zones: &[(&str, usize, &str)] = &[
        ("one", 3, "mailto:victim@victim.test"),
        ("many", 15, "mailto:user@crowd.test"),
        ("agreed", 3, "mailto:tls@collector.test"),
        ("own", 2, "mailto:tls@own.test"),
        ("here", 1, "mailto:eve@example.org"),
        ("nowhere", 1, "mailto:root@localhost,mailto:root@printer.local,mailto:root@[127.0.0.1]"),
    ];
    let mut counts = Vec::new();
    for (name, number, uris) in zones {
        let mut zone = "_dmarc TXT \"v=DMARC1; p=none\"\n".to_owned();
        for n in 0..*number {
            let uris = uris.replace("user@", &format!("user{n}@"));
            zone.push_str(&format!("_smtp._tls.d{n} TXT \"v=TLSRPTv1; rua={uris}\"\n"));
            counts.push(TlsCount {
                day,
                domain: format!("d{n}.{name}.test"),
                policy_type: "no-policy-found".to_owned(),
                policy: String::new(),
                mx: String::new(),
                result: String::new(),
                detail: String::new(),
                sessions: 1,
            });
        }
        rig.dns.zone(&format!("{name}.test"), &zone);
    }
    let agreed: String = (0..3).map(|n| format!("d{n}.agreed.test._report._dmarc TXT \"v=DMARC1;\"\n")).collect();
    rig.dns.zone("collector.test", &agreed);
    let next: Vec<TlsCount> =
        counts.iter().map(|one| TlsCount { day: day.succ_opt().expect("a day"), ..one.clone() }).collect();
    rig.server.mail().queue().count_tls(&counts).await.expect("the store works");
    rig.server.mail().queue().count_tls(&next).await.expect("the store works");

    let sum = async || {
        let mut sums: Vec<(String, usize)> = Vec::new();
        for (to, _) in rig.queued().await {
            let host = to.rsplit_once('@').expect("an address").1.to_owned();
            match sums.iter_mut().find(|(known, _)| *known == host) {
                Some((_, sum)) => *sum += 1,
                None => sums.push((host, 1)),
            }
        }
        sums.sort();
        sums
    };
    let all = |crowd: usize, collector: usize, own: usize, victim: usize| {
        [("collector.test", collector), ("crowd.test", crowd), ("own.test", own), ("victim.test", victim)]
            .map(|(host, sum)| (host.to_owned(), sum))
    };
    rig.tomorrow().await;
    assert_eq!(sum().await, all(10, 3, 2, 1));
    rig.send().await;
    assert_eq!(sum().await, all(10, 3, 2, 1), "what is left out comes no more");
    let sent = rig.server.mail().sent_reports(ReportKind::Tls, None, 100).await.expect("the store works");
    let outcome = |domain: &str| sent.iter().find(|one| one.domain == domain).expect("a report").outcome.clone();
    let few = (0..3).filter(|n| outcome(&format!("d{n}.one.test")).contains("gets one letter a day")).count();
    assert_eq!(few, 2);
    assert!(outcome("d0.here.test").contains("eve@example.org: nobody here asked"), "{}", outcome("d0.here.test"));
    let nowhere = outcome("d0.nowhere.test");
    for part in ["localhost is no domain of the Internet", "printer.local is no domain", "only mail is sent"] {
        assert!(nowhere.contains(part), "{part} in {nowhere}");
    }
    assert_eq!(rig.server.messages("eve@example.org", "INBOX").await.len(), 0);
    rig.tomorrow().await;
    assert_eq!(sum().await, all(20, 6, 4, 2), "the next day has its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_do_not_tell_of_reports() {
    let rig = rig(WANTED, |_| ()).await;
    let subject = "Report domain: example.org Submitter: sender.test Report-ID: <1@sender.test>";
    let about = MESSAGE.replace("Subject: hello", &format!("Subject: {subject}"));
    let tls = MESSAGE.replace("Subject: hello", "Subject: hello\r\nTLS-Report-Domain: example.org");
    for letter in [&about, &tls] {
        let reply = rig.says("eve@example.org", &rig.signed(letter)).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    // Whatever comes to the address for reports.
    let reply = rig.says("dmarc@example.org", &rig.signed(MESSAGE)).await;
    assert!(reply.starts_with("250 "), "{reply}");
    rig.tomorrow().await;
    assert_eq!(rig.queued().await, [], "two servers would write to each other for ever");

    // A forgery does not hide behind the words, nor does other mail.
    let reply = rig.says("eve@example.org", &about).await;
    assert!(reply.starts_with("550 5.7.1 "), "{reply}");
    let reply = rig.says("eve@example.org", &rig.signed(MESSAGE)).await;
    assert!(reply.starts_with("250 "), "{reply}");
    rig.tomorrow().await;
    let report = aggregate(&rig.queued().await.pop().expect("a report").1);
    let mut told: Vec<_> = report.rows.iter().map(|row| (row.messages, row.disposition)).collect();
    told.sort_by_key(|(_, disposition)| disposition.as_str());
    assert_eq!(told, [(1, Disposition::Pass), (1, Disposition::Reject)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_is_written_while_reports_are_slow() {
    const DOMAINS: usize = 60;
    let database = database(posthorn_store::migrate).await;
    let dns = DnsServer::start().await;
    dns.zone("sender.test", "_dmarc TXT \"v=DMARC1; p=none; rua=mailto:rua@sender.test\"\n");
    let clock = Stepped::new();
    let first = beside(&dns, &clock, Some(&database.url), |_| ()).await;
    first.mailbox_only("eve@example.org").await;
    let count = |n| TlsCount {
        day: clock_now(&clock).date_naive(),
        domain: format!("d{n}.slow.test"),
        policy_type: "no-policy-found".to_owned(),
        policy: String::new(),
        mx: String::new(),
        result: String::new(),
        detail: String::new(),
        sessions: 1,
    };
    let counts: Vec<TlsCount> = (0..DOMAINS).map(count).collect();
    first.mail().queue().count_tls(&counts).await.expect("the store works");
    first.stop().await;
    clock.step(TimeDelta::days(1) + TimeDelta::hours(1));
    dns.delay(Duration::from_millis(500));
    let second = beside(&dns, &clock, Some(&database.url), |_| ()).await;
    let asked = || (0..DOMAINS).filter(|n| dns.asked(&format!("_smtp._tls.d{n}.slow.test"), "TXT") > 0).count();
    until("the first report is being sent", async || asked() > 0).await;
    let mut client = second.smtp(Speaks::Smtp).await;
    let reply = client.deliver("ann@sender.test", &["eve@example.org"], MESSAGE).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let today = clock_now(&clock).date_naive();
    until("it is counted", async || {
        let mut connection = second.mail().store().acquire().await.expect("the store works");
        let counted = of_day(&mut connection, today, "sender.test", 10).await.expect("the store works");
        !counted.is_empty()
    })
    .await;
    assert!(asked() < DOMAINS, "the reports took no longer than that");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_signed_waits() {
    let rig = rig(WANTED, |config| config.reports.sender = None).await;
    rig.says("eve@example.org", MESSAGE).await;
    rig.tomorrow().await;
    assert_eq!(rig.queued().await, []);
    let dry = rig.dry(ReportKind::Dmarc).await;
    assert!(matches!(&dry[0].fate, Fate::Waits(why) if why.contains("posthorn dkim create localhost")), "{dry:?}");
}

/// A report of others about our domain.
pub(crate) fn report(domain: &str, id: &str, source: &str, good: u64, bad: u64) -> AggregateReport {
    let begins = Utc::now().date_naive().and_hms_opt(0, 0, 0).expect("a time").and_utc() - TimeDelta::days(1);
    let row = |messages, dkim| AggregateRow {
        source: source.parse().expect("an address"),
        messages,
        disposition: if dkim { Disposition::Pass } else { Disposition::None },
        dkim,
        spf: false,
        reasons: Vec::new(),
        header_from: domain.to_owned(),
        envelope_from: None,
        signatures: Vec::new(),
        path: None,
    };
    AggregateReport {
        organization: "Big Mail".to_owned(),
        email: "noreply@big.test".to_owned(),
        contact: None,
        id: id.to_owned(),
        begins,
        ends: begins + TimeDelta::seconds(86_399),
        errors: Vec::new(),
        policy: posthorn_report::aggregate::PublishedPolicy {
            domain: domain.to_owned(),
            policy: "none".to_owned(),
            ..Default::default()
        },
        rows: vec![row(good, true), row(bad, false)],
        left_out: 0,
    }
}

fn letter(kind: DailyKind, document: &str) -> String {
    letter_of("noreply@big.test", kind, document)
}

pub(crate) fn letter_of(from: &str, kind: DailyKind, document: &str) -> String {
    let letter = DailyLetter {
        kind,
        from,
        to: &["dmarc@example.org".to_owned()],
        domain: "example.org",
        submitter: "big.test",
        id: "x",
        range: (Utc::now(), Utc::now()),
        date: Utc::now(),
        document,
    };
    String::from_utf8(letter.build(&letter.packed())).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_of_others_are_kept_and_shown() {
    let rig = rig("", |config| config.filter.enable = false).await;
    let signer = signer(&rig.dns, "big.test", "");
    let tell = async |octets: &str| {
        let octets = signed(&signer, octets, clock_now(&rig.clock));
        let reply =
            rig.server.smtp(Speaks::Smtp).await.deliver("noreply@big.test", &["dmarc@example.org"], &octets).await;
        assert!(reply.starts_with("250 "), "{reply}");
    };
    let first = letter(DailyKind::Aggregate, &report("example.org", "r1", "192.0.2.1", 10, 4).to_xml());
    tell(&first).await;
    // The same again, which mail systems do; about a domain that is not ours; to somebody else; what is no report.
    tell(&first).await;
    tell(&letter(DailyKind::Aggregate, &report("sender.test", "r2", "192.0.2.1", 1, 1).to_xml())).await;
    let other = letter(DailyKind::Aggregate, &report("example.org", "r3", "192.0.2.1", 1, 1).to_xml());
    assert!(rig.says("eve@example.org", &other).await.starts_with("250 "));
    tell(&letter(DailyKind::Aggregate, "<feedback><record>")).await;
    tell(&letter(DailyKind::Aggregate, "<!DOCTYPE f [<!ENTITY a \"b\">]><feedback>&a;</feedback>")).await;
    tell(&letter(DailyKind::Aggregate, &"<feedback>".repeat(1 << 20))).await;
    let broken = format!(
        "From: noreply@big.test\r\nContent-Type: application/zip; name=r.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        BASE64.encode(b"PK\x03\x04rubbish")
    );
    tell(&broken).await;
    tell(&letter(DailyKind::Aggregate, &report("example.org", "r4", "192.0.2.9", 0, 5).to_xml())).await;
    let json = r#"{"organization-name":"Big Mail","date-range":{"start-datetime":"DAYT00:00:00Z","end-datetime":"DAYT23:59:59Z"},
        "contact-info":"c","report-id":"t1","policies":[{"policy":{"policy-type":"sts","policy-domain":"example.org","mx-host":"mx.example.org"},
        "summary":{"total-successful-session-count":9,"total-failure-session-count":3},"failure-details":[{"result-type":"validation-failure",
        "receiving-mx-hostname":"mx.example.org","failed-session-count":3}]}]}"#;
    let yesterday = (Utc::now().date_naive() - TimeDelta::days(1)).to_string();
    let json: TlsReport = TlsReport::read(json.replace("DAY", &yesterday).as_bytes()).expect("a report");
    tell(&letter(DailyKind::Tls, &json.to_json())).await;
    assert_eq!(rig.server.messages("dmarc@example.org", "INBOX").await.len(), 9, "all of it is delivered");

    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("posthorn.toml");
    let (data, url) = (rig.server.config().server.data.display(), rig.server.appliance().database().url().to_owned());
    let text = format!("[server]\ndata = '{data}'\n[database]\nurl = '{url}'\n[dns]\nservers = ['127.0.0.1:9']\n");
    std::fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    let done = |line: &str| {
        let arguments: Vec<&str> = ["--config", &config].into_iter().chain(line.split_whitespace()).collect();
        let ran = run(&arguments, "");
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.out
    };
    let json = |line: &str| serde_json::from_str::<Value>(&done(&format!("{line} --json"))).expect("JSON");
    let list = json("dmarc list");
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    let ids: Vec<i64> = list.as_array().expect("rows").iter().filter_map(|row| row["id"].as_i64()).collect();
    let first = list.as_array().expect("rows").iter().find(|row| row["report_id"] == "r1").expect("the first");
    assert_eq!((&first["passed"], &first["failed"], &first["proven"]), (&10.into(), &4.into(), &true.into()));
    let sums = json("dmarc summary --domain example.org");
    assert_eq!((&sums[0]["source"], &sums[0]["failed"]), (&"192.0.2.9".into(), &5.into()), "the worst first");
    assert_eq!((&sums[1]["passed"], &sums[1]["dkim"], &sums[1]["spf"]), (&10.into(), &10.into(), &0.into()));
    let shown = json(&format!("dmarc show {}", first["id"]));
    assert_eq!(shown["rows"][1]["detail"]["header_from"], "example.org");
    let table = done("dmarc summary");
    assert!(table.contains("192.0.2.9") && table.contains("BY DKIM"), "{table}");
    assert!(done(&format!("dmarc show {}", ids[0])).contains("Big Mail"));
    assert!(done("dmarc list").contains("example.org"));
    let sessions = json("tls-report list");
    assert_eq!((&sessions[0]["passed"], &sessions[0]["failed"]), (&9.into(), &3.into()));
    assert_eq!(json("dmarc list --domain other.test"), Value::Array(Vec::new()));
    assert_eq!(json("dmarc sent"), Value::Array(Vec::new()));
    assert_eq!(json("dmarc send --dry-run"), Value::Array(Vec::new()));
    assert!(done("tls-report send --help").contains("--dry-run"));
    let _resolves = posthorn::resolver::Asking::new(rig.dns.resolver()).texts("x.test").await;
}
