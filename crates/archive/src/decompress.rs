//! Decompression by what a stream is, not by what it is called.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::gzip::Members;
use crate::limits::Meter;
use crate::{LimitExceeded, Limits};

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

impl Format {
    /// The format's name: `gzip`, `xz` …
    pub fn name(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::Gzip => "gzip",
            Format::Bzip2 => "bzip2",
            Format::Xz => "xz",
            Format::Zstd => "zstd",
            Format::Lzma => "lzma",
        }
    }
}

/// A stream cannot be decompressed. It comes inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("cannot decompress the {} stream: {source}; if it is damaged or truncated, fetch it again", format.name())]
pub struct DecompressError {
    /// What the stream is.
    pub format: Format,
    /// What the decompressor says.
    pub source: io::Error,
}

/// Says what a stream is by its first bytes: at least 13 of them, if it has so many.
pub fn sniff(start: &[u8]) -> Format {
    const BZIP2_BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const BZIP2_END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    match start {
        [0x1f, 0x8b, 8, ..] => Format::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]
            if rest.starts_with(BZIP2_BLOCK) || rest.starts_with(BZIP2_END) =>
        {
            Format::Bzip2
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
        // Properties as every encoder writes them, a window of 4 KiB or more, and a length that is
        // unknown or below 1 TiB: what other programs look for.
        &[0x5d, a, b, c, d, e, f, g, h, i, j, k, l, ..]
            if u32::from_le_bytes([a, b, c, d]) >= 4096
                && (u64::from_le_bytes([e, f, g, h, i, j, k, l]) == u64::MAX
                    || u64::from_le_bytes([e, f, g, h, i, j, k, l]) >> 40 == 0) =>
        {
            Format::Lzma
        }
        _ => Format::Plain,
    }
}

/// Decompresses `input`, whatever its format; several streams one after the other are one. `limits`
/// hold for bytes, ratio and memory, and exceeding them is an error of the returned reader, as is a
/// truncated stream.
pub fn open<'a>(
    input: impl Read + Send + 'a,
    limits: Limits,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let compressed = Arc::new(AtomicU64::new(0));
    let mut input = Counted {
        inner: input,
        count: compressed.clone(),
    };
    let mut start = Vec::new();
    input.by_ref().take(64).read_to_end(&mut start)?;
    let format = sniff(&start);
    let memory = xz_window(&start).filter(|_| format == Format::Xz);
    if memory.is_some_and(|window| window > limits.memory) {
        return Err(LimitExceeded::Memory(limits.memory).into());
    }
    let input = BufReader::with_capacity(64 << 10, Cursor::new(start).chain(input));
    let failed = |source| io::Error::other(DecompressError { format, source });
    let inner: Box<dyn Read + Send + 'a> = match format {
        Format::Plain => Box::new(input),
        Format::Gzip => {
            let members = Members::new(input, limits).ignoring_trailing_garbage();
            // It checks the limits itself and knows the exact numbers.
            return Ok(Box::new(Gunzip {
                members,
                inside: false,
            }));
        }
        Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Format::Xz => Box::new(lzma_rust2::XzReader::new(input, true)),
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
            decoder
                .window_log_max(limits.memory.max(1024).ilog2().clamp(10, 31))
                .map_err(failed)?;
            Box::new(decoder)
        }
        Format::Lzma => {
            let kibibytes = u32::try_from(limits.memory >> 10).unwrap_or(u32::MAX);
            let decoder = lzma_rust2::LzmaReader::new_mem_limit(input, kibibytes, None);
            Box::new(decoder.map_err(failed)?)
        }
    };
    Ok(Box::new(Checked {
        inner,
        format,
        limits,
        compressed,
        decompressed: 0,
    }))
}

/// The window that an .xz file's first block asks for (The .xz File Format, 2.1.1, 3.1 and 5.3.1);
/// its later blocks are usually the same.
fn xz_window(start: &[u8]) -> Option<u64> {
    let flags = *start.get(13)?;
    let mut rest = start.get(14..)?;
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            xz_number(&mut rest)?;
        }
    }
    for _ in 0..=flags & 3 {
        let (id, size) = (xz_number(&mut rest)?, xz_number(&mut rest)?);
        if id == 0x21 {
            return Some(match u64::from(*rest.first()?) {
                bits @ 0..40 => (2 | (bits & 1)) << (bits / 2 + 11),
                _ => u64::from(u32::MAX),
            });
        }
        rest = rest.get(usize::try_from(size).ok()?..)?;
    }
    None
}

/// Seven bits a byte, the lowest first.
fn xz_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// All members of a gzip stream as one.
struct Gunzip<R> {
    members: Members<R>,
    inside: bool,
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.inside && !self.members.start()? {
                return Ok(0);
            }
            self.inside = true;
            match self.members.read_member(buffer)? {
                0 => self.inside = false,
                count => return Ok(count),
            }
        }
    }
}

struct Checked<'a> {
    inner: Box<dyn Read + Send + 'a>,
    format: Format,
    limits: Limits,
    compressed: Arc<AtomicU64>,
    decompressed: u64,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|source| {
            if source.kind() == io::ErrorKind::Interrupted || self.format == Format::Plain {
                return source;
            }
            let kind = source.kind();
            let format = self.format;
            io::Error::new(kind, DecompressError { format, source })
        })?;
        self.decompressed += count as u64;
        Meter {
            compressed: self.compressed.load(Ordering::Relaxed),
            decompressed: self.decompressed,
        }
        .check(&self.limits)?;
        Ok(count)
    }
}
