//! The commands: where each is legal and what it needs. EHLO's order of duties, HELP and every refusal derive from here.

use crate::{Dialect, Extension, Limits};

/// A command's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    Auth,
    Bdat,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    Xclient,
    Xforward,
}

/// How far a session is, for the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// No EHLO yet.
    Fresh,
    /// Between transactions.
    Greeted,
    /// MAIL was accepted.
    Mail,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) verb: Verb,
    pub(crate) name: &'static str,
    /// What HELP says of it.
    pub(crate) syntax: &'static str,
    pub(crate) dialects: &'static [Dialect],
    pub(crate) stages: &'static [Stage],
    pub(crate) extension: Option<Extension>,
    /// Legal in plaintext although TLS is required.
    pub(crate) before_tls: bool,
    /// Needs a login where logins are required.
    pub(crate) login: bool,
    /// The last of a pipelined group (RFC 2920 §3.1): its reply is sent before the next command is looked at.
    pub(crate) ends_group: bool,
    /// Counts against `Limits::junk`.
    pub(crate) junk: bool,
    /// Octets of a line beyond `Limits::command_line`.
    pub(crate) room: usize,
}

use Dialect::{Lmtp, Smtp, Submission};
use Stage::{Fresh, Greeted, Mail};

const ALL: &[Dialect] = &[Smtp, Submission, Lmtp];
const ANY: &[Stage] = &[Fresh, Greeted, Mail];
const OUTSIDE: &[Stage] = &[Fresh, Greeted];

/// Room for SIZE, BODY, RET, ENVID, AUTH, BY, HOLDUNTIL, MT-PRIORITY, REQUIRETLS, ORCPT (500 octets), NOTIFY and
/// addresses in UTF-8 together.
const PARAMETERS: usize = 2048;

const COMMON: Command = Command {
    verb: Verb::Noop,
    name: "NOOP",
    syntax: "NOOP [text]",
    dialects: ALL,
    stages: ANY,
    extension: None,
    before_tls: true,
    login: false,
    ends_group: true,
    junk: false,
    room: 0,
};

/// Every command, in the order HELP lists them.
pub(crate) static COMMANDS: [Command; 17] = [
    Command { verb: Verb::Ehlo, name: "EHLO", syntax: "EHLO name", dialects: &[Smtp, Submission], ..COMMON },
    Command { verb: Verb::Helo, name: "HELO", syntax: "HELO name", dialects: &[Smtp, Submission], ..COMMON },
    Command { verb: Verb::Lhlo, name: "LHLO", syntax: "LHLO name", dialects: &[Lmtp], ..COMMON },
    Command {
        verb: Verb::StartTls,
        name: "STARTTLS",
        syntax: "STARTTLS",
        stages: &[Greeted],
        extension: Some(Extension::StartTls),
        ..COMMON
    },
    Command {
        // Before TLS it answers by itself, with 538 rather than 530 where the reason is the password's safety.
        verb: Verb::Auth,
        name: "AUTH",
        syntax: "AUTH mechanism [initial-response]",
        stages: &[Greeted],
        extension: Some(Extension::Auth),
        ..COMMON
    },
    Command {
        verb: Verb::Mail,
        name: "MAIL",
        syntax: "MAIL FROM:<path> [parameters]",
        stages: &[Greeted],
        before_tls: false,
        login: true,
        ends_group: false,
        room: PARAMETERS,
        ..COMMON
    },
    Command {
        verb: Verb::Rcpt,
        name: "RCPT",
        syntax: "RCPT TO:<path> [parameters]",
        stages: &[Mail],
        before_tls: false,
        ends_group: false,
        room: PARAMETERS,
        ..COMMON
    },
    Command {
        verb: Verb::Data,
        name: "DATA",
        syntax: "DATA, then the message, then a line with a dot",
        stages: &[Mail],
        before_tls: false,
        ..COMMON
    },
    Command {
        verb: Verb::Bdat,
        name: "BDAT",
        syntax: "BDAT size [LAST], then as many octets",
        stages: &[Mail],
        extension: Some(Extension::Chunking),
        before_tls: false,
        ends_group: false,
        ..COMMON
    },
    Command { verb: Verb::Rset, name: "RSET", syntax: "RSET", ends_group: false, junk: true, ..COMMON },
    Command { junk: true, ..COMMON },
    Command {
        verb: Verb::Help,
        name: "HELP",
        syntax: "HELP [command]",
        extension: Some(Extension::Help),
        junk: true,
        ..COMMON
    },
    Command {
        verb: Verb::Vrfy,
        name: "VRFY",
        syntax: "VRFY name (not answered truly)",
        before_tls: false,
        login: true,
        junk: true,
        room: PARAMETERS,
        ..COMMON
    },
    Command {
        verb: Verb::Expn,
        name: "EXPN",
        syntax: "EXPN list (not answered)",
        before_tls: false,
        login: true,
        junk: true,
        room: PARAMETERS,
        ..COMMON
    },
    Command {
        verb: Verb::Xclient,
        name: "XCLIENT",
        syntax: "XCLIENT attribute=value ...",
        stages: OUTSIDE,
        extension: Some(Extension::Xclient),
        room: PARAMETERS,
        ..COMMON
    },
    Command {
        verb: Verb::Xforward,
        name: "XFORWARD",
        syntax: "XFORWARD attribute=value ...",
        stages: OUTSIDE,
        extension: Some(Extension::Xforward),
        before_tls: false,
        room: PARAMETERS,
        ..COMMON
    },
    Command { verb: Verb::Quit, name: "QUIT", syntax: "QUIT", ..COMMON },
];

/// Commands that exist elsewhere and that we will not have (RFC 5321 §4.2.4: 502 rather than 500).
const ABSENT: [&str; 7] = ["ATRN", "BURL", "ETRN", "SAML", "SEND", "SOML", "TURN"];

/// The first word of an HTTP request: somebody was led to believe that this is a web server.
const HTTP: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// What a line's first word is.
#[derive(Debug)]
pub(crate) enum Word {
    Absent,
    Command(&'static Command),
    Foreign,
    Unknown,
}

/// Looks a first word up, case folded.
pub(crate) fn find(word: &str) -> Word {
    let same = |known: &&str| known.eq_ignore_ascii_case(word);
    match COMMANDS.iter().find(|row| same(&row.name)) {
        Some(row) => Word::Command(row),
        None if HTTP.iter().any(same) => Word::Foreign,
        None if ABSENT.iter().any(same) => Word::Absent,
        None => Word::Unknown,
    }
}

/// How long the line at the front of `buffer` may be, CRLF included.
pub(crate) fn line_limit(buffer: &[u8], limits: &Limits) -> usize {
    let word = buffer.split(|b| !b.is_ascii_alphabetic()).next().unwrap_or_default();
    let row = COMMANDS.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(word));
    match row {
        Some(row) if row.verb == Verb::Auth => limits.auth_line,
        row => limits.command_line + row.map_or(0, |row| row.room),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_one_row() {
        for (at, row) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..at].iter().all(|other| other.verb != row.verb && other.name != row.name));
            assert!(row.syntax.starts_with(row.name));
            assert!(matches!(find(&row.name.to_ascii_lowercase()), Word::Command(found) if found.verb == row.verb));
        }
    }

    #[test]
    fn longer_lines_are_for_commands_with_parameters() {
        let limits = Limits::default();
        assert_eq!(line_limit(b"noop", &limits), 512);
        assert_eq!(line_limit(b"MAIL FROM:<", &limits), 512 + PARAMETERS);
        assert_eq!(line_limit(b"AUTH PLAIN", &limits), 12_288);
        assert_eq!(line_limit(b"AUTHOR", &limits), 512);
        assert_eq!(line_limit(b"", &limits), 512);
    }
}
