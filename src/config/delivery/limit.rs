//! Limits and the buckets that they are counted in.

use std::sync::Arc;

/// A limit as it holds for one binding and domain, and what it is counted with.
///
/// The bucket belongs to the scope where the value was written: all that inherit the value share it, and whoever
/// writes the option again, even the same number, has a bucket of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limit {
    /// The limit; 0 is none.
    pub value: u32,
    /// The bucket's name, such as `binding_group "g": messages_per_second`.
    pub bucket: Arc<str>,
    /// Whether the bucket is one, or one for each site or address.
    pub counts: Counts,
}

impl Limit {
    /// The limit, if there is one.
    #[must_use]
    pub const fn limit(&self) -> Option<u32> {
        if self.value == 0 { None } else { Some(self.value) }
    }
}

/// What has a counter of its own within a bucket.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Counts {
    /// Nothing: one counter for all that inherit the value.
    All,
    /// Each site: one counter for each set of MX hosts.
    Site,
    /// Each address of a receiver.
    Address,
}

/// The options that are limits with buckets, in the order of [`Names`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Limited {
    Connections,
    ConnectionsPerAddress,
    MessagesPerSecond,
    MessagesPerHour,
    ConnectionsPerSecond,
}

impl Limited {
    pub(super) const ALL: [Self; 5] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::MessagesPerSecond,
        Self::MessagesPerHour,
        Self::ConnectionsPerSecond,
    ];

    /// The option's name.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::MessagesPerSecond => "messages_per_second",
            Self::MessagesPerHour => "messages_per_hour",
            Self::ConnectionsPerSecond => "connections_per_second",
        }
    }

    /// What has a counter of its own. A cap of connections that is written for domains holds for these together;
    /// anywhere else it is meant for each receiver.
    pub(super) const fn counts(self, written_for_domains: bool) -> Counts {
        match self {
            Self::Connections if written_for_domains => Counts::All,
            Self::Connections => Counts::Site,
            Self::ConnectionsPerAddress => Counts::Address,
            Self::MessagesPerSecond | Self::MessagesPerHour | Self::ConnectionsPerSecond => Counts::All,
        }
    }
}

/// The names of one scope's buckets.
#[derive(Clone, Debug)]
pub(super) struct Names([Arc<str>; 5]);

impl Names {
    /// The names for a scope that is called so, such as `binding "a"`.
    pub(super) fn of(scope: &str) -> Self {
        Self(Limited::ALL.map(|limited| format!("{scope}: {}", limited.option()).into()))
    }

    pub(super) fn name(&self, limited: Limited) -> Arc<str> {
        Arc::clone(&self.0[limited as usize])
    }
}
