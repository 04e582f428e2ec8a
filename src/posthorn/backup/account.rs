//! One account's mail out of a backup, put beside what the account has today. What it still has is not put there again:
//! messages are the same when size, internal date and octets are. So whatever stopped a restore, the next one goes on.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, bail};
use posthorn_mail::Mail;
use posthorn_mail::mailboxes::is_below;
use posthorn_model::{AccountId, Address, Flags, Keywords};
use posthorn_store::backup::Table;
use posthorn_store::gather::{Gathering, Old, OldMailbox, There};
use posthorn_store::{accounts, messages};
use serde::Serialize;

use super::contents::Preface;
use super::read::{Archive, Event, Wanted};
use super::tuples::{Chosen, Rows};
use super::{Progress, sha256};
use crate::filing::{Filed, Filing, Message};

/// Classes of messages that are compared at a time.
const CLASSES: i64 = 500;

/// What is wanted.
pub struct Account<'w> {
    /// Whose mail.
    pub from: &'w Address,
    /// Whose it becomes.
    pub into: &'w Address,
    /// These mailboxes and those below them; none: all.
    pub folders: &'w [String],
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct Restored {
    /// The moment of the backup.
    pub at: String,
    /// Messages that were put in.
    pub restored: u64,
    /// Messages that the account still had.
    pub present: u64,
    /// Messages whose octets the backup does not have.
    pub lost: u64,
    /// Mailboxes that were made.
    pub made: Vec<String>,
    /// What was put in, by mailbox.
    pub folders: std::collections::BTreeMap<String, u64>,
    /// Flags that the account has no room for.
    pub flags_left_out: Vec<String>,
    /// Why it stopped before the end.
    pub stopped: Option<String>,
}

/// Does it. The archive is read three times, so it must be a file.
///
/// # Errors
/// What is damaged, who does not exist, or what the database said.
pub async fn restore(
    mail: &Mail,
    url: &str,
    path: &Path,
    wanted: &Account<'_>,
    progress: &Progress,
) -> anyhow::Result<Restored> {
    if !std::fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        bail!("{} is no file: it is read more than once for --account", path.display());
    }
    let into = {
        let mut connection = mail.store().acquire().await?;
        accounts::find(&mut connection, wanted.into.local(), wanted.into.domain()).await?
    };
    let Some(into) = into else {
        bail!("there is no account {0} here: make it first (posthorn account add {0})", wanted.into)
    };
    let mut gathering = Gathering::begin(url).await?;
    let done = gathered(mail, &mut gathering, path, (wanted, into.id), progress).await;
    gathering.end().await;
    done
}

async fn gathered(
    mail: &Mail,
    gathering: &mut Gathering,
    path: &Path,
    (wanted, into): (&Account<'_>, AccountId),
    progress: &Progress,
) -> anyhow::Result<Restored> {
    copy(gathering, path, &["domain", "account"], &mut |_, _| Ok(Keep::All), progress).await?;
    let Some(account) = gathering.account(wanted.from).await? else {
        bail!("the backup has no account {}", wanted.from)
    };
    let of_account = &mut |preface: &Preface, table: &str| {
        let is_its = HashSet::from([account.0]);
        Ok(Keep::Those { column: preface.column(table, "account_id")?, ids: is_its })
    };
    let preface = copy(gathering, path, &["mailbox", "mail_state", "membership"], of_account, progress).await?;
    let ids: HashSet<i64> = gathering.messages().await?.into_iter().collect();
    let of_messages = &mut |preface: &Preface, table: &str| {
        Ok(Keep::Those { column: preface.column(table, "message_id")?, ids: ids.clone() })
    };
    copy(gathering, path, &["body"], of_messages, progress).await?;
    let mut target = Target::new(mail, into, gathering.mailboxes().await?, gathering.keywords().await?).await?;
    let mut restored = Restored { at: super::restore::moment(preface.at), ..Restored::default() };
    let chosen = target.chosen(wanted.folders)?;
    let last = gathering.compare(into).await?;
    let mut first = 1;
    while first <= last && target.filing.filed.stopped.is_none() {
        let (old, there) = gathering.classes(first, first + CLASSES - 1).await?;
        first += CLASSES;
        let old = old.into_iter().filter(|old| chosen.contains(&old.mailbox)).collect();
        let missing = missing(mail, gathering, &mut restored, old, there).await?;
        for old in missing {
            if !target.put(gathering, &old).await? {
                restored.lost += 1;
            }
        }
    }
    target.filing.flush().await?;
    let Filed { messages, folders, made, flags_left_out, stopped } = target.filing.filed;
    Ok(Restored { restored: messages, folders, made, flags_left_out, stopped, ..restored })
}

/// Which rows of a table are gathered.
enum Keep {
    All,
    Those { column: usize, ids: HashSet<i64> },
}

/// Gathers rows of some tables in one pass over the archive.
async fn copy(
    gathering: &mut Gathering,
    path: &Path,
    names: &[&'static str],
    keep: &mut dyn FnMut(&Preface, &str) -> anyhow::Result<Keep>,
    progress: &Progress,
) -> anyhow::Result<Preface> {
    let mut archive = Archive::open(path, Wanted::Tables(names.to_vec()), progress).await?;
    let tables = archive.preface.stored_tables();
    let mut wanted: HashMap<usize, (Table, Keep)> = HashMap::new();
    for name in names {
        let place = tables.iter().position(|table| table.name == *name);
        let place = place.with_context(|| format!("the archive has no table {name}"))?;
        gathering.table(&tables[place]).await?;
        wanted.insert(place, (tables[place].clone(), keep(&archive.preface, name)?));
    }
    loop {
        match archive.next().await? {
            Event::Piece { table, octets } => {
                let Some((table, keep)) = wanted.get(&table) else { continue };
                let piece = match keep {
                    Keep::All => Some(octets),
                    Keep::Those { column, ids } => chosen(&octets, *column, ids)?,
                };
                if let Some(piece) = piece {
                    gathering.load(table, &piece).await?;
                }
            }
            Event::File { .. } => {}
            Event::End(_) => return Ok(archive.preface),
        }
    }
}

/// The rows of a piece that have one of these numbers in a column.
fn chosen(piece: &[u8], column: usize, ids: &HashSet<i64>) -> anyhow::Result<Option<Vec<u8>>> {
    let mut rows = Rows::of(piece)?;
    let mut chosen = Chosen::default();
    while let Some(row) = rows.next_row()? {
        if ids.contains(&row.number(column)?) {
            chosen.add(row);
        }
    }
    Ok(chosen.piece())
}

/// Of what was, what is not there any more: each message that is there stands for one that was, in its own mailbox first,
/// as it may have been moved since.
async fn missing(
    mail: &Mail,
    gathering: &mut Gathering,
    restored: &mut Restored,
    old: Vec<Old>,
    there: Vec<There>,
) -> anyhow::Result<Vec<Old>> {
    let mut missing = Vec::new();
    for class in old.chunk_by(|one, other| one.class == other.class) {
        let mut rest: Vec<&There> = there.iter().filter(|there| there.class == class[0].class).collect();
        if rest.is_empty() {
            missing.extend_from_slice(class);
            continue;
        }
        let mut contents = Contents::default();
        let mut left = Vec::new();
        for in_place in [true, false] {
            let candidates: Vec<Old> = if in_place { class.to_vec() } else { std::mem::take(&mut left) };
            for old in candidates {
                let mut found = None;
                for (place, there) in rest.iter().enumerate() {
                    let may_be = !in_place || there.mailbox == old.mailbox;
                    if may_be && contents.are_same(mail, gathering, &old, there).await? {
                        found = Some(place);
                        break;
                    }
                }
                match found {
                    Some(place) => {
                        rest.remove(place);
                        restored.present += 1;
                    }
                    None => left.push(old),
                }
            }
        }
        missing.append(&mut left);
    }
    Ok(missing)
}

/// Hashes of the messages of one class.
#[derive(Default)]
struct Contents {
    old: HashMap<i64, Option<String>>,
    there: HashMap<i64, Option<String>>,
}

impl Contents {
    async fn are_same(
        &mut self,
        mail: &Mail,
        gathering: &mut Gathering,
        old: &Old,
        there: &There,
    ) -> anyhow::Result<bool> {
        // The octets of an id never change.
        if old.message == there.message {
            return Ok(true);
        }
        if let Entry::Vacant(unknown) = self.old.entry(old.message) {
            let octets = gathering.octets(old.message).await?;
            unknown.insert(octets.map(|octets| sha256(&octets.whole)));
        }
        if let Entry::Vacant(unknown) = self.there.entry(there.message) {
            let mut connection = mail.store().acquire().await?;
            let octets = messages::bodies(&mut connection, &[there.message]).await?.pop();
            unknown.insert(octets.map(|(_, octets)| sha256(&octets.whole)));
        }
        let (old, there) = (&self.old[&old.message], &self.there[&there.message]);
        Ok(old.is_some() && old == there)
    }
}

/// The account of today.
struct Target<'t> {
    mail: &'t Mail,
    filing: Filing<'t>,
    old: Vec<OldMailbox>,
    keywords: Keywords,
}

impl<'t> Target<'t> {
    async fn new(
        mail: &'t Mail,
        account: AccountId,
        old: Vec<OldMailbox>,
        keywords: Vec<String>,
    ) -> anyhow::Result<Self> {
        Ok(Self { mail, filing: Filing::new(mail, account).await?, old, keywords: Keywords::new(keywords) })
    }

    /// The names of the mailboxes that are wanted.
    fn chosen(&self, folders: &[String]) -> anyhow::Result<HashSet<String>> {
        let names = || self.old.iter().map(|mailbox| mailbox.name.clone());
        if folders.is_empty() {
            return Ok(names().collect());
        }
        let mut chosen = HashSet::new();
        for folder in folders {
            let before = chosen.len();
            chosen.extend(names().filter(|name| name == folder || is_below(name, folder)));
            if chosen.len() == before {
                let all: Vec<_> = names().collect();
                bail!("the backup has no folder {folder:?} of this account; it has {}", all.join(", "));
            }
        }
        Ok(chosen)
    }

    /// Puts one in. Returns whether the backup has its octets.
    async fn put(&mut self, gathering: &mut Gathering, old: &Old) -> anyhow::Result<bool> {
        if self.filing.filed.stopped.is_some() {
            return Ok(true);
        }
        let Some(octets) = gathering.octets(old.message).await? else { return Ok(false) };
        let subscribed = self.old.iter().any(|mailbox| mailbox.name == old.mailbox && mailbox.subscribed);
        let mailbox = self.filing.mailbox(&old.mailbox, subscribed).await?;
        let names = self.keywords.written(Flags(old.flags.cast_unsigned())).map(str::to_owned).collect();
        let flags = self.filing.flags(names).await?;
        let mut body = self.mail.intake();
        if let Err(refusal) = body.push(&octets.whole) {
            bail!("a message of {} octets cannot be restored: {}", octets.whole.len(), refusal.text);
        }
        let message = Message { body, flags, internal_date: old.internal_date };
        self.filing.put((&old.mailbox, mailbox), message).await?;
        Ok(true)
    }
}
