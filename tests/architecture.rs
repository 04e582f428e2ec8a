//! The house rules that a compiler does not know: who may import whom, what stays out of which layer, sizes,
//! names, and that every standard we name has its line in `src/rfc.tsv`.
//!
//! Each rule is a function from what it looks at to a list of complaints, so that it can be shown a planted fault.

#[path = "architecture/graph.rs"]
mod graph;
#[path = "architecture/log_fields.rs"]
mod log_fields;
#[path = "architecture/manifest.rs"]
mod manifest;
#[path = "architecture/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use self::graph::{Graph, crate_name, folder, house};
use self::manifest::{Table, declared, manifests_of_crates, member_manifests, root_manifest};
use self::source::{Source, names, sources, without_tests};

/// One crate's row of the layer table.
struct Row {
    name: &'static str,
    may_import: &'static [&'static str],
}

const fn row(name: &'static str, may_import: &'static [&'static str]) -> Row {
    Row { name, may_import }
}

const WORDS: &[&str] = &["model", "wire", "mime", "sasl", "trust", "report", "contents", "config"];
const MACHINES: &[&str] = &["smtp", "imap", "policyd", "milter", "ampdp"];

/// Who may import whom: the table of `src/README.md`. A new crate needs a row here before it builds.
const HOUSE: &[Row] = &[
    // Words: lower words.
    row("model", &[]),
    row("wire", &["model"]),
    row("mime", &["model"]),
    row("sasl", &["model"]),
    row("trust", &["model", "mime"]),
    row("report", &["model", "mime"]),
    row("contents", &["model", "mime"]),
    row("config", &["model"]),
    // Machines: words, but neither configuration nor each other.
    row("smtp", &["model", "wire", "mime", "sasl", "trust"]),
    row("imap", &["model", "wire", "mime", "sasl", "trust"]),
    row("policyd", &["model", "wire"]),
    row("milter", &["wire"]),
    row("ampdp", &["wire"]),
    // Ground: the only crates that touch the world, and not each other.
    row("store", &["model", "config"]),
    row("net", &["model", "wire", "config"]),
    // Duties.
    row("mail", &["model", "wire", "mime", "sasl", "trust", "report", "config", "store"]),
    row("policy", &["model", "wire", "mime", "sasl", "trust", "report", "config", "store", "mail"]),
    row(
        "filter",
        &["model", "wire", "mime", "sasl", "trust", "report", "contents", "config", "store", "mail", "policy"],
    ),
    // Edges: protocol meets duty; no queries.
    row("web", &["config", "net"]),
    row(
        "front",
        &[
            "model", "wire", "mime", "sasl", "trust", "contents", "config", "smtp", "imap", "policyd", "milter",
            "ampdp", "net", "web", "mail", "policy", "filter",
        ],
    ),
    row("courier", &["model", "wire", "mime", "sasl", "trust", "report", "config", "smtp", "net", "mail"]),
    row(
        "scan",
        &["model", "wire", "mime", "sasl", "trust", "report", "contents", "config", "smtp", "milter", "net", "filter"],
    ),
    // The appliance.
    row(
        "posthorn",
        &[
            "model", "wire", "mime", "sasl", "trust", "report", "config", "smtp", "imap", "store", "net", "mail",
            "policy", "policyd", "contents", "filter", "scan", "web", "front", "courier",
        ],
    ),
];

/// What neither words nor machines reach, not even through others.
const WORLDLY: &[&str] = &["tokio", "sqlx", "rustls"];

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

/// Calls that read a clock or the machine's time zone, under whatever name the type was imported; words and machines
/// get the time as an argument.
const CLOCKS: &[&str] = &["::now", "::now_utc", "::now_local", ".elapsed()"];

/// Calls that draw random octets; words and machines get them as an argument.
const LOTS: &[&str] = &["rand::fill", "rand::rng", "rand::random", "thread_rng", "getrandom", "OsRng", "SystemRandom"];

/// Files of words that draw for themselves, each with its reason.
const DRAWING_FILES: &[(&str, &str)] =
    &[("src/trust/sealed.rs", "a nonce that a caller gives twice would open what is sealed")];

/// What of the standard library touches the machine; words and machines do not. `config` reads files and variables.
const WORLD: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os::unix::net",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
];

/// Those of the world that are for `config` to read.
const SETTINGS: &[&str] = &["std::fs", "std::env"];

/// What `mail` may not hand on of the store: whoever has one of these runs queries.
const GATES: &[&str] = &["Store", "Transaction", "Connection", "PgConnection", "PgPool", "Pool"];

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
    assert_none(sources().iter().filter(|file| of_words_or_machines(file)).flat_map(clock_faults).collect());

    for code in [
        "std::time::Instant::now()",
        "Clock::now()",
        "t.unwrap_or_else(Utc::now)",
        "then\n.elapsed()",
        "OffsetDateTime::now_utc()",
    ] {
        let reads =
            Source::new("src/smtp/server.rs", &format!("use std::time::Instant as Clock;\nfn f() {{ {code} }}"));
        assert_eq!(clock_faults(&reads).len(), 1, "{code}");
    }
    let speaks =
        "// never Instant::now()\nfn f(clock: &impl Clock) { clock.now() }\n#[cfg(test)]\nmod tests {\n Utc::now() }";
    assert_none(clock_faults(&Source::new("src/smtp/server.rs", speaks)));
}

#[test]
fn words_and_machines_draw_no_lots() {
    assert_none(
        sources()
            .iter()
            .filter(|file| of_words_or_machines(file))
            .flat_map(|file| lot_faults(file, DRAWING_FILES))
            .collect(),
    );
    for (path, reason) in DRAWING_FILES {
        assert!(!reason.is_empty(), "{path} is an exception without a reason");
        let file = sources().iter().find(|file| file.path == Path::new(path));
        assert!(file.is_some_and(|file| !lot_faults(file, &[]).is_empty()), "{path} is no exception any more");
    }

    for code in
        ["aws_lc_rs::rand::fill(&mut salt)", "SystemRandom::new()", "getrandom::fill(&mut salt)", "rand::random()"]
    {
        let draws = Source::new("src/sasl/scram.rs", &format!("fn f() {{ {code}; }}"));
        assert_eq!(lot_faults(&draws, &[]).len(), 1, "{code}");
        assert_none(lot_faults(&draws, &[("src/sasl/scram.rs", "planted")]));
    }
    let speaks = Source::new("src/sasl/scram.rs", "// random\nfn f(random_octets: &[u8]) { g(\"random\") }");
    assert_none(lot_faults(&speaks, &[]));
}

#[test]
fn words_and_machines_do_not_touch_the_machine() {
    assert_none(sources().iter().filter(|file| of_words_or_machines(file)).flat_map(world_faults).collect());

    let reads = |path: &str| world_faults(&Source::new(path, "fn f() { std::fs::read(\"x\"); }"));
    assert_eq!(reads("src/smtp/a.rs"), ["src/smtp/a.rs names std::fs"]);
    assert_none(reads("src/config/load.rs"));
    let dials = |path: &str| world_faults(&Source::new(path, "use std::net::{IpAddr, TcpStream};"));
    assert_eq!(dials("src/config/load.rs").len(), 1);
    assert_none(world_faults(&Source::new("src/wire/a.rs", "use std::net::IpAddr; // not TcpStream")));
}

#[test]
fn what_is_declared_is_used() {
    let house = sources();
    assert_none(manifests_of_crates().iter().flat_map(|(name, text)| unused_faults(name, text, house)).collect());

    let manifest = "[package]\nname = \"posthorn-smtp\"\n[dependencies]\nposthorn-model.workspace = true\n\
                    posthorn-wire = { path = \"x\" }\n[dev-dependencies]\nproptest.workspace = true\n";
    let file = |text: &str| [Source::new("src/smtp/lib.rs", text)];
    let tests = "\n#[cfg(test)]\nmod tests {\n use posthorn_wire::Line; proptest!{} }";
    let all = file(&format!("use posthorn_model::Flags; use posthorn_wire::Line;{tests}"));
    assert_none(unused_faults("smtp", manifest, &all));
    let one = unused_faults("smtp", manifest, &file(&format!("use posthorn_model::Flags; // posthorn_wire{tests}")));
    assert_eq!(one, ["src/smtp/Cargo.toml declares posthorn-wire, which its code does not name"], "tests are no use");
    assert_eq!(unused_faults("smtp", manifest, &file("use posthorn_model_of_others::Flags;")).len(), 3);
    let elsewhere = [Source::new("src/imap/lib.rs", "use posthorn_model::A; use posthorn_wire::B; use proptest::C;")];
    assert_eq!(unused_faults("smtp", manifest, &elsewhere).len(), 3, "another crate's use is none");
}

#[test]
fn tests_of_a_crate_import_no_higher_than_it_does() {
    assert_none(manifests_of_crates().iter().flat_map(|(name, text)| test_layer_faults(name, text)).collect());

    let manifest =
        |section: &str| format!("[dependencies]\nbytes = \"1\"\n[{section}]\nposthorn-store.workspace = true\n");
    assert_eq!(test_layer_faults("smtp", &manifest("dev-dependencies")), ["the tests of smtp import store"]);
    assert_none(test_layer_faults("mail", &manifest("dev-dependencies")));
    assert_none(test_layer_faults("smtp", "[dependencies]\nposthorn-model.workspace = true\n"));
}

#[test]
fn only_mail_and_the_appliance_reach_the_store() {
    assert_none(sources().iter().flat_map(gate_faults).collect());

    let asks = "fn f(mail: &Mail) { let store = mail\n.store(); }";
    for (path, count) in [
        ("src/front/imap.rs", 1),
        ("src/courier/agenda.rs", 1),
        ("src/mail/a.rs", 0),
        ("src/posthorn/a.rs", 0),
        ("src/README.md", 0),
    ] {
        assert_eq!(gate_faults(&Source::new(path, asks)).len(), count, "{path}");
    }
    let hands_on =
        |what: &str| gate_faults(&Source::new("src/mail/lib.rs", &format!("pub use posthorn_store{what};"))).len();
    for gate in
        ["", "::*", "::Store", "::{Error, Transaction}", "::memberships", "::queue::{self, Outgoing}", " as store"]
    {
        assert_eq!(hands_on(gate), 1, "{gate}");
    }
    for value in
        ["::Error", "::memberships::{FlagChange, Membership}", "::writer::PART_SIZE", "::messages::Message as Row"]
    {
        assert_eq!(hands_on(value), 0, "{value}");
    }
    assert_none(gate_faults(&Source::new(
        "src/mail/lib.rs",
        "use posthorn_store::Store;\npub(crate) use posthorn_store::Pool;",
    )));
}

#[test]
fn no_crate_compiles_the_files_of_another() {
    assert_none(sources().iter().flat_map(path_faults).collect());

    let file = |text: &str| path_faults(&Source::new("src/smtp/a.rs", text)).len();
    assert_eq!(file("#[path = \"../store/a.rs\"]\nmod a;"), 1);
    assert_eq!(file("include!(\"../store/a.rs\");"), 1);
    assert_eq!(file("// #[path = \"a\"]\nconst A: &str = include_str!(\"a.toml\");"), 0);
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

#[test]
fn every_field_of_the_log_is_listed() {
    assert_none(log_fields::faults(sources(), &read(&root().join(log_fields::LIST))));

    let list = "## Fields\n\n| Field | Means |\n|---|---|\n| `a.id`, `b` | x |\n| `c` | `d` |\n";
    let faults = |code: &str| log_fields::faults(&[Source::new("src/net/a.rs", code)], list);
    let all = "tracing::warn!(target: \"t\", { a.id = %f(x, y), ?b }, \"words {c}, {d}\"); info!(c, %b, \"more\");";
    assert_none(faults(all));
    assert_eq!(faults(&all.replace("%b", "%e")), [format!("src/net/a.rs logs e, which {} lacks", log_fields::LIST)]);
    assert_eq!(faults(&all.replace("(c,", "(")), [format!("{} lists c, which nothing logs", log_fields::LIST)]);
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
    for (node, _) in graph.ours().filter(|(_, name)| WORDS.contains(name) || MACHINES.contains(name)) {
        let below = graph.below(node);
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
    let reached: BTreeMap<_, _> = graph.ours().flat_map(|(node, _)| graph.below(node)).collect();
    let banned = reached.iter().filter(|(node, _)| BANNED.contains(&crate_name(node)));
    banned.map(|(node, through)| format!("{node} is in the program through {through}")).collect()
}

fn of_words_or_machines(file: &Source) -> bool {
    file.is_rust() && WORDS.iter().chain(MACHINES).any(|name| file.is_of(name))
}

fn clock_faults(file: &Source) -> Vec<String> {
    let read = CLOCKS.iter().filter(|clock| names(&file.code, clock));
    read.map(|clock| format!("{} calls {clock}", file.path.display())).collect()
}

fn lot_faults(file: &Source, exceptions: &[(&str, &str)]) -> Vec<String> {
    if exceptions.iter().any(|(path, _)| Path::new(path) == file.path) {
        return Vec::new();
    }
    let drawn = LOTS.iter().find(|lot| names(&file.code, lot));
    drawn.map(|lot| format!("{} draws by {lot}", file.path.display())).into_iter().collect()
}

fn world_faults(file: &Source) -> Vec<String> {
    let touched = WORLD.iter().filter(|part| names(&file.code, part));
    let excused = |part: &&&str| file.is_of("config") && SETTINGS.contains(*part);
    touched.filter(|part| !excused(part)).map(|part| format!("{} names {part}", file.path.display())).collect()
}

fn unused_faults(name: &str, manifest: &str, house: &[Source]) -> Vec<String> {
    let own = || house.iter().filter(|file| file.is_rust() && file.is_of(name));
    let unused = declared(manifest).into_iter().filter(|(table, dependency)| {
        let word = dependency.replace('-', "_");
        match table {
            Table::Normal => !own().any(|file| names(&file.code, &word)),
            Table::Tests => !own().any(|file| names(&file.text, &word)),
        }
    });
    unused.map(|(_, one)| format!("src/{name}/Cargo.toml declares {one}, which its code does not name")).collect()
}

fn test_layer_faults(name: &str, manifest: &str) -> Vec<String> {
    let allowed = HOUSE.iter().find(|row| row.name == name).map_or(&[][..], |row| row.may_import);
    let imported = declared(manifest).into_iter().filter(|(table, _)| *table == Table::Tests);
    let higher = imported.filter_map(|(_, one)| folder(one)).filter(|to| !allowed.contains(to));
    higher.map(|to| format!("the tests of {name} import {to}")).collect()
}

/// A front cannot run a query: neither through the store that `mail` has, nor through what `mail` hands on of it.
fn gate_faults(file: &Source) -> Vec<String> {
    let path = file.path.display();
    let mut faults = Vec::new();
    let dense: String = file.code.split_whitespace().collect();
    let may = !file.is_rust() || ["mail", "policy", "filter", "store", "posthorn"].iter().any(|name| file.is_of(name));
    if !may && dense.contains(".store()") {
        faults.push(format!("{path} takes the store from mail"));
    }
    for (_, rest) in
        file.code.match_indices("pub use posthorn_store").map(|(at, words)| (at, &file.code[at + words.len()..]))
    {
        let tree = rest.split(';').next().unwrap_or_default();
        // The last words of each path: what is bound, under whatever name.
        let leaves = tree.split(['{', '}', ',']).map(|path| path.split(" as ").next().unwrap_or_default());
        let leaves: Vec<&str> = leaves.map(str::trim).filter(|path| !path.ends_with("::")).collect();
        let leaves = leaves.iter().map(|path| path.rsplit("::").next().unwrap_or_default());
        let whole = tree.is_empty() || tree.starts_with(" as ");
        let gate = |leaf: &str| GATES.contains(&leaf) || !leaf.starts_with(|c: char| c.is_ascii_uppercase());
        if whole || leaves.filter(|leaf| !leaf.is_empty()).any(gate) {
            faults.push(format!("{path} hands on more of the store than rows: {}", tree.trim()));
        }
    }
    faults
}

fn path_faults(file: &Source) -> Vec<String> {
    let found = ["#[path", "include!"].iter().filter(|way| file.is_rust() && file.code.contains(**way));
    found.map(|way| format!("{} compiles another file by {way}", file.path.display())).collect()
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
