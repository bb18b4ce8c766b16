use std::collections::BTreeMap;

use base::Digest;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{Descriptor, Index, InvalidManifest, Manifest, media_type};

/// A manifest or index with the very bytes that its digest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is: media type, size, digest, and the kind of artefact.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What they say.
    pub contents: DocumentContents,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentContents {
    /// An image, or an artefact.
    Manifest(Box<Manifest>),
    /// A list of manifests.
    Index(Box<Index>),
}

/// The fields that tell what a document is.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

impl Document {
    /// Reads a document that is said to be of `media_type`; what it says of itself has to agree, and
    /// it may not be two things at once.
    ///
    /// # Errors
    /// [`InvalidManifest`].
    pub fn read(media_type: &str, bytes: Vec<u8>) -> Result<Document, InvalidManifest> {
        crate::manifest::check_size(&bytes)?;
        let head: Head = serde_json::from_slice(&bytes)?;
        if let Some(found) = head.media_type
            && found != media_type
        {
            return Err(InvalidManifest::Contradiction {
                found,
                said: media_type.to_owned(),
            });
        }
        let has = |name: &str| head.others.contains_key(name);
        if has("manifests") && (has("layers") || has("config")) {
            return Err(InvalidManifest::TwoThings);
        }
        let contents = if media_type::is_manifest(media_type) {
            DocumentContents::Manifest(Box::new(Manifest::parse(&bytes)?))
        } else if media_type::is_index(media_type) {
            DocumentContents::Index(Box::new(Index::parse(&bytes)?))
        } else {
            return Err(InvalidManifest::Unknown(media_type.to_owned()));
        };
        let mut descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        descriptor.artifact_type = match &contents {
            DocumentContents::Manifest(manifest) => manifest.artifact_type.clone(),
            DocumentContents::Index(index) => index.artifact_type.clone(),
        };
        Ok(Document {
            descriptor,
            bytes,
            contents,
        })
    }

    /// As [`Document::read`], where only the document itself says what it is.
    ///
    /// # Errors
    /// [`InvalidManifest`].
    pub fn read_untold(bytes: Vec<u8>) -> Result<Document, InvalidManifest> {
        crate::manifest::check_size(&bytes)?;
        let head: Head = serde_json::from_slice(&bytes)?;
        let media_type = match head.media_type {
            Some(media_type) => media_type,
            None if head.others.contains_key("manifests") => media_type::INDEX.to_owned(),
            None => media_type::MANIFEST.to_owned(),
        };
        Document::read(&media_type, bytes)
    }

    /// The manifests that it lists.
    pub fn manifests(&self) -> &[Descriptor] {
        match &self.contents {
            DocumentContents::Manifest(_) => &[],
            DocumentContents::Index(index) => &index.manifests,
        }
    }

    /// The blobs that it is made of: the configuration, then the layers.
    pub fn blobs(&self) -> Vec<&Descriptor> {
        match &self.contents {
            DocumentContents::Manifest(manifest) => std::iter::once(&manifest.config)
                .chain(&manifest.layers)
                .collect(),
            DocumentContents::Index(_) => Vec::new(),
        }
    }

    /// What it is about, if it is an artefact about something.
    pub fn subject(&self) -> Option<&Descriptor> {
        match &self.contents {
            DocumentContents::Manifest(manifest) => manifest.subject.as_ref(),
            DocumentContents::Index(index) => index.subject.as_ref(),
        }
    }

    /// How lists of what refers to an image describe it (OCI distribution, "Listing Referrers").
    pub fn as_referrer(&self) -> Descriptor {
        let mut descriptor = self.descriptor.clone();
        match &self.contents {
            DocumentContents::Manifest(manifest) => {
                if descriptor.artifact_type.is_none() {
                    descriptor.artifact_type = Some(manifest.config.media_type.clone());
                }
                descriptor.annotations.clone_from(&manifest.annotations);
            }
            DocumentContents::Index(index) => {
                descriptor.annotations.clone_from(&index.annotations);
            }
        }
        descriptor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_one_thing_and_says_so() {
        let image = Manifest::image(Descriptor::of(media_type::CONFIG, b"{}"), Vec::new());
        let bytes = image.to_bytes().unwrap();
        let read = Document::read(media_type::MANIFEST, bytes.clone()).unwrap();
        assert_eq!(read.descriptor.digest, Digest::of(&bytes));
        assert_eq!(read.blobs().len(), 1);
        assert_eq!(Document::read_untold(bytes.clone()).unwrap(), read);

        let said = |media_type: &str, bytes: &[u8]| {
            Document::read(media_type, bytes.to_vec())
                .unwrap_err()
                .to_string()
        };
        let text = String::from_utf8(bytes.clone()).unwrap();
        let both = text.replacen('{', r#"{"manifests":[],"#, 1);
        let lines = [
            said(media_type::INDEX, &bytes),
            said(media_type::DOCKER_MANIFEST, &bytes),
            said(media_type::MANIFEST, both.as_bytes()),
            said("text/html", b"{}"),
            said(media_type::MANIFEST, b"<html>"),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"
        it is said to be a `application/vnd.oci.image.index.v1+json`, but calls itself `application/vnd.oci.image.manifest.v1+json`
        it is said to be a `application/vnd.docker.distribution.manifest.v2+json`, but calls itself `application/vnd.oci.image.manifest.v1+json`
        it is an image and a list of images at once
        `text/html` is no kind of manifest or index that is known
        it is not of the OCI image format
        ");
    }
}
