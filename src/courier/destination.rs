//! Where mail for a domain is known to go, so that nobody asks the DNS for each message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthorn_config::{Binding, Route};
use posthorn_smtp::Reply;

use crate::job::Job;
use crate::site::Site;

/// What tells the ways to one domain apart.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub route: Arc<Route>,
    pub binding: Arc<Binding>,
    pub require_tls: bool,
}

/// Where a way leads.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// There; with why its domain's MTA-STS policy cannot be had, where one is announced.
    Site(Arc<Site>, Option<Arc<str>>),
    /// Nowhere: it counts as delivered.
    Discard,
    /// A reply of our own instead: temporary or permanent.
    Reply(Reply),
    /// Nowhere for now, as the configuration says.
    Suspended,
}

/// What is known of domains.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    known: HashMap<String, Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    way: Way,
    state: State,
}

#[derive(Debug)]
enum State {
    Found(Goal, Instant),
    /// Somebody looks for it, and these jobs wait for the answer.
    Sought(Vec<Job>),
}

impl Way {
    fn is(&self, other: &Self) -> bool {
        self.require_tls == other.require_tls
            && same(&self.binding, &other.binding)
            && (Arc::ptr_eq(&self.route, &other.route) || self.route == other.route)
    }
}

fn same(one: &Arc<Binding>, other: &Arc<Binding>) -> bool {
    Arc::ptr_eq(one, other) || one.name == other.name
}

impl Destinations {
    /// Where this way leads, if that is known and still good.
    pub(crate) fn goal(&self, domain: &str, way: &Way, now: Instant) -> Option<&Goal> {
        let known = self.known.get(domain)?.iter().find(|known| known.way.is(way))?;
        match &known.state {
            State::Found(goal, until) if *until > now => Some(goal),
            _ => None,
        }
    }

    /// Lets a job wait for the answer; whether somebody must begin to look for it.
    pub(crate) fn wait(&mut self, domain: &str, way: &Way, job: Job) -> bool {
        let began = self.seek(domain, way);
        let known = self.known.get_mut(domain).and_then(|all| all.iter_mut().find(|known| known.way.is(way)));
        if let Some(Known { state: State::Sought(waiting), .. }) = known {
            waiting.push(job);
        }
        began
    }

    /// Notes that an answer is sought; whether it was not before.
    pub(crate) fn seek(&mut self, domain: &str, way: &Way) -> bool {
        let all = match self.known.get_mut(domain) {
            Some(all) => all,
            None => self.known.entry(domain.to_owned()).or_default(),
        };
        match all.iter_mut().find(|known| known.way.is(way)) {
            Some(Known { state: State::Sought(_), .. }) => false,
            Some(known) => {
                known.state = State::Sought(Vec::new());
                true
            }
            None => {
                all.push(Known { way: way.clone(), state: State::Sought(Vec::new()) });
                true
            }
        }
    }

    /// The answer is there; who waited for it comes out.
    pub(crate) fn found(&mut self, domain: &str, way: &Way, goal: Goal, until: Instant) -> Vec<Job> {
        let known = self.known.get_mut(domain).and_then(|all| all.iter_mut().find(|known| known.way.is(way)));
        let Some(known) = known else { return Vec::new() };
        match std::mem::replace(&mut known.state, State::Found(goal, until)) {
            State::Sought(waiting) => waiting,
            State::Found(..) => Vec::new(),
        }
    }

    /// Domains that more mail should not be taken in for.
    pub(crate) fn closed(&self, is_closed: impl Fn(&str, &Site) -> bool) -> Vec<String> {
        let closed = |domain: &str, known: &Known| match &known.state {
            State::Found(Goal::Site(site, _), _) => is_closed(domain, site),
            State::Found(Goal::Suspended, _) => true,
            State::Found(..) => false,
            State::Sought(waiting) => waiting.len() >= SOUGHT,
        };
        let all = self.known.iter().filter(|(domain, all)| all.iter().any(|known| closed(domain, known)));
        all.map(|(domain, _)| domain.clone()).collect()
    }

    /// Everything that waits for an answer, given up.
    pub(crate) fn drain(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for known in self.known.values_mut().flatten() {
            if let State::Sought(waiting) = &mut known.state {
                jobs.append(waiting);
            }
        }
        jobs
    }

    /// Forgets what is too old to be used.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.known.retain(|_, all| {
            all.retain(|known| match &known.state {
                State::Found(_, until) => *until + KEPT > now,
                State::Sought(_) => true,
            });
            !all.is_empty()
        });
    }
}

/// With so many jobs that wait for an answer about one domain, more stay in the database.
const SOUGHT: usize = 100;
/// Suspended and full sites must be known a little longer than their addresses are good.
const KEPT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_sought_once_and_ends() {
        let way = Way { route: Arc::default(), binding: Arc::new(Binding::new("default")), require_tls: false };
        let other = Way { require_tls: true, ..way.clone() };
        let now = Instant::now();
        let mut destinations = Destinations::default();
        assert!(destinations.wait("example.org", &way, job()));
        assert!(!destinations.wait("example.org", &way, job()), "somebody looks already");
        assert!(destinations.wait("example.org", &other, job()), "but not for this way");
        assert!(destinations.goal("example.org", &way, now).is_none());
        let waited = destinations.found("example.org", &way, Goal::Discard, now + Duration::from_secs(1));
        assert_eq!(waited.len(), 2);
        assert!(matches!(destinations.goal("example.org", &way, now), Some(Goal::Discard)));
        assert!(destinations.goal("example.org", &way, now + Duration::from_secs(2)).is_none());
        assert_eq!(destinations.drain().len(), 1);
        destinations.tidy(now + Duration::from_secs(120));
        assert_eq!(destinations.known.len(), 1, "what is sought is kept");
    }

    fn job() -> Job {
        crate::job::tests::job(&["a@example.org"])
    }
}
