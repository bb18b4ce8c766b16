//! Finding all that belongs to an image.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use base::{Arch, Digest, Reporter};
use serde::Deserialize;
use store::Store;

use super::{Architectures, CopyError, CopyReport, CopySettings, Count, Origin, Referrers};
use crate::layout::CONFIG_LIMIT;
use crate::registry::{Reference, RegistryError};
use crate::{
    Companion, Descriptor, Document, DocumentContents, Layout, LayoutError, Platform, REF_NAME,
    media_type,
};

/// The most manifests that one image has, with all that refers to it.
const DOCUMENTS: usize = 10_000;

/// An image and all that refers to it.
pub(super) struct Gathered {
    pub(super) root: Document,
    /// What the root is made for, if it is one of several.
    pub(super) platform: Option<Platform>,
    /// In an order in which each comes after what it is made of, and after what it is about.
    order: Vec<Document>,
    referrers: BTreeSet<Digest>,
    /// Parts of an index are no entries of their own in a layout.
    parts: BTreeSet<Digest>,
    /// What cosign has under tags of its own.
    pub(super) tagged: Vec<(String, Document)>,
}

impl Gathered {
    /// All documents, in an order in which they can be written.
    pub(super) fn documents(&self) -> impl Iterator<Item = &Document> {
        self.order.iter()
    }

    pub(super) fn is_referrer(&self, document: &Document) -> bool {
        self.referrers.contains(&document.descriptor.digest)
    }

    /// What a layout lists besides the image.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Document> {
        let root = self.root.descriptor.digest;
        self.order.iter().filter(move |document| {
            let digest = document.descriptor.digest;
            self.referrers.contains(&digest) && !self.parts.contains(&digest) && digest != root
        })
    }

    pub(super) fn report(&self) -> CopyReport {
        CopyReport {
            digest: self.root.descriptor.digest,
            media_type: self.root.descriptor.media_type.clone(),
            names: Vec::new(),
            parts: self
                .root
                .manifests()
                .iter()
                .map(|part| part.digest)
                .collect(),
            manifests: Count::default(),
            blobs: Count::default(),
            referrers: Count::default(),
            sent_bytes: 0,
        }
    }
}

/// What a layout says of what refers to what.
struct Listed {
    about: BTreeMap<Digest, Vec<Document>>,
    tags: BTreeMap<String, Descriptor>,
}

struct Gatherer<'a> {
    origin: &'a Origin,
    listed: Option<Listed>,
    reporter: &'a dyn Reporter,
    order: Vec<Document>,
    met: BTreeSet<Digest>,
    referrers: BTreeSet<Digest>,
    parts: BTreeSet<Digest>,
    tagged: Vec<(String, Document)>,
}

/// Reads all manifests of an image, and of what refers to it.
pub(super) async fn gather(
    origin: &Origin,
    settings: CopySettings,
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<Gathered, CopyError> {
    let (mut root, mut platform) = root(origin, reporter).await?;
    let is_index = media_type::is_index(&root.descriptor.media_type);
    match settings.architectures {
        Architectures::Only(arch) | Architectures::OneOfSeveral(arch) if is_index => {
            let part = choose(&root, arch, origin)?;
            platform.clone_from(&part.platform);
            root = origin.document(&part, reporter).await?;
        }
        Architectures::Only(arch) => {
            check_architecture(&root, arch, origin, store, reporter).await?
        }
        Architectures::All | Architectures::OneOfSeveral(_) => {}
    }
    let listed = match origin {
        Origin::Layout { layout, .. } if settings.referrers != Referrers::None => {
            Some(Listed::of(layout)?)
        }
        _ => None,
    };
    let mut gatherer = Gatherer {
        origin,
        listed,
        reporter,
        order: Vec::new(),
        met: BTreeSet::new(),
        referrers: BTreeSet::new(),
        parts: BTreeSet::new(),
        tagged: Vec::new(),
    };
    gatherer.with_parts(root.clone(), false).await?;
    if settings.referrers != Referrers::None {
        gatherer.follow().await?;
    }
    if let Referrers::Within(limit) = settings.referrers {
        gatherer.check_size(limit)?;
    }
    Ok(Gathered {
        root,
        platform,
        order: gatherer.order,
        referrers: gatherer.referrers,
        parts: gatherer.parts,
        tagged: gatherer.tagged,
    })
}

/// The image itself, and what it is made for if that is said outside of it.
async fn root(
    origin: &Origin,
    reporter: &dyn Reporter,
) -> Result<(Document, Option<Platform>), CopyError> {
    match origin {
        Origin::Registry {
            repository,
            reference,
        } => {
            let reference: Reference = reference.clone().or_latest();
            Ok((repository.document(&reference, reporter).await?, None))
        }
        Origin::Layout { layout, tag } => match (tag, layout.resolve(tag.as_deref())) {
            (_, Ok(descriptor)) => Ok((layout.document(&descriptor)?, descriptor.platform)),
            (None, Err(ambiguous @ LayoutError::Ambiguous { .. })) => {
                match layout.several_architectures()? {
                    Some(index) => Ok((index, None)),
                    None => Err(ambiguous.into()),
                }
            }
            (_, Err(error)) => Err(error.into()),
        },
    }
}

fn choose(root: &Document, arch: Arch, origin: &Origin) -> Result<Descriptor, CopyError> {
    let fits = |entry: &&Descriptor| {
        let platform = entry.platform.as_ref();
        platform.is_some_and(|platform| platform.is(arch))
    };
    match root.manifests().iter().find(fits) {
        Some(entry) => Ok(entry.clone()),
        None => {
            let platforms = root.manifests().iter().filter_map(|entry| {
                let platform = entry.platform.as_ref()?;
                Some(platform.architecture.as_str())
            });
            let found: Vec<&str> = platforms.collect();
            Err(CopyError::NoPlatform {
                what: origin.shown(),
                arch,
                found: match found.is_empty() {
                    true => "none".to_owned(),
                    false => found.join(", "),
                },
            })
        }
    }
}

/// Whether an image that is not one of several is made for `arch`, by its configuration.
async fn check_architecture(
    root: &Document,
    arch: Arch,
    origin: &Origin,
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<(), CopyError> {
    let DocumentContents::Manifest(manifest) = &root.contents else {
        return Ok(());
    };
    let mut file = origin.blob(&manifest.config, store, reporter).await?;
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.take(CONFIG_LIMIT).read_to_end(&mut bytes))
        .map_err(|source| RegistryError::Blob {
            digest: manifest.config.digest,
            source,
        })?;
    // An artefact's configuration may be anything: it is made for no architecture.
    let found = serde_json::from_slice(&bytes).map_or(None, |made: MadeFor| made.architecture);
    match found {
        Some(found) if found == arch.oci().0 => Ok(()),
        found => Err(CopyError::NoPlatform {
            what: origin.shown(),
            arch,
            found: found.unwrap_or_else(|| "none".to_owned()),
        }),
    }
}

/// The field of an image's configuration that says what it is made for.
#[derive(Deserialize)]
struct MadeFor {
    architecture: Option<String>,
}

impl Listed {
    fn of(layout: &Layout) -> Result<Listed, CopyError> {
        let mut listed = Listed {
            about: BTreeMap::new(),
            tags: BTreeMap::new(),
        };
        for entry in layout.index()?.manifests {
            let is_known = media_type::is_manifest(&entry.media_type)
                || media_type::is_index(&entry.media_type);
            if !is_known {
                continue;
            }
            if let Some(tag) = entry.annotations.get(REF_NAME) {
                listed.tags.insert(tag.clone(), entry.clone());
            }
            let document = layout.document(&entry)?;
            if let Some(subject) = document.subject() {
                let about = listed.about.entry(subject.digest).or_default();
                about.push(document);
            }
        }
        Ok(listed)
    }
}

impl Gatherer<'_> {
    /// Takes a document and what it lists, the parts first.
    async fn with_parts(&mut self, document: Document, referrer: bool) -> Result<(), CopyError> {
        // Each document waits on the stack until its parts are taken.
        let mut stack = vec![(document, false)];
        while let Some((document, has_parts)) = stack.pop() {
            let digest = document.descriptor.digest;
            if has_parts {
                self.order.push(document);
                continue;
            }
            if !self.met.insert(digest) {
                continue;
            }
            if self.met.len() > DOCUMENTS {
                return Err(self.too_many());
            }
            if referrer {
                self.referrers.insert(digest);
            }
            let parts = document.manifests().to_vec();
            stack.push((document, true));
            for part in parts {
                self.parts.insert(part.digest);
                if !self.met.contains(&part.digest) {
                    let part = self.origin.document(&part, self.reporter).await?;
                    stack.push((part, false));
                }
            }
        }
        Ok(())
    }

    /// Checks how much refers to the image.
    fn check_size(&self, limit: u64) -> Result<(), CopyError> {
        let referrers = self.order.iter();
        let referrers =
            referrers.filter(|document| self.referrers.contains(&document.descriptor.digest));
        let parts: BTreeMap<Digest, u64> = referrers
            .flat_map(|document| document.blobs().into_iter().chain([&document.descriptor]))
            .map(|part| (part.digest, part.size))
            .collect();
        let found = parts.into_values().fold(0, u64::saturating_add);
        match found <= limit {
            true => Ok(()),
            false => Err(CopyError::TooLarge {
                what: self.origin.shown(),
                found,
                limit,
            }),
        }
    }

    fn too_many(&self) -> CopyError {
        CopyError::TooMany {
            what: self.origin.shown(),
            limit: DOCUMENTS,
        }
    }

    /// Takes what refers to what was taken, and what refers to that.
    async fn follow(&mut self) -> Result<(), CopyError> {
        let mut next = 0;
        while let Some(document) = self.order.get(next) {
            next += 1;
            let subject = document.descriptor.digest;
            for document in self.about(&subject).await? {
                self.with_parts(document, true).await?;
            }
            for companion in Companion::ALL {
                let tag = companion.tag(&subject);
                let Some(document) = self.under_tag(&tag).await? else {
                    continue;
                };
                self.tagged.push((tag, document.clone()));
                self.with_parts(document, true).await?;
            }
        }
        Ok(())
    }

    async fn about(&self, subject: &Digest) -> Result<Vec<Document>, CopyError> {
        if let Some(listed) = &self.listed {
            return Ok(listed.about.get(subject).cloned().unwrap_or_default());
        }
        let Origin::Registry { repository, .. } = self.origin else {
            return Ok(Vec::new());
        };
        let mut documents = Vec::new();
        for entry in repository.referrers(subject, self.reporter).await? {
            if self.met.contains(&entry.digest) {
                continue;
            }
            let reference = repository.name().at(entry.digest);
            let document = match repository.document(&reference, self.reporter).await {
                Ok(document) => document,
                // Lists by tag outlive what they list.
                Err(RegistryError::NotFound(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let about = document.subject().map(|subject| subject.digest);
            if about != Some(*subject) {
                let what = format!("reading {reference}");
                return Err(RegistryError::Lie {
                    what,
                    reason: format!("it is listed as being about {subject} and is not"),
                }
                .into());
            }
            documents.push(document);
        }
        Ok(documents)
    }

    async fn under_tag(&self, tag: &str) -> Result<Option<Document>, CopyError> {
        match (self.origin, &self.listed) {
            (Origin::Layout { layout, .. }, Some(listed)) => match listed.tags.get(tag) {
                Some(entry) => Ok(Some(layout.document(entry)?)),
                None => Ok(None),
            },
            (Origin::Registry { repository, .. }, _) => {
                let reference = repository
                    .name()
                    .tagged(tag)
                    .map_err(RegistryError::Reference)?;
                if repository
                    .digest(&reference, self.reporter)
                    .await?
                    .is_none()
                {
                    return Ok(None);
                }
                Ok(Some(repository.document(&reference, self.reporter).await?))
            }
            _ => Ok(None),
        }
    }
}
