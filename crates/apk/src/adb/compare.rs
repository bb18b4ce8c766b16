//! The order of arrays: by all fields of their items, one after the other, absent ones first.

use std::cmp::Ordering;

use super::Value;
use super::bytes::Payload;
use super::schema::{ArraySchema, Kind, ObjectSchema, Scalar};
use crate::version;

/// Compares two items of an array.
pub(super) fn items(payload: Payload<'_>, array: &ArraySchema, a: Value, b: Value) -> Ordering {
    compare(payload, array.item, a, b)
}

fn compare(payload: Payload<'_>, kind: Kind, a: Value, b: Value) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    match kind {
        Kind::Scalar(scalar) if scalar.is_number() => {
            payload.integer_or_zero(a).cmp(&payload.integer_or_zero(b))
        }
        Kind::Scalar(Scalar::Version) => {
            let (a, b) = (payload.blob_or_empty(a), payload.blob_or_empty(b));
            version::compare(&String::from_utf8_lossy(a), &String::from_utf8_lossy(b))
        }
        Kind::Scalar(_) => payload.blob_or_empty(a).cmp(payload.blob_or_empty(b)),
        Kind::Object(schema) => objects(payload, schema, a, b),
        Kind::Array(schema) => {
            let (a, b) = (payload.slots_or_none(a), payload.slots_or_none(b));
            (1..=a.len().max(b.len()))
                .map(|number| compare(payload, schema.item, a.get(number), b.get(number)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        }
        Kind::Adb(_) => Ordering::Equal,
    }
}

fn objects(payload: Payload<'_>, schema: &ObjectSchema, a: Value, b: Value) -> Ordering {
    let (a, b) = (payload.slots_or_none(a), payload.slots_or_none(b));
    schema
        .fields
        .iter()
        .enumerate()
        .map(|(place, field)| compare(payload, field.kind, a.get(place + 1), b.get(place + 1)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}
