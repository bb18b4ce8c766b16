use std::collections::BTreeMap;
use std::path::Path;

use archive::tar;
use archive::tree::{FileTree, Node, TreePath};
use base::{Digest, Sha1};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dependency::Identity;

/// What a package holds, every hash of it checked: the entries of its data member, with owners,
/// modes and attributes that unpacking as an ordinary user loses. Serialised, it is the record that
/// a store keeps beside the unpacked tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The package's identity: [`super::Package::identity`].
    pub identity: Identity,
    /// SHA-256 of the compressed data member; format 3 has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datahash: Option<Digest>,
    /// Bytes of the decompressed data member: a tar archive with its end blocks. 0 in format 3.
    pub length: u64,
    /// The entries, in the order of the archive, each path once.
    pub entries: Vec<Entry>,
}

/// One entry of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative, without leading `./` or trailing `/`.
    pub path: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: EntryKind,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Owner.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uid: u64,
    /// Group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gid: u64,
    /// Owner's name, or empty.
    #[serde(default, skip_serializing_if = "is_default")]
    pub user: String,
    /// Group's name, or empty.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group: String,
    /// Modification time in seconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mtime: u64,
    /// Extended attributes by full name.
    #[serde(default, skip_serializing_if = "is_default", with = "attributes")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Of a file's contents (of the target's, for a hard link) or of a symbolic link's target,
    /// computed and not merely read: SHA-1 in format 2, SHA-256 in format 3. `None` for other
    /// kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Identity>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Any text.
        target: String,
    },
    /// Another name of an earlier file.
    HardLink {
        /// That file's path.
        target: String,
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

impl Entry {
    pub(crate) fn new(header: &tar::Header, checksum: Option<Sha1>) -> Entry {
        let kind = match &header.kind {
            tar::EntryKind::File { size } => EntryKind::File { size: *size },
            tar::EntryKind::Directory => EntryKind::Directory,
            tar::EntryKind::Symlink { target } => EntryKind::Symlink {
                target: target.clone(),
            },
            tar::EntryKind::HardLink { target } => EntryKind::HardLink {
                target: target.clone(),
            },
            tar::EntryKind::CharDevice { major, minor } => EntryKind::CharDevice {
                major: *major,
                minor: *minor,
            },
            tar::EntryKind::BlockDevice { major, minor } => EntryKind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            tar::EntryKind::Fifo => EntryKind::Fifo,
        };
        Entry {
            path: header.path.clone(),
            kind,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            user: header.user.clone(),
            group: header.group.clone(),
            mtime: header.mtime,
            xattrs: header.xattrs.clone(),
            checksum: checksum.map(Identity::Sha1),
        }
    }

    /// The entry as a tar archive has it.
    pub(crate) fn header(&self) -> tar::Header {
        let kind = match &self.kind {
            EntryKind::File { size } => tar::EntryKind::File { size: *size },
            EntryKind::Directory => tar::EntryKind::Directory,
            EntryKind::Symlink { target } => tar::EntryKind::Symlink {
                target: target.clone(),
            },
            EntryKind::HardLink { target } => tar::EntryKind::HardLink {
                target: target.clone(),
            },
            EntryKind::CharDevice { major, minor } => tar::EntryKind::CharDevice {
                major: *major,
                minor: *minor,
            },
            EntryKind::BlockDevice { major, minor } => tar::EntryKind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            EntryKind::Fifo => tar::EntryKind::Fifo,
        };
        tar::Header {
            path: self.path.clone(),
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            user: self.user.clone(),
            group: self.group.clone(),
            mtime: self.mtime,
            xattrs: self.xattrs.clone(),
            checksum: match self.checksum {
                Some(Identity::Sha1(checksum)) => Some(checksum),
                _ => None,
            },
        }
    }

    /// The checksum that an installed database has of it: SHA-1, or in format 3 SHA-256, cut.
    pub fn recorded(&self) -> Option<Identity> {
        self.checksum.map(Identity::shortened)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == EntryKind::Directory
    }
}

impl Manifest {
    /// The package as a tree whose files lie in `folder`, where [`super::Package::unpack`] put
    /// them.
    pub fn tree(&self, folder: &Path) -> FileTree {
        // Every path was found safe when the manifest was made.
        self.entries
            .iter()
            .filter_map(|entry| {
                let node = Node::of(entry.header(), folder).ok()?;
                Some((TreePath::new(&entry.path).ok()?, node))
            })
            .collect()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

mod attributes {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        attributes: &BTreeMap<String, Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            attributes
                .iter()
                .map(|(name, value)| (name, STANDARD.encode(value))),
        )
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
        BTreeMap::<String, String>::deserialize(deserializer)?
            .into_iter()
            .map(|(name, value)| {
                let value = STANDARD.decode(value).map_err(serde::de::Error::custom)?;
                Ok((name, value))
            })
            .collect()
    }
}
