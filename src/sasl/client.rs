//! The client's side: how this server logs in elsewhere, and how tests log in here.

use std::num::NonZeroU32;

use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;

use crate::{
    Mechanism, NONCE_LENGTH, Secret,
    keys::{hmac_sha256, salted_password, sha256},
    preparation,
};

/// The most iterations that a server may ask of us; more would be an attack on our time.
const ITERATION_LIMIT: u32 = 1_000_000;

/// Why a client gives up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// A message that breaks the grammar, comes out of order or asks for an absurd effort.
    #[error("the server's message is malformed")]
    Malformed,
    /// A username that SASLprep prohibits.
    #[error("the username is not usable")]
    Name,
    /// The server says no (`e=`), in its own words at most.
    #[error("the server refuses the login")]
    Refused,
    /// The server does not know the keys: it is not the one that stored them.
    #[error("the server's signature is wrong")]
    WrongServer,
}

/// How a SCRAM client deals with channel binding (the `gs2-cbind-flag` of RFC 5802 §7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Binding<'a> {
    /// `n`: this client cannot bind.
    Unsupported,
    /// `y`: this client can bind but saw no `-PLUS` mechanism.
    NotOffered,
    /// `p=tls-exporter` with the session's value: SCRAM-SHA-256-PLUS.
    Exporter(&'a [u8]),
}

/// PLAIN's only message (RFC 4616); acts as the user itself.
#[must_use]
pub fn plain(username: &str, password: &Secret) -> Vec<u8> {
    [b"\0", username.as_bytes(), b"\0", password.expose().as_bytes()].concat()
}

/// SCRAM-SHA-256(-PLUS): [`first`](Self::first), [`respond`](Self::respond), [`confirm`](Self::confirm).
#[derive(Debug)]
pub struct Scram {
    header: String,
    binding: Vec<u8>,
    bare: String,
    nonce: String,
    password: Secret,
    plus: bool,
    server_signature: Option<[u8; 32]>,
}

impl Scram {
    /// Begins a login; `nonce` is fresh from a cryptographic random source.
    ///
    /// # Errors
    /// [`ClientError::Name`].
    pub fn new(
        username: &str,
        password: Secret,
        binding: Binding<'_>,
        nonce: [u8; NONCE_LENGTH],
    ) -> Result<Self, ClientError> {
        let username = preparation::name(username).ok_or(ClientError::Name)?.replace('=', "=3D").replace(',', "=2C");
        let (header, binding, plus) = match binding {
            Binding::Unsupported => ("n,,", &[][..], false),
            Binding::NotOffered => ("y,,", &[][..], false),
            Binding::Exporter(value) => ("p=tls-exporter,,", value, true),
        };
        let nonce = STANDARD.encode(nonce);
        Ok(Self {
            header: header.to_owned(),
            binding: binding.to_vec(),
            bare: format!("n={username},r={nonce}"),
            nonce,
            password,
            plus,
            server_signature: None,
        })
    }

    /// The mechanism to ask for.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        if self.plus { Mechanism::ScramSha256Plus } else { Mechanism::ScramSha256 }
    }

    /// `client-first-message`, for the initial response.
    #[must_use]
    pub fn first(&self) -> Vec<u8> {
        format!("{}{}", self.header, self.bare).into_bytes()
    }

    /// Answers the `server-first-message` with the `client-final-message`.
    ///
    /// # Errors
    /// [`ClientError::Malformed`], also when the server asks for fewer than 4096 iterations (RFC 7677 §4) or for more
    /// than a million.
    pub fn respond(&mut self, server_first: &[u8]) -> Result<Vec<u8>, ClientError> {
        let malformed = ClientError::Malformed;
        let server_first = std::str::from_utf8(server_first).map_err(|_| malformed)?;
        let mut attributes = server_first.split(',');
        let nonce = attributes.next().and_then(|text| text.strip_prefix("r=")).ok_or(malformed)?;
        let salt = attributes.next().and_then(|text| text.strip_prefix("s=")).ok_or(malformed)?;
        let iterations = attributes.next().and_then(|text| text.strip_prefix("i=")).ok_or(malformed)?;
        let salt = STANDARD.decode(salt).map_err(|_| malformed)?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| malformed)?;
        let fresh = nonce.strip_prefix(&self.nonce).is_some_and(|added| !added.is_empty());
        if !fresh || salt.is_empty() || !(4096..=ITERATION_LIMIT).contains(&iterations.get()) {
            return Err(malformed);
        }

        let binding = STANDARD.encode([self.header.as_bytes(), &self.binding].concat());
        let without_proof = format!("c={binding},r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.bare);
        let salted = salted_password(&self.password, &salt, iterations);
        let client_key = hmac_sha256(&*salted, b"Client Key");
        let mut proof = hmac_sha256(&sha256(&client_key), auth_message.as_bytes());
        for (octet, key) in proof.iter_mut().zip(client_key) {
            *octet ^= key;
        }
        let server_key = hmac_sha256(&*salted, b"Server Key");
        self.server_signature = Some(hmac_sha256(&server_key, auth_message.as_bytes()));
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// Checks the `server-final-message`: only now is the server known to be the right one.
    ///
    /// # Errors
    /// [`ClientError::Refused`], [`ClientError::WrongServer`] or [`ClientError::Malformed`].
    pub fn confirm(self, server_final: &[u8]) -> Result<(), ClientError> {
        let text = std::str::from_utf8(server_final).map_err(|_| ClientError::Malformed)?;
        let verdict = text.split(',').next().unwrap_or_default();
        if verdict.starts_with("e=") {
            return Err(ClientError::Refused);
        }
        let signature = verdict.strip_prefix("v=").and_then(|text| STANDARD.decode(text).ok());
        match (signature, self.server_signature) {
            (Some(theirs), Some(ours)) if theirs.ct_eq(&ours).into() => Ok(()),
            (Some(_), Some(_)) => Err(ClientError::WrongServer),
            _ => Err(ClientError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Scram {
        Scram {
            header: "n,,".to_owned(),
            binding: Vec::new(),
            bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
            nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
            password: Secret::from("pencil"),
            plus: false,
            server_signature: None,
        }
    }

    const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    /// The dialogue of RFC 7677 §3.
    #[test]
    fn rfc_7677_example() {
        let mut client = example();
        assert_eq!(client.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            client.respond(SERVER_FIRST),
            Ok(b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
                .to_vec())
        );
        assert_eq!(client.confirm(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    #[test]
    fn servers_are_not_believed() {
        for message in [
            "",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "m=must,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        ] {
            assert_eq!(example().respond(message.as_bytes()), Err(ClientError::Malformed), "{message}");
        }
        let answered = |last: &[u8]| {
            let mut client = example();
            client.respond(SERVER_FIRST).expect("well formed");
            client.confirm(last)
        };
        assert_eq!(answered(b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Err(ClientError::WrongServer));
        assert_eq!(answered(b"e=invalid-proof"), Err(ClientError::Refused));
        assert_eq!(answered(b""), Err(ClientError::Malformed));
        assert_eq!(example().confirm(b"v=AAAA"), Err(ClientError::Malformed));
    }
}
