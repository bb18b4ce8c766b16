//! Gzip (RFC 1952), member by member.

mod members;
mod writer;

pub use members::{GzipError, Member, MemberSummary, Members};
pub use writer::{MemberWriter, compress};

/// The level that weighs size and time as zlib does by default.
pub const DEFAULT_LEVEL: u32 = 6;
