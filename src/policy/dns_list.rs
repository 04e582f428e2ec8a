//! What lists in the DNS say of a client (RFC 5782): each answer has a weight, good ones below zero, and the sum
//! decides. A list that does not answer counts nothing.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::future::join_all;
use posthorn_config::{ListedThing, PolicyDnsList, PolicyDnsLists};
use posthorn_trust::Found;

use crate::asking::{Asking, Breaker};

/// The lists that are asked.
pub struct DnsLists {
    pub(crate) settings: PolicyDnsLists,
    lists: Vec<List>,
}

struct List {
    row: PolicyDnsList,
    breaker: Breaker,
}

/// What is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'l> {
    /// The client's address.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: Option<&'l str>,
    /// The domain of the sender.
    pub sender_domain: Option<&'l str>,
}

/// What the lists came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListScore {
    /// The sum of the weights.
    pub sum: i32,
    /// A sentence for each list that said something, or could not.
    pub said: Vec<String>,
    /// The zone that counted most.
    pub worst: Option<String>,
    /// Which zones could not say anything, and why.
    pub unanswered: Vec<String>,
}

impl DnsLists {
    /// These lists, each with a breaker of its own.
    #[must_use]
    pub fn new(settings: PolicyDnsLists, rows: &[PolicyDnsList], asking: &Asking) -> Self {
        let lists = rows.iter().map(|row| List { row: row.clone(), breaker: asking.breaker() }).collect();
        Self { settings, lists }
    }

    /// Whether anything is asked at all.
    pub(crate) fn is_on(&self) -> bool {
        self.settings.verdict.is_on() && !self.lists.is_empty()
    }

    /// Asks all lists at once.
    pub async fn score(&self, asking: &Asking, looked: &Looked<'_>) -> ListScore {
        let asked = self.lists.iter().filter_map(|list| Some((list, list.question(looked)?)));
        let answers = join_all(asked.map(|(list, question)| async move {
            let question = format!("{question}.{}", list.row.zone);
            let found = asking.ask_list(&list.breaker, asking.resolver().addresses_of(&question, false)).await;
            (&list.row, found)
        }));
        let mut score = ListScore::default();
        let mut most = 0;
        for (row, found) in answers.await {
            match found {
                Found::Some(all) => {
                    let Some(weight) = row_weight(row, &all, &mut score.said) else { continue };
                    score.sum = score.sum.saturating_add(weight);
                    if weight > most {
                        most = weight;
                        score.worst = Some(row.zone.to_string());
                    }
                }
                Found::Nothing | Found::NoSuchName => {}
                Found::Later(why) => {
                    let silent = format!("{}: {why}", row.zone);
                    score.said.push(silent.clone());
                    score.unanswered.push(silent);
                }
            }
        }
        score
    }
}

impl List {
    fn question(&self, looked: &Looked<'_>) -> Option<String> {
        let name = |name: Option<&str>| name.filter(|name| is_name(name)).map(str::to_ascii_lowercase);
        match self.row.of {
            ListedThing::Client => Some(reversed(looked.client)),
            ListedThing::Helo => name(looked.helo),
            ListedThing::Sender => name(looked.sender_domain),
        }
    }
}

/// What a list's answers to one question count; `None` when it says nothing.
fn row_weight(row: &PolicyDnsList, answers: &[IpAddr], said: &mut Vec<String>) -> Option<i32> {
    let (mut bad, mut good, mut told) = (0, 0, Vec::new());
    for answer in answers {
        // RFC 5782 §2.1: answers are in 127.0.0.0/8. Others come from a zone that was given up, and list everybody.
        let IpAddr::V4(answer) = answer.to_canonical() else { continue };
        if !answer.is_loopback() || is_error(answer) {
            said.push(format!("{}: the answer {answer} is none", row.zone));
            continue;
        }
        let known = row.answers.iter().find(|known| known.is.contains(answer));
        let weight = known.map_or(row.weight, |known| known.weight);
        bad = bad.max(weight);
        good = good.min(weight);
        told.push(answer.to_string());
    }
    if told.is_empty() {
        return None;
    }
    let weight = bad.saturating_add(good);
    said.push(format!("{}: {} counts {weight}", row.zone, told.join(", ")));
    Some(weight)
}

/// By common use, 127.255.255.0/24 says that the list refused to answer.
fn is_error(answer: Ipv4Addr) -> bool {
    answer.octets()[..3] == [127, 255, 255]
}

/// An address as lists name it (RFC 5782 §2.1, §2.4): octets, or the digits of IPv6, the last first.
#[must_use]
pub fn reversed(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(v6) => {
            let digits = v6.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            let mut text = String::with_capacity(63);
            for digit in digits {
                if !text.is_empty() {
                    text.push('.');
                }
                text.extend(char::from_digit(digit.into(), 16));
            }
            text
        }
    }
}

/// Whether it is a host name that can be put in front of a zone.
fn is_name(name: &str) -> bool {
    name.len() <= 190 && name.contains('.') && !name.starts_with('[') && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(answers: &[(&str, i32)]) -> PolicyDnsList {
        let answers = answers.iter().map(|(is, weight)| serde_json::json!({ "is": is, "weight": weight }));
        let answers: Vec<_> = answers.collect();
        serde_json::from_value(serde_json::json!({ "zone": "bl.example", "weight": 3, "answers": answers }))
            .expect("a row")
    }

    fn weight(row: &PolicyDnsList, answers: &[[u8; 4]]) -> Option<i32> {
        let answers: Vec<_> = answers.iter().map(|octets| IpAddr::from(*octets)).collect();
        row_weight(row, &answers, &mut Vec::new())
    }

    #[test]
    fn addresses_are_asked_backwards() {
        assert_eq!(reversed("192.0.2.1".parse().expect("an address")), "1.2.0.192");
        assert_eq!(reversed("::ffff:192.0.2.1".parse().expect("an address")), "1.2.0.192");
        assert_eq!(
            reversed("2001:db8::567:89ab".parse().expect("an address")),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
        );
    }

    #[test]
    fn the_heaviest_answer_counts_on_each_side() {
        let row = row(&[("127.0.0.4-127.0.0.7", 5), ("127.0.0.9", -2), ("127.0.0.10", 0)]);
        assert_eq!(weight(&row, &[[127, 0, 0, 2]]), Some(3));
        assert_eq!(weight(&row, &[[127, 0, 0, 2], [127, 0, 0, 5]]), Some(5));
        assert_eq!(weight(&row, &[[127, 0, 0, 5], [127, 0, 0, 9]]), Some(3));
        assert_eq!(weight(&row, &[[127, 0, 0, 10]]), Some(0));
    }

    #[test]
    fn a_zone_that_was_given_up_lists_nobody() {
        let row = row(&[]);
        for answer in [[192, 0, 2, 1], [127, 255, 255, 254]] {
            assert_eq!(weight(&row, &[answer]), None);
        }
    }

    #[test]
    fn only_names_are_looked_up_by_name() {
        assert!(is_name("mail.example.org"));
        for odd in ["localhost", "[192.0.2.1]", "192.0.2.1", ""] {
            assert!(!is_name(odd), "{odd}");
        }
    }
}
