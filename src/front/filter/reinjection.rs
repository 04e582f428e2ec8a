//! Judged mail goes on to the next hop, over connections that stay open.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use posthorn_config::ServiceAddress;
use posthorn_net::egress::{DialOptions, Target, TlsClient, TlsDemand, TlsTerms, dial};
use posthorn_net::{Called, Caller};
use posthorn_smtp::{
    Attribute, BodyType, Client, ClientEvent, ClientFailure, ClientOptions, ClientTls, Dialect, Envelope, Extension,
    Reply,
};
use tokio::time::Instant;

/// The way on to all next hops.
pub(super) struct Reinjection {
    /// What we call ourselves.
    name: String,
    tls: TlsClient,
    /// Connections that nobody uses, by next hop; the one used last behind.
    kept: Mutex<HashMap<String, VecDeque<Kept>>>,
    /// What next hops offered last.
    known: Mutex<HashMap<String, Known>>,
}

/// What a next hop is known to take; whom nobody has asked yet takes all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Known {
    /// 8BITMIME.
    pub(super) eight_bits: bool,
    /// SMTPUTF8.
    pub(super) utf8: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self { eight_bits: true, utf8: true }
    }
}

struct Kept {
    caller: Caller<Client>,
    used: Instant,
}

/// Where mail goes on.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    /// The server.
    pub(super) address: ServiceAddress,
    /// What it speaks.
    pub(super) dialect: Dialect,
    /// How long it may take for one answer.
    pub(super) time: Duration,
    /// The most connections to it that are kept.
    pub(super) most: usize,
}

/// One message for it.
pub(super) struct Message<'a> {
    pub(super) envelope: &'a Envelope,
    /// What is said of the original client.
    pub(super) forwarded: &'a [Attribute],
    /// The message, in order.
    pub(super) pieces: &'a [Bytes],
}

/// A server that closes sessions of its own accord does so after five minutes, most of them.
const FRESH: Duration = Duration::from_secs(60);

/// What a session came to.
enum Said {
    /// One reply per recipient.
    Replies(Vec<Reply>),
    /// The connection was gone before the server heard of the message.
    Unheard(String),
    Failed(String),
}

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = if self.dialect == Dialect::Lmtp { "lmtp" } else { "smtp" };
        write!(f, "{protocol}:{}", self.address)
    }
}

impl Reinjection {
    pub(super) fn new(name: String, tls: TlsClient) -> Self {
        Self { name, tls, kept: Mutex::default(), known: Mutex::default() }
    }

    /// What a next hop offered last.
    pub(super) fn known(&self, hop: &Hop) -> Known {
        self.known.lock().get(&hop.to_string()).copied().unwrap_or_default()
    }

    /// Begins a message on a session that is ready for it; in words, why that cannot be.
    fn begin(&self, key: &str, machine: &mut Client, message: &Message<'_>) -> Result<(), String> {
        let offers = |extension| machine.capabilities().offers(extension);
        let now = Known { eight_bits: offers(Extension::EightBitMime), utf8: offers(Extension::SmtpUtf8) };
        {
            let mut known = self.known.lock();
            if known.len() >= MOST_KNOWN && !known.contains_key(key) {
                known.clear();
            }
            known.insert(key.to_owned(), now);
        }
        let declared = message.envelope.sender.body == BodyType::EightBit;
        if declared && !now.eight_bits && message.pieces.iter().any(|piece| !piece.is_ascii()) {
            // RFC 6152 §3: it is not sent on as it is. The mail server makes seven bits of it in its next session.
            return Err("it takes seven bits only, try again".to_owned());
        }
        machine.forward(message.forwarded);
        machine.send(message.envelope);
        Ok(())
    }

    /// Hands a message on: one reply per recipient, or in words why there is none.
    pub(super) async fn send(&self, hop: &Hop, message: &Message<'_>) -> Result<Vec<Reply>, String> {
        let key = hop.to_string();
        // A connection that was kept may have been closed long ago, which says nothing.
        while let Some(caller) = self.take_kept(&key) {
            match self.converse(hop, &key, caller, message, true).await {
                Said::Replies(replies) => return Ok(replies),
                Said::Failed(why) => return Err(why),
                Said::Unheard(_) => {}
            }
        }
        let caller = self.call(hop).await?;
        match self.converse(hop, &key, caller, message, false).await {
            Said::Replies(replies) => Ok(replies),
            Said::Failed(why) | Said::Unheard(why) => Err(why),
        }
    }

    fn take_kept(&self, key: &str) -> Option<Caller<Client>> {
        let mut all = self.kept.lock();
        let kept = all.get_mut(key)?;
        kept.retain(|one| one.used.elapsed() < FRESH);
        let last = kept.pop_back();
        if kept.is_empty() {
            all.remove(key);
        }
        last.map(|one| one.caller)
    }

    fn keep(&self, key: &str, most: usize, caller: Caller<Client>) {
        let mut all = self.kept.lock();
        // Where the next hop is the client's address, there may be many.
        all.retain(|_, kept| kept.back().is_some_and(|one| one.used.elapsed() < FRESH));
        let kept = all.entry(key.to_owned()).or_default();
        if kept.len() < most {
            kept.push_back(Kept { caller, used: Instant::now() });
        }
    }

    async fn call(&self, hop: &Hop) -> Result<Caller<Client>, String> {
        let (target, near) = match &hop.address {
            ServiceAddress::Tcp(address) => (Target::Tcp(vec![*address]), address.ip().to_canonical().is_loopback()),
            ServiceAddress::Unix(path) => (Target::Unix(path.clone()), true),
        };
        let options = DialOptions { connect_time: hop.time.min(CONNECT), ..DialOptions::default() };
        let link = dial(&target, &options).await.map_err(|failure| failure.to_string())?;
        let options = ClientOptions {
            tls: if near { ClientTls::Never } else { ClientTls::IfOffered },
            reply_wait: hop.time,
            final_wait: hop.time,
            ..ClientOptions::new(hop.dialect, self.name.clone())
        };
        let terms = TlsTerms { demand: TlsDemand::Opportunistic, server_name: String::new(), time: hop.time };
        let machine = Client::new(options, Instant::now().into_std());
        Ok(Caller::new(machine, link, self.tls.clone(), terms).with_write_time(hop.time))
    }

    async fn converse(
        &self,
        hop: &Hop,
        key: &str,
        mut caller: Caller<Client>,
        message: &Message<'_>,
        ready: bool,
    ) -> Said {
        let mut replies = Replies { all: vec![None; message.envelope.recipients.len()], heard: false };
        let mut begun = ready;
        if ready && let Err(why) = self.begin(key, caller.machine(), message) {
            self.keep(key, hop.most, caller);
            return Said::Failed(why);
        }
        let why = loop {
            match caller.next().await {
                Called::Event(ClientEvent::Ready) if begun => {
                    self.keep(key, hop.most, caller);
                    return Said::Replies(replies.whole("the next hop did not answer for it"));
                }
                Called::Event(ClientEvent::Ready) => {
                    begun = true;
                    if let Err(why) = self.begin(key, caller.machine(), message) {
                        self.keep(key, hop.most, caller);
                        return Said::Failed(why);
                    }
                }
                Called::Event(ClientEvent::BodyWanted) => {
                    for piece in message.pieces {
                        caller.machine().body(piece.clone());
                    }
                    caller.machine().body_end();
                }
                Called::Event(ClientEvent::Failed(failure)) => break words(failure),
                Called::Event(event) => replies.take(event),
                Called::Closed(parted) => break parted.to_string(),
            }
        };
        if replies.all.iter().any(Option::is_some) {
            // LMTP: some have their reply already.
            return Said::Replies(replies.whole(&why));
        }
        if ready && !replies.heard { Said::Unheard(why) } else { Said::Failed(why) }
    }
}

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(20);

/// Where the next hop is the client's address, there may be many.
const MOST_KNOWN: usize = 1000;

/// What was said to each recipient so far.
struct Replies {
    all: Vec<Option<Reply>>,
    heard: bool,
}

impl Replies {
    fn take(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Sender(reply) => {
                self.heard = true;
                if !reply.is_positive() {
                    self.all.iter_mut().for_each(|one| *one = Some(reply.clone()));
                }
            }
            ClientEvent::Recipient { at, reply } if !reply.is_positive() => {
                if let Some(one) = self.all.get_mut(at) {
                    one.get_or_insert(reply);
                }
            }
            ClientEvent::Done(results) => {
                for (at, reply) in results {
                    if let Some(one) = self.all.get_mut(at) {
                        *one = Some(reply);
                    }
                }
            }
            _ => {}
        }
    }

    fn whole(self, otherwise: &str) -> Vec<Reply> {
        let missing = || Reply::new(451, 5, 0, otherwise.to_owned());
        self.all.into_iter().map(|one| one.unwrap_or_else(missing)).collect()
    }
}

fn words(failure: ClientFailure) -> String {
    match failure {
        ClientFailure::Refused(reply) => format!("it refuses the session: {} {}", reply.code, reply.text),
        ClientFailure::Silent => "it did not answer in time".to_owned(),
        ClientFailure::TlsNotOffered => "it offers no TLS".to_owned(),
        ClientFailure::Malformed | ClientFailure::TooLong | ClientFailure::Injection => {
            "it does not speak the protocol".to_owned()
        }
    }
}
