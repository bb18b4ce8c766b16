mod error;
mod from_store;
mod named;
mod read;
mod writing;

pub use error::LayoutError;
pub use named::NamedImages;
pub use read::{BlobReader, ResolvedImage};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Digest, DigestWriter};
use store::{AtomicFile, WriteError, write_atomically};

use crate::manifest::MANIFEST_LIMIT;
use crate::{Descriptor, Document, Index, Manifest, media_type};

/// The annotation that holds a tag in `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// Bytes of a blob that are copied and hashed at a time.
const COPIED: usize = 128 << 10;
/// The largest image configuration that is read.
pub(crate) const CONFIG_LIMIT: u64 = 8 << 20;

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
    writing: Arc<writing::Writing>,
}

/// That of the folder `root`, whatever is there.
fn at(root: PathBuf) -> Layout {
    Layout {
        root,
        writing: Arc::default(),
    }
}

impl Layout {
    /// Makes an empty layout in the folder `root`, or opens the one that is there.
    ///
    /// # Errors
    /// The folder holds something else, or can't be written to.
    pub fn create(root: impl Into<PathBuf>) -> Result<Layout, LayoutError> {
        let layout = at(root.into());
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
        let layout = at(root.into());
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
        self.begin_writing()?;
        if !self.is_intact(&descriptor)? {
            let is_new = path.symlink_metadata().is_err();
            write_atomically(&path, bytes)?;
            if is_new {
                self.has_put(descriptor.digest);
            }
        }
        Ok(descriptor)
    }

    /// Copies the file `from`, which `descriptor` describes, in as a blob; its size and digest
    /// are checked on the way.
    ///
    /// # Errors
    /// It can't be read or written, or isn't what `descriptor` says.
    pub fn put_blob_file(&self, descriptor: &Descriptor, from: &Path) -> Result<(), LayoutError> {
        self.begin_writing()?;
        if self.is_intact(descriptor)? {
            return Ok(());
        }
        let source = File::open(from).map_err(|source| LayoutError::Read {
            path: from.to_owned(),
            source,
        })?;
        let mut copied = self.put_blob_reader(descriptor, source);
        if let Err(LayoutError::Damaged { path, .. }) = &mut copied {
            from.clone_into(path);
        }
        copied
    }

    /// Copies what `descriptor` describes in as a blob; its size and digest are checked on the way.
    ///
    /// # Errors
    /// It can't be read or written, or isn't what `descriptor` says.
    pub fn put_blob_reader(
        &self,
        descriptor: &Descriptor,
        source: impl Read,
    ) -> Result<(), LayoutError> {
        let path = self.blob_path(&descriptor.digest);
        let mut source = BufReader::with_capacity(COPIED, source);
        self.begin_writing()?;
        let is_new = path.symlink_metadata().is_err();
        let mut file = AtomicFile::create(&path)?;
        let mut writer = DigestWriter::new(&mut file);
        io::copy(&mut source, &mut writer).map_err(WriteError::at("write", &path))?;
        let (_, found, found_size) = writer.finish();
        if (found, found_size) != (descriptor.digest, descriptor.size) {
            return Err(LayoutError::Damaged {
                path,
                expected: descriptor.digest,
                size: descriptor.size,
                found,
                found_size,
            });
        }
        file.commit()?;
        if is_new {
            self.has_put(descriptor.digest);
        }
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
        self.list(&descriptor)?;
        Ok(descriptor)
    }

    /// Writes a manifest or index with the bytes that it has. It isn't listed yet; see
    /// [`Layout::tag`] and [`Layout::list`].
    ///
    /// # Errors
    /// It can't be written.
    pub fn put_document(&self, document: &Document) -> Result<(), LayoutError> {
        self.put_blob(&document.descriptor.media_type, &document.bytes)
            .map(drop)
    }

    /// Lists a manifest of this layout without a tag in `index.json`, once.
    ///
    /// # Errors
    /// `index.json` can't be read or written.
    pub fn list(&self, descriptor: &Descriptor) -> Result<(), LayoutError> {
        self.change_index(|index| {
            if !index
                .manifests
                .iter()
                .any(|entry| entry.digest == descriptor.digest)
            {
                index.manifests.push(descriptor.clone());
            }
        })
    }

    /// Where a blob's file is, or would be. What it holds isn't checked.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    pub(crate) fn is_intact(&self, descriptor: &Descriptor) -> Result<bool, LayoutError> {
        match self.open_blob(descriptor) {
            Ok(_) => Ok(true),
            Err(LayoutError::Missing { .. } | LayoutError::Damaged { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn read_file(&self, path: &Path, limit: u64) -> Result<Vec<u8>, LayoutError> {
        store::read_bounded(path, limit).map_err(|source| LayoutError::Read {
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
pub(crate) fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= 128
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests;
