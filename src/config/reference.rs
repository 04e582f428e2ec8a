//! The reference, the example and the schema, printed from the structs and their comments.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::render::inline;
use crate::schema::{Form, Schema, summary};
use crate::tree::join;

/// The JSON schema of the configuration, for editors and other programs.
#[must_use]
pub fn schema() -> String {
    format!("{:#}\n", Schema::new().value())
}

/// Every section and key as Markdown tables.
#[must_use]
pub fn reference() -> String {
    let schema = Schema::new();
    let mut out = INTRODUCTION.to_owned();
    for part in parts(&schema) {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n## `{}`\n\n{}\n\n", part.header(), sentence(part.summary));
        out.push_str("| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
        for (name, property) in part.own(&schema) {
            let default = part.default(name, property);
            let default = default.map_or_else(|| "–".to_owned(), |value| format!("`{}`", cell(&inline(value))));
            let meaning = cell(&sentence(summary(property)));
            let _ = writeln!(out, "| `{name}` | {} | {default} | {meaning} |", kinds(&schema, property));
        }
        if let Some(home) = part.home(&schema) {
            let _ = writeln!(out, "\nAnd every option of `{}`, where they are explained.", home.header());
        }
    }
    out
}

/// A configuration file with every key at its default, commented out; keys without a default show a sample.
#[must_use]
pub fn example() -> String {
    let schema = Schema::new();
    let mut out = "# Every setting of Posthorn. Lines without a space behind the # are settings: take away the # to change one.\n".to_owned();
    let parts = parts(&schema);
    for part in &parts {
        // A table of a row is nothing without its row.
        let of_a_row = |row: &Part<'_>| {
            row.rows && part.path.strip_prefix(&*row.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let off = parts.iter().any(of_a_row);
        let _ = write!(out, "\n{}", comment(part.summary));
        let _ = writeln!(out, "{}{}", if off { "#" } else { "" }, part.header());
        for (name, property) in part.own(&schema) {
            let default = part.default(name, property).filter(|value| **value != json!([]));
            let value = default.cloned().unwrap_or_else(|| sample(&schema, name, property));
            out.push_str(&comment(summary(property)));
            let _ = writeln!(out, "#{name} = {}", inline(&value));
        }
        if let Some(home) = part.home(&schema) {
            let _ = writeln!(out, "# And every option of {}, where they are explained.", home.header());
        }
    }
    out
}

const INTRODUCTION: &str = "# Configuration

Printed by `posthorn config reference` from the comments in this folder; do not edit by hand.

Settings come from these places, each overriding the one before: the defaults below; the configuration file, then the
`*.toml` files of `conf.d` beside it in alphabetical order; environment variables such as `POSTHORN_DATABASE__URL`;
credentials of the service manager, files named by key paths such as `database.url`. Tables merge, `[[rows]]` of
several files add up, and any other value replaces the earlier one.

Sizes are octets (`1024`) or texts (`\"50 MiB\"`), durations are seconds (`300`) or texts (`\"250 ms\"`, `\"5 min\"`).
Addresses to listen on are `\"*:25\"` or `\":25\"` (all IPv4 addresses), `\"[*]:25\"` (all IPv6 addresses, and only
those), `\"127.0.0.1:25\"`, `\"[2001:db8::1]:25\"`, the path of a Unix socket, or `\"systemd:NAME\"` for a socket that
the service manager hands over; port 0 lets the kernel choose.

For each client the most specific setting wins, option by option: peers of the address, peers of the listener (in
both the longest prefix first), the address, the listener, the section, the default. `deny` beats `allow`.
`posthorn config explain` shows the outcome with its origin.

For mail that leaves the most specific setting wins too, option by option: the binding group's row for the binding and
the domain, the binding's row for the domain, the group's row for the domain, the binding, the group, the row for the
domain below `[delivery]`, `[delivery]`, the default. Of the rows of one scope only one counts: that with the domain's
name, else the first whose pattern matches. What is unset falls back; zero and `false` are settings. A limit that is
written in one scope is one bucket, shared by all that inherit it; written again, it is another one.
`posthorn config explain --delivery` shows the outcome with its origins and buckets.

Secrets are never settings: keys such as `password_file` name files, and credentials of the service manager are files
below `/run/credentials`.
";

/// A table of the file.
struct Part<'s> {
    path: String,
    rows: bool,
    summary: &'s str,
    form: Form<'s>,
    defaults: Option<&'s Value>,
}

impl<'s> Part<'s> {
    fn header(&self) -> String {
        if self.rows { format!("[[{}]]", self.path) } else { format!("[{}]", self.path) }
    }

    /// Its keys but those that are tables of their own and the options that are explained elsewhere.
    fn own<'p>(&'p self, schema: &'p Schema) -> impl Iterator<Item = (&'p str, &'p Value)> {
        let options = self.home(schema).map(|home| home.options()).unwrap_or_default();
        let alone = |property: &Value| nested(schema, property).is_some_and(|(_, tables)| tables != Tables::Mixed);
        self.form.properties().filter(move |(name, property)| !options.contains(name) && !alone(property))
    }

    /// The default of a key: its own, or what the default of the whole table says.
    fn default<'p>(&'p self, name: &str, property: &'p Value) -> Option<&'p Value> {
        let written = |value: &&Value| !value.is_null();
        let whole = || self.defaults.and_then(|defaults| defaults.get(name)).filter(written);
        property.get("default").filter(written).or_else(whole)
    }

    /// The table in which the options that it takes are explained, when that is another one.
    fn home<'p>(&self, schema: &'p Schema) -> Option<Part<'p>> {
        let inside = |family: &&str| {
            let rest = self.path.strip_prefix(*family);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let (home, _) = HOMES.iter().find(|(home, families)| self.path != *home && families.iter().any(inside))?;
        parts(schema).into_iter().find(|part| part.path == *home)
    }

    /// The options that it explains for others.
    fn options(&self) -> Vec<&'s str> {
        let names = self.form.properties().map(|(name, _)| name);
        names.filter(|name| !["network", "sessions"].contains(name)).collect()
    }
}

/// The tables in which options are explained that other tables take too, and these.
const HOMES: [(&str, &[&str]); 3] =
    [("listener.peer", &["listener"]), ("delivery", &["delivery", "binding", "binding_group"]), ("queue", &["queue"])];

/// How tables inside a table are written.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Tables {
    /// As a list whose items may be plain values too.
    Mixed,
    /// As `[[rows]]`.
    Rows,
    /// As one `[table]`.
    Single,
}

/// Every table, outer ones first, in declared order.
fn parts(schema: &Schema) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    collect(schema, schema.root(), "", &mut found);
    found
}

fn collect<'s>(schema: &'s Schema, form: Form<'s>, path: &str, found: &mut Vec<Part<'s>>) {
    for (name, property) in form.properties() {
        if let Some((inner, rows)) = nested(schema, property) {
            let path = join(path, name);
            found.push(Part {
                path: path.clone(),
                rows: rows != Tables::Single,
                summary: summary(property),
                form: inner,
                defaults: property.get("default"),
            });
            collect(schema, inner, &path, found);
        }
    }
}

/// The table inside a property, if it holds one with known keys.
fn nested<'s>(schema: &'s Schema, property: &'s Value) -> Option<(Form<'s>, Tables)> {
    let known = |form: &Form<'_>| form.properties().next().is_some();
    let forms = schema.forms(property);
    if let Some(form) = forms.iter().copied().find(known) {
        return Some((form, Tables::Single));
    }
    let items: Vec<_> = forms.iter().filter_map(|form| form.items()).flat_map(|items| schema.forms(items)).collect();
    let rows = if items.iter().all(known) { Tables::Rows } else { Tables::Mixed };
    items.into_iter().find(known).map(|form| (form, rows))
}

/// What can be written for a key, in Markdown.
fn kinds(schema: &Schema, property: &Value) -> String {
    let mut kinds: Vec<_> = schema.forms(property).into_iter().map(|form| kind(schema, form)).collect();
    kinds.dedup();
    kinds.join(" or ")
}

fn kind(schema: &Schema, form: Form<'_>) -> String {
    let choices = form.choices();
    if !choices.is_empty() {
        return choices.iter().map(|choice| format!("`\"{choice}\"`")).collect::<Vec<_>>().join(" ");
    }
    if let Some(items) = form.items() {
        return format!("list of {}", kinds(schema, items));
    }
    match form.format() {
        Some("address-range") => "addresses",
        Some("answer-range") => "answer",
        Some("char") => "one character",
        Some("code-pattern") => "code",
        Some("database-url") => "URL",
        Some("domain-range") => "domain",
        Some("duration") => "duration",
        Some("file-mode") => "octal text",
        Some("hostname") => "host name",
        Some("ip" | "listen-address" | "name-server") => "address",
        Some("mail-address") => "mail address",
        Some("network") => "network",
        Some("next-hop") => "next hop",
        Some("party") => "party",
        Some("path") => "path",
        Some("policy-action") => "action",
        Some("ratio" | "points") => "number",
        Some("regex") => "regular expression",
        Some("size") => "size",
        Some("smtp-extension") => "extension",
        _ if form.accepts("boolean") => "true or false",
        _ if form.accepts("integer") => "number",
        _ if form.accepts("object") => "table",
        _ => "text",
    }
    .to_owned()
}

/// A value that would be accepted for a key without a default.
fn sample(schema: &Schema, name: &str, property: &Value) -> Value {
    if let Some(example) = property.get("examples").and_then(|examples| examples.get(0)) {
        return example.clone();
    }
    let Some(form) = schema.forms(property).into_iter().next() else {
        return Value::Null;
    };
    if let Some(items) = form.items() {
        return json!([sample(schema, name, items)]);
    }
    if let Some(choice) = form.choices().first() {
        return json!(choice);
    }
    match form.format() {
        Some("address-range") => json!("user@example.org"),
        Some("answer-range") => json!("127.0.0.2"),
        Some("database-url") => json!("postgres://posthorn@db.example.org/posthorn"),
        Some("code-pattern") => json!("4xx"),
        Some("domain-range") => json!("example.com"),
        Some("duration") => json!("5 min"),
        Some("file-mode") => json!("0660"),
        Some("hostname") => json!("example.com"),
        Some("ip") => json!("192.0.2.1"),
        Some("listen-address") => json!("127.0.0.1:2525"),
        Some("mail-address") => json!("user@example.org"),
        Some("name-server") => json!("127.0.0.1:53"),
        Some("network") => json!("192.0.2.0/24"),
        Some("next-hop") => json!("smtp://relay.example.net:25"),
        Some("party") => json!("any"),
        Some("policy-action") => json!("DUNNO"),
        Some("path") => json!(format!("/etc/posthorn/tls/{name}.pem")),
        Some("ratio" | "points") => json!(2),
        Some("regex") => json!("example"),
        Some("size") => json!("50 MiB"),
        Some("smtp-extension") => json!("CHUNKING"),
        _ if form.accepts("boolean") => json!(false),
        _ if form.accepts("integer") => json!(100),
        _ => json!(name),
    }
}

/// A summary on one line with a full stop.
fn sentence(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() || line.ends_with(['.', '`']) { line } else { format!("{line}.") }
}

/// Text for a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Text as comment lines.
fn comment(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::load_text;

    /// The committed reference; `BLESS=1` writes it anew.
    #[test]
    fn the_committed_reference_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, reference()).expect("written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == reference(), "README.md is stale; run this test with BLESS=1");
    }

    #[test]
    fn the_reference_names_every_table() {
        let text = reference();
        for header in [
            "[server]",
            "[database]",
            "[tls]",
            "[[tls.certificates]]",
            "[auth]",
            "[mail]",
            "[mail.folders]",
            "[smtp]",
            "[imap]",
            "[limits]",
            "[log]",
            "[[listener]]",
            "[[listener.listen]]",
            "[[listener.listen.peer]]",
            "[[listener.peer]]",
            "[queue]",
            "[[queue.policy]]",
            "[delivery]",
            "[[delivery.domain]]",
            "[[binding]]",
            "[[binding.domain]]",
            "[[binding_group]]",
            "[[binding_group.domain]]",
            "[[route]]",
            "[[delivery_rule]]",
            "[dns]",
            "[dkim]",
            "[[dkim.key]]",
            "[srs]",
        ] {
            assert!(text.contains(&format!("## `{header}`")), "{header}");
        }
        assert!(text.contains("| `hostname` | host name | `\"localhost.localdomain\"` | The name in greetings"));
        assert!(text.contains("| `max_message_size` | size | `\"50 MiB\"` |"));
    }

    #[test]
    fn the_example_as_it_is_changes_nothing() {
        let loaded = load_text(&example());
        assert_eq!(loaded.config, crate::Config::default());
    }

    #[test]
    fn the_example_with_everything_on_is_understood() {
        let uncommented: String = example()
            .lines()
            .filter(|line| !line.starts_with("# ") && !line.is_empty())
            // The mixed list is shown both as a list and as rows; TOML takes one of them.
            .filter(|line| !line.starts_with("#listen = "))
            .map(|line| format!("{}\n", line.trim_start_matches('#')))
            .collect();
        let loaded = load_text(&uncommented);
        assert_eq!(loaded.config.listener.len(), 1);
        assert_eq!(loaded.config.listener[0].peer[0].options.max_recipients, Some(100));
    }

    #[test]
    fn the_schema_is_json() {
        let value: Value = serde_json::from_str(&schema()).expect("JSON");
        assert!(value["properties"]["listener"].is_object());
    }
}
