//! Row identities as distinct types, so that a mailbox id can never stand where an account id belongs.

use std::fmt;

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
    /// A stored message, shared by all mailboxes that hold it; also the source of EMAILID (RFC 8474).
    /// Time-ordered: 41 bits of milliseconds, 10 of node, 12 of sequence.
    MessageId
}
