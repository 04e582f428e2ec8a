//! What a message is: one main category, with a minor grade.

/// The main category of a message, the strongest last: what the configuration and held mail name.
pub use posthorn_config::HeldCategory as Category;

/// Which levels a score reaches.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// None.
    #[default]
    None,
    /// The score is shown.
    Tag,
    /// It is called spam.
    Tag2,
    /// It is called spam with the second tag.
    Tag3,
    /// The destiny of spam applies.
    Kill,
}

/// What a message is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// The main category: the strongest that holds for a recipient.
    pub category: Category,
    /// The grade within it, such as the class 1 to 8 of a bad header; 0 where there is none.
    pub minor: u8,
    /// What led to it, such as the name of a virus or a rule.
    pub why: String,
}
