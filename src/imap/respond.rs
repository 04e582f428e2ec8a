//! Untagged responses (RFC 9051 §7).

use bytes::Bytes;
use posthorn_model::{ModSeq, NumberSet};

use crate::quoted::{put_number, put_set, put_text};
use crate::{Extended, FetchWriter, Output, ResponseCode, Status, StatusItem};

/// One value of a STATUS response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusValue<'a> {
    /// `APPENDLIMIT`, in octets; `None` when there is no limit (RFC 7889).
    AppendLimit(Option<u64>),
    /// `MAILBOXID` (RFC 8474)
    MailboxId(&'a str),
    /// Any other item.
    Number(StatusItem, u64),
}

/// What an ESEARCH response tells (RFC 4731); what is `None` is not written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EsearchResult {
    /// All numbers found; written only when not empty.
    pub all: Option<NumberSet>,
    /// How many were found.
    pub count: Option<u64>,
    /// The largest number found.
    pub max: Option<u32>,
    /// The smallest number found.
    pub min: Option<u32>,
    /// The highest modification sequence among those found (RFC 7162 §3.1.5).
    pub mod_seq: Option<ModSeq>,
}

/// One of the three lists of a NAMESPACE response: prefix and delimiter of each namespace; empty for NIL.
pub type NamespaceList<'a> = &'a [(&'a str, char)];

/// One resource of a QUOTA response (RFC 9208).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota<'a> {
    /// `STORAGE` (in units of 1024 octets) or `MESSAGE`.
    pub resource: &'a str,
    /// How much is used.
    pub usage: u64,
    /// How much may be used.
    pub limit: u64,
}

impl Output {
    /// `* n EXISTS`
    pub fn exists(&mut self, messages: u32) {
        self.counted(messages, b" EXISTS\r\n");
    }

    /// `* n RECENT`; not written for a client that has enabled IMAP4rev2.
    pub fn recent(&mut self, messages: u32) {
        if !self.rev2 {
            self.counted(messages, b" RECENT\r\n");
        }
    }

    /// `* n EXPUNGE`
    pub fn expunge(&mut self, sequence: u32) {
        self.counted(sequence, b" EXPUNGE\r\n");
    }

    /// `* VANISHED uids`, or `* VANISHED (EARLIER) uids` (RFC 7162 §3.2.10); an empty set writes nothing.
    pub fn vanished(&mut self, earlier: bool, uids: &NumberSet) {
        if uids.is_empty() {
            return;
        }
        self.raw(if earlier { b"* VANISHED (EARLIER) " } else { b"* VANISHED " });
        put_set(&mut self.tail, uids);
        self.raw(b"\r\n");
    }

    /// `* FLAGS (names)`
    pub fn flags<'f>(&mut self, names: impl IntoIterator<Item = &'f str>) {
        self.raw(b"* FLAGS ");
        self.words(names);
        self.raw(b"\r\n");
    }

    /// `* OK [PERMANENTFLAGS (names)]`; `\*` among them says that new keywords can be made.
    pub fn permanent_flags<'f>(&mut self, names: impl IntoIterator<Item = &'f str>) {
        self.raw(b"* OK [PERMANENTFLAGS ");
        self.words(names);
        self.raw(b"] Flags permitted\r\n");
    }

    /// `* OK [code] text`
    pub fn ok(&mut self, code: Option<&ResponseCode>, text: &str) {
        self.condition(Status::Ok, code, text);
    }

    /// `* OK|NO|BAD [code] text`
    pub fn condition(&mut self, status: Status, code: Option<&ResponseCode>, text: &str) {
        self.raw(b"* ");
        self.outcome(status, code, text);
    }

    /// `* LIST (attributes) delimiter name (extended)`; attributes are written as given, such as `\HasChildren`.
    pub fn list(&mut self, attributes: &[&str], delimiter: Option<char>, name: &str, extended: &[Extended<'_>]) {
        self.listed(b"* LIST ", attributes, delimiter, name);
        for (at, item) in extended.iter().enumerate() {
            self.raw(if at == 0 { b" (" } else { b" " });
            match item {
                Extended::ChildInfoSubscribed => self.raw(b"\"CHILDINFO\" (\"SUBSCRIBED\")"),
                Extended::OldName(old) => {
                    self.raw(b"\"OLDNAME\" (");
                    self.mailbox(old);
                    self.raw(b")");
                }
            }
        }
        self.raw(if extended.is_empty() { b"\r\n" } else { b")\r\n" });
    }

    /// `* LSUB (attributes) delimiter name` (RFC 3501 §7.2.3)
    pub fn lsub(&mut self, attributes: &[&str], delimiter: Option<char>, name: &str) {
        self.listed(b"* LSUB ", attributes, delimiter, name);
        self.raw(b"\r\n");
    }

    /// `* STATUS name (values)`
    pub fn status(&mut self, name: &str, values: &[StatusValue<'_>]) {
        self.raw(b"* STATUS ");
        self.mailbox(name);
        self.raw(b" (");
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.raw(b" ");
            }
            match value {
                StatusValue::AppendLimit(None) => self.raw(b"APPENDLIMIT NIL"),
                StatusValue::AppendLimit(Some(limit)) => self.named(b"APPENDLIMIT ", *limit),
                StatusValue::MailboxId(id) => {
                    self.raw(b"MAILBOXID (");
                    self.raw(id.as_bytes());
                    self.raw(b")");
                }
                StatusValue::Number(item, number) => {
                    self.raw(item.name().as_bytes());
                    self.named(b" ", *number);
                }
            }
        }
        self.raw(b")\r\n");
    }

    /// `* SEARCH numbers [(MODSEQ n)]` (RFC 3501 §7.2.5, RFC 7162 §3.1.5); `mod_seq` counts only when something was found.
    pub fn search(&mut self, numbers: impl IntoIterator<Item = u32>, mod_seq: Option<ModSeq>) {
        self.raw(b"* SEARCH");
        let mut found = false;
        for number in numbers {
            found = true;
            self.named(b" ", number.into());
        }
        if let (true, Some(mod_seq)) = (found, mod_seq) {
            self.named(b" (MODSEQ ", mod_seq);
            self.raw(b")");
        }
        self.raw(b"\r\n");
    }

    /// `* ESEARCH (TAG "tag") [UID] results` (RFC 9051 §7.3.4)
    pub fn esearch(&mut self, tag: &[u8], uid: bool, result: &EsearchResult) {
        self.raw(b"* ESEARCH (TAG ");
        self.string(tag);
        self.raw(b")");
        if uid {
            self.raw(b" UID");
        }
        if let Some(min) = result.min {
            self.named(b" MIN ", min.into());
        }
        if let Some(max) = result.max {
            self.named(b" MAX ", max.into());
        }
        if let Some(all) = result.all.as_ref().filter(|all| !all.is_empty()) {
            self.raw(b" ALL ");
            put_set(&mut self.tail, all);
        }
        if let Some(count) = result.count {
            self.named(b" COUNT ", count);
        }
        if let Some(mod_seq) = result.mod_seq {
            self.named(b" MODSEQ ", mod_seq);
        }
        self.raw(b"\r\n");
    }

    /// `* NAMESPACE personal other shared` (RFC 2342)
    pub fn namespace(&mut self, personal: NamespaceList<'_>, other: NamespaceList<'_>, shared: NamespaceList<'_>) {
        self.raw(b"* NAMESPACE");
        for spaces in [personal, other, shared] {
            if spaces.is_empty() {
                self.raw(b" NIL");
                continue;
            }
            self.raw(b" (");
            for (prefix, delimiter) in spaces {
                self.raw(b"(");
                if self.utf8 {
                    self.string(prefix.as_bytes());
                } else {
                    self.string(crate::mailbox_name::encode(prefix).as_bytes());
                }
                self.raw(b" ");
                self.delimiter(Some(*delimiter));
                self.raw(b")");
            }
            self.raw(b")");
        }
        self.raw(b"\r\n");
    }

    /// `* QUOTA root (resources)` (RFC 9208 §5.1)
    pub fn quota(&mut self, root: &str, resources: &[Quota<'_>]) {
        self.raw(b"* QUOTA ");
        self.astring(root.as_bytes());
        self.raw(b" (");
        for (at, quota) in resources.iter().enumerate() {
            if at > 0 {
                self.raw(b" ");
            }
            self.raw(quota.resource.as_bytes());
            self.named(b" ", quota.usage);
            self.named(b" ", quota.limit);
        }
        self.raw(b")\r\n");
    }

    /// `* QUOTAROOT mailbox roots` (RFC 9208 §5.2)
    pub fn quota_root(&mut self, mailbox: &str, roots: &[&str]) {
        self.raw(b"* QUOTAROOT ");
        self.mailbox(mailbox);
        for root in roots {
            self.raw(b" ");
            self.astring(root.as_bytes());
        }
        self.raw(b"\r\n");
    }

    /// `* n FETCH (...)`: items are added to the writer, which must be [ended](FetchWriter::end).
    #[must_use = "an unfinished response breaks the session"]
    pub fn fetch(&mut self, sequence: u32) -> FetchWriter<'_> {
        FetchWriter::begin(self, sequence)
    }

    /// `tag OK|NO|BAD [code] text`
    pub(crate) fn tagged(&mut self, tag: &Bytes, status: Status, code: Option<&ResponseCode>, text: &str) {
        self.raw(tag);
        self.raw(b" ");
        self.outcome(status, code, text);
    }

    fn outcome(&mut self, status: Status, code: Option<&ResponseCode>, text: &str) {
        self.raw(status.word());
        if let Some(code) = code {
            self.raw(b"[");
            code.write(&mut self.tail);
            self.raw(b"] ");
        }
        put_text(&mut self.tail, text);
        self.raw(b"\r\n");
    }

    fn counted(&mut self, number: u32, what: &[u8]) {
        self.named(b"* ", number.into());
        self.raw(what);
    }

    fn named(&mut self, before: &[u8], number: u64) {
        self.raw(before);
        put_number(&mut self.tail, number);
    }

    pub(crate) fn words<'f>(&mut self, words: impl IntoIterator<Item = &'f str>) {
        let mut before: &[u8] = b"(";
        for word in words {
            self.raw(before);
            self.raw(word.as_bytes());
            before = b" ";
        }
        self.raw(if before == b"(" { b"()" } else { b")" });
    }

    fn listed(&mut self, start: &[u8], attributes: &[&str], delimiter: Option<char>, name: &str) {
        self.raw(start);
        self.words(attributes.iter().copied());
        self.raw(b" ");
        self.delimiter(delimiter);
        self.raw(b" ");
        self.mailbox(name);
    }

    fn delimiter(&mut self, delimiter: Option<char>) {
        match delimiter {
            None => self.raw(b"NIL"),
            Some(delimiter) => {
                let mut octets = [0; 4];
                self.string(delimiter.encode_utf8(&mut octets).as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Output)) -> String {
        let mut out = Output::new();
        write(&mut out);
        out.take().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    #[test]
    fn counts() {
        assert_eq!(written(|out| out.exists(172)), "* 172 EXISTS\r\n");
        assert_eq!(written(|out| out.recent(0)), "* 0 RECENT\r\n");
        assert_eq!(written(|out| out.expunge(44)), "* 44 EXPUNGE\r\n");
        let uids: NumberSet = [1, 2, 3, 9].into_iter().collect();
        assert_eq!(written(|out| out.vanished(true, &uids)), "* VANISHED (EARLIER) 1:3,9\r\n");
        assert_eq!(written(|out| out.vanished(false, &NumberSet::new())), "");
        let rev2 = |out: &mut Output| {
            out.rev2 = true;
            out.recent(0);
        };
        assert_eq!(written(rev2), "");
    }

    #[test]
    fn flags_and_conditions() {
        assert_eq!(written(|out| out.flags(["\\Seen", "$Junk"])), "* FLAGS (\\Seen $Junk)\r\n");
        assert_eq!(written(|out| out.permanent_flags([])), "* OK [PERMANENTFLAGS ()] Flags permitted\r\n");
        assert_eq!(written(|out| out.ok(Some(&ResponseCode::UidNext(5)), "Next")), "* OK [UIDNEXT 5] Next\r\n");
        assert_eq!(written(|out| out.condition(Status::No, None, "Low\r\nspace")), "* NO Lowspace\r\n");
    }

    #[test]
    fn lists() {
        let plain = |out: &mut Output| out.list(&["\\HasNoChildren", "\\Sent"], Some('/'), "Gesendete Grüße", &[]);
        assert_eq!(written(plain), "* LIST (\\HasNoChildren \\Sent) \"/\" \"Gesendete Gr&APwA3w-e\"\r\n");
        let extended = |out: &mut Output| {
            out.list(&[], None, "Foo", &[Extended::ChildInfoSubscribed, Extended::OldName("Bar baz")]);
        };
        let expected = "* LIST () NIL Foo (\"CHILDINFO\" (\"SUBSCRIBED\") \"OLDNAME\" (\"Bar baz\"))\r\n";
        assert_eq!(written(extended), expected);
        assert_eq!(written(|out| out.lsub(&["\\Noselect"], Some('"'), "a")), "* LSUB (\\Noselect) \"\\\"\" a\r\n");
    }

    #[test]
    fn status_values() {
        let values = [
            StatusValue::Number(StatusItem::Messages, 231),
            StatusValue::MailboxId("M7"),
            StatusValue::AppendLimit(None),
            StatusValue::AppendLimit(Some(9)),
        ];
        let expected = "* STATUS INBOX (MESSAGES 231 MAILBOXID (M7) APPENDLIMIT NIL APPENDLIMIT 9)\r\n";
        assert_eq!(written(|out| out.status("INBOX", &values)), expected);
    }

    #[test]
    fn searches() {
        assert_eq!(written(|out| out.search([2, 84], None)), "* SEARCH 2 84\r\n");
        assert_eq!(written(|out| out.search([2], Some(917))), "* SEARCH 2 (MODSEQ 917)\r\n");
        assert_eq!(written(|out| out.search([], Some(917))), "* SEARCH\r\n");
        let result = EsearchResult {
            all: Some([4, 5, 6].into_iter().collect()),
            count: Some(3),
            max: Some(6),
            min: Some(4),
            mod_seq: Some(9),
        };
        let expected = "* ESEARCH (TAG \"a1\") UID MIN 4 MAX 6 ALL 4:6 COUNT 3 MODSEQ 9\r\n";
        assert_eq!(written(|out| out.esearch(b"a1", true, &result)), expected);
        let none = EsearchResult { all: Some(NumberSet::new()), ..EsearchResult::default() };
        assert_eq!(written(|out| out.esearch(b"a1", false, &none)), "* ESEARCH (TAG \"a1\")\r\n");
    }

    #[test]
    fn namespaces_and_quotas() {
        let spaces = |out: &mut Output| out.namespace(&[("", '/')], &[("Users/", '/')], &[]);
        assert_eq!(written(spaces), "* NAMESPACE ((\"\" \"/\")) ((\"Users/\" \"/\")) NIL\r\n");
        let quota = |out: &mut Output| {
            out.quota(
                "",
                &[
                    Quota { resource: "STORAGE", usage: 10, limit: 512 },
                    Quota { resource: "MESSAGE", usage: 1, limit: 20 },
                ],
            );
            out.quota_root("INBOX", &[""]);
        };
        assert_eq!(written(quota), "* QUOTA \"\" (STORAGE 10 512 MESSAGE 1 20)\r\n* QUOTAROOT INBOX \"\"\r\n");
    }
}
