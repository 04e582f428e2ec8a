//! The time that a reply names: "try again in 300 seconds", "greylisted for 5 minutes", "00:04:55 left".

use std::time::Duration;

/// How long a temporary reply asks to wait, where it says so: digits with a unit, or a time of minutes and seconds, in a
/// text that speaks of another try. Never less than half a minute, nor more than an hour.
pub(crate) fn wait(text: &str) -> Option<Duration> {
    let text = text.to_lowercase();
    if !HINTS.iter().any(|hint| text.contains(hint)) {
        return None;
    }
    let tokens = tokens(&text);
    // What stands behind "in" or "after" is meant; of several, the last: "20 messages in an hour … again after 5 min".
    let (mut first, mut led) = (None, None);
    let mut at = 0;
    while at < tokens.len() {
        let Some((seconds, length)) = span(&tokens[at..]) else {
            at += 1;
            continue;
        };
        let before = at.checked_sub(1).map(|before| tokens[before]);
        if before.is_some_and(|word| LEADING.contains(&word)) {
            led = Some(seconds);
        }
        first = first.or(Some(seconds));
        at += length;
    }
    led.or(first).map(bounded)
}

fn bounded(seconds: u64) -> Duration {
    Duration::from_secs(seconds.clamp(30, 3600))
}

/// The words, with numbers and units that are written together taken apart: `4m55s`. What else holds digits (addresses,
/// codes, identifiers) stays one word, which is no number.
fn tokens(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '_' | '/' | '@' | '=');
    let words = text.split(|c: char| !is_part(c)).map(|word| word.trim_matches(['.', ':', '/', '=']));
    let mut tokens = Vec::new();
    for word in words.filter(|word| !word.is_empty()).take(MOST) {
        let before = tokens.len();
        let mut rest = word;
        while let Some(end) = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0) {
            let (number, behind) = rest.split_at(end);
            let (unit, behind) = behind.split_at(behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len()));
            if unit_of(unit).is_none() {
                break;
            }
            tokens.extend([number, unit]);
            rest = behind;
        }
        if !rest.is_empty() {
            tokens.truncate(before);
            tokens.push(word);
        }
    }
    tokens
}

/// The length of time that begins here, in seconds, and how many tokens it takes.
fn span(tokens: &[&str]) -> Option<(u64, usize)> {
    if let Some(seconds) = tokens.first().and_then(|token| clock(token)) {
        return Some((seconds, 1));
    }
    let (mut seconds, mut length) = (0_u64, 0);
    while let [number, unit, ..] = &tokens[length..]
        && let Some(number) = number.parse::<u64>().ok().filter(|number| *number < 1_000_000)
        && let Some(unit) = unit_of(unit)
    {
        (seconds, length) = (seconds + number * unit, length + 2);
        if tokens.get(length) == Some(&"and") {
            length += 1;
        }
    }
    (length > 0).then_some((seconds, length))
}

/// `mm:ss` or `hh:mm:ss`.
fn clock(token: &str) -> Option<u64> {
    let parts: Vec<u64> = token
        .split(':')
        .map(|part| part.parse().ok().filter(|_| part.len() == 2 && part.bytes().all(|octet| octet.is_ascii_digit())))
        .collect::<Option<_>>()?;
    match parts[..] {
        [minutes, seconds] => Some(minutes * 60 + seconds),
        [hours, minutes, seconds] => Some(hours * 3600 + minutes * 60 + seconds),
        _ => None,
    }
}

/// Seconds in a unit, by how it begins in several languages.
fn unit_of(word: &str) -> Option<u64> {
    let begins = |starts: &[&str]| starts.iter().any(|start| word.starts_with(start));
    match word {
        "s" => Some(1),
        "m" => Some(60),
        "h" | "hr" | "hrs" | "std" => Some(3600),
        _ if begins(&["sec", "sek", "seg"]) => Some(1),
        _ if begins(&["min"]) => Some(60),
        _ if begins(&["hour", "stunde", "heure", "hora"]) => Some(3600),
        _ => None,
    }
}

/// A text without any of these does not ask for another try.
const HINTS: [&str; 14] = [
    "again", "retry", "wait", "later", "back", "grey", "gray", "delay", "defer", "erneut", "später", "warten", "essay",
    "intent",
];
/// What stands before the time that is meant.
const LEADING: [&str; 10] = ["in", "after", "for", "wait", "least", "about", "dans", "nach", "en", "retry"];
/// Words that are looked at.
const MOST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_replies_name_are_found() {
        for (text, seconds) in [
            (
                "450 4.2.0 <a@example.org>: Recipient address rejected: Greylisted, see http://x/help/example.org.html; retry in 300 seconds",
                300,
            ),
            ("451 4.7.1 Greylisting in action, please come back in 00:04:55", 295),
            ("451 4.7.1 Please try again in 5 minutes", 300),
            ("421 too fast, retry after 10 min", 600),
            ("450 try again later (4m55s left)", 295),
            ("450 4.7.1 wait 2 minutes and 30 seconds", 150),
            ("451 Bitte versuchen Sie es in 15 Minuten erneut", 900),
            ("451 veuillez réessayer dans 600 secondes", 600),
            ("451 100 messages in 24 hours are too many: try again after 20 min", 1200),
            ("450 greylisted for 5min.", 300),
            ("450 try again in 1 second", 30),
            ("450 try again in 5 hours", 3600),
            ("450 try again in 999999999999999999999 seconds, that is 60 seconds", 60),
        ] {
            assert_eq!(wait(text), Some(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_none() {
        for text in [
            "451 4.7.1 Greylisted, try again later",
            "452 4.2.2 mailbox full: 500 m of 500 m",
            "450 4.7.1 [192.0.2.1] try again, see 12.5.sec.example",
            "451 try again later (id 4f5s6m-77)",
            "421 try again: 10 connections",
            "",
        ] {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
