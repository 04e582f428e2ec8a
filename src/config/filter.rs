//! `[filter]`: how mail is judged, and what becomes of it.

mod classifier;
mod destiny;
mod disclaimer;
mod dmarc;
mod extension;
mod file_rule;
mod levels;
mod notices;
mod points;
mod rule;
mod scores;
mod uri_list;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use classifier::FilterClassifier;
pub use destiny::{Destiny, FilterDestiny};
pub use disclaimer::FilterDisclaimer;
pub use dmarc::FilterDmarc;
pub use extension::FilterExtension;
pub use file_rule::{FileRuleAction, FilterFileRule};
pub use levels::FilterLevels;
pub use notices::FilterNotices;
pub use points::{FilterPoints, FilterPointsError};
pub use rule::FilterRule;
pub use scores::FilterScores;
pub use uri_list::{FilterUriList, UriListAnswer};

use crate::Size;
use crate::check::Checker;

/// The names of the sets of rules for files that there are.
const FILE_RULES: [&str; 4] = ["default", "office", "archive", "everything"];

/// Judges what the keys say together.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let section = &checker.config().filter;
    rule::check(checker, &section.rule);
    file_rule::check(checker, &section.file_rule);
    let known = section.file_rule_sets();
    for (at, name) in section.banned.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let message = format!("there is no set of rules \"{name}\"; known: {}", known.join(", "));
            checker.refuse(&format!("filter.banned[{at}]"), message);
        }
    }
    if section.levels.tag2 > section.levels.kill {
        checker.refuse("filter.levels.kill", "this is below tag2: it must be as high at least");
    }
    extension::check(checker, &section.extension);
    notices::check(checker, &section.notices);
    disclaimer::check(checker, &section.disclaimer);
}

/// How mail is judged, and what becomes of it.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterSection {
    /// Whether mail is judged.
    pub enable: bool,
    /// Whether mail that comes by LMTP is judged as well; whoever speaks that mostly has judged it.
    pub lmtp: bool,
    /// Messages larger than this are not scored; viruses and banned files are looked for.
    pub score_up_to: Size,
    /// What goes before the subject of what is called spam; empty for nothing.
    pub subject_tag: String,
    /// The same from `levels.tag3` on.
    pub subject_tag3: String,
    /// What becomes of mail when a scanner has no answer and its own row says that mail waits.
    pub fault: Destiny,
    /// What a score means.
    pub levels: FilterLevels,
    /// What becomes of what nobody wants.
    pub destiny: FilterDestiny,
    /// What is done about mail that its author's domain disowns.
    pub dmarc: FilterDmarc,
    /// The details that addresses get on delivery.
    pub extension: FilterExtension,
    /// Who is told of what was found.
    pub notices: FilterNotices,
    /// The named sets of rules for files that hold where a recipient's settings name none: `default`, `office`, `archive`, `everything`, and those of `[[filter.file_rule]]`; the first rule that matches decides. Empty allows all files.
    pub banned: Vec<String>,
    /// What is known of who writes, and what it counts.
    pub scores: FilterScores,
    /// What is learned from words.
    pub classifier: FilterClassifier,
    /// What is looked for in messages, besides the built-in rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<FilterRule>,
    /// Lists in the DNS of domains that links lead to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uri_list: Vec<FilterUriList>,
    /// Rules for files, in sets of one's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file_rule: Vec<FilterFileRule>,
    /// What is written below what our own people send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disclaimer: Vec<FilterDisclaimer>,
}

impl FilterSection {
    /// The names of all sets of rules for files that settings may name: the built-in ones, then one's own.
    #[must_use]
    pub fn file_rule_sets(&self) -> Vec<&str> {
        let mut names = FILE_RULES.to_vec();
        for rule in &self.file_rule {
            if !names.contains(&rule.set.as_str()) {
                names.push(&rule.set);
            }
        }
        names
    }
}

impl Default for FilterSection {
    fn default() -> Self {
        Self {
            enable: true,
            lmtp: false,
            score_up_to: Size::mebibytes(1),
            subject_tag: String::new(),
            subject_tag3: String::new(),
            fault: Destiny::Defer,
            levels: FilterLevels::default(),
            destiny: FilterDestiny::default(),
            dmarc: FilterDmarc::default(),
            extension: FilterExtension::default(),
            notices: FilterNotices::default(),
            banned: vec!["office".to_owned(), "default".to_owned()],
            scores: FilterScores::default(),
            classifier: FilterClassifier::default(),
            rule: Vec::new(),
            uri_list: Vec::new(),
            file_rule: Vec::new(),
            disclaimer: Vec::new(),
        }
    }
}
