//! Where log lines go: to standard error or to the journal, as the configuration says.
//!
//! `logging/README.md` lists the fields; `tests/architecture/log_fields.rs` holds the sources against it.

use std::sync::OnceLock;

use anyhow::Context;
use posthorn_config::{Log, LogFormat, LogLevel};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, reload};

/// What the journal's names of our fields begin with: `message.id` must not become MESSAGE_ID, which means something else
/// there (systemd.journal-fields(7)).
const PREFIX: &str = "POSTHORN";

/// Who writes the lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Voice {
    /// A command that ends soon: nothing below a warning, for its output is the answer.
    Command,
    /// A server: whatever is configured.
    Server,
}

/// Starts to log. `RUST_LOG` replaces the configured level.
///
/// # Errors
/// When logging was started before, or `RUST_LOG` cannot be read.
pub fn start(log: &Log, voice: Voice) -> anyhow::Result<()> {
    let filter = match chosen() {
        Some(text) => EnvFilter::try_new(text).context("RUST_LOG is no list of log levels")?,
        None => filter(log, voice),
    };
    match (log.format, voice) {
        (LogFormat::Text, _) | (LogFormat::Journald, Voice::Command) => text(filter),
        (LogFormat::Json, _) => json(filter),
        (LogFormat::Journald, Voice::Server) => match tracing_journald::layer() {
            Ok(layer) => journal(layer, filter),
            Err(error) => text(filter).inspect(|()| {
                tracing::warn!(%error, "no journal listens: the log goes to standard error");
            }),
        },
    }
    .map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}

fn text(filter: EnvFilter) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let lines = lines.with_filter_reloading();
    let handle = lines.reload_handle();
    let _first = LEVEL.set(Box::new(move |filter| drop(handle.reload(filter))));
    lines.try_init()
}

fn json(filter: EnvFilter) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).json();
    let lines = lines.with_filter_reloading();
    let handle = lines.reload_handle();
    let _first = LEVEL.set(Box::new(move |filter| drop(handle.reload(filter))));
    lines.try_init()
}

fn journal(layer: tracing_journald::Layer, filter: EnvFilter) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let priorities =
        PriorityMappings { info: Priority::Informational, debug: Priority::Debug, ..PriorityMappings::new() };
    let layer = layer
        .with_field_prefix(Some(PREFIX.to_owned()))
        .with_syslog_identifier("posthorn".to_owned())
        .with_priority_mappings(priorities);
    let (filter, handle) = reload::Layer::new(filter);
    let _first = LEVEL.set(Box::new(move |filter| drop(handle.reload(filter))));
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|error: TryInitError| error.into())
}

/// Writes from now on what this section says, unless `RUST_LOG` chose. The format stays as it was at the start.
pub fn change(log: &Log, voice: Voice) {
    if let (Some(change), None) = (LEVEL.get(), chosen()) {
        change(filter(log, voice));
    }
}

/// Puts another filter in the place of the one that logging was started with.
static LEVEL: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// What the environment chose.
fn chosen() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty())
}

fn filter(log: &Log, voice: Voice) -> EnvFilter {
    // PostgreSQL remarks at every start that our tables exist already; and a connection that listened is tried once more
    // when it is let go, which no longer matters once a private server has stopped.
    let quiet = "sqlx::postgres::notice=warn,sqlx_core::pool::connection=error";
    EnvFilter::new(format!("{},{quiet}", level(log, voice).name()))
}

fn level(log: &Log, voice: Voice) -> LogLevel {
    match (voice, log.level) {
        (Voice::Command, LogLevel::Info) => LogLevel::Warn,
        (_, level) => level,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Output};
    use std::time::Duration;

    use super::*;

    #[test]
    fn commands_are_quiet_unless_asked() {
        let at = |level| Log { level, format: LogFormat::Text };
        assert_eq!(level(&at(LogLevel::Info), Voice::Command), LogLevel::Warn);
        assert_eq!(level(&at(LogLevel::Info), Voice::Server), LogLevel::Info);
        assert_eq!(level(&at(LogLevel::Debug), Voice::Command), LogLevel::Debug);
        assert_eq!(level(&at(LogLevel::Error), Voice::Command), LogLevel::Error);
    }

    /// Says which format this process is to log in when it is a test's child.
    const FORMAT: &str = "POSTHORN_TEST_LOG_FORMAT";

    /// Runs in a process of its own, as logging starts once in each.
    #[test]
    fn says_one_thing() {
        let Ok(format) = std::env::var(FORMAT) else { return };
        let format = if format == "json" { LogFormat::Json } else { LogFormat::Journald };
        start(&Log { level: LogLevel::Info, format }, Voice::Server).expect("started");
        tracing::debug!("below the level");
        tracing::warn!(target: "posthorn::trace", { session.id = %"1f", message.id = "2e", recipients = ?["a", "b"],
            size = 7_u64, login = Option::<&str>::None }, "message\ntaken");
        change(&Log { level: LogLevel::Debug, format }, Voice::Server);
        tracing::debug!("now it is not");
    }

    /// Runs the test above, by a program in front of it.
    fn child(format: &str, before: &[&str]) -> Output {
        let this = std::env::current_exe().expect("our own path");
        let mut words = before.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        words.push(this.display().to_string());
        words.extend(["--exact", "logging::tests::says_one_thing", "--nocapture"].map(str::to_owned));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env(FORMAT, format).env_remove("RUST_LOG");
        command.output().expect("it runs")
    }

    #[test]
    fn json_has_the_fields_by_their_names() {
        let ran = child("json", &[]);
        let text = String::from_utf8(ran.stderr).expect("text");
        let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let [line, later] = &lines[..] else { panic!("{text}") };
        assert_eq!((&line["level"], &line["target"]), (&"WARN".into(), &"posthorn::trace".into()));
        assert!(chrono::DateTime::parse_from_rfc3339(line["timestamp"].as_str().expect("a time")).is_ok(), "{line}");
        let fields = serde_json::json!({ "message": "message\ntaken", "session.id": "1f", "message.id": "2e",
            "recipients": "[\"a\", \"b\"]", "size": 7 });
        assert_eq!(line["fields"], fields);
        assert_eq!(later["fields"]["message"], "now it is not");
    }

    #[test]
    fn the_journal_has_them_too_and_where_there_is_none_it_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = UnixDatagram::bind(folder.path().join("socket")).expect("bound");
        journal.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        // The journal's address is fixed, so the child gets a /run of its own.
        let apart = ["unshare", "--map-root-user", "--mount", "sh", "-ec"];
        let run = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal";
        let none = format!("{run}; exec \"$@\"");
        let there = format!("{run}; mount --bind {} /run/systemd/journal; exec \"$@\"", folder.path().display());
        let probe = Command::new(apart[0]).args(&apart[1..]).args([run, "sh"]).status();
        if !probe.is_ok_and(|status| status.success()) {
            // Not every machine lets its users have namespaces.
            return;
        }
        let ran = child("journald", &[&apart[..], &[&there, "sh"]].concat());
        assert!(ran.status.success(), "{ran:?}");
        let mut buffer = vec![0; 1 << 16];
        let mut entries = Vec::new();
        while entries.len() < 2 {
            let size = journal.recv(&mut buffer).expect("an entry");
            // An empty one asks whether somebody listens.
            entries.extend((size > 0).then(|| entry(&buffer[..size])));
        }
        let expected = [
            ("MESSAGE", "message\ntaken"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "posthorn"),
            ("TARGET", "posthorn::trace"),
            ("POSTHORN_SESSION_ID", "1f"),
            ("POSTHORN_MESSAGE_ID", "2e"),
            ("POSTHORN_RECIPIENTS", "[\"a\", \"b\"]"),
            ("POSTHORN_SIZE", "7"),
        ];
        for (name, value) in expected {
            assert_eq!(entries[0].get(name).map(String::as_str), Some(value), "{name}: {entries:?}");
        }
        let others = entries[0].keys().filter(|name| !expected.iter().any(|(known, _)| known == name));
        assert_eq!(others.collect::<Vec<_>>(), ["CODE_FILE", "CODE_LINE"]);
        assert_eq!((entries[1]["MESSAGE"].as_str(), entries[1]["PRIORITY"].as_str()), ("now it is not", "7"));
        let ran = child("journald", &[&apart[..], &[&none, "sh"]].concat());
        let text = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(text.contains("no journal listens") && text.contains("session.id=1f"), "{text}");
    }

    /// An entry of the journal's own protocol: `NAME=value`, or a name, eight octets of length and the value.
    fn entry(mut octets: &[u8]) -> BTreeMap<String, String> {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("text");
        let mut fields = BTreeMap::new();
        while let Some(end) = octets.iter().position(|octet| *octet == b'\n') {
            let (line, rest) = (&octets[..end], &octets[end + 1..]);
            let (name, value, rest) = match line.iter().position(|octet| *octet == b'=') {
                Some(at) => (&line[..at], &line[at + 1..], rest),
                None => {
                    let (size, rest) = rest.split_first_chunk().expect("a length");
                    let size = usize::try_from(u64::from_le_bytes(*size)).expect("short");
                    (line, &rest[..size], &rest[size + 1..])
                }
            };
            fields.insert(text(name), text(value));
            octets = rest;
        }
        fields
    }
}
