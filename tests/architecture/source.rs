//! The files below `src/`, and enough of Rust to search them: what is a test, a comment or a string.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{read, root};

/// A file below `src/`.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// What the compiler sees outside of tests: no comments, no contents of strings. Empty for a file of tests.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let path = PathBuf::from(path);
        Self { path, text: text.to_owned(), code: without_comments_and_strings(without_tests(text)) }
    }

    pub(super) fn is_of(&self, folder: &str) -> bool {
        self.path.strip_prefix("src").is_ok_and(|path| path.starts_with(folder))
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

/// Every text file below `src/` that can name a standard.
pub(super) fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut found = Vec::new();
        let mut open = vec![root().join("src")];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                if entry.is_dir() {
                    open.push(entry);
                } else if entry.extension().is_some_and(|e| e == "rs" || e == "md" || e == "sql") {
                    let path = entry.strip_prefix(root()).expect("below the root").display().to_string();
                    found.push(Source::new(&path, &read(&entry)));
                }
            }
        }
        let tests: BTreeSet<PathBuf> = found.iter().flat_map(test_files).collect();
        for file in found.iter_mut().filter(|file| tests.contains(&file.path)) {
            file.code.clear();
        }
        assert!(found.iter().any(|file| file.path == Path::new("src/model/lib.rs")), "this is not the checkout");
        found
    })
}

/// Whether code names this: whole words, however the line is broken before a method.
pub(super) fn names(code: &str, what: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(what).any(|(at, _)| {
        let before = code[..at].chars().next_back().filter(|_| what.starts_with(is_word));
        let behind = code[at + what.len()..].chars().next().filter(|_| what.ends_with(is_word));
        !before.is_some_and(is_word) && !behind.is_some_and(is_word)
    })
}

/// The part before the tests, which are the last module of a file.
pub(super) fn without_tests(text: &str) -> &str {
    test_modules(text).find(|(_, line)| line.ends_with('{')).map_or(text, |(at, _)| &text[..at])
}

/// The files of the modules that a file declares for its tests only.
fn test_files(file: &Source) -> Vec<PathBuf> {
    let folder = file.path.parent().unwrap_or(Path::new("")).to_owned();
    let stem = file.path.file_stem().unwrap_or_default();
    let below = if ["lib", "main", "mod"].iter().any(|root| stem == *root) { folder } else { folder.join(stem) };
    let names = test_modules(&file.text).filter_map(|(_, line)| line.strip_suffix(';')?.split("mod ").nth(1));
    names.flat_map(|name| [below.join(format!("{name}.rs")), below.join(name).join("mod.rs")]).collect()
}

/// Where each module for tests begins, and its `mod` line; further attributes may stand between.
fn test_modules(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices("#[cfg(test)]\n").filter_map(|(at, _)| {
        let line = text[at..].lines().find(|line| !line.starts_with("#["))?;
        (line.starts_with("mod ") || (line.starts_with("pub") && line.contains(" mod "))).then_some((at, line))
    })
}

/// Enough of Rust's lexical rules for searching: comments vanish, string and character literals are emptied.
fn without_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let skipped = match rest {
            [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => block_comment(rest),
            [b'"', ..] => quoted(rest),
            [b'r', b'"' | b'#', ..] if !code.last().is_some_and(u8::is_ascii_alphanumeric) => raw_string(rest),
            [b'\'', b'\\', ..] => 2 + rest.iter().skip(3).position(|b| *b == b'\'').map_or(0, |end| end + 2),
            [b'\'', _, b'\'', ..] => 3,
            _ => 0,
        };
        if skipped == 0 {
            code.push(bytes[at]);
        }
        at += skipped.max(1);
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`; zero when it is something else, such as the raw identifier `r#type`.
fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &rest[2 + hashes..];
    body.windows(end.len()).position(|window| window == end).map_or(rest.len(), |at| 2 + hashes + at + end.len())
}

#[test]
fn tests_are_told_apart() {
    let file =
        Source::new("src/net/lib.rs", "#[cfg(test)]\nmod tests;\nfn f() {}\n#[cfg(test)]\nmod more {\n g();\n}\n");
    assert_eq!(test_files(&file), ["src/net/tests.rs", "src/net/tests/mod.rs"].map(PathBuf::from));
    assert!(file.code.contains("fn f()") && !file.code.contains("g()"), "{}", file.code);
    let inner = Source::new("src/net/tls.rs", "#[cfg(test)]\n#[expect(missing_docs)]\npub(crate) mod peer;\n");
    assert!(test_files(&inner).contains(&PathBuf::from("src/net/tls/peer.rs")));
}

#[test]
fn comments_and_strings_are_not_code() {
    let cases = [
        ("a // b\nc", "a \nc"),
        ("a /* b /* c */ d */ e", "a  e"),
        (r#"f("a\"b", 'c', '\'', '"') + x"#, "f(, , , ) + x"),
        (r##"let y = r#"unsafe "quoted""#; z"##, "let y = ; z"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("let r#type = br\"x\"; car\"s\"", "let r#type = br; car"),
    ];
    for (text, code) in cases {
        assert_eq!(without_comments_and_strings(text), code, "{text}");
    }
}
