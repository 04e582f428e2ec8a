//! `[filter.notices]`: who is told of what was found.

use posthorn_model::Address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Checker;

/// Letters about what was found. Senders get none, because they are mostly forged: whose mail is refused hears of it while he is connected. In the texts `{what}` is the category, `{why}` what led to it, `{sender}`, `{author}`, `{recipients}`, `{subject}`, `{client}` and `{header_id}` are those of the message, `{fate}` is what became of it, `{held}` the name under which it is held.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterNotices {
    /// Whether recipients are told that mail with a virus did not reach them; a recipient's settings may say otherwise, for this and the next two.
    pub warn_virus: bool,
    /// The same of mail with a file that is not allowed.
    pub warn_banned: bool,
    /// The same of mail with an unsound header.
    pub warn_bad_header: bool,
    /// The address that is told of mail with a virus; empty is nobody; a recipient's settings may say otherwise, for this and the next three.
    #[schemars(example = &"postmaster@example.org")]
    pub admin_virus: String,
    /// The same of mail with a file that is not allowed.
    #[schemars(example = &"postmaster@example.org")]
    pub admin_banned: String,
    /// The same of mail whose score reaches `kill`.
    #[schemars(example = &"postmaster@example.org")]
    pub admin_spam: String,
    /// The same of mail with an unsound header.
    #[schemars(example = &"postmaster@example.org")]
    pub admin_bad_header: String,
    /// The most letters to one address in an hour; the next one says how many there would have been.
    #[schemars(range(min = 1))]
    pub per_hour: u32,
    /// The text for recipients; empty is the built-in one.
    pub recipient_text: String,
    /// The text for administrators; empty is the built-in one.
    pub administrator_text: String,
}

impl Default for FilterNotices {
    fn default() -> Self {
        Self {
            warn_virus: false,
            warn_banned: false,
            warn_bad_header: false,
            admin_virus: String::new(),
            admin_banned: String::new(),
            admin_spam: String::new(),
            admin_bad_header: String::new(),
            per_hour: 20,
            recipient_text: String::new(),
            administrator_text: String::new(),
        }
    }
}

/// Judges addresses and texts.
pub(super) fn check(checker: &mut Checker<'_>, section: &FilterNotices) {
    let FilterNotices { admin_virus, admin_banned, admin_spam, admin_bad_header, .. } = section;
    let addresses = [
        ("admin_virus", admin_virus),
        ("admin_banned", admin_banned),
        ("admin_spam", admin_spam),
        ("admin_bad_header", admin_bad_header),
    ];
    for (key, text) in addresses {
        if !text.is_empty() && Address::parse(text).is_err() {
            checker.refuse(&format!("filter.notices.{key}"), format!("\"{text}\" is no address"));
        }
    }
    if section.per_hour == 0 {
        checker.refuse("filter.notices.per_hour", "write 1 at least");
    }
}
