//! The server's half of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802 §5 to §7, RFC 7677).

use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;

use crate::{
    Failure, ScramKeys, ServerContext, Step,
    keys::{hmac_sha256, sha256},
    preparation,
};

/// The one binding that is spoken (RFC 9266).
const BINDING: &str = "tls-exporter";

#[derive(Debug)]
pub(crate) struct Scram {
    plus: bool,
    context: ServerContext,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Nothing was sent; `asked` once an empty challenge went out.
    Fresh {
        asked: bool,
    },
    /// The client named itself; the caller owes us its keys.
    Named(ClientFirst),
    /// Salt and iterations went out; the proof is due.
    Challenged(Box<Challenged>),
    Ended,
}

#[derive(Debug)]
struct ClientFirst {
    /// The gs2 header with its two commas: the proof must repeat it.
    header: String,
    /// `client-first-message-bare`.
    bare: String,
    authorization: Option<String>,
    username: String,
    nonce: String,
}

#[derive(Debug)]
struct Challenged {
    first: ClientFirst,
    nonce: String,
    server_first: String,
    keys: ScramKeys,
}

impl Scram {
    pub(crate) fn new(plus: bool, context: ServerContext) -> Self {
        Self { plus, context, phase: Phase::Fresh { asked: false } }
    }

    pub(crate) fn step(&mut self, message: Option<&[u8]>) -> Result<Step, Failure> {
        match (std::mem::replace(&mut self.phase, Phase::Ended), message) {
            (Phase::Fresh { asked: false }, None) => {
                self.phase = Phase::Fresh { asked: true };
                Ok(Step::Challenge(Vec::new()))
            }
            (Phase::Fresh { .. }, Some(message)) => {
                let first = self.client_first(utf8(message)?)?;
                let username = first.username.clone();
                self.phase = Phase::Named(first);
                Ok(Step::NeedCredentials { username })
            }
            (Phase::Challenged(challenged), Some(message)) => self.client_final(*challenged, utf8(message)?),
            _ => Err(Failure::OutOfOrder),
        }
    }

    pub(crate) fn with_keys(&mut self, keys: ScramKeys) -> Result<Step, Failure> {
        let Phase::Named(first) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Err(Failure::OutOfOrder);
        };
        // 18 octets become 24 base64 characters, none of them a comma.
        Ok(self.challenge(first, keys, &STANDARD.encode(self.context.nonce)))
    }

    /// `server-first-message`.
    fn challenge(&mut self, first: ClientFirst, keys: ScramKeys, server_nonce: &str) -> Step {
        let nonce = format!("{}{server_nonce}", first.nonce);
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let challenge = server_first.clone().into_bytes();
        self.phase = Phase::Challenged(Box::new(Challenged { first, nonce, server_first, keys }));
        Step::Challenge(challenge)
    }

    /// `client-first-message = gs2-header [reserved-mext ","] username "," nonce ["," extensions]`.
    fn client_first(&self, message: &str) -> Result<ClientFirst, Failure> {
        let (flag, rest) = message.split_once(',').ok_or(Failure::Malformed)?;
        self.check_binding_flag(flag)?;
        let (authorization, bare) = rest.split_once(',').ok_or(Failure::Malformed)?;
        let header = &message[..message.len() - bare.len()];
        let authorization = match authorization {
            "" => None,
            text => Some(saslname(text.strip_prefix("a=").ok_or(Failure::Malformed)?)?),
        };
        let mut attributes = bare.split(',');
        // A mandatory extension (`m=`) would stand first; none is known, so it is malformed here.
        let username = attributes.next().and_then(|text| text.strip_prefix("n=")).ok_or(Failure::Malformed)?;
        let nonce = attributes.next().and_then(|text| text.strip_prefix("r=")).ok_or(Failure::Malformed)?;
        if nonce.is_empty() || !nonce.bytes().all(|b| b.is_ascii_graphic()) || !attributes.all(is_extension) {
            return Err(Failure::Malformed);
        }
        Ok(ClientFirst {
            header: header.to_owned(),
            bare: bare.to_owned(),
            authorization,
            username: saslname(username)?,
            nonce: nonce.to_owned(),
        })
    }

    /// `gs2-cbind-flag` (RFC 5802 §6).
    fn check_binding_flag(&self, flag: &str) -> Result<(), Failure> {
        match (flag, self.plus) {
            ("n", false) => Ok(()),
            ("y", false) if self.context.plus_offered => Err(Failure::Downgrade),
            ("y", false) => Ok(()),
            (flag, true) if flag.strip_prefix("p=") == Some(BINDING) => match self.context.channel_binding {
                Some(_) => Ok(()),
                None => Err(Failure::BindingUnavailable),
            },
            (flag, true) if flag.starts_with("p=") => Err(Failure::BindingUnavailable),
            _ => Err(Failure::Malformed),
        }
    }

    /// `client-final-message = channel-binding "," nonce ["," extensions] "," proof`.
    fn client_final(&self, challenged: Challenged, message: &str) -> Result<Step, Failure> {
        let Challenged { first, nonce, server_first, keys } = challenged;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Failure::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|text| text.strip_prefix("c=")).ok_or(Failure::Malformed)?;
        let echoed = attributes.next().and_then(|text| text.strip_prefix("r=")).ok_or(Failure::Malformed)?;
        let proof: [u8; 32] =
            STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or(Failure::Malformed)?;
        if echoed != nonce || !attributes.all(is_extension) {
            return Err(Failure::Malformed);
        }
        let binding = STANDARD.decode(binding).map_err(|_| Failure::Malformed)?;
        if !bool::from(binding.ct_eq(&self.expected_binding(&first.header))) {
            return Err(Failure::BindingMismatch);
        }

        let auth_message = format!("{},{server_first},{without_proof}", first.bare);
        let mut client_key = hmac_sha256(&keys.stored_key, auth_message.as_bytes());
        for (octet, proof) in client_key.iter_mut().zip(proof) {
            *octet ^= proof;
        }
        if !bool::from(sha256(&client_key).ct_eq(&keys.stored_key)) {
            return Err(Failure::WrongProof);
        }
        let signature = hmac_sha256(&keys.server_key, auth_message.as_bytes());
        Ok(Step::Done {
            username: first.username,
            authorization: first.authorization,
            final_message: format!("v={}", STANDARD.encode(signature)).into_bytes(),
        })
    }

    /// `cbind-input`: the header as the client sent it, then the session's binding where it is used.
    fn expected_binding(&self, header: &str) -> Vec<u8> {
        let mut expected = header.as_bytes().to_vec();
        if self.plus {
            expected.extend_from_slice(self.context.channel_binding.as_deref().unwrap_or_default());
        }
        expected
    }
}

fn utf8(message: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(message).map_err(|_| Failure::Malformed)
}

/// `attr-val`: a letter, `=`, something. Optional extensions are ignored (RFC 5802 §5.1).
fn is_extension(text: &str) -> bool {
    let text = text.as_bytes();
    text.len() > 2 && text[0].is_ascii_alphabetic() && text[1] == b'='
}

/// `saslname`: `=2C` stands for a comma and `=3D` for an equals sign; anything else behind `=` is an error.
fn saslname(text: &str) -> Result<String, Failure> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Failure::Malformed),
        };
        name.push(sign);
        name.push_str(rest);
    }
    if name.contains('\0') {
        return Err(Failure::Malformed);
    }
    preparation::name(&name).ok_or(Failure::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scram(plus: bool, channel_binding: Option<Vec<u8>>, plus_offered: bool) -> Scram {
        Scram::new(plus, ServerContext { channel_binding, plus_offered, nonce: [7; crate::NONCE_LENGTH] })
    }

    /// The dialogue of RFC 7677 §3.
    #[test]
    fn rfc_7677_example() {
        let keys = ScramKeys::derive(
            &crate::Secret::from("pencil"),
            &STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64"),
            std::num::NonZeroU32::new(4096).expect("not zero"),
        );
        let mut server = scram(false, None, false);
        let first = server.client_first("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("well formed");
        assert_eq!(
            server.challenge(first, keys, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
            Step::Challenge(
                b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_vec()
            )
        );
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(
            server.step(Some(last)),
            Ok(Step::Done {
                username: "user".to_owned(),
                authorization: None,
                final_message: b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec(),
            })
        );
        assert_eq!(server.step(Some(last)), Err(Failure::OutOfOrder));
    }

    #[test]
    fn binding_flags_follow_rfc_5802_section_6() {
        let exporter = || Some(vec![1; 32]);
        for (plus, binding, offered, flag, expected) in [
            (false, None, false, "n", Ok(())),
            (false, None, true, "n", Ok(())),
            (false, None, false, "y", Ok(())),
            (false, exporter(), true, "y", Err(Failure::Downgrade)),
            (false, exporter(), true, "p=tls-exporter", Err(Failure::Malformed)),
            (true, exporter(), true, "p=tls-exporter", Ok(())),
            (true, None, true, "p=tls-exporter", Err(Failure::BindingUnavailable)),
            (true, exporter(), true, "p=tls-unique", Err(Failure::BindingUnavailable)),
            (true, exporter(), true, "n", Err(Failure::Malformed)),
            (true, exporter(), true, "y", Err(Failure::Malformed)),
            (false, None, false, "x", Err(Failure::Malformed)),
        ] {
            let message = format!("{flag},,n=user,r=abc");
            let result = scram(plus, binding, offered).client_first(&message).map(|_| ());
            assert_eq!(result, expected, "{flag} plus={plus} offered={offered}");
        }
    }

    #[test]
    fn first_messages_are_read() {
        let first = scram(false, None, false)
            .client_first("n,a=boss=2Cetc,n=b=3Db@example.org,r=ab%c,x=extension")
            .expect("well formed");
        assert_eq!(first.header, "n,a=boss=2Cetc,");
        assert_eq!(first.bare, "n=b=3Db@example.org,r=ab%c,x=extension");
        assert_eq!(first.authorization.as_deref(), Some("boss,etc"));
        assert_eq!(first.username, "b=b@example.org");
        assert_eq!(first.nonce, "ab%c");
    }

    #[test]
    fn malformed_first_messages_are_refused() {
        for message in [
            "",
            "n",
            "n,,",
            "n,,n=user",
            "n,,n=,r=abc",
            "n,,r=abc,n=user",
            "n,,n=user,r=",
            "n,,n=user,r=a c",
            "n,,n=us=er,r=abc",
            "n,,n=us=2cer,r=abc",
            "n,,m=must,n=user,r=abc",
            "n,,n=user,r=abc,",
            "n,,n=user,r=abc,extension",
            "n,boss,n=user,r=abc",
            "n,a=,n=user,r=abc",
            "n,,n=us\0er,r=abc",
        ] {
            let mut server = scram(false, None, false);
            assert_eq!(server.step(Some(message.as_bytes())), Err(Failure::Malformed), "{message:?}");
        }
        assert_eq!(scram(false, None, false).step(Some(b"n,,n=\xff,r=abc")), Err(Failure::Malformed));
    }

    #[test]
    fn malformed_final_messages_are_refused() {
        let nonce = format!("abc{}", STANDARD.encode([7; crate::NONCE_LENGTH]));
        let proof = STANDARD.encode([0; 32]);
        for (message, expected) in [
            (format!("c=biws,r={nonce},p={proof}"), Failure::WrongProof),
            (format!("c=biws,r={nonce},x=y,p={proof}"), Failure::WrongProof),
            (format!("c=eSws,r={nonce},p={proof}"), Failure::BindingMismatch),
            (format!("c=biws,r={nonce}x,p={proof}"), Failure::Malformed),
            (format!("c=biws,r=abc,p={proof}"), Failure::Malformed),
            (format!("r={nonce},c=biws,p={proof}"), Failure::Malformed),
            (format!("c=biws,r={nonce}"), Failure::Malformed),
            (format!("c=biws,r={nonce},p={proof},x=y"), Failure::Malformed),
            (format!("c=biws,r={nonce},p={}", STANDARD.encode([0; 31])), Failure::Malformed),
            (format!("c=b,r={nonce},p={proof}"), Failure::Malformed),
            (String::new(), Failure::Malformed),
        ] {
            let mut server = scram(false, None, false);
            server.step(Some(b"n,,n=user,r=abc")).expect("well formed");
            server.with_keys(ScramKeys::decoy("user", b"secret")).expect("in order");
            assert_eq!(server.step(Some(message.as_bytes())), Err(expected), "{message}");
        }
    }
}
