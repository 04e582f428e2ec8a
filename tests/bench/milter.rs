//! A mail server's side of the milter protocol (version 6), for milters that are measured.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection on which one client sends message after message.
pub(crate) struct Session {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// What the milter does not answer.
    silent: u32,
    /// What it does not want to be told.
    unwanted: u32,
}

/// Whom the mail server talks to.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) helo: String,
}

/// Steps: the letter of the command, the bit by which a milter does not want it, and the bit by which it does not answer.
const CONNECT: Step = (b'C', 0x01, 0x1000);
const HELO: Step = (b'H', 0x02, 0x2000);
const MAIL: Step = (b'M', 0x04, 0x4000);
const RCPT: Step = (b'R', 0x08, 0x8000);
const DATA: Step = (b'T', 0x200, 0x1_0000);
const HEADER: Step = (b'L', 0x20, 0x80);
const END_OF_HEADERS: Step = (b'N', 0x40, 0x4_0000);
const BODY: Step = (b'B', 0x10, 0x8_0000);
type Step = (u8, u32, u32);

/// Everything that a mail server can do and leave out, but for spaces before values and skipping.
const PROTOCOL: u32 = 0x0f_fbff;
const ACTIONS: u32 = 0x1ff;
/// Octets of a body in one packet.
const CHUNK: usize = 65_535;

impl Session {
    /// Connects, agrees on the protocol, and tells of the client.
    pub(crate) async fn open(host: &str, port: u16, client: &Client) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((host, port)).await.with_context(|| format!("{host}:{port}"))?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream, input: Vec::new(), output: Vec::new(), silent: 0, unwanted: 0 };
        let offer: Vec<u8> = [6, ACTIONS, PROTOCOL].into_iter().flat_map(u32::to_be_bytes).collect();
        session.packet(b'O', &[&offer]);
        session.flush().await?;
        let (letter, answer) = session.read().await?;
        ensure!(letter == b'O' && answer.len() >= 12, "the milter does not agree on a protocol");
        let chosen = u32::from_be_bytes(answer[8..12].try_into()?);
        (session.silent, session.unwanted) = (chosen, chosen);

        session.packet(b'D', &[b"Cj\0mx.example.org\0{daemon_name}\0bench\0"]);
        let mut answers = session.step(
            CONNECT,
            &[client.name.as_bytes(), b"\x004", &25_u16.to_be_bytes(), client.address.as_bytes(), b"\0"],
        );
        answers += session.step(HELO, &[client.helo.as_bytes(), b"\0"]);
        session.flush().await?;
        session.consent(answers).await?;
        Ok(session)
    }

    /// Tells one message; the time from the last octet until the milter's last word.
    pub(crate) async fn message(
        &mut self,
        number: u64,
        (sender, recipient): (&str, &str),
        octets: &[u8],
    ) -> anyhow::Result<Duration> {
        let text = std::str::from_utf8(octets)?;
        let (header, body) = text.split_once("\r\n\r\n").context("a message without text")?;
        let id = format!("{number:012X}");
        self.packet(b'D', &[b"Mi\0", id.as_bytes(), b"\0{mail_addr}\0", sender.as_bytes(), b"\0"]);
        let mut answers = self.step(MAIL, &[b"<", sender.as_bytes(), b">\0"]);
        self.packet(b'D', &[b"R{rcpt_addr}\0", recipient.as_bytes(), b"\0"]);
        answers += self.step(RCPT, &[b"<", recipient.as_bytes(), b">\0"]);
        answers += self.step(DATA, &[]);
        // Lines that go on belong to the field above, with line ends as on Unix.
        let mut lines = header.split("\r\n").peekable();
        while let Some(line) = lines.next() {
            let (name, value) = line.split_once(':').context("a field without a name")?;
            let mut value = value.trim_start().to_owned();
            while let Some(more) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
                value.push('\n');
                value.push_str(more);
            }
            answers += self.step(HEADER, &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
        }
        answers += self.step(END_OF_HEADERS, &[]);
        for chunk in body.as_bytes().chunks(CHUNK) {
            answers += self.step(BODY, &[chunk]);
        }
        self.packet(b'D', &[b"Ei\0", id.as_bytes(), b"\0"]);
        self.packet(b'E', &[]);
        self.flush().await?;
        let sent = Instant::now();
        self.consent(answers).await?;
        loop {
            match self.read().await?.0 {
                b'c' | b'a' => return Ok(sent.elapsed()),
                // Changes, and that it is still at it.
                b'+' | b'-' | b'2' | b'e' | b'b' | b'h' | b'i' | b'm' | b'q' | b'p' => {}
                letter => bail!("the milter said {}", char::from(letter)),
            }
        }
    }

    pub(crate) async fn quit(mut self) -> anyhow::Result<()> {
        self.packet(b'Q', &[]);
        self.flush().await
    }

    /// A step, unless the milter does not want it; how many answers come.
    fn step(&mut self, (letter, unwanted, silent): Step, pieces: &[&[u8]]) -> usize {
        if self.unwanted & unwanted != 0 {
            return 0;
        }
        self.packet(letter, pieces);
        usize::from(self.silent & silent == 0)
    }

    fn packet(&mut self, letter: u8, pieces: &[&[u8]]) {
        let length: usize = 1 + pieces.iter().map(|piece| piece.len()).sum::<usize>();
        self.output.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        self.output.push(letter);
        pieces.iter().for_each(|piece| self.output.extend_from_slice(piece));
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// So many answers that it goes on.
    async fn consent(&mut self, answers: usize) -> anyhow::Result<()> {
        for _ in 0..answers {
            let (letter, words) = self.read().await?;
            ensure!(letter == b'c', "the milter said {}{}", char::from(letter), String::from_utf8_lossy(&words));
        }
        Ok(())
    }

    /// One packet.
    async fn read(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((length, rest)) = self.input.split_first_chunk() {
                let length = usize::try_from(u32::from_be_bytes(*length))?;
                ensure!((1..1 << 20).contains(&length), "the milter sent a packet of {length} octets");
                if rest.len() >= length {
                    let (letter, data) = (rest[0], rest[1..length].to_vec());
                    self.input.drain(..4 + length);
                    return Ok((letter, data));
                }
            }
            ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the milter closed the connection");
        }
    }
}
