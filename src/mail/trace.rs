//! What happened to a message, from connect to its end: told as it happens, and read again.

use posthorn_model::{Address, MessageId, QueueId};
use posthorn_store::chronicle::{self, TraceEntry};
use posthorn_store::{Connection, queue};
use serde_json::{Map, Value};

use crate::{Mail, Result};

/// How a message is named to find its trace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TraceOf {
    /// By the Message-ID field, with or without angle brackets.
    Header(String),
    /// By a queue id, or by the id that the reply to the sender named.
    Id(i64),
    /// By a recipient.
    To(Address),
}

/// The whole trace of one message.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Which one.
    pub message: MessageId,
    /// In the order in which it happened.
    pub entries: Vec<TraceEntry>,
    /// Envelopes of it that are still in the queue.
    pub queued: Vec<QueueId>,
}

impl Mail {
    /// The traces of up to `limit` messages, the latest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn trace(&self, of: &TraceOf, limit: u32) -> Result<Vec<Trace>> {
        let mut connection = self.store.acquire().await?;
        let ids = match of {
            TraceOf::Header(text) => {
                let bare = text.trim().trim_start_matches('<').trim_end_matches('>');
                chronicle::by_header_id(&mut connection, bare, limit).await?
            }
            TraceOf::To(address) => {
                chronicle::by_recipient(&mut connection, &address.to_string().to_lowercase(), limit).await?
            }
            TraceOf::Id(id) => {
                let of_queue = chronicle::message_of(&mut connection, QueueId(*id)).await?;
                vec![of_queue.unwrap_or(MessageId(*id))]
            }
        };
        let mut traces = Vec::with_capacity(ids.len());
        for message in ids {
            let entries = chronicle::of_message(&mut connection, message).await?;
            if entries.is_empty() {
                continue;
            }
            let queued = still_queued(&mut connection, &entries).await?;
            traces.push(Trace { message, entries, queued });
        }
        Ok(traces)
    }

    /// An entry for the trace of a message; [`posthorn_store::chronicle::Chronicle::tell`] takes it.
    pub(crate) fn entry(&self, message: MessageId, kind: &'static str, detail: Map<String, Value>) -> TraceEntry {
        TraceEntry {
            message,
            at: self.now(),
            kind: kind.into(),
            outgoing: None,
            header_id: None,
            sender: None,
            recipients: Vec::new(),
            detail: Value::Object(detail).to_string(),
        }
    }
}

async fn still_queued(connection: &mut Connection, entries: &[TraceEntry]) -> Result<Vec<QueueId>> {
    let mut ids: Vec<QueueId> = entries.iter().filter_map(|entry| entry.outgoing).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut queued = Vec::new();
    for id in ids {
        if queue::load(connection, id).await?.is_some() {
            queued.push(id);
        }
    }
    Ok(queued)
}

/// An object of JSON from names and values.
pub(crate) fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect()
}
