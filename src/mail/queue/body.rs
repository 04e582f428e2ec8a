//! A stored message's octets on their way out.

use bytes::Bytes;
use posthorn_model::MessageId;
use posthorn_store::messages;
use posthorn_store::queue;

use crate::departures::Octets;
use crate::{Error, Mail, Result};

/// Larger messages are read piece by piece.
const WHOLE: u64 = 4 << 20;

/// The octets of a message that leaves.
#[derive(Debug)]
pub enum Body {
    /// A message that fits into memory well.
    Whole(Octets),
    /// A large one.
    Parts(Parts),
}

/// A large message: its header, and its text piece by piece.
#[derive(Debug)]
pub struct Parts {
    /// The header with its blank line, as it leaves.
    pub header: Bytes,
    message: MessageId,
    /// The piece that was read with the header.
    first: Option<Bytes>,
    next: i32,
    /// Octets that are still to come behind the first piece.
    left: u64,
}

impl Parts {
    /// The next piece of text, about a MiB; `None` behind the last.
    ///
    /// # Errors
    /// When the store cannot be read, or a piece is missing.
    pub async fn next(&mut self, mail: &Mail) -> Result<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let mut connection = mail.store.acquire().await?;
        let part = messages::part(&mut connection, self.message, self.next).await?;
        self.next += 1;
        self.left = self.left.saturating_sub(part.as_ref().map_or(0, |part| part.len() as u64));
        match part {
            // Half a message is not to be taken for all of it.
            None if self.left > 0 => Err(Error::Structure),
            part => Ok(part.map(Bytes::from)),
        }
    }
}

pub(super) async fn open(mail: &Mail, message: MessageId, size: u64) -> Result<Option<Body>> {
    let mut connection = mail.store.acquire().await?;
    if size <= WHOLE {
        let Some(octets) = queue::body(&mut connection, message).await? else { return Ok(None) };
        let whole = Bytes::from(octets.whole);
        if (whole.len() as u64) < size {
            return Err(Error::Structure);
        }
        let header_size = octets.header_size.min(whole.len());
        let octets = Octets::leaving(whole.slice(..header_size), whole.slice(header_size..));
        return Ok(Some(Body::Whole(octets)));
    }
    let Some((_, header)) = messages::headers(&mut connection, &[message.0]).await?.pop() else { return Ok(None) };
    let Some(first) = messages::part(&mut connection, message, 0).await? else { return Ok(None) };
    let text = Bytes::from(first);
    if header.len() > text.len() {
        return Err(Error::Structure);
    }
    let left = size.saturating_sub(text.len() as u64);
    let Octets { header, text } = Octets::leaving(text.slice(..header.len()), text.slice(header.len()..));
    Ok(Some(Body::Parts(Parts { header, message, first: Some(text), next: 1, left })))
}
