//! Return paths that we write: rewritten senders of what is sent on (SRS), and one for each recipient (VERP).

use chrono::{DateTime, Utc};
use posthorn_model::{Address, Domain, QueueId};
use posthorn_trust::{Bounced, ReturnPath, Srs, SrsFault};

/// What every return path of one recipient begins with.
const PREFIX: &str = "bounce";

/// Writes return paths and reads those that come back.
pub(crate) struct ReturnPaths {
    /// Whether senders of forwarded mail are rewritten.
    rewrites: bool,
    srs: Srs,
    bounces: ReturnPath,
}

/// What an address of ours says that is no name in the directory.
pub(crate) enum Returned {
    /// Mail for the sender of something that was sent on.
    Sender(Address),
    /// Mail about one recipient of something that was sent.
    Bounce(Bounced),
    /// It looks like one of these, but we did not write it, or too long ago.
    Void(&'static str),
}

impl ReturnPaths {
    pub(crate) fn new(domain: Domain, secret: &[u8], section: &posthorn_config::Srs) -> Self {
        Self {
            rewrites: section.enable,
            srs: Srs::new(domain.clone(), secret, section.days),
            bounces: ReturnPath::new(domain, PREFIX, secret),
        }
    }

    /// Also believes what older secrets proved.
    pub(crate) fn also(mut self, older: &[Vec<u8>]) -> Self {
        for secret in older {
            self.srs = self.srs.also(secret);
            self.bounces = self.bounces.also(secret);
        }
        self
    }

    /// Whether senders of forwarded mail are rewritten at all.
    pub(crate) fn rewrites(&self) -> bool {
        self.rewrites
    }

    /// The sender of a copy that is sent on.
    pub(crate) fn forwarding(&self, sender: &Address, id: QueueId, recipient: &str, now: DateTime<Utc>) -> String {
        match self.srs.forward(sender, now) {
            Ok(address) => address.to_string(),
            Err(_) => self.bounces.encode(id, recipient),
        }
    }

    /// The sender of a copy for one recipient: in the domain of who wrote it where that is one of ours, so that SPF speaks
    /// for the address that people see (RFC 7489 §3.1.2).
    pub(crate) fn bounce(&self, domain: Option<&Domain>, id: QueueId, recipient: &str) -> String {
        match domain {
            Some(domain) => self.bounces.encode_at(domain, id, recipient),
            None => self.bounces.encode(id, recipient),
        }
    }

    /// The sender that another server is to use for what it sends on; `None` when its own will do.
    pub(crate) fn rewritten(&self, sender: &Address, now: DateTime<Utc>) -> Option<Address> {
        let foreign = self.rewrites && sender.domain() != self.srs.domain();
        foreign.then(|| self.srs.forward(sender, now).ok()).flatten()
    }

    /// Whom a rewritten sender of ours stands for.
    pub(crate) fn original(&self, address: &Address, now: DateTime<Utc>) -> Result<Address, SrsFault> {
        self.srs.reverse(address, now)
    }

    /// Reads an address; `None` when it is not of this kind.
    pub(crate) fn read(&self, address: &Address, now: DateTime<Utc>) -> Option<Returned> {
        if address.domain() != self.srs.domain() {
            return self.bounces.decode_local(address.local()).map(Returned::Bounce);
        }
        match self.srs.reverse(address, now) {
            Ok(sender) => return Some(Returned::Sender(sender)),
            Err(SrsFault::NotRewritten) => {}
            Err(SrsFault::Expired) => return Some(Returned::Void("the return address has expired")),
            Err(SrsFault::Forged | SrsFault::TooLong) => {
                return Some(Returned::Void("the return address is not one that was given out here"));
            }
        }
        self.bounces.decode(address).map(Returned::Bounce)
    }

    /// Whether a bounce is about this recipient.
    pub(crate) fn is_for(&self, bounced: &Bounced, recipient: &str) -> bool {
        self.bounces.is_for(bounced, recipient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let domain = Domain::parse("mx.example.org").expect("a domain");
        let paths = ReturnPaths::new(domain, b"secret", &posthorn_config::Srs::default());
        let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a moment");
        let sender = Address::parse("a@example.net").expect("an address");
        let written = paths.forwarding(&sender, QueueId(7), "b@example.com", now);
        let back = paths.read(&Address::parse(&written).expect("an address"), now);
        assert!(matches!(back, Some(Returned::Sender(back)) if back == sender), "{written}");
        // Names too long for a rewritten address get one of the other kind.
        let long = Address::parse(&format!("{}@example.net", "x".repeat(60))).expect("an address");
        let written = paths.forwarding(&long, QueueId(7), "b@example.com", now);
        let back = paths.read(&Address::parse(&written).expect("an address"), now);
        let Some(Returned::Bounce(bounced)) = back else { panic!("{written}") };
        assert_eq!(bounced.queue, QueueId(7));
        assert!(paths.is_for(&bounced, "b@example.com") && !paths.is_for(&bounced, "c@example.com"));
        let own = Domain::parse("own.example").expect("a domain");
        let written = paths.bounce(Some(&own), QueueId(7), "b@example.com");
        assert!(written.ends_with("@own.example"), "{written}");
        let back = paths.read(&Address::parse(&written).expect("an address"), now);
        assert!(matches!(back, Some(Returned::Bounce(bounced)) if bounced.queue == QueueId(7)));
        assert!(paths.read(&Address::parse("bounce-x-y-z@own.example").expect("an address"), now).is_none());
        let forged = Address::parse("SRS0=AAAAAA=AA=example.net=a@mx.example.org").expect("an address");
        assert!(matches!(paths.read(&forged, now), Some(Returned::Void(_))));
        assert!(paths.read(&sender, now).is_none());
    }
}
