//! TLS reports (RFC 8460): what became of the sessions with a domain's mail hosts on one day.

use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A whole report.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsReport {
    /// Who reports, in words.
    #[serde(rename = "organization-name", default)]
    pub organization: String,
    /// What it is about.
    #[serde(rename = "date-range")]
    pub range: TlsRange,
    /// Whom to write to about it.
    #[serde(rename = "contact-info", default)]
    pub contact: String,
    /// What the reporter calls it.
    #[serde(rename = "report-id")]
    pub id: String,
    /// What was found, by policy.
    #[serde(deserialize_with = "at_most::<_, _, MANY>")]
    pub policies: Vec<TlsOutcome>,
}

/// The moments between which sessions were counted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsRange {
    /// The first.
    #[serde(rename = "start-datetime", with = "moment")]
    pub begins: DateTime<Utc>,
    /// The last.
    #[serde(rename = "end-datetime", with = "moment")]
    pub ends: DateTime<Utc>,
}

/// What became of sessions under one policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsOutcome {
    /// The policy.
    pub policy: TlsPolicy,
    /// The numbers.
    pub summary: TlsSummary,
    /// What failed.
    #[serde(
        rename = "failure-details",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<_, _, MANY>"
    )]
    pub failures: Vec<TlsFailure>,
}

/// A policy.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsPolicy {
    /// `tlsa`, `sts` or `no-policy-found`.
    #[serde(rename = "policy-type", default)]
    pub kind: String,
    /// Its lines, or the TLSA records.
    #[serde(
        rename = "policy-string",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<_, _, LINES>"
    )]
    pub lines: Vec<String>,
    /// The domain whose it is.
    #[serde(rename = "policy-domain")]
    pub domain: String,
    /// The patterns of an MTA-STS policy.
    #[serde(rename = "mx-host", default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub mx: Vec<String>,
}

/// The numbers of sessions.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsSummary {
    /// Those that met the policy.
    #[serde(rename = "total-successful-session-count", default)]
    pub successes: u64,
    /// Those that did not.
    #[serde(rename = "total-failure-session-count", default)]
    pub failures: u64,
}

/// One kind of failure.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsFailure {
    /// The result type (RFC 8460 §4.3).
    #[serde(rename = "result-type", default)]
    pub result: String,
    /// The address of the reporter's host.
    #[serde(rename = "sending-mta-ip", default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The name of the receiving host.
    #[serde(rename = "receiving-mx-hostname", default, skip_serializing_if = "Option::is_none")]
    pub mx: Option<String>,
    /// Its address.
    #[serde(rename = "receiving-ip", default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// How many sessions.
    #[serde(rename = "failed-session-count", default)]
    pub sessions: u64,
    /// In words.
    #[serde(rename = "failure-reason-code", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Policies of a report that are kept, and failures of a policy.
const MANY: usize = 1000;
/// Octets of a text; the rest is left out.
const TEXT: usize = 500;
/// Lines and patterns of a policy.
const LINES: usize = 100;

impl TlsReport {
    /// Reads a document; texts are cut and cleaned.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(document: &[u8]) -> Result<Self, String> {
        let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
        let mut report: Self = serde_json::from_slice(document).map_err(|error| clean(&error.to_string()))?;
        if report.policies.is_empty() {
            return Err("it tells of no policy".to_owned());
        }
        for text in [&mut report.organization, &mut report.contact, &mut report.id] {
            *text = clean(text);
        }
        report.policies.truncate(MANY);
        for TlsOutcome { policy, summary, failures } in &mut report.policies {
            policy.kind = clean(&policy.kind).to_ascii_lowercase();
            policy.domain = clean(&policy.domain).trim_end_matches('.').to_ascii_lowercase();
            for lines in [&mut policy.lines, &mut policy.mx] {
                lines.truncate(LINES);
                lines.iter_mut().for_each(|line| *line = clean(line));
            }
            summary.successes = summary.successes.min(MOST);
            summary.failures = summary.failures.min(MOST);
            failures.truncate(MANY);
            for failure in failures {
                failure.result = clean(&failure.result).to_ascii_lowercase();
                failure.sessions = failure.sessions.min(MOST);
                for text in [&mut failure.sender, &mut failure.mx, &mut failure.receiver, &mut failure.reason] {
                    *text = text.as_deref().map(clean).filter(|text| !text.is_empty());
                }
            }
        }
        Ok(report)
    }

    /// The whole document.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// How many sessions met their policy, and how many did not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let all = self.policies.iter().map(|one| one.summary);
        all.fold((0, 0), |(good, bad): (u64, u64), one| {
            (good.saturating_add(one.successes), bad.saturating_add(one.failures))
        })
    }
}

/// What larger numbers of sessions are cut to, so that sums of whatever others write stay numbers.
const MOST: u64 = i32::MAX as u64;

/// Where a domain wants its reports, from the TXT records of `_smtp._tls` below it (RFC 8460 §3): URIs, `mailto:` or
/// `https:`. Nowhere unless there is exactly one record.
#[must_use]
pub fn destinations(texts: &[String]) -> Vec<String> {
    let is_record = |text: &&String| {
        text.strip_prefix("v=TLSRPTv1").is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with(';'))
    };
    let mut records = texts.iter().filter(is_record);
    let (Some(record), None) = (records.next(), records.next()) else { return Vec::new() };
    let fields = record.split(';').skip(1).filter_map(|field| field.split_once('='));
    let Some((_, list)) = fields.into_iter().find(|(name, _)| name.trim() == "rua") else { return Vec::new() };
    let known = |uri: &&str| {
        let beginning = |scheme: &str| uri.get(..scheme.len()).is_some_and(|own| own.eq_ignore_ascii_case(scheme));
        (beginning("mailto:") || beginning("https:"))
            && uri.len() <= TEXT
            && uri.bytes().all(|octet| octet.is_ascii_graphic())
    };
    list.split(',').map(str::trim).filter(known).take(10).map(str::to_owned).collect()
}

fn clean(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut plain = plain.trim().to_owned();
    plain.truncate(plain.floor_char_boundary(TEXT));
    plain
}

/// Some write one pattern without brackets.
fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Patterns;
    impl<'de> Visitor<'de> for Patterns {
        type Value = Vec<String>;

        fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            to.write_str("a pattern or a list of them")
        }

        fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Self::Value, E> {
            Ok(vec![one.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            first_of(list, LINES)
        }
    }
    from.deserialize_any(Patterns)
}

/// A list of which only the beginning is kept: a small file may unpack to millions of elements.
fn at_most<'de, D, T, const MOST: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T>(PhantomData<T>, usize);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            to.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            first_of(list, self.1)
        }
    }
    from.deserialize_seq(List(PhantomData, MOST))
}

fn first_of<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(mut list: A, most: usize) -> Result<Vec<T>, A::Error> {
    let mut kept = Vec::new();
    while kept.len() < most {
        let Some(one) = list.next_element()? else { return Ok(kept) };
        kept.push(one);
    }
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(kept)
}

mod moment {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::{DateTime, SecondsFormat, Utc};

    pub(super) fn serialize<S: Serializer>(moment: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&moment.to_rfc3339_opts(SecondsFormat::Secs, true))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        let text = String::deserialize(from)?;
        let moment = DateTime::parse_from_rfc3339(&text).map_err(de::Error::custom)?.to_utc();
        match (0..253_402_300_800).contains(&moment.timestamp()) {
            true => Ok(moment),
            false => Err(de::Error::custom("no such time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_million_failures_few_are_kept() {
        let json = format!(
            r#"{{"date-range":{{"start-datetime":"2026-01-02T00:00:00Z","end-datetime":"2026-01-02T23:59:59Z"}},
            "report-id":"r","policies":[{{"policy":{{"policy-domain":"a.example"}},"summary":{{}},
            "failure-details":[{}{{}}]}}]}}"#,
            "{},".repeat(1_000_000)
        );
        let report: TlsReport = serde_json::from_str(&json).expect("a report");
        let failures = &report.policies[0].failures;
        assert_eq!(failures.len(), MANY);
        assert!(failures.capacity() < 2 * MANY);
    }

    fn whole() -> TlsReport {
        let day = |text: &str| DateTime::parse_from_rfc3339(text).expect("a time").to_utc();
        TlsReport {
            organization: "mx.example".to_owned(),
            range: TlsRange { begins: day("2026-01-02T00:00:00Z"), ends: day("2026-01-02T23:59:59Z") },
            contact: "postmaster@mx.example".to_owned(),
            id: "20260102-a.example".to_owned(),
            policies: vec![TlsOutcome {
                policy: TlsPolicy {
                    kind: "sts".to_owned(),
                    lines: vec!["version: STSv1".to_owned(), "mode: enforce".to_owned()],
                    domain: "a.example".to_owned(),
                    mx: vec!["*.a.example".to_owned()],
                },
                summary: TlsSummary { successes: 5, failures: 2 },
                failures: vec![TlsFailure {
                    result: "certificate-expired".to_owned(),
                    mx: Some("mx1.a.example".to_owned()),
                    sessions: 2,
                    ..TlsFailure::default()
                }],
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let json = whole().to_json();
        assert_eq!(TlsReport::read(json.as_bytes()), Ok(whole()));
        for part in
            ["\"start-datetime\": \"2026-01-02T00:00:00Z\"", "\"total-failure-session-count\": 2", "\"mx-host\": ["]
        {
            assert!(json.contains(part), "{part} in {json}");
        }
        assert_eq!(whole().counts(), (5, 2));
    }

    #[test]
    fn variants_of_others_are_read() {
        let json = r#"{"organization-name":"Big","date-range":{"start-datetime":"2026-01-02T00:00:00+00:00",
            "end-datetime":"2026-01-02T23:59:59Z"},"contact-info":"x","report-id":"r","policies":[{"policy":
            {"policy-type":"STS","policy-string":[],"policy-domain":"A.example.","mx-host":"mx.a.example","new":1},
            "summary":{"total-successful-session-count":7,"total-failure-session-count":0}}]}"#;
        let report = TlsReport::read(json.as_bytes()).expect("a report");
        assert_eq!((report.policies[0].policy.domain.as_str(), report.counts()), ("a.example", (7, 0)));
        assert_eq!(report.policies[0].policy.mx, ["mx.a.example"]);
    }

    #[test]
    fn hostile_documents_end() {
        let deep = format!("{{\"policies\":{}", "[".repeat(100_000));
        for document in ["", "{}", "[]", "null", &deep, &whole().to_json().replace("\"policies\"", "\"x\"")] {
            assert!(TlsReport::read(document.as_bytes()).is_err());
        }
        let long = whole().to_json().replace("certificate-expired", &"x".repeat(10 << 20));
        let report = TlsReport::read(long.as_bytes()).expect("a report");
        assert_eq!(report.policies[0].failures[0].result.len(), TEXT);
        let late = whole().to_json().replace("2026-01-02T23", "+99999-01-02T23");
        assert!(TlsReport::read(late.as_bytes()).is_err());
    }

    #[test]
    fn numbers_are_cut() {
        let mut large = whole();
        large.policies[0].summary.successes = u64::MAX;
        large.policies[0].failures[0].sessions = 1 << 31;
        let json = large.to_json();
        let report = TlsReport::read(json.as_bytes()).expect("a report");
        assert_eq!(report.policies[0].summary.successes, MOST);
        assert_eq!(report.policies[0].failures[0].sessions, MOST);
    }

    #[test]
    fn records_say_where_reports_go() {
        let of = |texts: &[&str]| destinations(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            of(&["v=spf1 -all", "v=TLSRPTv1; rua=mailto:a@b.example, https://c.example/t;"]),
            ["mailto:a@b.example", "https://c.example/t"]
        );
        assert_eq!(of(&["v=TLSRPTv1 ;rua=ftp://x"]), [""; 0]);
        assert_eq!(of(&["v=TLSRPTv1;rua=mailto:a@b", "v=TLSRPTv1;rua=mailto:c@d"]), [""; 0]);
        assert_eq!(of(&["v=TLSRPTv2;rua=mailto:a@b"]), [""; 0]);
    }
}
