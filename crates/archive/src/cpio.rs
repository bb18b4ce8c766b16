//! cpio in the "new ASCII" format (`newc`), as Linux takes it for an initial filesystem
//! (Documentation/driver-api/early-userspace/buffer-format.rst) and GNU cpio writes it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use crate::tree::{FileTree, Node, NodeKind, TreePath};

const TRAILER: &str = "TRAILER!!!";
/// Archives end on a boundary of this many bytes, as GNU cpio has it.
const BLOCK: u64 = 512;

/// A tree can't be written as cpio.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// The output can't be written.
    #[error("can't write the cpio archive: {0}")]
    Write(#[source] io::Error),
    /// A file can't be read, or has another size than it is said to have.
    #[error("can't read {path}: {source}")]
    Content {
        /// Where it is in the tree.
        path: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A number has no place in the format's 32 bits.
    #[error(
        "{path}: its {what} ({value}) is more than the cpio format holds ({})",
        u32::MAX
    )]
    TooLarge {
        /// Where it is in the tree.
        path: TreePath,
        /// What it is that is too large.
        what: &'static str,
        /// How large.
        value: u64,
    },
    /// A hard link names nothing.
    #[error("{path} is a hard link to {target}, which is no file of the tree")]
    Dangling {
        /// The link.
        path: TreePath,
        /// What it names.
        target: TreePath,
    },
}

/// What names of one file share.
struct Linked<'t> {
    inode: u64,
    /// How many names there are, and how many are still to come.
    names: u64,
    left: u64,
    node: &'t Node,
    path: &'t TreePath,
}

impl FileTree {
    /// Writes the tree as a cpio archive. Files come with the first of their inode numbers, which
    /// count from 1; the bytes of a file with several names stand with the last of them. Extended
    /// attributes have no place in the format and are left out.
    ///
    /// # Errors
    /// See [`CpioError`].
    pub fn write_cpio(&self, out: &mut impl Write) -> Result<(), CpioError> {
        let mut linked: BTreeMap<&TreePath, Linked<'_>> = BTreeMap::new();
        for (path, node) in self.iter() {
            let NodeKind::HardLink { target } = &node.kind else {
                continue;
            };
            let file = self.get(target.as_str()).filter(|node| node.is_file());
            let Some(file) = file else {
                return Err(CpioError::Dangling {
                    path: path.clone(),
                    target: target.clone(),
                });
            };
            let entry = linked.entry(target).or_insert(Linked {
                inode: 0,
                names: 1,
                left: 1,
                node: file,
                path: target,
            });
            entry.names += 1;
            entry.left += 1;
        }
        let mut writer = Writer { out, written: 0 };
        let mut next = 1;
        for (path, node) in self.iter() {
            let file = match &node.kind {
                NodeKind::HardLink { target } => linked.get_mut(target),
                _ => linked.get_mut(path),
            };
            let Some(file) = file else {
                writer.entry(path, node, next, 1, Some((path, node)))?;
                next += 1;
                continue;
            };
            if file.inode == 0 {
                file.inode = next;
                next += 1;
            }
            file.left -= 1;
            let content = (file.left == 0).then_some((file.path, file.node));
            writer.entry(path, file.node, file.inode, file.names, content)?;
        }
        writer.end()
    }
}

struct Writer<W> {
    out: W,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// An entry. `content`: the file whose bytes it has, if they are written with this name.
    fn entry(
        &mut self,
        path: &TreePath,
        node: &Node,
        inode: u64,
        names: u64,
        content: Option<(&TreePath, &Node)>,
    ) -> Result<(), CpioError> {
        let (kind, device) = match &node.kind {
            NodeKind::Directory => (0o040_000, (0, 0)),
            NodeKind::File { .. } | NodeKind::HardLink { .. } => (0o100_000, (0, 0)),
            NodeKind::Symlink { .. } => (0o120_000, (0, 0)),
            NodeKind::CharDevice { major, minor } => (0o020_000, (*major, *minor)),
            NodeKind::BlockDevice { major, minor } => (0o060_000, (*major, *minor)),
            NodeKind::Fifo => (0o010_000, (0, 0)),
        };
        let size = match (&node.kind, content) {
            (NodeKind::Symlink { target }, _) => target.len() as u64,
            (NodeKind::File { size, .. }, Some(_)) => *size,
            _ => 0,
        };
        let names = if node.is_directory() { 2 } else { names };
        let fields = [
            ("inode number", inode),
            ("mode", u64::from(kind | node.mode)),
            ("owner", node.uid),
            ("group", node.gid),
            ("number of names", names),
            ("modification time", node.mtime),
            ("size", size),
            ("device", 0),
            ("device", 0),
            ("device number", u64::from(device.0)),
            ("device number", u64::from(device.1)),
            ("name", path.as_str().len() as u64 + 1),
            ("checksum", 0),
        ];
        let mut header = String::from("070701");
        for (what, value) in fields {
            let value = u32::try_from(value).map_err(|_| CpioError::TooLarge {
                path: path.clone(),
                what,
                value,
            })?;
            header.push_str(&format!("{value:08X}"));
        }
        self.write(header.as_bytes())?;
        self.write(path.as_str().as_bytes())?;
        self.write(&[0])?;
        self.pad(4)?;
        match (&node.kind, content) {
            (NodeKind::Symlink { target }, _) => self.write(target.as_bytes())?,
            (NodeKind::File { content, size }, Some((path, _))) => {
                self.content(path, content, *size)?;
            }
            _ => {}
        }
        self.pad(4)
    }

    fn content(
        &mut self,
        path: &TreePath,
        content: &crate::tree::Content,
        size: u64,
    ) -> Result<(), CpioError> {
        let failed = |source| CpioError::Content {
            path: path.clone(),
            source,
        };
        let mut reader = content.open().map_err(failed)?.take(size.saturating_add(1));
        let mut buffer = vec![0; 1 << 16];
        let mut count = 0;
        loop {
            let read = reader.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            count += read as u64;
            if count > size {
                break;
            }
            self.write(buffer.get(..read).unwrap_or_default())?;
        }
        match count == size {
            true => Ok(()),
            false => Err(failed(io::Error::other(format!(
                "it should have {size} bytes and has another number"
            )))),
        }
    }

    fn end(mut self) -> Result<(), CpioError> {
        let mut header = String::from("070701");
        for value in [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, TRAILER.len() + 1, 0] {
            header.push_str(&format!("{value:08X}"));
        }
        self.write(header.as_bytes())?;
        self.write(TRAILER.as_bytes())?;
        self.write(&[0])?;
        self.pad(BLOCK)
    }

    fn pad(&mut self, boundary: u64) -> Result<(), CpioError> {
        let over = self.written % boundary;
        let missing = if over == 0 { 0 } else { boundary - over };
        self.write(&vec![0; usize::try_from(missing).unwrap_or_default()])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CpioError> {
        self.out.write_all(bytes).map_err(CpioError::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn an_archive_byte_by_byte() {
        let mut tree = FileTree::new();
        tree.insert(path("d"), Node::directory().with_mtime(7));
        tree.insert(path("d/a"), Node::file(&b"one\n"[..]).with_owner(1, 2));
        tree.insert(path("d/s"), Node::symlink("a"));
        let mut bytes = Vec::new();
        tree.write_cpio(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 512);
        let text = String::from_utf8_lossy(&bytes).replace('\0', "~");
        insta::assert_snapshot!(text.trim_end_matches('~'), @"
        07070100000001000041ED0000000000000000000000020000000700000000000000000000000000000000000000000000000200000000d~07070100000002000081A40000000100000002000000010000000000000004000000000000000000000000000000000000000400000000d/a~~~one
        070701000000030000A1FF0000000000000000000000010000000000000001000000000000000000000000000000000000000400000000d/s~~~a~~~07070100000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000B00000000TRAILER!!!
        ");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut tree = FileTree::new();
        tree.insert(path("a"), Node::file(&b""[..]).with_owner(1 << 32, 0));
        let error = tree.write_cpio(&mut Vec::new()).unwrap_err();
        insta::assert_snapshot!(error, @"a: its owner (4294967296) is more than the cpio format holds (4294967295)");
        let mut tree = FileTree::new();
        let target = path("none");
        tree.insert(path("a"), Node::new(NodeKind::HardLink { target }));
        let error = tree.write_cpio(&mut Vec::new()).unwrap_err();
        insta::assert_snapshot!(error, @"a is a hard link to none, which is no file of the tree");
    }
}
