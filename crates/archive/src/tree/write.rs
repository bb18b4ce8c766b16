use std::io::{self, Read, Write};
use std::path::Path;

use super::{FileTree, Node, TreePath};
use crate::tar;

/// A tree cannot be written or read as tar.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file's bytes cannot be read.
    #[error("cannot read `{path}`: {source}")]
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
}

/// Whether entries carry apk's checksums (`APK-TOOLS.checksum.SHA1`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksums {
    /// No: image layers.
    #[default]
    None,
    /// On files (of their content) and symbolic links (of their target): packages.
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

impl FileTree {
    /// Appends every entry in order. The end blocks are left to the writer's `finish`.
    pub fn write_tar<W: Write>(
        &self,
        _writer: &mut tar::Writer<W>,
        _options: TarOptions,
    ) -> Result<(), TreeError> {
        unimplemented!()
    }

    /// The tree that a tar archive holds, as its headers tell it, with owners and modes that unpacking as an
    /// ordinary user loses. Files' bytes are expected beneath `unpacked`, where the same archive was
    /// unpacked; they are not compared. Of two entries at one path the later counts.
    pub fn read_tar<R: Read>(
        _reader: tar::Reader<R>,
        _unpacked: &Path,
    ) -> Result<FileTree, TreeError> {
        unimplemented!()
    }
}

impl Node {
    /// The tar header of this node at `path`, without a checksum.
    pub fn header(&self, _path: &TreePath) -> tar::Header {
        unimplemented!()
    }
}
