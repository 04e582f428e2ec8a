//! What the appliance counts, as OpenMetrics text for whoever watches it.
//!
//! Counters and times are noted where things happen (`metrics`); what can be looked at, such as queue and sessions, is
//! looked at when somebody asks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use posthorn_config::Config;
use posthorn_mail::Mail;
use posthorn_net::{CertificateFacts, Listeners, Scope};
use posthorn_store::queue::{self, Waiting};

use crate::on_duty::OnDuty;

/// Upper bounds of times, in seconds: from an answer out of memory to a client that nearly gave up.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Upper bounds of how many share a commit.
const PARCELS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Counting the queue is one pass over it: the same answer serves for so long.
const COUNTED_FOR: Duration = Duration::from_secs(15);
/// How long a database that is away may keep a scrape waiting.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often times that were noted are summed up.
const TEND: Duration = Duration::from_secs(5);

/// Where this process counts. Counting begins with the first call: an appliance that nobody watches does not.
fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS);
        let builder = builder.and_then(|one| one.set_buckets_for_metric(Matcher::Suffix("_parcels".into()), PARCELS));
        let recorder = builder.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        // Somebody else's recorder in this process would be in a test's place, and the test would see it.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("something else counts in this process already");
        }
        describe();
        tokio::spawn(tend(handle.clone()));
        handle
    })
}

/// The appliance as it is watched; cheap to clone. Clones follow the same change of configuration.
#[derive(Clone)]
pub struct OpenMetrics(Arc<ArcSwap<Watched>>);

/// What the queue held, and when it was counted.
type Counted = Option<(Instant, Vec<Waiting>)>;

struct Watched {
    mail: Mail,
    listeners: Listeners,
    courier: OnDuty,
    certificates: BTreeMap<PathBuf, PathBuf>,
    counted: Arc<Mutex<Counted>>,
}

impl OpenMetrics {
    /// Begins to count.
    #[must_use]
    pub fn new(config: &Config, mail: Mail, listeners: Listeners, courier: OnDuty) -> Self {
        recorder();
        gauge!("posthorn_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let certificates = certificates(config);
        Self(Arc::new(ArcSwap::from_pointee(Watched {
            mail,
            listeners,
            courier,
            certificates,
            counted: Arc::default(),
        })))
    }

    /// Watches what another configuration has, in the place of what the one before had.
    pub(crate) fn follow(&self, config: &Config, mail: Mail) {
        let before = self.0.load();
        self.0.store(Arc::new(Watched {
            mail,
            listeners: before.listeners.clone(),
            courier: before.courier.clone(),
            certificates: certificates(config),
            counted: Arc::clone(&before.counted),
        }));
    }

    /// Everything, as text (OpenMetrics in its older form, which every scraper reads).
    pub async fn text(&self) -> String {
        let watched = self.0.load_full();
        watched.look();
        watched.count().await;
        recorder().render() + &watched.sessions() + &watched.ends()
    }
}

/// The files of every certificate that a configuration names.
fn certificates(config: &Config) -> BTreeMap<PathBuf, PathBuf> {
    let pair = config.tls.pair(&config.server.data);
    let mut certificates = BTreeMap::from([(pair.certificate, pair.key)]);
    certificates.extend(config.tls.certificates.iter().map(|one| (one.certificate.clone(), one.key.clone())));
    let own = config.listener.iter().filter_map(|listener| listener.certificate.clone().zip(listener.key.clone()));
    certificates.extend(own);
    certificates
}

impl Watched {
    /// Sessions, listener by listener.
    fn sessions(&self) -> String {
        let held = self.listeners.caps().held;
        let mut rows = Vec::new();
        for bound in self.listeners.bound() {
            let labels = vec![("listener", bound.listener.to_string()), ("speaks", bound.speaks.name().to_owned())];
            // A listener may have several addresses.
            if !rows.iter().any(|(known, _)| *known == labels) {
                let sessions = held.get(&Scope::Listener(Arc::clone(&bound.listener))).copied().unwrap_or(0);
                rows.push((labels, f64::from(sessions)));
            }
        }
        family("posthorn_sessions", "Sessions that run, by listener.", rows)
    }

    /// When certificates end.
    fn ends(&self) -> String {
        let end = |(certificate, key): (&PathBuf, &PathBuf)| {
            let facts = CertificateFacts::read(certificate, key).ok()?;
            let labels = vec![("file", certificate.display().to_string())];
            Some((labels, facts.not_after.timestamp() as f64))
        };
        let rows = self.certificates.iter().filter_map(end).collect();
        family("posthorn_certificate_not_after_seconds", "When a certificate ends, in Unix time.", rows)
    }

    fn look(&self) {
        let stats = self.courier.courier().stats();
        gauge!("posthorn_courier_deliveries").set(stats.resident as f64);
        gauge!("posthorn_courier_connections").set(stats.connections as f64);
        gauge!("posthorn_courier_sites").set(stats.sites as f64);
        let (used, spare) = self.mail.store().pool_usage();
        gauge!("posthorn_database_connections", "state" => "used").set(used as f64);
        gauge!("posthorn_database_connections", "state" => "spare").set(spare as f64);
        if let Some(octets) = posthorn_net::resident() {
            gauge!("process_resident_memory_bytes").set(octets as f64);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            gauge!("process_open_fds").set(files.count() as f64);
        }
    }

    /// What only the database knows.
    async fn count(&self) {
        let fresh = |counted: &Counted| counted.as_ref().is_some_and(|(at, _)| at.elapsed() < COUNTED_FOR);
        if !fresh(&self.counted.lock()) {
            let asked = async {
                let mut connection = self.mail.store().acquire().await?;
                queue::tally(&mut connection).await
            };
            let up = match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(waiting)) => {
                    *self.counted.lock() = Some((Instant::now(), waiting));
                    1.0
                }
                Ok(Err(_)) | Err(_) => 0.0,
            };
            gauge!("posthorn_database_up").set(up);
        }
        let counted = self.counted.lock();
        let Some((_, waiting)) = &*counted else { return };
        let now = self.mail.now();
        for state in ["due", "deferred", "in delivery", "held", "set aside"] {
            let row = waiting.iter().find(|row| row.state == state);
            gauge!("posthorn_queue_deliveries", "state" => state).set(row.map_or(0.0, |row| row.count as f64));
        }
        let late = waiting.iter().filter(|row| row.state == "due").filter_map(|row| row.oldest).min();
        let late = late.map_or(0.0, |oldest| (now - oldest).num_milliseconds().max(0) as f64 / 1000.0);
        gauge!("posthorn_queue_late_by_seconds").set(late);
    }
}

/// Labels with a number.
type Row = (Vec<(&'static str, String)>, f64);

/// Gauges whose labels come and go with the configuration: what was set once in the recorder would be told for ever.
fn family(name: &str, help: &str, rows: Vec<Row>) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let line = |(labels, value): Row| {
        let labels: Vec<_> = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        format!("{name}{{{}}} {value}\n", labels.join(","))
    };
    let lines: String = rows.into_iter().map(line).collect();
    format!("# HELP {name} {help}\n# TYPE {name} gauge\n{lines}\n")
}

/// Sums up what was gathered, or times would pile up while nobody asks.
async fn tend(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(TEND).await;
        handle.run_upkeep();
    }
}

fn describe() {
    describe_gauge!("posthorn_build_info", "The version that runs.");
    describe_counter!("posthorn_connections_total", "Connections that became sessions.");
    describe_counter!("posthorn_connections_refused_total", "Connections that were refused, and for which limit.");
    describe_counter!("posthorn_tls_handshakes_total", "TLS handshakes of clients, by version, or failed.");
    describe_counter!("posthorn_logins_total", "Logins, and what they came to.");
    describe_counter!(
        "posthorn_messages_total",
        "Messages that came whole, by how they came and what they were answered."
    );
    describe_histogram!("posthorn_message_seconds", Unit::Seconds, "From the end of a message to its answer.");
    describe_histogram!("posthorn_commit_parcels", "Messages and deliveries that shared one commit.");
    describe_histogram!("posthorn_commit_seconds", Unit::Seconds, "Commits of messages.");
    describe_counter!("posthorn_deliveries_total", "Attempts to deliver, by what they came to.");
    describe_counter!("posthorn_policy_decisions_total", "Decisions of the policy, by the rule that decided.");
    describe_counter!("posthorn_filter_verdicts_total", "Messages that were judged, by category.");
    describe_histogram!("posthorn_filter_seconds", Unit::Seconds, "How long messages were judged.");
    describe_counter!(
        "posthorn_received_reports_total",
        "Reports of others about a day and letters with them, by what became of them."
    );
    describe_gauge!("posthorn_courier_deliveries", "Deliveries in memory.");
    describe_gauge!("posthorn_courier_connections", "Connections to other hosts, open and on their way.");
    describe_gauge!("posthorn_courier_sites", "Groups of mail hosts that are known.");
    describe_gauge!("posthorn_database_connections", "Connections of the pool.");
    describe_gauge!("posthorn_database_up", "1 while the database answers.");
    describe_gauge!("posthorn_queue_deliveries", "Recipients that wait, by state.");
    describe_gauge!(
        "posthorn_queue_late_by_seconds",
        Unit::Seconds,
        "How long the first that is due has waited beyond its time."
    );
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory of this process.");
    describe_gauge!("process_open_fds", "Files and sockets that are open.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_what_they_hold() {
        let row = |file: &str| (vec![("file", file.to_owned()), ("b", "c".to_owned())], 1.5);
        let text = family("x", "What.", vec![row("/a b"), row("a\"\\\n")]);
        let expected =
            "# HELP x What.\n# TYPE x gauge\nx{file=\"/a b\",b=\"c\"} 1.5\nx{file=\"a\\\"\\\\\\n\",b=\"c\"} 1.5\n\n";
        assert_eq!(text, expected);
    }
}
