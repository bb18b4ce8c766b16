//! Decompression by what a stream is, not by what it is called.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::{Decompress, FlushDecompress, Status};

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
    /// RFC 1951, bare. Nothing tells it by its first bytes: who knows it is one says so.
    Deflate,
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
            Format::Deflate => "deflate",
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

/// Decompresses `input`, whatever its format [`sniff`] knows; several streams one after the other are one. `limits`
/// hold for bytes, ratio and memory, and exceeding them is an error of the returned reader, as is a
/// truncated stream.
pub fn open<'a>(
    mut input: impl Read + Send + 'a,
    limits: Limits,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = Vec::new();
    input.by_ref().take(64).read_to_end(&mut start)?;
    let format = sniff(&start);
    let memory = xz_window(&start).filter(|_| format == Format::Xz);
    if memory.is_some_and(|window| window > limits.memory) {
        return Err(LimitExceeded::Memory(limits.memory).into());
    }
    open_as(format, Cursor::new(start).chain(input), limits)
}

/// As [`open`], of a format that is known. The windows of xz streams are not looked at.
pub fn open_as<'a>(
    format: Format,
    input: impl Read + Send + 'a,
    limits: Limits,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let compressed = Arc::new(AtomicU64::new(0));
    let input = Counted {
        inner: input,
        count: compressed.clone(),
    };
    let input = BufReader::with_capacity(64 << 10, input);
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
        Format::Deflate => Box::new(Inflater {
            input,
            inflate: Decompress::new(false),
            done: false,
        }),
    };
    Ok(Box::new(Checked {
        inner,
        format,
        limits,
        compressed,
        decompressed: 0,
    }))
}

/// One deflate stream that must end, and be all there is.
struct Inflater<R> {
    input: R,
    inflate: Decompress,
    done: bool,
}

impl<R: BufRead> Read for Inflater<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.done && !buffer.is_empty() {
            let input = self.input.fill_buf()?;
            let ended = input.is_empty();
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input, buffer, FlushDecompress::None)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let read = (self.inflate.total_in() - read) as usize;
            let written = (self.inflate.total_out() - written) as usize;
            self.input.consume(read);
            if status == Status::StreamEnd {
                self.done = true;
                if !self.input.fill_buf()?.is_empty() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "other bytes follow its end",
                    ));
                }
            } else if ended && written == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// What the format's own program makes of `content`.
    fn compressed(format: Format, content: &[u8]) -> Vec<u8> {
        let arguments: &[&str] = match format {
            Format::Plain => return content.to_vec(),
            Format::Gzip => &["gzip", "-c"],
            Format::Bzip2 => return bzip2_of(content),
            Format::Xz => &["xz", "-c"],
            Format::Zstd => return zstd::encode_all(content, 3).unwrap(),
            Format::Lzma => &["xz", "-c", "--format=lzma"],
            Format::Deflate => return deflated(content),
        };
        let mut child = Command::new(arguments[0])
            .args(&arguments[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let content = content.to_vec();
        let writer = std::thread::spawn(move || input.write_all(&content));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        output.stdout
    }

    fn bzip2_of(content: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(6));
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// What python's zlib makes of it, which knows bare streams.
    fn deflated(content: &[u8]) -> Vec<u8> {
        let script = "import sys, zlib; c = zlib.compressobj(9, zlib.DEFLATED, -15); \
                      sys.stdout.buffer.write(c.compress(sys.stdin.buffer.read()) + c.flush())";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let content = content.to_vec();
        let writer = std::thread::spawn(move || input.write_all(&content));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        output.stdout
    }

    #[test]
    fn bare_deflate_streams_are_whole_or_errors() {
        let inflate = |bytes: &[u8]| -> io::Result<Vec<u8>> {
            let mut content = Vec::new();
            open_as(Format::Deflate, bytes, Limits::default())?.read_to_end(&mut content)?;
            Ok(content)
        };
        for content in [&b""[..], b"content", &b"much of it ".repeat(50_000)] {
            let bytes = compressed(Format::Deflate, content);
            assert!(inflate(&bytes).unwrap() == content);
            for kept in 0..bytes.len() {
                let error = inflate(&bytes[..kept]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{kept}");
            }
            let error = inflate(&[&bytes[..], b"x"].concat())
                .unwrap_err()
                .to_string();
            assert!(error.contains("other bytes follow its end"), "{error}");
        }
        let bomb = compressed(Format::Deflate, &vec![0; 80 << 20]);
        let error = inflate(&bomb).unwrap_err().to_string();
        assert!(error.contains("decompression bomb"), "{error}");
    }

    fn read(bytes: &[u8], limits: Limits) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        open(bytes, limits)?.read_to_end(&mut content)?;
        Ok(content)
    }

    const ALL: [Format; 6] = [
        Format::Plain,
        Format::Gzip,
        Format::Bzip2,
        Format::Xz,
        Format::Zstd,
        Format::Lzma,
    ];

    #[test]
    fn every_format_is_recognised_and_read() {
        for content in [&b""[..], b"content", &b"much of it ".repeat(50_000)] {
            for format in ALL {
                let bytes = compressed(format, content);
                assert_eq!(sniff(&bytes), format);
                assert!(
                    read(&bytes, Limits::default()).unwrap() == content,
                    "{format:?}"
                );
            }
        }
    }

    #[test]
    fn several_streams_are_one() {
        for format in [Format::Gzip, Format::Bzip2, Format::Xz, Format::Zstd] {
            let bytes = [compressed(format, b"one "), compressed(format, b"two")].concat();
            assert_eq!(
                read(&bytes, Limits::default()).unwrap(),
                b"one two",
                "{format:?}"
            );
        }
        let padded = [compressed(Format::Gzip, b"one"), vec![0; 512]].concat();
        assert_eq!(read(&padded, Limits::default()).unwrap(), b"one");
    }

    #[test]
    fn truncated_streams_are_errors() {
        let mut state = 1u32;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(100_000)
        .collect();
        for format in [
            Format::Gzip,
            Format::Bzip2,
            Format::Xz,
            Format::Zstd,
            Format::Lzma,
        ] {
            let bytes = compressed(format, &content);
            for kept in [bytes.len() / 2, bytes.len() - 1] {
                // The end mark of .lzma has bytes that nothing depends on.
                if format == Format::Lzma && kept > bytes.len() / 2 {
                    continue;
                }
                let error = read(&bytes[..kept], Limits::default())
                    .unwrap_err()
                    .to_string();
                assert!(error.contains(format.name()), "{format:?} {kept}: {error}");
            }
        }
    }

    #[test]
    fn limits_hold_for_every_format() {
        let content = vec![0; 80 << 20];
        for format in ALL {
            let bytes = compressed(format, &content);
            let refused = |limits| read(&bytes, limits).unwrap_err().to_string();
            let small = Limits {
                bytes: 1 << 20,
                ..Limits::default()
            };
            assert!(
                refused(small).contains("it unpacks to more than 1048576 bytes"),
                "{format:?}"
            );
            if format == Format::Plain {
                continue;
            }
            let dense = Limits {
                ratio: 50,
                ..Limits::default()
            };
            assert!(
                refused(dense).contains("it looks like a decompression bomb"),
                "{format:?}"
            );
        }
        for format in [Format::Xz, Format::Zstd, Format::Lzma] {
            let bytes = compressed(format, &content);
            let tiny = Limits {
                memory: 64 << 10,
                ..Limits::default()
            };
            assert!(read(&bytes, tiny).is_err(), "{format:?}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(
            noise in proptest::collection::vec(any::<u8>(), 0..300),
            format in 0..ALL.len(),
        ) {
            const STARTS: [&[u8]; 6] = [
                b"",
                &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3],
                b"BZh9\x31\x41\x59\x26\x53\x59",
                b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0\x21\x01\x16\0\0\0\x74\x2f\xe5\xa3",
                b"\x28\xb5\x2f\xfd",
                &[0x5d, 0, 0, 0x10, 0, 255, 255, 255, 255, 255, 255, 255, 255],
            ];
            let limits = Limits { bytes: 1 << 20, memory: 1 << 23, ..Limits::default() };
            let _ = read(&[STARTS[format], &noise].concat(), limits);
        }
    }
}
