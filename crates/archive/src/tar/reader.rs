use std::io::{self, Read};

use super::{Header, UnsafePath};
use crate::{LimitExceeded, Limits};

/// How an archive has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Two zero blocks, and nothing but zeros after them: what is hidden behind the end of an archive
    /// would be hashed but never seen.
    Blocks,
    /// Also without zero blocks, after a whole entry: the members of a package but the last.
    Segment,
    /// As tar does: end of file or zero blocks, whatever follows them. For archives of other people.
    Lenient,
}

/// A tar archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream beneath failed.
    #[error("the archive cannot be read: {0}")]
    Io(#[from] io::Error),
    /// placeholder
    #[error("{0}")]
    Limit(#[from] LimitExceeded),
    /// A name cannot be used.
    #[error("entry `{path}`: {reason}")]
    Path {
        /// The name as written, made printable.
        path: String,
        /// Why not.
        reason: UnsafePath,
    },
}

/// Reads a tar archive entry by entry and holds no more than one header.
pub struct Reader<R> {
    inner: R,
    #[expect(dead_code)]
    limits: Limits,
}

impl<R: Read> Reader<R> {
    /// An archive that has to end as [`End::Blocks`] says.
    pub fn new(inner: R, limits: Limits) -> Reader<R> {
        Reader { inner, limits }
    }

    /// Changes how the archive has to end.
    pub fn ending(self, _end: End) -> Reader<R> {
        self
    }

    /// Passes names on that [`super::safe_path`] refuses or that are not UTF-8. Whoever calls this must check
    /// them: [`crate::unpack::unpack`] does.
    pub fn any_names(self) -> Reader<R> {
        self
    }

    /// The next entry; none at the end. What is left of the entry before is skipped.
    #[expect(clippy::should_implement_trait, reason = "an entry borrows the reader")]
    pub fn next(&mut self) -> Result<Option<Entry<'_, R>>, ReadError> {
        unimplemented!()
    }

    /// The stream beneath.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

/// One entry; reading from it gives a file's content.
pub struct Entry<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: Read> Entry<'_, R> {
    /// What the entry says about itself.
    pub fn header(&self) -> &Header {
        let _ = &self.reader;
        unimplemented!()
    }

    /// The name's bytes, normalised as [`Header::path`] is, also where they are not UTF-8.
    pub fn path_bytes(&self) -> &[u8] {
        unimplemented!()
    }

    /// A link's target as bytes; empty for other kinds.
    pub fn target_bytes(&self) -> &[u8] {
        unimplemented!()
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        unimplemented!()
    }
}
