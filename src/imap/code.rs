//! How a command ended, and the codes that say it to programs (RFC 9051 §7.1, RFC 5530).

use std::borrow::Cow;

use bytes::BytesMut;
use posthorn_model::{ModSeq, NumberSet, Uid};

use crate::quoted::{put_number, put_set};

/// The three ends of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// The client is at fault, or the command cannot be understood.
    Bad,
    /// Understood and declined, or failed.
    No,
    /// Done.
    Ok,
}

impl Status {
    pub(crate) const fn word(self) -> &'static [u8] {
        match self {
            Self::Bad => b"BAD ",
            Self::No => b"NO ",
            Self::Ok => b"OK ",
        }
    }
}

/// The tagged answer of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Completion {
    /// How it ended.
    pub status: Status,
    /// What programs should know.
    pub code: Option<ResponseCode>,
    /// One line for people; control characters are not written.
    pub text: Cow<'static, str>,
}

impl Completion {
    /// `OK text`
    #[must_use]
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Ok, code: None, text: text.into() }
    }

    /// `NO text`
    #[must_use]
    pub fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::No, code: None, text: text.into() }
    }

    /// `BAD text`
    #[must_use]
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Bad, code: None, text: text.into() }
    }

    /// The same with a code.
    #[must_use]
    pub fn with(self, code: ResponseCode) -> Self {
        Self { code: Some(code), ..self }
    }
}

/// A response code, the bracketed part of a status response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ResponseCode {
    /// `ALREADYEXISTS`
    AlreadyExists,
    /// `APPENDUID validity uids` (RFC 4315)
    AppendUid {
        /// UIDVALIDITY of the target.
        uid_validity: u32,
        /// The new UIDs, in the order of the messages; not empty.
        uids: NumberSet,
    },
    /// `AUTHENTICATIONFAILED`
    AuthenticationFailed,
    /// `AUTHORIZATIONFAILED`
    AuthorizationFailed,
    /// `BADCHARSET (US-ASCII UTF-8)`
    BadCharset,
    /// `CANNOT`
    Cannot,
    /// `CLIENTBUG`
    ClientBug,
    /// `CLOSED`
    Closed,
    /// `CONTACTADMIN`
    ContactAdmin,
    /// `COPYUID validity from to` (RFC 4315): both sets ascend together; not empty.
    CopyUid {
        /// UIDVALIDITY of the target.
        uid_validity: u32,
        /// UIDs in the source.
        source: NumberSet,
        /// UIDs in the target.
        target: NumberSet,
    },
    /// `CORRUPTION`
    Corruption,
    /// `EXPIRED`
    Expired,
    /// `EXPUNGEISSUED`
    ExpungeIssued,
    /// `HASCHILDREN`
    HasChildren,
    /// `HIGHESTMODSEQ n`
    HighestModSeq(ModSeq),
    /// `INUSE`
    InUse,
    /// `LIMIT`
    Limit,
    /// `MAILBOXID (id)` (RFC 8474)
    MailboxId(String),
    /// `MODIFIED set` (RFC 7162): in the numbers that the command used.
    Modified(NumberSet),
    /// `NOMODSEQ`
    NoModSeq,
    /// `NONEXISTENT`
    NonExistent,
    /// `NOPERM`
    NoPerm,
    /// `NOTSAVED` (RFC 5182)
    NotSaved,
    /// `OVERQUOTA`
    OverQuota,
    /// `PARSE`
    Parse,
    /// `PRIVACYREQUIRED`
    PrivacyRequired,
    /// `READ-ONLY`
    ReadOnly,
    /// `READ-WRITE`
    ReadWrite,
    /// `SERVERBUG`
    ServerBug,
    /// `TOOBIG` (RFC 4469)
    TooBig,
    /// `TRYCREATE`
    TryCreate,
    /// `UIDNEXT n`
    UidNext(Uid),
    /// `UIDNOTSTICKY`
    UidNotSticky,
    /// `UIDVALIDITY n`
    UidValidity(u32),
    /// `UNAVAILABLE`
    Unavailable,
    /// `UNKNOWN-CTE`
    UnknownCte,
    /// `UNSEEN n` (RFC 3501): the first unseen message's sequence number.
    Unseen(u32),
    /// `USEATTR` (RFC 6154)
    UseAttr,
}

impl ResponseCode {
    /// Writes the code without its brackets.
    pub(crate) fn write(&self, out: &mut BytesMut) {
        let numbered = |out: &mut BytesMut, name: &str, number: u64| {
            out.extend_from_slice(name.as_bytes());
            put_number(out, number);
        };
        match self {
            Self::AppendUid { uid_validity, uids } => {
                numbered(out, "APPENDUID ", (*uid_validity).into());
                out.extend_from_slice(b" ");
                put_set(out, uids);
            }
            Self::CopyUid { uid_validity, source, target } => {
                numbered(out, "COPYUID ", (*uid_validity).into());
                out.extend_from_slice(b" ");
                put_set(out, source);
                out.extend_from_slice(b" ");
                put_set(out, target);
            }
            Self::HighestModSeq(number) => numbered(out, "HIGHESTMODSEQ ", *number),
            Self::MailboxId(id) => {
                out.extend_from_slice(b"MAILBOXID (");
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(b")");
            }
            Self::Modified(set) => {
                out.extend_from_slice(b"MODIFIED ");
                put_set(out, set);
            }
            Self::UidNext(number) => numbered(out, "UIDNEXT ", (*number).into()),
            Self::UidValidity(number) => numbered(out, "UIDVALIDITY ", (*number).into()),
            Self::Unseen(number) => numbered(out, "UNSEEN ", (*number).into()),
            plain => out.extend_from_slice(plain.word().as_bytes()),
        }
    }

    /// The word of a code without arguments.
    const fn word(&self) -> &'static str {
        match self {
            Self::AlreadyExists => "ALREADYEXISTS",
            Self::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Self::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Self::BadCharset => "BADCHARSET (US-ASCII UTF-8)",
            Self::Cannot => "CANNOT",
            Self::ClientBug => "CLIENTBUG",
            Self::Closed => "CLOSED",
            Self::ContactAdmin => "CONTACTADMIN",
            Self::Corruption => "CORRUPTION",
            Self::Expired => "EXPIRED",
            Self::ExpungeIssued => "EXPUNGEISSUED",
            Self::HasChildren => "HASCHILDREN",
            Self::InUse => "INUSE",
            Self::Limit => "LIMIT",
            Self::NoModSeq => "NOMODSEQ",
            Self::NonExistent => "NONEXISTENT",
            Self::NoPerm => "NOPERM",
            Self::NotSaved => "NOTSAVED",
            Self::OverQuota => "OVERQUOTA",
            Self::Parse => "PARSE",
            Self::PrivacyRequired => "PRIVACYREQUIRED",
            Self::ReadOnly => "READ-ONLY",
            Self::ReadWrite => "READ-WRITE",
            Self::ServerBug => "SERVERBUG",
            Self::TooBig => "TOOBIG",
            Self::TryCreate => "TRYCREATE",
            Self::UidNotSticky => "UIDNOTSTICKY",
            Self::Unavailable => "UNAVAILABLE",
            Self::UnknownCte => "UNKNOWN-CTE",
            Self::UseAttr => "USEATTR",
            Self::AppendUid { .. } => "APPENDUID",
            Self::CopyUid { .. } => "COPYUID",
            Self::HighestModSeq(_) => "HIGHESTMODSEQ",
            Self::MailboxId(_) => "MAILBOXID",
            Self::Modified(_) => "MODIFIED",
            Self::UidNext(_) => "UIDNEXT",
            Self::UidValidity(_) => "UIDVALIDITY",
            Self::Unseen(_) => "UNSEEN",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(code: &ResponseCode) -> String {
        let mut out = BytesMut::new();
        code.write(&mut out);
        String::from_utf8(out.to_vec()).expect("ASCII")
    }

    #[test]
    fn arguments_follow_the_word() {
        let set = |numbers: &[u32]| numbers.iter().copied().collect::<NumberSet>();
        let copy = ResponseCode::CopyUid { uid_validity: 7, source: set(&[1, 2, 3, 9]), target: set(&[4, 5, 6, 7]) };
        assert_eq!(written(&copy), "COPYUID 7 1:3,9 4:7");
        assert_eq!(written(&ResponseCode::AppendUid { uid_validity: 7, uids: set(&[12]) }), "APPENDUID 7 12");
        assert_eq!(written(&ResponseCode::HighestModSeq(u64::MAX)), "HIGHESTMODSEQ 18446744073709551615");
        assert_eq!(written(&ResponseCode::MailboxId("M12".into())), "MAILBOXID (M12)");
        assert_eq!(written(&ResponseCode::Modified(set(&[7, 9]))), "MODIFIED 7,9");
        assert_eq!(written(&ResponseCode::UidNext(44)), "UIDNEXT 44");
        assert_eq!(written(&ResponseCode::BadCharset), "BADCHARSET (US-ASCII UTF-8)");
    }
}
