//! The files of an image as a container would see them: its layers, one over the other.
//!
//! The image is a stranger's. Nothing is unpacked: of each file its facts are kept, and how much
//! memory they take together is bounded. A layer that both images have is read once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::Limits;
use archive::tar::{End, Entry, EntryKind, Header, Reader, UnsafePath};
use base::{Digest, DigestReader};
use oci::{Descriptor, Layout, ResolvedImage};

use super::DiffError;
use crate::contents::{ContentsError, diff_id, open_layer};

/// What a layer says of a path below it that is gone (OCI image specification, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// In a folder: nothing of what lower layers have in it is there.
const OPAQUE: &str = ".wh..wh..opq";

/// What the facts about the files of both images may take together, about: 512 MiB.
const MEMORY: u64 = 512 << 20;
/// What an entry takes beside its names.
const ENTRY: u64 = 256;
/// As many symbolic links as Linux follows in one path.
const LINKS: usize = 40;
/// The largest file whose bytes are kept: a package database, an SBOM.
const KEPT: u64 = 64 << 20;
/// The largest library that is looked into.
const LIBRARY: u64 = 256 << 20;
/// What libraries that are looked into may take on the disk together.
const SCRATCH: u64 = 8 << 30;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File { size: u64, digest: Digest },
    Directory,
    Symlink { target: String },
    Device { block: bool, major: u32, minor: u32 },
    Fifo,
}

impl Kind {
    pub(super) fn words(&self) -> &'static str {
        match self {
            Kind::File { .. } => "file",
            Kind::Directory => "directory",
            Kind::Symlink { .. } => "symbolic link",
            Kind::Device { block: false, .. } => "character device",
            Kind::Device { block: true, .. } => "block device",
            Kind::Fifo => "named pipe",
        }
    }
}

/// What a layer says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: u64,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    /// Whether it may be a shared library: an ELF file of the type `ET_DYN` by a fitting name.
    pub(super) is_library: bool,
    /// The bytes, of files that are read.
    pub(super) kept: Option<Arc<[u8]>>,
}

/// A file of the image.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) facts: Arc<Facts>,
    /// Of a hard link: the name that it is another name of.
    pub(super) linked: Option<String>,
    /// The layer that has its bytes, and its name there.
    layer: usize,
    name: Arc<str>,
}

/// A change that a layer makes.
#[derive(Clone, Debug)]
enum Change {
    Is(Arc<str>, Arc<Facts>),
    Linked(Arc<str>, String),
    Gone(String),
    Emptied(String),
}

/// What was read of a layer.
#[derive(Clone, Debug)]
struct Layer {
    diff_id: Digest,
    size: u64,
    changes: Arc<[Change]>,
}

/// An image's files, by path without a slash before it; the root, if a layer has it, is `.`.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<String, Placed>,
    /// The bytes of each layer when not compressed.
    pub(super) sizes: Vec<u64>,
}

/// Reads layers, each once.
#[derive(Debug, Default)]
pub(super) struct Layers {
    known: BTreeMap<Digest, Layer>,
    memory: u64,
}

impl Layers {
    /// The files of an image.
    pub(super) fn tree(
        &mut self,
        layout: &Layout,
        image: &ResolvedImage,
    ) -> Result<Tree, DiffError> {
        let (layers, diff_ids) = (&image.manifest.layers, &image.config.rootfs.diff_ids);
        if layers.len() != diff_ids.len() {
            return Err(ContentsError::Count {
                layers: layers.len(),
                diff_ids: diff_ids.len(),
            }
            .into());
        }
        let mut tree = Tree::default();
        for (number, (descriptor, expected)) in layers.iter().zip(diff_ids).enumerate() {
            let layer = match self.known.get(&descriptor.digest) {
                Some(layer) => layer.clone(),
                None => {
                    let layer = self.read(layout, descriptor)?;
                    self.known.insert(descriptor.digest, layer.clone());
                    layer
                }
            };
            if layer.diff_id != *expected {
                return Err(ContentsError::DiffId {
                    layer: descriptor.digest,
                    expected: *expected,
                    found: layer.diff_id,
                }
                .into());
            }
            tree.sizes.push(layer.size);
            tree.apply(number, descriptor.digest, &layer.changes)?;
        }
        tree.finish();
        Ok(tree)
    }

    fn read(&mut self, layout: &Layout, descriptor: &Descriptor) -> Result<Layer, DiffError> {
        let content = open_layer(layout, descriptor)?;
        let mut layer = self.read_tar(descriptor.digest, content)?;
        layer.diff_id = diff_id(descriptor, layer.diff_id);
        Ok(layer)
    }

    /// The files of one tar alone.
    pub(super) fn alone(&mut self, name: Digest, content: impl Read) -> Result<Tree, DiffError> {
        let layer = self.read_tar(name, content)?;
        let mut tree = Tree::default();
        tree.apply(0, name, &layer.changes)?;
        tree.finish();
        Ok(tree)
    }

    fn read_tar(&mut self, layer: Digest, content: impl Read) -> Result<Layer, DiffError> {
        let failed = |source| ContentsError::Decompress { layer, source };
        let mut content = DigestReader::new(content);
        let mut changes = Vec::new();
        let mut reader = Reader::new(&mut content, Limits::default())
            .any_names()
            .ending(End::Lenient);
        while let Some(mut entry) = reader
            .next()
            .map_err(|source| ContentsError::Tar { layer, source })?
        {
            let header = named(layer, &entry)?;
            let attributes = header.xattrs.iter();
            let attributes: usize = attributes.map(|(key, value)| key.len() + value.len()).sum();
            let target = match &header.kind {
                EntryKind::Symlink { target } | EntryKind::HardLink { target } => target.len(),
                _ => 0,
            };
            self.memory += ENTRY + (header.path.len() + attributes + target) as u64;
            let found = scan(&header, &mut entry, MEMORY.saturating_sub(self.memory));
            let (digest, is_library, kept) = found.map_err(failed)?;
            self.memory += kept.as_ref().map_or(0, |bytes| bytes.len() as u64);
            if self.memory > MEMORY {
                return Err(DiffError::TooLarge {
                    layer,
                    limit: MEMORY >> 20,
                });
            }
            changes.push(change(header, digest, is_library, kept));
        }
        io::copy(&mut content, &mut io::sink()).map_err(failed)?;
        let (_, tar, size) = content.finish();
        Ok(Layer {
            diff_id: tar,
            size,
            changes: changes.into(),
        })
    }

    /// Takes files out of an image's layers into the folder `scratch`, and says where each is.
    /// What is too large is left out.
    pub(super) fn take_out(
        layout: &Layout,
        image: &ResolvedImage,
        wanted: &BTreeMap<&str, &Placed>,
        scratch: &Path,
    ) -> Result<BTreeMap<String, PathBuf>, DiffError> {
        let mut by_layer: BTreeMap<usize, BTreeMap<&str, &str>> = BTreeMap::new();
        let mut room = SCRATCH;
        for (path, placed) in wanted {
            let Kind::File { size, .. } = placed.facts.kind else {
                continue;
            };
            if size > LIBRARY || size > room {
                continue;
            }
            room -= size;
            let names = by_layer.entry(placed.layer).or_default();
            // Several names of one file are looked at by the first of them.
            names.entry(&placed.name).or_insert(path);
        }
        let mut taken = BTreeMap::new();
        for (number, names) in by_layer {
            let Some(descriptor) = image.manifest.layers.get(number) else {
                continue;
            };
            let layer = descriptor.digest;
            let content = open_layer(layout, descriptor)?;
            let mut reader = Reader::new(content, Limits::default())
                .any_names()
                .ending(End::Lenient);
            while let Some(mut entry) = reader
                .next()
                .map_err(|source| ContentsError::Tar { layer, source })?
            {
                let Some(path) = names.get(named(layer, &entry)?.path.as_str()) else {
                    continue;
                };
                if !matches!(entry.header().kind, EntryKind::File { .. }) {
                    continue;
                }
                let place = scratch.join(taken.len().to_string());
                let place = taken.get(*path).cloned().unwrap_or(place);
                let failed = |source| DiffError::Scratch {
                    path: place.clone(),
                    source,
                };
                let mut file = File::create(&place).map_err(failed)?;
                io::copy(&mut entry, &mut file).map_err(failed)?;
                taken.insert((*path).to_owned(), place);
            }
        }
        Ok(taken)
    }
}

/// An entry's header with names as engines take them: whatever is before the first part, and empty
/// parts, are left out.
fn named<R: Read>(layer: Digest, entry: &Entry<'_, R>) -> Result<Header, DiffError> {
    let mut header = entry.header().clone();
    let refused = |name: &[u8], reason| DiffError::Name {
        layer,
        name: text_of(name).unwrap_or_default(),
        reason,
    };
    let path = |name: &[u8]| -> Result<String, DiffError> {
        let text = text_of(name).map_err(|reason| refused(name, reason))?;
        let parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
        let parts: Vec<&str> = parts.collect();
        match parts.contains(&"..") {
            true => Err(refused(name, UnsafePath::Parent)),
            false if parts.is_empty() => Ok(".".to_owned()),
            false => Ok(parts.join("/")),
        }
    };
    header.path = path(entry.path_bytes())?;
    let bytes = entry.target_bytes();
    match &mut header.kind {
        EntryKind::HardLink { target } => *target = path(bytes)?,
        EntryKind::Symlink { target } => {
            *target = text_of(bytes).map_err(|reason| refused(bytes, reason))?;
        }
        _ => {}
    }
    Ok(header)
}

/// Bytes of names that are no UTF-8 are the characters from here on, at the end of what is for
/// private use: two names never become one.
const BYTES: u32 = 0x10_ff00;

fn text_of(name: &[u8]) -> Result<String, UnsafePath> {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\0' => return Err(UnsafePath::Control),
                other if u32::from(other) >= BYTES => return Err(UnsafePath::NotUtf8),
                other => text.push(other),
            }
        }
        let invalid = chunk.invalid().iter();
        text.extend(invalid.filter_map(|byte| char::from_u32(BYTES + u32::from(*byte))));
    }
    Ok(text)
}

type Scanned = (Option<Digest>, bool, Option<Arc<[u8]>>);

/// Reads a file's content: its hash, whether it may be a library, and its bytes if they are wanted
/// and there is room for them.
fn scan(header: &Header, mut content: impl Read, room: u64) -> io::Result<Scanned> {
    let EntryKind::File { size } = header.kind else {
        return Ok((None, false, None));
    };
    if is_kept(&header.path) && size <= KEPT && size <= room {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        return Ok((Some(Digest::of(&bytes)), false, Some(bytes.into())));
    }
    let mut start = Vec::with_capacity(64);
    let mut content = DigestReader::new(content);
    content.by_ref().take(64).read_to_end(&mut start)?;
    io::copy(&mut content, &mut io::sink())?;
    let (_, digest, _) = content.finish();
    let name = header.path.rsplit('/').next().unwrap_or_default();
    let is_library = name.contains(".so") && is_shared_object(&start);
    Ok((Some(digest), is_library, None))
}

/// Package databases, and SBOMs of packages.
fn is_kept(path: &str) -> bool {
    matches!(path, "usr/lib/apk/db/installed" | "lib/apk/db/installed")
        || path
            .strip_prefix("var/lib/db/sbom/")
            .is_some_and(|name| name.ends_with(".json"))
}

/// Whether an ELF file that starts so is of the type `ET_DYN`.
fn is_shared_object(start: &[u8]) -> bool {
    match start {
        [0x7f, b'E', b'L', b'F', _, 1, ..] => start.get(16..18) == Some(&[3, 0]),
        [0x7f, b'E', b'L', b'F', _, 2, ..] => start.get(16..18) == Some(&[0, 3]),
        _ => false,
    }
}

fn change(
    header: Header,
    digest: Option<Digest>,
    is_library: bool,
    kept: Option<Arc<[u8]>>,
) -> Change {
    let path = header.path;
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
    if name == OPAQUE {
        return Change::Emptied(folder.to_owned());
    }
    if let Some(name) = name.strip_prefix(WHITEOUT) {
        return Change::Gone(join(folder, name));
    }
    let path: Arc<str> = path.into();
    let kind = match header.kind {
        EntryKind::File { size } => Kind::File {
            size,
            digest: digest.unwrap_or_else(|| Digest::of(b"")),
        },
        EntryKind::Directory => Kind::Directory,
        EntryKind::Symlink { target } => Kind::Symlink { target },
        EntryKind::HardLink { target } => return Change::Linked(path, target),
        EntryKind::CharDevice { major, minor } => Kind::Device {
            block: false,
            major,
            minor,
        },
        EntryKind::BlockDevice { major, minor } => Kind::Device {
            block: true,
            major,
            minor,
        },
        EntryKind::Fifo => Kind::Fifo,
    };
    let facts = Arc::new(Facts {
        kind,
        mode: header.mode,
        uid: header.uid,
        gid: header.gid,
        mtime: header.mtime,
        xattrs: header.xattrs,
        is_library,
        kept,
    });
    Change::Is(path, facts)
}

fn join(folder: &str, name: &str) -> String {
    match folder {
        "" | "." => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}

/// What implied folders are: of the usual mode, root's.
fn folder() -> Facts {
    Facts {
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: BTreeMap::new(),
        is_library: false,
        kept: None,
    }
}

impl Tree {
    /// Whether a layer has an entry for the root makes no difference, but what it says of it; nor
    /// which name of a file is written as the file: the first is, the others are links to it.
    fn finish(&mut self) {
        let root = || Placed {
            facts: Arc::new(folder()),
            linked: None,
            layer: 0,
            name: ".".into(),
        };
        self.files.entry(".".to_owned()).or_insert_with(root);
        let mut linked: BTreeSet<(usize, Arc<str>)> = BTreeSet::new();
        for placed in self.files.values() {
            if placed.linked.is_some() {
                linked.insert((placed.layer, placed.name.clone()));
            }
        }
        let mut first: BTreeMap<(usize, Arc<str>), String> = BTreeMap::new();
        for (path, placed) in &mut self.files {
            let file = (placed.layer, placed.name.clone());
            if !linked.contains(&file) {
                continue;
            }
            placed.linked = first.get(&file).cloned();
            first.entry(file).or_insert_with(|| path.clone());
        }
    }

    fn apply(&mut self, number: usize, layer: Digest, changes: &[Change]) -> Result<(), DiffError> {
        // A layer's own entries are not hidden by its whiteouts, wherever these stand.
        for change in changes {
            match change {
                Change::Gone(path) if is_path(path) => {
                    let path = self.real(layer, path)?;
                    self.remove_beneath(&path);
                    self.files.remove(&path);
                }
                Change::Emptied(folder) if folder.is_empty() => {
                    self.files.retain(|path, _| path == ".");
                }
                Change::Emptied(folder) if is_path(folder) => {
                    let folder = self.real(layer, folder)?;
                    self.remove_beneath(&folder);
                }
                // What is no path can't be there.
                _ => {}
            }
        }
        for change in changes {
            match change {
                Change::Is(path, facts) => {
                    let placed = Placed {
                        facts: facts.clone(),
                        linked: None,
                        layer: number,
                        name: path.clone(),
                    };
                    self.insert(layer, path, placed)?;
                }
                Change::Linked(path, target) => {
                    let real = self.real(layer, target)?;
                    let there = self.files.get(&real);
                    let Some(file) = there.filter(|file| file.facts.kind != Kind::Directory) else {
                        return Err(DiffError::Dangling {
                            layer,
                            path: path.to_string(),
                            target: target.clone(),
                        });
                    };
                    let placed = Placed {
                        linked: Some(file.linked.clone().unwrap_or(real)),
                        ..file.clone()
                    };
                    self.insert(layer, path, placed)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn insert(&mut self, layer: Digest, path: &str, placed: Placed) -> Result<(), DiffError> {
        if !is_path(path) {
            self.files.insert(".".to_owned(), placed);
            return Ok(());
        }
        let path = self.real(layer, path)?;
        let mut parent = path.rsplit_once('/').map(|(parent, _)| parent);
        while let Some(folder_path) = parent {
            if self.files.contains_key(folder_path) {
                break;
            }
            let implied = Placed {
                facts: Arc::new(folder()),
                linked: None,
                layer: placed.layer,
                name: folder_path.into(),
            };
            self.files.insert(folder_path.to_owned(), implied);
            parent = folder_path.rsplit_once('/').map(|(parent, _)| parent);
        }
        if placed.facts.kind != Kind::Directory
            && self
                .files
                .get(&path)
                .is_some_and(|there| there.facts.kind == Kind::Directory)
        {
            self.remove_beneath(&path);
        }
        self.files.insert(path, placed);
        Ok(())
    }

    fn remove_beneath(&mut self, folder: &str) {
        let start = format!("{folder}/");
        let beneath: Vec<String> = self
            .files
            .range(start.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&start))
            .cloned()
            .collect();
        for path in beneath {
            self.files.remove(&path);
        }
    }

    /// Where a path leads to, through symbolic links but for its last part: engines unpack what lies
    /// "below" a link where that leads, inside the image.
    fn real(&self, layer: Digest, path: &str) -> Result<String, DiffError> {
        let mut done = String::new();
        let mut rest: VecDeque<String> = path.split('/').map(str::to_owned).collect();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    done.truncate(done.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = join(&done, &part);
            if rest.is_empty() {
                return Ok(next);
            }
            match self.files.get(&next).map(|placed| &placed.facts.kind) {
                Some(Kind::Symlink { target }) => {
                    links += 1;
                    if links > LINKS {
                        return Err(DiffError::LinkLoop {
                            layer,
                            path: path.to_owned(),
                        });
                    }
                    if target.starts_with('/') {
                        done.clear();
                    }
                    for part in target.split('/').rev() {
                        rest.push_front(part.to_owned());
                    }
                }
                Some(Kind::Directory) | None => done = next,
                Some(kind) => {
                    return Err(ContentsError::Parent {
                        layer,
                        path: path.to_owned(),
                        parent: next,
                        kind: kind.words(),
                    }
                    .into());
                }
            }
        }
        Ok(if done.is_empty() {
            ".".to_owned()
        } else {
            done
        })
    }

    /// The kept bytes of a file.
    pub(super) fn bytes(&self, path: &str) -> Option<&Arc<[u8]>> {
        self.files.get(path)?.facts.kept.as_ref()
    }

    /// The files that lie beneath a folder.
    pub(super) fn beneath<'t>(
        &'t self,
        folder: &str,
    ) -> impl Iterator<Item = (&'t String, &'t Placed)> + use<'t> {
        let start = format!("{folder}/");
        self.files
            .range(start.clone()..)
            .take_while(move |(path, _)| path.starts_with(&start))
    }

    /// The bytes of all files; several names of one file count once.
    pub(super) fn size(&self) -> u64 {
        let mut seen = BTreeSet::new();
        let mut all = 0_u64;
        for placed in self.files.values() {
            if let Kind::File { size, .. } = placed.facts.kind
                && seen.insert((placed.layer, &placed.name))
            {
                all = all.saturating_add(size);
            }
        }
        all
    }
}

/// Whether it names something inside the image, not the image's root.
fn is_path(path: &str) -> bool {
    !matches!(path, "" | ".")
}
