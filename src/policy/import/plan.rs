//! What is to be taken over, and what became of it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use posthorn_config::{LimitKind, PolicyLimit, PolicyPattern};
use posthorn_mail::{Mail, Result};
use posthorn_model::Domain;
use posthorn_store::Transaction;
use posthorn_store::policy::access::{self, Entry};
use posthorn_store::policy::greylist::{self, Client, Setting, State};
use posthorn_store::policy::{news, throttle, white_domains};

use crate::throttle::{limit_of, row_of};

/// Orders, each with the row that it comes from.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    report: Report,
}

/// An order.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) table: &'static str,
    /// The row, for people.
    pub(super) row: String,
    pub(super) order: Order,
    /// Whether another row that says the same thing outright comes first.
    pub(super) implied: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    Greylist { account: PolicyPattern, sender: PolicyPattern, state: State },
    WhiteDomain(Domain),
    Limit(PolicyLimit),
    Listed { outbound: bool, account: PolicyPattern, peer: PolicyPattern, black: bool },
    Client { network: String, passed_at: DateTime<Utc> },
}

/// What became of the rows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Of each table that was found, in the order in which they were read.
    pub tables: Vec<TableReport>,
    /// Why rows were not taken as they are.
    pub remarks: Vec<Remark>,
    /// Remarks beyond those that are kept.
    pub more_remarks: u64,
}

/// What became of the rows of a table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TableReport {
    /// Its name.
    pub table: &'static str,
    /// Rows that were read.
    pub read: u64,
    /// Orders that were made of them.
    pub taken: u64,
    /// Orders that had been made already.
    pub unchanged: u64,
    /// Rows that say something else here than there.
    pub changed: u64,
    /// Rows and orders that were left out.
    pub skipped: u64,
}

/// Why a row was not taken as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remark {
    /// Its table.
    pub table: &'static str,
    /// The row.
    pub row: String,
    /// Whether nothing was taken of it.
    pub skipped: bool,
    /// Why, in a sentence without a final stop.
    pub why: String,
}

/// Remarks that are kept.
const REMARKS: usize = 1000;

impl Report {
    /// The counts of a table.
    pub fn table(&mut self, table: &'static str) -> &mut TableReport {
        let at = self.tables.iter().position(|one| one.table == table).unwrap_or_else(|| {
            self.tables.push(TableReport { table, ..TableReport::default() });
            self.tables.len() - 1
        });
        &mut self.tables[at]
    }

    /// Counts a row that was not taken as it is, and says why.
    pub fn remark(&mut self, remark: Remark) {
        let counts = self.table(remark.table);
        *if remark.skipped { &mut counts.skipped } else { &mut counts.changed } += 1;
        if self.remarks.len() < REMARKS {
            self.remarks.push(remark);
        } else {
            self.more_remarks += 1;
        }
    }
}

impl Plan {
    pub(super) fn read(&mut self, table: &'static str, rows: usize) {
        self.report.table(table).read += rows as u64;
    }

    pub(super) fn skip(&mut self, table: &'static str, row: &str, why: impl Into<String>) {
        self.report.remark(Remark { table, row: row.to_owned(), skipped: true, why: why.into() });
    }

    pub(super) fn change(&mut self, table: &'static str, row: &str, why: impl Into<String>) {
        self.report.remark(Remark { table, row: row.to_owned(), skipped: false, why: why.into() });
    }

    /// How many orders there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Gives the orders, all or none of them; with `dry` it is only found out what would come of it. `progress` is told
    /// of each. Servers that run hear of it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn carry_out(mut self, mail: &Mail, dry: bool, mut progress: impl FnMut()) -> Result<Report> {
        self.steps.sort_by_key(|step| step.implied);
        let mut transaction = mail.store().begin().await?;
        let mut known = Known::read(&mut transaction, &self.steps).await?;
        let now = mail.now();
        for step in std::mem::take(&mut self.steps) {
            progress();
            match known.learn(&step.order) {
                Learned::New => {
                    if !dry {
                        give(&mut transaction, &step.order, now).await?;
                    }
                    self.report.table(step.table).taken += 1;
                }
                Learned::Same => self.report.table(step.table).unchanged += 1,
                // The row that says so outright was taken.
                Learned::Otherwise(_) if step.implied => self.report.table(step.table).unchanged += 1,
                Learned::Otherwise(what) => self.skip(step.table, &step.row, what),
            }
        }
        if !dry {
            news::tell_settings(&mut transaction).await?;
            news::tell_state(&mut transaction, "").await?;
            transaction.commit().await?;
        }
        Ok(self.report)
    }
}

/// What was ordered already.
struct Known {
    greylist: HashMap<(String, String), State>,
    domains: HashSet<String>,
    limits: HashMap<(LimitKind, String), PolicyLimit>,
    lists: HashMap<(bool, String, String), bool>,
    clients: HashSet<String>,
}

enum Learned {
    New,
    Same,
    Otherwise(String),
}

impl Known {
    async fn read(transaction: &mut Transaction, steps: &[Step]) -> Result<Self> {
        let settings = greylist::settings(transaction).await?;
        let limits = throttle::limits(transaction).await?;
        let limits = limits.iter().filter_map(limit_of);
        let lists = access::list(transaction).await?;
        let domains = white_domains::list(transaction).await?;
        let networks = |step: &Step| match &step.order {
            Order::Client { network, .. } => Some(network.clone()),
            _ => None,
        };
        let networks: Vec<_> = steps.iter().filter_map(networks).collect();
        let mut clients = HashSet::new();
        for some in networks.chunks(10_000) {
            clients.extend(greylist::find_clients(transaction, some).await?.into_iter().map(|one| one.network));
        }
        Ok(Self {
            greylist: settings.into_iter().map(|one| ((one.account, one.sender), one.state)).collect(),
            domains: domains.into_iter().map(|one| one.domain).collect(),
            limits: limits.map(|one| ((one.kind, one.who.to_string()), one)).collect(),
            lists: lists.into_iter().map(|one| ((one.outbound, one.account, one.peer), one.black)).collect(),
            clients,
        })
    }

    fn learn(&mut self, order: &Order) -> Learned {
        match order {
            Order::Greylist { account, sender, state } => {
                let key = (account.to_string(), sender.to_string());
                learn(&mut self.greylist, key, *state, |state| {
                    format!("greylisting of this pair is {} here", state.name())
                })
            }
            Order::WhiteDomain(domain) => fresh(self.domains.insert(domain.to_string())),
            Order::Limit(limit) => {
                let key = (limit.kind, limit.who.to_string());
                learn(&mut self.limits, key, limit.clone(), |_| {
                    "there is another limit here for the same mail".to_owned()
                })
            }
            Order::Listed { outbound, account, peer, black } => {
                let key = (*outbound, account.to_string(), peer.to_string());
                let list = |black: &bool| if *black { "black" } else { "white" };
                learn(&mut self.lists, key, *black, |black| format!("it is on the {} list here", list(black)))
            }
            Order::Client { network, .. } => fresh(self.clients.insert(network.clone())),
        }
    }
}

fn learn<K: Eq + std::hash::Hash, V: PartialEq>(
    known: &mut HashMap<K, V>,
    key: K,
    value: V,
    otherwise: impl Fn(&V) -> String,
) -> Learned {
    match known.get(&key) {
        Some(was) if *was == value => Learned::Same,
        Some(was) => Learned::Otherwise(otherwise(was)),
        None => {
            known.insert(key, value);
            Learned::New
        }
    }
}

fn fresh(new: bool) -> Learned {
    if new { Learned::New } else { Learned::Same }
}

async fn give(transaction: &mut Transaction, order: &Order, now: DateTime<Utc>) -> Result<()> {
    let note = "taken over".to_owned();
    match order {
        Order::Greylist { account, sender, state } => {
            let (account, sender) = (account.to_string(), sender.to_string());
            let setting = Setting { account, sender, state: *state, note, added_at: now };
            greylist::put_setting(transaction, &setting).await?;
        }
        Order::WhiteDomain(domain) => {
            white_domains::add(transaction, domain.as_str(), now).await?;
        }
        Order::Limit(limit) => throttle::put_limit(transaction, &row_of(limit)).await?,
        Order::Listed { outbound, account, peer, black } => {
            let (account, peer) = (account.to_string(), peer.to_string());
            let entry = Entry { outbound: *outbound, account, peer, black: *black, note, added_at: now };
            access::put(transaction, &entry).await?;
        }
        Order::Client { network, passed_at } => {
            let client = Client { network: network.clone(), passed_at: *passed_at, last_seen: now };
            greylist::put_clients(transaction, &[client], true).await?;
        }
    }
    Ok(())
}
