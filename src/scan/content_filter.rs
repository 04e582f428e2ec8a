//! A content filter behind SMTP or LMTP that sends messages back to a listener of ours, such as amavisd.
//!
//! What it says is what becomes of the message: who is answered 250 has been served by the filter, which has sent the
//! message back to us by then, keeps it, or has told its sender why not; who is refused, is refused in its words. Nothing
//! is stored on this side. Who the client was goes along by XFORWARD, where the filter wants that.
//!
//! Once the filter has said that it wants the message, its silence defers that, whatever is configured for failures: it may
//! have come back already, and asking again or elsewhere at once would make two of it. So no deadline of ours for the whole
//! question ends it then; the reply has the configured time to itself.

use posthorn_filter::Scanned;
use posthorn_model::{Address, EnhancedCode, Notify, Refusal, Ret};
use posthorn_net::egress::{Link, TlsClient};
use posthorn_net::{Called, Caller};
use posthorn_smtp::{
    Attribute, AttributeName, AttributeValue, BodyType, Client, ClientEvent, ClientFailure, ClientOptions, ClientTls,
    Dialect, Envelope, OriginalRecipient, Recipient, Reply, Sender, Target,
};
use posthorn_wire::Machine as _;
use tokio::time::{Duration, Instant, timeout_at};

use crate::plain;
use crate::protocol::{Handed, Protocol};
use crate::question::{Addressee, Question};

/// SMTP or LMTP to a filter.
pub(crate) struct ContentFilter {
    pub(crate) dialect: Dialect,
    /// What we call ourselves.
    pub(crate) host: String,
    pub(crate) tls: TlsClient,
    /// How long it may take for one answer, and for the message with its reply.
    pub(crate) time: Duration,
}

/// What the filter has answered so far, by recipient.
type Answers = Vec<Option<Result<String, Refusal>>>;

impl Protocol for ContentFilter {
    type Connection = Box<Caller<Client>>;

    const LOOKS_FOR_VIRUSES: bool = false;
    const REMEMBERED: bool = false;

    async fn open(&self, link: Link) -> Result<Self::Connection, String> {
        let mut options = ClientOptions::new(self.dialect, self.host.clone());
        (options.tls, options.reply_wait, options.final_wait) = (ClientTls::Never, self.time, self.time);
        let machine = Client::new(options, Instant::now().into_std());
        let mut caller = Box::new(plain::caller(machine, link, &self.tls, self.time));
        match caller.next().await {
            Called::Event(ClientEvent::Ready) => Ok(caller),
            Called::Event(ClientEvent::Failed(failure)) => Err(words(&failure)),
            Called::Event(_) => Err("it answered before it was asked".to_owned()),
            Called::Closed(parted) => Err(parted.to_string()),
        }
    }

    async fn ask(
        &self,
        mut caller: Self::Connection,
        question: &Question<'_>,
        handed: &Handed,
    ) -> Result<(Scanned, Option<Self::Connection>), String> {
        let envelope = envelope(question)?;
        caller.machine().forward(&attributes(question));
        caller.machine().send(&envelope);
        let mut answers: Answers = vec![None; envelope.recipients.len()];
        let mut until = None;
        let lost = loop {
            let called = match until {
                None => caller.next().await,
                Some(until) => match timeout_at(until, caller.next()).await {
                    Ok(called) => called,
                    Err(_) => {
                        // With LMTP some may have their answers: those are told first.
                        caller.machine().expire();
                        caller.next().await
                    }
                },
            };
            match called {
                Called::Event(ClientEvent::Sender(reply)) => {
                    if let Some(refusal) = reply.refusal() {
                        answers.fill(Some(Err(refusal)));
                    }
                }
                Called::Event(ClientEvent::Recipient { at, reply }) => {
                    if let (Some(refusal), Some(answer @ None)) = (reply.refusal(), answers.get_mut(at)) {
                        *answer = Some(Err(refusal));
                    }
                }
                Called::Event(ClientEvent::BodyWanted) => {
                    handed.over();
                    until = Some(Instant::now() + self.time);
                    caller.machine().body(question.octets.clone());
                    caller.machine().body_end();
                }
                Called::Event(ClientEvent::Done(replies)) => {
                    for (at, reply) in replies {
                        if let Some(answer) = answers.get_mut(at) {
                            *answer = Some(served(&reply));
                        }
                    }
                }
                Called::Event(ClientEvent::Ready) => break None,
                Called::Event(ClientEvent::Failed(failure)) => break Some(words(&failure)),
                Called::Event(ClientEvent::AuthChallenge(_) | ClientEvent::Authenticated(_)) => {
                    break Some("it answered out of turn".to_owned());
                }
                Called::Closed(parted) => break Some(parted.to_string()),
            }
        };
        if let Some(why) = lost.as_ref().filter(|_| until.is_none() || answers.iter().all(Option::is_none)) {
            return Err(why.clone());
        }
        let unknown = || Err(Refusal::new(451, EnhancedCode(4, 3, 0), "The content filter gave no answer"));
        let taken = answers.into_iter().map(|answer| answer.unwrap_or_else(unknown)).collect();
        Ok((Scanned { taken: Some(taken), ..Scanned::default() }, lost.is_none().then_some(caller)))
    }
}

fn served(reply: &Reply) -> Result<String, Refusal> {
    match reply.refusal() {
        Some(refusal) => Err(refusal),
        None if reply.is_positive() => Ok(reply.text.replace('\n', " ")),
        None => Err(Refusal::new(451, EnhancedCode(4, 3, 0), "The content filter gave no answer")),
    }
}

fn words(failure: &ClientFailure) -> String {
    match failure {
        ClientFailure::Injection => "it answers what nobody asked".to_owned(),
        ClientFailure::Malformed => "it answered something that is no reply".to_owned(),
        ClientFailure::Refused(reply) => format!("it refuses us: {} {}", reply.code, reply.text.replace('\n', " ")),
        ClientFailure::Silent => "no answer in time".to_owned(),
        ClientFailure::TlsNotOffered => "it offers no TLS".to_owned(),
        ClientFailure::TooLong => "its answer has no end".to_owned(),
    }
}

fn envelope(question: &Question<'_>) -> Result<Envelope, String> {
    let path = Some(&question.sender).filter(|sender| !sender.is_empty()).map(|sender| Address::parse(sender));
    let path = path.transpose().map_err(|error| format!("the sender is no address: {error}"))?;
    let sender = Sender {
        path,
        size: Some(question.octets.len() as u64),
        body: if question.eight_bit { BodyType::EightBit } else { BodyType::SevenBit },
        smtputf8: question.smtputf8,
        ret: question.ret.map(|ret| match ret {
            Ret::Full => posthorn_smtp::Ret::Full,
            Ret::Headers => posthorn_smtp::Ret::Headers,
        }),
        envid: question.envid.map(str::to_owned),
        ..Sender::default()
    };
    let recipients = question.recipients.iter().map(recipient).collect::<Result<_, _>>()?;
    Ok(Envelope { sender, recipients, chunking: false })
}

fn recipient(one: &Addressee<'_>) -> Result<Recipient, String> {
    let target = match Address::parse(one.address) {
        Ok(address) => Target::Address(address),
        // RFC 5321 §4.5.1: it has no domain, and anybody may write to it.
        Err(_) if one.address.eq_ignore_ascii_case("postmaster") => Target::Postmaster,
        Err(error) => return Err(format!("a recipient is no address: {error}")),
    };
    let orcpt = one.orcpt.and_then(|orcpt| orcpt.split_once(';'));
    Ok(Recipient {
        target,
        notify: one.notify.map(|notify| posthorn_smtp::Notify {
            success: notify.wants(Notify::SUCCESS),
            failure: notify.wants(Notify::FAILURE),
            delay: notify.wants(Notify::DELAY),
        }),
        orcpt: orcpt.map(|(kind, address)| OriginalRecipient { kind: kind.to_owned(), address: address.to_owned() }),
    })
}

/// Who the client is (Postfix's XFORWARD_README).
fn attributes(question: &Question<'_>) -> Vec<Attribute> {
    let client = &question.inquiry.client;
    let address = client.address.map(|address| match address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("IPV6:{address}"),
    });
    let protocol = &question.inquiry.protocol;
    let known = [
        (AttributeName::Name, client.name.clone()),
        (AttributeName::Addr, address),
        (AttributeName::Port, client.port.map(|port| port.to_string())),
        (AttributeName::Proto, (!protocol.is_empty()).then(|| protocol.clone())),
        (AttributeName::Helo, question.inquiry.helo.clone()),
        (AttributeName::Ident, question.inquiry.queue_id.clone()),
        (AttributeName::Source, Some(if question.login().is_some() { "LOCAL" } else { "REMOTE" }.to_owned())),
    ];
    let value = |value: Option<String>| match value.filter(|value| !value.is_empty() && value.len() <= 255) {
        Some(value) => AttributeValue::Known(value),
        None => AttributeValue::Unavailable,
    };
    known.into_iter().map(|(name, found)| Attribute { name, value: value(found) }).collect()
}

#[cfg(test)]
mod tests {
    use posthorn_config::{Scanner as Settings, ScannerFailure, Span};
    use posthorn_filter::Fault;

    use super::*;
    use crate::rig::{Script, Scripted, failure, message, question, said, settings, two};
    use crate::service::Service;

    fn filter(dialect: Dialect) -> ContentFilter {
        within(dialect, Duration::from_secs(5))
    }

    fn within(dialect: Dialect, time: Duration) -> ContentFilter {
        let tls = TlsClient::new(posthorn_net::Roots::system(None).expect("roots")).expect("TLS");
        ContentFilter { dialect, host: "mx.example.org".to_owned(), tls, time }
    }

    /// One that has these answers from EHLO on.
    async fn amavis(answers: &[&str], alter: impl FnOnce(Script) -> Script) -> Scripted {
        let script = Script::new().greeting("220 amavis\r\n").session(answers);
        alter(script.when(|heard| heard.ends_with(b"\r\n") && !heard.ends_with(b"body\r\n"))).serve().await
    }

    /// The service at all of these, which mail passes when none can be asked.
    fn service_at(places: &[&Scripted], dialect: Dialect, time: Duration) -> Service<ContentFilter> {
        let settings = Settings {
            address: places.iter().map(|place| place.address()).collect(),
            time: Span::from_millis(u32::try_from(time.as_millis()).expect("short")),
            on_failure: ScannerFailure::Pass,
            ..settings(([127, 0, 0, 1], 9).into())
        };
        Service::new(settings, within(dialect, time))
    }

    async fn fault(service: &Service<ContentFilter>, asked: &Question<'_>) -> Fault {
        service.ask(asked).await.expect_err("no answer")
    }

    const WANTED: &[&str] = &["250 amavis\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"];
    const TAKEN: &[&str] = &["250 amavis\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 2.0.0 taken\r\n"];

    const EHLO: &str = "250-amavis\r\n250 XFORWARD NAME ADDR PROTO HELO\r\n";

    #[tokio::test]
    async fn its_answer_is_what_becomes_of_the_message() {
        let script = Script::new().greeting("220 amavis\r\n").session(&[
            EHLO,
            "250 ok\r\n",
            "250 ok\r\n",
            "250 ok\r\n",
            "354 go\r\n",
            "250 2.0.0 from MTA: 250 queued\r\n",
            "250 ok\r\n",
            "250 ok\r\n",
            "250 ok\r\n",
            "354 go\r\n",
            "554 5.7.0 Reject, INFECTED\r\n",
        ]);
        let server = script.when(|heard| heard.ends_with(b"\r\n") && !heard.ends_with(b"body\r\n")).serve().await;
        let service = server.service(filter(Dialect::Smtp));
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let asked = question(&octets);
        let first = said(&service, &asked).await.taken.expect("taken");
        assert_eq!(first, [Ok("from MTA: 250 queued".to_owned())]);
        let second = said(&service, &asked).await.taken.expect("taken");
        assert_eq!(second[0].as_ref().map_err(ToString::to_string), Err("554 5.7.0 Reject, INFECTED".to_owned()));
        let heard = server.heard();
        assert_eq!(heard.len(), 1, "one connection");
        let heard = String::from_utf8_lossy(&heard[0]);
        for line in [
            "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7 PROTO=ESMTP HELO=client.example\r\n",
            "MAIL FROM:<ann@origin.example>\r\n",
            "RCPT TO:<bob@here.example>\r\n",
        ] {
            assert_eq!(heard.matches(line).count(), 2, "{line}: {heard}");
        }
    }

    #[tokio::test]
    async fn each_recipient_has_an_answer() {
        let script = Script::new().greeting("220 amavis\r\n").session(&[
            "250 amavis\r\n",
            "250 ok\r\n",
            "250 ok\r\n",
            "550 5.1.1 who\r\n",
            "354 go\r\n",
            "250 2.0.0 fine\r\n",
        ]);
        let server = script.when(|heard| heard.ends_with(b"\r\n") && !heard.ends_with(b"body\r\n")).serve().await;
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let taken = said(&server.service(filter(Dialect::Lmtp)), &two(&octets)).await.taken.expect("taken");
        assert_eq!(taken[0], Ok("fine".to_owned()));
        assert_eq!(taken[1].as_ref().map_err(|no| no.code), Err(550));
    }

    #[tokio::test]
    async fn a_reply_lost_behind_the_dot_defers() {
        let (first, second) = (amavis(WANTED, Script::closing).await, amavis(TAKEN, |script| script).await);
        let service = service_at(&[&first, &second], Dialect::Smtp, Duration::from_secs(5));
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let fault = fault(&service, &question(&octets)).await;
        assert!(fault.closed && fault.text.contains("closed the connection"), "{fault:?}");
        assert_eq!((first.heard().len(), second.heard().len()), (1, 0), "nobody is asked a second time");
    }

    #[tokio::test]
    async fn who_is_silent_behind_the_dot_is_the_last_one_asked() {
        let (first, second) = (amavis(WANTED, |script| script).await, amavis(TAKEN, |script| script).await);
        let service = service_at(&[&first, &second], Dialect::Smtp, Duration::from_millis(400));
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let began = std::time::Instant::now();
        let fault = fault(&service, &question(&octets)).await;
        assert!(fault.closed && fault.text.contains("no answer in time"), "{fault:?}");
        assert!(began.elapsed() < Duration::from_secs(3), "it ends all the same");
        let heard = first.heard();
        assert!(heard[0].ends_with(b"\r\nbody\r\n.\r\n"), "{}", String::from_utf8_lossy(&heard[0]));
        assert_eq!((heard.len(), second.heard().len()), (1, 0));
    }

    #[tokio::test]
    async fn an_answer_behind_the_dot_may_take_longer_than_a_share() {
        let slow = amavis(TAKEN, |script| script.late(Duration::from_millis(1200))).await;
        let other = amavis(TAKEN, |script| script).await;
        // Half of the time is each address's share.
        let service = service_at(&[&slow, &other], Dialect::Smtp, Duration::from_secs(2));
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let taken = said(&service, &question(&octets)).await.taken.expect("taken");
        assert_eq!((taken, other.heard().len()), (vec![Ok("taken".to_owned())], 0));
    }

    #[tokio::test]
    async fn who_is_silent_before_the_message_is_followed_by_the_next() {
        let (first, second) = (amavis(&WANTED[..3], |script| script).await, amavis(TAKEN, |script| script).await);
        let service = service_at(&[&first, &second], Dialect::Smtp, Duration::from_millis(800));
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let taken = said(&service, &question(&octets)).await.taken.expect("taken");
        assert_eq!(taken, [Ok("taken".to_owned())]);
        assert!(!first.heard()[0].ends_with(b".\r\n"));
    }

    #[tokio::test]
    async fn silence_on_a_kept_connection_is_not_followed_by_a_new_one() {
        let answers = [TAKEN, &WANTED[1..]].concat();
        let server = amavis(&answers, |script| script).await;
        let service = service_at(&[&server], Dialect::Smtp, Duration::from_millis(400));
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        said(&service, &question(&octets)).await.taken.expect("taken");
        let fault = fault(&service, &question(&octets)).await;
        assert!(fault.closed && fault.text.contains("no answer in time"), "{fault:?}");
        assert_eq!(server.heard().len(), 1, "one connection");
    }

    #[tokio::test]
    async fn who_is_silent_for_some_has_answered_for_the_others() {
        let answers = ["250 amavis\r\n", "250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 2.0.0 fine\r\n"];
        let server = amavis(&answers, |script| script).await;
        let service = service_at(&[&server], Dialect::Lmtp, Duration::from_millis(400));
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let taken = said(&service, &two(&octets)).await.taken.expect("taken");
        assert_eq!(taken[0], Ok("fine".to_owned()));
        assert_eq!(taken[1].as_ref().map_err(|no| no.code), Err(451));
    }

    #[tokio::test]
    async fn silence_behind_the_dot_is_trouble_like_any_other() {
        let server = amavis(WANTED, |script| script).await;
        let service = service_at(&[&server], Dialect::Smtp, Duration::from_millis(200));
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        for _ in 0..3 {
            assert!(fault(&service, &question(&octets)).await.closed);
        }
        let fault = fault(&service, &question(&octets)).await;
        assert!(!fault.closed && fault.text.contains("a moment ago"), "nobody was given anything: {fault:?}");
        assert_eq!(server.heard().len(), 3);
    }

    #[tokio::test]
    async fn malformed_answers_are_no_verdicts() {
        for answers in [
            &["nonsense\r\n"][..],
            &["250 amavis\r\n", "no reply\r\n"],
            &["421 4.3.2 shutting down\r\n"],
            &["554 go away\r\n"],
            &["250 amavis\r\n250 twice\r\n"],
        ] {
            let script = Script::new().greeting("220 amavis\r\n").session(answers).closing();
            let server = script.when(|heard| heard.ends_with(b"\r\n")).serve().await;
            let octets = message("Subject: x\r\n\r\nbody\r\n");
            failure(&server.service(filter(Dialect::Smtp)), &question(&octets)).await;
        }
    }
}
