//! Machines over connections without TLS.

use std::time::Duration;

use posthorn_net::Caller;
use posthorn_net::egress::{Link, TlsClient, TlsDemand, TlsTerms};
use posthorn_wire::Machine;

/// Lets a machine that never asks for TLS speak over a link.
pub(crate) fn caller<M: Machine>(machine: M, link: Link, tls: &TlsClient, time: Duration) -> Caller<M> {
    let terms = TlsTerms { demand: TlsDemand::Opportunistic, server_name: String::new(), time };
    Caller::new(machine, link, tls.clone(), terms).with_write_time(time)
}
