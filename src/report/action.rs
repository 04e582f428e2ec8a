//! What happened to a recipient.

use std::fmt;

/// The action of a report about one recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// It could not be delivered, and nobody tries any more.
    Failed,
    /// It is not delivered yet; attempts go on.
    Delayed,
    /// It lies in the recipient's mailbox.
    Delivered,
    /// It was handed to a system that does not report deliveries.
    Relayed,
    /// It was delivered and sent on to several further addresses.
    Expanded,
}

impl Action {
    /// The word of the protocol, such as `failed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    /// Reads the word, case folded; `None` for any other.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Failed, Self::Delayed, Self::Delivered, Self::Relayed, Self::Expanded];
        all.into_iter().find(|action| action.as_str().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case() {
        assert_eq!(Action::parse("Failed"), Some(Action::Failed));
        assert_eq!(Action::parse("RELAYED"), Some(Action::Relayed));
        assert_eq!(Action::parse("failure"), None);
        assert_eq!(Action::Expanded.to_string(), "expanded");
    }
}
