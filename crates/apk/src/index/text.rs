use std::fmt::Write as _;

use super::{Index, IndexEntry};
use crate::dependency::Identity;
use crate::package::{Defect, PackageInfo, TermList};

/// A line of an index or an installed database can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TextError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// A record's standard fields, as they are read.
#[derive(Default)]
pub(crate) struct Record {
    identity: Option<Identity>,
    size: u64,
    info: PackageInfo,
}

impl Record {
    /// Takes the field `letter`; false when the field is not one that indexes have.
    pub(crate) fn set(&mut self, letter: char, value: &str) -> Result<bool, String> {
        let info = &mut self.info;
        let text = || value.to_owned();
        match letter {
            'C' => self.identity = Some(value.parse().map_err(|error| format!("{error}"))?),
            'P' => info.name = text(),
            'V' => info.version = text(),
            'A' => info.arch = text(),
            'S' => self.size = number(letter, value)?,
            'I' => info.installed_size = number(letter, value)?,
            'T' => info.description = text(),
            'U' => info.url = text(),
            'L' => {
                info.licenses = (!value.is_empty()).then(text).into_iter().collect();
            }
            'o' => info.origin = text(),
            'm' => info.maintainer = text(),
            't' => info.build_time = Some(number(letter, value)?),
            'c' => info.commit = text(),
            'k' => info.provider_priority = Some(number(letter, value)?),
            'q' => info.replaces_priority = Some(number(letter, value)?),
            'D' | 'p' | 'r' => info.add_terms(letter.encode_utf8(&mut [0; 4]), value),
            // apko writes `i:[a b]` in installed databases.
            'i' => info.add_terms(
                "i",
                value
                    .strip_prefix('[')
                    .and_then(|value| value.strip_suffix(']'))
                    .unwrap_or(value),
            ),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A field that this program doesn't know: upper-case ones change what a package means.
    pub(crate) fn unknown(&mut self, letter: char) {
        if !letter.is_ascii_lowercase() {
            self.info.defects.push(Defect {
                field: letter.to_string(),
                reason: format!("the field `{letter}:` is not known to this version of polpo"),
                fatal: true,
            });
        }
    }

    pub(crate) fn finish(self) -> Result<IndexEntry, String> {
        for (letter, value) in [('P', &self.info.name), ('V', &self.info.version)] {
            if value.is_empty() {
                return Err(format!("the record that ends here has no `{letter}:`"));
            }
        }
        Ok(IndexEntry {
            identity: self
                .identity
                .ok_or_else(|| "the record that ends here has no `C:`".to_owned())?,
            size: self.size,
            info: self.info,
        })
    }
}

fn number(letter: char, value: &str) -> Result<u64, String> {
    value
        .parse()
        .map_err(|_| format!("`{letter}:` is `{}`, not a number", value.escape_debug()))
}

/// Splits `X:value`.
pub(crate) fn field(line: &str) -> Result<(char, &str), String> {
    let mut characters = line.chars();
    match (characters.next(), characters.next()) {
        (Some(letter), Some(':')) if letter.is_ascii_graphic() => Ok((letter, characters.as_str())),
        _ => Err("it is no field: expected a letter, a colon and a value".to_owned()),
    }
}

impl Index {
    /// Reads the text of an `APKINDEX`: records of `letter:value` lines, each ended by a blank
    /// line. Lower-case fields that are not known are passed over; others make the package
    /// uninstallable, as do terms of `D:` that follow no grammar ([`PackageInfo::defects`]).
    ///
    /// # Errors
    /// A line is no field, a number none, or a record lacks `C:`, `P:` or `V:`.
    pub fn parse(text: &str) -> Result<Vec<IndexEntry>, TextError> {
        let mut entries = Vec::new();
        let mut record: Option<Record> = None;
        let mut last = 0;
        for (line, content) in text.split('\n').enumerate() {
            last = line + 1;
            let at = |reason| TextError {
                line: line + 1,
                reason,
            };
            if content.len() < 2 {
                if let Some(record) = record.take() {
                    entries.push(record.finish().map_err(at)?);
                }
                continue;
            }
            let record = record.get_or_insert_default();
            let (letter, value) = field(content).map_err(at)?;
            if !record.set(letter, value).map_err(at)? {
                // What only installed databases have says nothing here.
                if !matches!(letter, 'F' | 'M' | 'R' | 'Z' | 'a' | 's' | 'f' | 'g') {
                    record.unknown(letter);
                }
            }
        }
        if let Some(record) = record {
            // The last record's blank line may be missing.
            entries.push(
                record
                    .finish()
                    .map_err(|reason| TextError { line: last, reason })?,
            );
        }
        Ok(entries)
    }

    /// The text of the `APKINDEX`: fields in apk's order, then `r:` and `q:`, which apk passes
    /// over and apko reads.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for entry in &self.entries {
            write_fields(&mut out, entry);
            out.push('\n');
        }
        out
    }

    /// Takes entries in, each in place of any of the same name and version, and sorts all by name,
    /// then version, as texts.
    pub fn merge(&mut self, entries: impl IntoIterator<Item = IndexEntry>) {
        let key = |entry: &IndexEntry| (entry.info.name.clone(), entry.info.version.clone());
        let mut all: std::collections::BTreeMap<_, IndexEntry> = self
            .entries
            .drain(..)
            .map(|entry| (key(&entry), entry))
            .collect();
        all.extend(entries.into_iter().map(|entry| (key(&entry), entry)));
        self.entries = all.into_values().collect();
    }

    /// The entry of this name and version.
    pub fn get(&self, name: &str, version: &str) -> Option<&IndexEntry> {
        self.entries
            .iter()
            .find(|entry| entry.info.name == name && entry.info.version == version)
    }
}

/// The fields of an entry, each in a line, without the blank line that ends it.
pub(crate) fn write_fields(out: &mut String, entry: &IndexEntry) {
    write_package(out, entry, &entry.identity);
    write_replaces(out, &entry.info);
}

fn write_line(out: &mut String, letter: char, value: &str) {
    out.push(letter);
    out.push(':');
    // A value can't begin a field of its own.
    out.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
    out.push('\n');
}

fn write_terms(out: &mut String, letter: char, info: &PackageInfo, list: TermList) {
    let mut value = String::new();
    for term in info.as_written(list) {
        let separator = if value.is_empty() { "" } else { " " };
        // Writing to a string can't fail.
        let _ = write!(value, "{separator}{term}");
    }
    if value.is_empty() {
        return;
    }
    // Whoever takes off apko's brackets shall not take those of a name.
    if letter == 'i' && value.starts_with('[') && value.ends_with(']') {
        value = format!("[{value}]");
    }
    write_line(out, letter, &value);
}

/// The fields that apk reads in indexes.
pub(crate) fn write_package(out: &mut String, entry: &IndexEntry, identity: &Identity) {
    let info = &entry.info;
    let mut line = |letter: char, value: &str| write_line(out, letter, value);
    line('C', &identity.to_string());
    line('P', &info.name);
    line('V', &info.version);
    if !info.arch.is_empty() {
        line('A', &info.arch);
    }
    line('S', &entry.size.to_string());
    line('I', &info.installed_size.to_string());
    line('T', &info.description);
    line('U', &info.url);
    line('L', &info.license());
    for (letter, value) in [('o', &info.origin), ('m', &info.maintainer)] {
        if !value.is_empty() {
            line(letter, value);
        }
    }
    if let Some(time) = info.build_time.filter(|time| *time > 0) {
        line('t', &time.to_string());
    }
    if !info.commit.is_empty() {
        line('c', &info.commit);
    }
    if let Some(priority) = info.provider_priority.filter(|priority| *priority > 0) {
        line('k', &priority.to_string());
    }
    for (letter, list) in [
        ('D', TermList::Depends),
        ('p', TermList::Provides),
        ('i', TermList::InstallIf),
    ] {
        write_terms(out, letter, info, list);
    }
}

/// `r:` and `q:`.
pub(crate) fn write_replaces(out: &mut String, info: &PackageInfo) {
    write_terms(out, 'r', info, TermList::Replaces);
    if let Some(priority) = info.replaces_priority.filter(|priority| *priority > 0) {
        write_line(out, 'q', &priority.to_string());
    }
}
