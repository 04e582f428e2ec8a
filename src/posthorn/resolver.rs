//! The appliance's resolver, for those who ask the DNS without knowing how it is asked.

use std::net::IpAddr;

use posthorn_net::dns::{Answer, Dns};
use posthorn_trust::resolver::{Asked, Found, Resolver};

/// [`Dns`] as a [`Resolver`].
#[derive(Clone, Debug)]
pub struct Asking(Dns);

impl Asking {
    /// Asks by this resolver, and shares what it keeps.
    #[must_use]
    pub fn new(dns: Dns) -> Self {
        Self(dns)
    }
}

impl Resolver for Asking {
    fn addresses<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<IpAddr>> {
        Box::pin(async move {
            found(self.0.addresses(name).await).map(|all| {
                let v4 = all.v4.into_iter().map(IpAddr::V4);
                v4.chain(all.v6.into_iter().map(IpAddr::V6)).collect()
            })
        })
    }

    fn addresses_of<'a>(&'a self, name: &'a str, v6: bool) -> Asked<'a, Vec<IpAddr>> {
        Box::pin(async move { found(self.0.addresses_of(name, v6).await) })
    }

    fn texts<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>> {
        Box::pin(async move { found(self.0.txt(name).await).map(|texts| texts.texts) })
    }

    fn exchangers<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>> {
        Box::pin(async move { found(self.0.exchangers(name).await) })
    }

    fn names(&self, address: IpAddr) -> Asked<'_, Vec<String>> {
        Box::pin(async move { found(self.0.names(address).await) })
    }
}

fn found<T>(answer: Answer<T>) -> Found<T> {
    match answer {
        Answer::Found(records) => Found::Some(records),
        Answer::None => Found::Nothing,
        Answer::NoSuchName => Found::NoSuchName,
        Answer::Temporary(why) => Found::Later(why),
    }
}
