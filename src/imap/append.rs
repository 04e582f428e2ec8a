//! APPEND: messages stream through the session and are never held by it (RFC 9051 §6.3.12, RFC 3502).

use bytes::Bytes;

use crate::cursor::{Cursor, Fault};
use crate::drive::Turn;
use crate::gather::{Announced, Gather, Progress};
use crate::server::{Phase, Running};
use crate::{Completion, Event, ResponseCode, Server, syntax, table};

/// An APPEND that has begun.
pub(crate) struct Append {
    tag: Bytes,
    /// Messages announced so far.
    messages: u32,
    stage: Stage,
}

enum Stage {
    /// The application decides about the announced message.
    Asked { literal: Announced, utf8: bool },
    /// Its octets arrive.
    Receiving { left: u64, utf8: bool },
    /// The line behind it: its end, or the next message.
    Behind { utf8: bool, gather: Gather },
}

/// What stands before a message's literal.
struct Announcement {
    flags: Vec<String>,
    date: Option<chrono::DateTime<chrono::FixedOffset>>,
    utf8: bool,
}

impl Append {
    pub(crate) fn awaits_answer(&self) -> bool {
        matches!(self.stage, Stage::Asked { .. })
    }
}

impl Server {
    /// Accepts the message of [`Event::AppendMessage`]. What fails later is told when the APPEND is finished.
    pub fn accept_literal(&mut self) {
        if let Phase::Appending(append) = &mut self.phase
            && let Stage::Asked { literal, utf8 } = append.stage
        {
            append.stage = Stage::Receiving { left: literal.size, utf8 };
            self.waiting.renew = true;
            if literal.synchronizing {
                self.out.raw(b"+ Ready\r\n");
            }
        }
    }

    /// Refuses the message of [`Event::AppendMessage`], and with it the whole APPEND. Where the client does not wait for
    /// the answer, what it sends is skipped.
    pub fn refuse_append(&mut self, completion: Completion) {
        let phase = std::mem::replace(&mut self.phase, Phase::Reading(Gather::default()));
        match phase {
            Phase::Appending(Append { tag, stage: Stage::Asked { literal, .. }, .. }) => {
                self.refuse_announced(tag, literal, completion);
            }
            other => self.phase = other,
        }
    }

    /// Whether the announced literal is a message of APPEND; then it is taken care of.
    pub(crate) fn begin_append(&mut self, literal: Announced) -> bool {
        let mode = self.mode();
        let head = &self.input[..literal.end];
        let Some((tag, entry, arguments)) = syntax::split(head) else { return false };
        if entry.name != "APPEND" {
            return false;
        }
        let parsed = self.access.admits(entry.states).map_err(|text| Fault::Bad(text.into())).and_then(|()| {
            let mut cursor = Cursor::new(arguments, mode);
            cursor.space()?;
            let mailbox = cursor.mailbox()?;
            cursor.space()?;
            Ok((mailbox, announcement(&mut cursor)?))
        });
        let tag = Bytes::copy_from_slice(tag);
        let parsed = match parsed {
            // The mailbox's name is the literal.
            Err(Fault::Incomplete) => return false,
            parsed => parsed,
        };
        let _head = self.input.split_to(literal.end);
        match parsed {
            Err(fault) => self.refuse_announced(tag, literal, fault.into_completion()),
            Ok((mailbox, announcement)) => {
                if let Err(completion) = self.admit(literal, 1) {
                    self.refuse_announced(tag, literal, completion);
                    return true;
                }
                self.events.push_back(Event::AppendBegin { tag: tag.clone(), mailbox });
                let stage = self.ask(literal, announcement);
                self.phase = Phase::Appending(Append { tag, messages: 1, stage });
            }
        }
        true
    }

    /// Moves an APPEND on with what has arrived.
    pub(crate) fn continue_append(&mut self) -> Turn {
        let limit = self.command_limit();
        let Phase::Appending(append) = &mut self.phase else { return Turn::Again };
        match &mut append.stage {
            Stage::Asked { .. } => Turn::Await,
            Stage::Receiving { left: 0, utf8 } => {
                append.stage = Stage::Behind { utf8: *utf8, gather: Gather::default() };
                self.events.push_back(Event::AppendMessageEnd);
                Turn::Again
            }
            Stage::Receiving { left, .. } => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                if take == 0 {
                    return Turn::Input;
                }
                *left -= take as u64;
                self.waiting.renew = true;
                self.events.push_back(Event::AppendData(self.input.split_to(take).freeze()));
                Turn::Again
            }
            Stage::Behind { utf8, gather } => {
                let utf8 = *utf8;
                match gather.step(&self.input, limit) {
                    Progress::Partial => return Turn::Input,
                    Progress::TooLong => self.bye(Some(&ResponseCode::TooBig), "Command line is too long"),
                    Progress::Bare(end) => {
                        let _line = self.input.split_to(end);
                        self.abort_append(None, Completion::bad("Bare CR or LF behind the message"));
                    }
                    Progress::Complete(end) => {
                        let line = self.input.split_to(end);
                        self.append_ends(&line, utf8);
                    }
                    Progress::Literal(literal) => self.next_message(literal, utf8),
                }
                Turn::Again
            }
        }
    }

    fn append_ends(&mut self, line: &[u8], utf8: bool) {
        let expected: &[u8] = if utf8 { b")\r\n" } else { b"\r\n" };
        if line != expected {
            return self.abort_append(None, Completion::bad("Unexpected text behind the message"));
        }
        if let Phase::Appending(append) = std::mem::replace(&mut self.phase, Phase::Closed)
            && let Some(entry) = table::find(b"APPEND", None)
        {
            self.phase = Phase::Answering(Running { tag: append.tag, entry, verdict: None });
            self.events.push_back(Event::AppendEnd);
        }
    }

    fn next_message(&mut self, literal: Announced, utf8: bool) {
        let mode = self.mode();
        let line = self.input.split_to(literal.end);
        let mut cursor = Cursor::new(&line, mode);
        let parsed = (|| {
            if utf8 {
                cursor.expect(b')')?;
            }
            cursor.space()?;
            announcement(&mut cursor)
        })();
        let Phase::Appending(append) = &mut self.phase else { return };
        append.messages += 1;
        let messages = append.messages;
        let admitted = parsed.map_err(Fault::into_completion).and_then(|announcement| {
            self.admit(literal, messages)?;
            Ok(announcement)
        });
        match admitted {
            Err(completion) => self.abort_append(Some(literal), completion),
            Ok(announcement) => {
                let stage = self.ask(literal, announcement);
                if let Phase::Appending(append) = &mut self.phase {
                    append.stage = stage;
                }
            }
        }
    }

    /// Tells the application that nothing comes of this APPEND, and the client why.
    fn abort_append(&mut self, literal: Option<Announced>, completion: Completion) {
        let phase = std::mem::replace(&mut self.phase, Phase::Reading(Gather::default()));
        let Phase::Appending(append) = phase else { return };
        self.events.push_back(Event::AppendAborted);
        match literal {
            None => self.reject(&append.tag, &completion),
            Some(literal) => self.refuse_announced(append.tag, literal, completion),
        }
    }

    /// Whether a message of this size may come at all.
    fn admit(&self, literal: Announced, messages: u32) -> Result<(), Completion> {
        let limits = &self.options.limits;
        if literal.size > limits.append {
            // RFC 7889 §4.
            return Err(Completion::no("Message is larger than APPENDLIMIT").with(ResponseCode::TooBig));
        }
        if literal.size == 0 {
            // RFC 3502 §6.3.11: how a client cancels.
            return Err(Completion::no("Message is empty"));
        }
        if messages > limits.append_messages {
            return Err(Completion::no("Too many messages in one APPEND").with(ResponseCode::Limit));
        }
        Ok(())
    }

    fn ask(&mut self, literal: Announced, announcement: Announcement) -> Stage {
        let Announcement { flags, date, utf8 } = announcement;
        self.events.push_back(Event::AppendMessage { flags, date, size: literal.size, utf8, binary: literal.binary });
        Stage::Asked { literal, utf8 }
    }
}

/// `[flag-list SP] [date-time SP] literal`, or `UTF8 (literal8` for the last; the cursor's text ends at the announcement.
fn announcement(cursor: &mut Cursor<'_>) -> Result<Announcement, Fault> {
    let mut flags = Vec::new();
    if cursor.peek() == Some(b'(') {
        flags = cursor.flag_list()?;
        cursor.space()?;
    }
    let mut date = None;
    if cursor.peek() == Some(b'"') {
        date = Some(cursor.date_time()?);
        cursor.space()?;
    }
    let utf8 = matches!(cursor.peek(), Some(b'U' | b'u'));
    if utf8 {
        if !cursor.mode().utf8 {
            return Err(Fault::bad("UTF8 needs ENABLE UTF8=ACCEPT"));
        }
        cursor.keyword(b"UTF8")?;
        cursor.space()?;
        cursor.expect(b'(')?;
        if cursor.peek() != Some(b'~') {
            return Err(Fault::bad("Expected a literal8 in UTF8 (...)"));
        }
    }
    cursor.message_literal()?;
    Ok(Announcement { flags, date, utf8 })
}
