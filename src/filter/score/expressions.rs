//! Expressions for one thing: which of them match a text.
//!
//! Nearly every text has nothing of nearly every expression. So one machine looks for literals first, of which each
//! expression needs one ([`needles`]), and only expressions whose literals are there are tried. One machine for all
//! expressions would have to follow each beginning of each of them, of which there are too many to remember.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::needles::{FOLDED, needles};

/// Octets that the expressions without literals may take together when compiled, and what a machine may remember of them.
const LARGEST: usize = 16 << 20;
/// The same of one with literals.
const LARGEST_ALONE: usize = 2 << 20;
/// What each thread may remember of one.
const REMEMBERED: usize = 256 << 10;

/// Expressions, and the rules that they belong to.
#[derive(Debug, Default)]
pub(crate) struct Set {
    /// Finds literals; the rest goes by their numbers.
    finder: Option<AhoCorasick>,
    /// Which of `likely` a literal is of.
    literals: Vec<usize>,
    /// Expressions that need a literal.
    likely: Vec<(Regex, usize)>,
    /// Those that need none, tried on every text.
    others: RegexSet,
    owners: Vec<usize>,
}

/// Why expressions cannot be used.
#[derive(Debug)]
pub(crate) struct Unusable {
    /// Of which rules.
    pub(crate) rules: Vec<usize>,
    pub(crate) why: String,
}

impl Set {
    /// Compiles expressions, each of the rule in the same place of `owners`.
    pub(crate) fn new(expressions: Vec<String>, owners: Vec<usize>) -> Result<Self, Unusable> {
        let (mut set, mut all, mut others) = (Self::default(), Vec::new(), Vec::new());
        for (expression, owner) in expressions.into_iter().zip(owners) {
            let Some(needles) = needles(&expression) else {
                others.push(expression);
                set.owners.push(owner);
                continue;
            };
            let mut builder = RegexBuilder::new(&expression);
            let regex = builder.size_limit(LARGEST_ALONE).dfa_size_limit(REMEMBERED).build();
            let regex = regex.map_err(|error| Unusable { rules: vec![owner], why: error.to_string() })?;
            set.literals.extend(needles.iter().map(|_| set.likely.len()));
            all.extend(needles);
            set.likely.push((regex, owner));
        }
        let machine = RegexSetBuilder::new(&others).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
        set.others = machine.map_err(|error| Unusable { rules: set.owners.clone(), why: error.to_string() })?;
        if !all.is_empty() {
            let mut builder = AhoCorasick::builder();
            builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard).kind(Some(AhoCorasickKind::DFA));
            let finder = builder.build(&all);
            let rules = || set.likely.iter().map(|(_, owner)| *owner).collect();
            set.finder = Some(finder.map_err(|error| Unusable { rules: rules(), why: error.to_string() })?);
        }
        Ok(set)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.likely.is_empty() && self.owners.is_empty()
    }

    /// Marks the rules whose expression matches the text.
    pub(crate) fn mark(&self, text: &str, hits: &mut [bool]) {
        if self.is_empty() || text.is_empty() {
            return;
        }
        let mut hit = |owner: usize| {
            if let Some(hit) = hits.get_mut(owner) {
                *hit = true;
            }
        };
        // Whether any does is found out faster than which do.
        if !self.owners.is_empty() && self.others.is_match(text) {
            self.others.matches(text).iter().filter_map(|found| self.owners.get(found)).for_each(|owner| hit(*owner));
        }
        let Some(finder) = &self.finder else { return };
        let mut tried = vec![!text.is_ascii() && text.contains(FOLDED); self.likely.len()];
        if !tried.first().is_some_and(|all| *all) {
            for found in finder.find_overlapping_iter(text) {
                if let Some(tried) = self.literals.get(found.pattern().as_usize()).and_then(|at| tried.get_mut(*at)) {
                    *tried = true;
                }
            }
        }
        let likely = self.likely.iter().zip(tried).filter(|((regex, _), tried)| *tried && regex.is_match(text));
        likely.for_each(|((_, owner), _)| hit(*owner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(expressions: &[&str], text: &str) -> Vec<bool> {
        let owners = (0..expressions.len()).collect();
        let set = Set::new(expressions.iter().map(ToString::to_string).collect(), owners).expect("they are sound");
        let mut hits = vec![false; expressions.len()];
        set.mark(text, &mut hits);
        hits
    }

    #[test]
    fn what_matches_is_found_with_and_without_literals() {
        let all = [r"(?i)\bact now\b", r"\d{4}", r"(?i)(?:risk|kelvin) ?free", "(?i)order .{0,9}now"];
        for (text, expected) in [
            ("", [false; 4]),
            ("nothing", [false; 4]),
            ("ACT Now, or order right now", [true, false, false, true]),
            ("exact nowhere, 1234", [false, true, false, false]),
            ("ri\u{17f}kfree", [false, false, true, false]),
            ("\u{212a}elvin free", [false, false, true, false]),
            ("order then nothing", [false; 4]),
        ] {
            assert_eq!(marked(&all, text), expected, "{text}");
        }
        assert!(Set::default().is_empty());
    }

    #[test]
    fn what_is_too_large_is_refused_with_its_rule() {
        let huge = vec!["abc[^a]{9000}b".repeat(40), "[^a]{9000}b".repeat(40)];
        for (at, expression) in huge.into_iter().enumerate() {
            let fault = Set::new(vec!["abc".to_owned(), expression], vec![7, 9]).expect_err("too large");
            assert_eq!(fault.rules, [9], "{at}: {}", fault.why);
        }
    }
}
