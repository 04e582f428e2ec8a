//! Actions as rules name them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use posthorn_model::Address;
use posthorn_model::policy::{Action, ActionError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::PolicyStage;

/// What a rule does, in the words of access(5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyAction(Action);

impl PolicyAction {
    /// A refusal with a code, 400 to 599.
    pub(super) fn refusing(code: u16, text: &str) -> Self {
        Self(Action::Code { code, text: text.to_owned() })
    }

    /// The action.
    #[must_use]
    pub fn action(&self) -> &Action {
        &self.0
    }

    /// Whether it makes sense at a stage.
    ///
    /// # Errors
    /// Why it does not.
    pub fn at(&self, stage: PolicyStage) -> Result<(), String> {
        let early = matches!(stage, PolicyStage::Connect | PolicyStage::Helo);
        match &self.0 {
            Action::Prepend { .. } if stage == PolicyStage::EndOfMessage => {
                Err("PREPEND comes too late when the text is there".to_owned())
            }
            Action::Bcc(_)
            | Action::Discard(_)
            | Action::Filter(_)
            | Action::Hold(_)
            | Action::Prepend { .. }
            | Action::Redirect(_)
                if early =>
            {
                Err(format!("at the stage {} there is no message that it could be done to", stage.name()))
            }
            Action::Bcc(address) | Action::Redirect(address) if Address::parse(address).is_err() => {
                Err(format!("\"{address}\" is not an address"))
            }
            Action::Restriction(name) => Err(format!("\"{name}\" is no action that is known here")),
            _ => Ok(()),
        }
    }
}

impl FromStr for PolicyAction {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for PolicyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for PolicyAction {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PolicyAction {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for PolicyAction {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PolicyAction".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "policy-action" })
    }
}
