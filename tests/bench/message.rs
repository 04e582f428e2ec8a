//! Messages that look like mail: distinct ids, header fields as programs write them, and text in words.

use std::path::PathBuf;

use clap::Args;

use crate::report::{Report, Row};
use crate::signature::Signer;

/// Words of the text, of mixed lengths, so that it compresses about as letters do.
const WORDS: &str = "the of and to in is that for it as was with be by on not he his but at are this have from or had an \
    they which you one were her all she there would their we him been has when who will more no if out so said what up \
    its about into than them can only other new some could time these two may then do first any my now such like our \
    over man me even most made after also did many before must through back years where much your way well down should \
    because each just those people state good very make world still own see men work long here get both between life \
    being under never day same another know while last might us great old year off come since against go came right \
    used take three invoice meeting schedule quarter budget delivery committee proposal attached regards tomorrow \
    Wednesday manufacturing representative correspondence approximately unfortunately acknowledgement";

/// Where the number of a message will stand; occurs nowhere else.
const NUMBER: &str = "##########";

/// Who writes, unless it is somebody else.
pub(crate) const AUTHOR: &str = "sender@bench.example";

/// How many different texts are used in turn.
const TEXTS: usize = 61;

/// A number that keeps the Message-IDs of runs apart: the time in microseconds.
pub(crate) fn run_number() -> anyhow::Result<u64> {
    Ok(u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros())?)
}

/// Builds messages of one size.
pub(crate) struct Messages {
    templates: Vec<Template>,
}

struct Template {
    octets: Vec<u8>,
    numbers: Vec<usize>,
}

impl Messages {
    /// Messages of `size` octets each, line ends included, no line beginning with a dot. The `run` keeps the
    /// Message-IDs of different runs apart.
    pub(crate) fn new(size: usize, run: u64) -> Self {
        Self::varied(size, run, TEXTS)
    }

    /// The same with so many different texts, at least one.
    pub(crate) fn varied(size: usize, run: u64, texts: usize) -> Self {
        let mut random = Random::new(run);
        Self { templates: (0..texts.max(1)).map(|_| Template::new(size, run, &mut random)).collect() }
    }

    /// The same texts by another author.
    pub(crate) fn by(self, author: &str) -> anyhow::Result<Self> {
        let renamed = |template: Template| {
            let text = String::from_utf8(template.octets)?;
            anyhow::Ok(Template::of(text.replace(&format!("<{AUTHOR}>"), &format!("<{author}>"))))
        };
        Ok(Self { templates: self.templates.into_iter().map(renamed).collect::<anyhow::Result<_>>()? })
    }

    /// Puts a signature on top of each text. Of what differs between its messages nothing is signed.
    pub(crate) fn sign(&mut self, signer: &Signer) -> anyhow::Result<()> {
        for template in &mut self.templates {
            let text = std::str::from_utf8(&template.octets)?;
            *template = Template::of(signer.field(text)? + text);
        }
        Ok(())
    }

    /// Appends message `number` to `out`.
    pub(crate) fn write(&self, number: u64, out: &mut Vec<u8>) {
        let index = usize::try_from(number).unwrap_or(0) % self.templates.len();
        let Template { octets, numbers } = &self.templates[index];
        let start = out.len();
        out.extend_from_slice(octets);
        for at in numbers {
            let mut rest = number;
            for digit in out[start + at..start + at + NUMBER.len()].iter_mut().rev() {
                *digit = b"0123456789"[usize::try_from(rest % 10).unwrap_or(0)];
                rest /= 10;
            }
        }
    }
}

impl Template {
    fn new(size: usize, run: u64, random: &mut Random) -> Self {
        let words: Vec<&str> = WORDS.split_ascii_whitespace().collect();
        let mut word = || words[random.below(words.len())];
        let mut text = format!(
            "Return-Path: <{AUTHOR}>\r\n\
             Received: from relay.bench.example (relay.bench.example [192.0.2.25])\r\n\
             \tby mx.bench.example with ESMTPS id {run:016x}{NUMBER};\r\n\
             \tFri, 20 Nov 2026 09:30:00 +0000\r\n\
             Date: Fri, 20 Nov 2026 09:29:58 +0000\r\n\
             From: \"Bench Sender\" <{AUTHOR}>\r\n\
             To: \"Some One\" <someone@example.org>, Another One <another@example.org>\r\n\
             Cc: third@example.org\r\n\
             Subject: Message {NUMBER}: {} {} {}\r\n\
             Message-ID: <{run:016x}.{NUMBER}@bench.example>\r\n\
             In-Reply-To: <{run:016x}.previous@bench.example>\r\n\
             References: <{run:016x}.first@bench.example> <{run:016x}.previous@bench.example>\r\n\
             User-Agent: posthorn-bench\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8; format=flowed\r\n\
             Content-Transfer-Encoding: 7bit\r\n\
             \r\n",
            word(),
            word(),
            word(),
        );
        let mut column = 0;
        while text.len() + 2 < size {
            let next = word();
            if column + next.len() > 72 {
                text.push_str("\r\n");
                column = 0;
            } else if column > 0 {
                text.push(' ');
            }
            text.push_str(next);
            column += next.len() + 1;
        }
        text.truncate(size.saturating_sub(2));
        // A cut between carriage return and line feed would leave a bare one.
        let whole = text.trim_end_matches(['\r', '\n']).len();
        let filler = text.len() - whole;
        text.truncate(whole);
        text.extend(std::iter::repeat_n('x', filler));
        text.push_str("\r\n");
        Self::of(text)
    }

    fn of(text: String) -> Self {
        let numbers = text.match_indices(NUMBER).map(|(at, _)| at).collect();
        Self { octets: text.into_bytes(), numbers }
    }
}

/// How much messages are like each other.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Texts {
    /// Every message has a text of its own, so that whoever remembers texts has seen none of them.
    #[arg(long)]
    all_different: bool,
}

impl Texts {
    /// So many messages of `size` octets each.
    pub(crate) fn messages(self, size: usize, number: u64) -> anyhow::Result<Messages> {
        let texts = if self.all_different { usize::try_from(number)? } else { TEXTS };
        Ok(Messages::varied(size, run_number()?, texts))
    }
}

/// Messages in files: `1.eml` and so on.
#[derive(Args, Debug)]
pub(crate) struct Compose {
    /// The folder; it must be there.
    folder: PathBuf,
    /// How many.
    #[arg(long, default_value_t = 200)]
    messages: usize,
    /// Octets of each.
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Words that no other message has.
    #[arg(long)]
    strange: bool,
}

impl Compose {
    pub(crate) fn write(self) -> anyhow::Result<Report> {
        let messages = Messages::varied(self.size, run_number()?, self.messages);
        for number in 1..=self.messages {
            let mut octets = Vec::new();
            messages.write(u64::try_from(number)?, &mut octets);
            if self.strange {
                let text = octets.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
                octets[text..].split_mut(|octet| octet.is_ascii_whitespace()).for_each(<[u8]>::reverse);
            }
            std::fs::write(self.folder.join(format!("{number}.eml")), octets)?;
        }
        Ok(Report::of("compose", Row::default().with("messages", self.messages)))
    }
}

/// A small generator (xorshift64*): the same run gives the same texts.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below a bound above zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap_or(0) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_author_may_write() {
        let messages = Messages::new(2_000, 77).by("me@example.org").expect("a text");
        let mut octets = Vec::new();
        messages.write(5, &mut octets);
        let text = String::from_utf8(octets).expect("ASCII");
        assert!(text.contains("From: \"Bench Sender\" <me@example.org>\r\n") && !text.contains(AUTHOR));
        assert!(text.contains(".0000000005@bench.example>"));
    }

    #[test]
    fn a_message_has_its_size_its_number_and_whole_lines() {
        let messages = Messages::new(10_240, 77);
        let mut octets = Vec::new();
        messages.write(1_234_567, &mut octets);
        assert_eq!(octets.len(), 10_240);
        let text = String::from_utf8(octets).expect("ASCII");
        assert!(text.contains("Message-ID: <000000000000004d.0001234567@bench.example>\r\n"));
        assert!(text.contains("\r\n\r\n") && text.ends_with("\r\n"));
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        assert_eq!(text.matches('\r').count(), text.matches("\r\n").count());
        assert!(text.lines().all(|line| line.len() < 200 && !line.starts_with('.')));
    }
}
