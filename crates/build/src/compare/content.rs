//! Bytes that differ, by what they are.

use std::io::Read;

use archive::Limits;
use archive::decompress::{self, Format, sniff};

use super::{Aspect, Comparison, Difference, MAX_DIFFERENCES};

/// Archives within archives deeper than this are compared as bytes.
const MAX_DEPTH: usize = 6;

/// What all archives of a comparison may yield together: 4 GiB.
const MAX_YIELD: u64 = 4 << 30;

/// What one stream may yield: 512 MiB.
const MAX_STREAM: u64 = 512 << 20;

/// Longer texts of a difference are cut.
const MAX_WORDS: usize = 160;

/// Collects differences.
pub(super) struct Comparer {
    found: Vec<Difference>,
    omitted: usize,
    /// Bytes that archives may still yield.
    room: u64,
    path: String,
    within: Vec<String>,
}

/// What bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Elf,
    Ar,
    Zip,
    Tar,
    Compressed(Format),
    Other,
}

impl Kind {
    fn of(bytes: &[u8]) -> Kind {
        if bytes.starts_with(&object::elf::ELFMAG) {
            return Kind::Elf;
        }
        if bytes.starts_with(&object::archive::MAGIC) {
            return Kind::Ar;
        }
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            return Kind::Zip;
        }
        match sniff(bytes.get(..64).unwrap_or(bytes)) {
            Format::Plain => {}
            format => return Kind::Compressed(format),
        }
        if bytes.get(257..262) == Some(b"ustar") {
            return Kind::Tar;
        }
        Kind::Other
    }
}

impl Comparer {
    pub(super) fn new() -> Comparer {
        Comparer {
            found: Vec::new(),
            omitted: 0,
            room: MAX_YIELD,
            path: String::new(),
            within: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Comparison {
        Comparison {
            differences: self.found,
            omitted: self.omitted,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.found.len() + self.omitted
    }

    pub(super) fn is_silent(&self) -> bool {
        self.count() == 0
    }

    /// Notes a difference of the file at `path`.
    pub(super) fn tell(
        &mut self,
        path: &str,
        aspect: Aspect,
        original: Option<String>,
        rebuilt: Option<String>,
    ) {
        path.clone_into(&mut self.path);
        self.within.clear();
        self.differ(aspect, original, rebuilt);
    }

    /// Notes a difference of what is looked at.
    pub(super) fn differ(
        &mut self,
        aspect: Aspect,
        original: Option<String>,
        rebuilt: Option<String>,
    ) {
        if self.found.len() == MAX_DIFFERENCES {
            self.omitted += 1;
            return;
        }
        self.found.push(Difference {
            path: self.path.clone(),
            within: self.within.clone(),
            aspect,
            original: original.map(cut),
            rebuilt: rebuilt.map(cut),
        });
    }

    /// Looks at a member of what is looked at.
    pub(super) fn within(&mut self, member: &str, look: impl FnOnce(&mut Comparer)) {
        self.within.push(cut(member.to_owned()));
        look(self);
        self.within.pop();
    }

    /// Whether `bytes` more may be looked at; they are counted.
    pub(super) fn afford(&mut self, bytes: u64) -> bool {
        match self.room.checked_sub(bytes) {
            Some(room) => {
                self.room = room;
                true
            }
            None => false,
        }
    }

    /// Compares the contents of the file at `path`.
    pub(super) fn file(&mut self, path: &str, original: &[u8], rebuilt: &[u8]) {
        path.clone_into(&mut self.path);
        self.within.clear();
        self.content(original, rebuilt);
    }

    /// Compares what is looked at; something is said if it differs.
    pub(super) fn content(&mut self, original: &[u8], rebuilt: &[u8]) {
        if original == rebuilt {
            return;
        }
        let before = self.count();
        let kind = Kind::of(original);
        if kind == Kind::of(rebuilt) && self.within.len() < MAX_DEPTH {
            match kind {
                Kind::Elf => self.elf(original, rebuilt),
                Kind::Ar => self.ar(original, rebuilt),
                Kind::Zip => self.zip(original, rebuilt),
                Kind::Tar => self.tar(original, rebuilt),
                Kind::Compressed(format) => self.compressed(format, original, rebuilt),
                Kind::Other => {}
            }
        }
        if self.count() == before {
            let aspect = match kind {
                Kind::Elf | Kind::Ar | Kind::Zip | Kind::Tar => Aspect::Headers,
                Kind::Compressed(_) | Kind::Other => Aspect::Contents,
            };
            let (original, rebuilt) = first_difference(original, rebuilt);
            self.differ(aspect, Some(original), Some(rebuilt));
        }
    }

    fn compressed(&mut self, format: Format, original: &[u8], rebuilt: &[u8]) {
        let (Some(one), Some(other)) = (self.inflate(original), self.inflate(rebuilt)) else {
            return;
        };
        if one != other {
            self.within(&format!("({})", format.name()), |inner| {
                inner.content(&one, &other);
            });
            return;
        }
        let gzip_time = |bytes: &[u8]| {
            let time = bytes.get(4..8).filter(|_| format == Format::Gzip)?;
            Some(u32::from_le_bytes(time.try_into().ok()?))
        };
        match (gzip_time(original), gzip_time(rebuilt)) {
            (Some(one), Some(other)) if one != other => {
                let words = |time: u32| Some(base::Epoch(u64::from(time)).rfc3339());
                self.differ(Aspect::ModificationTime, words(one), words(other));
            }
            _ => {
                let words = |bytes: &[u8]| Some(format!("{} bytes", bytes.len()));
                self.differ(Aspect::Compression, words(original), words(rebuilt));
            }
        }
    }

    fn inflate(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let limits = Limits {
            bytes: self.room.min(MAX_STREAM),
            ..Limits::default()
        };
        let mut inflated = Vec::new();
        let mut reader = decompress::open(bytes, limits).ok()?;
        let read = reader.read_to_end(&mut inflated);
        let afforded = self.afford(inflated.len() as u64);
        (read.is_ok() && afforded).then_some(inflated)
    }
}

/// The first line in which texts differ, or the first byte.
fn first_difference(original: &[u8], rebuilt: &[u8]) -> (String, String) {
    if let (Ok(one), Ok(other)) = (std::str::from_utf8(original), std::str::from_utf8(rebuilt))
        && !one.contains('\0')
        && !other.contains('\0')
    {
        let (mut ours, mut theirs) = (one.lines(), other.lines());
        let mut number = 1;
        loop {
            match (ours.next(), theirs.next()) {
                (Some(one), Some(other)) if one == other => number += 1,
                (None, None) => break,
                (one, other) => {
                    let words = |line: Option<&str>| match line {
                        Some(line) => format!("line {number} `{}`", line.trim_end()),
                        None => format!("no line {number}"),
                    };
                    return (words(one), words(other));
                }
            }
        }
    }
    let offset = offset(original, rebuilt);
    let words = |bytes: &[u8]| {
        let byte = bytes.get(offset).map(|byte| format!("{byte:02x}"));
        let byte = byte.unwrap_or_else(|| "the end".to_owned());
        format!("{byte} at byte {offset} of {}", bytes.len())
    };
    (words(original), words(rebuilt))
}

/// How many bytes are the same.
fn offset(one: &[u8], other: &[u8]) -> usize {
    one.iter()
        .zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}

/// Few bytes in full, of many where they begin to differ.
pub(super) fn bytes_in_words(original: &[u8], rebuilt: &[u8]) -> (String, String) {
    if original.len() <= 32 && rebuilt.len() <= 32 {
        return (short(original), short(rebuilt));
    }
    let offset = offset(original, rebuilt);
    let words = |bytes: &[u8]| {
        let byte = bytes.get(offset).map(|byte| format!("{byte:02x}"));
        let byte = byte.unwrap_or_else(|| "the end".to_owned());
        format!("{byte} at byte {offset} of {}", bytes.len())
    };
    (words(original), words(rebuilt))
}

/// Bytes in hex, at most 32 of them.
pub(super) fn short(bytes: &[u8]) -> String {
    let start = bytes.get(..32).unwrap_or(bytes);
    let more = if bytes.len() > 32 { "…" } else { "" };
    format!("{}{more}", hex::encode(start))
}

fn cut(text: String) -> String {
    if text.chars().nth(MAX_WORDS).is_none() {
        return text;
    }
    let mut start: String = text.chars().take(MAX_WORDS).collect();
    start.push('…');
    start
}
