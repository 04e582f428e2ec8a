//! LOGIN: two questions, two answers (draft-murchison-sasl-login, never an RFC).

use crate::{Failure, Secret, Step, preparation};

/// Where the questions are.
#[derive(Debug)]
pub(crate) enum Login {
    Fresh,
    AskedUsername,
    AskedPassword { username: String },
}

impl Login {
    pub(crate) fn new() -> Self {
        Self::Fresh
    }

    /// An initial response is the username, as clients that send one mean it.
    pub(crate) fn step(&mut self, message: Option<&[u8]>) -> Result<Step, Failure> {
        match (&mut *self, message) {
            (Self::Fresh, None) => {
                *self = Self::AskedUsername;
                Ok(Step::Challenge(b"Username:".to_vec()))
            }
            (Self::Fresh | Self::AskedUsername, Some(message)) => {
                let username = preparation::name(text(message)?).ok_or(Failure::Malformed)?;
                *self = Self::AskedPassword { username };
                Ok(Step::Challenge(b"Password:".to_vec()))
            }
            (Self::AskedPassword { username }, Some(message)) => match text(message)? {
                "" => Err(Failure::Malformed),
                password => Ok(Step::Verify {
                    authorization: None,
                    username: std::mem::take(username),
                    password: Secret::from(password),
                }),
            },
            (Self::AskedUsername | Self::AskedPassword { .. }, None) => Err(Failure::OutOfOrder),
        }
    }
}

/// NUL would be cut off by other verifiers of the same hash, so it is no part of a name or password.
fn text(message: &[u8]) -> Result<&str, Failure> {
    let text = std::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
    if text.contains('\0') { Err(Failure::Malformed) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(username: &str, password: &str) -> Result<Step, Failure> {
        Ok(Step::Verify { authorization: None, username: username.to_owned(), password: Secret::from(password) })
    }

    #[test]
    fn asks_twice() {
        let mut login = Login::new();
        assert_eq!(login.step(None), Ok(Step::Challenge(b"Username:".to_vec())));
        assert_eq!(login.step(Some(b"Bob@example.org")), Ok(Step::Challenge(b"Password:".to_vec())));
        assert_eq!(login.step(Some(b"secret")), verify("Bob@example.org", "secret"));
    }

    #[test]
    fn an_initial_response_is_the_username() {
        let mut login = Login::new();
        assert_eq!(login.step(Some(b"bob")), Ok(Step::Challenge(b"Password:".to_vec())));
        assert_eq!(login.step(Some(b"secret")), verify("bob", "secret"));
    }

    #[test]
    fn empty_and_unreadable_answers_are_refused() {
        for message in [&b""[..], b"a\0b", b"\xff", b"\x07"] {
            assert_eq!(Login::new().step(Some(message)), Err(Failure::Malformed), "{message:?}");
        }
        for message in [&b""[..], b"a\0b", b"\xff"] {
            let mut login = Login::new();
            login.step(Some(b"bob")).expect("a name");
            assert_eq!(login.step(Some(message)), Err(Failure::Malformed), "{message:?}");
        }
        let mut login = Login::new();
        login.step(None).expect("asks");
        assert_eq!(login.step(None), Err(Failure::OutOfOrder));
    }
}
