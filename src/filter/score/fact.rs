//! What is found out of a message without an expression, under names that rules use.

macro_rules! facts {
    ($($fact:ident $name:literal,)*) => {
        /// Something that is so or not.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Fact { $($fact,)* }

        impl Fact {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$fact,)*];

            /// The names of all of them.
            pub(crate) fn names() -> Vec<&'static str> {
                vec![$($name,)*]
            }

            /// Its name in rules.
            #[cfg(test)]
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$fact => $name,)* }
            }

            /// The fact with this name.
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$fact),)* _ => None }
            }
        }
    };
}

facts! {
    NoFrom "no-from",
    SeveralAuthors "several-authors",
    NoDate "no-date",
    DateOdd "date-odd",
    DateAhead "date-ahead",
    DateBehind "date-behind",
    NoMessageId "no-message-id",
    MessageIdOdd "message-id-odd",
    NoRecipients "no-recipients",
    NoSubject "no-subject",
    SubjectCapitals "subject-capitals",
    SubjectGaps "subject-gaps",
    FromOtherAddress "from-other-address",
    FromClaimsBrand "from-claims-brand",
    FromLooksLikeBrand "from-looks-like-brand",
    FromSelf "from-self",
    FromClaimsRecipient "from-claims-recipient",
    SubjectHasRecipient "subject-has-recipient",
    ReplyElsewhere "reply-elsewhere",
    SenderElsewhere "sender-elsewhere",
    NullSender "null-sender",
    Report "report",
    HtmlOnly "html-only",
    HtmlImagesOnly "html-images-only",
    HtmlForm "html-form",
    HtmlPassword "html-password",
    HtmlScript "html-script",
    HtmlFrames "html-frames",
    HtmlRedirects "html-redirects",
    HtmlHidden "html-hidden",
    LinkToAddress "link-to-address",
    LinkLooksLikeBrand "link-looks-like-brand",
    LinkMixedAlphabets "link-mixed-alphabets",
    LinkShowsBrand "link-shows-brand",
    LinkShowsOther "link-shows-other",
    LinkHasUser "link-has-user",
    ManyDomains "many-domains",
    CharsetUnknown "charset-unknown",
    SplitWords "split-words",
    MixedWords "mixed-words",
    ShortWithLink "short-with-link",
    NoText "no-text",
    Encrypted "encrypted",
    ListMail "list-mail",
    OneClick "one-click",
    Answers "answers",
    HeloAddress "helo-address",
    HeloNoDomain "helo-no-domain",
    ClientNameless "client-nameless",
    MimeFlaw "mime-flaw",
    EightBitHeader "eight-bit-header",
    HeaderFlaw "header-flaw",
    SpfPass "spf-pass",
    SpfFail "spf-fail",
    SpfSoftFail "spf-softfail",
    DkimPass "dkim-pass",
    DkimFail "dkim-fail",
    DkimAuthor "dkim-author",
    DmarcPass "dmarc-pass",
    DmarcFail "dmarc-fail",
    DmarcQuarantine "dmarc-quarantine",
    DmarcReject "dmarc-reject",
    DmarcTempError "dmarc-temperror",
    ArcPass "arc-pass",
    IprevPass "iprev-pass",
    IprevFail "iprev-fail",
    Checked "checked",
}

/// Which are so.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Facts(u128);

impl Facts {
    /// Says whether something is so.
    pub(crate) fn set(&mut self, fact: Fact, is_so: bool) {
        self.0 |= u128::from(is_so) << (fact as u8);
    }

    /// Whether it is so.
    pub(crate) fn has(self, fact: Fact) -> bool {
        self.0 >> (fact as u8) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_its_own_name_and_bit() {
        let mut facts = Facts::default();
        for fact in Fact::ALL {
            assert_eq!(Fact::named(fact.name()), Some(*fact));
            assert!(!facts.has(*fact));
            facts.set(*fact, true);
            assert!(facts.has(*fact));
        }
        assert_eq!(Fact::named("no-such-thing"), None);
    }
}
