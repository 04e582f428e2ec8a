//! What a sender was promised when the message was taken: to be told when it is late, that it goes only where the promise
//! is kept, and that the report is as private as the message.

use std::time::Duration;

use chrono::TimeDelta;
use posthorn_mail::envelope::{Envelope, Recipient, Source, Terms};
use posthorn_mail::queue::Suspended;
use posthorn_model::{Address, ByMode, Clock as _, Ret};
use tokio::time::sleep;

use crate::office::{Office, until};
use crate::receiver::{Receiver, said};

fn by(office: &Office, mode: ByMode) -> Terms {
    Terms { deliver_by: Some((office.clock.now() + TimeDelta::hours(2), mode)), ..Terms::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_who_wants_to_know_is_told_when_mail_is_late() {
    let receiver =
        Receiver::new("PIPELINING", |line, _| line.starts_with("RCPT TO:<a@").then(|| "451 4.2.0 later".to_owned()))
            .await;
    let office = Office::new(receiver.port, |_| {}).await;
    office.accept("sender@example.net", &["a@one.example"], by(&office, ByMode::Notify)).await;
    // The third wait would be 80 minutes, beyond the time.
    for (attempts, minutes) in [(1, 20), (2, 40), (3, 60)] {
        until("an attempt", async || office.rows().await.iter().any(|row| row.1 == attempts && !row.3)).await;
        assert_eq!(office.rows().await[0].4, minutes);
        assert!(receiver.messages().is_empty(), "too early to tell");
        office.step(TimeDelta::minutes(minutes)).await;
    }
    until("a report", async || !said(&receiver.messages(), "sender@example.net").is_empty()).await;
    office.settled().await;
    let reports = receiver.messages();
    assert!(reports[0].octets.contains("Action: delayed") && reports[0].sender.is_empty(), "{}", reports[0].octets);
    assert_eq!(office.rows().await.iter().map(|row| row.1).collect::<Vec<_>>(), [4], "and it is tried on");
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_is_to_be_returned_goes_where_that_is_promised() {
    let receiver = Receiver::willing().await;
    let office = Office::new(receiver.port, |_| {}).await;
    office.accept("sender@example.net", &["a@one.example"], by(&office, ByMode::Return)).await;
    until("a report", async || !said(&receiver.messages(), "sender@example.net").is_empty()).await;
    let messages = receiver.messages();
    assert!(said(&messages, "a@one.example").is_empty());
    assert!(messages[0].octets.contains("Status: 5.3.3"), "{}", messages[0].octets);
    // Nobody is told of what has no sender, which the trace says.
    let address = Address::parse("b@one.example").expect("an address");
    let route = office.mail.route(&address).await.expect("the store works");
    let recipients = vec![Recipient { address: address.to_string(), route, orcpt: None, notify: None }];
    let terms = by(&office, ByMode::Return);
    office.take(&Envelope { recipients, source: Source::Relay, terms, ..Envelope::default() }).await;
    until("a word in the trace", async || {
        let trace = office.trace().await;
        trace.iter().any(|(_, kind, detail)| kind == "unreported" && detail.contains("there is nobody to tell"))
    })
    .await;
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_as_private_as_what_they_are_about() {
    let receiver = Receiver::willing().await;
    let office = Office::new(receiver.port, |_| {}).await;
    let terms = Terms { require_tls: true, ret: Some(Ret::Full), ..Terms::default() };
    office.accept("sender@example.net", &["a@one.example"], terms).await;
    until("an attempt", async || office.rows().await.iter().any(|row| row.1 == 1 && !row.3)).await;
    office.step(TimeDelta::days(6)).await;
    until("a report", async || office.rows().await.iter().all(|row| row.0 == "sender@example.net")).await;
    let mut connection = office.beside().await;
    let (private, message, size): (bool, i64, i64) =
        sqlx::query_as("select require_tls, message_id, size from outgoing where sender is null")
            .fetch_one(&mut connection)
            .await
            .expect("a report");
    assert!(private);
    let queue = office.mail.queue();
    let body = queue.body(posthorn_model::MessageId(message), size.unsigned_abs()).await.expect("the store works");
    let Some(posthorn_mail::queue::Body::Whole(octets)) = body else { panic!("a small message") };
    let text = String::from_utf8_lossy(&octets.text).into_owned();
    assert!(text.contains("Message-ID: <one@example.net>") && !text.contains(".dotted"), "{text}");
    assert!(receiver.messages().is_empty());
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_binding_waits_in_peace_and_leaves_at_once() {
    let receiver = Receiver::willing().await;
    let office = Office::new(receiver.port, |_| {}).await;
    let what = Suspended::Binding("default".to_owned());
    office.mail.queue().suspend(&what, None, "a test").await.expect("the store works");
    // Operators are asked after each second in which the clock went on for some.
    office.step(TimeDelta::minutes(1)).await;
    sleep(Duration::from_millis(1500)).await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    assert_eq!((office.rows().await[0].1, office.rows().await[0].4), (0, 10));
    office.step(TimeDelta::days(6)).await;
    until("it is looked at", async || office.rows().await.iter().any(|row| !row.3 && row.4 > 0)).await;
    office.settled().await;
    assert_eq!((office.rows().await[0].1, office.rows().await[0].4), (0, 10), "over, and put off as ever");
    assert!(receiver.messages().is_empty());
    assert!(office.mail.queue().resume(&what, "a test").await.expect("the store works"));
    until("it leaves", async || !said(&receiver.messages(), "a@one.example").is_empty()).await;
    office.settled().await;
    assert!(office.rows().await.is_empty());
    office.stop().await;
}
