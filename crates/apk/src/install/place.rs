//! From temporary names to final ones: what is to be done to files once a package was unpacked and
//! verified, decided before anything is done, so that it can be done again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use base::Digest;
use rustix::fs::{AtFlags, Gid, Mode, Uid, chmodat, chownat, renameat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::beneath::Beneath;
use crate::package::Script;

/// What a step does to files, and what the database says afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placing {
    /// `name-version`.
    pub(super) package: String,
    /// The package's name.
    pub(super) name: String,
    /// The name of the package that goes, if it has another record than the one that comes.
    pub(super) removed: Option<String>,
    /// The record of the package that comes, as `installed` has it; none if it only goes.
    pub(super) record: Option<String>,
    /// Its scripts.
    pub(super) scripts: BTreeMap<Script, Vec<u8>>,
    /// Its triggers.
    pub(super) triggers: Vec<String>,
    /// Whether a script is to run when the files are in place.
    pub(super) script_follows: bool,
    /// Files that no package had before: they may be the same files, by another path, as those
    /// that are to be removed.
    pub(super) new_paths: Vec<String>,
    /// What is done, in order.
    pub(super) operations: Vec<Operation>,
    /// Directories whose contents change, for triggers.
    pub(super) modified: Vec<String>,
    /// Whether files are the caller's.
    pub(super) usermode: bool,
    /// Whether some of its files have several names.
    pub(super) has_hard_links: bool,
}

/// Something that is done to a file or directory. Doing it again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Operation {
    /// The temporary file gets its name.
    Commit(String),
    /// The temporary file gets its name with `.apk-new` after it.
    Beside(String),
    /// The temporary file goes.
    Discard(String),
    /// The file goes, unless it is one of the new ones by another path.
    Delete(String),
    /// The `.apk-new` of the file goes.
    DeleteBeside(String),
    /// The directory gets mode and owner.
    Permissions {
        /// The directory.
        path: String,
        /// The mode.
        mode: u32,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// The directory goes if it is empty.
    RemoveDirectory(String),
}

/// The suffix of package files that lie beside what was changed.
pub(super) const BESIDE: &str = ".apk-new";

/// What temporary files' names begin with.
pub(super) const TEMPORARY: &str = ".apk.";

/// The name that a package's file has until it is in place: apk's own.
pub(super) fn temporary(package: &str, path: &str) -> String {
    let mut text = Vec::with_capacity(package.len() + path.len() + 1);
    text.extend_from_slice(package.as_bytes());
    text.push(0);
    text.extend_from_slice(path.as_bytes());
    let hex = Digest::of(&text).hex();
    format!("{TEMPORARY}{}", &hex[..48])
}

/// A path's directory and name.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What could not be done: the path and why.
pub(super) type Failure = (String, io::Error);

impl Placing {
    /// Does all of it. When it is done `again`, what is done already is no failure.
    pub(super) fn perform(&self, beneath: &Beneath, again: bool) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut new_files: Option<BTreeSet<(u64, u64)>> = None;
        beneath.forget();
        for operation in &self.operations {
            let result = match operation {
                Operation::Commit(path) => self.rename(beneath, path, path, again),
                Operation::Beside(path) => {
                    self.rename(beneath, path, &format!("{path}{BESIDE}"), again)
                }
                Operation::Discard(path) => gone(self.temporary(beneath, path), false),
                Operation::Delete(path) => {
                    let new_files =
                        new_files.get_or_insert_with(|| identities(beneath, &self.new_paths));
                    let place = beneath.place(path);
                    let kept = !new_files.is_empty()
                        && place
                            .as_ref()
                            .ok()
                            .and_then(|place| place.stat().ok())
                            .is_some_and(|found| new_files.contains(&(found.st_dev, found.st_ino)));
                    if kept {
                        Ok(())
                    } else {
                        // apk takes no notice of what can't be removed.
                        let _ = gone(place, false);
                        Ok(())
                    }
                }
                Operation::DeleteBeside(path) => {
                    let _ = gone(beneath.place(&format!("{path}{BESIDE}")), false);
                    Ok(())
                }
                Operation::Permissions {
                    path,
                    mode,
                    uid,
                    gid,
                } => {
                    let owner = (!self.usermode).then_some((*uid, *gid));
                    set_permissions(beneath, path, *mode, owner)
                }
                Operation::RemoveDirectory(path) => {
                    beneath.forget();
                    let _ = gone(beneath.place(path), true);
                    Ok(())
                }
            };
            if let Err(error) = result {
                let path = match operation {
                    Operation::Commit(path)
                    | Operation::Beside(path)
                    | Operation::Discard(path)
                    | Operation::Delete(path)
                    | Operation::DeleteBeside(path)
                    | Operation::RemoveDirectory(path)
                    | Operation::Permissions { path, .. } => path.clone(),
                };
                failures.push((path, error.into()));
            }
        }
        beneath.forget();
        failures
    }

    fn temporary(
        &self,
        beneath: &Beneath,
        path: &str,
    ) -> rustix::io::Result<super::beneath::Place> {
        beneath.within(split(path).0, &temporary(&self.name, path))
    }

    fn rename(
        &self,
        beneath: &Beneath,
        from: &str,
        to: &str,
        again: bool,
    ) -> rustix::io::Result<()> {
        let from = self.temporary(beneath, from)?;
        let to = beneath.within(split(to).0, split(to).1)?;
        match renameat(&*from.directory, from.name(), &*to.directory, to.name()) {
            // Between two names of one file, nothing was done.
            Ok(()) if self.has_hard_links => gone(Ok(from), false),
            Ok(()) => Ok(()),
            Err(Errno::NOENT) if again => Ok(()),
            Err(error) => {
                let _ = from.unlink();
                Err(error)
            }
        }
    }
}

/// Removes something, if it is there.
fn gone(
    place: rustix::io::Result<super::beneath::Place>,
    directory: bool,
) -> rustix::io::Result<()> {
    let flags = if directory {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    let removed = place.and_then(|place| unlinkat(&*place.directory, place.name(), flags));
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Device and inode of files that are there.
fn identities(beneath: &Beneath, paths: &[String]) -> BTreeSet<(u64, u64)> {
    paths
        .iter()
        .filter_map(|path| beneath.place(path).ok()?.stat().ok())
        .map(|found| (found.st_dev, found.st_ino))
        .collect()
}

/// Gives a directory its mode, and its owner where there is one to give.
pub(super) fn set_permissions(
    beneath: &Beneath,
    path: &str,
    mode: u32,
    owner: Option<(u32, u32)>,
) -> rustix::io::Result<()> {
    let directory = beneath.directory(path)?;
    if let Some((uid, gid)) = owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(&*directory, ".", Some(uid), Some(gid), AtFlags::empty())?;
    }
    let mode = Mode::from_raw_mode(mode & 0o7777);
    chmodat(&*directory, ".", mode, AtFlags::empty())
}

/// What mode a directory gets: in usermode its owner must be able to fill it.
pub(super) fn directory_mode(mode: u32, usermode: bool) -> u32 {
    if usermode { mode | 0o300 } else { mode }
}
