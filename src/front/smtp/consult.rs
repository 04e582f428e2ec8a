//! Policy servers of others, such as postgrey: asked over connections that stay open, within a bounded time.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use posthorn_config::{PolicyService, ServiceAddress};
use posthorn_model::policy::{Action, Inquiry};
use posthorn_net::egress::{DialOptions, Target, TlsClient, TlsDemand, TlsTerms, dial};
use posthorn_net::{Called, Caller};
use posthorn_policyd::{Client, ClientEvent};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

/// One policy server of somebody else.
pub(crate) struct Consult {
    settings: PolicyService,
    target: Target,
    tls: TlsClient,
    places: Semaphore,
    /// Connections that nobody uses, the one used last behind.
    kept: Mutex<VecDeque<Kept>>,
    trouble: Mutex<Trouble>,
}

/// A connection between two questions.
struct Kept {
    caller: Caller<Client>,
    opened: Instant,
    used: Instant,
}

/// What is known of a server that does not answer.
#[derive(Default)]
struct Trouble {
    failures: u32,
    /// Not asked before then.
    rests_until: Option<Instant>,
}

/// After so many failures in a row a server is left alone for a while: clients need not wait for what will not come.
const FAILURES: u32 = 3;
const REST: Duration = Duration::from_secs(10);
/// A server that closed without an answer was in trouble a moment ago.
const PAUSE: Duration = Duration::from_secs(1);

/// What one connection came to.
enum Answer {
    Action(Action),
    /// It was closed without an answer.
    Closed(String),
    Failed(String),
}

impl Consult {
    pub(crate) fn new(settings: PolicyService, tls: TlsClient) -> Self {
        let target = match &settings.address {
            ServiceAddress::Tcp(address) => Target::Tcp(vec![*address]),
            ServiceAddress::Unix(path) => Target::Unix(path.clone()),
        };
        let places = Semaphore::new(settings.connections.max(1) as usize);
        Self { settings, target, tls, places, kept: Mutex::default(), trouble: Mutex::default() }
    }

    /// What the configuration says of it.
    pub(crate) fn settings(&self) -> &PolicyService {
        &self.settings
    }

    /// Its answer, or in words why there is none. Ends within the configured time.
    pub(crate) async fn ask(&self, inquiry: &Inquiry) -> Result<Action, String> {
        if self.trouble.lock().rests_until.is_some_and(|until| Instant::now() < until) {
            return Err("not asked: it did not answer a moment ago".to_owned());
        }
        let answer = timeout(self.settings.time.duration(), self.ask_patiently(inquiry)).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let mut trouble = self.trouble.lock();
        match &answer {
            Ok(_) => *trouble = Trouble::default(),
            Err(_) => {
                trouble.failures = trouble.failures.saturating_add(1);
                if trouble.failures >= FAILURES {
                    trouble.rests_until = Some(Instant::now() + REST);
                }
            }
        }
        answer
    }

    async fn ask_patiently(&self, inquiry: &Inquiry) -> Result<Action, String> {
        let _place = self.places.acquire().await.map_err(|_| "the server stops".to_owned())?;
        // A connection that was kept may have been closed long ago, which says nothing.
        while let Some(kept) = self.take_kept() {
            match self.ask_over(kept, inquiry).await {
                Answer::Action(action) => return Ok(action),
                Answer::Failed(why) => return Err(why),
                Answer::Closed(_) => {}
            }
        }
        let first = match self.ask_anew(inquiry).await {
            Answer::Action(action) => return Ok(action),
            Answer::Failed(why) => return Err(why),
            Answer::Closed(why) => why,
        };
        tracing::debug!(service = %self.settings.name, why = %first, "asking a second time");
        sleep(PAUSE).await;
        match self.ask_anew(inquiry).await {
            Answer::Action(action) => Ok(action),
            Answer::Failed(why) | Answer::Closed(why) => Err(why),
        }
    }

    fn take_kept(&self) -> Option<Kept> {
        let now = Instant::now();
        let fresh = |since: Instant, most: Option<Duration>| most.is_none_or(|most| now - since < most);
        let mut kept = self.kept.lock();
        kept.retain(|one| {
            fresh(one.used, self.settings.idle_time.limit()) && fresh(one.opened, self.settings.total_time.limit())
        });
        kept.pop_back()
    }

    async fn ask_anew(&self, inquiry: &Inquiry) -> Answer {
        let options = DialOptions { connect_time: self.settings.time.duration(), ..DialOptions::default() };
        let link = match dial(&self.target, &options).await {
            Ok(link) => link,
            Err(failure) => return Answer::Closed(failure.to_string()),
        };
        let now = Instant::now();
        let machine = Client::new(self.settings.time.duration(), now.into_std());
        let terms = TlsTerms {
            demand: TlsDemand::Opportunistic,
            server_name: String::new(),
            time: self.settings.time.duration(),
        };
        let caller = Caller::new(machine, link, self.tls.clone(), terms).with_write_time(self.settings.time.duration());
        self.ask_over(Kept { caller, opened: now, used: now }, inquiry).await
    }

    async fn ask_over(&self, mut kept: Kept, inquiry: &Inquiry) -> Answer {
        kept.caller.machine().ask(inquiry);
        match kept.caller.next().await {
            Called::Event(ClientEvent::Answered(action)) => {
                kept.used = Instant::now();
                self.kept.lock().push_back(kept);
                Answer::Action(action)
            }
            Called::Event(ClientEvent::Failed(failure)) => Answer::Failed(failure.to_string()),
            Called::Closed(parted) => Answer::Closed(parted.to_string()),
        }
    }
}
