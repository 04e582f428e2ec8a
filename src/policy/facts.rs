//! What is known of an inquiry, found out once and only when a rule wants to know.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use posthorn_mail::Mail;
use posthorn_model::policy::Inquiry;
use posthorn_model::{Address, Domain};
use posthorn_trust::spf;
use tokio::sync::OnceCell;

use crate::asking::Asking;
use crate::client_names::ClientNames;

/// An inquiry with everything that can be found out about it.
pub(crate) struct Facts<'a> {
    /// The inquiry itself.
    pub(crate) inquiry: &'a Inquiry,
    /// The moment that it is judged at.
    pub(crate) now: DateTime<Utc>,
    /// Whether nothing may change by it: somebody wants to know what would be said.
    pub(crate) dry: bool,
    /// What the client is to us.
    pub(crate) relation: Relation,
    /// Who sends.
    pub(crate) sender: Sender,
    /// Who receives, where one recipient is asked about.
    pub(crate) recipient: Option<Address>,
    /// The directory.
    pub(crate) mail: &'a Mail,
    /// The DNS.
    pub(crate) asking: &'a Asking,
    receiver: &'a str,
    names: OnceCell<ClientNames>,
    spf: OnceCell<Option<spf::Verdict>>,
}

/// What a client is to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Relation {
    /// Somebody who has logged in.
    Login,
    /// A client that may relay.
    Relay,
    /// Everybody else.
    Outside,
}

/// Who sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Sender {
    /// Nobody has said yet.
    Unsaid,
    /// `<>`.
    Null,
    /// An address.
    Address(Address),
    /// Something that is no address.
    Unreadable,
}

impl Sender {
    /// The address, if it is one.
    pub(crate) fn address(&self) -> Option<&Address> {
        if let Self::Address(address) = self { Some(address) } else { None }
    }
}

/// Where facts come from.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) mail: &'a Mail,
    pub(crate) asking: &'a Asking,
    /// Our host name.
    pub(crate) hostname: &'a str,
}

impl<'a> Facts<'a> {
    /// What the inquiry itself says; `relays` is whether the client may relay.
    pub(crate) fn new(inquiry: &'a Inquiry, relays: bool, dry: bool, sources: Sources<'a>) -> Self {
        let Sources { mail, asking, hostname } = sources;
        let login = inquiry.sasl.as_ref().is_some_and(|sasl| !sasl.username.is_empty());
        let relation = match (login, relays) {
            (true, _) => Relation::Login,
            (false, true) => Relation::Relay,
            (false, false) => Relation::Outside,
        };
        let sender = match inquiry.sender.as_deref() {
            None => Sender::Unsaid,
            Some("") => Sender::Null,
            Some(text) => Address::parse(text).map_or(Sender::Unreadable, Sender::Address),
        };
        Self {
            inquiry,
            now: mail.now(),
            dry,
            relation,
            sender,
            recipient: inquiry.recipient.as_deref().and_then(|text| Address::parse(text).ok()),
            mail,
            asking,
            receiver: hostname,
            names: OnceCell::new(),
            spf: OnceCell::new(),
        }
    }

    /// The client's address, IPv4 as such.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.inquiry.client.address.map(|address| address.to_canonical())
    }

    /// The name of the login.
    pub(crate) fn login(&self) -> Option<&str> {
        self.inquiry.sasl.as_ref().map(|sasl| sasl.username.as_str()).filter(|name| !name.is_empty())
    }

    /// Our own host name.
    pub(crate) fn hostname(&self) -> &str {
        self.receiver
    }

    /// The names of the client: those that the asking server found out, or those in the DNS.
    pub(crate) async fn client_names(&self) -> &ClientNames {
        self.names
            .get_or_init(|| async {
                let client = &self.inquiry.client;
                match (&client.name, self.client()) {
                    (Some(name), _) => ClientNames::told(name, client.reverse_name.as_deref()),
                    (None, Some(address)) => ClientNames::find(self.asking, address).await,
                    (None, None) => ClientNames::default(),
                }
            })
            .await
    }

    /// What the sender's domain says of the client (RFC 7208); `None` when there was no time to ask, or no client.
    pub(crate) async fn spf(&self) -> Option<&spf::Verdict> {
        let found = self.spf.get_or_init(|| async {
            let request = spf::Request {
                client: self.client()?,
                helo: self.inquiry.helo.as_deref().unwrap_or_default(),
                sender: self.inquiry.sender.as_deref().unwrap_or_default(),
                receiver: self.receiver,
                at: self.now,
            };
            self.asking.in_time(spf::Check::new(&request).run(self.asking.resolver())).await.ok()
        });
        found.await.as_ref()
    }

    /// The domain whose names these are if it is one of ours, behind alias domains.
    pub(crate) async fn our_domain(&self, domain: &Domain) -> posthorn_mail::Result<Option<Domain>> {
        self.mail.our_domain(domain).await
    }

    /// An address as people are compared: behind alias domains, without detail, in lower case.
    pub(crate) async fn plain(&self, address: &Address) -> posthorn_mail::Result<String> {
        let ours = self.our_domain(address.domain()).await?;
        let domain = ours.as_ref().unwrap_or(address.domain());
        let local = match ours {
            Some(_) => address.subaddress(self.mail.section().subaddress_separator).0,
            None => address.local(),
        };
        Ok(format!("{}@{domain}", local.to_lowercase()))
    }
}
