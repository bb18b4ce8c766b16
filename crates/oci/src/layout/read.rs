//! Finding images in a layout and reading them; every blob is checked.

use std::fs::File;
use std::io::{self, Read, Seek};

use base::{Arch, Digest};

use super::{CONFIG_LIMIT, Layout, LayoutError, REF_NAME};
use crate::manifest::MANIFEST_LIMIT;
use crate::{
    Companion, Descriptor, Document, ImageConfig, Index, InvalidManifest, Manifest, media_type,
};

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

    /// The file, positioned at the blob's first byte.
    pub fn into_file(self) -> File {
        self.file
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
    pub(crate) fn images(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let mut images = Vec::new();
        for entry in self.index()?.manifests {
            let tag = entry.annotations.get(REF_NAME);
            if tag.is_some_and(|tag| Companion::is_tag(tag)) {
                continue;
            }
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

    /// The image with that tag (without one, the only image), for `arch`, with its manifest and
    /// configuration. Where no architecture is named, it is this machine's of an image that is made for
    /// several, and whatever the image is made for else.
    ///
    /// # Errors
    /// There is no such image, it is not made for `arch`, or it can't be read.
    pub fn image(
        &self,
        tag: Option<&str>,
        named: impl Into<Option<Arch>>,
    ) -> Result<ResolvedImage, LayoutError> {
        let named = named.into();
        let arch = named.unwrap_or(Arch::host());
        let mut is_only_one = true;
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
                is_only_one = false;
                self.choose(&Index::new(images), arch)?
            }
            (_, Err(other)) => return Err(other),
        };
        if media_type::is_index(&descriptor.media_type) {
            let index = self.read_index(&descriptor)?;
            descriptor = self.choose(&index, arch)?;
            is_only_one = false;
        }
        let manifest = self.manifest(&descriptor)?;
        let config = self.config(&manifest.config)?;
        let (architecture, _) = arch.oci();
        // What an index lists is for the platform that it says.
        if named.is_some() && is_only_one && config.architecture != architecture {
            return Err(LayoutError::NoPlatform {
                path: self.root.clone(),
                arch,
                found: vec![config.architecture],
            });
        }
        Ok(ResolvedImage {
            descriptor,
            manifest,
            config,
        })
    }

    /// Reads a manifest or an index, and keeps its bytes.
    ///
    /// # Errors
    /// It isn't there, isn't what it is named, or is malformed.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Document, LayoutError> {
        let is_known = media_type::is_manifest(&descriptor.media_type)
            || media_type::is_index(&descriptor.media_type);
        if !is_known {
            return Err(self.no_manifest(descriptor));
        }
        let bytes = self.read(descriptor, MANIFEST_LIMIT)?;
        Document::read(&descriptor.media_type, bytes)
            .map_err(|source| self.invalid(descriptor, source))
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
        let (found, found_size) = Digest::of_all(&mut file).map_err(read_error)?;
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
}
