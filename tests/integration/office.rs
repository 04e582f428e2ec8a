//! A courier over a real database and a clock that tests step.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use harness::postgres::{TestDatabase, database};
use parking_lot::Mutex;
use posthorn_config::{Config, Next, NextHost, Route};
use posthorn_courier::{Courier, Ground, Settings};
use posthorn_mail::envelope::{Envelope, Recipient, Source, Terms};
use posthorn_mail::{Mail, accept::Completion};
use posthorn_model::{Address, Clock};
use posthorn_net::Roots;
use posthorn_net::dns::{Dns, DnsOptions};
use posthorn_store::{Options, Store};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use crate::cable::Cable;

/// A clock that stands still until it is stepped.
#[derive(Clone, Debug)]
pub(crate) struct Stepped(Arc<Mutex<DateTime<Utc>>>);

impl Stepped {
    /// Stands at the present, at the beginning of a second: PostgreSQL's times are less fine than ours.
    pub(crate) fn new() -> Self {
        let now = DateTime::from_timestamp(Utc::now().timestamp(), 0).expect("a time");
        Self(Arc::new(Mutex::new(now)))
    }

    pub(crate) fn step(&self, by: TimeDelta) {
        *self.0.lock() += by;
    }
}

impl Clock for Stepped {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock()
    }
}

/// A delivery in the queue, as [`Office::rows`] shows it.
pub(crate) type Row = (String, i32, String, bool, i64);

pub(crate) struct Office {
    pub(crate) mail: Mail,
    pub(crate) courier: Option<Courier>,
    pub(crate) clock: Stepped,
    pub(crate) config: Config,
    pub(crate) dns: DnsOptions,
    roots: Roots,
    /// The port of MX hosts.
    port: u16,
    /// On the way to the database.
    pub(crate) cable: Cable,
    database: TestDatabase,
}

/// What an office is made with.
pub(crate) struct Setup {
    pub(crate) clock: Stepped,
    pub(crate) dns: DnsOptions,
    /// Who vouches for other servers.
    pub(crate) roots: Roots,
    /// The port of MX hosts, and where everything goes that no route says otherwise of.
    pub(crate) port: u16,
}

impl Setup {
    pub(crate) fn new(port: u16) -> Self {
        let roots = Roots::system(None).expect("roots");
        Self { clock: Stepped::new(), dns: DnsOptions::default(), roots, port }
    }
}

impl Office {
    /// A courier that sends everything to this port by SMTP.
    pub(crate) async fn new(port: u16, alter: impl FnOnce(&mut Config)) -> Self {
        Self::of(Setup::new(port), alter).await
    }

    /// The same, asking this server for names.
    pub(crate) async fn asking(dns: DnsOptions, port: u16, alter: impl FnOnce(&mut Config)) -> Self {
        Self::of(Setup { dns, ..Setup::new(port) }, alter).await
    }

    pub(crate) async fn of(setup: Setup, alter: impl FnOnce(&mut Config)) -> Self {
        let Setup { clock, dns, roots, port } = setup;
        let database = database(posthorn_store::migrate).await;
        let cable = Cable::to(&database);
        let options = Options { url: cable.url.clone(), connections: 6, writers: 2, batch: 500 };
        let store = Store::open(&options).await.expect("the store opens");
        let mut config = Config::default();
        config.server.hostname = "posthorn.example".to_owned();
        config.dkim.sign = false;
        // Nobody listens here: 127.0.0.1 is others.
        config.listener.clear();
        let host = NextHost::Address([127, 0, 0, 1].into());
        config.route = vec![Route::to(Next::Smtp { host, port, implicit_tls: false })];
        config.queue.options.retry_jitter = Some(posthorn_config::Ratio::thousandths(0));
        alter(&mut config);
        let mut settings = posthorn_mail::Settings::of(&config);
        settings.clock = Box::new(clock.clone());
        let mail = Mail::new(store, settings).await.expect("the duties");
        let mut this = Self { mail, courier: None, clock, config, dns, roots, port, cable, database };
        this.courier = Some(this.start().await);
        this
    }

    pub(crate) async fn start(&self) -> Courier {
        let ground = Ground { dns: Dns::new(&self.dns).expect("a resolver"), roots: self.roots.clone(), sts: None };
        let settings = Settings { mx_port: self.port, ..Settings::of(&self.config) };
        Courier::start(self.mail.clone(), ground, settings).await.expect("the courier starts")
    }

    /// Accepts a message from a peer that may relay.
    pub(crate) async fn accept(&self, sender: &str, recipients: &[&str], terms: Terms) {
        let mut all = Vec::new();
        for recipient in recipients {
            let address = Address::parse(recipient).expect("an address");
            let route = self.mail.route(&address).await.expect("the store works");
            all.push(Recipient { address: address.to_string(), route, orcpt: None, notify: None });
        }
        let envelope = Envelope {
            sender: Some(Address::parse(sender).expect("an address")),
            recipients: all,
            source: Source::Relay,
            terms,
            ..Envelope::default()
        };
        self.take(&envelope).await;
    }

    pub(crate) async fn take(&self, envelope: &Envelope) {
        let octets = b"Subject: hello\r\nMessage-ID: <one@example.net>\r\n\r\n.dotted\r\nhello\r\n";
        self.take_octets(envelope, octets).await;
    }

    pub(crate) async fn take_octets(&self, envelope: &Envelope, octets: &[u8]) {
        let mut body = self.mail.intake();
        body.push(octets).expect("room");
        let completion = Completion { max_hops: 100, max_header: 100_000, ..Completion::default() };
        let accepted = self.mail.accept(envelope, body, completion, false).await.expect("the store works");
        let accepted = accepted.expect("accepted");
        assert!(accepted.outcomes.iter().all(Result::is_ok), "{accepted:?}");
    }

    pub(crate) async fn send(&self, recipients: &[&str]) {
        self.accept("sender@example.net", recipients, Terms::default()).await;
    }

    pub(crate) fn courier(&self) -> &Courier {
        self.courier.as_ref().expect("it runs")
    }

    /// Lets time pass.
    pub(crate) async fn step(&self, by: TimeDelta) {
        self.clock.step(by);
        self.courier().wake().await;
    }

    /// A connection to the database that does not lead through the cable.
    pub(crate) async fn beside(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.expect("the database")
    }

    /// Rows of deliveries: recipient, attempts, last reply, whether it is claimed, and minutes until it is due.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        let mut connection = self.beside().await;
        let statement = "select recipient, attempts, coalesce(last_reply, ''), claim is not null,
                floor(extract(epoch from due_at - $1) / 60)::bigint
            from delivery order by recipient";
        let rows = sqlx::query_as(statement).bind(self.mail.now()).fetch_all(&mut connection);
        rows.await.expect("rows")
    }

    /// How many deliveries are in a hand, or should be: due, and not to a domain that waits while its site is suspended.
    pub(crate) async fn open(&self, waits: &str) -> i64 {
        let now = self.mail.now();
        let suspended = self.courier().sites().iter().any(|site| site.suspended_until.is_some());
        let mut connection = self.beside().await;
        let statement = "select count(*) from delivery
            where claim is not null or state = 1 and due_at <= $1 and not (domain = $2 and $3)";
        let counted = sqlx::query_scalar(statement).bind(now).bind(waits).bind(suspended);
        counted.fetch_one(&mut connection).await.expect("a number")
    }

    /// When something is due later than now.
    pub(crate) async fn next_due(&self) -> Option<DateTime<Utc>> {
        self.mail.queue().next_due().await.expect("the store works")
    }

    /// The trace of everything: when, what, and the rest.
    pub(crate) async fn trace(&self) -> Vec<(DateTime<Utc>, String, String)> {
        self.mail.store().chronicle().flush().await;
        let mut connection = self.beside().await;
        let rows = sqlx::query_as("select at, kind, detail::text from trace order by at").fetch_all(&mut connection);
        rows.await.expect("rows")
    }

    /// Waits until nothing is in the courier's hand.
    pub(crate) async fn settled(&self) {
        until("nothing is in hand", async || {
            self.courier().stats().resident == 0 && self.rows().await.iter().all(|row| !row.3)
        })
        .await;
    }

    pub(crate) async fn stop(mut self) {
        self.courier.take().expect("it runs").stop(Duration::from_secs(5)).await;
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < end, "{what}: not within 20 seconds");
        sleep(Duration::from_millis(10)).await;
    }
}
