//! The server side of a session, seen from the application: how it is made, answered and asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use crate::append::Append;
use crate::capability::{self, Circumstances};
use crate::gather::{Discard, Gather};
use crate::table::{Entry, States};
use crate::{Completion, Enabled, Event, Options, Output, ResponseCode, Status};

/// One client's session, from greeting to goodbye. It parses one command at a time and the next only when that one is
/// [finished](Self::finish).
pub struct Server {
    pub(crate) options: Arc<Options>,
    pub(crate) input: BytesMut,
    pub(crate) out: Output,
    pub(crate) phase: Phase,
    pub(crate) access: Access,
    pub(crate) enabled: Enabled,
    pub(crate) transport: Transport,
    /// Faulty commands since the last good one.
    pub(crate) faults: u32,
    pub(crate) events: VecDeque<Event>,
    /// The running command has enabled CONDSTORE, and the client needs to hear HIGHESTMODSEQ.
    pub(crate) condstore_news: bool,
    pub(crate) waiting: Waiting,
    /// Goodbye is to be said once the running command is answered.
    pub(crate) leaving: Option<(Option<ResponseCode>, &'static str)>,
}

/// What the session is doing.
pub(crate) enum Phase {
    /// A command is with the application.
    Answering(Running),
    /// An APPEND is coming in.
    Appending(Append),
    /// Everything was said.
    Closed,
    /// What follows a refused literal is being skipped.
    Discarding(Discard),
    /// The greeting is not written yet: it depends on whether TLS is up from the start.
    Greeting,
    /// The client waits for news until it says DONE.
    Idling(Running),
    /// A command is coming in.
    Reading(Gather),
    /// A SASL exchange waits for the client's next line.
    Sasl(Running),
    /// TLS is about to begin; `true` once the driver knows.
    StartingTls(bool),
}

/// The command that runs.
pub(crate) struct Running {
    pub(crate) tag: Bytes,
    pub(crate) entry: &'static Entry,
    /// What to answer whatever the application says.
    pub(crate) verdict: Option<Completion>,
}

/// How far the client has come (RFC 9051 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    Authenticated,
    NotAuthenticated,
    Selected { read_only: bool },
}

/// What is known of the way the octets take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transport {
    pub(crate) secured: bool,
    pub(crate) channel_binding: bool,
}

/// Since when the client owes something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) since: Instant,
    /// The wait begins anew at the next poll.
    pub(crate) renew: bool,
}

impl Server {
    /// A session that greets when it is first polled; call [`secured`](posthorn_wire::Machine::secured) before that
    /// where TLS is implicit.
    #[must_use]
    pub fn new(options: Arc<Options>, now: Instant) -> Self {
        Self {
            options,
            input: BytesMut::new(),
            out: Output::new(),
            phase: Phase::Greeting,
            access: Access::NotAuthenticated,
            enabled: Enabled::default(),
            transport: Transport::default(),
            faults: 0,
            events: VecDeque::new(),
            condstore_news: false,
            waiting: Waiting { since: now, renew: true },
            leaving: None,
        }
    }

    /// A session that says `* BYE text` and is over.
    #[must_use]
    pub fn refused(text: &str, now: Instant) -> Self {
        let mut server = Self::new(Arc::new(Options::default()), now);
        server.out.raw(b"* BYE ");
        crate::quoted::put_text(&mut server.out.tail, text);
        server.out.raw(b"\r\n");
        server.phase = Phase::Closed;
        server
    }

    /// Where untagged responses are written: while a command runs, or while the client idles.
    pub fn out(&mut self) -> &mut Output {
        &mut self.out
    }

    /// Octets that wait to be sent.
    #[must_use]
    pub fn pending_output(&self) -> usize {
        self.out.len()
    }

    /// What the client has enabled.
    #[must_use]
    pub fn enabled(&self) -> Enabled {
        self.enabled
    }

    /// True once, when the running command has enabled CONDSTORE for a mailbox that was selected before: then an
    /// `OK [HIGHESTMODSEQ n]` must come before the command's other responses (RFC 7162 §3.1).
    pub fn take_condstore_news(&mut self) -> bool {
        std::mem::take(&mut self.condstore_news)
    }

    /// Whether EXPUNGE or VANISHED may be sent now: a command runs that does not use sequence numbers, or the client
    /// idles (RFC 9051 §7.5.1).
    #[must_use]
    pub fn may_announce_expunges(&self) -> bool {
        match &self.phase {
            Phase::Answering(running) => !running.entry.traits.holds_expunges,
            Phase::Idling(_) => true,
            _ => false,
        }
    }

    /// Whether the client idles: untagged responses may be written at any time.
    #[must_use]
    pub fn is_idling(&self) -> bool {
        matches!(self.phase, Phase::Idling(_))
    }

    /// The login succeeded; call before finishing LOGIN or AUTHENTICATE with OK, which then carries the new capabilities.
    pub fn authenticated(&mut self) {
        self.access = Access::Authenticated;
    }

    /// A mailbox is selected; call before finishing SELECT or EXAMINE with OK, which then says READ-WRITE or READ-ONLY.
    pub fn selected(&mut self, read_only: bool) {
        self.access = Access::Selected { read_only };
    }

    /// No mailbox is selected any more: after CLOSE, UNSELECT, or because the mailbox is gone.
    pub fn unselected(&mut self) {
        if self.access != Access::NotAuthenticated {
            self.access = Access::Authenticated;
        }
    }

    /// Ends the running command. OK to LOGIN, AUTHENTICATE, SELECT and EXAMINE gets the code that belongs to it unless
    /// one is given; OK to CLOSE and UNSELECT leaves the mailbox. Without a running command nothing happens.
    pub fn finish(&mut self, completion: Completion) {
        let phase = std::mem::replace(&mut self.phase, Phase::Reading(Gather::default()));
        match phase {
            Phase::Answering(running) | Phase::Sasl(running) => {
                let completion = match running.verdict {
                    Some(verdict) => verdict,
                    None => self.completed(running.entry, completion),
                };
                self.conclude(&running.tag, running.entry, &completion);
            }
            other => self.phase = other,
        }
    }

    /// Sends a SASL challenge; the client's response comes as an event.
    pub fn challenge(&mut self, challenge: &[u8]) {
        let phase = std::mem::replace(&mut self.phase, Phase::Closed);
        self.phase = match phase {
            Phase::Answering(running) if running.entry.name == "AUTHENTICATE" => {
                self.out.raw(b"+ ");
                self.out.raw(STANDARD.encode(challenge).as_bytes());
                self.out.raw(b"\r\n");
                self.waiting.renew = true;
                Phase::Sasl(running)
            }
            other => other,
        };
    }

    /// Lets the client idle: answer to [`Event::Idle`].
    pub fn start_idle(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Closed);
        self.phase = match phase {
            Phase::Answering(running) if running.entry.name == "IDLE" && running.verdict.is_none() => {
                self.out.raw(b"+ idling\r\n");
                self.waiting.renew = true;
                Phase::Idling(running)
            }
            other => other,
        };
    }

    /// Ends the session with `* BYE text`, behind the answer of the command that runs, if one does.
    pub fn dismiss(&mut self, text: &'static str) {
        if matches!(self.phase, Phase::Answering(_) | Phase::Appending(_)) {
            self.leaving = Some((None, text));
        } else {
            self.bye(None, text);
        }
    }

    pub(crate) fn circumstances(&self) -> Circumstances {
        Circumstances {
            authenticated: self.access != Access::NotAuthenticated,
            secured: self.transport.secured,
            channel_binding: self.transport.channel_binding,
        }
    }

    pub(crate) fn capabilities(&self) -> String {
        capability::list(&self.options, self.circumstances())
    }

    /// What the client has enabled decides how names and strings are written.
    pub(crate) fn adopt_enabled(&mut self) {
        self.out.rev2 = self.enabled.rev2;
        self.out.utf8 = self.enabled.rev2 || self.enabled.utf8;
    }

    /// Writes the tagged answer and goes on to the next command, or to the end.
    pub(crate) fn conclude(&mut self, tag: &Bytes, entry: &Entry, completion: &Completion) {
        let greets = completion.status == Status::Ok && completion.code.is_none() && is_login(entry);
        if greets && self.access != Access::NotAuthenticated {
            self.out.raw(tag);
            self.out.raw(b" OK [CAPABILITY ");
            let list = self.capabilities();
            self.out.raw(list.as_bytes());
            self.out.raw(b"] ");
            crate::quoted::put_text(&mut self.out.tail, &completion.text);
            self.out.raw(b"\r\n");
        } else {
            self.out.tagged(tag, completion.status, completion.code.as_ref(), &completion.text);
        }
        self.waiting.renew = true;
        self.phase = Phase::Reading(Gather::default());
        match completion.status {
            Status::Bad => self.fault(),
            Status::Ok if self.access != Access::NotAuthenticated => self.faults = 0,
            _ => {}
        }
        if let Some((code, text)) = self.leaving.take() {
            self.bye(code.as_ref(), text);
        }
    }

    /// Answers a command that the application never sees.
    pub(crate) fn reject(&mut self, tag: &Bytes, completion: &Completion) {
        self.out.tagged(tag, completion.status, completion.code.as_ref(), &completion.text);
        self.waiting.renew = true;
        self.phase = Phase::Reading(Gather::default());
        if completion.status == Status::Bad {
            self.fault();
        }
        if let Some((code, text)) = self.leaving.take() {
            self.bye(code.as_ref(), text);
        }
    }

    /// Counts a faulty command; too many in a row end the session.
    pub(crate) fn fault(&mut self) {
        self.faults += 1;
        if self.faults >= self.options.limits.faults {
            self.bye(None, "Too many faulty commands");
        }
    }

    /// Says goodbye and is over.
    pub(crate) fn bye(&mut self, code: Option<&ResponseCode>, text: &str) {
        match self.phase {
            Phase::Closed => return,
            Phase::Appending(_) => self.events.push_back(Event::AppendAborted),
            _ => {}
        }
        self.out.raw(b"* BYE ");
        if let Some(code) = code {
            self.out.raw(b"[");
            code.write(&mut self.out.tail);
            self.out.raw(b"] ");
        }
        self.out.raw(text.as_bytes());
        self.out.raw(b"\r\n");
        self.phase = Phase::Closed;
        self.input.clear();
    }

    /// Adds the code that belongs to a success, and follows CLOSE and UNSELECT.
    fn completed(&mut self, entry: &Entry, completion: Completion) -> Completion {
        if completion.status != Status::Ok {
            return completion;
        }
        match (entry.name, self.access) {
            ("SELECT" | "EXAMINE", Access::Selected { read_only }) if completion.code.is_none() => {
                completion.with(if read_only { ResponseCode::ReadOnly } else { ResponseCode::ReadWrite })
            }
            ("CLOSE" | "UNSELECT", _) => {
                self.unselected();
                completion
            }
            _ => completion,
        }
    }
}

impl Access {
    /// Whether a command of these states is legal here; else what to tell the client.
    pub(crate) fn admits(self, states: States) -> Result<(), &'static str> {
        match (states, self) {
            (States::Any, _)
            | (States::NotAuthenticated, Self::NotAuthenticated)
            | (States::Authenticated, Self::Authenticated | Self::Selected { .. })
            | (States::Selected, Self::Selected { .. }) => Ok(()),
            (States::NotAuthenticated, _) => Err("Already logged in"),
            (_, Self::NotAuthenticated) => Err("Log in first"),
            (States::Selected, Self::Authenticated) => Err("No mailbox is selected"),
        }
    }
}

fn is_login(entry: &Entry) -> bool {
    matches!(entry.name, "LOGIN" | "AUTHENTICATE")
}
