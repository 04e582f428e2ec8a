//! Another configuration for a running appliance: what can change does, without ending a session; what cannot is named.
//!
//! Everything that may fail comes first. A configuration that cannot be used changes nothing.

use posthorn_config::Config;
use posthorn_mail::Mail;
use posthorn_net::Changed;
use serde_json::Value;

use crate::assemble::{Appliance, Working, body_memory, watching};
use crate::generation::{Generation, Parts};
use crate::secrets;

/// What a reload did.
#[derive(Clone, Debug, Default)]
pub struct Reloaded {
    /// Addresses that were opened and closed.
    pub endpoints: Changed,
    /// The keys whose values differ from what ran before.
    pub changed: Vec<String>,
    /// Of these, those that hold from the next start on.
    pub restart: Vec<String>,
}

/// What cannot change while the process runs, by key or section.
const AT_START: &[&str] = &["server.data", "server.control", "database", "log.format"];

/// How long a courier that is replaced may finish what is on the wire: less than its lease (60 s) has left.
const LONGEST_GRACE: std::time::Duration = std::time::Duration::from_secs(30);

/// What the duties are made of.
const OF_MAIL: &[&str] =
    &["server.hostname", "mail", "auth", "queue", "dkim", "checks", "srs", "reports", "route", "binding", "dns"];
/// What the policy is made of, besides the duties.
const OF_POLICY: &[&str] = &["policy"];
/// What the filter is made of, besides the duties.
const OF_FILTER: &[&str] = &["filter", "quarantine", "scanner", "policy"];
/// What the courier is made of, besides the duties. Where we listen is of it: mail must not come back to us.
const OF_COURIER: &[&str] = &["delivery", "binding_group", "delivery_rule", "listener", "tls.authorities"];
/// What finding hosts is made of.
const OF_GROUND: &[&str] = &["dns", "tls.authorities"];

impl Appliance {
    /// Takes another configuration, and reads every certificate and secret anew. Sessions go on as they began; what
    /// begins from here on meets the new configuration.
    ///
    /// # Errors
    /// What cannot be used or reached; everything is as it was then.
    pub async fn reload(&mut self, wanted: &Config) -> anyhow::Result<Reloaded> {
        let mut next = wanted.clone();
        let differing = differences(&self.config, &next);
        let restart: Vec<_> = differing.iter().filter(|key| touches(key, AT_START)).cloned().collect();
        keep_what_stays(&self.config, &mut next);
        let fingerprint = secrets::Fingerprint::of(&next);
        let secrets_differ = fingerprint != self.fingerprint;
        let is_of = |part: &[&str]| differing.iter().any(|key| touches(key, part) && !touches(key, AT_START));

        let ground = match is_of(OF_GROUND) || secrets_differ {
            true => self.world.ground(&next)?,
            false => self.generation.ground.clone(),
        };
        let body_memory =
            if self.config.limits.memory == next.limits.memory { self.body_memory } else { body_memory(&next) };
        let renews = is_of(OF_MAIL) || secrets_differ || body_memory != self.body_memory;
        let mail = if renews { self.renewed(&next, &ground, body_memory).await? } else { self.mail().clone() };
        let old = &self.generation;
        let parts = Parts {
            mail: mail.clone(),
            policy: (!renews && !is_of(OF_POLICY)).then(|| old.policy.clone()),
            filter: (!renews && !is_of(OF_FILTER)).then(|| old.filter.clone()),
            ground: ground.clone(),
        };
        let (generation, tasks) = Generation::of(&next, parts, &self.shutdown).await?;
        self.minding.retain(|task| !task.is_finished());
        self.minding.extend(tasks);
        let watching = watching(self.metrics.clone(), crate::health::Health { mail: mail.clone(), ..self.health() });
        let change = self.listeners.prepare(&next, generation.router(&next, watching)).await?;
        let courier = match renews || is_of(OF_COURIER) {
            true => Some(posthorn_courier::Courier::enlist(mail.clone(), ground, self.world.courier(&next)).await?),
            false => None,
        };
        let endpoints = change.commit().await?;

        // From here on nothing fails.
        self.metrics.follow(&next, mail.clone());
        if renews {
            let before = std::mem::replace(&mut self.working, Working::begin(mail, self.shutdown.clone()));
            self.minding.push(before.end());
        }
        // Sessions of before keep their engines, which must not go on forgetting and writing letters by old settings.
        if renews || is_of(OF_POLICY) {
            self.generation.policy.engine().relieve();
        }
        if renews || is_of(OF_FILTER) {
            self.generation.filter.engine().relieve();
        }
        self.generation = generation;
        if let Some(courier) = courier {
            let before = self.courier.relieve(courier.begin());
            // Its claims are not renewed while it stops: nobody else may take them over meanwhile.
            let grace = self.config.server.grace.duration().min(LONGEST_GRACE);
            let (shutdown, after) = (self.shutdown.clone(), self.courier.courier());
            self.minding.push(tokio::spawn(async move {
                tokio::select! {
                    () = before.stop(grace) => {}
                    () = shutdown.cutting() => {}
                }
                // What was given back is due.
                after.wake().await;
            }));
        }
        (self.body_memory, self.fingerprint, self.config) = (body_memory, fingerprint, next);
        Ok(Reloaded { endpoints, changed: differing, restart })
    }

    /// The duties under another configuration, with what they know.
    async fn renewed(
        &self,
        next: &Config,
        ground: &posthorn_courier::Ground,
        body_memory: usize,
    ) -> anyhow::Result<Mail> {
        let resolver = crate::resolver::Asking::new(ground.dns.clone());
        let settings = posthorn_mail::Settings {
            body_memory,
            resolver: Some(std::sync::Arc::new(resolver)),
            ..secrets::settings(next)?
        };
        let mail = self.mail().renewed(settings)?;
        secrets::hold_against(&mail).await?;
        Ok(mail)
    }
}

/// What holds until the process ends.
fn keep_what_stays(running: &Config, next: &mut Config) {
    next.server.data.clone_from(&running.server.data);
    next.server.control.clone_from(&running.server.control);
    next.database.clone_from(&running.database);
    next.log.format = running.log.format;
}

/// Whether a key is one of these, or within one of them, or around one.
fn touches(key: &str, these: &[&str]) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    these.iter().any(|one| within(key, one) || within(one, key))
}

/// The keys whose values differ: a value by its own key, a list of rows by the list's.
#[must_use]
pub fn differences(one: &Config, other: &Config) -> Vec<String> {
    let value = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut keys = Vec::new();
    compare(&value(one), &value(other), "", &mut keys);
    // A password is not in what is shown.
    if one.database.url != other.database.url && !keys.iter().any(|key| key == "database.url") {
        keys.push("database.url".to_owned());
    }
    keys
}

fn compare(one: &Value, other: &Value, key: &str, keys: &mut Vec<String>) {
    let (Value::Object(one), Value::Object(other)) = (one, other) else {
        if one != other {
            keys.push(key.to_owned());
        }
        return;
    };
    let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    for name in names {
        let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        let nothing = &Value::Null;
        compare(one.get(name).unwrap_or(nothing), other.get(name).unwrap_or(nothing), &path, keys);
    }
}

#[cfg(test)]
mod tests {
    use posthorn_config::DatabaseUrl;

    use super::*;

    #[test]
    fn differences_are_named_by_their_keys() {
        let one = Config::default();
        let mut other = one.clone();
        assert!(differences(&one, &other).is_empty());
        other.server.hostname = "b.example".to_owned();
        other.listener[0].enable = false;
        other.database.connections += 1;
        assert_eq!(differences(&one, &other), ["database.connections", "listener", "server.hostname"]);
    }

    #[test]
    fn another_password_is_a_difference() {
        let url = |password: &str| Config {
            database: posthorn_config::Database {
                url: Some(DatabaseUrl::parse(&format!("postgres://m:{password}@db/mail")).expect("a URL")),
                ..Default::default()
            },
            ..Config::default()
        };
        assert_eq!(differences(&url("a"), &url("b")), ["database.url"]);
    }

    #[test]
    fn what_stays_is_put_back() {
        let running = Config::default();
        let mut next = running.clone();
        next.database.connections += 1;
        next.server.data = "/elsewhere".into();
        next.mail.max_message_size = posthorn_config::Size::mebibytes(1);
        keep_what_stays(&running, &mut next);
        assert_eq!(differences(&running, &next), ["mail.max_message_size"]);
        assert!(["database.url", "server.data", "server"].iter().all(|key| touches(key, AT_START)));
        assert!(!touches("server.hostname", AT_START) && !touches("databases", AT_START));
    }
}
