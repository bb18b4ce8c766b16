//! JSON from strangers: bounded, and refused where an object names a key twice, because two
//! readers may then see two different statements.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Why bytes are not the JSON wanted.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// More bytes than are read.
    #[error("{found} bytes of JSON are more than the {limit} that are read")]
    TooLong {
        /// The bytes given.
        found: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// More values than are read.
    #[error("there are more than {limit} values in the JSON")]
    TooMany {
        /// The values allowed.
        limit: usize,
    },
    /// Not JSON, an object with a key twice, or not the shape wanted.
    #[error(transparent)]
    Invalid(#[from] serde_json::Error),
}

/// Reads one value of at most `limit` bytes and turns it into a `T`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    Ok(T::deserialize(value(bytes, limit)?)?)
}

/// Reads one value of at most `limit` bytes.
pub(crate) fn value(bytes: &[u8], limit: usize) -> Result<Value, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLong {
            found: bytes.len(),
            limit,
        });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    // The depth is limited by serde_json: 128 levels.
    let left = Cell::new(MAXIMUM_VALUES);
    let value = Strict(&left).deserialize(&mut deserializer);
    if left.get() == 0 {
        return Err(JsonError::TooMany {
            limit: MAXIMUM_VALUES,
        });
    }
    let value = value?;
    deserializer.end()?;
    Ok(value)
}

/// Values of a document: a large image's SPDX document has some hundred thousand, and each takes far more
/// memory than it has bytes.
const MAXIMUM_VALUES: usize = 4 << 20;

/// How many values may still come.
#[derive(Clone, Copy)]
struct Strict<'l>(&'l Cell<usize>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.0.get().checked_sub(1) {
            Some(left @ 1..) => self.0.set(left),
            _ => {
                self.0.set(0);
                return Err(D::Error::custom("there are too many values"));
            }
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key `{key}` stands twice"
                )));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_once() {
        assert_eq!(
            value(br#"{"a":[1,{"b":null}],"c":-1.5}"#, 100).unwrap(),
            serde_json::json!({"a": [1, {"b": null}], "c": -1.5})
        );
        let error = value(br#"{"a":[{"b":1,"b":2}]}"#, 100).unwrap_err();
        assert!(error.to_string().contains("`b` stands twice"), "{error}");
        assert!(matches!(value(b"[1]", 2), Err(JsonError::TooLong { .. })));
        assert!(value(b"[1] 2", 100).is_err());
        assert!(value("[".repeat(100_000).as_bytes(), 1 << 20).is_err());
    }
}
