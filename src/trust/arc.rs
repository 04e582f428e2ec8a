//! Sealing what we forward (RFC 8617): we say what we found when the message came, and sign that, so that hosts behind
//! us can believe it although forwarding broke SPF or a signature.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use posthorn_mime::{Field, fields};

use crate::canonical::{cover, relaxed};
use crate::dkim::{Canonicalization, body_hash};
use crate::results::folded;
use crate::verify::{KINDS, MAX_SETS, Tags, instance};
use crate::{Chain, Fault, Signer};

/// What was found when the message came.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Our name in the results (RFC 8601 §2.5), usually the host name.
    pub authserv_id: &'a str,
    /// The results (RFC 8601 §2.2) without the name, such as `spf=pass smtp.mailfrom=example.org; dkim=none`; see
    /// [`crate::Verification::results`]. Empty for none.
    pub results: &'a str,
    /// The state of the chain that came with the message.
    pub chain: Chain,
}

/// Seals a message: three whole fields with their CRLF, to be put on top. `None` where nothing may be added: the
/// chain has failed before, is full, or could not be checked although there is one.
///
/// `header` may end with or without its blank line. RSA is the kind of key that everybody can check.
///
/// # Errors
/// [`Fault::Crypto`].
pub fn seal(
    signer: &Signer,
    found: &Found<'_>,
    header: &[u8],
    text: &[u8],
    at: DateTime<Utc>,
) -> Result<Option<Vec<u8>>, Fault> {
    let sets = Sets::of(header);
    let Some((instance, chain)) = sets.next(found.chain) else { return Ok(None) };

    let results = format!("ARC-Authentication-Results: i={instance}; {}\r\n", folded(found.authserv_id, found.results));
    let covered = cover(header, &["dkim-signature"]);
    let body = STANDARD.encode(body_hash(Canonicalization::Relaxed, text, None));
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&covered.canonical);
    let mut signature = format!("ARC-Message-Signature: i={instance}; {};\r\n\th=", signer.tags(at));
    let _infallible = write!(signature, "{};\r\n\tbh={body};\r\n\tb=", covered.names);
    let signature = signer.complete(signature, hash)?;

    let mut sealed = Vec::new();
    if chain == Chain::Pass {
        sets.all().for_each(|field| relaxed(field, &mut sealed));
    }
    for field in [&results, &signature] {
        fields(field.as_bytes()).for_each(|field| relaxed(&field, &mut sealed));
    }
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&sealed);
    let (algorithm, domain, selector) = (signer.key().kind().algorithm(), signer.domain(), signer.selector());
    let seal = format!(
        "ARC-Seal: i={instance}; a={algorithm}; cv={}; t={};\r\n\td={domain}; s={selector};\r\n\tb=",
        chain.as_str(),
        at.timestamp()
    );
    let seal = signer.complete(seal, hash)?;
    Ok(Some([seal, signature, results].concat().into_bytes()))
}

/// The sets that a message has already.
struct Sets<'h> {
    /// Instance, kind and field, sorted.
    fields: Vec<(usize, usize, Field<'h>)>,
    /// Whether each set is complete and none is missing.
    whole: bool,
}

impl<'h> Sets<'h> {
    fn of(header: &'h [u8]) -> Self {
        let mut found = Vec::new();
        for field in fields(header) {
            if let Some(kind) = KINDS.iter().position(|name| field.is(name)) {
                found.push((instance(&field).unwrap_or(0), kind, field));
            }
        }
        found.sort_by_key(|(instance, kind, _)| (*instance, *kind));
        let expected = (0..found.len()).map(|at| (at / 3 + 1, at % 3));
        let whole = found.len() % 3 == 0 && found.iter().zip(expected).all(|(one, place)| (one.0, one.1) == place);
        Self { fields: found, whole }
    }

    fn all(&self) -> impl Iterator<Item = &Field<'h>> {
        self.fields.iter().map(|(_, _, field)| field)
    }

    /// The instance of the next set and what its seal says of the chain; `None` when none may be added.
    fn next(&self, found: Chain) -> Option<(usize, Chain)> {
        let Some((last, _, newest)) = self.fields.last() else { return Some((1, Chain::None)) };
        if matches!(found, Chain::None | Chain::Unknown) || *last >= MAX_SETS {
            return None;
        }
        // A chain that somebody has marked as failed is not continued (RFC 8617 §5.1.2).
        let says = |tags: Tags<'_>| tags.text("cv").is_some_and(|value| value.eq_ignore_ascii_case("fail"));
        let marked = newest.is(KINDS[2]) && Tags::parse(newest.value).is_some_and(says);
        let chain = if self.whole { found } else { Chain::Fail };
        (!marked).then_some((last + 1, chain))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use posthorn_model::Domain;

    use super::*;
    use crate::verify::tests::{at, keys_of};
    use crate::{KeyType, Keys, Signed, SigningKey, sign};

    static SIGNERS: LazyLock<Vec<Signer>> = LazyLock::new(|| {
        let make = |kind, domain: &str| {
            let key = Arc::new(SigningKey::generate(kind).expect("a key"));
            Signer::new(Domain::parse(domain).expect("a domain"), "k", key).expect("a signer")
        };
        vec![make(KeyType::Rsa, "one.example"), make(KeyType::Ed25519, "two.example")]
    });

    const MESSAGE: &[u8] = b"From: bob@example.org\r\nTo: a@one.example\r\nSubject: forwarded\r\n\r\nHello.\r\n \r\n";

    fn found(chain: Chain) -> Found<'static> {
        Found { authserv_id: "mx.one.example", results: "spf=pass smtp.mailfrom=example.org; dkim=none", chain }
    }

    fn split(message: &[u8]) -> (&[u8], &[u8]) {
        message.split_at(posthorn_mime::header_end(message).expect("a blank line"))
    }

    fn add(message: &[u8], signer: usize, chain: Chain) -> Option<Vec<u8>> {
        let (header, text) = split(message);
        let top = seal(&SIGNERS[signer], &found(chain), header, text, at()).expect("sealed")?;
        assert_eq!(posthorn_mime::header_fault(&top), None);
        assert!(top.split(|b| *b == b'\n').all(|line| line.len() < 80));
        Some([&top, message].concat())
    }

    fn judge(message: &[u8], keys: &Keys) -> Chain {
        Signed::parse(message).expect("a header").verify(keys, at()).chain
    }

    #[test]
    fn chains_grow_and_hold() {
        let keys = keys_of(&SIGNERS);
        let mut message = MESSAGE.to_vec();
        assert_eq!(judge(&message, &keys), Chain::None);
        for (round, signer) in [0, 1, 0, 0, 1].into_iter().enumerate() {
            let chain = judge(&message, &keys);
            assert_eq!(chain, if round == 0 { Chain::None } else { Chain::Pass });
            message = add(&message, signer, chain).expect("may be added");
            assert_eq!(judge(&message, &keys), Chain::Pass, "round {round}");
        }
        let names = Signed::parse(&message).expect("a header").key_names();
        assert_eq!(names.len(), 2, "{names:?}");
        let text = String::from_utf8(message.clone()).expect("ASCII");
        assert!(text.contains("ARC-Authentication-Results: i=5; mx.one.example;\r\n\tspf=pass smtp.mailfrom=example.org;\r\n\tdkim=none\r\n"));
        let changed = text.replacen("Hello", "Hullo", 1);
        assert_eq!(judge(changed.as_bytes(), &keys), Chain::Fail);
        let changed = text.replace("i=1; mx.one", "i=1; mx.two");
        assert_eq!(judge(changed.as_bytes(), &keys), Chain::Fail);
        assert_eq!(judge(text.as_bytes(), &Keys::new()), Chain::Fail);
        let later = names.into_iter().map(|name| (name, crate::Found::Later(String::new()))).collect();
        assert_eq!(judge(text.as_bytes(), &later), Chain::Unknown);
        let found = Signed::parse(text.as_bytes()).expect("a header").verify(&keys, at());
        assert_eq!(found.sealers, ["one.example", "two.example", "one.example", "one.example", "two.example"]);
    }

    #[test]
    fn dkim_signatures_are_covered() {
        let (header, text) = split(MESSAGE);
        let signed = [&sign(&SIGNERS, header, text, at()).expect("signed"), MESSAGE].concat();
        let sealed = add(&signed, 0, Chain::None).expect("may be added");
        let keys = keys_of(&SIGNERS);
        let result = Signed::parse(&sealed).expect("a header").verify(&keys, at());
        assert_eq!(result.chain, Chain::Pass);
        assert!(result.passes_for("one.example") && result.passes_for("TWO.example"));
        assert_eq!(
            result.results(),
            "dkim=pass header.d=one.example header.s=k; dkim=pass header.d=two.example header.s=k; arc=pass"
        );
    }

    #[test]
    fn failed_chains_are_marked_once_and_left_alone() {
        let broken = String::from_utf8(add(MESSAGE, 0, Chain::None).expect("may be added")).expect("ASCII");
        let broken = broken.replace("Hello", "Hullo").into_bytes();
        let marked = add(&broken, 1, Chain::Fail).expect("may be marked");
        assert!(String::from_utf8_lossy(&marked).contains("ARC-Seal: i=2; a=ed25519-sha256; cv=fail;"));
        assert_eq!(add(&marked, 0, Chain::Fail), None);
        for chain in [Chain::None, Chain::Unknown] {
            assert_eq!(add(&broken, 0, chain), None, "nobody knows whether it holds");
        }
    }

    #[test]
    fn damaged_chains_fail_whatever_was_found() {
        let whole = add(MESSAGE, 0, Chain::None).expect("may be added");
        let (header, text) = split(&whole);
        let torn = [&posthorn_mime::header_fields(header, &["ARC-Message-Signature"], true), text].concat();
        let marked = add(&torn, 0, Chain::Pass).expect("may be marked");
        assert!(String::from_utf8_lossy(&marked).starts_with("ARC-Seal: i=2; a=rsa-sha256; cv=fail;"));
    }

    #[test]
    fn chains_end_at_fifty() {
        let last: String = KINDS.iter().map(|kind| format!("{kind}: i=50; cv=pass\r\n")).collect();
        assert_eq!(add(&[last.as_bytes(), MESSAGE].concat(), 0, Chain::Fail), None);
    }

    #[test]
    fn strange_results_stay_inside_the_field() {
        let (header, text) = split(MESSAGE);
        let found = Found {
            authserv_id: "a;b\r\nX: y",
            results: "spf=pass\r\nSubject: x\0;;  ; dkim=none",
            chain: Chain::None,
        };
        let top = seal(&SIGNERS[1], &found, header, text, at()).expect("sealed").expect("may be added");
        assert_eq!(fields(&top).count(), 3);
        assert_eq!(judge(&[&top, MESSAGE].concat(), &keys_of(&SIGNERS)), Chain::Pass);
        let none = folded(found.authserv_id, " ; ");
        assert_eq!(none, "ab X: y; none");
    }
}
