use std::io;
use std::path::{Path, PathBuf};

use super::FileTree;
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
}

impl FileTree {
    /// Reads a real folder: kinds, modes, numeric owners, times, link targets, hard links (of several
    /// names of one file the first in order is the file) and extended attributes, except those that belong to the host
    /// (labels of its security modules, its overlays). Files' bytes stay on disk.
    pub fn scan(_folder: &Path) -> Result<FileTree, ScanError> {
        unimplemented!()
    }
}
