//! The client machine: greets, upgrades, logs in and hands over messages, in SMTP, submission or LMTP.
//!
//! It knows neither hosts nor queues: which server, which message and what to do about a refusal is its owner's business.

mod body;
mod capability;
#[cfg(test)]
mod conversation;
mod line;
mod outcome;
mod reading;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use posthorn_wire::{Machine, Secured, Step};

use self::body::Stuffer;
pub use self::capability::Capabilities;
use self::reading::{Read, ReplyReader};
use crate::{Attribute, BodyType, Dialect, Extension, Late, Recipient, Reply, Sender};

/// How a client session behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// LHLO and per-recipient replies for [`Dialect::Lmtp`].
    pub dialect: Dialect,
    /// What the client calls itself: a host name or an address literal.
    pub name: String,
    /// What to do about STARTTLS.
    pub tls: ClientTls,
    /// Time for the greeting, and for replies (RFC 5321 §4.5.3.2: 5 minutes).
    pub reply_wait: Duration,
    /// Time for the reply to a message (RFC 5321 §4.5.3.2.6: 10 minutes).
    pub final_wait: Duration,
    /// Whether commands go in groups where the server takes that (RFC 2920).
    pub pipelining: bool,
}

impl ClientOptions {
    /// Options with the waiting times of RFC 5321 and TLS where it is offered.
    #[must_use]
    pub fn new(dialect: Dialect, name: impl Into<String>) -> Self {
        let (reply_wait, final_wait) = (Duration::from_mins(5), Duration::from_mins(10));
        Self { dialect, name: name.into(), tls: ClientTls::IfOffered, reply_wait, final_wait, pipelining: true }
    }
}

/// When STARTTLS is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientTls {
    /// When the server offers it; a refusal ends the session.
    IfOffered,
    /// Never; also for connections that are TLS from the start.
    Never,
    /// Always; a server that does not offer it is left.
    Required,
}

/// What a client session tells its owner. [`ClientEvent::Ready`], [`ClientEvent::AuthChallenge`] and
/// [`ClientEvent::BodyWanted`] want a call before the session goes on.
#[derive(Debug)]
pub enum ClientEvent {
    /// The server's challenge, decoded. Call `auth_response` or `auth_cancel`.
    AuthChallenge(Vec<u8>),
    /// The login's end: 235, or why not. [`ClientEvent::Ready`] follows.
    Authenticated(Reply),
    /// At least one recipient was accepted. Call `body` as often as needed, then `body_end`.
    BodyWanted,
    /// The message's end, also when the session fails while some recipients have replies. For each recipient that was accepted, its place in the envelope and its reply; empty when there
    /// was none. [`ClientEvent::Ready`] follows.
    Done(Vec<(usize, Reply)>),
    /// The session cannot go on and closes.
    Failed(ClientFailure),
    /// Between messages: call `authenticate`, `send` or `quit`.
    Ready,
    /// The reply to RCPT.
    Recipient {
        /// Its place in the envelope.
        at: usize,
        /// What the server said.
        reply: Reply,
    },
    /// The reply to MAIL.
    Sender(Reply),
}

/// Why a client session ended early.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientFailure {
    /// Bytes came behind the reply to STARTTLS in plaintext, or replies to nothing.
    Injection,
    /// Something that is no reply.
    Malformed,
    /// The server refused the session at its greeting, EHLO or STARTTLS, or closed it with 421.
    Refused(Reply),
    /// The server was silent for too long.
    Silent,
    /// TLS is required and not offered.
    TlsNotOffered,
    /// A reply, or a line of one, is longer than anybody needs.
    TooLong,
}

/// One message's envelope and how it is sent.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// MAIL.
    pub sender: Sender,
    /// RCPT; with none, nothing is sent.
    pub recipients: Vec<Recipient>,
    /// Send with BDAT where the server takes it. Binary messages always need that; other LMTP messages never use it, as
    /// servers differ in how many replies a failed chunk gets.
    pub chunking: bool,
}

/// One client session; see [`ClientEvent`] for what to call when. A call that does not fit does nothing.
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
    buffer: BytesMut,
    reader: ReplyReader,
    out: VecDeque<Bytes>,
    events: VecDeque<ClientEvent>,
    /// Commands that wait for their turn: all of them may go at once only with PIPELINING.
    queue: VecDeque<(Bytes, Expected)>,
    /// What replies are outstanding, in order.
    expected: VecDeque<Expected>,
    capabilities: Capabilities,
    message: Option<Message>,
    /// XFORWARD lines that go before the next MAIL.
    forwarding: Vec<String>,
    state: State,
    secured: bool,
    closing: bool,
    now: Instant,
    waiting_since: Instant,
}

/// What a reply will answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Auth,
    Chunk,
    Data,
    /// The message, for one accepted recipient or for all.
    Final {
        at: Option<usize>,
    },
    Greeting,
    /// What XFORWARD said is news for a log: whatever the server answers, the message goes on.
    Forward,
    Hello {
        extended: bool,
    },
    Mail,
    Quit,
    Rcpt {
        at: usize,
    },
    Reset,
    StartTls,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Closed,
    /// The owner's word is next: between messages, in a login, or for the body.
    Owner,
    Replies,
    /// TLS is about to start.
    Upgrade {
        told: bool,
    },
}

/// A message on its way.
#[derive(Debug)]
struct Message {
    /// MAIL was refused. Some servers say yes to RCPT and DATA behind that all the same: nothing may be sent then.
    refused: bool,
    accepted: Vec<usize>,
    results: Vec<(usize, Reply)>,
    chunked: bool,
    /// The owner may call `body`.
    wanted: bool,
    stuffer: Stuffer,
    /// A chunk was refused: the rest is not sent.
    failed: Option<Reply>,
}

impl Client {
    /// A session that waits for the greeting.
    #[must_use]
    pub fn new(options: ClientOptions, now: Instant) -> Self {
        Self {
            options,
            buffer: BytesMut::new(),
            reader: ReplyReader::default(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            queue: VecDeque::new(),
            expected: VecDeque::from([Expected::Greeting]),
            capabilities: Capabilities::default(),
            message: None,
            forwarding: Vec::new(),
            state: State::Replies,
            secured: false,
            closing: false,
            now,
            waiting_since: now,
        }
    }

    /// What the server offered last.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether TLS is up.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.secured
    }

    /// Starts a login after [`ClientEvent::Ready`], with the initial response where the mechanism has one.
    pub fn authenticate(&mut self, mechanism: &str, initial: Option<&[u8]>) {
        if !self.is_idle() {
            return;
        }
        let line = match initial {
            None => format!("AUTH {mechanism}\r\n"),
            // RFC 4954 §4: an empty response is written as `=`.
            Some([]) => format!("AUTH {mechanism} =\r\n"),
            Some(plain) => format!("AUTH {mechanism} {}\r\n", BASE64.encode(plain)),
        };
        self.command(line, Expected::Auth);
    }

    /// Answers [`ClientEvent::AuthChallenge`].
    pub fn auth_response(&mut self, plain: &[u8]) {
        if !self.is_idle() {
            return;
        }
        self.command(format!("{}\r\n", BASE64.encode(plain)), Expected::Auth);
    }

    /// Gives the login up.
    pub fn auth_cancel(&mut self) {
        if self.is_idle() {
            self.command("*\r\n".to_owned(), Expected::Auth);
        }
    }

    /// Says with the next envelope where its message came from (XFORWARD), as far as the server wants to know that.
    pub fn forward(&mut self, attributes: &[Attribute]) {
        self.forwarding = line::xforward(attributes, &self.capabilities);
    }

    /// Sends an envelope after [`ClientEvent::Ready`]; pipelined where the server takes that. Parameters that the server did
    /// not offer are left out; a message that only they make possible is refused here with 5.3.3, 5.6.3, 5.6.7 or
    /// 5.7.30.
    pub fn send(&mut self, envelope: &Envelope) {
        if !self.is_idle() {
            return;
        }
        let offers = |extension| self.capabilities.offers(extension);
        let binary = envelope.sender.body == BodyType::Binary;
        let chunked = offers(Extension::Chunking)
            && offers(Extension::Pipelining)
            && (binary || envelope.chunking && self.options.dialect != Dialect::Lmtp);
        let impossible = if binary && !(chunked && offers(Extension::BinaryMime)) {
            Some(Reply::new(554, 6, 3, "The next server takes no binary message"))
        } else if envelope.sender.smtputf8 && !offers(Extension::SmtpUtf8) {
            Some(Reply::new(553, 6, 7, "The next server takes no internationalized message"))
        } else if envelope.sender.require_tls && !offers(Extension::RequireTls) {
            // RFC 8689 §5.
            Some(Reply::new(550, 7, 30, "The next server does not promise TLS on the further way (REQUIRETLS)"))
        } else if is_promise_lost(&envelope.sender, &self.capabilities) && self.options.dialect != Dialect::Lmtp {
            // With LMTP it is delivered then, which is in time.
            Some(Reply::new(
                554,
                3,
                3,
                "The next server does not promise to return the message when it is late (DELIVERBY)",
            ))
        } else {
            None
        };
        self.message = Some(Message {
            refused: false,
            accepted: Vec::new(),
            results: Vec::new(),
            chunked,
            wanted: false,
            stuffer: Stuffer::default(),
            failed: None,
        });
        if let Some(reply) = impossible {
            self.events.push_back(ClientEvent::Sender(reply));
            return self.done();
        }
        if envelope.recipients.is_empty() {
            return self.done();
        }
        for line in std::mem::take(&mut self.forwarding) {
            self.command(line, Expected::Forward);
        }
        let mail = line::mail(&envelope.sender, &self.capabilities);
        self.command(mail, Expected::Mail);
        for (at, recipient) in envelope.recipients.iter().enumerate() {
            let line = line::rcpt(recipient, &self.capabilities);
            self.command(line, Expected::Rcpt { at });
        }
        if !chunked {
            self.command("DATA\r\n".to_owned(), Expected::Data);
        }
    }

    /// Sends a piece of the message after [`ClientEvent::BodyWanted`]; lines end in CRLF unless the message is binary. Without
    /// dots to stuff nothing is copied.
    pub fn body(&mut self, piece: Bytes) {
        let Some(message) = self.message.as_mut().filter(|message| message.wanted && !piece.is_empty()) else { return };
        if !message.chunked {
            message.stuffer.stuff(piece, &mut self.out);
        } else if message.failed.is_none() {
            self.out.push_back(Bytes::from(format!("BDAT {}\r\n", piece.len())));
            self.out.push_back(piece);
            self.expected.push_back(Expected::Chunk);
        }
    }

    /// Ends the message.
    pub fn body_end(&mut self) {
        let Some(message) = self.message.as_mut().filter(|message| message.wanted) else { return };
        message.wanted = false;
        if let Some(reply) = message.failed.clone() {
            return self.give_up(&reply);
        }
        self.out.push_back(match message.chunked {
            true => Bytes::from_static(b"BDAT 0 LAST\r\n"),
            false => message.stuffer.end(),
        });
        if self.options.dialect == Dialect::Lmtp {
            self.expected.extend(message.accepted.iter().map(|at| Expected::Final { at: Some(*at) }));
        } else {
            self.expected.push_back(Expected::Final { at: None });
        }
        self.state = State::Replies;
        self.waiting_since = self.now;
    }

    /// Ends the session after [`ClientEvent::Ready`].
    pub fn quit(&mut self) {
        if self.is_idle() {
            self.command("QUIT\r\n".to_owned(), Expected::Quit);
        }
    }

    /// Whether the owner's word is next and no message is on its way.
    fn is_idle(&self) -> bool {
        self.state == State::Owner && self.message.is_none() && self.expected.is_empty()
    }

    fn command(&mut self, line: String, expected: Expected) {
        if self.state != State::Closed {
            self.queue.push_back((Bytes::from(line), expected));
            self.state = State::Replies;
            self.waiting_since = self.now;
        }
    }

    /// Moves the commands that may go now to the output (RFC 2920 §3.1).
    fn release(&mut self) {
        let pipelining = self.options.pipelining && self.capabilities.offers(Extension::Pipelining);
        while pipelining || self.expected.is_empty() {
            let Some((line, expected)) = self.queue.pop_front() else { return };
            self.out.push_back(line);
            self.expected.push_back(expected);
        }
    }

    /// Everything to send, joined where it is small: one write for a pipelined group.
    fn output(&mut self) -> Option<Bytes> {
        const JOINED: usize = 4096;
        let first = self.out.pop_front()?;
        if first.len() >= JOINED || self.out.front().is_none_or(|next| next.len() >= JOINED) {
            return Some(first);
        }
        let mut joined = BytesMut::from(first);
        while let Some(next) = self.out.pop_front_if(|next| joined.len() + next.len() <= JOINED) {
            joined.extend_from_slice(&next);
        }
        Some(joined.freeze())
    }

    fn fail(&mut self, failure: ClientFailure) {
        let results = self.message.take().map(|message| message.results).unwrap_or_default();
        if !results.is_empty() {
            self.events.push_back(ClientEvent::Done(results));
        }
        self.events.push_back(ClientEvent::Failed(failure));
        self.queue.clear();
        self.state = State::Closed;
    }
}

impl Machine for Client {
    type Event = ClientEvent;

    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn poll(&mut self, now: Instant) -> Step<ClientEvent> {
        self.now = now;
        loop {
            self.release();
            if let Some(output) = self.output() {
                return Step::Output(output);
            }
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            match &mut self.state {
                State::Closed => {
                    self.buffer.clear();
                    return Step::Closed;
                }
                State::Upgrade { told } if self.buffer.is_empty() => {
                    return if std::mem::replace(told, true) { Step::AwaitAnswer } else { Step::StartTls };
                }
                State::Upgrade { .. } => self.fail(ClientFailure::Injection),
                State::Owner | State::Replies => match self.reader.read(&mut self.buffer) {
                    Read::Malformed => self.fail(ClientFailure::Malformed),
                    Read::TooLong => self.fail(ClientFailure::TooLong),
                    Read::Partial if self.state == State::Owner => return Step::AwaitAnswer,
                    Read::Partial => return Step::NeedInput,
                    Read::Reply(reply) => self.reply(reply),
                },
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let last = matches!(self.expected.front(), Some(Expected::Final { .. }));
        let wait = if last { self.options.final_wait } else { self.options.reply_wait };
        (self.state == State::Replies).then(|| self.waiting_since + wait)
    }

    fn expire(&mut self) {
        if self.state == State::Replies {
            self.fail(ClientFailure::Silent);
        }
    }

    /// Ends the session as soon as no message is on its way.
    fn close(&mut self) {
        self.closing = true;
        self.quit();
    }

    /// The replies that some recipients of a message have (LMTP) are told.
    fn lost(&mut self) {
        let results = self.message.take().map(|message| message.results).unwrap_or_default();
        if !results.is_empty() {
            self.events.push_back(ClientEvent::Done(results));
        }
        self.queue.clear();
        self.out.clear();
        self.state = State::Closed;
    }

    fn secured(&mut self, _tls: Secured) {
        self.secured = true;
        if let State::Upgrade { .. } = self.state {
            self.buffer.clear();
            self.capabilities = Capabilities::default();
            self.hello(true);
        }
    }
}

/// Whether a message is to be returned when it is late, and the next server would not do that (RFC 2852 §4.1.4.1).
fn is_promise_lost(sender: &Sender, server: &Capabilities) -> bool {
    sender.by.is_some_and(|by| by.late == Late::Return) && !server.offers(Extension::DeliverBy)
}
