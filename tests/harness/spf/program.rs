//! Runs a suite of SPF cases: each against the library with its zones in memory, and over the wire against the DNS
//! server of the tests, through the resolver that the appliance uses.
//!
//! `cargo run -p posthorn-tests --example spf -- SUITE.json`
//!
//! The suite is a list of scenarios: `records` of `[name, kind, value…]`, `failing` of `[name, kind]`, and `cases` with
//! `id`, `client`, `helo`, `sender`, acceptable `results`, and perhaps an `explanation`. What differs is printed; the
//! status is 0 when nothing does.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::net::IpAddr;

use anyhow::Context as _;
use chrono::DateTime;
use harness::dns::DnsServer;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, TXT};
use hickory_proto::rr::{Name, RData};
use posthorn::resolver::Asking;
use posthorn_trust::Found;
use posthorn_trust::resolver::{Asked, Resolver};
use posthorn_trust::spf::{Check, Request, Verdict};
use serde_json::Value;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("which suite?")?;
    let suite: Value = serde_json::from_slice(&std::fs::read(&path).with_context(|| path.clone())?)?;
    let (mut cases, mut differing) = (0, 0);
    for scenario in list(&suite) {
        let memory = Memory::of(scenario)?;
        let server = serve(scenario).await?;
        let wire = Asking::new(server.resolver());
        for case in list(&scenario["cases"]) {
            cases += 1;
            let resolvers: [(&str, &dyn Resolver); 2] = [("in memory", &memory), ("over the wire", &wire)];
            for (how, resolver) in resolvers {
                let verdict = check(case, resolver).await?;
                let wanted = list(&case["results"]).iter().any(|result| result == verdict.result.as_str());
                let explanation = case["explanation"].as_str().filter(|text| *text != "DEFAULT");
                let explained = case["explanation"].is_null() || verdict.explanation.as_deref() == explanation;
                if !(wanted && explained) {
                    differing += 1;
                    let (id, results) = (&case["id"], &case["results"]);
                    writeln!(std::io::stdout(), "{id} {how}: {results} {explanation:?} expected, {verdict:?}")?;
                }
            }
        }
    }
    writeln!(std::io::stdout(), "{cases} cases, {differing} differ")?;
    anyhow::ensure!(cases > 0 && differing == 0, "the suite does not pass");
    Ok(())
}

async fn check(case: &Value, resolver: &dyn Resolver) -> anyhow::Result<Verdict> {
    let request = Request {
        client: text(&case["client"]).parse()?,
        helo: text(&case["helo"]),
        sender: text(&case["sender"]),
        receiver: "receiver.example",
        at: DateTime::from_timestamp(1_795_223_379, 0).context("a moment")?,
    };
    Ok(Check::new(&request).run(resolver).await)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The zones of a scenario: one for each top-level domain, with a question that fails where one should.
async fn serve(scenario: &Value) -> anyhow::Result<DnsServer> {
    let server = DnsServer::start().await;
    let mut zones = HashSet::new();
    for record in list(&scenario["records"]) {
        let name = folded(text(&record[0]));
        let top = name.rsplit('.').next().unwrap_or_default();
        if zones.insert(top.to_owned()) {
            server.zone(top, "");
        }
        server.record(top, &name, data(record)?);
    }
    for question in list(&scenario["failing"]) {
        server.fail(text(&question[0]), text(&question[1]));
    }
    Ok(server)
}

fn data(record: &Value) -> anyhow::Result<RData> {
    let value = &record[2];
    Ok(match text(&record[1]) {
        "A" => RData::A(A(text(value).parse()?)),
        "AAAA" => RData::AAAA(AAAA(text(value).parse()?)),
        "TXT" => {
            let mut strings: Vec<&[u8]> = list(value).iter().flat_map(|one| text(one).as_bytes().chunks(255)).collect();
            // A record without a string cannot be sent.
            if strings.is_empty() {
                strings.push(b"");
            }
            RData::TXT(TXT::from_bytes(strings))
        }
        "MX" => RData::MX(MX::new(u16::try_from(value.as_u64().context("a preference")?)?, name(text(&record[3]))?)),
        "PTR" => RData::PTR(PTR(name(text(value))?)),
        "CNAME" => RData::CNAME(CNAME(name(text(value))?)),
        other => anyhow::bail!("{other}: an unknown kind of record"),
    })
}

fn name(text: &str) -> anyhow::Result<Name> {
    let labels = text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    let mut name = Name::from_labels(labels)?;
    name.set_fqdn(true);
    Ok(name)
}

/// The same zones in memory.
#[derive(Default)]
struct Memory {
    records: HashMap<String, Vec<Value>>,
    failing: Vec<(String, String)>,
}

impl Memory {
    fn of(scenario: &Value) -> anyhow::Result<Self> {
        let mut memory = Self::default();
        for record in list(&scenario["records"]) {
            data(record)?;
            memory.records.entry(folded(text(&record[0]))).or_default().push(record.clone());
        }
        let failing = list(&scenario["failing"]).iter();
        memory.failing = failing.map(|one| (folded(text(&one[0])), text(&one[1]).to_owned())).collect();
        Ok(memory)
    }

    fn ask<T>(&self, name: &str, kind: &str, value: impl Fn(&Value) -> Option<T>) -> Found<Vec<T>> {
        let mut name = folded(name);
        for _ in 0..8 {
            if self.failing.contains(&(name.clone(), kind.to_owned())) {
                return Found::Later("the server failed".to_owned());
            }
            let below = format!(".{name}");
            let Some(records) = self.records.get(&name) else {
                let exists = self.records.keys().any(|other| other.ends_with(&below));
                return if exists { Found::Nothing } else { Found::NoSuchName };
            };
            let found: Vec<T> = records.iter().filter(|record| record[1] == kind).filter_map(&value).collect();
            if !found.is_empty() {
                return Found::Some(found);
            }
            match records.iter().find(|record| record[1] == "CNAME") {
                Some(alias) => name = folded(text(&alias[2])),
                None => return Found::Nothing,
            }
        }
        Found::Later("a loop of aliases".to_owned())
    }
}

fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn address(record: &Value) -> Option<IpAddr> {
    text(&record[2]).parse().ok()
}

impl Resolver for Memory {
    fn addresses<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<IpAddr>> {
        self.addresses_of(name, false)
    }

    fn addresses_of<'a>(&'a self, name: &'a str, v6: bool) -> Asked<'a, Vec<IpAddr>> {
        Box::pin(std::future::ready(self.ask(name, if v6 { "AAAA" } else { "A" }, address)))
    }

    fn texts<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>> {
        let joined = |record: &Value| Some(list(&record[2]).iter().map(text).collect());
        Box::pin(std::future::ready(self.ask(name, "TXT", joined)))
    }

    fn exchangers<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>> {
        let host = |record: &Value| Some((record[2].as_u64(), folded(text(&record[3]))));
        let hosts = self.ask(name, "MX", host).map(|mut hosts| {
            hosts.sort_by_key(|(preference, _)| *preference);
            hosts.into_iter().map(|(_, host)| host).collect()
        });
        Box::pin(std::future::ready(hosts))
    }

    fn names(&self, address: IpAddr) -> Asked<'_, Vec<String>> {
        let name = Name::from(address).to_ascii();
        Box::pin(std::future::ready(self.ask(&name, "PTR", |record| Some(folded(text(&record[2]))))))
    }
}
