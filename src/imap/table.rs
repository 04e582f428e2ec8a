//! The contents page: every command, where it is legal and what it needs.

/// One command of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The name in capitals; UID commands are `UID FETCH` and so on.
    pub name: &'static str,
    /// In which states it is legal.
    pub states: States,
    /// What else is to be known of it.
    pub traits: Traits,
}

/// States in which a command is legal (RFC 9051 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum States {
    /// Before logout, always.
    Any,
    /// After login, with or without a selected mailbox.
    Authenticated,
    /// Before login only.
    NotAuthenticated,
    /// With a selected mailbox only.
    Selected,
}

/// Properties of a command.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traits {
    /// It carries a password: refused without TLS where that is required.
    pub needs_tls: bool,
    /// It changes the selected mailbox: refused after EXAMINE.
    pub writes: bool,
    /// Sequence numbers must not move while it runs (RFC 9051 §7.5.1).
    pub holds_expunges: bool,
}

const PLAIN: Traits = Traits { needs_tls: false, writes: false, holds_expunges: false };
const LOGIN: Traits = Traits { needs_tls: true, ..PLAIN };
const WRITES: Traits = Traits { writes: true, ..PLAIN };
const HOLDS: Traits = Traits { holds_expunges: true, ..PLAIN };

const fn entry(name: &'static str, states: States, traits: Traits) -> Entry {
    Entry { name, states, traits }
}

/// Every command, sorted by name.
pub const TABLE: &[Entry] = &[
    entry("APPEND", States::Authenticated, PLAIN),
    entry("AUTHENTICATE", States::NotAuthenticated, LOGIN),
    entry("CAPABILITY", States::Any, PLAIN),
    entry("CHECK", States::Selected, PLAIN),
    entry("CLOSE", States::Selected, PLAIN),
    entry("COPY", States::Selected, PLAIN),
    entry("CREATE", States::Authenticated, PLAIN),
    entry("DELETE", States::Authenticated, PLAIN),
    entry("ENABLE", States::Authenticated, PLAIN),
    entry("EXAMINE", States::Authenticated, PLAIN),
    entry("EXPUNGE", States::Selected, WRITES),
    entry("FETCH", States::Selected, HOLDS),
    entry("GETQUOTA", States::Authenticated, PLAIN),
    entry("GETQUOTAROOT", States::Authenticated, PLAIN),
    entry("ID", States::Any, PLAIN),
    entry("IDLE", States::Authenticated, PLAIN),
    entry("LIST", States::Authenticated, PLAIN),
    entry("LOGIN", States::NotAuthenticated, LOGIN),
    entry("LOGOUT", States::Any, PLAIN),
    entry("LSUB", States::Authenticated, PLAIN),
    entry("MOVE", States::Selected, WRITES),
    entry("NAMESPACE", States::Authenticated, PLAIN),
    entry("NOOP", States::Any, PLAIN),
    entry("RENAME", States::Authenticated, PLAIN),
    entry("SEARCH", States::Selected, HOLDS),
    entry("SELECT", States::Authenticated, PLAIN),
    entry("SETQUOTA", States::Authenticated, PLAIN),
    entry("STARTTLS", States::NotAuthenticated, PLAIN),
    entry("STATUS", States::Authenticated, PLAIN),
    entry("STORE", States::Selected, Traits { writes: true, ..HOLDS }),
    entry("SUBSCRIBE", States::Authenticated, PLAIN),
    entry("UID COPY", States::Selected, PLAIN),
    entry("UID EXPUNGE", States::Selected, WRITES),
    entry("UID FETCH", States::Selected, PLAIN),
    entry("UID MOVE", States::Selected, WRITES),
    entry("UID SEARCH", States::Selected, PLAIN),
    entry("UID STORE", States::Selected, WRITES),
    entry("UNSELECT", States::Selected, PLAIN),
    entry("UNSUBSCRIBE", States::Authenticated, PLAIN),
];

/// Finds a command by its name, in any case; `second` is the word behind `UID`.
pub(crate) fn find(first: &[u8], second: Option<&[u8]>) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| match (entry.name.split_once(' '), second) {
        (Some((uid, name)), Some(second)) => {
            uid.as_bytes().eq_ignore_ascii_case(first) && name.as_bytes().eq_ignore_ascii_case(second)
        }
        (None, None) => entry.name.as_bytes().eq_ignore_ascii_case(first),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(TABLE.is_sorted_by(|one, next| one.name < next.name));
        assert_eq!(find(b"fetch", None).map(|entry| entry.name), Some("FETCH"));
        assert_eq!(find(b"Uid", Some(b"fetch")).map(|entry| entry.name), Some("UID FETCH"));
        assert_eq!(find(b"UID", Some(b"LIST")), None);
        assert_eq!(find(b"UID", None), None);
    }

    #[test]
    fn only_commands_with_sequence_numbers_hold_expunges() {
        let holding: Vec<_> =
            TABLE.iter().filter(|entry| entry.traits.holds_expunges).map(|entry| entry.name).collect();
        assert_eq!(holding, ["FETCH", "SEARCH", "STORE"]);
    }
}
