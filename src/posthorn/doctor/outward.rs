//! Port 25 outward: many providers close it.

use std::time::Duration;

use posthorn_model::Domain;
use posthorn_net::dns::MxAnswer;
use posthorn_net::egress::{DialOptions, Source, Target, dial};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::{Bag, Finding, addresses_of};

const AREA: &str = "machine";
const SUBJECT: &str = "port 25 outward";
/// Who is silent for longer does not answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// Octets of a greeting that are shown.
const GREETING: usize = 200;

pub(super) async fn examine(bag: &Bag<'_>, probe: &Domain) -> Vec<Finding> {
    let mx = match bag.dns.mx(probe.as_str()).await {
        MxAnswer::Hosts(mx) => mx,
        MxAnswer::Null | MxAnswer::NoSuchDomain => {
            return vec![Finding::note(AREA, SUBJECT, format!("not tried: {probe} takes no mail"))];
        }
        MxAnswer::Temporary(why) => return vec![Finding::unknown(AREA, SUBJECT, &why)],
    };
    let Some(host) = mx.hosts.first().map(|host| host.host.clone()) else { return Vec::new() };
    let mut findings = Vec::new();
    for (name, source) in sources(bag) {
        findings.push(call(bag, &host, &name, source).await);
    }
    findings
}

/// Where mail leaves from: each binding, or wherever the system likes.
fn sources(bag: &Bag<'_>) -> Vec<(String, Source)> {
    let of = |binding: &posthorn_config::Binding| {
        let v4 =
            binding.addresses.iter().find_map(|ip| if let std::net::IpAddr::V4(v4) = ip { Some(*v4) } else { None });
        let v6 =
            binding.addresses.iter().find_map(|ip| if let std::net::IpAddr::V6(v6) = ip { Some(*v6) } else { None });
        (format!(" from binding {}", binding.name), Source { v4, v6 })
    };
    let mut sources: Vec<_> = bag.config.binding.iter().map(of).collect();
    if sources.is_empty() {
        sources.push((String::new(), Source::default()));
    }
    sources
}

async fn call(bag: &Bag<'_>, host: &str, from: &str, source: Source) -> Finding {
    let closed = "many providers close port 25 until asked to open it; else send through a relay that they offer (a route \
                  with a smart host)";
    let addresses = match addresses_of(&bag.dns, host).await {
        Ok(all) => all.into_iter().map(|ip| (ip, bag.mx_port).into()).collect(),
        Err(why) => return Finding::unknown(AREA, SUBJECT, &why),
    };
    let options = DialOptions { source, connect_time: PATIENCE, ..DialOptions::default() };
    let mut link = match dial(&Target::Tcp(addresses), &options).await {
        Ok(link) => link,
        Err(why) => {
            return Finding::fault(AREA, SUBJECT, format!("{host} cannot be reached{from}: {why}")).advise(closed);
        }
    };
    let mut greeting = [0; GREETING];
    match timeout(PATIENCE, link.read(&mut greeting)).await {
        Ok(Ok(read)) if greeting[..read].starts_with(b"220") => {
            Finding::fine(AREA, SUBJECT, format!("{host} greets us{from}"))
        }
        Ok(Ok(0)) => Finding::fault(AREA, SUBJECT, format!("{host} hangs up{from}")).advise(closed),
        Ok(Ok(read)) => {
            let words: String = String::from_utf8_lossy(&greeting[..read]).lines().next().unwrap_or_default().into();
            let words: String = words.chars().filter(|c| !c.is_control()).collect();
            Finding::warning(AREA, SUBJECT, format!("{host} answers{from}: {words}"))
                .advise("it may know the address from a list; see what the text says")
        }
        Ok(Err(why)) => Finding::fault(AREA, SUBJECT, format!("{host} hangs up{from}: {why}")).advise(closed),
        Err(_) => {
            Finding::fault(AREA, SUBJECT, format!("{host} takes the connection{from} and is silent")).advise(closed)
        }
    }
}
