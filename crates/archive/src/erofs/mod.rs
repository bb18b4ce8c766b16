//! EROFS, Linux's compact read-only filesystem, written and read without compression
//! (Linux, `fs/erofs/erofs_fs.h`; "EROFS Runtime On-disk Format").
//!
//! An image is the superblock, the inodes with their extended attributes and the ends of files, then
//! whole blocks of files. Its bytes are a function of the tree and the time alone.

mod disk;
mod read;
mod stream;
mod write;

#[cfg(test)]
mod tests;

pub use read::{Image, ImageError};
pub use stream::as_tar;
pub use write::{ErofsError, ErofsOptions};

/// The bytes of a block as they are written: the pages of every machine are a multiple of it.
pub const BLOCK: u64 = 4096;

/// Whether a file that starts so, with at least 1028 bytes, is an EROFS image.
pub fn is_image(start: &[u8]) -> bool {
    let magic = start.get(disk::SUPERBLOCK as usize..disk::SUPERBLOCK as usize + 4);
    magic == Some(&disk::MAGIC.to_le_bytes())
}
