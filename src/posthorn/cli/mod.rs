//! The command line: one file for each group of commands.

mod account;
mod alias;
mod apply;
mod backup;
mod check;
mod config;
mod daily;
mod dkim;
mod doctor;
mod domain;
mod ending;
mod filter;
mod health;
mod import;
mod listener;
mod migrate;
mod policy;
mod quarantine;
mod queue;
mod restore;
mod revision;
mod snmp;
mod suppression;
mod top;
mod trace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use posthorn_config::{Loaded, Problems, Sources, load};
use posthorn_mail::directory::Unfit;
use posthorn_mail::feedback::ReportKind;
use posthorn_model::Domain;
use serde::Serialize;

use crate::logging::Voice;
use crate::output::Output;
use crate::{demo, serve};

use ending::{end, with_runtime};

/// Read when no `--config` is given and it exists.
const DEFAULT_FILE: &str = "/etc/posthorn/posthorn.toml";

/// How long tasks and threads may take to notice that the command is done.
const LAST_WORD: Duration = Duration::from_secs(2);

/// A mail server appliance: one program, one PostgreSQL, one configuration file.
#[derive(Debug, Parser)]
#[command(name = "posthorn", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// Configuration file; may be repeated, later ones override [default: /etc/posthorn/posthorn.toml if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    config: Vec<PathBuf>,
    /// Answer with one JSON document
    #[arg(long, global = true)]
    json: bool,
}

impl Global {
    /// What the configuration is read from.
    fn sources(&self) -> Sources {
        let default = Path::new(DEFAULT_FILE);
        if self.config.is_empty() && default.exists() {
            return Sources::process([default.to_owned()]);
        }
        Sources::process(self.config.iter().cloned())
    }

    /// Reads the configuration.
    fn load(&self) -> Result<Loaded, Problems> {
        load(&self.sources())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the appliance
    Serve,
    /// Start a whole appliance on this machine, prove that mail flows, and keep serving
    Demo(demo::Args),
    /// Administer domains
    #[command(subcommand)]
    Domain(domain::Domains),
    /// Administer accounts
    #[command(subcommand)]
    Account(account::Accounts),
    /// Administer aliases
    #[command(subcommand)]
    Alias(alias::Aliases),
    /// See and steer the mail that leaves
    #[command(subcommand)]
    Queue(queue::Queues),
    /// Tell what happened to a message
    Trace(trace::Args),
    /// Administer the keys that mail is signed with
    #[command(subcommand)]
    Dkim(dkim::Dkims),
    /// Administer the recipients that nothing is sent to
    #[command(subcommand)]
    Suppression(suppression::Suppressions),
    /// See and steer what is refused before it is accepted
    #[command(subcommand)]
    Policy(policy::Policies),
    /// See and steer how mail is judged
    #[command(subcommand)]
    Filter(filter::Filters),
    /// See, release and delete mail that is held
    #[command(subcommand)]
    Quarantine(quarantine::Quarantines),
    /// See what others report about mail in our domains' names (DMARC), and what we report to them
    #[command(subcommand)]
    Dmarc(daily::Dailies),
    /// See what others report about TLS towards our domains, and what we report to them
    #[command(subcommand)]
    TlsReport(daily::Dailies),
    /// Take over what other programs were told, and the mail that they keep
    #[command(subcommand)]
    Import(import::Imports),
    /// See, close and open the addresses of the running server
    #[command(subcommand)]
    Listener(listener::Listeners),
    /// Make domains, accounts and aliases equal to a file
    Apply(apply::Args),
    /// Prove that the stored mail is consistent
    Check(check::Args),
    /// Look for what would keep mail from flowing: names, records, certificates, rights, PostgreSQL
    Doctor(doctor::Args),
    /// Write everything that a server needs into one file, while it serves
    Backup(backup::Args),
    /// Put a backup into an empty database, or one account's mail beside what is there
    Restore(restore::Args),
    /// Bring the database's schema up to this program's
    Migrate(migrate::Args),
    /// Tell whether the server that runs is well; exit code 0 or 1
    Health(health::Args),
    /// Show what the server that runs does at this moment
    Top(top::Args),
    /// Answer net-snmp's snmpd by pass_persist with what is counted, as AMAVIS-MIB names it
    Snmp(snmp::Args),
    /// Check, show and explain the configuration
    #[command(subcommand)]
    Config(config::Configs),
    /// Print the version
    Version,
}

/// A command that cannot be meant as it is; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

/// A command that said itself what is wrong; exit code 1 without a word more.
#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Told;

/// Does what the process's arguments say: exit code 0 when done, 1 when refused or failed, 2 when the arguments or
/// the configuration cannot be used, 69 when no server runs that could be asked, 75 when the database is away. A server
/// whose configuration cannot be used ends with 78.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let serves = matches!(arguments.command, Command::Serve);
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => end(&error, serves),
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { global, command } = arguments;
    let mut output = Output::standard(global.json);
    match command {
        Command::Config(command) => return config::run(&global, command, &mut output),
        Command::Version => return version(&mut output),
        // Whoever runs the agent need not read the configuration.
        Command::Snmp(args) => return snmp::run(&args),
        _ => {}
    }
    let loaded = global.load()?;
    if matches!(command, Command::Serve) {
        // What `config check` would say keeps the server from starting, with file, line and key.
        let problems = crate::soundness::problems(&loaded, true);
        if !problems.is_empty() {
            return Err(Problems(problems).into());
        }
    }
    let voice = if matches!(command, Command::Serve) { Voice::Server } else { Voice::Command };
    with_runtime(&loaded, voice, async |loaded| match command {
        Command::Account(command) => account::run(loaded, command, &mut output).await,
        Command::Alias(command) => alias::run(loaded, command, &mut output).await,
        Command::Apply(args) => apply::run(loaded, &args, &mut output).await,
        Command::Backup(args) => backup::run(loaded, &args, &mut output).await,
        Command::Restore(args) => restore::run(loaded, &args, &mut output).await,
        Command::Migrate(args) => migrate::run(loaded, &args, &mut output).await,
        Command::Check(args) => check::run(loaded, &args, &mut output).await,
        Command::Dkim(command) => dkim::run(loaded, command, &mut output).await,
        Command::Dmarc(command) => daily::run(loaded, ReportKind::Dmarc, command, &mut output).await,
        Command::TlsReport(command) => daily::run(loaded, ReportKind::Tls, command, &mut output).await,
        Command::Doctor(args) => doctor::run(loaded, &args, &mut output).await,
        Command::Domain(command) => domain::run(loaded, command, &mut output).await,
        Command::Filter(command) => filter::run(loaded, command, &mut output).await,
        Command::Quarantine(command) => quarantine::run(loaded, command, &mut output).await,
        Command::Health(args) => health::run(loaded, &args, &mut output).await,
        Command::Import(command) => import::run(loaded, command, &mut output).await,
        Command::Policy(command) => policy::run(loaded, command, &mut output).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Queue(command) => queue::run(loaded, command, &mut output).await,
        Command::Listener(command) => listener::run(loaded, command, &mut output).await,
        Command::Serve => serve::serve(global.sources(), loaded).await,
        Command::Suppression(command) => suppression::run(loaded, command, &mut output).await,
        Command::Top(args) => top::run(loaded, &args, &mut output).await,
        Command::Trace(args) => trace::run(loaded, args, &mut output).await,
        Command::Config(_) | Command::Version | Command::Snmp(_) => Ok(()),
    })
}

fn version(output: &mut Output) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Version {
        name: &'static str,
        version: &'static str,
    }
    let version = Version { name: "posthorn", version: env!("CARGO_PKG_VERSION") };
    output.answer(&version, || format!("{} {}", version.name, version.version))
}

/// A refusal of a duty as the failure of a command.
fn refused<T>(answer: Result<T, Unfit>) -> anyhow::Result<T> {
    answer.map_err(anyhow::Error::new)
}

fn parse_domain(text: &str) -> Result<Domain, String> {
    Domain::parse(text).map_err(|error| error.to_string())
}

/// Text of others on one line of a terminal: nothing in it can steer the terminal, and it ends after so many
/// characters.
fn plain_line(text: &str, longest: usize) -> String {
    let plain = |c: char| match c {
        '\n' | '\t' => ' ',
        // Marks that change the direction of writing can make a line read as another one.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut characters = text.trim_end().chars().filter(|c| *c != '\r').map(plain);
    let mut line: String = characters.by_ref().take(longest).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

/// What was removed, for programs.
#[derive(Serialize)]
struct Removed {
    removed: String,
}

/// Answers that something is gone.
fn removed(output: &mut Output, kind: &str, name: &dyn std::fmt::Display) -> anyhow::Result<()> {
    output.answer(&Removed { removed: name.to_string() }, || format!("{kind} {name} is removed"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_is_understood() {
        for line in [
            "posthorn --config a.toml --config b.toml domain add example.org",
            "posthorn domain add example.net --alias-of example.org --json",
            "posthorn domain list --config a.toml",
            "posthorn domain show example.org",
            "posthorn domain set example.org --catch-all a@example.org,b@example.org --disable",
            "posthorn domain set example.org --no-catch-all --enable",
            "posthorn domain remove example.org",
            "posthorn account add a@example.org --display-name A --quota 1GiB --quota-messages 5 --password-stdin",
            "posthorn account add a@example.org --password-hash-file /x",
            "posthorn account add a@example.org --generate",
            "posthorn account list --domain example.org",
            "posthorn account show a@example.org",
            "posthorn account set a@example.org --forward-to b@example.org,c@example.org --no-keep-copy",
            "posthorn account set a@example.org --delegate b@example.org --password-file /x --disable",
            "posthorn account set a@example.org --no-forward --no-delegate --keep-copy",
            "posthorn account remove a@example.org --yes",
            "posthorn alias add i@example.org a@example.org b@example.org",
            "posthorn alias list --domain example.org",
            "posthorn alias show i@example.org",
            "posthorn alias set i@example.org --targets a@example.org --disable",
            "posthorn alias remove i@example.org",
            "posthorn check --repair --json",
            "posthorn backup /backups --keep 7 --level 9",
            "posthorn backup - --without-secrets",
            "posthorn backup verify a.tar --quick --json",
            "posthorn backup show -",
            "posthorn restore a.tar --replace --hold-queue --files /x",
            "posthorn restore a.tar --account a@example.org --into b@example.org --folder INBOX --folder Sent",
            "posthorn migrate --dry-run --sql",
            "posthorn migrate status",
            "posthorn doctor example.org --probe example.com --quiet",
            "posthorn doctor --no-probe --json",
            "posthorn health",
            "posthorn health live --json",
            "posthorn top --once",
            "posthorn top --every 5",
            "posthorn snmp --from 127.0.0.1:9464",
            "posthorn queue list --domain example.com --state deferred --older-than 2h --limit 5 --after 1f --json",
            "posthorn queue list --count",
            "posthorn queue show 1f2e3d",
            "posthorn queue retry --domain example.com --dry-run",
            "posthorn queue hold --sender a@example.org --note audit",
            "posthorn queue release --state held",
            "posthorn queue fail --error greylist --reason enough",
            "posthorn queue reroute --all --to smtp://relay.example:25 --through default",
            "posthorn queue reroute --id 1f --as-configured",
            "posthorn queue suspend --domain example.com --for 2h --note down",
            "posthorn queue suspend --binding a",
            "posthorn queue resume --domain example.com",
            "posthorn queue suspensions",
            "posthorn queue classify 550",
            "posthorn trace 1f2e3d --json",
            "posthorn trace --to a@example.org --limit 3",
            "posthorn dkim create example.org",
            "posthorn dkim create example.org --algorithm rsa --selector s1 --in 2d",
            "posthorn dkim list --domain example.org",
            "posthorn dkim rotate example.org --in 1h",
            "posthorn dkim dns",
            "posthorn dkim dns example.org",
            "posthorn dkim remove example.org s1",
            "posthorn suppression list --sender example.org",
            "posthorn suppression add a@example.com --sender example.org --reason gone --for 14d",
            "posthorn suppression remove a@example.com",
            "posthorn policy greylist enable --to there.example",
            "posthorn policy greylist disable --to a@example.org --from 192.0.2.0/24 --note why",
            "posthorn policy greylist delete --from .example.com",
            "posthorn policy greylist held --to a@example.org --limit 5",
            "posthorn policy greylist pass 192.0.2.1",
            "posthorn policy greylist whitelist add ~.example.com --to example.org",
            "posthorn policy greylist whitelist remove user@*",
            "posthorn policy greylist domains add example.com",
            "posthorn policy greylist domains refresh",
            "posthorn policy throttle set outbound example.org --period 1h --messages 100 --window leaky --per together",
            "posthorn policy throttle delete external 192.0.2.1",
            "posthorn policy throttle usage",
            "posthorn policy throttle reset a@example.org",
            "posthorn policy throttle reset --kind inbound --who *",
            "posthorn policy list in add example.com 192.0.2.1 --black --for a@example.org",
            "posthorn policy list out remove --all --for *",
            "posthorn policy list in list --white --json",
            "posthorn policy access set all@example.org members-and-moderators --moderator a@example.org",
            "posthorn policy access open all@example.org",
            "posthorn policy banned forgive 192.0.2.0/24",
            "posthorn policy explain --client 192.0.2.1 --from <> --to a@example.org --to b@example.org --size 1MiB",
            "posthorn policy why --to a@example.org --from <> --client ::1 --newer-than 1h",
            "posthorn policy service list",
            "posthorn import iredapd postgresql://me@host/iredapd dump.sql --dry-run --triplets",
            "posthorn import maildir /var/vmail/a/Maildir --account a@example.org --dry-run --json",
            "posthorn apply file.toml --dry-run --prune",
            "posthorn config check --without-files",
            "posthorn config reload --json",
            "posthorn config log --limit 5 --all",
            "posthorn config diff",
            "posthorn config diff 3 4 --files",
            "posthorn config rollback 3 --apply",
            "posthorn listener list --json",
            "posthorn listener disable smtp *:25",
            "posthorn listener enable smtp",
            "posthorn config show server.hostname",
            "posthorn config reference",
            "posthorn config schema",
            "posthorn config example",
            "posthorn config explain --listener smtp --address *:25 --peer 10.0.0.1",
            "posthorn config explain --delivery --domain example.com",
            "posthorn config explain --delivery --binding a --group g --domain example.com --json",
            "posthorn version",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn nonsense_is_not() {
        for line in [
            "posthorn",
            "posthorn domain add -x-",
            "posthorn backup",
            "posthorn backup /x --level 20",
            "posthorn backup /x --keep 0",
            "posthorn backup verify",
            "posthorn restore",
            "posthorn restore a.tar --folder INBOX",
            "posthorn restore a.tar --account a@example.org --replace",
            "posthorn migrate --sql",
            "posthorn account add nobody",
            "posthorn account add a@b.c --quota many",
            "posthorn account add a@b.c --password secret",
            "posthorn account add a@b.c --generate --password-stdin",
            "posthorn account set a@b.c --enable --disable",
            "posthorn account set a@b.c",
            "posthorn domain set a.b",
            "posthorn domain set a.b --catch-all x@a.b --no-catch-all",
            "posthorn alias add i@b.c",
            "posthorn alias set i@b.c",
            "posthorn config explain --listener smtp",
            "posthorn config explain --listener smtp --peer example.org",
            "posthorn config log --limit 0",
            "posthorn config rollback",
            "posthorn listener disable",
            "posthorn listener disable smtp nowhere",
            "posthorn queue",
            "posthorn queue list --count --limit 5",
            "posthorn queue show xyz",
            "posthorn queue reroute --all",
            "posthorn queue reroute --all --to mx --as-configured",
            "posthorn queue suspend",
            "posthorn queue suspend --domain example.com --binding a",
            "posthorn queue suspend --domain example.com --for ever",
            "posthorn trace",
            "posthorn trace 1f --to a@example.org",
            "posthorn dkim create example.org --algorithm dsa",
            "posthorn dkim remove example.org",
            "posthorn suppression add nobody",
            "posthorn policy greylist enable --to a@b@c",
            "posthorn policy throttle set sideways * --period 1h --messages 1",
            "posthorn policy list in add example.com",
            "posthorn policy list in add example.com --white --black",
            "posthorn policy list out remove",
            "posthorn policy access set all@example.org friends",
            "posthorn policy why --client example.org",
            "posthorn import iredapd",
            "posthorn import maildir /var/vmail/a/Maildir",
            "posthorn import maildir --account a@example.org",
            "posthorn config explain",
            "posthorn config explain --delivery",
            "posthorn config explain --domain example.com",
            "posthorn config explain --delivery --domain example.com --peer 10.0.0.1",
            "posthorn config explain --listener smtp --peer 10.0.0.1 --binding a",
            "posthorn config explain --delivery --domain -x-",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn words_of_others_stay_on_their_line() {
        assert_eq!(plain_line("550 no\r\nsuch user\r\n", 100), "550 no such user");
        assert_eq!(plain_line("\u{1b}[2Jgone\u{202e}x", 100), "\u{fffd}[2Jgone\u{fffd}x");
        assert_eq!(plain_line("abcdef", 3), "abc…");
        assert_eq!(plain_line("abc", 3), "abc");
    }

    #[test]
    fn options_of_all_commands_may_stand_anywhere() {
        for line in ["posthorn --json --config a domain list", "posthorn domain list --config a --json"] {
            let arguments = parse(line).expect(line);
            assert!(arguments.global.json);
            assert_eq!(arguments.global.config, [PathBuf::from("a")]);
        }
    }
}
