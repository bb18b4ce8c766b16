//! A payload's bytes, every access checked.

use super::{AdbError, MAXIMUM_PAYLOAD, Value, ValueKind};

/// Bytes of the header that a payload begins with: compatibility, version, two reserved, the root.
pub(super) const HEADER: usize = 8;

/// A payload: at least a header, at most 2^28 bytes.
#[derive(Clone, Copy)]
pub(super) struct Payload<'a>(&'a [u8]);

/// The slots of an array or object, without the first, which is their number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slots<'a>(&'a [u8]);

impl<'a> Slots<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The slot of this number, counted from 1. Those beyond the last are null.
    pub fn get(&self, number: usize) -> Value {
        number
            .checked_sub(1)
            .and_then(|place| word(self.0, place.checked_mul(4)?))
            .map_or(Value::NULL, Value::from_word)
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value> + use<'a> {
        self.0.chunks_exact(4).map(|bytes| {
            // Chunks of 4 bytes have 4 bytes.
            Value::from_word(word(bytes, 0).unwrap_or_default())
        })
    }
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

impl<'a> Payload<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Payload<'a>, AdbError> {
        if bytes.len() < HEADER {
            return Err(AdbError::NoHeader);
        }
        if bytes.len() as u64 > MAXIMUM_PAYLOAD {
            return Err(AdbError::TooLarge);
        }
        Ok(Payload(bytes))
    }

    /// Of bytes that are known to be a payload.
    pub(super) fn known(bytes: &'a [u8]) -> Payload<'a> {
        Payload(bytes)
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    fn part(self, value: Value, skip: usize, length: usize) -> Result<&'a [u8], AdbError> {
        let outside = || AdbError::Outside {
            offset: value.content(),
            length: length as u64,
            payload: self.0.len() as u64,
        };
        let start = (value.content() as usize)
            .checked_add(skip)
            .ok_or_else(outside)?;
        let end = start.checked_add(length).ok_or_else(outside)?;
        self.0.get(start..end).ok_or_else(outside)
    }

    fn number(self, value: Value, width: usize) -> Result<u64, AdbError> {
        let mut bytes = [0; 8];
        let found = self.part(value, 0, width)?;
        bytes
            .iter_mut()
            .zip(found)
            .for_each(|(to, from)| *to = *from);
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn integer(self, value: Value) -> Result<u64, AdbError> {
        match value.kind() {
            ValueKind::Special if value.is_null() => Ok(0),
            ValueKind::Integer => Ok(value.content().into()),
            ValueKind::Integer32 => self.number(value, 4),
            ValueKind::Integer64 => self.number(value, 8),
            _ => Err(AdbError::WrongKind {
                wanted: "a number",
                found: value,
            }),
        }
    }

    /// The bytes of its length and where it is, for those that copy it as it is.
    pub(super) fn blob_width(value: Value) -> Option<usize> {
        match value.kind() {
            ValueKind::Blob8 => Some(1),
            ValueKind::Blob16 => Some(2),
            ValueKind::Blob32 => Some(4),
            _ => None,
        }
    }

    pub(super) fn blob(self, value: Value) -> Result<&'a [u8], AdbError> {
        if value.is_null() {
            return Ok(&[]);
        }
        let width = Payload::blob_width(value).ok_or(AdbError::WrongKind {
            wanted: "text or bytes",
            found: value,
        })?;
        let length = self.number(value, width)?;
        self.part(value, width, usize::try_from(length).unwrap_or(usize::MAX))
    }

    pub(super) fn slots(self, value: Value) -> Result<Slots<'a>, AdbError> {
        match value.kind() {
            ValueKind::Special if value.is_null() => Ok(Slots::default()),
            ValueKind::Array | ValueKind::Object => {
                let count = self.number(value, 4)?;
                if count == 0 {
                    return Err(AdbError::NoSlots {
                        offset: value.content(),
                    });
                }
                let length = usize::try_from(count - 1)
                    .ok()
                    .and_then(|count| count.checked_mul(4))
                    .unwrap_or(usize::MAX);
                Ok(Slots(self.part(value, 4, length)?))
            }
            _ => Err(AdbError::WrongKind {
                wanted: "an object or array",
                found: value,
            }),
        }
    }

    pub(super) fn integer_or_zero(self, value: Value) -> u64 {
        self.integer(value).unwrap_or_default()
    }

    pub(super) fn blob_or_empty(self, value: Value) -> &'a [u8] {
        self.blob(value).unwrap_or_default()
    }

    pub(super) fn slots_or_none(self, value: Value) -> Slots<'a> {
        self.slots(value).unwrap_or_default()
    }

    pub(super) fn root(self) -> Value {
        word(self.0, 4).map_or(Value::NULL, Value::from_word)
    }
}
