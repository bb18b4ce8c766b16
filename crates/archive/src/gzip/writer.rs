use std::io::{self, Write};

/// Writes one gzip member: no name, time 0, OS 255 (unknown), so that the bytes depend on the content and the
/// level alone.
pub struct MemberWriter<W: Write> {
    #[expect(dead_code)]
    inner: W,
}

impl<W: Write> MemberWriter<W> {
    /// Starts a member at a zlib level from 0 to 9.
    pub fn new(inner: W, _level: u32) -> MemberWriter<W> {
        MemberWriter { inner }
    }

    /// Ends the member. A writer that is dropped without this leaves a truncated member.
    pub fn finish(self) -> io::Result<W> {
        unimplemented!()
    }
}

impl<W: Write> Write for MemberWriter<W> {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        unimplemented!()
    }

    fn flush(&mut self) -> io::Result<()> {
        unimplemented!()
    }
}

/// `bytes` as one gzip member at the default level.
pub fn compress(_bytes: &[u8]) -> Vec<u8> {
    unimplemented!()
}
