//! What people and their programs do.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;

use super::{Options, Stage};
use crate::imap::{Connection, quoted};
use crate::message::{Messages, run_number};
use crate::smtp;
use crate::target::Target;

/// The folders that every user gets for this.
const FOLDERS: [&str; 2] = ["Soak kept", "Soak bin"];

/// Words that some messages hold.
const SOUGHT: [&str; 4] = ["invoice", "quarter", "Wednesday", "nowhere"];

/// The messages that are sent, and their numbers.
pub(super) struct People {
    /// Small ones first, each kind rarer than the one before.
    kinds: [Messages; 4],
    next: Cell<u64>,
}

impl People {
    pub(super) fn new() -> anyhow::Result<Self> {
        let run = run_number()?;
        let kinds = [(2_000, 20), (10_240, 20), (100_000, 5), (1_500_000, 1)];
        Ok(Self { kinds: kinds.map(|(size, texts)| Messages::varied(size, run, texts)), next: Cell::new(0) })
    }

    /// Makes the folders of all users.
    pub(super) async fn settle(&self, options: &Options) -> anyhow::Result<()> {
        for number in 0..options.users {
            let mut connection = login(&options.target, &options.target.user(number)).await?;
            for folder in FOLDERS {
                // Refused where it is there.
                let _exists = connection.command(format!("a CREATE {}\r\n", quoted(folder)).as_bytes()).await;
            }
            connection.command(b"b LOGOUT\r\n").await?;
        }
        Ok(())
    }

    /// Appends some message.
    pub(super) fn write(&self, stage: &Stage, out: &mut Vec<u8>) {
        let kind = match stage.below(100) {
            0..40 => 0,
            40..90 => 1,
            90..98 => 2,
            _ => 3,
        };
        let number = self.next.replace(self.next.get() + 1);
        self.kinds[kind].write(number, out);
    }
}

/// A session of another server: a few messages, each to a few people.
pub(super) async fn send(stage: Rc<Stage>) -> anyhow::Result<()> {
    let Target { host, smtp_port, .. } = &stage.options.target;
    let mut session = smtp::Session::open(host, *smtp_port, false).await?;
    for _ in 0..=stage.below(3) {
        let recipients: String = (0..=stage.below(3)).map(|_| format!("RCPT TO:<{}>\r\n", stage.user())).collect();
        let envelope = format!("MAIL FROM:<soak@bench.example>\r\n{recipients}DATA\r\n");
        session.envelope(envelope.as_bytes(), stage.below(2) == 0).await?;
        session.data(|out| stage.people.write(&stage, out)).await.context("SMTP")?;
    }
    session.quit().await
}

/// A message by LMTP, which answers for each recipient.
pub(super) async fn hand_over(stage: Rc<Stage>) -> anyhow::Result<()> {
    let Target { host, lmtp_port, .. } = &stage.options.target;
    let mut session = smtp::Session::open(host, *lmtp_port, true).await?;
    let first = stage.below(stage.options.users.max(1));
    let second = (first + 1) % stage.options.users.max(1);
    let (one, two) = (stage.options.target.user(first), stage.options.target.user(second));
    let envelope = format!("MAIL FROM:<>\r\nRCPT TO:<{one}>\r\nRCPT TO:<{two}>\r\nDATA\r\n");
    session.envelope(envelope.as_bytes(), true).await?;
    session.data(|out| stage.people.write(&stage, out)).await.context("LMTP")?;
    if one != two {
        session.reply(250..=250).await.context("LMTP, the second recipient")?;
    }
    session.quit().await
}

/// Somebody looks at mail, files it, writes a draft and tidies up.
pub(super) async fn read(stage: Rc<Stage>) -> anyhow::Result<()> {
    let mut connection = login(&stage.options.target, &stage.user()).await?;
    let folder = if stage.below(3) > 0 { "INBOX" } else { stage.one(&FOLDERS) };
    connection.command(format!("b SELECT {}\r\n", quoted(folder)).as_bytes()).await.context("SELECT")?;
    let mut uids = uids(&mut connection).await?;
    if uids.len() > stage.options.keep {
        let old = stage.options.keep / 2;
        tidy(&mut connection, &uids[..uids.len() - old]).await?;
        uids.drain(..uids.len() - old);
    }
    for _ in 0..=stage.below(6) {
        let command = command(&stage, folder, &uids);
        let name = String::from_utf8_lossy(&command[..command.len().min(30)]).trim_end().to_owned();
        connection.command(&command).await.with_context(|| name)?;
    }
    connection.command(b"z LOGOUT\r\n").await?;
    Ok(())
}

/// Some command; what it names by UID may be gone, which is no error.
fn command(stage: &Stage, folder: &str, uids: &[u32]) -> Vec<u8> {
    let uid = if uids.is_empty() { 1 } else { *stage.one(uids) };
    let recent = uids.iter().rev().nth(20).copied().unwrap_or(1);
    let kept = quoted(FOLDERS[0]);
    // What is there already cannot be moved there.
    let elsewhere = quoted(FOLDERS[usize::from(folder != FOLDERS[1])]);
    let text = match stage.below(14) {
        0 => format!("c UID FETCH {recent}:* (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE PREVIEW)"),
        1 => "c UID FETCH 1:* FLAGS".to_owned(),
        2 => format!("c UID FETCH {uid} BODY[]"),
        3 => format!("c UID FETCH {recent}:* (BODY.PEEK[HEADER.FIELDS (SUBJECT DATE)] BODY.PEEK[TEXT]<0.512>)"),
        4 => format!("c UID STORE {uid} +FLAGS (\\Seen $Forwarded)"),
        5 => format!("c UID STORE {recent}:* -FLAGS.SILENT (\\Flagged)"),
        6 => format!("c SEARCH TEXT {}", stage.one(&SOUGHT)),
        7 => "c UID SEARCH RETURN (MIN MAX COUNT SAVE) UNSEEN SUBJECT Message".to_owned(),
        8 => format!("c UID COPY {uid} {kept}"),
        9 => format!("c UID MOVE {uid} {elsewhere}"),
        10 => format!("c STATUS {kept} (MESSAGES UNSEEN SIZE HIGHESTMODSEQ)"),
        11 => "c LIST \"\" * RETURN (STATUS (MESSAGES))".to_owned(),
        12 => return append(stage),
        _ => "c NOOP".to_owned(),
    };
    [text.as_bytes(), b"\r\n"].concat()
}

fn append(stage: &Stage) -> Vec<u8> {
    let mut message = Vec::new();
    stage.people.write(stage, &mut message);
    let start = format!("c APPEND {} (\\Draft) {{{}+}}\r\n", quoted(FOLDERS[0]), message.len());
    [start.as_bytes(), &message, b"\r\n"].concat()
}

async fn uids(connection: &mut Connection) -> anyhow::Result<Vec<u32>> {
    let mut uids = Vec::new();
    connection.send(b"c UID SEARCH ALL\r\n").await?;
    let found = connection.done(|line| {
        if let Some(numbers) = line.strip_prefix(b"* SEARCH") {
            uids = String::from_utf8_lossy(numbers).split_ascii_whitespace().flat_map(str::parse).collect();
        }
    });
    found.await.context("UID SEARCH")?;
    Ok(uids)
}

async fn tidy(connection: &mut Connection, old: &[u32]) -> anyhow::Result<()> {
    if let (Some(first), Some(last)) = (old.first(), old.last()) {
        let store = format!("c UID STORE {first}:{last} +FLAGS.SILENT (\\Deleted)\r\n");
        connection.command(store.as_bytes()).await.context("UID STORE")?;
        connection.command(format!("c UID EXPUNGE {first}:{last}\r\n").as_bytes()).await.context("UID EXPUNGE")?;
    }
    Ok(())
}

/// Somebody's telephone: waits for news for a while.
pub(super) async fn idle(stage: Rc<Stage>) -> anyhow::Result<()> {
    let mut connection = login(&stage.options.target, &stage.user()).await?;
    connection.command(b"b SELECT INBOX\r\n").await?;
    connection.send(b"c IDLE\r\n").await?;
    let wait = Duration::from_millis(u64::try_from(10_000 + stage.below(40_000))?);
    // Nothing ends this but the time, or the server.
    if let Ok(ended) = tokio::time::timeout(wait, connection.until(|line| line.starts_with(b"* BYE"))).await {
        ended.context("IDLE")?;
    }
    connection.command(b"DONE\r\n").await.context("DONE")?;
    connection.command(b"z LOGOUT\r\n").await?;
    Ok(())
}

async fn login(target: &Target, user: &str) -> anyhow::Result<Connection> {
    Connection::login(&target.host, target.imap_port, user, &target.password).await
}
