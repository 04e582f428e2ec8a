//! The demo's domain and accounts, with passwords that outlive a restart where the data folder does.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use posthorn_mail::Mail;
use posthorn_mail::directory::{NewAccount, PasswordSource, Unfit};
use posthorn_model::{Address, Domain};
use posthorn_sasl::Secret;
use serde::{Deserialize, Serialize};

/// The demo's only domain.
pub(super) const DOMAIN: &str = "example.org";

/// The two people and their passwords.
#[derive(Deserialize, Serialize)]
pub(super) struct People {
    pub(super) passwords: [String; 2],
    /// Shared by u0 … uN.
    pub(super) account_password: String,
    /// N, where accounts were asked for.
    #[serde(default)]
    pub(super) last_account: Option<u32>,
}

/// Their addresses.
pub(super) const USERS: [&str; 2] = ["alice@example.org", "bob@example.org"];

impl People {
    /// Finds the people of this folder, or makes them.
    pub(super) async fn settle(data: &Path, mail: &Mail, accounts: Option<u32>) -> anyhow::Result<Self> {
        let file = data.join("demo-accounts.json");
        let mut people = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::invent()?,
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        };
        people.last_account = people.last_account.max(accounts);
        // Kept before the accounts are made: an interrupted start must not leave passwords that nobody knows.
        people.keep(&file)?;
        let domain = Domain::parse(DOMAIN)?;
        settled(mail.add_domain(&domain, None).await?)?;
        for (user, password) in USERS.iter().zip(&people.passwords) {
            let password = PasswordSource::Plain(Secret::new(password.clone()));
            let new = NewAccount { password: Some(password), ..NewAccount::default() };
            settled(mail.add_account(&Address::parse(user)?, new).await?)?;
        }
        if let Some(last) = people.last_account {
            people.add_accounts(mail, &domain, last).await?;
        }
        Ok(people)
    }

    fn invent() -> anyhow::Result<Self> {
        let password = || crate::password::generate().map(|secret| secret.expose().to_owned());
        Ok(Self { passwords: [password()?, password()?], account_password: password()?, last_account: None })
    }

    fn keep(&self, file: &Path) -> anyhow::Result<()> {
        let mut to = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
        to.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        Ok(())
    }

    /// Adds u0 … u`last`. The shared password is hashed once; each account's own digests come with its first login.
    async fn add_accounts(&self, mail: &Mail, domain: &Domain, last: u32) -> anyhow::Result<()> {
        let present = mail.accounts(Some(domain)).await?.len();
        let mut salt = [0; 16];
        aws_lc_rs::rand::fill(&mut salt).ok().context("no randomness from the operating system")?;
        let hash = posthorn_sasl::password::hash(&Secret::new(self.account_password.clone()), &salt);
        let bar = ProgressBar::new(u64::from(last) + 1)
            .with_style(ProgressStyle::with_template("Adding accounts {bar:30} {pos}/{len}")?);
        // Those of an earlier start are there already; the last of them may be missing.
        let first = u32::try_from(present.saturating_sub(USERS.len() + 1)).unwrap_or(0);
        for number in first..=last {
            let password = Some(PasswordSource::Hashed(hash.clone()));
            let address = Address::parse(&format!("u{number}@{DOMAIN}"))?;
            settled(mail.add_account(&address, NewAccount { password, ..NewAccount::default() }).await?)?;
            bar.set_position(u64::from(number) + 1);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// What exists already is as good as made.
fn settled<T>(outcome: Result<T, Unfit>) -> anyhow::Result<()> {
    match outcome {
        Ok(_) | Err(Unfit::Exists(_)) => Ok(()),
        Err(unfit) => Err(unfit.into()),
    }
}
