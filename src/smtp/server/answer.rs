//! Answers become replies.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use posthorn_model::{EnhancedCode, Refusal};

use super::{Chunks, Mode, Phase, Question, Server, Start, Transaction};
use crate::body::Body;
use crate::{Dialect, Options, Reply, Then};

impl Server {
    /// Says yes to the last question in the session's own words.
    pub fn accept(&mut self) {
        self.yes(None);
    }

    /// Says yes with a text of the application's, without codes; DATA and XCLIENT keep their own words.
    pub fn accept_with(&mut self, text: impl Into<String>) {
        self.yes(Some(text.into()));
    }

    /// Says no. 421 and 521 also close the session; for LMTP's [`Event::BodyEnd`](crate::Event::BodyEnd) every recipient is told.
    pub fn refuse(&mut self, refusal: Refusal) {
        let Some(question) = self.question() else { return };
        let reply = Reply::from(refusal);
        match question {
            Question::Auth => self.fail_login(reply),
            Question::BodyEnd => self.finish(|_| reply.clone()),
            // Senders can be tried as fast as commands: a refused one counts like a wrong command.
            Question::Mail(_) if reply.code >= 500 && reply.then == Then::Continue => self.bad(reply),
            Question::BodyStart(Start::Data) | Question::Mail(_) | Question::Xclient { .. } | Question::Xforward => {
                self.say(reply);
            }
            Question::BodyStart(Start::Chunk { octets, last }) => self.fail_chunk(octets, last, reply),
            Question::Rcpt(_) => {
                self.session.refused_recipients += u32::from(reply.code >= 500);
                if self.session.refused_recipients > self.options.limits.refused_recipients {
                    self.too_many("Too many refused recipients");
                } else {
                    self.say(reply);
                }
            }
        }
    }

    /// Answers [`Event::BodyEnd`](crate::Event::BodyEnd) recipient by recipient, in the order they were accepted: the text of a 250, or a refusal.
    /// A recipient without an answer is told 451 4.3.0. Outside LMTP there is one reply: the first yes, else the first no.
    pub fn replies(&mut self, replies: Vec<Result<String, Refusal>>) {
        match self.question() {
            None => return,
            Some(Question::BodyEnd) => {}
            Some(_) => return self.misfit(),
        }
        let mut replies: Vec<Reply> =
            replies.into_iter().map(|one| one.map_or_else(Reply::from, |text| Reply::new(250, 0, 0, text))).collect();
        if self.options.dialect != Dialect::Lmtp {
            replies.sort_by_key(|reply| !reply.is_positive());
        }
        let mut replies = replies.into_iter();
        self.finish(|_| replies.next().unwrap_or_else(fault));
    }

    /// Goes on with a login: the challenge, not yet encoded; may be empty.
    pub fn auth_challenge(&mut self, challenge: &[u8]) {
        if self.auth_question() {
            self.challenge(challenge, false);
        }
    }

    /// The login succeeded; final data goes out as a challenge that the client answers with nothing (RFC 4954 §4).
    pub fn auth_success(&mut self, final_data: Option<&[u8]>) {
        if !self.auth_question() {
            return;
        }
        match final_data {
            Some(data) => self.challenge(data, true),
            None => self.authenticated(),
        }
    }

    /// The login failed. The last allowed failure closes with 421 4.7.0.
    pub fn auth_failure(&mut self, refusal: Refusal) {
        if self.auth_question() {
            self.fail_login(refusal.into());
        }
    }

    /// Takes XCLIENT over: the session starts again with the banner. `LOGIN` decides whether it is logged in.
    pub fn accept_xclient(&mut self) {
        match self.question() {
            None => {}
            Some(Question::Xclient { login }) => {
                // Another client than before: nobody, unless the front end vouches for a login.
                self.session.authenticated = login.unwrap_or(false);
                self.greet();
            }
            Some(_) => self.misfit(),
        }
    }

    /// The same, with the options that the restated client has.
    pub fn accept_xclient_as(&mut self, options: Options) {
        if let Mode::Answer(Question::Xclient { .. }) = self.mode {
            self.options = options;
        }
        self.accept_xclient();
    }

    fn yes(&mut self, text: Option<String>) {
        let Some(question) = self.question() else { return };
        match question {
            Question::Auth | Question::Xclient { .. } => self.misfit(),
            Question::BodyEnd => {
                let reply = yes(0, text);
                self.finish(|_| reply.clone());
            }
            Question::BodyStart(Start::Data) => {
                self.mode = Mode::Data(Body::new(&self.options));
                self.flush = true;
                self.say(Reply::plain(354, "End data with <CR><LF>.<CR><LF>"));
            }
            Question::BodyStart(Start::Chunk { octets, last }) => {
                if let Phase::Mail(transaction) = &mut self.phase {
                    transaction.chunks = Chunks::Some(Body::new(&self.options));
                }
                self.mode = Mode::Chunk { left: octets, octets, last };
            }
            Question::Mail(transaction) => {
                self.phase = Phase::Mail(transaction);
                self.session.messages += 1;
                self.say(yes(1, text));
            }
            Question::Rcpt(domain) => {
                if let Phase::Mail(transaction) = &mut self.phase {
                    transaction.recipients += 1;
                    transaction.domains.extend(domain);
                }
                self.say(Reply { enhanced: Some(EnhancedCode(2, 1, 5)), ..yes(1, text) });
            }
            Question::Xforward => {
                self.session.forwarded = true;
                self.say(yes(0, text));
            }
        }
    }

    /// Ends the transaction with its final reply, one per recipient for LMTP.
    pub(super) fn finish(&mut self, mut reply: impl FnMut(usize) -> Reply) {
        let Phase::Mail(transaction) = std::mem::replace(&mut self.phase, Phase::Greeted) else { return };
        self.session.forwarded = false;
        self.mode = Mode::Command;
        self.flush = true;
        let times = if self.options.dialect == Dialect::Lmtp { transaction.recipients } else { 1 };
        let mut closes = false;
        for at in 0..times {
            let reply = reply(at);
            if reply.is_positive() {
                (self.session.bad, self.session.junk) = (0, 0);
            }
            closes |= reply.then == Then::Close;
            self.say(reply);
        }
        if closes {
            self.mode = Mode::Closed;
        }
    }

    /// The question, if one is open; the session goes on with commands.
    fn question(&mut self) -> Option<Question> {
        if !matches!(self.mode, Mode::Answer(_)) {
            return None;
        }
        self.answered = true;
        match std::mem::replace(&mut self.mode, Mode::Command) {
            Mode::Answer(question) => Some(question),
            _ => None,
        }
    }

    fn auth_question(&mut self) -> bool {
        match self.question() {
            Some(Question::Auth) => return true,
            Some(_) => self.misfit(),
            None => {}
        }
        false
    }

    fn challenge(&mut self, challenge: &[u8], after_success: bool) {
        self.mode = Mode::AuthLine { after_success };
        self.say(Reply::challenge(BASE64.encode(challenge)));
    }

    fn fail_login(&mut self, reply: Reply) {
        self.session.auth_failures += 1;
        if self.session.auth_failures >= self.options.limits.auth_failures {
            self.too_many("Too many failed logins");
        } else {
            self.say(reply);
        }
    }

    fn misfit(&mut self) {
        self.say(fault());
    }
}

impl Transaction {
    pub(super) fn new(smtputf8: bool, body_type: crate::BodyType) -> Self {
        Self { smtputf8, body_type, recipients: 0, domains: Default::default(), chunks: Chunks::None }
    }
}

fn yes(subject: u16, text: Option<String>) -> Reply {
    Reply::new(250, subject, 0, text.map_or(Cow::Borrowed("Ok"), Cow::Owned))
}

fn fault() -> Reply {
    Reply::new(451, 3, 0, "Something is wrong here; try again later")
}
