//! The image that statements are about, and where they are put.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use base::{Digest, Epoch};
use image::{Attaching, Form, Signer};
use oci::registry::Repository;
use oci::{Companion, Descriptor, Document, DocumentContents, Layout, LayoutError};
use tempfile::TempDir;

use super::place::Place;
use crate::arguments::trust::Signing;
use crate::output::failure::Failure;
use crate::settings::Session;

/// An image and the layout in which statements about it are written.
pub(super) struct Subject<'s> {
    layout: Layout,
    image: Descriptor,
    /// Where they go from there, and the folder of the layout, which is gone afterwards.
    remote: Option<(Repository, TempDir)>,
    name: String,
    form: Form,
    session: &'s Session<'s>,
}

impl<'s> Subject<'s> {
    /// Finds the image.
    pub(super) async fn find(
        signing: &Signing,
        session: &'s Session<'s>,
    ) -> Result<Subject<'s>, Failure> {
        let what = || format!("{} was not signed", signing.image);
        let place = Place::parse(&signing.image)?;
        let form = match signing.legacy {
            true => Form::Legacy,
            false => Form::Bundle,
        };
        match place {
            Place::Layout(path, tag) => {
                let image = image_of(signing, &path, tag);
                let (layout, image) = image.map_err(|error| Failure::failed(what(), error))?;
                Ok(Subject {
                    layout,
                    image,
                    remote: None,
                    name: String::new(),
                    form,
                    session,
                })
            }
            Place::Registry(reference) => {
                let reference = reference.or_latest();
                let repository = session
                    .registry(&signing.registries)
                    .repository(reference.repository());
                let reporter = session.reporter();
                let document = repository
                    .document(&reference, reporter)
                    .await
                    .map_err(|error| Failure::failed(what(), error))?;
                let folder = tempfile::tempdir().map_err(|error| Failure::failed(what(), error))?;
                let layout = Layout::create(folder.path().join("layout"))
                    .map_err(|error| Failure::failed(what(), error))?;
                let subject = Subject {
                    layout,
                    image: document.descriptor,
                    name: reference.repository().to_string(),
                    remote: Some((repository, folder)),
                    form,
                    session,
                };
                // In the older way what there is already is added to.
                if form == Form::Legacy {
                    subject.fetch_companions().await?;
                }
                Ok(subject)
            }
            _ => Err(Failure::Usage(format!(
                "`{}` can't be signed: name the folder of a layout, or a reference",
                signing.image
            ))),
        }
    }

    /// The image's digest.
    pub(super) fn digest(&self) -> Digest {
        self.image.digest
    }

    /// What it is known by in its registry; nothing in a layout.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn attaching<'a>(&'a self, epoch: Epoch, signer: Signer<'a>) -> Attaching<'a> {
        Attaching {
            layout: &self.layout,
            image: &self.image,
            signer,
            form: self.form,
            epoch,
        }
    }

    async fn fetch_companions(&self) -> Result<(), Failure> {
        let Some((repository, _)) = &self.remote else {
            return Ok(());
        };
        let what = || format!("{} was not signed", self.name);
        for kind in [Companion::Signatures, Companion::Attestations] {
            let tag = kind.tag(&self.image.digest);
            let reporter = self.session.reporter();
            let reference = repository
                .name()
                .tagged(&tag)
                .map_err(|error| Failure::failed(what(), error))?;
            let found = repository
                .digest(&reference, reporter)
                .await
                .map_err(|error| Failure::failed(what(), error))?;
            if found.is_none() {
                continue;
            }
            let document = repository
                .document(&reference, reporter)
                .await
                .map_err(|error| Failure::failed(what(), error))?;
            self.layout
                .put_document(&document)
                .and_then(|()| self.layout.tag(&tag, &document.descriptor))
                .map_err(|error| Failure::failed(what(), error))?;
        }
        Ok(())
    }

    /// Sends what was attached to where the image is.
    pub(super) async fn send(&self, attached: &[Descriptor]) -> Result<(), Failure> {
        let Some((repository, _)) = &self.remote else {
            return Ok(());
        };
        let what = || format!("{} was not signed", self.name);
        let failed = |error: LayoutError| Failure::failed(what(), error);
        let reporter = self.session.reporter();
        let mut sent: Vec<Digest> = Vec::new();
        for descriptor in attached {
            // In the older way the last manifest of a tag is the one that counts.
            let document = match self.form {
                Form::Bundle => self.layout.document(descriptor).map_err(failed)?,
                Form::Legacy => match self.current(descriptor).map_err(failed)? {
                    Some(document) => document,
                    None => continue,
                },
            };
            if sent.contains(&document.descriptor.digest) {
                continue;
            }
            sent.push(document.descriptor.digest);
            let DocumentContents::Manifest(manifest) = &document.contents else {
                continue;
            };
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                // What was there before is there still.
                let path = self.layout.blob_path(&blob.digest);
                let Ok(file) = File::open(&path) else {
                    continue;
                };
                repository
                    .push_blob(blob, &Arc::new(file), &[], reporter)
                    .await
                    .map_err(|error| Failure::failed(what(), error))?;
            }
            let tag = self.tag_of(&document).map_err(failed)?;
            repository
                .put_document(&document, tag.as_deref(), reporter)
                .await
                .map_err(|error| Failure::failed(what(), error))?;
        }
        Ok(())
    }

    /// The manifest itself if a tag still has it.
    fn current(&self, descriptor: &Descriptor) -> Result<Option<Document>, LayoutError> {
        let document = self.layout.document(descriptor)?;
        Ok(self.tag_of(&document)?.map(|_| document))
    }

    fn tag_of(&self, document: &Document) -> Result<Option<String>, LayoutError> {
        let entries = self.layout.index()?.manifests;
        Ok(entries
            .into_iter()
            .filter(|entry| entry.digest == document.descriptor.digest)
            .find_map(|entry| entry.annotations.get(oci::REF_NAME).cloned()))
    }
}

fn image_of(
    signing: &Signing,
    path: &Path,
    tag: Option<String>,
) -> Result<(Layout, Descriptor), LayoutError> {
    let layout = Layout::open(path)?;
    let tag = signing.tag.clone().or(tag);
    let image = layout.image(tag.as_deref(), signing.arch)?;
    Ok((layout, image.descriptor))
}
