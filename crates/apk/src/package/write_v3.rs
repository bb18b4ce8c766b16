use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use archive::tree::{Content, Node, NodeKind, TreePath};
use archive::tree::{FileTree, TreeError};
use base::{Digest, DigestReader, DigestWriter, Epoch, Sha1};
use store::AtomicFile;

use super::write::{PackageContents, check_links, check_parents};
use super::{MAXIMUM_SCRIPT, PackageError, PackageInfo, Script};
use crate::adb::compose::{info_fields, put};
use crate::adb::schema::{
    self, DIRECTORIES, FILES, PACKAGE_FILE, TEXTS, XATTRS, acl, directory, file, info, package,
    scripts,
};
use crate::adb::{
    AdbError, Builder, Compression, Compressor, DataBlock, Signed, Tag, Target, Value, Writer,
};
use crate::dependency::Identity;
use crate::signature::Signer;
use crate::version;

/// Which directories a package of format 3 lists though readers could do without: those of mode
/// 0755 that root owns and that hold no files themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// All: readers before 3.0.0_pre3 need the root, those before 3.0.0_rc9 the others.
    #[default]
    All,
    /// All but the root.
    AllButRoot,
    /// Only those that are empty.
    Empty,
}

impl Listing {
    /// What readers of this version of apk need.
    pub fn for_apk(version: &str) -> Listing {
        let earlier = |than| version::compare(version, than).is_lt();
        if earlier("3.0.0_pre3") {
            Listing::All
        } else if earlier("3.0.0_rc9") {
            Listing::AllButRoot
        } else {
            Listing::Empty
        }
    }
}

/// How a package of format 3 is written.
#[derive(Clone, Debug, Default)]
pub struct Packing<'s> {
    /// How the file is compressed as a whole.
    pub compression: Compression,
    /// Who signs it.
    pub signers: &'s [&'s Signer],
    /// The time that all files carry; each its own if there is none.
    pub epoch: Option<Epoch>,
    /// Which directories are listed.
    pub listing: Listing,
    /// The root's rights, owners and attributes. Without them it is root's with mode 0755, and a
    /// package without files lists no directory at all.
    pub root: Option<Node>,
}

/// A package of format 3 that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenV3 {
    /// SHA-256 of the payload: `hashes` of an index.
    pub identity: Identity,
    /// The first 20 bytes of SHA-256 of the payload as it is without them.
    pub unique_id: Sha1,
    /// SHA-256 of the whole file.
    pub digest: Digest,
    /// Bytes of the whole file: `file-size` of an index.
    pub size: u64,
    /// What the package says of itself.
    pub info: PackageInfo,
}

/// Writes a package of format 3 to `out`: beside it, durable, then renamed. The bytes depend on the
/// arguments alone, and before compression they are those that apk 3.0.6 writes.
///
/// The format has no place for [`PackageContents::extras`], `packager`, `vendored` and `datahash`.
///
/// # Errors
/// Values or entries that apk would refuse or misread, contents that can't be read or change while
/// they are, a full disk.
pub fn write_v3(
    out: &Path,
    contents: &PackageContents<'_>,
    packing: &Packing<'_>,
) -> Result<WrittenV3, PackageError> {
    let place = |source| PackageError::Place {
        path: out.to_owned(),
        source,
    };
    let mut placed = AtomicFile::create(out).map_err(place)?;
    let written = stream_v3(out, &mut placed, contents, packing)?;
    placed.commit().map_err(place)?;
    Ok(written)
}

/// As [`write_v3`], to a stream; `name` is what errors call it.
///
/// # Errors
/// As [`write_v3`].
pub fn stream_v3(
    name: &Path,
    out: impl Write,
    contents: &PackageContents<'_>,
    packing: &Packing<'_>,
) -> Result<WrittenV3, PackageError> {
    let failed = |source| PackageError::Write {
        path: name.to_owned(),
        source,
    };
    let layout = Layout::of(name, contents.tree)?;
    let head = Head::build(name, contents, packing, &layout)?;
    let signed = Signed::new(PACKAGE_FILE.id, &head.payload);
    let signatures = packing
        .signers
        .iter()
        .map(|signer| signer.sign_adb(&signed))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| PackageError::Sign {
            path: name.to_owned(),
            source,
        })?;

    let out = DigestWriter::new(BufWriter::with_capacity(1 << 20, out));
    let out = Compressor::new(out, packing.compression).map_err(failed)?;
    let mut out = Writer::new(out, PACKAGE_FILE.id).map_err(failed)?;
    out.head(&head.payload, &signatures).map_err(failed)?;
    for data in &head.data {
        let unreadable = |source| PackageError::Tree {
            path: name.to_owned(),
            source: TreeError::Content {
                path: data.path.clone(),
                source,
            },
        };
        let mut content = DigestReader::new(data.content.open().map_err(unreadable)?);
        out.data(data.block, &mut content).map_err(failed)?;
        let (_, digest, _) = content.finish();
        if digest != data.digest {
            return Err(unreadable(changed()));
        }
    }
    let out = out.into_inner().finish().map_err(failed)?;
    let (mut out, digest, size) = out.finish();
    out.flush().map_err(failed)?;
    Ok(WrittenV3 {
        identity: Identity::Sha256(Digest::of(&head.payload)),
        unique_id: head.unique_id,
        digest,
        size,
        info: head.info,
    })
}

/// The tree as the format has it: directories in the order of their whole paths' bytes, and in each
/// what it holds, without directories, in the order of its names.
struct Layout<'t> {
    directories: BTreeMap<&'t [u8], Directory<'t>>,
    /// Files of several names, by the path that the tree has their contents at: the name that comes
    /// first in this order.
    shared: BTreeMap<&'t TreePath, &'t TreePath>,
}

#[derive(Default)]
struct Directory<'t> {
    /// None for the root.
    node: Option<&'t Node>,
    entries: BTreeMap<&'t [u8], (&'t TreePath, &'t Node)>,
    /// It holds something, be it directories alone.
    filled: bool,
}

impl<'t> Layout<'t> {
    fn of(out: &Path, tree: &'t FileTree) -> Result<Layout<'t>, PackageError> {
        check_parents(out, tree)?;
        // Which of a file's names has its contents is decided anew.
        check_links(out, tree, |_, _| true)?;
        let mut directories: BTreeMap<&[u8], Directory<'_>> = BTreeMap::new();
        directories.insert(&[], Directory::default());
        let mut shared = BTreeMap::new();
        for (path, node) in tree.iter() {
            let (parent, name) = match path.as_str().rsplit_once('/') {
                Some((parent, name)) => (parent, name),
                None => ("", path.as_str()),
            };
            // A directory's own parent may be missing: another package has it.
            if let Some(parent) = directories.get_mut(parent.as_bytes()) {
                parent.filled = true;
                if !node.is_directory() {
                    parent.entries.insert(name.as_bytes(), (path, node));
                }
            }
            if node.is_directory() {
                let directory = directories.entry(path.as_str().as_bytes());
                directory.or_default().node = Some(node);
            }
            if let NodeKind::HardLink { target } = &node.kind {
                shared.insert(target, target);
            }
        }
        let mut seen = BTreeSet::new();
        for (path, node) in directories.values().flat_map(|it| it.entries.values()) {
            let file = contents_at(path, node);
            if let Some(first) = shared.get_mut(file)
                && seen.insert(file)
            {
                *first = path;
            }
        }
        Ok(Layout {
            directories,
            shared,
        })
    }
}

/// Where the tree has the contents of a file.
fn contents_at<'t>(path: &'t TreePath, node: &'t Node) -> &'t TreePath {
    match &node.kind {
        NodeKind::HardLink { target } => target,
        _ => path,
    }
}

/// The payload, and the contents that follow it.
struct Head<'t> {
    payload: Vec<u8>,
    unique_id: Sha1,
    info: PackageInfo,
    data: Vec<Data<'t>>,
}

struct Data<'t> {
    block: DataBlock,
    path: &'t TreePath,
    content: &'t Content,
    digest: Digest,
}

impl<'t> Head<'t> {
    fn build(
        out: &Path,
        contents: &PackageContents<'t>,
        packing: &Packing<'_>,
        layout: &Layout<'t>,
    ) -> Result<Head<'t>, PackageError> {
        let mut info = contents.info.clone();
        let something = !contents.tree.is_empty() || !contents.scripts.is_empty();
        if info.installed_size == 0 && something {
            info.installed_size = 1;
        }
        info.check_v3().map_err(|source| PackageError::Info {
            path: out.to_owned(),
            source,
        })?;
        let mut building = Building {
            out,
            tree: contents.tree,
            packing,
            layout,
            builder: Builder::new(),
            links: BTreeMap::new(),
            data: Vec::new(),
        };
        let mut fields = info_fields(&mut building.builder, &info);
        let mut root = [Value::NULL; schema::PACKAGE.fields.len()];
        if let Some(priority) = info.replaces_priority {
            let priority = building.builder.integer(priority);
            put(&mut root, package::REPLACES_PRIORITY, priority);
        }
        let paths = building.paths()?;
        let scripts = check_scripts(out, &contents.scripts)?;
        let Building {
            mut builder, data, ..
        } = building;

        let size = builder.integer(info.installed_size);
        put(&mut fields, info::INSTALLED_SIZE, size);
        let unique_id = builder.own_blob(&[0; 20]);
        put(&mut fields, info::HASHES, unique_id);
        put(&mut root, package::INFO, builder.object(&fields));
        let paths = builder.array(&DIRECTORIES, Tag::Object, paths);
        put(&mut root, package::PATHS, paths);
        let mut fields = [Value::NULL; schema::SCRIPTS.fields.len()];
        for (field, script) in scripts {
            put(&mut fields, field, builder.blob(script));
        }
        put(&mut root, package::SCRIPTS, builder.object(&fields));
        let triggers = info
            .triggers
            .iter()
            .map(|trigger| builder.blob(trigger.as_bytes()))
            .collect();
        let triggers = builder.array(&TEXTS, Tag::Object, triggers);
        put(&mut root, package::TRIGGERS, triggers);
        let root = builder.object(&root);
        builder.set_root(root);

        let digest = Digest::of(builder.payload());
        let mut first = [0; 20];
        first
            .iter_mut()
            .zip(digest.as_bytes())
            .for_each(|(to, from)| *to = *from);
        builder.overwrite(unique_id, &first);
        Ok(Head {
            payload: builder.finish().map_err(|source| PackageError::Payload {
                path: out.to_owned(),
                source,
            })?,
            unique_id: Sha1::from_bytes(first),
            info,
            data,
        })
    }
}

/// The scripts by their fields, in the order of the fields.
fn check_scripts<'s>(
    out: &Path,
    all: &'s BTreeMap<Script, Vec<u8>>,
) -> Result<BTreeMap<usize, &'s [u8]>, PackageError> {
    all.iter()
        .map(|(script, bytes)| {
            if bytes.len() as u64 > MAXIMUM_SCRIPT {
                return Err(PackageError::Entry {
                    path: out.to_owned(),
                    entry: script.to_string(),
                    reason: "is longer than the 262144 bytes that apk takes".to_owned(),
                });
            }
            let field = match script {
                Script::Trigger => scripts::TRIGGER,
                Script::PreInstall => scripts::PRE_INSTALL,
                Script::PostInstall => scripts::POST_INSTALL,
                Script::PreDeinstall => scripts::PRE_DEINSTALL,
                Script::PostDeinstall => scripts::POST_DEINSTALL,
                Script::PreUpgrade => scripts::PRE_UPGRADE,
                Script::PostUpgrade => scripts::POST_UPGRADE,
            };
            Ok((field, bytes.as_slice()))
        })
        .collect()
}

struct Building<'a, 't> {
    out: &'a Path,
    tree: &'t FileTree,
    packing: &'a Packing<'a>,
    layout: &'a Layout<'t>,
    builder: Builder,
    /// What other names of a file refer to, by the path that the tree has its contents at.
    links: BTreeMap<&'t TreePath, Value>,
    data: Vec<Data<'t>>,
}

impl<'t> Building<'_, 't> {
    fn paths(&mut self) -> Result<Vec<Value>, PackageError> {
        let usual = Node::directory();
        let mut paths = Vec::new();
        if self.tree.is_empty() && self.packing.root.is_none() {
            return Ok(paths);
        }
        for (name, directory) in &self.layout.directories {
            let node = match directory.node {
                Some(node) => node,
                None => self.packing.root.as_ref().unwrap_or(&usual),
            };
            // Counted from 1, and this one is about to be added.
            let number = paths.len() as u32 + 1;
            let mut files = Vec::new();
            for (file, (path, node)) in &directory.entries {
                let number = (number, files.len() as u32 + 1);
                files.push(self.file(number, file, path, node)?);
            }
            if files.is_empty() && self.dispensable(directory, node) {
                continue;
            }
            let mut fields = [Value::NULL; schema::DIRECTORY.fields.len()];
            put(&mut fields, directory::NAME, self.builder.blob(name));
            put(&mut fields, directory::ACL, self.acl(node));
            let files = self.builder.array(&FILES, Tag::Object, files);
            put(&mut fields, directory::FILES, files);
            paths.push(self.builder.object(&fields));
        }
        Ok(paths)
    }

    /// Whether a directory without files is left out.
    fn dispensable(&self, directory: &Directory<'_>, node: &Node) -> bool {
        let usual = node.mode == 0o755 && user(node) == "root" && group(node) == "root";
        let root = directory.node.is_none();
        usual
            && match self.packing.listing {
                Listing::All => false,
                Listing::AllButRoot => root,
                Listing::Empty => root || directory.filled,
            }
    }

    fn file(
        &mut self,
        number: (u32, u32),
        name: &[u8],
        path: &'t TreePath,
        node: &'t Node,
    ) -> Result<Value, PackageError> {
        let at = contents_at(path, node);
        let mut target = Value::NULL;
        let mut size = 0;
        let mut hash = None;
        // apk writes what a file's other names refer to before the file itself.
        if let Some(first) = self.layout.shared.get(at) {
            if *first == path {
                // apk's path of the root is `.`.
                let from = if path.depth() == 1 { "./" } else { "" };
                let link = Target::HardLink(format!("{from}{path}"));
                let link = self.builder.blob(&link.to_bytes());
                self.links.insert(at, link);
            } else {
                target = self.links.get(at).copied().unwrap_or_default();
            }
        }
        let other = match &node.kind {
            NodeKind::File { .. } | NodeKind::HardLink { .. } | NodeKind::Directory => {
                let file = self.tree.get(at.as_str()).map(|node| &node.kind);
                if let Some(NodeKind::File {
                    content,
                    size: expected,
                }) = file
                {
                    let digest = self.hash(at, content, *expected)?;
                    size = *expected;
                    hash = Some(digest);
                    if target.is_null() && size > 0 {
                        self.data.push(Data {
                            block: DataBlock {
                                path: number.0,
                                file: number.1,
                                length: size,
                            },
                            path,
                            content,
                            digest,
                        });
                    }
                }
                None
            }
            NodeKind::Symlink { target } => {
                size = target.len() as u64;
                Some(Target::Symlink(target.clone()))
            }
            NodeKind::CharDevice { major, minor } => Some(Target::CharDevice {
                major: *major,
                minor: *minor,
            }),
            NodeKind::BlockDevice { major, minor } => Some(Target::BlockDevice {
                major: *major,
                minor: *minor,
            }),
            NodeKind::Fifo => Some(Target::Fifo),
        };
        let mut fields = [Value::NULL; schema::FILE.fields.len()];
        put(&mut fields, file::NAME, self.builder.blob(name));
        if let Some(hash) = hash {
            put(&mut fields, file::HASH, self.builder.blob(hash.as_bytes()));
        }
        if let Some(other) = other {
            let bytes = other.to_bytes();
            if let Err(AdbError::Field { reason, .. }) = Target::from_bytes(&bytes) {
                return Err(PackageError::Entry {
                    path: self.out.to_owned(),
                    entry: path.to_string(),
                    reason: format!("refers to something that {reason}"),
                });
            }
            target = self.builder.blob(&bytes);
        }
        put(&mut fields, file::TARGET, target);
        let modified = self.packing.epoch.map_or(node.mtime, |epoch| epoch.0);
        put(&mut fields, file::MTIME, self.builder.integer(modified));
        put(&mut fields, file::SIZE, self.builder.integer(size));
        put(&mut fields, file::ACL, self.acl(node));
        Ok(self.builder.object(&fields))
    }

    fn hash(
        &self,
        path: &TreePath,
        content: &Content,
        expected: u64,
    ) -> Result<Digest, PackageError> {
        let failed = |source| PackageError::Tree {
            path: self.out.to_owned(),
            source: TreeError::Content {
                path: path.clone(),
                source,
            },
        };
        let (digest, size) = content.open().and_then(Digest::of_all).map_err(failed)?;
        if size != expected {
            return Err(failed(changed()));
        }
        Ok(digest)
    }

    fn acl(&mut self, node: &Node) -> Value {
        let mut fields = [Value::NULL; schema::ACL.fields.len()];
        let mode = self.builder.integer((node.mode & 0o7777).into());
        put(&mut fields, acl::MODE, mode);
        put(
            &mut fields,
            acl::USER,
            self.builder.blob(user(node).as_bytes()),
        );
        put(
            &mut fields,
            acl::GROUP,
            self.builder.blob(group(node).as_bytes()),
        );
        let attributes = node
            .xattrs
            .iter()
            .map(|(name, value)| self.builder.blob_of(&[name.as_bytes(), b"\0", value]))
            .collect();
        let attributes = self.builder.array(&XATTRS, Tag::Array, attributes);
        put(&mut fields, acl::XATTRS, attributes);
        self.builder.object(&fields)
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it changed while it was read")
}

/// The format has owners by name alone. Without one, root is root, and all others are nobody.
fn user(node: &Node) -> &str {
    owner(&node.user, node.uid)
}

fn group(node: &Node) -> &str {
    owner(&node.group, node.gid)
}

fn owner(name: &str, number: u64) -> &str {
    match (name, number) {
        ("", 0) => "root",
        ("", _) => "nobody",
        (name, _) => name,
    }
}
