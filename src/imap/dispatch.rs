//! What becomes of a whole command: refused, answered here, or given to the application.

use bytes::Bytes;

use crate::cursor::{Cursor, Fault, Mode};
use crate::server::{Access, Phase, Running};
use crate::syntax::{self, Request};
use crate::table::Entry;
use crate::{Command, Completion, Event, FetchAttribute, ResponseCode, Server, StatusItem};

impl Server {
    pub(crate) fn mode(&self) -> Mode {
        Mode {
            utf8: self.enabled.utf8,
            rev2: self.enabled.rev2,
            qresync: self.enabled.qresync,
            search_depth: self.options.limits.search_depth,
        }
    }

    /// Executes one whole command, CRLF and literals included.
    pub(crate) fn execute(&mut self, line: &Bytes) {
        let Some((tag, entry, arguments)) = syntax::split(line) else {
            if self.access == Access::NotAuthenticated && memchr::memmem::find(line, b" HTTP/1.").is_some() {
                return self.bye(None, "This port speaks IMAP, not HTTP");
            }
            return self.reject_line(line, &Completion::bad("Unknown command"));
        };
        let tag = line.slice_ref(tag);
        if let Err(completion) = self.admit_command(entry) {
            return self.reject(&tag, &completion);
        }
        match syntax::request(entry, &mut Cursor::new(arguments, self.mode())) {
            Err(fault) => {
                if fault == (Fault::Charset { saves: true }) {
                    self.events.push_back(Event::SearchLost);
                }
                self.reject(&tag, &fault.into_completion());
            }
            Ok(request) => self.serve(tag, entry, request),
        }
    }

    /// Answers a line of which no more than the tag is understood.
    pub(crate) fn reject_line(&mut self, line: &[u8], completion: &Completion) {
        match syntax::tag(line) {
            Some(tag) => self.reject(&Bytes::copy_from_slice(tag), completion),
            None => self.reject(&Bytes::from_static(b"*"), &Completion::bad("Expected a tag and a command")),
        }
    }

    /// Whether the command is legal now.
    fn admit_command(&self, entry: &Entry) -> Result<(), Completion> {
        self.access.admits(entry.states).map_err(Completion::bad)?;
        if entry.traits.needs_tls && !self.circumstances().may_log_in(&self.options) {
            return Err(Completion::no("TLS is required before login").with(ResponseCode::PrivacyRequired));
        }
        if entry.traits.writes && self.access == (Access::Selected { read_only: true }) {
            return Err(Completion::no("Mailbox is opened read-only").with(ResponseCode::NoPerm));
        }
        Ok(())
    }

    fn serve(&mut self, tag: Bytes, entry: &'static Entry, request: Request) {
        match request {
            Request::Capability => {
                let list = self.capabilities();
                self.out.raw(b"* CAPABILITY ");
                self.out.raw(list.as_bytes());
                self.out.raw(b"\r\n");
                self.conclude(&tag, entry, &Completion::ok("Listed"));
            }
            Request::Enable(names) => {
                self.enable(&names);
                self.conclude(&tag, entry, &Completion::ok("Enabled"));
            }
            Request::Id(fields) => {
                self.identify();
                if !fields.is_empty() {
                    self.events.push_back(Event::ClientId(fields));
                }
                self.conclude(&tag, entry, &Completion::ok("Pleased to meet you"));
            }
            Request::Idle => {
                self.phase = Phase::Answering(Running { tag: tag.clone(), entry, verdict: None });
                self.events.push_back(Event::Idle { tag });
            }
            Request::Logout => {
                self.out.raw(b"* BYE Logging out\r\n");
                self.out.tagged(&tag, crate::Status::Ok, None, "Goodbye");
                self.phase = Phase::Closed;
                self.input.clear();
            }
            Request::StartTls => self.start_tls(&tag, entry),
            Request::Command(command) => self.give(tag, entry, command),
        }
    }

    fn enable(&mut self, names: &[String]) {
        self.out.raw(b"* ENABLED");
        for name in names {
            if let Some(name) = self.enabled.enable(name.as_bytes()) {
                self.out.raw(b" ");
                self.out.raw(name.as_bytes());
            }
        }
        self.out.raw(b"\r\n");
        self.adopt_enabled();
    }

    fn identify(&mut self) {
        let options = std::sync::Arc::clone(&self.options);
        self.out.raw(b"* ID ");
        for (at, (name, value)) in options.id.iter().take(30).enumerate() {
            self.out.raw(if at == 0 { b"(" } else { b" " });
            self.out.string(name.as_bytes());
            self.out.raw(b" ");
            self.out.string(value.as_bytes());
        }
        self.out.raw(if options.id.is_empty() { b"NIL\r\n" } else { b")\r\n" });
    }

    fn start_tls(&mut self, tag: &Bytes, entry: &Entry) {
        if self.transport.secured {
            return self.reject(tag, &Completion::bad("TLS is active already"));
        }
        if !self.options.tls_available {
            return self.reject(tag, &Completion::bad("TLS is not available"));
        }
        self.conclude(tag, entry, &Completion::ok("Begin TLS negotiation now"));
        if !matches!(self.phase, Phase::Closed) {
            // RFC 9051 §11.1: nothing that came behind the command is ever looked at. The buffer is left for the driver
            // to see, which ends a session that sent too much.
            self.phase = Phase::StartingTls(false);
        }
    }

    /// Gives a command to the application, after what the session itself has to notice about it.
    fn give(&mut self, tag: Bytes, entry: &'static Entry, mut command: Command) {
        if let Command::Authenticate { mechanism, .. } = &command
            && !self.circumstances().offers(&self.options, mechanism)
        {
            return self
                .reject(&tag, &Completion::no("Unsupported authentication mechanism").with(ResponseCode::Cannot));
        }
        self.condstore_news = false;
        // RFC 7162 §3.1: commands that enable CONDSTORE.
        if !self.enabled.condstore && implies_condstore(&command) {
            self.enabled.condstore = true;
            self.condstore_news = matches!(self.access, Access::Selected { .. });
        }
        if let Command::Select(select) = &mut command
            && matches!(self.access, Access::Selected { .. })
        {
            // RFC 9051 §6.3.2: the old mailbox is left, whatever becomes of the new one.
            select.reselect = true;
            self.access = Access::Authenticated;
            self.out.ok(Some(&ResponseCode::Closed), "Previous mailbox is closed");
        }
        self.phase = Phase::Answering(Running { tag: tag.clone(), entry, verdict: None });
        self.events.push_back(Event::Command { tag, command });
    }
}

fn implies_condstore(command: &Command) -> bool {
    match command {
        Command::Fetch(fetch) => fetch.attributes.contains(&FetchAttribute::ModSeq),
        Command::List(list) => {
            list.returns.status.as_ref().is_some_and(|items| items.contains(&StatusItem::HighestModSeq))
        }
        Command::Search(search) => search.wants_modseq(),
        Command::Select(select) => select.condstore || select.qresync.is_some(),
        Command::Status { items, .. } => items.contains(&StatusItem::HighestModSeq),
        Command::Store(store) => store.unchanged_since.is_some(),
        _ => false,
    }
}
