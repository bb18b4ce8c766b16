use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use super::bytes::{HEADER, Payload};
use super::schema::{ArraySchema, Order};
use super::{AdbError, MAXIMUM_PAYLOAD, Tag, Value, ValueKind, compare};

/// Writes a payload as apk does: values in the order in which they are asked for, equal data once,
/// each aligned to its own width.
///
/// What doesn't fit 2^28 bytes makes [`Builder::finish`] fail; until then it counts as nothing.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    /// Where data of a hash and length begins: the places of those that are the same in both.
    known: BTreeMap<(u64, usize), Vec<u32>>,
    overflowed: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// A payload with nothing but a header.
    pub fn new() -> Builder {
        Builder {
            bytes: vec![0; HEADER],
            known: BTreeMap::new(),
            overflowed: false,
        }
    }

    /// A number.
    pub fn integer(&mut self, number: u64) -> Value {
        if number < 1 << 28 {
            return Value::small(number as u32);
        }
        match u32::try_from(number) {
            Ok(number) => self.shared(ValueKind::Integer32, 4, &[&number.to_le_bytes()]),
            Err(_) => self.shared(ValueKind::Integer64, 4, &[&number.to_le_bytes()]),
        }
    }

    /// A text or bytes; null if there are none.
    pub fn blob(&mut self, bytes: &[u8]) -> Value {
        self.blob_of(&[bytes])
    }

    /// As [`Builder::blob`], the parts joined.
    pub fn blob_of(&mut self, parts: &[&[u8]]) -> Value {
        self.with_length(parts, Builder::shared)
    }

    /// As [`Builder::blob`], but in a place of its own even where equal bytes are known:
    /// [`Builder::overwrite`] may change it.
    pub fn own_blob(&mut self, bytes: &[u8]) -> Value {
        self.with_length(&[bytes], Builder::raw)
    }

    fn with_length(
        &mut self,
        parts: &[&[u8]],
        write: fn(&mut Builder, ValueKind, usize, &[&[u8]]) -> Value,
    ) -> Value {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let (kind, width) = match length {
            0 => return Value::NULL,
            1..=0xff => (ValueKind::Blob8, 1),
            0x100..=0xffff => (ValueKind::Blob16, 2),
            _ => (ValueKind::Blob32, 4),
        };
        let bytes = (length as u64).to_le_bytes();
        let mut all = vec![bytes.get(..width).unwrap_or_default()];
        all.extend_from_slice(parts);
        write(self, kind, width, &all)
    }

    /// An object of these fields, in their order from number 1; null if all are null. Nulls at the
    /// end are not written.
    pub fn object(&mut self, fields: &[Value]) -> Value {
        self.slots(Tag::Object, fields)
    }

    /// An array of these items, nulls left out, in the order that its schema asks for; null if
    /// there are none.
    pub fn array(&mut self, schema: &ArraySchema, tag: Tag, mut items: Vec<Value>) -> Value {
        items.retain(|item| !item.is_null());
        if schema.order != Order::Given {
            let payload = Payload::known(&self.bytes);
            items.sort_by(|a, b| compare::items(payload, schema, *a, *b));
        }
        if schema.order == Order::SortedUnique {
            items.dedup();
        }
        self.slots(tag, &items)
    }

    /// A number of this kind even where a smaller one would hold it.
    pub(super) fn integer_of_kind(&mut self, kind: ValueKind, number: u64) -> Value {
        let bytes = number.to_le_bytes();
        match kind {
            // apk copies numbers of 8 bytes to multiples of 8, though it writes them to those of 4.
            ValueKind::Integer64 => self.shared(kind, 8, &[&bytes]),
            _ => self.shared(kind, 4, &[bytes.get(..4).unwrap_or_default()]),
        }
    }

    /// A blob of this kind even where a smaller one would hold it.
    pub(super) fn blob_of_kind(&mut self, kind: ValueKind, blob: &[u8]) -> Value {
        let width = match kind {
            ValueKind::Blob8 => 1,
            ValueKind::Blob16 => 2,
            _ => 4,
        };
        let bytes = (blob.len() as u64).to_le_bytes();
        self.shared(kind, width, &[bytes.get(..width).unwrap_or_default(), blob])
    }

    /// Slots as they are, nulls at the end too.
    pub(super) fn slots_of_kind(&mut self, kind: ValueKind, slots: &[Value]) -> Value {
        let Ok(count) = u32::try_from(slots.len() + 1) else {
            self.overflowed = true;
            return Value::NULL;
        };
        let mut bytes = count.to_le_bytes().to_vec();
        slots
            .iter()
            .for_each(|slot| bytes.extend(slot.word().to_le_bytes()));
        self.shared(kind, 4, &[&bytes])
    }

    fn slots(&mut self, tag: Tag, slots: &[Value]) -> Value {
        let Some(last) = slots.iter().rposition(|slot| !slot.is_null()) else {
            return Value::NULL;
        };
        self.slots_of_kind(tag.kind(), slots.get(..=last).unwrap_or_default())
    }

    /// A whole payload as a blob: a block of kind ADB, padded.
    pub fn adb(&mut self, payload: &[u8]) -> Value {
        if payload.len() <= HEADER {
            return Value::NULL;
        }
        let block = super::block::header(super::BlockKind::Adb, payload.len() as u64);
        let padding = super::block::padding(block.len() as u64 + payload.len() as u64);
        let padding = &[0; 8][..padding];
        let length = block.len() + payload.len() + padding.len();
        let Ok(length) = u32::try_from(length) else {
            self.overflowed = true;
            return Value::NULL;
        };
        self.raw(
            ValueKind::Blob32,
            4,
            &[&length.to_le_bytes(), &block, payload, padding],
        )
    }

    /// Replaces the bytes of a blob that [`Builder::own_blob`] wrote, by as many. Others stay as
    /// they are: what refers to them may not be known.
    pub fn overwrite(&mut self, blob: Value, bytes: &[u8]) {
        let Some(width) = Payload::blob_width(blob) else {
            return;
        };
        let start = blob.content() as usize + width;
        if let Some(place) = self.bytes.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Makes `value` the root.
    pub fn set_root(&mut self, value: Value) {
        if let Some(place) = self.bytes.get_mut(4..8) {
            place.copy_from_slice(&value.word().to_le_bytes());
        }
    }

    /// The payload as it is now.
    pub fn payload(&self) -> &[u8] {
        &self.bytes
    }

    /// The payload.
    ///
    /// # Errors
    /// [`AdbError::TooLarge`] when something did not fit.
    pub fn finish(self) -> Result<Vec<u8>, AdbError> {
        if self.overflowed {
            Err(AdbError::TooLarge)
        } else {
            Ok(self.bytes)
        }
    }

    /// Data that may be where equal data is already, if that is aligned. If it isn't, the new place
    /// is the one that counts from then on.
    fn shared(&mut self, kind: ValueKind, alignment: usize, parts: &[&[u8]]) -> Value {
        let mut hasher = DefaultHasher::new();
        let mut length = 0;
        for part in parts {
            hasher.write(part);
            length += part.len();
        }
        let key = (hasher.finish(), length);
        let mut found = None;
        for (number, offset) in self.known.get(&key).into_iter().flatten().enumerate() {
            if self.holds(*offset, parts) {
                if (*offset as usize).is_multiple_of(alignment) {
                    return Value::at(kind, *offset);
                }
                found = Some(number);
                break;
            }
        }
        let value = self.raw(kind, alignment, parts);
        if !value.is_null() {
            let places = self.known.entry(key).or_default();
            match found.and_then(|number| places.get_mut(number)) {
                Some(place) => *place = value.content(),
                None => places.push(value.content()),
            }
        }
        value
    }

    fn holds(&self, offset: u32, parts: &[&[u8]]) -> bool {
        let mut rest = self.bytes.get(offset as usize..).unwrap_or_default();
        parts.iter().all(|part| match rest.strip_prefix(*part) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        })
    }

    fn raw(&mut self, kind: ValueKind, alignment: usize, parts: &[&[u8]]) -> Value {
        let start = self.bytes.len().next_multiple_of(alignment);
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if (start + length) as u64 > MAXIMUM_PAYLOAD {
            self.overflowed = true;
            return Value::NULL;
        }
        self.bytes.resize(start, 0);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        Value::at(kind, start as u32)
    }
}
