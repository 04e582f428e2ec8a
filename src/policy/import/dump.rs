//! Tables out of a dump: what `mariadb-dump`, `mysqldump` and `pg_dump` write.
//!
//! Statements that make or fill tables are read, others are passed over.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};

use posthorn_store::foreign::ForeignRow;

use super::{Tables, TooMuch};

/// Why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It cannot be read.
    #[error("the dump cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Something is too long.
    #[error("line {0} of the dump: a statement is longer than 64 MiB")]
    Long(u64),
    /// A statement is not as such programs write it.
    #[error("line {line} of the dump: the rows of table {table} cannot be read")]
    Garbled {
        /// The line where it ends.
        line: u64,
        /// The table.
        table: String,
    },
    /// It holds too much.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

/// Octets of a statement.
const LONGEST: usize = 64 << 20;

/// Reads those of these tables that a dump has. After each statement `progress` is told of the octets read so far.
///
/// # Errors
/// When the dump cannot be read, or is none.
pub fn read_dump(
    dump: impl BufRead,
    names: &[&str],
    tables: &mut Tables,
    mut progress: impl FnMut(u64),
) -> Result<(), DumpError> {
    let mut lines = Lines { dump, number: 0, octets: 0 };
    let mut columns = HashMap::new();
    let (mut statement, mut line) = (Vec::new(), Vec::new());
    let mut quotes = Quotes { backslash: true, open: None };
    while lines.next(&mut line)? {
        if statement.is_empty() {
            if line.starts_with(b"--") || line.starts_with(b"#") || line.trim_ascii().is_empty() {
                // PostgreSQL's texts know no backslash.
                quotes.backslash &= !line.starts_with(b"-- PostgreSQL database dump");
                continue;
            }
            if line.starts_with(b"/*") {
                continue;
            }
        }
        if statement.len() + line.len() > LONGEST {
            return Err(DumpError::Long(lines.number));
        }
        statement.extend_from_slice(&line);
        if !quotes.ends(&line) {
            continue;
        }
        let mut reader = Reader { rest: &statement, backslash: quotes.backslash };
        match reader.statement() {
            Some(Statement::Create(table, names)) => {
                columns.insert(table, names);
            }
            Some(Statement::Insert(table, own)) if names.contains(&table.as_str()) => {
                let own = own.or_else(|| columns.get(&table).cloned());
                let garbled = || DumpError::Garbled { line: lines.number, table: table.clone() };
                let rows = own.and_then(|columns| reader.rows(&columns)).ok_or_else(garbled)?;
                tables.add(&table, rows)?;
            }
            Some(Statement::Copy(table, columns)) => {
                copied(&mut lines, (&table, &columns), names.contains(&table.as_str()).then_some(&mut *tables))?;
            }
            Some(Statement::Insert(..)) | None => {}
        }
        statement.clear();
        progress(lines.octets);
    }
    for table in columns.into_keys().filter(|table| names.contains(&table.as_str())) {
        tables.found(&table);
    }
    Ok(())
}

/// The lines of a dump.
struct Lines<R> {
    dump: R,
    number: u64,
    octets: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads the next line, with its end; `false` at the end of the dump.
    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, DumpError> {
        line.clear();
        let read = (&mut self.dump).take(LONGEST as u64 + 1).read_until(b'\n', line)?;
        self.number += 1;
        self.octets += read as u64;
        if read > LONGEST { Err(DumpError::Long(self.number)) } else { Ok(read > 0) }
    }
}

/// The rows behind a COPY, up to the line that ends them; `None` passes over them.
fn copied<R: BufRead>(
    lines: &mut Lines<R>,
    (table, columns): (&str, &[String]),
    mut tables: Option<&mut Tables>,
) -> Result<(), DumpError> {
    let mut line = Vec::new();
    let mut rows = Vec::new();
    while lines.next(&mut line)? {
        let fields = line.strip_suffix(b"\n").unwrap_or(&line);
        if fields == b"\\." {
            break;
        }
        let Some(tables) = &mut tables else { continue };
        let values = fields.split(|octet| *octet == b'\t').map(unescaped);
        rows.push(columns.iter().cloned().zip(values).collect());
        if rows.len() >= 1000 {
            tables.add(table, std::mem::take(&mut rows))?;
        }
    }
    if let Some(tables) = tables {
        tables.found(table);
        tables.add(table, rows)?;
    }
    Ok(())
}

/// A field of COPY; `\N` is NULL.
fn unescaped(field: &[u8]) -> Option<String> {
    if field == b"\\N" {
        return None;
    }
    let mut octets = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(octet) = rest.next() {
        let octet = if *octet == b'\\' { rest.next().map_or(b'\\', |escaped| plain(*escaped)) } else { *octet };
        octets.push(octet);
    }
    Some(String::from_utf8_lossy(&octets).into_owned())
}

/// What an octet behind a backslash means.
fn plain(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'0' => 0,
        b'Z' => 26,
        other => other,
    }
}

/// Which quotation a statement is in.
struct Quotes {
    backslash: bool,
    open: Option<u8>,
}

impl Quotes {
    /// Whether a statement ends with this line.
    fn ends(&mut self, line: &[u8]) -> bool {
        let mut escaped = false;
        for octet in line {
            match self.open {
                Some(_) if escaped => escaped = false,
                Some(open) if *octet == b'\\' && self.backslash && open != b'`' => escaped = true,
                Some(open) if *octet == open => self.open = None,
                None if matches!(octet, b'\'' | b'"' | b'`') => self.open = Some(*octet),
                _ => {}
            }
        }
        self.open.is_none() && line.trim_ascii_end().ends_with(b";")
    }
}

/// A statement that matters, without the rows.
enum Statement {
    Create(String, Vec<String>),
    Insert(String, Option<Vec<String>>),
    Copy(String, Vec<String>),
}

/// Reads a statement from its front.
struct Reader<'a> {
    rest: &'a [u8],
    backslash: bool,
}

impl Reader<'_> {
    fn statement(&mut self) -> Option<Statement> {
        match self.word()?.as_str() {
            "create" => {
                self.word().filter(|word| word == "table")?;
                let mut table = self.name()?;
                if table == "if" {
                    // IF NOT EXISTS
                    self.word()?;
                    self.word()?;
                    table = self.name()?;
                }
                Some(Statement::Create(table, self.definitions()?))
            }
            "insert" => {
                while self.word().filter(|word| word == "into").is_none() {
                    if self.rest.is_empty() || self.is_at(b'(') {
                        return None;
                    }
                }
                let table = self.name()?;
                let columns = if self.is_at(b'(') { Some(self.names()?) } else { None };
                self.word().filter(|word| word == "values" || word == "value")?;
                Some(Statement::Insert(table, columns))
            }
            "copy" => {
                let table = self.name()?;
                let columns = self.names()?;
                self.word().filter(|word| word == "from")?;
                Some(Statement::Copy(table, columns))
            }
            _ => None,
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn is_at(&mut self, octet: u8) -> bool {
        self.skip_space();
        self.rest.first() == Some(&octet)
    }

    fn take(&mut self, octet: u8) -> Option<()> {
        if self.is_at(octet) {
            self.rest = &self.rest[1..];
            return Some(());
        }
        None
    }

    /// A bare word, folded.
    fn word(&mut self) -> Option<String> {
        self.skip_space();
        let is_part = |octet: &u8| octet.is_ascii_alphanumeric() || b"_$-+.".contains(octet) || !octet.is_ascii();
        let end = self.rest.iter().position(|octet| !is_part(octet)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (end > 0).then(|| String::from_utf8_lossy(word).to_lowercase())
    }

    /// A name; of `schema.table` the table.
    fn name(&mut self) -> Option<String> {
        let mut name = self.part()?;
        while self.rest.first() == Some(&b'.') {
            self.rest = &self.rest[1..];
            name = self.part()?;
        }
        // Bare, both are one word.
        Some(name.rsplit('.').next().unwrap_or_default().to_owned())
    }

    fn part(&mut self) -> Option<String> {
        self.skip_space();
        match self.rest.first() {
            Some(b'`' | b'"') => self.quoted(),
            _ => self.word(),
        }
    }

    /// What stands in quotes of some kind.
    fn quoted(&mut self) -> Option<String> {
        let (quote, mut rest) = self.rest.split_first()?;
        let mut octets = Vec::new();
        loop {
            let (octet, behind) = rest.split_first()?;
            rest = behind;
            if *octet == *quote {
                if rest.first() != Some(quote) {
                    break;
                }
                rest = &rest[1..];
                octets.push(*quote);
            } else if *octet == b'\\' && self.backslash && *quote != b'`' {
                let (escaped, behind) = rest.split_first()?;
                rest = behind;
                octets.push(plain(*escaped));
            } else {
                octets.push(*octet);
            }
        }
        self.rest = rest;
        Some(String::from_utf8_lossy(&octets).into_owned())
    }

    /// `(a, b, c)`.
    fn names(&mut self) -> Option<Vec<String>> {
        self.take(b'(')?;
        let mut names = vec![self.name()?];
        while self.take(b',').is_some() {
            names.push(self.name()?);
        }
        self.take(b')')?;
        Some(names)
    }

    /// The columns that `(a int, b text, primary key (a))` defines.
    fn definitions(&mut self) -> Option<Vec<String>> {
        const OTHER: [&str; 9] =
            ["primary", "unique", "key", "index", "constraint", "fulltext", "spatial", "foreign", "check"];
        self.take(b'(')?;
        let mut names = Vec::new();
        loop {
            self.skip_space();
            let bare = !matches!(self.rest.first(), Some(b'`' | b'"'));
            let name = self.part()?;
            if !(bare && OTHER.contains(&name.as_str())) {
                names.push(name);
            }
            let mut depth = 0;
            loop {
                match self.rest.first()? {
                    b'\'' | b'"' | b'`' => {
                        self.quoted()?;
                        continue;
                    }
                    b'(' => depth += 1,
                    b')' if depth == 0 => return Some(names),
                    b')' => depth -= 1,
                    b',' if depth == 0 => break,
                    _ => {}
                }
                self.rest = &self.rest[1..];
            }
            self.take(b',')?;
        }
    }

    /// `(1, 'a'), (2, NULL)`.
    fn rows(&mut self, columns: &[String]) -> Option<Vec<ForeignRow>> {
        let mut rows = Vec::new();
        loop {
            self.take(b'(')?;
            let mut row = ForeignRow::with_capacity(columns.len());
            for (at, column) in columns.iter().enumerate() {
                if at > 0 {
                    self.take(b',')?;
                }
                row.insert(column.clone(), self.value()?);
            }
            self.take(b')')?;
            rows.push(row);
            if self.take(b',').is_none() {
                self.take(b';')?;
                return Some(rows);
            }
        }
    }

    fn value(&mut self) -> Option<Option<String>> {
        self.skip_space();
        if self.rest.first() == Some(&b'\'') {
            return self.quoted().map(Some);
        }
        let word = self.word()?;
        match (word.as_str(), self.is_at(b'\'')) {
            ("null", false) => Some(None),
            // X'…' are digits of octets.
            ("x", true) => Some(Some(format!("\\x{}", self.quoted()?))),
            // `_binary '…'`, `E'…'`
            (_, true) => self.quoted().map(Some),
            (word, false) => {
                Some(Some(word.strip_prefix("0x").map_or_else(|| word.to_owned(), |hex| format!("\\x{hex}"))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dump: &str, names: &[&str]) -> Result<Tables, DumpError> {
        let mut tables = Tables::default();
        read_dump(dump.as_bytes(), names, &mut tables, |_| {})?;
        Ok(tables)
    }

    fn column(tables: &Tables, table: &str, column: &str) -> Vec<Option<String>> {
        tables.of(table).expect(table).iter().map(|row| row[column].clone()).collect()
    }

    #[test]
    fn a_dump_of_mariadb_is_read() {
        let dump = r"/*M!999999\- enable the sandbox mode */
-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB
DROP TABLE IF EXISTS `greylisting`;
/*!40101 SET character_set_client = utf8 */;
CREATE TABLE `greylisting` (
  `id` int(10) unsigned NOT NULL AUTO_INCREMENT COMMENT 'a; b (c',
  `account` varchar(100) NOT NULL DEFAULT '',
  `email` varbinary(255),
  PRIMARY KEY (`id`),
  UNIQUE KEY `account` (`account`)
) ENGINE=InnoDB;
CREATE TABLE `empty` (`a` decimal(3,2));
LOCK TABLES `greylisting` WRITE;
INSERT INTO `greylisting` VALUES (1,'@.',_binary 'a@b'),
(2,'it\'s; \\ ''x''\n',0x6162),
(3,NULL,NULL);
INSERT INTO `other` VALUES (1);
UNLOCK TABLES;
";
        let tables = read(dump, &["greylisting", "empty"]).expect("a dump");
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(column(&tables, "greylisting", "id"), [some("1"), some("2"), some("3")]);
        assert_eq!(column(&tables, "greylisting", "account"), [some("@."), some("it's; \\ 'x'\n"), None]);
        assert_eq!(column(&tables, "greylisting", "email"), [some("a@b"), some("\\x6162"), None]);
        assert!(tables.of("empty").is_some_and(<[_]>::is_empty) && tables.of("other").is_none());
    }

    #[test]
    fn dumps_of_postgresql_are_read() {
        let dump = "--\n-- PostgreSQL database dump\n--\nSET x = 'y\\';\n\
                    CREATE TABLE public.throttle (\n    id integer NOT NULL,\n    account text DEFAULT ''::text\n);\n\
                    COPY public.throttle (id, account) FROM stdin;\n1\t@a\\tb\n2\t\\N\n\\.\n\
                    COPY public.other (id) FROM stdin;\nit's\n\\.\n\
                    INSERT INTO public.throttle VALUES (3, 'a\\''b\nc');\n\
                    INSERT INTO public.throttle (account, id) VALUES ('d', 4);\n";
        let tables = read(dump, &["throttle"]).expect("a dump");
        let some = |text: &str| Some(text.to_owned());
        let accounts = [some("@a\tb"), None, some("a\\'b\nc"), some("d")];
        assert_eq!(column(&tables, "throttle", "account"), accounts);
        assert_eq!(column(&tables, "throttle", "id"), ["1", "2", "3", "4"].map(some));
    }

    #[test]
    fn what_is_cut_or_garbled_is_refused_or_empty() {
        let garbled = "CREATE TABLE `t` (`a` int);\nINSERT INTO `t` VALUES (1,2);\n";
        assert!(matches!(read(garbled, &["t"]), Err(DumpError::Garbled { line: 2, .. })));
        assert!(matches!(read("INSERT INTO `t` VALUES (1);\n", &["t"]), Err(DumpError::Garbled { .. })));
        for nonsense in ["", "hello\n", "INSERT", "INSERT INTO `t", "\0\0;\n", ";", "create table;\n", "copy;\n"] {
            assert!(read(nonsense, &["t"]).expect(nonsense).is_empty(), "{nonsense}");
        }
    }
}
