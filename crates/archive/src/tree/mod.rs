//! Trees of files as values: read from a folder or a tar archive, changed, written as tar.

mod path;
mod scan;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use path::TreePath;
pub use scan::ScanError;
pub use write::{Checksums, TarOptions, TreeError};

/// Paths and what is there, in the order of a depth-first walk with sorted names. The root itself is
/// not an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileTree {
    nodes: BTreeMap<TreePath, Node>,
}

/// One path's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with set-user-id, set-group-id and sticky: at most 0o7777.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Owner's name, or empty.
    pub user: String,
    /// Group's name, or empty.
    pub group: String,
    /// Modification time in seconds since 1970-01-01 UTC.
    pub mtime: u64,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Where its bytes are.
        content: Content,
        /// How many they are.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Any text.
        target: String,
    },
    /// Another name of a file of the same tree.
    HardLink {
        /// That file, which precedes the link in the tree's order.
        target: TreePath,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Here.
    Bytes(Arc<[u8]>),
    /// In a file of the host.
    Disk(PathBuf),
    /// In a part of a file of the host, which others share.
    Part {
        /// The file.
        path: Arc<Path>,
        /// Where in it they begin.
        offset: u64,
        /// How many they are.
        size: u64,
    },
}

impl Content {
    /// Opens the bytes for reading.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(match self {
            Content::Bytes(bytes) => Box::new(&bytes[..]),
            Content::Disk(path) => Box::new(File::open(path)?),
            Content::Part { path, offset, size } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Box::new(file.take(*size))
            }
        })
    }

    /// All the bytes.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Content::Bytes(bytes) => Ok(bytes.to_vec()),
            Content::Disk(path) => std::fs::read(path),
            Content::Part { .. } => {
                let mut bytes = Vec::new();
                self.open()?.read_to_end(&mut bytes)?;
                Ok(bytes)
            }
        }
    }
}

impl Node {
    /// An entry of root's, at time 0, with the mode usual for its kind: 0755 for directories, 0777
    /// for symbolic links, else 0644.
    pub fn new(kind: NodeKind) -> Node {
        let mode = match kind {
            NodeKind::Directory => 0o755,
            NodeKind::Symlink { .. } => 0o777,
            _ => 0o644,
        };
        Node {
            kind,
            mode,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            mtime: 0,
            xattrs: BTreeMap::new(),
        }
    }

    /// A directory, 0755.
    pub fn directory() -> Node {
        Node::new(NodeKind::Directory)
    }

    /// A file of these bytes, 0644.
    pub fn file(bytes: impl Into<Arc<[u8]>>) -> Node {
        let bytes = bytes.into();
        Node::new(NodeKind::File {
            size: bytes.len() as u64,
            content: Content::Bytes(bytes),
        })
    }

    /// A symbolic link, 0777.
    pub fn symlink(target: impl Into<String>) -> Node {
        Node::new(NodeKind::Symlink {
            target: target.into(),
        })
    }

    /// The same with another mode.
    pub fn with_mode(self, mode: u32) -> Node {
        Node { mode, ..self }
    }

    /// The same with another owner.
    pub fn with_owner(self, uid: u64, gid: u64) -> Node {
        Node { uid, gid, ..self }
    }

    /// The same with another time.
    pub fn with_mtime(self, mtime: u64) -> Node {
        Node { mtime, ..self }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, NodeKind::Directory)
    }

    /// Whether it is a regular file (hard links are not counted).
    pub fn is_file(&self) -> bool {
        matches!(self.kind, NodeKind::File { .. })
    }

    /// A file's size; 0 for other kinds.
    pub fn size(&self) -> u64 {
        match self.kind {
            NodeKind::File { size, .. } => size,
            _ => 0,
        }
    }
}

impl FileTree {
    /// A tree of nothing.
    pub fn new() -> FileTree {
        FileTree::default()
    }

    /// What is at `path`, if anything (a path that is not safe names nothing).
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&TreePath::new(path).ok()?)
    }

    /// What is at `path`, to be changed.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(&TreePath::new(path).ok()?)
    }

    /// Whether something is at `path`.
    pub fn contains(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// Puts `node` at `path` and gives back what was there. Parents are not made:
    /// [`FileTree::insert_parents`] does that.
    pub fn insert(&mut self, path: TreePath, node: Node) -> Option<Node> {
        self.nodes.insert(path, node)
    }

    /// Puts a copy of `directory` at each parent of `path` where nothing is.
    pub fn insert_parents(&mut self, path: &TreePath, directory: &Node) {
        let mut parent = path.parent();
        while let Some(missing) = parent {
            if self.nodes.contains_key(&missing) {
                break;
            }
            parent = missing.parent();
            self.nodes.insert(missing, directory.clone());
        }
    }

    /// Takes away what is at `path`; what is beneath it stays.
    pub fn remove(&mut self, path: &str) -> Option<Node> {
        self.nodes.remove(&TreePath::new(path).ok()?)
    }

    /// Takes away `path` and all beneath it; how many entries that were.
    pub fn remove_all(&mut self, path: &str) -> usize {
        let Ok(path) = TreePath::new(path) else {
            return 0;
        };
        let gone: Vec<TreePath> = self
            .nodes
            .range(path.clone()..)
            .map(|(other, _)| other)
            .take_while(|other| **other == path || other.is_beneath(&path))
            .cloned()
            .collect();
        for path in &gone {
            self.nodes.remove(path);
        }
        gone.len()
    }

    /// The direct children of a directory, or of the root for `""`, in order.
    pub fn children<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a TreePath, &'a Node)> {
        let parent = TreePath::new(path).ok();
        let known = parent.is_some() || matches!(path, "" | "." | "/");
        let depth = parent.as_ref().map_or(1, |path| path.depth() + 1);
        let mut all = self.nodes.iter();
        let mut some = parent.clone().map(|parent| self.nodes.range(parent..));
        std::iter::from_fn(move || match &mut some {
            Some(range) => range.next(),
            None => all.next(),
        })
        .take_while(move |(path, _)| {
            known
                && parent
                    .as_ref()
                    .is_none_or(|parent| *path == parent || path.is_beneath(parent))
        })
        .filter(move |(path, _)| path.depth() == depth)
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// All entries in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&TreePath, &mut Node)> {
        self.nodes.iter_mut()
    }

    /// Keeps the entries that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&TreePath, &mut Node) -> bool) {
        self.nodes.retain(|path, node| keep(path, node));
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The bytes of all files; a hard link adds none.
    pub fn size(&self) -> u64 {
        self.nodes.values().map(Node::size).sum()
    }
}

impl IntoIterator for FileTree {
    type Item = (TreePath, Node);
    type IntoIter = std::collections::btree_map::IntoIter<TreePath, Node>;

    fn into_iter(self) -> Self::IntoIter {
        self.nodes.into_iter()
    }
}

impl FromIterator<(TreePath, Node)> for FileTree {
    fn from_iter<I: IntoIterator<Item = (TreePath, Node)>>(nodes: I) -> FileTree {
        FileTree {
            nodes: nodes.into_iter().collect(),
        }
    }
}

impl Extend<(TreePath, Node)> for FileTree {
    fn extend<I: IntoIterator<Item = (TreePath, Node)>>(&mut self, nodes: I) {
        self.nodes.extend(nodes);
    }
}

#[cfg(test)]
mod tests;
