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
#[serde(into = "Record", try_from = "Record")]
pub struct Entry {
    /// Relative, without leading `./` or trailing `/`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Owner's name, or empty.
    pub user: String,
    /// Group's name, or empty.
    pub group: String,
    /// Modification time in seconds since 1970-01-01 UTC.
    pub mtime: u64,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Of a file's contents (of the target's, for a hard link) or of a symbolic link's target,
    /// computed and not merely read: SHA-1 in format 2, SHA-256 in format 3. `None` for other
    /// kinds.
    pub checksum: Option<Identity>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// An [`Entry`] as it is serialised: what only some kinds have stands beside what all have, so that it
/// is read in one pass.
#[derive(Serialize, Deserialize)]
struct Record {
    path: String,
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    major: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minor: Option<u32>,
    mode: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    uid: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    gid: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    user: String,
    #[serde(default, skip_serializing_if = "is_default")]
    group: String,
    #[serde(default, skip_serializing_if = "is_default")]
    mtime: u64,
    #[serde(default, skip_serializing_if = "is_default", with = "attributes")]
    xattrs: BTreeMap<String, Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<Identity>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    CharDevice,
    BlockDevice,
    Fifo,
}

impl From<Entry> for Record {
    fn from(entry: Entry) -> Record {
        let (mut size, mut target, mut device) = (None, None, None);
        let kind = match entry.kind {
            EntryKind::File { size: bytes } => {
                size = Some(bytes);
                Kind::File
            }
            EntryKind::Directory => Kind::Directory,
            EntryKind::Symlink { target: to } => {
                target = Some(to);
                Kind::Symlink
            }
            EntryKind::HardLink { target: to } => {
                target = Some(to);
                Kind::HardLink
            }
            EntryKind::CharDevice { major, minor } => {
                device = Some((major, minor));
                Kind::CharDevice
            }
            EntryKind::BlockDevice { major, minor } => {
                device = Some((major, minor));
                Kind::BlockDevice
            }
            EntryKind::Fifo => Kind::Fifo,
        };
        Record {
            path: entry.path,
            kind,
            size,
            target,
            major: device.map(|(major, _)| major),
            minor: device.map(|(_, minor)| minor),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user,
            group: entry.group,
            mtime: entry.mtime,
            xattrs: entry.xattrs,
            checksum: entry.checksum,
        }
    }
}

impl TryFrom<Record> for Entry {
    type Error = String;

    fn try_from(record: Record) -> Result<Entry, String> {
        let Record { path, kind, .. } = record;
        let lacks = |field: &str| format!("`{path}` lacks `{field}`");
        let kind = match kind {
            Kind::File => EntryKind::File {
                size: record.size.ok_or_else(|| lacks("size"))?,
            },
            Kind::Directory => EntryKind::Directory,
            Kind::Symlink => EntryKind::Symlink {
                target: record.target.ok_or_else(|| lacks("target"))?,
            },
            Kind::HardLink => EntryKind::HardLink {
                target: record.target.ok_or_else(|| lacks("target"))?,
            },
            Kind::CharDevice => EntryKind::CharDevice {
                major: record.major.ok_or_else(|| lacks("major"))?,
                minor: record.minor.ok_or_else(|| lacks("minor"))?,
            },
            Kind::BlockDevice => EntryKind::BlockDevice {
                major: record.major.ok_or_else(|| lacks("major"))?,
                minor: record.minor.ok_or_else(|| lacks("minor"))?,
            },
            Kind::Fifo => EntryKind::Fifo,
        };
        Ok(Entry {
            path,
            kind,
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            user: record.user,
            group: record.group,
            mtime: record.mtime,
            xattrs: record.xattrs,
            checksum: record.checksum,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let entry = |kind| Entry {
            path: "a/b".to_owned(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 7,
            user: String::new(),
            group: "seven".to_owned(),
            mtime: 0,
            xattrs: BTreeMap::new(),
            checksum: None,
        };
        let target = || "c".to_owned();
        let (major, minor) = (1, 2);
        let mut entries: Vec<Entry> = [
            EntryKind::File { size: 0 },
            EntryKind::Directory,
            EntryKind::Symlink { target: target() },
            EntryKind::HardLink { target: target() },
            EntryKind::CharDevice { major, minor },
            EntryKind::BlockDevice { major, minor },
            EntryKind::Fifo,
        ]
        .map(entry)
        .into();
        entries[0].xattrs = BTreeMap::from([("user.x".to_owned(), vec![0, 255])]);
        entries[0].checksum = Some(Identity::Sha1(Sha1::of(b"x")));
        let lines: Vec<String> = entries
            .iter()
            .map(|entry| serde_json::to_string(entry).unwrap())
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"path":"a/b","kind":"file","size":0,"mode":420,"gid":7,"group":"seven","xattrs":{"user.x":"AP8="},"checksum":"Q1EfatjsUqKYSrqv18O1FlA3hcIHI="}
        {"path":"a/b","kind":"directory","mode":420,"gid":7,"group":"seven"}
        {"path":"a/b","kind":"symlink","target":"c","mode":420,"gid":7,"group":"seven"}
        {"path":"a/b","kind":"hard-link","target":"c","mode":420,"gid":7,"group":"seven"}
        {"path":"a/b","kind":"char-device","major":1,"minor":2,"mode":420,"gid":7,"group":"seven"}
        {"path":"a/b","kind":"block-device","major":1,"minor":2,"mode":420,"gid":7,"group":"seven"}
        {"path":"a/b","kind":"fifo","mode":420,"gid":7,"group":"seven"}
        "#);
        for (line, entry) in lines.iter().zip(&entries) {
            assert_eq!(serde_json::from_str::<Entry>(line).unwrap(), *entry);
        }
        let refused = serde_json::from_str::<Entry>(r#"{"path": "p", "kind": "file", "mode": 0}"#);
        insta::assert_snapshot!(refused.unwrap_err(), @"`p` lacks `size`");
    }
}
