//! Refusals are values: what a duty declines, with the code each protocol needs to say so.

use std::fmt;

/// An enhanced mail system status code (RFC 3463), such as 5.1.1.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A decision not to do what was asked. Not an error: the system works, the answer is no.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The SMTP reply code, 400 to 599.
    pub code: u16,
    /// The enhanced code that goes with it; its class agrees with `code`.
    pub enhanced: EnhancedCode,
    /// One line for people, without codes and without internals.
    pub text: String,
}

impl Refusal {
    /// A refusal from its three parts.
    #[must_use]
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<String>) -> Self {
        Self { code, enhanced, text: text.into() }
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code < 500
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.enhanced, self.text)
    }
}
