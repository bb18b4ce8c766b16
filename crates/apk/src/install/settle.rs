//! Directories that are not as their packages say: apk's `fix --directory-permissions`.

use std::io;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::beneath::is;
use super::commit::Session;
use super::error::InstallError;
use super::extract::numbers;
use super::files::reason;
use super::ledger::Ledger;
use super::place::{directory_mode, set_permissions};
use super::root::Root;
use crate::database::Permissions;

impl Root {
    /// The directories that a package has and that are missing, or whose mode or owner is not what
    /// their package says; by path.
    pub fn unsettled(&self) -> Vec<String> {
        let ledger = Ledger::new(self.packages.clone(), Vec::new(), &[]);
        let wrong = ledger.directories().filter(|(path, known)| {
            // The root itself is nobody's.
            let owner = known.owner().filter(|_| !path.is_empty());
            owner.is_some_and(|claim| !self.is_settled(path, claim.permissions))
        });
        wrong.map(|(path, _)| path.to_owned()).collect()
    }

    fn is_settled(&self, path: &str, permissions: Permissions) -> bool {
        let found = self.beneath().place(path).and_then(|place| place.stat());
        found.is_ok_and(|found| {
            if is(&found, FileType::Symlink) {
                // Someone put it elsewhere: what is there is not the package's to change.
                return true;
            }
            let mode = directory_mode(permissions.mode, self.usermode);
            let owner = (u64::from(found.st_uid), u64::from(found.st_gid));
            found.st_mode & 0o7777 == mode & 0o7777
                && (self.usermode || owner == (permissions.uid, permissions.gid))
        })
    }
}

impl Session<'_> {
    /// Makes the directories of the options as their packages have them. No journal is kept of it:
    /// what was done is right, and what was not is still to be done.
    pub(super) fn settle(&mut self) -> Result<(), InstallError> {
        for path in &self.options.directories {
            let known = self.ledger.directory_mut(path);
            let Some(claim) = known.owner() else {
                continue;
            };
            known.looked_at = true;
            known.settled = true;
            known.modified = true;
            let made = self.beneath.make_directories(path);
            let mode = directory_mode(claim.permissions.mode, self.usermode);
            let owner = (!self.usermode).then(|| numbers(claim.permissions));
            let settled: Result<(), Errno> =
                made.and_then(|()| set_permissions(self.beneath, path, mode, owner));
            if let Err(error) = settled {
                return Err(InstallError::Directory {
                    path: path.clone(),
                    reason: reason(&io::Error::from(error)),
                });
            }
        }
        Ok(())
    }
}
