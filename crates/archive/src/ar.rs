//! The ar format as Debian packages use it (deb(5)): `debian-binary`, `control.tar.*`, `data.tar.*`.

use std::io::{self, Read};

/// An ar archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArError {
    /// The stream beneath failed.
    #[error("the ar archive cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads an ar archive member by member.
pub struct Reader<R> {
    #[expect(dead_code)]
    inner: R,
}

impl<R: Read> Reader<R> {
    /// Reads the magic.
    pub fn new(inner: R) -> Result<Reader<R>, ArError> {
        Ok(Reader { inner })
    }

    /// The next member; none at the end. What is left of the one before is skipped.
    #[expect(clippy::should_implement_trait, reason = "a member borrows the reader")]
    pub fn next(&mut self) -> Result<Option<Member<'_, R>>, ArError> {
        unimplemented!()
    }
}

/// One member; reading from it gives its content.
pub struct Member<'a, R> {
    #[expect(dead_code)]
    reader: &'a mut Reader<R>,
}

impl<R: Read> Member<'_, R> {
    /// Its name, such as `control.tar.xz`.
    pub fn name(&self) -> &str {
        unimplemented!()
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        unimplemented!()
    }
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        unimplemented!()
    }
}
