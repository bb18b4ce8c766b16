//! All images that a name of a layout leads to.

use std::collections::BTreeSet;

use base::Digest;

use super::{Layout, LayoutError, REF_NAME, ResolvedImage};
use crate::{Descriptor, Document, Index, Platform, media_type};

/// How deep indexes may lie in indexes.
const DEPTH: usize = 4;
/// The most images behind one name.
const IMAGES: usize = 256;

/// What a name of a layout leads to: one image, or one for each of several machines.
#[derive(Clone, Debug)]
pub struct NamedImages {
    /// The manifest or the index that has the name.
    pub root: Descriptor,
    /// The index, if it is one.
    pub index: Option<Index>,
    /// The images in the index's order, each with its platform: the index's word, else the
    /// configuration's.
    pub images: Vec<ResolvedImage>,
    /// What the index lists besides images, such as the attestations of a builder, which have no
    /// machine (`unknown`).
    pub others: Vec<Descriptor>,
}

impl Layout {
    /// The image or images with that tag; without one, the only ones there are.
    ///
    /// # Errors
    /// There is no such image, one can't be read, or the index lists more than can be.
    pub fn images_named(&self, tag: Option<&str>) -> Result<NamedImages, LayoutError> {
        let (root, document) = match (tag, self.resolve(tag)) {
            (_, Ok(descriptor)) => (descriptor.clone(), self.document(&descriptor)?),
            (None, Err(ambiguous @ LayoutError::Ambiguous { .. })) => {
                match self.several_architectures()? {
                    Some(document) => (document.descriptor.clone(), document),
                    None => return Err(ambiguous),
                }
            }
            (_, Err(other)) => return Err(other),
        };
        let mut named = NamedImages {
            root,
            index: None,
            images: Vec::new(),
            others: Vec::new(),
        };
        match document.contents {
            crate::DocumentContents::Manifest(_) => {
                let image = self.with_platform(named.root.clone())?;
                named.images.push(image);
            }
            crate::DocumentContents::Index(index) => {
                self.collect(&index, &mut named, 0)?;
                named.index = Some(*index);
            }
        }
        Ok(named)
    }

    fn collect(
        &self,
        index: &Index,
        named: &mut NamedImages,
        depth: usize,
    ) -> Result<(), LayoutError> {
        for entry in &index.manifests {
            let is_index = media_type::is_index(&entry.media_type);
            let is_image = media_type::is_manifest(&entry.media_type)
                && entry.artifact_type.as_deref().is_none_or(is_config)
                && entry
                    .platform
                    .as_ref()
                    .is_none_or(|platform| platform.os != "unknown");
            if named.images.len() + named.others.len() >= IMAGES || (is_index && depth >= DEPTH) {
                return Err(LayoutError::TooMany {
                    path: self.root().to_owned(),
                    digest: named.root.digest,
                    limit: IMAGES,
                });
            }
            if is_index {
                self.collect(&self.read_index(entry)?, named, depth + 1)?;
            } else if is_image {
                let image = self.with_platform(entry.clone())?;
                named.images.push(image);
            } else {
                named.others.push(entry.clone());
            }
        }
        Ok(())
    }

    fn with_platform(&self, mut descriptor: Descriptor) -> Result<ResolvedImage, LayoutError> {
        let manifest = self.manifest(&descriptor)?;
        let config = self.config(&manifest.config)?;
        if descriptor.platform.is_none() {
            descriptor.platform = Some(Platform {
                architecture: config.architecture.clone(),
                os: config.os.clone(),
                os_version: None,
                os_features: config.os_features.clone(),
                variant: config.variant.clone(),
            });
        }
        Ok(ResolvedImage {
            descriptor,
            manifest,
            config,
        })
    }

    /// apko's layouts list the architectures of one image in `index.json` itself: the index of it.
    pub(crate) fn several_architectures(&self) -> Result<Option<Document>, LayoutError> {
        let mut images = self.images()?;
        let mut platforms: Vec<&Platform> = Vec::new();
        for image in &images {
            match &image.platform {
                Some(platform)
                    if !platforms.contains(&platform)
                        && !image.annotations.contains_key(REF_NAME) =>
                {
                    platforms.push(platform);
                }
                _ => return Ok(None),
            }
        }
        if images.is_empty() {
            return Ok(None);
        }
        let whole = self.index()?;
        images.retain(|image| media_type::is_manifest(&image.media_type));
        let index = Index {
            annotations: whole.annotations,
            ..Index::new(images)
        };
        let bytes = index.to_bytes().map_err(LayoutError::Json)?;
        let read = Document::read(media_type::INDEX, bytes);
        let document = read.map_err(|source| LayoutError::Manifest {
            path: self.root().to_owned(),
            name: "index.json".to_owned(),
            source,
        })?;
        Ok(Some(document))
    }
}

/// Whether an artefact type is that of images: apko writes it in indexes.
fn is_config(artifact_type: &str) -> bool {
    artifact_type == media_type::CONFIG
}

impl NamedImages {
    /// The digests of all manifests: the root and each image.
    pub fn digests(&self) -> BTreeSet<Digest> {
        let images = self.images.iter().map(|image| image.descriptor.digest);
        images.chain([self.root.digest]).collect()
    }
}
