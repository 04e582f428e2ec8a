//! Files that hold secrets: whether anybody else can read them, and whether the disk has room.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use posthorn_config::Config;

use super::Finding;

const AREA: &str = "machine";
/// The share of a disk below which a mail server is in danger of refusing mail, in percent.
const ROOM: u64 = 10;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut bad = Vec::new();
    let secrets = secrets(config);
    for (key, path) in &secrets {
        match fs::metadata(path) {
            Ok(meta) if meta.mode() & 0o007 != 0 => bad.push(
                Finding::fault(AREA, "file rights", format!("everybody can read {} ({key})", path.display()))
                    .advise(format!("chmod 600 {}", path.display())),
            ),
            Ok(_) => {}
            // It is made at the first start.
            Err(error) if error.kind() == ErrorKind::NotFound && path.starts_with(&config.server.data) => {}
            Err(error) => {
                bad.push(Finding::note(AREA, "file rights", format!("{} ({key}): {error}", path.display())));
            }
        }
    }
    if bad.is_empty() {
        findings.push(Finding::fine(AREA, "file rights", format!("{} secret files are only ours", secrets.len())));
    }
    findings.append(&mut bad);
    findings.extend(room(&config.server.data));
    findings
}

/// The files that must be nobody else's, with the keys that name them.
fn secrets(config: &Config) -> Vec<(String, PathBuf)> {
    let mut files = vec![("tls.key".to_owned(), config.tls.pair(&config.server.data).key)];
    let mut add = |key: String, path: &Path| files.push((key, path.to_owned()));
    for (at, one) in config.tls.certificates.iter().enumerate() {
        add(format!("tls.certificates[{at}].key"), &one.key);
    }
    for (at, listener) in config.listener.iter().enumerate() {
        if let Some(path) = &listener.key {
            add(format!("listener[{at}].key"), path);
        }
    }
    add("dkim.master_key".to_owned(), &config.dkim.master_key_file(&config.server.data).0);
    for (at, key) in config.dkim.key.iter().enumerate() {
        add(format!("dkim.key[{at}].file"), &key.file);
    }
    for path in config.srs.secret.iter().chain(&config.srs.old_secrets) {
        add("srs.secret".to_owned(), path);
    }
    for (at, route) in config.route.iter().enumerate() {
        if let Some(path) = &route.password_file {
            add(format!("route[{at}].password_file"), path);
        }
    }
    files
}

/// The room on the disk of the data folder, or of the nearest folder that is there already.
fn room(data: &Path) -> Option<Finding> {
    let there = data.ancestors().find(|folder| folder.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    let (free, all) = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    let percent = (free.saturating_mul(100)).checked_div(all)?;
    let found = format!("{percent} % of the disk below {} is free ({} GiB)", there.display(), free >> 30);
    Some(if percent < ROOM {
        Finding::warning(AREA, "disk", found).advise("make room: with a full disk mail is refused for now (452)")
    } else {
        Finding::fine(AREA, "disk", found)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn a_key_that_everybody_reads_is_a_fault() {
        let folder = tempfile::tempdir().expect("folder");
        let mut config = Config::default();
        config.server.data = folder.path().to_owned();
        let grade = |config: &Config| examine(config).iter().map(|finding| finding.grade).max();
        assert!(grade(&config) < Some(Grade::Fault), "nothing is there yet");
        fs::create_dir(folder.path().join("tls")).expect("made");
        let key = folder.path().join("tls/key.pem");
        fs::write(&key, "secret").expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("set");
        let told = examine(&config);
        let fault = told.iter().find(|finding| finding.grade == Grade::Fault).expect("a fault");
        assert!(fault.found.contains("tls/key.pem (tls.key)"), "{}", fault.found);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("set");
        assert!(grade(&config) < Some(Grade::Fault));
    }
}
