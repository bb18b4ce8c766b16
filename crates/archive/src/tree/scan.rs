use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::io::Errno;

use super::{Content, FileTree, Node, NodeKind, TreePath};
use crate::tar::UnsafePath;

/// A folder cannot be read as a tree.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The system refused.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A name that no package can hold.
    #[error("`{}` cannot be packaged: {reason}; rename or remove it", path.display())]
    Path {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: UnsafePath,
    },
    /// A symbolic link whose target no package can hold.
    #[error("`{}` cannot be packaged: its target {reason}; make the link anew", path.display())]
    Target {
        /// The link.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A socket, which no archive can hold.
    #[error("`{}` is a socket, which cannot be packaged; remove it", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
    },
}

/// Extended attributes that describe the host or a mount, not the file.
const OF_THE_HOST: &[&str] = &[
    "security.selinux",
    "security.evm",
    "security.ima",
    "com.apple.",
    "com.docker.grpcfuse.",
    "system.nfs4_acl",
    "trusted.overlay.",
    "trusted.SGI_",
    "user.overlay.",
];

/// An entry with what tells whether it is another name of the same file.
struct Found {
    path: TreePath,
    node: Node,
    inode: Option<(u64, u64)>,
}

impl FileTree {
    /// Reads a real folder: kinds, modes, numeric owners, times, link targets, hard links (of several
    /// names of one file the first in order is the file) and extended attributes, except those that
    /// belong to the host (labels of its security modules, its overlays). Files' bytes stay on disk.
    ///
    /// Symbolic links are never followed. A name outside the folder is not looked for, so a file with
    /// one more name elsewhere is a file.
    pub fn scan(folder: &Path) -> Result<FileTree, ScanError> {
        let mut found: Vec<Found> = Vec::new();
        // One level after the other: no recursion, however deep the folder is.
        let mut level: Vec<Option<TreePath>> = vec![None];
        while !level.is_empty() {
            let read: Vec<Vec<Found>> = level
                .par_iter()
                .map(|directory| scan_directory(folder, directory.as_ref()))
                .collect::<Result<_, _>>()?;
            level = read
                .iter()
                .flatten()
                .filter(|found| found.node.is_directory())
                .map(|found| Some(found.path.clone()))
                .collect();
            found.extend(read.into_iter().flatten());
        }
        found.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        let mut first: BTreeMap<(u64, u64), TreePath> = BTreeMap::new();
        let entry = |found: Found| {
            let Found {
                path,
                mut node,
                inode,
            } = found;
            if let Some(inode) = inode {
                if let Some(file) = first.get(&inode) {
                    node.kind = NodeKind::HardLink {
                        target: file.clone(),
                    };
                } else {
                    first.insert(inode, path.clone());
                }
            }
            (path, node)
        };
        // Sorted already: that makes a tree faster than entry by entry.
        Ok(found.into_iter().map(entry).collect())
    }
}

fn scan_directory(folder: &Path, directory: Option<&TreePath>) -> Result<Vec<Found>, ScanError> {
    let place = match directory {
        Some(directory) => folder.join(directory.as_str()),
        None => folder.to_owned(),
    };
    let failed = |source| ScanError::Io {
        path: place.clone(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&place).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let on_disk = entry.path();
        let refused = |reason| ScanError::Path {
            path: on_disk.clone(),
            reason,
        };
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| refused(UnsafePath::NotUtf8))?;
        let path = match directory {
            Some(directory) => directory.join(name),
            None => TreePath::new(name),
        }
        .map_err(refused)?;
        found.push(scan_entry(&on_disk, path)?);
    }
    Ok(found)
}

fn scan_entry(on_disk: &Path, path: TreePath) -> Result<Found, ScanError> {
    let failed = |source| ScanError::Io {
        path: on_disk.to_owned(),
        source,
    };
    let metadata = std::fs::symlink_metadata(on_disk).map_err(failed)?;
    let kind = metadata.file_type();
    let device = metadata.rdev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let kind = if kind.is_dir() {
        NodeKind::Directory
    } else if kind.is_file() {
        NodeKind::File {
            content: Content::Disk(on_disk.to_owned()),
            size: metadata.len(),
        }
    } else if kind.is_symlink() {
        let target = std::fs::read_link(on_disk).map_err(failed)?;
        let refused = |reason| ScanError::Target {
            path: on_disk.to_owned(),
            reason,
        };
        let target = target.to_str().ok_or_else(|| refused("is not UTF-8"))?;
        if target.contains(|character: char| character.is_ascii_control()) {
            return Err(refused("has a control character"));
        }
        NodeKind::Symlink {
            target: target.to_owned(),
        }
    } else if kind.is_char_device() {
        NodeKind::CharDevice { major, minor }
    } else if kind.is_block_device() {
        NodeKind::BlockDevice { major, minor }
    } else if kind.is_fifo() {
        NodeKind::Fifo
    } else {
        return Err(ScanError::Socket {
            path: on_disk.to_owned(),
        });
    };
    let linked = metadata.nlink() > 1 && matches!(kind, NodeKind::File { .. });
    let xattrs = match kind {
        NodeKind::File { .. } | NodeKind::Directory => xattrs(on_disk).map_err(failed)?,
        _ => BTreeMap::new(),
    };
    Ok(Found {
        path,
        inode: linked.then(|| (metadata.dev(), metadata.ino())),
        node: Node {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid().into(),
            gid: metadata.gid().into(),
            user: String::new(),
            group: String::new(),
            mtime: u64::try_from(metadata.mtime()).unwrap_or(0),
            xattrs,
        },
    })
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let names = match growing(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        names => names?,
    };
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0) {
        let Ok(text) = std::str::from_utf8(name) else {
            continue;
        };
        if text.is_empty() || OF_THE_HOST.iter().any(|prefix| text.starts_with(prefix)) {
            continue;
        }
        let name = std::ffi::OsStr::from_bytes(name);
        match growing(|buffer| rustix::fs::lgetxattr(path, name, buffer)) {
            // Gone meanwhile, or kept from ordinary users (`trusted.*`).
            Err(Errno::NODATA | Errno::ACCESS | Errno::PERM) => {}
            value => {
                found.insert(text.to_owned(), value?);
            }
        }
    }
    Ok(found)
}

/// Calls with a larger buffer while the system says that the present one is too small. Linux gives at
/// most 64 KiB of names and of value.
fn growing(
    mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match call(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut buffer = vec![0; 64 << 10];
    let length = call(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}
