//! Taking a Maildir over into an account, as APPEND would. A message that the account has already, in whatever folder, is
//! not put there again: messages are the same when their octets are. So whatever stopped it, the next run goes on.
//!
//! In memory are the names of all files, about two hundred octets for each, and the bodies of one commit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use aws_lc_rs::digest;
use posthorn_mail::{Intake, Mail};
use posthorn_model::{AccountId, Address, MailboxId, MessageId};
use posthorn_store::{accounts, mailboxes, memberships, messages};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::{Letter, Letters, Mapping, Unfit, folders, mapped, read, subscriptions};
use crate::backup::Progress;
use crate::filing::{Filing, Message, NotMade};

/// Files that are named when they cannot be taken; of further ones only the count is told.
const NAMED: usize = 100;

type Digest = [u8; 32];

/// What is wanted.
pub struct Wanted<'w> {
    /// The Maildir.
    pub path: &'w Path,
    /// Whose it becomes.
    pub into: &'w Address,
    /// Whether everything is read and nothing is written.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct TakenOver {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// By folder.
    pub folders: Vec<FolderReport>,
    /// Messages that were put in, or would be.
    pub taken: u64,
    /// Messages that the account had already.
    pub present: u64,
    /// Messages that were deleted while all this went on.
    pub gone: u64,
    /// Files that could not be taken.
    pub failed: u64,
    /// Which they are; at most a hundred.
    pub failures: Vec<Failure>,
    /// Folders that were made.
    pub made: Vec<String>,
    /// Keywords that the account has no room for.
    pub flags_left_out: Vec<String>,
    /// Why it stopped before the end.
    pub stopped: Option<String>,
}

/// What came of a folder.
#[derive(Debug, Serialize)]
pub struct FolderReport {
    /// Its name there.
    pub source: String,
    /// The mailbox's here.
    pub mailbox: String,
    /// Messages in it.
    pub messages: u64,
    /// Of them, those that were put in, or would be.
    pub taken: u64,
    /// And those that the account had already.
    pub present: u64,
}

/// A file that could not be taken.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub why: String,
}

/// A folder that is being taken over.
struct Source {
    path: PathBuf,
    mapping: Mapping,
    subscribed: bool,
    letters: Letters,
    /// For each letter, whether the account has it.
    present: Vec<bool>,
}

/// Does it.
///
/// # Errors
/// When the Maildir is none, the account does not exist, or the database says so.
pub async fn take_over(mail: &Mail, wanted: &Wanted<'_>, progress: &Progress) -> anyhow::Result<TakenOver> {
    let account = {
        let mut connection = mail.store().acquire().await?;
        accounts::find(&mut connection, wanted.into.local(), wanted.into.domain()).await?
    };
    let Some(account) = account.map(|account| account.id) else {
        bail!("there is no account {0} here: make it first (posthorn account add {0})", wanted.into)
    };
    let present = mail.mailboxes(account).await?;
    let root = wanted.path.to_owned();
    let mut sources = spawn_blocking(move || listed(&root, &present)).await.context("the reader ended badly")??;
    let mut report = TakenOver { dry_run: wanted.dry_run, ..TakenOver::default() };
    for source in &sources {
        for file in &source.letters.unnameable {
            report.fail(file.clone(), "its name is no UTF-8");
        }
    }
    let mut there = There::of(mail, account).await?;
    let octets: u64 = sources.iter().flat_map(|source| &source.letters.all).map(|letter| letter.size).sum();
    progress.set_of(if there.by_size.is_empty() { octets } else { octets * 2 });
    if !there.by_size.is_empty() {
        there.find(mail, &mut sources, progress).await?;
    }
    let mut filing = Filing::new(mail, account).await?;
    for source in &sources {
        let mut counts = FolderReport::of(source);
        match wanted.dry_run {
            true => tried(mail, source, (&mut counts, &mut report), progress).await?,
            false => filed(mail, source, (&mut counts, &mut report), &mut filing, progress).await?,
        }
        report.taken += counts.taken;
        report.present += counts.present;
        report.folders.push(counts);
    }
    let filed = filing.filed;
    Ok(TakenOver { made: filed.made, flags_left_out: filed.flags_left_out, stopped: filed.stopped, ..report })
}

impl TakenOver {
    fn fail(&mut self, file: PathBuf, why: impl ToString) {
        self.failed += 1;
        if self.failures.len() < NAMED {
            self.failures.push(Failure { file, why: why.to_string() });
        }
    }

    /// Writes down why a message is not taken.
    fn refuse(&mut self, file: PathBuf, unfit: &Unfit) {
        match unfit {
            Unfit::Gone => self.gone += 1,
            unfit => self.fail(file, unfit),
        }
    }
}

impl FolderReport {
    fn of(source: &Source) -> Self {
        Self {
            source: source.mapping.source.clone(),
            mailbox: source.mapping.mailbox.clone(),
            messages: source.letters.all.len() as u64,
            taken: 0,
            present: source.present.iter().filter(|present| **present).count() as u64,
        }
    }
}

/// Lists every folder.
fn listed(root: &Path, mailboxes: &[mailboxes::Mailbox]) -> anyhow::Result<Vec<Source>> {
    let folders = folders(root)?;
    let levels: Vec<_> = folders.iter().map(|folder| folder.levels.clone()).collect();
    let is_inbox = |level: &String| level.eq_ignore_ascii_case("INBOX");
    // With or without the namespace's prefix; a list that names none of the folders is not understood.
    let listed: Vec<Vec<String>> = subscriptions(root)?
        .into_iter()
        .flatten()
        .map(|name| name.iter().skip(usize::from(name.first().is_some_and(is_inbox))).cloned().collect())
        .collect();
    let is_understood = levels.iter().any(|levels| !levels.is_empty() && listed.contains(levels));
    let mut sources = Vec::new();
    for (folder, mapping) in folders.into_iter().zip(mapped(&levels, mailboxes)) {
        let letters = Letters::of(&folder.path)?;
        let subscribed = !is_understood || listed.contains(&folder.levels);
        let present = vec![false; letters.all.len()];
        sources.push(Source { path: folder.path, mapping, subscribed, letters, present });
    }
    Ok(sources)
}

/// The messages that the account had before; each stands for one message of the Maildir at most.
#[derive(Default)]
struct There {
    /// By size, as long as nothing of the Maildir has that size.
    by_size: HashMap<u64, Vec<(MessageId, MailboxId)>>,
    /// By what they are, else.
    by_digest: HashMap<Digest, Vec<MailboxId>>,
    names: HashMap<MailboxId, String>,
}

impl There {
    async fn of(mail: &Mail, account: AccountId) -> anyhow::Result<Self> {
        let mut connection = mail.store().acquire().await?;
        let mut there = Self::default();
        for mailbox in mailboxes::list(&mut connection, account).await? {
            for one in memberships::from(&mut connection, account, mailbox.id, 1).await? {
                there.by_size.entry(one.size.into()).or_default().push((one.message, mailbox.id));
            }
            there.names.insert(mailbox.id, mailbox.name);
        }
        Ok(there)
    }

    /// Marks what the account has: in its own folder first, as it may have been moved since.
    async fn find(&mut self, mail: &Mail, sources: &mut [Source], progress: &Progress) -> anyhow::Result<()> {
        let mut wanted = Vec::new();
        for (place, source) in sources.iter().enumerate() {
            for (at, letter) in source.letters.all.iter().enumerate() {
                // What cannot be read is told when it is to be taken.
                if let (_, Ok(body)) = body_of(mail, source, letter).await? {
                    self.open(mail, body.len() as u64).await?;
                    let digest = digest_of(body.octets());
                    if self.by_digest.contains_key(&digest) {
                        wanted.push((place, at, digest));
                    }
                }
                progress.add(usize::try_from(letter.size).unwrap_or_default());
            }
        }
        for in_place in [true, false] {
            for (place, at, digest) in &wanted {
                let source = &mut sources[*place];
                let name = in_place.then_some(source.mapping.mailbox.as_str());
                source.present[*at] = source.present[*at] || self.claim(name, digest);
            }
        }
        Ok(())
    }

    /// Reads the messages of this size.
    async fn open(&mut self, mail: &Mail, size: u64) -> anyhow::Result<()> {
        let Some(mut class) = self.by_size.remove(&size) else { return Ok(()) };
        // The same message may lie in several mailboxes.
        class.sort_unstable();
        let mut last: Option<(MessageId, Option<Digest>)> = None;
        for (message, mailbox) in class {
            let digest = match last {
                Some((known, digest)) if known == message => digest,
                _ => {
                    let mut connection = mail.store().acquire().await?;
                    let octets = messages::bodies(&mut connection, &[message.0]).await?.pop();
                    octets.map(|(_, octets)| digest_of(&octets.whole))
                }
            };
            last = Some((message, digest));
            if let Some(digest) = digest {
                self.by_digest.entry(digest).or_default().push(mailbox);
            }
        }
        Ok(())
    }

    /// Takes one of these octets, from this mailbox or from any, for one of the Maildir's.
    fn claim(&mut self, mailbox: Option<&str>, digest: &Digest) -> bool {
        let Some(places) = self.by_digest.get_mut(digest) else { return false };
        let is_meant = |place: &MailboxId| mailbox.is_none_or(|name| self.names.get(place).is_some_and(|n| n == name));
        let Some(at) = places.iter().position(is_meant) else { return false };
        places.swap_remove(at);
        true
    }
}

fn digest_of(octets: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    digest
}

/// The octets of a message, also when its file was renamed meanwhile, and the letter under its name of now.
async fn body_of(mail: &Mail, source: &Source, letter: &Letter) -> anyhow::Result<(Letter, Result<Intake, Unfit>)> {
    let (folder, letter, intakes) = (source.path.clone(), letter.clone(), [mail.intake(), mail.intake()]);
    let reading = spawn_blocking(move || {
        let [mut first, mut second] = intakes;
        match read(&folder.join(&letter.file), |octets| first.push(octets).is_ok()) {
            Err(Unfit::Gone) => {}
            done => return (letter, done.map(|()| first)),
        }
        let Some(letter) = Letters::renamed(&folder, &letter) else { return (letter, Err(Unfit::Gone)) };
        let done = read(&folder.join(&letter.file), |octets| second.push(octets).is_ok());
        (letter, done.map(|()| second))
    });
    reading.await.context("the reader ended badly")
}

/// Reads what would be taken.
async fn tried(
    mail: &Mail,
    source: &Source,
    (counts, report): (&mut FolderReport, &mut TakenOver),
    progress: &Progress,
) -> anyhow::Result<()> {
    for (letter, _) in source.letters.all.iter().zip(&source.present).filter(|(_, present)| !**present) {
        match body_of(mail, source, letter).await? {
            (_, Ok(_)) => counts.taken += 1,
            (letter, Err(unfit)) => report.refuse(source.path.join(&letter.file), &unfit),
        }
        progress.add(usize::try_from(letter.size).unwrap_or_default());
    }
    Ok(())
}

/// Takes a folder over.
async fn filed(
    mail: &Mail,
    source: &Source,
    (counts, report): (&mut FolderReport, &mut TakenOver),
    filing: &mut Filing<'_>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let name = source.mapping.mailbox.as_str();
    let before = filing.filed.messages;
    let mailbox = match filing.mailbox(name, source.subscribed).await {
        Ok(mailbox) => mailbox,
        Err(error) if error.is::<NotMade>() => {
            report.fail(source.path.clone(), error);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for (letter, _) in source.letters.all.iter().zip(&source.present).filter(|(_, present)| !**present) {
        if filing.filed.stopped.is_some() {
            break;
        }
        let (now, body) = body_of(mail, source, letter).await?;
        progress.add(usize::try_from(letter.size).unwrap_or_default());
        match body {
            Ok(body) => {
                let flags = filing.flags(source.letters.flags(&now)).await?;
                filing.put((name, mailbox), Message { body, flags, internal_date: now.at }).await?;
            }
            Err(unfit) => report.refuse(source.path.join(&now.file), &unfit),
        }
    }
    filing.flush().await?;
    counts.taken = filing.filed.messages - before;
    Ok(())
}
