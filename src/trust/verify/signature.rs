//! DKIM-Signature, ARC-Message-Signature and ARC-Seal fields, read (RFC 6376 §3.5, RFC 8617 §4.1).

use std::collections::HashMap;
use std::ops::Range;

use aws_lc_rs::digest::{Context, Digest, SHA256};
use posthorn_mime::Field;

use super::tags::{Tags, parts};
use crate::KeyType;
use crate::canonical::relaxed;
use crate::dkim::Canonicalization;

/// Which of the three a field is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Dkim,
    ArcMessage,
    ArcSeal,
}

/// A field that was read.
#[derive(Clone, Debug)]
pub(super) struct Signature<'m> {
    field: Field<'m>,
    /// Where the value of `b=` lies in the field's.
    blank: Range<usize>,
    pub(super) key_type: KeyType,
    header: Canonicalization,
    pub(super) body: Canonicalization,
    pub(super) domain: String,
    pub(super) selector: String,
    /// The domain of `i=`, where there is one.
    pub(super) identity: Option<String>,
    /// The covered fields; empty for a seal, which covers its chain.
    names: Vec<&'m [u8]>,
    pub(super) body_hash: Vec<u8>,
    pub(super) length: Option<u64>,
    pub(super) expires: Option<u64>,
    pub(super) signature: Vec<u8>,
    /// `cv=` of a seal.
    pub(super) chain: &'m str,
}

/// A field that cannot be used.
#[derive(Clone, Debug)]
pub(super) struct Flaw {
    pub(super) why: &'static str,
    /// It could be read, but must not be believed.
    pub(super) refused: bool,
    pub(super) domain: String,
    pub(super) selector: String,
}

/// More names than this in `h=` are a way to make us work.
const MOST_NAMES: usize = 500;

impl<'m> Signature<'m> {
    pub(super) fn parse(field: Field<'m>, kind: Kind) -> Result<Self, Flaw> {
        let flaw = |why| Flaw { why, refused: false, domain: String::new(), selector: String::new() };
        let tags = Tags::parse(field.value).ok_or_else(|| flaw("its tags cannot be read"))?;
        let name = |tag| tags.text(tag).filter(|name| is_name(name)).map(str::to_ascii_lowercase).unwrap_or_default();
        let (domain, selector) = (name("d"), name("s"));
        Self::of(field, kind, &tags, (&domain, &selector)).map_err(|(why, refused)| Flaw {
            why,
            refused,
            domain,
            selector,
        })
    }

    fn of(
        field: Field<'m>,
        kind: Kind,
        tags: &Tags<'m>,
        (domain, selector): (&str, &str),
    ) -> Result<Self, (&'static str, bool)> {
        let malformed = |why| (why, false);
        if domain.is_empty() || selector.is_empty() {
            return Err(malformed("it does not say whose it is"));
        }
        let version = tags.raw("v");
        if (kind == Kind::Dkim && version != Some(b"1")) || (kind != Kind::Dkim && version.is_some()) {
            return Err(malformed("it is of another version"));
        }
        let key_type = match tags.text("a").map(str::to_ascii_lowercase).as_deref() {
            Some("rsa-sha256") => KeyType::Rsa,
            Some("ed25519-sha256") => KeyType::Ed25519,
            // RFC 8301 §3.1.
            Some("rsa-sha1") => return Err(("SHA-1 proves nothing", true)),
            _ => return Err(malformed("its algorithm is unknown")),
        };
        let blank = tags.place("b").ok_or_else(|| malformed("it has no signature"))?;
        let signature = tags.base64("b").filter(|octets| !octets.is_empty() && octets.len() <= 1024);
        let signature = signature.ok_or_else(|| malformed("its signature cannot be read"))?;
        let mut read = Self {
            field,
            blank,
            key_type,
            header: Canonicalization::Relaxed,
            body: Canonicalization::Relaxed,
            domain: domain.to_owned(),
            selector: selector.to_owned(),
            identity: None,
            names: Vec::new(),
            body_hash: Vec::new(),
            length: None,
            expires: None,
            signature,
            chain: tags.text("cv").unwrap_or_default(),
        };
        if kind == Kind::ArcSeal {
            // RFC 8617 §4.1.3.
            let covers = ["h", "bh", "c"].iter().any(|tag| tags.raw(tag).is_some());
            return if covers { Err(malformed("a seal covers no fields of choice")) } else { Ok(read) };
        }
        read.cover(kind, tags).map_err(malformed)?;
        Ok(read)
    }

    /// What a signature of a message says beyond a seal.
    fn cover(&mut self, kind: Kind, tags: &Tags<'m>) -> Result<(), &'static str> {
        (self.header, self.body) = canonicalizations(tags.text("c"))?;
        self.names = parts(tags.raw("h").ok_or("it covers no fields")?).collect();
        if self.names.len() > MOST_NAMES {
            return Err("it covers too many fields");
        }
        let covers = |name: &str| self.names.iter().any(|one| one.eq_ignore_ascii_case(name.as_bytes()));
        if kind == Kind::Dkim && !covers("from") {
            return Err("it does not cover From");
        }
        if kind == Kind::ArcMessage && covers("arc-seal") {
            return Err("it covers a seal");
        }
        self.body_hash = tags.base64("bh").filter(|hash| hash.len() == 32).ok_or("it has no hash of the body")?;
        self.length = tags.number("l").map_err(|()| "its length cannot be read")?;
        self.expires = tags.number("x").map_err(|()| "its times cannot be read")?;
        let made = tags.number("t").map_err(|()| "its times cannot be read")?;
        if let (Some(made), Some(expires)) = (made, self.expires)
            && expires <= made
        {
            return Err("it expired before it was made");
        }
        if tags.raw("q").is_some_and(|methods| !parts(methods).any(|one| one.eq_ignore_ascii_case(b"dns/txt"))) {
            return Err("its key is not in the DNS");
        }
        // In ARC `i=` is the instance.
        if kind == Kind::Dkim
            && let Some(identity) = tags.raw("i")
        {
            let at = memchr::memrchr(b'@', identity).ok_or("its identity cannot be read")?;
            let domain = std::str::from_utf8(&identity[at + 1..]).map_err(|_| "its identity cannot be read")?;
            let domain = domain.trim().to_ascii_lowercase();
            if domain != self.domain && !domain.ends_with(&format!(".{}", self.domain)) {
                return Err("its identity is of another domain");
            }
            self.identity = Some(domain);
        }
        Ok(())
    }

    /// The name of its key record, without a final dot.
    pub(super) fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// The hash of the fields that it covers, and of itself (RFC 6376 §3.7).
    pub(super) fn hash(&self, fields: &Fields<'m>) -> Digest {
        let mut canonical = Vec::with_capacity(2048);
        let mut used: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut context = Context::new(&SHA256);
        for name in &self.names {
            let name = name.to_ascii_lowercase();
            let Some(instances) = fields.0.get(&name[..]) else { continue };
            // The lowest instance comes first (RFC 6376 §5.4.2).
            let used = used.entry(name).or_default();
            *used += 1;
            if let Some(field) = instances.len().checked_sub(*used).map(|at| &instances[at]) {
                match self.header {
                    Canonicalization::Relaxed => relaxed(field, &mut canonical),
                    Canonicalization::Simple => canonical.extend_from_slice(field.raw),
                }
            }
            if canonical.len() > 64 << 10 {
                context.update(&canonical);
                canonical.clear();
            }
        }
        self.put_itself(&mut canonical);
        context.update(&canonical);
        context.finish()
    }

    /// The field as it enters its own hash: without its signature and its last line end.
    pub(super) fn put_itself(&self, to: &mut Vec<u8>) {
        let value = [&self.field.value[..self.blank.start], &self.field.value[self.blank.end..]].concat();
        match self.header {
            Canonicalization::Relaxed => {
                relaxed(&Field { value: &value, ..self.field }, to);
                to.truncate(to.len() - 2);
            }
            Canonicalization::Simple => {
                let front = self.field.raw.len() - self.field.raw.strip_prefix(self.field.name).map_or(0, <[u8]>::len);
                let colon = self.field.raw[front..].iter().position(|b| *b == b':').map_or(front, |at| front + at + 1);
                to.extend_from_slice(&self.field.raw[..colon]);
                to.extend_from_slice(&value);
            }
        }
    }
}

/// The fields of a message by name, each name's in the order of the header.
pub(super) struct Fields<'m>(HashMap<Vec<u8>, Vec<Field<'m>>>);

impl<'m> Fields<'m> {
    pub(super) fn of(fields: &[Field<'m>]) -> Self {
        let mut by_name: HashMap<Vec<u8>, Vec<Field<'m>>> = HashMap::with_capacity(fields.len());
        for field in fields {
            by_name.entry(field.name.to_ascii_lowercase()).or_default().push(*field);
        }
        Self(by_name)
    }
}

fn canonicalizations(tag: Option<&str>) -> Result<(Canonicalization, Canonicalization), &'static str> {
    let read = |word: &str| match word.trim().to_ascii_lowercase().as_str() {
        "relaxed" => Ok(Canonicalization::Relaxed),
        "simple" => Ok(Canonicalization::Simple),
        _ => Err("its canonicalization is unknown"),
    };
    let (header, body) = tag.unwrap_or("simple").split_once('/').unwrap_or((tag.unwrap_or("simple"), "simple"));
    Ok((read(header)?, read(body)?))
}

/// Whether a `d=` or `s=` can be asked for.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    name.len() <= 200 && name.split('.').all(label)
}
