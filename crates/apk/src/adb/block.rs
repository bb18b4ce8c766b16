//! Blocks: a word of 2 bits kind and 30 bits size, or for those of 1 GiB and more a header of 16
//! bytes; then the contents, padded to 8 bytes. Sizes include the header and exclude the padding.

use super::AdbError;

/// Blocks begin at multiples of this many bytes.
const ALIGNMENT: u64 = 8;
const SIZE: u32 = 0x3fff_ffff;
/// The kind that says that the real one stands in the size's place.
const EXTENDED: u32 = 3;
/// Bytes of a header, and of an extended one.
const SHORT: u64 = 4;
const LONG: u64 = 16;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockKind {
    /// The payload: one, and first.
    Adb,
    /// A signature over it.
    Signature,
    /// The contents of a file.
    Data,
}

impl BlockKind {
    fn number(self) -> u32 {
        match self {
            BlockKind::Adb => 0,
            BlockKind::Signature => 1,
            BlockKind::Data => 2,
        }
    }

    fn from_number(number: u32) -> Result<BlockKind, AdbError> {
        match number {
            0 => Ok(BlockKind::Adb),
            1 => Ok(BlockKind::Signature),
            2 => Ok(BlockKind::Data),
            other => Err(AdbError::BlockKind(other)),
        }
    }

    /// Its name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            BlockKind::Adb => "ADB",
            BlockKind::Signature => "signature",
            BlockKind::Data => "data",
        }
    }
}

/// The header of a block with `length` bytes of contents.
pub(super) fn header(kind: BlockKind, length: u64) -> Vec<u8> {
    match u32::try_from(length.saturating_add(SHORT)) {
        Ok(size) if size <= SIZE => (kind.number() << 30 | size).to_le_bytes().to_vec(),
        _ => {
            let mut bytes = (EXTENDED << 30 | kind.number()).to_le_bytes().to_vec();
            bytes.extend([0; 4]);
            bytes.extend(length.saturating_add(LONG).to_le_bytes());
            bytes
        }
    }
}

/// Bytes of padding after a block of this size, header included.
pub(super) fn padding(size: u64) -> usize {
    // Less than 8.
    (size.wrapping_neg() % ALIGNMENT) as usize
}

/// A header's length in bytes, by its first word.
pub(super) fn header_length(word: u32) -> usize {
    if word >> 30 == EXTENDED { 16 } else { 4 }
}

/// Reads a header of [`header_length`] bytes: the kind and the bytes of contents.
pub(super) fn read_header(bytes: &[u8]) -> Result<(BlockKind, u64), AdbError> {
    let truncated = || AdbError::Truncated {
        within: "a block's header",
    };
    let word = u32::from_le_bytes(*bytes.first_chunk().ok_or_else(truncated)?);
    let (kind, size, own) = if header_length(word) == 16 {
        let size = bytes.get(8..).and_then(|rest| rest.first_chunk());
        (
            word & SIZE,
            u64::from_le_bytes(*size.ok_or_else(truncated)?),
            LONG,
        )
    } else {
        (word >> 30, u64::from(word & SIZE), SHORT)
    };
    let length = size.checked_sub(own).ok_or(AdbError::BlockSize(size))?;
    Ok((BlockKind::from_number(kind)?, length))
}

/// The first block of bytes in memory: its kind, its contents, and what follows.
pub(super) fn split(bytes: &[u8]) -> Result<(BlockKind, &[u8], &[u8]), AdbError> {
    let truncated = || AdbError::Truncated { within: "a block" };
    let word = u32::from_le_bytes(*bytes.first_chunk().ok_or_else(truncated)?);
    let own = header_length(word);
    let (kind, length) = read_header(bytes)?;
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| own.checked_add(length))
        .ok_or_else(truncated)?;
    let contents = bytes.get(own..end).ok_or_else(truncated)?;
    let rest = end
        .checked_add(padding(end as u64))
        .and_then(|end| bytes.get(end..))
        .ok_or_else(truncated)?;
    Ok((kind, contents, rest))
}
