//! What is said of mail that leaves: priorities, what the sender wants to be told, where it came from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum that is kept as a small number and written as a word.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $code:literal, $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum $name {
            $($(#[$each])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every one, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number that stands for it in the database.
            #[must_use]
            pub const fn code(self) -> i16 {
                match self { $(Self::$variant => $code,)* }
            }

            /// What this number stands for.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The word for it, as commands and protocols write it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What this word stands for, case folded.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word().eq_ignore_ascii_case(word))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

coded! {
    /// Which of three queues a delivery stands in: a lower one goes first at every receiver.
    Lane {
        /// Priority 4 and above (RFC 6710).
        Urgent = 0, "urgent";
        /// Everything else.
        Normal = 1, "normal";
        /// Priority -4 and below.
        Bulk = 2, "bulk";
    }
}

impl Lane {
    /// The lane of a message of this priority (MT-PRIORITY, RFC 6710: -9 to 9).
    #[must_use]
    pub const fn of_priority(priority: i8) -> Self {
        match priority {
            4.. => Self::Urgent,
            ..=-4 => Self::Bulk,
            _ => Self::Normal,
        }
    }
}

coded! {
    /// How much of the message a report returns (RFC 3461 §4.3).
    Ret {
        /// All of it.
        Full = 1, "FULL";
        /// The header.
        Headers = 2, "HDRS";
    }
}

coded! {
    /// What happens when a message is late (RFC 2852 §4).
    ByMode {
        /// It is returned.
        Return = 1, "R";
        /// The sender is told, and it is tried further.
        Notify = 2, "N";
    }
}

coded! {
    /// How a message came into the queue.
    QueueOrigin {
        /// Somebody with an account sent it.
        Submission = 1, "submission";
        /// A peer that may send through us.
        Relay = 2, "relay";
        /// An account or alias sends its mail on.
        Forward = 3, "forward";
        /// We made it: a delivery status notification and its like.
        Report = 4, "report";
        /// It is for mailboxes here, and kept back until its time (RFC 4865).
        Local = 5, "local";
    }
}

coded! {
    /// What a message's octets are (RFC 6152, RFC 3030).
    BodyType {
        /// Lines of US-ASCII.
        SevenBit = 1, "7BIT";
        /// Lines of any octets.
        EightBit = 2, "8BITMIME";
        /// Any octets; needs CHUNKING.
        Binary = 3, "BINARYMIME";
    }
}

coded! {
    /// Whether a delivery may be tried. One that a courier has in hand keeps its state meanwhile.
    DeliveryState {
        /// At its due time.
        Due = 1, "due";
        /// Not before an operator releases it.
        Held = 2, "held";
        /// Not at all: something is wrong with it that somebody must look at.
        SetAside = 3, "set-aside";
    }
}

/// When a sender wants a report about one recipient (RFC 3461 §4.1): any of success, failure and delay, or never.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Notify(u8);

impl Notify {
    /// Not even about failure.
    pub const NEVER: Self = Self(0);
    /// When it was delivered.
    pub const SUCCESS: Self = Self(1);
    /// When it was given up.
    pub const FAILURE: Self = Self(2);
    /// When it takes long.
    pub const DELAY: Self = Self(4);
    /// What holds when the sender did not say: failure and delay.
    pub const USUAL: Self = Self(2 | 4);

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a report is wanted about this (or any part of it).
    #[must_use]
    pub const fn wants(self, what: Self) -> bool {
        self.0 & what.0 != 0
    }

    /// The number that stands for it in the database.
    #[must_use]
    pub const fn code(self) -> i16 {
        self.0 as i16
    }

    /// What this number stands for.
    #[must_use]
    pub const fn from_code(code: i16) -> Option<Self> {
        if code >= 0 && code < 8 { Some(Self(code as u8)) } else { None }
    }
}

impl fmt::Display for Notify {
    /// As the NOTIFY parameter has it: `NEVER`, `SUCCESS,DELAY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("NEVER");
        }
        let mut comma = "";
        for (flag, word) in [(Self::SUCCESS, "SUCCESS"), (Self::FAILURE, "FAILURE"), (Self::DELAY, "DELAY")] {
            if self.wants(flag) {
                write!(f, "{comma}{word}")?;
                comma = ",";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_lead_back() {
        for origin in QueueOrigin::ALL {
            assert_eq!(QueueOrigin::from_code(origin.code()), Some(*origin));
            assert_eq!(QueueOrigin::parse(&origin.word().to_uppercase()), Some(*origin));
        }
        assert_eq!(DeliveryState::from_code(4), None);
        assert_eq!(BodyType::parse("8bitmime"), Some(BodyType::EightBit));
    }

    #[test]
    fn notify_is_written_as_its_parameter() {
        assert_eq!(Notify::NEVER.to_string(), "NEVER");
        assert_eq!(Notify::SUCCESS.and(Notify::DELAY).to_string(), "SUCCESS,DELAY");
        assert!(!Notify::NEVER.wants(Notify::FAILURE) && Notify::USUAL.wants(Notify::FAILURE));
        assert_eq!((Notify::from_code(8), Notify::from_code(-1)), (None, None));
        assert_eq!(Notify::from_code(3), Some(Notify::SUCCESS.and(Notify::FAILURE)));
    }

    #[test]
    fn priorities_choose_lanes() {
        let lanes = [-9, -4, -3, 0, 3, 4, 9].map(Lane::of_priority);
        assert_eq!(
            lanes,
            [Lane::Bulk, Lane::Bulk, Lane::Normal, Lane::Normal, Lane::Normal, Lane::Urgent, Lane::Urgent]
        );
    }
}
