//! Whole sessions over the bare machine, with a scripted application.

use std::sync::Arc;
use std::time::{Duration, Instant};

use posthorn_wire::{Machine, Secured, Step};

use crate::{Command, Completion, Event, Limits, Options, ResponseCode, Server};

/// A machine, and an application that says yes to everything, notes what it was asked, and selects what it is told to.
struct Stage {
    server: Server,
    now: Instant,
    output: String,
    events: Vec<String>,
    body: Vec<u8>,
    refuse_append: bool,
    over: bool,
    start_tls: bool,
}

impl Stage {
    fn new(options: Options, secured: bool) -> Self {
        let now = Instant::now();
        let mut server = Server::new(Arc::new(options), now);
        if secured {
            server.secured(Secured::default());
        }
        let mut stage = Self {
            server,
            now,
            output: String::new(),
            events: Vec::new(),
            body: Vec::new(),
            refuse_append: false,
            over: false,
            start_tls: false,
        };
        stage.run();
        stage
    }

    /// A client that has logged in.
    fn user() -> Self {
        let mut stage = Self::new(Options::default(), true);
        stage.send("l LOGIN u p\r\n");
        stage.fresh();
        stage
    }

    fn fresh(&mut self) {
        self.output.clear();
        self.events.clear();
        self.body.clear();
    }

    fn send(&mut self, text: &str) -> String {
        self.send_octets(text.as_bytes())
    }

    fn send_octets(&mut self, octets: &[u8]) -> String {
        self.output.clear();
        self.server.buffer().extend_from_slice(octets);
        self.run();
        self.output.clone()
    }

    fn run(&mut self) {
        loop {
            match self.server.poll(self.now) {
                Step::Output(bytes) => self.output.push_str(&String::from_utf8_lossy(&bytes)),
                Step::Event(event) => self.answer(event),
                Step::NeedInput => return,
                Step::StartTls => {
                    self.start_tls = true;
                    return;
                }
                Step::Closed => {
                    self.over = true;
                    return;
                }
                Step::AwaitAnswer => panic!("the application has answered everything: {:?}", self.events),
            }
        }
    }

    fn answer(&mut self, event: Event) {
        match &event {
            Event::AppendData(data) => return self.body.extend_from_slice(data),
            Event::AppendMessageEnd => self.body.push(b'|'),
            _ => {}
        }
        self.events.push(format!("{event:?}"));
        match event {
            Event::AppendMessage { .. } if self.refuse_append => {
                self.server.refuse_append(Completion::no("No such mailbox").with(ResponseCode::TryCreate));
            }
            Event::AppendMessage { .. } => self.server.accept_literal(),
            Event::AuthenticateResponse(response) if response.expose().is_empty() => self.server.challenge(b"again"),
            Event::AppendEnd | Event::IdleDone => self.server.finish(Completion::ok("Done")),
            Event::AuthenticateResponse(_) => {
                self.server.authenticated();
                self.server.finish(Completion::ok("Logged in"));
            }
            Event::Command { command, .. } => self.execute(&command),
            Event::Idle { .. } => self.server.start_idle(),
            Event::AppendBegin { .. }
            | Event::AppendAborted
            | Event::AppendData(_)
            | Event::AppendMessageEnd
            | Event::AuthenticateCancelled
            | Event::SearchLost
            | Event::ClientId(_) => {}
        }
    }

    fn execute(&mut self, command: &Command) {
        match command {
            Command::Authenticate { initial: None, .. } => return self.server.challenge(b""),
            Command::Authenticate { .. } | Command::Login { .. } => self.server.authenticated(),
            Command::Select(select) if select.mailbox != "Missing" => {
                self.server.out().exists(3);
                self.server.selected(select.read_only);
            }
            Command::Select(_) => return self.server.finish(Completion::no("No such mailbox")),
            Command::Fetch(_) => self.server.out().fetch(1).uid(7).end(),
            _ => {}
        }
        self.server.finish(Completion::ok("Done"));
    }
}

#[test]
fn the_greeting_tells_what_may_be_done() {
    let mechanisms = vec!["SCRAM-SHA-256-PLUS".to_owned(), "PLAIN".to_owned()];
    let options = Options { tls_available: true, mechanisms, ..Options::default() };
    let clear = Stage::new(options.clone(), false).output;
    assert!(clear.starts_with("* OK [CAPABILITY IMAP4rev1 IMAP4rev2 "), "{clear}");
    assert!(clear.ends_with(" STARTTLS LOGINDISABLED] localhost ready\r\n"), "{clear}");
    let secured = Stage::new(options, true).output;
    assert!(secured.ends_with(" AUTH=PLAIN] localhost ready\r\n") && !secured.contains("STARTTLS"), "{secured}");
    // Some clients never ask again.
    assert!(secured.contains(" IDLE ") && secured.contains(" UIDPLUS MOVE "), "{secured}");
}

#[test]
fn a_refused_client_hears_why() {
    let mut server = Server::refused("Too many sessions\r\n* OK", Instant::now());
    let Step::Output(bytes) = server.poll(Instant::now()) else { panic!("output") };
    assert_eq!(bytes, "* BYE Too many sessions* OK\r\n");
    assert!(matches!(server.poll(Instant::now()), Step::Closed));
}

#[test]
fn login_waits_for_tls() {
    let mut stage = Stage::new(Options { tls_available: true, ..Options::default() }, false);
    assert!(stage.send("a LOGIN u p\r\n").starts_with("a NO [PRIVACYREQUIRED] "));
    assert!(stage.send("a AUTHENTICATE PLAIN AGEAYg==\r\n").starts_with("a NO [PRIVACYREQUIRED] "));
    assert_eq!(stage.send("b STARTTLS\r\n"), "b OK Begin TLS negotiation now\r\n");
    assert!(stage.start_tls && stage.server.buffer().is_empty());
    stage.server.secured(Secured::default());
    let logged_in = stage.send("c LOGIN u p\r\n");
    assert!(logged_in.starts_with("c OK [CAPABILITY IMAP4rev1 ") && logged_in.contains(" IDLE "), "{logged_in}");
    assert!(stage.send("d STARTTLS\r\n").starts_with("d BAD "));
}

#[test]
fn what_comes_behind_starttls_is_never_read() {
    let mut stage = Stage::new(Options { tls_available: true, ..Options::default() }, false);
    let output = stage.send("b STARTTLS\r\nc LOGIN u p\r\n");
    assert_eq!(output, "b OK Begin TLS negotiation now\r\n");
    assert!(!stage.server.buffer().is_empty());
    stage.server.secured(Secured::default());
    assert_eq!(stage.send(""), "");
    assert!(stage.over && stage.events.is_empty());
}

#[test]
fn commands_need_their_state() {
    let mut stage = Stage::new(Options::default(), true);
    assert_eq!(stage.send("a SELECT INBOX\r\n"), "a BAD Log in first\r\n");
    assert_eq!(stage.send("a NOOP\r\n"), "a OK Done\r\n");
    stage.send("a LOGIN u p\r\n");
    assert_eq!(stage.send("a LOGIN u p\r\n"), "a BAD Already logged in\r\n");
    assert_eq!(stage.send("a FETCH 1 UID\r\n"), "a BAD No mailbox is selected\r\n");
    assert_eq!(stage.send("a SELECT INBOX\r\n"), "* 3 EXISTS\r\na OK [READ-WRITE] Done\r\n");
    assert_eq!(stage.send("a FETCH 1 UID\r\n"), "* 1 FETCH (UID 7)\r\na OK Done\r\n");
    assert_eq!(
        stage.send("a EXAMINE INBOX\r\n"),
        "* OK [CLOSED] Previous mailbox is closed\r\n* 3 EXISTS\r\na OK [READ-ONLY] Done\r\n"
    );
    assert_eq!(stage.send("a EXPUNGE\r\n"), "a NO [NOPERM] Mailbox is opened read-only\r\n");
    assert_eq!(stage.send("a UNSELECT\r\n"), "a OK Done\r\n");
    assert_eq!(stage.send("a CHECK\r\n"), "a BAD No mailbox is selected\r\n");
    stage.send("a SELECT INBOX\r\n");
    assert!(stage.send("a SELECT Missing\r\n").ends_with("a NO No such mailbox\r\n"));
    assert_eq!(stage.send("a CHECK\r\n"), "a BAD No mailbox is selected\r\n");
}

#[test]
fn sasl_runs_to_its_end_or_is_cancelled() {
    let mut stage = Stage::new(Options::default(), true);
    assert_eq!(stage.send("a AUTHENTICATE PLAIN\r\n"), "+ \r\n");
    assert_eq!(stage.send("\r\n"), "+ YWdhaW4=\r\n");
    assert_eq!(stage.send("*\r\n"), "a BAD Authentication cancelled\r\n");
    stage.send("b AUTHENTICATE PLAIN\r\n");
    assert_eq!(stage.send("no base64!\r\n"), "b BAD Authentication cancelled\r\n");
    assert_eq!(stage.events.iter().filter(|event| *event == "AuthenticateCancelled").count(), 2);
    assert!(stage.send("c AUTHENTICATE GSSAPI\r\n").starts_with("c NO [CANNOT] "));
    stage.send("d AUTHENTICATE PLAIN\r\n");
    assert!(stage.send("AGEAYg==\r\n").starts_with("d OK [CAPABILITY "));
}

#[test]
fn only_a_refused_search_that_saves_loses_the_saved_result() {
    let mut stage = Stage::user();
    stage.send("a SELECT INBOX\r\n");
    assert!(stage.send("b SEARCH RETURN (SAVE) CHARSET X ALL\r\n").starts_with("b NO [BADCHARSET"));
    assert_eq!(stage.events.pop().as_deref(), Some("SearchLost"));
    stage.send("c SEARCH RETURN (ALL) CHARSET X ALL\r\n");
    stage.send("d SEARCH RETURN (SAVE) FOO\r\n");
    assert!(!stage.events.iter().any(|event| event == "SearchLost"), "{:?}", stage.events);
}

#[test]
fn literals_are_asked_for_or_taken() {
    let mut stage = Stage::new(Options::default(), true);
    assert_eq!(stage.send("a LOGIN {1}\r\n"), "+ Ready\r\n");
    assert_eq!(stage.send("u {1}\r\n"), "+ Ready\r\n");
    assert!(stage.send("p\r\n").starts_with("a OK "));
    stage.fresh();
    assert_eq!(stage.send("b DELETE {3+}\r\na b\r\nc DELETE {1+}\r\nx\r\n"), "b OK Done\r\nc OK Done\r\n");
    assert!(stage.events[0].contains("mailbox: \"a b\""), "{:?}", stage.events);
}

#[test]
fn an_append_streams() {
    let mut stage = Stage::user();
    assert_eq!(stage.send("a APPEND Sent (\\Seen $x) \" 7-Feb-1994 21:52:25 -0800\" {11}\r\n"), "+ Ready\r\n");
    assert_eq!(stage.send("hello\r\n"), "");
    assert_eq!(stage.body, b"hello\r\n");
    assert_eq!(stage.send("you!"), "");
    assert_eq!(stage.send("\r\n"), "a OK Done\r\n");
    assert_eq!(stage.body, b"hello\r\nyou!|");
    assert!(stage.events[0].contains("mailbox: \"Sent\""));
    assert!(stage.events[1].contains("flags: [\"\\\\Seen\", \"$x\"], date: Some(1994-02-07T21:52:25-08:00), size: 11"));
    assert_eq!(stage.events[2..], ["AppendMessageEnd", "AppendEnd"]);
}

#[test]
fn several_messages_come_in_one_append() {
    let mut stage = Stage::user();
    let text = "a APPEND {5+}\r\nInbox {1+}\r\nx (\\Draft) {2+}\r\nyz ~{1+}\r\n\0\r\nb NOOP\r\n";
    assert_eq!(stage.send(text), "a OK Done\r\nb OK Done\r\n");
    assert_eq!(stage.body, b"x|yz|\0|");
    assert!(stage.events[0].contains("mailbox: \"INBOX\""), "{:?}", stage.events);
    assert!(stage.events[5].contains("binary: true"), "{:?}", stage.events);
}

#[test]
fn utf8_appends_need_utf8() {
    let mut stage = Stage::user();
    let text = "a APPEND INBOX UTF8 (~{1+}\r\nx)\r\n";
    assert_eq!(stage.send(text), "a BAD UTF8 needs ENABLE UTF8=ACCEPT\r\n");
    assert_eq!(stage.send("b ENABLE UTF8=ACCEPT IDLE\r\n"), "* ENABLED UTF8=ACCEPT\r\nb OK Enabled\r\n");
    assert_eq!(stage.send(text), "a OK Done\r\n");
    assert!(stage.events[1].contains("utf8: true"));
}

#[test]
fn refused_appends_leave_no_trace_in_the_stream() {
    let mut stage = Stage::user();
    stage.refuse_append = true;
    assert_eq!(stage.send("a APPEND X {9}\r\n"), "a NO [TRYCREATE] No such mailbox\r\n");
    let skipped = "b APPEND X {9+}\r\nc LOGOUT\r (\\Seen) {9+}\r\nc LOGOUT\r\r\nd NOOP\r\n";
    assert_eq!(stage.send(skipped), "b NO [TRYCREATE] No such mailbox\r\nd OK Done\r\n");
    assert!(!stage.over && stage.body.is_empty());
}

#[test]
fn oversized_messages_are_refused_by_the_machine() {
    let limits = Limits { append: 10, append_messages: 2, ..Limits::default() };
    let mut stage = Stage::new(Options { limits, ..Options::default() }, true);
    stage.send("l LOGIN u p\r\n");
    stage.fresh();
    let too_big = "NO [TOOBIG] Message is larger than APPENDLIMIT\r\n";
    assert_eq!(stage.send("a APPEND X {11}\r\n"), format!("a {too_big}"));
    assert!(stage.events.is_empty());
    assert_eq!(stage.send("a APPEND X {1+}\r\nx {11+}\r\n01234567890\r\n"), format!("a {too_big}"));
    assert_eq!(stage.events.last().map(String::as_str), Some("AppendAborted"));
    assert!(stage.send("a APPEND X {1+}\r\nx {1+}\r\nx {1+}\r\nx\r\n").starts_with("a NO [LIMIT] "));
    assert_eq!(stage.send("a APPEND X {0+}\r\n\r\n"), "a NO Message is empty\r\n");
    assert_eq!(stage.send("a APPEND X {1+}\r\nxJUNK\r\n"), "a BAD Unexpected text behind the message\r\n");
    assert_eq!(stage.send("a APPEND X\r\n"), "a BAD Expected the message as a literal\r\n");
    assert_eq!(stage.send("a NOOP\r\n"), "a OK Done\r\n");
}

#[test]
fn a_gigabyte_is_refused_in_little_memory() {
    let mut stage = Stage::user();
    assert!(stage.send("a APPEND X {1073741824}\r\n").starts_with("a NO [TOOBIG] "));
    assert!(stage.send("a SELECT {1073741824}\r\n").starts_with("a BAD [TOOBIG] "));
    assert_eq!(stage.send("a APPEND X {1073741824+}\r\n"), "");
    for _ in 0..64 {
        assert_eq!(stage.send_octets(&[b'x'; 65_536]), "");
        assert!(stage.server.buffer().is_empty());
    }
    assert!(stage.body.is_empty() && !stage.over);
    let mut stage = Stage::user();
    stage.send("a APPEND X {99999999999999999999+}\r\n");
    assert!(stage.over);
}

#[test]
fn strangers_get_no_patience() {
    let mut stage = Stage::new(Options::default(), true);
    let output = stage.send("a LOGIN {100000+}\r\n");
    assert!(output.starts_with("a BAD [TOOBIG] ") && output.contains("\r\n* BYE ") && stage.over, "{output}");
    let mut stage = Stage::new(Options::default(), true);
    assert!(stage.send(&format!("a LOGIN {}", "x".repeat(9000))).contains("* BYE [TOOBIG] ") && stage.over);
    let mut stage = Stage::new(Options::default(), true);
    assert_eq!(stage.send("GET / HTTP/1.1\r\nHost: x\r\n"), "* BYE This port speaks IMAP, not HTTP\r\n");
    assert!(stage.over);
    let mut stage = Stage::new(Options::default(), true);
    assert!(stage.send_octets(&[0x16, 3, 1]).starts_with("* BYE ") && stage.over);
}

#[test]
fn faults_are_counted_and_forgiven() {
    let limits = Limits { faults: 3, ..Limits::default() };
    let mut stage = Stage::new(Options { limits, ..Options::default() }, true);
    stage.send("l LOGIN u p\r\n");
    for _ in 0..5 {
        assert_eq!(
            stage.send("a FOO\r\nb FOO\r\nc NOOP\r\n"),
            "a BAD Unknown command\r\nb BAD Unknown command\r\nc OK Done\r\n"
        );
    }
    let output = stage.send("a FOO\r\n\r\nNOOP\r\nd NOOP\r\n");
    let expected = "a BAD Unknown command\r\n* BAD Expected a tag and a command\r\n* BAD Expected a tag and a command\r\n\
         * BYE Too many faulty commands\r\n";
    assert_eq!(output, expected);
    assert!(stage.over);
}

#[test]
fn bare_line_ends_are_faults_and_hide_nothing() {
    let mut stage = Stage::user();
    let output = stage.send("a NOOP\nb DELETE x\r\nc NO\rOP\r\nd NOOP\r\n");
    let fault = "BAD Bare CR or LF in a command; lines end in CRLF\r\n";
    assert_eq!(output, format!("a {fault}c {fault}d OK Done\r\n"));
    assert_eq!(stage.events.len(), 1);
    assert!(stage.send_octets(b"a DELETE \"x\0y\"\r\n").starts_with("a BAD "));
    assert!(stage.send_octets(b"a DELETE {1+}\r\n\0\r\n").starts_with("a BAD "));
}

#[test]
fn idling_lasts_until_done() {
    let mut stage = Stage::user();
    stage.send("s SELECT INBOX\r\n");
    assert!(!stage.server.may_announce_expunges());
    assert_eq!(stage.send("a IDLE\r\n"), "+ idling\r\n");
    assert!(stage.server.is_idling() && stage.server.may_announce_expunges());
    stage.server.out().exists(4);
    assert_eq!(stage.send("do"), "* 4 EXISTS\r\n");
    assert_eq!(stage.send("ne\r\nb NOOP\r\n"), "a OK Done\r\nb OK Done\r\n");
    stage.send("c IDLE\r\n");
    assert_eq!(stage.send("d NOOP\r\n"), "c BAD Expected DONE\r\n");
    assert_eq!(stage.send("e NOOP\r\n"), "e OK Done\r\n");
}

#[test]
fn enabling_changes_what_is_written() {
    let mut stage = Stage::user();
    stage.server.out().list(&[], Some('/'), "Entwürfe", &[]);
    assert_eq!(stage.send(""), "* LIST () \"/\" Entw&APw-rfe\r\n");
    stage.send("a ENABLE imap4rev2 QRESYNC\r\n");
    let enabled = stage.server.enabled();
    assert!(enabled.rev2 && enabled.qresync && enabled.condstore && !enabled.utf8);
    stage.server.out().list(&[], Some('/'), "Entwürfe", &[]);
    stage.server.out().recent(0);
    assert_eq!(stage.send(""), "* LIST () \"/\" \"Entwürfe\"\r\n");
    stage.send("a DELETE \"Entwürfe\"\r\n");
    assert!(stage.events.last().is_some_and(|event| event.contains("mailbox: \"Entwürfe\"")));
}

#[test]
fn commands_imply_condstore() {
    for line in [
        "SELECT INBOX (CONDSTORE)",
        "STATUS INBOX (HIGHESTMODSEQ)",
        "FETCH 1 MODSEQ",
        "UID FETCH 1 FLAGS (CHANGEDSINCE 1)",
        "SEARCH MODSEQ 1",
        "STORE 1 (UNCHANGEDSINCE 1) FLAGS ()",
    ] {
        let mut stage = Stage::user();
        stage.send("s SELECT INBOX\r\nn FETCH 1 FLAGS\r\n");
        assert!(!stage.server.enabled().condstore);
        stage.send(&format!("a {line}\r\n"));
        assert!(stage.server.enabled().condstore, "{line}");
        assert!(stage.server.take_condstore_news() && !stage.server.take_condstore_news(), "{line}");
    }
}

#[test]
fn identities_are_exchanged() {
    let id = vec![("name".to_owned(), "Posthorn".to_owned()), ("version".to_owned(), "1 \"x\"".to_owned())];
    let mut stage = Stage::new(Options { id, ..Options::default() }, true);
    let answer = "* ID (\"name\" \"Posthorn\" \"version\" \"1 \\\"x\\\"\")\r\na OK Pleased to meet you\r\n";
    assert_eq!(stage.send("a ID (\"name\" \"mutt\")\r\n"), answer);
    assert_eq!(stage.events, ["ClientId([(\"name\", Some(\"mutt\"))])"]);
    assert_eq!(Stage::new(Options::default(), true).send("a ID NIL\r\n"), "* ID NIL\r\na OK Pleased to meet you\r\n");
}

#[test]
fn goodbyes() {
    let mut stage = Stage::user();
    assert_eq!(stage.send("a LOGOUT\r\nb NOOP\r\n"), "* BYE Logging out\r\na OK Goodbye\r\n");
    assert!(stage.over);
    let mut stage = Stage::user();
    stage.server.expire();
    assert_eq!(stage.send(""), "* BYE [UNAVAILABLE] Autologout; idle for too long\r\n");
    let mut stage = Stage::user();
    stage.send("a APPEND X {3}\r\nab");
    stage.server.close();
    assert_eq!(stage.send("c\r\n"), "a OK Done\r\n* BYE [UNAVAILABLE] Server shutting down\r\n");
    assert!(stage.over);
    let mut stage = Stage::user();
    stage.send("a IDLE\r\n");
    stage.server.close();
    assert_eq!(stage.send(""), "* BYE [UNAVAILABLE] Server shutting down\r\n");
}

#[test]
fn deadlines_follow_the_state() {
    let mut stage = Stage::new(Options::default(), true);
    let due = |stage: &Stage| stage.server.deadline().map(|at| at - stage.now);
    assert_eq!(due(&stage), Some(Duration::from_secs(60)));
    let start = stage.now;
    stage.now += Duration::from_secs(50);
    // Dripping octets does not win time.
    stage.send("a NO");
    assert_eq!(stage.server.deadline(), Some(start + Duration::from_secs(60)));
    stage.send("OP\r\nl LOGIN u p\r\n");
    assert_eq!(due(&stage), Some(Duration::from_secs(30 * 60)));
    stage.send("a APPEND X {3}\r\n");
    assert_eq!(due(&stage), Some(Duration::from_secs(5 * 60)));
}

#[test]
fn an_unanswered_command_holds_the_next() {
    let now = Instant::now();
    let mut server = Server::new(Arc::new(Options { require_tls: false, ..Options::default() }), now);
    server.buffer().extend_from_slice(b"a NOOP\r\nb NOOP\r\n");
    assert!(matches!(server.poll(now), Step::Output(_)));
    assert!(matches!(server.poll(now), Step::Event(Event::Command { .. })));
    assert!(matches!(server.poll(now), Step::AwaitAnswer));
    assert_eq!(server.deadline(), None);
    server.out().exists(1);
    assert_eq!(server.pending_output(), 12);
    assert!(matches!(server.poll(now), Step::Output(bytes) if bytes == "* 1 EXISTS\r\n"));
    assert!(matches!(server.poll(now), Step::AwaitAnswer));
    server.finish(Completion::ok("Done"));
    assert!(matches!(server.poll(now), Step::Output(bytes) if bytes == "a OK Done\r\n"));
    assert!(matches!(server.poll(now), Step::Event(_)));
    // Answers to questions that nobody asked change nothing.
    server.challenge(b"x");
    server.start_idle();
    server.accept_literal();
    server.refuse_append(Completion::no("x"));
    assert!(matches!(server.poll(now), Step::AwaitAnswer));
}

const LONG_SESSION: &str = "a1 CAPABILITY\r\na2 ID (\"name\" {4+}\r\nmutt \"v\" NIL)\r\na3 FOO\r\n\r\na4 AUTHENTICATE PLAIN\r\n\
     AGEAYg==\r\na5 ENABLE CONDSTORE UTF8=ACCEPT\r\na6 LIST (SUBSCRIBED) \"\" (\"%\" {1+}\r\n*) RETURN (STATUS (MESSAGES))\r\n\
     a7 SELECT {5}\r\ninbox\r\na8 UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (\"Date\" {4+}\r\nFrom)]<0.10>)\r\n\
     a9 SEARCH OR SUBJECT {3+}\r\n{9} NOT (1:2 TEXT \"{3}\")\r\nb1 APPEND Sent (\\Seen) {12}\r\nb2 LOGOUT\r\n{ UTF8 (~{3+}\r\na\0b)\r\n\
     b2 APPEND Sent {0+}\r\n\r\nb3 STORE 1 +FLAGS \"x\r\nb4 NOOP\nb5 NOOP\r\nb6 IDLE\r\nDONE\r\nb7 IDLE\r\nx\r\n\
     b8 DELETE {70000+}\r\nb9 CHECK\r\nc1 NOOP \r\nc2 UID MOVE $ x\r\nc3 LOGOUT\r\nc4 NOOP\r\n";

#[test]
fn how_octets_are_cut_makes_no_difference() {
    let mut text = LONG_SESSION.to_owned();
    let at = text.find("b9 CHECK").expect("the place behind the literal");
    text.insert_str(at, &format!("{}\r\n", "z".repeat(70_000)));
    let play = |cut: usize| {
        let mut stage = Stage::new(Options::default(), true);
        let mut output = stage.output.clone();
        for piece in text.as_bytes().chunks(cut) {
            output.push_str(&stage.send_octets(piece));
        }
        assert!(stage.over);
        (output, stage.events, stage.body)
    };
    let whole = play(usize::MAX);
    assert!(whole.0.contains("\r\nb1 OK Done\r\n") && whole.0.contains("\r\nb8 BAD [TOOBIG] "), "{}", whole.0);
    assert_eq!(whole.2, b"b2 LOGOUT\r\n{|a\0b|");
    assert!(whole.0.ends_with(
        "c1 BAD Unexpected text at the end of the command\r\nc2 OK Done\r\n* BYE Logging out\r\nc3 OK Goodbye\r\n"
    ));
    for cut in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(play(cut), whole, "in pieces of {cut}");
    }
}

#[test]
fn no_octets_make_it_panic() {
    // A small generator: every run is the same, every line is different.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let words: Vec<&str> = LONG_SESSION.split_inclusive([' ', '(', ')', '\n', '"', '{']).collect();
    for _ in 0..2000 {
        let mut stage = Stage::user();
        stage.send("s SELECT INBOX\r\n");
        let text: String = (0..next(40)).map(|_| words[next(words.len())]).collect();
        let mut octets = text.into_bytes();
        for _ in 0..next(4) {
            if !octets.is_empty() {
                let at = next(octets.len());
                octets[at] = next(256) as u8;
            }
        }
        stage.send_octets(&octets);
        assert!(stage.server.buffer().len() <= octets.len());
    }
}
