//! Single values as text.

use super::MAXIMUM_HEX;
use crate::adb::schema::dependency;
use crate::adb::{AdbError, Object};

/// Bytes in hex, or how many they are.
pub(super) fn hex(bytes: &[u8]) -> String {
    match hex_within(bytes, MAXIMUM_HEX) {
        Some(text) => text,
        None => format!("({} bytes)", bytes.len()),
    }
}

fn hex_within(bytes: &[u8], length: usize) -> Option<String> {
    (bytes.len() * 2 <= length).then(|| hex::encode(bytes))
}

/// An extended attribute: its name, `=` and its value in hex, or how many bytes that has.
pub(super) fn attribute(bytes: &[u8]) -> Vec<u8> {
    let Some(end) = bytes.iter().position(|byte| *byte == 0) else {
        return Vec::new();
    };
    let (name, value) = bytes.split_at(end);
    let value = value.get(1..).unwrap_or_default();
    let mut text = name.to_vec();
    text.push(b'=');
    match hex_within(value, MAXIMUM_HEX.saturating_sub(text.len())) {
        Some(value) => text.extend(value.bytes()),
        None => text.extend(format!("({} bytes)", value.len()).bytes()),
    }
    text
}

/// A dependency as a world file has it.
pub(super) fn dependency(object: &Object<'_, '_>) -> Result<Vec<u8>, AdbError> {
    let name = object.blob(dependency::NAME)?;
    let version = object.blob(dependency::VERSION)?;
    let matched = match object.integer(dependency::MATCH)? {
        0 => 1,
        matched => matched,
    };
    let mut text = Vec::new();
    if name.is_empty() {
        return Ok(text);
    }
    if matched & 16 != 0 {
        text.push(b'!');
    }
    text.extend_from_slice(name);
    if !version.is_empty() {
        let operator = match matched & !16 {
            1 => "=",
            2 => "<",
            3 => "<=",
            4 => ">",
            5 => ">=",
            6 => "><",
            7 => "",
            8 | 9 => "~",
            11 => "<~",
            13 => ">~",
            _ => "?",
        };
        text.extend(operator.bytes());
        text.extend_from_slice(version);
    }
    Ok(text)
}
