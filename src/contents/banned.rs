//! Rules for files: an ordered list, the first that fits a node decides, and it may allow.

mod pattern;
mod rules;

pub use pattern::{FilePattern, double_extension};
pub use rules::{Banned, FileAction, FileRule, FileRuleSet, FileRules};
