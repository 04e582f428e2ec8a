//! The one driver of client machines: reads, writes, deadlines and the TLS upgrade of a connection that we made.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use posthorn_wire::{Machine, Step};
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use crate::egress::{Link, LinkFacts, TlsClient, TlsFailure, TlsTerms};
use crate::intake::Intake;
use crate::outbox::Outbox;
use crate::stream::Stream;

/// A client machine and the connection that it speaks over. Dropping it closes the connection at once.
pub struct Caller<M> {
    machine: M,
    stream: Stream,
    facts: LinkFacts,
    tls: TlsClient,
    terms: TlsTerms,
    outbox: Outbox,
    intake: Intake,
    /// Written octets may still be inside TLS.
    unflushed: bool,
    /// The other side must take something by then; set while it does not.
    write_by: Option<Instant>,
    write_time: Duration,
    /// The machine's deadline that was reported to it last.
    expired: Option<Instant>,
    /// Nothing can be sent any more; what was received is still read.
    deaf: Option<(Parted, Instant)>,
    parted: Option<Parted>,
    sent: u64,
    received: u64,
}

/// What a session came to.
#[derive(Debug)]
pub enum Called<E> {
    /// The session is over, and so are its events.
    Closed(Parted),
    /// The machine tells; answer through [`Caller::machine`] if it asks, then call [`Caller::next`] again.
    Event(E),
}

/// How a session ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Parted {
    /// The other side closed without a goodbye.
    Eof,
    /// The machine closed, in its protocol's words.
    Finished,
    /// Octets came behind the answer to STARTTLS before the handshake: somebody injected them.
    Injected,
    /// The stream failed.
    Io(io::ErrorKind),
    /// The other side sent more than any session may hold.
    Overrun,
    /// The TLS handshake failed, or what was demanded of it.
    Tls(TlsFailure),
    /// The other side took nothing for too long.
    Unread,
}

impl std::fmt::Display for Parted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Eof => f.write_str("the server closed the connection"),
            Self::Finished => f.write_str("the session is over"),
            Self::Injected => f.write_str("octets came before the TLS handshake that had no place there"),
            Self::Io(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                f.write_str("the server broke the connection off")
            }
            Self::Io(kind) => write!(f, "the connection failed: {kind}"),
            Self::Overrun => f.write_str("the server sent an answer without end"),
            Self::Tls(failure) => failure.fmt(f),
            Self::Unread => f.write_str("the server took no more octets"),
        }
    }
}

impl<M: Machine> Caller<M> {
    /// Lets `machine` speak over `link`; `terms` hold when it upgrades to TLS.
    #[must_use]
    pub fn new(mut machine: M, link: Link, tls: TlsClient, terms: TlsTerms) -> Self {
        let Link { stream, facts, secured } = link;
        if let Some(secured) = secured {
            machine.secured(secured);
        }
        Self {
            machine,
            stream,
            facts,
            tls,
            terms,
            outbox: Outbox::default(),
            intake: Intake::default(),
            unflushed: false,
            write_by: None,
            write_time: WRITE_TIME,
            expired: None,
            deaf: None,
            parted: None,
            sent: 0,
            received: 0,
        }
    }

    /// How long the other side may take nothing while there is something to send; 3 minutes otherwise
    /// (RFC 5321 §4.5.3.2.5).
    #[must_use]
    pub fn with_write_time(mut self, time: Duration) -> Self {
        self.write_time = time;
        self
    }

    /// The machine, for what its owner has to say.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// What is known of the connection, TLS included as soon as it is up.
    #[must_use]
    pub fn facts(&self) -> &LinkFacts {
        &self.facts
    }

    /// Octets sent so far, counted as plain text.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Octets received so far, counted as plain text.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Drives the machine until it has an event or the session is over.
    ///
    /// While the machine waits for its owner's word, this waits for what the other side does unasked: so an idle
    /// session notices at once that it is closed. The future may be dropped, except during a TLS handshake, where
    /// that ends the session. After [`Called::Closed`] the same comes again.
    pub async fn next(&mut self) -> Called<M::Event> {
        loop {
            if let Some(parted) = &self.parted {
                match self.machine.poll(Instant::now().into_std()) {
                    Step::Event(event) => return Called::Event(event),
                    // It has not noticed yet.
                    Step::Output(_) => continue,
                    _ => return Called::Closed(parted.clone()),
                }
            }
            let stepped = match self.step() {
                Ok(Paused::Closed) => {
                    self.say_goodbye().await;
                    Err(Parted::Finished)
                }
                Ok(Paused::Event(event)) => return Called::Event(event),
                Ok(Paused::StartTls) => self.start_tls().await,
                Ok(Paused::Full) => self.exchange(false).await,
                Ok(Paused::Waiting) => self.exchange(true).await,
                Err(parted) => Err(parted),
            };
            if let Err(parted) = stepped {
                self.part(parted);
            }
        }
    }

    /// Sends what the machine has, waiting for the other side to take it: between the pieces of a large body. `None`:
    /// all is sent, go on. Anything else must be handled like the outcome of [`Caller::next`].
    pub async fn flush(&mut self) -> Option<Called<M::Event>> {
        loop {
            if self.parted.is_some() {
                return Some(self.next().await);
            }
            let sent = match self.step() {
                Ok(Paused::Event(event)) => return Some(Called::Event(event)),
                Ok(Paused::Full) => self.exchange(false).await,
                Ok(Paused::Waiting) if self.is_sent() && self.deaf.is_none() => return None,
                Ok(Paused::Waiting) => self.exchange(self.deaf.is_some()).await,
                Ok(Paused::Closed | Paused::StartTls) => return Some(self.next().await),
                Err(parted) => Err(parted),
            };
            if let Err(parted) = sent {
                self.part(parted);
            }
        }
    }

    /// Polls the machine until it wants something that is not output, or there is enough to send.
    fn step(&mut self) -> Result<Paused<M::Event>, Parted> {
        loop {
            return match self.machine.poll(Instant::now().into_std()) {
                Step::AwaitAnswer | Step::NeedInput if self.machine.buffer().len() >= BUFFER_LIMIT => {
                    Err(Parted::Overrun)
                }
                Step::AwaitAnswer | Step::NeedInput => Ok(Paused::Waiting),
                Step::Closed => Ok(Paused::Closed),
                Step::Event(event) => Ok(Paused::Event(event)),
                Step::Output(_) if self.deaf.is_some() => continue,
                Step::Output(bytes) => {
                    self.outbox.push(bytes);
                    if self.outbox.len() >= GATHER_LIMIT {
                        return Ok(Paused::Full);
                    }
                    continue;
                }
                Step::StartTls => Ok(Paused::StartTls),
            };
        }
    }

    /// Sends and receives, until something was received or a deadline passed; unless `wait`, also until everything is
    /// sent.
    async fn exchange(&mut self, wait: bool) -> Result<(), Parted> {
        self.outbox.settle();
        let deadline = self.machine.deadline().map(Instant::from_std);
        let gone = self.deaf.as_ref().map(|(_, until)| *until);
        if self.write_by.is_none() && self.outbox.len() > 0 {
            self.write_by = Some(Instant::now() + self.write_time);
        }
        let alarm = deadline.into_iter().chain(self.write_by).chain(gone).min();
        // Looked at first: a server that always has something to say must not put the deadlines off.
        if alarm.is_some_and(|alarm| alarm <= Instant::now()) {
            return self.ring(deadline);
        }
        tokio::select! {
            biased;
            moved = poll_fn(|cx| self.poll_exchange(cx, wait)) => moved,
            () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => self.ring(deadline),
        }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>, wait: bool) -> Poll<Result<(), Parted>> {
        if self.deaf.is_none()
            && let Poll::Ready(Err(error)) = self.poll_send(cx)
        {
            // What the server said before it broke off says why, and is worth a moment.
            self.deaf = Some((Parted::Io(error.kind()), Instant::now() + LAST_WORDS_TIME));
            self.outbox.clear();
            self.unflushed = false;
            self.write_by = None;
            return Poll::Ready(Ok(()));
        }
        let over = match self.intake.poll(cx, &mut self.stream, self.machine.buffer()) {
            Poll::Ready(Ok(0)) => Parted::Eof,
            Poll::Ready(Ok(count)) => {
                self.received += count as u64;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Parted::Eof,
            Poll::Ready(Err(error)) => Parted::Io(error.kind()),
            Poll::Pending if !wait && self.is_sent() => return Poll::Ready(Ok(())),
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Err(self.deaf.take().map_or(over, |(first, _)| first)))
    }

    /// Writes what waits; ready when all of it is on its way.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outbox.len() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.outbox.slices(&mut slices);
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count])? else {
                return Poll::Pending;
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.sent(written);
            self.sent += written as u64;
            self.unflushed = true;
            self.write_by = Some(Instant::now() + self.write_time);
        }
        if self.unflushed {
            let Poll::Ready(()) = Pin::new(&mut self.stream).poll_flush(cx)? else { return Poll::Pending };
            self.unflushed = false;
        }
        self.write_by = None;
        Poll::Ready(Ok(()))
    }

    fn is_sent(&self) -> bool {
        self.outbox.len() == 0 && !self.unflushed
    }

    /// A deadline passed: the machine's, or that for sending.
    fn ring(&mut self, deadline: Option<Instant>) -> Result<(), Parted> {
        let now = Instant::now();
        if self.deaf.as_ref().is_some_and(|(_, until)| *until <= now)
            && let Some((parted, _)) = self.deaf.take()
        {
            return Err(parted);
        }
        if self.write_by.is_some_and(|by| by <= now) {
            return Err(Parted::Unread);
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            if self.expired == deadline {
                tracing::error!("a client machine ignores its own deadline");
                return Err(Parted::Overrun);
            }
            self.expired = deadline;
            self.machine.expire();
        }
        Ok(())
    }

    /// The upgrade that the machine asked for. Plain text behind the server's answer never reaches the new session.
    async fn start_tls(&mut self) -> Result<(), Parted> {
        while !self.is_sent() && self.machine.buffer().is_empty() {
            self.exchange(false).await?;
        }
        if !self.machine.buffer().is_empty() {
            return Err(Parted::Injected);
        }
        *self.machine.buffer() = BytesMut::new();
        let stream = std::mem::replace(&mut self.stream, Stream::Gone);
        let (stream, facts, secured) = self.tls.handshake(stream, &self.terms).await.map_err(Parted::Tls)?;
        self.stream = stream;
        self.facts.tls = Some(facts);
        self.machine.secured(secured);
        Ok(())
    }

    /// Sends the machine's last words and closes.
    async fn say_goodbye(&mut self) {
        self.outbox.settle();
        let last = async {
            poll_fn(|cx| self.poll_send(cx)).await?;
            self.stream.shutdown().await
        };
        let _ = timeout(GOODBYE_TIME, last).await;
    }

    fn part(&mut self, parted: Parted) {
        if parted != Parted::Finished {
            self.machine.lost();
        }
        self.machine.buffer().clear();
        self.outbox.clear();
        self.stream = Stream::Gone;
        self.parted = Some(parted);
    }
}

impl<M> std::fmt::Debug for Caller<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("facts", &self.facts).field("parted", &self.parted).finish_non_exhaustive()
    }
}

enum Paused<E> {
    Closed,
    Event(E),
    Full,
    StartTls,
    Waiting,
}

/// Output is sent when this much is waiting.
const GATHER_LIMIT: usize = 64 * 1024;
/// No client reads this much before it makes something of it.
const BUFFER_LIMIT: usize = 1024 * 1024;
const SLICES: usize = 32;
const WRITE_TIME: Duration = Duration::from_mins(3);
const LAST_WORDS_TIME: Duration = Duration::from_secs(2);
const GOODBYE_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
