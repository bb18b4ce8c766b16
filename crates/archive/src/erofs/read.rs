//! An EROFS image as a stranger gives it: every place is checked before it is read, and no more than
//! a folder and an inode is held.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};

use super::disk::{
    self, COMPACT, DIRENT, EXTENDED, INLINE, MAGIC, PLAIN, PREFIXES, SLOT, SUPERBLOCK,
    SUPERBLOCK_SIZE, XATTR_HEADER, u16_at, u32_at, u64_at,
};
use crate::tar::{EntryKind, Header, UnsafePath, printable, safe_path};
use crate::{LimitExceeded, Limits};

/// The largest folder that is read: 64 MiB of names.
const FOLDER: u64 = 64 << 20;
/// How deep folders lie in folders.
const DEPTH: usize = 1024;
/// Linux's longest target of a symbolic link.
const TARGET: u64 = 4095;
/// `EROFS_FEATURE_INCOMPAT_ZERO_PADDING`, which says nothing of what isn't compressed.
const IGNORED: u32 = 1;

/// An EROFS image can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file beneath failed.
    #[error("cannot read the EROFS image: {0}")]
    Io(#[source] io::Error),
    /// It is something else.
    #[error("it is no EROFS image")]
    NotAnImage,
    /// It costs more than the limits allow.
    #[error("the EROFS image is refused: {0}")]
    Limit(#[from] LimitExceeded),
    /// The superblock was changed.
    #[error("the superblock's checksum is wrong; the image is damaged")]
    Checksum,
    /// What isn't read here.
    #[error("the EROFS image {0}, which polpo doesn't read; use the programs of erofs-utils")]
    Unsupported(String),
    /// What can't be.
    #[error("the EROFS image is damaged: /{path} {reason}", path = printable(path.as_bytes()))]
    Damaged {
        /// Where.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A name that cannot be used.
    #[error("/{path} is refused: {reason}", path = printable(path.as_bytes()))]
    Path {
        /// The path.
        path: String,
        /// Why not.
        reason: UnsafePath,
    },
}

/// An EROFS image without compression.
#[derive(Debug)]
pub struct Image<R> {
    inner: R,
    length: u64,
    block: u64,
    root: u64,
    metadata: u64,
    shared: u64,
    time: u64,
    /// The bytes of folders, inodes and attributes that were read.
    read: u64,
}

struct Inode {
    mode: u16,
    size: u64,
    layout: u16,
    /// Where its data is, or a device's number.
    raw: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
    /// Where what follows it starts: attributes, then data.
    attributes: u64,
    attribute_count: u16,
    data: u64,
}

impl<R: Read + Seek> Image<R> {
    /// Reads the superblock.
    ///
    /// # Errors
    /// [`ImageError`]: not an image, damaged, or of a kind that isn't read here.
    pub fn open(mut inner: R) -> Result<Image<R>, ImageError> {
        let length = inner.seek(SeekFrom::End(0)).map_err(ImageError::Io)?;
        let mut image = Image {
            inner,
            length,
            block: 512,
            root: 0,
            metadata: 0,
            shared: 0,
            time: 0,
            read: 0,
        };
        if length < SUPERBLOCK + SUPERBLOCK_SIZE as u64 {
            return Err(ImageError::NotAnImage);
        }
        let superblock = image.bytes("", SUPERBLOCK, SUPERBLOCK_SIZE as u64)?;
        if u32_at(&superblock, 0) != MAGIC {
            return Err(ImageError::NotAnImage);
        }
        let bits = superblock.get(12).copied().unwrap_or_default();
        if !(9..=16).contains(&bits) {
            return Err(ImageError::Unsupported(format!(
                "has blocks of 2^{bits} bytes"
            )));
        }
        image.block = 1 << bits;
        let features = u32_at(&superblock, 80) & !IGNORED;
        if features != 0 {
            return Err(ImageError::Unsupported(format!(
                "is compressed or in several parts (features {features:#x})"
            )));
        }
        if u32_at(&superblock, 8) & disk::CHECKSUM != 0 && image.block > SUPERBLOCK {
            let mut checked = image.bytes("", SUPERBLOCK, image.block - SUPERBLOCK)?;
            if let Some(field) = checked.get_mut(4..8) {
                field.fill(0);
            }
            if disk::checksum(&checked) != u32_at(&superblock, 4) {
                return Err(ImageError::Checksum);
            }
        }
        image.root = u64::from(u16_at(&superblock, 14));
        image.time = u64_at(&superblock, 24);
        image.metadata = u64::from(u32_at(&superblock, 40)) * image.block;
        image.shared = u64::from(u32_at(&superblock, 44)) * image.block;
        Ok(image)
    }

    /// The time in the superblock, in seconds since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Visits everything: the root as `.`, then depth first with sorted names. Of several names of a
    /// file the first is the file, the others are hard links to it.
    ///
    /// # Errors
    /// What `visit` gives, or [`ImageError`].
    pub fn visit<E: From<ImageError>>(
        &mut self,
        limits: &Limits,
        mut visit: impl FnMut(&Header, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let root = self.inode(".", self.root)?;
        if root.mode & disk::TYPE != disk::DIRECTORY {
            return Err(damaged(".", "is no folder").into());
        }
        let mut folders = BTreeSet::from([self.root]);
        let mut files: BTreeMap<u64, String> = BTreeMap::new();
        let header = self.header(".", &root)?;
        visit(&header, &mut io::empty())?;
        let (mut entries, mut bytes) = (1_u64, 0_u64);
        let mut stack = vec![(String::new(), self.names(".", &root)?.into_iter())];
        while let Some((folder, names)) = stack.last_mut() {
            let Some((name, nid)) = names.next() else {
                stack.pop();
                continue;
            };
            let path = match folder.as_str() {
                "" => name,
                folder => format!("{folder}/{name}"),
            };
            if safe_path(&path) != Ok(path.as_str()) {
                let reason = safe_path(&path).err();
                return Err(match reason {
                    Some(reason) => ImageError::Path { path, reason },
                    None => damaged(&path, "has a name that can't be a file's"),
                }
                .into());
            }
            // Folders may have the same bytes over and over.
            if self.read.saturating_add(bytes) > limits.bytes {
                return Err(ImageError::from(LimitExceeded::Bytes(limits.bytes)).into());
            }
            entries += 1;
            if entries > limits.entries {
                return Err(ImageError::from(LimitExceeded::Entries(limits.entries)).into());
            }
            let inode = self.inode(&path, nid)?;
            let mut header = self.header(&path, &inode)?;
            match inode.mode & disk::TYPE {
                disk::DIRECTORY => {
                    if !folders.insert(nid) {
                        return Err(damaged(&path, "is a folder that has two places").into());
                    }
                    if stack.len() >= DEPTH {
                        return Err(damaged(&path, "lies too deep").into());
                    }
                    visit(&header, &mut io::empty())?;
                    let names = self.names(&path, &inode)?;
                    stack.push((path, names.into_iter()));
                }
                disk::REGULAR => {
                    if let Some(first) = files.get(&nid) {
                        header.kind = EntryKind::HardLink {
                            target: first.clone(),
                        };
                        visit(&header, &mut io::empty())?;
                        continue;
                    }
                    bytes = bytes.saturating_add(inode.size);
                    if bytes > limits.bytes {
                        return Err(ImageError::from(LimitExceeded::Bytes(limits.bytes)).into());
                    }
                    let mut content = self.content(&path, &inode)?;
                    visit(&header, &mut content)?;
                    files.insert(nid, path);
                }
                _ => visit(&header, &mut io::empty())?,
            }
        }
        Ok(())
    }

    /// Bytes of the image, all of them.
    fn bytes(&mut self, path: &str, start: u64, count: u64) -> Result<Vec<u8>, ImageError> {
        let end = start.checked_add(count);
        if end.is_none_or(|end| end > self.length) {
            return Err(damaged(path, "lies past the image's end"));
        }
        self.read = self.read.saturating_add(count);
        let mut bytes = vec![0; count as usize];
        self.inner
            .seek(SeekFrom::Start(start))
            .and_then(|_| self.inner.read_exact(&mut bytes))
            .map_err(ImageError::Io)?;
        Ok(bytes)
    }

    fn inode(&mut self, path: &str, nid: u64) -> Result<Inode, ImageError> {
        let start = nid
            .checked_mul(SLOT)
            .and_then(|offset| offset.checked_add(self.metadata))
            .ok_or_else(|| damaged(path, "lies past the image's end"))?;
        let head = self.bytes(path, start, COMPACT)?;
        let format = u16_at(&head, 0);
        let is_extended = format & 1 == 1;
        let mut inode = Inode {
            mode: u16_at(&head, 4),
            size: u64::from(u32_at(&head, 8)),
            layout: (format >> 1) & 7,
            raw: u32_at(&head, 16),
            uid: u32::from(u16_at(&head, 24)),
            gid: u32::from(u16_at(&head, 26)),
            mtime: self.time,
            attributes: start + COMPACT,
            attribute_count: u16_at(&head, 2),
            data: 0,
        };
        if is_extended {
            let whole = self.bytes(path, start, EXTENDED)?;
            inode.size = u64_at(&whole, 8);
            inode.uid = u32_at(&whole, 24);
            inode.gid = u32_at(&whole, 28);
            inode.mtime = u64_at(&whole, 32);
            inode.attributes = start + EXTENDED;
        }
        let attributes = match inode.attribute_count {
            0 => 0,
            count => XATTR_HEADER + 4 * (u64::from(count) - 1),
        };
        inode.data = inode.attributes + attributes;
        if !matches!(inode.layout, PLAIN | INLINE) {
            return Err(ImageError::Unsupported(format!(
                "has /{} compressed or in chunks",
                printable(path.as_bytes())
            )));
        }
        Ok(inode)
    }

    /// The runs of bytes that an inode's data is: in blocks, and after the inode.
    fn runs(&self, path: &str, inode: &Inode) -> Result<[(u64, u64); 2], ImageError> {
        let start = u64::from(inode.raw) * self.block;
        let tail = match inode.layout {
            INLINE => inode.size % self.block,
            _ => 0,
        };
        let runs = [(start, inode.size - tail), (inode.data, tail)];
        for (start, count) in runs {
            let end = start.checked_add(count);
            if count > 0 && end.is_none_or(|end| end > self.length) {
                return Err(damaged(path, "lies past the image's end"));
            }
        }
        Ok(runs)
    }

    fn whole(&mut self, path: &str, inode: &Inode, limit: u64) -> Result<Vec<u8>, ImageError> {
        if inode.size > limit {
            return Err(damaged(path, "is larger than any such can be"));
        }
        let mut bytes = Vec::new();
        for (start, count) in self.runs(path, inode)? {
            if count > 0 {
                bytes.extend(self.bytes(path, start, count)?);
            }
        }
        Ok(bytes)
    }

    fn content(&mut self, path: &str, inode: &Inode) -> Result<Content<'_, R>, ImageError> {
        let runs = self.runs(path, inode)?;
        Ok(Content {
            inner: &mut self.inner,
            runs,
            sought: false,
        })
    }

    /// The names in a folder but for `.` and `..`, in order, with the numbers of their inodes.
    fn names(&mut self, path: &str, inode: &Inode) -> Result<Vec<(String, u64)>, ImageError> {
        let bytes = self.whole(path, inode, FOLDER)?;
        let invalid = || damaged(path, "is a folder whose names can't be told apart");
        let mut names = Vec::new();
        let mut met = BTreeSet::new();
        for block in bytes.chunks(self.block as usize) {
            let first = usize::from(u16_at(block, 8));
            if first < DIRENT as usize || first > block.len() || first % DIRENT as usize != 0 {
                return Err(invalid());
            }
            let count = first / DIRENT as usize;
            for number in 0..count {
                let at = number * DIRENT as usize;
                let start = usize::from(u16_at(block, at + 8));
                let end = match number + 1 == count {
                    true => block.len(),
                    false => usize::from(u16_at(block, at + DIRENT as usize + 8)),
                };
                let name = block.get(start..end).ok_or_else(invalid)?;
                // The last name of a block may be followed by zeros.
                let length = name.iter().position(|byte| *byte == 0);
                let name = name
                    .get(..length.unwrap_or(name.len()))
                    .ok_or_else(invalid)?;
                let name = std::str::from_utf8(name)
                    .map_err(|_| damaged(path, "has a name that is no UTF-8"))?;
                if start < first || name.is_empty() || name.contains('/') {
                    return Err(invalid());
                }
                if name == "." || name == ".." {
                    continue;
                }
                if !met.insert(name) {
                    return Err(damaged(path, "has a name twice"));
                }
                names.push((name.to_owned(), u64_at(block, at)));
            }
        }
        names.sort();
        Ok(names)
    }

    fn header(&mut self, path: &str, inode: &Inode) -> Result<Header, ImageError> {
        let (major, minor) = disk::device_of(inode.raw);
        let kind = match inode.mode & disk::TYPE {
            disk::DIRECTORY => EntryKind::Directory,
            disk::REGULAR => EntryKind::File { size: inode.size },
            disk::SYMLINK => {
                let target = self.whole(path, inode, TARGET)?;
                let target = String::from_utf8(target)
                    .ok()
                    .filter(|target| !target.is_empty() && !target.contains('\0'));
                EntryKind::Symlink {
                    target: target.ok_or_else(|| damaged(path, "leads to what is no path"))?,
                }
            }
            disk::CHARACTER => EntryKind::CharDevice { major, minor },
            disk::BLOCK_DEVICE => EntryKind::BlockDevice { major, minor },
            disk::FIFO => EntryKind::Fifo,
            _ => {
                return Err(ImageError::Unsupported(format!(
                    "has /{}, which is a socket or of no kind that is known",
                    printable(path.as_bytes())
                )));
            }
        };
        let mut header = Header::new(path, kind);
        header.mode = u32::from(inode.mode & 0o7777);
        header.uid = u64::from(inode.uid);
        header.gid = u64::from(inode.gid);
        header.mtime = inode.mtime;
        header.xattrs = self.attributes(path, inode)?;
        Ok(header)
    }

    fn attributes(
        &mut self,
        path: &str,
        inode: &Inode,
    ) -> Result<BTreeMap<String, Vec<u8>>, ImageError> {
        let mut attributes = BTreeMap::new();
        if inode.attribute_count == 0 {
            return Ok(attributes);
        }
        let count = inode.data - inode.attributes;
        let bytes = self.bytes(path, inode.attributes, count)?;
        let invalid = || damaged(path, "has extended attributes that can't be read");
        let shared = usize::from(bytes.get(4).copied().unwrap_or_default());
        let own = XATTR_HEADER as usize + 4 * shared;
        for number in 0..shared {
            let at = XATTR_HEADER as usize + 4 * number;
            let id = bytes.get(at..at + 4).ok_or_else(invalid)?;
            let start = self.shared + 4 * u64::from(u32_at(id, 0));
            let head = self.bytes(path, start, 4)?;
            let length = attribute_length(&head);
            let entry = self.bytes(path, start, length as u64)?;
            let (name, value) = attribute(&entry).ok_or_else(invalid)?;
            attributes.insert(name, value);
        }
        let mut rest = bytes.get(own..).ok_or_else(invalid)?;
        while rest.len() >= 4 {
            let length = attribute_length(rest);
            let entry = rest.get(..length).ok_or_else(invalid)?;
            let (name, value) = attribute(entry).ok_or_else(invalid)?;
            attributes.insert(name, value);
            rest = rest
                .get(length.next_multiple_of(4).min(rest.len())..)
                .unwrap_or_default();
        }
        Ok(attributes)
    }
}

/// The length of an attribute by its head.
fn attribute_length(head: &[u8]) -> usize {
    let name = head.first().copied().unwrap_or_default();
    4 + usize::from(name) + usize::from(u16_at(head, 2))
}

fn attribute(entry: &[u8]) -> Option<(String, Vec<u8>)> {
    let [length, number, ..] = entry else {
        return None;
    };
    let (_, prefix) = PREFIXES.iter().find(|(known, _)| known == number)?;
    let end = 4 + usize::from(*length);
    let name = std::str::from_utf8(entry.get(4..end)?).ok()?;
    Some((format!("{prefix}{name}"), entry.get(end..)?.to_vec()))
}

fn damaged(path: &str, reason: &str) -> ImageError {
    ImageError::Damaged {
        path: match path {
            "." => String::new(),
            path => path.to_owned(),
        },
        reason: reason.to_owned(),
    }
}

/// A file's bytes, run by run.
struct Content<'i, R> {
    inner: &'i mut R,
    runs: [(u64, u64); 2],
    sought: bool,
}

impl<R: Read + Seek> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for (start, left) in &mut self.runs {
            if *left == 0 {
                self.sought = false;
                continue;
            }
            if !self.sought {
                self.inner.seek(SeekFrom::Start(*start))?;
                self.sought = true;
            }
            let most = usize::try_from(*left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let Some(buffer) = buffer.get_mut(..most) else {
                return Ok(0);
            };
            let count = self.inner.read(buffer)?;
            if count == 0 && !buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *start += count as u64;
            *left -= count as u64;
            if *left == 0 {
                self.sought = false;
            }
            return Ok(count);
        }
        Ok(0)
    }
}
