//! The conversations of `tests/transcripts/{filter,ampdp,milter}`, spoken to the whole server: once whole and once in pieces.

use std::time::Duration;

use harness::dice::Dice;
use harness::server::{Server, row};
use harness::transcript::{files, glob, unescape};
use posthorn_config::{FilterPort, FilterWay, Speaks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::filter_ports::{filter_with, next_hop};

/// A connection that is read octet by octet.
struct Wire {
    stream: TcpStream,
    held: Vec<u8>,
    /// What was heard and not expected yet.
    ahead: Option<String>,
}

/// How a protocol frames what is said.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Frames {
    Lines,
    Packets,
}

impl Wire {
    async fn to(server: &Server, speaks: Speaks) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port(speaks))).await.expect("the server listens");
        stream.set_nodelay(true).expect("an open socket");
        Self { stream, held: Vec::new(), ahead: None }
    }

    /// Sends octets whole, or in pieces.
    async fn send(&mut self, octets: &[u8], whole: bool, dice: &mut Dice) {
        let mut left = octets;
        while !left.is_empty() {
            let piece = if whole { left.len() } else { (1 + dice.below(1 + octets.len() / 30)).min(left.len()) };
            // A server that has closed says so in what it is expected to say.
            let _closed = self.stream.write_all(&left[..piece]).await;
            left = &left[piece..];
            tokio::task::yield_now().await;
        }
    }

    /// More octets; `false` when the server has closed.
    async fn more(&mut self) -> bool {
        let mut piece = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(40), self.stream.read(&mut piece)).await;
        // Octets that nobody read make a reset of a close.
        let count = read.expect("the server answers or closes").unwrap_or(0);
        self.held.extend_from_slice(&piece[..count]);
        count > 0
    }

    /// The next line without its end, or the next packet as its letter, a space and its data escaped; `None`: it closed.
    async fn hear(&mut self, frames: Frames) -> Option<String> {
        if let Some(ahead) = self.ahead.take() {
            return Some(ahead);
        }
        loop {
            if let Some(found) = self.framed(frames) {
                return Some(found);
            }
            if !self.more().await {
                assert!(self.held.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(&self.held));
                return None;
            }
        }
    }

    fn framed(&mut self, frames: Frames) -> Option<String> {
        match frames {
            Frames::Lines => {
                let at = self.held.windows(2).position(|two| two == b"\r\n")?;
                let line: Vec<u8> = self.held.drain(..at + 2).take(at).collect();
                Some(String::from_utf8(line).expect("answers are text"))
            }
            Frames::Packets => {
                let length = u32::from_be_bytes(*self.held.first_chunk::<4>()?) as usize;
                (self.held.len() >= 4 + length).then_some(())?;
                let packet: Vec<u8> = self.held.drain(..4 + length).skip(4).collect();
                let (letter, data) = packet.split_first().expect("a packet of something");
                let space = if data.is_empty() { "" } else { " " };
                Some(format!("{}{space}{}", char::from(*letter), data.escape_ascii()))
            }
        }
    }
}

/// What a line of the client sends.
fn sent(frames: Frames, kind: &str, text: &str) -> Vec<u8> {
    let octets = unescape(text);
    match (frames, kind) {
        (_, "C<") => octets,
        (Frames::Lines, _) => [&octets[..], b"\r\n"].concat(),
        (Frames::Packets, _) => {
            let (letter, data) = octets.split_first().expect("a letter");
            let data = data.strip_prefix(b" ").unwrap_or(data);
            let length = u32::try_from(data.len() + 1).expect("small").to_be_bytes();
            [&length[..], &[*letter], data].concat()
        }
    }
}

async fn play(wire: &mut Wire, text: &str, frames: Frames, whole: bool) -> Result<(), String> {
    let mut dice = Dice::new(11);
    let mut input = Vec::new();
    for step in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("O:")) {
        let (kind, rest) = step.split_at(2);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if let "C:" | "C<" = kind {
            input.extend(sent(frames, kind, rest));
            continue;
        }
        wire.send(&std::mem::take(&mut input), whole, &mut dice).await;
        if kind == "S*" {
            loop {
                let heard = wire.hear(frames).await;
                let begins = |heard: &String| match frames {
                    Frames::Lines => heard.starts_with(rest),
                    Frames::Packets => heard.starts_with(|letter| rest.contains(letter)),
                };
                if !heard.as_ref().is_some_and(begins) {
                    wire.ahead = heard;
                    break;
                }
            }
            continue;
        }
        let heard = wire.hear(frames).await;
        let right = match (kind, heard.as_deref()) {
            ("X:", None) => true,
            ("S:", Some(heard)) if frames == Frames::Packets => unescape(heard) == unescape(rest),
            ("S:", Some(heard)) => heard == rest,
            ("S~", Some(heard)) => glob(rest, heard),
            _ => false,
        };
        if !right {
            return Err(format!("expected {step:?}, got {heard:?}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn conversations_go_as_they_are_written() {
    let hop = next_hop().await;
    let mut failures = Vec::new();
    let mut played = 0;
    for way in [FilterWay::Inbound, FilterWay::Originating] {
        let server = filter_with(hop.port, FilterPort { way, ..FilterPort::default() }, |config| {
            row(config, Speaks::AmPdp).quarantine = None;
        })
        .await;
        let all = [
            ("filter", Speaks::Filter, Frames::Lines),
            ("ampdp", Speaks::AmPdp, Frames::Lines),
            ("milter", Speaks::Milter, Frames::Packets),
        ];
        for (folder, speaks, frames) in all {
            for (name, text) in files(folder) {
                if text.contains("O: way originating") != (way == FilterWay::Originating) {
                    continue;
                }
                for whole in [true, false] {
                    played += 1;
                    let mut wire = Wire::to(&server, speaks).await;
                    if let Err(why) = play(&mut wire, &text, frames, whole).await {
                        failures.push(format!("{folder}/{name}: {why}"));
                    }
                }
            }
        }
        server.stop().await;
    }
    assert!(failures.is_empty() && played > 70, "{played} played\n{}", failures.join("\n"));
}
