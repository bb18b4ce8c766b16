use std::io::{self, Read};

use base::{Digest, Sha1};

use crate::{LimitExceeded, Limits};

/// A gzip stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GzipError {
    /// The stream beneath failed.
    #[error("the gzip stream cannot be read: {0}")]
    Io(#[from] io::Error),
    /// More came out than the limits allow.
    #[error("{0}")]
    Limit(#[from] LimitExceeded),
}

/// Where a member lies in its stream and what its compressed bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberSummary {
    /// Offset of the member's first byte in the stream.
    pub offset: u64,
    /// Compressed bytes, header and trailer included.
    pub compressed: u64,
    /// Decompressed bytes.
    pub decompressed: u64,
    /// SHA-1 of the compressed bytes.
    pub sha1: Sha1,
    /// SHA-256 of the compressed bytes.
    pub sha256: Digest,
    /// CRC-32 of the decompressed bytes, as checked against the trailer.
    pub crc32: u32,
}

/// Reads a stream of gzip members one after the other, with exact boundaries.
pub struct Members<R> {
    #[expect(dead_code)]
    inner: R,
}

impl<R: Read> Members<R> {
    /// Reads from the start of a member. `limits` hold for all members together.
    pub fn new(inner: R, _limits: Limits) -> Members<R> {
        Members { inner }
    }

    /// The next member; none at the end of the stream. What is left of the one before is read to its
    /// end first.
    #[expect(clippy::should_implement_trait, reason = "a member borrows the reader")]
    pub fn next(&mut self) -> Result<Option<Member<'_, R>>, GzipError> {
        unimplemented!()
    }
}

/// One member; reading from it gives its decompressed bytes.
pub struct Member<'a, R> {
    #[expect(dead_code)]
    members: &'a mut Members<R>,
}

impl<R: Read> Member<'_, R> {
    /// Offset of the member's first byte in the stream.
    pub fn offset(&self) -> u64 {
        unimplemented!()
    }

    /// Reads what is left of the member, checks its trailer and says what it was.
    pub fn finish(self) -> Result<MemberSummary, GzipError> {
        unimplemented!()
    }
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        unimplemented!()
    }
}
