//! clamd: messages over one session (`IDSESSION`; clamd(8)): as streams (`INSTREAM`), or as files in memory where it
//! listens on a Unix socket (`FILDES`), which spares it a temporary file for each.

#[cfg(test)]
mod at_a_socket;
mod in_memory;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use posthorn_filter::Scanned;
use posthorn_net::egress::Link;

use crate::exchange::{End, Heard, exchange};
use crate::protocol::{Handed, Protocol};
use crate::question::Question;
use crate::shown::shown;

/// The protocol of clamd.
#[derive(Default)]
pub(crate) struct Clamd {
    /// It may not read files of ours: there is something between us, or its confinement forbids it.
    streams_only: AtomicBool,
}

/// A session: clamd numbers what it is asked.
pub(crate) struct Session {
    link: Link,
    asked: u32,
}

/// One answer: a path and names of viruses.
const ANSWER: usize = 16 << 10;
/// Octets of one chunk.
const CHUNK: usize = 256 << 10;
/// The largest message that is passed as a file in memory: a copy of ours, until clamd has looked.
const PASSED: usize = 1 << 20;

impl Protocol for Clamd {
    type Connection = Session;

    const LOOKS_FOR_VIRUSES: bool = true;
    const REMEMBERED: bool = true;
    const TAKES_PARTS: bool = true;

    async fn open(&self, link: Link) -> Result<Session, String> {
        Ok(Session { link, asked: 0 })
    }

    async fn ask(
        &self,
        mut session: Session,
        question: &Question<'_>,
        _: &Handed,
    ) -> Result<(Scanned, Option<Session>), String> {
        session.asked += 1;
        let passes = question.octets.len() <= PASSED
            && session.link.passes_files()
            && !self.streams_only.load(Ordering::Relaxed);
        let Some(file) = passes.then(|| in_memory::file(question.octets).ok()).flatten() else {
            let heard = stream(&mut session, question.octets).await?;
            return finish(session, &heard);
        };
        let heard = pass(&mut session, &file).await?;
        let said = finish(session, &heard);
        if said.is_err() && !self.streams_only.swap(true, Ordering::Relaxed) {
            tracing::info!("clamd does not read files of ours: it is sent streams from now on");
        }
        said
    }

    fn asks_otherwise(&self) -> bool {
        self.streams_only.load(Ordering::Relaxed)
    }
}

async fn stream(session: &mut Session, octets: &Bytes) -> Result<Heard, String> {
    let begin: &[u8] = if session.asked == 1 { b"zIDSESSION\0zINSTREAM\0" } else { b"zINSTREAM\0" };
    let chunks = (0..octets.len()).step_by(CHUNK).flat_map(|at| {
        let chunk = octets.slice(at..octets.len().min(at + CHUNK));
        [length(chunk.len()), chunk]
    });
    let pieces = std::iter::once(Bytes::from_static(begin)).chain(chunks).chain([length(0)]);
    exchange(&mut session.link, pieces, ANSWER, until_nul).await
}

async fn pass(session: &mut Session, file: &File) -> Result<Heard, String> {
    // The descriptor goes along with the octet behind the command.
    let command: &[u8] = if session.asked == 1 { b"zIDSESSION\0zFILDES\0\0" } else { b"zFILDES\0\0" };
    let passed = session.link.pass_file(command, file.as_fd()).await;
    passed.map_err(|error| format!("the message could not be passed: {}", error.kind()))?;
    exchange(&mut session.link, [], ANSWER, until_nul).await
}

fn finish(session: Session, heard: &Heard) -> Result<(Scanned, Option<Session>), String> {
    let said = read(&heard.answer[..heard.answer.len() - 1], session.asked)?;
    // Behind an error it closes.
    let again = heard.in_order && said.unchecked.is_none();
    Ok((said, again.then_some(session)))
}

fn until_nul(buffer: &[u8], _closed: bool) -> Result<End, String> {
    Ok(memchr::memchr(0, buffer).map_or(End::Later, |at| End::At(at + 1)))
}

fn length(octets: usize) -> Bytes {
    Bytes::copy_from_slice(&u32::try_from(octets).unwrap_or(u32::MAX).to_be_bytes())
}

/// `1: stream: OK`, `1: fd[9]: OK`, `1: stream: Name FOUND`, or an error.
fn read(answer: &[u8], asked: u32) -> Result<Scanned, String> {
    let nonsense = || format!("it answered \"{}\"", shown(answer));
    let text = std::str::from_utf8(answer).map_err(|_| nonsense())?.trim_end();
    // Errors of the session itself, such as that nothing was asked for too long, have no number.
    let text = match text.split_once(": ") {
        Some((number, rest)) if number.parse() == Ok(asked) => rest,
        _ if text.starts_with("INSTREAM ") => text,
        _ => return Err(nonsense()),
    };
    if text.starts_with("INSTREAM size limit exceeded") {
        return Ok(unchecked("the message is larger than clamd's StreamMaxLength"));
    }
    let (what, text) = text.split_once(": ").ok_or_else(nonsense)?;
    let descriptor = what.strip_prefix("fd[").and_then(|rest| rest.strip_suffix(']'));
    if what != "stream" && descriptor.is_none_or(|number| number.parse::<u32>().is_err()) {
        return Err(nonsense());
    }
    if text == "OK" {
        return Ok(Scanned::default());
    }
    let name = text.strip_suffix(" FOUND").map(str::trim).filter(|name| !name.is_empty()).ok_or_else(nonsense)?;
    // These say that clamd could not look, not that it saw something.
    if LOOKED_AWAY.iter().any(|prefix| name.starts_with(prefix)) {
        return Ok(unchecked(name));
    }
    Ok(Scanned { viruses: vec![shown(name.as_bytes())], ..Scanned::default() })
}

fn unchecked(why: &str) -> Scanned {
    Scanned { unchecked: Some(shown(why.as_bytes())), ..Scanned::default() }
}

/// Names of what clamd cannot open, with `AlertEncrypted` and `AlertExceedsMax`.
const LOOKED_AWAY: [&str; 2] = ["Heuristics.Encrypted.", "Heuristics.Limits.Exceeded"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::{Script, message, question, said};

    #[test]
    fn answers_are_read() {
        assert_eq!(read(b"3: stream: OK", 3), Ok(Scanned::default()));
        assert_eq!(read(b"2: fd[11]: OK", 2), Ok(Scanned::default()));
        let found = read(b"1: stream: Win.Test.EICAR_HDB-1 FOUND", 1).expect("an answer");
        assert_eq!(found.viruses, ["Win.Test.EICAR_HDB-1"]);
        for (answer, why) in [
            ("1: INSTREAM size limit exceeded. ERROR", "StreamMaxLength"),
            ("INSTREAM size limit exceeded. ERROR", "StreamMaxLength"),
            ("1: stream: Heuristics.Encrypted.Zip FOUND", "Encrypted"),
        ] {
            let found = read(answer.as_bytes(), 1).expect(answer);
            assert!(found.viruses.is_empty() && found.unchecked.is_some_and(|said| said.contains(why)), "{answer}");
        }
    }

    #[test]
    fn malformed_answers_are_no_verdicts() {
        for answer in [
            &b""[..],
            b"OK",
            b"stream: OK",
            b"2: stream: OK",
            b"1: stream: ",
            b"1: stream:  FOUND",
            b"1: stream: OK FOUND ERROR",
            b"1: stream: \xff FOUND",
            b"1: /etc/passwd: OK",
            b"1: fd[x]: OK",
            b"1: No file descriptor received. ERROR",
            b"COMMAND READ TIMED OUT",
            b"UNKNOWN COMMAND",
            b"1: stream: Can't allocate memory ERROR",
        ] {
            assert!(read(answer, 1).is_err(), "{}", String::from_utf8_lossy(answer));
        }
    }

    #[tokio::test]
    async fn one_session_serves_many_messages() {
        let script = Script::new().session(&["1: stream: OK\0", "2: stream: Bad.Thing FOUND\0"]);
        let server = script.when(|heard| heard.ends_with(&[0; 4])).serve().await;
        let service = server.service(Clamd::default());
        let octets = message("Subject: x\r\n\r\nbody\r\n");
        assert_eq!(said(&service, &question(&octets)).await, Scanned::default());
        let other = message("Subject: y\r\n\r\nbody\r\n");
        assert_eq!(said(&service, &question(&other)).await.viruses, ["Bad.Thing"]);
        // This one is remembered.
        assert_eq!(said(&service, &question(&octets)).await, Scanned::default());
        let heard = server.heard();
        assert_eq!(heard.len(), 1, "one connection");
        let mut expected = b"zIDSESSION\0".to_vec();
        for octets in [octets, other] {
            expected.extend_from_slice(b"zINSTREAM\0");
            expected.extend_from_slice(&(octets.len() as u32).to_be_bytes());
            expected.extend_from_slice(&octets);
            expected.extend_from_slice(&[0; 4]);
        }
        assert_eq!(heard[0], expected);
    }
}
