use std::cell::Cell;

use super::bytes::{Payload, Slots};
use super::schema::{ObjectSchema, Schema};
use super::{AdbError, BlockKind, Builder, Value, ValueKind, block};

/// Objects within objects; apk's schemas go 7 deep.
const MAXIMUM_DEPTH: u32 = 32;

/// A payload that is read. What it hands out is bounded: values may share data, so a small payload
/// can describe much, and at most 64 times its bytes and 16 MiB more are looked at.
#[derive(Debug)]
pub struct Adb<'a> {
    payload: Payload<'a>,
    left: Cell<u64>,
    allowed: u64,
}

impl std::fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.bytes().len())
    }
}

impl<'a> Adb<'a> {
    /// Takes the bytes of an ADB block.
    ///
    /// # Errors
    /// They are less than a header, too many, or ask for a reader of another version.
    pub fn new(payload: &'a [u8]) -> Result<Adb<'a>, AdbError> {
        let payload = Payload::new(payload)?;
        match payload.bytes().first() {
            Some(0) => {}
            version => return Err(AdbError::Version(version.copied().unwrap_or_default())),
        }
        let allowed = (payload.bytes().len() as u64 * 64 + (16 << 20)).min(1 << 30);
        Ok(Adb {
            payload,
            left: Cell::new(allowed),
            allowed,
        })
    }

    /// The bytes that were taken.
    pub fn payload(&self) -> &'a [u8] {
        self.payload.bytes()
    }

    /// The version of what wrote it: 0 so far. Readers of compatibility 0 read all of them.
    pub fn version(&self) -> u8 {
        self.payload().get(1).copied().unwrap_or_default()
    }

    /// The value at the root.
    pub fn root(&self) -> Value {
        self.payload.root()
    }

    /// The object at the root.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn root_object(&self, schema: &'static Schema) -> Result<Object<'_, 'a>, AdbError> {
        self.object(self.root(), schema.root)
    }

    fn spend(&self, bytes: usize) -> Result<(), AdbError> {
        // What costs nothing can be asked for endlessly too.
        match self.left.get().checked_sub(bytes as u64 + 4) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(AdbError::TooMuch(self.allowed)),
        }
    }

    /// A number; null is 0.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn integer(&self, value: Value) -> Result<u64, AdbError> {
        self.payload.integer(value)
    }

    /// A text or bytes; null is empty.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn blob(&self, value: Value) -> Result<&'a [u8], AdbError> {
        let bytes = self.payload.blob(value)?;
        self.spend(bytes.len())?;
        Ok(bytes)
    }

    /// The slots of an array or object; null has none.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn slots(&self, value: Value) -> Result<Slots<'a>, AdbError> {
        let slots = self.payload.slots(value)?;
        self.spend(slots.len().saturating_mul(4))?;
        Ok(slots)
    }

    /// An object of this schema; null has no fields.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn object(
        &self,
        value: Value,
        schema: &'static ObjectSchema,
    ) -> Result<Object<'_, 'a>, AdbError> {
        Ok(Object {
            adb: self,
            schema,
            slots: self.slots(value)?,
        })
    }

    /// The payload that a blob holds as an ADB block; null holds none.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn nested(&self, value: Value) -> Result<Option<Adb<'a>>, AdbError> {
        let bytes = self.blob(value)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let (kind, payload, _) = block::split(bytes)?;
        if kind != BlockKind::Adb {
            return Err(AdbError::NoPayload);
        }
        Adb::new(payload).map(Some)
    }

    /// Copies a value, and all it refers to, into another payload: what comes first in the source's
    /// own order of fields is written first.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn copy(&self, value: Value, to: &mut Builder) -> Result<Value, AdbError> {
        self.copy_within(value, to, MAXIMUM_DEPTH)
    }

    fn copy_within(&self, value: Value, to: &mut Builder, depth: u32) -> Result<Value, AdbError> {
        match value.kind() {
            ValueKind::Special | ValueKind::Integer => Ok(value),
            ValueKind::Integer32 | ValueKind::Integer64 => {
                Ok(to.integer_of_kind(value.kind(), self.integer(value)?))
            }
            ValueKind::Blob8 | ValueKind::Blob16 | ValueKind::Blob32 => {
                Ok(to.blob_of_kind(value.kind(), self.blob(value)?))
            }
            kind @ (ValueKind::Array | ValueKind::Object) => {
                let depth = depth.checked_sub(1).ok_or(AdbError::Deep(MAXIMUM_DEPTH))?;
                let slots = self.slots(value)?;
                let mut copied = Vec::new();
                for slot in slots.iter() {
                    copied.push(self.copy_within(slot, to, depth)?);
                }
                Ok(to.slots_of_kind(kind, &copied))
            }
            ValueKind::Unknown => Err(AdbError::WrongKind {
                wanted: "a known kind of value",
                found: value,
            }),
        }
    }
}

/// An object whose fields are asked for by number; what is absent is empty or 0.
#[derive(Clone, Copy, Debug)]
pub struct Object<'r, 'a> {
    adb: &'r Adb<'a>,
    schema: &'static ObjectSchema,
    slots: Slots<'a>,
}

impl<'r, 'a> Object<'r, 'a> {
    /// Its schema.
    pub fn schema(&self) -> &'static ObjectSchema {
        self.schema
    }

    /// The value of a field.
    pub fn value(&self, field: usize) -> Value {
        self.slots.get(field)
    }

    /// Its slots.
    pub fn slots(&self) -> Slots<'a> {
        self.slots
    }

    fn name(&self, field: usize) -> &'static str {
        self.schema
            .field(field)
            .map_or("a field that is not known", |field| field.name)
    }

    /// A number.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn integer(&self, field: usize) -> Result<u64, AdbError> {
        self.adb.integer(self.value(field))
    }

    /// Bytes.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn blob(&self, field: usize) -> Result<&'a [u8], AdbError> {
        self.adb.blob(self.value(field))
    }

    /// A text of one line, without control characters.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn text(&self, field: usize) -> Result<&'a str, AdbError> {
        text(self.name(field), self.blob(field)?)
    }

    /// The items of an array of texts.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn texts(&self, field: usize) -> Result<Vec<&'a str>, AdbError> {
        self.items(field)?
            .iter()
            .map(|item| text(self.name(field), self.adb.blob(item)?))
            .collect()
    }

    /// The items of an array of blobs.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn blobs(&self, field: usize) -> Result<Vec<&'a [u8]>, AdbError> {
        let items = self.items(field)?;
        items.iter().map(|item| self.adb.blob(item)).collect()
    }

    /// The items of an array.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn items(&self, field: usize) -> Result<Slots<'a>, AdbError> {
        self.adb.slots(self.value(field))
    }

    /// An object.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn object(
        &self,
        field: usize,
        schema: &'static ObjectSchema,
    ) -> Result<Object<'r, 'a>, AdbError> {
        self.adb.object(self.value(field), schema)
    }

    /// The objects of an array.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn objects(
        &self,
        field: usize,
        schema: &'static ObjectSchema,
    ) -> Result<impl Iterator<Item = Result<Object<'r, 'a>, AdbError>> + use<'r, 'a>, AdbError>
    {
        let adb = self.adb;
        Ok(self
            .items(field)?
            .iter()
            .map(move |item| adb.object(item, schema)))
    }

    /// The error that a field of this object is missing.
    pub fn missing(&self, field: usize) -> AdbError {
        AdbError::Missing {
            object: self.schema.name,
            field: self.name(field),
        }
    }

    /// The error that a field of this object makes no sense.
    pub fn wrong(&self, field: usize, reason: impl Into<String>) -> AdbError {
        AdbError::Field {
            field: self.name(field),
            reason: reason.into(),
        }
    }
}

fn text<'a>(field: &'static str, bytes: &'a [u8]) -> Result<&'a str, AdbError> {
    let text = std::str::from_utf8(bytes).map_err(|_| AdbError::NotUtf8 { field })?;
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(AdbError::Control {
            field,
            value: text.escape_debug().to_string(),
        });
    }
    Ok(text)
}
