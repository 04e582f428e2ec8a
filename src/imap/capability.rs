//! What a client has enabled, and what it is offered (RFC 9051 §6.1.1, RFC 5161).

use crate::Options;

/// Extensions that change what the server sends, once the client has asked for them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Enabled {
    /// CONDSTORE (RFC 7162), by ENABLE or by any command that implies it: FETCH responses carry MODSEQ.
    pub condstore: bool,
    /// QRESYNC (RFC 7162): VANISHED instead of EXPUNGE.
    pub qresync: bool,
    /// IMAP4rev2 (RFC 9051).
    pub rev2: bool,
    /// UTF8=ACCEPT (RFC 6855).
    pub utf8: bool,
}

impl Enabled {
    /// Enables what the word names and returns its canonical spelling; `None` for what cannot be enabled here.
    pub(crate) fn enable(&mut self, word: &[u8]) -> Option<&'static str> {
        let is = |name: &str| name.as_bytes().eq_ignore_ascii_case(word);
        if is("CONDSTORE") {
            self.condstore = true;
            Some("CONDSTORE")
        } else if is("QRESYNC") {
            // RFC 7162 §3.2.3: enables CONDSTORE as well.
            (self.condstore, self.qresync) = (true, true);
            Some("QRESYNC")
        } else if is("IMAP4rev2") {
            self.rev2 = true;
            Some("IMAP4rev2")
        } else if is("UTF8=ACCEPT") {
            self.utf8 = true;
            Some("UTF8=ACCEPT")
        } else {
            None
        }
    }
}

/// What the list depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub(crate) authenticated: bool,
    pub(crate) secured: bool,
    pub(crate) channel_binding: bool,
}

impl Circumstances {
    /// Whether a password may be sent now.
    pub(crate) fn may_log_in(self, options: &Options) -> bool {
        self.secured || !options.require_tls
    }

    /// Whether this mechanism is offered now.
    pub(crate) fn offers(self, options: &Options, mechanism: &str) -> bool {
        self.may_log_in(options)
            && (self.channel_binding || !mechanism.ends_with("-PLUS"))
            && options.mechanisms.iter().any(|known| known == mechanism)
    }
}

/// Extensions that are listed in every state: Python's imaplib and programs built on it ask once, before login, and
/// take what is missing then as missing for ever.
const ALWAYS: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE SASL-IR IDLE NAMESPACE CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE UIDPLUS MOVE \
     UNSELECT ESEARCH SEARCHRES CONDSTORE QRESYNC STATUS=SIZE UTF8=ACCEPT BINARY MULTIAPPEND OBJECTID SAVEDATE PREVIEW WITHIN \
     QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE";

/// The capabilities in these circumstances, separated by spaces.
pub(crate) fn list(options: &Options, now: Circumstances) -> String {
    use std::fmt::Write as _;
    let mut list = String::with_capacity(500);
    let _ = write!(list, "{ALWAYS} APPENDLIMIT={}", options.limits.append);
    if now.authenticated {
        return list;
    }
    if options.tls_available && !now.secured {
        list.push_str(" STARTTLS");
    }
    if !now.may_log_in(options) {
        list.push_str(" LOGINDISABLED");
    }
    for mechanism in options.mechanisms.iter().filter(|mechanism| now.offers(options, mechanism)) {
        list.push_str(" AUTH=");
        list.push_str(mechanism);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"].map(String::from).to_vec();
        Options { tls_available: true, require_tls: true, mechanisms, ..Options::default() }
    }

    fn listed(authenticated: bool, secured: bool, channel_binding: bool) -> String {
        list(&options(), Circumstances { authenticated, secured, channel_binding })
    }

    #[test]
    fn without_tls_there_is_no_login() {
        assert!(listed(false, false, false).ends_with(" STARTTLS LOGINDISABLED"));
    }

    #[test]
    fn under_tls_mechanisms_appear() {
        let list = listed(false, true, false);
        assert!(list.ends_with(" AUTH=SCRAM-SHA-256 AUTH=PLAIN") && !list.contains("STARTTLS"), "{list}");
        assert!(listed(false, true, true).contains(" AUTH=SCRAM-SHA-256-PLUS "));
    }

    #[test]
    fn extensions_are_listed_before_login_too() {
        let list = listed(true, true, false);
        assert!(!list.contains("AUTH=") && !list.contains("STARTTLS"));
        for word in ["IDLE", "QRESYNC", "APPENDLIMIT=67108864", "UTF8=ACCEPT", "WITHIN"] {
            assert!(list.split(' ').any(|listed| listed == word), "{word}");
        }
        assert!(!list.contains("  "));
        assert!(listed(false, false, false).starts_with(&list) && listed(false, true, false).starts_with(&list));
    }

    #[test]
    fn qresync_brings_condstore() {
        let mut enabled = Enabled::default();
        assert_eq!(enabled.enable(b"qresync"), Some("QRESYNC"));
        assert_eq!(enabled, Enabled { condstore: true, qresync: true, ..Enabled::default() });
        assert_eq!(enabled.enable(b"IDLE"), None);
    }
}
