//! Values as TOML writes them.

use serde_json::{Map, Value};

/// A value on one line.
pub(crate) fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Null => "\"\"".to_owned(),
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let pairs = entries.iter().filter(|(_, value)| !value.is_null());
            let pairs: Vec<_> = pairs.map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A key, quoted where TOML needs that.
pub(crate) fn key(name: &str) -> String {
    toml_edit::Key::new(name).to_string()
}

/// Whether a value is written as `[[rows]]`.
pub(crate) fn rows(value: &Value) -> Option<Vec<&Map<String, Value>>> {
    let items = value.as_array().filter(|items| !items.is_empty())?;
    items.iter().map(Value::as_object).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_toml() {
        let value = json!({ "a b": [1, true, "x\"y\\"], "c": { "d": null, "e": {} } });
        let text = format!("v = {}", inline(&value));
        let back: toml_edit::DocumentMut = text.parse().expect("TOML");
        assert_eq!(back["v"]["a b"][2].as_str(), Some("x\"y\\"));
        assert!(back["v"]["c"].get("d").is_none());
    }
}
