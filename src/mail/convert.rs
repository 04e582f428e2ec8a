//! Messages for hosts that take nothing but seven bits (RFC 6152 §3, RFC 3030 §3): converted on the way out, and signed
//! anew.

use bytes::Bytes;
use posthorn_mime::{Unconvertible, fields, header_end, seven_bit};
use posthorn_model::Domain;
use posthorn_store::chronicle::TraceEntry;
use posthorn_store::queue::Outgoing;
use posthorn_trust::sign;

use crate::accept::LARGE;
use crate::departures::Octets;
use crate::queue::Body;
use crate::trace::object;
use crate::{Error, Mail, Reservation, Result};

/// What became of a message.
#[derive(Debug)]
pub enum Narrowed {
    /// It takes seven bits now.
    Done(Narrow),
    /// There is no memory for it at the moment.
    Busy,
    /// It cannot be converted.
    Impossible(Unconvertible),
}

/// A message that was converted.
#[derive(Debug)]
pub struct Narrow {
    /// Header and text.
    pub octets: Octets,
    /// What goes on top of it, in the place of [`Outgoing::top`].
    pub top: Option<Bytes>,
    /// Gives the memory back when it is dropped: keep it as long as the octets.
    pub held: Reservation,
}

impl Narrow {
    /// Octets with what is on top.
    #[must_use]
    pub fn size(&self) -> u64 {
        (self.octets.len() + self.top.as_ref().map_or(0, Bytes::len)) as u64
    }
}

impl Mail {
    /// Converts a message for a host that takes seven bits only. Our own signatures, which do not hold any longer, are made
    /// anew where their keys are at hand, and left out else; so is our seal on what is sent on. The trace is told.
    ///
    /// # Errors
    /// When the message or the keys cannot be read.
    pub async fn narrow(&self, outgoing: &Outgoing, body: Body, host: &str) -> Result<Narrowed> {
        let mut held = self.shared.budget.reserve();
        // The message, and what becomes of it.
        let needed = usize::try_from(outgoing.size).unwrap_or(usize::MAX).saturating_mul(3);
        if !held.grow(needed) {
            return Ok(Narrowed::Busy);
        }
        let raw = self.whole(body).await?;
        let size = raw.len();
        let converted = if size < LARGE {
            seven_bit(&raw)
        } else {
            tokio::task::spawn_blocking(move || seven_bit(&raw)).await.map_err(|_| Error::Internal)?
        };
        let octets = match converted {
            Ok(octets) => Bytes::from(octets),
            Err(why) => return Ok(Narrowed::Impossible(why)),
        };
        let end = header_end(&octets).unwrap_or(octets.len());
        let own = own_signatures(&octets[..end]);
        let header = octets.slice(own.size..end);
        let text = octets.slice(end..);
        let signed = self.sign_again(&own.domains, &header, &text).await?;
        let words = match (own.domains.is_empty(), signed.is_empty()) {
            (true, _) => "a signature that it bears does not hold any longer",
            (false, false) => "signed anew",
            (false, true) => "our signature is left out: its key is not at hand",
        };
        let top = [outgoing.top.as_deref().map(without_seal).unwrap_or_default(), signed].concat();
        let detail = object([
            ("host", host.into()),
            ("why", "the host does not take what is not seven bits wide".into()),
            ("signature", words.into()),
            ("size", (header.len() + text.len() + top.len()).into()),
        ]);
        let entry = self.entry(outgoing.message, "converted", detail);
        self.store.chronicle().tell(TraceEntry { outgoing: Some(outgoing.id), ..entry });
        let top = (!top.is_empty()).then(|| Bytes::from(top));
        Ok(Narrowed::Done(Narrow { octets: Octets { header, text }, top, held }))
    }

    async fn whole(&self, body: Body) -> Result<Bytes> {
        match body {
            Body::Whole(octets) => Ok(Bytes::from([&octets.header[..], &octets.text].concat())),
            Body::Parts(mut parts) => {
                let mut whole = parts.header.to_vec();
                while let Some(piece) = parts.next(self).await? {
                    whole.extend_from_slice(&piece);
                }
                Ok(Bytes::from(whole))
            }
        }
    }

    async fn sign_again(&self, domains: &[Domain], header: &Bytes, text: &Bytes) -> Result<Vec<u8>> {
        let mut signers = Vec::new();
        for domain in domains {
            signers.extend(self.signers(domain).await?.iter().cloned());
        }
        let (header, text, now) = (header.clone(), text.clone(), self.now());
        if text.len() < LARGE {
            return sign(&signers, &header, &text, now).map_err(Error::Signing);
        }
        let task = tokio::task::spawn_blocking(move || sign(&signers, &header, &text, now));
        task.await.map_err(|_| Error::Internal)?.map_err(Error::Signing)
    }
}

/// The signatures that we wrote.
struct Own {
    /// Octets that they take at the top of the header.
    size: usize,
    domains: Vec<Domain>,
}

/// The signatures at the very top: what others signed lies below our Received field.
fn own_signatures(header: &[u8]) -> Own {
    let mut own = Own { size: 0, domains: Vec::new() };
    for field in fields(header).take_while(|field| field.is("DKIM-Signature")) {
        own.size += field.raw.len();
        let value = field.unfolded();
        let tags = value.split(|b| *b == b';').filter_map(|tag| std::str::from_utf8(tag).ok()?.trim().split_once('='));
        let domain =
            tags.filter(|(name, _)| name.trim() == "d").find_map(|(_, value)| Domain::parse(value.trim()).ok());
        if let Some(domain) = domain.filter(|domain| !own.domains.contains(domain)) {
            own.domains.push(domain);
        }
    }
    own
}

/// What a copy bears on top, without the ARC set whose seal is broken: none is better than one that fails (RFC 8617 §5.2).
fn without_seal(top: &[u8]) -> Vec<u8> {
    let kept =
        fields(top).filter(|field| !field.name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"ARC-")));
    kept.flat_map(|field| field.raw.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_signatures_are_at_the_top() {
        let header = b"DKIM-Signature: v=1; a=rsa-sha256;\r\n\td=example.org; s=a\r\nDKIM-Signature: v=1; d=example.org; s=b\r\n\
            Received: x\r\nDKIM-Signature: v=1; d=other.example; s=c\r\n\r\n";
        let own = own_signatures(header);
        assert_eq!(own.domains.iter().map(Domain::as_str).collect::<Vec<_>>(), ["example.org"]);
        assert!(header[own.size..].starts_with(b"Received: x"));
        assert_eq!(own_signatures(b"Received: x\r\n\r\n").size, 0);
    }

    #[test]
    fn a_broken_seal_is_left_out() {
        let top = b"ARC-Seal: i=1; a\r\n\tb\r\nARC-Message-Signature: x\r\nARC-Authentication-Results: y\r\nDelivered-To: a@b.org\r\n";
        assert_eq!(without_seal(top), b"Delivered-To: a@b.org\r\n");
    }
}
