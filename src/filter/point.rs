//! A named part of a score.

use std::borrow::Cow;

/// A reason for or against a message, with its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its name in `X-Spam-Status` and in the trace: capital letters, digits and `_`.
    pub name: Cow<'static, str>,
    /// How much it weighs; below zero speaks for the message.
    pub value: f64,
    /// Why, in a few words; may be empty.
    pub why: String,
}

impl Point {
    /// A point.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, value: f64, why: impl Into<String>) -> Self {
        Self { name: name.into(), value, why: why.into() }
    }
}
