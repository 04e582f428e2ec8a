//! `posthorn listener`.

use clap::Subcommand;
use posthorn_config::{ListenAddress, Loaded};
use serde_json::Value;

use crate::control::{Request, ask};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum Listeners {
    /// List every address of the running server: what it speaks, its sessions, who closed it and when
    List,
    /// Close a listener, or one of its addresses, until it is enabled again; sessions go on
    Disable(Which),
    /// Open a listener, or one of its addresses, also one that is configured with enable = false
    Enable(Which),
}

/// Which sockets.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The listener's name
    name: String,
    /// One of its addresses as configured, such as *:25, or as listed [default: all]
    #[arg(value_parser = parse_address)]
    address: Option<String>,
}

fn parse_address(text: &str) -> Result<String, String> {
    ListenAddress::parse(text).map(|address| address.to_string()).map_err(|error| error.to_string())
}

pub(super) async fn run(loaded: &Loaded, command: Listeners, output: &mut Output) -> anyhow::Result<()> {
    let request = match command {
        Listeners::List => Request::Listeners,
        Listeners::Disable(Which { name, address }) => Request::Disable { listener: name, address },
        Listeners::Enable(Which { name, address }) => Request::Enable { listener: name, address },
    };
    let answer = ask(&loaded.config, &request).await?;
    let rows = answer.as_array().cloned().unwrap_or_default();
    output.rows(&rows, &["listener", "speaks", "address", "state", "sessions", "by", "since"], row)
}

fn row(endpoint: &Value) -> Vec<String> {
    let text = |key: &str| endpoint[key].as_str().unwrap_or_default().to_owned();
    let bound: Vec<_> = endpoint["bound"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // Where the kernel chose the port, only the socket knows it.
    let address = match bound[..] {
        [one] if text("address").ends_with(":0") => one.to_owned(),
        _ => text("address"),
    };
    let sessions = endpoint["sessions"].to_string();
    vec![text("listener"), text("speaks"), address, text("state"), sessions, text("by"), since(&text("since"))]
}

/// A moment to the second.
fn since(text: &str) -> String {
    let moment = chrono::DateTime::parse_from_rfc3339(text);
    moment.map(|moment| moment.format("%Y-%m-%d %H:%M:%S UTC").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_tells_who_and_since_when() {
        let endpoint = json!({
            "listener": "smtp", "speaks": "smtp", "address": "127.0.0.1:0", "bound": ["127.0.0.1:4242"],
            "state": "disabled", "sessions": 3, "by": "root", "since": "2026-01-02T03:04:05.678Z",
        });
        assert_eq!(
            row(&endpoint),
            ["smtp", "smtp", "127.0.0.1:4242", "disabled", "3", "root", "2026-01-02 03:04:05 UTC"]
        );
        let open = json!({ "listener": "a", "speaks": "imap", "address": "*:143", "bound": ["0.0.0.0:143"],
                           "state": "open", "sessions": 0, "by": null, "since": null });
        assert_eq!(row(&open), ["a", "imap", "*:143", "open", "0", "", ""]);
    }
}
