//! Which class a reply or a report's text belongs to.

use std::sync::LazyLock;

use posthorn_model::EnhancedCode;
use regex::bytes::{Regex, RegexBuilder};

use crate::Class;

/// Octets of text that count.
const TEXT: usize = 4096;

/// A class and the rule that chose it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The class.
    pub class: Class,
    /// The rule's id from `rules.tsv`, or `enhanced-…` or `code-…` where only the codes decided, or `none`.
    pub rule: &'static str,
}

/// Sorts a reply by its words, its SMTP code (200 to 599) and its enhanced code; codes that are not given are taken
/// from the text.
///
/// The first rule of `rules.tsv` whose pattern is found in the text decides; where none is, the codes decide
/// (RFC 3463). A reply that the host itself calls temporary is never in a class of category Hard. The same input has
/// the same verdict on every machine. At most the first 4 KiB of text count.
#[must_use]
pub fn classify(text: &str, code: Option<u16>, enhanced: Option<EnhancedCode>) -> Verdict {
    let text = &text[..text.floor_char_boundary(TEXT)];
    // X.0.0 says nothing; hosts put it into reports although the reply says more.
    let telling = enhanced.filter(|enhanced| (enhanced.1, enhanced.2) != (0, 0));
    let enhanced = telling.or_else(|| enhanced_code(text)).or(enhanced);
    let code = code.or_else(|| reply_code(text));
    let mut verdict = by_words(&one_line(text)).unwrap_or_else(|| by_codes(code, enhanced));
    let temporary = enhanced.map_or(code.is_some_and(|code| (400..500).contains(&code)), |enhanced| enhanced.0 == 4);
    if temporary && verdict.class.is_hard() {
        verdict.class = Class::TRANSIENT;
    }
    verdict
}

/// Sorts a whole reply such as `550 5.1.1 no such user`: [`classify`] with the codes that the text holds.
#[must_use]
pub fn classify_reply(reply: &str) -> Verdict {
    classify(reply, None, None)
}

/// The first enhanced code (RFC 3463) that stands by itself in a text.
#[must_use]
pub fn enhanced_code(text: &str) -> Option<EnhancedCode> {
    static CODE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?-u)([245])\.([0-9]{1,3})\.([0-9]{1,3})").ok());
    let bytes = text.as_bytes();
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'.';
    for found in CODE.as_ref()?.captures_iter(bytes) {
        let (range, part) = (found.get(0)?.range(), |at| found.get(at).map(|part| part.as_bytes()));
        // Addresses and versions have more digits or dots around; a sentence may end with a dot behind the code.
        let before = range.start > 0 && word(&bytes[range.start - 1]);
        let after = match &bytes[range.end..] {
            [b'.', next, ..] => next.is_ascii_alphanumeric(),
            [next, ..] => next.is_ascii_alphanumeric(),
            [] => false,
        };
        let number = |at| std::str::from_utf8(part(at)?).ok()?.parse::<u16>().ok();
        if !before && !after {
            return Some(EnhancedCode(u8::try_from(number(1)?).ok()?, number(2)?, number(3)?));
        }
    }
    None
}

/// The first SMTP reply code, 200 to 599, that stands where a reply begins.
pub(crate) fn reply_code(text: &str) -> Option<u16> {
    static CODE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?-u)(?:^|[\s'\x22#:(<>])([245][0-5][0-9])(?:[\s-]|$)").ok());
    let found = CODE.as_ref()?.captures(text.as_bytes())?.get(1)?;
    std::str::from_utf8(found.as_bytes()).ok()?.parse().ok()
}

/// A reply's words on one line: without the codes that begin each line of a long reply, which would part a phrase, and
/// with single spaces.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut long = false;
    for word in text.split_ascii_whitespace() {
        let word = match word.split_at_checked(4) {
            Some((code, rest)) if is_code(code, Some(b'-')) => {
                long = true;
                rest
            }
            _ => word,
        };
        if word.is_empty() || (long && (is_code(word, None) || is_enhanced(word))) {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Three digits of a reply code, and what follows them.
fn is_code(word: &str, end: Option<u8>) -> bool {
    let (digits, behind) = word.as_bytes().split_at(word.len().min(3));
    matches!(digits, [b'2' | b'4' | b'5', b'0'..=b'9', b'0'..=b'9']) && behind.iter().copied().eq(end)
}

fn is_enhanced(word: &str) -> bool {
    let mut numbers = word.split('.');
    let short = |number: &str| matches!(number.len(), 1..=3) && number.bytes().all(|b| b.is_ascii_digit());
    matches!(numbers.next(), Some("2" | "4" | "5"))
        && numbers.next().is_some_and(short)
        && numbers.next().is_some_and(short)
        && numbers.next().is_none()
}

/// One row of the table. Each pattern has an automaton of its own: one for all of them needs a cache of tens of
/// megabytes to be quick (measured: 750 µs for a reply not seen before, against 20 µs this way).
struct Rule {
    class: Class,
    id: &'static str,
    pattern: Regex,
}

/// The data file; its form is proved by tests, so that a row out of form can only be left out.
const TABLE: &str = include_str!("rules.tsv");

fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.splitn(3, '\t');
        Some((columns.next()?, columns.next()?, columns.next()?))
    })
}

impl Rule {
    fn new(id: &'static str, class: &str, pattern: &str) -> Option<Self> {
        let class = Class::of(class.parse().ok()?)?;
        let pattern = RegexBuilder::new(pattern).case_insensitive(true).unicode(false).build().ok()?;
        Some(Self { class, id, pattern })
    }
}

/// The rules in their order.
static RULES: LazyLock<Vec<Rule>> =
    LazyLock::new(|| rows().filter_map(|(id, class, pattern)| Rule::new(id, class, pattern)).collect());

fn by_words(text: &str) -> Option<Verdict> {
    let first = RULES.iter().find(|rule| rule.pattern.is_match(text.as_bytes()))?;
    Some(Verdict { class: first.class, rule: first.id })
}

/// What a code means by itself: subject and detail of an enhanced code (RFC 3463 §3, RFC 5248's registry).
const ENHANCED: &[(u16, u16, Class, &str)] = &[
    (1, 0, Class::INVALID_RECIPIENT, "enhanced-1-0"),
    (1, 1, Class::INVALID_RECIPIENT, "enhanced-1-1"),
    (1, 2, Class::DNS_FAILURE, "enhanced-1-2"),
    (1, 3, Class::INVALID_RECIPIENT, "enhanced-1-3"),
    (1, 4, Class::INVALID_RECIPIENT, "enhanced-1-4"),
    (1, 6, Class::INVALID_RECIPIENT, "enhanced-1-6"),
    (1, 7, Class::MAIL_BLOCK, "enhanced-1-7"),
    (1, 8, Class::MAIL_BLOCK, "enhanced-1-8"),
    (1, 10, Class::INVALID_RECIPIENT, "enhanced-1-10"),
    (2, 1, Class::INVALID_RECIPIENT, "enhanced-2-1"),
    (2, 2, Class::MAILBOX_FULL, "enhanced-2-2"),
    (2, 3, Class::TOO_LARGE, "enhanced-2-3"),
    (3, 2, Class::TRANSIENT, "enhanced-3-2"),
    (3, 4, Class::TOO_LARGE, "enhanced-3-4"),
    (4, 1, Class::TIMEOUT, "enhanced-4-1"),
    (4, 2, Class::TIMEOUT, "enhanced-4-2"),
    (4, 3, Class::DNS_FAILURE, "enhanced-4-3"),
    (4, 4, Class::DNS_FAILURE, "enhanced-4-4"),
    (4, 5, Class::TRANSIENT, "enhanced-4-5"),
    (4, 6, Class::SOFT_BOUNCE, "enhanced-4-6"),
    (4, 7, Class::TIMEOUT, "enhanced-4-7"),
    (5, 3, Class::TRANSIENT, "enhanced-5-3"),
    (7, 0, Class::MAIL_BLOCK, "enhanced-7-0"),
    (7, 1, Class::MAIL_BLOCK, "enhanced-7-1"),
    (7, 2, Class::MAIL_BLOCK, "enhanced-7-2"),
    (7, 17, Class::INVALID_RECIPIENT, "enhanced-7-17"),
    (7, 18, Class::INVALID_RECIPIENT, "enhanced-7-18"),
    (7, 20, Class::MAIL_BLOCK, "enhanced-7-20"),
    (7, 21, Class::MAIL_BLOCK, "enhanced-7-21"),
    (7, 22, Class::MAIL_BLOCK, "enhanced-7-22"),
    (7, 23, Class::MAIL_BLOCK, "enhanced-7-23"),
    (7, 25, Class::MAIL_BLOCK, "enhanced-7-25"),
    (7, 26, Class::MAIL_BLOCK, "enhanced-7-26"),
    (7, 27, Class::MAIL_BLOCK, "enhanced-7-27"),
    (7, 28, Class::SPAM_BLOCK, "enhanced-7-28"),
];

/// What an SMTP reply code means by itself (RFC 5321 §4.2.3, RFC 7504).
const CODES: &[(u16, Class, &str)] = &[
    (421, Class::TRANSIENT, "code-421"),
    (450, Class::SOFT_BOUNCE, "code-450"),
    (452, Class::TRANSIENT, "code-452"),
    (521, Class::MAIL_BLOCK, "code-521"),
    (551, Class::INVALID_RECIPIENT, "code-551"),
    (552, Class::MAILBOX_FULL, "code-552"),
    (553, Class::INVALID_RECIPIENT, "code-553"),
    (556, Class::INVALID_RECIPIENT, "code-556"),
];

fn by_codes(code: Option<u16>, enhanced: Option<EnhancedCode>) -> Verdict {
    if let Some(EnhancedCode(4 | 5, subject, detail)) = enhanced
        && let Some(row) = ENHANCED.iter().find(|row| (row.0, row.1) == (subject, detail))
    {
        return Verdict { class: row.2, rule: row.3 };
    }
    if let Some(row) = CODES.iter().find(|row| Some(row.0) == code) {
        return Verdict { class: row.1, rule: row.2 };
    }
    let first = enhanced.map(|enhanced| enhanced.0).or_else(|| u8::try_from(code? / 100).ok());
    match first {
        Some(4) => Verdict { class: Class::TRANSIENT, rule: "code-4xx" },
        Some(5) => Verdict { class: Class::GENERIC, rule: "code-5xx" },
        _ => Verdict { class: Class::UNDETERMINED, rule: "none" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Class, rule and reply: replies in the manner of the large receivers and of common servers.
    fn samples() -> Vec<(u8, &'static str, &'static str)> {
        let lines = include_str!("replies.tsv").lines().filter(|line| !line.starts_with('#'));
        let read = |line: &'static str| {
            let columns: Vec<&str> = line.split('\t').collect();
            (columns[0].parse().expect("a number"), columns[1], columns[2])
        };
        lines.map(read).collect()
    }

    #[test]
    fn the_table_is_sound() {
        let mut ids = BTreeSet::new();
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            assert_eq!(line.split('\t').count(), 3, "{line}");
        }
        for (id, class, pattern) in rows() {
            assert!(ids.insert(id), "{id} is there twice");
            assert!(class.parse().is_ok_and(|class| Class::of(class).is_some()), "{id}: {class}");
            let pattern = RegexBuilder::new(pattern).unicode(false).build();
            assert!(pattern.is_ok_and(|pattern| !pattern.is_match(b"")), "{id}");
        }
        assert_eq!(RULES.len(), ids.len());
    }

    #[test]
    fn replies_have_their_class() {
        let wrong: Vec<String> = samples()
            .into_iter()
            .filter_map(|(class, rule, reply)| {
                let verdict = classify_reply(reply);
                let right = (verdict.class.number(), verdict.rule) == (class, rule);
                (!right).then(|| format!("{class} {rule}, not {} {}: {reply}", verdict.class.number(), verdict.rule))
            })
            .collect();
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
        assert!(samples().len() >= 150, "{}", samples().len());
    }

    #[test]
    fn every_rule_has_a_sample() {
        let sampled: BTreeSet<&str> = samples().into_iter().map(|(_, rule, _)| rule).collect();
        let without: Vec<&str> = rows().map(|(id, ..)| id).filter(|id| !sampled.contains(id)).collect();
        assert!(without.is_empty(), "no reply shows {without:?}");
    }

    #[test]
    fn enhanced_codes_stand_alone() {
        for (text, code) in [
            ("550 5.1.1 no", Some(EnhancedCode(5, 1, 1))),
            ("550-5.7.26 x", Some(EnhancedCode(5, 7, 26))),
            ("#5.1.1#", Some(EnhancedCode(5, 1, 1))),
            ("status=5.2.2.", Some(EnhancedCode(5, 2, 2))),
            ("(4.4.7)", Some(EnhancedCode(4, 4, 7))),
            ("from 192.5.1.1 and 5.1.1.7 and v4.2.1b", None),
            ("3.1.1 6.1.1 5.1", None),
            ("host 5.6.7.8 said 550 5.2.1 x", Some(EnhancedCode(5, 2, 1))),
        ] {
            assert_eq!(enhanced_code(text), code, "{text}");
        }
    }

    #[test]
    fn reply_codes_begin_replies() {
        for (text, code) in [
            ("550 no", Some(550)),
            ("550-no", Some(550)),
            ("said: 451 later", Some(451)),
            ("'554 no'", Some(554)),
            ("<<< 552 full", Some(552)),
            ("#550 5.1.1", Some(550)),
            ("port 2525 and 5550 and id550 x550y", None),
            ("690 no", None),
        ] {
            assert_eq!(reply_code(text), code, "{text}");
        }
    }

    #[test]
    fn codes_given_go_before_those_in_the_text() {
        assert_eq!(classify("hm", Some(551), None).rule, "code-551");
        assert_eq!(classify("hm", Some(554), Some(EnhancedCode(5, 2, 2))).rule, "enhanced-2-2");
        assert_eq!(classify("250 2.0.0 hm", None, None).rule, "none");
        assert_eq!(classify("", None, None).rule, "none");
    }

    #[test]
    fn phrases_go_on_over_lines() {
        for (reply, line, rule) in [
            (
                "550-5.1.1 The email account that you tried to reach does not\n550-5.1.1 exist. Please try\r\n550 5.1.1 again x",
                "The email account that you tried to reach does not exist. Please try again x",
                "does-not-exist",
            ),
            (
                "550-5.7.1 message is likely 550-5.7.1 unsolicited mail 550 5.7.1 bye",
                "message is likely unsolicited mail bye",
                "spam-content",
            ),
            ("552-user over\n552 quota", "user over quota", "over-quota"),
            ("550 5.1.1 no\t such   user", "550 5.1.1 no such user", "no-such-user"),
            ("550-", "", "code-5xx"),
        ] {
            assert_eq!((one_line(reply).as_str(), classify_reply(reply).rule), (line, rule));
        }
    }

    #[test]
    fn a_code_that_says_nothing_gives_way() {
        assert_eq!(classify("550 5.2.2 hm", None, Some(EnhancedCode(5, 0, 0))).rule, "enhanced-2-2");
        assert_eq!(classify("hm", None, Some(EnhancedCode(5, 0, 0))).rule, "code-5xx");
    }

    #[test]
    fn what_is_temporary_is_not_hard() {
        let hard = classify_reply("550 5.1.1 user unknown");
        let soft = classify_reply("450 4.1.1 user unknown");
        assert_eq!((hard.class, soft.class), (Class::INVALID_RECIPIENT, Class::TRANSIENT));
        assert_eq!(hard.rule, soft.rule);
    }

    #[test]
    fn classifying_is_fast() {
        let reply = "550 5.7.0 Nothing that any rule knows stands in these words, which go on for a while";
        std::hint::black_box(classify_reply(reply));
        let begun = std::time::Instant::now();
        for _ in 0..100 {
            std::hint::black_box(classify_reply(std::hint::black_box(reply)));
        }
        let each = begun.elapsed() / 100;
        assert!(each < std::time::Duration::from_millis(5), "{each:?}");
    }
}
