//! Another opinion on signatures, for tests: mail-auth's.

use std::borrow::Borrow;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use mail_auth::common::{parse::TxtRecordParser, verify::DomainKey};
use mail_auth::{
    AuthenticatedMessage, DkimResult, DnsError, Error, MessageAuthenticator, Parameters, ResolverCache, Txt,
};

use crate::{Found, Keys};

/// Whether mail-auth believes each DKIM signature, the topmost first. `None` for a body whose last lines are blank: it
/// hashes those wrongly (a fault of the version that is used).
pub(crate) fn passes(message: &[u8], keys: &Keys) -> Option<Vec<bool>> {
    let parsed = AuthenticatedMessage::parse(message)?;
    let body = message.get(parsed.body_offset()..).unwrap_or_default();
    let end = body.trim_ascii_end().len();
    if body[end..].iter().any(|b| b" \t".contains(b)) {
        return None;
    }
    let known = Known(keys);
    let authenticator = MessageAuthenticator::new_cloudflare().expect("a resolver that is never asked");
    let verification = pin!(authenticator.verify_dkim(Parameters::new(&parsed).with_txt_cache(&known)));
    match verification.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outputs) => Some(outputs.iter().map(|output| *output.result() == DkimResult::Pass).collect()),
        Poll::Pending => panic!("all keys were known"),
    }
}

/// Keys in the form of a cache that has an answer to everything.
struct Known<'k>(&'k Keys);

impl ResolverCache<Box<str>, Txt> for Known<'_> {
    fn get<Q: Hash + Eq + ?Sized>(&self, asked: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        let named = self.0.iter().find(|(name, _)| {
            let name: Box<str> = format!("{name}.").into();
            name.borrow() == asked
        });
        let Some((_, Found::Some(records))) = named else {
            return Some(Txt::Error(Error::Dns(DnsError::InvalidRecordType)));
        };
        let key = records.iter().find_map(|record| DomainKey::parse(record.as_bytes()).ok());
        Some(key.map_or(Txt::Error(Error::Dns(DnsError::InvalidRecordType)), |key| Txt::DomainKey(Arc::new(key))))
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}
