//! Lines become replies and questions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use posthorn_wire::{Line, Step, take_line};

use super::{Chunks, Mode, Phase, Question, Server, Start, Transaction};
use crate::attribute::{self, XCLIENT, XFORWARD};
use crate::table::{COMMANDS, Command, Stage, Verb, Word, find};
use crate::{
    Attribute, AttributeName, AttributeValue, BodyType, Dialect, Event, Extension, Misbehaviour, Reply, Target,
    parameter,
};

impl Server {
    /// One command line without its CRLF.
    pub(super) fn line(&mut self, line: &[u8]) {
        let text = match std::str::from_utf8(line) {
            Ok(text) if !text.bytes().any(|b| b.is_ascii_control() && b != b'\t') => text,
            _ => return self.bad(Reply::new(500, 5, 2, "Characters that no command has")),
        };
        // RFC 5321 §4.1.1: blanks at the end should be tolerated.
        let text = text.trim_end_matches([' ', '\t']);
        let (word, arguments) = text.split_once(' ').unwrap_or((text, ""));
        match find(word) {
            Word::Command(row) => self.dispatch(row, arguments),
            Word::Foreign => self.foreign(),
            Word::Absent => self.bad(Reply::new(502, 5, 1, "Command not implemented")),
            Word::Unknown => self.bad(Reply::new(500, 5, 2, "Command not recognized")),
        }
    }

    /// One line of an AUTH exchange.
    pub(super) fn auth_line(&mut self, after_success: bool) -> Option<Step<Event>> {
        let line = match take_line(&mut self.buffer, self.options.limits.auth_line) {
            Line::Partial => return Some(Step::NeedInput),
            Line::TooLong => {
                self.events.push_back(Event::AuthCancelled);
                self.mode = Mode::SkipLine;
                return None;
            }
            Line::Bare => None,
            Line::Complete(line) => Some(line),
        };
        self.progress();
        let response = line.as_ref().and_then(|line| BASE64.decode(line).ok());
        match (line, response) {
            (Some(line), _) if *line == *b"*" => self.auth_broken(Reply::new(501, 7, 0, "Authentication cancelled")),
            (_, Some(response)) if !after_success => self.ask(Question::Auth, Event::AuthResponse(response)),
            (_, Some(response)) if response.is_empty() => self.authenticated(),
            _ => self.auth_broken(Reply::new(501, 5, 2, "Malformed response")),
        }
        None
    }

    fn auth_broken(&mut self, reply: Reply) {
        self.events.push_back(Event::AuthCancelled);
        self.mode = Mode::Command;
        self.bad(reply);
    }

    pub(super) fn authenticated(&mut self) {
        self.session.authenticated = true;
        self.mode = Mode::Command;
        self.say(Reply::new(235, 7, 0, "Authentication succeeded"));
    }

    fn dispatch(&mut self, row: &'static Command, arguments: &str) {
        let refusal = self.refusal(row);
        if row.verb == Verb::Bdat {
            return self.bdat(arguments, refusal);
        }
        if let Some(reply) = refusal {
            return self.bad(reply);
        }
        if row.junk {
            self.session.junk += 1;
            if self.session.junk > self.options.limits.junk {
                return self.too_many("Too many commands without a message");
            }
        }
        self.flush |= row.ends_group;
        match row.verb {
            Verb::Auth => self.auth(arguments),
            Verb::Bdat => {}
            Verb::Data => self.start_data(arguments),
            Verb::Ehlo | Verb::Lhlo => {
                self.choose(row.verb);
                self.hello(arguments, true);
            }
            Verb::Expn => self.say(Reply::new(502, 5, 1, "Lists are not expanded here")),
            Verb::Helo => {
                self.choose(row.verb);
                self.hello(arguments, false);
            }
            Verb::Help => self.help(arguments),
            Verb::Mail => self.mail(arguments),
            Verb::Noop => self.say(Reply::new(250, 0, 0, "Ok")),
            Verb::Quit => self.bare(arguments, |server| {
                let text = format!("{} goodbye", server.options.host);
                server.say(Reply::new(221, 0, 0, text).closing());
            }),
            Verb::Rcpt => self.rcpt(arguments),
            Verb::Rset => self.bare(arguments, |server| {
                server.reset();
                server.say(Reply::new(250, 0, 0, "Ok"));
            }),
            Verb::StartTls => self.bare(arguments, Self::starttls),
            Verb::Vrfy if arguments.is_empty() => self.bad(Reply::new(501, 5, 4, "Syntax: VRFY name")),
            Verb::Vrfy => self.say(Reply::new(252, 5, 0, "Send mail and it will be tried")),
            Verb::Xclient => self.xclient(arguments),
            Verb::Xforward => self.xforward(arguments),
        }
    }

    /// What the table has against a command now.
    fn refusal(&self, row: &Command) -> Option<Reply> {
        let chooses = self.options.by_greeting && matches!(row.verb, Verb::Ehlo | Verb::Helo | Verb::Lhlo);
        if !row.dialects.contains(&self.options.dialect) && !chooses {
            return Some(Reply::new(500, 5, 1, "Command belongs to another protocol"));
        }
        if row.extension.is_some_and(|extension| !self.options.offers(extension)) {
            return Some(Reply::new(502, 5, 1, "Command not offered"));
        }
        if self.options.require_tls && !self.session.secured && !row.before_tls {
            return Some(Reply::new(530, 7, 0, "Must issue a STARTTLS command first"));
        }
        if row.login && self.options.auth_required && !self.session.authenticated {
            return Some(Reply::new(530, 7, 0, "Authentication required"));
        }
        let stage = self.stage();
        if row.stages.contains(&stage) {
            return None;
        }
        let text = match stage {
            Stage::Fresh if self.options.by_greeting => "Send EHLO or LHLO first",
            Stage::Fresh if self.options.dialect == Dialect::Lmtp => "Send LHLO first",
            Stage::Fresh => "Send EHLO first",
            Stage::Greeted => "Send MAIL first",
            Stage::Mail => "Not inside a mail transaction",
        };
        Some(Reply::new(503, 5, 1, text))
    }

    /// Runs a command that takes no arguments.
    fn bare(&mut self, arguments: &str, run: impl FnOnce(&mut Self)) {
        if arguments.is_empty() { run(self) } else { self.bad(Reply::new(501, 5, 4, "No arguments, please")) }
    }

    /// The greeting may say which protocol the client speaks.
    fn choose(&mut self, greeting: Verb) {
        if self.options.by_greeting {
            self.options.dialect = if greeting == Verb::Lhlo { Dialect::Lmtp } else { Dialect::Smtp };
        }
    }

    fn hello(&mut self, name: &str, ehlo: bool) {
        if name.is_empty() || name.len() > 255 || name.contains([' ', '\t']) {
            return self.bad(Reply::new(501, 5, 4, "Syntax: EHLO name"));
        }
        if !ehlo && self.options.require_ehlo {
            return self.bad(Reply::new(550, 5, 1, "EHLO required"));
        }
        if !matches!(self.phase, Phase::Fresh) {
            self.session.junk += 1;
            if self.session.junk > self.options.limits.junk {
                return self.too_many("Too many commands without a message");
            }
        }
        self.reset();
        self.phase = Phase::Greeted;
        self.events.push_back(Event::Hello { ehlo, name: name.to_owned() });
        let mut text = self.options.host.clone();
        if ehlo {
            for extension in Extension::ALL {
                self.offer(extension, &mut text);
            }
        }
        self.say(Reply::plain(250, text));
    }

    /// Appends an EHLO line for an extension that can be used now.
    fn offer(&self, extension: Extension, text: &mut String) {
        let (options, secured) = (&self.options, self.session.secured);
        let usable = match extension {
            Extension::StartTls => options.tls_available && !secured,
            Extension::RequireTls => secured,
            Extension::Auth => secured || !(options.auth_needs_tls || options.require_tls),
            _ => true,
        };
        if !usable || !options.offers(extension) {
            return;
        }
        text.push('\n');
        text.push_str(extension.keyword());
        let mut word = |word: &str| {
            text.push(' ');
            text.push_str(word);
        };
        match extension {
            Extension::Size => word(&options.max_size.to_string()),
            Extension::Auth => self.mechanisms().for_each(&mut word),
            Extension::Limits => {
                word(&format!("RCPTMAX={}", options.limits.recipients));
                if let Some(messages) = options.limits.messages {
                    word(&format!("MAILMAX={messages}"));
                }
                if let Some(domains) = options.limits.recipient_domains {
                    word(&format!("RCPTDOMAINMAX={domains}"));
                }
            }
            Extension::FutureRelease => {
                if let Some(longest) = options.hold {
                    word(&longest.seconds.to_string());
                    word(&longest.until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
                }
            }
            Extension::Xclient => XCLIENT.iter().for_each(|name| word(name.keyword())),
            Extension::Xforward => XFORWARD.iter().for_each(|name| word(name.keyword())),
            _ => {}
        }
    }

    /// The mechanisms that can work now: those that bind to the TLS session need one that can be bound to (RFC 5802 §6).
    fn mechanisms(&self) -> impl Iterator<Item = &str> {
        let bound = self.session.bound;
        self.options.auth.iter().map(String::as_str).filter(move |mechanism| bound || !mechanism.ends_with("-PLUS"))
    }

    fn help(&mut self, topic: &str) {
        let shown = |row: &&Command| {
            row.dialects.contains(&self.options.dialect) && row.extension.is_none_or(|e| self.options.offers(e))
        };
        let mut rows = COMMANDS.iter().filter(shown);
        if topic.is_empty() {
            let names: Vec<_> = rows.map(|row| row.name).collect();
            return self.say(Reply::new(214, 0, 0, format!("Commands:\n{}", names.join(" "))));
        }
        match rows.find(|row| row.name.eq_ignore_ascii_case(topic)) {
            Some(row) => self.say(Reply::new(214, 0, 0, row.syntax)),
            None => self.bad(Reply::new(504, 5, 4, "No help on that")),
        }
    }

    fn starttls(&mut self) {
        if self.session.secured {
            return self.bad(Reply::new(503, 5, 1, "TLS is active already"));
        }
        if !self.options.tls_available {
            return self.say(Reply::new(454, 7, 0, "TLS not available for now"));
        }
        self.mode = Mode::Upgrade { told: false };
        // The reply must be gone before the upgrade is asked for.
        self.flush = true;
        self.say(Reply::new(220, 0, 0, "Ready to start TLS"));
    }

    fn auth(&mut self, arguments: &str) {
        if self.session.authenticated {
            return self.bad(Reply::new(503, 5, 1, "You are authenticated already"));
        }
        if !self.session.secured && self.options.auth_needs_tls {
            return self.bad(Reply::new(538, 7, 11, "Encryption required for authentication"));
        }
        if !self.session.secured && self.options.require_tls {
            return self.bad(Reply::new(530, 7, 0, "Must issue a STARTTLS command first"));
        }
        let (name, initial) = match arguments.split_once(' ') {
            Some((name, initial)) => (name, Some(initial)),
            None => (arguments, None),
        };
        if name.is_empty() {
            return self.bad(Reply::new(501, 5, 4, "Syntax: AUTH mechanism [initial-response]"));
        }
        let Some(mechanism) = self.mechanisms().find(|known| known.eq_ignore_ascii_case(name)).map(str::to_owned)
        else {
            return self.bad(Reply::new(504, 5, 4, "Mechanism not offered"));
        };
        let initial = match initial {
            None => None,
            Some("=") => Some(Vec::new()),
            // An empty one must be written as `=` (RFC 4954 §4).
            Some(coded) => match BASE64.decode(coded) {
                Ok(plain) if !plain.is_empty() => Some(plain),
                _ => return self.bad(Reply::new(501, 5, 2, "Malformed initial response")),
            },
        };
        self.ask(Question::Auth, Event::Auth { mechanism, initial });
    }

    fn mail(&mut self, arguments: &str) {
        if self.options.limits.messages.is_some_and(|limit| self.session.messages >= limit) {
            return self.say(Reply::new(452, 5, 3, "Too many messages in this session"));
        }
        match parameter::mail(arguments, &self.options, self.session.secured) {
            Err(reply) => self.bad(reply),
            Ok(sender) => {
                let transaction = Transaction::new(sender.smtputf8, sender.body);
                self.ask(Question::Mail(transaction), Event::Mail(sender));
            }
        }
    }

    fn rcpt(&mut self, arguments: &str) {
        let Phase::Mail(transaction) = &self.phase else { return };
        if !matches!(transaction.chunks, Chunks::None) {
            return self.bad(Reply::new(503, 5, 1, "Recipients come before the message"));
        }
        let recipient = match parameter::rcpt(arguments, &self.options, transaction.smtputf8) {
            Err(reply) => return self.bad(reply),
            Ok(recipient) => recipient,
        };
        if transaction.recipients >= self.options.limits.recipients {
            return self.say(Reply::new(452, 5, 3, "Too many recipients"));
        }
        let domain = match (&recipient.target, self.options.limits.recipient_domains) {
            (Target::Address(address), Some(limit)) if !transaction.domains.contains(address.domain()) => {
                if transaction.domains.len() >= limit {
                    return self.say(Reply::new(452, 5, 3, "Too many recipient domains"));
                }
                Some(address.domain().clone())
            }
            _ => None,
        };
        self.ask(Question::Rcpt(domain), Event::Rcpt(recipient));
    }

    fn start_data(&mut self, arguments: &str) {
        let Phase::Mail(transaction) = &self.phase else { return };
        let wrong = if !arguments.is_empty() {
            Some(Reply::new(501, 5, 4, "No arguments, please"))
        } else if !matches!(transaction.chunks, Chunks::None) {
            Some(Reply::new(503, 5, 1, "Go on with BDAT or send RSET"))
        } else if transaction.body_type == BodyType::Binary {
            Some(Reply::new(503, 5, 1, "BINARYMIME needs BDAT"))
        } else if transaction.recipients == 0 {
            Some(Reply::new(503, 5, 1, "No valid recipients"))
        } else {
            None
        };
        match wrong {
            Some(reply) => self.bad(reply),
            None => self.ask(Question::BodyStart(Start::Data), Event::BodyStart),
        }
    }

    fn xclient(&mut self, arguments: &str) {
        let Some(attributes) = attribute::parse(arguments, &XCLIENT) else {
            return self.bad(Reply::new(501, 5, 4, "Bad XCLIENT attribute"));
        };
        let login = attributes.iter().find(|attribute| attribute.name == AttributeName::Login);
        let login = login.map(|attribute| matches!(attribute.value, AttributeValue::Known(_)));
        self.ask(Question::Xclient { login }, Event::Xclient(attributes));
    }

    fn xforward(&mut self, arguments: &str) {
        let sound = |attributes: &Vec<Attribute>| attributes.iter().all(Attribute::is_short);
        match attribute::parse(arguments, &XFORWARD).filter(sound) {
            Some(attributes) => self.ask(Question::Xforward, Event::Xforward(attributes)),
            None => self.bad(Reply::new(501, 5, 4, "Bad XFORWARD attribute")),
        }
    }

    /// BDAT reads its octets whatever it answers: they must never be taken for commands.
    fn bdat(&mut self, arguments: &str, refusal: Option<Reply>) {
        let Some((octets, last)) = chunk_size(arguments) else {
            self.misbehaved(Misbehaviour::UnreadableBody);
            return self.say(Reply::new(501, 5, 4, "Syntax: BDAT size [LAST]").closing());
        };
        if let Some(reply) = refusal {
            return self.refuse_chunk(octets, reply, 1);
        }
        self.start_chunk(octets, last);
    }

    /// Forgets the transaction, and what XFORWARD said of the next one.
    pub(super) fn reset(&mut self) {
        let forwarded = std::mem::take(&mut self.session.forwarded);
        if let Phase::Mail(_) = self.phase {
            self.phase = Phase::Greeted;
            self.events.push_back(Event::Reset);
        } else if forwarded {
            self.events.push_back(Event::Reset);
        }
    }

    pub(super) fn ask(&mut self, question: Question, event: Event) {
        self.mode = Mode::Answer(question);
        self.events.push_back(event);
    }
}

/// RFC 3030 §2: a decimal size of up to 20 digits, then perhaps `LAST`.
fn chunk_size(arguments: &str) -> Option<(u64, bool)> {
    let (digits, last) = match arguments.split_once(' ') {
        None => (arguments, false),
        Some((digits, word)) => (digits, word.trim_start().eq_ignore_ascii_case("LAST").then_some(true)?),
    };
    let digital = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digital.then(|| digits.parse().ok()).flatten().map(|octets| (octets, last))
}

#[cfg(test)]
mod tests {
    use super::chunk_size;

    #[test]
    fn chunk_sizes_are_digits_and_nothing_else() {
        assert_eq!(chunk_size("0 LAST"), Some((0, true)));
        assert_eq!(chunk_size("18446744073709551615"), Some((u64::MAX, false)));
        for text in ["", "x", "-1", "+1", "1 FIRST", "1 LAST x", "18446744073709551616"] {
            assert_eq!(chunk_size(text), None, "{text:?}");
        }
    }
}
