//! The DNS server of the tests as a program, for tests that are not written in Rust:
//!
//! `cargo run -p posthorn-tests --example dns -- 127.0.0.1:5353 anchor.key example.org=zone.txt signed:example.net=other.txt`
//!
//! It writes the trust anchor to the file named second, says `ready ADDRESS` and serves until its input ends. Zone
//! files are read again when they change.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use harness::dns::DnsServer;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("where to listen?")?.parse()?;
    let anchor = arguments.next().context("where to write the trust anchor?")?;
    let zones: Vec<String> = arguments.collect();
    let server = DnsServer::listen(address).await;
    let mut seen = HashMap::new();
    read(&server, &zones, &mut seen)?;
    fs::copy(server.anchor(), anchor)?;
    writeln!(std::io::stdout(), "ready {}", server.address())?;
    let input = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::pin!(input);
    loop {
        tokio::select! {
            _ = &mut input => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(200)) => read(&server, &zones, &mut seen)?,
        }
    }
}

/// Reads the zones whose files are not the ones that were seen.
fn read(server: &DnsServer, zones: &[String], seen: &mut HashMap<String, SystemTime>) -> anyhow::Result<()> {
    for zone in zones {
        let (apex, path) = zone.split_once('=').with_context(|| format!("{zone}: not ZONE=FILE"))?;
        let changed = fs::metadata(path).and_then(|data| data.modified()).with_context(|| path.to_owned())?;
        if seen.insert(zone.clone(), changed) != Some(changed) {
            let text = fs::read_to_string(path)?;
            match apex.strip_prefix("signed:") {
                Some(apex) => server.signed_zone(apex, &text),
                None => server.zone(apex, &text),
            };
        }
    }
    Ok(())
}
