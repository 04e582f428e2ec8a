//! Row identities as distinct types, so that a mailbox id can never stand where an account id belongs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// An account: somebody who can log in and owns mailboxes.
    AccountId
}
id! {
    /// A domain that we receive mail for.
    DomainId
}
id! {
    /// A mailbox (folder) of one account; also the source of MAILBOXID (RFC 8474).
    MailboxId
}
id! {
    /// A process that delivers, in its claims on deliveries; void when the courier no longer renews its lease.
    ClaimId
}

/// An id that people see and type: hexadecimal in lower case.
macro_rules! shown {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, MalformedId> {
                text.parse()
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                // Without the sign that the standard library would take.
                let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_hexdigit());
                digits.then(|| i64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(MalformedId)
            }
        }
    };
}

/// Not an id: 1 to 16 hexadecimal digits are expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an id: up to 16 hexadecimal digits are expected")]
pub struct MalformedId;

shown! {
    /// A stored message, shared by all mailboxes that hold it; also the source of EMAILID (RFC 8474). In hexadecimal.
    /// Time-ordered: 41 bits of milliseconds, 10 of node, 12 of sequence.
    MessageId
}
shown! {
    /// An envelope of a message that leaves: the queue id of replies, logs and commands, in hexadecimal.
    /// Time-ordered like [`MessageId`].
    QueueId
}
shown! {
    /// One recipient of a [`QueueId`]; in hexadecimal.
    DeliveryId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_people_see_are_written_alike() {
        assert_eq!(
            (MessageId(0x1f2e).to_string(), QueueId(0x1f2e).to_string()),
            ("1f2e".to_owned(), "1f2e".to_owned())
        );
    }

    #[test]
    fn a_queue_id_is_read_as_it_is_shown() {
        let id = QueueId(0x1f2e_3d4c_5b6a);
        assert_eq!(id.to_string(), "1f2e3d4c5b6a");
        assert_eq!("1F2E3D4C5B6A".parse(), Ok(id));
        for not in ["", "+1", "-1", "x", "ffffffffffffffff1", "ffffffffffffffff", "1 "] {
            assert_eq!(not.parse::<QueueId>(), Err(MalformedId), "{not:?}");
        }
    }
}
