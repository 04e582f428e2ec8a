//! LOGIN and AUTHENTICATE, and how many sessions an account may have.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::counter;
use parking_lot::Mutex;
use posthorn_imap::{Completion, ResponseCode, Secret};
use posthorn_mail::authenticate::{Dialogue, Login, Origin, Outcome};
use posthorn_model::AccountId;
use posthorn_sasl::Mechanism;

use super::{Answer, Session, Stop, User};

/// Sessions of each account.
#[derive(Clone)]
pub(super) struct Seats {
    taken: Arc<Mutex<HashMap<AccountId, u32>>>,
    /// At most so many of one account; 0 is no limit.
    limit: u32,
}

/// One session's place; given back when dropped.
pub(super) struct Seat {
    seats: Seats,
    account: AccountId,
}

impl Seats {
    pub(super) fn new(limit: u32) -> Self {
        Self { taken: Arc::default(), limit }
    }

    fn take(&self, account: AccountId) -> Option<Seat> {
        let mut taken = self.taken.lock();
        let count = taken.entry(account).or_default();
        if self.limit > 0 && *count >= self.limit {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Seat { seats: self.clone(), account })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        if let Some(count) = taken.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.account);
            }
        }
    }
}

impl Session {
    pub(super) async fn login(&mut self, user: String, password: &Secret) -> Answer {
        let Ok(password) = std::str::from_utf8(password.expose()) else { return Ok(refused()) };
        let secret = posthorn_sasl::Secret::new(password.to_owned());
        let outcome = self.mail.login(self.connection.peer().address, "imap", &user, secret).await?;
        Ok(self.settle(outcome).await?.unwrap_or_else(refused))
    }

    /// Begins AUTHENTICATE; `None` when a challenge went out.
    pub(super) async fn begin_login(
        &mut self,
        mechanism: &str,
        initial: Option<Secret>,
    ) -> Result<Option<Completion>, Stop> {
        let Some(mechanism) = Mechanism::parse(mechanism) else {
            return Ok(Some(Completion::no("Unknown mechanism").with(ResponseCode::Cannot)));
        };
        let peer = self.connection.peer();
        let binding = peer.tls.as_ref().and_then(|tls| tls.channel_binding.as_deref());
        let plus = posthorn_config::Mechanism::ScramSha256Plus;
        let origin = Origin {
            address: peer.address,
            protocol: "imap",
            channel_binding: binding,
            plus_offered: binding.is_some()
                && self.settings.mechanisms.contains(&plus)
                && self.connection.options().offers_mechanism(plus),
        };
        self.dialogue = Some(Dialogue::new(mechanism, origin)?);
        self.step_login(initial.as_ref().map(Secret::expose)).await
    }

    pub(super) async fn step_login(&mut self, message: Option<&[u8]>) -> Result<Option<Completion>, Stop> {
        let Some(mut dialogue) = self.dialogue.take() else {
            return Ok(Some(Completion::bad("No login in progress")));
        };
        let outcome = dialogue.step(&self.mail, message).await?;
        if matches!(outcome, Outcome::Challenge(_)) {
            self.dialogue = Some(dialogue);
        }
        self.settle(outcome).await
    }

    async fn settle(&mut self, outcome: Outcome) -> Result<Option<Completion>, Stop> {
        let result = match &outcome {
            Outcome::Challenge(_) => None,
            Outcome::Refused => Some("refused"),
            Outcome::Wait => Some("must wait"),
            Outcome::Welcome(_) => Some("welcome"),
        };
        if let Some(result) = result {
            counter!("posthorn_logins_total", "protocol" => "imap", "result" => result).increment(1);
        }
        Ok(match outcome {
            Outcome::Challenge(challenge) => {
                self.server.challenge(&challenge);
                None
            }
            Outcome::Refused => Some(refused()),
            Outcome::Wait => {
                Some(Completion::no("Too many failed logins, try again later").with(ResponseCode::Unavailable))
            }
            Outcome::Welcome(login) => Some(self.welcome(login).await?),
        })
    }

    async fn welcome(&mut self, login: Login) -> Answer {
        let Some(seat) = self.seats.take(login.account) else {
            return Ok(Completion::no("Too many sessions of this account").with(ResponseCode::Limit));
        };
        let account = self.mail.look_at(login.account).await?;
        let peer = self.connection.peer();
        tracing::info!(
            target: "posthorn::trace",
            { session.id = %self.connection.id(),
            listener = %peer.listener,
            peer.ip = %peer.address,
            proxied_by = peer.proxied_by.map(tracing::field::display),
            tls.version = peer.tls.as_ref().map(|tls| tls.version),
            tls.client_certificate = peer.tls.as_ref().and_then(|tls| tls.client_certificate.as_deref()),
            context = ?self.connection.options().context,
            account.id = %login.account,
            login = %login.address },
            "logged in"
        );
        self.user = Some(Box::new(User { login, account, selected: None, _seat: seat }));
        self.server.authenticated();
        Ok(Completion::ok("Logged in"))
    }
}

fn refused() -> Completion {
    Completion::no("Authentication failed").with(ResponseCode::AuthenticationFailed)
}
