//! A MariaDB or MySQL is read by its own dump program, which knows all its ways to log in.

use std::io::ErrorKind;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};

use super::super::Misuse;

/// A dump that is about to be made.
pub(super) struct Dump {
    arguments: Vec<String>,
    password: Option<String>,
}

/// A dump that is made.
pub(super) struct Running {
    child: Child,
    name: &'static str,
}

/// By its name in new versions, and in old ones.
const PROGRAMS: [&str; 2] = ["mariadb-dump", "mysqldump"];

/// The dump of `mysql://USER@HOST:PORT/DATABASE?socket=PATH`.
pub(super) fn dump(dsn: &str, password: Option<&str>) -> anyhow::Result<Dump> {
    let misuse =
        || Misuse(format!("\"{dsn}\" is not such as mysql://USER@HOST:PORT/DATABASE or mysql:///DATABASE?socket=PATH"));
    let rest = dsn.split_once("://").map(|(_, rest)| rest).ok_or_else(misuse)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').ok_or_else(misuse)?;
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let is_plain = |text: &str| !text.is_empty() && !text.starts_with('-') && !text.contains(['/', '%']);
    if !is_plain(database) {
        return Err(misuse().into());
    }
    let mut arguments = Vec::new();
    let bracketed = host.strip_prefix('[').and_then(|host| host.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    let mut option = |name: &str, value: &str| arguments.push(format!("--{name}={value}"));
    if !host.is_empty() {
        option("host", host);
    }
    if let Some(port) = port {
        option("port", &port.parse::<u16>().map_err(|_| misuse())?.to_string());
    }
    if !user.is_empty() {
        option("user", user);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("socket", path)) => option("socket", path),
            _ => return Err(misuse().into()),
        }
    }
    let fixed =
        ["--single-transaction", "--quick", "--skip-lock-tables", "--skip-triggers", "--no-tablespaces", "--hex-blob"];
    arguments.extend(fixed.map(str::to_owned));
    arguments.push(database.to_owned());
    Ok(Dump { arguments, password: password.map(str::to_owned) })
}

impl Dump {
    /// Starts the program.
    pub(super) fn start(self) -> anyhow::Result<Running> {
        for name in PROGRAMS {
            let mut command = Command::new(name);
            command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped());
            if let Some(password) = &self.password {
                command.env("MYSQL_PWD", password);
            }
            match command.spawn() {
                Ok(child) => return Ok(Running { child, name }),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).context(name),
            }
        }
        bail!(
            "neither mariadb-dump nor mysqldump is here: make a dump where it is, and read that: posthorn import iredapd DUMP"
        )
    }
}

impl Running {
    /// What it writes.
    pub(super) fn output(&mut self) -> anyhow::Result<ChildStdout> {
        self.child.stdout.take().context("a pipe")
    }

    /// Waits for its end; it said itself why it failed, if it did.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} failed ({status}); nothing was taken", self.name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_becomes_options() {
        let options = |dsn: &str| dump(dsn, None).map(|dump| dump.arguments);
        let found = options("mysql://me@db.example:3307/iredapd").expect("a DSN");
        assert_eq!(found[..3], ["--host=db.example", "--port=3307", "--user=me"]);
        assert_eq!(found.last().map(String::as_str), Some("iredapd"));
        assert_eq!(options("mysql:///iredapd?socket=/run/x").expect("a DSN")[0], "--socket=/run/x");
        assert_eq!(options("mysql://[::1]:1/x").expect("a DSN")[..2], ["--host=::1", "--port=1"]);
        for nonsense in ["mysql://host", "mysql://host/", "mysql://host:many/x", "mysql:///-x", "mysql:///x?y=z"] {
            assert!(options(nonsense).is_err(), "{nonsense}");
        }
    }
}
