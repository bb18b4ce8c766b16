//! Reading an image's layers back: into a folder, to run it, or into a list of files, to check it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use apk::dependency::Identity;
use archive::tar::{EntryKind, Header, ReadError, Reader};
use archive::tree::{FileTree, Node, NodeKind, TreePath};
use archive::unpack::{Options, Ownership, Special, UnpackError, unpack};
use archive::{Limits, decompress, erofs};
use base::{Digest, DigestReader, Sha1, Sha256Hasher};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Descriptor, Layout, LayoutError, ResolvedImage, media_type};
use serde::{Deserialize, Serialize};
use sha1::Digest as _;
use store::{Store, StoreError};

/// Where files are kept with their bytes.
const KEPT: [&str; 4] = ["usr/lib/apk/db/", "lib/apk/db/", "etc/apk/", BILLS];

/// The folder of packages' own bills of materials.
const BILLS: &str = "var/lib/db/sbom/";

/// The record of what is kept of layers, by their digests.
const KNOWN_KEPT: &str = "layer-kept";

/// The record of the entries of layers, by their digests.
const KNOWN_FILES: &str = "layer-files";

/// The largest file that is kept in memory.
const KEPT_LIMIT: u64 = 64 << 20;

/// An image's layers can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The layout can't be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The number of layers isn't the configuration's.
    #[error("the image's manifest has {layers} layers, its configuration {diff_ids}")]
    Count {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A layer can't be decompressed.
    #[error("layer {layer} can't be decompressed: {source}")]
    Decompress {
        /// The layer's blob.
        layer: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer is no EROFS image that can be read.
    #[error("layer {layer} can't be read: {source}")]
    Erofs {
        /// The layer's blob.
        layer: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer is no usable tar.
    #[error("layer {layer}: {source}")]
    Tar {
        /// The layer's blob.
        layer: Digest,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// A layer can't be unpacked.
    #[error("layer {layer} can't be unpacked: {source}")]
    Unpack {
        /// The layer's blob.
        layer: Digest,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// A layer isn't what the configuration says.
    #[error("layer {layer} unpacks to {found}, but the image's configuration says {expected}")]
    DiffId {
        /// The layer's blob.
        layer: Digest,
        /// As the configuration says.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// A layer removes files of the layers below.
    #[error(
        "layer {layer} removes files of layers below it (`{path}`), which polpo's images never do and polpo doesn't follow"
    )]
    Whiteout {
        /// The layer's blob.
        layer: Digest,
        /// The marker.
        path: String,
    },
    /// A layer has a path twice: which of them counts is any reader's guess.
    #[error("layer {layer} has /{} twice; make it again", path.escape_debug())]
    Repeated {
        /// The layer's blob.
        layer: Digest,
        /// The path.
        path: String,
    },
    /// Something lies beneath what is no directory.
    #[error(
        "layer {layer} has /{}, but /{} is a {kind}; make the image again",
        path.escape_debug(), parent.escape_debug()
    )]
    Parent {
        /// The layer's blob.
        layer: Digest,
        /// The path.
        path: String,
        /// Which of its parents.
        parent: String,
        /// What that is.
        kind: &'static str,
    },
}

/// A file of an image as its layers have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageFile {
    pub(crate) header: Header,
    /// Of a file's content or a symbolic link's target; a hard link's is that of the file it named
    /// when its layer was made, which a later entry may have replaced.
    pub(crate) checksum: Option<Checksum>,
}

/// The hashes that packages' checksums are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    sha1: Sha1,
    sha256: Digest,
}

impl Checksum {
    fn of(bytes: &[u8]) -> Checksum {
        Checksum {
            sha1: Sha1::of(bytes),
            sha256: Digest::of(bytes),
        }
    }

    fn of_all(mut read: impl Read) -> io::Result<Checksum> {
        let mut hasher = sha1::Sha1::new();
        let mut read = DigestReader::new(read.by_ref());
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = read.read(&mut buffer)?;
            if count == 0 {
                return Ok(Checksum {
                    sha1: Sha1::from_bytes(hasher.finalize().into()),
                    sha256: read.finish().1,
                });
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
        }
    }

    /// Whether it is of the same bytes.
    pub(crate) fn is(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Sha1(sha1) => self.sha1 == *sha1,
            Identity::Sha256(sha256) => self.sha256 == *sha256,
        }
    }
}

/// Entries by path; the root, if a layer has it, is `.`.
pub(crate) type Files = BTreeMap<String, ImageFile>;

/// What an image's layers hold together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) files: Files,
    /// apk's database and packages' SBOMs, with their bytes.
    pub(crate) kept: FileTree,
}

impl Contents {
    /// Puts an entry where it stands, as a program that unpacks the layers would.
    fn insert(
        &mut self,
        layer: Digest,
        path: TreePath,
        file: ImageFile,
        kept: Option<Node>,
    ) -> Result<(), ContentsError> {
        for parent in std::iter::successors(path.parent(), TreePath::parent) {
            if let Some(there) = self.files.get(parent.as_str())
                && there.header.kind != EntryKind::Directory
            {
                return Err(ContentsError::Parent {
                    layer,
                    path: path.as_str().to_owned(),
                    parent: parent.as_str().to_owned(),
                    kind: there.header.kind.words(),
                });
            }
        }
        if file.header.kind == EntryKind::Directory {
            self.kept.remove(path.as_str());
        } else {
            self.kept.remove_all(path.as_str());
            let folder = format!("{}/", path.as_str());
            let beneath: Vec<String> = self
                .files
                .range(folder.clone()..)
                .map(|(other, _)| other)
                .take_while(|other| other.starts_with(&folder))
                .cloned()
                .collect();
            for other in beneath {
                self.files.remove(&other);
            }
        }
        self.files.insert(path.as_str().to_owned(), file);
        if let Some(node) = kept {
            self.kept.insert(path, node);
        }
        Ok(())
    }
}

/// A layer as tar, whatever it is; its blob's digest is checked before.
pub(crate) fn open_layer(
    layout: &Layout,
    layer: &Descriptor,
) -> Result<Box<dyn Read + Send>, ContentsError> {
    let failed = |source| ContentsError::Decompress {
        layer: layer.digest,
        source,
    };
    let blob = layout.open_blob(layer)?.into_file();
    if layer.media_type == media_type::EROFS {
        return erofs::as_tar(blob, Limits::default()).map_err(|source| ContentsError::Erofs {
            layer: layer.digest,
            source,
        });
    }
    let blob = io::BufReader::with_capacity(1 << 18, blob);
    decompress::open(blob, Limits::default()).map_err(failed)
}

/// What the configuration has to name a layer by, which [`open_layer`] gave a tar of that digest of.
pub(crate) fn diff_id(layer: &Descriptor, tar: Digest) -> Digest {
    match layer.media_type == media_type::EROFS {
        true => layer.digest,
        false => tar,
    }
}

pub(crate) fn each_layer(
    layout: &Layout,
    image: &ResolvedImage,
    mut read: impl FnMut(Digest, &mut (dyn Read + Send)) -> Result<(), ContentsError>,
) -> Result<(), ContentsError> {
    let (layers, diff_ids) = (&image.manifest.layers, &image.config.rootfs.diff_ids);
    if layers.len() != diff_ids.len() {
        return Err(ContentsError::Count {
            layers: layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    for (layer, expected) in layers.iter().zip(diff_ids) {
        let failed = |source| ContentsError::Decompress {
            layer: layer.digest,
            source,
        };
        let mut content = DigestReader::new(open_layer(layout, layer)?);
        read(layer.digest, &mut content)?;
        io::copy(&mut content, &mut io::sink()).map_err(failed)?;
        let (_, tar, _) = content.finish();
        let found = diff_id(layer, tar);
        if found != *expected {
            return Err(ContentsError::DiffId {
                layer: layer.digest,
                expected: *expected,
                found,
            });
        }
    }
    Ok(())
}

/// Unpacks an image's layers into the folder `into`, which exists and is empty. Devices are left
/// out; owners are kept only where `ownership` says so, which needs root.
///
/// # Errors
/// A layer is missing, damaged, not what the configuration says, or holds names that lead out of
/// the folder. What was unpacked before stays: throw the folder away.
pub fn unpack_image(
    layout: &Layout,
    image: &ResolvedImage,
    into: &Path,
    ownership: Ownership,
) -> Result<(), ContentsError> {
    let options = Options {
        ownership,
        special: Special::Skip,
        ..Options::default()
    };
    // A first pass finds what unpacking could not take back.
    read(layout, image)?;
    each_layer(layout, image, |layer, content| {
        unpack(Reader::new(content, Limits::default()), into, &options)
            .map(|_| ())
            .map_err(|source| ContentsError::Unpack { layer, source })
    })
}

/// Reads all layers and checks their digests.
pub(crate) fn read(layout: &Layout, image: &ResolvedImage) -> Result<Contents, ContentsError> {
    let mut contents = Contents::default();
    each_layer(layout, image, |layer, stream| {
        let failed = |source| ContentsError::Tar { layer, source };
        let mut reader = Reader::new(stream, Limits::default()).strict();
        let mut met: BTreeSet<String> = BTreeSet::new();
        while let Some(mut entry) = reader.next().map_err(failed)? {
            let header = entry.header().clone();
            if !met.insert(header.path.clone()) {
                return Err(ContentsError::Repeated {
                    layer,
                    path: header.path,
                });
            }
            let Ok(path) = TreePath::new(&header.path) else {
                // The reader gives no other name that can't be a path.
                let checksum = None;
                contents
                    .files
                    .insert(".".to_owned(), ImageFile { header, checksum });
                continue;
            };
            if path.file_name().starts_with(".wh.") {
                return Err(ContentsError::Whiteout {
                    layer,
                    path: header.path,
                });
            }
            let keep = KEPT.iter().any(|folder| header.path.starts_with(folder));
            let mut node = None;
            let checksum = match &header.kind {
                EntryKind::File { size } if keep && *size <= KEPT_LIMIT => {
                    let mut bytes = Vec::new();
                    entry
                        .read_to_end(&mut bytes)
                        .map_err(|source| failed(ReadError::Io(source)))?;
                    let checksum = Checksum::of(&bytes);
                    node = Some(Node::file(bytes));
                    Some(checksum)
                }
                EntryKind::File { .. } => {
                    let checksum = Checksum::of_all(&mut entry);
                    Some(checksum.map_err(|source| failed(ReadError::Io(source)))?)
                }
                EntryKind::Symlink { target } => Some(Checksum::of(target.as_bytes())),
                EntryKind::HardLink { target } => {
                    contents.files.get(target).and_then(|file| file.checksum)
                }
                _ => None,
            };
            if keep && header.kind == EntryKind::Directory {
                node = Some(Node::new(NodeKind::Directory));
            }
            contents.insert(layer, path, ImageFile { header, checksum }, node)?;
        }
        Ok(())
    })?;
    Ok(contents)
}

/// A file or folder that is kept, as it is remembered.
#[derive(Serialize, Deserialize)]
struct KnownNode {
    path: String,
    /// A file's bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

/// What layers are, whatever they are called, and how they were read: a reader that looks at more has
/// another number.
pub(crate) fn key(image: &ResolvedImage) -> Digest {
    let mut words = vec!["1".to_owned(), image.manifest.layers.len().to_string()];
    for layer in &image.manifest.layers {
        words.extend([layer.media_type.clone(), layer.digest.hex()]);
    }
    words.extend(image.config.rootfs.diff_ids.iter().map(Digest::hex));
    let mut hasher = Sha256Hasher::default();
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word.as_bytes());
    }
    hasher.finish()
}

/// Whether layers of these digests were read before.
pub(crate) fn are_known(store: &Store, image: &ResolvedImage) -> bool {
    let key = key(image);
    store.has_record(KNOWN_KEPT, &key) && store.has_record(KNOWN_FILES, &key)
}

/// What is kept of layers of these digests, if they were read before, without bills of materials. Whether
/// the layers still are what their digests say is left to the caller.
pub(crate) fn known_kept(
    store: &Store,
    image: &ResolvedImage,
) -> Result<Option<FileTree>, StoreError> {
    let Some(known) = store.record_get::<Vec<KnownNode>>(KNOWN_KEPT, &key(image))? else {
        return Ok(None);
    };
    let mut kept = FileTree::default();
    for KnownNode { path, bytes } in known {
        let bytes = bytes.map(|bytes| STANDARD.decode(bytes)).transpose();
        let (Ok(path), Ok(bytes)) = (TreePath::new(&path), bytes) else {
            return Ok(None);
        };
        let folder = || Node::new(NodeKind::Directory);
        kept.insert(path, bytes.map_or_else(folder, Node::file));
    }
    Ok(Some(kept))
}

/// The entries of layers of these digests, as [`known_kept`] gives what is kept of them.
pub(crate) fn known_files(
    store: &Store,
    image: &ResolvedImage,
) -> Result<Option<Files>, StoreError> {
    let known = store.record_get::<Vec<ImageFile>>(KNOWN_FILES, &key(image))?;
    Ok(known.map(|files| {
        let by_path = files
            .into_iter()
            .map(|file| (file.header.path.clone(), file));
        by_path.collect()
    }))
}

/// Remembers what layers hold, once their digests were checked.
pub(crate) fn remember(
    store: &Store,
    image: &ResolvedImage,
    contents: &Contents,
) -> Result<(), StoreError> {
    let key = key(image);
    let mut kept = Vec::new();
    for (path, node) in contents.kept.iter() {
        let bytes = match &node.kind {
            NodeKind::Directory => None,
            NodeKind::File { content, .. } if !path.as_str().starts_with(BILLS) => {
                Some(STANDARD.encode(content.read().map_err(StoreError::Input)?))
            }
            _ => continue,
        };
        let path = path.as_str().to_owned();
        kept.push(KnownNode { path, bytes });
    }
    store.record_put(KNOWN_KEPT, &key, &kept)?;
    let files: Vec<&ImageFile> = contents.files.values().collect();
    store.record_put(KNOWN_FILES, &key, &files)
}
