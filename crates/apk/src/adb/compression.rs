use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use flate2::write::DeflateEncoder;

/// How a file is compressed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: `ADB.`.
    None,
    /// Deflate at a level of 0 to 9, where 0 stands for the best and is written `ADBd`.
    Deflate(u8),
    /// zstd at a level of 0 to 22, where 0 stands for 9.
    Zstd(u8),
}

impl Default for Compression {
    /// Deflate, as apk's.
    fn default() -> Compression {
        Compression::Deflate(0)
    }
}

/// The text names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no compression: none, deflate (a level of 0 to 9 may follow: deflate:9) or zstd (0 to 22: zstd:19)"
)]
pub struct InvalidCompression(pub String);

const DEFLATE: u8 = 1;
const ZSTD: u8 = 2;

impl FromStr for Compression {
    type Err = InvalidCompression;

    /// Reads `none`, `deflate`, `deflate:9`, `zstd`, `zstd:19`.
    fn from_str(text: &str) -> Result<Compression, InvalidCompression> {
        let invalid = || InvalidCompression(text.escape_debug().to_string());
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        match (name, level) {
            ("none", None) => Some(Compression::None),
            ("deflate", level) => known(DEFLATE, level.unwrap_or(0)),
            ("zstd", level) => known(ZSTD, level.unwrap_or(0)),
            _ => None,
        }
        .ok_or_else(invalid)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::None => f.write_str("none"),
            Compression::Deflate(0) => f.write_str("deflate"),
            Compression::Deflate(level) => write!(f, "deflate:{level}"),
            Compression::Zstd(0) => f.write_str("zstd"),
            Compression::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

fn known(algorithm: u8, level: u8) -> Option<Compression> {
    match algorithm {
        DEFLATE if level <= 9 => Some(Compression::Deflate(level)),
        ZSTD if level <= 22 => Some(Compression::Zstd(level)),
        _ => None,
    }
}

impl Compression {
    /// What `ADBc` and these two bytes say. The level says nothing to one who reads.
    pub(super) fn from_header(algorithm: u8, level: u8) -> Option<Compression> {
        match algorithm {
            DEFLATE => Some(Compression::Deflate(level)),
            ZSTD => Some(Compression::Zstd(level)),
            0 => Some(Compression::None),
            _ => None,
        }
    }
}

/// Compresses what is written to it; [`Compressor::finish`] ends the stream.
pub struct Compressor<W: Write>(Inner<W>);

enum Inner<W: Write> {
    Plain(W),
    Deflate(DeflateEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Writes to `out` what says how the rest is compressed.
    ///
    /// # Errors
    /// `out` failed.
    pub fn new(mut out: W, compression: Compression) -> io::Result<Compressor<W>> {
        Ok(Compressor(match compression {
            Compression::None => Inner::Plain(out),
            Compression::Deflate(level) => {
                match level {
                    0 => out.write_all(b"ADBd")?,
                    level => out.write_all(&[b'A', b'D', b'B', b'c', DEFLATE, level])?,
                }
                let level = if level == 0 { 9 } else { level.min(9) };
                let level = flate2::Compression::new(level.into());
                Inner::Deflate(DeflateEncoder::new(out, level))
            }
            Compression::Zstd(level) => {
                out.write_all(&[b'A', b'D', b'B', b'c', ZSTD, level])?;
                let level = if level == 0 { 9 } else { level.min(22) };
                Inner::Zstd(zstd::stream::write::Encoder::new(out, level.into())?)
            }
        }))
    }

    /// Ends the stream; gives the writer beneath.
    ///
    /// # Errors
    /// The writer beneath failed.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::Plain(out) => Ok(out),
            Inner::Deflate(encoder) => encoder.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(out) => out.write(bytes),
            Inner::Deflate(encoder) => encoder.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Plain(out) => out.flush(),
            Inner::Deflate(encoder) => encoder.flush(),
            Inner::Zstd(encoder) => encoder.flush(),
        }
    }
}
