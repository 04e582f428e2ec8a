//! One look at the counters, in the text that they are told in.

use std::collections::HashMap;

/// A name, labels and a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
}

/// What was counted at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample(HashMap<String, Vec<Line>>);

impl Sample {
    /// Reads the text; lines that are none of ours are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut lines: HashMap<String, Vec<Line>> = HashMap::new();
        for (name, line) in text.lines().filter(|line| !line.starts_with('#')).filter_map(parse) {
            lines.entry(name.to_owned()).or_default().push(line);
        }
        Self(lines)
    }

    /// The sum of all values of this name with these labels among theirs.
    #[must_use]
    pub fn total(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |line: &&Line| {
            labels.iter().all(|(label, value)| line.labels.iter().any(|(n, v)| n == label && v == value))
        };
        self.lines(name).filter(has).map(|line| line.value).sum::<f64>() + 0.0
    }

    pub(super) fn lines(&self, name: &str) -> impl Iterator<Item = &Line> {
        self.0.get(name).into_iter().flatten()
    }

    pub(super) fn value(&self, name: &str, labels: &[(String, String)]) -> Option<f64> {
        self.lines(name).find(|line| line.labels == labels).map(|line| line.value)
    }
}

impl Line {
    /// The values of these labels, in this order.
    pub(super) fn named(&self, labels: &[&str]) -> String {
        let value = |label: &&str| self.labels.iter().find(|(name, _)| name == *label).map(|(_, value)| value.as_str());
        labels.iter().filter_map(value).collect::<Vec<_>>().join(" ")
    }
}

/// `name{label="value",…} 1.5`
fn parse(line: &str) -> Option<(&str, Line)> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else { return Some((head, Line { labels: Vec::new(), value })) };
    let mut rest = labels.strip_suffix('}')?;
    let mut labels = Vec::new();
    while let Some((label, quoted)) = rest.split_once("=\"") {
        let (value, behind) = unquoted(quoted)?;
        labels.push((label.trim_start_matches(',').to_owned(), value));
        rest = behind;
    }
    Some((name, Line { labels, value }))
}

/// The text up to the closing quote, and what is behind that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_whatever_is_in_them() {
        let sample = Sample::parse("a 1\nb{x=\"1\",y=\"q\\\"}, {=\"} 2.5\nc{x=\"open} 3\nd{x=\"1\"} nought\n# a 4\n");
        assert_eq!(sample.value("a", &[]), Some(1.0));
        let line = sample.lines("b").next().expect("a line");
        assert_eq!((line.named(&["y", "x", "z"]).as_str(), line.value), ("q\"}, {= 1", 2.5));
        assert_eq!((sample.lines("c").count(), sample.lines("d").count()), (0, 0));
    }
}
