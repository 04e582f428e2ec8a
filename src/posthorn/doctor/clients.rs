//! Who seems to send mail here: behind a router that hides its clients, everybody has one address, and nothing that is
//! judged by address means anything any more.

use std::collections::HashMap;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use posthorn_mail::Mail;
use posthorn_store::chronicle;
use serde_json::Value;

use super::Finding;
use super::names::is_private;

const AREA: &str = "machine";
const SUBJECT: &str = "client addresses";
/// Messages that are looked at, and how many it takes to say something.
const MOST: i64 = 500;
const ENOUGH: usize = 20;

pub(super) async fn examine(mail: &Mail, now: DateTime<Utc>) -> Vec<Finding> {
    let asked = async {
        let mut connection = mail.store().acquire().await?;
        chronicle::latest(&mut connection, "taken", now - TimeDelta::days(2), MOST).await
    };
    match asked.await {
        Ok(details) => judge(&details).into_iter().collect(),
        Err(error) => vec![Finding::fault("database", "trace", error.to_string())],
    }
}

/// Strangers' addresses, out of what was told of the messages that were taken.
fn judge(details: &[String]) -> Option<Finding> {
    let strangers = details.iter().filter_map(|detail| {
        let detail: Value = serde_json::from_str(detail).ok()?;
        let known = detail.get("login").is_some();
        let peer: IpAddr = detail.get("peer")?.as_str()?.parse().ok()?;
        (!known && !peer.to_canonical().is_loopback()).then(|| peer.to_canonical())
    });
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    strangers.for_each(|peer| *counts.entry(peer).or_default() += 1);
    let all: usize = counts.values().sum();
    let (busiest, count) = counts.iter().max_by_key(|(_, count)| **count)?;
    if all < ENOUGH {
        return None;
    }
    Some(if is_private(*busiest) && count * 10 >= all * 9 {
        let found = format!("{count} of the latest {all} messages of strangers came from {busiest}, a private address");
        Finding::fault(AREA, SUBJECT, found).advise(
            "a router or container network hides who the clients are: SPF, DNS lists and greylisting judge the router. Let \
             it forward without rewriting addresses, or speak the PROXY protocol (proxy_protocol in a peer block)",
        )
    } else {
        Finding::fine(
            AREA,
            SUBJECT,
            format!("the latest {all} messages of strangers came from {} addresses", counts.len()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    fn taken(peer: &str, login: bool) -> String {
        if login { format!(r#"{{"peer":"{peer}","login":"a@b"}}"#) } else { format!(r#"{{"peer":"{peer}"}}"#) }
    }

    #[test]
    fn a_router_that_hides_everybody_is_noticed() {
        let hidden: Vec<_> = (0..30).map(|_| taken("172.17.0.1", false)).collect();
        assert_eq!(judge(&hidden).map(|finding| finding.grade), Some(Grade::Fault));
        let apart: Vec<_> = (0..30).map(|at| taken(&format!("192.0.2.{at}"), false)).collect();
        assert_eq!(judge(&apart).map(|finding| finding.grade), Some(Grade::Fine));
    }

    #[test]
    fn our_own_people_and_few_messages_say_nothing() {
        let own: Vec<_> = (0..30).map(|_| taken("10.0.0.1", true)).collect();
        assert_eq!(judge(&own), None);
        let few: Vec<_> = (0..19).map(|_| taken("10.0.0.1", false)).collect();
        assert_eq!(judge(&few), None);
        let local: Vec<_> = (0..30).map(|_| taken("127.0.0.1", false)).collect();
        assert_eq!(judge(&local), None);
    }
}
