//! What rspamd says of a message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use posthorn_filter::{Change, Point, Scanned};
use posthorn_model::{EnhancedCode, Refusal};
use serde::Deserialize;
use serde_json::Value;

use crate::field::{folded, is_name};
use crate::shown::shown;

#[derive(Deserialize)]
struct Answer {
    action: String,
    score: f64,
    #[serde(default)]
    symbols: BTreeMap<String, Symbol>,
    #[serde(default)]
    messages: BTreeMap<String, Value>,
    #[serde(default)]
    milter: Milter,
    #[serde(default, rename = "dkim-signature")]
    dkim_signature: Option<Value>,
}

#[derive(Deserialize)]
struct Symbol {
    #[serde(default)]
    score: f64,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    options: Vec<Value>,
}

#[derive(Default, Deserialize)]
struct Milter {
    #[serde(default)]
    add_headers: BTreeMap<String, Value>,
    #[serde(default)]
    remove_headers: BTreeMap<String, Value>,
}

/// Its points are those of its symbols; what it wants done beyond that is heard where it is more than a matter of the
/// score: `reject`, `soft reject`, `quarantine` and `discard`.
pub(super) fn read(body: &[u8]) -> Result<Scanned, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| format!("its answer is malformed: {error}"))?;
    let mut said = Scanned::default();
    for (name, symbol) in answer.symbols.iter().take(MOST).filter(|(_, symbol)| symbol.score != 0.0) {
        said.points.push(Point::new(Cow::Owned(word(name)), symbol.score, why(symbol)));
    }
    let text = answer.messages.get("smtp_message").and_then(Value::as_str).map(|text| shown(text.as_bytes()));
    let text = text.filter(|text| !text.is_empty());
    let or = |default: &str| text.clone().unwrap_or_else(|| default.to_owned());
    match answer.action.as_str() {
        "no action" | "greylist" | "add header" | "rewrite subject" => {}
        "reject" => {
            let default = format!("Spam message rejected, score {:.1}", answer.score);
            said.refuse = Some(Refusal::new(554, EnhancedCode(5, 7, 1), or(&default)));
        }
        "soft reject" => said.refuse = Some(Refusal::new(451, EnhancedCode(4, 7, 1), or("Try again later"))),
        // What it would drop is held: nobody's mail disappears.
        "quarantine" | "discard" => said.hold = Some(format!("rspamd: {}, {}", answer.action, or("no reason"))),
        other => return Err(format!("it wants \"{}\", which nobody knows", shown(other.as_bytes()))),
    }
    changes(&answer, &mut said.changes);
    Ok(said)
}

fn changes(answer: &Answer, changes: &mut Vec<Change>) {
    for (name, nth) in answer.milter.remove_headers.iter().filter(|(name, _)| is_name(name)).take(MOST) {
        let nth = nth.as_u64().filter(|nth| *nth > 0).and_then(|nth| usize::try_from(nth).ok());
        changes.push(Change::RemoveField { nth, name: name.clone() });
    }
    let mut put = |name: &str, value: &str| {
        if changes.len() < MOST * 2 {
            changes.push(Change::InsertField { at: 0, name: name.to_owned(), value: folded(value) });
        }
    };
    for (name, value) in answer.milter.add_headers.iter().filter(|(name, _)| is_name(name)) {
        texts(value, &mut |text| put(name, text));
    }
    if let Some(signature) = &answer.dkim_signature {
        texts(signature, &mut |text| put("DKIM-Signature", text));
    }
}

/// A text, an object with its `value`, or a list of these.
fn texts(value: &Value, put: &mut impl FnMut(&str)) {
    let text = |value: &Value, put: &mut dyn FnMut(&str)| match value {
        Value::String(text) => put(text),
        Value::Object(object) => {
            if let Some(text) = object.get("value").and_then(Value::as_str) {
                put(text);
            }
        }
        _ => {}
    };
    match value {
        Value::Array(list) => list.iter().for_each(|one| text(one, put)),
        one => text(one, put),
    }
}

fn word(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn why(symbol: &Symbol) -> String {
    let options: Vec<&str> = symbol.options.iter().filter_map(Value::as_str).take(5).collect();
    match (&symbol.description, options.is_empty()) {
        (Some(description), true) => shown(description.as_bytes()),
        (_, _) => shown(options.join(", ").as_bytes()),
    }
}

/// Symbols and fields of one message.
const MOST: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_become_points_and_actions_what_they_say() {
        let said = read(
            br#"{"is_skipped":false,"score":15.0,"required_score":15.0,"action":"reject",
            "symbols":{"GTUBE":{"name":"GTUBE","score":0.0},"BAD_URL":{"score":15.0,"options":["x.example","y"]},
            "arc-na":{"score":-1,"description":"no ARC"}},"messages":{"smtp_message":"Gtube pattern"}}"#,
        )
        .expect("an answer");
        assert_eq!(said.points, [Point::new("BAD_URL", 15.0, "x.example, y"), Point::new("ARC_NA", -1.0, "no ARC")]);
        assert_eq!(said.refuse.map(|no| no.to_string()).as_deref(), Some("554 5.7.1 Gtube pattern"));
        for (action, refused, held) in [
            ("no action", None, false),
            ("greylist", None, false),
            ("add header", None, false),
            ("soft reject", Some(451), false),
            ("quarantine", None, true),
            ("discard", None, true),
        ] {
            let said = read(format!(r#"{{"score":1,"action":"{action}"}}"#).as_bytes()).expect("an answer");
            assert_eq!((said.refuse.map(|no| no.code), said.hold.is_some()), (refused, held), "{action}");
        }
    }

    #[test]
    fn fields_are_added_and_taken_out() {
        let said = read(
            br#"{"score":1,"action":"add header","dkim-signature":"v=1; a=b;\r\n\tb=c",
            "milter":{"add_headers":{"X-Spam":{"value":"Yes","order":1},"X-A":["1",{"value":"2\n3"}],"B: c\r\nd":"x"},
            "remove_headers":{"X-Spam":0,"X-Old":2}}}"#,
        )
        .expect("an answer");
        let insert =
            |name: &str, value: &str| Change::InsertField { at: 0, name: name.to_owned(), value: value.to_owned() };
        let remove = |name: &str, nth| Change::RemoveField { nth, name: name.to_owned() };
        assert_eq!(
            said.changes,
            [
                remove("X-Old", Some(2)),
                remove("X-Spam", None),
                insert("X-A", "1"),
                insert("X-A", "2\r\n\t3"),
                insert("X-Spam", "Yes"),
                insert("DKIM-Signature", "v=1; a=b;\r\n\tb=c"),
            ]
        );
    }

    #[test]
    fn malformed_answers_are_no_verdicts() {
        for body in [
            "",
            "[]",
            "{}",
            "{\"action\":\"reject\"}",
            "{\"score\":\"high\",\"action\":\"reject\"}",
            "{\"score\":1,\"action\":\"dance\"}",
            "{\"score\":1,\"action\":\"reject\",\"symbols\":[]}",
            "{\"score\":1,\"action\":\"reject\",\"milter\":{\"add_headers\":1}}",
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
