//! The server's side of an authentication, whichever mechanism it runs.

use crate::{Mechanism, ScramKeys, Secret, login::Login, plain, scram::Scram};

/// The longest message a client may send, in octets after base64 decoding.
pub const MESSAGE_LIMIT: usize = 4096;

/// How many random octets an exchange wants for its nonce.
pub const NONCE_LENGTH: usize = 18;

/// What the session around an exchange knows.
#[derive(Clone, Debug)]
pub struct ServerContext {
    /// The `tls-exporter` value (RFC 9266) of the TLS session, 32 octets; `None` without TLS or without an exporter.
    pub channel_binding: Option<Vec<u8>>,
    /// Whether a `-PLUS` mechanism was offered to this client: unmasks an attacker who removed it (RFC 5802 §6).
    pub plus_offered: bool,
    /// Fresh octets from a cryptographic random source; used once.
    pub nonce: [u8; NONCE_LENGTH],
}

/// What an exchange wants next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Send this (possibly empty) and pass the client's response to [`Exchange::step`].
    Challenge(Vec<u8>),
    /// The client knows the password. When `final_message` is not empty it belongs to the client: as additional data
    /// with success where the protocol has room for it, else as one more challenge whose response is empty and
    /// needs no further step (RFC 4422 §5; so in SMTP and IMAP).
    Done {
        /// The prepared name that logged in.
        username: String,
        /// The identity that the client wants to act as, where it names one.
        authorization: Option<String>,
        /// The server's proof that it knows the keys.
        final_message: Vec<u8>,
    },
    /// The exchange is over without a login. The reason is for the log: clients are told the same in every case.
    Failed(Failure),
    /// SCRAM: look the keys up and call [`Exchange::with_keys`]; [`ScramKeys::decoy`] stands in for an account that
    /// does not exist or has none.
    NeedCredentials {
        /// The prepared name, case as sent.
        username: String,
    },
    /// PLAIN and LOGIN: compare the password with the stored hash ([`password::verify`](crate::password::verify));
    /// the exchange itself is over.
    Verify {
        /// The identity that the client wants to act as, where it names one.
        authorization: Option<String>,
        /// The prepared name, case as sent.
        username: String,
        /// The password, as the client sent it.
        password: Secret,
    },
}

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The client's channel binding is not this session's: somebody sits between two TLS sessions.
    #[error("channel binding differs from the session's")]
    BindingMismatch,
    /// A `-PLUS` mechanism without a session to bind to, or with another binding than `tls-exporter`.
    #[error("channel binding is not available")]
    BindingUnavailable,
    /// The client saw no `-PLUS` mechanism although one was offered (RFC 5802 §6).
    #[error("channel binding was hidden from the client")]
    Downgrade,
    /// The message breaks the mechanism's grammar, or a name is not one.
    #[error("malformed message")]
    Malformed,
    /// A step that the exchange is not at: its end was reached, or keys came unasked.
    #[error("message out of order")]
    OutOfOrder,
    /// A message beyond [`MESSAGE_LIMIT`].
    #[error("message is too long")]
    TooLong,
    /// The proof is not that of the stored keys; so it ends for unknown users, too.
    #[error("wrong password or unknown user")]
    WrongProof,
}

/// One authentication, from the client's choice of a mechanism to its end.
#[derive(Debug)]
pub struct Exchange {
    state: State,
}

#[derive(Debug)]
enum State {
    Ended,
    Login(Login),
    Plain { asked: bool },
    Scram(Box<Scram>),
}

impl Exchange {
    /// Begins an exchange; what the client sent with its choice goes to [`step`](Self::step), `None` included.
    #[must_use]
    pub fn new(mechanism: Mechanism, context: ServerContext) -> Self {
        let state = match mechanism {
            Mechanism::Login => State::Login(Login::new()),
            Mechanism::Plain => State::Plain { asked: false },
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                State::Scram(Box::new(Scram::new(mechanism.binds_channel(), context)))
            }
        };
        Self { state }
    }

    /// Takes the client's next message, decoded from base64. `None` says that there was no initial response
    /// (RFC 4422 §4); an empty one (`=` on the wire) is `Some(b"")`.
    ///
    /// [`Step::Done`], [`Step::Failed`] and [`Step::Verify`] are the last: what follows is [`Failure::OutOfOrder`].
    pub fn step(&mut self, message: Option<&[u8]>) -> Step {
        if message.is_some_and(|message| message.len() > MESSAGE_LIMIT) {
            self.state = State::Ended;
            return Step::Failed(Failure::TooLong);
        }
        let result = match (&mut self.state, message) {
            (State::Ended, _) => Err(Failure::OutOfOrder),
            (State::Login(login), message) => login.step(message),
            (State::Plain { asked: false }, None) => {
                self.state = State::Plain { asked: true };
                return Step::Challenge(Vec::new());
            }
            (State::Plain { .. }, Some(message)) => plain::parse(message),
            (State::Plain { asked: true }, None) => Err(Failure::OutOfOrder),
            (State::Scram(scram), message) => scram.step(message),
        };
        self.settle(result)
    }

    /// Answers [`Step::NeedCredentials`]; goes on with the challenge that names salt and iterations.
    pub fn with_keys(&mut self, keys: ScramKeys) -> Step {
        let result = match &mut self.state {
            State::Scram(scram) => scram.with_keys(keys),
            _ => Err(Failure::OutOfOrder),
        };
        self.settle(result)
    }

    fn settle(&mut self, result: Result<Step, Failure>) -> Step {
        let step = result.unwrap_or_else(Step::Failed);
        if matches!(step, Step::Done { .. } | Step::Failed(_) | Step::Verify { .. }) {
            self.state = State::Ended;
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{self, Binding};

    const EXPORTER: [u8; 32] = [3; 32];

    fn context() -> ServerContext {
        ServerContext { channel_binding: Some(EXPORTER.to_vec()), plus_offered: true, nonce: [9; NONCE_LENGTH] }
    }

    fn keys(password: &str) -> ScramKeys {
        ScramKeys::derive(&Secret::from(password), &[5; 16], crate::DEFAULT_ITERATIONS)
    }

    /// Runs SCRAM between client and server up to the client's proof.
    fn converse(binding: Binding<'_>, password: &str, keys: ScramKeys) -> (client::Scram, Step) {
        let mut client =
            client::Scram::new("b,=b@example.org", Secret::from(password), binding, [1; NONCE_LENGTH]).expect("a name");
        let mut server = Exchange::new(client.mechanism(), context());
        assert_eq!(server.step(None), Step::Challenge(Vec::new()));
        let step = server.step(Some(&client.first()));
        if step != (Step::NeedCredentials { username: "b,=b@example.org".to_owned() }) {
            return (client, step);
        }
        let Step::Challenge(first) = server.with_keys(keys) else { panic!("no challenge") };
        let last = client.respond(&first).expect("well formed");
        (client, server.step(Some(&last)))
    }

    #[test]
    fn scram_ends_well_with_and_without_binding() {
        for binding in [Binding::Unsupported, Binding::Exporter(&EXPORTER)] {
            let (client, step) = converse(binding, "s\u{aa}me", keys("same"));
            let Step::Done { username, authorization: None, final_message } = step else { panic!("{step:?}") };
            assert_eq!(username, "b,=b@example.org");
            assert_eq!(client.confirm(&final_message), Ok(()));
        }
    }

    #[test]
    fn scram_fails_alike_for_wrong_passwords_and_unknown_users() {
        let (_, wrong) = converse(Binding::Unsupported, "wrong", keys("right"));
        let (_, unknown) = converse(Binding::Unsupported, "right", ScramKeys::decoy("b,=b@example.org", b"secret"));
        assert_eq!(wrong, Step::Failed(Failure::WrongProof));
        assert_eq!(unknown, wrong);
    }

    #[test]
    fn scram_notices_who_sits_between() {
        let (_, step) = converse(Binding::Exporter(&[4; 32]), "same", keys("same"));
        assert_eq!(step, Step::Failed(Failure::BindingMismatch));
        let (_, step) = converse(Binding::NotOffered, "same", keys("same"));
        assert_eq!(step, Step::Failed(Failure::Downgrade));
    }

    #[test]
    fn plain_works_with_and_without_initial_response() {
        let password = Secret::from("secret");
        let message = client::plain("bob", &password);
        let verify = Step::Verify { authorization: None, username: "bob".to_owned(), password };
        assert_eq!(Exchange::new(Mechanism::Plain, context()).step(Some(&message)), verify);
        let mut asked = Exchange::new(Mechanism::Plain, context());
        assert_eq!(asked.step(None), Step::Challenge(Vec::new()));
        assert_eq!(asked.step(Some(&message)), verify);
        assert_eq!(asked.step(Some(&message)), Step::Failed(Failure::OutOfOrder));
    }

    #[test]
    fn messages_are_limited() {
        let mut message = client::plain("bob", &Secret::from("x"));
        message.resize(MESSAGE_LIMIT, b'x');
        for mechanism in Mechanism::ALL {
            let mut longer = message.clone();
            longer.push(b'x');
            assert_eq!(Exchange::new(mechanism, context()).step(Some(&longer)), Step::Failed(Failure::TooLong));
        }
        let step = Exchange::new(Mechanism::Plain, context()).step(Some(&message));
        assert!(matches!(step, Step::Verify { .. }), "{step:?}");
    }

    #[test]
    fn nothing_follows_the_end() {
        for mechanism in Mechanism::ALL {
            let mut exchange = Exchange::new(mechanism, context());
            assert_eq!(exchange.with_keys(keys("x")), Step::Failed(Failure::OutOfOrder));
            assert_eq!(exchange.step(Some(b"\0u\0p")), Step::Failed(Failure::OutOfOrder), "{mechanism}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let step = Exchange::new(Mechanism::Plain, context()).step(Some(b"\0bob\0hunter2"));
        assert!(!format!("{step:?}").contains("hunter2"));
        assert!(!format!("{:?}", keys("hunter2")).contains("server_key"));
    }
}
