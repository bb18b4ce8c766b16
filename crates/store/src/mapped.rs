use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

use crate::WriteError;

/// The bytes of a file of the store, brought in where they are looked at. They are taken to stay
/// as they are: files of the store appear by a rename and are never written to again.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the file at `path`, one that this program made.
    ///
    /// # Errors
    /// There is no such file, or it can't be read.
    pub fn open(path: &Path) -> Result<MappedFile, WriteError> {
        let file = File::open(path).map_err(WriteError::at("read", path))?;
        #[allow(
            unsafe_code,
            reason = "only files that are renamed into place and never changed afterwards are mapped"
        )]
        let map = unsafe { Mmap::map(&file) };
        map.map(MappedFile).map_err(WriteError::at("read", path))
    }

    /// Maps a part of such a file, all of which is brought in at once: to read a large file without copying
    /// it, and without holding more than this part of it.
    ///
    /// # Errors
    /// The part can't be mapped.
    pub fn part(file: &File, offset: u64, length: usize) -> io::Result<MappedFile> {
        let mut options = MmapOptions::new();
        options.offset(offset).len(length).populate();
        #[allow(
            unsafe_code,
            reason = "only files that are renamed into place and never changed afterwards are mapped"
        )]
        let map = unsafe { options.map(file) };
        map.map(MappedFile)
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
