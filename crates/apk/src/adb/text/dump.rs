use std::io;

use super::scalar;
use crate::adb::schema::{self, ArraySchema, Kind, ObjectSchema, Scalar, Words};
use crate::adb::{Adb, AdbError, BlockKind, Reader, Signature, Value};
use crate::serialize::{Meaning, Serializer};
use crate::signature::Keyring;

/// Objects within objects that are shown.
const MAXIMUM_DEPTH: u32 = 32;

/// A file can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// What the file holds is no good.
    #[error(transparent)]
    Adb(#[from] AdbError),
    /// The text can't be written.
    #[error("the text can't be written: {0}")]
    Write(#[source] io::Error),
}

/// Shows files as text.
#[derive(Debug)]
pub struct Dump<'o, W> {
    out: &'o mut Serializer<W>,
}

/// Errors of what is written to, and of what is read: apart, though both are of the system.
fn writing(error: io::Error) -> DumpError {
    DumpError::Write(error)
}

impl<'o, W: io::Write> Dump<'o, W> {
    /// Shows on `out`.
    pub fn new(out: &'o mut Serializer<W>) -> Dump<'o, W> {
        Dump { out }
    }

    /// Shows a file: its payload, then what stands behind it, as remarks. Of signatures that says
    /// whether a trusted key made them.
    ///
    /// # Errors
    /// See [`DumpError`].
    pub fn file(&mut self, file: &mut Reader<'_>, trusted: &Keyring) -> Result<(), DumpError> {
        let number = file.schema();
        let mut head = file.head()?;
        self.payload(&head.payload, number)?;
        for signature in std::mem::take(&mut head.signatures) {
            // Each is asked alone whether it would do.
            head.signatures = vec![signature];
            let holds = trusted.verify_adb(&head, number).is_ok();
            for signature in &head.signatures {
                let remark = signature_remark(signature, holds);
                self.out.comment(&remark).map_err(writing)?;
            }
        }
        while let Some((kind, length)) = file.next_block()? {
            if kind == BlockKind::Data {
                let remark = format!("data block, size: {length}");
                self.out.comment(&remark).map_err(writing)?;
            }
        }
        Ok(())
    }

    /// Shows a payload of a file with this schema number; of one that is not known, its size.
    ///
    /// # Errors
    /// See [`DumpError`].
    pub fn payload(&mut self, payload: &[u8], number: u32) -> Result<(), DumpError> {
        self.payload_within(payload, number, MAXIMUM_DEPTH)
    }

    fn payload_within(&mut self, payload: &[u8], number: u32, depth: u32) -> Result<(), DumpError> {
        let adb = Adb::new(payload)?;
        self.out.start_schema(number).map_err(writing)?;
        self.out
            .comment(&format!(
                "ADB block, size: {}, compat: 0, ver: {}",
                payload.len(),
                adb.version()
            ))
            .map_err(writing)?;
        if let Some(schema) = schema::by_id(number) {
            self.fields(&adb, schema.root, adb.root(), depth)?;
        }
        self.out.end().map_err(writing)
    }

    fn fields(
        &mut self,
        adb: &Adb<'_>,
        schema: &'static ObjectSchema,
        value: Value,
        depth: u32,
    ) -> Result<(), DumpError> {
        let object = adb.object(value, schema)?;
        for (place, field) in schema.fields.iter().enumerate() {
            let value = object.value(place + 1);
            if !value.is_null() {
                self.out.key(field.name).map_err(writing)?;
                self.item(adb, field.kind, value, depth)?;
            }
        }
        Ok(())
    }

    fn item(
        &mut self,
        adb: &Adb<'_>,
        kind: Kind,
        value: Value,
        depth: u32,
    ) -> Result<(), DumpError> {
        let depth = depth.checked_sub(1).ok_or(AdbError::Deep(MAXIMUM_DEPTH))?;
        match kind {
            Kind::Scalar(scalar) => self.scalar(adb, scalar, value),
            Kind::Array(array) => self.array(adb, array, value, depth),
            Kind::Object(object) if object.words == Some(Words::Dependencies) => {
                let text = scalar::dependency(&adb.object(value, object)?)?;
                self.out.text(&text, false).map_err(writing)
            }
            Kind::Object(object) => {
                self.out.start_object().map_err(writing)?;
                self.fields(adb, object, value, depth)?;
                self.out.end().map_err(writing)
            }
            Kind::Adb(schema) => match adb.nested(value)? {
                Some(nested) => self.payload_within(nested.payload(), schema.id, depth),
                None => Ok(()),
            },
        }
    }

    fn array(
        &mut self,
        adb: &Adb<'_>,
        array: &'static ArraySchema,
        value: Value,
        depth: u32,
    ) -> Result<(), DumpError> {
        let items = adb.slots(value)?;
        self.out.start_array(Some(items.len())).map_err(writing)?;
        for item in items.iter().filter(|item| !item.is_null()) {
            self.item(adb, array.item, item, depth)?;
        }
        self.out.end().map_err(writing)
    }

    fn scalar(&mut self, adb: &Adb<'_>, scalar: Scalar, value: Value) -> Result<(), DumpError> {
        let meaning = match scalar {
            Scalar::Integer => Meaning::Plain,
            Scalar::Time => Meaning::Time,
            Scalar::Octal => Meaning::Octal,
            Scalar::Size => Meaning::Size,
            Scalar::Text | Scalar::Lines | Scalar::Name | Scalar::Version => {
                let text = adb.blob(value)?;
                let lines = scalar == Scalar::Lines;
                return self.out.text(text, lines).map_err(writing);
            }
            Scalar::Hex => {
                let text = scalar::hex(adb.blob(value)?);
                return self.out.text(text.as_bytes(), false).map_err(writing);
            }
            Scalar::Attribute => {
                let text = scalar::attribute(adb.blob(value)?);
                return self.out.text(&text, false).map_err(writing);
            }
        };
        self.out
            .number(adb.integer(value)?, meaning)
            .map_err(writing)
    }
}

/// apk's remark: version, hash, the beginning of the key's name and the signature, and whether it
/// holds.
fn signature_remark(signature: &Signature, holds: bool) -> String {
    // What fits the buffer that apk has, 40 characters of which it keeps for the rest.
    const SHOWN: usize = 54;
    let block = signature.to_block();
    let bytes = block.get(2..).unwrap_or_default();
    let shown = hex::encode(bytes.get(..SHOWN).unwrap_or(bytes));
    let more = if bytes.len() >= SHOWN { ".." } else { "" };
    let verdict = if holds { "OK" } else { "UNTRUSTED signature" };
    format!("sig v00 h{:02x} {shown}{more}: {verdict}", signature.hash)
}
