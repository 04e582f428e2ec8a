//! Dialects, and the service extensions that EHLO offers.

/// Which of the three protocols a session speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Dialect {
    /// Between mail servers (RFC 5321).
    Smtp,
    /// From a user's program (RFC 6409).
    Submission,
    /// To mailboxes: LHLO, and one reply per recipient (RFC 2033).
    Lmtp,
}

/// A service extension that can be offered or withheld.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Extension {
    /// RFC 2920.
    Pipelining,
    /// RFC 1870.
    Size,
    /// RFC 3207.
    StartTls,
    /// RFC 4954; the mechanisms are `Options::auth`.
    Auth,
    /// RFC 2034.
    EnhancedStatusCodes,
    /// RFC 6152.
    EightBitMime,
    /// RFC 3030 §3; needs [`Extension::Chunking`].
    BinaryMime,
    /// RFC 3030 §2.
    Chunking,
    /// RFC 6531.
    SmtpUtf8,
    /// RFC 3461.
    Dsn,
    /// RFC 2852: how long delivery may take.
    DeliverBy,
    /// RFC 4865: a message is kept back until its time; needs `Options::hold`.
    FutureRelease,
    /// RFC 6710.
    MtPriority,
    /// RFC 8689; only under TLS.
    RequireTls,
    /// RFC 9422.
    Limits,
    /// A listed front end restates who the client is; see [`Attribute`](crate::Attribute).
    Xclient,
    /// A listed front end says where a message came from, for the trace only.
    Xforward,
    /// RFC 5321 §4.1.1.8.
    Help,
}

impl Extension {
    /// Every extension in the order EHLO lists them.
    pub const ALL: [Self; 18] = [
        Self::Pipelining,
        Self::Size,
        Self::StartTls,
        Self::Auth,
        Self::EnhancedStatusCodes,
        Self::EightBitMime,
        Self::BinaryMime,
        Self::Chunking,
        Self::SmtpUtf8,
        Self::Dsn,
        Self::DeliverBy,
        Self::FutureRelease,
        Self::MtPriority,
        Self::RequireTls,
        Self::Limits,
        Self::Xclient,
        Self::Xforward,
        Self::Help,
    ];

    /// The EHLO keyword, such as `8BITMIME`.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::Size => "SIZE",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Self::EightBitMime => "8BITMIME",
            Self::BinaryMime => "BINARYMIME",
            Self::Chunking => "CHUNKING",
            Self::SmtpUtf8 => "SMTPUTF8",
            Self::Dsn => "DSN",
            Self::DeliverBy => "DELIVERBY",
            Self::FutureRelease => "FUTURERELEASE",
            Self::MtPriority => "MT-PRIORITY",
            Self::RequireTls => "REQUIRETLS",
            Self::Limits => "LIMITS",
            Self::Xclient => "XCLIENT",
            Self::Xforward => "XFORWARD",
            Self::Help => "HELP",
        }
    }

    /// The extension of a keyword, case folded.
    #[must_use]
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.keyword().eq_ignore_ascii_case(keyword))
    }
}

/// A set of extensions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extensions(u32);

impl Extensions {
    /// Nothing at all.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Everything but what only our own people are offered (MT-PRIORITY and FUTURERELEASE) and what only listed peers
    /// are (XCLIENT and XFORWARD).
    #[must_use]
    pub fn ordinary() -> Self {
        let own = |extension: &Extension| matches!(extension, Extension::FutureRelease | Extension::MtPriority);
        let listed = |extension: &Extension| matches!(extension, Extension::Xclient | Extension::Xforward);
        Extension::ALL.into_iter().filter(|extension| !own(extension) && !listed(extension)).collect()
    }

    /// The set with one more.
    #[must_use]
    pub const fn with(self, extension: Extension) -> Self {
        Self(self.0 | 1 << extension as u8)
    }

    /// The set with one less.
    #[must_use]
    pub const fn without(self, extension: Extension) -> Self {
        Self(self.0 & !(1 << extension as u8))
    }

    /// Whether the extension is in the set.
    #[must_use]
    pub const fn has(self, extension: Extension) -> bool {
        self.0 & 1 << extension as u8 != 0
    }
}

impl FromIterator<Extension> for Extensions {
    fn from_iter<I: IntoIterator<Item = Extension>>(extensions: I) -> Self {
        extensions.into_iter().fold(Self::none(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_lead_back_to_their_extension() {
        for extension in Extension::ALL {
            assert_eq!(Extension::from_keyword(&extension.keyword().to_ascii_lowercase()), Some(extension));
        }
        assert_eq!(Extension::from_keyword("TURN"), None);
    }

    #[test]
    fn trusted_extensions_are_not_ordinary() {
        let set = Extensions::ordinary();
        assert!(set.has(Extension::Chunking) && !set.has(Extension::Xclient) && !set.has(Extension::Xforward));
        assert!(!set.without(Extension::Chunking).has(Extension::Chunking));
    }
}
