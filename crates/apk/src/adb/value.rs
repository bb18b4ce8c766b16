use std::fmt;

/// The bits that say what a value is.
const TYPE: u32 = 0xf000_0000;
/// The bits that hold a number, or the offset of what the value refers to.
const CONTENT: u32 = 0x0fff_ffff;

/// Bytes that a payload may have: what 28 bits can refer to.
pub const MAXIMUM_PAYLOAD: u64 = CONTENT as u64 + 1;

/// A value of an ADB: 4 bits of type over 28 bits, which hold a small number or the offset in the
/// payload at which the rest lies.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u32);

/// What a [`Value`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Nothing, true, false, and numbers without meaning.
    Special,
    /// A number below 2^28, in the value itself.
    Integer,
    /// The offset of a number in 4 bytes.
    Integer32,
    /// The offset of a number in 8 bytes.
    Integer64,
    /// The offset of bytes after their length in 1 byte.
    Blob8,
    /// The offset of bytes after their length in 2 bytes.
    Blob16,
    /// The offset of bytes after their length in 4 bytes.
    Blob32,
    /// The offset of slots, the first of which is their number, itself included.
    Array,
    /// As an array: apk writes one for the other, and reads both alike.
    Object,
    /// Six types are not assigned.
    Unknown,
}

/// Which of the two types a list of slots gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The type of arrays. apk writes it for extended attributes, and for the dependencies that
    /// `mkndx` takes out of packages of format 2.
    Array,
    /// The type of objects. apk writes it for all other arrays too.
    Object,
}

impl Value {
    /// Nothing: an absent field, an empty text, an empty array.
    pub const NULL: Value = Value(0);

    /// The value that stands as `word` in a file.
    pub fn from_word(word: u32) -> Value {
        Value(word)
    }

    /// The value as it stands in a file.
    pub fn word(self) -> u32 {
        self.0
    }

    /// Whether it is [`Value::NULL`].
    pub fn is_null(self) -> bool {
        self == Value::NULL
    }

    /// What it is.
    pub fn kind(self) -> ValueKind {
        match self.0 & TYPE {
            0x0000_0000 => ValueKind::Special,
            0x1000_0000 => ValueKind::Integer,
            0x2000_0000 => ValueKind::Integer32,
            0x3000_0000 => ValueKind::Integer64,
            0x8000_0000 => ValueKind::Blob8,
            0x9000_0000 => ValueKind::Blob16,
            0xa000_0000 => ValueKind::Blob32,
            0xd000_0000 => ValueKind::Array,
            0xe000_0000 => ValueKind::Object,
            _ => ValueKind::Unknown,
        }
    }

    /// The lower 28 bits: a number or an offset.
    pub fn content(self) -> u32 {
        self.0 & CONTENT
    }

    /// A number below 2^28; greater ones lose their upper bits.
    pub(super) fn small(number: u32) -> Value {
        Value(0x1000_0000 | (number & CONTENT))
    }

    pub(super) fn at(kind: ValueKind, offset: u32) -> Value {
        let bits = match kind {
            ValueKind::Special => 0,
            ValueKind::Integer => 0x1000_0000,
            ValueKind::Integer32 => 0x2000_0000,
            ValueKind::Integer64 => 0x3000_0000,
            ValueKind::Blob8 => 0x8000_0000,
            ValueKind::Blob16 => 0x9000_0000,
            ValueKind::Blob32 => 0xa000_0000,
            ValueKind::Array => 0xd000_0000,
            ValueKind::Object => 0xe000_0000,
            ValueKind::Unknown => 0xf000_0000,
        };
        Value(bits | (offset & CONTENT))
    }
}

impl Tag {
    pub(super) fn kind(self) -> ValueKind {
        match self {
            Tag::Array => ValueKind::Array,
            Tag::Object => ValueKind::Object,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:#x})", self.kind(), self.content())
    }
}
