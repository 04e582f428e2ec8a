//! Taking over what Amavis was told: its tables are read as another program's, its rows become settings, wanted and
//! unwanted senders, and held mail; and a report says what became of each.
//!
//! | Table | Becomes |
//! |---|---|
//! | users with policy | settings of a pattern |
//! | wblist with users and mailaddr | senders whom somebody wants or does not |
//! | msgs with msgrcpt, maddr and quarantine | held mail, under the names and secrets that it has, for those who wait for it |
//!
//! What was ordered here stays as it is, so a second run changes nothing.

mod held;
mod row;
mod setting;

use std::collections::HashMap;

use posthorn_config::FilterSection;
use posthorn_mail::{Mail, Result};
use posthorn_policy::import::{Remark, Report, Tables};
use posthorn_store::filter::settings::{self, SenderRow, SettingRow};
use posthorn_store::foreign::ForeignRow;

use self::row::{number, text};
use crate::recipient::orders::kept_pattern;

/// Tables of settings, and those that hold mail.
const SETTINGS: [&str; 4] = ["users", "policy", "wblist", "mailaddr"];
const HELD: [&str; 4] = ["msgs", "msgrcpt", "maddr", "quarantine"];

/// What is a sender on a list of wanted or unwanted ones.
const LISTED: f64 = 100.0;
/// What everything taken over says of itself.
const NOTE: &str = "taken over from Amavis";

/// The tables that [`amavisd`] takes; with held mail, if that is wanted.
#[must_use]
pub fn tables(with_held: bool) -> Vec<&'static str> {
    SETTINGS.into_iter().chain(HELD.into_iter().filter(|_| with_held)).collect()
}

/// Takes over what the tables say; with `dry` it is only found out what would come of it. `progress` is told of each row
/// that is done, and of all that there are. Settings and senders are written all or none; held mail message by message.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn amavisd(
    mail: &Mail,
    section: &FilterSection,
    tables: &Tables,
    dry: bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report> {
    let mut report = Report::default();
    let rows = |name: &str| tables.of(name).unwrap_or_default();
    let all = (rows("users").len() + rows("wblist").len() + rows("msgs").len()) as u64;
    progress(0, all);
    let mut transaction = mail.store().begin().await?;
    let known = settings::list(&mut transaction).await?;
    for row in wanted_settings(&mut report, section, tables) {
        match known.iter().find(|one| one.who == row.who) {
            Some(same) if *same == row => report.table("users").unchanged += 1,
            Some(_) => skip(&mut report, "users", &row.who, "it has settings here already, which stay"),
            None => {
                report.table("users").taken += 1;
                if !dry {
                    settings::put(&mut transaction, &row, mail.now()).await?;
                }
            }
        }
    }
    let known = settings::senders(&mut transaction).await?;
    let known: HashMap<(&str, &str), f64> =
        known.iter().map(|one| ((one.who.as_str(), one.sender.as_str()), one.score)).collect();
    for row in wanted_senders(&mut report, tables) {
        match known.get(&(row.who.as_str(), row.sender.as_str())) {
            Some(score) if *score == row.score => report.table("wblist").unchanged += 1,
            Some(score) => {
                let why = format!("the sender scores {score} for them here, which stays");
                skip(&mut report, "wblist", &format!("{} {}", row.who, row.sender), &why);
            }
            None => {
                report.table("wblist").taken += 1;
                if !dry {
                    settings::put_sender(&mut transaction, &row, mail.now()).await?;
                }
            }
        }
    }
    if !dry {
        transaction.commit().await?;
    }
    let done = (rows("users").len() + rows("wblist").len()) as u64;
    progress(done, all);
    held::take(mail, tables, dry, &mut report, |more| progress(done + more, all)).await?;
    Ok(report)
}

fn wanted_settings(report: &mut Report, section: &FilterSection, tables: &Tables) -> Vec<SettingRow> {
    let by_number = |table: &str| -> HashMap<String, &ForeignRow> {
        tables.of(table).unwrap_or_default().iter().map(|row| (text(row, "id"), row)).collect()
    };
    let policies = by_number("policy");
    if let Some(rows) = tables.of("policy") {
        report.table("policy").read += rows.len() as u64;
    }
    let mut named: Vec<&str> = Vec::new();
    let mut wanted: Vec<SettingRow> = Vec::new();
    let Some(users) = tables.of("users") else { return wanted };
    report.table("users").read += users.len() as u64;
    let texts: Vec<(String, String)> = users.iter().map(|row| (text(row, "email"), text(row, "policy_id"))).collect();
    for (email, policy) in &texts {
        // Rows of lists, and of people for whom nothing is said.
        if policy.is_empty() || policy == "0" {
            continue;
        }
        let Some(who) = kept_pattern(email) else {
            skip(report, "users", email, "this is no user@domain, @domain, @.domain or @.");
            continue;
        };
        let Some(row) = policies.get(policy) else {
            skip(report, "users", email, &format!("there is no policy {policy}"));
            continue;
        };
        let (setting, lost) = setting::of_policy(&who, row, section);
        if !named.contains(&policy.as_str()) {
            named.push(policy);
            for what in lost {
                change(report, "policy", &setting::name(row), &what);
            }
        }
        if setting == (SettingRow { who: who.clone(), ..SettingRow::default() }) {
            continue;
        }
        match wanted.iter().position(|one| one.who == who) {
            Some(_) => skip(report, "users", email, "another row says something of the same pattern"),
            None => wanted.push(setting),
        }
    }
    wanted
}

fn wanted_senders(report: &mut Report, tables: &Tables) -> Vec<SenderRow> {
    let emails = |table: &str| -> HashMap<String, String> {
        tables.of(table).unwrap_or_default().iter().map(|row| (text(row, "id"), text(row, "email"))).collect()
    };
    let (users, senders) = (emails("users"), emails("mailaddr"));
    let mut wanted: Vec<SenderRow> = Vec::new();
    let Some(rows) = tables.of("wblist") else { return wanted };
    report.table("wblist").read += rows.len() as u64;
    for row in rows {
        let (rid, sid, wb) = (text(row, "rid"), text(row, "sid"), text(row, "wb"));
        let (Some(user), Some(sender)) = (users.get(&rid), senders.get(&sid)) else {
            skip(report, "wblist", &format!("rid {rid} sid {sid}"), "users or mailaddr holds no such number");
            continue;
        };
        let label = format!("{user} {sender} {wb}");
        let (Some(who), Some(from)) = (kept_pattern(user), kept_pattern(sender)) else {
            let why = "this is no user@domain, @domain, @.domain or @.; posthorn import iredapd takes networks";
            skip(report, "wblist", &label, why);
            continue;
        };
        let score = match wb.to_ascii_uppercase().as_str() {
            "W" | "Y" => -LISTED,
            "B" | "N" => LISTED,
            "" => {
                skip(report, "wblist", &label, "it only ends a search, and there is no search here that it could end");
                continue;
            }
            other => match number(other) {
                Some(score) => score,
                None => {
                    skip(report, "wblist", &label, "neither W, B nor a number");
                    continue;
                }
            },
        };
        let new = SenderRow { who, sender: from, score, note: NOTE.to_owned() };
        if wanted.iter().any(|one| (&one.who, &one.sender) == (&new.who, &new.sender)) {
            skip(report, "wblist", &label, "another row says something of the same pair");
        } else {
            wanted.push(new);
        }
    }
    wanted
}

fn skip(report: &mut Report, table: &'static str, row: &str, why: &str) {
    report.remark(Remark { table, row: row.to_owned(), skipped: true, why: why.to_owned() });
}

fn change(report: &mut Report, table: &'static str, row: &str, why: &str) {
    report.remark(Remark { table, row: row.to_owned(), skipped: false, why: why.to_owned() });
}
