//! The schema that is derived from the structs, as the checker and the printers walk it.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::Config;

/// The JSON schema of the whole configuration.
pub(crate) struct Schema(Value);

/// One form that a value may take, `$ref` and `anyOf` resolved.
#[derive(Clone, Copy)]
pub(crate) struct Form<'s>(pub(crate) &'s Value);

impl Schema {
    /// Derives it from [`Config`].
    pub(crate) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12();
        Self(settings.into_generator().into_root_schema_for::<Config>().into())
    }

    /// The schema itself.
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    /// The root table.
    pub(crate) fn root(&self) -> Form<'_> {
        Form(&self.0)
    }

    /// Every form that a value described by `schema` may take; `null` (unset) is none.
    pub(crate) fn forms<'s>(&'s self, schema: &'s Value) -> Vec<Form<'s>> {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer));
            return found.map_or_else(Vec::new, |found| self.forms(found));
        }
        if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
            return choices.iter().flat_map(|choice| self.forms(choice)).collect();
        }
        if schema.get("type").and_then(Value::as_str) == Some("null") { Vec::new() } else { vec![Form(schema)] }
    }
}

impl<'s> Form<'s> {
    /// Whether a JSON type is among those of this form.
    pub(crate) fn accepts(self, kind: &str) -> bool {
        match self.0.get("type") {
            Some(Value::String(one)) => one == kind,
            Some(Value::Array(several)) => several.iter().any(|one| one == kind),
            _ => kind == "string" && !self.choices().is_empty(),
        }
    }

    /// The keys of a table, in declared order.
    pub(crate) fn properties(self) -> impl Iterator<Item = (&'s str, &'s Value)> {
        let entries = self.0.get("properties").and_then(Value::as_object);
        entries.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema))
    }

    /// The schema of one key of a table, or the one that all keys share.
    pub(crate) fn property(self, name: &str) -> Option<&'s Value> {
        let shared = || self.0.get("additionalProperties").filter(|schema| schema.is_object());
        self.0.get("properties").and_then(|properties| properties.get(name)).or_else(shared)
    }

    /// The keys that a table must have.
    pub(crate) fn required(self) -> impl Iterator<Item = &'s str> {
        self.0.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The schema of a list's items.
    pub(crate) fn items(self) -> Option<&'s Value> {
        self.0.get("items")
    }

    /// The words of a choice; empty when this is none.
    pub(crate) fn choices(self) -> Vec<&'s str> {
        let plain = self.0.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let documented = self.0.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        // Variants without a comment of their own share one `enum` among the `oneOf`.
        let documented = documented.flat_map(|choice| {
            let shared = choice.get("enum").and_then(Value::as_array).into_iter().flatten();
            choice.get("const").into_iter().chain(shared).filter_map(Value::as_str)
        });
        plain.chain(documented).collect()
    }

    /// The name of the parser that judges texts of this form.
    pub(crate) fn format(self) -> Option<&'s str> {
        self.0.get("format").and_then(Value::as_str)
    }

    /// What a choice chooses, for messages.
    pub(crate) fn noun(self) -> &'s str {
        self.0.get("x-noun").and_then(Value::as_str).unwrap_or("value")
    }

    /// The bounds of a number.
    pub(crate) fn range(self) -> (i64, i64) {
        let bound = |name: &str| self.0.get(name).and_then(Value::as_i64);
        let width = match self.format() {
            Some("uint32") => i64::from(u32::MAX),
            _ => i64::MAX,
        };
        (bound("minimum").unwrap_or(i64::MIN), bound("maximum").unwrap_or(width))
    }

    /// What a reader may write, in words.
    pub(crate) fn wanted(self) -> &'static str {
        match self.format() {
            Some("size") => "a size such as 1024 or \"50 MiB\"",
            Some("duration") => "a duration such as 300 or \"5 min\"",
            Some("ratio") => "a number such as 2 or 0.1",
            Some("points") => "a number such as 6.2 or -1",
            Some("file-mode") => "a text in octal such as \"0660\"",
            _ if self.accepts("boolean") => "true or false",
            _ if self.accepts("integer") => "an integer",
            _ if self.accepts("array") => "a list",
            _ if self.accepts("object") => "a table",
            _ => "a text",
        }
    }
}

/// The first line of a schema's description: the summary of the field's comment.
pub(crate) fn summary(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).and_then(|text| text.split("\n\n").next()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks every field that can be written.
    fn undocumented(schema: &Schema, form: Form<'_>, path: &str, bare: &mut Vec<String>) {
        for (name, property) in form.properties() {
            let path = format!("{path}.{name}");
            if summary(property).is_empty() {
                bare.push(path.clone());
            }
            let mut forms = schema.forms(property);
            forms.extend(forms.clone().iter().filter_map(|form| form.items()).flat_map(|items| schema.forms(items)));
            assert!(!forms.is_empty(), "{path} has no form");
            for inner in forms {
                undocumented(schema, inner, &path, bare);
            }
        }
    }

    #[test]
    fn every_field_has_a_summary() {
        let (schema, mut bare) = (Schema::new(), Vec::new());
        undocumented(&schema, schema.root(), "", &mut bare);
        assert!(bare.is_empty(), "{bare:?}");
    }

    #[test]
    fn no_section_has_more_than_twenty_fields_of_its_own() {
        let schema = Schema::new();
        // Whatever every scope of delivery may set is written in one table.
        let shared = ["listener", "delivery"];
        for (name, section) in schema.root().properties().filter(|(name, _)| !shared.contains(name)) {
            for form in schema.forms(section) {
                assert!(form.properties().count() <= 20, "{name}");
            }
        }
    }
}
