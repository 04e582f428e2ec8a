//! Signed variable return paths: an envelope sender that says which message to whom, so that whatever comes back can
//! be tied to its delivery, and nobody else can make one up.
//!
//! `prefix-queue-proof-user=domain`; where that would not fit into 64 octets or would need quotes, a hash stands for
//! the recipient.

use posthorn_model::{Address, Domain, QueueId};

use crate::base32;
use crate::tag::Prover;

/// Letters of a queue id: 64 bits.
const QUEUE: u32 = 13;
/// Letters of the proof: 40 bits.
const PROOF: usize = 8;
/// Letters of the hash of a recipient.
const MARK: usize = 10;
/// RFC 5321 §4.5.3.1.1
const LOCAL: usize = 64;

/// Writes and reads signed return paths.
#[derive(Debug)]
pub struct ReturnPath {
    domain: Domain,
    prefix: String,
    /// The first one signs, all are believed.
    provers: Vec<Prover>,
}

/// What a return path says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bounced {
    /// The queue id.
    pub queue: QueueId,
    recipient: String,
    mark: Option<String>,
}

impl ReturnPath {
    /// Writes addresses of a domain that begin with a prefix such as `bounce` (letters and digits, at most 16).
    #[must_use]
    pub fn new(domain: Domain, prefix: &str, secret: &[u8]) -> Self {
        let prefix: String = prefix.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        let prefix = if prefix.is_empty() { "bounce".to_owned() } else { prefix.to_ascii_lowercase() };
        Self { domain, prefix, provers: vec![Prover::new(secret)] }
    }

    /// Also believes what an older secret signed.
    #[must_use]
    pub fn also(mut self, older: &[u8]) -> Self {
        self.provers.push(Prover::new(older));
        self
    }

    /// The return path for one recipient of a queued message.
    #[must_use]
    pub fn encode(&self, queue: QueueId, recipient: &str) -> String {
        self.encode_at(&self.domain, queue, recipient)
    }

    /// The same in another domain, whose mail comes here as well.
    #[must_use]
    pub fn encode_at(&self, domain: &Domain, queue: QueueId, recipient: &str) -> String {
        let id = base32::encode_number(queue.0.cast_unsigned(), QUEUE);
        let room = LOCAL - (self.prefix.len() + QUEUE as usize + PROOF + 3);
        let whom = written(recipient).filter(|text| text.len() <= room).unwrap_or_else(|| self.mark(&id, recipient));
        let proof = self.provers[0].prove("VERP", &[&id, &whom], PROOF);
        format!("{}-{id}-{proof}-{whom}@{domain}", self.prefix)
    }

    /// Reads an address; `None` when it is not a return path of ours, or its proof is wrong.
    #[must_use]
    pub fn decode(&self, address: &Address) -> Option<Bounced> {
        (*address.domain() == self.domain).then(|| self.decode_local(address.local())).flatten()
    }

    /// Reads a local part, in whatever domain it is: only we can have written it.
    #[must_use]
    pub fn decode_local(&self, local: &str) -> Option<Bounced> {
        let (prefix, rest) = local.split_at_checked(self.prefix.len())?;
        if !prefix.eq_ignore_ascii_case(&self.prefix) {
            return None;
        }
        let mut parts = rest.strip_prefix('-')?.splitn(3, '-');
        let (id, proof, whom) = (parts.next()?, parts.next()?, parts.next()?);
        if id.len() != QUEUE as usize || !self.provers.iter().any(|one| one.holds("VERP", &[id, whom], proof, PROOF)) {
            return None;
        }
        let queue = QueueId(base32::decode_number(id)?.cast_signed());
        Some(match whom.rsplit_once('=') {
            Some((local, domain)) => Bounced { queue, recipient: format!("{local}@{domain}"), mark: None },
            None => Bounced { queue, recipient: String::new(), mark: Some(whom.to_ascii_lowercase()) },
        })
    }

    /// Whether a return path is for this recipient of its message; case does not count.
    #[must_use]
    pub fn is_for(&self, bounced: &Bounced, recipient: &str) -> bool {
        match &bounced.mark {
            None => bounced.recipient.eq_ignore_ascii_case(recipient),
            Some(mark) => {
                let id = base32::encode_number(bounced.queue.0.cast_unsigned(), QUEUE);
                self.provers.iter().any(|one| one.holds("VERP recipient", &[&id, recipient], mark, MARK))
            }
        }
    }

    fn mark(&self, id: &str, recipient: &str) -> String {
        self.provers[0].prove("VERP recipient", &[id, recipient], MARK)
    }
}

impl Bounced {
    /// The recipient where the path spells it out; where it only holds a hash, ask [`ReturnPath::is_for`] of each
    /// recipient of the message.
    #[must_use]
    pub fn recipient(&self) -> Option<&str> {
        self.mark.is_none().then_some(&self.recipient)
    }
}

/// `user=domain`, if an unquoted local part can hold it.
fn written(recipient: &str) -> Option<String> {
    let (local, domain) = recipient.rsplit_once('@')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/?^_`{|}~=".contains(&b);
    let dotted = |text: &str| text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(plain));
    (dotted(local) && dotted(domain) && !domain.contains('=')).then(|| format!("{local}={domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths(secret: &str) -> ReturnPath {
        ReturnPath::new(Domain::parse("example.org").expect("a domain"), "b", secret.as_bytes())
    }

    fn back(path: &str) -> Option<Bounced> {
        paths("secret").decode(&Address::parse(path).expect("an address"))
    }

    #[test]
    fn recipients_come_back_written_or_known() {
        let paths = paths("secret");
        for queue in [0, 1, i64::MAX, -1].map(QueueId) {
            let path = paths.encode(queue, "Ann+x=y@example.net");
            for path in [path.clone(), path.to_lowercase(), path.to_uppercase()] {
                let bounced = back(&path).expect("ours");
                assert_eq!(bounced.queue, queue);
                assert!(bounced.recipient().is_some_and(|to| to.eq_ignore_ascii_case("Ann+x=y@example.net")), "{path}");
                assert!(paths.is_for(&bounced, "ann+X=y@example.net") && !paths.is_for(&bounced, "bob@example.net"));
            }
        }
        let long = format!("{}@example.net", "long".repeat(15));
        for recipient in [&long[..], "\"a b\"@example.net", "grün@example.net", "a@[192.0.2.1]", "nothing"] {
            let path = paths.encode(QueueId(77), recipient);
            let bounced = back(&path.to_uppercase()).expect("ours");
            assert_eq!((bounced.queue, bounced.recipient()), (QueueId(77), None), "{path}");
            assert!(paths.is_for(&bounced, recipient) && !paths.is_for(&bounced, "bob@example.net"));
        }
    }

    #[test]
    fn forgeries_are_not_ours() {
        let path = paths("secret").encode(QueueId(77), "ann@example.net");
        assert!(path.starts_with("b-aaaaaaaaaaacn-") && path.ends_with("-ann=example.net@example.org"), "{path}");
        assert_eq!(back(&path.replace("ann=", "bob=")), None);
        assert_eq!(back(&path.replace("acn-", "aco-")), None);
        assert_eq!(back(&path.replace("@example.org", "@example.com")), None);
        let elsewhere =
            paths("secret").encode_at(&Domain::parse("example.com").expect("a domain"), QueueId(77), "ann@example.net");
        assert_eq!(elsewhere, path.replace("@example.org", "@example.com"));
        assert_eq!(paths("secret").decode_local(elsewhere.split('@').next().expect("a name")), back(&path));
        assert_eq!(back("b-x-y-z@example.org"), None);
        assert_eq!(back("b@example.org"), None);
        assert_eq!(back("bob@example.org"), None);
        let address = Address::parse(&path).expect("an address");
        assert_eq!(paths("other").decode(&address), None);
        assert!(paths("other").also(b"secret").decode(&address).is_some());
    }

    #[test]
    fn prefixes_are_made_plain() {
        let odd = ReturnPath::new(Domain::parse("example.org").expect("a domain"), "-@\r\n", b"s");
        assert!(odd.encode(QueueId(1), "a@b").starts_with("bounce-"));
    }

    proptest! {
        #[test]
        fn every_path_is_an_address_and_returns(queue: i64, recipient in "\\PC{0,80}") {
            let path = paths("secret").encode(QueueId(queue), &recipient);
            let bounced = back(&path).expect("ours");
            prop_assert_eq!(bounced.queue, QueueId(queue));
            prop_assert!(paths("secret").is_for(&bounced, &recipient));
        }
    }
}
