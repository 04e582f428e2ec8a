//! The server machine: what it is doing, what it waits for, and the order in which replies and events leave it.
//!
//! `server/command.rs` turns lines into questions, `server/answer.rs` turns answers into replies, `server/message.rs`
//! moves bodies.

mod answer;
mod command;
#[cfg(test)]
mod hostile;
mod message;

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use posthorn_model::{Domain, Refusal};
use posthorn_wire::{Line, Machine, Secured, Step, take_line};

use crate::body::{Body, skip_line};
use crate::table::Stage;
use crate::{BodyType, Dialect, Event, Misbehaviour, Options, Reply, Then};

/// Replies to a pipelined group leave together (RFC 2920 §3.2), but not later than at this many octets.
const OUTPUT_PIECE: usize = 4096;

/// One server session; see [`Event`] for which questions want which answer.
///
/// An answer that no question waits for does nothing; one that does not fit its question is told to the peer as 451 4.3.0.
#[derive(Debug)]
pub struct Server {
    options: Options,
    buffer: BytesMut,
    out: BytesMut,
    /// Send `out` before anything further is looked at.
    flush: bool,
    events: VecDeque<Event>,
    mode: Mode,
    phase: Phase,
    session: Session,
    closing: bool,
    /// An answer came since the last poll; the peer's time starts there.
    answered: bool,
    now: Option<Instant>,
    began: Option<Instant>,
    waiting_since: Option<Instant>,
}

/// What the bytes at the front of the buffer are, or whom the session waits for.
#[derive(Debug)]
enum Mode {
    /// The application owes an answer.
    Answer(Question),
    /// The client owes a SASL response.
    AuthLine { after_success: bool },
    /// The banner is not out; until `due` the peer must be silent.
    Banner { due: Option<Instant> },
    /// Octets of a BDAT chunk.
    Chunk { left: u64, octets: u64, last: bool },
    /// Nothing but output is left.
    Closed,
    /// A command line.
    Command,
    /// Octets of DATA.
    Data(Body),
    /// The rest of a line that was too long.
    SkipLine,
    /// The rest of a BDAT chunk that nobody wants, then the reply.
    SwallowChunk { left: u64, reply: Reply, times: usize },
    /// TLS is about to start.
    Upgrade { told: bool },
}

/// What the application was asked.
#[derive(Debug)]
enum Question {
    Auth,
    BodyEnd,
    BodyStart(Start),
    Mail(Transaction),
    Rcpt(Option<Domain>),
    Xclient { login: Option<bool> },
    Xforward,
}

/// What goes on when the body is welcome.
#[derive(Debug)]
enum Start {
    Chunk { octets: u64, last: bool },
    Data,
}

#[derive(Debug)]
enum Phase {
    Fresh,
    Greeted,
    Mail(Transaction),
}

/// One message's way from MAIL to the final reply.
#[derive(Debug)]
struct Transaction {
    smtputf8: bool,
    body_type: BodyType,
    recipients: usize,
    domains: HashSet<Domain>,
    chunks: Chunks,
}

/// What BDAT brought so far.
#[derive(Debug)]
enum Chunks {
    None,
    Some(Body),
    /// A chunk was refused: only RSET helps (RFC 3030 §2).
    Failed,
}

/// What is remembered of the peer beyond a transaction.
#[derive(Debug, Default)]
struct Session {
    secured: bool,
    /// The TLS session gives a value that a login can be bound to.
    bound: bool,
    authenticated: bool,
    auth_failures: u32,
    bad: u32,
    junk: u32,
    refused_recipients: u32,
    messages: u32,
    /// XFORWARD was accepted since the last message.
    forwarded: bool,
}

impl Server {
    /// A session that greets, at once or after `Options::banner_delay`.
    #[must_use]
    pub fn new(options: Options, now: Instant) -> Self {
        let due = (!options.banner_delay.is_zero()).then(|| now + options.banner_delay);
        Self { began: Some(now), waiting_since: Some(now), ..Self::with(options, Mode::Banner { due }) }
    }

    /// A session that says the refusal as its banner (such as 421 4.4.5 for a session cap) and closes.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        let mut server = Self::with(Options::new(Dialect::Smtp, String::new()), Mode::Command);
        server.say(Reply::from(refusal).closing());
        server
    }

    /// Whether TLS is up.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.session.secured
    }

    /// What the session is told about itself.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn with(options: Options, mode: Mode) -> Self {
        Self {
            options,
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            flush: false,
            events: VecDeque::new(),
            mode,
            phase: Phase::Fresh,
            session: Session::default(),
            closing: false,
            answered: false,
            now: None,
            began: None,
            waiting_since: None,
        }
    }

    /// One turn; `None` when there is more to do at once.
    fn turn(&mut self) -> Option<Step<Event>> {
        match &mut self.mode {
            Mode::Answer(_) => Some(Step::AwaitAnswer),
            Mode::AuthLine { after_success } => {
                let after_success = *after_success;
                self.auth_line(after_success)
            }
            Mode::Banner { due } => {
                let due = *due;
                self.banner(due)
            }
            Mode::Chunk { .. } => self.chunk(),
            Mode::Closed => {
                self.buffer.clear();
                Some(Step::Closed)
            }
            Mode::Command => self.command(),
            Mode::Data(_) => self.data(),
            Mode::SkipLine => self.skip_line(),
            Mode::SwallowChunk { .. } => self.swallow_chunk(),
            Mode::Upgrade { told } => {
                if !self.buffer.is_empty() {
                    self.buffer.clear();
                    self.misbehaved(Misbehaviour::BytesBehindStartTls);
                    self.mode = Mode::Closed;
                    return None;
                }
                Some(if std::mem::replace(told, true) { Step::AwaitAnswer } else { Step::StartTls })
            }
        }
    }

    fn banner(&mut self, due: Option<Instant>) -> Option<Step<Event>> {
        if let Some(due) = due {
            let in_time = self.now.is_some_and(|now| now < due);
            if !self.buffer.is_empty() {
                let proxy = proxy_header(&self.buffer);
                if proxy == ProxyHeader::Perhaps && in_time {
                    return Some(Step::NeedInput);
                }
                self.misbehaved(Misbehaviour::EarlyTalker);
                if proxy == ProxyHeader::Begun {
                    // Somebody who is not listed wants to speak for others: that gets no answer at all.
                    self.mode = Mode::Closed;
                    return None;
                }
                self.say(Reply::new(554, 5, 1, "You talk before being greeted").closing());
                return None;
            }
            if in_time {
                return Some(Step::NeedInput);
            }
        }
        self.greet();
        None
    }

    fn greet(&mut self) {
        self.mode = Mode::Command;
        self.phase = Phase::Fresh;
        let text = format!("{} {}", self.options.host, self.options.banner);
        self.say(Reply::plain(220, text.trim_end().to_owned()));
        self.progress();
    }

    fn command(&mut self) -> Option<Step<Event>> {
        // A TLS record never holds a line end that would end our waiting.
        if matches!(self.phase, Phase::Fresh) && self.buffer.first() == Some(&0x16) {
            self.foreign();
            return None;
        }
        let limit = crate::table::line_limit(&self.buffer, &self.options.limits);
        match take_line(&mut self.buffer, limit) {
            Line::Partial => return Some(Step::NeedInput),
            Line::TooLong => self.mode = Mode::SkipLine,
            Line::Bare => {
                self.progress();
                self.bad(Reply::new(500, 5, 2, "Bare CR or LF in a command"));
            }
            Line::Complete(line) => {
                self.progress();
                self.line(&line);
            }
        }
        None
    }

    fn skip_line(&mut self) -> Option<Step<Event>> {
        let (octets, ended) = skip_line(&self.buffer);
        self.buffer.advance(octets);
        if !ended {
            return Some(Step::NeedInput);
        }
        self.progress();
        self.mode = Mode::Command;
        self.bad(Reply::new(500, 5, 6, "Line too long"));
        None
    }

    /// Queues a reply; one that closes ends everything behind it.
    fn say(&mut self, reply: Reply) {
        reply.render(self.options.extensions.has(crate::Extension::EnhancedStatusCodes), &mut self.out);
        if reply.then == Then::Close {
            self.mode = Mode::Closed;
        }
    }

    /// Queues the reply to a wrong command, unless it is one too many.
    fn bad(&mut self, reply: Reply) {
        self.session.bad += 1;
        if self.session.bad > self.options.limits.bad_commands {
            self.too_many("Too many errors");
        } else {
            self.say(reply);
        }
    }

    fn too_many(&mut self, text: &'static str) {
        self.misbehaved(Misbehaviour::TooManyErrors);
        self.say(Reply::new(421, 7, 0, text));
    }

    fn foreign(&mut self) {
        self.misbehaved(Misbehaviour::ForeignProtocol);
        self.say(Reply::new(554, 5, 1, "This is a mail server").closing());
    }

    fn misbehaved(&mut self, how: Misbehaviour) {
        self.events.push_back(Event::Misbehaved(how));
    }

    /// The peer did its part: its time starts anew.
    fn progress(&mut self) {
        self.waiting_since = self.now;
    }

    fn stage(&self) -> Stage {
        match self.phase {
            Phase::Fresh => Stage::Fresh,
            Phase::Greeted => Stage::Greeted,
            Phase::Mail(_) => Stage::Mail,
        }
    }

    /// Whether a stopping server may say goodbye now.
    fn may_leave(&self) -> bool {
        let between_chunks = matches!(&self.phase, Phase::Mail(Transaction { chunks: Chunks::Some(_), .. }));
        match self.mode {
            Mode::Banner { .. } | Mode::SkipLine | Mode::AuthLine { .. } | Mode::Upgrade { .. } => true,
            Mode::Command => !between_chunks,
            Mode::Answer(_) | Mode::Chunk { .. } | Mode::Closed | Mode::Data(_) | Mode::SwallowChunk { .. } => false,
        }
    }

    fn output(&mut self) -> Option<Step<Event>> {
        self.flush = false;
        (!self.out.is_empty()).then(|| Step::Output(self.out.split().freeze()))
    }
}

impl Machine for Server {
    type Event = Event;

    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn has_taken_leave(&self) -> bool {
        let last = self.buffer.strip_suffix(b"\r\n").or_else(|| self.buffer.strip_suffix(b"\n"));
        last.and_then(|last| last.rsplit(|octet| *octet == b'\n').next())
            .is_some_and(|line| line.trim_ascii().eq_ignore_ascii_case(b"QUIT"))
    }

    fn poll(&mut self, now: Instant) -> Step<Event> {
        self.now = Some(now);
        if std::mem::take(&mut self.answered) {
            self.progress();
        }
        loop {
            if (self.flush || self.out.len() > OUTPUT_PIECE)
                && let Some(output) = self.output()
            {
                return output;
            }
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            if self.closing && self.may_leave() {
                if matches!(self.mode, Mode::Upgrade { .. }) {
                    self.mode = Mode::Closed;
                } else {
                    self.say(Reply::new(421, 3, 2, format!("{} is going down", self.options.host)));
                }
            }
            match self.turn() {
                None => {}
                // Replies of a pipelined group wait while one of its commands is being answered.
                Some(Step::AwaitAnswer) => return Step::AwaitAnswer,
                Some(step) => match self.output() {
                    Some(output) => return output,
                    None => return step,
                },
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let limits = &self.options.limits;
        let allowed = match &self.mode {
            Mode::Answer(_) | Mode::Closed | Mode::Upgrade { .. } => return None,
            Mode::Banner { due } => return *due,
            Mode::AuthLine { .. } | Mode::Command | Mode::SkipLine => limits.idle,
            Mode::Chunk { .. } | Mode::Data(_) | Mode::SwallowChunk { .. } => limits.body_idle,
        };
        let idle = self.waiting_since.map(|since| since + allowed);
        let session = limits.session.and_then(|allowed| self.began.map(|began| began + allowed));
        idle.into_iter().chain(session).min()
    }

    fn expire(&mut self) {
        match &mut self.mode {
            Mode::Answer(_) | Mode::Closed => {}
            Mode::Banner { due } => *due = None,
            Mode::Upgrade { .. } => self.mode = Mode::Closed,
            _ => self.say(Reply::new(421, 4, 2, format!("{} waited too long for you", self.options.host))),
        }
    }

    fn close(&mut self) {
        self.closing = true;
    }

    /// After STARTTLS the session is as fresh as before its EHLO (RFC 3207 §4.2), and what came in plaintext is gone.
    fn secured(&mut self, tls: Secured) {
        self.session.secured = true;
        self.session.bound = tls.channel_binding.is_some();
        self.answered = true;
        if let Mode::Upgrade { .. } = self.mode {
            self.buffer.clear();
            self.session.authenticated = false;
            self.phase = Phase::Fresh;
            self.mode = Mode::Command;
        }
    }
}

/// What early bytes say of the PROXY protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ProxyHeader {
    /// They begin a header, version 1 or 2.
    Begun,
    /// They are something else.
    No,
    /// They are the first octets of one.
    Perhaps,
}

fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    const VERSIONS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];
    if VERSIONS.iter().any(|version| bytes.starts_with(version)) {
        ProxyHeader::Begun
    } else if VERSIONS.iter().any(|version| version.starts_with(bytes)) {
        ProxyHeader::Perhaps
    } else {
        ProxyHeader::No
    }
}
