//! ADB, the binary form of packages, indexes and installed databases of format 3 (apk-v3(5), and
//! apk 3.0.6 where that says nothing).
//!
//! A file is `ADB.` and a schema number, then blocks: the payload, its signatures, and in a package
//! the contents of its files; all of it plain or compressed. A payload is a header and values that
//! refer to each other by offset. What the values mean is not in the file: [`schema`] has it.
//!
//! Files come from strangers: every offset is checked against the payload, and what a payload can
//! make a reader look at is bounded. See [`Adb`] to read, [`Builder`] to write.

mod block;
mod build;
mod bytes;
mod compare;
pub(crate) mod compose;
mod compression;
mod container;
pub(crate) mod decompose;
mod error;
mod read;
mod resign;
pub mod schema;
mod signature;
mod target;
pub mod text;
mod value;

pub use block::BlockKind;
pub use build::Builder;
pub use bytes::Slots;
pub use compression::{Compression, Compressor, InvalidCompression};
pub use container::{DataBlock, Head, Reader, Writer, decompressed};
pub use error::AdbError;
pub use read::{Adb, Object};
pub use resign::{Resign, ResignError, resign};
pub use signature::{Signature, Signed};
pub use target::Target;
pub use value::{MAXIMUM_PAYLOAD, Tag, Value, ValueKind};
