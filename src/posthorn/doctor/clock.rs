//! The machine's clock: whether somebody keeps it. Signatures, certificates and one-time links end by it.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::Finding;

const AREA: &str = "machine";
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn examine() -> Vec<Finding> {
    // It passes on what the kernel knows, whichever program keeps the clock.
    let mut asked = Command::new("timedatectl");
    asked.args(["show", "--property", "NTPSynchronized", "--value"]).kill_on_drop(true);
    let answer = timeout(PATIENCE, asked.stdin(Stdio::null()).stderr(Stdio::null()).output()).await;
    let said = answer.ok().and_then(Result::ok).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    vec![judge(said.as_deref())]
}

fn judge(said: Option<&str>) -> Finding {
    match said {
        Some("yes") => Finding::fine(AREA, "clock", "the clock is kept by NTP"),
        Some("no") => Finding::warning(
            AREA,
            "clock",
            "nobody keeps the clock: it drifts, and signatures and certificates end by it",
        )
        .advise("start systemd-timesyncd or chrony (NixOS: services.timesyncd.enable)"),
        _ => Finding::note(AREA, "clock", "timedatectl does not say whether the clock is kept"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn a_clock_that_nobody_keeps_is_told() {
        let grades = [Some("yes"), Some("no"), Some(""), None].map(|said| judge(said).grade);
        assert_eq!(grades, [Grade::Fine, Grade::Warning, Grade::Note, Grade::Note]);
    }
}
