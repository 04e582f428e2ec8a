//! The session as a [`Machine`]: one step at a time.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, BytesMut};
use posthorn_wire::{Line, Machine, Secured, Step, take_line};

use crate::gather::{Announced, Discard, Gather, Progress, announcement};
use crate::server::{Access, Phase, Running};
use crate::{Completion, Event, ResponseCode, Secret, Server};

/// A literal that nobody waits for and that is larger than this is not skipped: the session ends.
const SKIP_LIMIT: u64 = 1 << 31;

/// What looking at the input led to.
pub(crate) enum Turn {
    /// Something changed: look again.
    Again,
    /// The application has to answer.
    Await,
    /// Nothing more can be done without input.
    Input,
}

impl Machine for Server {
    type Event = Event;

    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    fn poll(&mut self, now: Instant) -> Step<Event> {
        if self.waiting.renew {
            self.waiting.renew = false;
            self.waiting.since = now;
        }
        loop {
            if let Some(piece) = self.out.take() {
                return Step::Output(piece);
            }
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            let turn = match &mut self.phase {
                Phase::Answering(_) => Turn::Await,
                Phase::Appending(_) => self.continue_append(),
                Phase::Closed => return Step::Closed,
                Phase::Discarding(_) => self.discard(),
                Phase::Greeting => self.greet(),
                Phase::Idling(_) => self.read_done(),
                Phase::Reading(_) => self.read_command(),
                Phase::Sasl(_) => self.read_response(),
                Phase::StartingTls(begun) if !*begun => {
                    *begun = true;
                    return Step::StartTls;
                }
                Phase::StartingTls(_) => Turn::Input,
            };
            if self.waiting.renew {
                self.waiting.renew = false;
                self.waiting.since = now;
            }
            match turn {
                Turn::Again => {}
                Turn::Await if self.out.is_empty() && self.events.is_empty() => return Step::AwaitAnswer,
                Turn::Input if self.out.is_empty() && self.events.is_empty() => return Step::NeedInput,
                Turn::Await | Turn::Input => {}
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let timeouts = &self.options.timeouts;
        let patience = match &self.phase {
            Phase::Answering(_) | Phase::Closed => return None,
            Phase::Appending(append) if append.awaits_answer() => return None,
            Phase::Appending(_) | Phase::Discarding(_) => timeouts.append,
            Phase::Idling(_) => timeouts.idle,
            Phase::Greeting | Phase::Reading(_) | Phase::Sasl(_) | Phase::StartingTls(_) => match self.access {
                Access::NotAuthenticated => timeouts.unauthenticated,
                Access::Authenticated | Access::Selected { .. } => timeouts.authenticated,
            },
        };
        self.waiting.since.checked_add(patience)
    }

    fn expire(&mut self) {
        self.bye(Some(&ResponseCode::Unavailable), "Autologout; idle for too long");
    }

    fn close(&mut self) {
        let busy = matches!(self.phase, Phase::Answering(_) | Phase::Appending(_));
        if busy {
            self.leaving = Some((Some(ResponseCode::Unavailable), "Server shutting down"));
        } else {
            self.bye(Some(&ResponseCode::Unavailable), "Server shutting down");
        }
    }

    fn secured(&mut self, tls: Secured) {
        self.transport.secured = true;
        self.transport.channel_binding = tls.channel_binding.is_some();
        if matches!(self.phase, Phase::StartingTls(_)) {
            // RFC 9051 §11.1: what came in the clear behind STARTTLS may be anybody's; such a session ends without a word.
            self.phase = if self.input.is_empty() { Phase::Reading(Gather::default()) } else { Phase::Closed };
            self.input.clear();
            self.waiting.renew = true;
        }
    }
}

impl Server {
    fn greet(&mut self) -> Turn {
        let list = self.capabilities();
        self.out.raw(b"* OK [CAPABILITY ");
        self.out.raw(list.as_bytes());
        self.out.raw(b"] ");
        crate::quoted::put_text(&mut self.out.tail, &self.options.host);
        self.out.raw(b" ");
        crate::quoted::put_text(&mut self.out.tail, &self.options.greeting);
        self.out.raw(b"\r\n");
        self.phase = Phase::Reading(Gather::default());
        Turn::Again
    }

    /// Octets that one command may have now.
    pub(crate) fn command_limit(&self) -> usize {
        match self.access {
            Access::NotAuthenticated => self.options.limits.command_unauthenticated,
            Access::Authenticated | Access::Selected { .. } => self.options.limits.command,
        }
    }

    fn read_command(&mut self) -> Turn {
        let limit = self.command_limit();
        let Phase::Reading(gather) = &mut self.phase else { return Turn::Again };
        // A TLS handshake record where IMAP is spoken: no line will ever come.
        if self.access == Access::NotAuthenticated && self.input.first() == Some(&0x16) {
            self.bye(None, "This port speaks IMAP, not TLS");
            return Turn::Again;
        }
        match gather.step(&self.input, limit) {
            Progress::Partial => return Turn::Input,
            Progress::TooLong => self.too_long(),
            Progress::Bare(end) => {
                let line = self.input.split_to(end).freeze();
                self.reject_line(&line, &Completion::bad("Bare CR or LF in a command; lines end in CRLF"));
            }
            Progress::Complete(end) => {
                let line = self.input.split_to(end).freeze();
                self.execute(&line);
            }
            Progress::Literal(literal) => self.literal_announced(literal),
        }
        Turn::Again
    }

    /// Ends a session whose command has no end: what follows cannot be told from a new command.
    fn too_long(&mut self) {
        let completion = Completion::bad("Command is too long").with(ResponseCode::TooBig);
        if let Some(tag) = crate::syntax::tag(&self.input).map(bytes::Bytes::copy_from_slice) {
            self.out.tagged(&tag, completion.status, completion.code.as_ref(), &completion.text);
        }
        self.bye(Some(&ResponseCode::TooBig), "Command is too long");
    }

    /// A line of the command being read ends in a literal's announcement.
    fn literal_announced(&mut self, literal: Announced) {
        if self.begin_append(literal) {
            return;
        }
        let limit = self.command_limit();
        let fits = usize::try_from(literal.size).is_ok_and(|size| size <= limit && literal.end + size < limit);
        if !fits {
            let completion = Completion::bad("Literal is too large for this command").with(ResponseCode::TooBig);
            let line = self.input.split_to(literal.end).freeze();
            self.refuse_literal(&line, literal, completion);
            return;
        }
        let Phase::Reading(gather) = &mut self.phase else { return };
        gather.accept(literal);
        if literal.synchronizing {
            self.out.raw(b"+ Ready\r\n");
        }
    }

    /// Refuses a command at a literal whose announcement ends `line`: at once where the client waits, else behind it.
    pub(crate) fn refuse_literal(&mut self, line: &[u8], literal: Announced, completion: Completion) {
        let Some(tag) = crate::syntax::tag(line) else {
            return self.bye(None, "Malformed command with a literal");
        };
        let tag = bytes::Bytes::copy_from_slice(tag);
        self.refuse_announced(tag, literal, completion);
    }

    /// The same where the tag is known.
    pub(crate) fn refuse_announced(&mut self, tag: bytes::Bytes, literal: Announced, completion: Completion) {
        if literal.synchronizing {
            return self.reject(&tag, &completion);
        }
        if literal.size > SKIP_LIMIT || self.access == Access::NotAuthenticated {
            self.out.tagged(&tag, completion.status, completion.code.as_ref(), &completion.text);
            return self.bye(Some(&ResponseCode::TooBig), "Literal is too large to be skipped");
        }
        self.phase = Phase::Discarding(Discard { left: literal.size, tag, completion });
    }

    /// Skips what follows a refused literal, in bounded memory, up to the end of the command.
    fn discard(&mut self) -> Turn {
        let limit = self.command_limit();
        let Phase::Discarding(discard) = &mut self.phase else { return Turn::Again };
        let skip = usize::try_from(discard.left).unwrap_or(usize::MAX).min(self.input.len());
        if skip > 0 {
            self.input.advance(skip);
            discard.left -= skip as u64;
            self.waiting.renew = true;
        }
        if discard.left > 0 {
            return Turn::Input;
        }
        let line = match take_line(&mut self.input, limit) {
            Line::Partial => return Turn::Input,
            Line::TooLong => {
                self.bye(Some(&ResponseCode::TooBig), "Command line is too long");
                return Turn::Again;
            }
            Line::Bare => None,
            Line::Complete(line) => announcement(&line).filter(|literal| !literal.synchronizing),
        };
        if let Some(next) = line {
            if next.size > SKIP_LIMIT {
                self.bye(Some(&ResponseCode::TooBig), "Literal is too large to be skipped");
            } else {
                discard.left = next.size;
            }
            return Turn::Again;
        }
        let (tag, completion) = (discard.tag.clone(), discard.completion.clone());
        self.reject(&tag, &completion);
        Turn::Again
    }

    fn read_done(&mut self) -> Turn {
        let limit = self.command_limit();
        let verdict = match take_line(&mut self.input, limit) {
            Line::Partial => return Turn::Input,
            Line::TooLong => {
                self.bye(Some(&ResponseCode::TooBig), "Command line is too long");
                return Turn::Again;
            }
            Line::Complete(line) if line.eq_ignore_ascii_case(b"DONE") => None,
            Line::Complete(_) | Line::Bare => Some(Completion::bad("Expected DONE")),
        };
        if let Phase::Idling(running) = std::mem::replace(&mut self.phase, Phase::Closed) {
            self.phase = Phase::Answering(Running { verdict, ..running });
            self.events.push_back(Event::IdleDone);
        }
        Turn::Again
    }

    fn read_response(&mut self) -> Turn {
        let limit = self.command_limit();
        let response = match take_line(&mut self.input, limit) {
            Line::Partial => return Turn::Input,
            Line::TooLong => {
                self.bye(Some(&ResponseCode::TooBig), "Response is too long");
                return Turn::Again;
            }
            Line::Bare => None,
            Line::Complete(line) if line == "*" => None,
            Line::Complete(line) => STANDARD.decode(&line).ok(),
        };
        let Phase::Sasl(running) = std::mem::replace(&mut self.phase, Phase::Closed) else { return Turn::Again };
        match response {
            Some(response) => {
                self.phase = Phase::Answering(running);
                self.events.push_back(Event::AuthenticateResponse(Secret::new(response)));
            }
            None => {
                // RFC 9051 §6.2.2: a cancelled exchange is answered BAD.
                self.events.push_back(Event::AuthenticateCancelled);
                self.reject(&running.tag, &Completion::bad("Authentication cancelled"));
            }
        }
        Turn::Again
    }
}
