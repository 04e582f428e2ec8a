//! Where a recipient's mail goes: accounts, aliases, alias domains, catch-all, forwards, details.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use posthorn_model::{AccountId, Address, Domain, EnhancedCode, MailboxId, Refusal};
use posthorn_store::domains::DomainRow;
use posthorn_store::{Connection, accounts, aliases, domains, mailboxes, states};

use crate::return_paths::Returned;
use crate::{Mail, Result};

/// How many aliases and forwards may lead on to one another.
const DEEPEST: usize = 10;

/// How long what was found is remembered.
const LASTING: Duration = Duration::from_secs(60);

/// The most accounts and addresses elsewhere that one recipient may stand for.
const WIDEST: usize = 1000;

/// A mailbox that a recipient's mail goes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Whose.
    pub account: AccountId,
    /// Which: INBOX, or the one that the detail names.
    pub mailbox: MailboxId,
    /// Its name, for the trace.
    pub folder: String,
    /// The account's INBOX, should the mailbox be gone at delivery.
    pub inbox: MailboxId,
    /// Whether the account has a quota at all.
    pub has_quota: bool,
    /// Whether the recipient is the account's own address, with or without a detail; otherwise something leads there.
    pub own: bool,
}

/// What becomes of a recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// It is an account that the administrator switched off.
    Disabled,
    /// Its domain is ours, but the name is nobody's.
    Nobody,
    /// Its domain is ours: its mail is stored here, or sent on to others, or both; at least one of them.
    Local {
        /// The mailboxes, each account once.
        places: Vec<Destination>,
        /// Addresses at other hosts that forwards, aliases, a catch-all or a signed return address lead to.
        onward: Vec<Address>,
    },
    /// Its domain is not ours.
    Remote,
    /// It leads nowhere or in circles; the text says which.
    Undeliverable(&'static str),
}

impl Route {
    /// The mailboxes here.
    #[must_use]
    pub fn places(&self) -> &[Destination] {
        match self {
            Self::Local { places, .. } => places,
            _ => &[],
        }
    }

    /// The addresses elsewhere that a name of ours leads to.
    #[must_use]
    pub fn onward(&self) -> &[Address] {
        match self {
            Self::Local { onward, .. } => onward,
            _ => &[],
        }
    }
}

/// Routes found lately. Emptied when the directory changes.
pub(crate) struct Cache {
    known: moka::sync::Cache<Address, Arc<Route>>,
    /// Domains that are not ours.
    foreign: moka::sync::Cache<Domain, ()>,
    ours: Ours,
}

impl Cache {
    pub(crate) fn new() -> Self {
        let lasting = LASTING;
        Self {
            known: moka::sync::Cache::builder().max_capacity(50_000).time_to_live(lasting).build(),
            foreign: moka::sync::Cache::builder().max_capacity(50_000).time_to_live(lasting).build(),
            ours: Ours::default(),
        }
    }

    pub(crate) fn clear(&self) {
        self.known.invalidate_all();
        self.foreign.invalidate_all();
        self.ours.forget();
    }
}

/// Domains that receive here, with those whose names they share.
type Names = Arc<HashMap<Domain, Domain>>;

/// All domains that receive here, so that a stranger's costs no query.
#[derive(Default)]
struct Ours {
    known: RwLock<Option<(Instant, Names)>>,
    /// Grows when what is known is forgotten, so that what was read before is not kept behind it.
    changes: AtomicU64,
    /// One reads for all.
    reading: tokio::sync::Mutex<()>,
}

impl Ours {
    fn forget(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        *self.known.write() = None;
    }

    fn known(&self) -> Option<Names> {
        let known = self.known.read();
        let (since, names) = known.as_ref()?;
        (since.elapsed() < LASTING).then(|| Arc::clone(names))
    }
}

impl Mail {
    /// Where mail for this recipient goes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn route(&self, recipient: &Address) -> Result<Arc<Route>> {
        if let Some(known) = self.shared.routes.known.get(recipient) {
            return Ok(known);
        }
        match self.shared.paths.read(recipient, self.now()) {
            Some(Returned::Sender(sender)) => return Box::pin(self.route_back(sender)).await,
            Some(Returned::Bounce(bounced)) => {
                return match self.original_sender(bounced.queue, None).await? {
                    Some(sender) => Box::pin(self.route_back(sender)).await,
                    None => Ok(Arc::new(Route::Nobody)),
                };
            }
            Some(Returned::Void(why)) => return Ok(Arc::new(Route::Undeliverable(why))),
            None => {}
        }
        if self.shared.routes.foreign.contains_key(recipient.domain()) {
            return Ok(Arc::new(Route::Remote));
        }
        let separator = self.section().subaddress_separator;
        let mut connection = self.store.acquire().await?;
        let mut search = Search::new(&mut connection, separator);
        let outcome = search.follow(recipient, 0).await?;
        let Search { places, onward, fault, disabled, .. } = search;
        let ours = recipient.domain().as_str().eq_ignore_ascii_case(&self.shared.hostname);
        if matches!(outcome, Found::NotOurs) && ours && recipient.local().eq_ignore_ascii_case("postmaster") {
            // Reports are from there.
            drop(connection);
            return Box::pin(self.route_postmaster()).await;
        }
        let nothing = places.is_empty() && onward.is_empty();
        let route = Arc::new(match (outcome, fault) {
            (_, Some(fault)) => Route::Undeliverable(fault),
            (Found::Somebody, None) if nothing && disabled => Route::Disabled,
            // What leads to no mailbox must never be accepted: it would be acknowledged and lost.
            (Found::Somebody, None) if nothing => Route::Undeliverable("the address leads to no mailbox"),
            (Found::Somebody, None) => Route::Local { places, onward },
            (Found::Nobody, None) => Route::Nobody,
            (Found::NotOurs, None) => Route::Remote,
        });
        // A detail's folder may be made at any moment, and a refusal must not outlive its reason.
        let lasting = matches!(*route, Route::Local { .. }) && recipient.subaddress(separator).1.is_none();
        if matches!(*route, Route::Remote) && !ours {
            self.shared.routes.foreign.insert(recipient.domain().clone(), ());
        }
        if lasting {
            self.shared.routes.known.insert(recipient.clone(), Arc::clone(&route));
        }
        Ok(route)
    }

    /// Where mail for a recipient goes whose aliases and forwards somebody has followed already: into the account of that
    /// name, or to another host.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn route_unexpanded(&self, recipient: &Address) -> Result<Arc<Route>> {
        if self.shared.routes.foreign.contains_key(recipient.domain()) {
            return Ok(Arc::new(Route::Remote));
        }
        let mut connection = self.store.acquire().await?;
        let mut search = Search { expands: false, ..Search::new(&mut connection, self.section().subaddress_separator) };
        let outcome = search.follow(recipient, 0).await?;
        let Search { places, fault, disabled, .. } = search;
        Ok(Arc::new(match (outcome, fault) {
            (_, Some(fault)) => Route::Undeliverable(fault),
            (Found::Somebody, None) if places.is_empty() && disabled => Route::Disabled,
            (Found::Somebody, None) if places.is_empty() => Route::Undeliverable("the address leads to no mailbox"),
            (Found::Somebody, None) => Route::Local { places, onward: Vec::new() },
            (Found::Nobody, None) => Route::Nobody,
            (Found::NotOurs, None) => Route::Remote,
        }))
    }

    /// Where mail for the sender of something goes that left here under a return path of ours.
    async fn route_back(&self, sender: Address) -> Result<Arc<Route>> {
        let route = self.route(&sender).await?;
        match *route {
            Route::Remote => Ok(Arc::new(Route::Local { places: Vec::new(), onward: vec![sender] })),
            _ => Ok(route),
        }
    }

    /// Where mail for postmaster goes that names no domain (RFC 5321 §4.5.1): to the account of that name in any
    /// domain, or else to the oldest account.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn route_postmaster(&self) -> Result<Arc<Route>> {
        let mut connection = self.store.acquire().await?;
        let names: Vec<Domain> = domains::list(&mut connection).await?.into_iter().map(|domain| domain.name).collect();
        drop(connection);
        for name in names {
            if let Ok(address) = Address::new("postmaster", name) {
                let route = self.route(&address).await?;
                if matches!(*route, Route::Local { .. }) {
                    return Ok(route);
                }
            }
        }
        Ok(Arc::new(Route::Nobody))
    }

    /// Whether mail for a domain is ours to store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_local(&self, domain: &Domain) -> Result<bool> {
        let mut connection = self.store.acquire().await?;
        Ok(domains::find(&mut connection, domain).await?.is_some_and(|domain| domain.enabled))
    }

    /// The domain whose names these are, behind an alias domain, when mail for it is ours to store. Remembered for a
    /// minute.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn our_domain(&self, domain: &Domain) -> Result<Option<Domain>> {
        let ours = &self.shared.routes.ours;
        if let Some(known) = ours.known() {
            return Ok(known.get(domain).cloned());
        }
        let _alone = ours.reading.lock().await;
        if let Some(known) = ours.known() {
            return Ok(known.get(domain).cloned());
        }
        let changes = ours.changes.load(Ordering::Relaxed);
        let mut connection = self.store.acquire().await?;
        let rows = domains::list(&mut connection).await?.into_iter().filter(|row| row.enabled);
        let real = |row: DomainRow| (row.name.clone(), row.alias_of.unwrap_or(row.name));
        let names: Names = Arc::new(rows.map(real).collect());
        let mut known = ours.known.write();
        if ours.changes.load(Ordering::Relaxed) == changes {
            *known = Some((Instant::now(), Arc::clone(&names)));
        }
        Ok(names.get(domain).cloned())
    }

    /// Whether an address is a return path that we wrote, and that is still good.
    #[must_use]
    pub fn is_return_path(&self, address: &Address) -> bool {
        !matches!(self.shared.paths.read(address, self.now()), None | Some(Returned::Void(_)))
    }

    /// Refuses when one of the destinations has no room for a message of `size` octets (0 when it was not declared).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn room(&self, route: &Route, size: u64) -> Result<std::result::Result<(), Refusal>> {
        for destination in route.places().iter().filter(|destination| destination.has_quota) {
            let mut connection = self.store.acquire().await?;
            let Some(state) = states::read(&mut connection, destination.account).await? else { continue };
            let full = !state.has_room(1, 1);
            if full {
                return Ok(Err(Refusal::new(452, EnhancedCode(4, 2, 2), "mailbox is full")));
            }
            if !state.has_room(i64::try_from(size).unwrap_or(i64::MAX), 1) {
                return Ok(Err(Refusal::new(
                    552,
                    EnhancedCode(5, 2, 2),
                    "message is larger than the room left in the mailbox",
                )));
            }
        }
        Ok(Ok(()))
    }
}

enum Found {
    Nobody,
    NotOurs,
    Somebody,
}

struct Search<'c> {
    connection: &'c mut Connection,
    separator: char,
    places: Vec<Destination>,
    onward: Vec<Address>,
    seen: HashSet<String>,
    fault: Option<&'static str>,
    /// Met an account that is switched off.
    disabled: bool,
    /// Aliases, forwards and catch-alls are followed.
    expands: bool,
}

impl<'c> Search<'c> {
    fn new(connection: &'c mut Connection, separator: char) -> Self {
        Self {
            connection,
            separator,
            places: Vec::new(),
            onward: Vec::new(),
            seen: HashSet::new(),
            fault: None,
            disabled: false,
            expands: true,
        }
    }

    async fn follow(&mut self, address: &Address, depth: usize) -> Result<Found> {
        let Some(mut domain) = domains::find(self.connection, address.domain()).await? else {
            return Ok(Found::NotOurs);
        };
        let mut enabled = domain.enabled;
        if let Some(real) = &domain.alias_of
            && let Some(real) = domains::find(self.connection, real).await?
        {
            enabled &= real.enabled;
            domain = real;
        }
        if !enabled {
            // Its mail would come back here.
            self.fault = Some("the domain takes no mail at the moment");
            return Ok(Found::Nobody);
        }
        let (name, catch_all) = (domain.name, domain.catch_all);
        let (user, detail) = address.subaddress(self.separator);
        let user = user.to_owned();
        let readings = [Some((address.local().to_owned(), None)), detail.map(|detail| (user, Some(detail.to_owned())))];
        for (local, detail) in readings.into_iter().flatten() {
            if self.try_name(&local, detail.as_deref(), &name, depth).await? {
                return Ok(Found::Somebody);
            }
        }
        if address.local().eq_ignore_ascii_case("postmaster") && self.try_oldest(&name).await? {
            return Ok(Found::Somebody);
        }
        if catch_all.is_empty() || !self.expands {
            return Ok(Found::Nobody);
        }
        self.follow_all(&catch_all, depth).await?;
        Ok(Found::Somebody)
    }

    /// Takes the account or the alias of this name; `false` when there is neither.
    async fn try_name(&mut self, local: &str, detail: Option<&str>, domain: &Domain, depth: usize) -> Result<bool> {
        if let Some(account) = accounts::find(self.connection, local, domain).await? {
            if !account.enabled {
                self.disabled = true;
                return Ok(true);
            }
            // An account met again on its way through forwards still gets its one copy.
            let first_visit = self.seen.insert(account.address.to_string()) && self.expands;
            if account.forward_to.is_empty() || account.forward_keeps_copy || !first_visit {
                self.take(account.id, detail, depth == 0).await?;
            }
            if first_visit {
                self.follow_all(&account.forward_to, depth).await?;
            }
            return Ok(true);
        }
        if !self.expands {
            return Ok(false);
        }
        let Some(targets) = aliases::find(self.connection, local, domain).await? else { return Ok(false) };
        if self.seen.insert(format!("{local}@{domain}").to_lowercase()) {
            self.follow_all(&targets, depth).await?;
        }
        Ok(true)
    }

    async fn follow_all(&mut self, targets: &[String], depth: usize) -> Result<()> {
        if depth >= DEEPEST {
            self.fault = Some("aliases lead too far");
            return Ok(());
        }
        for target in targets {
            let Ok(address) = Address::parse(target) else {
                self.fault = Some("an alias leads to what is no address");
                continue;
            };
            match Box::pin(self.follow(&address, depth + 1)).await? {
                Found::Somebody => {}
                Found::Nobody if self.fault.is_none() => {
                    self.fault = Some("an alias leads to an address that does not exist");
                }
                Found::Nobody => {}
                Found::NotOurs => self.send_on(address),
            }
        }
        Ok(())
    }

    fn send_on(&mut self, address: Address) {
        if self.places.len() + self.onward.len() >= WIDEST {
            self.fault = Some("an alias leads to too many accounts");
        } else if !self.onward.contains(&address) {
            self.onward.push(address);
        }
    }

    /// Mail for postmaster is always accepted (RFC 5321 §4.5.1): without such a name it goes to the oldest account.
    async fn try_oldest(&mut self, domain: &Domain) -> Result<bool> {
        let account = match accounts::oldest(self.connection, Some(domain)).await? {
            Some(account) => Some(account),
            None => accounts::oldest(self.connection, None).await?,
        };
        let Some(account) = account else { return Ok(false) };
        self.take(account, None, false).await?;
        Ok(true)
    }

    async fn take(&mut self, account: AccountId, detail: Option<&str>, own: bool) -> Result<()> {
        if self.places.len() + self.onward.len() >= WIDEST {
            self.fault = Some("an alias leads to too many accounts");
            return Ok(());
        }
        let Some(inbox) = mailboxes::find(self.connection, account, "INBOX").await? else { return Ok(()) };
        let folder = match detail {
            Some(detail) if !detail.is_empty() => mailboxes::find_folded(self.connection, account, detail).await?,
            _ => None,
        };
        let state = states::read(self.connection, account).await?;
        let has_quota = state.is_some_and(|state| state.has_quota());
        let mailbox = folder.unwrap_or(inbox.id);
        if !self.places.iter().any(|known| known.account == account) {
            let folder = folder.and(detail).unwrap_or("INBOX").to_owned();
            self.places.push(Destination { account, mailbox, folder, inbox: inbox.id, has_quota, own });
        }
        Ok(())
    }
}
