//! Checking DKIM signatures and ARC chains (RFC 6376 §6, RFC 8617 §5.2) without a socket: whoever asks looks up the
//! key records in between.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use mail_auth::common::verify::VerifySignature;
use mail_auth::common::{parse::TxtRecordParser, verify::DomainKey};
use mail_auth::{
    AuthenticatedMessage, DkimResult, DnsError, Error, MessageAuthenticator, Parameters, ResolverCache, Txt,
};

use crate::dkim;

/// More signatures than this are not looked at; the topmost count.
const MAX_SIGNATURES: usize = 16;

/// What the DNS said of a key record's name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// The TXT records there, each with its strings joined.
    Found(Vec<Vec<u8>>),
    /// The name or the record does not exist.
    Absent,
    /// There was no answer; one may come later.
    Failed,
}

/// Key records by the names that [`Signed::key_names`] gave. A name that is missing counts as absent.
pub type Keys = HashMap<String, Lookup>;

/// The state of an ARC chain (RFC 8617 §4.4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Chain {
    /// The message has none.
    #[default]
    None,
    /// Every seal and the newest signature hold.
    Pass,
    /// Something in it does not hold.
    Fail,
}

/// What was found of one DKIM signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignatureResult {
    /// The word for Authentication-Results (RFC 8601 §2.7.1): `pass`, `fail`, `neutral`, `permerror` or `temperror`.
    pub result: &'static str,
    /// The signing domain, as far as the signature could be read.
    pub domain: String,
    /// The selector.
    pub selector: String,
}

/// What was found of a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verification {
    /// One result per signature, the topmost first.
    pub signatures: Vec<SignatureResult>,
    /// The ARC chain.
    pub chain: Chain,
}

/// A message whose signatures can be checked.
#[derive(Debug)]
pub struct Signed<'m>(AuthenticatedMessage<'m>);

impl Chain {
    /// The word of `cv=` and of `arc=` in Authentication-Results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }
}

impl Verification {
    /// The results for an Authentication-Results field (RFC 8601 §2.2), without its authserv-id, such as
    /// `dkim=pass header.d=example.org header.s=k1; arc=none`.
    #[must_use]
    pub fn results(&self) -> String {
        let mut text = String::new();
        for one in &self.signatures {
            text.push_str(&format!("dkim={}", one.result));
            // A domain name has none of the letters that would need quotes; anything else is not repeated.
            let plain =
                |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            if plain(&one.domain) && plain(&one.selector) {
                text.push_str(&format!(" header.d={} header.s={}", one.domain, one.selector));
            }
            text.push_str("; ");
        }
        if self.signatures.is_empty() {
            text.push_str("dkim=none; ");
        }
        text.push_str("arc=");
        text.push_str(self.chain.as_str());
        text
    }

    /// Whether a signature of this domain holds.
    #[must_use]
    pub fn passes_for(&self, domain: &str) -> bool {
        self.signatures.iter().any(|one| one.result == "pass" && one.domain.eq_ignore_ascii_case(domain))
    }
}

impl<'m> Signed<'m> {
    /// Parses a whole message and hashes its body as its signatures want it; `None` when there is no header at all.
    #[must_use]
    pub fn parse(message: &'m [u8]) -> Option<Self> {
        let mut parsed = dkim::parse(message)?;
        parsed.dkim_headers.truncate(MAX_SIGNATURES);
        Some(Self(parsed))
    }

    /// The names whose TXT records are needed to check it: absolute, with a dot at the end, each once.
    #[must_use]
    pub fn key_names(&self) -> Vec<String> {
        let message = &self.0;
        let dkim = message.dkim_headers.iter().map(|one| name_of(&one.header));
        // Of message signatures only the newest is checked, of seals all (RFC 8617 §5.2).
        let signature = message.ams_headers.last().map(|one| name_of(&one.header));
        let seals = message.as_headers.iter().take(50).map(|one| name_of(&one.header));
        let mut names: Vec<String> = Vec::new();
        for name in dkim.chain(signature).chain(seals) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Checks everything with the records found. Whether a signature has expired is seen by the machine's clock.
    #[must_use]
    pub fn verify(&self, keys: &Keys) -> Verification {
        let Some(authenticator) = authenticator() else { return Verification::default() };
        let records = Records::of(keys);
        let dkim = at_once(authenticator.verify_dkim(Parameters::new(&self.0).with_txt_cache(&records)));
        let outputs = dkim.unwrap_or_default();
        let signatures = outputs.iter().map(|output| SignatureResult {
            result: word(output.result()),
            domain: output.signature().map(|one| one.d.clone()).unwrap_or_default(),
            selector: output.signature().map(|one| one.s.clone()).unwrap_or_default(),
        });
        let signatures = signatures.collect();
        let arc = at_once(authenticator.verify_arc(Parameters::new(&self.0).with_txt_cache(&records)));
        let chain = arc.map_or(Chain::None, |output| match output.result() {
            DkimResult::None => Chain::None,
            DkimResult::Pass => Chain::Pass,
            _ => Chain::Fail,
        });
        Verification { signatures, chain }
    }
}

fn name_of(signature: &impl VerifySignature) -> String {
    format!("{}._domainkey.{}.", signature.selector(), signature.domain())
}

fn word(result: &DkimResult) -> &'static str {
    match result {
        DkimResult::Pass => "pass",
        DkimResult::Neutral(_) => "neutral",
        DkimResult::Fail(_) => "fail",
        DkimResult::PermError(_) => "permerror",
        DkimResult::TempError(_) => "temperror",
        DkimResult::None => "none",
    }
}

/// mail-auth wants a resolver. This one is never asked: [`Records`] answers every question.
fn authenticator() -> Option<&'static MessageAuthenticator> {
    static AUTHENTICATOR: OnceLock<Option<MessageAuthenticator>> = OnceLock::new();
    AUTHENTICATOR.get_or_init(|| MessageAuthenticator::new_cloudflare().ok()).as_ref()
}

/// The output of a future that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Key records in the form of a cache that knows an answer to everything.
struct Records(HashMap<Box<str>, Txt>);

impl Records {
    fn of(keys: &Keys) -> Self {
        let parsed = keys.iter().map(|(name, lookup)| {
            let answer = match lookup {
                Lookup::Found(records) => first_key(records),
                Lookup::Absent => Txt::Error(Error::Dns(DnsError::InvalidRecordType)),
                Lookup::Failed => Txt::Error(Error::Dns(DnsError::Resolver("no answer".to_owned()))),
            };
            (name.as_str().into(), answer)
        });
        Self(parsed.collect())
    }
}

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        let known = self.0.get(name).cloned();
        Some(known.unwrap_or(Txt::Error(Error::Dns(DnsError::InvalidRecordType))))
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

/// The first record that is a key; where none is, what is wrong with the last.
fn first_key(records: &[Vec<u8>]) -> Txt {
    let mut fault = Error::Dns(DnsError::InvalidRecordType);
    for record in records {
        match DomainKey::parse(record) {
            Ok(key) => return Txt::DomainKey(key.into()),
            Err(error) => fault = error,
        }
    }
    Txt::Error(fault)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Signer;

    pub(crate) fn keys_of(signers: &[Signer]) -> Keys {
        let entry = |signer: &Signer| {
            let record = signer.key().record().expect("a record").into_bytes();
            (
                format!("{}._domainkey.{}.", signer.selector(), signer.domain()),
                Lookup::Found(vec![b"junk".to_vec(), record]),
            )
        };
        signers.iter().map(entry).collect()
    }

    pub(crate) fn outcome(message: &[u8], keys: &Keys) -> Vec<String> {
        let found = Signed::parse(message).expect("a header").verify(keys);
        found.signatures.iter().map(|one| format!("{} {} {}", one.result, one.domain, one.selector)).collect()
    }

    #[test]
    fn unsigned_mail_has_no_results() {
        let signed = Signed::parse(b"From: a@b\r\n\r\n").expect("a header");
        assert!(signed.key_names().is_empty());
        let found = signed.verify(&Keys::new());
        assert_eq!(found, Verification::default());
        assert_eq!(found.results(), "dkim=none; arc=none");
        assert!(Signed::parse(b"").is_none());
    }

    #[test]
    fn results_repeat_no_strange_words() {
        let one = |domain: &str| SignatureResult { result: "fail", domain: domain.into(), selector: "s".into() };
        let found = Verification { signatures: vec![one("a.example"), one("x; dkim=pass")], chain: Chain::Fail };
        assert_eq!(found.results(), "dkim=fail header.d=a.example header.s=s; dkim=fail; arc=fail");
        assert!(!found.passes_for("a.example"));
    }

    #[test]
    fn a_flood_of_signatures_is_cut() {
        let field = "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=k; h=From; bh=AAAA; b=AAAA\r\n";
        let message = format!("{}From: a@b\r\n\r\n", field.repeat(5000));
        let signed = Signed::parse(message.as_bytes()).expect("a header");
        assert_eq!(signed.key_names(), ["k._domainkey.example.org."]);
        assert_eq!(signed.verify(&Keys::new()).signatures.len(), MAX_SIGNATURES);
    }

    /// Pieces of signed messages, in any order.
    const PIECES: &[&str] = &[
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.example; s=k; h=from:to; l=3; bh=AAAA; b=AAAA\r\n",
        "DKIM-Signature: v=1; a=ed25519-sha256; d=a.example; s=k; i=@b.example; h=from; bh=AAAA; b=AAAA; atps=c; atpsh=none\r\n",
        "DKIM-Signature: b=\r\n",
        "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.example; s=k; b=AAAA\r\n",
        "ARC-Message-Signature: i=1; a=rsa-sha256; d=a.example; s=k; h=from; bh=AAAA; b=AAAA\r\n",
        "ARC-Authentication-Results: i=1; a.example; none\r\n",
        "ARC-Seal: i=2; cv=pass\r\n",
        "From: a@b.example\r\n",
        "To: \r\n \r\n",
        "\r\n",
        " \t\r\n",
        ":\0;=\r\n",
    ];

    proptest::proptest! {
        #[test]
        fn any_order_of_pieces_is_judged(order in proptest::collection::vec(0..PIECES.len(), 0..12), junk: Vec<u8>) {
            let mut message: Vec<u8> = order.into_iter().flat_map(|at| PIECES[at].bytes()).collect();
            message.extend(junk);
            if let Some(signed) = Signed::parse(&message) {
                let keys: Keys = signed.key_names().into_iter().map(|name| (name, Lookup::Found(vec![b"v=DKIM1; p=AAAA".to_vec()]))).collect();
                let found = signed.verify(&keys);
                proptest::prop_assert!(found.signatures.iter().all(|one| one.result != "pass"));
                proptest::prop_assert!(found.chain != Chain::Pass);
            }
        }
    }
}
