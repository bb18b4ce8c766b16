use std::io;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What an archive may cost the one who reads it. One value goes through decompression, the tar
/// reader and unpacking; each checks what it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that decompression may yield, and that an archive's files may hold together.
    pub bytes: u64,
    /// Entries of an archive.
    pub entries: u64,
    /// Bytes of metadata (a PAX header, a GNU long name, a gzip header) before an entry.
    pub metadata: u64,
    /// Decompressed bytes per compressed byte, looked at once more than 64 MiB came out. Real archives
    /// stay far below 100; a bomb of zeros comes near deflate's greatest, 1032.
    pub ratio: u64,
    /// Bytes of memory that a decompressor may ask for (an xz or zstd window).
    pub memory: u64,
}

impl Default for Limits {
    /// 16 GiB in 4 million entries, 1 MiB of metadata each: larger than any package or source known.
    fn default() -> Limits {
        Limits {
            bytes: 16 * GIB,
            entries: 4_000_000,
            metadata: MIB,
            ratio: 500,
            memory: 256 * MIB,
        }
    }
}

impl Limits {
    /// For the signature and control members of a package, and for indexes' small entries: 16 MiB in
    /// 1,024 entries.
    pub fn control() -> Limits {
        Limits {
            bytes: 16 * MIB,
            entries: 1_024,
            metadata: 64 * KIB,
            ..Limits::default()
        }
    }
}

/// More came out of an archive than [`Limits`] allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// Too many bytes.
    #[error(
        "it unpacks to more than {0} bytes; raise the limit if the archive is meant to be that large"
    )]
    Bytes(u64),
    /// Too many entries.
    #[error(
        "it has more than {0} entries; raise the limit if the archive is meant to have that many"
    )]
    Entries(u64),
    /// Too much metadata before one entry.
    #[error(
        "the metadata before an entry is longer than {0} bytes; the archive is damaged or hostile"
    )]
    Metadata(u64),
    /// Too many bytes out of too few.
    #[error(
        "more than {0} bytes come out of each compressed byte; it looks like a decompression bomb"
    )]
    Ratio(u64),
    /// A decompressor's window is too large.
    #[error("its decompression needs more than {0} bytes of memory")]
    Memory(u64),
}

impl From<LimitExceeded> for io::Error {
    fn from(exceeded: LimitExceeded) -> io::Error {
        io::Error::new(io::ErrorKind::FileTooLarge, exceeded)
    }
}

/// Counts what goes into and comes out of a decompressor.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) compressed: u64,
    pub(crate) decompressed: u64,
}

impl Meter {
    const RATIO_FLOOR: u64 = 64 * MIB;

    pub(crate) fn check(&self, limits: &Limits) -> Result<(), LimitExceeded> {
        if self.decompressed > limits.bytes {
            return Err(LimitExceeded::Bytes(limits.bytes));
        }
        if self.decompressed > Self::RATIO_FLOOR
            && self.decompressed / limits.ratio.max(1) > self.compressed
        {
            return Err(LimitExceeded::Ratio(limits.ratio));
        }
        Ok(())
    }
}
