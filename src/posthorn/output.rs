//! What a command answers: a table or sentence for people, one JSON document for programs.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Columns of a terminal below which tables are not made to fit.
const NARROW: u16 = 72;

/// Where the answer goes, and for whom it is.
pub struct Output {
    answer: Box<dyn Write + Send>,
    json: bool,
    terminal: bool,
}

impl Output {
    /// To standard output.
    #[must_use]
    pub fn standard(json: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { answer: Box::new(stdout), json, terminal }
    }

    /// To anything else, as to a file: no colours, no folding of wide tables.
    #[must_use]
    pub fn to(answer: impl Write + Send + 'static, json: bool) -> Self {
        Self { answer: Box::new(answer), json, terminal: false }
    }

    /// Whether a program reads.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Answers: with the value for programs, with the text for people.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn answer<T: Serialize>(&mut self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? } else { text() };
        self.write(&text)
    }

    /// Answers with rows: an array of the values for programs, a table for people.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn rows<T: Serialize>(
        &mut self,
        values: &[T],
        headings: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> anyhow::Result<()> {
        let terminal = self.terminal;
        self.answer(&values, || table(terminal, headings, values.iter().map(row)))
    }

    /// Answers with one thing: its value for programs, a line for each of its properties for people.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn properties<T: Serialize>(&mut self, value: &T, properties: &[(&str, String)]) -> anyhow::Result<()> {
        let width = properties.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let line = |(name, value): &(&str, String)| format!("{name:width$}  {value}").trim_end().to_owned();
        self.answer(value, || properties.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    /// Answers with text that is for people whoever reads.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn text(&mut self, text: &str) -> anyhow::Result<()> {
        self.write(text)
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        match write!(self.answer, "{text}{end}").and_then(|()| self.answer.flush()) {
            // The reader has seen enough, as `head` has; what the command does is done all the same.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done.context("the answer cannot be written"),
        }
    }
}

/// Says something to a person beside the answer, on standard error.
pub fn tell(text: &str) {
    // There is nobody left to tell that it failed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// A table that a person can read; as wide as it needs unless it has to fit a terminal.
#[must_use]
pub fn table(terminal: bool, headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.iter().map(|heading| heading.to_uppercase()));
    // In a very narrow one nothing could be read that is folded into columns.
    let fold = terminal && table.width().is_some_and(|width| width >= NARROW);
    table.set_content_arrangement(if fold { ContentArrangement::Dynamic } else { ContentArrangement::Disabled });
    table.add_rows(rows);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 1));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// `yes` or `no`.
#[must_use]
pub fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one writer").write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(json: bool, work: impl FnOnce(&mut Output) -> anyhow::Result<()>) -> String {
        let page = Page::default();
        work(&mut Output::to(page.clone(), json)).expect("written");
        let octets = page.0.lock().expect("one writer").clone();
        String::from_utf8(octets).expect("text")
    }

    #[derive(Serialize)]
    struct Named {
        name: &'static str,
    }

    #[test]
    fn rows_are_a_table_or_an_array() {
        let rows = [Named { name: "one" }, Named { name: "three" }];
        let write = |output: &mut Output| {
            output.rows(&rows, &["name", "length"], |row| vec![row.name.to_owned(), row.name.len().to_string()])
        };
        assert_eq!(written(false, write), "NAME   LENGTH\none    3\nthree  5\n");
        let parsed: serde_json::Value = serde_json::from_str(&written(true, write)).expect("one document");
        assert_eq!(parsed, serde_json::json!([{ "name": "one" }, { "name": "three" }]));
    }

    #[test]
    fn an_empty_list_is_still_a_document() {
        let none: [Named; 0] = [];
        let write = |output: &mut Output| output.rows(&none, &["name"], |_| Vec::new());
        assert_eq!(written(true, write), "[]\n");
        assert_eq!(written(false, write), "NAME\n");
    }

    #[test]
    fn properties_stand_under_each_other() {
        let properties = [("a", "1".to_owned()), ("bcd", String::new())];
        let write = |output: &mut Output| output.properties(&Named { name: "x" }, &properties);
        assert_eq!(written(false, write), "a    1\nbcd\n");
    }
}
