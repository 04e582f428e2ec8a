//! What holds, and where it was written.

use serde_json::{Map, Value};

use crate::render::{inline, key, rows};
use crate::tree::join;
use crate::{Loaded, Origin};

impl Loaded {
    /// The whole configuration as TOML, each value with its origin in a comment. Passwords are replaced.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = String::new();
        if let Some(sections) = self.values().as_object() {
            self.table(sections, Place { key: "", header: "" }, &mut out);
        }
        out
    }

    /// The value of a key path such as `server.hostname` or `listener[0].listen`, as TOML, and its origin; `None`
    /// when there is no such key or it is unset. Passwords are replaced.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<(String, Origin)> {
        let values = self.values();
        let mut value = &values;
        for word in path.split(['.', '[']) {
            value = match word.strip_suffix(']') {
                Some(index) => value.get(index.parse::<usize>().ok()?)?,
                None => value.get(word)?,
            };
        }
        (!value.is_null()).then(|| (inline(value), self.origin(path)))
    }

    fn values(&self) -> Value {
        // Every key is a text and every value a plain one, so nothing here can fail.
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    /// Plain values first: what follows a sub-table's header belongs to the sub-table.
    fn table(&self, entries: &Map<String, Value>, place: Place<'_>, out: &mut String) {
        let (nested, plain): (Vec<_>, Vec<_>) =
            entries.iter().filter(|(_, v)| !v.is_null()).partition(|(_, v)| v.is_object() || rows(v).is_some());
        for (name, value) in plain {
            let origin = self.origin(&join(place.key, name));
            out.push_str(&format!("{} = {}  # {origin}\n", key(name), inline(value)));
        }
        for (name, value) in nested {
            let (path, header) = (join(place.key, name), join(place.header, &key(name)));
            if let Some(rows) = rows(value) {
                for (at, row) in rows.into_iter().enumerate() {
                    let path = format!("{path}[{at}]");
                    out.push_str(&format!("\n[[{header}]]\n"));
                    self.table(row, Place { key: &path, header: &header }, out);
                }
            } else if let Some(entries) = value.as_object().filter(|entries| !entries.is_empty()) {
                out.push_str(&format!("\n[{header}]\n"));
                self.table(entries, Place { key: &path, header: &header }, out);
            }
        }
    }
}

/// A table by its key path and by its header, which knows no indexes.
#[derive(Clone, Copy)]
struct Place<'p> {
    key: &'p str,
    header: &'p str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::load::tests::load_text;

    const TEXT: &str = "[server]
hostname = 'mx.example.org'
[[listener]]
name = 'smtp'
speaks = 'smtp'
listen = ['*:25', { address = '/run/smtp', file_mode = '0666', peer = [{ network = '::1', deny = true }] }]
[[listener.peer]]
network = '10.0.0.0/8'
context = { 'a b' = 'c\"d' }
";

    #[test]
    fn what_is_shown_can_be_loaded_again() {
        let loaded = load_text(TEXT);
        assert_eq!(load_text(&loaded.show()).config, loaded.config);
        let defaults = Loaded::defaults();
        assert_eq!(load_text(&defaults.show()).config, Config::default());
    }

    #[test]
    fn origins_stand_beside_the_values() {
        let shown = load_text(TEXT).show();
        let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).expect(start).to_owned();
        assert!(line("hostname").ends_with("posthorn.toml:2"));
        assert!(line("hostname").starts_with("hostname = \"mx.example.org\"  # /"));
        assert_eq!(line("max_hops"), "max_hops = 100  # default");
        assert!(line("network").ends_with("posthorn.toml:8"));
        assert!(line("\"a b\"").ends_with("posthorn.toml:9"));
    }

    #[test]
    fn single_values_can_be_asked_for() {
        let loaded = load_text(TEXT);
        let value = |key: &str| loaded.value(key).map(|(value, origin)| (value, origin == Origin::Default));
        assert_eq!(value("server.hostname"), Some(("\"mx.example.org\"".into(), false)));
        assert_eq!(value("smtp.max_hops"), Some(("100".into(), true)));
        assert_eq!(value("listener[0].listen[0]"), Some(("\"*:25\"".into(), false)));
        assert_eq!(value("listener[0].peer[0].network"), Some(("\"10.0.0.0/8\"".into(), false)));
        for missing in ["", "server.nothing", "listener[9]", "listener[x]", "database.url", "server]"] {
            assert_eq!(value(missing), None, "{missing}");
        }
    }

    #[test]
    fn passwords_stay_secret() {
        let loaded = load_text("[database]\nurl = 'postgres://m:s3cret@db/mail'\n");
        assert!(!loaded.show().contains("s3cret"));
        assert!(!format!("{loaded:?}").contains("s3cret"));
        assert_eq!(loaded.value("database.url").map(|found| found.0).as_deref(), Some("\"postgres://m:***@db/mail\""));
    }
}
