//! What is wrong with a configuration, said so that it can be mended.

use std::fmt;

use crate::Origin;

/// One thing that is wrong. Displays as `file:line: key: message (hint)`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file, or the variable or credential as [`Origin`] displays it.
    pub file: String,
    /// The line, from 1; 0 where there are none.
    pub line: usize,
    /// The column, from 1; 0 where there are none.
    pub column: usize,
    /// The key path, such as `listener[0].speaks`; empty when the whole file is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(origin: &Origin, key: impl Into<String>, message: impl Into<String>) -> Self {
        let (file, line, column) = match origin {
            Origin::File { file, line, column } => (file.display().to_string(), *line, *column),
            other => (other.to_string(), 0, 0),
        };
        Self { file, line, column, key: key.into(), message: message.into(), hint: None }
    }

    pub(crate) fn hinted(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// Everything that is wrong, in the order of the files. Displays as one line each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// `did you mean ...?` for the candidate that looks most like the word, when one looks like it at all.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let folded = word.to_lowercase();
    let score = |candidate: &'c str| (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()), candidate);
    let (distance, best) = candidates.into_iter().map(score).min_by_key(|(distance, _)| *distance)?;
    let length = folded.chars().count();
    let near = distance < length
        && (distance <= (length / 3).max(1) || strsim::jaro_winkler(&folded, &best.to_lowercase()) > 0.85);
    near.then(|| format!("did you mean \"{best}\"?"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_problem_reads_like_a_compiler_message() {
        let origin = Origin::File { file: Path::new("a.toml").into(), line: 3, column: 1 };
        let problem = Problem::new(&origin, "server.hostnam", "unknown key");
        let hint = nearest("hostnam", ["data", "hostname"]);
        assert_eq!(
            problem.hinted(hint).to_string(),
            "a.toml:3: server.hostnam: unknown key (did you mean \"hostname\"?)"
        );
        let origin = Origin::Environment("POSTHORN_X__Y".into());
        assert_eq!(Problem::new(&origin, "x.y", "no").to_string(), "environment POSTHORN_X__Y: x.y: no");
    }

    #[test]
    fn only_near_words_are_near() {
        assert_eq!(nearest("smpt", ["imap", "smtp"]).as_deref(), Some("did you mean \"smtp\"?"));
        assert_eq!(nearest("pop3", ["imap", "smtp"]), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
