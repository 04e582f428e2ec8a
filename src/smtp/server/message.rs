//! Bodies move: DATA to its dot, BDAT by its count.

use bytes::Buf;
use posthorn_wire::Step;

use super::{Chunks, Mode, Phase, Question, Server, Start, Transaction};
use crate::body::Scan;
use crate::{BodyFault, BodyType, Dialect, Event, Misbehaviour, Reply, Then};

impl Server {
    /// One piece of DATA.
    pub(super) fn data(&mut self) -> Option<Step<Event>> {
        let Mode::Data(body) = &mut self.mode else { return None };
        let before = body.fault();
        match body.scan(&self.buffer) {
            Scan::Partial => return Some(Step::NeedInput),
            Scan::End => {
                self.buffer.advance(3);
                let (size, fault) = (body.size(), body.fault());
                self.progress();
                match fault {
                    None => self.ask(Question::BodyEnd, Event::BodyEnd { size }),
                    Some(fault) => self.finish(|_| reply(fault)),
                }
            }
            Scan::Text { dot, octets } => {
                self.buffer.advance(usize::from(dot));
                let piece = self.buffer.split_to(octets);
                let (wasted, after) = (body.wasted(), body.fault());
                self.progress();
                let Some(fault) = after else {
                    return Some(Step::Event(Event::Body(piece.freeze())));
                };
                if before.is_none() {
                    self.events.push_back(Event::BodyAborted(fault));
                }
                if wasted > self.options.limits.swallow {
                    self.give_up(reply(fault));
                }
            }
        }
        None
    }

    /// BDAT was read and is legal so far.
    pub(super) fn start_chunk(&mut self, octets: u64, last: bool) {
        let max = if self.options.max_size == 0 { u64::MAX } else { self.options.max_size };
        let Phase::Mail(transaction) = &mut self.phase else { return };
        let size = match &transaction.chunks {
            Chunks::Failed => {
                let reply = Reply::new(503, 5, 1, "An earlier chunk was refused");
                return self.fail_chunk(octets, last, reply);
            }
            Chunks::None if transaction.recipients == 0 => {
                return self.refuse_chunk(octets, Reply::new(503, 5, 1, "No valid recipients"), 1);
            }
            Chunks::None => 0,
            Chunks::Some(body) => body.size(),
        };
        let begun = matches!(transaction.chunks, Chunks::Some(_));
        if size.saturating_add(octets) > max {
            if begun {
                self.events.push_back(Event::BodyAborted(BodyFault::TooBig));
            }
            return self.fail_chunk(octets, last, reply(BodyFault::TooBig));
        }
        if begun {
            self.mode = Mode::Chunk { left: octets, octets, last };
        } else {
            self.ask(Question::BodyStart(Start::Chunk { octets, last }), Event::BodyStart);
        }
    }

    /// One piece of a BDAT chunk.
    pub(super) fn chunk(&mut self) -> Option<Step<Event>> {
        let Mode::Chunk { left, octets, last } = &mut self.mode else { return None };
        let (octets, last) = (*octets, *last);
        if *left > 0 && self.buffer.is_empty() {
            return Some(Step::NeedInput);
        }
        let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
        let piece = self.buffer.split_to(take);
        *left -= take as u64;
        let left = *left;
        self.progress();
        let Phase::Mail(Transaction { chunks: Chunks::Some(body), body_type, .. }) = &mut self.phase else {
            return None;
        };
        if *body_type == BodyType::Binary {
            body.binary(&piece);
        } else {
            body.text(&piece);
            if left == 0 && last {
                body.ended();
            }
        }
        let (size, fault) = (body.size(), body.fault());
        if let Some(fault) = fault {
            self.events.push_back(Event::BodyAborted(fault));
            self.fail_chunk(left, last, reply(fault));
            return None;
        }
        if !piece.is_empty() {
            self.events.push_back(Event::Body(piece.freeze()));
        }
        if left == 0 && last {
            self.ask(Question::BodyEnd, Event::BodyEnd { size });
        } else if left == 0 {
            self.mode = Mode::Command;
            self.say(Reply::new(250, 0, 0, format!("{octets} octets received")));
        }
        None
    }

    /// One piece of a chunk that nobody wants.
    pub(super) fn swallow_chunk(&mut self) -> Option<Step<Event>> {
        let Mode::SwallowChunk { left, .. } = &mut self.mode else { return None };
        let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
        self.buffer.advance(take);
        *left -= take as u64;
        let left = *left;
        if take > 0 {
            self.progress();
        }
        if left > 0 {
            return Some(Step::NeedInput);
        }
        if let Mode::SwallowChunk { reply, times, .. } = std::mem::replace(&mut self.mode, Mode::Command) {
            self.flush = true;
            for _ in 1..times {
                self.say(reply.clone());
            }
            self.bad(reply);
        }
        None
    }

    /// A chunk is refused and the message with it. LMTP's last chunk is answered for every recipient (RFC 2033 §4.3).
    pub(super) fn fail_chunk(&mut self, left: u64, last: bool, reply: Reply) {
        let mut times = 1;
        if let Phase::Mail(transaction) = &mut self.phase {
            transaction.chunks = Chunks::Failed;
            if last && self.options.dialect == Dialect::Lmtp {
                times = transaction.recipients;
            }
        }
        if last {
            self.reset();
        }
        self.refuse_chunk(left, reply, times);
    }

    /// Reads the octets of a chunk, within bounds, and then says why they were in vain.
    pub(super) fn refuse_chunk(&mut self, left: u64, reply: Reply, times: usize) {
        if reply.then == Then::Close {
            return self.say(reply);
        }
        if left > self.options.limits.swallow {
            return self.give_up(reply);
        }
        self.mode = Mode::SwallowChunk { left, reply, times };
    }

    /// The true end is too far away: nothing behind it can be understood.
    fn give_up(&mut self, reply: Reply) {
        self.misbehaved(Misbehaviour::UnreadableBody);
        self.say(reply.closing());
    }
}

/// What a client is told of its fault.
fn reply(fault: BodyFault) -> Reply {
    match fault {
        BodyFault::BareCr => Reply::new(550, 6, 0, "Message has a bare carriage return"),
        BodyFault::BareLf => Reply::new(550, 6, 0, "Message has a bare line feed"),
        BodyFault::HeaderTooBig => Reply::new(550, 6, 0, "Header section is too big"),
        BodyFault::LineTooLong => Reply::new(550, 6, 0, "Message has a line that is too long"),
        BodyFault::TooBig => Reply::new(552, 3, 4, "Message too big for us"),
    }
}
