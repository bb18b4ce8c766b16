use std::io::{self, BufRead, Read};

use super::field::{Field, Flag};
use super::path::normalise_bytes;
use super::record::{self, InvalidRecord, Records};
use super::{BLOCK, EntryKind, Header, UnsafePath, safe_path};
use crate::{LimitExceeded, Limits};

/// How an archive has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Two zero blocks, and nothing but zeros after them: what is hidden behind the end of an archive
    /// would be hashed but never seen.
    Blocks,
    /// The same, or none after a whole entry: the members of a package but the last.
    Segment,
    /// As tar does: the end of the stream or a zero block, whatever follows it; the last file need not be
    /// filled up to a whole block. For other people's archives.
    Lenient,
}

/// A tar archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream beneath failed.
    #[error("cannot read the archive: {0}")]
    Io(#[source] io::Error),
    /// It costs more than the limits allow.
    #[error("the archive is refused: {0}")]
    Limit(#[from] LimitExceeded),
    /// The stream ends inside an entry or its header.
    #[error("the archive is truncated: it ends inside {0}; fetch or make it again")]
    Truncated(String),
    /// The stream ends after an entry, without the end blocks.
    #[error(
        "the archive is truncated: it ends after an entry, without the two zero blocks that close \
         an archive; fetch or make it again"
    )]
    NoEnd,
    /// Something follows the end blocks.
    #[error("the archive has data after its end, which readers would not see; make it again")]
    AfterEnd,
    /// A block is no header.
    #[error("byte {offset} of the archive should start a header, but its checksum is wrong; {}",
        if *.offset == 0 { "this is not a tar archive" } else { "the archive is damaged" })]
    Checksum {
        /// Where the block starts.
        offset: u64,
    },
    /// A number in a header cannot be read.
    #[error("entry `{path}`: its {field} is not a number from 0 to 2^63-1; the archive is damaged")]
    Number {
        /// The entry.
        path: String,
        /// The header's field.
        field: &'static str,
    },
    /// An extended header cannot be read.
    #[error("the extended header at byte {offset} is damaged: {reason}")]
    Record {
        /// Where the header starts.
        offset: u64,
        /// What is wrong.
        reason: InvalidRecord,
    },
    /// An entry of a kind that is not read here.
    #[error("entry `{path}` is {what}, which is not supported; make the archive without it")]
    Unsupported {
        /// The entry.
        path: String,
        /// What it is.
        what: String,
    },
    /// A name that cannot be used.
    #[error("entry `{path}` is refused: {reason}")]
    Path {
        /// The name as written, made printable.
        path: String,
        /// Why not.
        reason: UnsafePath,
    },
    /// A link target that cannot be used.
    #[error("entry `{path}` is refused: it links to `{target}`: {reason}")]
    Target {
        /// The entry.
        path: String,
        /// The target as written, made printable.
        target: String,
        /// Why not.
        reason: UnsafePath,
    },
}

/// Reads a tar archive entry by entry and holds no more than one header.
///
/// Understood are v7, ustar, GNU (long names, base-256 numbers) and pax (local and global records).
pub struct Reader<R> {
    inner: R,
    limits: Limits,
    end: End,
    any_names: bool,
    strict: bool,
    offset: u64,
    /// Bytes of the present entry's content, and of its padding, that are still to come.
    left: u64,
    padding: u64,
    entries: u64,
    bytes: u64,
    finished: bool,
    global: Records,
    current: Current,
}

struct Current {
    header: Header,
    path: Vec<u8>,
    target: Vec<u8>,
}

/// What stands before an entry and belongs to it.
#[derive(Default)]
struct Prelude {
    records: Records,
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    size: u64,
    offset: u64,
}

impl<R: Read> Reader<R> {
    /// An archive that has to end as [`End::Blocks`] says.
    pub fn new(inner: R, limits: Limits) -> Reader<R> {
        Reader {
            inner,
            limits,
            end: End::Blocks,
            any_names: false,
            strict: false,
            offset: 0,
            left: 0,
            padding: 0,
            entries: 0,
            bytes: 0,
            finished: false,
            global: Records::default(),
            current: Current {
                header: Header::directory(""),
                path: Vec::new(),
                target: Vec::new(),
            },
        }
    }

    /// Changes how the archive has to end.
    pub fn ending(mut self, end: End) -> Reader<R> {
        self.end = end;
        self
    }

    /// Passes names on that [`safe_path`] refuses or that are not UTF-8. Whoever calls this must check
    /// them: [`crate::unpack::unpack`] does.
    pub fn any_names(mut self) -> Reader<R> {
        self.any_names = true;
        self
    }

    /// Refuses what programs read differently though it is no damage, so that all see the same files:
    /// global extended headers, a file whose name ends in `/`, and a size of something without content.
    pub fn strict(mut self) -> Reader<R> {
        self.strict = true;
        self
    }

    /// The next entry; none at the end. What is left of the entry before is skipped.
    #[expect(
        clippy::should_implement_trait,
        reason = "an entry borrows the reader, which no iterator can say"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_, R>>, ReadError> {
        if !self.finished && !self.advance()? {
            self.finished = true;
        }
        Ok(if self.finished {
            None
        } else {
            Some(Entry { reader: self })
        })
    }

    /// The number of bytes read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The stream beneath.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Reads up to the next entry's content; false at the end.
    fn advance(&mut self) -> Result<bool, ReadError> {
        self.skip_content()?;
        let mut prelude = Prelude::default();
        loop {
            let start = self.offset;
            let Some(block) = self.block("a header")? else {
                if prelude.size > 0 {
                    return Err(ReadError::Truncated("an entry's metadata".to_owned()));
                }
                return match self.end {
                    End::Blocks => Err(ReadError::NoEnd),
                    End::Segment | End::Lenient => Ok(false),
                };
            };
            if block == [0; BLOCK] {
                if prelude.size > 0 {
                    return Err(ReadError::Truncated("an entry's metadata".to_owned()));
                }
                self.check_end(start)?;
                return Ok(false);
            }
            if !checksum_matches(&block) {
                return Err(ReadError::Checksum { offset: start });
            }
            let flag = block[Field::FLAG.start];
            match flag {
                Flag::EXTENDED => {
                    let data = self.metadata(&block, &mut prelude)?;
                    let invalid = |reason| ReadError::Record {
                        offset: start,
                        reason,
                    };
                    prelude.offset = start;
                    prelude.records = record::parse(&data).map_err(invalid)?;
                }
                Flag::GLOBAL => {
                    if self.strict {
                        return Err(ReadError::Unsupported {
                            path: printable(Field::NAME.text(&block)),
                            what: "a global extended header".to_owned(),
                        });
                    }
                    let data = self.metadata(&block, &mut prelude)?;
                    let invalid = |reason| ReadError::Record {
                        offset: start,
                        reason,
                    };
                    let records = record::parse(&data).map_err(invalid)?;
                    self.global.merge_global(records).map_err(invalid)?;
                    if self.global.size() as u64 > self.limits.metadata {
                        return Err(LimitExceeded::Metadata(self.limits.metadata).into());
                    }
                }
                Flag::GNU_LONG_NAME => {
                    prelude.long_name = Some(cut(self.metadata(&block, &mut prelude)?));
                }
                Flag::GNU_LONG_TARGET => {
                    prelude.long_target = Some(cut(self.metadata(&block, &mut prelude)?));
                }
                Flag::GNU_VOLUME => {
                    self.metadata(&block, &mut prelude)?;
                }
                _ => {
                    self.entries += 1;
                    if self.entries > self.limits.entries {
                        return Err(LimitExceeded::Entries(self.limits.entries).into());
                    }
                    self.entry(&block, flag, prelude)?;
                    return Ok(true);
                }
            }
        }
    }

    /// Reads the data of a header that describes the next one.
    fn metadata(
        &mut self,
        block: &[u8; BLOCK],
        prelude: &mut Prelude,
    ) -> Result<Vec<u8>, ReadError> {
        let what = "an extended header";
        let size = number(Field::SIZE.bytes(block)).ok_or_else(|| ReadError::Number {
            path: printable(Field::NAME.text(block)),
            field: "size",
        })?;
        // The block counts too, so that a row of empty headers ends at the limit.
        prelude.size = prelude
            .size
            .saturating_add(size)
            .saturating_add(BLOCK as u64);
        if prelude.size > self.limits.metadata {
            return Err(LimitExceeded::Metadata(self.limits.metadata).into());
        }
        let mut data = vec![0; size.next_multiple_of(BLOCK as u64) as usize];
        if self.fill(&mut data)? < data.len() {
            return Err(ReadError::Truncated(what.to_owned()));
        }
        data.truncate(size as usize);
        Ok(data)
    }

    /// Makes the current entry of a header and what preceded it.
    fn entry(&mut self, block: &[u8; BLOCK], flag: u8, prelude: Prelude) -> Result<(), ReadError> {
        let Prelude {
            records,
            long_name,
            long_target,
            offset,
            ..
        } = prelude;
        let magic = Field::MAGIC.bytes(block);
        let posix = magic.starts_with(b"ustar\0");
        let extended = posix || magic.starts_with(b"ustar ");

        let mut raw_path = Field::NAME.text(block).to_vec();
        let prefix = Field::PREFIX.text(block);
        if posix && !prefix.is_empty() {
            raw_path = [prefix, b"/", &raw_path].concat();
        }
        let records_of = |key: &str| record::find(&records, &self.global, key);
        if let Some(path) = records_of("path") {
            raw_path = path.to_vec();
        }
        raw_path = long_name.unwrap_or(raw_path);
        let mut target = Field::TARGET.text(block).to_vec();
        if let Some(path) = records_of("linkpath") {
            target = path.to_vec();
        }
        target = long_target.unwrap_or(target);

        let printed = printable(&raw_path);
        let invalid = |reason| ReadError::Record { offset, reason };
        let field = |field: Field, key: &str, what: &'static str| {
            let damaged = || ReadError::Number {
                path: printed.clone(),
                field: what,
            };
            match records_of(key) {
                Some(value) => record::decimal(value).ok_or_else(damaged),
                None => number(field.bytes(block)).ok_or_else(damaged),
            }
        };
        let mode = number(Field::MODE.bytes(block)).ok_or_else(|| ReadError::Number {
            path: printed.clone(),
            field: "mode",
        })?;
        let size = field(Field::SIZE, "size", "size")?;
        let mtime = match records_of("mtime") {
            Some(value) => record::seconds(value)
                .ok_or_else(|| invalid(InvalidRecord::Value("mtime".to_owned())))?,
            None => time(Field::MTIME.bytes(block)).ok_or_else(|| ReadError::Number {
                path: printed.clone(),
                field: "time",
            })?,
        };
        let text = |field: Field, key: &str| match records_of(key) {
            Some(value) => String::from_utf8_lossy(value).into_owned(),
            None if extended => String::from_utf8_lossy(field.text(block)).into_owned(),
            None => String::new(),
        };
        let device = |part: Field| {
            number(part.bytes(block))
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| ReadError::Number {
                    path: printed.clone(),
                    field: "device number",
                })
        };
        let target_text = || String::from_utf8_lossy(&target).into_owned();
        let slash = raw_path.ends_with(b"/");
        let refused = match flag {
            Flag::FILE | Flag::OLD_FILE | Flag::CONTIGUOUS => {
                let v7_directory = flag == Flag::OLD_FILE && !extended;
                (slash && (size > 0 || self.strict && !v7_directory))
                    .then_some("a file whose name ends in `/`")
            }
            _ => (self.strict && size > 0).then_some("something without content that has a size"),
        };
        if let Some(what) = refused {
            return Err(ReadError::Unsupported {
                path: printed,
                what: what.to_owned(),
            });
        }
        let kind = match flag {
            // Before ustar there was no other way to say so.
            Flag::OLD_FILE if slash => EntryKind::Directory,
            Flag::FILE | Flag::OLD_FILE | Flag::CONTIGUOUS => EntryKind::File { size },
            Flag::HARD_LINK => EntryKind::HardLink {
                target: String::from_utf8_lossy(normalise_bytes(&target)).into_owned(),
            },
            Flag::SYMLINK => EntryKind::Symlink {
                target: target_text(),
            },
            Flag::DIRECTORY => EntryKind::Directory,
            Flag::FIFO => EntryKind::Fifo,
            Flag::CHAR_DEVICE => EntryKind::CharDevice {
                major: device(Field::MAJOR)?,
                minor: device(Field::MINOR)?,
            },
            Flag::BLOCK_DEVICE => EntryKind::BlockDevice {
                major: device(Field::MAJOR)?,
                minor: device(Field::MINOR)?,
            },
            other => {
                let what = match other {
                    b'S' => "a sparse file".to_owned(),
                    b'M' => "part of an archive of several volumes".to_owned(),
                    other => format!("of the kind `{}`", char::from(other).escape_default()),
                };
                return Err(ReadError::Unsupported {
                    path: printed,
                    what,
                });
            }
        };
        if records.has_sparse() {
            return Err(ReadError::Unsupported {
                path: printed,
                what: "a sparse file".to_owned(),
            });
        }
        let header = Header {
            path: String::new(),
            mode: (mode & 0o7777) as u32,
            uid: field(Field::UID, "uid", "owner's number")?,
            gid: field(Field::GID, "gid", "group's number")?,
            user: text(Field::USER, "uname"),
            group: text(Field::GROUP, "gname"),
            mtime,
            xattrs: record::xattrs(&records, &self.global).map_err(invalid)?,
            checksum: record::checksum(&records).map_err(invalid)?,
            kind,
        };
        self.left = header.kind.size();
        self.padding = self.left.next_multiple_of(BLOCK as u64) - self.left;
        self.bytes = self.bytes.saturating_add(self.left);
        if self.bytes > self.limits.bytes {
            return Err(LimitExceeded::Bytes(self.limits.bytes).into());
        }
        self.current = Current {
            path: normalise_bytes(&raw_path).to_vec(),
            target: match header.kind {
                EntryKind::HardLink { .. } => normalise_bytes(&target).to_vec(),
                EntryKind::Symlink { .. } => target,
                _ => Vec::new(),
            },
            header,
        };
        self.check_names(&raw_path)?;
        let path = String::from_utf8_lossy(&self.current.path).into_owned();
        self.current.header.path = path;
        Ok(())
    }

    fn check_names(&self, raw_path: &[u8]) -> Result<(), ReadError> {
        if self.any_names {
            return Ok(());
        }
        let Current {
            header,
            path,
            target,
        } = &self.current;
        let refused = |reason| ReadError::Path {
            path: printable(raw_path),
            reason,
        };
        // Other programs' archives hold their root; it can do no harm as a directory.
        if !(path == b"." && header.kind == EntryKind::Directory) {
            let text = std::str::from_utf8(path).map_err(|_| refused(UnsafePath::NotUtf8))?;
            safe_path(text).map_err(refused)?;
        }
        let refused = |reason| ReadError::Target {
            path: printable(path),
            target: printable(target),
            reason,
        };
        match header.kind {
            EntryKind::HardLink { .. } => {
                let text = std::str::from_utf8(target).map_err(|_| refused(UnsafePath::NotUtf8))?;
                safe_path(text).map_err(refused)?;
            }
            EntryKind::Symlink { .. } => {
                let text = std::str::from_utf8(target).map_err(|_| refused(UnsafePath::NotUtf8))?;
                if text.is_empty() {
                    return Err(refused(UnsafePath::Empty));
                }
                if text.len() > 4095 {
                    return Err(refused(UnsafePath::TooLong));
                }
                if text.contains(|character: char| character.is_ascii_control()) {
                    return Err(refused(UnsafePath::Control));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn skip_content(&mut self) -> Result<(), ReadError> {
        let mut rest = self.left + self.padding;
        let mut buffer = [0; 16 << 10];
        while rest > 0 {
            let wanted = rest.min(buffer.len() as u64) as usize;
            let count = self.fill(&mut buffer[..wanted])?;
            rest -= count as u64;
            if count < wanted {
                // Some programs stop after the last file's last byte.
                if self.end == End::Lenient && rest <= self.padding {
                    break;
                }
                return Err(self.truncated());
            }
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn truncated(&self) -> ReadError {
        ReadError::Truncated(format!("`{}`", printable(&self.current.path)))
    }

    /// After a first zero block that began at `start`.
    fn check_end(&mut self, start: u64) -> Result<(), ReadError> {
        match (self.block("the end blocks")?, self.end) {
            (_, End::Lenient) => return Ok(()),
            (None, _) => return Err(ReadError::NoEnd),
            (Some(block), _) if block == [0; BLOCK] => {}
            (Some(block), _) if checksum_matches(&block) => return Err(ReadError::AfterEnd),
            (Some(_), _) => return Err(ReadError::Checksum { offset: start }),
        }
        let mut buffer = [0; 4 << 10];
        loop {
            let count = self.fill(&mut buffer)?;
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(ReadError::AfterEnd);
            }
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    /// The next block; none at the end of the stream.
    fn block(&mut self, what: &str) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(ReadError::Truncated(what.to_owned())),
        }
    }

    /// Reads until `buffer` is full or the stream ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::Io(error)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }
}

/// One entry; reading from it gives a file's content.
pub struct Entry<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: Read> Entry<'_, R> {
    /// What the entry says about itself.
    pub fn header(&self) -> &Header {
        &self.reader.current.header
    }

    /// Where its content begins in the archive.
    pub fn offset(&self) -> u64 {
        self.reader.offset
    }

    /// The name's bytes, normalised as [`Header::path`] is, also where they are not UTF-8.
    pub fn path_bytes(&self) -> &[u8] {
        &self.reader.current.path
    }

    /// A link's target as bytes; empty for other kinds.
    pub fn target_bytes(&self) -> &[u8] {
        &self.reader.current.target
    }

    /// Whether it is the archive's root, which other programs' archives hold.
    pub fn is_root(&self) -> bool {
        self.reader.current.path == b"."
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.reader;
        let wanted = reader.left.min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let count = reader.inner.read(&mut buffer[..wanted])?;
        if count == 0 {
            let truncated = reader.truncated();
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, truncated));
        }
        reader.left -= count as u64;
        reader.offset += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Entry<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let reader = &mut *self.reader;
        if reader.left == 0 {
            return Ok(&[]);
        }
        if reader.inner.fill_buf()?.is_empty() {
            let truncated = reader.truncated();
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, truncated));
        }
        let there = reader.inner.fill_buf()?;
        let count = reader.left.min(there.len() as u64) as usize;
        Ok(&there[..count])
    }

    fn consume(&mut self, count: usize) {
        self.reader.inner.consume(count);
        self.reader.left -= count as u64;
        self.reader.offset += count as u64;
    }
}

/// A name for messages: control characters and what is not UTF-8 are escaped, the rest is cut to a
/// length that fits a line.
pub(crate) fn printable(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    let mut shown = String::new();
    for chunk in name[..name.len().min(LONGEST)].utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if name.len() > LONGEST {
        shown.push('…');
    }
    shown
}

/// A GNU long name up to its NUL.
fn cut(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

/// The sum of all bytes, those of the checksum counted as spaces; old programs added signed bytes.
fn checksum_matches(block: &[u8; BLOCK]) -> bool {
    let field = Field::CHECKSUM;
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (place, byte) in block.iter().enumerate() {
        let counted = if (field.start..field.start + field.length).contains(&place) {
            b' '
        } else {
            *byte
        };
        unsigned += i64::from(counted);
        signed += i64::from(counted.cast_signed());
    }
    number(field.bytes(block))
        .and_then(|sum| i64::try_from(sum).ok())
        .is_some_and(|sum| sum == unsigned || sum == signed)
}

/// A number of a header: octal digits among spaces and NULs, or GNU's base-256. None if it is
/// negative, does not fit 63 bits or is no number.
fn number(field: &[u8]) -> Option<u64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        if first & 0x40 != 0 {
            return None;
        }
        let mut value = u64::from(first & 0x3f);
        for byte in &field[1..] {
            if value >> 55 != 0 {
                return None;
            }
            value = value << 8 | u64::from(*byte);
        }
        return Some(value);
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !blank(byte)) else {
        return Some(0);
    };
    let digits = field[start..].split(blank).next()?;
    let mut value = 0u64;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) || value >> 60 != 0 {
            return None;
        }
        value = value << 3 | u64::from(digit - b'0');
    }
    Some(value)
}

/// As [`number`]; times before 1970 become 1970.
fn time(field: &[u8]) -> Option<u64> {
    if field.first().is_some_and(|first| first & 0xc0 == 0xc0) {
        return Some(0);
    }
    number(field)
}

#[cfg(test)]
mod tests;
