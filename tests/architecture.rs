//! The house rules that a compiler does not know: who may import whom, what stays out of which layer, sizes,
//! names, and that every standard we name has its line in `src/rfc.tsv`.
//!
//! Each rule is a function from what it looks at to a list of complaints, so that it can be shown a planted fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One crate's row of the layer table.
struct Row {
    name: &'static str,
    may_import: &'static [&'static str],
}

const fn row(name: &'static str, may_import: &'static [&'static str]) -> Row {
    Row { name, may_import }
}

const WORDS: &[&str] = &["model", "wire", "mime", "sasl", "trust", "config"];
const MACHINES: &[&str] = &["smtp", "imap"];

/// Who may import whom: the table of `src/README.md`. A new crate needs a row here before it builds.
const HOUSE: &[Row] = &[
    // Words: lower words.
    row("model", &[]),
    row("wire", &["model"]),
    row("mime", &["model"]),
    row("sasl", &["model"]),
    row("trust", &["model", "mime"]),
    row("config", &["model"]),
    // Machines: words, but neither configuration nor each other.
    row("smtp", &["model", "wire", "mime", "sasl", "trust"]),
    row("imap", &["model", "wire", "mime", "sasl", "trust"]),
    // Ground: the only crates that touch the world, and not each other.
    row("store", &["model", "config"]),
    row("net", &["model", "wire", "config"]),
    // Duties.
    row("mail", &["model", "wire", "mime", "sasl", "trust", "config", "store"]),
    // Edges: protocol meets duty; no queries.
    row("front", &["model", "wire", "mime", "sasl", "trust", "config", "smtp", "imap", "net", "mail"]),
    // The appliance.
    row(
        "posthorn",
        &["model", "wire", "mime", "sasl", "trust", "config", "smtp", "imap", "store", "net", "mail", "front"],
    ),
];

/// What neither words nor machines reach, not even through others.
const WORLDLY: &[&str] = &["tokio", "sqlx", "rustls"];

/// The way into those that one crate has: `trust` speaks mail-auth's words, not its resolver.
const DOORS: &[(&str, &str)] = &[("trust", "mail-auth")];

/// External crates that only some of ours may import directly.
const RESERVED: &[(&str, &[&str])] = &[
    ("anyhow", &["posthorn"]),
    ("socket2", &["net"]),
    ("sqlx", &["store"]),
    ("sqlx-core", &["store"]),
    ("sqlx-postgres", &["store"]),
    ("tokio-rustls", &["net", "posthorn"]),
];

/// Never in the program, however deep: one cryptographic library is enough.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];

/// Calls that read the clock or the machine's time zone; words and machines get the time as an argument.
const CLOCKS: &[&str] = &["SystemTime::now", "Instant::now", "Utc::now", "Local::now"];

const FILE_LINES: usize = 600;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["common", "util", "utils", "helper", "helpers", "manager", "misc"];

#[test]
fn crates_import_downwards_only() {
    assert_none(layer_faults(&house()));

    let planted = |from: &str, to: &str| layer_faults(&Graph::of(&[(from, to)]));
    for (from, to) in [
        ("posthorn-smtp", "posthorn-imap"),
        ("posthorn-imap", "posthorn-config"),
        ("posthorn-model", "posthorn-wire"),
        ("posthorn-store", "posthorn-smtp"),
        ("posthorn-store", "posthorn-net"),
        ("posthorn-net", "posthorn-store"),
        ("posthorn-front", "posthorn-store"),
        ("posthorn-mail", "posthorn-net"),
        ("posthorn-front", "posthorn"),
        ("posthorn-newcomer", "posthorn-model"),
    ] {
        assert_eq!(planted(from, to).len(), 1, "{from} imports {to}");
    }
    assert_none(planted("posthorn-smtp", "posthorn-wire"));
    assert_none(planted("posthorn", "posthorn-store"));
}

#[test]
fn words_and_machines_stay_out_of_the_world() {
    assert_none(worldly_faults(&house()));

    let deep = Graph::of(&[("posthorn-smtp", "codec 1.0"), ("codec 1.0", "tokio 1.0")]);
    assert_eq!(worldly_faults(&deep), ["posthorn-smtp reaches tokio through codec 1.0"]);
    assert_eq!(worldly_faults(&Graph::of(&[("posthorn-config", "sqlx 0.9")])).len(), 1);
    let door = &[("posthorn-trust", "mail-auth 0.13"), ("mail-auth 0.13", "tokio 1.0")];
    assert_none(worldly_faults(&Graph::of(door)));
    let window = &[("posthorn-mime", "mail-auth 0.13"), ("mail-auth 0.13", "tokio 1.0")];
    assert_eq!(worldly_faults(&Graph::of(window)).len(), 1);
}

#[test]
fn reserved_crates_stay_where_they_belong() {
    assert_none(reserved_faults(&house()));

    assert_eq!(
        reserved_faults(&Graph::of(&[("posthorn-front", "sqlx 0.9.0")])),
        ["posthorn-front imports sqlx, which is for store"]
    );
    assert_eq!(reserved_faults(&Graph::of(&[("posthorn-mail", "anyhow 1.0.0")])).len(), 1);
    assert_none(reserved_faults(&Graph::of(&[("posthorn-store", "sqlx 0.9.0"), ("posthorn", "anyhow 1.0.0")])));
}

#[test]
fn one_cryptographic_library() {
    assert_none(banned_faults(&house()));

    let deep = Graph::of(&[("posthorn-net", "tls 1.0"), ("tls 1.0", "ring 0.17")]);
    assert_eq!(banned_faults(&deep), ["ring 0.17 is in the program through tls 1.0"]);
    let aside = Graph::of(&[("posthorn-net", "tls 1.0"), ("unused 1.0", "ring 0.17")]);
    assert_none(banned_faults(&aside));
}

#[test]
fn words_and_machines_have_no_clock() {
    let sources = sources().iter().filter(|file| WORDS.iter().chain(MACHINES).any(|name| file.is_of(name)));
    assert_none(sources.flat_map(clock_faults).collect());

    let reads = Source::new("src/smtp/server.rs", "fn f() { let now = std::time::Instant::now(); }");
    assert_eq!(clock_faults(&reads).len(), 1);
    let speaks = Source::new("src/smtp/server.rs", "// never Instant::now()\n#[cfg(test)]\nmod tests {\n Utc::now() }");
    assert_none(clock_faults(&speaks));
}

#[test]
fn files_are_short() {
    assert_none(sources().iter().filter_map(|file| size_fault(file, LONG_FILES)).collect());
    for (path, reason) in LONG_FILES {
        assert!(!reason.is_empty(), "{path} is an exception without a reason");
        let file = sources().iter().find(|file| file.path == Path::new(path));
        let fault = file.and_then(|file| size_fault(file, &[]));
        assert!(fault.is_some(), "{path} is no exception any more: remove it from the list");
    }

    let long = Source::new("src/smtp/long.rs", &"let x = 1;\n".repeat(FILE_LINES + 1));
    assert!(size_fault(&long, &[]).is_some());
    assert!(size_fault(&long, &[("src/smtp/long.rs", "planted")]).is_none());
    let tested =
        Source::new("src/smtp/a.rs", &format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}", "x;\n".repeat(900)));
    assert!(size_fault(&tested, &[]).is_none());
}

#[test]
fn modules_have_names_that_say_something() {
    assert_none(sources().iter().flat_map(name_faults).collect());

    assert_eq!(name_faults(&Source::new("src/mail/util.rs", "")).len(), 1);
    assert_eq!(name_faults(&Source::new("src/common/lib.rs", "")).len(), 1);
    assert_eq!(name_faults(&Source::new("src/mail/route.rs", "pub(crate) mod helpers {\n}\n")).len(), 1);
    assert_none(name_faults(&Source::new("src/mail/route.rs", "mod utility_token;\n// mod util\n")));
}

#[test]
fn nothing_is_unsafe() {
    assert_none(sources().iter().filter_map(unsafe_fault).collect());
    assert_none(lint_faults(&root_manifest(), &member_manifests()));

    assert!(unsafe_fault(&Source::new("src/net/a.rs", "fn f() { unsafe { g() } }")).is_some());
    assert!(unsafe_fault(&Source::new("src/net/a.rs", "// unsafe\nlet x = \"unsafe\"; let unsafe_x = 1;")).is_none());
    let member = |text: &str| [(PathBuf::from("src/new/Cargo.toml"), text.to_owned())];
    assert_eq!(lint_faults("unsafe_code = \"forbid\"\n", &member("[package]\n")).len(), 1);
    assert_none(lint_faults("unsafe_code = \"forbid\"\n", &member("[lints]\nworkspace = true\n")));
    assert_eq!(lint_faults("unsafe_code = \"warn\"\n", &[]).len(), 1);
}

#[test]
fn every_standard_named_is_listed() {
    let list = read(&root().join("src/rfc.tsv"));
    assert_none(list_faults(&list));
    assert_none(sources().iter().flat_map(|file| standard_faults(file, &listed(&list))).collect());

    let planted = "5321\tSimple Mail Transfer Protocol\tyes\t\n";
    let file = Source::new("src/smtp/a.rs", "//! RFC 5321 §4.1 and RFC 99999, RFC822.SIZE, RFCs");
    assert_eq!(standard_faults(&file, &listed(planted)), ["src/smtp/a.rs names RFC 99999, which src/rfc.tsv lacks"]);
    for wrong in
        ["5321\ttitle\tyes\n", "x\ttitle\tyes\t\n", "1\ttitle\tmaybe\t\n", "2\ta\tyes\t\n1\tb\tyes\t\n", "1\t\tno\t\n"]
    {
        assert_eq!(list_faults(wrong).len(), 1, "{wrong:?}");
    }
    assert_eq!(list_faults("1\ttitle\tpartial\t\n").len(), 1, "partial says what is missing");
}

/// Packages and their normal and build dependencies: `posthorn-…` by name, others as `name version`.
struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of(edges: &[(&str, &str)]) -> Self {
        let mut graph = Self { edges: BTreeMap::new() };
        for (from, to) in edges {
            graph.edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    }

    fn direct(&self, node: &str) -> impl Iterator<Item = &String> {
        self.edges.get(node).into_iter().flatten()
    }

    /// Our crates without the `posthorn-` before their folder's name.
    fn ours(&self) -> impl Iterator<Item = (&String, &str)> {
        self.edges.keys().filter_map(|node| Some((node, folder(node)?)))
    }

    /// Everything below `from` with the node it was reached through, never walking through a node that `shut` names.
    fn below(&self, from: &str, shut: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let mut reached = BTreeMap::new();
        let mut open = vec![from.to_owned()];
        while let Some(node) = open.pop() {
            for next in self.direct(&node).filter(|next| !shut(crate_name(next))) {
                if !reached.contains_key(next) {
                    reached.insert(next.clone(), node.clone());
                    open.push(next.clone());
                }
            }
        }
        reached
    }
}

fn folder(node: &str) -> Option<&str> {
    if node == "posthorn" { Some(node) } else { node.strip_prefix("posthorn-") }
}

fn crate_name(node: &str) -> &str {
    node.split(' ').next().unwrap_or(node)
}

fn layer_faults(graph: &Graph) -> Vec<String> {
    let mut faults = Vec::new();
    for (node, name) in graph.ours() {
        let Some(row) = HOUSE.iter().find(|row| row.name == name) else {
            faults.push(format!("{node} has no row in the layer table of tests/architecture.rs"));
            continue;
        };
        for to in graph.direct(node).filter_map(|to| folder(to)) {
            if !row.may_import.contains(&to) {
                faults.push(format!("{name} imports {to}; it may import {:?}", row.may_import));
            }
        }
    }
    faults
}

fn worldly_faults(graph: &Graph) -> Vec<String> {
    let mut faults = Vec::new();
    for (node, name) in graph.ours().filter(|(_, name)| WORDS.contains(name) || MACHINES.contains(name)) {
        let below = graph.below(node, |next| DOORS.contains(&(name, next)));
        for (worldly, through) in below.iter().filter(|(reached, _)| WORLDLY.contains(&crate_name(reached))) {
            faults.push(format!("{node} reaches {} through {through}", crate_name(worldly)));
        }
    }
    faults
}

fn reserved_faults(graph: &Graph) -> Vec<String> {
    let mut faults = Vec::new();
    for (node, name) in graph.ours() {
        for to in graph.direct(node) {
            let reserved = RESERVED.iter().find(|(reserved, _)| *reserved == crate_name(to));
            if let Some((reserved, owners)) = reserved
                && !owners.contains(&name)
            {
                faults.push(format!("{node} imports {reserved}, which is for {}", owners.join(", ")));
            }
        }
    }
    faults
}

fn banned_faults(graph: &Graph) -> Vec<String> {
    let reached: BTreeMap<_, _> = graph.ours().flat_map(|(node, _)| graph.below(node, |_| false)).collect();
    let banned = reached.iter().filter(|(node, _)| BANNED.contains(&crate_name(node)));
    banned.map(|(node, through)| format!("{node} is in the program through {through}")).collect()
}

/// A file below `src/`.
struct Source {
    path: PathBuf,
    text: String,
    /// What the compiler sees outside of tests: no comments, no contents of strings. Empty for a file of tests.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let path = PathBuf::from(path);
        Self { path, text: text.to_owned(), code: without_comments_and_strings(without_tests(text)) }
    }

    fn is_of(&self, folder: &str) -> bool {
        self.path.strip_prefix("src").is_ok_and(|path| path.starts_with(folder))
    }

    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

fn clock_faults(file: &Source) -> Vec<String> {
    let read = CLOCKS.iter().filter(|clock| file.code.contains(**clock));
    read.map(|clock| format!("{} calls {clock}", file.path.display())).collect()
}

fn size_fault(file: &Source, exceptions: &[(&str, &str)]) -> Option<String> {
    if !file.is_rust() || exceptions.iter().any(|(path, _)| Path::new(path) == file.path) || file.code.is_empty() {
        return None;
    }
    let lines = without_tests(&file.text).lines().count();
    (lines > FILE_LINES).then(|| format!("{} has {lines} lines before its tests", file.path.display()))
}

fn name_faults(file: &Source) -> Vec<String> {
    let path = file.path.with_extension("");
    let of_path = path.iter().filter_map(|part| part.to_str());
    let of_modules = file.code.lines().filter_map(|line| {
        let (before, name) = line.split_once("mod ")?;
        let visible = before.trim();
        (visible.is_empty() || visible.starts_with("pub")).then(|| name.trim_end_matches([';', ' ', '{', '}']).trim())
    });
    let empty = of_path.chain(of_modules).filter(|name| EMPTY_NAMES.contains(name));
    empty.map(|name| format!("{}: {name:?} says nothing", file.path.display())).collect()
}

fn unsafe_fault(file: &Source) -> Option<String> {
    let mut words = file.code.split(|c: char| !c.is_alphanumeric() && c != '_');
    (file.is_rust() && words.any(|word| word == "unsafe")).then(|| format!("{} is unsafe", file.path.display()))
}

fn lint_faults(root: &str, members: &[(PathBuf, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    if !root.lines().any(|line| line == "unsafe_code = \"forbid\"") {
        faults.push("the workspace does not forbid unsafe code".to_owned());
    }
    for (path, text) in members {
        if !text.contains("[lints]\nworkspace = true") {
            faults.push(format!("{} does not take the workspace's lints", path.display()));
        }
    }
    faults
}

fn standard_faults(file: &Source, listed: &BTreeSet<u32>) -> Vec<String> {
    let named: BTreeSet<u32> = file.text.split("RFC ").skip(1).filter_map(leading_number).collect();
    let missing = named.difference(listed);
    missing.map(|rfc| format!("{} names RFC {rfc}, which src/rfc.tsv lacks", file.path.display())).collect()
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn listed(list: &str) -> BTreeSet<u32> {
    list.lines().filter_map(leading_number).collect()
}

/// `number TAB title TAB yes|partial|no TAB note`, by number, each once; "partial" and "no" say what is missing.
fn list_faults(list: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut last = 0;
    for line in list.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let number: u32 = fields[0].parse().unwrap_or(0);
        let sound = match fields[..] {
            [_, title, "yes", _] => !title.is_empty(),
            [_, title, "partial" | "no", note] => !title.is_empty() && !note.is_empty(),
            _ => false,
        };
        if !sound || number <= last {
            faults.push(format!("src/rfc.tsv, out of form or order: {line:?}"));
        }
        last = last.max(number);
    }
    faults
}

/// The part before the tests, which are the last module of a file.
fn without_tests(text: &str) -> &str {
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

#[track_caller]
fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root_manifest() -> String {
    read(&root().join("Cargo.toml"))
}

fn member_manifests() -> Vec<(PathBuf, String)> {
    let root = root();
    let folders = fs::read_dir(root.join("src")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let manifests =
        folders.chain([root.join("tests"), root.join("tests/bench")]).map(|folder| folder.join("Cargo.toml"));
    manifests.filter(|path| path.exists()).map(|path| (path.clone(), read(&path))).collect()
}

/// Every text file below `src/` that can name a standard.
fn sources() -> &'static [Source] {
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

/// What is built into the program: no dependencies of tests, and none of the packages below `tests/`.
///
/// `cargo tree` rather than `cargo metadata`, whose graph also holds optional dependencies that nobody activates.
fn house() -> Graph {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.current_dir(root()).args(["tree", "--workspace", "--offline", "--locked"]);
    tree.args(["--edges", "no-dev", "--prefix", "depth", "--format", "{p}"]);
    let answer = tree.output().expect("cargo runs");
    assert!(answer.status.success(), "cargo tree: {}", String::from_utf8_lossy(&answer.stderr));
    let tests = root().join("tests").canonicalize().expect("this package");
    let graph = parse_tree(&String::from_utf8_lossy(&answer.stdout), &tests);
    assert!(graph.edges.contains_key("posthorn-model"), "the workspace is not in its own graph");
    graph
}

/// Lines such as `2tokio v1.54.1 (*)`: a depth, a package, and marks.
fn parse_tree(text: &str, tests: &Path) -> Graph {
    let mut graph = Graph::of(&[]);
    let mut above: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let package = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let depth: usize = line[..line.len() - package.len()].parse().expect("a depth");
        above.truncate(depth);
        let label = label(package, tests);
        if let Some(parent) = above.last().filter(|parent| !parent.is_empty()) {
            graph.edges.entry(parent.clone()).or_default().insert(label.clone());
        }
        if !label.is_empty() {
            graph.edges.entry(label.clone()).or_default();
        }
        above.push(label);
    }
    graph
}

/// `posthorn-net` for ours, `tokio 1.54.1` for others, nothing for the packages of tests.
fn label(package: &str, tests: &Path) -> String {
    let path = package.split_once('(').and_then(|(_, path)| path.split(')').next()).unwrap_or_default();
    let mut words = package.split(' ');
    let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if Path::new(path).starts_with(tests) {
        String::new()
    } else if folder(name).is_some() {
        name.to_owned()
    } else {
        format!("{name} {}", version.trim_start_matches('v'))
    }
}

#[test]
fn the_tree_is_understood() {
    let text = "0posthorn-net v0.1.0 (/house/src/net)\n1tls v1.0.0\n2ring v0.17.0\n1posthorn-model v0.1.0 (/house/src/model)\n\n\
                0posthorn-tests v0.1.0 (/house/tests)\n1posthorn v0.1.0 (/house/src/posthorn)\n2posthorn-net v0.1.0 (/house/src/net) (*)\n";
    let graph = parse_tree(text, Path::new("/house/tests"));
    let edges = |from: &str| graph.direct(from).map(String::as_str).collect::<Vec<_>>();
    assert_eq!(edges("posthorn-net"), ["posthorn-model", "tls 1.0.0"]);
    assert_eq!(edges("tls 1.0.0"), ["ring 0.17.0"]);
    assert_eq!(edges("posthorn"), ["posthorn-net"]);
    assert!(!graph.edges.contains_key("posthorn-tests") && !graph.edges.contains_key(""));
}
