//! A week in seconds: receivers of all kinds, a clock that goes from one moment at which something is due to the next, and
//! what the receivers saw of it.

use std::sync::Arc;

use chrono::TimeDelta;
use parking_lot::Mutex;
use posthorn_config::{Config, Ratio};
use posthorn_model::Clock as _;

use crate::office::{Office, Setup, Stepped, until};
use crate::receiver::{Receiver, Seen, said};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A receiver that notes when it was tried, in seconds since the beginning.
struct Host {
    receiver: Receiver,
    tried: Arc<Mutex<Vec<i64>>>,
}

impl Host {
    /// Notes the moments of this command, and answers by script, which is told the time.
    async fn new(
        clock: &Stepped,
        noted: &'static str,
        script: impl Fn(&str, i64, &Seen) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        let (tried, began, clock) = (Arc::<Mutex<Vec<i64>>>::default(), clock.now(), clock.clone());
        let notes = Arc::clone(&tried);
        let receiver = Receiver::new("PIPELINING\r\n250-STARTTLS", move |line, seen| {
            let now = (clock.now() - began).num_seconds();
            if line.starts_with(noted) {
                notes.lock().push(now);
            }
            // What comes behind this is no TLS handshake that anybody could end.
            let starttls = line.starts_with("STARTTLS").then_some("220 2.0.0 go on");
            starttls.or_else(|| script(line, now, seen)).map(str::to_owned)
        })
        .await;
        Self { receiver, tried }
    }

    fn tried(&self) -> Vec<i64> {
        self.tried.lock().clone()
    }

    fn route(&self, domain: &str, more: &str) -> String {
        let port = self.receiver.port;
        format!("[[route]]\nrecipients = ['{domain}']\nto = 'smtp://127.0.0.1:{port}'\n{more}\n")
    }
}

/// Goes from one moment to the next until nothing is left.
async fn pass_time(office: &Office) {
    let began = office.clock.now();
    loop {
        until("everything that is due is done", async || {
            office.courier().stats().resident == 0 && office.open("storm.example").await == 0
        })
        .await;
        let suspended = office.courier().sites().into_iter().filter_map(|site| site.suspended_until);
        let Some(next) = suspended.chain(office.next_due().await).min() else { return };
        assert!(next - began < TimeDelta::days(6), "mail is left after {next}");
        office.step(next - office.clock.now()).await;
    }
}

/// The waits between the tries are those of the schedule: 20 minutes, doubled each time up to 12 hours, a tenth more or
/// less; one is made when the sender is to be told, after four hours, and the last one when the time is up.
fn assert_schedule(tried: &[i64], end: Option<i64>) {
    let mut nominal = 20 * MINUTE;
    let mut exact = 0;
    for pair in tried.windows(2) {
        let wait = pair[1] - pair[0];
        if Some(pair[1]) != end && pair[1] != 4 * HOUR {
            assert!((nominal * 9 / 10 - 1..=nominal * 11 / 10 + 1).contains(&wait), "{wait} for {nominal}: {tried:?}");
            exact += usize::from((wait - nominal).abs() <= 1);
        }
        nominal = (nominal * 2).min(12 * HOUR);
    }
    assert!(exact < 3, "chance has no part in it: {tried:?}");
    if let Some(end) = end {
        assert_eq!(tried.last(), Some(&end), "{tried:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_goes_as_declared() {
    let clock = Stepped::new();
    let home = Host::new(&clock, "RCPT", |_, _, _| None).await;
    let grey = Host::new(&clock, "RCPT", |line, now, _| {
        (line.starts_with("RCPT") && now < 5 * MINUTE).then_some("451 4.7.1 Greylisted, come back in 5 minutes")
    })
    .await;
    let storm = Host::new(&clock, "greeting", |line, now, _| {
        (line.starts_with("MAIL") && now < 150 * MINUTE).then_some("421 4.7.0 that is too much mail")
    })
    .await;
    let slow =
        Host::new(&clock, "greeting", |line, now, _| (line == "greeting" && now < 10 * MINUTE).then_some("hush")).await;
    let full = Host::new(&clock, "RCPT", |line, now, _| {
        (line.starts_with("RCPT") && now < 2 * DAY).then_some("452 4.2.2 mailbox full")
    })
    .await;
    let broken = Host::new(&clock, "STARTTLS", |_, _, _| None).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();

    let rows = [
        grey.route("grey.example", ""),
        storm.route("storm.example", ""),
        slow.route("slow.example", ""),
        full.route("full.example", ""),
        broken.route("loose.example", "tls = 'opportunistic'"),
        broken.route("strict.example", "tls = 'required'"),
        home.route("example.net", "tls = 'never'"),
        format!("[[route]]\nrecipients = ['dead.example']\nto = 'smtp://127.0.0.1:{dead}'\n"),
        // Each try is a connection of its own.
        "[delivery]\ntls = 'never'\nidle = '0 s'\nconnections = 4\n".to_owned(),
        "[[delivery.domain]]\nname = 'slow.example'\nreply_time = '2 s'\n".to_owned(),
        "[[delivery_rule]]\nname = 'storm'\nwhen = 'too much mail'\naction = 'suspend'\nfor = '1 h'\n".to_owned(),
    ];
    let declared: Config = toml::from_str(&rows.concat()).expect("a configuration");
    let office = Office::of(Setup { clock: clock.clone(), ..Setup::new(home.receiver.port) }, |config| {
        config.route = declared.route;
        config.delivery = declared.delivery;
        config.delivery_rule = declared.delivery_rule;
        config.queue.options.retry_jitter = Some(Ratio::thousandths(100));
    })
    .await;
    let began = clock.now();
    for domain in ["grey", "slow", "full", "loose", "strict", "dead"] {
        office.send(&[&format!("a@{domain}.example")]).await;
    }
    for number in 0..20 {
        office.send(&[&format!("u{number}@storm.example")]).await;
    }
    pass_time(&office).await;

    // When it said, not by the schedule.
    assert_eq!(grey.tried(), [0, 300]);
    assert_eq!(said(&grey.receiver.messages(), "a@grey.example").len(), 1);

    let connections = storm.tried();
    let at = |minute: i64| connections.iter().filter(|second| **second == minute * MINUTE).count();
    assert!((1..=4).contains(&at(0)), "{connections:?}");
    assert_eq!((at(60), at(120)), (1, 1), "suspended for an hour, then one connection tries: {connections:?}");
    assert!(at(180) >= 1 && connections.iter().all(|second| second % HOUR == 0), "{connections:?}");
    assert_eq!(connections.last(), Some(&(180 * MINUTE)), "{connections:?}");
    let taken = storm.receiver.messages();
    assert_eq!(taken.len(), 20);
    assert!((0..20).all(|number| said(&taken, &format!("u{number}@storm.example")).len() == 1));

    assert_schedule(&slow.tried(), None);
    assert_eq!((slow.tried().len(), slow.receiver.messages().len()), (2, 1));

    let tried = full.tried();
    assert_schedule(&tried, None);
    assert!(tried.last().is_some_and(|last| (2 * DAY..2 * DAY + 14 * HOUR).contains(last)), "{tried:?}");
    assert_eq!(full.receiver.messages().len(), 1);

    let strict: Vec<i64> = broken.tried()[1..].to_vec();
    assert_eq!(broken.tried()[..2], [0, 0], "both were tried with TLS at once");
    assert_schedule(&strict, Some(5 * DAY));
    let taken = broken.receiver.messages();
    assert_eq!((taken.len(), taken[0].recipients[0].as_str()), (1, "a@loose.example"), "without TLS where that may be");

    let trace = office.trace().await;
    let told = |recipient: &str, kind: &str| {
        let of = trace.iter().filter(|(_, what, detail)| what == kind && detail.contains(recipient));
        of.map(|(at, _, detail)| ((*at - began).num_seconds(), detail.clone())).collect::<Vec<_>>()
    };
    let mut tried: Vec<i64> = told("a@dead.example", "deferred").iter().map(|(at, _)| *at).collect();
    let (end, last) = told("a@dead.example", "expired").pop().expect("it expired");
    assert!(last.contains("connection refused"), "{last}");
    tried.push(end);
    assert_schedule(&tried, Some(5 * DAY));
    assert!(told("a@loose.example", "delivered")[0].1.contains("TLS"), "the downgrade is told");
    let (_, why) = &told("a@strict.example", "deferred")[0];
    assert!(why.contains("4.7.5"), "{why}");
    assert!(told("a@slow.example", "deferred")[0].1.contains("did not answer in time"));
    assert_eq!(trace.iter().filter(|(_, kind, detail)| kind == "adapted" && detail.contains("storm")).count(), 6);

    let reports: Vec<(i64, String)> =
        home.tried().into_iter().zip(home.receiver.messages().into_iter().map(|message| message.octets)).collect();
    assert_eq!(reports.len(), 5, "{reports:?}");
    for domain in ["dead", "strict", "full"] {
        let about = |action: &str| {
            let recipient = format!("Final-Recipient: rfc822; a@{domain}.example");
            let action = format!("Action: {action}");
            let of = reports.iter().filter(|(_, text)| text.contains(&recipient) && text.contains(&action));
            of.map(|(at, _)| *at).collect::<Vec<_>>()
        };
        let delayed = about("delayed");
        assert_eq!(delayed, [4 * HOUR], "{domain}");
        assert_eq!(about("failed"), if domain == "full" { vec![] } else { vec![5 * DAY] }, "{domain}");
    }
    assert!(
        reports
            .iter()
            .filter(|(_, text)| text.contains("Action: failed"))
            .all(|(_, text)| text.contains("Status: 5.4.7"))
    );
    assert_eq!(office.rows().await, []);
    office.stop().await;
}
