//! The texts that people read in a message.

/// The decoded text of one part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Text {
    /// The place of its node in [`Contents::nodes`](crate::Contents::nodes).
    pub node: usize,
    /// The charset that the part names, in lower case.
    pub charset: Option<String>,
    /// Whether it was HTML.
    pub is_html: bool,
    /// The text; of HTML only what is visible, white space collapsed.
    pub text: String,
    /// Of HTML, the text that is there but not to be seen, white space collapsed.
    pub hidden: String,
}

/// Cuts a text at a boundary of characters.
pub(crate) fn cut(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}
