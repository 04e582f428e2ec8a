//! The queue's rows: what is committed together, who has a delivery in hand, what `check` proves of them.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use harness::dice::Dice;
use harness::postgres::{TestDatabase, database};
use posthorn_model::{
    BodyType, ClaimId, DeliveryId, DeliveryState, Lane, MessageId, Notify, QueueId, QueueOrigin, Ret,
};
use posthorn_store::chronicle::{self, TraceEntry};
use posthorn_store::dkim_keys::{self, DkimAlgorithm, DkimKey};
use posthorn_store::queue::{self, Completion, Filter, NewDelivery, NewOutgoing, News, Outcome, Outgoing, Wanted};
use posthorn_store::sts_policies::{self, StsPolicy};
use posthorn_store::suppressions::{self, Suppression};
use posthorn_store::tls_reports::{self, TlsCount};
use posthorn_store::tunings::{self, Tuning};
use posthorn_store::writer::{NewMessage, Parcel, Placement, Target};
use posthorn_store::{Options, Store, check, orphans};
use sqlx::Connection;

struct Fixture {
    store: Store,
    url: String,
    // Last: dropped when nobody uses it any more.
    _database: TestDatabase,
}

impl Fixture {
    async fn new() -> Self {
        harness::trace::begin();
        let database = database(posthorn_store::migrate).await;
        let store = open(&database.url).await;
        Self { store, url: database.url.clone(), _database: database }
    }

    /// Runs what the store has no function for.
    async fn run(&self, statement: &'static str) {
        let mut connection = self.store.acquire().await.expect("the store works");
        sqlx::raw_sql(statement).execute(&mut *connection).await.expect(statement);
    }

    async fn number(&self, question: &'static str) -> i64 {
        let mut connection = self.store.acquire().await.expect("the store works");
        sqlx::query_scalar(question).fetch_one(&mut *connection).await.expect(question)
    }

    async fn check(&self) -> Vec<&'static str> {
        let mut connection = self.store.acquire().await.expect("the store works");
        let mut broken = Vec::new();
        for place in 0..check::invariants().len() {
            let finding = check::check(&mut connection, place).await.expect("the store works");
            broken.extend(finding.map(|finding| finding.invariant));
        }
        broken
    }

    /// A courier whose lease lasts.
    async fn courier(&self) -> ClaimId {
        let me = self.store.claim_id();
        let mut connection = self.store.acquire().await.expect("the store works");
        queue::enlist(&mut connection, me, "here", LEASE).await.expect("enlisted");
        me
    }

    fn message(&self) -> NewMessage {
        NewMessage {
            id: self.store.message_id(),
            received_at: noon(),
            sent_at: None,
            message_id: Some("one@example.org".to_owned()),
            header: "Subject: hello\r\n\r\n".into(),
            text: "Hello.\r\n".into(),
            envelope: Vec::new(),
            bodystructure: Vec::new(),
            structure: Vec::new(),
            preview: String::new(),
        }
    }

    fn outgoing(&self, message: MessageId, to: &[&str]) -> NewOutgoing {
        let delivery = |recipient: &&str| NewDelivery {
            id: self.store.delivery_id(),
            recipient: (*recipient).to_owned(),
            domain: recipient.split_once('@').expect("an address").1.to_owned(),
            orcpt: Some(format!("rfc822;{recipient}")),
            notify: Some(Notify::SUCCESS.and(Notify::FAILURE)),
            lane: Lane::Normal,
            due_at: noon(),
            not_before: Some(noon() - TimeDelta::minutes(5)),
            notice_at: Some(noon() + TimeDelta::hours(4)),
            route: None,
            held: None,
        };
        NewOutgoing {
            outgoing: Outgoing {
                id: self.store.queue_id(),
                message,
                sender: Some("bounce-7@example.org".to_owned()),
                author: Some("joe@example.org".to_owned()),
                top: Some(b"X-Top: yes\r\n".to_vec()),
                account: None,
                origin: QueueOrigin::Submission,
                body_type: BodyType::EightBit,
                smtputf8: false,
                require_tls: true,
                envid: Some("an id".to_owned()),
                ret: Some(Ret::Headers),
                priority: -2,
                deliver_by: Some((noon() + TimeDelta::hours(1), posthorn_model::ByMode::Notify)),
                accepted_at: noon(),
                expires_at: noon() + TimeDelta::days(5),
                size: 26,
                header_id: Some("one@example.org".to_owned()),
            },
            deliveries: to.iter().map(delivery).collect(),
            claim: None,
            bond: None,
        }
    }

    /// A message that only leaves.
    async fn send(&self, to: &[&str]) -> NewOutgoing {
        self.send_for(to, None).await
    }

    async fn send_for(&self, to: &[&str], claim: Option<ClaimId>) -> NewOutgoing {
        let message = self.message();
        let new = NewOutgoing { claim, ..self.outgoing(message.id, to) };
        let parcel = Parcel { messages: vec![(message, Vec::new())], outgoing: vec![new.clone()], ..Parcel::default() };
        let receipt = self.store.deliver(parcel).await.expect("committed");
        assert_eq!(receipt.queued, [true]);
        new
    }

    async fn complete(&self, completions: Vec<Completion>) -> Vec<bool> {
        let parcel = Parcel { completions, ..Parcel::default() };
        self.store.deliver(parcel).await.expect("committed").completed
    }

    async fn claim(&self, me: ClaimId, now: DateTime<Utc>, wanted: Wanted<'_>) -> Vec<String> {
        let mut connection = self.store.acquire().await.expect("the store works");
        let claimed = queue::claim(&mut connection, me, now, &wanted).await.expect("the store works");
        claimed.work.into_iter().flat_map(|(_, deliveries)| deliveries).map(|delivery| delivery.recipient).collect()
    }

    async fn row(&self, id: DeliveryId) -> Option<queue::Delivery> {
        let mut connection = self.store.acquire().await.expect("the store works");
        queue::deliveries(&mut connection, &[id]).await.expect("the store works").pop().map(|(_, delivery)| delivery)
    }

    async fn reap(&self) -> u64 {
        let mut connection = self.store.acquire().await.expect("the store works");
        orphans::reap(&mut connection, 100).await.expect("the store works").1
    }
}

async fn open(url: &str) -> Store {
    let options = Options { url: url.to_owned(), connections: 4, writers: 2, batch: 500 };
    Store::open(&options).await.expect("the store opens")
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_262_400, 0).expect("a moment")
}

/// Longer than any test.
const LEASE: Duration = Duration::from_secs(3600);

const ALL: Wanted<'static> = Wanted { per_domain: 100, limit: 1000, after: None, skip: &[] };

fn done(delivery: DeliveryId, claim: ClaimId, outcome: Outcome) -> Completion {
    Completion { delivery, claim, at: noon(), binding: None, host: None, reply: None, outcome }
}

#[tokio::test]
async fn a_message_that_only_leaves_is_queued_claimed_and_gone() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    let sent = fixture.send(&["a@example.net", "b@example.com"]).await;
    assert_eq!(fixture.number("select count(*) from message").await, 0);
    assert_eq!(fixture.check().await, [""; 0]);

    let mut connection = fixture.store.acquire().await.expect("the store works");
    let (outgoing, rows) = queue::load(&mut connection, sent.outgoing.id).await.expect("read").expect("it is there");
    assert_eq!((outgoing, rows), (sent.outgoing.clone(), sent.rows()));
    let octets = queue::body(&mut connection, sent.outgoing.message).await.expect("read").expect("it is there");
    assert_eq!(octets.whole, b"Subject: hello\r\n\r\nHello.\r\n");

    // Not before its time.
    assert!(fixture.claim(me, noon() - TimeDelta::seconds(1), ALL).await.is_empty());
    let claimed = queue::claim(&mut connection, me, noon(), &ALL).await.expect("read");
    let [(outgoing, deliveries)] = &claimed.work[..] else { panic!("{claimed:?}") };
    assert_eq!(*outgoing, sent.outgoing);
    assert_eq!(deliveries.iter().map(|d| d.claim).collect::<Vec<_>>(), [Some(me), Some(me)]);
    assert_eq!(claimed.after, None);
    assert!(fixture.claim(me, noon(), ALL).await.is_empty(), "claimed twice");

    let [first, second] = [deliveries[0].id, deliveries[1].id];
    assert_eq!(fixture.complete(vec![done(first, me, Outcome::Gone)]).await, [true]);
    assert_eq!(fixture.number("select remaining::bigint from outgoing").await, 1);
    assert_eq!(fixture.check().await, [""; 0]);
    assert_eq!(fixture.reap().await, 0);
    assert_eq!(
        fixture.complete(vec![done(first, me, Outcome::Gone), done(second, me, Outcome::Gone)]).await,
        [false, true]
    );
    assert_eq!(fixture.number("select count(*) from outgoing").await, 0);
    assert_eq!(fixture.check().await, [""; 0]);
    assert_eq!(fixture.number("select count(*) from body").await, 1);
    assert_eq!(fixture.reap().await, 1);
    assert_eq!(fixture.number("select count(*) from body").await, 0);
}

#[tokio::test]
async fn what_is_deferred_held_or_set_aside_keeps_why() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    let sent = fixture.send_for(&["a@example.net", "b@example.net", "c@example.net", "d@example.net"], Some(me)).await;
    let ids: Vec<DeliveryId> = sent.deliveries.iter().map(|delivery| delivery.id).collect();
    let later = noon() + TimeDelta::minutes(20);
    let said = |completion: Completion| Completion {
        host: Some("mx.example.net".to_owned()),
        reply: Some("451 later".to_owned()),
        binding: Some("b1".to_owned()),
        ..completion
    };
    let completions = vec![
        said(done(ids[0], me, Outcome::Deferred { due_at: later, notice_at: None, attempted: true })),
        said(done(ids[1], me, Outcome::Held { note: "why not".to_owned() })),
        said(done(ids[2], me, Outcome::SetAside { note: "lost".to_owned() })),
        done(ids[3], me, Outcome::Returned),
    ];
    assert_eq!(fixture.complete(completions).await, [true; 4]);

    let row = fixture.row(ids[0]).await.expect("it is there");
    assert_eq!((row.claim, row.due_at, row.attempts, row.notice_at), (None, later, 1, None));
    assert_eq!((row.last_at, row.last_host.as_deref()), (Some(noon()), Some("mx.example.net")));
    assert_eq!((row.last_reply.as_deref(), row.binding.as_deref()), (Some("451 later"), Some("b1")));
    let row = fixture.row(ids[1]).await.expect("it is there");
    assert_eq!((row.state, row.note.as_deref(), row.attempts), (DeliveryState::Held, Some("why not"), 0));
    let row = fixture.row(ids[2]).await.expect("it is there");
    assert_eq!((row.state, row.note.as_deref()), (DeliveryState::SetAside, Some("lost")));
    let row = fixture.row(ids[3]).await.expect("it is there");
    assert_eq!((row.due_at, row.notice_at, row.last_at), (noon(), Some(noon() + TimeDelta::hours(4)), None));

    let mut connection = fixture.store.acquire().await.expect("the store works");
    assert_eq!(queue::next_due(&mut connection, noon()).await.expect("read"), Some(later));
    assert_eq!(fixture.claim(me, noon(), ALL).await, ["d@example.net"]);
    assert_eq!(fixture.claim(me, later, ALL).await, ["a@example.net"]);
    assert_eq!(fixture.check().await, [""; 0]);
}

#[tokio::test]
async fn only_who_has_it_in_hand_completes_it() {
    let fixture = Fixture::new().await;
    let old = fixture.courier().await;
    let new = fixture.courier().await;
    let sent = fixture.send_for(&["a@example.net", "b@example.net"], Some(old)).await;
    let ids: Vec<DeliveryId> = sent.deliveries.iter().map(|delivery| delivery.id).collect();
    assert!(fixture.claim(new, noon(), ALL).await.is_empty());

    let mut connection = fixture.store.acquire().await.expect("the store works");
    assert!(queue::renew(&mut connection, old, LEASE).await.expect("renewed"));
    let freed = queue::free_dead(&mut connection).await.expect("freed");
    assert_eq!(freed, queue::Freed::default(), "it was renewed");
    assert!(queue::renew(&mut connection, old, Duration::ZERO).await.expect("renewed"));
    let freed = queue::free_dead(&mut connection).await.expect("freed");
    assert_eq!((freed.hosts, freed.deliveries), (vec!["here".to_owned()], 2));
    assert!(!queue::renew(&mut connection, old, LEASE).await.expect("an answer"));

    assert_eq!(fixture.complete(vec![done(ids[0], old, Outcome::Gone)]).await, [false], "the claim is void");
    assert_eq!(fixture.claim(new, noon(), Wanted { limit: 1, ..ALL }).await, ["a@example.net"]);
    let both = vec![done(ids[0], old, Outcome::Gone), done(ids[0], new, Outcome::Gone)];
    assert_eq!(fixture.complete(both).await, [false, true]);
    // Enqueued for a courier that lost its lease meanwhile.
    fixture.send_for(&["c@example.net"], Some(old)).await;
    assert_eq!(fixture.check().await, ["deliveries are in the hand of couriers that exist"]);
    assert_eq!(queue::free_dead(&mut connection).await.expect("freed").deliveries, 1);

    assert_eq!(fixture.claim(new, noon(), ALL).await.len(), 2);
    assert_eq!(queue::retire(&mut connection, new).await.expect("retired"), 2);
    assert_eq!(fixture.number("select count(*) from delivery where claim is null").await, 2);
    assert_eq!(fixture.number("select count(*) from courier").await, 0);
    assert_eq!(fixture.check().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_that_finish_one_envelope_leave_nothing() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    let names: Vec<String> = (0..40).map(|number| format!("r{number}@example.net")).collect();
    let to: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..5 {
        let sent = fixture.send_for(&to, Some(me)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for delivery in &sent.deliveries {
            let (store, completion) = (fixture.store.clone(), done(delivery.id, me, Outcome::Gone));
            tasks.spawn(async move {
                let parcel = Parcel { completions: vec![completion], ..Parcel::default() };
                store.deliver(parcel).await.expect("committed").completed
            });
        }
        assert!(tasks.join_all().await.iter().all(|completed| *completed == [true]));
        assert_eq!(fixture.number("select count(*) from outgoing").await, 0);
    }
    assert_eq!(fixture.reap().await, 5);
    assert_eq!(fixture.check().await, [""; 0]);
}

/// One account with an INBOX and no room, and one with room.
async fn mailboxes(fixture: &Fixture) -> [Target; 2] {
    fixture
        .run(
            "insert into domain (name) values ('example.org');
             insert into account (domain_id, local, folded) select id, n, n from domain, unnest(array['full', 'free']) n;
             insert into mail_state (account_id, quota_bytes) select id, case local when 'full' then 1 end from account;
             insert into mailbox (account_id, id, name, uid_validity, highest_modseq)
                 select id, id, 'INBOX', 1, 1 from account",
        )
        .await;
    let mut connection = fixture.store.acquire().await.expect("the store works");
    let mut target = async |local: &'static str| {
        let id: i64 = sqlx::query_scalar("select id from account where local = $1")
            .bind(local)
            .fetch_one(&mut *connection)
            .await
            .expect("an account");
        Target {
            account: posthorn_model::AccountId(id),
            mailbox: posthorn_model::MailboxId(id),
            flags: posthorn_model::Flags::none(),
            internal_date: noon(),
            bond: 0,
        }
    };
    [target("full").await, target("free").await]
}

#[tokio::test]
async fn what_is_bound_to_a_refused_target_is_not_queued() {
    let fixture = Fixture::new().await;
    let [full, free] = mailboxes(&fixture).await;
    let parcel = |targets: Vec<Target>, bond| {
        let message = fixture.message();
        let outgoing = vec![NewOutgoing { bond, ..fixture.outgoing(message.id, &["a@example.net"]) }];
        Parcel { messages: vec![(message, targets)], outgoing, ..Parcel::default() }
    };
    let receipt = fixture.store.deliver(parcel(vec![full, free], Some(0))).await.expect("committed");
    assert_eq!((receipt.placements, receipt.queued), (vec![Placement::OverQuota, Placement::Withheld], vec![false]));
    assert_eq!(fixture.number("select (select count(*) from outgoing) + (select count(*) from body)").await, 0);

    // Each for itself: nobody keeps the message here, and it leaves all the same.
    let receipt = fixture.store.deliver(parcel(vec![full], Some(7))).await.expect("committed");
    assert_eq!((receipt.placements, receipt.queued), (vec![Placement::OverQuota], vec![true]));
    assert_eq!(fixture.number("select (select count(*) from outgoing) + (select count(*) from body)").await, 2);
    assert_eq!(fixture.number("select count(*) from message").await, 0);

    // Here and there share one body, which stays when it left.
    let me = fixture.courier().await;
    let mut both = parcel(vec![free], Some(0));
    both.outgoing[0].claim = Some(me);
    let gone = done(both.outgoing[0].deliveries[0].id, me, Outcome::Gone);
    assert_eq!(fixture.store.deliver(both).await.expect("committed").queued, [true]);
    assert_eq!(fixture.number("select count(*) from body").await, 2);
    assert_eq!(fixture.check().await, [""; 0]);
    assert_eq!(fixture.complete(vec![gone]).await, [true]);
    assert_eq!((fixture.reap().await, fixture.number("select count(*) from body").await), (0, 2));
    assert_eq!(fixture.check().await, [""; 0]);
}

#[tokio::test]
async fn a_report_is_queued_with_what_it_reports_or_not_at_all() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    let [_, free] = mailboxes(&fixture).await;
    let sent = fixture.send_for(&["a@example.net"], Some(me)).await;
    fixture
        .run(
            "create function refuse() returns trigger language plpgsql as $$ begin
                 if new.recipient = 'poison@example.com' then raise exception 'no room'; end if;
                 return new;
             end $$;
             create trigger refuse before insert on delivery for each row execute function refuse()",
        )
        .await;
    let report = |to: &str| {
        let message = fixture.message();
        let outgoing = vec![fixture.outgoing(message.id, &[to])];
        Parcel {
            conditions: vec![(message.id, vec![sent.deliveries[0].id])],
            messages: vec![(message, vec![free])],
            outgoing,
            completions: vec![done(sent.deliveries[0].id, me, Outcome::Gone)],
            ..Parcel::default()
        }
    };
    fixture.store.deliver(report("poison@example.com")).await.expect_err("refused");
    assert!(fixture.row(sent.deliveries[0].id).await.is_some_and(|row| row.claim == Some(me)));
    assert_eq!(fixture.number("select count(*) from membership").await, 0);
    let receipt = fixture.store.deliver(report("joe@example.com")).await.expect("committed");
    assert_eq!((receipt.queued, receipt.completed), (vec![true], vec![true]));
    assert!(fixture.row(sent.deliveries[0].id).await.is_none());
    // All in one transaction.
    let together =
        "select count(distinct x) from (select xmin::text x from membership union select xmin::text from outgoing
                    union select xmin::text from delivery union select xmin::text from orphan) t";
    assert_eq!(fixture.number(together).await, 1);
    assert_eq!(fixture.check().await, [""; 0]);
    // Who did not hear that it was committed, or lost the claim, writes no second report.
    let again = fixture.store.deliver(report("joe@example.com")).await.expect("committed");
    assert_eq!((again.placements, again.queued), (vec![Placement::Withheld], vec![false]));
    assert_eq!(again.completed, [false]);
    assert_eq!(fixture.number("select (select count(*) from outgoing) + (select count(*) from membership)").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_parcel_that_cannot_be_stored_fails_alone() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    let [_, free] = mailboxes(&fixture).await;
    let taken = fixture.send_for(&["first@example.net"], Some(me)).await.outgoing.id;
    let mut tasks = tokio::task::JoinSet::new();
    let mut sent = Vec::new();
    for number in 0..60 {
        let message = fixture.message();
        let mut new = NewOutgoing { claim: Some(me), ..fixture.outgoing(message.id, &["a@example.net"]) };
        if number % 10 == 3 {
            new.outgoing.id = taken;
        } else {
            sent.push(new.deliveries[0].id);
        }
        let targets = if number % 2 == 0 { vec![free] } else { Vec::new() };
        let store = fixture.store.clone();
        tasks.spawn(async move {
            let parcel = Parcel { messages: vec![(message, targets)], outgoing: vec![new], ..Parcel::default() };
            (number % 10 == 3, store.deliver(parcel).await.is_err())
        });
    }
    for (poisoned, failed) in tasks.join_all().await {
        assert_eq!(poisoned, failed);
    }
    assert_eq!(fixture.number("select count(*) from delivery").await, 55);
    assert_eq!(fixture.complete(sent.iter().map(|id| done(*id, me, Outcome::Gone)).collect()).await, [true; 54]);
    assert_eq!(fixture.check().await, [""; 0]);
}

#[tokio::test]
async fn couriers_are_told_once_and_only_of_what_nobody_has() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    let mut listener = fixture.store.queue_listener().await.expect("listening");
    let mine = fixture.send_for(&["a@example.net", "b@example.net"], Some(me)).await;
    let silence = tokio::time::timeout(Duration::from_millis(200), listener.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    fixture.send(&["a@example.net", "b@example.net"]).await;
    assert_eq!(listener.next().await.expect("news"), News::Due);

    // An order reaches what is in hand: it is recalled, and stays held when it is given back.
    let mut connection = fixture.store.acquire().await.expect("the store works");
    let ids: Vec<DeliveryId> = mine.deliveries.iter().map(|delivery| delivery.id).collect();
    let changed = queue::hold(&mut connection, &ids[..1], "stop").await.expect("held");
    assert_eq!((changed.deliveries, changed.in_hand), (1, 1));
    assert_eq!(listener.next().await.expect("news"), News::Recall);
    assert_eq!(queue::recalled(&mut connection, me).await.expect("read"), ids[..1]);
    assert_eq!(fixture.complete(vec![done(ids[0], me, Outcome::Returned)]).await, [true]);
    assert!(queue::recalled(&mut connection, me).await.expect("read").is_empty());
    let row = fixture.row(ids[0]).await.expect("it is there");
    assert_eq!((row.state, row.claim, row.note.as_deref()), (DeliveryState::Held, None, Some("stop")));
    let silence = tokio::time::timeout(Duration::from_millis(200), listener.next()).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test]
async fn operators_find_and_order() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    let first = fixture.send(&["ann@example.net", "Bob@example.com"]).await;
    let second = fixture.send_for(&["ann@example.net", "eve@[192.0.2.1]"], Some(me)).await;
    let mut connection = fixture.store.acquire().await.expect("the store works");
    let mut found = async |filter: Filter| {
        let ids = queue::select(&mut connection, &filter, None, 100).await.expect("read");
        assert_eq!(queue::count(&mut connection, &filter).await.expect("read"), ids.len() as u64, "{filter:?}");
        let ids: Vec<DeliveryId> = ids.into_iter().map(|found| found.delivery).collect();
        let rows = queue::deliveries(&mut connection, &ids).await.expect("read");
        rows.into_iter().map(|(_, delivery)| delivery.recipient).collect::<Vec<_>>().join(" ")
    };
    let all = Filter::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found(all()).await, "ann@example.net Bob@example.com ann@example.net eve@[192.0.2.1]");
    assert_eq!(found(Filter { outgoing: Some(first.outgoing.id), ..all() }).await, "ann@example.net Bob@example.com");
    assert_eq!(
        found(Filter { sender: text("JOE@example.org"), recipient: text("bob@EXAMPLE.com"), ..all() }).await,
        "Bob@example.com"
    );
    assert_eq!(
        found(Filter { sender: text("@example.org"), recipient: text("@example.com"), ..all() }).await,
        "Bob@example.com"
    );
    assert_eq!(found(Filter { sender: text(""), ..all() }).await, "");
    assert_eq!(found(Filter { domain: text("[192.0.2.1]"), ..all() }).await, "eve@[192.0.2.1]");
    assert_eq!(
        found(Filter { in_hand: Some(true), lane: Some(Lane::Normal), state: Some(DeliveryState::Due), ..all() }).await,
        "ann@example.net eve@[192.0.2.1]"
    );
    assert_eq!(
        found(Filter { header_id: text("one@example.org"), in_hand: Some(false), tried: Some(false), ..all() }).await,
        "ann@example.net Bob@example.com"
    );
    // Ages go by the time in ids, which is the machine's.
    let hour = TimeDelta::hours(1);
    assert_eq!(found(Filter { accepted_before: Some(Utc::now() - hour), ..all() }).await, "");
    assert_eq!(found(Filter { accepted_after: Some(Utc::now() + hour), ..all() }).await, "");
    let around = Filter {
        accepted_before: Some(Utc::now() + hour),
        accepted_after: Some(Utc::now() - hour),
        sender: text("@EXAMPLE.org"),
        ..all()
    };
    assert_eq!(found(around).await.split(' ').count(), 4);
    assert_eq!(found(Filter { sender: text("@example.or"), ..all() }).await, "");
    assert_eq!(found(Filter { sender: text("@xample.org"), ..all() }).await, "");

    // Given up by an operator: taken unless somebody has it.
    let page = queue::select(&mut connection, &all(), None, 2).await.expect("read");
    let rest = queue::select(&mut connection, &all(), Some(page[1].delivery), 9).await.expect("read");
    assert_eq!(rest.iter().map(|found| found.outgoing).collect::<Vec<_>>(), [second.outgoing.id; 2]);
    let ids: Vec<DeliveryId> = page.iter().chain(&rest).map(|found| found.delivery).collect();
    let operator = fixture.courier().await;
    let taken = queue::take(&mut connection, operator, &ids).await.expect("taken");
    assert_eq!(
        taken.iter().map(|(outgoing, rows)| (outgoing.id, rows.len())).collect::<Vec<_>>(),
        [(first.outgoing.id, 2)]
    );
    queue::retire(&mut connection, operator).await.expect("retired");

    let later = noon() + TimeDelta::hours(1);
    assert_eq!(queue::postpone(&mut connection, &["example.net".to_owned()], later).await.expect("put off"), 1);
    assert_eq!(fixture.row(ids[0]).await.expect("it is there").due_at, later);
    assert_eq!(queue::bring_forward(&mut connection, &["example.net".to_owned()], noon()).await.expect("brought"), 1);
    assert_eq!(queue::postpone(&mut connection, &["example.net".to_owned()], later).await.expect("put off"), 1);
    fixture.run("update delivery set not_before = due_at where domain = 'example.net'").await;
    let brought = queue::bring_forward_bound(&mut connection, "b1", noon()).await.expect("an answer");
    assert_eq!(brought, 0, "its sender wants it to wait");
    assert_eq!(queue::bring_forward(&mut connection, &["example.net".to_owned()], noon()).await.expect("an answer"), 0);
    assert_eq!(
        queue::retry(&mut connection, &ids, noon()).await.expect("due"),
        queue::Changed { deliveries: 1, in_hand: 0 }
    );
    let changed = queue::reroute(&mut connection, &ids, Some("smtp://[192.0.2.9]:25"), noon()).await.expect("rerouted");
    assert_eq!((changed.deliveries, changed.in_hand), (4, 2));
    queue::bind(&mut connection, &ids[..1], Some("b2")).await.expect("bound");
    let row = fixture.row(ids[0]).await.expect("it is there");
    assert_eq!((row.route.as_deref(), row.binding.as_deref()), (Some("smtp://[192.0.2.9]:25"), Some("b2")));
    queue::hold(&mut connection, &ids, "a mistake").await.expect("held");
    assert!(fixture.claim(me, noon(), ALL).await.is_empty());
    let filter = Filter { error: text("MISTAKE"), binding: text("b2"), ..all() };
    assert_eq!(queue::count(&mut connection, &filter).await.expect("read"), 1);
    assert_eq!(queue::release(&mut connection, &ids).await.expect("released").deliveries, 4);
    assert_eq!(fixture.claim(me, noon(), ALL).await.len(), 2);
}

#[tokio::test]
async fn what_waits_for_a_binding_is_brought_forward() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    let sent = fixture.send_for(&["a@example.net", "b@example.net", "c@example.net"], Some(me)).await;
    let later = noon() + TimeDelta::minutes(10);
    let put_off = |at: usize, binding: Option<&str>, attempted| Completion {
        binding: binding.map(str::to_owned),
        ..done(sent.deliveries[at].id, me, Outcome::Deferred { due_at: later, notice_at: None, attempted })
    };
    // Before it was known from where, from this binding, and from another.
    let all = vec![put_off(0, None, false), put_off(1, Some("b1"), true), put_off(2, Some("b2"), true)];
    assert_eq!(fixture.complete(all).await, [true; 3]);
    let mut connection = fixture.store.acquire().await.expect("the store works");
    // What is held meanwhile does not keep the put-off either.
    queue::hold(&mut connection, &[sent.deliveries[1].id], "a look").await.expect("held");
    assert_eq!(queue::bring_forward_bound(&mut connection, "b1", noon()).await.expect("brought"), 2);
    assert_eq!(fixture.claim(me, noon(), ALL).await, ["a@example.net"]);
    queue::release(&mut connection, &[sent.deliveries[1].id]).await.expect("released");
    assert_eq!(fixture.claim(me, noon(), ALL).await, ["b@example.net"]);
}

#[tokio::test]
async fn domains_take_turns_and_lanes_go_first() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    fixture.send(&["1@big.example", "2@big.example", "3@big.example", "1@small.example", "1@gone.example"]).await;
    fixture.run("update delivery set lane = 0 where recipient = '3@big.example'; update delivery set due_at = due_at - interval '1 s' where recipient = '2@big.example'").await;
    let skip = ["gone.example".to_owned()];
    let wanted = Wanted { per_domain: 2, skip: &skip, ..ALL };
    // One envelope: its deliveries come in the order of their urgency.
    assert_eq!(fixture.claim(me, noon(), wanted).await, ["3@big.example", "1@small.example", "2@big.example"]);
    assert_eq!(fixture.claim(me, noon(), wanted).await, ["1@big.example"]);
    assert_eq!(fixture.claim(me, noon(), ALL).await, ["1@gone.example"]);
}

#[tokio::test]
async fn a_great_backlog_of_one_domain_hides_nobody() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    let small = fixture.send(&["z@small.example"]).await;
    fixture
        .run(
            "insert into delivery (id, outgoing_id, recipient, domain, lane, state, due_at)
                 select n, o.id, n || '@big.example', 'big.example', 1, 1, o.accepted_at - interval '1 day'
                 from outgoing o, generate_series(1, 2000) n;
             insert into delivery (id, outgoing_id, recipient, domain, lane, state, due_at)
                 select 10000 + n, o.id, 'x@d' || n || '.example', 'd' || n || '.example', 1, 1, o.accepted_at + interval '1 day'
                 from outgoing o, generate_series(1, 300) n;
             update outgoing set remaining = 2301",
        )
        .await;
    let mut connection = fixture.store.acquire().await.expect("the store works");
    let wanted = Wanted { per_domain: 10, limit: 100, ..ALL };
    let first = queue::claim(&mut connection, me, noon(), &wanted).await.expect("read");
    assert_eq!(first.work.iter().map(|(_, rows)| rows.len()).sum::<usize>(), 10);
    let after = first.after.expect("not all domains were looked at");
    let second =
        queue::claim(&mut connection, me, noon(), &Wanted { after: Some(&after), ..wanted }).await.expect("read");
    assert_eq!(second.work[0].1.iter().map(|d| d.id).collect::<Vec<_>>(), [small.deliveries[0].id]);
    assert_eq!(second.after, None);
    assert_eq!(fixture.check().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_couriers_never_claim_the_same() {
    let fixture = Fixture::new().await;
    let names: Vec<String> = (0..300).map(|number| format!("r@d{number}.example")).collect();
    let to: Vec<&str> = names.iter().map(String::as_str).collect();
    fixture.send(&to).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let me = fixture.courier().await;
        let store = fixture.store.clone();
        tasks.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let mut connection = store.acquire().await.expect("the store works");
                let wanted = Wanted { limit: 20, ..ALL };
                let claimed = queue::claim(&mut connection, me, noon(), &wanted).await.expect("read");
                if claimed.work.is_empty() {
                    return mine;
                }
                mine.extend(claimed.work.into_iter().flat_map(|(_, rows)| rows).map(|row| row.id));
            }
        });
    }
    let claimed: Vec<DeliveryId> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), claimed.len());
    assert_eq!(claimed.len(), 300);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_set_aside_and_stops_nothing() {
    let fixture = Fixture::new().await;
    let me = fixture.courier().await;
    fixture.send(&["a@example.net", "b@example.net"]).await;
    fixture.send(&["c@example.net"]).await;
    fixture.send(&["d@example.net"]).await;
    fixture
        .run(
            "update delivery set notify = 99 where recipient = 'a@example.net';
             update outgoing set origin = 77 where id = (select outgoing_id from delivery where recipient = 'c@example.net')",
        )
        .await;
    assert_eq!(fixture.claim(me, noon(), ALL).await, ["b@example.net", "d@example.net"]);
    assert_eq!(
        fixture.number("select count(*) from delivery where state = 3 and claim is null and note is not null").await,
        2
    );
    assert!(fixture.claim(me, noon(), ALL).await.is_empty());
}

/// Rows are read in two statements, and a courier may finish an envelope in between.
#[tokio::test]
async fn a_delivery_whose_envelope_just_went_is_left_out_of_lists() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.send(&["a@example.net"]).await, fixture.send(&["b@example.net"]).await);
    fixture.run("delete from outgoing where id = (select min(id) from outgoing)").await;
    assert!(fixture.row(first.deliveries[0].id).await.is_none());
    assert!(fixture.row(second.deliveries[0].id).await.is_some());
}

#[tokio::test]
async fn damage_of_the_queue_is_found_and_repaired() {
    let damages = [
        "delete from outgoing",
        "update outgoing set remaining = 7",
        "delete from delivery",
        "delete from body",
        "update delivery set claim = 12",
        "update delivery set lane = 9",
        "update delivery set state = 0",
        "update outgoing set deliver_by = null",
    ];
    let fixture = Fixture::new().await;
    for damage in damages {
        fixture.send(&["a@example.net", "b@example.net"]).await;
        assert_eq!(fixture.check().await, [""; 0], "before: {damage}");
        fixture.run(damage).await;
        assert!(!fixture.check().await.is_empty(), "not seen: {damage}");
        let mut connection = fixture.store.acquire().await.expect("the store works");
        for place in 0..check::invariants().len() {
            check::repair(&mut connection, place).await.expect("repaired");
        }
        drop(connection);
        assert_eq!(fixture.check().await, [""; 0], "after: {damage}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_number_is_claimed_again() {
    let fixture = Fixture::new().await;
    let node = |id: MessageId| id.0 >> 12 & 1023;
    let before = node(fixture.store.message_id());
    // Somebody who waits for the number gets it the moment that its connection is gone.
    let mut other = sqlx::PgConnection::connect(&fixture.url).await.expect("connected");
    let mut killer = sqlx::PgConnection::connect(&fixture.url).await.expect("connected");
    let number = i32::try_from(before).expect("small");
    let taken = tokio::spawn(async move {
        sqlx::query("select pg_advisory_lock(1852793957, $1)").bind(number).execute(&mut other).await.expect("taken");
        other
    });
    let held = "select pid from pg_locks where locktype = 'advisory' and classid = 1852793957 and objid::bigint = $1 and granted
                and database = (select oid from pg_database where datname = current_database())";
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and classid = 1852793957 and not granted
                   and database = (select oid from pg_database where datname = current_database())";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut killer).await.expect("locks") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let holder: i32 = sqlx::query_scalar(held).bind(before).fetch_one(&mut killer).await.expect("the holder");
    sqlx::query("select pg_terminate_backend($1)").bind(holder).execute(&mut killer).await.expect("ended");
    let other = taken.await.expect("the lock");
    for _ in 0..500 {
        if node(fixture.store.message_id()) != before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = node(fixture.store.message_id());
    assert_ne!(after, before);
    let holder: Option<i32> = sqlx::query_scalar(held).bind(after).fetch_optional(&mut killer).await.expect("locks");
    assert!(holder.is_some(), "the new number is not held");
    drop(other);
}

#[tokio::test]
async fn the_trace_is_told_read_and_forgotten() {
    let fixture = Fixture::new().await;
    let chronicle = fixture.store.chronicle();
    let (first, second) = (fixture.store.message_id(), fixture.store.message_id());
    let now = Utc::now();
    let entry = |message, kind: &'static str, after| TraceEntry {
        message,
        at: now + TimeDelta::seconds(after),
        kind: kind.into(),
        outgoing: None,
        header_id: None,
        sender: None,
        recipients: Vec::new(),
        detail: "{}".to_owned(),
    };
    let accepted = |message| TraceEntry {
        header_id: Some("one@example.org".to_owned()),
        sender: Some("joe@example.org".to_owned()),
        recipients: vec!["Ann@example.net".to_owned(), "bob@example.net".to_owned()],
        ..entry(message, "accepted", 0)
    };
    let delivered = TraceEntry { outgoing: Some(QueueId(77)), ..entry(first, "delivered", 2) };
    for told in [delivered.clone(), accepted(first), accepted(second), entry(first, "bad\0text", 1)] {
        chronicle.tell(told);
    }
    chronicle.flush().await;
    let mut connection = fixture.store.begin().await.expect("the store works");
    let told = chronicle::of_message(&mut connection, first).await.expect("read");
    let kinds: Vec<&str> = told.iter().map(|entry| &*entry.kind).collect();
    assert_eq!(kinds, ["accepted", "bad\u{fffd}text", "delivered"]);
    assert_eq!(told[0].recipients, ["ann@example.net", "bob@example.net"]);
    assert_eq!(told[2].outgoing, Some(QueueId(77)));
    let found = chronicle::by_recipient(&mut connection, "BOB@example.net", 9).await.expect("read");
    assert_eq!(found, [second, first]);
    assert_eq!(chronicle::by_header_id(&mut connection, "one@example.org", 1).await.expect("read"), [second]);
    assert_eq!(chronicle::message_of(&mut connection, QueueId(77)).await.expect("read"), Some(first));

    // What came before its day's partition was made is moved there; then days go.
    assert_eq!(fixture.number("select count(*) from trace_rest").await, 4);
    let keep = TimeDelta::days(30);
    assert_eq!(chronicle::tend(&mut connection, now, keep).await.expect("tended"), 0);
    connection.commit().await.expect("committed");
    assert_eq!(fixture.number("select count(*) from trace_rest").await, 0);
    assert_eq!(fixture.number("select count(*) from trace").await, 4);
    assert_eq!(fixture.number("select count(*) from pg_inherits where inhparent = 'trace'::regclass").await, 5);
    chronicle.tell(entry(second, "delivered", 3));
    chronicle.flush().await;
    let mut connection = fixture.store.begin().await.expect("the store works");
    assert_eq!(chronicle::of_message(&mut connection, second).await.expect("read").len(), 2);
    let month = now + TimeDelta::days(31);
    assert_eq!(chronicle::tend(&mut connection, month, keep).await.expect("tended"), 1);
    connection.commit().await.expect("committed");
    assert_eq!(fixture.number("select count(*) from trace").await, 0);
}

#[tokio::test]
async fn what_the_way_out_has_learned_is_kept() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.store.acquire().await.expect("the store works");
    let entry = |sender_domain: &str, recipient: &str, expires_at| Suppression {
        sender_domain: sender_domain.to_owned(),
        recipient: recipient.to_owned(),
        class: 10,
        reason: "550 5.1.1 no such user".to_owned(),
        message: None,
        added_at: noon(),
        expires_at,
    };
    let later = noon() + TimeDelta::days(14);
    suppressions::put(&mut connection, &entry("Example.org", "Ann@example.net", Some(later))).await.expect("kept");
    suppressions::put(&mut connection, &entry("", "bob@example.net", None)).await.expect("kept");
    let both = ["ANN@example.net".to_owned(), "bob@example.net".to_owned()];
    let mut found = async |domain: &str, now| {
        let found = suppressions::find(&mut connection, domain, &both, now).await.expect("read");
        found.into_iter().map(|one| one.recipient).collect::<Vec<_>>()
    };
    assert_eq!(found("example.ORG", noon()).await, ["ann@example.net", "bob@example.net"]);
    assert_eq!(found("example.org", later).await, ["bob@example.net"]);
    assert_eq!(found("example.com", noon()).await, ["bob@example.net"]);
    assert_eq!(suppressions::list(&mut connection, Some("example.org"), "", 9).await.expect("read").len(), 1);
    assert_eq!(suppressions::list(&mut connection, None, "ann@example.net", 9).await.expect("read").len(), 1);
    assert_eq!(suppressions::sweep(&mut connection, later).await.expect("swept"), 1);
    assert_eq!(suppressions::remove(&mut connection, None, "Bob@example.net").await.expect("removed"), 1);

    let key = DkimKey {
        domain: "example.org".to_owned(),
        selector: "s1".to_owned(),
        algorithm: DkimAlgorithm::Ed25519,
        private: vec![1, 2, 3],
        public: vec![4],
        created_at: noon(),
        active_at: later,
        retired_at: None,
    };
    dkim_keys::add(&mut connection, &key).await.expect("added");
    assert!(dkim_keys::add(&mut connection, &key).await.expect_err("twice").is_conflict());
    assert!(!format!("{key:?}").contains("[1, 2, 3]"));
    assert_eq!(dkim_keys::active(&mut connection, "example.org", noon()).await.expect("read"), []);
    assert_eq!(dkim_keys::active(&mut connection, "example.org", later).await.expect("read"), [key]);
    assert!(dkim_keys::retire(&mut connection, "example.org", "s1", Some(later)).await.expect("retired"));
    assert_eq!(dkim_keys::active(&mut connection, "example.org", later).await.expect("read"), []);
    assert_eq!(dkim_keys::list(&mut connection, None).await.expect("read").len(), 1);
    assert!(dkim_keys::remove(&mut connection, "example.org", "s1").await.expect("removed"));

    let tuning = Tuning {
        scope: "b1 mx.example.net".to_owned(),
        name: "connections".to_owned(),
        value: 3.5,
        previous: Some(9.0),
        changed_at: noon(),
        until: Some(later),
        rule: "too many".to_owned(),
        reply: Some("421".to_owned()),
    };
    tunings::put(&mut connection, &Tuning { value: 9.0, ..tuning.clone() }).await.expect("kept");
    tunings::put(&mut connection, &tuning).await.expect("kept");
    assert_eq!(tunings::list(&mut connection, noon()).await.expect("read"), [tuning]);
    assert_eq!(tunings::list(&mut connection, later).await.expect("read"), []);
    assert_eq!(tunings::changed_since(&mut connection, noon()).await.expect("read"), []);
    assert!(!tunings::remove(&mut connection, "b1 mx.example.net", "nothing").await.expect("an answer"));
    assert_eq!(tunings::sweep(&mut connection, later).await.expect("swept"), 1);

    let policy = StsPolicy {
        domain: "example.net".to_owned(),
        id: "1".to_owned(),
        policy: "version: STSv1\nmode: enforce\n".to_owned(),
        fetched_at: noon(),
        expires_at: later,
    };
    sts_policies::put(&mut connection, &policy).await.expect("kept");
    sts_policies::put(&mut connection, &StsPolicy { id: "2".to_owned(), ..policy.clone() }).await.expect("kept");
    let found = sts_policies::find(&mut connection, "example.net", noon()).await.expect("read");
    assert_eq!(found.map(|policy| policy.id).as_deref(), Some("2"));
    assert_eq!(sts_policies::find(&mut connection, "example.net", later).await.expect("read"), None);
    assert_eq!(sts_policies::list(&mut connection, noon(), 9).await.expect("read").len(), 1);
    assert_eq!(sts_policies::sweep(&mut connection, later).await.expect("swept"), 1);

    let count = TlsCount {
        day: noon().date_naive(),
        domain: "example.net".to_owned(),
        policy_type: "sts".to_owned(),
        policy: String::new(),
        mx: "mx.example.net".to_owned(),
        result: String::new(),
        detail: String::new(),
        sessions: 2,
    };
    tls_reports::add(&mut connection, &[count.clone(), count.clone()]).await.expect("added");
    tls_reports::add(
        &mut connection,
        &[count.clone(), TlsCount { result: "starttls-not-supported".to_owned(), ..count }],
    )
    .await
    .expect("added");
    let counts = tls_reports::of_day(&mut connection, noon().date_naive(), Some("example.net")).await.expect("read");
    assert_eq!(counts.iter().map(|count| count.sessions).collect::<Vec<_>>(), [6, 2]);
    // A policy may be 64 KiB of text that does not shrink, more than an index takes; it is others' text, NUL and all.
    let mut dice = Dice::new(8460);
    let long: String = (0..60_000).map(|_| char::from(b'!' + u8::try_from(dice.below(90)).expect("small"))).collect();
    let large = TlsCount { policy: format!("{long}\0"), detail: format!("a\0{}", &long[..5000]), ..counts[0].clone() };
    for _ in 0..2 {
        tls_reports::add(&mut connection, &[large.clone(), counts[0].clone()]).await.expect("added");
    }
    let counts = tls_reports::of_day(&mut connection, noon().date_naive(), Some("example.net")).await.expect("read");
    let mut sessions: Vec<_> = counts.iter().map(|count| (count.sessions, count.policy.len())).collect();
    sessions.sort_unstable();
    assert_eq!(sessions, [(2, 0), (12, 60_000), (18, 0)]);
    let tomorrow = noon().date_naive().succ_opt().expect("a day");
    assert_eq!(tls_reports::sweep(&mut connection, tomorrow).await.expect("swept"), 3);
}
