use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use archive::segment::{self, Splicer};
use archive::tar::{WriteError, Writer};
use archive::tree::{Checksums, FileTree, Node, NodeKind, TarOptions, TreeError, TreePath};
use base::{Digest, DigestWriter, Epoch, Sha1, Sha256Hasher};
use store::AtomicFile;

use super::{
    MAXIMUM_CONTROL, MAXIMUM_SCRIPT, PackageError, PackageInfo, Script, Segment, Segments,
};
use crate::dependency::Identity;
use crate::member::{Counted, End, Owner, small_member};
use crate::signature::Signer;

/// What goes into a package.
#[derive(Clone, Debug)]
pub struct PackageContents<'a> {
    /// What the package says of itself. `installed_size` is raised to 1 where the tree has entries
    /// and it is 0; `datahash` is filled in.
    pub info: PackageInfo,
    /// The scripts.
    pub scripts: BTreeMap<Script, Vec<u8>>,
    /// More files of the control member by name, such as `.melange.yaml`; apk passes them over.
    pub extras: BTreeMap<String, Vec<u8>>,
    /// The files. Every file's directory must be in it.
    pub tree: &'a FileTree,
}

/// A package that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Hash of the compressed control member: `C:` of an index.
    pub identity: Identity,
    /// SHA-256 of the whole file.
    pub digest: Digest,
    /// Bytes of the whole file: `S:` of an index.
    pub size: u64,
    /// SHA-256 of the compressed data member.
    pub datahash: Digest,
    /// Where the entries lie in the file.
    pub segments: Segments,
    /// `.PKGINFO` as it was written.
    pub info: PackageInfo,
}

/// Writes a package to `out`: beside it, durable, then renamed. The bytes depend on the arguments
/// alone; every entry's time is `epoch`.
///
/// # Errors
/// Values or entries that apk would refuse or misread, unreadable contents, a full disk.
pub fn write(
    out: &Path,
    contents: &PackageContents<'_>,
    signer: Option<&Signer>,
    epoch: Epoch,
) -> Result<Written, PackageError> {
    let failed = |source| PackageError::Write {
        path: out.to_owned(),
        source,
    };
    check_tree(out, contents.tree)?;
    let mut info = contents.info.clone();
    if info.installed_size == 0 && !contents.tree.is_empty() {
        info.installed_size = 1;
    }
    let mut placed = AtomicFile::create(out).map_err(|source| PackageError::Place {
        path: out.to_owned(),
        source,
    })?;
    // Its hash stands before it in the file, so the data is deflated aside.
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let aside = tempfile::tempfile_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    let (mut aside, data) = deflate(out, contents.tree, epoch, aside)?;
    info.datahash = Some(data.digest);

    let control = control_member(out, &info, contents, epoch)?;
    let identity = Identity::Sha1(Sha1::of(&control));
    let signature = match signer {
        Some(signer) => signer
            .sign(&control, epoch)
            .map_err(|source| PackageError::Sign {
                path: out.to_owned(),
                source,
            })?,
        None => Vec::new(),
    };
    let head = [signature, control].concat();
    let data_offset = head.len() as u64;
    aside.rewind().map_err(failed)?;
    let beside = aside.try_clone().map_err(failed)?;
    // The kernel copies while the same bytes are hashed.
    let mut copy = || {
        placed.file().write_all(&head)?;
        io::copy(&mut aside, placed.file())
    };
    let (copied, hashed) = std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash(&head, &beside));
        let copied = copy();
        let hashed = hashing.join();
        (
            copied,
            hashed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    copied.map_err(failed)?;
    let (digest, size) = hashed.map_err(failed)?;
    placed.commit().map_err(|source| PackageError::Place {
        path: out.to_owned(),
        source,
    })?;
    let segments = Segments {
        directories: Segment::new(data_offset + data.directories_offset, data.directories),
        files: Segment::new(data_offset + data.files_offset, data.files),
    };
    Ok(Written {
        identity,
        digest,
        size,
        datahash: data.digest,
        segments,
        info,
    })
}

/// SHA-256 of these bytes and of a whole file behind them, and how many they are.
fn hash(head: &[u8], file: &File) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256Hasher::default();
    hasher.update(head);
    let mut buffer = vec![0; 256 << 10];
    let mut read = 0;
    loop {
        // Another thread moves on in the same file.
        match file.read_at(&mut buffer, read) {
            Ok(0) => return Ok((hasher.finish(), head.len() as u64 + read)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                read += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What is known of the data member. Offsets are from its beginning.
struct Data {
    directories: segment::Summary,
    directories_offset: u64,
    files: segment::Summary,
    files_offset: u64,
    digest: Digest,
}

/// Writes the data member to `aside`.
fn deflate(
    out: &Path,
    tree: &FileTree,
    epoch: Epoch,
    aside: File,
) -> Result<(File, Data), PackageError> {
    let in_tree = |source| match source {
        // What takes the archive is the file aside.
        TreeError::Write(WriteError::Io(source)) => PackageError::Write {
            path: out.to_owned(),
            source,
        },
        source => PackageError::Tree {
            path: out.to_owned(),
            source,
        },
    };
    let failed = |source| PackageError::Write {
        path: out.to_owned(),
        source,
    };
    let options = TarOptions {
        checksums: Checksums::Sha1,
        mtime: Some(epoch.0),
    };
    let written = Cell::new(0);
    let aside = DigestWriter::new(BufWriter::with_capacity(1 << 20, aside));
    let mut splicer = Splicer::new(Counted::new(aside, &written)).map_err(failed)?;
    let mut append = |wanted: fn(&Node) -> bool| {
        let offset = written.get();
        let summary = splicer
            .append_with(|deflater| tree.write_tar_of(wanted, &mut Writer::new(deflater), options));
        Ok::<_, PackageError>((offset, summary.map_err(in_tree)?))
    };
    let (directories_offset, directories) = append(Node::is_directory)?;
    let (files_offset, files) = append(|node| !node.is_directory())?;
    splicer.append(&segment::end_blocks()).map_err(failed)?;
    let aside = splicer.finish().map_err(failed)?.into_inner();
    let (aside, digest, _) = aside.finish();
    let aside = aside
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    let data = Data {
        directories,
        directories_offset,
        files,
        files_offset,
        digest,
    };
    Ok((aside, data))
}

fn control_member(
    out: &Path,
    info: &PackageInfo,
    contents: &PackageContents<'_>,
    epoch: Epoch,
) -> Result<Vec<u8>, PackageError> {
    let entry = |entry: &str, reason: &str| PackageError::Entry {
        path: out.to_owned(),
        entry: entry.to_owned(),
        reason: reason.to_owned(),
    };
    let pkginfo = info.to_pkginfo().map_err(|source| PackageError::Info {
        path: out.to_owned(),
        source,
    })?;
    let scripts: Vec<(String, &[u8])> = contents
        .scripts
        .iter()
        .map(|(script, bytes)| (format!(".{script}"), bytes.as_slice()))
        .collect();
    let mut entries = vec![(".PKGINFO", 0o644, pkginfo.as_bytes())];
    for (name, bytes) in &contents.extras {
        let reserved = name == ".PKGINFO"
            || name == ".INSTALL"
            || name.starts_with(".SIGN.")
            || Script::from_name(name.trim_start_matches('.')).is_some();
        if !name.starts_with('.') || name.contains('/') || reserved {
            return Err(entry(name, "can't be another file of the control member"));
        }
        entries.push((name, 0o644, bytes));
    }
    for (name, bytes) in &scripts {
        if bytes.len() as u64 > MAXIMUM_SCRIPT {
            return Err(entry(
                name,
                "is longer than the 262144 bytes that apk takes",
            ));
        }
        entries.push((name, 0o755, bytes));
    }
    // Headers and padding are at most 2 KiB an entry.
    let size: usize = entries.iter().map(|(_, _, bytes)| bytes.len() + 2048).sum();
    if size as u64 > MAXIMUM_CONTROL {
        return Err(PackageError::ControlTooLarge {
            path: out.to_owned(),
            limit: MAXIMUM_CONTROL,
        });
    }
    small_member(&entries, Owner::Root, epoch, End::Open).map_err(|error| PackageError::Tree {
        path: out.to_owned(),
        source: error.into(),
    })
}

/// Every file's directory is there, and every hard link's target comes before it.
fn check_tree(out: &Path, tree: &FileTree) -> Result<(), PackageError> {
    check_parents(out, tree)?;
    check_links(out, tree, |target, path| target < path)
}

/// Every file's directory is there.
pub(super) fn check_parents(out: &Path, tree: &FileTree) -> Result<(), PackageError> {
    for (path, node) in tree.iter() {
        if let Some(parent) = path.parent() {
            // A directory's own parent may be missing: another package has it.
            let fits = match tree.get(parent.as_str()) {
                Some(parent) => parent.is_directory(),
                None => node.is_directory(),
            };
            if !fits {
                return Err(PackageError::Orphan {
                    path: out.to_owned(),
                    entry: path.to_string(),
                    directory: parent.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// Every hard link's target is a file, and one that `fits` the link's own path.
pub(super) fn check_links(
    out: &Path,
    tree: &FileTree,
    fits: impl Fn(&TreePath, &TreePath) -> bool,
) -> Result<(), PackageError> {
    for (path, node) in tree.iter() {
        let NodeKind::HardLink { target } = &node.kind else {
            continue;
        };
        let file = tree.get(target.as_str()).is_some_and(Node::is_file);
        if !file || !fits(target, path) {
            return Err(PackageError::Entry {
                path: out.to_owned(),
                entry: path.to_string(),
                reason: format!("is a hard link to `{target}`, which is no earlier file"),
            });
        }
    }
    Ok(())
}
