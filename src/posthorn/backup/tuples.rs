//! Rows in PostgreSQL's binary COPY format ("Binary Format" in the documentation of COPY): where they begin and end.

use anyhow::{Context, bail};

/// What the format begins with: its signature, no flags, no extension.
const BEGINNING: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: [u8; 2] = [0xff, 0xff];

/// No row is larger: bodies are cut into parts of a mebibyte.
const LARGEST_ROW: usize = 256 << 20;

/// Cuts a stream of rows into pieces that are whole each.
#[derive(Debug)]
pub struct Cutter {
    buffer: Vec<u8>,
    /// Where the row begins that is not whole yet.
    whole: usize,
    rows: u64,
    began: bool,
    ended: bool,
}

/// A piece.
#[derive(Debug)]
pub struct Piece {
    /// In the format.
    pub octets: Vec<u8>,
    /// How many rows.
    pub rows: u64,
}

impl Default for Cutter {
    fn default() -> Self {
        Self { buffer: BEGINNING.to_vec(), whole: BEGINNING.len(), rows: 0, began: false, ended: false }
    }
}

impl Cutter {
    /// Takes what came.
    ///
    /// # Errors
    /// When it is not the format.
    pub fn push(&mut self, mut octets: &[u8]) -> anyhow::Result<()> {
        if !self.began {
            let Some(rest) = octets.strip_prefix(BEGINNING) else {
                bail!("PostgreSQL sends rows in an unknown format")
            };
            octets = rest;
            self.began = true;
        }
        self.buffer.extend_from_slice(octets);
        while !self.ended {
            match row_end(&self.buffer, self.whole)? {
                Step::Row(end) => {
                    self.whole = end;
                    self.rows += 1;
                }
                Step::End => self.ended = true,
                Step::More => break,
            }
        }
        Ok(())
    }

    /// What is whole, when it is so large.
    pub fn cut(&mut self, least: usize) -> Option<Piece> {
        if self.rows == 0 || self.whole < least {
            return None;
        }
        let rest = self.buffer.split_off(self.whole);
        let mut next = Vec::with_capacity(least + (least >> 2) + rest.len());
        next.extend_from_slice(BEGINNING);
        next.extend_from_slice(&rest);
        let mut octets = std::mem::replace(&mut self.buffer, next);
        octets.extend_from_slice(&END);
        self.whole = BEGINNING.len();
        Some(Piece { octets, rows: std::mem::take(&mut self.rows) })
    }

    /// Whether all rows came.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

/// The rows of a piece.
#[derive(Debug)]
pub struct Rows<'p> {
    piece: &'p [u8],
    at: usize,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'p>(&'p [u8]);

impl<'p> Rows<'p> {
    /// Reads a piece.
    ///
    /// # Errors
    /// When it is not the format.
    pub fn of(piece: &'p [u8]) -> anyhow::Result<Self> {
        if !piece.starts_with(BEGINNING) {
            bail!("rows in an unknown format");
        }
        Ok(Self { piece, at: BEGINNING.len() })
    }

    /// The next one.
    ///
    /// # Errors
    /// When it is not the format.
    pub fn next_row(&mut self) -> anyhow::Result<Option<Row<'p>>> {
        match row_end(self.piece, self.at)? {
            Step::Row(end) => {
                let row = Row(&self.piece[self.at..end]);
                self.at = end;
                Ok(Some(row))
            }
            Step::End if self.at + END.len() == self.piece.len() => Ok(None),
            Step::End | Step::More => bail!("rows break off, or go on behind their end"),
        }
    }

    /// How many there are.
    ///
    /// # Errors
    /// When it is not the format.
    pub fn count(mut self) -> anyhow::Result<u64> {
        let mut rows = 0;
        while self.next_row()?.is_some() {
            rows += 1;
        }
        Ok(rows)
    }
}

impl<'p> Row<'p> {
    /// The octets of a column, by its place; `None` is null.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn column(self, place: usize) -> anyhow::Result<Option<&'p [u8]>> {
        let mut at = 2;
        for _ in 0..place {
            at += 4 + usize::try_from(length(self.0, at).context("a row has too few columns")?).unwrap_or_default();
        }
        let length = length(self.0, at).context("a row has too few columns")?;
        Ok(usize::try_from(length).ok().map(|length| &self.0[at + 4..at + 4 + length]))
    }

    /// A column of the type `bigint`.
    ///
    /// # Errors
    /// When it is none, or null.
    pub fn number(self, place: usize) -> anyhow::Result<i64> {
        let octets = self.column(place)?.context("a number is missing")?;
        Ok(i64::from_be_bytes(octets.try_into().context("a number is none")?))
    }

    /// The whole row in the format.
    #[must_use]
    pub fn octets(self) -> &'p [u8] {
        self.0
    }
}

/// Rows that were chosen one by one, in the format.
#[derive(Debug)]
pub struct Chosen(Vec<u8>);

impl Default for Chosen {
    fn default() -> Self {
        Self(BEGINNING.to_vec())
    }
}

impl Chosen {
    /// Adds one.
    pub fn add(&mut self, row: Row<'_>) {
        self.0.extend_from_slice(row.octets());
    }

    /// The piece, and how many rows; `None` when it has none.
    #[must_use]
    pub fn piece(mut self) -> Option<Vec<u8>> {
        let is_empty = self.0.len() == BEGINNING.len();
        self.0.extend_from_slice(&END);
        (!is_empty).then_some(self.0)
    }
}

enum Step {
    Row(usize),
    End,
    More,
}

/// Where the row that begins here ends.
fn row_end(octets: &[u8], start: usize) -> anyhow::Result<Step> {
    let Some(count) = octets.get(start..start + 2) else { return Ok(Step::More) };
    let columns = i16::from_be_bytes([count[0], count[1]]);
    if columns < 0 {
        return Ok(Step::End);
    }
    let mut at = start + 2;
    for _ in 0..columns {
        let Some(length) = length(octets, at) else { return Ok(Step::More) };
        at += 4 + usize::try_from(length).unwrap_or_default();
        if at - start > LARGEST_ROW {
            bail!("a row is larger than any of ours");
        }
    }
    Ok(if at <= octets.len() { Step::Row(at) } else { Step::More })
}

/// The length of the column that begins here; negative is null.
fn length(octets: &[u8], at: usize) -> Option<i32> {
    let octets = octets.get(at..at + 4)?;
    Some(i32::from_be_bytes(octets.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a number and a text, which is null where it is empty.
    fn stream(rows: &[(i64, &str)]) -> Vec<u8> {
        let mut octets = BEGINNING.to_vec();
        for (number, text) in rows {
            octets.extend_from_slice(&2_i16.to_be_bytes());
            octets.extend_from_slice(&8_i32.to_be_bytes());
            octets.extend_from_slice(&number.to_be_bytes());
            match text.len() {
                0 => octets.extend_from_slice(&(-1_i32).to_be_bytes()),
                length => {
                    octets.extend_from_slice(&i32::try_from(length).expect("short").to_be_bytes());
                    octets.extend_from_slice(text.as_bytes());
                }
            }
        }
        octets.extend_from_slice(&END);
        octets
    }

    #[test]
    fn pieces_are_whole_however_the_stream_is_cut() {
        let rows = [(1, "one"), (2, ""), (-3, "three and more")];
        let whole = stream(&rows);
        for step in 1..whole.len() {
            let mut cutter = Cutter::default();
            // The beginning comes in one piece, as PostgreSQL sends it.
            cutter.push(&whole[..19]).expect("the format");
            let mut pieces = Vec::new();
            for octets in whole[19..].chunks(step) {
                cutter.push(octets).expect("the format");
                pieces.extend(cutter.cut(30));
            }
            assert!(cutter.has_ended());
            pieces.extend(cutter.cut(0));
            assert!(cutter.cut(0).is_none());
            let mut found = Vec::new();
            for piece in &pieces {
                assert_eq!(Rows::of(&piece.octets).expect("the format").count().expect("the format"), piece.rows);
                let mut rows = Rows::of(&piece.octets).expect("the format");
                while let Some(row) = rows.next_row().expect("the format") {
                    let text = row.column(1).expect("a column").unwrap_or_default();
                    found.push((row.number(0).expect("a number"), String::from_utf8_lossy(text).into_owned()));
                    assert!(row.column(2).is_err());
                }
            }
            assert_eq!(found, rows.map(|(number, text)| (number, text.to_owned())), "{step}");
        }
    }

    #[test]
    fn what_breaks_off_is_noticed() {
        let whole = stream(&[(1, "one"), (2, "two")]);
        for end in 19..whole.len() {
            assert!(Rows::of(&whole[..end]).expect("the format").count().is_err(), "{end}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(Rows::of(&longer).expect("the format").count().is_err());
        assert!(Rows::of(b"PGCOPY").is_err());
        let mut cutter = Cutter::default();
        assert!(cutter.push(b"1\tone\n").is_err());
    }

    #[test]
    fn chosen_rows_are_a_piece() {
        let whole = stream(&[(1, "one"), (2, "two")]);
        let mut rows = Rows::of(&whole).expect("the format");
        let mut chosen = Chosen::default();
        rows.next_row().expect("the format");
        chosen.add(rows.next_row().expect("the format").expect("a row"));
        assert_eq!(chosen.piece().expect("one row"), stream(&[(2, "two")]));
        assert!(Chosen::default().piece().is_none());
    }
}
