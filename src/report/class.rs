//! The classes that replies and reports are sorted into.

use std::fmt;

/// A class of reasons, by its number. The numbers and names are those that Momentum's logs use, so that what reads
/// such logs goes on working.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Class(u8);

/// What a class means for later mail to the same recipient.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Category {
    /// Nothing could be told from the text.
    Undetermined,
    /// Sending again is pointless: the address does not take mail.
    Hard,
    /// Something that may pass.
    Soft,
    /// The receiver did not want this message or this sender.
    Block,
    /// Our own policy, or mail that is no refusal at all.
    Admin,
}

impl Class {
    /// The text says nothing that a rule knows.
    pub const UNDETERMINED: Self = Self(1);
    /// The recipient does not exist.
    pub const INVALID_RECIPIENT: Self = Self(10);
    /// Not delivered, for reasons that may pass.
    pub const SOFT_BOUNCE: Self = Self(20);
    /// The recipient's domain could not be resolved.
    pub const DNS_FAILURE: Self = Self(21);
    /// The mailbox is full.
    pub const MAILBOX_FULL: Self = Self(22);
    /// The message is too large.
    pub const TOO_LARGE: Self = Self(23);
    /// No attempt succeeded in the time allowed, or the host did not answer.
    pub const TIMEOUT: Self = Self(24);
    /// Refused by our own configuration or by somebody's order.
    pub const ADMIN_FAILURE: Self = Self(25);
    /// A report that names no recipient.
    pub const NO_RECIPIENT: Self = Self(30);
    /// Refused without a reason that can be told.
    pub const GENERIC: Self = Self(40);
    /// The receiver refuses this sender.
    pub const MAIL_BLOCK: Self = Self(50);
    /// The receiver holds this sender for a source of spam.
    pub const SPAM_BLOCK: Self = Self(51);
    /// The receiver holds this message for spam.
    pub const SPAM_CONTENT: Self = Self(52);
    /// The receiver takes no such attachment.
    pub const PROHIBITED_ATTACHMENT: Self = Self(53);
    /// The host does not relay for us.
    pub const RELAYING_DENIED: Self = Self(54);
    /// An automatic answer, such as a vacation notice.
    pub const AUTO_REPLY: Self = Self(60);
    /// A condition that the receiver itself calls temporary.
    pub const TRANSIENT: Self = Self(70);
    /// A request to be put on a list.
    pub const SUBSCRIBE: Self = Self(80);
    /// A request to be taken off a list.
    pub const UNSUBSCRIBE: Self = Self(90);
    /// The receiver asks for a proof that a person wrote.
    pub const CHALLENGE: Self = Self(100);

    /// Every class with its name and category, in order.
    const TABLE: &[(Self, &str, Category)] = &[
        (Self::UNDETERMINED, "Undetermined", Category::Undetermined),
        (Self::INVALID_RECIPIENT, "Invalid Recipient", Category::Hard),
        (Self::SOFT_BOUNCE, "Soft Bounce", Category::Soft),
        (Self::DNS_FAILURE, "DNS Failure", Category::Soft),
        (Self::MAILBOX_FULL, "Mailbox Full", Category::Soft),
        (Self::TOO_LARGE, "Too Large", Category::Soft),
        (Self::TIMEOUT, "Timeout", Category::Soft),
        (Self::ADMIN_FAILURE, "Admin Failure", Category::Admin),
        (Self::NO_RECIPIENT, "Generic Bounce: No RCPT", Category::Hard),
        (Self::GENERIC, "Generic Bounce", Category::Soft),
        (Self::MAIL_BLOCK, "Mail Block", Category::Block),
        (Self::SPAM_BLOCK, "Spam Block", Category::Block),
        (Self::SPAM_CONTENT, "Spam Content", Category::Block),
        (Self::PROHIBITED_ATTACHMENT, "Prohibited Attachment", Category::Block),
        (Self::RELAYING_DENIED, "Relaying Denied", Category::Block),
        (Self::AUTO_REPLY, "Auto-Reply", Category::Soft),
        (Self::TRANSIENT, "Transient Failure", Category::Soft),
        (Self::SUBSCRIBE, "Subscribe", Category::Admin),
        (Self::UNSUBSCRIBE, "Unsubscribe", Category::Hard),
        (Self::CHALLENGE, "Challenge-Response", Category::Soft),
    ];

    /// The class of this number; `None` when there is none.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        Self::TABLE.iter().map(|row| row.0).find(|class| class.0 == number)
    }

    /// Every class, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::TABLE.iter().map(|row| row.0)
    }

    /// The number, 1 to 100.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name, such as `Mailbox Full`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What the class means for later mail.
    #[must_use]
    pub fn category(self) -> Category {
        self.row().2
    }

    /// Whether further mail to the recipient is pointless.
    #[must_use]
    pub fn is_hard(self) -> bool {
        self.category() == Category::Hard
    }

    fn row(self) -> &'static (Self, &'static str, Category) {
        // Every value of this type comes from the table; the first row says what anything else would mean.
        Self::TABLE.iter().find(|row| row.0 == self).unwrap_or(&Self::TABLE[0])
    }
}

impl Category {
    /// The word, such as `Hard`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undetermined => "Undetermined",
            Self::Hard => "Hard",
            Self::Soft => "Soft",
            Self::Block => "Block",
            Self::Admin => "Admin",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.name())
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_ascend() {
        let numbers: Vec<u8> = Class::all().map(Class::number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert_eq!(numbers.len(), 20);
        for class in Class::all() {
            assert_eq!(Class::of(class.number()), Some(class));
        }
        assert_eq!(Class::of(11), None);
    }

    #[test]
    fn categories_are_those_of_the_table() {
        assert_eq!(Class::INVALID_RECIPIENT.category(), Category::Hard);
        assert!(Class::UNSUBSCRIBE.is_hard() && Class::NO_RECIPIENT.is_hard());
        assert!(!Class::MAILBOX_FULL.is_hard());
        assert_eq!(Class::SPAM_CONTENT.to_string(), "52 Spam Content");
        assert_eq!(Class::ADMIN_FAILURE.category().to_string(), "Admin");
    }
}
