//! Owners by name: a package says `root` or `postfix`, and the target's own `etc/passwd` and
//! `etc/group` say which numbers those are (apk's `apk_id_cache`).

use std::collections::BTreeMap;
use std::io;

use super::beneath::Beneath;

/// Bytes of a passwd or group file that is read.
const MAXIMUM: u64 = 16 << 20;

/// Numbers by name, read when they are first asked for.
#[derive(Debug, Default)]
pub(super) struct Owners {
    known: Option<Known>,
}

#[derive(Debug, Default)]
struct Known {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Owners {
    /// Forgets: a script or a package may have changed the files.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// The numbers of an owner: by name, where the target knows it or it is `root`, else those that
    /// the package gives.
    pub(super) fn resolve(
        &mut self,
        beneath: &Beneath,
        (user, uid): (&str, u64),
        (group, gid): (&str, u64),
    ) -> io::Result<(u32, u32)> {
        if self.known.is_none() {
            self.known = Some(Known {
                users: table(beneath, "etc/passwd")?,
                groups: table(beneath, "etc/group")?,
            });
        }
        let Some(known) = &self.known else {
            return Err(io::Error::other("the owners were not read"));
        };
        Ok((
            number(&known.users, user, uid)?,
            number(&known.groups, group, gid)?,
        ))
    }
}

fn number(table: &BTreeMap<String, u32>, name: &str, number: u64) -> io::Result<u32> {
    if let Some(number) = table.get(name) {
        return Ok(*number);
    }
    if name == "root" {
        return Ok(0);
    }
    // The largest number means "leave as it is" to the system.
    u32::try_from(number)
        .ok()
        .filter(|number| *number != u32::MAX)
        .ok_or_else(|| io::Error::other(format!("its owner's number {number} is none")))
}

/// Names and numbers: the first and the third field. Lines that have no such number are passed
/// over, and of equal names the first counts, as with getpwnam.
fn table(beneath: &Beneath, path: &str) -> io::Result<BTreeMap<String, u32>> {
    let bytes = beneath.read(path, MAXIMUM)?.unwrap_or_default();
    let mut table = BTreeMap::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next())
            && !name.is_empty()
            && let Ok(number) = number.parse()
        {
            table.entry(name.to_owned()).or_insert(number);
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_knows_the_numbers() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(
            root.path().join("etc/passwd"),
            "# users\nroot:x:7:7::/:/bin/sh\npostfix:x:207:207::/:\npostfix:x:1:1::/:\nbroken:x:many\n",
        )
        .unwrap();
        let beneath = Beneath::open(root.path()).unwrap();
        let mut owners = Owners::default();
        let mut resolve = |user, group| owners.resolve(&beneath, user, group).unwrap();
        assert_eq!(resolve(("postfix", 1), ("postfix", 5)), (207, 5));
        // No group file: root is 0, others are what the package says.
        assert_eq!(resolve(("root", 3), ("root", 3)), (7, 0));
        assert_eq!(resolve(("broken", 3), ("", 4)), (3, 4));
        let most = u64::from(u32::MAX);
        assert!(owners.resolve(&beneath, ("", most), ("", 0)).is_err());
        std::fs::write(root.path().join("etc/group"), "postfix:x:300:\n").unwrap();
        owners.forget();
        let after = owners.resolve(&beneath, ("", 0), ("postfix", 0)).unwrap();
        assert_eq!(after, (0, 300));
    }
}
