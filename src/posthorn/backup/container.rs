//! The outer form: members of a tar archive (POSIX.1-1988 ustar), of which we write one kind and read no other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// Octets of a tar block.
const BLOCK: usize = 512;

/// No member is larger; one that says so is none of ours.
pub const LARGEST: u64 = 1 << 30;

/// The block in front of a member.
fn header(name: &str, size: u64, time: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &name[..name.len().min(100)]);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", size.min(0o77_777_777_777)));
    put(136, &format!("{:011o}\0", time.min(0o77_777_777_777)));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|octet| u32::from(*octet)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Octets behind a member, up to the next block.
fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    if over == 0 { 0 } else { BLOCK - over }
}

/// Writes members one behind the other.
pub struct Packer<W: Write> {
    out: W,
    time: u64,
    written: u64,
}

impl<W: Write> Packer<W> {
    /// Members bear this time, in seconds since 1970.
    pub fn new(out: W, time: u64) -> Self {
        Self { out, time, written: 0 }
    }

    /// Writes one.
    ///
    /// # Errors
    /// What the writer said.
    pub fn put(&mut self, name: &str, octets: &[u8]) -> io::Result<()> {
        let size = octets.len() as u64;
        self.write(&header(name, size, self.time))?;
        self.write(octets)?;
        self.write(&[0; BLOCK][..padding(size)])
    }

    /// Ends the archive. Returns the writer, and how many octets it got.
    ///
    /// # Errors
    /// What the writer said.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok((self.out, self.written))
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.out.write_all(octets)?;
        self.written += octets.len() as u64;
        Ok(())
    }
}

/// Where an archive is read from.
pub enum Input {
    /// What can be skipped through.
    File(BufReader<File>),
    /// What comes as it comes.
    Stream(Box<dyn BufRead + Send>),
}

impl Input {
    /// A file, with its size; `-` is standard input.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> anyhow::Result<(Self, Option<u64>)> {
        if path == Path::new("-") {
            return Ok((Self::Stream(Box::new(BufReader::with_capacity(1 << 18, io::stdin()))), None));
        }
        let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            bail!("{} is a folder; name the file in it", path.display());
        }
        if meta.is_file() {
            return Ok((Self::File(BufReader::with_capacity(1 << 18, file)), Some(meta.len())));
        }
        Ok((Self::Stream(Box::new(BufReader::with_capacity(1 << 18, file))), None))
    }

    fn skip(&mut self, octets: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.seek_relative(i64::try_from(octets).unwrap_or(i64::MAX)),
            Self::Stream(stream) => {
                let skipped = io::copy(&mut stream.take(octets), &mut io::sink())?;
                if skipped == octets { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
            }
        }
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(into),
            Self::Stream(stream) => stream.read(into),
        }
    }
}

/// A member whose octets come next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its octets.
    pub size: u64,
    /// Where it begins in the archive.
    pub at: u64,
}

/// Reads members one behind the other.
pub struct Unpacker {
    input: Input,
    at: u64,
    /// What is being read, for whoever asks where it broke.
    inside: String,
}

impl Unpacker {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(input: Input) -> Self {
        Self { input, at: 0, inside: "the beginning".to_owned() }
    }

    /// Octets passed so far.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next member; `None` at the end, behind which nothing may come.
    ///
    /// # Errors
    /// Where the archive is truncated or altered.
    pub fn next_member(&mut self) -> anyhow::Result<Option<Member>> {
        let at = self.at;
        let block: [u8; BLOCK] = self.take()?;
        if block == [0; BLOCK] {
            "its end".clone_into(&mut self.inside);
            if self.take::<BLOCK>()? != [0; BLOCK] {
                bail!("the archive is damaged at octet {at}: it ends, and goes on");
            }
            return match self.input.read(&mut [0])? {
                0 => Ok(None),
                _ => bail!("the archive is damaged at octet {}: something follows its end", self.at),
            };
        }
        let Some((name, size, time)) = fields(&block) else {
            let what = if at == 0 { "is no backup of Posthorn" } else { "is damaged" };
            bail!("the archive {what}: at octet {at}, behind {}, no member begins", self.inside);
        };
        // Every octet of it is ours to decide, so one that is another was changed.
        if header(&name, size, time) != block || size > LARGEST {
            let what = if at == 0 { "is no backup of Posthorn" } else { "is damaged" };
            bail!("the archive {what}: the header of {name:?} at octet {at} was altered");
        }
        self.inside.clone_from(&name);
        Ok(Some(Member { name, size, at }))
    }

    /// The octets of the member.
    ///
    /// # Errors
    /// Where the archive is truncated or altered.
    pub fn read(&mut self, member: &Member) -> anyhow::Result<Vec<u8>> {
        let mut octets = Vec::with_capacity(usize::try_from(member.size.min(1 << 23)).unwrap_or_default());
        let read =
            (&mut self.input).take(member.size).read_to_end(&mut octets).context("the archive cannot be read")?;
        self.at += read as u64;
        if read as u64 != member.size {
            bail!(self.truncated());
        }
        let mut padding = vec![0; padding(member.size)];
        self.fill(&mut padding)?;
        if padding.iter().any(|octet| *octet != 0) {
            bail!("the archive is damaged at octet {}: behind {}", self.at, member.name);
        }
        Ok(octets)
    }

    /// Passes over the octets of the member, unseen.
    ///
    /// # Errors
    /// Where the archive is truncated.
    pub fn skip(&mut self, member: &Member) -> anyhow::Result<()> {
        let octets = member.size + padding(member.size) as u64;
        match self.input.skip(octets) {
            Ok(()) => {
                self.at += octets;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => bail!(self.truncated()),
            Err(error) => Err(error).context("the archive cannot be read"),
        }
    }

    fn take<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        let mut octets = [0; N];
        self.fill(&mut octets)?;
        Ok(octets)
    }

    fn fill(&mut self, into: &mut [u8]) -> anyhow::Result<()> {
        let mut filled = 0;
        while filled < into.len() {
            match self.input.read(&mut into[filled..]) {
                Ok(0) => bail!(self.truncated()),
                Ok(read) => {
                    filled += read;
                    self.at += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the archive cannot be read"),
            }
        }
        Ok(())
    }

    fn truncated(&self) -> String {
        format!("the archive is truncated: it breaks off at octet {}, in or behind {}", self.at, self.inside)
    }
}

/// Name, size and time of a header.
fn fields(block: &[u8; BLOCK]) -> Option<(String, u64, u64)> {
    let text = |from: usize, to: usize| {
        let field = &block[from..to];
        let end = field.iter().position(|octet| *octet == 0).unwrap_or(field.len());
        std::str::from_utf8(&field[..end]).ok()
    };
    let number = |from, to| u64::from_str_radix(text(from, to)?, 8).ok();
    let name = text(0, 100).filter(|name| !name.is_empty() && name.is_ascii())?;
    Some((name.to_owned(), number(124, 136)?, number(136, 148)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut packer = Packer::new(Vec::new(), 1_800_000_000);
        packer.put("one", b"first").expect("written");
        packer.put("two", &[7; 512]).expect("written");
        packer.finish().expect("written").0
    }

    fn read(octets: Vec<u8>) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let mut unpacker = Unpacker::new(Input::Stream(Box::new(io::Cursor::new(octets))));
        let mut all = Vec::new();
        while let Some(member) = unpacker.next_member()? {
            let octets = unpacker.read(&member)?;
            all.push((member.name, octets));
        }
        Ok(all)
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let all = read(archive()).expect("read");
        assert_eq!(all, [("one".to_owned(), b"first".to_vec()), ("two".to_owned(), vec![7; 512])]);
    }

    #[test]
    fn every_truncation_is_noticed() {
        let whole = archive();
        for end in 0..whole.len() {
            let error = read(whole[..end].to_vec()).expect_err("truncated").to_string();
            assert!(error.contains("truncated"), "{end}: {error}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(read(longer).is_err_and(|error| error.to_string().contains("something follows its end")));
    }

    #[test]
    fn every_octet_outside_the_contents_is_ours() {
        let whole = archive();
        let contents = (512..517).chain(1536..2048);
        for at in (0..whole.len()).filter(|at| !contents.clone().any(|inside| inside == *at)) {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            assert!(read(altered).is_err(), "octet {at}");
        }
    }

    #[test]
    fn other_programs_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.tar"), archive()).expect("written");
        let Ok(listed) = std::process::Command::new("tar").arg("tf").arg(folder.path().join("a.tar")).output() else {
            return;
        };
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "one\ntwo\n");
    }
}
