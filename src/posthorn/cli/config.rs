//! `posthorn config`.

use std::net::IpAddr;

use clap::Subcommand;
use posthorn_config::{ListenAddress, Loaded, Origin, Problem, example, load_what_can_be, reference, schema};
use posthorn_model::Domain;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Global, Misuse, parse_domain};
use crate::logging::Voice;
use crate::output::Output;
use crate::soundness;

#[derive(Debug, Subcommand)]
pub(super) enum Configs {
    /// Say what is wrong with the configuration, or that nothing is
    Check {
        /// Read neither certificates nor keys, for a machine that is not the one that will run
        #[arg(long)]
        without_files: bool,
    },
    /// Show every setting with its origin, or the one of a key such as server.hostname
    Show { key: Option<String> },
    /// Print the reference of all settings as Markdown
    Reference,
    /// Print the JSON schema
    Schema,
    /// Print an example with every setting
    Example,
    /// Show what holds for a client of a listener, or for mail that leaves, and where each option was decided
    Explain(Explain),
    #[command(flatten)]
    Revisions(super::revision::Revisions),
}

/// Either a listener with a client, or `--delivery` with a domain.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The listener's name
    #[arg(long, value_name = "NAME", requires = "peer", required_unless_present = "delivery")]
    listener: Option<String>,
    /// One of its addresses [default: the first]
    #[arg(long, value_parser = parse_address, requires = "listener")]
    address: Option<ListenAddress>,
    /// The client's address
    #[arg(long, value_name = "IP", requires = "listener")]
    peer: Option<IpAddr>,
    /// Explain delivery to a domain instead
    #[arg(long, requires = "domain", conflicts_with_all = ["listener", "address", "peer"])]
    delivery: bool,
    /// The binding that mail leaves through
    #[arg(long, value_name = "NAME", requires = "delivery")]
    binding: Option<String>,
    /// The binding group [default: the binding's]
    #[arg(long, value_name = "NAME", requires = "delivery")]
    group: Option<String>,
    /// The domain of the recipient
    #[arg(long, value_name = "DOMAIN", value_parser = parse_domain, requires = "delivery")]
    domain: Option<Domain>,
}

/// A problem as programs read it.
#[derive(Serialize)]
struct Shown<'p> {
    file: &'p str,
    line: usize,
    column: usize,
    key: &'p str,
    message: &'p str,
    hint: Option<&'p str>,
}

impl<'p> From<&'p Problem> for Shown<'p> {
    fn from(problem: &'p Problem) -> Self {
        Self {
            file: &problem.file,
            line: problem.line,
            column: problem.column,
            key: &problem.key,
            message: &problem.message,
            hint: problem.hint.as_deref(),
        }
    }
}

pub(super) fn run(global: &Global, command: Configs, output: &mut Output) -> anyhow::Result<()> {
    match command {
        Configs::Check { without_files } => judge(global, without_files, output),
        Configs::Example => output.answer(&json!({ "example": example() }), example),
        Configs::Explain(asked) => explain(&global.load()?, &asked, output),
        Configs::Reference => output.answer(&json!({ "reference": reference() }), reference),
        Configs::Schema => {
            let schema = schema();
            output.answer(&serde_json::from_str::<Value>(&schema)?, || schema)
        }
        Configs::Show { key } => show(&global.load()?, key.as_deref(), output),
        Configs::Revisions(command) => {
            let sources = global.sources();
            // What is wrong with the files of now keeps nobody from going back to earlier ones, and the server judges for
            // itself.
            let (loaded, problems) = load_what_can_be(&sources);
            let Some(loaded) = loaded else { return Err(problems.into()) };
            super::with_runtime(&loaded, Voice::Command, async |loaded| {
                super::revision::run(loaded, (&sources, problems), command, output).await
            })
        }
    }
}

fn judge(global: &Global, without_files: bool, output: &mut Output) -> anyhow::Result<()> {
    let sources = global.sources();
    let judged = soundness::load_sound(&sources, !without_files);
    let files: Vec<_> = sources.files.iter().map(|file| file.display().to_string()).collect();
    match judged {
        Ok(loaded) => {
            let (listeners, addresses) = bound(&loaded);
            let fine =
                json!({ "ok": true, "files": files, "listeners": listeners, "addresses": addresses, "problems": [] });
            output.answer(&fine, || {
                let from = if files.is_empty() { "the built-in defaults".to_owned() } else { files.join(", ") };
                format!("{from}: fine, {} on {}", plural(listeners, "listener"), plural(addresses, "address"))
            })
        }
        Err(problems) => {
            if output.is_json() {
                let shown: Vec<_> = problems.0.iter().map(Shown::from).collect();
                output.answer(&json!({ "ok": false, "files": files, "problems": shown }), String::new)?;
            }
            Err(problems.into())
        }
    }
}

/// How many listeners and addresses would be bound.
fn bound(loaded: &Loaded) -> (usize, usize) {
    let enabled = loaded.config.listener.iter().filter(|listener| listener.enable);
    let counts = enabled.map(|listener| listener.listen.iter().filter(|endpoint| endpoint.enable).count());
    counts.fold((0, 0), |(listeners, addresses), count| (listeners + 1, addresses + count))
}

fn plural(count: usize, noun: &str) -> String {
    match (count, noun.ends_with('s')) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{count} {noun}es"),
        (_, false) => format!("{count} {noun}s"),
    }
}

fn show(loaded: &Loaded, key: Option<&str>, output: &mut Output) -> anyhow::Result<()> {
    let Some(key) = key else {
        return output.answer(&loaded.config, || loaded.show());
    };
    let Some((value, origin)) = loaded.value(key) else {
        return Err(Misuse(format!("there is no key {key}, or it is unset; see posthorn config show")).into());
    };
    let shown = json!({ "key": key, "value": plain(&value), "origin": origin_of(&origin) });
    output.answer(&shown, || format!("{key} = {value}  # {origin}"))
}

fn explain(loaded: &Loaded, asked: &Explain, output: &mut Output) -> anyhow::Result<()> {
    match (asked, &asked.listener, asked.peer, &asked.domain) {
        (asked, _, _, Some(domain)) => explain_delivery(loaded, asked, domain, output),
        (asked, Some(listener), Some(peer), None) => {
            explain_client(loaded, (listener, asked.address.as_ref()), peer, output)
        }
        // The command line is not understood otherwise.
        _ => Err(Misuse("name a listener and a peer, or --delivery and a domain".to_owned()).into()),
    }
}

fn explain_delivery(loaded: &Loaded, asked: &Explain, domain: &Domain, output: &mut Output) -> anyhow::Result<()> {
    let (group, binding) = (asked.group.as_deref(), asked.binding.as_deref());
    let explained =
        loaded.explain_delivery(group, binding, domain.as_str()).map_err(|error| Misuse(error.to_string()))?;
    let options = explained.iter().map(|option| {
        json!({
            "option": option.option,
            "value": plain(&option.value),
            "origin": origin_of(&option.origin),
            "key": option.key,
            "bucket": option.bucket,
        })
    });
    let document = json!({
        "domain": domain,
        "binding": binding,
        "group": group,
        "options": options.collect::<Vec<_>>(),
    });
    output.answer(&document, || explained.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn explain_client(
    loaded: &Loaded,
    (listener, address): (&str, Option<&ListenAddress>),
    peer: IpAddr,
    output: &mut Output,
) -> anyhow::Result<()> {
    let explained = loaded.explain(listener, address, peer).map_err(|error| Misuse(error.to_string()))?;
    let options = explained.iter().map(|option| {
        json!({ "option": option.option, "value": plain(&option.value), "origin": origin_of(&option.origin), "key": option.key })
    });
    let document = json!({
        "listener": listener,
        "address": address.map(ToString::to_string),
        "peer": peer,
        "options": options.collect::<Vec<_>>(),
    });
    output.answer(&document, || explained.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// A value written as TOML, as the same value in JSON.
fn plain(written: &str) -> Value {
    let document: Option<toml::Table> = toml::from_str(&format!("value = {written}")).ok();
    let value = document.and_then(|mut document| document.remove("value"));
    value.and_then(|value| serde_json::to_value(value).ok()).unwrap_or_else(|| json!(written))
}

fn origin_of(origin: &Origin) -> Value {
    match origin {
        Origin::Credential(path) => json!({ "credential": path.display().to_string() }),
        Origin::Default => json!("default"),
        Origin::Environment(variable) => json!({ "environment": &**variable }),
        Origin::File { file, line, column } => {
            json!({ "file": file.display().to_string(), "line": line, "column": column })
        }
    }
}

fn parse_address(text: &str) -> Result<ListenAddress, String> {
    ListenAddress::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_toml_become_json() {
        assert_eq!(plain("\"a\""), json!("a"));
        assert_eq!(plain("5"), json!(5));
        assert_eq!(plain("[\"a\", true]"), json!(["a", true]));
        assert_eq!(plain("all of it"), json!("all of it"));
    }

    #[test]
    fn what_would_be_bound_is_counted() {
        let mut loaded = Loaded::defaults();
        let (listeners, addresses) = bound(&loaded);
        assert!(listeners > 5 && addresses > listeners, "public ones have two addresses");
        loaded.config.listener[0].enable = false;
        loaded.config.listener[1].listen[0].enable = false;
        // The first one with both of its addresses, and one of the second one's.
        assert_eq!(bound(&loaded), (listeners - 1, addresses - 3));
        assert_eq!((plural(1, "address"), plural(8, "address")), ("1 address".into(), "8 addresses".into()));
    }
}
