//! The filter's side: an MTA calls, tells step by step, and waits for verdicts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use posthorn_wire::{Machine, Secured, Step};

use crate::answer::{Answer, Change};
use crate::command::{Command, Peer};
use crate::flags::{Actions, Steps};
use crate::macros::{Macros, Stage};
use crate::packet::{self, Malformed, number};

/// How a filter behaves towards MTAs.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What the owner may want to change.
    pub actions: Actions,
    /// Time that an MTA may be silent, in a session or between two.
    pub idle: Duration,
    /// The most octets of one packet's data.
    pub packet_limit: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        // An MTA's session may be quiet for as long as its client's; headers come in one packet each.
        Self { actions: Actions::ALL, idle: Duration::from_hours(2), packet_limit: 1 << 20 }
    }
}

/// What an MTA tells. Those marked *answer* want [`Server::answer`] before anything else comes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerEvent {
    /// A client connected to the MTA. *Answer.*
    Connect {
        /// Its name, or its address in brackets.
        host: Bytes,
        /// Its address.
        peer: Peer,
    },
    /// HELO or EHLO. *Answer.*
    Helo(Bytes),
    /// MAIL: the path in angle brackets, then parameters. A message begins. *Answer.*
    Mail(Vec<Bytes>),
    /// RCPT: likewise. *Answer.*
    Rcpt(Vec<Bytes>),
    /// A header field: its name, and everything behind the colon without the last CRLF.
    Header {
        /// Its name.
        name: Bytes,
        /// Its value, folded lines parted by CRLF.
        value: Bytes,
    },
    /// The header's end.
    EndOfHeaders,
    /// A piece of the body.
    Body(Bytes),
    /// The message's end: changes may be said now, then the verdict. *Answer.*
    EndOfMessage,
    /// The message is given up.
    Abort,
    /// Another client's session begins on the same connection.
    NextSession,
    /// The MTA speaks something else; the connection closes.
    Malformed(Malformed),
}

/// One connection of an MTA.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    buffer: BytesMut,
    out: VecDeque<Bytes>,
    events: VecDeque<ServerEvent>,
    macros: Macros,
    state: State,
    /// An event waits for its answer.
    awaited: Option<Awaited>,
    agreed: Option<(Actions, Steps)>,
    closing: bool,
    waiting_since: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Closed,
    /// No message: before the first, or between two.
    Idle,
    Message,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Awaited {
    EndOfMessage,
    Step,
}

impl Server {
    /// A connection whose negotiation is due.
    #[must_use]
    pub fn new(options: ServerOptions, now: Instant) -> Self {
        Self {
            options,
            buffer: BytesMut::new(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            macros: Macros::default(),
            state: State::Idle,
            awaited: None,
            agreed: None,
            closing: false,
            waiting_since: now,
        }
    }

    /// The macros that hold now.
    #[must_use]
    pub fn macros(&self) -> &Macros {
        &self.macros
    }

    /// Whether the MTA lets us make these changes.
    #[must_use]
    pub fn may(&self, actions: Actions) -> bool {
        self.agreed.is_some_and(|(agreed, _)| agreed.contains(actions))
    }

    /// The changes that the MTA lets us make.
    #[must_use]
    pub fn allowed(&self) -> Actions {
        self.agreed.map(|(agreed, _)| agreed).unwrap_or_default()
    }

    /// Whether header values keep the space behind their colon, both ways.
    #[must_use]
    pub fn keeps_space(&self) -> bool {
        self.agreed.is_some_and(|(_, steps)| steps.contains(Steps::LEADING_SPACE))
    }

    /// Says a change, after [`ServerEvent::EndOfMessage`] and before its answer. One that the MTA does not allow is not
    /// said, and false.
    pub fn change(&mut self, change: &Change) -> bool {
        if self.awaited != Some(Awaited::EndOfMessage) || !self.may(needs(change)) {
            return false;
        }
        if let Change::Body(octets) = change {
            let mut rest = octets.clone();
            while rest.len() > CHUNK {
                self.out.push_back(Change::Body(rest.split_to(CHUNK)).write());
            }
            self.out.push_back(Change::Body(rest).write());
        } else {
            self.out.push_back(change.write());
        }
        true
    }

    /// Says that a verdict is on its way, so that the MTA does not lose patience at the message's end.
    pub fn progress(&mut self) {
        if self.awaited == Some(Awaited::EndOfMessage) {
            self.out.push_back(packet::put(b'p', &[]));
        }
    }

    /// The verdict on what was told last.
    pub fn answer(&mut self, answer: &Answer) {
        let Some(awaited) = self.awaited.take() else { return };
        self.out.push_back(answer.write());
        // A recipient that is refused leaves the message as it is.
        let over = matches!(answer, Answer::Accept | Answer::Discard | Answer::Shutdown | Answer::ConnectionFailed);
        if awaited == Awaited::EndOfMessage || over {
            self.end_message();
        }
        if matches!(answer, Answer::Shutdown) {
            self.closing = true;
        }
    }

    fn end_message(&mut self) {
        if self.state == State::Message {
            self.state = State::Idle;
        }
        self.macros.forget_from(Stage::Mail);
    }

    fn fail(&mut self, why: Malformed) {
        self.state = State::Closed;
        self.buffer.clear();
        self.events.push_back(ServerEvent::Malformed(why));
    }

    fn negotiate(&mut self, mut data: Bytes) -> Result<(), Malformed> {
        let (version, actions) = (number(&mut data)?, Actions(number(&mut data)?));
        // Version 1 has no flags for steps.
        let steps = Steps(if data.is_empty() { 0 } else { number(&mut data)? });
        if version < 2 {
            return Err(Malformed("a version of the protocol before 2"));
        }
        let steps = steps & WANTED;
        let actions = actions & (self.options.actions - Actions::CHOOSE_MACROS);
        let mut answer = BytesMut::with_capacity(12);
        answer.put_u32(version.min(crate::VERSION));
        answer.put_u32(actions.0);
        answer.put_u32(steps.0);
        self.out.push_back(packet::put(b'O', &[&answer]));
        self.agreed = Some((actions, steps));
        Ok(())
    }

    fn take(&mut self, letter: u8, data: Bytes) -> Result<(), Malformed> {
        match letter {
            b'O' if self.agreed.is_none() => return self.negotiate(data),
            b'O' => return Err(Malformed("a second negotiation")),
            _ if self.agreed.is_none() => return Err(Malformed("a step before the negotiation")),
            b'D' => return self.take_macros(data),
            _ => {}
        }
        let command = Command::read(letter, data)?;
        let needs_message = matches!(
            command,
            Command::Rcpt(_)
                | Command::Header { .. }
                | Command::EndOfHeaders
                | Command::Body(_)
                | Command::EndOfMessage(_)
                | Command::Data
        );
        if needs_message && self.state != State::Message {
            return Err(Malformed("a message without its MAIL"));
        }
        match command {
            Command::Connect { host, peer } => self.ask(ServerEvent::Connect { host, peer }),
            Command::Helo(name) => self.ask(ServerEvent::Helo(name)),
            Command::Mail(words) => {
                self.state = State::Message;
                self.ask(ServerEvent::Mail(words));
            }
            Command::Rcpt(words) => self.ask(ServerEvent::Rcpt(words)),
            Command::Data => self.go_on(Steps::NR_DATA),
            Command::Unknown(_) => self.go_on(Steps::NR_UNKNOWN),
            Command::Header { name, value } => {
                let value = self.unfold(&value);
                self.events.push_back(ServerEvent::Header { name, value });
                self.go_on(Steps::NR_HEADER);
            }
            Command::EndOfHeaders => {
                self.events.push_back(ServerEvent::EndOfHeaders);
                self.go_on(Steps::NR_END_OF_HEADERS);
            }
            Command::Body(octets) => {
                self.events.push_back(ServerEvent::Body(octets));
                self.go_on(Steps::NR_BODY);
            }
            Command::EndOfMessage(last) => {
                if !last.is_empty() {
                    self.events.push_back(ServerEvent::Body(last));
                }
                self.events.push_back(ServerEvent::EndOfMessage);
                self.awaited = Some(Awaited::EndOfMessage);
            }
            Command::Abort => {
                self.end_message();
                self.events.push_back(ServerEvent::Abort);
            }
            Command::Quit => self.state = State::Closed,
            Command::QuitForNext => {
                self.end_message();
                self.macros.forget_from(Stage::Connect);
                self.events.push_back(ServerEvent::NextSession);
            }
        }
        Ok(())
    }

    fn ask(&mut self, event: ServerEvent) {
        self.events.push_back(event);
        self.awaited = Some(Awaited::Step);
    }

    /// Steps that are never judged by themselves are answered here, unless the MTA wants no answer.
    fn go_on(&mut self, unless: Steps) {
        if !self.agreed.is_some_and(|(_, steps)| steps.contains(unless)) {
            self.out.push_back(Answer::Continue.write());
        }
    }

    fn take_macros(&mut self, mut data: Bytes) -> Result<(), Malformed> {
        let letter = *data.first().ok_or(Malformed("macros of nothing"))?;
        let pairs = packet::strings(data.split_off(1));
        // Those of steps that we do not know harm nobody.
        let Some(stage) = Stage::of(letter) else { return Ok(()) };
        if self.macros.set(stage, pairs) { Ok(()) } else { Err(Malformed("more macros than any MTA has")) }
    }

    /// The value as it stood in the message: folds have CRLF, and the space behind the colon is there.
    fn unfold(&self, value: &Bytes) -> Bytes {
        let exact = self.agreed.is_some_and(|(_, steps)| steps.contains(Steps::LEADING_SPACE));
        if exact && memchr::memchr(b'\n', value).is_none() {
            return value.clone();
        }
        let mut whole = BytesMut::with_capacity(value.len() + 16);
        if !exact {
            whole.put_u8(b' ');
        }
        for (at, octet) in value.iter().enumerate() {
            if *octet == b'\n' && (at == 0 || value[at - 1] != b'\r') {
                whole.put_u8(b'\r');
            }
            whole.put_u8(*octet);
        }
        whole.freeze()
    }
}

/// What an MTA must allow for a change.
fn needs(change: &Change) -> Actions {
    match change {
        Change::AddRecipient(_, None) => Actions::ADD_RECIPIENTS,
        Change::AddRecipient(_, Some(_)) => Actions::ADD_RECIPIENTS_WITH_PARAMETERS,
        Change::DeleteRecipient(_) => Actions::DELETE_RECIPIENTS,
        Change::Sender(..) => Actions::CHANGE_SENDER,
        Change::AddHeader(..) | Change::InsertHeader(..) => Actions::ADD_HEADERS,
        Change::ChangeHeader(..) => Actions::CHANGE_HEADERS,
        Change::Body(_) => Actions::CHANGE_BODY,
        Change::Quarantine(_) => Actions::QUARANTINE,
    }
}

impl Machine for Server {
    type Event = ServerEvent;

    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn poll(&mut self, now: Instant) -> Step<ServerEvent> {
        loop {
            if let Some(octets) = self.out.pop_front() {
                self.waiting_since = now;
                return Step::Output(octets);
            }
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            if self.awaited.is_some() {
                return Step::AwaitAnswer;
            }
            if self.state == State::Closed || self.closing && self.state == State::Idle {
                self.state = State::Closed;
                return Step::Closed;
            }
            match packet::take(&mut self.buffer, self.options.packet_limit) {
                Ok(None) => return Step::NeedInput,
                Ok(Some((letter, data))) => {
                    self.waiting_since = now;
                    if let Err(why) = self.take(letter, data) {
                        self.fail(why);
                    }
                }
                Err(why) => self.fail(why),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let waits = self.awaited.is_none() && self.state != State::Closed;
        waits.then(|| self.waiting_since + self.options.idle)
    }

    fn expire(&mut self) {
        // The protocol has no words for it.
        self.state = State::Closed;
    }

    fn close(&mut self) {
        self.closing = true;
    }

    fn secured(&mut self, _tls: Secured) {}
}

/// What a filter wants of the steps: no answers where none are due, and header values as they are.
const WANTED: Steps = Steps(
    Steps::NR_HEADER.0
        | Steps::NR_END_OF_HEADERS.0
        | Steps::NR_BODY.0
        | Steps::NR_DATA.0
        | Steps::NO_UNKNOWN.0
        | Steps::LEADING_SPACE.0,
);

/// Pieces of a body are at most this long, whatever the version.
pub(crate) const CHUNK: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Reply;

    fn offer(actions: Actions, steps: Steps) -> Bytes {
        packet::put(b'O', &[&6_u32.to_be_bytes(), &actions.0.to_be_bytes(), &steps.0.to_be_bytes()])
    }

    struct Talk {
        server: Server,
        now: Instant,
        said: Vec<u8>,
    }

    impl Talk {
        fn new(steps: Steps) -> Self {
            let now = Instant::now();
            let mut talk = Self { server: Server::new(ServerOptions::default(), now), now, said: Vec::new() };
            assert!(talk.hear(&offer(Actions::ALL, steps)).is_empty());
            assert_eq!(talk.said[4], b'O');
            talk.said.clear();
            talk
        }

        fn hear(&mut self, octets: &[u8]) -> Vec<ServerEvent> {
            self.server.buffer().extend_from_slice(octets);
            self.events()
        }

        fn tell(&mut self, command: &Command) -> Vec<ServerEvent> {
            self.hear(&command.write())
        }

        fn events(&mut self) -> Vec<ServerEvent> {
            let mut events = Vec::new();
            loop {
                match self.server.poll(self.now) {
                    Step::Output(octets) => self.said.extend_from_slice(&octets),
                    Step::Event(event) => events.push(event),
                    _ => return events,
                }
            }
        }

        fn answer(&mut self, answer: &Answer) -> Vec<u8> {
            self.server.answer(answer);
            assert!(self.events().is_empty());
            std::mem::take(&mut self.said)
        }
    }

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_message_passes_with_changes() {
        let mut talk = Talk::new(Steps::ALL);
        let peer = Peer::Unknown;
        talk.tell(&Command::Connect { host: b("mx"), peer: peer.clone() });
        assert_eq!(talk.answer(&Answer::Continue), b"\0\0\0\x01c");
        talk.hear(&packet::put(b'D', &[b"Mi\x004Q1\0"]));
        assert_eq!(talk.tell(&Command::Mail(vec![b("<a@b>")])), [ServerEvent::Mail(vec![b("<a@b>")])]);
        assert_eq!(talk.server.macros().text("i").as_deref(), Some("4Q1"));
        talk.answer(&Answer::Continue);
        talk.tell(&Command::Rcpt(vec![b("<c@d>")]));
        talk.answer(&Answer::Continue);
        let mut pieces = talk.tell(&Command::Data);
        pieces.extend(talk.tell(&Command::Header { name: b("Subject"), value: b(" one\n two") }));
        pieces.extend(talk.tell(&Command::EndOfHeaders));
        pieces.extend(talk.tell(&Command::Body(b("Hello.\r\n"))));
        pieces.extend(talk.tell(&Command::EndOfMessage(b("Bye.\r\n"))));
        let field = ServerEvent::Header { name: b("Subject"), value: b(" one\r\n two") };
        let body = [ServerEvent::Body(b("Hello.\r\n")), ServerEvent::Body(b("Bye.\r\n"))];
        let [first, second] = body;
        assert_eq!(pieces, [field, ServerEvent::EndOfHeaders, first, second, ServerEvent::EndOfMessage]);
        assert!(talk.said.is_empty(), "nothing is answered that needs no answer");
        talk.server.progress();
        assert!(talk.server.change(&Change::AddHeader(b("X-A"), b("1"))));
        let long = Bytes::from(vec![b'x'; CHUNK + 1]);
        assert!(talk.server.change(&Change::Body(long)));
        let said = talk.answer(&Answer::Accept);
        assert!(said.starts_with(b"\0\0\0\x01p\0\0\0\x07hX-A\x001\0\0\x01\0\0b"));
        assert!(said.ends_with(b"\0\0\0\x02bx\0\0\0\x01a"));
        assert_eq!(talk.server.macros().value("i"), None);
        assert!(!talk.server.change(&Change::AddHeader(b("X-A"), b("2"))), "the message is over");
        talk.tell(&Command::Quit);
        assert!(matches!(talk.server.poll(talk.now), Step::Closed));
    }

    #[test]
    fn an_old_mta_gets_its_answers_and_no_change_that_it_cannot_make() {
        let now = Instant::now();
        let mut talk = Talk { server: Server::new(ServerOptions::default(), now), now, said: Vec::new() };
        talk.hear(&packet::put(b'O', &[&2_u32.to_be_bytes(), &1_u32.to_be_bytes(), &0_u32.to_be_bytes()]));
        assert_eq!(&talk.said[5..9], &2_u32.to_be_bytes());
        talk.said.clear();
        talk.tell(&Command::Mail(vec![b("<>")]));
        talk.answer(&Answer::Continue);
        let field = talk.tell(&Command::Header { name: b("A"), value: b("b") });
        assert_eq!(field, [ServerEvent::Header { name: b("A"), value: b(" b") }]);
        talk.tell(&Command::EndOfHeaders);
        talk.tell(&Command::Body(b("x")));
        assert_eq!(talk.said, b"\0\0\0\x01c".repeat(3));
        talk.tell(&Command::EndOfMessage(Bytes::new()));
        assert!(!talk.server.change(&Change::Quarantine(b("why"))));
        assert!(talk.server.change(&Change::AddHeader(b("X"), b("y"))));
    }

    #[test]
    fn a_refused_recipient_ends_no_message_and_an_abort_does() {
        let mut talk = Talk::new(Steps::ALL);
        talk.tell(&Command::Mail(vec![b("<>")]));
        talk.answer(&Answer::Continue);
        talk.tell(&Command::Rcpt(vec![b("<a@b>")]));
        talk.answer(&Answer::Reply(Reply::parse(&b"550 5.1.1 nobody"[..]).expect("a reply")));
        assert_eq!(talk.tell(&Command::Rcpt(vec![b("<c@d>")])).len(), 1);
        talk.answer(&Answer::Continue);
        assert_eq!(talk.tell(&Command::Abort), [ServerEvent::Abort]);
        let lost = talk.tell(&Command::Body(b("x")));
        assert!(matches!(lost[..], [ServerEvent::Malformed(_)]), "{lost:?}");
        assert!(matches!(talk.server.poll(talk.now), Step::Closed));
    }

    #[test]
    fn one_connection_carries_many_sessions() {
        let mut talk = Talk::new(Steps::ALL);
        for _ in 0..3 {
            talk.hear(&packet::put(b'D', &[b"Cj\0mx\0"]));
            assert_eq!(talk.tell(&Command::Helo(b("x"))).len(), 1);
            talk.answer(&Answer::Continue);
            assert_eq!(talk.tell(&Command::QuitForNext), [ServerEvent::NextSession]);
            assert_eq!(talk.server.macros().value("j"), None);
        }
    }

    #[test]
    fn nonsense_ends_the_connection() {
        for octets in [&b"\0\0\0\x01Q"[..], b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0", b"\0\0\0\x05O\0\0\0\x06"] {
            let now = Instant::now();
            let mut talk = Talk { server: Server::new(ServerOptions::default(), now), now, said: Vec::new() };
            let events = talk.hear(octets);
            assert!(matches!(events[..], [ServerEvent::Malformed(_)]), "{octets:?}: {events:?}");
            assert!(matches!(talk.server.poll(now), Step::Closed));
        }
    }

    #[test]
    fn silence_and_a_stop_end_it_between_messages() {
        let mut talk = Talk::new(Steps::ALL);
        talk.tell(&Command::Mail(vec![b("<>")]));
        assert_eq!(talk.server.deadline(), None);
        talk.answer(&Answer::Continue);
        talk.server.close();
        talk.tell(&Command::EndOfMessage(Bytes::new()));
        talk.answer(&Answer::Accept);
        assert!(matches!(talk.server.poll(talk.now), Step::Closed));
        let mut idle = Talk::new(Steps::ALL);
        assert_eq!(idle.server.deadline(), Some(idle.now + Duration::from_hours(2)));
        idle.server.expire();
        assert!(matches!(idle.server.poll(idle.now), Step::Closed));
    }
}
