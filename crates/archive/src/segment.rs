//! Deflate segments: runs of raw deflate blocks (RFC 1951) that end on a byte boundary, refer to
//! nothing before them and do not end the stream. Put one after the other they are one stream, so a layer is stitched
//! from its packages' segments without compressing again; the CRC-32s combine.

use std::io::{self, Read, Write};

/// What is known of a segment besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// CRC-32 of the content.
    pub crc32: u32,
    /// Bytes of content.
    pub length: u64,
    /// Bytes of the segment itself.
    pub deflated: u64,
}

/// A segment in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The deflate blocks.
    pub deflate: Vec<u8>,
    /// CRC-32 of the content.
    pub crc32: u32,
    /// Bytes of content.
    pub length: u64,
}

/// Deflates all of `content` into a segment in memory.
pub fn deflate(_content: impl Read, _level: u32) -> io::Result<Segment> {
    unimplemented!()
}

/// Deflates all of `content` into `out`, on all cores; the bytes do not depend on their number.
pub fn deflate_into(_content: impl Read, _level: u32, _out: impl Write) -> io::Result<Summary> {
    unimplemented!()
}

/// Two zero blocks, the end of a tar archive, as a segment. A constant of this program: [`files_of_member`] looks for it.
pub fn end_blocks() -> Segment {
    unimplemented!()
}

/// Writes segments as one gzip member.
pub struct Splicer<W> {
    #[expect(dead_code)]
    out: W,
}

impl<W: Write> Splicer<W> {
    /// Writes the member's header.
    pub fn new(out: W) -> io::Result<Splicer<W>> {
        Ok(Splicer { out })
    }

    /// Appends a segment in memory.
    pub fn append(&mut self, _segment: &Segment) -> io::Result<()> {
        unimplemented!()
    }

    /// Copies a segment's bytes from `deflate`; its number must be what `summary` says.
    pub fn append_from(&mut self, _summary: &Summary, _deflate: impl Read) -> io::Result<()> {
        unimplemented!()
    }

    /// Bytes of content so far.
    pub fn length(&self) -> u64 {
        unimplemented!()
    }

    /// Ends the member.
    pub fn finish(self) -> io::Result<W> {
        unimplemented!()
    }
}

/// Writes `segments` as one gzip member whose content is theirs one after the other.
pub fn splice<'a, W: Write>(
    segments: impl IntoIterator<Item = &'a Segment>,
    out: W,
) -> io::Result<W> {
    let mut splicer = Splicer::new(out)?;
    for segment in segments {
        splicer.append(segment)?;
    }
    splicer.finish()
}
