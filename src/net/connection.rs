//! The one driver of all protocol machines: reads, writes, deadlines, TLS upgrade, shutdown and wake-ups.

mod attend;

use std::future::poll_fn;
use std::io::IoSlice;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use metrics::counter;
use posthorn_config::{Effective, Listener};
use posthorn_wire::{Machine, Secured, Step};
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsStream;

use crate::caps::Permits;
use crate::doorway::Doorway;
use crate::intake::Intake;
use crate::outbox::Outbox;
use crate::stream::Stream;
use crate::tls::Current;
use crate::vitals::Vitals;
use crate::{Peer, RawConnection, SessionId, Shutdown};

/// A connected client: its stream, the facts about it, the options that hold for it.
///
/// Dropping it closes the stream and gives back its place under all session caps.
pub struct Connection {
    stream: Stream,
    outbox: Outbox,
    intake: Intake,
    peer: Peer,
    options: Arc<Effective>,
    doorway: Arc<Doorway>,
    vitals: Arc<Vitals>,
    /// TLS facts that the machine has not been told yet.
    untold: Option<Secured>,
    /// When everything must be over: set by the soft signal and by the total session time.
    end: Option<Instant>,
    goodbye: bool,
    /// The machine's deadline that was reported to it last.
    expired: Option<Instant>,
    _permits: Permits,
}

/// What a session does next.
#[derive(Debug)]
pub enum Next<E, T> {
    /// The session is over; everything that could be sent was sent.
    Closed(Ended),
    /// The machine asks: answer through it, then call [`Connection::next`] again.
    Event(E),
    /// The future given as `wake` is ready.
    Wake(T),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The server's hard stop, or the grace after a goodbye ran out.
    Cut,
    /// The peer closed its side.
    Eof,
    /// The machine closed, in its protocol's words.
    Finished,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// Bytes arrived behind STARTTLS before the handshake: an injection, or a client that is badly broken.
    Injected,
    /// The stream failed.
    Io(std::io::ErrorKind),
    /// The machine wants more input than any session may hold. A fault of ours.
    Overrun,
    /// The peer did not read for too long.
    Unread,
}

impl Connection {
    pub(crate) fn new(stream: Stream, peer: Peer, options: Arc<Effective>, place: Place) -> Self {
        let end = options.total_time.limit().map(|total| place.vitals.started + total);
        Self {
            stream,
            outbox: Outbox::default(),
            intake: Intake::default(),
            untold: peer.tls.clone(),
            peer,
            options,
            doorway: place.doorway,
            vitals: place.vitals,
            end,
            goodbye: false,
            expired: None,
            _permits: place.permits,
        }
    }

    /// Drives `machine` until it has an event, `wake` is ready, or the session is over.
    ///
    /// Output is gathered and sent when the machine has nothing more to do at once, or past 64 KiB. `wake` is
    /// dropped when something else happens first, so it must be safe to drop (`Notify::notified`, `watch::changed`,
    /// `mpsc::recv`); `std::future::pending()` never wakes. The future of this method may itself be dropped, except
    /// during a TLS handshake, where that ends the session.
    ///
    /// After [`Next::Closed`] the connection is of no more use.
    pub async fn next<M: Machine, W: Future>(&mut self, machine: &mut M, wake: W) -> Next<M::Event, W::Output> {
        let mut wake = pin!(wake);
        self.vitals.waiting();
        loop {
            let paused = match self.step(machine).await {
                Ok(Paused::Event(event)) => {
                    self.vitals.busy();
                    return Next::Event(event);
                }
                Ok(Paused::Answer) => self.wait(machine, wake.as_mut(), false).await,
                Ok(Paused::Input) => self.wait(machine, wake.as_mut(), true).await,
                Err(ended) => Err(ended),
            };
            match paused {
                Ok(None) => {}
                Ok(Some(woken)) => {
                    self.vitals.busy();
                    return Next::Wake(woken);
                }
                Err(ended) => return Next::Closed(ended),
            }
        }
    }

    /// Sends all output that the machine has, waiting for the peer to take it: for answers too large to be held.
    ///
    /// Meant for the middle of an answer, where the machine says [`Step::AwaitAnswer`]; an event that comes out
    /// (possible only when no answer is owed) is returned and must be handled.
    ///
    /// # Errors
    /// How the session ended.
    pub async fn flush<M: Machine>(&mut self, machine: &mut M) -> Result<Option<M::Event>, Ended> {
        self.vitals.waiting();
        let paused = self.step(machine).await?;
        self.write_all().await?;
        self.vitals.busy();
        Ok(if let Paused::Event(event) = paused { Some(event) } else { None })
    }

    /// Sends bytes outside of any machine: for refusals before a session starts.
    ///
    /// # Errors
    /// How the session ended.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Ended> {
        self.outbox.push(bytes);
        self.write_all().await
    }

    /// Sends what is left and closes, so that the last words arrive even when the peer has sent more than was read.
    pub async fn finish(&mut self) {
        if self.write_all().await.is_ok() && timeout(SHUT_TIME, self.stream.shutdown()).await.is_ok_and(|s| s.is_ok()) {
            let _ = timeout(DRAIN_TIME, self.drain()).await;
        }
        self.outbox.clear();
        self.stream = Stream::Gone;
    }

    /// Gives the stream to whoever speaks without a machine. Nothing of it has been read yet, unless
    /// [`next`](Self::next) was called.
    #[must_use]
    pub fn into_raw(self) -> RawConnection {
        RawConnection::new(self)
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The options that hold for this client.
    #[must_use]
    pub fn options(&self) -> &Arc<Effective> {
        &self.options
    }

    /// Replaces the client's address by one that a trusted peer stated inside its protocol (XCLIENT), and looks up
    /// the options that hold for that address. Session caps stay with the real peer.
    pub fn assume(&mut self, address: IpAddr, port: u16) {
        self.peer.address = address.to_canonical();
        self.peer.port = port;
        self.options = self.doorway.effective(self.peer.address);
    }

    /// The configuration of the listener that took the connection.
    #[must_use]
    pub fn listener(&self) -> &Arc<Listener> {
        &self.doorway.listener
    }

    /// The session's name in logs and traces.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.vitals.id
    }

    /// Whether STARTTLS can be offered: the listener has certificates and the session is plain.
    #[must_use]
    pub fn can_secure(&self) -> bool {
        self.doorway.tls.is_some() && self.peer.tls.is_none()
    }

    /// Octets received so far, before decryption counted as plain text.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.vitals.received()
    }

    /// Octets sent so far, counted as plain text.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.vitals.sent()
    }

    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(crate) fn shutdown(&self) -> Shutdown {
        self.doorway.shutdown.clone()
    }

    pub(crate) fn write_time(&self) -> Duration {
        self.doorway.timing.write
    }

    pub(crate) fn count_received(&self, count: usize) {
        self.vitals.add_received(count);
    }

    pub(crate) fn count_sent(&self, count: usize) {
        self.vitals.add_sent(count);
    }

    /// Polls the machine until it wants something that is not output.
    async fn step<M: Machine>(&mut self, machine: &mut M) -> Result<Paused<M::Event>, Ended> {
        if let Some(secured) = self.untold.take() {
            machine.secured(secured);
        }
        loop {
            match machine.poll(Instant::now().into_std()) {
                Step::AwaitAnswer => return Ok(Paused::Answer),
                Step::Closed => {
                    self.finish().await;
                    return Err(Ended::Finished);
                }
                Step::Event(event) => return Ok(Paused::Event(event)),
                Step::NeedInput => return Ok(Paused::Input),
                Step::Output(bytes) => {
                    self.outbox.push(bytes);
                    if self.outbox.len() >= GATHER_LIMIT {
                        self.write_all().await?;
                    }
                }
                Step::StartTls => self.start_tls(machine).await?,
            }
        }
    }

    /// Waits for whatever comes first; `None` means that the machine should be polled again.
    async fn wait<M: Machine, W: Future>(
        &mut self,
        machine: &mut M,
        wake: Pin<&mut W>,
        reading: bool,
    ) -> Result<Option<W::Output>, Ended> {
        self.write_all().await?;
        if machine.buffer().len() >= BUFFER_LIMIT && reading {
            tracing::error!(session.id = %self.vitals.id, "a session reads without end");
            return Err(Ended::Overrun);
        }
        let deadline = machine.deadline().map(Instant::from_std);
        let alarm = deadline.into_iter().chain(self.end).min();
        // A peer that always has more to send must not keep the other branches from being asked.
        if self.doorway.shutdown.is_cutting() {
            return Err(Ended::Cut);
        }
        if self.doorway.shutdown.is_stopping() && !self.goodbye {
            self.say_goodbye(machine);
            return Ok(None);
        }
        if alarm.is_some_and(|alarm| alarm <= Instant::now()) {
            self.ring(machine, deadline)?;
            return Ok(None);
        }
        tokio::select! {
            biased;
            read = self.intake.fill(&mut self.stream, machine.buffer()), if reading => match read {
                Ok(0) => return Err(Ended::Eof),
                Ok(count) => self.vitals.add_received(count),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(Ended::Eof),
                Err(error) => return Err(Ended::Io(error.kind())),
            },
            woken = wake => return Ok(Some(woken)),
            () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => self.ring(machine, deadline)?,
            () = self.doorway.shutdown.stopping(), if !self.goodbye => self.say_goodbye(machine),
            () = self.doorway.shutdown.cutting() => return Err(Ended::Cut),
        }
        Ok(None)
    }

    /// A deadline passed: the machine's own, the session's total time, or the grace after a goodbye.
    fn ring<M: Machine>(&mut self, machine: &mut M, deadline: Option<Instant>) -> Result<(), Ended> {
        let now = Instant::now();
        if self.end.is_some_and(|end| end <= now) {
            if self.goodbye {
                return Err(Ended::Cut);
            }
            self.say_goodbye(machine);
        } else if deadline.is_some_and(|deadline| deadline <= now) {
            if self.expired == deadline {
                tracing::error!(session.id = %self.vitals.id, "a machine ignores its own deadline");
                return Err(Ended::Cut);
            }
            self.expired = deadline;
            machine.expire();
        }
        Ok(())
    }

    fn say_goodbye<M: Machine>(&mut self, machine: &mut M) {
        self.goodbye = true;
        self.end = Some(Instant::now() + self.doorway.timing.grace);
        machine.close();
    }

    /// Sends the outbox. The peer has a limited time for each 64 KiB.
    async fn write_all(&mut self) -> Result<(), Ended> {
        self.outbox.settle();
        if self.outbox.len() == 0 {
            return Ok(());
        }
        let mut by = Instant::now() + self.doorway.timing.write;
        let mut since = 0;
        while self.outbox.len() > 0 {
            let (stream, outbox) = (&mut self.stream, &self.outbox);
            let write = poll_fn(|cx| {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = outbox.slices(&mut slices);
                Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count])
            });
            let count = tokio::select! {
                biased;
                written = write => written.map_err(|error| Ended::Io(error.kind()))?,
                () = sleep_until(by) => return Err(Ended::Unread),
                () = self.doorway.shutdown.cutting() => return Err(Ended::Cut),
            };
            if count == 0 {
                return Err(Ended::Io(std::io::ErrorKind::WriteZero));
            }
            self.outbox.sent(count);
            self.vitals.add_sent(count);
            since += count;
            if since >= GATHER_LIMIT {
                since = 0;
                by = Instant::now() + self.doorway.timing.write;
            }
        }
        tokio::select! {
            biased;
            flushed = self.stream.flush() => flushed.map_err(|error| Ended::Io(error.kind())),
            () = sleep_until(by) => Err(Ended::Unread),
            () = self.doorway.shutdown.cutting() => Err(Ended::Cut),
        }
    }

    /// The upgrade asked for by STARTTLS. Plain text behind the command never reaches the new session.
    async fn start_tls<M: Machine>(&mut self, machine: &mut M) -> Result<(), Ended> {
        self.write_all().await?;
        let behind = machine.buffer().len();
        if behind > 0 {
            machine.buffer().clear();
            tracing::warn!(
                session.id = %self.vitals.id,
                listener = %self.peer.listener,
                peer.ip = %self.peer.address,
                octets = behind,
                "bytes behind STARTTLS, session closed"
            );
            self.stream = Stream::Gone;
            return Err(Ended::Injected);
        }
        *machine.buffer() = BytesMut::new();
        self.handshake().await?;
        if let Some(secured) = self.untold.take() {
            machine.secured(secured);
        }
        Ok(())
    }

    /// Shakes hands as the server. Boxed inside, because it is rare and its state is large.
    pub(crate) async fn handshake(&mut self) -> Result<(), Ended> {
        let Some(tls) = &self.doorway.tls else {
            tracing::error!(listener = %self.peer.listener, "TLS was offered without a certificate");
            return Err(Ended::Handshake);
        };
        let tls = tls.current();
        let acceptor = tls.acceptor();
        let stream = std::mem::replace(&mut self.stream, Stream::Gone);
        let shake = Box::pin(async move {
            let stream = match stream {
                Stream::Tcp(plain) => Stream::TlsTcp(Box::new(TlsStream::Server(acceptor.accept(plain).await?))),
                Stream::Unix(plain) => Stream::TlsUnix(Box::new(TlsStream::Server(acceptor.accept(plain).await?))),
                Stream::Gone | Stream::TlsTcp(_) | Stream::TlsUnix(_) => {
                    return Err(std::io::Error::from(std::io::ErrorKind::NotConnected));
                }
            };
            Ok(stream)
        });
        let shaken = tokio::select! {
            shaken = timeout(self.doorway.timing.handshake, shake) => shaken,
            () = self.doorway.shutdown.cutting() => return Err(Ended::Cut),
        };
        let failed = |error: &dyn std::fmt::Display| {
            tracing::info!(
                session.id = %self.vitals.id,
                listener = %self.peer.listener,
                peer.ip = %self.peer.address,
                %error,
                "TLS handshake failed"
            );
            let listener = Arc::clone(&self.peer.listener);
            counter!("posthorn_tls_handshakes_total", "listener" => listener, "result" => "failed").increment(1);
            Ended::Handshake
        };
        self.stream = shaken.map_err(|_| failed(&"took too long"))?.map_err(|error| failed(&error))?;
        let secured = match &self.stream {
            Stream::TlsTcp(stream) => facts(&tls, stream),
            Stream::TlsUnix(stream) => facts(&tls, stream),
            Stream::Gone | Stream::Tcp(_) | Stream::Unix(_) => None,
        };
        let (listener, result) =
            (Arc::clone(&self.peer.listener), secured.as_ref().map_or("unknown", |tls| tls.version));
        counter!("posthorn_tls_handshakes_total", "listener" => listener, "result" => result).increment(1);
        self.peer.tls.clone_from(&secured);
        self.untold = secured;
        Ok(())
    }

    /// Unread bytes at the time of closing would make the kernel reset the connection, and our last words with it.
    async fn drain(&mut self) {
        let mut waste = BytesMut::new();
        let mut left = DRAIN_LIMIT;
        while left > 0 {
            match self.intake.fill(&mut self.stream, &mut waste).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
            waste.clear();
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Where a connection stands: the door it came through, its supervisor's view of it, its places under the caps.
pub(crate) struct Place {
    pub(crate) doorway: Arc<Doorway>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) permits: Permits,
}

enum Paused<E> {
    Answer,
    Event(E),
    Input,
}

fn facts<S>(tls: &Current, stream: &TlsStream<S>) -> Option<Secured> {
    if let TlsStream::Server(stream) = stream { Some(tls.secured(stream.get_ref().1)) } else { None }
}

/// Output is sent when this much is waiting.
const GATHER_LIMIT: usize = 64 * 1024;
/// No protocol needs this much unread input at once; bodies and literals are taken out as they come.
const BUFFER_LIMIT: usize = 4 * 1024 * 1024;
const SLICES: usize = 32;
const SHUT_TIME: Duration = Duration::from_secs(2);
const DRAIN_TIME: Duration = Duration::from_secs(1);
const DRAIN_LIMIT: usize = 256 * 1024;

#[cfg(test)]
mod tests;
