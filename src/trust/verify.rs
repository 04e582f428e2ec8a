//! Checking DKIM signatures and ARC chains (RFC 6376 §6, RFC 8617 §5.2) without a socket: whoever asks looks up the
//! key records in between.

mod chain;
mod public_key;
mod signature;
mod tags;

use std::collections::HashMap;

use aws_lc_rs::digest::Digest;
use chrono::{DateTime, Utc};
use posthorn_mime::Field;

use self::chain::Sets;
pub(crate) use self::chain::{KINDS, MAX_SETS, instance};
use self::public_key::PublicKey;
use self::signature::{Fields, Flaw, Kind, Signature};
pub(crate) use self::tags::Tags;
use crate::Found;
use crate::dkim::{Canonicalization, body_hash};
use crate::results::AuthenticationResults;

/// More signatures than this are not looked at; the topmost count.
const MAX_SIGNATURES: usize = 10;
/// Bodies are hashed in at most so many ways.
const MOST_HASHES: usize = 4;

/// TXT records by the names that [`Signed::key_names`] gave. A name that is missing counts as not existing.
pub type Keys = HashMap<String, Found<Vec<String>>>;

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
    /// A key could not be asked for now, so that nobody knows.
    Unknown,
}

/// What was found of one DKIM signature, in the words of RFC 8601 §2.7.1.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DkimResult {
    /// It holds.
    Pass,
    /// It does not: header or body have changed, the key is another, or its time is over.
    Fail,
    /// It was made in a way that proves nothing.
    Policy,
    /// It cannot be read.
    Neutral,
    /// Its key is not there, or is none.
    PermError,
    /// Its key cannot be asked for now.
    TempError,
}

/// What was found of one DKIM signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignatureResult {
    /// The result.
    pub result: DkimResult,
    /// The signing domain in small letters; empty where it could not be read.
    pub domain: String,
    /// The selector.
    pub selector: String,
    /// Why it is not `pass`, or what is weak about it; a few words without semicolon or parentheses.
    pub why: Option<&'static str>,
    /// It holds, but not for all of the message (`l=`): whoever relays it can have added text.
    pub partial: bool,
    /// The domain only tries DKIM out (`t=y`).
    pub testing: bool,
}

/// What was found of a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verification {
    /// One result per signature, the topmost first.
    pub signatures: Vec<SignatureResult>,
    /// The ARC chain.
    pub chain: Chain,
    /// Why the chain is not `pass`.
    pub chain_why: Option<String>,
    /// The domains that have sealed the chain, the oldest first; to be believed only where it passes.
    pub sealers: Vec<String>,
    /// What each of them says that it found (ARC-Authentication-Results), where the chain passes and it can be read.
    pub vouched: Vec<Option<AuthenticationResults>>,
}

/// A message whose signatures can be checked.
#[derive(Debug)]
pub struct Signed<'m> {
    fields: Vec<Field<'m>>,
    text: &'m [u8],
    signatures: Vec<Result<Signature<'m>, Flaw>>,
    sets: Option<Result<Sets<'m>, String>>,
}

impl Chain {
    /// The word of `cv=` (where it is not unknown) and of `arc=` in Authentication-Results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "temperror",
        }
    }
}

impl DkimResult {
    /// The word for Authentication-Results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::PermError => "permerror",
            Self::TempError => "temperror",
        }
    }
}

impl SignatureResult {
    /// Whether it proves that the whole message is the domain's.
    #[must_use]
    pub fn proves(&self) -> bool {
        self.result == DkimResult::Pass && !self.partial
    }
}

impl Verification {
    /// The results for an Authentication-Results field (RFC 8601 §2.2), without its authserv-id, such as
    /// `dkim=pass header.d=example.org header.s=k1; arc=none`.
    #[must_use]
    pub fn results(&self) -> String {
        let mut text = String::new();
        for one in &self.signatures {
            text.push_str("dkim=");
            text.push_str(one.result.as_str());
            if let Some(why) = one.why {
                text.push_str(&format!(" ({why})"));
            }
            if !one.domain.is_empty() && !one.selector.is_empty() {
                text.push_str(&format!(" header.d={} header.s={}", one.domain, one.selector));
            }
            text.push_str("; ");
        }
        if self.signatures.is_empty() {
            text.push_str("dkim=none; ");
        }
        text.push_str("arc=");
        text.push_str(self.chain.as_str());
        if let Some(why) = &self.chain_why {
            text.push_str(&format!(" ({why})"));
        }
        text
    }

    /// Whether a signature of this domain proves that the whole message is its.
    #[must_use]
    pub fn passes_for(&self, domain: &str) -> bool {
        self.signatures.iter().any(|one| one.proves() && one.domain.eq_ignore_ascii_case(domain))
    }
}

impl<'m> Signed<'m> {
    /// Parses a whole message; `None` when it has no header at all.
    #[must_use]
    pub fn parse(message: &'m [u8]) -> Option<Self> {
        let (header, text) = message.split_at(posthorn_mime::header_end(message).unwrap_or(message.len()));
        Some(Self::of(header, text)).filter(|signed| !signed.fields.is_empty())
    }

    /// Parses a header, with or without its blank line; `text` is all behind that.
    #[must_use]
    pub fn of(header: &'m [u8], text: &'m [u8]) -> Self {
        let fields: Vec<Field<'m>> = posthorn_mime::fields(header).filter(|field| !field.name.is_empty()).collect();
        let signatures = fields.iter().filter(|field| field.is("DKIM-Signature")).take(MAX_SIGNATURES);
        let signatures = signatures.map(|field| Signature::parse(*field, Kind::Dkim)).collect();
        let sets = Sets::parse(&fields);
        Self { fields, text, signatures, sets }
    }

    /// Whether there is nothing to check.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.signatures.is_empty() && self.sets.is_none()
    }

    /// The names whose TXT records are needed to check it: without a final dot, each once.
    #[must_use]
    pub fn key_names(&self) -> Vec<String> {
        let dkim = self.signatures.iter().flatten();
        // Of message signatures only the newest is checked, of seals all (RFC 8617 §5.2).
        let sets = self.sets.iter().flatten().flat_map(|sets| std::iter::once(&sets.newest).chain(&sets.seals));
        let mut names: Vec<String> = Vec::new();
        for name in dkim.chain(sets).map(Signature::key_name) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The domains of its signatures, in small letters, whatever these prove.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().flatten().map(|signature| signature.domain.as_str())
    }

    /// Checks everything with the records found, at a moment.
    #[must_use]
    pub fn verify(&self, keys: &Keys, at: DateTime<Utc>) -> Verification {
        let mut check = Checking { keys, at, text: self.text, fields: Fields::of(&self.fields), hashes: Vec::new() };
        let signatures = self.signatures.iter().map(|one| check.signature(one)).collect();
        let sealers = self.sets.iter().flatten().flat_map(|sets| &sets.seals).map(|seal| seal.domain.clone()).collect();
        let (chain, chain_why) = match &self.sets {
            None => (Chain::None, None),
            Some(Err(why)) => (Chain::Fail, Some(why.clone())),
            Some(Ok(sets)) => match check.chain(sets) {
                Ok(()) => (Chain::Pass, None),
                Err((DkimResult::TempError, why)) => (Chain::Unknown, Some(why)),
                Err((_, why)) => (Chain::Fail, Some(why)),
            },
        };
        let sets = self.sets.iter().flatten().filter(|_| chain == Chain::Pass);
        let vouched = sets.flat_map(Sets::results).collect();
        Verification { signatures, chain, chain_why, sealers, vouched }
    }
}

/// A message while it is being checked.
struct Checking<'c, 'm> {
    keys: &'c Keys,
    at: DateTime<Utc>,
    text: &'m [u8],
    fields: Fields<'m>,
    /// The body's hashes so far.
    hashes: Vec<(Canonicalization, Option<u64>, [u8; 32])>,
}

type Unproved = (DkimResult, &'static str);

impl<'m> Checking<'_, 'm> {
    fn signature(&mut self, signature: &Result<Signature<'m>, Flaw>) -> SignatureResult {
        let signature = match signature {
            Ok(signature) => signature,
            Err(flaw) => {
                let result = if flaw.refused { DkimResult::Policy } else { DkimResult::Neutral };
                let (domain, selector) = (flaw.domain.clone(), flaw.selector.clone());
                return SignatureResult {
                    result,
                    domain,
                    selector,
                    why: Some(flaw.why),
                    partial: false,
                    testing: false,
                };
            }
        };
        let (domain, selector) = (signature.domain.clone(), signature.selector.clone());
        let found =
            SignatureResult { result: DkimResult::Pass, domain, selector, why: None, partial: false, testing: false };
        let key = match self.key(signature) {
            Ok(key) => key,
            Err((result, why)) => return SignatureResult { result, why: Some(why), ..found },
        };
        let testing = key.testing;
        if let Err((result, why)) = self.proof(signature, &key) {
            return SignatureResult { result, why: Some(why), testing, ..found };
        }
        let partial = self.is_partial(signature);
        let why = match (partial, testing) {
            (true, _) => Some("only the beginning of the body is signed"),
            (false, true) => Some("the domain only tests DKIM"),
            (false, false) => None,
        };
        SignatureResult { why, partial, testing, ..found }
    }

    fn chain(&mut self, sets: &Sets<'m>) -> Result<(), (DkimResult, String)> {
        let newest = &sets.newest;
        let last = sets.seals.len();
        let proof = self.key(newest).and_then(|key| self.proof(newest, &key));
        proof.map_err(|(result, why)| (result, format!("signature {last}: {why}")))?;
        let seals = sets.seals.iter().zip(sets.hashes()).enumerate().rev();
        for (at, (seal, hash)) in seals {
            let proof = self.key(seal).and_then(|key| sealed(seal, &key, &hash));
            proof.map_err(|(result, why)| (result, format!("seal {}: {why}", at + 1)))?;
        }
        Ok(())
    }

    fn key(&self, signature: &Signature<'m>) -> Result<PublicKey, Unproved> {
        let key = match self.keys.get(&signature.key_name()) {
            Some(Found::Some(records)) => {
                PublicKey::of_records(records).map_err(|flaw| (DkimResult::PermError, flaw))?
            }
            Some(Found::Later(_)) => return Err((DkimResult::TempError, "the key cannot be asked for now")),
            Some(Found::Nothing | Found::NoSuchName) | None => return Err((DkimResult::PermError, "there is no key")),
        };
        if key.kind() != signature.key_type {
            return Err((DkimResult::PermError, "the key is of another kind"));
        }
        if !key.is_strong() {
            return Err((DkimResult::Policy, "the key is too short"));
        }
        if key.strict && signature.identity.as_ref().is_some_and(|identity| *identity != signature.domain) {
            return Err((DkimResult::PermError, "the key is not for subdomains"));
        }
        Ok(key)
    }

    /// Whether a signature over the message holds.
    fn proof(&mut self, signature: &Signature<'m>, key: &PublicKey) -> Result<(), Unproved> {
        let now = u64::try_from(self.at.timestamp()).unwrap_or(0);
        if signature.expires.is_some_and(|expires| expires < now) {
            return Err((DkimResult::Fail, "the signature has expired"));
        }
        let hash = self.body_hash(signature).ok_or((DkimResult::Policy, "the body would be hashed too often"))?;
        if signature.body_hash != hash {
            return Err((DkimResult::Fail, "the body has changed"));
        }
        sealed(signature, key, &signature.hash(&self.fields))
    }

    fn body_hash(&mut self, signature: &Signature<'m>) -> Option<[u8; 32]> {
        let length = signature.length;
        let known = self.hashes.iter().find(|(way, of, _)| (*way, *of) == (signature.body, length));
        if let Some((_, _, hash)) = known {
            return Some(*hash);
        }
        if self.hashes.len() == MOST_HASHES {
            return None;
        }
        let hash = body_hash(signature.body, self.text, length);
        self.hashes.push((signature.body, length, hash));
        Some(hash)
    }

    /// Whether a signature that holds leaves out an end of the body.
    fn is_partial(&mut self, signature: &Signature<'m>) -> bool {
        signature.length.is_some() && body_hash(signature.body, self.text, None)[..] != signature.body_hash[..]
    }
}

fn sealed(signature: &Signature<'_>, key: &PublicKey, hash: &Digest) -> Result<(), Unproved> {
    if key.verifies(hash, &signature.signature) {
        return Ok(());
    }
    Err((DkimResult::Fail, "header or key are not those that signed"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Signer;

    pub(crate) fn keys_of(signers: &[Signer]) -> Keys {
        let entry = |signer: &Signer| {
            let record = signer.key().record().expect("a record");
            let name = format!("{}._domainkey.{}", signer.selector(), signer.domain());
            (name, Found::Some(vec!["junk".to_owned(), record]))
        };
        signers.iter().map(entry).collect()
    }

    pub(crate) fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_223_379, 0).expect("in range")
    }

    pub(crate) fn outcome(message: &[u8], keys: &Keys) -> Vec<String> {
        let found = Signed::parse(message).expect("a header").verify(keys, at());
        let one = |one: &SignatureResult| format!("{} {} {}", one.result.as_str(), one.domain, one.selector);
        found.signatures.iter().map(one).collect()
    }

    fn keys(records: &[(&str, &str)]) -> Keys {
        records.iter().map(|(name, record)| ((*name).to_owned(), Found::Some(vec![(*record).to_owned()]))).collect()
    }

    fn crlf(text: &str) -> String {
        text.replace('\n', "\r\n")
    }

    const BODY: &str = "\nHi.\n\nWe lost the game. Are you hungry yet?\n\nJoe.\n";
    const FIELDS: &str = "From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>
";

    /// RFC 8463 §A.3: one message, both kinds of keys.
    #[test]
    fn the_example_of_rfc_8463_holds() {
        let signatures = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
";
        let keys = keys(&[
            (
                "brisbane._domainkey.football.example.com",
                "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            ),
            (
                "test._domainkey.football.example.com",
                "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
            ),
        ]);
        let message = crlf(&format!("{signatures}{FIELDS}{BODY}"));
        let held = ["pass football.example.com brisbane", "pass football.example.com test"];
        assert_eq!(outcome(message.as_bytes(), &keys), held);
        let changed = message.replace("dinner ready", "dinner cold");
        let lost = ["fail football.example.com brisbane", "fail football.example.com test"];
        assert_eq!(outcome(changed.as_bytes(), &keys), lost);
        let changed = message.replace("hungry", "angry");
        assert_eq!(outcome(changed.as_bytes(), &keys), lost);
        let added = format!("Subject: another\r\n{message}");
        assert_eq!(outcome(added.as_bytes(), &keys), lost);
    }

    /// RFC 6376 §A.2 with its erratum 3192: simple/simple, and a key that has no version.
    #[test]
    fn the_example_of_rfc_6376_holds() {
        let signature = "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
        4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
        KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
        4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
";
        let name = "brisbane._domainkey.example.com";
        let record = "p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";
        let message = crlf(&format!("{signature}{FIELDS}{BODY}"));
        assert_eq!(outcome(message.as_bytes(), &keys(&[(name, record)])), ["pass example.com brisbane"]);
        let refolded = message.replace("from client1", "from  client1");
        assert_eq!(outcome(refolded.as_bytes(), &keys(&[(name, record)])), ["fail example.com brisbane"]);
        // The identity is below the domain, which a strict key does not allow.
        let strict = format!("t=s; {record}");
        assert_eq!(outcome(message.as_bytes(), &keys(&[(name, &strict)])), ["permerror example.com brisbane"]);
        let tested = format!("t=y; {record}");
        let found = Signed::parse(message.as_bytes()).expect("a header").verify(&keys(&[(name, &tested)]), at());
        assert!(found.signatures[0].testing && found.passes_for("Example.COM"));
        assert_eq!(
            found.results(),
            "dkim=pass (the domain only tests DKIM) header.d=example.com header.s=brisbane; arc=none"
        );
    }

    #[test]
    fn unsigned_mail_has_no_results() {
        let signed = Signed::parse(b"From: a@b\r\n\r\n").expect("a header");
        assert!(signed.key_names().is_empty() && signed.is_plain());
        let found = signed.verify(&Keys::new(), at());
        assert_eq!(found, Verification::default());
        assert_eq!(found.results(), "dkim=none; arc=none");
        assert!(Signed::parse(b"").is_none());
    }

    /// What is wrong with a signature before anybody asks for its key.
    #[test]
    fn unreadable_signatures_say_why() {
        let good =
            "v=1; a=rsa-sha256; d=a.example; s=k; h=From; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA";
        for (from, to, result, why) in [
            ("v=1", "v=2", "neutral", "version"),
            ("v=1; ", "", "neutral", "version"),
            ("rsa-sha256", "rsa-sha1", "policy", "SHA-1"),
            ("rsa-sha256", "rsa-md5", "neutral", "algorithm"),
            ("d=a.example; ", "", "neutral", "whose"),
            ("d=a.example", "d=a..example", "neutral", "whose"),
            ("s=k", "s=k k", "neutral", "whose"),
            ("h=From", "h=To", "neutral", "From"),
            ("h=From; ", "", "neutral", "no fields"),
            ("bh=47DE", "bh=47", "neutral", "hash"),
            ("b=AAAA", "b=", "neutral", "signature"),
            ("; b=AAAA", "", "neutral", "signature"),
            ("s=k", "s=k; l=-1", "neutral", "length"),
            ("s=k", "s=k; t=2; x=1", "neutral", "expired before"),
            ("s=k", "s=k; x=soon", "neutral", "times"),
            ("s=k", "s=k; q=dns/other", "neutral", "DNS"),
            ("s=k", "s=k; i=a@b.example", "neutral", "identity"),
            ("s=k", "s=k; i=b.example", "neutral", "identity"),
            ("s=k", "s=k; c=other", "neutral", "canonicalization"),
            ("s=k", "s=k; s=k", "neutral", "tags"),
            ("s=k", "s=k; x=1", "permerror", "no key"),
        ] {
            let message = format!("DKIM-Signature: {}\r\nFrom: a@a.example\r\n\r\n", good.replace(from, to));
            let found = Signed::parse(message.as_bytes()).expect("a header").verify(&Keys::new(), at());
            let one = &found.signatures[0];
            assert_eq!(one.result.as_str(), result, "{from} {to} {one:?}");
            assert!(one.why.is_some_and(|text| text.contains(why)), "{from} {to} {one:?}");
            assert!(!found.results().contains(";;") && found.results().matches(';').count() == 1);
        }
    }

    #[test]
    fn a_flood_of_signatures_is_cut() {
        let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let field = format!("DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=k; h=From; bh={hash}; b=AAAA\r\n");
        let message = format!("{}From: a@b\r\n\r\n", field.repeat(5000));
        let signed = Signed::parse(message.as_bytes()).expect("a header");
        assert_eq!(signed.key_names(), ["k._domainkey.example.org"]);
        assert_eq!(signed.verify(&Keys::new(), at()).signatures.len(), MAX_SIGNATURES);
        let sets: String = (0..5000).map(|at| format!("ARC-Seal: i={at}; cv=pass\r\n")).collect();
        let message = format!("{sets}From: a@b\r\n\r\n");
        let found = Signed::parse(message.as_bytes()).expect("a header").verify(&Keys::new(), at());
        assert_eq!(found.chain, Chain::Fail);
    }

    /// Pieces of signed messages, in any order.
    const PIECES: &[&str] = &[
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.example; s=k; h=from:to; l=3; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n",
        "DKIM-Signature: v=1; a=ed25519-sha256; d=a.example; s=k; i=@b.a.example; h=from; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=AAAA\r\n",
        "DKIM-Signature: b=\r\n",
        "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.example; s=k; b=AAAA\r\n",
        "ARC-Message-Signature: i=1; a=rsa-sha256; d=a.example; s=k; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n",
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
                let key = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned();
                let keys = signed.key_names().into_iter().map(|name| (name, Found::Some(vec![key.clone()]))).collect();
                let found = signed.verify(&keys, at());
                proptest::prop_assert!(found.signatures.iter().all(|one| one.result != DkimResult::Pass));
                proptest::prop_assert!(found.chain != Chain::Pass);
            }
        }
    }
}
