use std::io::{self, Read, Write};

use super::Header;

/// An entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The stream beneath failed.
    #[error("the archive cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// Writes a tar archive whose bytes equal those of Go's archive/tar for the same headers.
pub struct Writer<W> {
    inner: W,
}

impl<W: Write> Writer<W> {
    /// Starts an empty archive.
    pub fn new(inner: W) -> Writer<W> {
        Writer { inner }
    }

    /// Writes an entry. `content` must yield exactly the header's size; it is not read for other kinds
    /// than files.
    pub fn append(&mut self, _header: &Header, _content: impl Read) -> Result<(), WriteError> {
        unimplemented!()
    }

    /// The number of bytes written so far.
    pub fn written(&self) -> u64 {
        unimplemented!()
    }

    /// The stream beneath, for a flush between entries.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Writes the two zero blocks that end an archive.
    pub fn finish(self) -> Result<W, WriteError> {
        unimplemented!()
    }

    /// Leaves the end blocks out: for members of a concatenation.
    pub fn into_inner(self) -> W {
        self.inner
    }
}
