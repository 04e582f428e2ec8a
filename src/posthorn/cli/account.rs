//! `posthorn account`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use posthorn_config::{Loaded, Size};
use posthorn_mail::Mail;
use posthorn_mail::directory::{AccountChange, NewAccount, PasswordSource};
use posthorn_model::{Address, Domain};
use posthorn_sasl::{Secret, password::recognise};
use posthorn_store::accounts::Listed;
use serde::Serialize;

use super::{Misuse, parse_domain, refused, removed};
use crate::database::with_mail;
use crate::output::{Output, yes};
use crate::password;

#[derive(Debug, Subcommand)]
pub(super) enum Accounts {
    /// Add an account with its mailboxes
    Add(Add),
    /// List accounts with their use of space
    List {
        /// Only those of this domain
        #[arg(long, value_parser = parse_domain)]
        domain: Option<Domain>,
    },
    /// Show one account
    Show { address: Address },
    /// Change an account
    Set(Set),
    /// Remove an account with all its mail
    Remove {
        address: Address,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    address: Address,
    /// The name people see
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// What it may store, such as 1GiB; 0 is no limit [default: mail.quota]
    #[arg(long, value_name = "SIZE")]
    quota: Option<Size>,
    /// How many messages it may store; 0 is no limit [default: mail.quota_messages]
    #[arg(long, value_name = "N")]
    quota_messages: Option<u32>,
    #[command(flatten)]
    password: Password,
}

/// Where a password comes from.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Password {
    /// Read the password from standard input
    #[arg(long, group = "change")]
    password_stdin: bool,
    /// Read the password from the first line of a file
    #[arg(long, value_name = "FILE", group = "change")]
    password_file: Option<PathBuf>,
    /// Read a hash of another system from a file, such as {SHA512-CRYPT}$6$...
    #[arg(long, value_name = "FILE", group = "change")]
    password_hash_file: Option<PathBuf>,
    /// Make up a password and print it once
    #[arg(long, group = "change")]
    generate: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct Set {
    address: Address,
    /// The name people see
    #[arg(long, value_name = "NAME", group = "change")]
    display_name: Option<String>,
    /// What it may store, such as 1GiB; 0 is no limit
    #[arg(long, value_name = "SIZE", group = "change")]
    quota: Option<Size>,
    /// How many messages it may store; 0 is no limit
    #[arg(long, value_name = "N", group = "change")]
    quota_messages: Option<u32>,
    /// Where its mail goes as well
    #[arg(long, value_name = "ADDRESS,..", value_delimiter = ',', group = "change", conflicts_with = "no_forward")]
    forward_to: Option<Vec<String>>,
    /// Forward nothing any more
    #[arg(long, group = "change")]
    no_forward: bool,
    /// Keep forwarded mail here too
    #[arg(long, group = "change", conflicts_with = "no_keep_copy")]
    keep_copy: bool,
    /// Do not keep forwarded mail here
    #[arg(long, group = "change")]
    no_keep_copy: bool,
    /// Addresses it may send from besides its own
    #[arg(long, value_name = "ADDRESS,..", value_delimiter = ',', group = "change", conflicts_with = "no_delegate")]
    delegate: Option<Vec<String>>,
    /// Send from its own addresses only
    #[arg(long, group = "change")]
    no_delegate: bool,
    /// Let it log in and receive again
    #[arg(long, group = "change", conflicts_with = "disable")]
    enable: bool,
    /// Let it neither log in nor receive
    #[arg(long, group = "change")]
    disable: bool,
    #[command(flatten)]
    password: Password,
}

/// An account as programs read it.
#[derive(Debug, Serialize)]
struct Shown {
    address: String,
    display_name: String,
    enabled: bool,
    has_password: bool,
    used_bytes: i64,
    /// `null` is unlimited.
    quota_bytes: Option<i64>,
    used_messages: i64,
    quota_messages: Option<i64>,
    forward_to: Vec<String>,
    keep_copy: bool,
    /// Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    delegate: Option<Vec<String>>,
    /// The one that was made up just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl From<Listed> for Shown {
    fn from(listed: Listed) -> Self {
        let account = listed.account;
        Self {
            address: account.address.to_string(),
            display_name: account.display_name,
            enabled: account.enabled,
            has_password: account.password.is_some(),
            used_bytes: listed.used_bytes,
            quota_bytes: listed.quota_bytes,
            used_messages: listed.used_messages,
            quota_messages: listed.quota_messages,
            forward_to: account.forward_to,
            keep_copy: account.forward_keeps_copy,
            delegate: None,
            password: None,
        }
    }
}

pub(super) async fn run(loaded: &Loaded, command: Accounts, output: &mut Output) -> anyhow::Result<()> {
    match command {
        Accounts::Add(add) => add_account(loaded, add, output).await,
        Accounts::List { domain } => {
            let listed = with_mail(loaded, async |mail| Ok(mail.accounts(domain.as_ref()).await?)).await?;
            list(listed, output)
        }
        Accounts::Show { address } => {
            let shown = with_mail(loaded, async |mail| find(mail, &address).await).await?;
            show(&shown, output)
        }
        Accounts::Set(set) => set_account(loaded, set, output).await,
        Accounts::Remove { address, yes } => remove(loaded, &address, yes, output).await,
    }
}

async fn add_account(loaded: &Loaded, add: Add, output: &mut Output) -> anyhow::Result<()> {
    let password = add.password.read()?;
    let new = NewAccount {
        display_name: add.display_name.unwrap_or_default(),
        password: password.as_ref().map(Given::source),
        quota_bytes: add.quota.map(octets),
        quota_messages: add.quota_messages.map(i64::from),
    };
    let address = add.address;
    let shown = with_mail(loaded, async |mail| {
        refused(mail.add_account(&address, new).await?)?;
        find(mail, &address).await
    });
    answer(shown.await?, "is added", password, output)
}

async fn set_account(loaded: &Loaded, set: Set, output: &mut Output) -> anyhow::Result<()> {
    let password = set.password.read()?;
    let change = AccountChange {
        display_name: set.display_name,
        password: password.as_ref().map(Given::source),
        enabled: (set.enable || set.disable).then_some(set.enable),
        quota_bytes: set.quota.map(octets),
        quota_messages: set.quota_messages.map(i64::from),
        forward_to: if set.no_forward { Some(Vec::new()) } else { set.forward_to },
        forward_keeps_copy: (set.keep_copy || set.no_keep_copy).then_some(set.keep_copy),
        delegated: if set.no_delegate { Some(Vec::new()) } else { set.delegate },
    };
    let address = set.address;
    let shown = with_mail(loaded, async |mail| {
        refused(mail.set_account(&address, change).await?)?;
        find(mail, &address).await
    });
    answer(shown.await?, "is changed", password, output)
}

async fn remove(loaded: &Loaded, address: &Address, sure: bool, output: &mut Output) -> anyhow::Result<()> {
    with_mail(loaded, async |mail| {
        let shown = find(mail, address).await?;
        let question = format!("removing {address} removes its {} messages for good", shown.used_messages);
        if !sure {
            let asked = question.clone();
            match tokio::task::spawn_blocking(move || password::confirm(&asked)).await? {
                Ok(true) => {}
                Ok(false) => anyhow::bail!("account {address} is left as it is"),
                Err(error) => return Err(Misuse(format!("{question}: {error}")).into()),
            }
        }
        refused(mail.remove_account(address).await?)
    })
    .await?;
    removed(output, "account", address)
}

async fn find(mail: &Mail, address: &Address) -> anyhow::Result<Shown> {
    let local = address.local().to_lowercase();
    let mut accounts = mail.accounts(Some(address.domain())).await?.into_iter();
    let listed = accounts.find(|listed| listed.account.address.local().to_lowercase() == local);
    let listed = listed.with_context(|| format!("there is no account {address}"))?;
    let delegate = mail.delegated(listed.account.id).await?;
    Ok(Shown { delegate: Some(delegate), ..Shown::from(listed) })
}

fn answer(mut shown: Shown, done: &str, password: Option<Given>, output: &mut Output) -> anyhow::Result<()> {
    let mut text = format!("account {} {done}", shown.address);
    if let Some(Given::Generated(secret)) = password {
        text.push_str(&format!("\npassword: {}", secret.expose()));
        shown.password = Some(secret.expose().to_owned());
    } else if !shown.has_password {
        text.push_str(&format!(
            "\nnobody can log in yet: posthorn account set {} --password-stdin, or --generate",
            shown.address
        ));
    }
    output.answer(&shown, || text)
}

fn list(listed: Vec<Listed>, output: &mut Output) -> anyhow::Result<()> {
    let rows: Vec<_> = listed.into_iter().map(Shown::from).collect();
    let headings = ["account", "name", "used", "quota", "messages", "forwards to", "enabled"];
    output.rows(&rows, &headings, |row| {
        vec![
            row.address.clone(),
            row.display_name.clone(),
            rough(row.used_bytes),
            row.quota_bytes.map_or_else(|| "-".to_owned(), exact),
            count(row.used_messages, row.quota_messages),
            row.forward_to.join(", "),
            yes(row.enabled),
        ]
    })
}

fn show(shown: &Shown, output: &mut Output) -> anyhow::Result<()> {
    let list = |addresses: &[String]| if addresses.is_empty() { "-".to_owned() } else { addresses.join(", ") };
    let quota = shown.quota_bytes.map_or_else(|| "no limit".to_owned(), |quota| format!("of {}", exact(quota)));
    let mut forward = list(&shown.forward_to);
    if !shown.forward_to.is_empty() {
        forward.push_str(if shown.keep_copy { ", keeping a copy" } else { ", keeping no copy" });
    }
    let properties = [
        ("account", shown.address.clone()),
        ("name", shown.display_name.clone()),
        ("enabled", yes(shown.enabled)),
        ("password", if shown.has_password { "set" } else { "none: nobody can log in" }.to_owned()),
        ("used", format!("{}, {quota}", rough(shown.used_bytes))),
        ("messages", count(shown.used_messages, shown.quota_messages)),
        ("forwards to", forward),
        ("may send as", list(shown.delegate.as_deref().unwrap_or_default())),
    ];
    output.properties(shown, &properties)
}

/// A password that was given.
enum Given {
    Generated(Secret),
    Hash(Secret),
    Own(Secret),
}

impl Given {
    fn source(&self) -> PasswordSource {
        match self {
            Self::Generated(secret) | Self::Own(secret) => PasswordSource::Plain(secret.clone()),
            Self::Hash(hash) => PasswordSource::Hashed(hash.expose().to_owned()),
        }
    }
}

impl Password {
    fn read(&self) -> anyhow::Result<Option<Given>> {
        if self.password_stdin {
            return Ok(Some(Given::Own(password::from_stdin()?)));
        }
        if let Some(path) = &self.password_file {
            return Ok(Some(Given::Own(password::from_file(path)?)));
        }
        if let Some(path) = &self.password_hash_file {
            let hash = password::from_file(path)?;
            recognise(hash.expose()).with_context(|| format!("{} is of no use", path.display()))?;
            return Ok(Some(Given::Hash(hash)));
        }
        if self.generate {
            return Ok(Some(Given::Generated(password::generate()?)));
        }
        Ok(None)
    }
}

fn octets(size: Size) -> i64 {
    i64::try_from(size.octets()).unwrap_or(i64::MAX)
}

/// As the configuration writes sizes.
fn exact(octets: i64) -> String {
    Size::bytes(octets.unsigned_abs()).to_string()
}

/// In the unit that leaves fewest digits.
fn rough(octets: i64) -> String {
    let (mut size, mut unit) = (octets, "B");
    let mut tenths = 0;
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1024 {
            break;
        }
        tenths = size % 1024 * 10 / 1024;
        (size, unit) = (size / 1024, larger);
    }
    if unit == "B" { format!("{size} B") } else { format!("{size}.{tenths} {unit}") }
}

fn count(used: i64, quota: Option<i64>) -> String {
    quota.map_or_else(|| used.to_string(), |quota| format!("{used} of {quota}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_readable() {
        for (octets, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_600_000, "1.5 MiB"),
            (5 << 30, "5.0 GiB"),
            (9000 << 40, "9000.0 TiB"),
        ] {
            assert_eq!(rough(octets), text);
        }
        assert_eq!((count(3, None), count(3, Some(5))), ("3".to_owned(), "3 of 5".to_owned()));
    }
}
