//! A message as the rules read it: its fields decoded once, its author, the hosts of its links.

use std::borrow::Cow;

use posthorn_contents::{Link, LinkOrigin};
use posthorn_mime::Mailbox;

use super::hosts::{Host, host_of, registered};
use crate::Evidence;

/// Fields of one header that are read.
const MOST_FIELDS: usize = 500;
/// Octets of one field that are read.
const FIELD_LIMIT: usize = 8 * 1024;

/// A message that is read.
#[derive(Debug)]
pub(crate) struct Reading<'e> {
    pub(crate) evidence: &'e Evidence<'e>,
    pub(crate) lines: Vec<Line<'e>>,
    pub(crate) authors: Vec<Mailbox>,
    /// Where its links lead to.
    pub(crate) hosts: Vec<Target<'e>>,
}

/// A field of the header.
#[derive(Debug)]
pub(crate) struct Line<'e> {
    pub(crate) name: &'e [u8],
    /// Unfolded, encoded words decoded.
    pub(crate) text: Cow<'e, str>,
}

/// A link, and the host it leads to.
#[derive(Debug)]
pub(crate) struct Target<'e> {
    pub(crate) link: &'e Link,
    pub(crate) host: Host,
}

impl<'e> Reading<'e> {
    pub(crate) fn of(evidence: &'e Evidence<'e>) -> Self {
        let header = evidence.case.header();
        let lines =
            posthorn_mime::fields(header).take(MOST_FIELDS).map(|field| Line { name: field.name, text: text(&field) });
        let targets = evidence.contents.links().iter();
        let hosts = targets.filter_map(|link| Some(Target { link, host: host_of(&link.url)? })).collect();
        Self { evidence, lines: lines.collect(), authors: posthorn_mime::authors(header), hosts }
    }

    /// The first field of this name.
    pub(crate) fn field<'f>(&'f self, name: &'f str) -> Option<&'f str> {
        self.all(name).next()
    }

    /// All fields of this name.
    pub(crate) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.lines.iter().filter(move |line| line.name.eq_ignore_ascii_case(name.as_bytes())).map(|line| &*line.text)
    }

    /// The author's domain, as registered, in small letters.
    pub(crate) fn author_domain(&self) -> Option<String> {
        let (_, domain) = self.authors.first()?.address.rsplit_once('@')?;
        match super::hosts::named(domain)? {
            Host::Name(name) => Some(registered(&name).to_owned()),
            Host::Address(_) => None,
        }
    }

    /// Links that people follow.
    pub(crate) fn anchors(&self) -> impl Iterator<Item = &Target<'e>> {
        self.hosts.iter().filter(|target| target.link.origin != LinkOrigin::Resource)
    }
}

fn text<'e>(field: &posthorn_mime::Field<'e>) -> Cow<'e, str> {
    let plain = match field.unfolded() {
        Cow::Borrowed(value) => std::str::from_utf8(value).ok().filter(|value| !value.contains("=?")),
        Cow::Owned(_) => None,
    };
    let mut text = plain.map_or_else(|| Cow::Owned(field.text()), Cow::Borrowed);
    if text.len() > FIELD_LIMIT {
        let end = text.floor_char_boundary(FIELD_LIMIT);
        text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
            Cow::Owned(text) => Cow::Owned(text[..end].to_owned()),
        };
    }
    text
}
