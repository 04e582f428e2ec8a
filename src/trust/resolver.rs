//! Questions to the DNS, asked by whoever has a socket: machines of this crate say what they must know, and a
//! [`Resolver`] finds out.
//!
//! Names have no final dot and are written in ASCII. "Nothing", "no such name" and "cannot be told now" never mix.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::Poll;

/// An answer that is being waited for.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Found<T>> + Send + 'a>>;

/// Somebody who can ask the DNS. Each question ends within a bounded time, with [`Found::Later`] if need be.
pub trait Resolver: Send + Sync {
    /// The A and AAAA records of a name. One family is enough: when the other cannot be told, it is left out.
    fn addresses<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<IpAddr>>;

    /// The records of one family only: A, or AAAA where `v6` is set.
    fn addresses_of<'a>(&'a self, name: &'a str, v6: bool) -> Asked<'a, Vec<IpAddr>>;

    /// The TXT records of a name, each with its strings joined; octets that are not UTF-8 are replaced.
    fn texts<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>>;

    /// The hosts of a name's MX records, best first. A name without MX records has [`Found::Nothing`], whatever its
    /// addresses are; a null MX (RFC 7505) is one host with an empty name.
    fn exchangers<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>>;

    /// The names of an address (PTR records under `in-addr.arpa` or `ip6.arpa`), unverified.
    fn names(&self, address: IpAddr) -> Asked<'_, Vec<String>>;
}

/// What the DNS said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found<T> {
    /// At least one record.
    Some(T),
    /// The name has no records of this kind.
    Nothing,
    /// The name does not exist.
    NoSuchName,
    /// It cannot be told now; the text says why.
    Later(String),
}

/// The records of an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Records {
    /// Of A or AAAA.
    Addresses(Vec<IpAddr>),
    /// Of TXT.
    Texts(Vec<String>),
    /// Of MX, best first, or of PTR.
    Hosts(Vec<String>),
}

/// The answer to a [`Question`].
pub type Answer = Found<Records>;

/// A question that a machine must have answered before it can go on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Question {
    /// The A records of a name.
    A(String),
    /// The AAAA records of a name.
    Aaaa(String),
    /// The TXT records of a name.
    Txt(String),
    /// The MX records of a name.
    Mx(String),
    /// The PTR records of an address.
    Ptr(IpAddr),
}

impl<T> Found<T> {
    /// The same answer with other records.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Self::Some(records) => Found::Some(change(records)),
            Self::Nothing => Found::Nothing,
            Self::NoSuchName => Found::NoSuchName,
            Self::Later(why) => Found::Later(why),
        }
    }

    /// The records, if there are any.
    pub fn some(self) -> Option<T> {
        if let Self::Some(records) = self { Some(records) } else { None }
    }
}

impl Question {
    /// Asks a resolver.
    pub async fn ask(&self, resolver: &dyn Resolver) -> Answer {
        match self {
            Self::A(name) => resolver.addresses_of(name, false).await.map(Records::Addresses),
            Self::Aaaa(name) => resolver.addresses_of(name, true).await.map(Records::Addresses),
            Self::Txt(name) => resolver.texts(name).await.map(Records::Texts),
            Self::Mx(name) => resolver.exchangers(name).await.map(Records::Hosts),
            Self::Ptr(address) => resolver.names(*address).await.map(Records::Hosts),
        }
    }
}

/// Asks for the TXT records of many names at once; the answers in their order.
pub async fn all_texts(resolver: &dyn Resolver, names: &[String]) -> Vec<Found<Vec<String>>> {
    let mut waiting: Vec<_> = names.iter().map(|name| resolver.texts(name)).collect();
    let mut answers: Vec<Option<Found<Vec<String>>>> = vec![None; names.len()];
    std::future::poll_fn(|context| {
        for (asked, answer) in waiting.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(said) = asked.as_mut().poll(context)
            {
                *answer = Some(said);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(name) => write!(f, "{name} A"),
            Self::Aaaa(name) => write!(f, "{name} AAAA"),
            Self::Txt(name) => write!(f, "{name} TXT"),
            Self::Mx(name) => write!(f, "{name} MX"),
            Self::Ptr(address) => write!(f, "{address} PTR"),
        }
    }
}
