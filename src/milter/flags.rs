//! What the two sides agree on: what a filter may change, and which steps it is told of and answers.

use std::ops::{BitAnd, BitOr, Sub};

/// Changes that an MTA lets a filter make.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Actions(pub u32);

impl Actions {
    /// Add or insert header fields.
    pub const ADD_HEADERS: Self = Self(0x1);
    /// Replace the body.
    pub const CHANGE_BODY: Self = Self(0x2);
    /// Add recipients.
    pub const ADD_RECIPIENTS: Self = Self(0x4);
    /// Take recipients away.
    pub const DELETE_RECIPIENTS: Self = Self(0x8);
    /// Change or remove header fields.
    pub const CHANGE_HEADERS: Self = Self(0x10);
    /// Hold the message.
    pub const QUARANTINE: Self = Self(0x20);
    /// Change the sender.
    pub const CHANGE_SENDER: Self = Self(0x40);
    /// Add recipients with ESMTP parameters.
    pub const ADD_RECIPIENTS_WITH_PARAMETERS: Self = Self(0x80);
    /// Say which macros are wanted.
    pub const CHOOSE_MACROS: Self = Self(0x100);
    /// Everything that version 6 has.
    pub const ALL: Self = Self(0x1ff);

    /// Whether all of `other` is in.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Steps that a filter leaves out (the `NO` half), does not answer (the `NR` half), and manners of both sides.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Steps(pub u32);

impl Steps {
    /// The connection is not told.
    pub const NO_CONNECT: Self = Self(0x1);
    /// HELO is not told.
    pub const NO_HELO: Self = Self(0x2);
    /// MAIL is not told.
    pub const NO_MAIL: Self = Self(0x4);
    /// RCPT is not told.
    pub const NO_RCPT: Self = Self(0x8);
    /// The body is not told.
    pub const NO_BODY: Self = Self(0x10);
    /// Header fields are not told.
    pub const NO_HEADERS: Self = Self(0x20);
    /// The end of the header is not told.
    pub const NO_END_OF_HEADERS: Self = Self(0x40);
    /// Header fields are not answered.
    pub const NR_HEADER: Self = Self(0x80);
    /// Unknown commands are not told.
    pub const NO_UNKNOWN: Self = Self(0x100);
    /// DATA is not told.
    pub const NO_DATA: Self = Self(0x200);
    /// The filter may say that it wants no more of the body.
    pub const SKIP: Self = Self(0x400);
    /// Recipients that the MTA refused are told too.
    pub const REFUSED_RECIPIENTS: Self = Self(0x800);
    /// The connection is not answered.
    pub const NR_CONNECT: Self = Self(0x1000);
    /// HELO is not answered.
    pub const NR_HELO: Self = Self(0x2000);
    /// MAIL is not answered.
    pub const NR_MAIL: Self = Self(0x4000);
    /// RCPT is not answered.
    pub const NR_RCPT: Self = Self(0x8000);
    /// DATA is not answered.
    pub const NR_DATA: Self = Self(0x1_0000);
    /// Unknown commands are not answered.
    pub const NR_UNKNOWN: Self = Self(0x2_0000);
    /// The end of the header is not answered.
    pub const NR_END_OF_HEADERS: Self = Self(0x4_0000);
    /// Pieces of the body are not answered.
    pub const NR_BODY: Self = Self(0x8_0000);
    /// Header values keep the space behind their colon.
    pub const LEADING_SPACE: Self = Self(0x10_0000);
    /// Everything that version 6 has.
    pub const ALL: Self = Self(0x1f_ffff);

    /// Whether all of `other` is in.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

macro_rules! sets {
    ($($name:ident),*) => {$(
        impl BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
        impl BitAnd for $name {
            type Output = Self;
            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }
    )*};
}

sets!(Actions, Steps);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sets() {
        let both = Actions::ADD_HEADERS | Actions::QUARANTINE;
        assert!(both.contains(Actions::QUARANTINE) && !both.contains(Actions::CHANGE_BODY));
        assert_eq!(both - Actions::QUARANTINE, Actions::ADD_HEADERS);
        assert_eq!(Steps::ALL & Steps::SKIP, Steps::SKIP);
    }
}
