//! Reports that others send about our domains: who is believed, and how much is kept.

use chrono::{DateTime, TimeDelta};
use harness::postgres::database;
use posthorn_config::Speaks;
use posthorn_mail::feedback::{ReceivedReport, ReceivedRow, ReportKind};
use posthorn_report::DailyKind;
use posthorn_store::received_reports::{self, Kept, Room};
use posthorn_trust::Signer;
use sqlx::{Connection as _, PgConnection};

use crate::daily_reports::{Rig, clock_now, letter_of, report, rig, signed, signer};
use crate::watching::{get, value};

/// A letter with a report of this name about our domain.
fn named(from: &str, name: &str) -> String {
    letter_of(from, DailyKind::Aggregate, &report("example.org", name, "192.0.2.1", 10, 4).to_xml())
}

/// One with a report about TLS.
fn tls(from: &str, name: &str) -> String {
    let json = r#"{"organization-name":"Big Mail","date-range":{"start-datetime":"2026-01-02T00:00:00Z",
        "end-datetime":"2026-01-02T23:59:59Z"},"contact-info":"c","report-id":"NAME","policies":[{"policy":
        {"policy-type":"sts","policy-domain":"example.org"},"summary":{"total-successful-session-count":9}}]}"#;
    letter_of(from, DailyKind::Tls, &json.replace("NAME", name))
}

impl Rig {
    async fn tell(&self, octets: &str) {
        let from = octets.split_once("\r\nTo: ").expect("a header").0.rsplit_once("From: <").expect("an author").1;
        let mut client = self.server.smtp(Speaks::Smtp).await;
        let reply = client.deliver(from.trim_end_matches('>'), &["dmarc@example.org"], octets).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }

    async fn tell_signed(&self, signer: &Signer, octets: &str) {
        self.tell(&signed(signer, octets, clock_now(&self.clock))).await;
    }

    /// Reports that were kept: their names, and whether they are proven.
    async fn kept(&self, kind: ReportKind) -> Vec<(String, bool)> {
        let since = DateTime::UNIX_EPOCH;
        let all = self.server.mail().received_reports(kind, None, since, 100).await.expect("the store works");
        let mut names: Vec<_> = all.into_iter().map(|one| (one.name, one.proven)).collect();
        names.sort();
        names
    }

    /// How often something became of a report, in the metrics of this process.
    async fn counted(&self, kind: &str, outcome: &str) -> f64 {
        let (_, text) = get(&self.server, "/metrics").await;
        value(&text, &format!("posthorn_received_reports_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}"))
    }
}

fn names(names: &[&str], proven: bool) -> Vec<(String, bool)> {
    names.iter().map(|name| ((*name).to_owned(), proven)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_letters_that_are_their_authors_are_believed() {
    let rig = rig("", |config| config.filter.enable = false).await;
    let big = signer(&rig.dns, "big.test", "");
    let other = signer(&rig.dns, "other.test", "");
    let strict = signer(&rig.dns, "strict.test", "_dmarc TXT \"v=DMARC1; p=none; adkim=s\"\n");
    let spf = "@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\n_dmarc TXT \"v=DMARC1; p=none\"\n";
    let path = signer(&rig.dns, "path.test", spf);

    let before = rig.counted("letter", "unproven").await;
    rig.tell(&named("r@bare.test", "bare")).await;
    rig.tell_signed(&other, &named("r@big.test", "of another")).await;
    rig.tell_signed(&strict, &named("r@mail.strict.test", "disowned")).await;
    assert_eq!(rig.kept(ReportKind::Dmarc).await, []);
    assert!(rig.counted("letter", "unproven").await >= before + 3.0);

    let before = rig.counted("dmarc", "kept").await;
    rig.tell_signed(&big, &named("r@big.test", "signed")).await;
    rig.tell_signed(&other, &named("r@mail.other.test", "signed above")).await;
    rig.tell(&named("r@path.test", "path")).await;
    assert_eq!(rig.kept(ReportKind::Dmarc).await, names(&["path", "signed", "signed above"], true));
    assert!(rig.counted("dmarc", "kept").await >= before + 3.0);

    // The reverse path is not enough for those on TLS.
    let before = rig.counted("tls", "unproven").await;
    rig.tell(&tls("r@path.test", "t1")).await;
    assert_eq!(rig.kept(ReportKind::Tls).await, []);
    assert!(rig.counted("tls", "unproven").await >= before + 1.0);
    rig.tell_signed(&path, &tls("r@path.test", "t2")).await;
    assert_eq!(rig.kept(ReportKind::Tls).await, names(&["t2"], true));
    assert_eq!(rig.server.messages("dmarc@example.org", "INBOX").await.len(), 8, "all of it is delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_a_day_is_bounded() {
    // Two rows and the policy: each report takes three.
    let rig = rig("", |config| {
        config.filter.enable = false;
        (config.reports.rows_per_sender, config.reports.rows_per_day) = (7, 13);
    })
    .await;
    let big = signer(&rig.dns, "big.test", "_dmarc TXT \"v=DMARC1; p=none\"\n");
    let small = signer(&rig.dns, "small.test", "");
    let late = signer(&rig.dns, "late.test", "");
    let (sender, day) = (rig.counted("dmarc", "sender full").await, rig.counted("dmarc", "day full").await);
    rig.tell_signed(&big, &named("r@big.test", "b1")).await;
    rig.tell_signed(&big, &named("r@big.test", "b1")).await;
    rig.tell_signed(&big, &named("r@big.test", "b2")).await;
    for from in ["r@big.test", "r@mail.big.test"] {
        rig.tell_signed(&big, &named(from, "b3")).await;
    }
    assert_eq!(rig.kept(ReportKind::Dmarc).await, names(&["b1", "b2"], true), "what was known takes no room");
    assert!(rig.counted("dmarc", "sender full").await >= sender + 2.0);
    for name in ["s1", "s2"] {
        rig.tell_signed(&small, &named("r@small.test", name)).await;
    }
    rig.tell_signed(&late, &named("r@late.test", "l1")).await;
    assert_eq!(rig.kept(ReportKind::Dmarc).await, names(&["b1", "b2", "s1", "s2"], true));
    assert!(rig.counted("dmarc", "day full").await >= day + 1.0);
    // Nothing is left of it, and the next day has room.
    rig.clock.step(TimeDelta::days(1));
    for (signer, from, name) in [(&late, "r@late.test", "l1"), (&big, "r@big.test", "b3")] {
        rig.tell_signed(signer, &named(from, name)).await;
    }
    assert_eq!(rig.kept(ReportKind::Dmarc).await, names(&["b1", "b2", "b3", "l1", "s1", "s2"], true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_checks_all_senders_are_one() {
    let rig = rig("", |config| {
        (config.filter.enable, config.checks.enable) = (false, false);
        config.reports.rows_per_sender = 7;
    })
    .await;
    for (from, name) in [("r@one.test", "1"), ("r@two.test", "2"), ("r@three.test", "3")] {
        rig.tell(&named(from, name)).await;
    }
    assert_eq!(rig.kept(ReportKind::Dmarc).await, names(&["1", "2"], false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_the_place_of_anothers_report() {
    let rig = rig("", |config| config.filter.enable = false).await;
    let big = signer(&rig.dns, "big.test", "");
    let other = signer(&rig.dns, "other.test", "");
    rig.tell_signed(&other, &named("r@other.test", "20260102")).await;
    rig.tell_signed(&big, &named("r@big.test", "20260102")).await;
    assert_eq!(rig.kept(ReportKind::Dmarc).await, names(&["20260102", "20260102"], true));
}

#[tokio::test]
async fn sums_of_whatever_others_write_are_numbers() {
    let database = database(posthorn_store::migrate).await;
    let mut connection = PgConnection::connect(&database.url).await.expect("the database");
    let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let row = |detail: &str| ReceivedRow {
        source: "192.0.2.1".to_owned(),
        good: i64::MAX,
        bad: i64::MAX,
        dkim: i64::MAX,
        spf: i64::MAX,
        detail: detail.to_owned(),
    };
    let report = |id: i64| ReceivedReport {
        id,
        received_at: now,
        domain: "example.org".to_owned(),
        organization: "Big Mail".to_owned(),
        contact: String::new(),
        name: id.to_string(),
        begins_at: now,
        ends_at: now,
        sender: "big.test".to_owned(),
        proven: true,
        policy: "{}".to_owned(),
        good: i64::MAX,
        bad: i64::MAX,
    };
    let room = Room { day: now.date_naive(), sender: "big.test", of_sender: 8, of_day: 100 };
    let add = async |connection: &mut PgConnection, id, rows: &[ReceivedRow]| {
        received_reports::add(connection, ReportKind::Dmarc, &report(id), rows, &room).await.expect("the store works")
    };
    assert_eq!(add(&mut connection, 1, &[row("{}"), row("{}")]).await, Kept::New);
    let sums =
        received_reports::sums(&mut connection, ReportKind::Dmarc, None, now, 10).await.expect("the store works");
    assert_eq!((sums[0].good, sums[0].bad, sums[0].dkim, sums[0].spf), (i64::MAX, i64::MAX, i64::MAX, i64::MAX));
    // A long row counts as several.
    let mut transaction = connection.begin().await.expect("begun");
    assert_eq!(add(&mut transaction, 2, &[row(&"x".repeat(4 << 10))]).await, Kept::SenderFull);
    transaction.rollback().await.expect("undone");
    assert_eq!(add(&mut connection, 3, &[row(&"x".repeat(3 << 10))]).await, Kept::New);
    assert_eq!(add(&mut connection, 3, &[]).await, Kept::Known);
    received_reports::sweep(&mut connection, now + TimeDelta::days(1)).await.expect("the store works");
    let left: i64 = sqlx::query_scalar("select count(*) from received_report_day")
        .fetch_one(&mut connection)
        .await
        .expect("counted");
    assert_eq!(left, 0);
}
