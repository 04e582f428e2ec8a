//! Whether a message is what it claims to be: found out about strangers' mail before it is stored, and written on top
//! of it (RFC 8601). What follows from it is decided elsewhere.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, Utc};
use posthorn_trust::resolver::{Asked, Found, Resolver, all_texts};
use posthorn_trust::{Keys, Signed, Verification, dmarc, iprev, results, spf};
use tokio::time::{Instant, timeout_at};

use crate::accept::LARGE;
use crate::envelope::{Client, Envelope};
use crate::patience::{Fared, Patience};
use crate::{Error, Intake, Mail, Result, random};

/// Who can be asked, and for how long.
pub(crate) struct Checks {
    resolver: Arc<dyn Resolver>,
    patience: Patience,
}

impl Checks {
    pub(crate) fn new(resolver: Arc<dyn Resolver>, time: Duration) -> Self {
        Self { resolver, patience: Patience::new(time) }
    }
}

/// A failure that comes later than this is a resolver that gave up.
const SILENCE: Duration = Duration::from_secs(1);

/// What was found out about a message.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Whether the client's address has a name that leads back to it.
    pub iprev: iprev::Verdict,
    /// Whether the client may send for the reverse path's domain.
    pub spf: spf::Verdict,
    /// The signatures and the ARC chain that it came with.
    pub signatures: Verification,
    /// Whether it is of its author's domain.
    pub dmarc: dmarc::Verdict,
}

impl Checked {
    /// The results for an Authentication-Results field, without our name.
    #[must_use]
    pub fn results(&self) -> String {
        let Self { iprev, spf, signatures, dmarc } = self;
        format!("{}; {}; {}; {}", spf.results(), signatures.results(), dmarc.results(), iprev.results())
    }

    /// The same for people, one line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let Self { iprev, spf, signatures, dmarc } = self;
        let name = if iprev.name.is_empty() { "no name" } else { &iprev.name };
        let mut lines = vec![format!("iprev={}: {name}", iprev.result), format!("spf={}: {}", spf.result, spf.why)];
        lines.extend(signatures.results().split("; ").map(str::to_owned));
        lines.push(format!("dmarc={}: {}", dmarc.result, dmarc.why));
        lines
    }
}

impl Mail {
    /// Finds out what can be about a stranger's message, and takes what claims to be our own results out of it, as out of
    /// what users send.
    pub(crate) async fn check(&self, envelope: &Envelope, mut body: Intake) -> Result<(Intake, Option<Checked>)> {
        // Those whom we trust may have checked it in our name.
        if envelope.client.is_none() && envelope.source.account().is_none() {
            return Ok((body, None));
        }
        let mut checked = None;
        if let (Some(checks), Some(client)) = (&self.shared.checks, &envelope.client) {
            let (back, found) = self.find_out(checks, client, envelope, body).await?;
            (body, checked) = (back, Some(found));
        }
        let (header, _) = parted(&body);
        if let Some(kept) = results::without(header, &self.shared.hostname) {
            let header_size = header.len();
            body.cut(header_size);
            body.prepend(&kept);
        }
        Ok((body, checked))
    }

    async fn find_out(
        &self,
        checks: &Checks,
        client: &Client,
        envelope: &Envelope,
        body: Intake,
    ) -> Result<(Intake, Checked)> {
        let now = self.now();
        let begun = Instant::now();
        let deadline = begun + checks.patience.time(begun);
        let (ran_out, waited) = (AtomicBool::new(false), AtomicBool::new(false));
        let resolver = Until { resolver: &*checks.resolver, deadline, ran_out, waited };
        let header = parted(&body).0;
        let signed = Signed::of(header, b"");
        let names = signed.key_names();
        let path = envelope.sender.as_ref().map_or(client.helo.as_str(), |sender| sender.domain().as_str());
        let dmarc = dmarc::Check::new(header, signed.domains().chain([path]));
        drop(signed);
        let sender = envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        let request = spf::Request {
            client: client.address,
            helo: &client.helo,
            sender: &sender,
            receiver: &self.shared.hostname,
            at: now,
        };
        let spf = spf::Check::new(&request).run(&resolver);
        let iprev = iprev::check(client.address, &resolver);
        // All at once: who answers slowly takes no time from the others.
        let (iprev, spf, answers, dmarc) = tokio::join!(iprev, spf, all_texts(&resolver, &names), dmarc.run(&resolver));
        let keys: Keys = names.into_iter().zip(answers).collect();
        let (body, signatures) = verify(body, keys, now).await?;
        let [chance] = random::<1>()?;
        let dmarc = dmarc.verdict(&spf, &signatures, chance % 100);
        checks.patience.learn(resolver.fared(), Instant::now());
        Ok((body, Checked { iprev, spf, signatures, dmarc }))
    }
}

/// Checks signatures: here, or for large messages away from the threads that serve sessions.
async fn verify(body: Intake, keys: Keys, at: DateTime<Utc>) -> Result<(Intake, Verification)> {
    let judge = move |body: &Intake| {
        let (header, text) = parted(body);
        Signed::of(header, text).verify(&keys, at)
    };
    if body.len() < LARGE {
        let found = judge(&body);
        return Ok((body, found));
    }
    let task = tokio::task::spawn_blocking(move || {
        let found = judge(&body);
        (body, found)
    });
    task.await.map_err(|_| Error::Internal)
}

/// A message's header, with its blank line, and what follows.
fn parted(body: &Intake) -> (&[u8], &[u8]) {
    let octets = body.octets();
    octets.split_at(posthorn_mime::header_end(octets).unwrap_or(octets.len()))
}

/// A resolver that answers until a moment, and then that it cannot be told.
struct Until<'r> {
    resolver: &'r dyn Resolver,
    deadline: Instant,
    /// Somebody was told so.
    ran_out: AtomicBool,
    /// Somebody had an answer that was not there at once.
    waited: AtomicBool,
}

impl Until<'_> {
    fn bounded<'a, T: Send + 'a>(&'a self, mut asked: Asked<'a, T>) -> Asked<'a, T> {
        Box::pin(async move {
            // What is remembered is there at once.
            if let Poll::Ready(known) = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await {
                return known;
            }
            let begun = Instant::now();
            match timeout_at(self.deadline, asked).await {
                Ok(Found::Later(why)) => {
                    // That it has failed is an answer, that nobody said anything is none.
                    let flag = if begun.elapsed() < SILENCE { &self.waited } else { &self.ran_out };
                    flag.store(true, Ordering::Relaxed);
                    Found::Later(why)
                }
                Ok(found) => {
                    self.waited.store(true, Ordering::Relaxed);
                    found
                }
                Err(_) => {
                    self.ran_out.store(true, Ordering::Relaxed);
                    Found::Later("the time for questions is over".to_owned())
                }
            }
        })
    }

    fn fared(&self) -> Fared {
        match (self.ran_out.load(Ordering::Relaxed), self.waited.load(Ordering::Relaxed)) {
            // Somebody answers: it is a sender's own servers that do not, and others need not hurry for that.
            (_, true) => Fared::Answered,
            (true, false) => Fared::Unanswered,
            (false, false) => Fared::Unasked,
        }
    }
}

impl Resolver for Until<'_> {
    fn addresses<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<IpAddr>> {
        self.bounded(self.resolver.addresses(name))
    }

    fn addresses_of<'a>(&'a self, name: &'a str, v6: bool) -> Asked<'a, Vec<IpAddr>> {
        self.bounded(self.resolver.addresses_of(name, v6))
    }

    fn texts<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>> {
        self.bounded(self.resolver.texts(name))
    }

    fn exchangers<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>> {
        self.bounded(self.resolver.exchangers(name))
    }

    fn names(&self, address: IpAddr) -> Asked<'_, Vec<String>> {
        self.bounded(self.resolver.names(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at once, later, or never, as the name says.
    struct Scripted;

    impl Resolver for Scripted {
        fn addresses<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<IpAddr>> {
            Box::pin(async { Found::Nothing })
        }

        fn addresses_of<'a>(&'a self, _: &'a str, _: bool) -> Asked<'a, Vec<IpAddr>> {
            Box::pin(async { Found::Nothing })
        }

        fn texts<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>> {
            Box::pin(async move {
                match name {
                    "silent.test" => std::future::pending().await,
                    "slow.test" => tokio::task::yield_now().await,
                    _ => {}
                }
                Found::Nothing
            })
        }

        fn exchangers<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<String>> {
            Box::pin(async { Found::Nothing })
        }

        fn names(&self, _: IpAddr) -> Asked<'_, Vec<String>> {
            Box::pin(async { Found::Nothing })
        }
    }

    #[tokio::test]
    async fn one_who_is_silent_says_nothing_of_a_resolver_that_answers_others() {
        for (names, fared) in [
            (&["known.test"][..], Fared::Unasked),
            (&["slow.test"], Fared::Answered),
            (&["silent.test"], Fared::Unanswered),
            (&["silent.test", "known.test"], Fared::Unanswered),
            (&["silent.test", "slow.test"], Fared::Answered),
        ] {
            let resolver = Until {
                resolver: &Scripted,
                deadline: Instant::now() + Duration::from_millis(5),
                ran_out: AtomicBool::new(false),
                waited: AtomicBool::new(false),
            };
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let _answers = all_texts(&resolver, &names).await;
            assert_eq!(resolver.fared(), fared, "{names:?}");
        }
    }
}
