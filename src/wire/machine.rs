//! The contract between a protocol and whoever moves its bytes.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

/// A protocol session as a value. Nothing here blocks, reads a clock or knows a socket.
///
/// The driver appends what arrives to [`buffer`](Self::buffer), then calls [`poll`](Self::poll) until it says
/// [`Step::NeedInput`] or [`Step::AwaitAnswer`]. After an event that wants an answer the machine parses nothing
/// until the answer is given through the machine's own methods, so pipelined commands keep their order.
pub trait Machine {
    /// What the application must look at: legal in this state, already parsed.
    type Event;

    /// Where received bytes are appended.
    fn buffer(&mut self) -> &mut BytesMut;

    /// Takes the next step. Output comes before the event or state change that follows it.
    fn poll(&mut self, now: Instant) -> Step<Self::Event>;

    /// When [`expire`](Self::expire) is due unless input arrives; `None` while the peer owes us nothing.
    fn deadline(&self) -> Option<Instant>;

    /// The deadline passed: say so in the protocol's words and close.
    fn expire(&mut self);

    /// The server stops: say goodbye in the protocol's words and close, after a body in progress.
    fn close(&mut self);

    /// The peer is gone without a goodbye: nothing more comes or goes. Whatever is known already may still come out as
    /// events.
    fn lost(&mut self) {}

    /// Whether what was received ends with the peer's goodbye. That it closes then, which may be its own direction only,
    /// is no sign that it does not wait for its answers.
    fn has_taken_leave(&self) -> bool {
        false
    }

    /// TLS is up after [`Step::StartTls`] (or from the start, for implicit TLS). The receive buffer is empty.
    fn secured(&mut self, tls: Secured);
}

/// What a machine wants next.
#[derive(Debug)]
pub enum Step<E> {
    /// An event was answered by nobody yet: give the answer, then poll again. Do not read on.
    AwaitAnswer,
    /// The session is over; everything to send has been handed out.
    Closed,
    /// The application must look.
    Event(E),
    /// Read more, or wait until the deadline.
    NeedInput,
    /// Write these bytes.
    Output(Bytes),
    /// Flush, then upgrade to TLS; bytes received behind the command end the session.
    StartTls,
}

/// What is known of the TLS session that a connection runs in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Secured {
    /// `TLSv1.3` or `TLSv1.2`, as Received headers name it.
    pub version: &'static str,
    /// The suite's name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The server name that the client asked for.
    pub server_name: Option<String>,
    /// `tls-exporter` channel binding (RFC 9266), 32 octets, where the session provides it.
    pub channel_binding: Option<Vec<u8>>,
    /// The subject of the client's verified certificate.
    pub client_certificate: Option<String>,
}
