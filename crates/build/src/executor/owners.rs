//! Whom the files of packages belong to.
//!
//! They are what steps made them, by number, and by the name that the guest's own /etc/passwd and
//! /etc/group have for it at the end. The user `build`, as which recipes can run, stands for root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::sandbox::{Identities, Owned};

/// The user and the group that recipes build as.
const BUILDER: &str = "build";

/// Who owns what steps left.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// How ids of this machine stand for those of the guest.
    identities: Option<Identities>,
    /// Those that are not on the disk any more, by path beneath the packages' folders.
    recorded: BTreeMap<PathBuf, (u64, u64)>,
    users: Names,
    groups: Names,
}

/// Names by number.
#[derive(Clone, Debug, Default)]
struct Names {
    names: BTreeMap<u64, String>,
    builder: Option<u64>,
}

/// A user and a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u64,
    /// The group's.
    pub gid: u64,
    /// The user's name; empty if the guest has none.
    pub user: String,
    /// The group's.
    pub group: String,
}

impl Owners {
    /// Those of files that `identities` stand for, or that were `owned` by others; the texts are the
    /// guest's /etc/passwd and /etc/group.
    pub(super) fn new(
        identities: Option<Identities>,
        owned: Vec<Owned>,
        passwd: &str,
        group: &str,
    ) -> Owners {
        let recorded = owned
            .into_iter()
            .map(|owned| (owned.path, (owned.uid.into(), owned.gid.into())));
        Owners {
            identities,
            recorded: recorded.collect(),
            users: Names::of(passwd),
            groups: Names::of(group),
        }
    }

    /// The owner of what is at `path` in the folder of `package`, and belongs to `user` and `group`
    /// outside.
    pub fn of(&self, package: &str, path: &str, user: u64, group: u64) -> Owner {
        let place = || Path::new(package).join(path);
        let (uid, gid) = match &self.identities {
            Some(identities) => identities.inside(user, group),
            None if self.recorded.is_empty() => (0, 0),
            None => self.recorded.get(&place()).copied().unwrap_or((0, 0)),
        };
        let (uid, user) = self.users.of_number(uid);
        let (gid, group) = self.groups.of_number(gid);
        Owner {
            uid,
            gid,
            user,
            group,
        }
    }
}

impl Names {
    fn of(text: &str) -> Names {
        let mut found = Names::default();
        for line in text.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(Ok(number))) =
                (fields.next(), fields.nth(1).map(str::parse::<u64>))
            else {
                continue;
            };
            // A name that a header of tar takes; the first that a number has is its own.
            if !name.is_empty()
                && name.len() < 32
                && name.bytes().all(|byte| byte.is_ascii_graphic())
            {
                found.names.entry(number).or_insert_with(|| name.to_owned());
            }
            if name == BUILDER {
                found.builder.get_or_insert(number);
            }
        }
        found
    }

    fn of_number(&self, number: u64) -> (u64, String) {
        if number == 0 || self.builder == Some(number) {
            return (0, "root".to_owned());
        }
        let name = self.names.get(&number).cloned();
        (number, name.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_the_names_of_the_guest() {
        let owned = |path: &str, uid, gid| Owned {
            path: path.into(),
            uid,
            gid,
        };
        let owners = Owners::new(
            None,
            vec![
                owned("mail/var/spool", 101, 102),
                owned("mail/etc/made", 1000, 1001),
                owned("mail/etc/odd", 7, 8),
            ],
            "toor:x:0:0::/:\nexim:x:101:102::/:\nbuild:x:1000:1000::/:\nsecond:x:101:1::/:\n",
            "mail:x:102:\nbuild:x:1001:\n\x1bbad:x:8:\n",
        );
        let of = |path: &str| {
            let owner = owners.of("mail", path, 1000, 1000);
            format!("{}:{} {}:{}", owner.uid, owner.gid, owner.user, owner.group)
        };
        assert_eq!(of("var/spool"), "101:102 exim:mail");
        assert_eq!(of("etc/made"), "0:0 root:root");
        assert_eq!(of("etc/odd"), "7:8 :");
        assert_eq!(of("etc/other"), "0:0 root:root");
    }
}
