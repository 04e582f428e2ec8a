//! The world around an appliance, as far as it can be another one: a test steps the clock, and stands in for the
//! servers of other people.

use std::net::SocketAddr;

use anyhow::Context;
use posthorn_config::Config;
use posthorn_courier::Ground;
use posthorn_mail::SystemClock;
use posthorn_model::Clock;
use posthorn_net::Roots;
use posthorn_net::dns::{Dns, DnsOptions};
use posthorn_net::sts::{Sts, StsOptions};

/// Where and when an appliance runs. The default is the world.
pub struct Circumstances {
    /// What time it is.
    pub clock: Box<dyn Clock>,
    /// The port of MX hosts.
    pub mx_port: u16,
    /// The port of MTA-STS policy servers.
    pub sts_port: u16,
    /// Fixed addresses of MTA-STS policy servers, instead of those in the DNS.
    pub sts_addresses: Vec<SocketAddr>,
}

impl Default for Circumstances {
    fn default() -> Self {
        Self { clock: Box::new(SystemClock), mx_port: 25, sts_port: 443, sts_addresses: Vec::new() }
    }
}

impl Circumstances {
    /// The clock, which lasts as long as the appliance.
    pub(crate) fn take_clock(&mut self) -> Box<dyn Clock> {
        std::mem::replace(&mut self.clock, Box::new(SystemClock))
    }

    /// What the courier is told.
    pub(crate) fn courier(&self, config: &Config) -> posthorn_courier::Settings {
        posthorn_courier::Settings { mx_port: self.mx_port, ..posthorn_courier::Settings::of(config) }
    }

    /// What the courier stands on: resolver, authorities, MTA-STS.
    pub(crate) fn ground(&self, config: &Config) -> anyhow::Result<Ground> {
        let options = DnsOptions {
            servers: config.dns.servers.iter().map(|server| server.address()).collect(),
            trust_anchor: config.dns.trust_anchor.clone(),
            timeout: config.dns.timeout.duration(),
            attempts: config.dns.attempts as usize,
            cache: u64::from(config.dns.cache),
            ..DnsOptions::default()
        };
        let dns = Dns::new(&options).context("the resolver does not start")?;
        let roots = Roots::system(config.tls.authorities.as_deref())?;
        let options =
            StsOptions { port: self.sts_port, addresses: self.sts_addresses.clone(), ..StsOptions::new(roots.clone()) };
        let sts = Sts::new(dns.clone(), options)?;
        Ok(Ground { dns, roots, sts: Some(sts) })
    }
}
