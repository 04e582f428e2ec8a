//! Why a connection is not served, in words for people.

use posthorn_net::Overload;

/// One line for the client.
pub(crate) fn words(why: Overload) -> &'static str {
    match why {
        Overload::Address => "too many sessions from your address, try again later",
        Overload::Block => "too many sessions from your network, try again later",
        Overload::Denied => "access denied",
        Overload::Endpoint | Overload::Listener | Overload::Server | Overload::Service => {
            "too many sessions, try again later"
        }
        Overload::Memory => "busy, try again later",
        Overload::Stopping => "stopping, try again later",
    }
}
