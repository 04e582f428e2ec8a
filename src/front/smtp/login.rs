//! AUTH.

use metrics::counter;
use posthorn_mail::authenticate::{Dialogue, Origin, Outcome};
use posthorn_model::{EnhancedCode, Refusal};
use posthorn_sasl::Mechanism;

use super::Session;

impl Session {
    pub(super) async fn begin_login(&mut self, mechanism: &str, initial: Option<Vec<u8>>) {
        let Some(mechanism) = Mechanism::parse(mechanism) else {
            return self.server.auth_failure(Refusal::new(504, EnhancedCode(5, 5, 4), "unknown mechanism"));
        };
        self.opinion.mechanism = mechanism.name();
        let peer = self.connection.peer();
        let binding = peer.tls.as_ref().and_then(|tls| tls.channel_binding.as_deref());
        let origin = Origin {
            address: peer.address,
            protocol: "smtp",
            channel_binding: binding,
            plus_offered: binding.is_some()
                && self.server.options().auth.iter().any(|name| name.as_str() == Mechanism::ScramSha256Plus.name()),
        };
        match Dialogue::new(mechanism, origin) {
            Ok(dialogue) => self.dialogue = Some(dialogue),
            Err(error) => {
                let refusal = self.fault(&error);
                return self.server.auth_failure(refusal);
            }
        }
        self.step_login(initial.as_deref()).await;
    }

    pub(super) async fn step_login(&mut self, message: Option<&[u8]>) {
        let Some(mut dialogue) = self.dialogue.take() else {
            return self.server.auth_failure(Refusal::new(503, EnhancedCode(5, 5, 1), "no login in progress"));
        };
        match dialogue.step(&self.mail, message).await {
            Ok(Outcome::Challenge(challenge)) => {
                self.dialogue = Some(dialogue);
                self.server.auth_challenge(&challenge);
            }
            Ok(Outcome::Welcome(login)) => {
                counter!("posthorn_logins_total", "protocol" => "smtp", "result" => "welcome").increment(1);
                tracing::info!(session.id = %self.connection.id(), peer.ip = %self.connection.peer().address,
                    account.id = %login.account, login = %login.address, "logged in");
                self.login = Some(login);
                self.server.auth_success(None);
            }
            Ok(Outcome::Refused) => {
                counter!("posthorn_logins_total", "protocol" => "smtp", "result" => "refused").increment(1);
                self.server.auth_failure(Refusal::new(
                    535,
                    EnhancedCode(5, 7, 8),
                    "authentication credentials invalid",
                ));
            }
            Ok(Outcome::Wait) => {
                counter!("posthorn_logins_total", "protocol" => "smtp", "result" => "must wait").increment(1);
                self.server.auth_failure(Refusal::new(
                    454,
                    EnhancedCode(4, 7, 0),
                    "too many failed logins, try again later",
                ));
            }
            Err(error) => {
                let refusal = self.fault(&error);
                self.server.auth_failure(refusal);
            }
        }
    }
}
