//! Where log lines go: to standard error, as the configuration says.

use anyhow::Context;
use posthorn_config::{Log, LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;

/// Who writes the lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Voice {
    /// A command that ends soon: nothing below a warning, for its output is the answer.
    Command,
    /// A server: whatever is configured.
    Server,
}

/// Starts to log to standard error. `RUST_LOG` replaces the configured level.
///
/// # Errors
/// When logging was started before, or `RUST_LOG` cannot be read.
pub fn start(log: &Log, voice: Voice) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text).context("RUST_LOG is no list of log levels")?,
        // PostgreSQL remarks at every start that our tables exist already.
        _ => EnvFilter::new(format!("{},sqlx::postgres::notice=warn", level(log, voice).name())),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(colours).try_init()
        }
        LogFormat::Json => lines.json().try_init(),
    }
    .map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}

fn level(log: &Log, voice: Voice) -> LogLevel {
    match (voice, log.level) {
        (Voice::Command, LogLevel::Info) => LogLevel::Warn,
        (_, level) => level,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quiet_unless_asked() {
        let at = |level| Log { level, format: LogFormat::Text };
        assert_eq!(level(&at(LogLevel::Info), Voice::Command), LogLevel::Warn);
        assert_eq!(level(&at(LogLevel::Info), Voice::Server), LogLevel::Info);
        assert_eq!(level(&at(LogLevel::Debug), Voice::Command), LogLevel::Debug);
        assert_eq!(level(&at(LogLevel::Error), Voice::Command), LogLevel::Error);
    }
}
