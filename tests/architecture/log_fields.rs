//! The fields of log lines: what the sources write, and what `src/posthorn/logging/README.md` promises.

use std::collections::BTreeSet;

use super::source::Source;

/// Where the fields are promised.
pub(super) const LIST: &str = "src/posthorn/logging/README.md";

/// Macros that write lines.
const MACROS: &[&str] =
    &["error!(", "warn!(", "info!(", "debug!(", "trace!(", "error_span!(", "info_span!(", "debug_span!("];

/// What is written and not listed, and what is listed and not written.
pub(super) fn faults(sources: &[Source], list: &str) -> Vec<String> {
    let listed = listed(list);
    let mut faults = Vec::new();
    let mut written = BTreeSet::new();
    for file in sources.iter().filter(|file| file.is_rust()) {
        let fields = fields(&file.code);
        let unknown = fields.difference(&listed);
        faults.extend(unknown.map(|field| format!("{} logs {field}, which {LIST} lacks", file.path.display())));
        written.extend(fields);
    }
    faults.extend(listed.difference(&written).map(|field| format!("{LIST} lists {field}, which nothing logs")));
    faults
}

/// The words in backquotes of the first column of the table below "Fields".
fn listed(list: &str) -> BTreeSet<String> {
    let table = list.split("## Fields").nth(1).unwrap_or_default();
    let names = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    names.flat_map(|names| names.split(", ")).map(|name| name.trim_matches('`').to_owned()).collect()
}

/// The names of the fields in code without comments and strings.
fn fields(code: &str) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for (at, found) in MACROS.iter().flat_map(|name| code.match_indices(name)) {
        if !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            collect(inside(&code[at + found.len()..]), &mut fields);
        }
    }
    fields
}

fn collect(arguments: &str, fields: &mut BTreeSet<String>) {
    for argument in arguments_of(arguments) {
        if let Some(group) = argument.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            collect(group, fields);
            continue;
        }
        let name = argument.trim_start_matches(['%', '?']);
        let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(name.len());
        let (name, rest) = (&name[..end], name[end..].trim_start());
        let is_field = rest.is_empty() || rest.starts_with('=') && !rest.starts_with("==");
        if is_field && !name.is_empty() {
            fields.insert(name.to_owned());
        }
    }
}

/// What stands before the bracket that closes.
fn inside(code: &str) -> &str {
    let mut depth = 0_i32;
    let end = code.find(|c| {
        depth += step(c);
        depth < 0
    });
    &code[..end.unwrap_or(code.len())]
}

fn arguments_of(code: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in code.char_indices() {
        depth += step(c);
        if c == ',' && depth == 0 {
            found.push(code[start..at].trim());
            start = at + 1;
        }
    }
    found.push(code[start..].trim());
    found
}

fn step(c: char) -> i32 {
    match c {
        '(' | '[' | '{' => 1,
        ')' | ']' | '}' => -1,
        _ => 0,
    }
}
