//! The rows of one scope for some domains, found by domain.

use std::collections::HashMap;

use super::effective::Prepared;
use crate::Pattern;

/// The rows of one scope. Exactly one of them holds for a domain: that of its name, else the first pattern in the
/// file that matches.
#[derive(Clone, Debug, Default)]
pub(super) struct Domains {
    named: HashMap<String, Prepared>,
    patterns: Vec<(Pattern, Prepared)>,
}

impl Domains {
    /// Adds a row behind those that are there; of two rows with one name the first holds.
    pub(super) fn add(&mut self, (name, pattern): (Option<&str>, Option<&Pattern>), row: Prepared) {
        match (name, pattern) {
            (Some(name), _) => {
                self.named.entry(name.to_owned()).or_insert(row);
            }
            (None, Some(pattern)) => self.patterns.push((pattern.clone(), row)),
            (None, None) => {}
        }
    }

    /// The row that holds for a folded domain.
    pub(super) fn find(&self, domain: &str) -> Option<&Prepared> {
        let matching = || self.patterns.iter().find(|(pattern, _)| pattern.is_match(domain)).map(|(_, row)| row);
        self.named.get(domain).or_else(matching)
    }
}
