//! Gzip (RFC 1952), member by member.

mod members;
mod writer;

pub use members::{GzipError, Member, MemberSummary, Members};
pub use writer::{MemberWriter, compress};

/// The level that weighs size and time as zlib does by default.
pub const DEFAULT_LEVEL: u32 = 6;

/// Deflate, no flags, time 0, no extra flags, unknown system: what every member written here starts
/// with.
pub(crate) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

#[cfg(test)]
mod tests;
