//! Pax records: `LENGTH KEY=VALUE\n`.

use std::collections::BTreeMap;

use base::Sha1;
use base64::Engine as _;

/// What is wrong with an extended header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
    /// A record's length is no number or does not fit.
    #[error("a record's length is wrong")]
    Length,
    /// A record is not of the form `KEY=VALUE` with a newline behind it.
    #[error("a record is not `KEY=VALUE`")]
    Form,
    /// A value cannot be what its key says.
    #[error("the value of `{0}` is wrong")]
    Value(String),
    /// A key that makes no sense for a whole archive.
    #[error("`{0}` stands in a global header, where it would give every entry the same")]
    Global(String),
}

/// The records of one header by key.
#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

const XATTR: &[u8] = b"SCHILY.xattr.";

impl Records {
    pub(super) fn merge_global(&mut self, other: Records) -> Result<(), InvalidRecord> {
        for (key, value) in other.0 {
            if matches!(&key[..], b"path" | b"linkpath" | b"size") {
                let key = String::from_utf8_lossy(&key).into_owned();
                return Err(InvalidRecord::Global(key));
            }
            self.0.insert(key, value);
        }
        Ok(())
    }

    pub(super) fn size(&self) -> usize {
        self.0
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum()
    }

    pub(super) fn has_sparse(&self) -> bool {
        self.0.keys().any(|key| key.starts_with(b"GNU.sparse."))
    }
}

pub(super) fn parse(mut data: &[u8]) -> Result<Records, InvalidRecord> {
    let mut records = BTreeMap::new();
    while !data.is_empty() {
        let space = data
            .iter()
            .take(20)
            .position(|byte| *byte == b' ')
            .ok_or(InvalidRecord::Length)?;
        let length = decimal(&data[..space])
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| (space + 2..=data.len()).contains(length))
            .ok_or(InvalidRecord::Length)?;
        let (record, rest) = data.split_at(length);
        data = rest;
        let record = record[space + 1..]
            .strip_suffix(b"\n")
            .ok_or(InvalidRecord::Form)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .filter(|equals| *equals > 0)
            .ok_or(InvalidRecord::Form)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if matches!(key, b"path" | b"linkpath" | b"uname" | b"gname") && value.contains(&0) {
            let key = String::from_utf8_lossy(key).into_owned();
            return Err(InvalidRecord::Value(key));
        }
        records.insert(key.to_vec(), value.to_vec());
    }
    Ok(Records(records))
}

/// The value that holds for an entry: its own, else the global one. An empty value takes the global
/// one back.
pub(super) fn find<'a>(own: &'a Records, global: &'a Records, key: &str) -> Option<&'a [u8]> {
    let key = key.as_bytes();
    let value = own.0.get(key).or_else(|| global.0.get(key))?;
    (!value.is_empty()).then_some(value)
}

/// Digits only, at most 2^63-1.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

/// A time's whole seconds; times before 1970 become 1970.
pub(super) fn seconds(text: &[u8]) -> Option<u64> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next()?)?;
    if let Some(fraction) = parts.next()
        && !fraction.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    Some(if negative { 0 } else { whole })
}

pub(super) fn xattrs(
    own: &Records,
    global: &Records,
) -> Result<BTreeMap<String, Vec<u8>>, InvalidRecord> {
    let mut found = BTreeMap::new();
    for (key, value) in global.0.iter().chain(&own.0) {
        let Some(name) = key.strip_prefix(XATTR) else {
            continue;
        };
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty() && !name.contains('\0'))
            .ok_or_else(|| InvalidRecord::Value("SCHILY.xattr".to_owned()))?;
        found.insert(name.to_owned(), value.clone());
    }
    Ok(found)
}

/// apk's checksum: 40 hex digits, or `Q1` and base64 as old programs wrote it.
pub(super) fn checksum(own: &Records) -> Result<Option<Sha1>, InvalidRecord> {
    const KEY: &str = "APK-TOOLS.checksum.SHA1";
    let Some(value) = own.0.get(KEY.as_bytes()) else {
        return Ok(None);
    };
    let bytes = match value.strip_prefix(b"Q1") {
        Some(text) => base64::engine::general_purpose::STANDARD.decode(text).ok(),
        None => hex::decode(value).ok(),
    };
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(|bytes| Some(Sha1::from_bytes(bytes)))
        .ok_or_else(|| InvalidRecord::Value(KEY.to_owned()))
}
