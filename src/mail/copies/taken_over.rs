//! Held mail of another program's is held here, under the name that it has.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use posthorn_model::MessageId;
use posthorn_store::filter::held::{self, NewHeld};
use posthorn_store::writer::Parcel;

use crate::accept::passing;
use crate::{Mail, Result};

impl Mail {
    /// Whether a message of this name is or was held here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn knows_held(&self, mail_id: &str) -> Result<bool> {
        Ok(held::find(&mut *self.store.acquire().await?, mail_id).await?.is_some())
    }

    /// Holds a message that another program held since `at`: what is not known of it is read from its header. One commit.
    ///
    /// # Errors
    /// When the commit failed.
    pub async fn take_over(&self, octets: &Bytes, at: DateTime<Utc>, seed: u32, new: NewHeld) -> Result<MessageId> {
        let id = posthorn_store::Store::message_id_at(at, seed);
        let message = passing(id, octets, at);
        let header_id = new.header_id.or_else(|| message.message_id.clone());
        let size = octets.len() as u64;
        let new = NewHeld { message: id, at, header_id, size, ..new };
        let parcel = Parcel { messages: vec![(message, Vec::new())], held: vec![new], ..Parcel::default() };
        self.store.deliver(parcel).await?;
        Ok(id)
    }
}
