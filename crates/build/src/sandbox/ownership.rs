//! Files that steps gave to others than root.
//!
//! Outside, they belong to ids that are nobody's: an ordinary user could neither read nor remove
//! them. So the [steward](super::steward), which is uid 0 of the namespace, takes them back and says
//! whose they were.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
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

/// What a file may do whoever runs it; giving it away takes that from it.
const CAPABILITIES: &str = "security.capability";

/// Gives all beneath `folder` to root, links themselves and not what they lead to; whose it was.
pub(super) fn take_over(folder: &Path) -> io::Result<Vec<Owned>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(folder, flags, Mode::empty())?;
    let open = |path: &Path| -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)
    };
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(above) = pending.pop() {
        let directory = if above.as_os_str().is_empty() {
            open(Path::new("."))?
        } else {
            match open(&above) {
                // A mount on the way, such as that of the guest: it is not ours to change.
                Err(rustix::io::Errno::XDEV | rustix::io::Errno::ACCESS) => continue,
                opened => opened?,
            }
        };
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            use std::os::unix::ffi::OsStrExt;
            let path = above.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            let kind = FileType::from_raw_mode(stat.st_mode);
            if stat.st_uid != 0 || stat.st_gid != 0 {
                take(directory.as_fd(), name, kind, stat.st_mode)?;
                found.push(Owned {
                    path: path.clone(),
                    uid: stat.st_uid,
                    gid: stat.st_gid,
                });
            }
            if kind == FileType::Directory {
                pending.push(path);
            }
        }
    }
    Ok(found)
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
        chown(path("private"), Some(12), Some(0)).unwrap();
        std::fs::set_permissions(path("private"), mode(0o700)).unwrap();
        let mut owned = take_over(folder.path()).unwrap();
        owned.sort_by(|left, right| left.path.cmp(&right.path));
        let owned: Vec<String> = owned
            .iter()
            .map(|owned| format!("{} {} {}", owned.path.display(), owned.uid, owned.gid))
            .collect();
        insta::assert_snapshot!(owned.join("\n"), @r"
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
        assert_eq!(take_over(folder.path()).unwrap(), []);
    }
}
