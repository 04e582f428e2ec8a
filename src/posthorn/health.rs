//! Whether the appliance is well: for service managers, containers and load balancers.

use std::time::Duration;

use posthorn_mail::Mail;
use posthorn_net::{Listeners, Shutdown};
use serde::{Deserialize, Serialize};

use crate::on_duty::OnDuty;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// One thing that must be well.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Check {
    /// What: `database`, `listeners`, `queue` or `running`.
    pub name: String,
    /// Whether it is.
    pub ok: bool,
    /// What was seen.
    pub found: String,
}

/// What was seen of all of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Whether all of it is well.
    pub ok: bool,
    /// Each thing.
    pub checks: Vec<Check>,
}

/// Looks at a running appliance; cheap to clone.
#[derive(Clone)]
pub struct Health {
    /// The duties.
    pub mail: Mail,
    /// The open sockets.
    pub listeners: Listeners,
    /// Who delivers.
    pub courier: OnDuty,
    /// Whether it stops.
    pub shutdown: Shutdown,
}

impl Health {
    /// Whether it can take mail now: the database answers, what should be open is, the queue is worked on, and nobody has
    /// asked it to stop.
    pub async fn ready(&self) -> Report {
        let running = !self.shutdown.is_stopping();
        let stopping = if running { "serving" } else { "stopping" };
        let checks = vec![
            Check { name: "running".to_owned(), ok: running, found: stopping.to_owned() },
            self.database().await,
            self.open(),
            self.queue(),
        ];
        Report { ok: checks.iter().all(|check| check.ok), checks }
    }

    async fn database(&self) -> Check {
        let asked = async {
            let mut connection = self.mail.store().acquire().await?;
            posthorn_store::server_settings::answers(&mut connection).await
        };
        let (ok, found) = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(())) => (true, "answers".to_owned()),
            Ok(Err(error)) => (false, error.to_string()),
            Err(_) => (false, format!("silent for {} s", PATIENCE.as_secs())),
        };
        Check { name: "database".to_owned(), ok, found }
    }

    fn open(&self) -> Check {
        let open = self.listeners.bound().len();
        let found = format!("{open} sockets are open");
        Check { name: "listeners".to_owned(), ok: open > 0, found }
    }

    fn queue(&self) -> Check {
        let ok = self.courier.courier().is_at_work();
        let found = if ok { "is worked on" } else { "nobody delivers" }.to_owned();
        Check { name: "queue".to_owned(), ok, found }
    }
}

impl Report {
    /// As people read it.
    #[must_use]
    pub fn text(&self) -> String {
        let line =
            |check: &Check| format!("{}  {:9}  {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.found);
        self.checks.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_fails() {
        let check = |name: &str, ok| Check { name: name.to_owned(), ok, found: "seen".to_owned() };
        let report = Report { ok: false, checks: vec![check("database", false), check("queue", true)] };
        assert_eq!(report.text(), "FAIL  database   seen\nok    queue      seen");
    }
}
