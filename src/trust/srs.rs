//! The Sender Rewriting Scheme: envelope senders of forwarded mail that pass SPF (RFC 7208) at the next host and still
//! find the way back.
//!
//! `SRS0=proof=day=domain=local` stands for an original sender; `SRS1=proof=host==…` for an address that another host
//! has already rewritten, so that addresses do not grow at every hop.
//!
//! Proofs are those of all other implementations (HMAC-SHA-1 over the parts in small letters, the first letters of its
//! base 64, held against without regard to case): with one secret, servers of both kinds read each other's addresses, and
//! addresses that a predecessor gave out stay good.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use posthorn_model::{Address, Domain};

use crate::base32;

/// Letters of a proof that we write: as many as others read, and more than the usual four, since hosts on the way fold
/// case and leave hardly five bits in each.
const LETTERS: usize = 6;
/// Letters of a proof that others write.
const FEWEST_LETTERS: usize = 4;
/// Days come round after so many: two letters.
const DAYS: i64 = 1024;

/// Rewrites senders and back.
#[derive(Debug)]
pub struct Srs {
    domain: Domain,
    /// The first one signs, all are believed.
    provers: Vec<Prover>,
    days: i64,
}

/// A secret that addresses are proved with.
struct Prover(hmac::Key);

impl Prover {
    fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret))
    }

    /// The proof of some parts, in so many letters of at most six bits each.
    fn prove(&self, parts: &[&str], letters: usize) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part.to_ascii_lowercase().as_bytes());
        }
        let mut proof = BASE64.encode(context.sign());
        proof.truncate(letters);
        proof
    }

    /// Whether a proof is right; takes the same time wherever it is wrong.
    fn holds(&self, parts: &[&str], proof: &str) -> bool {
        let right = self.prove(parts, proof.len()).to_ascii_lowercase();
        let same = constant_time::verify_slices_are_equal(right.as_bytes(), proof.to_ascii_lowercase().as_bytes());
        proof.len() >= FEWEST_LETTERS && same.is_ok()
    }
}

impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prover(secret)")
    }
}

/// Why an address was not rewritten.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SrsFault {
    /// The local part would be longer than 64 octets (RFC 5321 §4.5.3.1.1).
    #[error("the rewritten address would be too long")]
    TooLong,
    /// It is no rewritten address of ours.
    #[error("not a rewritten address")]
    NotRewritten,
    /// We did not write it, or somebody changed it.
    #[error("the proof in the address is wrong")]
    Forged,
    /// It was written too long ago.
    #[error("the address has expired")]
    Expired,
}

impl Srs {
    /// Rewrites to a domain; addresses are believed for so many days (1 to 1 000).
    #[must_use]
    pub fn new(domain: Domain, secret: &[u8], days: u32) -> Self {
        Self { domain, provers: vec![Prover::new(secret)], days: i64::from(days.clamp(1, 1000)) }
    }

    /// Also believes what an older secret signed.
    #[must_use]
    pub fn also(mut self, older: &[u8]) -> Self {
        self.provers.push(Prover::new(older));
        self
    }

    /// The domain that rewritten addresses have.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The sender to use for a forwarded message. A sender of our own domain stays as it is.
    ///
    /// # Errors
    /// [`SrsFault::TooLong`]; a [`crate::ReturnPath`] is then the way.
    pub fn forward(&self, sender: &Address, now: DateTime<Utc>) -> Result<Address, SrsFault> {
        if *sender.domain() == self.domain {
            return Ok(sender.clone());
        }
        let signing = &self.provers[0];
        let local = match Rewritten::of(sender.local()) {
            Some(Rewritten::First { rest }) => {
                let host = sender.domain().as_str();
                let proof = signing.prove(&[host, rest], LETTERS);
                format!("SRS1={proof}={host}={rest}")
            }
            Some(Rewritten::Again { host, rest, .. }) => {
                let proof = signing.prove(&[host, rest], LETTERS);
                format!("SRS1={proof}={host}={rest}")
            }
            None => {
                let day = base32::encode_number(day(now).unsigned_abs(), 2).to_ascii_uppercase();
                let (domain, local) = (sender.domain().as_str(), sender.local());
                let proof = signing.prove(&[&day, domain, local], LETTERS);
                format!("SRS0={proof}={day}={domain}={local}")
            }
        };
        Address::from_parts(local, self.domain.clone()).map_err(|_| SrsFault::TooLong)
    }

    /// Where mail for a rewritten address goes: the original sender, or the host that rewrote first.
    ///
    /// # Errors
    /// [`SrsFault`] says why it goes nowhere.
    pub fn reverse(&self, address: &Address, now: DateTime<Utc>) -> Result<Address, SrsFault> {
        if *address.domain() != self.domain {
            return Err(SrsFault::NotRewritten);
        }
        match Rewritten::of(address.local()).ok_or(SrsFault::NotRewritten)? {
            Rewritten::First { rest } => self.original(rest, now),
            Rewritten::Again { proof, host, rest } => {
                if !self.provers.iter().any(|one| one.holds(&[host, rest], proof)) {
                    return Err(SrsFault::Forged);
                }
                let host = Domain::parse(host).map_err(|_| SrsFault::Forged)?;
                Address::from_parts(format!("SRS0{rest}"), host).map_err(|_| SrsFault::TooLong)
            }
        }
    }

    fn original(&self, rest: &str, now: DateTime<Utc>) -> Result<Address, SrsFault> {
        let mut parts = rest[1..].splitn(4, '=');
        let (Some(proof), Some(stamp), Some(domain), Some(local)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SrsFault::NotRewritten);
        };
        if !self.provers.iter().any(|one| one.holds(&[stamp, domain, local], proof)) {
            return Err(SrsFault::Forged);
        }
        let written = base32::decode_number(stamp).and_then(|day| i64::try_from(day).ok()).ok_or(SrsFault::Forged)?;
        let age = (day(now) - written).rem_euclid(DAYS);
        // A clock that was a day ahead when it was written makes the age DAYS - 1.
        if age > self.days && age != DAYS - 1 {
            return Err(SrsFault::Expired);
        }
        let domain = Domain::parse(domain).map_err(|_| SrsFault::Forged)?;
        Address::from_parts(local, domain).map_err(|_| SrsFault::Forged)
    }
}

fn day(now: DateTime<Utc>) -> i64 {
    now.timestamp().div_euclid(86_400).rem_euclid(DAYS)
}

/// A local part that is rewritten already, by us or by others, who may part the first word with `=`, `+` or `-`.
enum Rewritten<'a> {
    /// `SRS0` and the rest with its separator.
    First { rest: &'a str },
    /// `SRS1=proof=host=` and the rest with its separator.
    Again { proof: &'a str, host: &'a str, rest: &'a str },
}

impl<'a> Rewritten<'a> {
    fn of(local: &'a str) -> Option<Self> {
        let (word, rest) = local.split_at_checked(4)?;
        if !rest.starts_with(['=', '+', '-']) {
            return None;
        }
        if word.eq_ignore_ascii_case("SRS0") {
            return (rest.matches('=').count() >= 3).then_some(Self::First { rest });
        }
        let mut parts = rest[1..].splitn(3, '=');
        let (proof, host, rest) = (parts.next()?, parts.next()?, parts.next()?);
        (word.eq_ignore_ascii_case("SRS1") && rest.starts_with(['=', '+', '-'])).then_some(Self::Again {
            proof,
            host,
            rest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_223_379 + seconds, 0).expect("in range")
    }

    fn address(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    fn srs(domain: &str, secret: &str) -> Srs {
        Srs::new(Domain::parse(domain).expect("a domain"), secret.as_bytes(), 21)
    }

    #[test]
    fn senders_come_back() {
        let ours = srs("fwd.example", "secret");
        for sender in
            ["bob@example.org", "a=b@example.org", "\"odd one\"@example.org", "SRS0@example.org", "bob@[192.0.2.1]"]
        {
            let sender = address(sender);
            let rewritten = ours.forward(&sender, at(0)).expect("rewritten");
            assert!(rewritten.to_string().ends_with("@fwd.example"));
            assert_eq!(ours.reverse(&rewritten, at(20 * DAY)), Ok(sender.clone()));
            // On the way all may be folded, and written again by a client.
            let folded = address(&rewritten.to_string().to_lowercase());
            assert_eq!(ours.reverse(&folded, at(0)).expect("believed").to_string(), sender.to_string().to_lowercase());
        }
        let rewritten = ours.forward(&address("bob@example.org"), at(0)).expect("rewritten");
        // HMAC-SHA-1 with this secret over JKexample.orgbob, as any other program reckons it.
        assert_eq!(rewritten.local(), "SRS0=/eV8nd=JK=example.org=bob");
        let usual = address("SRS0=/eV8=JK=example.org=bob@fwd.example");
        assert!(ours.reverse(&usual, at(0)).is_ok(), "others write four letters");
        let short = address("SRS0=/eV=JK=example.org=bob@fwd.example");
        assert_eq!(ours.reverse(&short, at(0)), Err(SrsFault::Forged));
        assert!(
            rewritten.local().starts_with("SRS0=") && rewritten.local().ends_with("=example.org=bob"),
            "{rewritten}"
        );
        assert_eq!(rewritten.local().len(), "SRS0=xxxxxx=xx=example.org=bob".len());
    }

    #[test]
    fn our_own_senders_stay() {
        let own = address("bob@fwd.example");
        assert_eq!(srs("fwd.example", "s").forward(&own, at(0)), Ok(own));
    }

    #[test]
    fn chains_of_forwarders_do_not_grow() {
        let (one, two, three) = (srs("one.example", "1"), srs("two.example", "2"), srs("three.example", "3"));
        let sender = address("bob@example.org");
        let first = one.forward(&sender, at(0)).expect("rewritten");
        let second = two.forward(&first, at(0)).expect("rewritten");
        let third = three.forward(&second, at(0)).expect("rewritten");
        assert!(second.local().starts_with("SRS1=") && second.local().contains("=one.example=="), "{second}");
        assert!(third.local().contains("=one.example==") && !third.local().contains("two.example"), "{third}");
        assert_eq!(two.reverse(&second, at(0)), Ok(first.clone()));
        assert_eq!(three.reverse(&third, at(0)), Ok(first.clone()));
        assert_eq!(one.reverse(&first, at(0)), Ok(sender));
    }

    #[test]
    fn forgeries_and_old_ones_go_nowhere() {
        let ours = srs("fwd.example", "secret");
        let rewritten = ours.forward(&address("bob@example.org"), at(0)).expect("rewritten");
        let with = |from: &str, to: &str| address(&rewritten.to_string().replace(from, to));
        assert_eq!(ours.reverse(&with("=bob", "=eve"), at(0)), Err(SrsFault::Forged));
        assert_eq!(ours.reverse(&with("example.org", "example.com"), at(0)), Err(SrsFault::Forged));
        assert_eq!(ours.reverse(&address("bob@fwd.example"), at(0)), Err(SrsFault::NotRewritten));
        assert_eq!(ours.reverse(&address("SRS0=x=y@fwd.example"), at(0)), Err(SrsFault::NotRewritten));
        assert_eq!(ours.reverse(&address("SRS0====@fwd.example"), at(0)), Err(SrsFault::Forged));
        assert_eq!(ours.reverse(&address("SRS1=a=b==c@fwd.example"), at(0)), Err(SrsFault::Forged));
        assert_eq!(srs("other.example", "secret").reverse(&rewritten, at(0)), Err(SrsFault::NotRewritten));
        assert_eq!(srs("fwd.example", "changed").reverse(&rewritten, at(0)), Err(SrsFault::Forged));
        assert!(srs("fwd.example", "changed").also(b"secret").reverse(&rewritten, at(0)).is_ok());
        assert_eq!(ours.reverse(&rewritten, at(23 * DAY)), Err(SrsFault::Expired));
        assert!(ours.reverse(&rewritten, at(-DAY)).is_ok(), "a clock may be set back a little");
        assert_eq!(ours.reverse(&rewritten, at(-5 * DAY)), Err(SrsFault::Expired));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let sender = address(&format!("{}@example.org", "a".repeat(60)));
        assert_eq!(srs("fwd.example", "s").forward(&sender, at(0)), Err(SrsFault::TooLong));
    }

    #[test]
    fn days_come_round() {
        let ours = srs("fwd.example", "s");
        let last = DateTime::from_timestamp(1024 * 20 * DAY - 1, 0).expect("in range");
        let rewritten = ours.forward(&address("bob@example.org"), last).expect("rewritten");
        let later = DateTime::from_timestamp(1024 * 20 * DAY + 5 * DAY, 0).expect("in range");
        assert!(ours.reverse(&rewritten, later).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_is_believed_by_chance(local in "(SRS[01][=+-])?[a-z0-9=+-]{1,50}") {
            if let Ok(address) = Address::from_parts(local, Domain::parse("fwd.example").expect("a domain")) {
                prop_assert!(srs("fwd.example", "secret").reverse(&address, at(0)).is_err());
            }
        }
    }
}
