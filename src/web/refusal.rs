//! What is said to a client that is not served.

use posthorn_net::Overload;

/// The whole answer: 403 for whom the configuration denies, otherwise 503.
pub(crate) fn text(why: Overload) -> &'static [u8] {
    match why {
        Overload::Denied => b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        Overload::Address
        | Overload::Block
        | Overload::Endpoint
        | Overload::Listener
        | Overload::Memory
        | Overload::Server
        | Overload::Service
        | Overload::Stopping => {
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        }
    }
}
