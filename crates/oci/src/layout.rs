use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use base::{Arch, Digest, DigestReader, DigestWriter};
use store::{AtomicFile, WriteError, write_atomically};

use crate::manifest::MANIFEST_LIMIT;
use crate::{Descriptor, ImageConfig, Index, InvalidConfig, InvalidManifest, Manifest, media_type};

/// The annotation that holds a tag in `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The largest image configuration that is read.
const CONFIG_LIMIT: u64 = 8 << 20;

/// A folder in the OCI image layout, version 1.0.0: `oci-layout`, `index.json` and `blobs/`.
///
/// Blobs appear under their digest by one rename, and `index.json` is renamed into place last, so
/// a reader never meets an image of which a part is missing. Every blob that is read has its size
/// and digest checked before its first byte is handed out.
///
/// `index.json` lists images with their tag in [`REF_NAME`] and artefacts about them (signatures,
/// SBOMs, provenance) without a tag, by their manifest's `subject`. skopeo and podman take a folder
/// without a tag only while nothing is attached; an index around both would please them, but umoci
/// would find its tag ambiguous.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// An image layout can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The folder isn't an image layout.
    #[error("{} is not an OCI image layout: {reason}; polpo makes one by `polpo image build`", path.display())]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A blob is named but isn't there.
    #[error("{} has no blob {digest}; the layout is incomplete, copy it anew", path.display())]
    Missing {
        /// The layout.
        path: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// A blob isn't what it is named.
    #[error("{} is damaged: it should have {size} bytes of digest {expected}, but has {found_size} of {found}; copy the image anew", path.display())]
    Damaged {
        /// The blob's file.
        path: PathBuf,
        /// What its descriptor says.
        expected: Digest,
        /// What its descriptor says.
        size: u64,
        /// What is there.
        found: Digest,
        /// What is there.
        found_size: u64,
    },
    /// A document is larger than is read.
    #[error("{digest} in {} is said to have {size} bytes; no more than {limit} are read of a {media_type}", path.display())]
    TooLarge {
        /// The layout.
        path: PathBuf,
        /// The blob.
        digest: Digest,
        /// Its kind.
        media_type: String,
        /// Its size.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A manifest or index is malformed.
    #[error("{name} in {} is no usable manifest: {source}", path.display())]
    Manifest {
        /// The layout.
        path: PathBuf,
        /// The blob's digest, or `index.json`.
        name: String,
        /// Why.
        #[source]
        source: InvalidManifest,
    },
    /// A configuration is malformed.
    #[error("the image configuration {digest} in {} is not usable: {source}", path.display())]
    Config {
        /// The layout.
        path: PathBuf,
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: InvalidConfig,
    },
    /// A value can't be written as JSON.
    #[error("can't write a manifest as JSON")]
    Json(#[from] serde_json::Error),
    /// No image has that tag.
    #[error("{} has no image tagged `{tag}`; it has {}", path.display(), names(tags))]
    UnknownTag {
        /// The layout.
        path: PathBuf,
        /// What was asked for.
        tag: String,
        /// What there is.
        tags: Vec<String>,
    },
    /// No tag was given and there are several images, or none.
    #[error("{} has {count} images; name the tag of one of them: {}", path.display(), names(tags))]
    Ambiguous {
        /// The layout.
        path: PathBuf,
        /// How many images it has.
        count: usize,
        /// Their tags.
        tags: Vec<String>,
    },
    /// The image isn't made for that architecture.
    #[error("the image in {} is not made for {arch}; it has {}", path.display(), names(found))]
    NoPlatform {
        /// The layout.
        path: PathBuf,
        /// What was asked for.
        arch: Arch,
        /// What there is.
        found: Vec<String>,
    },
    /// Neither a manifest nor an index.
    #[error("{digest} in {} is a `{media_type}`, no image manifest or index", path.display())]
    NoManifest {
        /// The layout.
        path: PathBuf,
        /// The blob.
        digest: Digest,
        /// Its kind.
        media_type: String,
    },
    /// An artefact to attach names no subject.
    #[error("an artefact without a subject can't be attached to an image")]
    NoSubject,
    /// Not a tag that a registry takes.
    #[error(
        "`{0}` is not a tag: letters, digits, `_`, `.` and `-`, at most 128, not starting with `.` or `-`"
    )]
    InvalidTag(String),
}

fn names(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// An image of a layout, its manifest and configuration read and checked.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
}

/// A blob whose size and digest were checked before it was handed out.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    size: u64,
}

impl BlobReader {
    /// The blob's length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for BlobReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

impl Layout {
    /// Makes an empty layout in the folder `root`, or opens the one that is there.
    ///
    /// # Errors
    /// The folder holds something else, or can't be written to.
    pub fn create(root: impl Into<PathBuf>) -> Result<Layout, LayoutError> {
        let layout = Layout { root: root.into() };
        if layout.root.join(LAYOUT_FILE).exists() {
            return Layout::open(layout.root);
        }
        let occupied = match std::fs::read_dir(&layout.root) {
            Ok(mut entries) => entries.next().is_some(),
            Err(source) if source.kind() == io::ErrorKind::NotFound => false,
            Err(source) => {
                return Err(LayoutError::Read {
                    path: layout.root,
                    source,
                });
            }
        };
        if occupied && !layout.index_path().exists() && !layout.root.join("blobs").is_dir() {
            return Err(LayoutError::NotALayout {
                path: layout.root,
                reason: "it holds other files; choose an empty folder".to_owned(),
            });
        }
        let blobs = layout.root.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(WriteError::at("create the folder", &blobs))?;
        layout.write_index(&Index::new(Vec::new()))?;
        write_atomically(&layout.root.join(LAYOUT_FILE), LAYOUT_TEXT)?;
        Ok(layout)
    }

    /// Opens the layout in the folder `root`.
    ///
    /// # Errors
    /// [`LayoutError::NotALayout`], or its `index.json` can't be used.
    pub fn open(root: impl Into<PathBuf>) -> Result<Layout, LayoutError> {
        let layout = Layout { root: root.into() };
        let not_a_layout = |reason: String| LayoutError::NotALayout {
            path: layout.root.clone(),
            reason,
        };
        let path = layout.root.join(LAYOUT_FILE);
        let text = match layout.read_file(&path, 4096) {
            Ok(text) => text,
            Err(LayoutError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(not_a_layout(format!("it has no file `{LAYOUT_FILE}`")));
            }
            Err(other) => return Err(other),
        };
        let version = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(&text)
            .ok()
            .and_then(|map| Some(map.get("imageLayoutVersion")?.as_str()?.to_owned()));
        match version.as_deref() {
            Some("1.0.0") => {}
            Some(other) => {
                return Err(not_a_layout(format!(
                    "its version is {other}; only 1.0.0 is known"
                )));
            }
            None => {
                return Err(not_a_layout(format!(
                    "its `{LAYOUT_FILE}` names no version"
                )));
            }
        }
        layout.index()?;
        Ok(layout)
    }

    /// The layout's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What `index.json` says.
    ///
    /// # Errors
    /// It can't be read or is malformed.
    pub fn index(&self) -> Result<Index, LayoutError> {
        let bytes = self.read_file(&self.index_path(), MANIFEST_LIMIT)?;
        Index::parse(&bytes).map_err(|source| LayoutError::Manifest {
            path: self.root.clone(),
            name: "index.json".to_owned(),
            source,
        })
    }

    /// Writes a blob and describes it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, LayoutError> {
        let descriptor = Descriptor::of(media_type, bytes);
        let path = self.blob_path(&descriptor.digest);
        if !self.is_intact(&descriptor)? {
            write_atomically(&path, bytes)?;
        }
        Ok(descriptor)
    }

    /// Copies the file `from`, which `descriptor` describes, in as a blob; its size and digest
    /// are checked on the way. Where the filesystem can, the copy shares the file's extents.
    ///
    /// # Errors
    /// It can't be read or written, or isn't what `descriptor` says.
    pub fn put_blob_file(&self, descriptor: &Descriptor, from: &Path) -> Result<(), LayoutError> {
        if self.is_intact(descriptor)? {
            return Ok(());
        }
        let path = self.blob_path(&descriptor.digest);
        let mut source = File::open(from).map_err(|source| LayoutError::Read {
            path: from.to_owned(),
            source,
        })?;
        let mut file = AtomicFile::create(&path)?;
        let mut writer = DigestWriter::new(&mut file);
        io::copy(&mut source, &mut writer).map_err(WriteError::at("write", &path))?;
        let (_, found, found_size) = writer.finish();
        if (found, found_size) != (descriptor.digest, descriptor.size) {
            return Err(LayoutError::Damaged {
                path: from.to_owned(),
                expected: descriptor.digest,
                size: descriptor.size,
                found,
                found_size,
            });
        }
        file.commit()?;
        Ok(())
    }

    /// Writes a manifest as a blob. It isn't listed yet; see [`Layout::tag`].
    ///
    /// # Errors
    /// It can't be written.
    pub fn put_manifest(&self, manifest: &Manifest) -> Result<Descriptor, LayoutError> {
        let mut descriptor = self.put_blob(media_type::MANIFEST, &manifest.to_bytes()?)?;
        descriptor.artifact_type.clone_from(&manifest.artifact_type);
        Ok(descriptor)
    }

    /// Writes an index, an image for several architectures, as a blob. It isn't listed yet; see
    /// [`Layout::tag`].
    ///
    /// # Errors
    /// It can't be written.
    pub fn put_index(&self, index: &Index) -> Result<Descriptor, LayoutError> {
        self.put_blob(media_type::INDEX, &index.to_bytes()?)
    }

    /// Lists the manifest or index under `tag` in `index.json`, in place of what had that tag.
    ///
    /// # Errors
    /// Not a tag, or `index.json` can't be read or written.
    pub fn tag(&self, tag: &str, descriptor: &Descriptor) -> Result<(), LayoutError> {
        if !is_tag(tag) {
            return Err(LayoutError::InvalidTag(tag.to_owned()));
        }
        self.change_index(|index| {
            let mut entry = descriptor.clone();
            entry
                .annotations
                .insert(REF_NAME.to_owned(), tag.to_owned());
            let same_tag = |entry: &Descriptor| {
                entry.annotations.get(REF_NAME).map(String::as_str) == Some(tag)
            };
            match index.manifests.iter().position(same_tag) {
                Some(at) => {
                    index.manifests.retain({
                        let mut position = 0;
                        move |entry| {
                            position += 1;
                            position - 1 == at || !same_tag(entry)
                        }
                    });
                    if let Some(slot) = index.manifests.get_mut(at) {
                        *slot = entry;
                    }
                }
                None => index.manifests.push(entry),
            }
        })
    }

    /// Writes an artefact about another manifest of this layout and lists it in `index.json`.
    /// The same artefact is listed once.
    ///
    /// # Errors
    /// It has no `subject`, or can't be written.
    pub fn attach(&self, artifact: &Manifest) -> Result<Descriptor, LayoutError> {
        if artifact.subject.is_none() {
            return Err(LayoutError::NoSubject);
        }
        if artifact.config.media_type == media_type::EMPTY {
            self.put_blob(media_type::EMPTY, b"{}")?;
        }
        let mut descriptor = self.put_manifest(artifact)?;
        descriptor.annotations.clone_from(&artifact.annotations);
        self.change_index(|index| {
            if !index
                .manifests
                .iter()
                .any(|entry| entry.digest == descriptor.digest)
            {
                index.manifests.push(descriptor.clone());
            }
        })?;
        Ok(descriptor)
    }

    /// The artefacts about the manifest `subject`, in `index.json`'s order.
    ///
    /// # Errors
    /// A manifest can't be read or isn't what it is named.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<(Descriptor, Manifest)>, LayoutError> {
        self.possible_referrers(subject)?
            .into_iter()
            .map(|(entry, manifest)| Ok((entry, manifest?)))
            .collect()
    }

    /// As [`Layout::referrers`], with every manifest that can't be read: it may be such an artefact.
    ///
    /// # Errors
    /// `index.json` can't be read.
    #[expect(clippy::type_complexity, reason = "a list of results, used once")]
    pub fn possible_referrers(
        &self,
        subject: &Digest,
    ) -> Result<Vec<(Descriptor, Result<Manifest, LayoutError>)>, LayoutError> {
        let mut found = Vec::new();
        for entry in self.index()?.manifests {
            if !media_type::is_manifest(&entry.media_type) {
                continue;
            }
            let manifest = self.manifest(&entry);
            let concerns = match &manifest {
                Ok(manifest) => {
                    manifest.subject.as_ref().map(|subject| subject.digest) == Some(*subject)
                }
                Err(_) => true,
            };
            if concerns {
                found.push((entry, manifest));
            }
        }
        Ok(found)
    }

    /// The entries of `index.json` that are images, not artefacts about them.
    fn images(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let mut images = Vec::new();
        for entry in self.index()?.manifests {
            let is_image = if media_type::is_manifest(&entry.media_type) {
                match self.manifest(&entry) {
                    Ok(manifest) => manifest.subject.is_none() && manifest.artifact_type.is_none(),
                    // A lost artefact is no reason not to find the image.
                    Err(_)
                        if entry.platform.is_none()
                            && !entry.annotations.contains_key(REF_NAME) =>
                    {
                        false
                    }
                    Err(error) => return Err(error),
                }
            } else {
                media_type::is_index(&entry.media_type)
            };
            if is_image {
                images.push(entry);
            }
        }
        Ok(images)
    }

    /// The tags, sorted.
    ///
    /// # Errors
    /// `index.json` can't be read.
    pub fn tags(&self) -> Result<Vec<String>, LayoutError> {
        let index = self.index()?;
        let tags: std::collections::BTreeSet<String> = index
            .manifests
            .iter()
            .filter_map(|entry| entry.annotations.get(REF_NAME).cloned())
            .collect();
        Ok(tags.into_iter().collect())
    }

    /// The entry of `index.json` with that tag; without one, the only image there is.
    ///
    /// # Errors
    /// [`LayoutError::UnknownTag`], [`LayoutError::Ambiguous`], or `index.json` can't be read.
    pub fn resolve(&self, tag: Option<&str>) -> Result<Descriptor, LayoutError> {
        if let Some(tag) = tag {
            let tagged = self
                .index()?
                .manifests
                .into_iter()
                .find(|entry| entry.annotations.get(REF_NAME).map(String::as_str) == Some(tag));
            return match tagged {
                Some(entry) => Ok(entry),
                None => Err(LayoutError::UnknownTag {
                    path: self.root.clone(),
                    tag: tag.to_owned(),
                    tags: self.tags()?,
                }),
            };
        }
        let mut images: Vec<Descriptor> = Vec::new();
        for entry in self.images()? {
            if images.iter().all(|image| image.digest != entry.digest) {
                images.push(entry);
            }
        }
        match <[Descriptor; 1]>::try_from(images) {
            Ok([image]) => Ok(image),
            Err(images) => Err(LayoutError::Ambiguous {
                path: self.root.clone(),
                count: images.len(),
                tags: self.tags()?,
            }),
        }
    }

    /// The image with that tag (without one, the only image), for `arch` if it is made for
    /// several, with its manifest and configuration.
    ///
    /// # Errors
    /// There is no such image, or it can't be read.
    pub fn image(&self, tag: Option<&str>, arch: Arch) -> Result<ResolvedImage, LayoutError> {
        // apko's layouts list the architectures in index.json itself.
        let mut descriptor = match (tag, self.resolve(tag)) {
            (_, Ok(descriptor)) => descriptor,
            (None, Err(ambiguous @ LayoutError::Ambiguous { .. })) => {
                let images = self.images()?;
                let tags: std::collections::BTreeSet<&String> = images
                    .iter()
                    .filter_map(|entry| entry.annotations.get(REF_NAME))
                    .collect();
                let fitting: std::collections::BTreeSet<Digest> = images
                    .iter()
                    .filter(|entry| {
                        let platform = entry.platform.as_ref();
                        platform.is_some_and(|platform| platform.is(arch))
                    })
                    .map(|entry| entry.digest)
                    .collect();
                // Two images of one architecture, or two names, are two different things.
                if images.is_empty()
                    || tags.len() > 1
                    || fitting.len() > 1
                    || images.iter().any(|entry| entry.platform.is_none())
                {
                    return Err(ambiguous);
                }
                self.choose(&Index::new(images), arch)?
            }
            (_, Err(other)) => return Err(other),
        };
        if media_type::is_index(&descriptor.media_type) {
            let index = self.read_index(&descriptor)?;
            descriptor = self.choose(&index, arch)?;
        }
        let manifest = self.manifest(&descriptor)?;
        let config = self.config(&manifest.config)?;
        Ok(ResolvedImage {
            descriptor,
            manifest,
            config,
        })
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It isn't there, isn't what it is named, or is malformed.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, LayoutError> {
        if !media_type::is_manifest(&descriptor.media_type) {
            return Err(self.no_manifest(descriptor));
        }
        let bytes = self.read(descriptor, MANIFEST_LIMIT)?;
        Manifest::parse(&bytes).map_err(|source| self.invalid(descriptor, source))
    }

    /// Reads an index.
    ///
    /// # Errors
    /// It isn't there, isn't what it is named, or is malformed.
    pub fn read_index(&self, descriptor: &Descriptor) -> Result<Index, LayoutError> {
        if !media_type::is_index(&descriptor.media_type) {
            return Err(self.no_manifest(descriptor));
        }
        let bytes = self.read(descriptor, MANIFEST_LIMIT)?;
        Index::parse(&bytes).map_err(|source| self.invalid(descriptor, source))
    }

    /// Reads an image configuration.
    ///
    /// # Errors
    /// It isn't there, isn't what it is named, or is malformed.
    pub fn config(&self, descriptor: &Descriptor) -> Result<ImageConfig, LayoutError> {
        let bytes = self.read(descriptor, CONFIG_LIMIT)?;
        ImageConfig::parse(&bytes).map_err(|source| LayoutError::Config {
            path: self.root.clone(),
            digest: descriptor.digest,
            source,
        })
    }

    /// Reads a whole blob of at most `limit` bytes.
    ///
    /// # Errors
    /// It isn't there, is larger, or isn't what it is named.
    pub fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, LayoutError> {
        if descriptor.size > limit {
            return Err(LayoutError::TooLarge {
                path: self.root.clone(),
                digest: descriptor.digest,
                media_type: descriptor.media_type.clone(),
                size: descriptor.size,
                limit,
            });
        }
        let path = self.blob_path(&descriptor.digest);
        let file = self.open_file(descriptor)?;
        let mut bytes = Vec::new();
        // One byte more than is due tells a longer file apart.
        file.take(descriptor.size.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|source| LayoutError::Read {
                path: path.clone(),
                source,
            })?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest || bytes.len() as u64 != descriptor.size {
            return Err(LayoutError::Damaged {
                path,
                expected: descriptor.digest,
                size: descriptor.size,
                found,
                found_size: bytes.len() as u64,
            });
        }
        Ok(bytes)
    }

    /// Opens a blob of any size. It is read once as a whole, to check it, before this returns.
    ///
    /// # Errors
    /// It isn't there or isn't what it is named.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobReader, LayoutError> {
        let path = self.blob_path(&descriptor.digest);
        let read_error = |source| LayoutError::Read {
            path: path.clone(),
            source,
        };
        let mut file = self.open_file(descriptor)?;
        let mut reader = DigestReader::new(&mut file);
        let found_size = io::copy(&mut reader, &mut io::sink()).map_err(read_error)?;
        let (_, found, _) = reader.finish();
        if (found, found_size) != (descriptor.digest, descriptor.size) {
            return Err(LayoutError::Damaged {
                path,
                expected: descriptor.digest,
                size: descriptor.size,
                found,
                found_size,
            });
        }
        file.rewind().map_err(read_error)?;
        Ok(BlobReader {
            file,
            size: descriptor.size,
        })
    }

    /// Where a blob's file is, or would be. What it holds isn't checked.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn is_intact(&self, descriptor: &Descriptor) -> Result<bool, LayoutError> {
        match self.open_blob(descriptor) {
            Ok(_) => Ok(true),
            Err(LayoutError::Missing { .. } | LayoutError::Damaged { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn choose(&self, index: &Index, arch: Arch) -> Result<Descriptor, LayoutError> {
        let platform = |entry: &&Descriptor| {
            entry
                .platform
                .as_ref()
                .is_some_and(|platform| platform.is(arch))
        };
        match index.manifests.iter().find(platform) {
            Some(entry) => Ok(entry.clone()),
            None => Err(LayoutError::NoPlatform {
                path: self.root.clone(),
                arch,
                found: index
                    .manifests
                    .iter()
                    .filter_map(|entry| Some(entry.platform.as_ref()?.architecture.clone()))
                    .collect(),
            }),
        }
    }

    fn invalid(&self, descriptor: &Descriptor, source: InvalidManifest) -> LayoutError {
        LayoutError::Manifest {
            path: self.root.clone(),
            name: descriptor.digest.to_string(),
            source,
        }
    }

    fn no_manifest(&self, descriptor: &Descriptor) -> LayoutError {
        LayoutError::NoManifest {
            path: self.root.clone(),
            digest: descriptor.digest,
            media_type: descriptor.media_type.clone(),
        }
    }

    fn open_file(&self, descriptor: &Descriptor) -> Result<File, LayoutError> {
        let path = self.blob_path(&descriptor.digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LayoutError::Missing {
                path: self.root.clone(),
                digest: descriptor.digest,
            },
            _ => LayoutError::Read { path, source },
        })
    }

    fn read_file(&self, path: &Path, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let read = || {
            let mut bytes = Vec::new();
            File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > limit {
                return Err(io::Error::other(format!("it is larger than {limit} bytes")));
            }
            Ok(bytes)
        };
        read().map_err(|source| LayoutError::Read {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads, changes and writes `index.json` while no other process of polpo does.
    fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<(), LayoutError> {
        // The folder itself is locked: a lock file would be one more file in the layout.
        let folder = File::open(&self.root).map_err(|source| LayoutError::Read {
            path: self.root.clone(),
            source,
        })?;
        rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| WriteError::at("lock", &self.root)(error.into()))?;
        let mut index = self.index()?;
        change(&mut index);
        self.write_index(&index)
    }

    /// Makes `index` all that `index.json` says: for layouts that are one image index themselves.
    ///
    /// # Errors
    /// It can't be written.
    pub fn replace_index(&self, index: &Index) -> Result<(), LayoutError> {
        self.write_index(index)
    }

    fn write_index(&self, index: &Index) -> Result<(), LayoutError> {
        Ok(write_atomically(&self.index_path(), &index.to_bytes()?)?)
    }
}

/// The grammar of tags in OCI distribution 1.1.
fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= 128
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn image(layout: &Layout, layer: &[u8]) -> Descriptor {
        let config = ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            ..ImageConfig::default()
        };
        let config = layout
            .put_blob(media_type::CONFIG, &config.to_bytes().unwrap())
            .unwrap();
        let layer = layout.put_blob(media_type::LAYER_TAR_GZIP, layer).unwrap();
        let mut descriptor = layout
            .put_manifest(&Manifest::image(config, vec![layer]))
            .unwrap();
        descriptor.platform = Some(crate::Platform::linux(Arch::X86_64));
        descriptor
    }

    fn shown(layout: &Layout, error: LayoutError) -> String {
        error
            .to_string()
            .replace(&layout.root().display().to_string(), "DIR")
    }

    #[test]
    fn tags_and_referrers() {
        let folder = folder();
        let layout = Layout::create(folder.path().join("new")).unwrap();
        let first = image(&layout, b"first");
        let second = image(&layout, b"second");
        layout.tag("latest", &first).unwrap();
        layout.tag("latest", &second).unwrap();
        let blob = layout.put_blob(media_type::DSSE, b"{}").unwrap();
        let artifact = Manifest::artifact(media_type::DSSE, vec![blob], &second);
        layout.attach(&artifact).unwrap();
        layout.attach(&artifact).unwrap();

        let layout = Layout::open(layout.root()).unwrap();
        assert_eq!(layout.tags().unwrap(), ["latest"]);
        assert_eq!(layout.resolve(None).unwrap().digest, second.digest);
        let resolved = layout.image(Some("latest"), Arch::X86_64).unwrap();
        assert_eq!(resolved.descriptor.digest, second.digest);
        let referrers = layout.referrers(&second.digest).unwrap();
        assert_eq!(referrers.len(), 1);
        assert_eq!(referrers[0].1, artifact);
        assert!(layout.referrers(&first.digest).unwrap().is_empty());

        layout.tag("other", &first).unwrap();
        let error = layout.resolve(None).unwrap_err();
        insta::assert_snapshot!(shown(&layout, error), @"DIR has 2 images; name the tag of one of them: latest, other");
        let error = layout.resolve(Some("lates")).unwrap_err();
        insta::assert_snapshot!(shown(&layout, error), @"DIR has no image tagged `lates`; it has latest, other");
        assert!(matches!(
            layout.tag("../x", &first),
            Err(LayoutError::InvalidTag(_))
        ));
    }

    #[test]
    fn several_architectures() {
        let folder = folder();
        let layout = Layout::create(folder.path()).unwrap();
        let amd = image(&layout, b"amd");
        let mut arm = image(&layout, b"arm");
        arm.platform = Some(crate::Platform::linux(Arch::Aarch64));
        let index = layout
            .put_index(&Index::new(vec![amd, arm.clone()]))
            .unwrap();
        layout.tag("both", &index).unwrap();
        let found = layout.image(None, Arch::Aarch64).unwrap();
        assert_eq!(found.descriptor.digest, arm.digest);
        let error = layout.image(None, Arch::Riscv64).unwrap_err();
        insta::assert_snapshot!(shown(&layout, error), @"the image in DIR is not made for riscv64; it has amd64, arm64");
    }

    #[test]
    fn an_image_is_never_chosen_silently() {
        let folder = folder();
        let layout = Layout::create(folder.path()).unwrap();
        let (first, second) = (image(&layout, b"first"), image(&layout, b"second"));
        let mut arm = image(&layout, b"arm");
        arm.platform = Some(crate::Platform::linux(Arch::Aarch64));
        layout.tag("latest", &first).unwrap();
        let mut manifests = layout.index().unwrap().manifests;

        // Another architecture under the same name or none is apko's way.
        manifests.push(arm.clone());
        layout.write_index(&Index::new(manifests.clone())).unwrap();
        let found = layout.image(None, Arch::X86_64).unwrap();
        assert_eq!(found.descriptor.digest, first.digest);
        // An artefact is no image, not even if it can't be read.
        let blob = layout.put_blob(media_type::DSSE, b"{}").unwrap();
        let artifact = layout
            .attach(&Manifest::artifact(media_type::DSSE, vec![blob], &first))
            .unwrap();
        layout.image(None, Arch::X86_64).unwrap();
        std::fs::remove_file(layout.blob_path(&artifact.digest)).unwrap();
        layout.image(None, Arch::X86_64).unwrap();
        assert!(layout.referrers(&first.digest).is_err());
        assert_eq!(layout.possible_referrers(&first.digest).unwrap().len(), 1);

        // Two of one architecture, or two names, are not.
        manifests.push(second);
        layout.write_index(&Index::new(manifests)).unwrap();
        let error = layout.image(None, Arch::X86_64).unwrap_err();
        insta::assert_snapshot!(shown(&layout, error), @"DIR has 3 images; name the tag of one of them: latest");
        let other = folder.path().join("other");
        let layout = Layout::create(&other).unwrap();
        layout.tag("one", &image(&layout, b"one")).unwrap();
        let mut arm = image(&layout, b"two");
        arm.platform = Some(crate::Platform::linux(Arch::Aarch64));
        layout.tag("two", &arm).unwrap();
        let error = layout.image(None, Arch::X86_64).unwrap_err();
        insta::assert_snapshot!(shown(&layout, error), @"DIR has 2 images; name the tag of one of them: one, two");
    }

    #[test]
    fn damage_is_found() {
        let folder = folder();
        let layout = Layout::create(folder.path()).unwrap();
        let descriptor = image(&layout, b"first");
        layout.tag("latest", &descriptor).unwrap();
        let manifest = layout.manifest(&descriptor).unwrap();
        let layer = &manifest.layers[0];

        std::fs::write(layout.blob_path(&layer.digest), b"fjrst").unwrap();
        let error = layout.open_blob(layer).unwrap_err();
        insta::assert_snapshot!(shown(&layout, error), @"DIR/blobs/sha256/a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e is damaged: it should have 5 bytes of digest sha256:a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e, but has 5 of sha256:cedadb8692a0122671eaaeadf057a0e7e7c1d517203bc9cf355f650dbc6b9512; copy the image anew");
        // Writing the blob again mends it.
        layout
            .put_blob(media_type::LAYER_TAR_GZIP, b"first")
            .unwrap();
        layout.open_blob(layer).unwrap();
        std::fs::write(layout.blob_path(&layer.digest), b"first and more").unwrap();
        assert!(matches!(
            layout.read(layer, 100),
            Err(LayoutError::Damaged { found_size: 6, .. })
        ));
        std::fs::remove_file(layout.blob_path(&layer.digest)).unwrap();
        let error = layout.open_blob(layer).unwrap_err();
        assert!(matches!(error, LayoutError::Missing { .. }));

        let mut lying = descriptor.clone();
        lying.size = u64::MAX;
        assert!(matches!(
            layout.manifest(&lying),
            Err(LayoutError::TooLarge { .. })
        ));
    }

    #[test]
    fn other_folders_are_refused() {
        let folder = folder();
        let layout = Layout {
            root: folder.path().to_owned(),
        };
        let error = Layout::open(folder.path()).unwrap_err();
        insta::assert_snapshot!(shown(&layout, error), @"DIR is not an OCI image layout: it has no file `oci-layout`; polpo makes one by `polpo image build`");
        std::fs::write(
            folder.path().join("oci-layout"),
            b"{\"imageLayoutVersion\":\"2\"}",
        )
        .unwrap();
        let error = Layout::open(folder.path()).unwrap_err();
        insta::assert_snapshot!(shown(&layout, error), @"DIR is not an OCI image layout: its version is 2; only 1.0.0 is known; polpo makes one by `polpo image build`");
        std::fs::remove_file(folder.path().join("oci-layout")).unwrap();
        std::fs::write(folder.path().join("letters.txt"), b"x").unwrap();
        let error = Layout::create(folder.path()).unwrap_err();
        insta::assert_snapshot!(shown(&layout, error), @"DIR is not an OCI image layout: it holds other files; choose an empty folder; polpo makes one by `polpo image build`");
    }

    #[test]
    fn apko_layouts_read_back_byte_for_byte() {
        for name in ["golden", "top_image", "base_image"] {
            let layout = Layout::open(testkit::corpus().join("apko/cli").join(name)).unwrap();
            let mut images = 0;
            for arch in [Arch::X86_64, Arch::Aarch64] {
                let image = layout.image(None, arch).unwrap();
                let raw = layout.read(&image.descriptor, 1 << 20).unwrap();
                assert_eq!(image.manifest.to_bytes().unwrap(), raw);
                let raw = layout.read(&image.manifest.config, 1 << 20).unwrap();
                assert_eq!(image.config.to_bytes().unwrap(), raw);
                for layer in &image.manifest.layers {
                    layout.open_blob(layer).unwrap();
                }
                images += 1;
            }
            assert_eq!(images, 2);
        }
    }

    #[test]
    fn copied_files_are_what_they_are_said_to_be() {
        let folder = folder();
        let layout = Layout::create(folder.path().join("layout")).unwrap();
        let from = folder.path().join("file");
        std::fs::write(&from, b"other").unwrap();
        let error = layout
            .put_blob_file(&Descriptor::of(media_type::LAYER_TAR, b"otter"), &from)
            .unwrap_err();
        assert!(matches!(error, LayoutError::Damaged { .. }));
        let right = Descriptor::of(media_type::LAYER_TAR, b"other");
        layout.put_blob_file(&right, &from).unwrap();
        let names: Vec<_> = std::fs::read_dir(layout.root().join("blobs/sha256"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names, [right.digest.hex()]);
    }
}
