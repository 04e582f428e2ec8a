//! The octets of a message: lines on the disk end as on Unix, ours as in mail; Dovecot may have compressed them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// No message is larger.
const LARGEST: usize = 256 << 20;
/// Octets that are read at once.
const CHUNK: usize = 256 << 10;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It is not there any more.
    #[error("it is gone")]
    Gone,
    /// It cannot be read, or not be decompressed.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// A form that only its own program reads.
    #[error("is {0}, which only the mail server that wrote it reads: take it over by IMAP")]
    Foreign(&'static str),
    /// Nothing is in it.
    #[error("is empty")]
    Empty,
    /// It does not fit.
    #[error("is larger than {} MiB", LARGEST >> 20)]
    Large,
}

/// Beginnings of what is no message.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"CRYPTED\x03\x07", "encrypted"),
    (b"Dovecot-LZ4\r\x2a\x9b\xc5", "compressed by LZ4"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ\0", "compressed by xz"),
];

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Reads a message. What takes its octets says whether it has room.
///
/// # Errors
/// Why it is not taken.
pub fn read(path: &Path, take: impl FnMut(&[u8]) -> bool) -> Result<(), Unfit> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unfit::Gone),
        Err(error) => return Err(Unfit::Unreadable(error)),
    };
    let mut file = BufReader::with_capacity(CHUNK, file);
    let start = file.fill_buf().map_err(Unfit::Unreadable)?;
    if let Some((_, form)) = FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(Unfit::Foreign(form));
    }
    if start.starts_with(GZIP) {
        return with_lines(flate2::bufread::MultiGzDecoder::new(file), take);
    }
    if start.starts_with(ZSTD) {
        return with_lines(zstd::stream::read::Decoder::with_buffer(file).map_err(Unfit::Unreadable)?, take);
    }
    with_lines(file, take)
}

/// Takes octets, with CRLF at the end of every line.
fn with_lines(mut input: impl Read, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), Unfit> {
    let mut chunk = vec![0; CHUNK];
    let mut wired = Vec::with_capacity(CHUNK + CHUNK / 16);
    let (mut taken, mut after_cr) = (0, false);
    loop {
        let read = match input.read(&mut chunk) {
            Ok(0) => return if taken == 0 { Err(Unfit::Empty) } else { Ok(()) },
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unfit::Unreadable(error)),
        };
        wired.clear();
        for line in chunk[..read].split_inclusive(|octet| *octet == b'\n') {
            let Some((b'\n', text)) = line.split_last() else {
                wired.extend_from_slice(line);
                after_cr = line.ends_with(b"\r");
                continue;
            };
            wired.extend_from_slice(text);
            let has_cr = if text.is_empty() { after_cr } else { text.ends_with(b"\r") };
            wired.extend_from_slice(if has_cr { b"\n" } else { b"\r\n" });
            after_cr = false;
        }
        taken += wired.len();
        if taken > LARGEST || !take(&wired) {
            return Err(Unfit::Large);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Gives one octet at a time.
    struct Slowly<'s>(&'s [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            (into[0], self.0) = (*first, rest);
            Ok(1)
        }
    }

    #[test]
    fn every_line_ends_as_in_mail_however_it_comes() {
        for (text, expected) in [
            ("a\nb", "a\r\nb"),
            ("a\r\n\n\r\nb\n", "a\r\n\r\n\r\nb\r\n"),
            ("a\rb\r", "a\rb\r"),
            ("\n", "\r\n"),
            ("a\r\r\n\0", "a\r\r\n\0"),
        ] {
            let (mut slowly, mut at_once) = (Vec::new(), Vec::new());
            let into = |out: &mut Vec<u8>, octets: &[u8]| out.extend_from_slice(octets);
            with_lines(Slowly(text.as_bytes()), |octets| {
                into(&mut slowly, octets);
                true
            })
            .expect("taken");
            with_lines(text.as_bytes(), |octets| {
                into(&mut at_once, octets);
                true
            })
            .expect("taken");
            assert_eq!((slowly.as_slice(), at_once.as_slice()), (expected.as_bytes(), expected.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn what_is_compressed_is_read_and_what_cannot_be_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1.a");
        let text = "Subject: x\n\ny\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text.as_bytes()).expect("written");
        let gzip = gzip.finish().expect("written");
        let read = |octets: &[u8]| {
            std::fs::write(&path, octets).expect("written");
            let mut out = Vec::new();
            read(&path, |octets| {
                out.extend_from_slice(octets);
                true
            })
            .map(|()| String::from_utf8(out).expect("text"))
            .map_err(|unfit| unfit.to_string())
        };
        let wired = Ok(text.replace('\n', "\r\n"));
        assert_eq!(read(text.as_bytes()), wired);
        assert_eq!(read(&gzip), wired);
        assert_eq!(read(&zstd::encode_all(text.as_bytes(), 3).expect("packed")), wired);
        assert!(read(&gzip[..gzip.len() - 9]).expect_err("cut").starts_with("cannot be read"));
        assert!(read(b"CRYPTED\x03\x07...").expect_err("sealed").starts_with("is encrypted, which only"));
        assert_eq!(read(b""), Err("is empty".to_owned()));
        assert!(super::read(&path, |_| false).is_err(), "empty");
        std::fs::write(&path, "x").expect("written");
        assert!(matches!(super::read(&path, |_| false), Err(Unfit::Large)));
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(super::read(&path, |_| true), Err(Unfit::Gone)));
    }
}
