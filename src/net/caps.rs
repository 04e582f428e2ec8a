//! How many sessions may run at once, counted where the configuration counts them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use posthorn_config::Speaks;

use crate::{EndpointId, Overload};

/// What sessions are counted by.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Scope {
    /// One client address on one listener.
    Address(Arc<str>, IpAddr),
    /// One peer block of one listener, or of one of its endpoints alone.
    Block(Arc<str>, Option<EndpointId>, IpNet),
    /// One `listen` address.
    Endpoint(EndpointId),
    /// One listener.
    Listener(Arc<str>),
    /// Everything.
    Server,
    /// All listeners of one protocol.
    Service(Speaks),
}

impl Scope {
    fn overload(&self) -> Overload {
        match self {
            Self::Address(..) => Overload::Address,
            Self::Block(..) => Overload::Block,
            Self::Endpoint(_) => Overload::Endpoint,
            Self::Listener(_) => Overload::Listener,
            Self::Server => Overload::Server,
            Self::Service(_) => Overload::Service,
        }
    }
}

/// The counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caps {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    held: HashMap<Scope, u32>,
    refused: HashMap<Overload, u64>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct CapsSnapshot {
    /// Sessions that run now, for every scope that has any.
    pub held: HashMap<Scope, u32>,
    /// Connections refused since the start, by reason.
    pub refused: HashMap<Overload, u64>,
}

impl Caps {
    /// A copy of all counters.
    pub(crate) fn snapshot(&self) -> CapsSnapshot {
        let counts = self.counts.lock();
        CapsSnapshot { held: counts.held.clone(), refused: counts.refused.clone() }
    }

    /// Sessions of one scope that run now.
    pub(crate) fn held(&self, scope: &Scope) -> u32 {
        self.counts.lock().held.get(scope).copied().unwrap_or(0)
    }

    /// Takes one place in each scope, or none at all. A limit of 0 is no limit.
    pub(crate) fn enter(
        &self,
        permits: &mut Permits,
        wanted: impl IntoIterator<Item = (Scope, u32)>,
    ) -> Result<(), Overload> {
        let from = permits.scopes.len();
        permits.scopes.reserve_exact(4);
        let mut counts = self.counts.lock();
        for (scope, limit) in wanted {
            let held = counts.held.entry(scope.clone()).or_default();
            if limit > 0 && *held >= limit {
                counts.leave(permits.scopes.drain(from..));
                return Err(scope.overload());
            }
            *held += 1;
            permits.scopes.push(scope);
        }
        permits.caps.get_or_insert_with(|| self.clone());
        Ok(())
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, why: Overload) {
        *self.counts.lock().refused.entry(why).or_default() += 1;
    }
}

impl Counts {
    /// Scopes that nobody holds are forgotten, so that addresses seen once cost nothing.
    fn leave(&mut self, scopes: impl Iterator<Item = Scope>) {
        for scope in scopes {
            if let Some(held) = self.held.get_mut(&scope) {
                *held -= 1;
                if *held == 0 {
                    self.held.remove(&scope);
                }
            }
        }
    }
}

/// The places that one session holds; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    caps: Option<Caps>,
    scopes: Vec<Scope>,
}

impl Drop for Permits {
    fn drop(&mut self) {
        if let Some(caps) = self.caps.take() {
            caps.counts.lock().leave(self.scopes.drain(..));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(caps: &Caps, wanted: &[(Scope, u32)]) -> Result<Permits, Overload> {
        let mut permits = Permits::default();
        caps.enter(&mut permits, wanted.iter().cloned()).map(|()| permits)
    }

    #[test]
    fn all_places_are_taken_or_none() {
        let caps = Caps::default();
        let listener = Scope::Listener("smtp".into());
        let endpoint = Scope::Endpoint(EndpointId(0));
        let wanted = [(Scope::Server, 0), (listener.clone(), 3), (endpoint.clone(), 2)];
        let one = enter(&caps, &wanted).expect("free");
        let two = enter(&caps, &wanted).expect("free");
        assert_eq!(enter(&caps, &wanted).expect_err("full"), Overload::Endpoint);
        assert_eq!(caps.snapshot().held[&listener], 2);
        drop(one);
        let three = enter(&caps, &wanted).expect("free again");
        assert_eq!(caps.snapshot().held[&endpoint], 2);
        drop((two, three));
        assert!(caps.snapshot().held.is_empty());
    }

    #[test]
    fn a_refused_second_step_keeps_the_first() {
        let caps = Caps::default();
        let address = Scope::Address("smtp".into(), IpAddr::from([192, 0, 2, 1]));
        let first = enter(&caps, &[(address.clone(), 1)]).expect("free");
        let mut second = enter(&caps, &[(Scope::Server, 9)]).expect("free");
        assert_eq!(caps.enter(&mut second, [(address.clone(), 1)]), Err(Overload::Address));
        assert_eq!(caps.snapshot().held[&Scope::Server], 1);
        assert_eq!(caps.snapshot().held[&address], 1);
        drop((first, second));
        assert!(caps.snapshot().held.is_empty());
    }
}
