//! The fields that a judged copy bears, as other filters write them.

use crate::verdict::Level;
use crate::{Category, Point, Ruling};

/// What strangers write in our place, and readers' rules would believe.
pub(crate) const FORGED: &[&str] = &["X-Spam-", "X-Virus-Scanned", "X-Quarantine-ID", "X-Amavis-"];
/// More stars say nothing more.
const MOST_STARS: f64 = 64.0;
/// A field line is folded behind so many characters.
const WIDE: usize = 76;
/// What an alert says is cut behind so many.
const LONG: usize = 300;

/// What is on top of a copy: the name of the scanners that looked at it, and, from the first level on, its score.
pub(crate) fn top(ruling: &Ruling, common: &[Point], scanners: &[&str], levels: (f64, f64)) -> Vec<u8> {
    let mut text = String::new();
    if !scanners.is_empty() {
        text.push_str(&format!("X-Virus-Scanned: {}\r\n", scanners.join(", ")));
    }
    if ruling.level >= Level::Tag {
        let spam = ruling.level >= Level::Tag2;
        if spam {
            text.push_str("X-Spam-Flag: YES\r\n");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 64")]
        let stars = ruling.score.clamp(0.0, MOST_STARS) as usize;
        text.push_str(&format!("X-Spam-Score: {}\r\n", number(ruling.score)));
        if stars > 0 {
            text.push_str(&format!("X-Spam-Level: {}\r\n", "*".repeat(stars)));
        }
        let said = if spam { "Yes" } else { "No" };
        let (tag, tag2) = levels;
        let head = format!(
            "X-Spam-Status: {said}, score={} tagged_above={} required={}",
            number(ruling.score),
            number(tag),
            number(tag2)
        );
        text.push_str(&head);
        let points: Vec<&Point> = common.iter().chain(&ruling.own).filter(|point| point.value != 0.0).collect();
        let mut width = WIDE;
        for (at, point) in points.iter().enumerate() {
            let start = if at == 0 { "tests=[" } else { "" };
            let end = if at + 1 == points.len() { "]" } else { "," };
            let word = format!("{start}{}={}{end}", point.name, number(point.value));
            if width + word.len() + 1 > WIDE {
                text.push_str("\r\n\t");
                width = 8;
            } else {
                text.push(' ');
                width += 1;
            }
            width += word.len();
            text.push_str(&word);
        }
        text.push_str("\r\n");
    }
    text.into_bytes()
}

/// What a copy that is delivered all the same says of what is wrong with it, in the field that readers' rules know from
/// amavisd: what it is, and which scanners should have looked at it and did not answer.
pub(crate) fn alerts(category: Category, why: &str, silent: &[String]) -> Vec<u8> {
    let what = match category {
        Category::Virus => Some(format!("INFECTED, message contains virus: {why}")),
        Category::Banned => Some(format!("BANNED, message contains {why}")),
        Category::BadHeader => Some(format!("BAD HEADER SECTION, {why}")),
        // Why there was no answer is for the trace: it names hosts of ours.
        Category::Unchecked if silent.is_empty() => Some(format!("UNCHECKED, {why}")),
        _ => None,
    };
    let unasked = (!silent.is_empty()).then(|| format!("UNCHECKED, no answer from {}", silent.join(", ")));
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '_' };
    let line = |text: String| format!("X-Amavis-Alert: {}\r\n", text.chars().take(LONG).map(plain).collect::<String>());
    what.into_iter().chain(unasked).map(line).collect::<String>().into_bytes()
}

/// A score with at most three digits behind the point.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use posthorn_mail::copies::{Edit, Fate};

    use super::*;

    fn ruling(score: f64, level: Level) -> Ruling {
        Ruling {
            fate: Fate::Deliver,
            edit: Edit::default(),
            category: Category::Clean,
            score,
            level,
            own: vec![Point::new("OWN", -0.25, "")],
            why: String::new(),
        }
    }

    #[test]
    fn the_score_is_told_from_the_first_level_on() {
        let common = [Point::new("A_RULE", 3.5, ""), Point::new("SILENT", 0.0, "")];
        let of = |score, level| {
            String::from_utf8(top(&ruling(score, level), &common, &["clamav"], (2.0, 6.2))).expect("a text")
        };
        assert_eq!(of(1.0, Level::None), "X-Virus-Scanned: clamav\r\n");
        assert_eq!(
            of(3.25, Level::Tag),
            "X-Virus-Scanned: clamav\r\nX-Spam-Score: 3.25\r\nX-Spam-Level: ***\r\n\
             X-Spam-Status: No, score=3.25 tagged_above=2 required=6.2\r\n\ttests=[A_RULE=3.5, OWN=-0.25]\r\n"
        );
        let loud = of(1000.0, Level::Kill);
        assert!(loud.contains("X-Spam-Flag: YES\r\n") && loud.contains("X-Spam-Status: Yes, "), "{loud}");
        assert!(loud.contains(&format!("X-Spam-Level: {}\r\n", "*".repeat(64))), "{loud}");
    }

    #[test]
    fn alerts_are_one_line_each_and_name_no_hosts() {
        let of = |category, why: &str, silent: &[&str]| {
            let silent: Vec<String> = silent.iter().map(|name| (*name).to_owned()).collect();
            String::from_utf8(alerts(category, why, &silent)).expect("a text")
        };
        assert_eq!(of(Category::Clean, "", &[]), "");
        assert_eq!(of(Category::Spam, "score 20", &[]), "");
        assert_eq!(
            of(Category::Virus, "Eicar\r\nX: y \u{fc}", &["rspamd"]),
            "X-Amavis-Alert: INFECTED, message contains virus: Eicar__X: y _\r\n\
             X-Amavis-Alert: UNCHECKED, no answer from rspamd\r\n"
        );
        let unchecked = of(Category::Unchecked, "clamd: 192.0.2.1:3310 refuses", &["clamd"]);
        assert_eq!(unchecked, "X-Amavis-Alert: UNCHECKED, no answer from clamd\r\n");
        assert_eq!(of(Category::Unchecked, "too-deep", &[]), "X-Amavis-Alert: UNCHECKED, too-deep\r\n");
        assert!(of(Category::Banned, &"x".repeat(2000), &[]).len() < 998);
    }

    #[test]
    fn scores_are_short() {
        for (value, text) in [(2.0, "2"), (6.25, "6.25"), (-0.0001, "0"), (0.1 + 0.2, "0.3"), (-1.5, "-1.5")] {
            assert_eq!(number(value), text);
        }
    }
}
