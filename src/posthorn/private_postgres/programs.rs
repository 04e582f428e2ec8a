//! Where `initdb` and `postgres` are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// The oldest major version that the schema and the settings work with.
const OLDEST: u32 = 15;

/// Where distributions keep versions side by side, one folder per major version.
const VERSIONED: &str = "/usr/lib/postgresql";

/// The two programs of one PostgreSQL.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The first fitting programs: `given` alone when the configuration names a folder, otherwise PATH and then
    /// `/usr/lib/postgresql`, highest version first. An existing cluster needs its own major version.
    pub(super) fn find(given: Option<&Path>, cluster: Option<(PathBuf, u32)>) -> Result<Self, Error> {
        let searched = match given {
            Some(folder) => vec![folder.to_owned()],
            None => usual_folders(),
        };
        choose(searched, cluster, major)
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }
}

fn choose(
    searched: Vec<PathBuf>,
    cluster: Option<(PathBuf, u32)>,
    major: impl Fn(&Path) -> Option<u32>,
) -> Result<Programs, Error> {
    let mut found: Vec<(u32, &PathBuf)> = Vec::new();
    for folder in &searched {
        let Some(version) = major(folder) else { continue };
        let fits = match &cluster {
            Some((_, wanted)) => version == *wanted,
            None => version >= OLDEST,
        };
        if fits && version >= OLDEST {
            return Ok(Programs { folder: folder.clone() });
        }
        found.push((version, folder));
    }
    match (cluster, found.iter().max_by_key(|(version, _)| *version)) {
        (_, None) => Err(Error::ProgramsNotFound { searched }),
        (Some((folder, cluster)), Some((version, programs))) => {
            Err(Error::OtherMajorVersion { folder, cluster, programs: programs.to_path_buf(), found: *version })
        }
        (None, Some((version, folder))) => {
            Err(Error::ProgramsTooOld { folder: folder.to_path_buf(), found: *version, oldest: OLDEST })
        }
    }
}

/// The folders of PATH, then those below `/usr/lib/postgresql`, highest version first.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).filter(|f| f.is_absolute()).collect())
        .unwrap_or_default();
    let mut versions: Vec<u32> = fs::read_dir(VERSIONED)
        .map(|entries| entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
        .unwrap_or_default();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    if versions.is_empty() {
        folders.push(Path::new(VERSIONED).join("*/bin"));
    }
    folders.extend(versions.into_iter().map(|version| Path::new(VERSIONED).join(version.to_string()).join("bin")));
    folders
}

/// The major version of the programs in a folder, when both are there and run.
fn major(folder: &Path) -> Option<u32> {
    let postgres = folder.join("postgres");
    if !postgres.is_file() || !folder.join("initdb").is_file() {
        return None;
    }
    let answer = Command::new(postgres).arg("--version").output().ok()?;
    parse_major(&String::from_utf8_lossy(&answer.stdout))
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `… 18beta1`, `… 17devel`.
fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(folder: &Path) -> Option<u32> {
        folder.file_name()?.to_str()?.parse().ok()
    }

    fn folders(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn versions() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_major("something else 15\n"), None);
    }

    #[test]
    fn first_fitting_folder_wins() {
        let chosen = choose(folders(&["/empty", "/14", "/16", "/17"]), None, known).expect("16 fits");
        assert_eq!(chosen.postgres(), Path::new("/16/postgres"));
    }

    #[test]
    fn a_cluster_takes_its_own_version() {
        let chosen = choose(folders(&["/17", "/16"]), Some(("/data".into(), 16)), known).expect("16 is there");
        assert_eq!(chosen.initdb(), Path::new("/16/initdb"));
    }

    #[test]
    fn another_major_version_names_both() {
        let error = choose(folders(&["/17"]), Some(("/data/postgres".into(), 15)), known).expect_err("17 is not 15");
        let text = error.to_string();
        for part in ["/data/postgres", "version 15", "version 17", "/17", "pg_upgrade"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn too_old_and_missing() {
        assert!(matches!(choose(folders(&["/13", "/14"]), None, known), Err(Error::ProgramsTooOld { found: 14, .. })));
        let text = choose(folders(&["/nowhere"]), None, known).expect_err("nothing there").to_string();
        for part in
            ["/nowhere", "apt-get install -y postgresql", "nix profile install nixpkgs#postgresql", "dnf install"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
