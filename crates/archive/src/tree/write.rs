use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base::Sha1;
use sha1::Digest as _;

use super::{Content, FileTree, Node, NodeKind, TreePath};
use crate::tar::{self, EntryKind, UnsafePath};

/// A tree cannot be written or read as tar.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file's bytes cannot be read.
    #[error("cannot read the content of `{path}`: {source}")]
    Content {
        /// The file.
        path: TreePath,
        /// Why not.
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error(transparent)]
    Write(#[from] tar::WriteError),
    /// The archive cannot be read.
    #[error(transparent)]
    Read(#[from] tar::ReadError),
    /// A hard link whose file is not in the tree before it.
    #[error("the hard link `{path}` names `{target}`, which is no file before it in the tree")]
    Dangling {
        /// The link.
        path: TreePath,
        /// What it names.
        target: TreePath,
    },
}

impl From<io::Error> for TreeError {
    fn from(error: io::Error) -> TreeError {
        TreeError::Write(tar::WriteError::Io(error))
    }
}

/// Whether entries carry apk's checksums (`APK-TOOLS.checksum.SHA1`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksums {
    /// No: image layers.
    #[default]
    None,
    /// On files (of their content) and symbolic links (of their target): packages. A hard link has
    /// that of its file.
    Sha1,
}

/// How a tree becomes tar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TarOptions {
    /// apk's checksums or none.
    pub checksums: Checksums,
    /// The time that every entry gets instead of its own.
    pub mtime: Option<u64>,
}

/// Files up to this size are read once, into memory; larger ones twice where a checksum has to stand
/// before their content.
const READ_AT_ONCE: u64 = 4 << 20;

impl FileTree {
    /// Appends every entry in order. The end blocks are left to the writer's `finish`.
    pub fn write_tar<W: Write>(
        &self,
        writer: &mut tar::Writer<W>,
        options: TarOptions,
    ) -> Result<(), TreeError> {
        self.write_tar_of(|_| true, writer, options)
    }

    /// As [`FileTree::write_tar`], of the entries that are `wanted`. A hard link's file has to be one
    /// where the link is.
    pub fn write_tar_of<W: Write>(
        &self,
        wanted: impl Fn(&Node) -> bool,
        writer: &mut tar::Writer<W>,
        options: TarOptions,
    ) -> Result<(), TreeError> {
        let entries = || self.iter().filter(|(_, node)| wanted(node));
        let with_checksum = options.checksums == Checksums::Sha1;
        // The files that hard links name, and once they are written their checksums.
        let mut linked: BTreeMap<&TreePath, Written> = BTreeMap::new();
        for (_, node) in entries() {
            if let NodeKind::HardLink { target } = &node.kind {
                linked.insert(target, Written::NotYet);
            }
        }
        for (path, node) in entries() {
            let mut header = node.header(path);
            if let Some(mtime) = options.mtime {
                header.mtime = mtime;
            }
            match &node.kind {
                NodeKind::File { content, size } => {
                    let (checksum, reader) =
                        prepare(content, *size, with_checksum).map_err(|source| {
                            TreeError::Content {
                                path: path.clone(),
                                source,
                            }
                        })?;
                    header.checksum = checksum;
                    if let Some(file) = linked.get_mut(path) {
                        *file = Written::With(checksum);
                    }
                    writer.append(&header, reader)?;
                    continue;
                }
                NodeKind::Symlink { target } if with_checksum => {
                    header.checksum = Some(Sha1::of(target.as_bytes()));
                }
                NodeKind::HardLink { target } => match linked.get(target) {
                    Some(Written::With(checksum)) => header.checksum = *checksum,
                    _ => {
                        return Err(TreeError::Dangling {
                            path: path.clone(),
                            target: target.clone(),
                        });
                    }
                },
                _ => {}
            }
            writer.append(&header, io::empty())?;
        }
        Ok(())
    }

    /// The tree that a tar archive holds, as its headers tell it, with owners and modes that unpacking
    /// as an ordinary user loses. Files' bytes are expected beneath `unpacked`, where the same archive
    /// was unpacked; they are not compared. Of two entries at one path the later counts.
    pub fn read_tar<R: Read>(
        mut reader: tar::Reader<R>,
        unpacked: &Path,
    ) -> Result<FileTree, TreeError> {
        let mut tree = FileTree::new();
        while let Some(entry) = reader.next()? {
            if entry.is_root() {
                continue;
            }
            let header = entry.header().clone();
            let refused = |reason| tar::ReadError::Path {
                path: header.path.clone(),
                reason,
            };
            let path = TreePath::new(&header.path).map_err(refused)?;
            let mut node = Node::of(header.clone(), unpacked).map_err(refused)?;
            if let NodeKind::HardLink { target } = &mut node.kind {
                // A link to a link is a link to the same file.
                match tree.nodes.get(target).map(|node| &node.kind) {
                    Some(NodeKind::HardLink { target: file }) => *target = file.clone(),
                    Some(NodeKind::File { .. }) => {}
                    _ => {
                        let target = target.clone();
                        return Err(TreeError::Dangling { path, target });
                    }
                }
            }
            tree.insert(path, node);
        }
        tree.put_files_first();
        Ok(tree)
    }

    /// Of several names of one file makes the first in order the file and the others its links.
    fn put_files_first(&mut self) {
        let mut first: BTreeMap<TreePath, TreePath> = BTreeMap::new();
        for (path, node) in &self.nodes {
            if let NodeKind::HardLink { target } = &node.kind
                && path < target
            {
                first.entry(target.clone()).or_insert_with(|| path.clone());
            }
        }
        for (file, link) in &first {
            let Some(content) = self.nodes.get(file).map(|node| node.kind.clone()) else {
                continue;
            };
            for (path, kind) in [
                (
                    file,
                    NodeKind::HardLink {
                        target: link.clone(),
                    },
                ),
                (link, content),
            ] {
                if let Some(node) = self.nodes.get_mut(path) {
                    node.kind = kind;
                }
            }
        }
        for node in self.nodes.values_mut() {
            if let NodeKind::HardLink { target } = &mut node.kind
                && let Some(link) = first.get(target)
            {
                *target = link.clone();
            }
        }
    }
}

enum Written {
    NotYet,
    With(Option<Sha1>),
}

/// A file's checksum, if one is wanted, and its bytes.
fn prepare(
    content: &Content,
    size: u64,
    with_checksum: bool,
) -> io::Result<(Option<Sha1>, Box<dyn Read + '_>)> {
    if let Content::Bytes(bytes) = content {
        return Ok((with_checksum.then(|| Sha1::of(bytes)), Box::new(&bytes[..])));
    }
    let file = content.open()?;
    if !with_checksum {
        return Ok((None, file));
    }
    if size <= READ_AT_ONCE {
        let mut bytes = Vec::with_capacity(size as usize + 1);
        // One byte more, so that a file that grew is noticed.
        file.take(size + 1).read_to_end(&mut bytes)?;
        return Ok((Some(Sha1::of(&bytes)), Box::new(io::Cursor::new(bytes))));
    }
    let mut hasher = Sha1Hasher(sha1::Sha1::new());
    io::copy(&mut file.take(size), &mut hasher)?;
    let checksum = Sha1::from_bytes(hasher.0.finalize().into());
    // The bytes that are written are hashed again: a file that changed in between is an error.
    let checked = Rehashed {
        file: content.open()?,
        left: size,
        hasher: Some(sha1::Sha1::new()),
        expected: checksum,
    };
    Ok((Some(checksum), Box::new(checked)))
}

struct Sha1Hasher(sha1::Sha1);

impl Write for Sha1Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Rehashed<'c> {
    file: Box<dyn Read + Send + 'c>,
    left: u64,
    hasher: Option<sha1::Sha1>,
    expected: Sha1,
}

impl Read for Rehashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        self.left = self.left.saturating_sub(count as u64);
        if self.left == 0
            && let Some(hasher) = self.hasher.take()
            && Sha1::from_bytes(hasher.finalize().into()) != self.expected
        {
            return Err(io::Error::other("the file changed while it was archived"));
        }
        Ok(count)
    }
}

impl Node {
    /// What a tar header speaks of. A file's bytes are expected beneath `unpacked`.
    ///
    /// # Errors
    /// [`UnsafePath`] of the path, or of what a hard link names.
    pub fn of(header: tar::Header, unpacked: &Path) -> Result<Node, UnsafePath> {
        let content = match header.kind {
            EntryKind::File { .. } => unpacked.join(TreePath::new(&header.path)?.as_str()),
            _ => PathBuf::new(),
        };
        Node::holding(header, Content::Disk(content))
    }

    /// What a tar header speaks of. If it is a file, this is what it holds.
    ///
    /// # Errors
    /// [`UnsafePath`] of what a hard link names.
    pub fn holding(header: tar::Header, content: Content) -> Result<Node, UnsafePath> {
        let kind = match header.kind {
            EntryKind::File { size } => NodeKind::File { content, size },
            EntryKind::Directory => NodeKind::Directory,
            EntryKind::Symlink { target } => NodeKind::Symlink { target },
            EntryKind::HardLink { target } => NodeKind::HardLink {
                target: TreePath::new(&target)?,
            },
            EntryKind::CharDevice { major, minor } => NodeKind::CharDevice { major, minor },
            EntryKind::BlockDevice { major, minor } => NodeKind::BlockDevice { major, minor },
            EntryKind::Fifo => NodeKind::Fifo,
        };
        Ok(Node {
            kind,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            user: header.user,
            group: header.group,
            mtime: header.mtime,
            xattrs: header.xattrs,
        })
    }

    /// The tar header of this node at `path`, without a checksum.
    pub fn header(&self, path: &TreePath) -> tar::Header {
        let kind = match &self.kind {
            NodeKind::Directory => EntryKind::Directory,
            NodeKind::File { size, .. } => EntryKind::File { size: *size },
            NodeKind::Symlink { target } => EntryKind::Symlink {
                target: target.clone(),
            },
            NodeKind::HardLink { target } => EntryKind::HardLink {
                target: target.to_string(),
            },
            NodeKind::CharDevice { major, minor } => EntryKind::CharDevice {
                major: *major,
                minor: *minor,
            },
            NodeKind::BlockDevice { major, minor } => EntryKind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            NodeKind::Fifo => EntryKind::Fifo,
        };
        tar::Header {
            path: path.to_string(),
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            user: self.user.clone(),
            group: self.group.clone(),
            mtime: self.mtime,
            xattrs: self.xattrs.clone(),
            checksum: None,
        }
    }
}
