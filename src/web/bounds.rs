//! What a client may send, and how long it may take.

use std::time::Duration;

use crate::{HEADER_TIME, LEAST_HEADER};

/// What a client may send, and how long it may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Octets of a request's header; a longer one is refused with 431.
    pub(crate) header: usize,
    /// Octets of a request's body; a longer one is refused with 413.
    pub(crate) body: usize,
    /// From the first moment, or the last answer, to the end of the next header.
    pub(crate) header_time: Duration,
    /// From the header to the beginning of the answer, the body included; 503 after that.
    pub(crate) request_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { header: 16 * 1024, body: 64 * 1024, header_time: HEADER_TIME, request_time: Duration::from_secs(60) }
    }
}

impl Bounds {
    /// Octets of a request's header, 8 KiB at least.
    #[must_use]
    pub fn header(self, octets: usize) -> Self {
        Self { header: octets.max(LEAST_HEADER), ..self }
    }

    /// Octets of a request's body.
    #[must_use]
    pub fn body(self, octets: usize) -> Self {
        Self { body: octets, ..self }
    }

    /// From the first moment, or the last answer, to the end of the next header.
    #[must_use]
    pub fn header_time(self, time: Duration) -> Self {
        Self { header_time: time, ..self }
    }

    /// From the header to the beginning of the answer.
    #[must_use]
    pub fn request_time(self, time: Duration) -> Self {
        Self { request_time: time, ..self }
    }
}
