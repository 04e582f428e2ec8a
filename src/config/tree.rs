//! What the sources say, as one tree in which every value knows where it was written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use figment::value::{Dict, Num, Value};
use toml_edit::{Item, Table, TableLike};

use crate::{Origin, Problem};

/// A value and where its key was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) shape: Shape,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Bool(bool),
    /// A date or time, which nothing here wants.
    Date,
    Float(f64),
    Integer(i64),
    List(Vec<Node>),
    /// A value from outside TOML, whose type is what its key wants.
    Raw(String),
    Table(BTreeMap<String, Node>),
    Text(String),
}

impl Shape {
    /// The shape's name in messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Date => "a date",
            Self::Float(_) => "a fraction",
            Self::Integer(_) => "an integer",
            Self::List(_) => "a list",
            Self::Raw(_) | Self::Text(_) => "a text",
            Self::Table(_) => "a table",
        }
    }

    /// Reads a raw value that is not wanted as a text: `true`, `5`, `[…]`, `{…}`.
    pub(crate) fn read(raw: &str, origin: &Origin) -> Self {
        // Parsing cannot fail: what is nothing else is a text.
        raw.parse::<Value>().map_or_else(|never| match never {}, |value| from_value(value, origin))
    }
}

impl Node {
    pub(crate) fn table(origin: Origin) -> Self {
        Self { origin, shape: Shape::Table(BTreeMap::new()) }
    }

    /// Parses a TOML text.
    pub(crate) fn parse(file: &Arc<Path>, text: &str) -> Result<Self, Problem> {
        let places = Places::new(file, text);
        let document = toml_edit::Document::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            Problem::new(&places.at(at), "", error.message().trim().replace('\n', ", "))
        })?;
        Ok(from_table(document.as_table(), places.at(0), &places))
    }

    /// A raw value at the end of a path of keys.
    pub(crate) fn raw(path: &[&str], value: &str, origin: &Origin) -> Self {
        let leaf = Self { origin: origin.clone(), shape: Shape::Raw(value.to_owned()) };
        path.iter().rev().fold(leaf, |inner, key| Self {
            origin: origin.clone(),
            shape: Shape::Table(BTreeMap::from([((*key).to_owned(), inner)])),
        })
    }

    /// Lays a later source over this one: tables merge, `[[rows]]` of files append, anything else is replaced.
    pub(crate) fn merge(&mut self, later: Self) {
        match (&mut self.shape, later.shape) {
            (Shape::Table(mine), Shape::Table(theirs)) => {
                for (key, node) in theirs {
                    match mine.get_mut(&key) {
                        Some(known) => known.merge(node),
                        None => {
                            mine.insert(key, node);
                        }
                    }
                }
            }
            (Shape::List(mine), Shape::List(theirs)) if rows(mine) && rows(&theirs) => mine.extend(theirs),
            (_, shape) => {
                self.shape = shape;
                self.origin = later.origin;
            }
        }
    }

    /// Notes every value's origin under its key path.
    pub(crate) fn origins(&self, path: &str, into: &mut BTreeMap<String, Origin>) {
        match &self.shape {
            Shape::Table(entries) => {
                for (key, node) in entries {
                    node.origins(&join(path, key), into);
                }
            }
            Shape::List(items) => {
                for (at, node) in items.iter().enumerate() {
                    node.origins(&format!("{path}[{at}]"), into);
                }
            }
            _ => {}
        }
        if !path.is_empty() {
            into.insert(path.to_owned(), self.origin.clone());
        }
    }

    pub(crate) fn into_value(self) -> Value {
        match self.shape {
            Shape::Bool(value) => value.into(),
            Shape::Date => Value::from("a date"),
            Shape::Float(value) => value.into(),
            Shape::Integer(value) => value.into(),
            Shape::List(items) => items.into_iter().map(Self::into_value).collect::<Vec<_>>().into(),
            Shape::Raw(value) | Shape::Text(value) => value.into(),
            Shape::Table(entries) => {
                entries.into_iter().map(|(key, node)| (key, node.into_value())).collect::<Dict>().into()
            }
        }
    }
}

/// A key path grown by one key.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Whether a list is `[[rows]]`, which several files may add to.
fn rows(items: &[Node]) -> bool {
    let row = |node: &Node| matches!((&node.shape, &node.origin), (Shape::Table(_), Origin::File { .. }));
    !items.is_empty() && items.iter().all(row)
}

fn from_table(table: &dyn TableLike, origin: Origin, places: &Places<'_>) -> Node {
    let mut entries = BTreeMap::new();
    for (name, item) in table.iter() {
        let key = table.get_key_value(name).and_then(|(key, _)| key.span());
        let at = key.or_else(|| item.span()).map_or(0, |span| span.start);
        entries.insert(name.to_owned(), from_item(item, places.at(at), places));
    }
    Node { origin, shape: Shape::Table(entries) }
}

fn from_item(item: &Item, origin: Origin, places: &Places<'_>) -> Node {
    let place =
        |span: Option<std::ops::Range<usize>>| span.map_or_else(|| origin.clone(), |span| places.at(span.start));
    match item {
        Item::Value(value) => from_toml(value, origin, places),
        Item::Table(table) => from_table(table, origin, places),
        Item::ArrayOfTables(tables) => {
            let row = |table: &Table| from_table(table, place(table.span()), places);
            let items = tables.iter().map(row).collect();
            Node { origin, shape: Shape::List(items) }
        }
        Item::None => Node::table(origin),
    }
}

fn from_toml(value: &toml_edit::Value, origin: Origin, places: &Places<'_>) -> Node {
    let shape = match value {
        toml_edit::Value::Array(items) => {
            let item = |value: &toml_edit::Value| {
                let at = value.span().map_or_else(|| origin.clone(), |span| places.at(span.start));
                from_toml(value, at, places)
            };
            Shape::List(items.iter().map(item).collect())
        }
        toml_edit::Value::Boolean(value) => Shape::Bool(*value.value()),
        toml_edit::Value::Datetime(_) => Shape::Date,
        toml_edit::Value::Float(value) => Shape::Float(*value.value()),
        toml_edit::Value::InlineTable(table) => return from_table(table, origin, places),
        toml_edit::Value::Integer(value) => Shape::Integer(*value.value()),
        toml_edit::Value::String(value) => Shape::Text(value.value().clone()),
    };
    Node { origin, shape }
}

fn from_value(value: Value, origin: &Origin) -> Shape {
    let node = |value| Node { origin: origin.clone(), shape: from_value(value, origin) };
    match value {
        Value::Array(_, items) => Shape::List(items.into_iter().map(node).collect()),
        Value::Bool(_, value) => Shape::Bool(value),
        Value::Char(_, value) => Shape::Text(value.into()),
        Value::Dict(_, entries) => Shape::Table(entries.into_iter().map(|(key, value)| (key, node(value))).collect()),
        Value::Empty(..) => Shape::Text(String::new()),
        Value::Num(_, Num::F32(value)) => Shape::Float(value.into()),
        Value::Num(_, Num::F64(value)) => Shape::Float(value),
        Value::Num(_, number) => {
            let signed = number.to_i128().or_else(|| number.to_u128().and_then(|n| i128::try_from(n).ok()));
            Shape::Integer(signed.and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX))
        }
        Value::String(_, value) => Shape::Text(value),
    }
}

/// Octet offsets of one file as lines and columns.
struct Places<'t> {
    file: Arc<Path>,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Places<'t> {
    fn new(file: &Arc<Path>, text: &'t str) -> Self {
        let ends = newlines(text);
        Self { file: Arc::clone(file), text, starts: std::iter::once(0).chain(ends.map(|end| end + 1)).collect() }
    }

    fn at(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let column = self.text.get(start..offset).map_or(1, |before| before.chars().count() + 1);
        Origin::File { file: Arc::clone(&self.file), line, column }
    }
}

fn newlines(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Node {
        Node::parse(&Path::new("a.toml").into(), text).expect("TOML")
    }

    fn origins(node: &Node) -> BTreeMap<String, String> {
        let mut origins = BTreeMap::new();
        node.origins("", &mut origins);
        origins.into_iter().map(|(key, origin)| (key, origin.to_string())).collect()
    }

    #[test]
    fn every_value_knows_its_line() {
        let tree = parse(
            "[server]\nhostname = 'a'\n\n[[listener]]\nname = 'x'\nlisten = [\n  '*:25',\n  { address = '*:26' },\n]\n[[listener.peer]]\nnetwork = '::1'\n",
        );
        let origins = origins(&tree);
        for (key, place) in [
            ("server", "a.toml:1"),
            ("server.hostname", "a.toml:2"),
            ("listener[0]", "a.toml:4"),
            ("listener[0].name", "a.toml:5"),
            ("listener[0].listen", "a.toml:6"),
            ("listener[0].listen[0]", "a.toml:7"),
            ("listener[0].listen[1].address", "a.toml:8"),
            ("listener[0].peer[0]", "a.toml:10"),
            ("listener[0].peer[0].network", "a.toml:11"),
        ] {
            assert_eq!(origins.get(key).map(String::as_str), Some(place), "{key}");
        }
    }

    #[test]
    fn columns_count_characters() {
        let Shape::Table(entries) = parse("a = 1\n'ä' = { b = 2 }\n").shape else { panic!("a table") };
        let Shape::Table(inner) = &entries["ä"].shape else { panic!("a table") };
        assert!(matches!(inner["b"].origin, Origin::File { line: 2, column: 9, .. }), "{:?}", inner["b"].origin);
    }

    #[test]
    fn rows_append_and_lists_are_replaced() {
        let mut tree = parse("[auth]\nmechanisms = ['PLAIN']\n[[listener]]\nname = 'a'\n");
        tree.merge(parse("[auth]\nmechanisms = ['LOGIN']\n[[listener]]\nname = 'b'\n"));
        let text = format!("{:?}", tree.into_value());
        assert!(!text.contains("PLAIN") && text.contains("LOGIN"), "{text}");
        assert!(text.contains("\"a\"") && text.contains("\"b\""), "{text}");
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let problem = Node::parse(&Path::new("a.toml").into(), "[server]\nhostname = \n").expect_err("not TOML");
        assert_eq!((problem.line, problem.file.as_str()), (2, "a.toml"));
    }
}
