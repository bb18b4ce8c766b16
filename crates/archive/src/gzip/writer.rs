use std::io::{self, Write};

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{DEFAULT_LEVEL, HEADER};

/// Writes one gzip member: no name, time 0, OS 255 (unknown), so that the bytes depend on the content
/// and the level alone.
pub struct MemberWriter<W: Write> {
    inner: W,
    started: bool,
    compress: Compress,
    output: Box<[u8]>,
    crc: crc32fast::Hasher,
    length: u64,
}

impl<W: Write> MemberWriter<W> {
    /// Starts a member at a zlib level from 0 to 9.
    pub fn new(inner: W, level: u32) -> MemberWriter<W> {
        MemberWriter {
            inner,
            started: false,
            compress: Compress::new(Compression::new(level.min(9)), false),
            output: vec![0; 64 << 10].into(),
            crc: crc32fast::Hasher::new(),
            length: 0,
        }
    }

    /// Ends the member. A writer that is dropped without this leaves a truncated member.
    pub fn finish(mut self) -> io::Result<W> {
        self.start()?;
        while self.step(&[], FlushCompress::Finish)?.1 != Status::StreamEnd {}
        let crc = self.crc.finalize();
        self.inner.write_all(&crc.to_le_bytes())?;
        // RFC 1952: the length modulo 2^32.
        self.inner.write_all(&(self.length as u32).to_le_bytes())?;
        Ok(self.inner)
    }

    fn start(&mut self) -> io::Result<()> {
        if !self.started {
            self.inner.write_all(&HEADER)?;
            self.started = true;
        }
        Ok(())
    }

    fn step(&mut self, bytes: &[u8], flush: FlushCompress) -> io::Result<(usize, Status)> {
        let (read, written) = (self.compress.total_in(), self.compress.total_out());
        let status = self.compress.compress(bytes, &mut self.output, flush)?;
        let read = (self.compress.total_in() - read) as usize;
        let written = (self.compress.total_out() - written) as usize;
        self.inner.write_all(&self.output[..written])?;
        Ok((read, status))
    }
}

impl<W: Write> Write for MemberWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.start()?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (read, _) = self.step(rest, FlushCompress::None)?;
            rest = &rest[read..];
        }
        self.crc.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    /// Flushes the stream beneath. What is being compressed stays: its blocks are not cut where
    /// somebody happens to flush.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// `bytes` as one gzip member at the default level.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut writer = MemberWriter::new(Vec::with_capacity(bytes.len() / 2 + 64), DEFAULT_LEVEL);
    // Neither memory nor deflate can fail here; were it otherwise, no reader would take the result.
    writer
        .write_all(bytes)
        .and_then(|()| writer.finish())
        .unwrap_or_default()
}
