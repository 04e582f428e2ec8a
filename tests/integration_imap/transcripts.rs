//! The conversations in `tests/transcripts/imap` over the whole server; their page there explains the format.

use std::collections::BTreeMap;

use harness::imap_client::ImapClient;
use harness::transcript::{files, unescape};

use crate::rig::{PASSWORD, Rig, USER};

#[tokio::test]
async fn every_transcript_holds() {
    let files = files("imap");
    assert!(files.len() >= 15, "only {} transcripts", files.len());
    let mut failures = Vec::new();
    let rig = Rig::new().await;
    for (number, (name, text)) in files.iter().enumerate() {
        // Each has an account of its own on one server.
        let user = format!("t{number}@example.org");
        rig.server.account(&user, PASSWORD).await;
        if let Err(why) = play(&rig, &user, text).await {
            failures.push(format!("{name}: {why}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    rig.sound().await;
}

#[tokio::test]
async fn a_wrong_transcript_fails() {
    let rig = Rig::new().await;
    assert_eq!(play(&rig, USER, "C: a NOOP\nS: a OK Done").await, Ok(()));
    assert!(play(&rig, USER, "C: a NOOP\nS: a OK Gone").await.is_err());
    assert!(play(&rig, USER, "C: a NOOP\nS~ * EXISTS\nS: a OK Done").await.is_err());
    assert!(play(&rig, USER, "C: a LOGOUT\nS: a OK Goodbye").await.is_err());
    assert!(play(&rig, USER, "C: a LIST \"\" INBOX\nS: a OK Done").await.is_err());
}

/// The sessions of a transcript by their names; lines without a name belong to the first.
struct Stage<'r> {
    rig: &'r Rig,
    user: &'r str,
    sessions: BTreeMap<String, ImapClient>,
    /// What `$name` stands for.
    names: BTreeMap<String, String>,
}

async fn play(rig: &Rig, user: &str, text: &str) -> Result<(), String> {
    let mut stage = Stage { rig, user, sessions: BTreeMap::new(), names: BTreeMap::new() };
    for (number, line) in text.lines().enumerate() {
        let step = stage.step(line).await;
        step.map_err(|why| format!("line {}: {why}", number + 1))?;
    }
    Ok(())
}

impl Stage<'_> {
    async fn step(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        // `S2: …` speaks to the second session.
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        let name: String = head.chars().filter(char::is_ascii_digit).collect();
        let kind: String = head.chars().filter(|c| !c.is_ascii_digit()).collect();
        match kind.as_str() {
            "!" => return self.begin(&name, rest).await,
            "C:" => {
                let octets = [unescape(&self.filled(rest)), b"\r\n".to_vec()].concat();
                self.session(&name).await.stream.send(octets).await;
            }
            "C<" => {
                let octets = unescape(&self.filled(rest));
                self.session(&name).await.stream.send(octets).await;
            }
            "S:" | "S~" => {
                let expected = String::from_utf8_lossy(&unescape(&self.filled(rest))).into_owned();
                let said = self.session(&name).await.line().await.ok_or("the server closed")?;
                let said = String::from_utf8_lossy(&said).into_owned();
                let right = if kind == "S:" { expected == said } else { self.matches(&expected, &said) };
                if !right {
                    return Err(format!("expected {expected:?}, got {said:?}"));
                }
            }
            "X:" => {
                if let Some(said) = self.session(&name).await.line().await {
                    return Err(format!("the server goes on: {:?}", String::from_utf8_lossy(&said)));
                }
            }
            _ => return Err(format!("unknown line {line:?}")),
        }
        Ok(())
    }

    /// `! clear`, `! greeted`, `! user` (the default) begin a session; `! quota OCTETS MESSAGES` limits the account.
    async fn begin(&mut self, name: &str, how: &str) -> Result<(), String> {
        let words: Vec<&str> = how.split(' ').collect();
        let client = match words.as_slice() {
            ["clear"] => self.rig.server.imap_plain().await,
            ["greeted"] => self.rig.server.imap().await,
            ["user"] => self.logged_in().await,
            _ => return Err(format!("unknown start {how:?}")),
        };
        self.sessions.insert(name.to_owned(), client);
        Ok(())
    }

    async fn logged_in(&self) -> ImapClient {
        let mut client = self.rig.server.imap().await;
        let answer = client.login(self.user, PASSWORD).await;
        assert!(answer.is_ok(), "{answer:?}");
        client
    }

    async fn session(&mut self, name: &str) -> &mut ImapClient {
        if !self.sessions.contains_key(name) {
            let client = self.logged_in().await;
            self.sessions.insert(name.to_owned(), client);
        }
        self.sessions.get_mut(name).expect("just inserted")
    }

    /// With `$user`, `$password` and every name that a line bound put in.
    fn filled(&self, text: &str) -> String {
        let mut text = text.replace("$user", self.user).replace("$password", PASSWORD);
        for (name, value) in &self.names {
            text = text.replace(&format!("${name}"), value);
        }
        text
    }

    /// `*` stands for anything, `<name>` for one word that is bound to the name.
    fn matches(&mut self, pattern: &str, said: &str) -> bool {
        if pattern.is_empty() {
            return said.is_empty();
        }
        if let Some(rest) = pattern.strip_prefix("\\*") {
            return said.strip_prefix('*').is_some_and(|said| self.matches(rest, said));
        }
        if let Some(rest) = pattern.strip_prefix('*') {
            return (0..=said.len()).filter(|at| said.is_char_boundary(*at)).any(|at| self.matches(rest, &said[at..]));
        }
        if let Some((name, rest)) = pattern.strip_prefix("${").and_then(|rest| rest.split_once('}')) {
            let end = said.find([' ', ')', ']']).unwrap_or(said.len());
            self.names.insert(name.to_owned(), said[..end].to_owned());
            return self.matches(rest, &said[end..]);
        }
        let (Some(want), Some(have)) = (pattern.chars().next(), said.chars().next()) else { return false };
        want == have && self.matches(&pattern[want.len_utf8()..], &said[have.len_utf8()..])
    }
}
