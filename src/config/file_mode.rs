//! Permission bits of Unix sockets, written in octal.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Permission bits between `0000` and `0777`. Only a text is read: the integer 660 would not be octal.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FileMode(u32);

/// Why a text is not a file mode.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is not a file mode; write octal digits such as \"0660\"")]
pub struct FileModeError(String);

impl FileMode {
    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl Default for FileMode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl FromStr for FileMode {
    type Err = FileModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        let bits = if octal { u32::from_str_radix(text, 8).ok() } else { None };
        bits.filter(|bits| *bits <= 0o777).map(Self).ok_or_else(|| FileModeError(text.to_owned()))
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for FileMode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FileMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "file-mode" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_it_is() {
        assert_eq!("0660".parse().map(FileMode::bits), Ok(0o660));
        assert_eq!("600".parse().map(FileMode::bits), Ok(0o600));
        assert_eq!(FileMode::default().to_string(), "0660");
        for text in ["", "0", "rw-rw----", "0668", "1777", "06600", "+660"] {
            assert!(text.parse::<FileMode>().is_err(), "{text:?}");
        }
    }
}
