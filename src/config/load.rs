//! Reading: the one place that touches files, and the one that knows figment.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::schema::Schema;
use crate::tree::Node;
use crate::verify::verify;
use crate::{Config, Origin, Problem, Problems, Sources, check};

/// A configuration and where each of its values was written.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// The built-in defaults, as when there are no sources.
    #[must_use]
    pub fn defaults() -> Self {
        Self::from(Config::default())
    }

    /// The files that values were read from, credentials too, each once.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for origin in self.origins.values() {
            let (Origin::File { file, .. } | Origin::Credential(file)) = origin else { continue };
            if !files.iter().any(|known: &PathBuf| **known == **file) {
                files.push(file.to_path_buf());
            }
        }
        files
    }

    /// Where the value of a key path such as `listener[0].listen[1]` was written.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Something that is wrong about a key, for who knows more of it than this crate.
    #[must_use]
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        Problem::new(&self.origin_around(key), key, message)
    }

    /// Where a key, or the nearest thing around it that was written, is.
    pub(crate) fn origin_around(&self, key: &str) -> Origin {
        let mut path = key;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return origin.clone();
            }
            match path.rfind(['.', '[']) {
                Some(at) => path = &path[..at],
                None => return Origin::Default,
            }
        }
    }
}

impl From<Config> for Loaded {
    /// A configuration that was made by hand: every origin is the default.
    fn from(config: Config) -> Self {
        Self { config, origins: BTreeMap::new() }
    }
}

/// Reads and merges the sources: defaults, each file followed by its `conf.d`, environment, credentials. Tables
/// merge, `[[rows]]` of several files add up, every other value of a later source replaces the earlier one.
///
/// # Errors
/// Everything that is wrong: unreadable files, syntax, unknown keys, wrong values; and, for what is left without
/// them, what [`check`] finds.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    match load_what_can_be(sources) {
        (Some(loaded), problems) if problems.0.is_empty() => Ok(loaded),
        (_, problems) => Err(problems),
    }
}

/// The same for who mends a configuration: what is left without what is wrong, and everything that is. There is nothing
/// when a file cannot be read as a whole, or when it is wrong where the server and its database are.
#[must_use]
pub fn load_what_can_be(sources: &Sources) -> (Option<Loaded>, Problems) {
    let mut problems = Vec::new();
    let mut tree = Node::table(Origin::Default);
    for file in with_conf_d(&sources.files, &mut problems) {
        match read(&file) {
            Ok(node) => tree.merge(node),
            Err(problem) => problems.push(problem),
        }
    }
    for node in environment(&sources.environment) {
        tree.merge(node);
    }
    for node in credentials(sources.credentials.as_deref(), &mut problems) {
        tree.merge(node);
    }
    let mut verdicts = verify(&mut tree);
    problems.append(&mut verdicts.problems);
    let mut origins = BTreeMap::new();
    tree.origins("", &mut origins);
    match extract(tree) {
        Ok(config) => {
            let loaded = Loaded { config, origins };
            if problems.is_empty() {
                return (Some(loaded), Problems(problems));
            }
            let is_found = problems.iter().all(|problem| !is_about_the_place(&problem.key));
            problems.extend(check(&loaded).into_iter().map(|problem| verdicts.as_written(problem)));
            (is_found.then_some(loaded), Problems(problems))
        }
        Err(error) => {
            problems.extend(error.into_iter().map(|error| {
                let key = key_path(&error.path);
                let origin = Loaded { config: Config::default(), origins: origins.clone() }.origin_around(&key);
                Problem::new(&origin, key, error.kind.to_string())
            }));
            (None, Problems(problems))
        }
    }
}

/// Whether a key, or a whole file, may have said where the server and its database are.
fn is_about_the_place(key: &str) -> bool {
    let section = key.split(['.', '[']).next().unwrap_or_default();
    // An unknown section may be one of these, misspelt.
    !is_section(section) || matches!(section, "server" | "database")
}

/// The merged tree as figment takes it.
struct Merged(Dict);

impl Provider for Merged {
    fn metadata(&self) -> Metadata {
        Metadata::named("sources")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

fn extract(tree: Node) -> Result<Config, Box<figment::Error>> {
    let written = match tree.into_value() {
        Value::Dict(_, entries) => entries,
        _ => Dict::new(),
    };
    Figment::from(Serialized::defaults(Config::default())).merge(Merged(written)).extract().map_err(Box::new)
}

/// figment's `listener.0.name` as `listener[0].name`.
fn key_path(path: &[String]) -> String {
    path.iter().fold(String::new(), |path, key| match key.parse::<usize>() {
        Ok(index) => format!("{path}[{index}]"),
        Err(_) if path.is_empty() => key.clone(),
        Err(_) => format!("{path}.{key}"),
    })
}

fn unreadable(file: &Path, error: &io::Error) -> Problem {
    let origin = Origin::File { file: file.into(), line: 0, column: 0 };
    Problem::new(&origin, "", format!("cannot be read: {error}"))
}

fn read(file: &Path) -> Result<Node, Problem> {
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    Node::parse(&Arc::from(file), &text)
}

/// Each file and then the drop-ins beside it, no drop-in twice.
fn with_conf_d(files: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    for file in files {
        all.push(file.clone());
        let folder = file.parent().unwrap_or(Path::new("")).join("conf.d");
        let drop_in = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "toml")
                && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        };
        let found = sorted_entries(&folder, problems);
        let new: Vec<_> = found.into_iter().filter(|path| drop_in(path) && !all.contains(path)).collect();
        all.extend(new);
    }
    all
}

/// The paths in a folder in alphabetical order; a folder that is not there holds none.
fn sorted_entries(folder: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match listed {
        Ok(mut paths) => {
            let paths: &mut Vec<PathBuf> = &mut paths;
            paths.sort();
            std::mem::take(paths)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
        Err(error) => {
            problems.push(unreadable(folder, &error));
            Vec::new()
        }
    }
}

/// Files of the credentials folder whose names are key paths. Others, such as private keys, are not ours to judge.
fn credentials(folder: Option<&Path>, problems: &mut Vec<Problem>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for path in folder.map(|folder| sorted_entries(folder, problems)).unwrap_or_default() {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let ours = name.split_once('.').is_some_and(|(section, rest)| is_section(section) && !rest.is_empty());
        if !ours {
            continue;
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let origin = Origin::Credential(Arc::from(path.as_path()));
                nodes.push(Node::raw(
                    &name.split('.').collect::<Vec<_>>(),
                    text.trim_end_matches(['\n', '\r']),
                    &origin,
                ));
            }
            Err(error) => problems.push(unreadable(&path, &error)),
        }
    }
    nodes
}

/// `POSTHORN_SECTION__KEY=value`, and lists of rows such as `POSTHORN_LISTENER` as a whole. Other variables belong to
/// the command line.
fn environment(variables: &[(String, String)]) -> Vec<Node> {
    let mut sorted: Vec<_> = variables.iter().collect();
    sorted.sort();
    let schema = Schema::new();
    let is_rows = |name: &str| {
        let property = schema.root().property(name);
        property.is_some_and(|property| schema.forms(property).iter().any(|form| form.accepts("array")))
    };
    let node = |(variable, value): &(String, String)| {
        let path = variable.strip_prefix("POSTHORN_")?.to_ascii_lowercase();
        let origin = Origin::Environment(variable.as_str().into());
        (path.contains("__") || is_rows(&path))
            .then(|| Node::raw(&path.split("__").collect::<Vec<_>>(), value, &origin))
    };
    sorted.into_iter().filter_map(node).collect()
}

fn is_section(name: &str) -> bool {
    Schema::new().root().property(name).is_some()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    /// Writes files into a fresh folder and loads `posthorn.toml` from it with these variables.
    fn load_files(
        files: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> (tempfile::TempDir, Result<Loaded, Problems>) {
        let folder = folder();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sources = Sources {
            files: vec![folder.path().join("posthorn.toml")],
            environment: variables.collect(),
            credentials: Some(folder.path().join("credentials")),
        };
        let loaded = load(&sources);
        (folder, loaded)
    }

    pub(crate) fn load_text(text: &str) -> Loaded {
        load_files(&[("posthorn.toml", text)], &[]).1.unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// Everything that is wrong with a text, whichever step finds it, without the folder in front.
    pub(crate) fn problems(text: &str) -> Vec<String> {
        let (folder, loaded) = load_files(&[("posthorn.toml", text)], &[]);
        let found = match loaded {
            Ok(loaded) => check(&loaded),
            Err(problems) => problems.0,
        };
        let prefix = format!("{}/", folder.path().display());
        found.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }

    #[test]
    fn nothing_gives_the_defaults() {
        let loaded = load(&Sources::default()).expect("no problem");
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.origin("server.hostname"), Origin::Default);
        assert_eq!(check(&loaded), []);
    }

    #[test]
    fn later_sources_win() {
        let (folder, loaded) = load_files(
            &[
                (
                    "posthorn.toml",
                    "[server]\nhostname = 'file.example'\ndata = '/srv/a'\n[smtp]\nmax_hops = 1\nmax_errors = 1\n",
                ),
                ("conf.d/20.toml", "[smtp]\nmax_hops = 20\n"),
                ("conf.d/10.toml", "[smtp]\nmax_hops = 10\nmax_recipients = 10\n"),
                ("conf.d/.hidden.toml", "[smtp]\nmax_hops = 99\n"),
                ("conf.d/note.txt", "no TOML"),
                ("credentials/database.url", "postgres://m:s3cret@db/mail\n"),
                ("credentials/database.user", "second"),
            ],
            &[
                ("POSTHORN_SERVER__DATA", "/srv/c"),
                ("POSTHORN_DATABASE__USER", "first"),
                ("POSTHORN_SMTP__MAX_ERRORS", "7"),
                ("POSTHORN_SMTP__BANNER", "42"),
                ("POSTHORN_SMTP__RECEIVED_SHOWS_CLIENT", "true"),
                ("POSTHORN_AUTH__MECHANISMS", "[PLAIN, LOGIN]"),
                ("POSTHORN_AUTH__CACHE", "90"),
                ("POSTHORN_CONFIG", "not ours"),
                ("PATH", "/bin"),
            ],
        );
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        let config = &loaded.config;
        assert_eq!(config.server.hostname, "file.example");
        assert_eq!(config.server.data, Path::new("/srv/c"));
        assert_eq!(config.database.user, "second");
        assert_eq!((config.smtp.max_hops, config.smtp.max_recipients, config.smtp.max_errors), (20, 10, 7));
        assert_eq!(config.smtp.banner, "42");
        assert!(config.smtp.received_shows_client);
        assert_eq!(config.auth.mechanisms, [crate::Mechanism::Plain, crate::Mechanism::Login]);
        assert_eq!(config.auth.cache, crate::Span::from_secs(90));
        assert_eq!(config.database.url.as_ref().map(crate::DatabaseUrl::reveal), Some("postgres://m:s3cret@db/mail"));
        let at = |key: &str| loaded.origin(key).to_string().replace(&format!("{}/", folder.path().display()), "");
        assert_eq!(at("smtp.max_hops"), "conf.d/20.toml:2");
        assert_eq!(at("server.hostname"), "posthorn.toml:2");
        assert_eq!(at("server.data"), "environment POSTHORN_SERVER__DATA");
        assert_eq!(at("database.url"), "credential credentials/database.url");
        assert_eq!(at("imap.idle_time"), "default");
    }

    #[test]
    fn rows_of_several_files_add_up_and_replace_the_defaults() {
        let row =
            |name: &str, port: u16| format!("[[listener]]\nname = '{name}'\nspeaks = 'smtp'\nlisten = ['*:{port}']\n");
        let (_folder, loaded) = load_files(&[("posthorn.toml", &row("a", 1)), ("conf.d/b.toml", &row("b", 2))], &[]);
        let listeners = loaded.expect("no problem").config.listener;
        assert_eq!(listeners.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_variable_can_hold_every_listener() {
        let value = "[{name=\"x\", speaks=\"imap\", listen=[\"127.0.0.1:1143\"]}]";
        let (_folder, loaded) = load_files(&[("posthorn.toml", "")], &[("POSTHORN_LISTENER", value)]);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.config.listener.len(), 1);
        assert_eq!(loaded.origin("listener[0].name").to_string(), "environment POSTHORN_LISTENER");
    }

    #[test]
    fn so_can_one_hold_every_route() {
        let value = "[{recipients=[\"*\"], to=\"smtp://relay.example:587\"}]";
        let (_folder, loaded) = load_files(&[("posthorn.toml", "")], &[("POSTHORN_ROUTE", value)]);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.config.route[0].to.to_string(), "smtp://relay.example:587");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let missing = load(&Sources::files(["/nonexistent/posthorn.toml".into()])).expect_err("not there");
        assert!(missing.to_string().starts_with("/nonexistent/posthorn.toml: cannot be read: "), "{missing}");
        assert_eq!(problems("[server\n").len(), 1);
        assert!(problems("[server]\nhostname =\n")[0].starts_with("posthorn.toml:2: "));
        assert!(problems("[server]\nhostname = 'a.b'\nhostname = 'c.d'\n")[0].starts_with("posthorn.toml:3: "));
    }

    #[test]
    fn what_is_right_is_left_unless_it_may_lead_elsewhere() {
        let (folder, _) = load_files(&[], &[]);
        let file = folder.path().join("posthorn.toml");
        let sources = Sources::files([file.clone()]);
        let left = |text: &str| {
            std::fs::write(&file, format!("[server]\ndata = '/srv'\n{text}")).expect("written");
            load_what_can_be(&sources)
        };
        let (loaded, problems) = left("[smtp]\nbaner = 'x'\nmax_hops = 'many'\n[policy]\nfail_open = 3\n");
        assert_eq!((problems.0.len(), loaded.expect("the rest").config.server.data), (3, "/srv".into()));
        let (loaded, problems) = left("[smtp]\nmax_hops = 7\n");
        assert_eq!((problems.0.len(), loaded.map(|loaded| loaded.config.smtp.max_hops)), (0, Some(7)));
        for text in ["[smtp", "dat = '/x'\n", "[database]\nulr = 'x'\n", "[databse]\nurl = 'x'\n", "hostname = 3\n"] {
            let (loaded, problems) = left(text);
            assert!(loaded.is_none() && !problems.0.is_empty(), "{text}");
        }
    }

    #[test]
    fn variables_and_credentials_are_judged_like_files() {
        let (folder, loaded) = load_files(
            &[("posthorn.toml", ""), ("credentials/database.ulr", "x"), ("credentials/key.pem", "x")],
            &[("POSTHORN_SMTP__MAX_HOPS", "many"), ("POSTHORN_SMPT__BANNER", "x")],
        );
        let found = loaded.expect_err("wrong").to_string().replace(&format!("{}/", folder.path().display()), "");
        let lines: Vec<_> = found.lines().collect();
        assert_eq!(
            lines,
            [
                "credential credentials/database.ulr: database.ulr: unknown key \"ulr\" (did you mean \"url\"?)",
                "environment POSTHORN_SMPT__BANNER: smpt: unknown key \"smpt\" (did you mean \"smtp\"?)",
                "environment POSTHORN_SMTP__MAX_HOPS: smtp.max_hops: expected an integer, found a text",
            ]
        );
    }
}
