//! How a command ends: with which code, and what it says then.

use std::process::ExitCode;

use anyhow::Context;
use posthorn_config::{Loaded, Problems};

use super::{LAST_WORD, Misuse, Told};
use crate::control::{Kind, NotRunning, Refused};
use crate::database::{chain, is_away};
use crate::logging::{self, Voice};
use crate::output::tell;

/// Arguments or configuration cannot be used.
const UNUSABLE: u8 = 2;
/// No server runs that could be asked (EX_UNAVAILABLE of sysexits.h).
const NOT_RUNNING: u8 = 69;
/// The database is away: later it may work (EX_TEMPFAIL).
const AWAY: u8 = 75;
/// The server does not start because its configuration cannot be used (EX_CONFIG): starting it again does not help.
const BAD_CONFIGURATION: u8 = 78;

/// Says why, and with which code the process ends; `serves` when it would have been the server.
pub(super) fn end(error: &anyhow::Error, serves: bool) -> ExitCode {
    if error.is::<Told>() {
        return ExitCode::FAILURE;
    }
    match error.downcast_ref::<Problems>() {
        Some(problems) => tell(&problems.to_string()),
        None => tell(&format!("posthorn: {}", chain(error))),
    }
    ExitCode::from(code(error, serves))
}

fn code(error: &anyhow::Error, serves: bool) -> u8 {
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return match refused.kind {
            Kind::Request | Kind::Configuration => UNUSABLE,
            Kind::Database => AWAY,
            Kind::Fault => 1,
        };
    }
    if error.is::<Problems>() && serves {
        BAD_CONFIGURATION
    } else if error.is::<Problems>() || error.is::<Misuse>() {
        UNUSABLE
    } else if error.is::<NotRunning>() {
        NOT_RUNNING
    } else if is_away(error) {
        AWAY
    } else {
        1
    }
}

/// Does the work of a command that needs a runtime.
pub(super) fn with_runtime(
    loaded: &Loaded,
    voice: Voice,
    work: impl AsyncFnOnce(&Loaded) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    logging::start(&loaded.config.log, voice)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    let done = runtime.block_on(work(loaded));
    // A thread may still wait for a word from the terminal.
    runtime.shutdown_timeout(LAST_WORD);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Away;

    #[test]
    fn each_kind_of_failure_has_its_code() {
        let problems = || anyhow::Error::from(Problems(Vec::new()));
        assert_eq!((code(&problems(), true), code(&problems(), false)), (78, 2));
        assert_eq!(code(&Misuse(String::new()).into(), false), 2);
        let refused = |kind| anyhow::Error::from(Refused { kind, why: String::new() }).context("more");
        assert_eq!(code(&refused(Kind::Configuration), false), 2);
        assert_eq!(code(&refused(Kind::Database), false), 75);
        assert_eq!(code(&anyhow::Error::from(Away(String::new())).context("more"), true), 75);
        assert_eq!(code(&anyhow::anyhow!("anything"), true), 1);
    }
}
