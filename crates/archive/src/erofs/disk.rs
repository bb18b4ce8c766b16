//! Numbers and records as they lie on the disk, least significant byte first.

use super::BLOCK;

/// Where the superblock starts.
pub(super) const SUPERBLOCK: u64 = 1024;
/// Its length.
pub(super) const SUPERBLOCK_SIZE: usize = 128;
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// The unit in which inodes are counted.
pub(super) const SLOT: u64 = 32;
pub(super) const COMPACT: u64 = 32;
pub(super) const EXTENDED: u64 = 64;
pub(super) const DIRENT: u64 = 12;

/// `EROFS_FEATURE_COMPAT_SB_CHKSUM` and `EROFS_FEATURE_COMPAT_MTIME`.
pub(super) const CHECKSUM: u32 = 1;
pub(super) const MTIME: u32 = 2;

/// Where a file's bytes are: in blocks, or the last of them after the inode.
pub(super) const PLAIN: u16 = 0;
pub(super) const INLINE: u16 = 2;

pub(super) const TYPE: u16 = 0o170_000;
pub(super) const FIFO: u16 = 0o010_000;
pub(super) const CHARACTER: u16 = 0o020_000;
pub(super) const DIRECTORY: u16 = 0o040_000;
pub(super) const BLOCK_DEVICE: u16 = 0o060_000;
pub(super) const REGULAR: u16 = 0o100_000;
pub(super) const SYMLINK: u16 = 0o120_000;

/// What names of extended attributes begin with, by the number that stands for it.
pub(super) const PREFIXES: [(u8, &str); 5] = [
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (1, "user."),
    (4, "trusted."),
    (6, "security."),
];
/// The header before an inode's extended attributes.
pub(super) const XATTR_HEADER: u64 = 12;

/// How a directory entry tells what it names.
pub(super) fn file_type(mode: u16) -> u8 {
    match mode & TYPE {
        REGULAR => 1,
        DIRECTORY => 2,
        CHARACTER => 3,
        BLOCK_DEVICE => 4,
        FIFO => 5,
        SYMLINK => 7,
        _ => 0,
    }
}

/// Linux's number of a device (`new_encode_dev`).
pub(super) fn device(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20)
        .then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// What [`device`] made a number of.
pub(super) fn device_of(number: u32) -> (u32, u32) {
    let major = (number & 0xf_ff00) >> 8;
    let minor = (number & 0xff) | ((number >> 12) & 0xf_ff00);
    (major, minor)
}

/// CRC-32C without its last inversion, of what follows the first kibibyte of the first block.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    crc
}

/// A number rounded up to whole blocks.
pub(super) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK)
}

/// Writes numbers one after the other.
#[derive(Default)]
pub(super) struct Record(pub(super) Vec<u8>);

impl Record {
    pub(super) fn u8(&mut self, value: u8) -> &mut Record {
        self.0.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Record {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Record {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Record {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn zeros(&mut self, count: usize) -> &mut Record {
        self.0.resize(self.0.len() + count, 0);
        self
    }
}

/// Reads numbers out of a record.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let field = bytes
        .get(at..at + 2)
        .and_then(|field| field.try_into().ok());
    u16::from_le_bytes(field.unwrap_or_default())
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes
        .get(at..at + 4)
        .and_then(|field| field.try_into().ok());
    u32::from_le_bytes(field.unwrap_or_default())
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes
        .get(at..at + 8)
        .and_then(|field| field.try_into().ok());
    u64::from_le_bytes(field.unwrap_or_default())
}
