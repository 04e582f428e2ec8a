//! The messages of a folder: what their file names say, and what Dovecot keeps beside them.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, Utc};

/// Letters of a file name and the flags that they stand for (https://cr.yp.to/proto/maildir.html; `P` is "passed").
const FLAGS: &[(u8, &str)] = &[
    (b'D', "\\Draft"),
    (b'F', "\\Flagged"),
    (b'P', "$Forwarded"),
    (b'R', "\\Answered"),
    (b'S', "\\Seen"),
    (b'T', "\\Deleted"),
];

/// Names that begin with a smaller number do not begin with a moment: 1990.
const EARLIEST: i64 = 631_152_000;

/// A message that lies in a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Letter {
    /// `cur/…` or `new/…`.
    pub file: PathBuf,
    /// Octets on the disk.
    pub size: u64,
    /// The earlier of the moment in its name and the file's own: copying a file loses the one, and APPEND the other.
    pub at: DateTime<Utc>,
    uid: u32,
}

impl Letter {
    fn of(file: PathBuf, meta: &Metadata, uids: &HashMap<Vec<u8>, u32>) -> Self {
        let name = name_of(&file);
        let digits = name.find(|c: char| !c.is_ascii_digit()).map_or(name, |end| &name[..end]);
        let named = digits.parse::<i64>().ok().filter(|seconds| *seconds >= EARLIEST);
        let seconds = named.map_or(meta.mtime(), |named| named.min(meta.mtime()));
        let uid = uids.get(base(name).as_bytes()).copied().unwrap_or(u32::MAX);
        Self { size: meta.len(), at: DateTime::from_timestamp(seconds, 0).unwrap_or_default(), uid, file }
    }

    /// What stays when flags change.
    #[must_use]
    pub fn base(&self) -> &str {
        base(name_of(&self.file))
    }

    /// The letters behind the name.
    fn letters(&self) -> &[u8] {
        name_of(&self.file).rsplit_once(":2,").map_or(&[], |(_, letters)| letters.as_bytes())
    }
}

fn name_of(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn base(name: &str) -> &str {
    name.split(':').next().unwrap_or_default()
}

/// The messages of a folder.
#[derive(Debug)]
pub struct Letters {
    /// By UID where Dovecot gave one, then by time.
    pub all: Vec<Letter>,
    /// Names of files that are no UTF-8.
    pub unnameable: Vec<PathBuf>,
    keywords: Vec<String>,
}

impl Letters {
    /// Lists a folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(folder: &Path) -> anyhow::Result<Self> {
        let uids = uids(&folder.join("dovecot-uidlist"))?;
        let mut all = Vec::new();
        let mut unnameable = Vec::new();
        for part in ["cur", "new"] {
            let path = folder.join(part);
            let unreadable = || format!("{} cannot be read", path.display());
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(unreadable),
            };
            for entry in entries {
                let entry = entry.with_context(unreadable)?;
                let name = entry.file_name();
                // Moved away since it was listed, or no message.
                let Ok(meta) = fs::metadata(entry.path()) else { continue };
                match name.to_str() {
                    _ if !meta.is_file() || name.as_encoded_bytes().starts_with(b".") => {}
                    Some(name) => all.push(Letter::of(Path::new(part).join(name), &meta, &uids)),
                    None => unnameable.push(entry.path()),
                }
            }
        }
        all.sort_by(|one, other| (one.uid, one.at, &one.file).cmp(&(other.uid, other.at, &other.file)));
        Ok(Self { all, unnameable, keywords: keywords(&folder.join("dovecot-keywords"))? })
    }

    /// The flags of a message, by their names.
    #[must_use]
    pub fn flags(&self, letter: &Letter) -> Vec<String> {
        let name = |letter: &u8| match letter {
            b'a'..=b'z' => self.keywords.get(usize::from(letter - b'a')).filter(|name| !name.is_empty()).cloned(),
            letter => FLAGS.iter().find(|(known, _)| known == letter).map(|(_, name)| (*name).to_owned()),
        };
        let mut names: Vec<_> = letter.letters().iter().filter_map(name).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Where a message is now that was renamed, because its flags changed.
    #[must_use]
    pub fn renamed(folder: &Path, letter: &Letter) -> Option<Letter> {
        let now = ["cur", "new"].into_iter().find_map(|part| {
            let names = fs::read_dir(folder.join(part)).ok()?.flatten().map(|entry| entry.file_name());
            let name = names.filter_map(|name| name.into_string().ok()).find(|name| base(name) == letter.base())?;
            Some(Path::new(part).join(name))
        })?;
        Some(Letter { file: now, ..letter.clone() })
    }
}

/// UIDs by file name, without what follows a colon: Dovecot's list has a line for each message behind that of the folder,
/// `UID fields :NAME`.
fn uids(path: &Path) -> anyhow::Result<HashMap<Vec<u8>, u32>> {
    let mut uids = HashMap::new();
    for line in lines(path)?.skip(1) {
        let line = line?;
        let Some(at) = line.windows(2).position(|two| two == b" :") else { continue };
        let uid = line.split(|octet| *octet == b' ').next().and_then(|uid| std::str::from_utf8(uid).ok()?.parse().ok());
        let name = line[at + 2..].split(|octet| *octet == b':').next().unwrap_or_default();
        if let Some(uid) = uid {
            uids.insert(name.to_vec(), uid);
        }
    }
    Ok(uids)
}

/// Keywords by the letter that they have in file names: `0 NAME` is `a`.
fn keywords(path: &Path) -> anyhow::Result<Vec<String>> {
    let mut keywords = vec![String::new(); 26];
    for line in lines(path)? {
        let line = String::from_utf8_lossy(&line?).into_owned();
        let Some((number, name)) = line.split_once(' ') else { continue };
        if let Some(keyword) = number.parse().ok().and_then(|number: usize| keywords.get_mut(number)) {
            name.trim().clone_into(keyword);
        }
    }
    Ok(keywords)
}

/// The lines of a file, none when it is not there.
fn lines(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Vec<u8>>> + use<>> {
    let shown = path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
    };
    let lines = file.into_iter().flat_map(|file| BufReader::new(file).split(b'\n'));
    Ok(lines.map(move |line| line.with_context(|| format!("{shown} cannot be read"))))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn write(folder: &Path, file: &str, seconds: u64) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, file).expect("written");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(&path).expect("there").set_modified(at).expect("set");
    }

    #[test]
    fn names_say_flags_moments_and_order() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path();
        write(folder, "cur/1500000000.M1P2.host,S=12,W=13:2,FRSTaz", 1_500_000_000);
        write(folder, "cur/1600000000.M1P2.host,S=12:2,", 1_400_000_000);
        write(folder, "cur/1450000000.M1P2.host:2,DP", 1_700_000_000);
        write(folder, "new/12.no-moment", 1_300_000_000);
        write(folder, "new/1200000000_3.99.host,U=3", 1_600_000_000);
        write(folder, "cur/.hidden", 1);
        write(folder, "tmp/1500000001.unfinished", 1);
        fs::create_dir(folder.join("cur/folder")).expect("made");
        fs::write(folder.join("dovecot-keywords"), "0 $Label1\n25 work\n26 beyond\n").expect("written");
        let list = "3 V1500000000 N9 Gaa\n7 W13 S12 :1600000000.M1P2.host,S=12\n5 :1450000000.M1P2.host\n";
        fs::write(folder.join("dovecot-uidlist"), list).expect("written");
        let letters = Letters::of(folder).expect("read");
        let seen: Vec<_> = letters.all.iter().map(|one| (one.at.timestamp(), letters.flags(one).join(" "))).collect();
        let expected = [
            (1_450_000_000, "$Forwarded \\Draft"),
            (1_400_000_000, ""),
            (1_200_000_000, ""),
            (1_300_000_000, ""),
            (1_500_000_000, "$Label1 \\Answered \\Deleted \\Flagged \\Seen work"),
        ];
        assert_eq!(seen, expected.map(|(at, flags)| (at, flags.to_owned())));
    }

    #[test]
    fn a_letter_is_found_under_its_next_name() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), "new/1.a", 1);
        let letter = Letters::of(root.path()).expect("read").all.remove(0);
        fs::create_dir(root.path().join("cur")).expect("made");
        fs::rename(root.path().join("new/1.a"), root.path().join("cur/1.a:2,S")).expect("renamed");
        let renamed = Letters::renamed(root.path(), &letter).expect("there");
        assert_eq!((renamed.file.to_str(), renamed.letters()), (Some("cur/1.a:2,S"), &b"S"[..]));
        fs::remove_file(root.path().join("cur/1.a:2,S")).expect("removed");
        assert_eq!(Letters::renamed(root.path(), &letter), None);
    }
}
