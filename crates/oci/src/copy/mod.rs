//! Copying images between registries and layouts, with everything that refers to them.
//!
//! Bytes are copied, never made anew, so digests stay. What a name leads to appears last: blobs,
//! manifests, what refers to them, then the names. What is there already isn't sent again.

mod gather;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use base::{Arch, Digest, Event, Reporter};
use futures_util::StreamExt as _;
use serde::Serialize;
use store::{Store, StoreError};

use crate::registry::{Pushed, Reference, RegistryError, Repository, RepositoryName};
use crate::{Descriptor, Document, Layout, LayoutError};

use gather::Gathered;

/// Where an image is copied from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A registry; what it gives is kept in the store.
    Registry {
        /// The repository.
        repository: Repository,
        /// Which of its images.
        reference: Reference,
    },
    /// A layout.
    Layout {
        /// The layout.
        layout: Layout,
        /// Which of its images; without a tag, the only one.
        tag: Option<String>,
    },
}

/// Whether what refers to an image is copied: signatures, SBOMs, provenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// Nothing of it.
    None,
    /// All of it.
    All,
    /// All of it, if it has no more bytes together: anybody who may write to a repository can
    /// attach what they like.
    Within(u64),
}

/// Which architectures of an image are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architectures {
    /// All that it has.
    All,
    /// This one; an image that is not made for it is refused.
    Only(Arch),
    /// This one of several; an image that is made for one alone is that one, whichever it is.
    OneOfSeveral(Arch),
}

impl Architectures {
    /// That one only where one is named, else all.
    pub fn named(arch: Option<Arch>) -> Architectures {
        arch.map_or(Architectures::All, Architectures::Only)
    }
}

/// What is copied.
#[derive(Clone, Copy, Debug)]
pub struct CopySettings {
    /// Also what refers to the image.
    pub referrers: Referrers,
    /// Of an image that is made for several architectures.
    pub architectures: Architectures,
    /// How many blobs are on their way at a time.
    pub parallel: usize,
}

impl Default for CopySettings {
    fn default() -> CopySettings {
        CopySettings {
            referrers: Referrers::All,
            architectures: Architectures::All,
            parallel: 4,
        }
    }
}

/// What copying has done.
#[derive(Clone, Debug, Serialize)]
pub struct CopyReport {
    /// The digest of the image.
    pub digest: Digest,
    /// Its media type: a manifest's or an index's.
    pub media_type: String,
    /// The names that it has now, or had already.
    pub names: Vec<String>,
    /// The digests of the images that it lists, if it is an index.
    pub parts: Vec<Digest>,
    /// Manifests and indexes: how many there are, and how many were there before.
    pub manifests: Count,
    /// Blobs.
    pub blobs: Count,
    /// What refers to the image, or to a part of it.
    pub referrers: Count,
    /// Bytes of blobs that were sent.
    pub sent_bytes: u64,
}

/// How many of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// All.
    pub all: usize,
    /// Those that were there already.
    pub existing: usize,
    /// Those that the registry took from another of its repositories.
    pub mounted: usize,
}

impl Count {
    fn add(&mut self, pushed: Pushed) {
        self.all += 1;
        match pushed {
            Pushed::Existing => self.existing += 1,
            Pushed::Mounted => self.mounted += 1,
            Pushed::Sent => {}
        }
    }

    /// Those that were sent or written.
    pub fn sent(&self) -> usize {
        self.all.saturating_sub(self.existing + self.mounted)
    }
}

/// An image can't be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A registry did not do what was asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layout can't be read or written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The store can't take what comes.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name's digest is another image's.
    #[error("{reference} is not what is to be published there: that has the digest {found}")]
    OtherDigest {
        /// The name.
        reference: Reference,
        /// What the image has.
        found: Digest,
    },
    /// A manifest says something else of a blob than is true.
    #[error(
        "the manifest says that {digest} has {said} bytes, and it has {found}; such an image is not copied"
    )]
    OtherSize {
        /// The blob.
        digest: Digest,
        /// What its descriptor says.
        said: u64,
        /// What it has.
        found: u64,
    },
    /// The image isn't made for that architecture.
    #[error("{what} is not made for {arch}; it has {found}")]
    NoPlatform {
        /// The image.
        what: String,
        /// What was asked for.
        arch: Arch,
        /// What there is.
        found: String,
    },
    /// What refers to an image has no end.
    #[error("{what} has more than {limit} manifests with all that refers to it")]
    TooMany {
        /// The image.
        what: String,
        /// The most that are copied.
        limit: usize,
    },
    /// What refers to an image is larger than is wanted.
    #[error(
        "what refers to {what} has {found} bytes, and no more than {limit} are looked at; remove from the repository what nobody needs, or copy the image without it"
    )]
    TooLarge {
        /// The image.
        what: String,
        /// All its bytes.
        found: u64,
        /// The most that are wanted.
        limit: u64,
    },
}

impl Origin {
    /// For messages.
    pub fn shown(&self) -> String {
        match self {
            Origin::Registry { reference, .. } => reference.to_string(),
            Origin::Layout { layout, tag } => match tag {
                Some(tag) => format!("{}:{tag}", layout.root().display()),
                None => layout.root().display().to_string(),
            },
        }
    }

    async fn document(
        &self,
        descriptor: &Descriptor,
        reporter: &dyn Reporter,
    ) -> Result<Document, CopyError> {
        Ok(match self {
            Origin::Registry { repository, .. } => {
                repository.described(descriptor, reporter).await?
            }
            Origin::Layout { layout, .. } => layout.document(descriptor)?,
        })
    }

    /// A blob, checked; its file is positioned anywhere.
    async fn blob(
        &self,
        blob: &Descriptor,
        store: &Store,
        reporter: &dyn Reporter,
    ) -> Result<File, CopyError> {
        match self {
            Origin::Registry { repository, .. } => {
                match store.open_verified(&blob.digest) {
                    Ok(file) => return sized(file, blob),
                    Err(StoreError::Missing(_) | StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                let arrived = repository.fetch_blob(blob, store, reporter).await?;
                arrived.keep(store)?;
                sized(store.open_verified(&blob.digest)?, blob)
            }
            Origin::Layout { layout, .. } => Ok(layout.open_blob(blob)?.into_file()),
        }
    }

    fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Origin::Registry { reference, .. } => Some(reference.repository()),
            Origin::Layout { .. } => None,
        }
    }
}

/// A file of the store, whose digest is right already, of the size that its descriptor says.
fn sized(file: File, blob: &Descriptor) -> Result<File, CopyError> {
    match file.metadata() {
        Ok(metadata) if metadata.len() == blob.size => Ok(file),
        Ok(metadata) => Err(CopyError::OtherSize {
            digest: blob.digest,
            said: blob.size,
            found: metadata.len(),
        }),
        Err(source) => Err(RegistryError::Blob {
            digest: blob.digest,
            source,
        }
        .into()),
    }
}

/// Copies an image into a repository and gives it names there. `from` are other repositories of the
/// same registry that may have its blobs.
///
/// # Errors
/// See [`CopyError`]. A name is only given once all is there.
pub async fn to_registry(
    origin: &Origin,
    repository: &Repository,
    references: &[Reference],
    from: &[RepositoryName],
    settings: CopySettings,
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<CopyReport, CopyError> {
    let gathered = gather::gather(origin, settings, store, reporter).await?;
    let root = gathered.root.descriptor.digest;
    for reference in references {
        if let Some(digest) = reference.digest()
            && digest != root
        {
            return Err(CopyError::OtherDigest {
                reference: reference.clone(),
                found: root,
            });
        }
    }
    let mut siblings: Vec<RepositoryName> = origin.repository().cloned().into_iter().collect();
    siblings.extend_from_slice(from);
    let mut report = gathered.report();

    // What a manifest needs was there before it; one that is there has all of it.
    let mut missing: Vec<&Document> = Vec::new();
    for document in gathered.documents() {
        let reference = repository.name().at(document.descriptor.digest);
        let is_there = repository.digest(&reference, reporter).await?.is_some();
        let count = match gathered.is_referrer(document) {
            true => &mut report.referrers,
            false => &mut report.manifests,
        };
        count.add(match is_there {
            true => Pushed::Existing,
            false => Pushed::Sent,
        });
        if !is_there {
            missing.push(document);
        }
    }
    let mut blobs: BTreeMap<Digest, &Descriptor> = BTreeMap::new();
    for document in &missing {
        blobs.extend(document.blobs().into_iter().map(|blob| (blob.digest, blob)));
    }
    let push = async |blob: &Descriptor| -> Result<Option<(Pushed, u64)>, CopyError> {
        // A registry can take it from its other repository without us.
        if origin.repository().is_some()
            && let Some(pushed) = repository.claim_blob(blob, &siblings, reporter).await?
        {
            return Ok(Some((pushed, 0)));
        }
        let file = match origin.blob(blob, store, reporter).await {
            Ok(file) => file,
            Err(error) => return elsewhere(blob, error, reporter).map(|()| None),
        };
        let from = match origin {
            Origin::Registry { .. } => &[][..],
            Origin::Layout { .. } => &siblings,
        };
        let pushed = repository
            .push_blob(blob, &Arc::new(file), from, reporter)
            .await?;
        let sent = match pushed {
            Pushed::Sent => blob.size,
            Pushed::Existing | Pushed::Mounted => 0,
        };
        Ok(Some((pushed, sent)))
    };
    let mut work = futures_util::stream::iter(blobs.into_values())
        .map(push)
        .buffer_unordered(settings.parallel.max(1));
    while let Some(result) = work.next().await {
        if let Some((pushed, sent)) = result? {
            report.blobs.add(pushed);
            report.sent_bytes += sent;
        }
    }
    drop(work);
    for document in &missing {
        repository.put_document(document, None, reporter).await?;
    }
    for (tag, document) in &gathered.tagged {
        name(repository, tag, document, reporter).await?;
    }
    for reference in references {
        if let Some(tag) = reference.tag() {
            name(repository, tag, &gathered.root, reporter).await?;
        }
        report.names.push(reference.to_string());
    }
    Ok(report)
}

/// Gives a document a tag, unless it has it.
async fn name(
    repository: &Repository,
    tag: &str,
    document: &Document,
    reporter: &dyn Reporter,
) -> Result<(), CopyError> {
    let reference = repository
        .name()
        .tagged(tag)
        .map_err(RegistryError::Reference)?;
    if repository.digest(&reference, reporter).await? != Some(document.descriptor.digest) {
        repository
            .put_document(document, Some(tag), reporter)
            .await?;
    }
    Ok(())
}

/// Copies an image into the layout in the folder `root`, which is made or added to, under a tag.
///
/// # Errors
/// See [`CopyError`]. A new layout appears whole or not at all; one that is there gets the name last.
pub async fn to_layout(
    origin: &Origin,
    root: &Path,
    tag: Option<&str>,
    settings: CopySettings,
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<CopyReport, CopyError> {
    let gathered = gather::gather(origin, settings, store, reporter).await?;
    Layout::fill_slowly(root, async |layout| {
        fill(layout, &gathered, origin, tag, settings, store, reporter).await
    })
    .await
    .map(|mut report| {
        report.names.push(match tag {
            Some(tag) => format!("{}:{tag}", root.display()),
            None => root.display().to_string(),
        });
        report
    })
}

async fn fill(
    layout: &Layout,
    gathered: &Gathered,
    origin: &Origin,
    tag: Option<&str>,
    settings: CopySettings,
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<CopyReport, CopyError> {
    let mut report = gathered.report();
    let mut blobs: BTreeMap<Digest, &Descriptor> = BTreeMap::new();
    for document in gathered.documents() {
        blobs.extend(document.blobs().into_iter().map(|blob| (blob.digest, blob)));
    }
    let bring = async |blob: &Descriptor| -> Result<Option<(Pushed, u64)>, CopyError> {
        if layout.is_intact(blob)? {
            return Ok(Some((Pushed::Existing, 0)));
        }
        let file = match origin.blob(blob, store, reporter).await {
            Ok(file) => file,
            Err(error) => return elsewhere(blob, error, reporter).map(|()| None),
        };
        layout.put_blob_reader(blob, file)?;
        Ok(Some((Pushed::Sent, blob.size)))
    };
    let mut work = futures_util::stream::iter(blobs.into_values())
        .map(bring)
        .buffer_unordered(settings.parallel.max(1));
    while let Some(result) = work.next().await {
        if let Some((pushed, sent)) = result? {
            report.blobs.add(pushed);
            report.sent_bytes += sent;
        }
    }
    drop(work);
    for document in gathered.documents() {
        let is_there = layout.is_intact(&document.descriptor)?;
        let pushed = match is_there {
            true => Pushed::Existing,
            false => Pushed::Sent,
        };
        layout.put_document(document)?;
        match gathered.is_referrer(document) {
            true => report.referrers.add(pushed),
            false => report.manifests.add(pushed),
        }
    }
    for document in gathered.listed() {
        layout.list(&document.as_referrer())?;
    }
    for (tag, document) in &gathered.tagged {
        layout.tag(tag, &document.descriptor)?;
    }
    let mut descriptor = gathered.root.descriptor.clone();
    descriptor.platform.clone_from(&gathered.platform);
    match tag {
        Some(tag) => layout.tag(tag, &descriptor)?,
        None => layout.list(&descriptor)?,
    }
    Ok(report)
}

/// A blob that its manifest says is to be had elsewhere need not be in a registry.
fn elsewhere(
    blob: &Descriptor,
    error: CopyError,
    reporter: &dyn Reporter,
) -> Result<(), CopyError> {
    let is_missing = matches!(
        error,
        CopyError::Registry(RegistryError::NotFound(_))
            | CopyError::Layout(LayoutError::Missing { .. })
    );
    if !is_missing || blob.urls.is_empty() {
        return Err(error);
    }
    let message = format!(
        "{error}; its manifest says that it is to be had elsewhere, so the copy has it not either"
    );
    reporter.report(Event::Notice { message: &message });
    Ok(())
}
