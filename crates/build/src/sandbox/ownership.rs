//! Files that steps gave to others than root.
//!
//! Outside, they belong to ids that are nobody's: an ordinary user could neither read nor remove
//! them. So the [steward](super::steward), which is uid 0 of the namespace, takes them back and says
//! whose they were.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// A file that was another's, relative to the folder that was looked through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Where.
    pub path: PathBuf,
    /// Whose it was, inside.
    pub uid: u32,
    /// And which group's.
    pub gid: u32,
}

/// What steps left to others, and how the guest calls those.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Files in the packages' folder that were others' than root's.
    pub owned: Vec<Owned>,
    /// The guest's /etc/passwd and /etc/group, where its root is not seen outside.
    pub names: Option<[String; 2]>,
}

/// What a file may do whoever runs it; giving it away takes that from it.
const CAPABILITIES: &str = "security.capability";

/// What became of a folder that was looked through.
#[derive(Debug, Default)]
pub(super) struct TakenOver {
    /// Whose files were.
    pub(super) owned: Vec<Owned>,
    /// The first thing that could not be done. All else was.
    pub(super) failure: Option<io::Error>,
}

/// Gives all beneath `folder` to root, links themselves and not what they lead to. A folder that is not
/// there, or is none, has nothing: steps may put a link in its place that leads anywhere.
pub(super) fn take_over(folder: &Path) -> TakenOver {
    let mut done = TakenOver::default();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let root = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return done,
        Err(error) => {
            done.failure = Some(error.into());
            return done;
        }
    };
    // The names of one file, of which the first gives it to root.
    let mut linked = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(above) = pending.pop() {
        if let Err(error) = look_through(&root, &above, &mut linked, &mut pending, &mut done.owned)
        {
            done.failure.get_or_insert(error);
        }
    }
    done
}

fn look_through(
    root: &OwnedFd,
    above: &Path,
    linked: &mut BTreeMap<(u64, u64), (u32, u32)>,
    pending: &mut Vec<PathBuf>,
    found: &mut Vec<Owned>,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let place = match above.as_os_str().is_empty() {
        true => Path::new("."),
        false => above,
    };
    let directory = match rustix::fs::openat2(root, place, flags, Mode::empty(), resolve) {
        // A mount on the way, such as that of the guest: it is not ours to change.
        Err(Errno::XDEV | Errno::ACCESS) => return Ok(()),
        opened => opened?,
    };
    let device = rustix::fs::fstat(&directory)?.st_dev;
    let mut failure = None;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev != device {
            continue; // a mount, as above
        }
        let path = above.join(OsStr::from_bytes(name.to_bytes()));
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut owner = (stat.st_uid, stat.st_gid);
        if owner != (0, 0)
            && let Err(error) = take(directory.as_fd(), name, kind, stat.st_mode)
        {
            // All the others come back all the same.
            failure.get_or_insert(error);
        }
        if stat.st_nlink > 1 && kind != FileType::Directory {
            owner = *linked.entry((stat.st_dev, stat.st_ino)).or_insert(owner);
        }
        if owner != (0, 0) {
            let (uid, gid) = owner;
            let path = path.clone();
            found.push(Owned { path, uid, gid });
        }
        if kind == FileType::Directory {
            pending.push(path);
        }
    }
    failure.map_or(Ok(()), Err)
}

fn take(
    directory: std::os::fd::BorrowedFd<'_>,
    name: &std::ffi::CStr,
    kind: FileType,
    mode: u32,
) -> io::Result<()> {
    let regular = kind == FileType::RegularFile;
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let mut capabilities = [0; 64];
    let length = match regular {
        true => rustix::fs::lgetxattr(&*path, CAPABILITIES, &mut capabilities).ok(),
        false => None,
    };
    rustix::fs::chownat(
        directory,
        name,
        Some(Uid::ROOT),
        Some(Gid::ROOT),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if regular && mode & 0o6000 != 0 {
        rustix::fs::chmodat(directory, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    }
    if let Some(value) = length.and_then(|length| capabilities.get(..length)) {
        rustix::fs::lsetxattr(&*path, CAPABILITIES, value, XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};

    use super::*;

    #[test]
    fn what_was_given_away_comes_back_as_it_was() {
        if !rustix::process::geteuid().is_root() {
            return; // who can't give files away needn't take any back
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("private")).unwrap();
        std::fs::write(path("private/program"), "x").unwrap();
        std::fs::write(path("elsewhere"), "x").unwrap();
        symlink("../elsewhere", path("private/link")).unwrap();
        chown(path("elsewhere"), Some(0), Some(7)).unwrap();
        chown(path("private/program"), Some(12), Some(34)).unwrap();
        lchown(path("private/link"), Some(5), Some(6)).unwrap();
        let mode = std::fs::Permissions::from_mode;
        std::fs::set_permissions(path("private/program"), mode(0o4751)).unwrap();
        // Two names of one file, of which either may be met first.
        std::fs::hard_link(path("private/program"), path("alias")).unwrap();
        // And what leads elsewhere is left alone.
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("file"), "x").unwrap();
        chown(outside.path().join("file"), Some(3), Some(4)).unwrap();
        symlink(outside.path(), path("away")).unwrap();
        assert_eq!(take_over(&path("away")).owned, []);
        assert_eq!(take_over(&path("missing")).owned, []);
        let kept = outside.path().join("file").metadata().unwrap();
        assert_eq!((kept.uid(), kept.gid()), (3, 4));
        chown(path("private"), Some(12), Some(0)).unwrap();
        std::fs::set_permissions(path("private"), mode(0o700)).unwrap();
        let done = take_over(folder.path());
        assert!(done.failure.is_none(), "{:?}", done.failure);
        let mut owned = done.owned;
        owned.sort_by(|left, right| left.path.cmp(&right.path));
        let owned: Vec<String> = owned
            .iter()
            .map(|owned| format!("{} {} {}", owned.path.display(), owned.uid, owned.gid))
            .collect();
        insta::assert_snapshot!(owned.join("\n"), @r"
        alias 12 34
        elsewhere 0 7
        private 12 0
        private/link 5 6
        private/program 12 34
        ");
        for name in ["elsewhere", "private", "private/link", "private/program"] {
            let metadata = path(name).symlink_metadata().unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name}");
        }
        let program = path("private/program").metadata().unwrap();
        assert_eq!(program.mode() & 0o7777, 0o4751);
        assert_eq!(take_over(folder.path()).owned, []);
    }
}
