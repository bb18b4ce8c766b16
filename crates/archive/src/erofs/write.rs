//! A tree as an EROFS image: first where everything will be, by sizes alone, then the bytes in order.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use base::Epoch;

use super::BLOCK;
use super::disk::{
    self, CHECKSUM, DIRENT, EXTENDED, INLINE, MAGIC, MTIME, PLAIN, PREFIXES, Record, SLOT,
    SUPERBLOCK, SUPERBLOCK_SIZE, XATTR_HEADER,
};
use crate::tree::{Content, FileTree, Node, NodeKind, TreePath};

/// Ends of files that are shorter lie after their inode; longer ones leave less of a block unused
/// where they are.
const SHORT: u64 = BLOCK * 3 / 4;
/// How many blocks of inodes are looked at for room.
const OPEN: usize = 16;
/// Linux's longest target of a symbolic link.
const TARGET: usize = 4095;

/// How a tree is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErofsOptions {
    /// The time in the superblock, and of folders that the tree has no entry for.
    pub time: Epoch,
    /// Whether each name of a file with several becomes a file of its own.
    pub copy_hard_links: bool,
}

/// A tree can't be written as EROFS.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// The output can't be written.
    #[error("can't write the EROFS image: {0}")]
    Write(#[source] io::Error),
    /// A file can't be read, or has another size than it is said to have.
    #[error("can't read {path}: {source}")]
    Content {
        /// Where it is in the tree.
        path: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A number has no place in the format.
    #[error("{path}: its {what} ({value}) is more than EROFS holds ({limit})")]
    TooLarge {
        /// Where it is in the tree.
        path: TreePath,
        /// What it is that is too large.
        what: &'static str,
        /// How large.
        value: u64,
        /// The most there is place for.
        limit: u64,
    },
    /// An extended attribute whose name has no place in the format.
    #[error(
        "{path}: EROFS has no place for the extended attribute `{}`; it knows those of user., trusted. and security.",
        name.escape_debug()
    )]
    Attribute {
        /// Where it is in the tree.
        path: TreePath,
        /// The attribute.
        name: String,
    },
    /// A hard link names nothing.
    #[error("{path} is a hard link to {target}, which is no file of the tree")]
    Dangling {
        /// The link.
        path: TreePath,
        /// What it names.
        target: TreePath,
    },
    /// Something lies beneath what is no folder.
    #[error("{path} lies beneath {parent}, which is no folder")]
    Parent {
        /// The path.
        path: TreePath,
        /// What is no folder.
        parent: TreePath,
    },
}

/// What an inode holds.
enum Data<'t> {
    /// A file's bytes.
    File(&'t Content),
    /// These.
    Bytes(&'t [u8]),
    /// The names in a folder, sorted, each with the place of its inode in the list of all.
    Names(Vec<(&'t str, usize)>),
    /// A device, by Linux's number.
    Device(u32),
    /// Nothing.
    Nothing,
}

/// An inode, and where it is.
struct Inode<'t> {
    path: Option<&'t TreePath>,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: u64,
    links: u32,
    attributes: Vec<u8>,
    attribute_count: u16,
    data: Data<'t>,
    size: u64,
    layout: u16,
    /// Where it starts, from the image's first byte.
    offset: u64,
    /// The first block of its data.
    block: u64,
}

impl Inode<'_> {
    /// Its bytes before what lies after it.
    fn length(&self) -> u64 {
        EXTENDED + self.attributes.len() as u64
    }

    /// The bytes of its data in whole blocks, and those after it.
    fn split(&self) -> (u64, u64) {
        match self.layout {
            INLINE => (self.size - self.size % BLOCK, self.size % BLOCK),
            _ => (self.size, 0),
        }
    }
}

impl FileTree {
    /// Writes the tree as an EROFS image without compression. Names of one file share an inode, and
    /// times are kept to the second.
    ///
    /// # Errors
    /// See [`ErofsError`].
    pub fn write_erofs(
        &self,
        out: &mut impl Write,
        options: ErofsOptions,
    ) -> Result<(), ErofsError> {
        let mut plan = Plan::of(self, options)?;
        plan.place()?;
        plan.write(out)
    }
}

struct Plan<'t> {
    inodes: Vec<Inode<'t>>,
    time: Epoch,
    /// The bytes before the first block of data, and all blocks.
    metadata: u64,
    blocks: u64,
}

impl<'t> Plan<'t> {
    /// Makes the inodes: the root's first, then in the tree's order.
    fn of(tree: &'t FileTree, options: ErofsOptions) -> Result<Plan<'t>, ErofsError> {
        let mut inodes = vec![folder(None, options.time)];
        // By path; "" is the root.
        let mut places: BTreeMap<&str, usize> = BTreeMap::from([("", 0)]);
        let mut links: Vec<(&TreePath, &TreePath)> = Vec::new();
        for (path, node) in tree.iter() {
            // Folders without an entry: outermost first.
            let mut missing = Vec::new();
            let mut text = path.as_str();
            while let Some((parent, _)) = text.rsplit_once('/') {
                if let Some(place) = places.get(parent) {
                    let there: &Inode<'_> = &inodes[*place];
                    if !matches!(there.data, Data::Names(_)) {
                        return Err(ErofsError::Parent {
                            path: path.clone(),
                            parent: there.path.cloned().unwrap_or_else(|| path.clone()),
                        });
                    }
                    break;
                }
                missing.push(parent);
                text = parent;
            }
            for parent in missing.into_iter().rev() {
                let place = inodes.len();
                inodes.push(folder(None, options.time));
                name(&mut inodes, &places, parent, place);
                places.insert(parent, place);
            }
            if let NodeKind::HardLink { target } = &node.kind
                && !options.copy_hard_links
            {
                links.push((path, target));
                continue;
            }
            let node = match &node.kind {
                NodeKind::HardLink { target } => tree
                    .get(target.as_str())
                    .filter(|node| node.is_file())
                    .ok_or_else(|| ErofsError::Dangling {
                        path: path.clone(),
                        target: target.clone(),
                    })?,
                _ => node,
            };
            let place = inodes.len();
            inodes.push(inode(path, node)?);
            name(&mut inodes, &places, path.as_str(), place);
            places.insert(path.as_str(), place);
        }
        for (path, target) in links {
            let place = places.get(target.as_str()).copied();
            let found = place.filter(|place| matches!(inodes[*place].data, Data::File(_)));
            let Some(place) = found else {
                return Err(ErofsError::Dangling {
                    path: path.clone(),
                    target: target.clone(),
                });
            };
            inodes[place].links += 1;
            name(&mut inodes, &places, path.as_str(), place);
        }
        for inode in &mut inodes {
            if let Data::Names(names) = &mut inode.data {
                names.sort();
                inode.size = names_size(names.iter().map(|(name, _)| name.len()));
            }
        }
        Ok(Plan {
            inodes,
            time: options.time,
            metadata: 0,
            blocks: 0,
        })
    }

    /// Says where every inode and every block is.
    fn place(&mut self) -> Result<(), ErofsError> {
        // Where inodes go on, and blocks among them that are not full: where room starts in each.
        let mut end = SUPERBLOCK + SUPERBLOCK_SIZE as u64;
        let mut open: Vec<u64> = Vec::new();
        for inode in &mut self.inodes {
            let tail = inode.size % BLOCK;
            let length = inode.length();
            let is_short = tail > 0 && length + tail <= BLOCK && tail <= SHORT;
            if is_short && !matches!(inode.data, Data::Device(_) | Data::Nothing) {
                inode.layout = INLINE;
            }
            let (_, inline) = inode.split();
            let whole = length + inline;
            let room = |start: u64| BLOCK - start % BLOCK;
            // What follows the inode may not go over a block's end; the inode and its attributes may,
            // but are read faster if they don't.
            let found = open
                .iter()
                .position(|start| !start.is_multiple_of(BLOCK) && room(*start) >= whole);
            let start = match found {
                Some(place) => open.remove(place),
                None if whole <= room(end) || (inline == 0 && end.is_multiple_of(BLOCK)) => {
                    let start = end;
                    end += whole.next_multiple_of(SLOT);
                    inode.offset = start;
                    continue;
                }
                None => {
                    if room(end) >= EXTENDED && !end.is_multiple_of(BLOCK) {
                        open.push(end);
                    }
                    let start = end.next_multiple_of(BLOCK);
                    end = start + whole.next_multiple_of(SLOT);
                    inode.offset = start;
                    if open.len() > OPEN {
                        open.remove(0);
                    }
                    continue;
                }
            };
            inode.offset = start;
            let rest = start + whole.next_multiple_of(SLOT);
            if !rest.is_multiple_of(BLOCK) && room(rest) >= EXTENDED {
                open.push(rest);
            }
        }
        self.metadata = end;
        let mut block = disk::blocks(end);
        for inode in &mut self.inodes {
            let (in_blocks, _) = inode.split();
            if in_blocks > 0 {
                inode.block = block;
                block += disk::blocks(in_blocks);
            }
        }
        self.blocks = block;
        if block > u64::from(u32::MAX) {
            return Err(ErofsError::Write(io::Error::other(format!(
                "the tree needs {block} blocks of {BLOCK} bytes, and EROFS counts to {}",
                u32::MAX
            ))));
        }
        Ok(())
    }

    fn write(&self, out: &mut impl Write) -> Result<(), ErofsError> {
        let mut out = Output { out, written: 0 };
        let mut order: Vec<usize> = (0..self.inodes.len()).collect();
        order.sort_by_key(|place| self.inodes[*place].offset);
        // The superblock's checksum is of the whole first block.
        let mut first = vec![0; SUPERBLOCK as usize];
        first.extend(self.superblock(0));
        let mut rest = order.into_iter().peekable();
        while let Some(place) = rest.next_if(|place| self.inodes[*place].offset < BLOCK) {
            let inode = &self.inodes[place];
            first.resize(inode.offset as usize, 0);
            first.extend(self.inode(place)?);
        }
        let length = first.len().max(BLOCK as usize);
        first.resize(length, 0);
        let (_, checked) = first.split_at(SUPERBLOCK as usize);
        let checked = checked.get(..(BLOCK - SUPERBLOCK) as usize);
        let checksum = disk::checksum(checked.unwrap_or_default());
        let superblock = self.superblock(checksum);
        if let Some(there) =
            first.get_mut(SUPERBLOCK as usize..SUPERBLOCK as usize + superblock.len())
        {
            there.copy_from_slice(&superblock);
        }
        out.write(&first)?;
        for place in rest {
            out.pad(self.inodes[place].offset)?;
            out.write(&self.inode(place)?)?;
        }
        for inode in &self.inodes {
            let (in_blocks, _) = inode.split();
            if in_blocks == 0 {
                continue;
            }
            out.pad(inode.block * BLOCK)?;
            match &inode.data {
                Data::File(content) => self.copy(inode, content, in_blocks, &mut out)?,
                Data::Bytes(bytes) => out.write(start(bytes, in_blocks))?,
                Data::Names(names) => {
                    let bytes = self.names(inode, names);
                    out.write(start(&bytes, in_blocks))?;
                }
                Data::Device(_) | Data::Nothing => {}
            }
        }
        out.pad(self.blocks * BLOCK)
    }

    fn superblock(&self, checksum: u32) -> Vec<u8> {
        let root = self.inodes.first().map_or(0, |inode| inode.offset / SLOT);
        let mut record = Record::default();
        record
            .u32(MAGIC)
            .u32(checksum)
            .u32(CHECKSUM | MTIME)
            .u8(BLOCK.ilog2() as u8)
            .u8(0)
            .u16(root as u16)
            .u64(self.inodes.len() as u64)
            .u64(self.time.0)
            .u32(0)
            .u32(self.blocks as u32)
            // Inodes are counted from the image's start.
            .u32(0)
            .u32(0)
            .zeros(SUPERBLOCK_SIZE - 48);
        record.0
    }

    /// An inode with what lies after it.
    fn inode(&self, place: usize) -> Result<Vec<u8>, ErofsError> {
        let inode = &self.inodes[place];
        let where_it_is = match &inode.data {
            Data::Device(number) => *number,
            _ => inode.block as u32,
        };
        let mut record = Record::default();
        record
            // Extended, and where the data is.
            .u16(1 | inode.layout << 1)
            .u16(inode.attribute_count)
            .u16(inode.mode)
            .u16(0)
            .u64(inode.size)
            .u32(where_it_is)
            .u32(place as u32 + 1)
            .u32(inode.uid)
            .u32(inode.gid)
            .u64(inode.mtime)
            .u32(0)
            .u32(inode.links)
            .zeros(16);
        let mut bytes = record.0;
        bytes.extend(&inode.attributes);
        let (in_blocks, inline) = inode.split();
        if inline == 0 {
            return Ok(bytes);
        }
        match &inode.data {
            Data::File(content) => {
                let path = inode.path;
                let failed = |source| content_error(path, source);
                let mut content = Positioned::open(content, in_blocks).map_err(failed)?;
                let before = bytes.len();
                content.read_to_end(&mut bytes).map_err(failed)?;
                if (bytes.len() - before) as u64 != inline {
                    return Err(failed(other_size()));
                }
            }
            Data::Bytes(all) => bytes.extend(end(all, in_blocks)),
            Data::Names(names) => bytes.extend(end(&self.names(inode, names), in_blocks)),
            Data::Device(_) | Data::Nothing => {}
        }
        Ok(bytes)
    }

    /// The blocks of a folder: in each, the entries, then their names.
    fn names(&self, inode: &Inode<'_>, names: &[(&str, usize)]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(inode.size as usize);
        let mut rest = names;
        while !rest.is_empty() {
            let count = fitting(rest.iter().map(|(name, _)| name.len()));
            let (here, others) = rest.split_at(count.min(rest.len()));
            let mut record = Record::default();
            let mut offset = DIRENT * here.len() as u64;
            for (name, place) in here {
                let named = &self.inodes[*place];
                record
                    .u64(named.offset / SLOT)
                    .u16(offset as u16)
                    .u8(disk::file_type(named.mode))
                    .u8(0);
                offset += name.len() as u64;
            }
            bytes.extend(record.0);
            for (name, _) in here {
                bytes.extend(name.as_bytes());
            }
            rest = others;
            if !rest.is_empty() {
                bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
            }
        }
        bytes
    }

    fn copy(
        &self,
        inode: &Inode<'_>,
        content: &Content,
        count: u64,
        out: &mut Output<impl Write>,
    ) -> Result<(), ErofsError> {
        let failed = |source| content_error(inode.path, source);
        let mut content = content.open().map_err(failed)?;
        let mut left = count;
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let read = match content.read(&mut buffer[..most]) {
                Ok(0) => return Err(failed(other_size())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            out.write(&buffer[..read])?;
            left -= read as u64;
        }
        // A file that ends here has no more; of another, the rest was written with its inode.
        if count == inode.size && content.read(&mut buffer[..1]).map_err(failed)? != 0 {
            return Err(failed(other_size()));
        }
        Ok(())
    }
}

fn start(bytes: &[u8], count: u64) -> &[u8] {
    bytes.get(..count as usize).unwrap_or(bytes)
}

fn end(bytes: &[u8], from: u64) -> &[u8] {
    bytes.get(from as usize..).unwrap_or_default()
}

fn other_size() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "it has another size than it had before",
    )
}

fn content_error(path: Option<&TreePath>, source: io::Error) -> ErofsError {
    match path {
        Some(path) => ErofsError::Content {
            path: path.clone(),
            source,
        },
        None => ErofsError::Write(source),
    }
}

/// A file's bytes from a place on.
struct Positioned;

impl Positioned {
    fn open(content: &Content, from: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        match content {
            Content::Bytes(bytes) => Ok(Box::new(end(bytes, from))),
            Content::Disk(path) => {
                use std::io::{Seek as _, SeekFrom};
                let mut file = std::fs::File::open(path)?;
                file.seek(SeekFrom::Start(from))?;
                // More than a block is another size already.
                Ok(Box::new(file.take(BLOCK + 1)))
            }
            Content::Part { path, offset, size } => {
                use std::io::{Seek as _, SeekFrom};
                let mut file = std::fs::File::open(path)?;
                file.seek(SeekFrom::Start(offset.saturating_add(from)))?;
                Ok(Box::new(
                    file.take(size.saturating_sub(from).min(BLOCK + 1)),
                ))
            }
        }
    }
}

struct Output<W> {
    out: W,
    written: u64,
}

impl<W: Write> Output<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ErofsError> {
        self.out.write_all(bytes).map_err(ErofsError::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Writes zeros up to that place.
    fn pad(&mut self, to: u64) -> Result<(), ErofsError> {
        const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
        while self.written < to {
            let count = (to - self.written).min(BLOCK);
            self.write(start(&ZEROS, count))?;
        }
        Ok(())
    }
}

/// The root, and folders that the tree has no entry for: of the usual mode, root's.
fn folder<'t>(path: Option<&'t TreePath>, time: Epoch) -> Inode<'t> {
    Inode {
        path,
        mode: disk::DIRECTORY | 0o755,
        uid: 0,
        gid: 0,
        mtime: time.0,
        links: 2,
        attributes: Vec::new(),
        attribute_count: 0,
        data: Data::Names(vec![(".", 0), ("..", 0)]),
        size: 0,
        layout: PLAIN,
        offset: 0,
        block: 0,
    }
}

fn inode<'t>(path: &'t TreePath, node: &'t Node) -> Result<Inode<'t>, ErofsError> {
    let (kind, data, size) = match &node.kind {
        NodeKind::Directory => (disk::DIRECTORY, Data::Names(vec![(".", 0), ("..", 0)]), 0),
        NodeKind::File { content, size } => (disk::REGULAR, Data::File(content), *size),
        NodeKind::Symlink { target } => {
            if target.len() > TARGET {
                return Err(too_large(path, "target", target.len(), TARGET as u64));
            }
            let bytes = target.as_bytes();
            (disk::SYMLINK, Data::Bytes(bytes), bytes.len() as u64)
        }
        NodeKind::CharDevice { major, minor } => {
            (disk::CHARACTER, device(path, *major, *minor)?, 0)
        }
        NodeKind::BlockDevice { major, minor } => {
            (disk::BLOCK_DEVICE, device(path, *major, *minor)?, 0)
        }
        NodeKind::Fifo | NodeKind::HardLink { .. } => (disk::FIFO, Data::Nothing, 0),
    };
    let number = |what, value: u64| {
        u32::try_from(value).map_err(|_| too_large(path, what, value as usize, u64::from(u32::MAX)))
    };
    let (attributes, attribute_count) = attributes(path, node)?;
    Ok(Inode {
        path: Some(path),
        mode: kind | (node.mode & 0o7777) as u16,
        uid: number("owner", node.uid)?,
        gid: number("group", node.gid)?,
        mtime: node.mtime,
        links: if node.is_directory() { 2 } else { 1 },
        attributes,
        attribute_count,
        data,
        size,
        layout: PLAIN,
        offset: 0,
        block: 0,
    })
}

fn too_large(path: &TreePath, what: &'static str, value: usize, limit: u64) -> ErofsError {
    ErofsError::TooLarge {
        path: path.clone(),
        what,
        value: value as u64,
        limit,
    }
}

fn device<'t>(path: &TreePath, major: u32, minor: u32) -> Result<Data<'t>, ErofsError> {
    match disk::device(major, minor) {
        Some(number) => Ok(Data::Device(number)),
        None => Err(too_large(
            path,
            "device number",
            major.max(minor) as usize,
            (1 << 12) - 1,
        )),
    }
}

/// The extended attributes as they follow an inode, and the count that the inode has of them.
fn attributes(path: &TreePath, node: &Node) -> Result<(Vec<u8>, u16), ErofsError> {
    if node.xattrs.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let mut record = Record::default();
    // None of them are shared, and no filter says which there are not.
    record.zeros(XATTR_HEADER as usize);
    for (name, value) in &node.xattrs {
        let known = PREFIXES
            .iter()
            .find_map(|(number, prefix)| Some((*number, name.strip_prefix(prefix)?)));
        let Some((number, rest)) = known.filter(|(number, rest)| {
            // The names of access lists are whole; others have something behind the prefix.
            rest.is_empty() == matches!(number, 2 | 3)
        }) else {
            return Err(ErofsError::Attribute {
                path: path.clone(),
                name: name.clone(),
            });
        };
        let length = u8::try_from(rest.len())
            .map_err(|_| too_large(path, "attribute's name", rest.len(), u64::from(u8::MAX)))?;
        let size = u16::try_from(value.len())
            .map_err(|_| too_large(path, "attribute's value", value.len(), u64::from(u16::MAX)))?;
        record.u8(length).u8(number).u16(size);
        record.0.extend(rest.as_bytes());
        record.0.extend(value);
        let padded = record.0.len().next_multiple_of(4);
        record.0.resize(padded, 0);
    }
    let count = (record.0.len() - XATTR_HEADER as usize) / 4 + 1;
    let count = u16::try_from(count)
        .map_err(|_| too_large(path, "attributes", record.0.len(), u64::from(u16::MAX) * 4))?;
    Ok((record.0, count))
}

/// Enters a name into the folder it is in.
fn name<'t>(inodes: &mut [Inode<'t>], places: &BTreeMap<&str, usize>, path: &'t str, place: usize) {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = places.get(parent).copied().unwrap_or(0);
    let mut is_folder = false;
    if let Some(inode) = inodes.get_mut(place)
        && let Data::Names(names) = &mut inode.data
    {
        is_folder = true;
        for (name, leads_to) in names {
            match *name {
                "." => *leads_to = place,
                ".." => *leads_to = parent,
                _ => {}
            }
        }
    }
    if let Some(inode) = inodes.get_mut(parent) {
        inode.links += u32::from(is_folder);
        if let Data::Names(names) = &mut inode.data {
            names.push((name, place));
        }
    }
}

/// How many of these names fit into a block.
fn fitting(lengths: impl Iterator<Item = usize>) -> usize {
    let mut used = 0;
    let mut count = 0;
    for length in lengths {
        used += DIRENT + length as u64;
        if used > BLOCK {
            break;
        }
        count += 1;
    }
    count.max(1)
}

/// The bytes of a folder with such names.
fn names_size(lengths: impl Iterator<Item = usize>) -> u64 {
    let (mut whole, mut used) = (0, 0);
    for length in lengths {
        let more = DIRENT + length as u64;
        if used + more > BLOCK {
            whole += BLOCK;
            used = 0;
        }
        used += more;
    }
    whole + used
}
