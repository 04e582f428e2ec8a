//! Who runs the server: ourselves, or an unprivileged user when we are root.

use std::fs;
use std::process::Command;

use super::Error;

/// An operating system user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct OsUser {
    /// The login name; peer authentication speaks of names.
    pub(super) name: String,
    /// The user id.
    pub(super) uid: u32,
    /// The primary group's id.
    pub(super) gid: u32,
    /// Whether we must become this user (we are root), or are it already.
    pub(super) switch: bool,
}

impl OsUser {
    /// The user to run the server as: `wanted` when we are root, ourselves otherwise.
    pub(super) fn to_run_as(wanted: &str) -> Result<Self, Error> {
        let uid = rustix::process::geteuid().as_raw();
        if uid == 0 {
            let user = Self::by(|user| user.name == wanted, wanted)
                .ok_or_else(|| Error::NoSuchUser { user: wanted.to_owned() })?;
            if user.uid == 0 {
                return Err(Error::PrivilegedUser { user: wanted.to_owned() });
            }
            return Ok(Self { switch: true, ..user });
        }
        // A user id without a name is left to initdb, whose message about it is clear.
        let gid = rustix::process::getegid().as_raw();
        let nameless = Self { name: uid.to_string(), uid, gid, switch: false };
        Ok(Self::by(|user| user.uid == uid, &uid.to_string()).map_or(nameless, |user| Self { gid, ..user }))
    }

    /// Every name that may be the database role: the server's user, and root when we are it.
    pub(super) fn admitted(&self) -> Vec<&str> {
        if self.switch { vec![&self.name, "root"] } else { vec![&self.name] }
    }

    /// What the user of this id is called.
    pub(super) fn name_of(uid: u32) -> String {
        Self::by(|user| user.uid == uid, &uid.to_string()).map_or_else(|| uid.to_string(), |user| user.name)
    }

    /// Looks into /etc/passwd, then asks the system's other sources.
    fn by(fits: impl Fn(&Self) -> bool, key: &str) -> Option<Self> {
        let find = |text: &str| text.lines().filter_map(Self::parse).find(|user| fits(user));
        fs::read_to_string("/etc/passwd").ok().and_then(|text| find(&text)).or_else(|| {
            let answer = Command::new("getent").args(["passwd", "--", key]).output().ok()?;
            find(&String::from_utf8_lossy(&answer.stdout))
        })
    }

    /// One line of passwd(5).
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, switch: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines() {
        let user = OsUser::parse("postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash");
        assert_eq!(user, Some(OsUser { name: "postgres".into(), uid: 101, gid: 104, switch: false }));
        for broken in ["", ":x:1:1::", "name", "name:x", "name:x:one:1", "+@netgroup::::::"] {
            assert_eq!(OsUser::parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn unknown_users_are_named() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let error = OsUser::to_run_as("no-such-user-here").expect_err("there is none");
        assert!(error.to_string().contains("no-such-user-here"), "{error}");
        assert!(matches!(OsUser::to_run_as("root"), Err(Error::PrivilegedUser { .. })));
    }
}
