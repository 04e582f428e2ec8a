//! Logging in at a smart host.

use std::path::Path;

use posthorn_net::{Called, Caller};
use posthorn_sasl::client::{Binding, Scram, plain};
use posthorn_sasl::{NONCE_LENGTH, Secret};
use posthorn_smtp::{Client, ClientEvent, Reply};

use crate::conversation;

/// Logs in with the best mechanism that both sides know: SCRAM-SHA-256, or under TLS also PLAIN and LOGIN. The password
/// is the first line of the file, read each time, so that a new one holds at once.
///
/// # Errors
/// A reply that says why not.
pub(crate) async fn log_in(caller: &mut Caller<Client>, user: &str, file: Option<&Path>) -> Result<(), Reply> {
    let password = password(file).await.map_err(|why| Reply::new(451, 7, 0, why))?;
    let offers = |caller: &mut Caller<Client>, name: &str| {
        caller.machine().capabilities().auth.iter().any(|mechanism| mechanism == name)
    };
    let secured = caller.machine().is_secured();
    let mut dialogue = if offers(caller, "SCRAM-SHA-256") {
        let nonce = nonce().ok_or_else(|| Reply::new(451, 3, 0, "no randomness from the operating system"))?;
        let scram = Scram::new(user, password, Binding::Unsupported, nonce);
        let scram = scram.map_err(|error| Reply::new(451, 7, 0, error.to_string()))?;
        caller.machine().authenticate("SCRAM-SHA-256", Some(&scram.first()));
        Dialogue::Scram { scram: Some(Box::new(scram)), answered: false, proved: false }
    } else if !secured {
        return Err(Reply::new(451, 7, 11, "the server wants a password in plain text, and there is no TLS"));
    } else if offers(caller, "PLAIN") {
        caller.machine().authenticate("PLAIN", Some(&plain(user, &password)));
        Dialogue::Done
    } else if offers(caller, "LOGIN") {
        caller.machine().authenticate("LOGIN", None);
        Dialogue::Login(vec![password.expose().as_bytes().to_vec(), user.as_bytes().to_vec()])
    } else {
        return Err(Reply::new(451, 7, 4, "the server offers no login that we know"));
    };
    let mut outcome = None;
    let mut failed = None;
    loop {
        match caller.next().await {
            Called::Event(ClientEvent::AuthChallenge(challenge)) => match dialogue.answer(&challenge) {
                Some(answer) => caller.machine().auth_response(&answer),
                None => caller.machine().auth_cancel(),
            },
            Called::Event(ClientEvent::Authenticated(reply)) => outcome = Some(reply),
            Called::Event(ClientEvent::Ready) => {
                return match outcome {
                    Some(reply) if reply.code == 235 && dialogue.is_satisfied() => Ok(()),
                    Some(reply) if reply.code == 235 => {
                        Err(Reply::new(451, 7, 8, "the server did not prove that it knows the password"))
                    }
                    Some(reply) => Err(reply),
                    None => Err(Reply::new(451, 5, 0, "the login had no end")),
                };
            }
            Called::Event(ClientEvent::Failed(failure)) => failed = Some(conversation::words(&failure)),
            Called::Event(_) => {}
            Called::Closed(parted) => return Err(failed.unwrap_or_else(|| conversation::lost(&parted))),
        }
    }
}

/// What a mechanism says next.
enum Dialogue {
    Done,
    /// What is still to be said, last first.
    Login(Vec<Vec<u8>>),
    Scram {
        scram: Option<Box<Scram>>,
        answered: bool,
        /// The server has shown that it knows the keys.
        proved: bool,
    },
}

impl Dialogue {
    fn answer(&mut self, challenge: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Done => None,
            Self::Login(left) => left.pop(),
            Self::Scram { scram, answered, .. } if !*answered => {
                *answered = true;
                scram.as_mut()?.respond(challenge).ok()
            }
            Self::Scram { scram, proved, .. } => {
                scram.take()?.confirm(challenge).ok()?;
                *proved = true;
                Some(Vec::new())
            }
        }
    }

    /// Whether the server has shown what it owes.
    fn is_satisfied(&self) -> bool {
        match self {
            Self::Done | Self::Login(_) => true,
            Self::Scram { proved, .. } => *proved,
        }
    }
}

async fn password(file: Option<&Path>) -> Result<Secret, String> {
    let Some(file) = file else { return Err("the route names a user, but no password".to_owned()) };
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| format!("the password file of the route cannot be read: {}", error.kind()))?;
    Ok(Secret::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn nonce() -> Option<[u8; NONCE_LENGTH]> {
    let mut octets = [0; NONCE_LENGTH];
    aws_lc_rs::rand::fill(&mut octets).ok()?;
    Some(octets)
}
