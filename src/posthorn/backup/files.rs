//! What a server needs beside its database: its configuration, and the files that this names.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use posthorn_config::{Config, Loaded};
use serde_json::Value;

use super::contents::FileRow;
use super::sha256;

/// No file that a configuration names is larger.
const LARGEST: u64 = 16 << 20;

/// Keys of files that everybody may read; what any other key names is taken for a secret.
const PUBLIC: &[&str] = &["certificate", "client_ca", "authorities", "trust_anchor"];

/// What the service manager hands over is declared elsewhere, and only the service may read it.
const HANDED_OVER: &str = "/run/credentials";

/// Keys of folders and of our own socket, which need not be there.
const FOLDERS: &[&str] = &["data", "binaries", "directories", "control"];

/// Where the configuration is shown as it is in force, from all its sources.
pub const IN_FORCE: &str = "configuration.toml";

/// What the master key is called.
pub const MASTER_KEY: &str = "master key";

/// Files and what is in them.
pub type Files = Vec<(FileRow, Vec<u8>)>;

/// A file that the configuration names.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Named {
    path: PathBuf,
    what: String,
    secret: bool,
    /// Whether it is made by a server when it is not there.
    is_made: bool,
}

/// Reads all of them.
///
/// # Errors
/// Which cannot be read: a backup that lacks it would not bring the server back.
pub fn read(loaded: &Loaded, with_secrets: bool) -> anyhow::Result<Files> {
    let mut files = Files::new();
    // What is shown holds no passwords; the files that it comes from may.
    files.push(file(Path::new(IN_FORCE), "configuration in force, without passwords", false, loaded.show().into()));
    if with_secrets {
        for path in loaded.files().into_iter().filter(|path| !path.starts_with(HANDED_OVER)) {
            let octets = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            files.push(file(&path, "configuration", true, octets));
        }
    }
    for named in named(&loaded.config).into_iter().filter(|named| with_secrets || !named.secret) {
        if named.path.starts_with(HANDED_OVER) {
            continue;
        }
        if files.iter().any(|(row, _)| row.path == named.path) {
            continue;
        }
        let Some(octets) = octets(&named)? else { continue };
        files.push(file(&named.path, &named.what, named.secret, octets));
    }
    Ok(files)
}

fn file(path: &Path, what: &str, secret: bool, octets: Vec<u8>) -> (FileRow, Vec<u8>) {
    let row = FileRow {
        path: path.to_owned(),
        what: what.to_owned(),
        secret,
        octets: octets.len() as u64,
        sha256: sha256(&octets),
    };
    (row, octets)
}

/// What is in it; nothing when it is no file, or is made when it is missing.
fn octets(named: &Named) -> anyhow::Result<Option<Vec<u8>>> {
    let unreadable = || {
        let advice = if named.secret { " (--without-secrets leaves it out)" } else { "" };
        format!("{} ({}) cannot be read{advice}", named.path.display(), named.what)
    };
    let meta = match fs::metadata(&named.path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_made => return Ok(None),
        Err(error) => return Err(error).with_context(unreadable),
    };
    if !meta.is_file() {
        return Ok(None);
    }
    if meta.len() > LARGEST {
        bail!("{} ({}) is larger than any that a configuration names", named.path.display(), named.what);
    }
    fs::read(&named.path).map(Some).with_context(unreadable)
}

/// The files that a configuration names, or that are taken where it names none.
fn named(config: &Config) -> Vec<Named> {
    let (path, is_made) = config.dkim.master_key_file(&config.server.data);
    let mut files = vec![Named { path, what: MASTER_KEY.to_owned(), secret: true, is_made }];
    let pair = config.tls.pair(&config.server.data);
    let is_made = pair.may_create;
    files.push(Named { path: pair.certificate, what: "tls.certificate".to_owned(), secret: false, is_made });
    files.push(Named { path: pair.key, what: "tls.key".to_owned(), secret: true, is_made });
    // A list, which the schema does not mark.
    for path in config.srs.old_secrets.iter().cloned() {
        files.push(Named { path, what: "srs.old_secrets".to_owned(), secret: true, is_made: false });
    }
    let values = serde_json::to_value(config).unwrap_or_default();
    let schema = serde_json::from_str(&posthorn_config::schema()).unwrap_or_default();
    let mut found = Vec::new();
    Walk { schema: &schema, found: &mut found }.visit(&schema, &values, "");
    for (key, path) in found {
        let name = key.rsplit('.').next().and_then(|name| name.split('[').next()).unwrap_or_default();
        let secret = !PUBLIC.contains(&name);
        if !FOLDERS.contains(&name) {
            files.push(Named { path, what: key, secret, is_made: false });
        }
    }
    once(files)
}

/// Each path once; a file that is a secret under any of its names is one.
fn once(files: Vec<Named>) -> Vec<Named> {
    let mut each: Vec<Named> = Vec::with_capacity(files.len());
    for file in files {
        match each.iter_mut().find(|one| one.path == file.path) {
            Some(one) => one.secret |= file.secret,
            None => each.push(file),
        }
    }
    each
}

/// Finds the values that the schema says are paths, so that a new setting needs no line here.
struct Walk<'w> {
    schema: &'w Value,
    found: &'w mut Vec<(String, PathBuf)>,
}

impl Walk<'_> {
    fn visit(&mut self, schema: &Value, value: &Value, key: &str) {
        if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
            let whole = self.schema;
            self.visit(&whole["$defs"][name], value, key);
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            for schema in schema[choice].as_array().into_iter().flatten() {
                self.visit(schema, value, key);
            }
        }
        match value {
            Value::String(text) if schema["format"] == "path" => {
                let found = (key.to_owned(), PathBuf::from(text));
                if !self.found.contains(&found) {
                    self.found.push(found);
                }
            }
            Value::Array(values) => {
                for (place, value) in values.iter().enumerate() {
                    self.visit(&schema["items"], value, &format!("{key}[{place}]"));
                }
            }
            Value::Object(values) => {
                for (name, value) in values {
                    let dot = if key.is_empty() { "" } else { "." };
                    self.visit(&schema["properties"][name], value, &format!("{key}{dot}{name}"));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).expect("a configuration")
    }

    #[test]
    fn whatever_the_configuration_names_is_found() {
        let config = config(
            "[server]\ndata = '/data'\n\
             [tls]\nclient_ca = '/ca.pem'\n[[tls.certificates]]\ncertificate = '/c.pem'\nkey = '/k.pem'\n\
             [srs]\nsecret = '/srs'\nold_secrets = ['/srs1', '/srs2']\n\
             [dns]\ntrust_anchor = '/anchor'\n\
             [[dkim.key]]\ndomain = 'example.org'\nselector = 's'\nfile = '/dkim.pem'\n\
             [[route]]\nrecipients = ['*']\nto = 'smtp://a.example'\nuser = 'u'\npassword_file = '/password'\n\
             [[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = ['*:25']\ncertificate = '/l.pem'\nkey = '/l.key'\n",
        );
        let found = named(&config);
        let about = |path: &str| found.iter().find(|file| file.path == Path::new(path)).map(|file| file.secret);
        for secret in [
            "/data/dkim.key",
            "/data/tls/key.pem",
            "/k.pem",
            "/srs",
            "/srs1",
            "/srs2",
            "/dkim.pem",
            "/password",
            "/l.key",
        ] {
            assert_eq!(about(secret), Some(true), "{secret}: {found:#?}");
        }
        for public in ["/data/tls/certificate.pem", "/ca.pem", "/c.pem", "/anchor", "/l.pem"] {
            assert_eq!(about(public), Some(false), "{public}: {found:#?}");
        }
    }

    #[test]
    fn a_certificate_with_its_key_in_one_file_is_a_secret_and_there_once() {
        let config = config(
            "[tls]\ncertificate = '/a.pem'\nkey = '/a.pem'\n\
             [[tls.certificates]]\ncertificate = '/b.pem'\nkey = '/b.pem'\n",
        );
        let found = named(&config);
        for path in ["/a.pem", "/b.pem"] {
            let secret: Vec<_> =
                found.iter().filter(|file| file.path == Path::new(path)).map(|file| file.secret).collect();
            assert_eq!(secret, [true], "{path}: {found:#?}");
        }
    }

    /// Every path that a setting can hold is marked as one in its schema, or the walk above would miss it.
    #[test]
    fn every_path_is_marked() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let mut unmarked = Vec::new();
        for entry in fs::read_dir(folder).expect("the crate").map(|entry| entry.expect("an entry").path()) {
            if entry.extension().is_none_or(|extension| extension != "rs") || entry.ends_with("load.rs") {
                continue;
            }
            let text = fs::read_to_string(&entry).expect("text");
            let lines: Vec<_> = text.split("#[cfg(test)]").next().unwrap_or_default().lines().collect();
            for (at, line) in
                lines.iter().enumerate().filter(|(_, line)| line.trim().starts_with("pub ") && line.ends_with(','))
            {
                let marked = lines[at.saturating_sub(3)..at].iter().any(|line| line.contains("\"path\""));
                if line.contains("PathBuf") && !marked {
                    unmarked.push(format!("{}: {}", entry.display(), line.trim()));
                }
            }
        }
        // What a caller gives, not what is configured.
        unmarked.retain(|found| !found.contains("source.rs") && !found.contains("CertificatePair"));
        // Taken by name.
        unmarked.retain(|found| !found.ends_with("srs.rs: pub old_secrets: Vec<PathBuf>,"));
        unmarked.retain(|found| {
            !found.ends_with("tls.rs: pub certificate: PathBuf,") && !found.ends_with("tls.rs: pub key: PathBuf,")
        });
        assert_eq!(unmarked, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_read_is_told_and_what_is_made_later_is_not_needed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.server.data = folder.path().to_owned();
        let files = read(&Loaded::from(config.clone()), true).expect("nothing is there yet");
        assert_eq!(files.len(), 1);
        config.srs.secret = Some("/run/credentials/posthorn.service/srs".into());
        assert_eq!(read(&Loaded::from(config.clone()), true).expect("not ours to read").len(), 1);
        config.srs.secret = Some(folder.path().join("srs"));
        let error = read(&Loaded::from(config.clone()), true).expect_err("missing").to_string();
        assert!(error.contains("srs (srs.secret) cannot be read (--without-secrets leaves it out)"), "{error}");
        let files = read(&Loaded::from(config), false).expect("left out");
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].0.path, Path::new(IN_FORCE));
    }
}
