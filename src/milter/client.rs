//! The MTA's side: negotiates with a filter, tells it step by step, and hears its verdicts and changes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use posthorn_wire::{Machine, Secured, Step};

use crate::answer::{Answer, Change, Word};
use crate::command::{Command, Peer};
use crate::flags::{Actions, Steps};
use crate::packet::{self, Malformed, number, until_nul};
use crate::server::CHUNK;

/// How an MTA behaves towards a filter.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// What a filter may change.
    pub actions: Actions,
    /// Time for each answer; progress that the filter reports begins it anew.
    pub reply_wait: Duration,
    /// Time for the verdict at a message's end, likewise.
    pub final_wait: Duration,
    /// The most octets of one packet's data.
    pub packet_limit: usize,
    /// The most octets of changes to one message, a new body included.
    pub change_limit: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let (reply_wait, final_wait) = (Duration::from_secs(30), Duration::from_mins(5));
        let actions = Actions::ALL - Actions::CHOOSE_MACROS;
        Self { actions, reply_wait, final_wait, packet_limit: 1 << 20, change_limit: 64 << 20 }
    }
}

/// What a filter's session tells its owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientEvent {
    /// Negotiated. Call [`Client::connect`].
    Ready,
    /// The verdict on a connection, HELO, MAIL or RCPT.
    Verdict(Answer),
    /// The verdict on a message.
    Done(Outcome),
    /// The session cannot go on and closes.
    Failed(ClientFailure),
}

/// What a filter made of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// Its verdict.
    pub answer: Answer,
    /// Its changes, in the order in which they came.
    pub changes: Vec<Change>,
}

/// Why a session with a filter ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientFailure {
    /// It closed the connection.
    Lost,
    /// It said what no filter says.
    Malformed(Malformed),
    /// It was silent for too long.
    Silent,
}

impl std::fmt::Display for ClientFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost => f.write_str("the filter closed the connection"),
            Self::Malformed(why) => write!(f, "the filter said {why}"),
            Self::Silent => f.write_str("the filter did not answer in time"),
        }
    }
}

/// One session with a filter: at each moment it is either the owner's turn to tell something, or the filter's to answer.
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
    buffer: BytesMut,
    out: VecDeque<Bytes>,
    events: VecDeque<ClientEvent>,
    state: State,
    steps: Steps,
    changes: Vec<Change>,
    changed: usize,
    now: Instant,
    waiting_since: Instant,
}

#[derive(Debug)]
enum State {
    Closed,
    Negotiating,
    /// The owner's turn.
    Owner,
    /// One step waits for its answer.
    Step,
    Message(Message),
}

/// A message on its way, and which of its steps waits for an answer.
#[derive(Debug)]
struct Message {
    fields: VecDeque<(Bytes, Bytes)>,
    body: Bytes,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Data,
    Fields,
    EndOfHeaders,
    Body,
    End,
}

impl Client {
    /// A session that begins with the negotiation.
    #[must_use]
    pub fn new(options: ClientOptions, now: Instant) -> Self {
        let mut offer = BytesMut::with_capacity(12);
        offer.put_u32(crate::VERSION);
        offer.put_u32(options.actions.0);
        offer.put_u32((Steps::ALL - Steps::REFUSED_RECIPIENTS).0);
        Self {
            options,
            buffer: BytesMut::new(),
            out: VecDeque::from([packet::put(b'O', &[&offer])]),
            events: VecDeque::new(),
            state: State::Negotiating,
            steps: Steps::default(),
            changes: Vec::new(),
            changed: 0,
            now,
            waiting_since: now,
        }
    }

    /// Tells macros that go with the next command: `C`, `H`, `M`, `R`, `T` or `E`.
    pub fn macros(&mut self, letter: u8, pairs: &[(&str, &str)]) {
        if matches!(self.state, State::Owner) {
            let words = pairs
                .iter()
                .flat_map(|(name, value)| [until_nul(name.as_bytes()), b"\0", until_nul(value.as_bytes()), b"\0"]);
            let letter = [letter];
            let pieces: Vec<&[u8]> = std::iter::once(&letter[..]).chain(words).collect();
            self.out.push_back(packet::put(b'D', &pieces));
        }
    }

    /// Tells who is there.
    pub fn connect(&mut self, host: impl Into<Bytes>, peer: Peer) {
        let command = Command::Connect { host: host.into(), peer };
        self.tell(&command, Steps::NO_CONNECT, Steps::NR_CONNECT);
    }

    /// Tells what the client calls itself.
    pub fn helo(&mut self, name: impl Into<Bytes>) {
        self.tell(&Command::Helo(name.into()), Steps::NO_HELO, Steps::NR_HELO);
    }

    /// Begins a message: the path in angle brackets, then parameters.
    pub fn mail(&mut self, words: Vec<Bytes>) {
        self.changes.clear();
        self.changed = 0;
        self.tell(&Command::Mail(words), Steps::NO_MAIL, Steps::NR_MAIL);
    }

    /// Tells a recipient: likewise.
    pub fn rcpt(&mut self, words: Vec<Bytes>) {
        self.tell(&Command::Rcpt(words), Steps::NO_RCPT, Steps::NR_RCPT);
    }

    /// Tells the whole message: each field's name and what stands behind its colon, without the last CRLF; and the body.
    pub fn message(&mut self, fields: Vec<(Bytes, Bytes)>, body: Bytes) {
        if matches!(self.state, State::Owner) {
            let mut message = Message { fields: fields.into(), body, phase: Phase::Data };
            self.go_on(&mut message, true);
        }
    }

    /// Gives the message up; the session goes on.
    pub fn abort(&mut self) {
        if matches!(self.state, State::Owner) {
            self.out.push_back(Command::Abort.write());
        }
    }

    /// Ends the session in order.
    pub fn quit(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.out.push_back(Command::Quit.write());
            self.state = State::Closed;
        }
    }

    fn tell(&mut self, command: &Command, left_out: Steps, unanswered: Steps) {
        if !matches!(self.state, State::Owner) {
            return;
        }
        let told = !self.steps.contains(left_out);
        if told {
            self.out.push_back(command.write());
        }
        if told && !self.steps.contains(unanswered) {
            self.state = State::Step;
            self.waiting_since = self.now;
        } else {
            self.events.push_back(ClientEvent::Verdict(Answer::Continue));
        }
    }

    /// Tells a message's steps up to the next one that is answered. `first` when the step of the phase itself is due.
    fn go_on(&mut self, message: &mut Message, mut due: bool) {
        loop {
            if !due {
                message.phase = match message.phase {
                    Phase::Data => Phase::Fields,
                    Phase::Fields if !message.fields.is_empty() => Phase::Fields,
                    Phase::Fields => Phase::EndOfHeaders,
                    Phase::EndOfHeaders => Phase::Body,
                    Phase::Body if !message.body.is_empty() => Phase::Body,
                    Phase::Body | Phase::End => Phase::End,
                };
            }
            due = false;
            let (command, left_out, unanswered) = match message.phase {
                Phase::Data => (Some(Command::Data), Steps::NO_DATA, Steps::NR_DATA),
                Phase::Fields => {
                    let field = message.fields.pop_front();
                    let command = field.map(|(name, value)| Command::Header { name, value: self.folded(&value) });
                    (command, Steps::NO_HEADERS, Steps::NR_HEADER)
                }
                Phase::EndOfHeaders => {
                    (Some(Command::EndOfHeaders), Steps::NO_END_OF_HEADERS, Steps::NR_END_OF_HEADERS)
                }
                Phase::Body => {
                    let piece = message.body.split_to(message.body.len().min(CHUNK));
                    ((!piece.is_empty()).then_some(Command::Body(piece)), Steps::NO_BODY, Steps::NR_BODY)
                }
                Phase::End => {
                    self.out.push_back(Command::EndOfMessage(Bytes::new()).write());
                    break;
                }
            };
            let Some(command) = command.filter(|_| !self.steps.contains(left_out)) else { continue };
            self.out.push_back(command.write());
            if !self.steps.contains(unanswered) {
                break;
            }
        }
        self.waiting_since = self.now;
        let Message { fields, body, phase } = message;
        let rest = Message { fields: std::mem::take(fields), body: std::mem::take(body), phase: *phase };
        self.state = State::Message(rest);
    }

    /// A value as it goes over the wire: folds have LF, and the space behind the colon only if that was agreed on.
    fn folded(&self, value: &Bytes) -> Bytes {
        let exact = self.steps.contains(Steps::LEADING_SPACE);
        let value = if exact {
            value.clone()
        } else {
            value.strip_prefix(b" ").map_or(value.clone(), |rest| value.slice_ref(rest))
        };
        if memchr::memchr(b'\r', &value).is_none() {
            return value;
        }
        let kept = value.iter().enumerate().filter(|(at, octet)| **octet != b'\r' || value.get(at + 1) != Some(&b'\n'));
        kept.map(|(_, octet)| *octet).collect()
    }

    fn hear(&mut self, letter: u8, data: Bytes) -> Result<(), Malformed> {
        if matches!(self.state, State::Negotiating) {
            return self.agree(letter, data);
        }
        let word = Word::read(letter, data)?;
        match (std::mem::replace(&mut self.state, State::Owner), word) {
            (state @ (State::Message(_) | State::Step), Word::Progress) => {
                self.waiting_since = self.now;
                self.state = state;
            }
            (State::Step, Word::Answer(answer)) => self.events.push_back(ClientEvent::Verdict(answer)),
            (State::Message(message), Word::Change(change)) if message.phase == Phase::End => {
                self.keep(change)?;
                self.waiting_since = self.now;
                self.state = State::Message(message);
            }
            (State::Message(message), Word::Answer(answer)) => self.judge(message, answer),
            (State::Closed, _) => self.state = State::Closed,
            _ => return Err(Malformed("something out of turn")),
        }
        Ok(())
    }

    fn agree(&mut self, letter: u8, mut data: Bytes) -> Result<(), Malformed> {
        if letter != b'O' {
            return Err(Malformed("no answer to the negotiation"));
        }
        let (version, actions, steps) = (number(&mut data)?, Actions(number(&mut data)?), Steps(number(&mut data)?));
        // What follows names the macros that it wants; it gets those that we have.
        if !(2..=crate::VERSION).contains(&version) {
            return Err(Malformed("a version of the protocol that nobody offered"));
        }
        if !self.options.actions.contains(actions) || !Steps::ALL.contains(steps) {
            return Err(Malformed("a demand for more than was offered"));
        }
        self.steps = steps;
        self.state = State::Owner;
        self.events.push_back(ClientEvent::Ready);
        Ok(())
    }

    fn keep(&mut self, change: Change) -> Result<(), Malformed> {
        self.changed += match &change {
            Change::AddRecipient(address, parameters) | Change::Sender(address, parameters) => {
                address.len() + parameters.as_ref().map_or(0, Bytes::len)
            }
            Change::DeleteRecipient(text) | Change::Body(text) | Change::Quarantine(text) => text.len(),
            Change::AddHeader(name, value)
            | Change::InsertHeader(_, name, value)
            | Change::ChangeHeader(_, name, value) => name.len() + value.len(),
        } + PER_CHANGE;
        if self.changed > self.options.change_limit {
            return Err(Malformed("more changes than a message can have"));
        }
        self.changes.push(change);
        Ok(())
    }

    fn judge(&mut self, mut message: Message, answer: Answer) {
        match answer {
            Answer::Skip if message.phase == Phase::Body => {
                message.body = Bytes::new();
                self.go_on(&mut message, false);
            }
            Answer::Continue if message.phase != Phase::End => self.go_on(&mut message, false),
            answer => {
                if message.phase != Phase::End {
                    // The filter forgets what it was told of the message.
                    self.out.push_back(Command::Abort.write());
                }
                let changes = std::mem::take(&mut self.changes);
                self.events.push_back(ClientEvent::Done(Outcome { answer, changes }));
            }
        }
    }

    fn fail(&mut self, failure: ClientFailure) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.buffer.clear();
            self.events.push_back(ClientEvent::Failed(failure));
        }
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
            if let Some(octets) = self.out.pop_front() {
                self.waiting_since = now;
                return Step::Output(octets);
            }
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            match self.state {
                State::Closed => return Step::Closed,
                State::Owner if self.buffer.is_empty() => return Step::AwaitAnswer,
                _ => {}
            }
            match packet::take(&mut self.buffer, self.options.packet_limit) {
                Ok(None) if matches!(self.state, State::Owner) => return Step::AwaitAnswer,
                Ok(None) => return Step::NeedInput,
                Ok(Some((letter, data))) => {
                    if let Err(why) = self.hear(letter, data) {
                        self.fail(ClientFailure::Malformed(why));
                    }
                }
                Err(why) => self.fail(ClientFailure::Malformed(why)),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let wait = match &self.state {
            State::Closed | State::Owner => return None,
            State::Message(message) if message.phase == Phase::End => self.options.final_wait,
            State::Message(_) | State::Negotiating | State::Step => self.options.reply_wait,
        };
        Some(self.waiting_since + wait)
    }

    fn expire(&mut self) {
        self.fail(ClientFailure::Silent);
    }

    fn close(&mut self) {
        self.quit();
    }

    fn lost(&mut self) {
        self.fail(ClientFailure::Lost);
    }

    fn secured(&mut self, _tls: Secured) {}
}

/// What keeping a change costs beside its octets.
const PER_CHANGE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, Server, ServerEvent, ServerOptions};

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// Both sides, with what each was told.
    struct Pair {
        client: Client,
        server: Server,
        heard: Vec<ServerEvent>,
        told: Vec<ClientEvent>,
    }

    impl Pair {
        fn new() -> Self {
            let now = Instant::now();
            let (client, server) =
                (Client::new(ClientOptions::default(), now), Server::new(ServerOptions::default(), now));
            let mut pair = Self { client, server, heard: Vec::new(), told: Vec::new() };
            pair.run();
            assert_eq!(pair.told(), [ClientEvent::Ready]);
            pair
        }

        /// Until both wait.
        fn run(&mut self) {
            let now = Instant::now();
            loop {
                let mut moved = false;
                match self.client.poll(now) {
                    Step::Output(octets) => {
                        self.server.buffer().extend_from_slice(&octets);
                        moved = true;
                    }
                    Step::Event(event) => {
                        self.told.push(event);
                        moved = true;
                    }
                    _ => {}
                }
                match self.server.poll(now) {
                    Step::Output(octets) => {
                        self.client.buffer().extend_from_slice(&octets);
                        moved = true;
                    }
                    Step::Event(event) => {
                        self.heard.push(event);
                        moved = true;
                    }
                    _ => {}
                }
                if !moved {
                    return;
                }
            }
        }

        fn told(&mut self) -> Vec<ClientEvent> {
            std::mem::take(&mut self.told)
        }

        fn answer(&mut self, answer: &Answer) -> Vec<ClientEvent> {
            self.run();
            self.server.answer(answer);
            self.run();
            self.told()
        }
    }

    #[test]
    fn both_sides_understand_each_other() {
        let mut pair = Pair::new();
        pair.client.macros(b'C', &[("j", "mx.example.org")]);
        pair.client.connect("client.example", Peer::Unknown);
        assert_eq!(pair.answer(&Answer::Continue), [ClientEvent::Verdict(Answer::Continue)]);
        assert_eq!(pair.server.macros().text("j").as_deref(), Some("mx.example.org"));
        pair.client.mail(vec![b("<a@b>")]);
        pair.answer(&Answer::Continue);
        pair.client.rcpt(vec![b("<c@d>")]);
        let no = Answer::Reply(Reply::parse("550 5.1.1 nobody").expect("a reply"));
        assert_eq!(pair.answer(&no), [ClientEvent::Verdict(no)]);
        pair.client.rcpt(vec![b("<e@f>")]);
        pair.answer(&Answer::Continue);
        pair.heard.clear();
        let body = Bytes::from(vec![b'x'; CHUNK + 10]);
        pair.client.message(vec![(b("Subject"), b(" one\r\n two")), (b("X"), b("y"))], body.clone());
        pair.run();
        let text: Vec<u8> = pair
            .heard
            .iter()
            .filter_map(|event| if let ServerEvent::Body(piece) = event { Some(&piece[..]) } else { None })
            .collect::<Vec<_>>()
            .concat();
        assert_eq!(text, body);
        assert_eq!(pair.heard[0], ServerEvent::Header { name: b("Subject"), value: b(" one\r\n two") });
        assert_eq!(pair.heard[1], ServerEvent::Header { name: b("X"), value: b("y") });
        assert_eq!(pair.heard.last(), Some(&ServerEvent::EndOfMessage));
        let changes = [Change::ChangeHeader(1, b("Subject"), b("three")), Change::Quarantine(b("why"))];
        for change in &changes {
            assert!(pair.server.change(change));
        }
        pair.server.progress();
        let done = pair.answer(&Answer::Accept);
        assert_eq!(done, [ClientEvent::Done(Outcome { answer: Answer::Accept, changes: changes.to_vec() })]);
        pair.client.quit();
        pair.run();
        assert!(matches!(pair.client.poll(Instant::now()), Step::Closed));
        assert!(matches!(pair.server.poll(Instant::now()), Step::Closed));
    }

    /// A client that has negotiated with a filter that wants these steps.
    fn negotiated(steps: Steps) -> Client {
        let now = Instant::now();
        let mut client = Client::new(ClientOptions::default(), now);
        assert!(matches!(client.poll(now), Step::Output(_)));
        let answer = packet::put(b'O', &[&6_u32.to_be_bytes(), &0x1f_u32.to_be_bytes(), &steps.0.to_be_bytes()]);
        client.buffer().extend_from_slice(&answer);
        assert!(matches!(client.poll(now), Step::Event(ClientEvent::Ready)));
        client
    }

    fn said(client: &mut Client) -> Vec<u8> {
        let mut letters = Vec::new();
        while let Step::Output(octets) = client.poll(Instant::now()) {
            letters.push(octets[4]);
        }
        letters
    }

    #[test]
    fn answers_are_waited_for_one_by_one() {
        let mut client = negotiated(Steps::NR_HEADER);
        client.message(vec![(b("A"), b("b")), (b("C"), b("d"))], b("text"));
        assert_eq!(said(&mut client), b"T");
        for wanted in [&b"LLN"[..], b"B", b"E"] {
            client.buffer().extend_from_slice(&Answer::Continue.write());
            assert_eq!(said(&mut client), wanted);
        }
        let far = Instant::now() + ClientOptions::default().reply_wait;
        assert!(client.deadline().is_some_and(|deadline| deadline > far), "the verdict on a message may take longer");
    }

    #[test]
    fn steps_that_a_filter_does_not_want_are_left_out() {
        let mut client = negotiated(Steps::ALL - Steps::REFUSED_RECIPIENTS);
        client.connect("x", Peer::Unknown);
        assert!(matches!(client.poll(Instant::now()), Step::Event(ClientEvent::Verdict(Answer::Continue))));
        client.message(vec![(b("A"), b("b"))], b("text"));
        assert_eq!(said(&mut client), b"E");
    }

    #[test]
    fn a_filter_that_has_enough_gets_no_more() {
        let mut client = negotiated(Steps::SKIP | Steps::NO_HEADERS | Steps::NO_DATA | Steps::NO_END_OF_HEADERS);
        client.message(vec![], Bytes::from(vec![b'x'; 3 * CHUNK]));
        assert_eq!(said(&mut client), b"B");
        client.buffer().extend_from_slice(&Answer::Skip.write());
        assert_eq!(said(&mut client), b"E");
    }

    #[test]
    fn an_early_verdict_ends_the_message() {
        let mut client = negotiated(Steps::default());
        client.message(vec![(b("A"), b("b"))], b("text"));
        said(&mut client);
        client.buffer().extend_from_slice(&Answer::Reject.write());
        assert_eq!(said(&mut client), b"A");
        let mut again = negotiated(Steps::default());
        again.message(vec![], Bytes::new());
        said(&mut again);
        again.buffer().extend_from_slice(&Change::Quarantine(b("early")).write());
        let event = again.poll(Instant::now());
        assert!(matches!(event, Step::Event(ClientEvent::Failed(ClientFailure::Malformed(_)))), "{event:?}");
    }

    #[test]
    fn filters_that_demand_or_say_too_much_are_left() {
        for answer in [
            packet::put(b'O', &[&6_u32.to_be_bytes(), &0x1ff_u32.to_be_bytes(), &0_u32.to_be_bytes()]),
            packet::put(b'O', &[&7_u32.to_be_bytes(), &0_u32.to_be_bytes(), &0_u32.to_be_bytes()]),
            packet::put(b'c', &[]),
        ] {
            let now = Instant::now();
            let mut client = Client::new(ClientOptions::default(), now);
            let _offer = client.poll(now);
            client.buffer().extend_from_slice(&answer);
            assert!(matches!(client.poll(now), Step::Event(ClientEvent::Failed(ClientFailure::Malformed(_)))));
            assert!(matches!(client.poll(now), Step::Closed));
        }
        let now = Instant::now();
        let mut greedy = Client::new(ClientOptions { change_limit: 1000, ..ClientOptions::default() }, now);
        greedy.state = State::Message(Message { fields: VecDeque::new(), body: Bytes::new(), phase: Phase::End });
        greedy.out.clear();
        greedy.buffer().extend_from_slice(&Change::Body(Bytes::from(vec![0; 1000])).write());
        assert!(matches!(greedy.poll(now), Step::Event(ClientEvent::Failed(_))));
    }

    #[test]
    fn silence_and_loss_are_told_once() {
        let mut client = negotiated(Steps::default());
        client.helo("x");
        said(&mut client);
        assert!(client.deadline().is_some());
        client.expire();
        client.lost();
        assert!(matches!(client.poll(Instant::now()), Step::Event(ClientEvent::Failed(ClientFailure::Silent))));
        assert!(matches!(client.poll(Instant::now()), Step::Closed));
    }
}
