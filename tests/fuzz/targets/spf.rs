//! SPF with a DNS that says anything.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use posthorn_trust::Found;
use posthorn_trust::resolver::{Answer, Records};
use posthorn_trust::spf::{Check, Request, Step};

use super::parted;

/// Terms, exchangers and names allow no more questions: ten terms of eleven questions each, the client's names with
/// theirs, and an explanation.
const MOST_QUESTIONS: usize = 10 * 11 + 11 + 4;

/// Gives the lines of the input as answers in turn, again and again.
pub fn target(octets: &[u8]) {
    let ([family, local, helo, _], answers) = parted(octets);
    let text = String::from_utf8_lossy(answers);
    let answers: Vec<&str> = text.lines().collect();
    let client: IpAddr = if family & 1 == 0 { [192, 0, 2, 7].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() };
    let sender =
        ["a@a.example", "", "x-y+z@sub.a.example", "ä@a.example", "@", "a@b@c.example"][usize::from(local) % 6];
    let helo = ["h.example", "", "[192.0.2.7]", "h"][usize::from(helo) % 4];
    let request = Request { client, helo, sender, receiver: "mx.example", at: DateTime::<Utc>::UNIX_EPOCH };
    let mut check = Check::new(&request);
    let mut asked = 0;
    let verdict = loop {
        match check.step() {
            Step::Done(verdict) => break verdict.clone(),
            Step::Ask(question) => {
                assert!(!question.to_string().is_empty());
                let answer = answers.get(asked % answers.len().max(1)).map_or(Found::NoSuchName, |line| said(line));
                asked += 1;
                assert!(asked <= MOST_QUESTIONS, "it asks without end");
                check.answer(answer);
            }
        }
    };
    assert!(verdict.lookups <= 10);
    assert!(verdict.explanation.as_ref().is_none_or(|text| text.len() <= 500 && text.is_ascii()));
    assert_eq!(check.give_up("late"), verdict);
    let field = verdict.received_spf(&request);
    assert_eq!(posthorn_mime::header_fault(field.as_bytes()), None, "{field}");
    assert!(!verdict.results().contains([';', '(', '\n']));
}

/// `T` a text, `A` addresses, `H` hosts, `-` nothing, `?` later, else no such name.
fn said(line: &str) -> Answer {
    let rest = line.get(1..).unwrap_or_default();
    match line.as_bytes().first() {
        Some(b'T') => Found::Some(Records::Texts(rest.split('|').map(str::to_owned).collect())),
        Some(b'A') => Found::Some(Records::Addresses(rest.split(' ').filter_map(|one| one.parse().ok()).collect())),
        Some(b'H') => Found::Some(Records::Hosts(rest.split(' ').map(str::to_owned).collect())),
        Some(b'-') => Found::Nothing,
        Some(b'?') => Found::Later(rest.to_owned()),
        _ => Found::NoSuchName,
    }
}
