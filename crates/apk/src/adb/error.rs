use std::io;

use super::{MAXIMUM_PAYLOAD, Value, schema};

fn schema_name(id: u32) -> String {
    match schema::by_id(id) {
        Some(schema) => format!("that of {}", schema.name),
        None => format!("{id:#010x}, which is not known"),
    }
}

/// What is wrong with an ADB. Says nothing of the file: the errors that carry this do.
#[derive(Debug, thiserror::Error)]
pub enum AdbError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file ends too early.
    #[error("it ends within {within}")]
    Truncated {
        /// What it ends within.
        within: &'static str,
    },
    /// It doesn't begin as an ADB does.
    #[error("it is no file of format 3: it does not begin with `ADB.`, `ADBd` or `ADBc`")]
    NotAdb,
    /// It begins as gzip does.
    #[error(
        "it is compressed with gzip, as packages and indexes of format 2 are, and this takes format 3; `verify` and `manifest` read packages of both, `convndx` makes an index of format 3"
    )]
    Gzip,
    /// It is compressed in a way that is not known.
    #[error("it is compressed by algorithm {0}, which is not known (1 deflate, 2 zstd)")]
    Compression(u8),
    /// What is compressed is not an ADB.
    #[error("what it holds compressed does not begin with `ADB.`")]
    NotAdbWithin,
    /// It is an ADB of something else.
    #[error("its schema is {}, not that of {wanted}", schema_name(*.found))]
    Schema {
        /// What was looked for: `a package`.
        wanted: &'static str,
        /// The number in the file.
        found: u32,
    },
    /// A block claims to be shorter than its own header.
    #[error("a block claims {0} bytes, less than its own header has")]
    BlockSize(u64),
    /// A block of a kind that is not known.
    #[error("a block is of kind {0}, which is not known")]
    BlockKind(u32),
    /// Blocks stand in the wrong order.
    #[error("a {found} block stands where {allowed}")]
    BlockOrder {
        /// What stands there: `signature`.
        found: &'static str,
        /// What may: `only data blocks may follow`.
        allowed: &'static str,
    },
    /// The file is another one than before.
    #[error("it changed while it was read")]
    Changed,
    /// It has no payload.
    #[error("it has no ADB block")]
    NoPayload,
    /// The payload has no header.
    #[error("its ADB block is shorter than a header of 8 bytes")]
    NoHeader,
    /// The payload is larger than offsets can reach.
    #[error("its ADB block is larger than the {MAXIMUM_PAYLOAD} bytes that its offsets can reach")]
    TooLarge,
    /// The payload is of a version that can't be read.
    #[error("its ADB block asks for readers of version {0}; this one knows version 0")]
    Version(u8),
    /// A value refers beyond the payload.
    #[error("a value points outside its payload: {length} bytes at {offset}, of {payload} bytes")]
    Outside {
        /// Where it points.
        offset: u32,
        /// How many bytes it says are there.
        length: u64,
        /// Bytes of the payload.
        payload: u64,
    },
    /// An array or object without its own count.
    #[error("the object at {offset} has a count of 0, which should count itself")]
    NoSlots {
        /// Where it is.
        offset: u32,
    },
    /// A value of another kind than its field has.
    #[error("{found:?} stands where {wanted} should")]
    WrongKind {
        /// What should stand there.
        wanted: &'static str,
        /// What does.
        found: Value,
    },
    /// Objects within objects, too many.
    #[error("its objects are more than {0} deep within each other")]
    Deep(u32),
    /// The values refer to the same data so often that all of it can't be looked at.
    #[error(
        "its values refer to the same data again and again: more than {0} bytes come out of it; it is damaged or hostile"
    )]
    TooMuch(u64),
    /// A text that is none.
    #[error("`{field}` is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A text with characters that would break lines and paths.
    #[error("`{field}` holds a NUL, line end or control character: `{value}`")]
    Control {
        /// The field.
        field: &'static str,
        /// The value, escaped.
        value: String,
    },
    /// A field that everything of its kind has is missing.
    #[error("a {object} has no `{field}`")]
    Missing {
        /// The object.
        object: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field's value makes no sense.
    #[error("`{field}` {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl AdbError {
    /// Of an error while a block is copied: it may be its source's or its target's.
    pub(super) fn from_copy(error: io::Error) -> AdbError {
        if crate::member::is_truncation(&error) {
            AdbError::Truncated { within: "a block" }
        } else {
            AdbError::Io(error)
        }
    }
}
