//! What an engine is told of a message.

use std::net::IpAddr;

use bytes::Bytes;
use posthorn_config::ScannerWay;
use posthorn_filter::{Case, Way};
use posthorn_model::policy::Inquiry;
use posthorn_model::{BodyType, Notify, Ret};

/// A message and what engines want to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) way: ScannerWay,
    pub(crate) inquiry: &'a Inquiry,
    /// The reverse path; empty for the null path.
    pub(crate) sender: String,
    pub(crate) recipients: Vec<Addressee<'a>>,
    /// Header and body as they came.
    pub(crate) octets: &'a Bytes,
    pub(crate) eight_bit: bool,
    pub(crate) smtputf8: bool,
    pub(crate) ret: Option<Ret>,
    pub(crate) envid: Option<&'a str>,
}

/// A recipient, with what was asked for the reports about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addressee<'a> {
    pub(crate) address: &'a str,
    pub(crate) notify: Option<Notify>,
    /// The type, a semicolon and the address.
    pub(crate) orcpt: Option<&'a str>,
}

impl<'a> Question<'a> {
    /// What is asked about a case; `None` for one that comes back from an outside filter, which nobody is asked about.
    pub(crate) fn of(case: &'a Case<'a>) -> Option<Self> {
        let way = match case.way {
            Way::Inbound => ScannerWay::Inbound,
            Way::Originating => ScannerWay::Originating,
            Way::List => ScannerWay::List,
            Way::Reinjected => return None,
        };
        let terms = &case.envelope.terms;
        Some(Self {
            way,
            inquiry: case.inquiry,
            sender: case.sender(),
            recipients: case
                .envelope
                .recipients
                .iter()
                .map(|one| Addressee { address: &one.address, notify: one.notify, orcpt: one.orcpt.as_deref() })
                .collect(),
            octets: case.octets,
            eight_bit: terms.body_type != BodyType::SevenBit,
            smtputf8: terms.smtputf8,
            ret: terms.ret,
            envid: terms.envid.as_deref(),
        })
    }

    /// The client's address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.inquiry.client.address
    }

    /// The client's name: confirmed in both directions.
    pub(crate) fn name(&self) -> Option<&'a str> {
        self.inquiry.client.name.as_deref()
    }

    /// What the client calls itself.
    pub(crate) fn helo(&self) -> Option<&'a str> {
        self.inquiry.helo.as_deref()
    }

    /// Who has logged in.
    pub(crate) fn login(&self) -> Option<&'a str> {
        self.inquiry.sasl.as_ref().map(|sasl| sasl.username.as_str())
    }
}
