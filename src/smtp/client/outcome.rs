//! What replies lead to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Capabilities, Client, ClientEvent, ClientFailure, ClientTls, Expected, Message, State};
use crate::{Dialect, Extension, Reply};

impl Client {
    /// Acts on one reply.
    pub(super) fn reply(&mut self, reply: Reply) {
        let expected = self.expected.pop_front();
        self.waiting_since = self.now;
        // 421 may come at any time (RFC 5321 §3.8).
        if reply.code == 421 && expected != Some(Expected::Quit) {
            return self.fail(ClientFailure::Refused(reply));
        }
        match expected {
            None => self.fail(ClientFailure::Injection),
            Some(Expected::Greeting) if reply.code == 220 => self.hello(true),
            Some(Expected::Hello { .. }) if reply.is_positive() => self.greeted(&reply),
            // RFC 5321 §3.2: a server without extensions may not know EHLO.
            Some(Expected::Hello { extended: true }) if reply.code >= 500 && self.options.dialect != Dialect::Lmtp => {
                self.hello(false);
            }
            Some(Expected::StartTls) if reply.code == 220 => self.state = State::Upgrade { told: false },
            Some(Expected::Greeting | Expected::Hello { .. } | Expected::StartTls) => {
                self.fail(ClientFailure::Refused(reply));
            }
            Some(Expected::Auth) => self.auth_reply(reply),
            Some(Expected::Mail) => {
                if let Some(message) = self.message.as_mut().filter(|_| !reply.is_positive()) {
                    message.refused = true;
                }
                self.events.push_back(ClientEvent::Sender(reply));
            }
            Some(Expected::Rcpt { at }) => self.rcpt_reply(at, reply),
            Some(Expected::Data) => self.data_reply(&reply),
            Some(Expected::Chunk) => {
                if let Some(message) = self.message.as_mut().filter(|_| !reply.is_positive()) {
                    message.failed.get_or_insert(reply);
                }
            }
            Some(Expected::Final { at }) => self.final_reply(at, reply),
            Some(Expected::Forward) => {}
            Some(Expected::Reset) => self.done(),
            Some(Expected::Quit) => self.state = State::Closed,
        }
    }

    pub(super) fn hello(&mut self, extended: bool) {
        let verb = match (self.options.dialect, extended) {
            (Dialect::Lmtp, _) => "LHLO",
            (_, true) => "EHLO",
            (_, false) => "HELO",
        };
        self.command(format!("{verb} {}\r\n", self.options.name), Expected::Hello { extended });
    }

    fn greeted(&mut self, reply: &Reply) {
        self.capabilities = Capabilities::parse(&reply.text);
        let offered = self.capabilities.offers(Extension::StartTls);
        match self.options.tls {
            _ if self.secured => self.ready(),
            ClientTls::Required if !offered => self.fail(ClientFailure::TlsNotOffered),
            ClientTls::IfOffered | ClientTls::Required if offered => {
                self.command("STARTTLS\r\n".to_owned(), Expected::StartTls);
            }
            _ => self.ready(),
        }
    }

    fn auth_reply(&mut self, reply: Reply) {
        if reply.code != 334 {
            self.events.push_back(ClientEvent::Authenticated(reply));
            return self.ready();
        }
        match BASE64.decode(reply.text.trim()) {
            Ok(challenge) => {
                self.events.push_back(ClientEvent::AuthChallenge(challenge));
                self.state = State::Owner;
            }
            Err(_) => self.fail(ClientFailure::Malformed),
        }
    }

    fn rcpt_reply(&mut self, at: usize, reply: Reply) {
        let Some(message) = &mut self.message else { return };
        if reply.is_positive() && !message.refused {
            message.accepted.push(at);
        }
        let chunked = message.chunked;
        self.events.push_back(ClientEvent::Recipient { at, reply });
        if chunked && self.expected.is_empty() && self.queue.is_empty() {
            self.ask_for_body();
        }
    }

    fn data_reply(&mut self, reply: &Reply) {
        let nobody = self.message.as_ref().is_none_or(|message| message.accepted.is_empty());
        match (reply.code, nobody) {
            (354, false) => self.ask_for_body(),
            // Pipelined DATA was taken although no recipient was: an empty message ends it (RFC 2920 §3.1).
            (354, true) => self.command(".\r\n".to_owned(), Expected::Final { at: None }),
            _ => self.give_up(reply),
        }
    }

    fn ask_for_body(&mut self) {
        match &mut self.message {
            Some(message) if !message.accepted.is_empty() => {
                message.wanted = true;
                self.state = State::Owner;
                self.events.push_back(ClientEvent::BodyWanted);
            }
            _ => self.reset(),
        }
    }

    fn final_reply(&mut self, at: Option<usize>, reply: Reply) {
        if let Some(message) = &mut self.message {
            let reply = message.failed.clone().unwrap_or(reply);
            match at {
                Some(at) => message.results.push((at, reply)),
                None => message.share(&reply),
            }
        }
        if self.expected.is_empty() {
            self.done();
        }
    }

    /// The accepted recipients share a refusal; the transaction is cleared before the next one.
    pub(super) fn give_up(&mut self, reply: &Reply) {
        if let Some(message) = &mut self.message {
            message.share(reply);
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.command("RSET\r\n".to_owned(), Expected::Reset);
    }

    pub(super) fn done(&mut self) {
        let results = self.message.take().map(|message| message.results).unwrap_or_default();
        self.events.push_back(ClientEvent::Done(results));
        self.ready();
    }

    fn ready(&mut self) {
        self.state = State::Owner;
        if self.closing {
            return self.quit();
        }
        self.events.push_back(ClientEvent::Ready);
    }
}

impl Message {
    fn share(&mut self, reply: &Reply) {
        self.results = self.accepted.iter().map(|at| (*at, reply.clone())).collect();
    }
}
