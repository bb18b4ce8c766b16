use std::io;
use std::path::PathBuf;

use base::{Arch, Digest};
use store::{StoreError, WriteError};

use crate::{InvalidConfig, InvalidManifest};

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
    /// The store that blobs are taken from failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// An index without end.
    #[error("{digest} in {} lists more than {limit} images, or lists of lists; name one image by its digest", path.display())]
    TooMany {
        /// The layout.
        path: PathBuf,
        /// The index.
        digest: Digest,
        /// The most images that are read.
        limit: usize,
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
