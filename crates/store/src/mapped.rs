use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

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
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
