//! Why an option holds for a client.

use std::fmt;
use std::net::IpAddr;

use crate::problem::nearest;
use crate::render::inline;
use crate::{Access, Effective, ListenAddress, Loaded, Origin, Policy, Provenance};

/// One effective option of one client. Displays as a TOML line with its origin in a comment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explained {
    /// The option, such as `require_tls` or `context.site`.
    pub option: String,
    /// Its value as TOML.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
    /// The key path that was written there; empty for built-in values.
    pub key: String,
}

/// There is nothing to explain.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoSuchEndpoint {
    /// The listener has no such address; its addresses follow.
    #[error("listener \"{0}\" does not listen on {1}; it listens on {2}")]
    Address(String, ListenAddress, String),
    /// The listener has no address at all.
    #[error("listener \"{0}\" listens nowhere")]
    Deaf(String),
    /// No listener has this name; what was probably meant, or all names, follow.
    #[error("no listener \"{0}\" ({1})")]
    Listener(String, String),
}

impl Loaded {
    /// Every option as it holds for a client of one listener, on one of its addresses (the first when none is
    /// given), with the place where it was decided.
    ///
    /// # Errors
    /// [`NoSuchEndpoint`] when the listener or address does not exist.
    pub fn explain(
        &self,
        listener: &str,
        address: Option<&ListenAddress>,
        client: IpAddr,
    ) -> Result<Vec<Explained>, NoSuchEndpoint> {
        let rows = &self.config.listener;
        let at = rows.iter().position(|row| row.name == listener).ok_or_else(|| {
            let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
            let hint =
                nearest(listener, names.iter().copied()).unwrap_or_else(|| format!("known: {}", names.join(", ")));
            NoSuchEndpoint::Listener(listener.to_owned(), hint)
        })?;
        let row = &rows[at];
        let on = match address {
            None => 0,
            Some(wanted) => row.listen.iter().position(|endpoint| endpoint.address == *wanted).ok_or_else(|| {
                let known: Vec<_> = row.listen.iter().map(|endpoint| endpoint.address.to_string()).collect();
                NoSuchEndpoint::Address(listener.to_owned(), wanted.clone(), known.join(", "))
            })?,
        };
        let endpoint = row.listen.get(on).ok_or_else(|| NoSuchEndpoint::Deaf(listener.to_owned()))?;
        let effective = Policy::new(&self.config, row, endpoint).effective(client);
        let row = Row { key: format!("listener[{at}]"), endpoint: format!("listener[{at}].listen[{on}]") };
        let shown = |(option, provenance): &(_, Provenance)| {
            let option: &str = std::convert::AsRef::<str>::as_ref(option);
            let value = effective.shown(option)?;
            let key = row.written(option, *provenance);
            let origin = if key.is_empty() { Origin::Default } else { self.origin(&key) };
            Some(Explained { option: option.to_owned(), value, origin, key })
        };
        Ok(effective.provenance.iter().filter_map(shown).collect())
    }
}

/// The key paths of one endpoint.
struct Row {
    key: String,
    endpoint: String,
}

impl Row {
    /// The key path where an option was written.
    fn written(&self, option: &str, provenance: Provenance) -> String {
        match provenance {
            Provenance::BuiltIn => String::new(),
            Provenance::Endpoint => format!("{}.{option}", self.endpoint),
            Provenance::EndpointPeer(at) => format!("{}.peer[{at}].{option}", self.endpoint),
            Provenance::Guard => format!("{}.exposed", self.key),
            Provenance::Listener => format!("{}.{option}", self.key),
            Provenance::ListenerPeer(at) => format!("{}.peer[{at}].{option}", self.key),
            Provenance::Section(key) => key.to_owned(),
        }
    }
}

impl Effective {
    /// An option's value as TOML; `None` for one that says nothing, such as `allow` beside `deny`.
    fn shown(&self, option: &str) -> Option<String> {
        let text = |text: &dyn fmt::Display| inline(&text.to_string().into());
        Some(match option {
            "allow" if self.access == Access::Denied => return None,
            "allow" => (self.access == Access::Allowed).to_string(),
            "deny" => (self.access == Access::Denied).to_string(),
            "smtp_extensions" => match &self.smtp_extensions {
                None => "\"all\"".to_owned(),
                Some(listed) => format!("[{}]", listed.iter().map(|e| text(e)).collect::<Vec<_>>().join(", ")),
            },
            "xclient" => self.xclient.to_string(),
            "xforward" => self.xforward.to_string(),
            "relay" => self.relay.to_string(),
            "proxy_protocol" => self.proxy_protocol.to_string(),
            "sessions_per_address" => self.sessions_per_address.to_string(),
            "max_message_size" => text(&self.max_message_size),
            "max_recipients" => self.max_recipients.to_string(),
            "require_tls" => self.require_tls.to_string(),
            "idle_time" => text(&self.idle_time),
            "total_time" => text(&self.total_time),
            "auth" => self.auth.to_string(),
            other => text(self.context.get(other.strip_prefix("context.")?)?),
        })
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {}", self.option, self.value, self.origin)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, " {}", self.key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::load_text;

    const TEXT: &str = "[[listener]]
name = 'smtp'
speaks = 'smtp'
max_recipients = 9
listen = ['*:25', { address = '127.0.0.1:26', require_tls = true }]
[[listener.peer]]
network = '10.0.0.0/16'
smtp_extensions = ['SIZE', 'AUTH LOGIN']
context = { site = 'a' }
deny = true
allow = true
";

    fn lines(address: Option<&str>, client: &str) -> Vec<String> {
        let address = address.map(|text| ListenAddress::parse(text).expect("an address"));
        let client = client.parse().expect("an address");
        let found = load_text(TEXT).explain("smtp", address.as_ref(), client).expect("found");
        // The folder is another one each time.
        found
            .iter()
            .map(|line| line.to_string())
            .map(|line| match line.split_once("# /") {
                Some((left, right)) => format!("{left}# {}", right.rsplit_once('/').map_or(right, |(_, name)| name)),
                None => line,
            })
            .collect()
    }

    #[test]
    fn every_option_has_its_origin() {
        assert_eq!(
            lines(None, "10.0.0.1"),
            [
                "deny = true  # posthorn.toml:10 listener[0].peer[0].deny",
                "smtp_extensions = [\"SIZE\", \"AUTH LOGIN\"]  # posthorn.toml:8 listener[0].peer[0].smtp_extensions",
                "xclient = false  # default",
                "xforward = false  # default",
                "relay = false  # default",
                "proxy_protocol = false  # default",
                "sessions_per_address = 200  # default limits.sessions_per_address",
                "max_message_size = \"50 MiB\"  # default mail.max_message_size",
                "max_recipients = 9  # posthorn.toml:4 listener[0].max_recipients",
                "require_tls = false  # default",
                "idle_time = \"5 min\"  # default smtp.idle_time",
                "total_time = \"0 s\"  # default smtp.total_time",
                "auth = false  # default",
                "context.site = \"a\"  # posthorn.toml:9 listener[0].peer[0].context.site",
            ]
        );
    }

    #[test]
    fn each_address_has_its_own_answer() {
        let on = lines(Some("127.0.0.1:26"), "192.0.2.1");
        assert!(
            on.contains(&"require_tls = true  # posthorn.toml:5 listener[0].listen[1].require_tls".to_owned()),
            "{on:#?}"
        );
        assert!(on.contains(&"allow = false  # default".to_owned()));
        assert!(on.contains(&"smtp_extensions = \"all\"  # default".to_owned()));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let loaded = load_text(TEXT);
        let client = "::1".parse().expect("an address");
        let refusal = |name: &str, address: Option<&str>| {
            let address = address.map(|text| ListenAddress::parse(text).expect("an address"));
            loaded.explain(name, address.as_ref(), client).expect_err("not there").to_string()
        };
        assert_eq!(refusal("smpt", None), "no listener \"smpt\" (did you mean \"smtp\"?)");
        assert_eq!(refusal("http", None), "no listener \"http\" (known: smtp)");
        assert_eq!(
            refusal("smtp", Some("*:27")),
            "listener \"smtp\" does not listen on *:27; it listens on *:25, 127.0.0.1:26"
        );
    }
}
