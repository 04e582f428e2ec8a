//! Signing what leaves: DKIM for our own people's mail, ARC for what is sent on.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use posthorn_config::{Binding, Bindings, Route, Routes};
use posthorn_mime::Facts;
use posthorn_model::{Address, Domain};
use posthorn_store::dkim_keys;
use posthorn_trust::{Chain, Fault, KeyType, Signer, SigningKey, arc, sign};

use crate::accept::LARGE;
use crate::checks::Checked;
use crate::envelope::{Envelope, Source};
use crate::legs::{Leg, Legs};
use crate::{Error, Intake, Mail, Result};

/// Signers of domains, as found lately. Emptied when the directory changes.
pub(crate) struct Signers {
    known: moka::sync::Cache<String, Arc<Vec<Signer>>>,
    /// From files: there as long as the process.
    fixed: Vec<Signer>,
}

impl Signers {
    pub(crate) fn new(fixed: Vec<Signer>) -> Self {
        let known = moka::sync::Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(60)).build();
        Self { known, fixed }
    }

    pub(crate) fn clear(&self) {
        self.known.invalidate_all();
    }

    /// The signers from files for a domain.
    pub(crate) fn fixed<'s>(&'s self, domain: &'s Domain) -> impl Iterator<Item = &'s Signer> {
        self.fixed.iter().filter(move |signer| signer.domain() == domain)
    }
}

/// The ways out, as far as some of them want no signature.
pub(crate) struct Ways(Option<(Routes, Bindings)>);

impl Ways {
    pub(crate) fn new(routes: &[Route], bindings: &[Binding]) -> Self {
        let some_unsigned = bindings.iter().any(|binding| !binding.dkim);
        Self(some_unsigned.then(|| (Routes::new(routes), Bindings::new(bindings))))
    }

    /// Whether some binding that the message may leave through has it signed. Routes by account are not looked at: the
    /// signature is the domain's.
    fn want_signatures(&self, envelope: &Envelope, legs: &Legs) -> bool {
        let Some((routes, bindings)) = &self.0 else { return true };
        let sender = envelope.sender.as_ref().map(|sender| sender.domain().as_str());
        let mut domains = legs.legs.iter().flat_map(Leg::domains).peekable();
        let signed = |domain: &Domain| {
            let route = routes.of(domain.as_str(), sender, None);
            bindings.of(route).members().iter().any(|binding| binding.dkim)
        };
        domains.peek().is_none() || domains.any(signed)
    }
}

/// What is to be written on top of a message, and by whom.
struct Work {
    /// Sign the message itself.
    own: Arc<Vec<Signer>>,
    /// Seal the copies of the leg with this number.
    seals: Vec<(usize, Signer)>,
    host: String,
    /// What we know of how the message came (RFC 8601 §2.2).
    results: String,
    /// The chain that it came with.
    chain: Chain,
    now: DateTime<Utc>,
}

/// What was written: the fields on top of the message, and those of single legs.
type Written = (Vec<u8>, Vec<(usize, Vec<u8>)>);

impl Mail {
    /// Signs what leaves: the message itself where it is one of our own people's, and the copies that are sent on.
    pub(crate) async fn sign(
        &self,
        envelope: &Envelope,
        legs: &mut Legs,
        mut body: Intake,
        checked: Option<&Checked>,
    ) -> Result<Intake> {
        let mut work = Work {
            own: Arc::default(),
            seals: Vec::new(),
            host: self.shared.hostname.clone(),
            results: match envelope.source {
                Source::Account(_) => "auth=pass".to_owned(),
                Source::Relay | Source::Stranger => checked.map(Checked::results).unwrap_or_default(),
            },
            chain: checked.map_or(Chain::None, |checked| checked.signatures.chain),
            now: self.now(),
        };
        if !self.shared.signs {
            return Ok(body);
        }
        if envelope.source.may_relay() && self.shared.ways.want_signatures(envelope, legs) {
            work.own = self.author_signers(envelope.sender.as_ref(), body.octets()).await?;
        }
        for (at, leg) in legs.legs.iter().enumerate() {
            let Some(Ok(via)) = leg.via.as_deref().map(Address::parse) else { continue };
            let signers = self.signers(via.domain()).await?;
            // Not everybody can check the other kind (RFC 8617 has RSA alone).
            let signer = signers.iter().find(|signer| signer.key().kind() == KeyType::Rsa).or(signers.first());
            if let Some(signer) = signer {
                work.seals.push((at, signer.clone()));
            }
        }
        if work.own.is_empty() && work.seals.is_empty() {
            return Ok(body);
        }
        let written = if body.len() < LARGE {
            work.write(&mut body)
        } else {
            let task = tokio::task::spawn_blocking(move || {
                let written = work.write(&mut body);
                (body, written)
            });
            let (back, written) = task.await.map_err(|_| Error::Internal)?;
            body = back;
            written
        };
        let (top, seals) = written.map_err(Error::Signing)?;
        body.prepend(&top);
        for (at, seal) in seals {
            let leg = &mut legs.legs[at];
            leg.top = Some([seal, leg.top.take().unwrap_or_default()].concat());
        }
        Ok(body)
    }

    /// The signers of the author's domain, or else of the sender's.
    pub(crate) async fn author_signers(&self, sender: Option<&Address>, message: &[u8]) -> Result<Arc<Vec<Signer>>> {
        let header_size = posthorn_mime::header_end(message).unwrap_or(message.len());
        let author = Facts::of(&message[..header_size]).from.and_then(|from| Address::parse(&from.address).ok());
        for address in author.iter().chain(sender) {
            let signers = self.signers(address.domain()).await?;
            if !signers.is_empty() {
                return Ok(signers);
            }
        }
        Ok(Arc::default())
    }

    /// All keys that sign for a domain now.
    pub(crate) async fn signers(&self, domain: &Domain) -> Result<Arc<Vec<Signer>>> {
        let shared = &self.shared;
        if let Some(known) = shared.signers.known.get(domain.as_str()) {
            return Ok(known);
        }
        let mut signers: Vec<Signer> = shared.signers.fixed(domain).cloned().collect();
        if let Some(master) = &shared.master_key {
            let mut connection = self.store.acquire().await?;
            let rows = dkim_keys::active(&mut connection, domain.as_str(), self.now()).await?;
            drop(connection);
            for row in rows {
                let signer = master
                    .open(&row.domain, &row.selector, &row.private)
                    .and_then(|der| SigningKey::from_der(&der))
                    .and_then(|key| Signer::new(domain.clone(), &row.selector, Arc::new(key)));
                match signer {
                    Ok(signer) => signers.push(signer),
                    Err(error) => {
                        tracing::error!(domain = row.domain, selector = row.selector, %error, "a DKIM key is of no use");
                    }
                }
            }
        }
        let signers = Arc::new(signers);
        shared.signers.known.insert(domain.as_str().to_owned(), Arc::clone(&signers));
        Ok(signers)
    }
}

impl Work {
    fn write(&self, body: &mut Intake) -> std::result::Result<Written, Fault> {
        let whole = body.octets();
        let (header, text) = whole.split_at(posthorn_mime::header_end(whole).unwrap_or(whole.len()));
        let top = sign(&self.own, header, text, self.now)?;
        let mut seals = Vec::with_capacity(self.seals.len());
        if !self.seals.is_empty() {
            let header = [&top, header].concat();
            for (at, signer) in &self.seals {
                // Where nobody has checked a chain that is there, nothing is added.
                let found = arc::Found { authserv_id: &self.host, results: &self.results, chain: self.chain };
                if let Some(seal) = arc::seal(signer, &found, &header, text, self.now)? {
                    seals.push((*at, seal));
                }
            }
        }
        Ok((top, seals))
    }
}
