//! Milters of others, such as opendkim: each message is a session of its own, as its client would have it.
//!
//! One judgement stands for a message: where a milter refuses one of several recipients, it refuses the message.

use std::net::SocketAddr;

use bytes::Bytes;
use posthorn_filter::{Change, Redirect, Scanned};
use posthorn_milter::{Answer, Change as Said, Client, ClientEvent, ClientOptions, Outcome, Peer, Reply};
use posthorn_model::{Address, EnhancedCode, Refusal};
use posthorn_net::egress::{Link, TlsClient};
use posthorn_net::{Called, Caller};
use tokio::time::{Duration, Instant};

use crate::field::{folded, is_name};
use crate::plain;
use crate::protocol::{Handed, Protocol};
use crate::question::Question;
use crate::shown::shown;

/// The protocol of milters, from the MTA's side.
pub(crate) struct Milter {
    /// What we call ourselves.
    pub(crate) host: String,
    pub(crate) tls: TlsClient,
    pub(crate) time: Duration,
}

/// What becomes of a message at a step.
enum Judged {
    GoOn,
    /// The filter has said its last word.
    Over(Scanned),
}

impl Protocol for Milter {
    type Connection = Caller<Client>;

    const LOOKS_FOR_VIRUSES: bool = false;
    const REMEMBERED: bool = false;

    async fn open(&self, link: Link) -> Result<Caller<Client>, String> {
        // Some milters take all of it for granted (rspamd's proxy).
        let options = ClientOptions { reply_wait: self.time, final_wait: self.time, ..ClientOptions::default() };
        let machine = Client::new(options, Instant::now().into_std());
        let mut caller = plain::caller(machine, link, &self.tls, self.time);
        match hear(&mut caller).await? {
            ClientEvent::Ready => Ok(caller),
            _ => Err("it answered before it was asked".to_owned()),
        }
    }

    async fn ask(
        &self,
        mut caller: Caller<Client>,
        question: &Question<'_>,
        _: &Handed,
    ) -> Result<(Scanned, Option<Caller<Client>>), String> {
        let said = self.converse(&mut caller, question).await?;
        caller.machine().quit();
        while let Called::Event(_) = caller.next().await {}
        Ok((said, None))
    }
}

impl Milter {
    async fn converse(&self, caller: &mut Caller<Client>, question: &Question<'_>) -> Result<Scanned, String> {
        let address = question.address();
        let shown = address.map(|address| address.to_string()).unwrap_or_default();
        let client = question.name().map_or_else(|| format!("[{shown}]"), str::to_owned);
        let port = question.inquiry.client.port.unwrap_or(0);
        let peer = address.map_or(Peer::Unknown, |address| Peer::Internet(SocketAddr::new(address, port)));
        caller.machine().macros(b'C', &[("j", &self.host), ("{daemon_name}", "posthorn"), ("{client_addr}", &shown)]);
        caller.machine().connect(if address.is_some() { client } else { "localhost".to_owned() }, peer);
        if let Judged::Over(said) = step(caller).await? {
            return Ok(said);
        }
        caller.machine().helo(question.helo().unwrap_or(&self.host).to_owned());
        if let Judged::Over(said) = step(caller).await? {
            return Ok(said);
        }
        let id = question.inquiry.queue_id.as_deref().unwrap_or(&question.inquiry.instance);
        let mut macros = vec![("i", id), ("{mail_addr}", question.sender.as_str())];
        if let Some(sasl) = &question.inquiry.sasl {
            macros.extend([("{auth_type}", sasl.method.as_str()), ("{auth_authen}", sasl.username.as_str())]);
        }
        caller.machine().macros(b'M', &macros);
        caller.machine().mail(vec![Bytes::from(format!("<{}>", question.sender))]);
        if let Judged::Over(said) = step(caller).await? {
            return Ok(said);
        }
        for recipient in &question.recipients {
            caller.machine().macros(b'R', &[("i", id), ("{rcpt_addr}", recipient.address)]);
            caller.machine().rcpt(vec![Bytes::from(format!("<{}>", recipient.address))]);
            if let Judged::Over(said) = step(caller).await? {
                return Ok(said);
            }
        }
        let (fields, body) = parts(question.octets);
        caller.machine().message(fields, body);
        match hear(caller).await? {
            ClientEvent::Done(outcome) => read(outcome),
            _ => Err("it answered out of turn".to_owned()),
        }
    }
}

async fn hear(caller: &mut Caller<Client>) -> Result<ClientEvent, String> {
    match caller.next().await {
        Called::Event(ClientEvent::Failed(failure)) => Err(failure.to_string()),
        Called::Event(event) => Ok(event),
        Called::Closed(parted) => Err(parted.to_string()),
    }
}

async fn step(caller: &mut Caller<Client>) -> Result<Judged, String> {
    match hear(caller).await? {
        ClientEvent::Verdict(Answer::Continue | Answer::Skip) => Ok(Judged::GoOn),
        ClientEvent::Verdict(answer) => judge(&answer, Scanned::default()).map(Judged::Over),
        _ => Err("it answered out of turn".to_owned()),
    }
}

/// The header's fields as a milter hears them, and the body.
fn parts(octets: &Bytes) -> (Vec<(Bytes, Bytes)>, Bytes) {
    let end = posthorn_mime::header_end(octets).unwrap_or(octets.len());
    let fields = posthorn_mime::fields(&octets[..end])
        .filter(|field| !field.name.is_empty())
        .map(|field| (octets.slice_ref(field.name), octets.slice_ref(field.value)))
        .collect();
    (fields, octets.slice(end..))
}

fn read(outcome: Outcome) -> Result<Scanned, String> {
    let mut said = Scanned::default();
    let mut body: Option<Vec<u8>> = None;
    for change in outcome.changes {
        let change = match change {
            Said::AddHeader(name, value) => field(&name, &value).map(|(name, value)| Change::AddField { name, value }),
            Said::InsertHeader(at, name, value) => {
                field(&name, &value).map(|(name, value)| Change::InsertField { at: at as usize, name, value })
            }
            Said::ChangeHeader(nth, name, value) => field(&name, &value).map(|(name, value)| {
                let nth = nth.max(1) as usize;
                match value.is_empty() {
                    true => Change::RemoveField { nth: Some(nth), name },
                    false => Change::ChangeField { nth, name, value },
                }
            }),
            Said::Body(piece) => {
                body.get_or_insert_default().extend_from_slice(&piece);
                continue;
            }
            Said::Quarantine(reason) => {
                said.hold = Some(shown(&reason));
                continue;
            }
            // What ESMTP parameters say, the message's own sender has said.
            Said::AddRecipient(path, _) => {
                said.redirects.push(Redirect::Add(address(&path)?));
                continue;
            }
            Said::DeleteRecipient(path) => {
                said.redirects.push(Redirect::Remove(address(&path)?));
                continue;
            }
            Said::Sender(path, _) if matches!(bare(&path), b"") => {
                said.redirects.push(Redirect::Sender(None));
                continue;
            }
            Said::Sender(path, _) => {
                said.redirects.push(Redirect::Sender(Some(address(&path)?)));
                continue;
            }
        };
        said.changes.push(change.ok_or("it wants a header field that cannot be")?);
    }
    said.changes.extend(body.map(|octets| Change::Body(octets.into())));
    judge(&outcome.answer, said)
}

/// A path without its angle brackets, which some milters leave out.
fn bare(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"<").and_then(|inner| inner.strip_suffix(b">")).unwrap_or(path)
}

fn address(path: &[u8]) -> Result<Address, String> {
    let text = std::str::from_utf8(bare(path)).ok();
    text.and_then(|text| Address::parse(text).ok()).ok_or_else(|| "it names an address that is none".to_owned())
}

fn field(name: &[u8], value: &[u8]) -> Option<(String, String)> {
    let name = std::str::from_utf8(name).ok().filter(|name| is_name(name))?;
    let value = String::from_utf8_lossy(value);
    Some((name.to_owned(), folded(value.strip_prefix(' ').unwrap_or(&value))))
}

fn judge(answer: &Answer, mut said: Scanned) -> Result<Scanned, String> {
    let refusal = |code, enhanced, text: &str| Some(Refusal::new(code, enhanced, text));
    match answer {
        Answer::Accept | Answer::Continue | Answer::Skip => {}
        Answer::Reject => said.refuse = refusal(550, EnhancedCode(5, 7, 1), "Refused by our filter"),
        Answer::Tempfail => said.refuse = refusal(451, EnhancedCode(4, 7, 1), "Try again later"),
        Answer::Reply(reply) => said.refuse = Some(refused(reply)),
        // Nothing is dropped in silence.
        Answer::Discard => said.hold = Some("a milter would drop it".to_owned()),
        Answer::Shutdown | Answer::ConnectionFailed => return Err("it cannot filter now".to_owned()),
    }
    Ok(said)
}

/// `550 5.7.1 text`, perhaps in several lines, each with its code.
fn refused(reply: &Reply) -> Refusal {
    let class = (reply.code() / 100) as u8;
    let whole = reply.text();
    let first = whole.lines().next().unwrap_or_default();
    let rest = first.get(3..).unwrap_or_default().trim_start_matches(['-', ' ']);
    let enhanced = rest.split_once(' ').and_then(|(word, text)| {
        let mut digits = word.split('.').map(|number| number.parse::<u16>().ok());
        match (digits.next()??, digits.next()??, digits.next()??, digits.next()) {
            (first, subject, detail, None) if first == u16::from(class) => {
                Some((EnhancedCode(class, subject, detail), text))
            }
            _ => None,
        }
    });
    let (enhanced, text) = enhanced.unwrap_or((EnhancedCode(class, 7, 1), rest));
    let text = shown(text.as_bytes());
    Refusal::new(reply.code(), enhanced, if text.is_empty() { "Refused by our filter".to_owned() } else { text })
}

#[cfg(test)]
mod tests {
    use posthorn_wire::{Machine as _, Step};

    use super::*;
    use crate::rig::{Script, failure, message, question, said};

    fn milter() -> Milter {
        let tls = TlsClient::new(posthorn_net::Roots::system(None).expect("roots")).expect("TLS");
        Milter { host: "mx.example.org".to_owned(), tls, time: Duration::from_secs(5) }
    }

    fn packet(letter: u8, data: &[u8]) -> Vec<u8> {
        let mut packet = u32::try_from(data.len() + 1).expect("short").to_be_bytes().to_vec();
        packet.push(letter);
        packet.extend_from_slice(data);
        packet
    }

    /// A milter that wants nothing before the end of the message, and says this then.
    fn at_the_end(words: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let wants_no_more = posthorn_milter::Steps::ALL - posthorn_milter::Steps::REFUSED_RECIPIENTS;
        let mut agreed = 6_u32.to_be_bytes().to_vec();
        agreed.extend_from_slice(&0x31_u32.to_be_bytes());
        agreed.extend_from_slice(&wants_no_more.0.to_be_bytes());
        vec![packet(b'O', &agreed), words.concat()]
    }

    async fn asked(answers: Vec<Vec<u8>>, octets: &Bytes) -> Result<Scanned, String> {
        let script = Script::new().octets(answers).closing();
        let server = script.when(|heard| heard.ends_with(&[0, 0, 0, 1, b'E']) || heard.len() == 17).serve().await;
        server.service(milter()).ask(&question(octets)).await.map_err(|fault| fault.text)
    }

    #[tokio::test]
    async fn changes_become_those_of_the_case() {
        let octets = message("Subject: x\r\nX-A: 1\r\n\r\nbody\r\n");
        let words = [
            packet(b'i', b"\0\0\0\0DKIM-Signature\0v=1;\n\tb=c\0"),
            packet(b'h', b"X-End\0 here\0"),
            packet(b'm', b"\0\0\0\x01Subject\0y\0"),
            packet(b'm', b"\0\0\0\x01X-A\0\0"),
            packet(b'b', b"new "),
            packet(b'b', b"body\r\n"),
            packet(b'q', b"look at it\0"),
            packet(b'a', b""),
        ];
        let said = asked(at_the_end(&words), &octets).await.expect("an answer");
        let (name, value) = ("DKIM-Signature".to_owned(), "v=1;\r\n\tb=c".to_owned());
        assert_eq!(
            said.changes,
            [
                Change::InsertField { at: 0, name, value },
                Change::AddField { name: "X-End".to_owned(), value: "here".to_owned() },
                Change::ChangeField { nth: 1, name: "Subject".to_owned(), value: "y".to_owned() },
                Change::RemoveField { nth: Some(1), name: "X-A".to_owned() },
                Change::Body(Bytes::from_static(b"new body\r\n")),
            ]
        );
        assert_eq!(said.hold.as_deref(), Some("look at it"));
    }

    #[tokio::test]
    async fn changes_of_the_envelope_are_handed_on() {
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        let words = [
            packet(b'-', b"<bob@here.example>\0"),
            packet(b'+', b"<eve@here.example>\0"),
            packet(b'2', b"zoe@else.example\0NOTIFY=NEVER\0"),
            packet(b'e', b"<list@here.example>\0"),
            packet(b'e', b"<>\0"),
            packet(b'a', b""),
        ];
        let mut answers = at_the_end(&words);
        // As rspamd answers: it wants to change recipients, whatever it is offered.
        answers[0][12] = 0x3f;
        let said = asked(answers, &octets).await.expect("an answer");
        let named = |text: &str| Address::parse(text).expect("an address");
        assert_eq!(
            said.redirects,
            [
                Redirect::Remove(named("bob@here.example")),
                Redirect::Add(named("eve@here.example")),
                Redirect::Add(named("zoe@else.example")),
                Redirect::Sender(Some(named("list@here.example"))),
                Redirect::Sender(None),
            ]
        );
    }

    #[tokio::test]
    async fn verdicts_are_what_they_say() {
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        for (word, expected) in [
            (packet(b'r', b""), Some("550 5.7.1 Refused by our filter")),
            (packet(b't', b""), Some("451 4.7.1 Try again later")),
            (packet(b'y', b"554 5.6.0 No such things\0"), Some("554 5.6.0 No such things")),
            (packet(b'y', b"550 5.no thanks\0"), Some("550 5.7.1 5.no thanks")),
            (packet(b'c', b""), None),
            (packet(b'd', b""), None),
        ] {
            let said = asked(at_the_end(std::slice::from_ref(&word)), &octets).await.expect("an answer");
            assert_eq!(said.refuse.map(|no| no.to_string()).as_deref(), expected, "{word:?}");
            assert_eq!(said.hold.is_some(), word[4] == b'd', "{word:?}");
        }
    }

    #[tokio::test]
    async fn malformed_answers_are_no_verdicts() {
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        for words in [
            vec![packet(b'Z', b"")],
            vec![packet(b'y', b"250 fine\0")],
            vec![packet(b'+', b"<no address>\0"), packet(b'a', b"")],
            vec![packet(b'e', b"<@>\0"), packet(b'a', b"")],
            vec![packet(b'h', b"No name\0x\0"), packet(b'a', b"")],
            vec![packet(b'f', b"")],
            vec![vec![0xff; 5]],
            vec![],
        ] {
            let said = asked(at_the_end(&words), &octets).await;
            assert!(said.is_err(), "{words:?}: {said:?}");
        }
        // One that demands what was not offered.
        let mut greedy = at_the_end(&[]);
        greedy[0][10] = 0x7f;
        assert!(asked(greedy, &octets).await.is_err());
        let server = Script::new().octets(vec![]).closing().serve().await;
        failure(&server.service(milter()), &question(&octets)).await;
    }

    #[tokio::test]
    async fn a_whole_conversation() {
        let octets = message("Subject: one\r\n two\r\n\r\nbody\r\n");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let service = crate::rig::service_at(milter(), listener.local_addr().expect("bound"));
        let other = tokio::spawn(async move {
            use posthorn_milter::{Server, ServerEvent, ServerOptions};
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut server = Server::new(ServerOptions::default(), Instant::now().into_std());
            let mut events = Vec::new();
            loop {
                match server.poll(Instant::now().into_std()) {
                    Step::Output(octets) => stream.write_all(&octets).await.expect("written"),
                    Step::Event(event) => {
                        let tells = matches!(
                            event,
                            ServerEvent::Header { .. } | ServerEvent::EndOfHeaders | ServerEvent::Body(_)
                        );
                        events.push(event);
                        if !tells {
                            server.answer(&Answer::Continue);
                        }
                    }
                    Step::Closed => return events,
                    _ => {
                        if stream.read_buf(server.buffer()).await.expect("read") == 0 {
                            return events;
                        }
                    }
                }
            }
        });
        assert_eq!(said(&service, &question(&octets)).await, Scanned::default());
        let events = format!("{:?}", other.await.expect("it ends"));
        for part in [
            "[192.0.2.7]",
            "client.example",
            "<ann@origin.example>",
            "<bob@here.example>",
            " one\\r\\n two",
            "body\\r\\n",
        ] {
            assert!(events.contains(part), "{part}: {events}");
        }
    }
}
