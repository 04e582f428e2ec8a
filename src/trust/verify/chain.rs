//! ARC chains (RFC 8617 §5.2): every seal, and the newest signature.

use aws_lc_rs::digest::{Context, Digest, SHA256};
use posthorn_mime::Field;

use super::signature::{Kind, Signature};
use crate::canonical::relaxed;
use crate::results::AuthenticationResults;

/// A chain has at most so many sets (RFC 8617 §4.2.1).
pub(crate) const MAX_SETS: usize = 50;
/// The three kinds of fields in the order in which a seal covers them.
pub(crate) const KINDS: [&str; 3] = ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"];

/// A chain whose sets are whole.
#[derive(Debug)]
pub(super) struct Sets<'m> {
    /// Instance, kind and field, sorted.
    fields: Vec<[Field<'m>; 3]>,
    pub(super) newest: Signature<'m>,
    /// One per set, the oldest first.
    pub(super) seals: Vec<Signature<'m>>,
}

impl<'m> Sets<'m> {
    /// Reads the sets of a message; `None` when it has none.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn parse(all: &[Field<'m>]) -> Option<Result<Self, String>> {
        let mut found: Vec<(usize, usize, Field<'m>)> = Vec::new();
        for field in all {
            if let Some(kind) = KINDS.iter().position(|name| field.is(name)) {
                if found.len() == MAX_SETS * KINDS.len() {
                    return Some(Err("it is longer than a chain may be".to_owned()));
                }
                found.push((instance(field).unwrap_or(0), kind, *field));
            }
        }
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|(instance, kind, _)| (*instance, *kind));
        Some(Self::of(&found))
    }

    fn of(found: &[(usize, usize, Field<'m>)]) -> Result<Self, String> {
        let expected = (0..found.len()).map(|at| (at / 3 + 1, at % 3));
        if !found.len().is_multiple_of(3) || !found.iter().zip(expected).all(|(one, place)| (one.0, one.1) == place) {
            return Err("a set of it is missing or not whole".to_owned());
        }
        let fields: Vec<[Field<'m>; 3]> = found.chunks_exact(3).map(|set| [set[0].2, set[1].2, set[2].2]).collect();
        let mut seals = Vec::with_capacity(fields.len());
        for (at, set) in fields.iter().enumerate() {
            let instance = at + 1;
            let seal =
                Signature::parse(set[2], Kind::ArcSeal).map_err(|flaw| format!("seal {instance}: {}", flaw.why))?;
            let expected = if at == 0 { "none" } else { "pass" };
            if !seal.chain.eq_ignore_ascii_case(expected) {
                return Err(format!("seal {instance} says cv={}", plain(seal.chain)));
            }
            seals.push(seal);
        }
        let last = fields.last().ok_or("it is empty")?;
        let newest = Signature::parse(last[1], Kind::ArcMessage)
            .map_err(|flaw| format!("signature {}: {}", fields.len(), flaw.why))?;
        Ok(Self { fields, newest, seals })
    }

    /// What each sealer says that it found, the oldest first: the instance, and then as in RFC 8601.
    pub(super) fn results(&self) -> impl Iterator<Item = Option<AuthenticationResults>> {
        self.fields.iter().map(|[results, ..]| {
            let end = memchr::memchr(b';', results.value)?;
            AuthenticationResults::parse(&results.value[end + 1..])
        })
    }

    /// What each seal signs (RFC 8617 §5.1.1), the oldest first: all sets up to its own.
    pub(super) fn hashes(&self) -> Vec<Digest> {
        let mut context = Context::new(&SHA256);
        let mut canonical = Vec::with_capacity(2048);
        let sets = self.fields.iter().zip(&self.seals);
        sets.map(|([results, signature, whole], seal)| {
            canonical.clear();
            relaxed(results, &mut canonical);
            relaxed(signature, &mut canonical);
            context.update(&canonical);
            canonical.clear();
            seal.put_itself(&mut canonical);
            let mut own = context.clone();
            own.update(&canonical);
            canonical.clear();
            relaxed(whole, &mut canonical);
            context.update(&canonical);
            own.finish()
        })
        .collect()
    }
}

/// The instance of a field: `i=` stands first in results, anywhere in the others.
pub(crate) fn instance(field: &Field<'_>) -> Option<usize> {
    let mut tags = field.value.split(|b| *b == b';');
    let number = tags.find_map(|tag| {
        let (name, value) = tag.split_at(memchr::memchr(b'=', tag)?);
        (name.trim_ascii() == b"i").then(|| value[1..].trim_ascii())
    })?;
    let number = std::str::from_utf8(number).ok().filter(|number| number.bytes().all(|b| b.is_ascii_digit()))?;
    number.parse().ok().filter(|number| (1..=MAX_SETS).contains(number))
}

fn plain(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphanumeric).take(10).collect()
}
