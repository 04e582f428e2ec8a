//! `posthorn queue sites` and `posthorn queue adapted`: what couriers know of receivers, and what replies taught them.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use posthorn_courier::{Change, SiteView, adapted};
use posthorn_mail::Mail;
use serde::Serialize;

use super::shown::time;
use crate::cli::plain_line;
use crate::output::{Output, tell};

/// How long couriers have to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A site, and whose it is.
#[derive(Debug, Serialize)]
struct Row {
    /// Where the courier is.
    server: String,
    #[serde(flatten)]
    site: SiteView,
}

/// The sites of all servers that deliver.
pub(super) async fn sites(mail: &Mail, output: &mut Output) -> anyhow::Result<()> {
    let views = mail.queue().views(PATIENCE).await?;
    let several = views.len() > 1;
    let mut rows = Vec::new();
    for view in &views {
        let Some(sites) = &view.sites else {
            tell(&format!("{} has not answered: it may be busy, or older than this command", view.host));
            continue;
        };
        let sites: Vec<SiteView> = serde_json::from_str(sites)
            .with_context(|| format!("{} answered in words of another version", view.host))?;
        rows.extend(sites.into_iter().map(|site| Row { server: view.host.clone(), site }));
    }
    if views.is_empty() {
        tell("no server that delivers is running");
    }
    let now = mail.now();
    let headings = ["site", "binding", "state", "connections", "waiting", "sending", "last refusal", "adapted"];
    output.rows(&rows, &headings, |row| {
        let site = &row.site;
        let name = if several { format!("{} at {}", site.name, row.server) } else { site.name.clone() };
        let connections = match site.connections_most {
            Some(most) => format!("{}/{most}", site.connections),
            None => site.connections.to_string(),
        };
        let refusal = site.last_refusal.as_ref();
        vec![
            plain_line(&name, 80),
            plain_line(&site.binding, 40),
            plain_line(&state(site, now), 100),
            connections,
            site.waiting.to_string(),
            site.in_delivery.to_string(),
            refusal.map(|refusal| plain_line(&refusal.reply, 70)).unwrap_or_default(),
            plain_line(&values(site), 80),
        ]
    })
}

/// Whether it is sent to, in words.
fn state(site: &SiteView, now: DateTime<Utc>) -> String {
    if let Some(until) = site.suspended_until.filter(|until| *until > now) {
        return format!("suspended until {}", time(until));
    }
    match (&site.down, site.down_until) {
        (Some(why), Some(until)) => format!("down until {}: {why}", time(until)),
        _ => "up".to_owned(),
    }
}

fn values(site: &SiteView) -> String {
    let value = |adapted: &posthorn_courier::Adapted| format!("{} {}", adapted.setting, adapted.value);
    site.adapted.iter().filter(|adapted| adapted.setting != "suspend").map(value).collect::<Vec<_>>().join(", ")
}

/// A value that replies changed.
#[derive(Debug, Serialize)]
struct Value {
    site: String,
    binding: String,
    setting: &'static str,
    /// `null`: what the configuration says.
    old: Option<u32>,
    new: Option<u32>,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    rule: String,
    reply: String,
}

impl From<Change> for Value {
    fn from(change: Change) -> Self {
        Self {
            site: change.site.to_string(),
            binding: change.binding.to_string(),
            setting: change.setting.word(),
            old: change.old,
            new: change.new,
            since: change.at,
            until: change.until,
            rule: change.rule,
            reply: change.reply,
        }
    }
}

/// What adaptive delivery has changed.
pub(super) async fn values_adapted(mail: &Mail, output: &mut Output) -> anyhow::Result<()> {
    let now = mail.now();
    let rows: Vec<Value> = adapted(mail.queue().tunings().await?).into_iter().map(Value::from).collect();
    output.rows(&rows, &["site", "binding", "setting", "from", "to", "until", "rule", "reply"], |row| {
        let number = |value: Option<u32>| value.map_or_else(|| "as configured".to_owned(), |value| value.to_string());
        let until = if row.until > now { time(row.until) } else { "growing back".to_owned() };
        vec![
            plain_line(&row.site, 80),
            plain_line(&row.binding, 40),
            row.setting.to_owned(),
            number(row.old),
            number(row.new),
            until,
            plain_line(&row.rule, 60),
            plain_line(&row.reply, 70),
        ]
    })
}

#[cfg(test)]
mod tests {
    use posthorn_courier::Adapted;

    use super::*;

    #[test]
    fn states_and_values_are_told() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        let later = now + Duration::from_secs(60);
        let mut site: SiteView = serde_json::from_value(serde_json::json!({
            "name": "mx.example.net", "binding": "default", "hosts": ["mx.example.net"], "waiting": 1, "in_delivery": 2,
            "connections": 3, "connections_most": null, "suspended_until": null, "down": null, "down_until": null,
            "last_refusal": null, "adapted": [],
        }))
        .expect("a view");
        assert_eq!((state(&site, now).as_str(), values(&site).as_str()), ("up", ""));
        (site.down, site.down_until) = (Some("451 4.4.1 refused".to_owned()), Some(later));
        assert_eq!(state(&site, now), "down until 2027-01-15T08:01:00Z: 451 4.4.1 refused");
        site.suspended_until = Some(later);
        let value = |setting: &str, value| {
            let (setting, rule) = (setting.to_owned(), "r".to_owned());
            Adapted { setting, value, until: later, rule }
        };
        site.adapted = vec![value("connections", 5), value("suspend", 1)];
        assert_eq!(state(&site, now), "suspended until 2027-01-15T08:01:00Z");
        assert_eq!(values(&site), "connections 5");
    }
}
