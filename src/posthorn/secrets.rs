//! Secrets that lie in files: what private keys in the database are sealed with, what return paths are authenticated
//! with, and signing keys.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::Path;

use anyhow::{Context, bail};
use posthorn_config::Config;
use posthorn_mail::master_key::MasterKeyFit;
use posthorn_mail::{Mail, Settings};
use posthorn_trust::SigningKey;

/// Octets of the master key.
const KEY: usize = 32;
/// Octets of a secret that somebody else chose.
const SHORTEST: usize = 16;

/// What the duties are given, for a server: every file that is configured must be there, and the master key is made
/// when none is configured.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn settings(config: &Config) -> anyhow::Result<Settings> {
    let (path, may_create) = config.dkim.master_key_file(&config.server.data);
    let mut settings = Settings { master_key: Some(master_key(&path, may_create)?), ..Settings::of(config) };
    if let Some(path) = &config.srs.secret {
        settings.srs_secret = Some(read(path)?);
    }
    settings.srs_old_secrets = config.srs.old_secrets.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    for key in &config.dkim.key {
        let text = fs::read_to_string(&key.file).with_context(|| unreadable(&key.file))?;
        let signing = SigningKey::from_pem(&text).with_context(|| format!("{} holds no key", key.file.display()))?;
        settings.dkim_files.push((key.domain.clone(), key.selector.as_str().to_owned(), signing));
    }
    Ok(settings)
}

/// What stands in the files that the configuration names beside certificates of listeners, which are looked after by
/// themselves: two that are equal had the same contents.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Fingerprint(Vec<Option<Vec<u8>>>);

impl Fingerprint {
    /// Reads them; one that cannot be read is like one that is not there.
    pub(crate) fn of(config: &Config) -> Self {
        let (master, _) = config.dkim.master_key_file(&config.server.data);
        let keys = config.dkim.key.iter().map(|key| key.file.clone());
        let secrets = config.srs.secret.iter().chain(&config.srs.old_secrets).cloned();
        let files = [master].into_iter().chain(keys).chain(secrets).chain(config.tls.authorities.clone());
        // Compared, never shown: a digest does as well as the secret.
        let digest = |octets: Vec<u8>| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &octets).as_ref().to_vec();
        Self(files.map(|file| fs::read(file).ok().map(digest)).collect())
    }
}

/// Whether the master key is the one that the database knows: of servers that share it, each must have the same.
///
/// # Errors
/// When keys in the database are sealed with another one.
pub async fn hold_against(mail: &Mail) -> anyhow::Result<()> {
    match mail.master_key_fit().await.context("the database cannot be read")? {
        MasterKeyFit::None | MasterKeyFit::Same => {}
        MasterKeyFit::New => tracing::warn!(
            "the master key (dkim.master_key) is another one than before; nothing was sealed with that, so it is taken"
        ),
        MasterKeyFit::Other { sealed } => bail!(
            "the master key (dkim.master_key) is not the one of this database, {}: put the file of the server that made \
             them into its place, or remove the keys (posthorn dkim remove) and start again",
            match sealed {
                0 => "which another server began to use a moment ago".to_owned(),
                1 => "in which 1 DKIM key is sealed with another".to_owned(),
                more => format!("in which {more} DKIM keys are sealed with another"),
            }
        ),
    }
    Ok(())
}

/// The same for a command, which may run where the secrets of the server cannot be read: what is missing is left out,
/// and the duty that needs it says so.
#[must_use]
pub fn settings_at_hand(config: &Config) -> Settings {
    let (path, may_create) = config.dkim.master_key_file(&config.server.data);
    let signing = config.dkim.key.iter().filter_map(|key| {
        let signing = SigningKey::from_pem(&fs::read_to_string(&key.file).ok()?).ok()?;
        Some((key.domain.clone(), key.selector.as_str().to_owned(), signing))
    });
    Settings {
        master_key: master_key(&path, may_create).ok(),
        srs_secret: config.srs.secret.as_deref().and_then(|path| read(path).ok()),
        srs_old_secrets: config.srs.old_secrets.iter().filter_map(|path| read(path).ok()).collect(),
        dkim_files: signing.collect(),
        ..Settings::of(config)
    }
}

/// The master key of a file, made at first where that may be.
fn master_key(path: &Path, may_create: bool) -> anyhow::Result<[u8; KEY]> {
    match fs::read(path) {
        Ok(octets) => match octets.try_into() {
            Ok(key) => Ok(key),
            Err(other) => bail!("{} has {} octets instead of {KEY}", path.display(), other.len()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound && may_create => create(path),
        Err(error) => Err(error).with_context(|| unreadable(path)),
    }
}

/// Makes a key once: whoever comes second takes that of the first.
fn create(path: &Path) -> anyhow::Result<[u8; KEY]> {
    let mut key = [0; KEY];
    aws_lc_rs::rand::fill(&mut key).ok().context("no randomness from the operating system")?;
    match write_once(path, &key) {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => master_key(path, false),
        Err(error) => Err(error).with_context(|| format!("{} cannot be written", path.display())),
    }
}

/// Writes a file that is there as a whole or not at all, for its owner alone, and on the disk.
pub(crate) fn write_once(path: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // The first start beside a database of one's own: nobody needed the data folder before.
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(octets)?;
    file.as_file().sync_all()?;
    // A command that root runs makes it for the server.
    give_to_owner_of(file.path(), folder);
    file.persist_noclobber(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

/// Makes a folder, and those above it, for its owner alone: the owner of the one above, when root makes it.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty() && !above.exists()) {
        make_folder(above)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    give_to_owner_of(folder, folder.parent().unwrap_or(Path::new(".")));
    Ok(())
}

/// What root makes for the server belongs to who owns the folder around it.
pub(crate) fn give_to_owner_of(path: &Path, folder: &Path) {
    if let (Ok(owner), Ok(mine)) = (fs::metadata(folder), fs::metadata(path))
        && (mine.uid(), mine.gid()) != (owner.uid(), owner.gid())
    {
        // Without the right to give it away we are not root, and then it is the server that we run as.
        let _ = chown(path, Some(owner.uid()), Some(owner.gid()));
    }
}

/// A secret that people write by hand: the end of its line is none of it, as other programs read such files too.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let octets = fs::read(path).with_context(|| unreadable(path))?;
    let text = octets.strip_suffix(b"\n").unwrap_or(&octets);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.len() < SHORTEST {
        bail!("{} holds {} octets, which is no secret: it takes {SHORTEST}", path.display(), text.len());
    }
    Ok(text.to_vec())
}

fn unreadable(path: &Path) -> String {
    format!("{} cannot be read", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(data: &Path) -> Config {
        let mut config = Config::default();
        config.server.data = data.to_owned();
        config
    }

    #[test]
    fn the_master_key_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let first = settings(&config).expect("made").master_key.expect("a key");
        assert_ne!(first, [0; KEY]);
        assert_eq!(settings(&config).expect("read").master_key, Some(first));
        assert_eq!(settings_at_hand(&config).master_key, Some(first));
        let path = folder.path().join("dkim.key");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(create(&path).expect("the first one's"), first);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn the_data_folder_is_made_with_the_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(&folder.path().join("data"));
        assert!(settings(&config).expect("made").master_key.is_some());
    }

    #[test]
    fn what_is_configured_is_never_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        let path = folder.path().join("other.key");
        config.dkim.master_key = Some(path.clone());
        assert!(settings(&config).is_err_and(|error| error.to_string().contains("other.key cannot be read")));
        assert_eq!(settings_at_hand(&config).master_key, None);
        fs::write(&path, [7; 31]).expect("written");
        assert!(settings(&config).is_err_and(|error| error.to_string().ends_with("has 31 octets instead of 32")));
        fs::write(&path, [7; 32]).expect("written");
        assert_eq!(settings(&config).expect("read").master_key, Some([7; 32]));
    }

    #[test]
    fn a_folder_that_is_not_there_stops_no_command() {
        let config = config(Path::new("/nonexistent/data"));
        assert_eq!(settings_at_hand(&config).master_key, None);
        assert!(settings(&config).is_err());
    }

    #[test]
    fn keys_in_files_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        let path = folder.path().join("key.pem");
        let text = "[[dkim.key]]\ndomain = 'example.org'\nselector = 'a.b'\nfile = 'KEY'\n";
        let parsed: Config =
            toml::from_str(&text.replace("KEY", &path.display().to_string())).expect("a configuration");
        config.dkim.key = parsed.dkim.key;
        assert!(settings(&config).is_err() && settings_at_hand(&config).dkim_files.is_empty());
        let key = SigningKey::generate(posthorn_trust::KeyType::Ed25519).expect("a key");
        fs::write(&path, key.to_pem().expect("PEM")).expect("written");
        let files = settings(&config).expect("read").dkim_files;
        assert_eq!((files.len(), files[0].1.as_str()), (1, "a.b"));
        assert_eq!(settings_at_hand(&config).dkim_files.len(), 1);
    }
}
