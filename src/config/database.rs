//! `[database]`: the one PostgreSQL.

use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// The one PostgreSQL, private or elsewhere.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// An existing PostgreSQL 15 or newer; unset starts a private one below `server.data`.
    pub url: Option<DatabaseUrl>,
    /// The folder of PostgreSQL's programs, when they are neither on PATH nor in a usual place.
    #[schemars(extend("format" = "path"), example = &"/usr/lib/postgresql/17/bin")]
    pub binaries: Option<PathBuf>,
    /// The system user that runs the private server when we were started as root.
    pub user: String,
    /// Connections for reading and for short transactions.
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// Group-commit writers, each with a connection of its own.
    #[schemars(range(min = 1))]
    pub writers: u32,
    /// The most messages that one group commit gathers.
    #[schemars(range(min = 1))]
    pub batch_rows: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, binaries: None, user: "postgres".into(), connections: 8, writers: 1, batch_rows: 256 }
    }
}

/// A `postgres://` address. May hold a password: shown, logged and serialised only with the password replaced.
#[derive(Clone, Deserialize, Eq, PartialEq)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Takes a URL whose scheme is `postgres` or `postgresql`.
    ///
    /// # Errors
    /// A sentence without the URL itself when the scheme is another one.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            Ok(Self(text.to_owned()))
        } else {
            Err("a database URL begins with postgres://")
        }
    }

    /// The URL with its password, for the connection alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl JsonSchema for DatabaseUrl {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DatabaseUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "database-url" })
    }
}

/// A URL without its password: that between `user:` and `@`, and that of a `password=` parameter, become `***`.
#[must_use]
pub fn without_password(url: &str) -> String {
    let (head, query) = url.split_once('?').map_or((url, None), |(head, query)| (head, Some(query)));
    let mut shown = match (head.split_once("://"), head.rfind('@')) {
        (Some((scheme, _)), Some(at)) if at > scheme.len() + 2 => {
            let user = &head[scheme.len() + 3..at];
            match user.split_once(':') {
                Some((name, _)) => format!("{scheme}://{name}:***{}", &head[at..]),
                None => head.to_owned(),
            }
        }
        _ => head.to_owned(),
    };
    if let Some(query) = query {
        shown.push('?');
        let pairs: Vec<_> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) if name.contains("password") => format!("{name}=***"),
                _ => pair.to_owned(),
            })
            .collect();
        shown.push_str(&pairs.join("&"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_shown() {
        for (written, shown) in [
            ("postgres://mail:s3cret@db.example/mail", "postgres://mail:***@db.example/mail"),
            ("postgres://mail:a:b@c@db/mail", "postgres://mail:***@db/mail"),
            (
                "postgres://db/mail?user=m&password=s3cret&sslmode=require",
                "postgres://db/mail?user=m&password=***&sslmode=require",
            ),
            ("postgres://mail@db/mail", "postgres://mail@db/mail"),
            ("postgresql:///mail?host=/run/postgresql", "postgresql:///mail?host=/run/postgresql"),
        ] {
            let url = DatabaseUrl::parse(written).expect("a URL");
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(serde_json::to_value(&url).expect("text"), shown);
            assert_eq!(url.reveal(), written);
        }
    }

    #[test]
    fn other_schemes_are_refused_without_repeating_them() {
        let refusal = DatabaseUrl::parse("mysql://u:s3cret@db").expect_err("not PostgreSQL");
        assert!(!refusal.contains("s3cret"));
    }
}
