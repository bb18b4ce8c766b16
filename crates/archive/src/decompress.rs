//! Decompression by what a stream is, not by what it is called.

use std::io::{self, Read};

use crate::Limits;

/// A compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// None of those below.
    Plain,
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The .xz file format.
    Xz,
    /// RFC 8878.
    Zstd,
    /// The .lzma file format that precedes .xz.
    Lzma,
}

/// Says what a stream is by its first bytes (at least 13 of them, if it has so many).
pub fn sniff(_start: &[u8]) -> Format {
    unimplemented!()
}

/// Decompresses `input`, whatever its format; several streams one after the other are one. `limits` hold for
/// bytes, ratio and memory, and exceeding them is an error of the returned reader.
pub fn open<'a>(
    _input: impl Read + Send + 'a,
    _limits: Limits,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    unimplemented!()
}
