use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::field::{Field, Flag};
use super::{BLOCK, EntryKind, Header};

/// An entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The stream beneath failed.
    #[error("cannot write the archive: {0}")]
    Io(#[from] io::Error),
    /// The content could not be read.
    #[error("cannot read the content of `{path}`: {source}")]
    Content {
        /// The entry.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The content is not as long as the header says.
    #[error(
        "the content of `{path}` is {} than the {size} bytes it was announced with; \
         nothing may change files while they are archived",
        if *.longer { "longer" } else { "shorter" }
    )]
    Size {
        /// The entry.
        path: String,
        /// The header's size.
        size: u64,
        /// Whether there was more, not less.
        longer: bool,
    },
    /// Something that no tar format can hold.
    #[error("`{path}` cannot be archived: its {what} has no form in tar")]
    Unrepresentable {
        /// The entry.
        path: String,
        /// Which of its properties.
        what: &'static str,
    },
}

/// Writes a tar archive whose bytes equal those of Go's archive/tar for the same headers: ustar where
/// that suffices, else pax. Directories' names get no trailing slash.
pub struct Writer<W> {
    inner: W,
    written: u64,
    buffer: Vec<u8>,
}

/// The longest extended header that readers accept: Go's limit, 1 MiB.
const LONGEST_RECORDS: usize = 1 << 20;

/// Pax records in the order of their keys.
type Records = BTreeMap<String, Vec<u8>>;

impl<W: Write> Writer<W> {
    /// Starts an empty archive.
    pub fn new(inner: W) -> Writer<W> {
        Writer {
            inner,
            written: 0,
            buffer: Vec::new(),
        }
    }

    /// Writes an entry. `content` must yield exactly the header's size; it is not read for other kinds
    /// than files.
    pub fn append(&mut self, header: &Header, content: impl Read) -> Result<(), WriteError> {
        self.header(header)?;
        if let EntryKind::File { size } = header.kind {
            self.content(header, size, content)?;
        }
        Ok(())
    }

    /// Writes what stands before an entry's content: its header, and an extended one where that is
    /// needed. The content and the zeros up to a multiple of 512 bytes are the caller's.
    pub fn header(&mut self, header: &Header) -> Result<(), WriteError> {
        let (prefix, records) = plan(header)?;
        if !records.is_empty() {
            self.extended_header(header, &records)?;
        }
        let block = main_block(header, prefix);
        Ok(self.write(&block)?)
    }

    /// The number of bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The stream beneath, for a flush between entries.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Writes the two zero blocks that end an archive.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.write(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }

    /// Leaves the end blocks out: for members of a concatenation.
    pub fn into_inner(self) -> W {
        self.inner
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        let rest = (length % BLOCK as u64) as usize;
        if rest > 0 {
            self.write(&[0; BLOCK][rest..])?;
        }
        Ok(())
    }

    fn extended_header(&mut self, header: &Header, records: &Records) -> Result<(), WriteError> {
        let mut text = Vec::new();
        for (key, value) in records {
            append_record(&mut text, key, value);
        }
        if text.len() > LONGEST_RECORDS {
            return Err(unrepresentable(header, "metadata (longer than 1 MiB)"));
        }
        let mut block = [0; BLOCK];
        let mut name = ascii(&extended_name(&header.path));
        name.truncate(Field::NAME.length);
        while name.last() == Some(&b'/') {
            name.pop();
        }
        Field::NAME.put_text(&mut block, &name);
        for field in [Field::MODE, Field::UID, Field::GID, Field::MTIME] {
            field.put_octal(&mut block, 0);
        }
        Field::SIZE.put_octal(&mut block, text.len() as u64);
        block[Field::FLAG.start] = Flag::EXTENDED;
        seal(&mut block);
        self.write(&block)?;
        self.write(&text)?;
        self.pad(text.len() as u64)?;
        Ok(())
    }

    fn content(
        &mut self,
        header: &Header,
        size: u64,
        mut content: impl Read,
    ) -> Result<(), WriteError> {
        self.buffer.resize(128 << 10, 0);
        let mut left = size;
        let wrong_size = |longer| WriteError::Size {
            path: header.path.clone(),
            size,
            longer,
        };
        loop {
            // One byte more than is left, to notice a file that grew.
            let wanted = left.saturating_add(1).min(self.buffer.len() as u64) as usize;
            let count = match content.read(&mut self.buffer[..wanted]) {
                Ok(0) if left == 0 => break,
                Ok(0) => return Err(wrong_size(false)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(WriteError::Content {
                        path: header.path.clone(),
                        source,
                    });
                }
            };
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| wrong_size(true))?;
            self.inner.write_all(&self.buffer[..count])?;
            self.written += count as u64;
        }
        self.pad(size)?;
        Ok(())
    }
}

fn unrepresentable(header: &Header, what: &'static str) -> WriteError {
    WriteError::Unrepresentable {
        path: header.path.clone(),
        what,
    }
}

/// Where the path is split for ustar, or the records that make a pax header necessary.
fn plan(header: &Header) -> Result<(Option<usize>, Records), WriteError> {
    let target = link_target(header);
    let mut records = Records::new();
    let mut ustar = header.xattrs.is_empty() && header.checksum.is_none();

    if header.path.is_empty() || header.path.contains('\0') {
        return Err(unrepresentable(header, "name"));
    }
    if !matches!(
        header.kind,
        EntryKind::Directory | EntryKind::Symlink { .. } | EntryKind::HardLink { .. }
    ) && header.path.ends_with('/')
    {
        return Err(unrepresentable(header, "name (it ends with a slash)"));
    }
    let split = split(&header.path);
    for (key, text, longest, what) in [
        ("path", &*header.path, Field::NAME.length, "name"),
        ("linkpath", target, Field::TARGET.length, "link target"),
        ("uname", &header.user, Field::USER.length, "owner's name"),
        ("gname", &header.group, Field::GROUP.length, "group's name"),
    ] {
        if text.contains('\0') {
            return Err(unrepresentable(header, what));
        }
        if !text.is_ascii() || text.len() > longest {
            // A path that ustar can split is recorded as well, should something else need pax.
            ustar &= key == "path" && split.is_some();
            records.insert(key.to_owned(), text.as_bytes().to_vec());
        }
    }
    for (key, number, field, what) in [
        ("uid", header.uid, Field::UID, "owner's number"),
        ("gid", header.gid, Field::GID, "group's number"),
        ("size", header.kind.size(), Field::SIZE, "size"),
        ("mtime", header.mtime, Field::MTIME, "time"),
    ] {
        if i64::try_from(number).is_err() {
            return Err(unrepresentable(header, what));
        }
        if !field.fits_octal(number) {
            ustar = false;
            records.insert(key.to_owned(), number.to_string().into_bytes());
        }
    }
    let (major, minor) = device(header);
    if !Field::MODE.fits_octal(header.mode.into()) {
        return Err(unrepresentable(header, "mode"));
    }
    if !Field::MAJOR.fits_octal(major.into()) || !Field::MINOR.fits_octal(minor.into()) {
        return Err(unrepresentable(header, "device number"));
    }
    if ustar {
        return Ok((split, Records::new()));
    }
    if let Some(checksum) = header.checksum {
        let hex = checksum.hex().into_bytes();
        records.insert("APK-TOOLS.checksum.SHA1".to_owned(), hex);
    }
    for (name, value) in &header.xattrs {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(unrepresentable(header, "extended attribute's name"));
        }
        records.insert(format!("SCHILY.xattr.{name}"), value.clone());
    }
    Ok((None, records))
}

/// Where ustar cuts a long name into prefix and name, as Go chooses the place: the last slash that
/// leaves at most 155 bytes before it.
fn split(path: &str) -> Option<usize> {
    if path.len() <= Field::NAME.length || !path.is_ascii() {
        return None;
    }
    let searched = if path.len() > Field::PREFIX.length + 1 {
        Field::PREFIX.length + 1
    } else if path.ends_with('/') {
        path.len() - 1
    } else {
        path.len()
    };
    let slash = path[..searched].rfind('/')?;
    let name = path.len() - slash - 1;
    (slash > 0 && (1..=Field::NAME.length).contains(&name) && slash <= Field::PREFIX.length)
        .then_some(slash)
}

fn main_block(header: &Header, split: Option<usize>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let name = match split {
        Some(slash) => {
            Field::PREFIX.put_text(&mut block, &header.path.as_bytes()[..slash]);
            &header.path[slash + 1..]
        }
        None => &header.path,
    };
    Field::NAME.put_text(&mut block, &ascii(name));
    Field::TARGET.put_text(&mut block, &ascii(link_target(header)));
    Field::USER.put_text(&mut block, &ascii(&header.user));
    Field::GROUP.put_text(&mut block, &ascii(&header.group));
    Field::MODE.put_octal(&mut block, header.mode.into());
    Field::UID.put_octal(&mut block, header.uid);
    Field::GID.put_octal(&mut block, header.gid);
    Field::SIZE.put_octal(&mut block, header.kind.size());
    Field::MTIME.put_octal(&mut block, header.mtime);
    let (major, minor) = device(header);
    Field::MAJOR.put_octal(&mut block, major.into());
    Field::MINOR.put_octal(&mut block, minor.into());
    block[Field::FLAG.start] = match header.kind {
        EntryKind::File { .. } => Flag::FILE,
        EntryKind::HardLink { .. } => Flag::HARD_LINK,
        EntryKind::Symlink { .. } => Flag::SYMLINK,
        EntryKind::CharDevice { .. } => Flag::CHAR_DEVICE,
        EntryKind::BlockDevice { .. } => Flag::BLOCK_DEVICE,
        EntryKind::Directory => Flag::DIRECTORY,
        EntryKind::Fifo => Flag::FIFO,
    };
    seal(&mut block);
    block
}

/// Magic, version and checksum, once all else is in place.
fn seal(block: &mut [u8; BLOCK]) {
    Field::MAGIC.put_text(block, b"ustar\x0000");
    Field::CHECKSUM.put_text(block, b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    Field::CHECKSUM.put_text(block, format!("{sum:06o}\0 ").as_bytes());
}

fn link_target(header: &Header) -> &str {
    match &header.kind {
        EntryKind::Symlink { target } | EntryKind::HardLink { target } => target,
        _ => "",
    }
}

fn device(header: &Header) -> (u32, u32) {
    match header.kind {
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            (major, minor)
        }
        _ => (0, 0),
    }
}

/// What of a text a ustar block shows when a pax record holds the whole: its ASCII characters.
fn ascii(text: &str) -> Vec<u8> {
    text.bytes()
        .filter(|byte| byte.is_ascii() && *byte != 0)
        .collect()
}

/// `DIR/PaxHeaders.0/BASE`, with `.`, `..` and empty components resolved as Go's `path.Join` does.
fn extended_name(path: &str) -> String {
    let (directory, base) = path.rsplit_once('/').unwrap_or(("", path));
    let absolute = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for component in directory.split('/').chain(["PaxHeaders.0", base]) {
        match component {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if absolute => {}
            _ => kept.push(component),
        }
    }
    let joined = kept.join("/");
    match (absolute, &*joined) {
        (true, _) => format!("/{joined}"),
        (false, "") => ".".to_owned(),
        (false, _) => joined,
    }
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn append_record(text: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    // The digits of the sum may be one more than those counted.
    length = rest + length.to_string().len();
    text.extend_from_slice(format!("{length} {key}=").as_bytes());
    text.extend_from_slice(value);
    text.push(b'\n');
}

#[cfg(test)]
mod tests;
