//! Passwords on their way in: typed without an echo, piped, read from a file, or made up. Never an argument.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, bail};
use posthorn_sasl::Secret;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// The longest password that is read, in octets.
const LIMIT: u64 = 4096;

/// Characters that are told apart on paper and over the telephone.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A new password of 100 random bits, such as `k7wqe-3xm2f-hub9t-pa4zc`.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn generate() -> anyhow::Result<Secret> {
    let mut random = [0; 20];
    aws_lc_rs::rand::fill(&mut random).ok().context("no randomness from the operating system")?;
    let mut text = String::with_capacity(random.len() + 3);
    for (at, octet) in random.iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(octet % 32)]));
    }
    Ok(Secret::new(text))
}

/// The first line of standard input; at a terminal it is asked for and not shown.
///
/// # Errors
/// When there is no password.
pub fn from_stdin() -> anyhow::Result<Secret> {
    let stdin = io::stdin();
    let _silence = if stdin.is_terminal() { Some(Silence::begin()?) } else { None };
    let mut line = String::new();
    stdin.lock().take(LIMIT).read_line(&mut line).context("the password cannot be read from standard input")?;
    first_line(line).context("standard input holds no password")
}

/// The first line of a file.
///
/// # Errors
/// When it cannot be read or is empty.
pub fn from_file(path: &Path) -> anyhow::Result<Secret> {
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    let text = read().with_context(|| format!("{} cannot be read", path.display()))?;
    first_line(text).with_context(|| format!("{} holds no password", path.display()))
}

/// Asks a yes-or-no question at the terminal.
///
/// # Errors
/// When there is no terminal to ask at.
pub fn confirm(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask at, so add --yes if that is meant");
    }
    crate::output::tell(&format!("{question}; type yes to go on:"));
    let mut line = String::new();
    io::stdin().lock().take(LIMIT).read_line(&mut line)?;
    Ok(line.trim().eq_ignore_ascii_case("yes"))
}

fn first_line(mut text: String) -> Option<Secret> {
    let end = text.find(['\n', '\r']).unwrap_or(text.len());
    text.truncate(end);
    (!text.is_empty()).then(|| Secret::new(text))
}

/// A terminal that does not echo, until dropped.
struct Silence(rustix::termios::Termios);

impl Silence {
    fn begin() -> anyhow::Result<Self> {
        crate::output::tell("Password:");
        let usual = tcgetattr(io::stdin()).context("the terminal cannot be asked")?;
        let mut silent = usual.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).context("the terminal's echo cannot be turned off")?;
        Ok(Self(usual))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that went away needs no echo.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passwords_are_long_and_different() {
        let (one, other) = (generate().expect("random"), generate().expect("random"));
        assert_ne!(one, other);
        assert_eq!(one.expose().len(), 23);
        let known = |c: char| c == '-' || ALPHABET.contains(&(c as u8));
        assert!(one.expose().chars().all(known));
    }

    #[test]
    fn the_first_line_counts() {
        let line = |text: &str| first_line(text.to_owned()).map(|secret| secret.expose().to_owned());
        assert_eq!(line("a b \r\nrest").as_deref(), Some("a b "));
        assert_eq!(line("x").as_deref(), Some("x"));
        assert_eq!(line("\nx"), None);
    }
}
