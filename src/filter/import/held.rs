//! Held mail of Amavis': what lies in its tables, for those who wait for it.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use posthorn_mail::copies::Edit;
use posthorn_mail::{Mail, Result};
use posthorn_model::MessageId;
use posthorn_policy::import::{Report, Tables};
use posthorn_store::filter::held::{HeldFor, HeldTerms, NewHeld};
use posthorn_store::foreign::ForeignRow;

use super::row::{number, octets, text};
use super::{NOTE, change, skip};
use crate::Category;

/// Fields that the other program put on top.
const OWN: &[&str] =
    &["X-Envelope-", "X-Quarantine-ID", "X-Amavis-", "X-Spam-", "X-Virus-Scanned", "Return-Path", "Delivered-To"];

/// A message by its partition and name: both together are unique there.
type Key = (String, String);

/// The rows of one message.
#[derive(Default)]
struct Rows<'t> {
    recipients: Vec<&'t ForeignRow>,
    chunks: Vec<(i64, &'t ForeignRow)>,
}

fn key(row: &ForeignRow) -> Key {
    (text(row, "partition_tag"), text(row, "mail_id"))
}

/// Takes over held mail. `progress` is told how many messages are done.
pub(super) async fn take(
    mail: &Mail,
    tables: &Tables,
    dry: bool,
    report: &mut Report,
    mut progress: impl FnMut(u64),
) -> Result<()> {
    let Some(messages) = tables.of("msgs") else { return Ok(()) };
    for name in ["msgs", "msgrcpt", "quarantine"] {
        if let Some(rows) = tables.of(name) {
            report.table(name).read += rows.len() as u64;
        }
    }
    let addresses: HashMap<String, String> =
        tables.of("maddr").unwrap_or_default().iter().map(|row| (text(row, "id"), text(row, "email"))).collect();
    let mut rows: HashMap<Key, Rows<'_>> = HashMap::new();
    for row in tables.of("msgrcpt").unwrap_or_default() {
        rows.entry(key(row)).or_default().recipients.push(row);
    }
    for row in tables.of("quarantine").unwrap_or_default() {
        let at = text(row, "chunk_ind").parse().unwrap_or_default();
        rows.entry(key(row)).or_default().chunks.push((at, row));
    }
    for (done, message) in (1..).zip(messages) {
        progress(done);
        let Some(rows) = rows.remove(&key(message)) else { continue };
        let Some((at, new)) = wanted(report, message, &rows, &addresses) else { continue };
        let mail_id = new.mail_id.clone();
        if mail.knows_held(&mail_id).await? {
            report.table("msgs").unchanged += 1;
            continue;
        }
        let Some(whole) = whole(rows.chunks) else {
            skip(report, "msgs", &mail_id, "a part of it is missing in the table quarantine");
            continue;
        };
        report.table("msgs").taken += 1;
        report.table("msgrcpt").taken += new.recipients.len() as u64;
        if !dry {
            let seed = seed(&mail_id);
            // Ids of one second lie apart.
            let moment = at + TimeDelta::milliseconds(i64::from(seed >> 22));
            mail.take_over(&whole, moment, seed, new).await?;
        }
    }
    Ok(())
}

/// What is to be held; nothing where nobody waits for it, or it lies elsewhere.
fn wanted(
    report: &mut Report,
    message: &ForeignRow,
    rows: &Rows<'_>,
    addresses: &HashMap<String, String>,
) -> Option<(DateTime<Utc>, NewHeld)> {
    let (mail_id, secret) = (text(message, "mail_id"), text(message, "secret_id"));
    let kind = text(message, "quar_type");
    match kind.as_str() {
        "Q" => {}
        // It was not kept at all.
        "" if rows.chunks.is_empty() => return None,
        "" => {}
        "F" | "Z" | "B" | "M" => {
            let place = text(message, "quar_loc");
            skip(report, "msgs", &mail_id, &format!("it lies in a file or mailbox, not in the database: {place}"));
            return None;
        }
        other => {
            skip(report, "msgs", &mail_id, &format!("nobody knows the kind of quarantine \"{other}\""));
            return None;
        }
    }
    let mut recipients = Vec::new();
    for row in &rows.recipients {
        // Delivered, or to be tried again; released, or deleted.
        if matches!(text(row, "ds").as_str(), "P" | "T") || matches!(text(row, "rs").as_str(), "R" | "D") {
            continue;
        }
        match addresses.get(&text(row, "rid")) {
            Some(address) if !address.is_empty() => {
                recipients.push(HeldFor { recipient: address.clone(), orcpt: None, notify: None });
            }
            _ => change(
                report,
                "msgrcpt",
                &mail_id,
                "maddr holds no such number, or no address: it is held for the others",
            ),
        }
    }
    if recipients.is_empty() {
        return None;
    }
    let Some(at) = text(message, "time_num").parse().ok().and_then(|time| DateTime::from_timestamp(time, 0)) else {
        skip(report, "msgs", &mail_id, "its time is none");
        return None;
    };
    if mail_id.is_empty() || secret.is_empty() {
        skip(report, "msgs", &mail_id, "without a secret nobody could release it by its name");
        return None;
    }
    let sender = addresses.get(&text(message, "sid")).cloned().unwrap_or_default();
    let optional = |column| Some(text(message, column)).filter(|text| !text.is_empty());
    let held = NewHeld {
        message: MessageId(0),
        mail_id,
        secret,
        at,
        category: category(&text(message, "content")),
        score: number(&text(message, "spam_level")).unwrap_or_default(),
        why: NOTE.to_owned(),
        sender,
        author: author(&text(message, "from_addr")),
        subject: text(message, "subject"),
        header_id: optional("message_id").map(|id| id.trim_matches(['<', '>']).to_owned()),
        client: optional("client_addr"),
        helo: None,
        size: 0,
        originating: text(message, "originating") == "Y",
        // Amavis keeps nothing of them.
        terms: HeldTerms::default(),
        recipients,
        bond: None,
    };
    Some((at, held))
}

/// The address of an author.
fn author(from: &str) -> String {
    let address = from.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(from, |(address, _)| address);
    address.trim().to_owned()
}

/// The category of a letter.
fn category(content: &str) -> i16 {
    let letter = match content {
        // As earlier versions write them.
        "s" => "Y",
        "M" => "H",
        other => other,
    };
    let is = |one: &Category| letter.chars().eq([one.letter()]);
    Category::ALL.into_iter().find(is).unwrap_or_default().code()
}

/// The message out of its parts, as it came: with CRLF, and without what the other program put on top. Nothing when a part
/// is missing.
fn whole(mut chunks: Vec<(i64, &ForeignRow)>) -> Option<Bytes> {
    chunks.sort_by_key(|(at, _)| *at);
    let is_next = |(at, (number, _)): (usize, &(i64, &ForeignRow))| usize::try_from(*number).is_ok_and(|n| n == at + 1);
    if chunks.is_empty() || !chunks.iter().enumerate().all(is_next) {
        return None;
    }
    let mut whole = Vec::new();
    for (_, row) in &chunks {
        for octet in octets(row, "mail_text") {
            if octet == b'\n' && whole.last() != Some(&b'\r') {
                whole.push(b'\r');
            }
            whole.push(octet);
        }
    }
    let edit = Edit { without: OWN, ..Edit::default() };
    Some(Bytes::from(edit.apply(&whole)))
}

/// A number that follows from a name.
fn seed(mail_id: &str) -> u32 {
    let digest = digest(&SHA256, mail_id.as_bytes());
    digest.as_ref().iter().take(4).fold(0, |seed, octet| seed << 8 | u32::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[(&str, &str)]) -> ForeignRow {
        fields.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect()
    }

    #[test]
    fn parts_become_the_message_that_came() {
        let top = "Return-Path: <>\nX-Envelope-From: <a@b.test>\nX-Envelope-To: <c@d.test>\nX-Quarantine-ID: <x>\n";
        let spam = "X-Spam-Flag: YES\nX-Spam-Status: Yes, score=9,\n\ttests=[X=9]\n";
        let hexadecimal: String = "Subject: zwei\r\n\nText\n".bytes().map(|octet| format!("{octet:02x}")).collect();
        let chunks = [
            row(&[("mail_text", &format!("\\x{hexadecimal}"))]),
            row(&[("mail_text", &format!("{top}{spam}From: a@b.test\n"))]),
        ];
        let parts = vec![(2, &chunks[0]), (1, &chunks[1])];
        assert_eq!(whole(parts).expect("all parts"), "From: a@b.test\r\nSubject: zwei\r\n\r\nText\r\n");
        assert!(whole(vec![(2, &chunks[0])]).is_none());
        assert!(whole(Vec::new()).is_none());
    }

    #[test]
    fn only_who_waits_is_taken() {
        let addresses: HashMap<String, String> =
            [("1", "a@b.test"), ("2", "bob@example.org"), ("3", "eve@example.org")]
                .map(|(id, email)| (id.to_owned(), email.to_owned()))
                .into();
        let message = row(&[
            ("mail_id", "abcdefghijkl"),
            ("secret_id", "mnopqrstuvwx"),
            ("quar_type", "Q"),
            ("time_num", "1780000000"),
            ("sid", "1"),
            ("content", "S"),
            ("spam_level", "8.5"),
            ("from_addr", "\"A\" <a@b.test>"),
            ("message_id", "<m@b.test>"),
        ]);
        let to = |rid, ds, rs| row(&[("rid", rid), ("ds", ds), ("rs", rs)]);
        let all = [to("2", "D", " "), to("3", "P", " "), to("3", "D", "R")];
        let rows = Rows { recipients: all.iter().collect(), chunks: Vec::new() };
        let mut report = Report::default();
        let (at, held) = wanted(&mut report, &message, &rows, &addresses).expect("somebody waits");
        assert_eq!(at.timestamp(), 1_780_000_000);
        assert_eq!((held.category, held.score, held.author.as_str()), (6, 8.5, "a@b.test"));
        assert_eq!((held.sender.as_str(), held.header_id.as_deref()), ("a@b.test", Some("m@b.test")));
        assert_eq!(held.recipients.iter().map(|one| one.recipient.as_str()).collect::<Vec<_>>(), ["bob@example.org"]);
        let none = Rows { recipients: all[1..].iter().collect(), chunks: Vec::new() };
        assert!(wanted(&mut report, &message, &none, &addresses).is_none());
        assert_eq!(report.remarks.len(), 0);
        let mut elsewhere = message.clone();
        elsewhere.insert("quar_type".to_owned(), Some("F".to_owned()));
        assert!(wanted(&mut report, &elsewhere, &rows, &addresses).is_none());
        assert_eq!(report.remarks.len(), 1);
    }
}
