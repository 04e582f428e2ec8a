//! What the DNS calls a client, and whether its name leads back to it (RFC 8601 §2.7.3: "iprev").

use std::net::IpAddr;

use posthorn_trust::{Found, Resolver};

use crate::asking::Asking;

/// The names of a client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClientNames {
    /// Those of its PTR records, in lower case, at most [`MOST`].
    pub(crate) reverse: Vec<String>,
    /// The first of them that leads back to the address.
    pub(crate) confirmed: Option<String>,
    /// Why it cannot be told whether there are any, or whether they lead back.
    pub(crate) unknown: Option<String>,
}

/// More names than this say nothing more, and each costs questions.
const MOST: usize = 5;

impl ClientNames {
    /// What the server that asks has found out already.
    pub(crate) fn told(confirmed: &str, reverse: Option<&str>) -> Self {
        let confirmed = folded(confirmed);
        Self {
            reverse: vec![reverse.map_or_else(|| confirmed.clone(), folded)],
            confirmed: Some(confirmed),
            unknown: None,
        }
    }

    /// Asks the DNS.
    pub(crate) async fn find(asking: &Asking, address: IpAddr) -> Self {
        let unknown = |why: &str| Self { unknown: Some(why.to_owned()), ..Self::default() };
        asking.in_time(look_up(asking.resolver(), address.to_canonical())).await.unwrap_or_else(unknown)
    }
}

async fn look_up(resolver: &dyn Resolver, address: IpAddr) -> ClientNames {
    let mut names = ClientNames::default();
    match resolver.names(address).await {
        Found::Some(found) => names.reverse = found.iter().take(MOST).map(|name| folded(name)).collect(),
        Found::Nothing | Found::NoSuchName => return names,
        Found::Later(why) => {
            names.unknown = Some(why);
            return names;
        }
    }
    for name in &names.reverse {
        match resolver.addresses(name).await {
            Found::Some(all) if all.iter().any(|one| one.to_canonical() == address) => {
                names.confirmed = Some(name.clone());
                names.unknown = None;
                break;
            }
            Found::Later(why) => names.unknown = Some(why),
            _ => {}
        }
    }
    names
}

fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
