//! Who there is in a sandbox besides uid 0.
//!
//! A user namespace maps each id inside to one of this machine (user_namespaces(7)). The caller
//! stands for uid 0. What stands for the others is nobody's here: root takes ids that no
//! distribution hands out, anybody else those that `/etc/subuid` and `/etc/subgid` give them, mapped
//! by `newuidmap` and `newgidmap` of the package `uidmap`.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use super::preflight::in_path;
use crate::signing;

/// The ids inside are 0 and as many more, as in other containers: 65535 is the last of two bytes.
const MOST: u32 = 65_535;

/// Neither users nor containers are given ids from here to 0x7ffdffff on
/// (systemd's docs/UIDS-GIDS.md).
const UNUSED: u32 = 0x7000_0000;

/// Ids of this machine that stand for 1 and those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    first: u32,
    count: u32,
}

/// Users and groups of this machine that stand for those of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identities {
    users: Range,
    groups: Range,
}

/// Why a sandbox has no users but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OneIdentity {
    /// Steps run as somebody who can't change owners anyway.
    NotNeeded,
    /// The files give this user no ids.
    NotGiven,
    /// The programs that map them are missing.
    NoPrograms,
    /// The kernel or those programs refuse.
    Refused,
    /// The container's own first process is not root, so that what steps make is the caller's.
    AsCaller,
}

impl fmt::Display for OneIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OneIdentity::NotNeeded => "steps do not run as root",
            OneIdentity::NotGiven => {
                "/etc/subuid and /etc/subgid give you no ids: let root run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`"
            }
            OneIdentity::NoPrograms => {
                "`newuidmap` and `newgidmap` are not in PATH: install the package `uidmap`"
            }
            OneIdentity::Refused => {
                "this machine does not let you map more ids: are `newuidmap` and `newgidmap` setuid, and do /etc/subuid and /etc/subgid give you ids of your own?"
            }
            OneIdentity::AsCaller => {
                "docker's daemon runs containers of an ordinary user as that user alone: take `--runner bubblewrap` or `--runner podman`"
            }
        })
    }
}

impl Range {
    /// The id inside, if there is one for `outside`.
    fn inside(self, outside: u64) -> Option<u64> {
        let number = outside.checked_sub(self.first.into())?;
        (number < self.count.into()).then_some(number + 1)
    }
}

impl Identities {
    /// Those that this process's user may take.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn of_caller() -> Result<Identities, OneIdentity> {
        let uid = rustix::process::geteuid();
        if uid.is_root() {
            return Identities::of_root();
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = name(&passwd, uid.as_raw());
        let of = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            given(&text, uid.as_raw(), name)
        };
        let (Some(users), Some(groups)) = (of("/etc/subuid"), of("/etc/subgid")) else {
            return Err(OneIdentity::NotGiven);
        };
        if PROGRAMS.iter().any(|program| in_path(program).is_none()) {
            return Err(OneIdentity::NoPrograms);
        }
        Ok(Identities { users, groups })
    }

    /// Those that root may take where this process runs: some that are nobody's there, else all from 1
    /// on.
    ///
    /// # Errors
    /// This process is not root, or its user namespace has not as many.
    pub(super) fn of_root() -> Result<Identities, OneIdentity> {
        if !rustix::process::geteuid().is_root() {
            return Err(OneIdentity::AsCaller);
        }
        let of = |map: &str| {
            let text = fs::read_to_string(map).unwrap_or_default();
            let candidates = [UNUSED, 1].map(|first| Range { first, count: MOST });
            let mut candidates = candidates.into_iter();
            candidates.find(|range| has(&text, *range))
        };
        match (of("/proc/self/uid_map"), of("/proc/self/gid_map")) {
            (Some(users), Some(groups)) => Ok(Identities { users, groups }),
            _ => Err(OneIdentity::NotGiven),
        }
    }

    /// Maps them in the user namespace of `process`, and the caller to 0.
    ///
    /// # Errors
    /// That is not allowed.
    pub(super) fn map(&self, process: u32) -> Result<(), OneIdentity> {
        let own = (rustix::process::geteuid(), rustix::process::getegid());
        let maps = [
            ("uid_map", own.0.as_raw(), self.users),
            ("gid_map", own.1.as_raw(), self.groups),
        ];
        for ((file, own, range), program) in maps.into_iter().zip(PROGRAMS) {
            let Range { first, count } = range;
            let mapped = if rustix::process::geteuid().is_root() {
                let text = format!("0 {own} 1\n1 {first} {count}\n");
                write_map(Path::new(&format!("/proc/{process}/{file}")), &text).is_ok()
            } else {
                let words = [process, 0, own, 1, 1, first, count].map(|word| word.to_string());
                let mut command = signing::command(program);
                command.args(words).stdin(Stdio::null());
                command.stdout(Stdio::null()).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            };
            if !mapped {
                return Err(OneIdentity::Refused);
            }
        }
        Ok(())
    }

    /// The user and the group inside of those outside; whoever is neither is 0.
    pub fn inside(&self, user: u64, group: u64) -> (u64, u64) {
        (
            self.users.inside(user).unwrap_or(0),
            self.groups.inside(group).unwrap_or(0),
        )
    }
}

/// Whether the files give this process's user further ids.
pub(super) fn are_given() -> bool {
    let uid = rustix::process::geteuid().as_raw();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    given(&read("/etc/subuid"), uid, name(&read("/etc/passwd"), uid)).is_some()
}

/// What maps ids for those who are not root: users, groups.
const PROGRAMS: [&str; 2] = ["newuidmap", "newgidmap"];

/// Writes a map of ids: the kernel takes one once and whole.
pub(super) fn write_map(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::options().write(true).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

/// Whether a map of ids, in /proc's form, has all of `range`.
fn has(map: &str, range: Range) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        let (start, end) = (
            range.first.into(),
            u64::from(range.first) + u64::from(range.count),
        );
        first <= start && end <= first + count
    })
}

/// The largest range that a file such as /etc/subuid gives the user (subuid(5)).
fn given(text: &str, uid: u32, name: Option<&str>) -> Option<Range> {
    let uid = uid.to_string();
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let first = fields.next()?.parse::<u32>().ok()?;
        let count = fields.next()?.parse::<u32>().ok()?.min(MOST);
        let theirs = owner == uid || Some(owner) == name;
        (theirs && count > 0 && first > 0 && first.checked_add(count).is_some())
            .then_some(Range { first, count })
    });
    ranges.max_by_key(|range| range.count)
}

/// The name of a user in a file such as /etc/passwd.
fn name(text: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_ids_are_those_that_the_files_give() {
        let text = "root:1:9\nmaker:100000:65536\n1234:300000:10\nmaker:bad:1\nother:5:5\n";
        let range = |first, count| Some(Range { first, count });
        assert_eq!(given(text, 1234, Some("maker")), range(100_000, MOST));
        assert_eq!(given(text, 1234, None), range(300_000, 10));
        assert_eq!(given(text, 7, Some("nobody")), None);
        assert_eq!(given("maker:4294967290:65536\n", 1, Some("maker")), None);
        assert_eq!(
            name("root:x:0:0::/:\nmaker:x:1234:1:::\n", 1234),
            Some("maker")
        );
        let whole = "         0          0 4294967295\n";
        assert!(has(
            whole,
            Range {
                first: UNUSED,
                count: MOST
            }
        ));
        let container = "0 1000 1\n1 100000 65536\n";
        assert!(!has(
            container,
            Range {
                first: UNUSED,
                count: MOST
            }
        ));
        assert!(has(
            container,
            Range {
                first: 1,
                count: MOST
            }
        ));
        assert!(!has(
            "0 1000 1\n",
            Range {
                first: 1,
                count: MOST
            }
        ));
    }

    #[test]
    fn ids_outside_are_known_inside() {
        let identities = Identities {
            users: Range {
                first: 100_000,
                count: 10,
            },
            groups: Range {
                first: 200_000,
                count: 20,
            },
        };
        assert_eq!(identities.inside(1000, 1000), (0, 0));
        assert_eq!(identities.inside(100_000, 200_019), (1, 20));
        assert_eq!(identities.inside(100_010, 199_999), (0, 0));
        assert_eq!(identities.inside(0, 200_020), (0, 0));
    }
}
