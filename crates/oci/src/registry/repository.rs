use std::collections::BTreeSet;
use std::time::Duration;

use base::{Digest, Event, Reporter};
use serde::Deserialize;
use store::{Answered, Arrived, Asker, Expected, Method, Payload, Refusal, Store, Wanted};
use url::Url;

use super::client::{Access, Ask, Place, Registry};
use super::error::RegistryError;
use super::header::next_link;
use super::reference::{Reference, RepositoryName};
use crate::manifest::MANIFEST_LIMIT;
use crate::{Descriptor, Document, DocumentContents, Index, media_type};

/// The most that one page of tags may have.
const PAGE_LIMIT: u64 = 4 << 20;
/// The most pages that are read of a list.
const PAGES: usize = 1000;
/// The most tags, or referrers, of a list.
const LIST_LIMIT: usize = 1 << 20;
/// No blob is larger.
const BLOB_LIMIT: u64 = 1 << 40;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A repository of a registry.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(super) registry: Registry,
    pub(super) name: RepositoryName,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Registry {
    /// A repository; it isn't asked yet.
    pub fn repository(&self, name: &RepositoryName) -> Repository {
        Repository {
            registry: self.clone(),
            name: name.clone(),
        }
    }
}

/// The name that a reference has below its repository: its digest if it has one, else its tag.
fn selector(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    }
}

/// The tag under which registries without a list of referrers have one (OCI distribution,
/// "Referrers Tag Schema").
pub fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

impl Repository {
    /// Its name.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The manifest or index of a reference, checked against the digest that it, or the registry,
    /// names.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] and others.
    pub async fn document(
        &self,
        reference: &Reference,
        reporter: &dyn Reporter,
    ) -> Result<Document, RegistryError> {
        let what = format!("reading {reference}");
        let found = self.get_manifest(reference, &what, reporter).await?;
        found.ok_or_else(|| RegistryError::NotFound(reference.to_string()))
    }

    /// The manifest or index that `descriptor`, read elsewhere, describes.
    ///
    /// # Errors
    /// It isn't there, or isn't what is described.
    pub async fn described(
        &self,
        descriptor: &Descriptor,
        reporter: &dyn Reporter,
    ) -> Result<Document, RegistryError> {
        let document = self
            .document(&self.name.at(descriptor.digest), reporter)
            .await?;
        let (found, said) = (&document.descriptor, descriptor);
        if found.size != said.size || found.media_type != said.media_type {
            return Err(RegistryError::lie(
                format!("reading {}", self.name.at(said.digest)),
                format!(
                    "it should be a {} of {} bytes and is a {} of {}",
                    said.media_type, said.size, found.media_type, found.size
                ),
            ));
        }
        Ok(document)
    }

    async fn get_manifest(
        &self,
        reference: &Reference,
        what: &str,
        reporter: &dyn Reporter,
    ) -> Result<Option<Document>, RegistryError> {
        let below = format!("manifests/{}", selector(reference));
        let answered = self
            .manifest_question(Method::Get, &below, what, reporter)
            .await?;
        match answered.status {
            200 => {}
            404 => return Ok(None),
            _ => return Err(RegistryError::of(what, &answered)),
        }
        let found = Digest::of(&answered.body);
        let promised = answered.header("docker-content-digest");
        let promised = reference
            .digest()
            .map(|digest| digest.to_string())
            .or_else(|| promised.map(str::to_owned));
        if let Some(promised) = promised
            && promised.starts_with("sha256:")
            && promised != found.to_string()
        {
            return Err(RegistryError::lie(
                what,
                format!("it should have given {promised} and gave {found}"),
            ));
        }
        let media_type = media_type_of(&answered);
        let read = match media_type {
            Some(media_type) => Document::read(&media_type, answered.body),
            None => Document::read_untold(answered.body),
        };
        read.map(Some).map_err(|source| RegistryError::Manifest {
            what: reference.to_string(),
            source,
        })
    }

    async fn manifest_question(
        &self,
        method: Method,
        below: &str,
        what: &str,
        reporter: &dyn Reporter,
    ) -> Result<Answered, RegistryError> {
        let ask = Ask {
            what,
            repository: &self.name,
            access: Access::Pull,
            from: None,
            method,
            place: Place::Below(below),
            headers: &[("accept", ACCEPT.to_owned())],
            payload: Payload::Nothing,
            limit: MANIFEST_LIMIT,
            again: true,
        };
        self.registry.ask(ask, &|_| {}, reporter).await
    }

    /// The digest of what a reference names now; `None`: it names nothing. Of a registry that does
    /// not say the digest, the manifest is read.
    ///
    /// # Errors
    /// The registry can't be asked.
    pub async fn digest(
        &self,
        reference: &Reference,
        reporter: &dyn Reporter,
    ) -> Result<Option<Digest>, RegistryError> {
        let what = format!("looking for {reference}");
        let below = format!("manifests/{}", selector(reference));
        let answered = self
            .manifest_question(Method::Head, &below, &what, reporter)
            .await?;
        match answered.status {
            200 => {}
            404 => return Ok(None),
            _ => return Err(RegistryError::of(what, &answered)),
        }
        let said = answered.header("docker-content-digest");
        if let Some(digest) = said.and_then(|said| said.parse::<Digest>().ok()) {
            return match reference.digest() {
                Some(asked) if asked != digest => Err(RegistryError::lie(
                    what,
                    format!("it was asked for {asked} and says that it has {digest}"),
                )),
                _ => Ok(Some(digest)),
            };
        }
        let document = self.get_manifest(reference, &what, reporter).await?;
        Ok(document.map(|document| document.descriptor.digest))
    }

    /// Writes a manifest or index under its digest, and under a tag if one is given. If it is about
    /// another manifest, it is also put into the fallback list where the registry keeps none itself.
    ///
    /// # Errors
    /// The registry refuses it, or says that it has something else now.
    pub async fn put_document(
        &self,
        document: &Document,
        tag: Option<&str>,
        reporter: &dyn Reporter,
    ) -> Result<(), RegistryError> {
        let reference = match tag {
            Some(tag) => self.name.tagged(tag)?,
            None => self.name.at(document.descriptor.digest),
        };
        let what = format!("writing {reference}");
        let answered = self
            .write_manifest(&reference, document, &what, reporter)
            .await?;
        if let Some(subject) = document.subject()
            && answered.header("oci-subject") != Some(&subject.digest.to_string())
        {
            self.list_referrer(&subject.digest, &document.as_referrer(), reporter)
                .await?;
        }
        Ok(())
    }

    async fn write_manifest(
        &self,
        reference: &Reference,
        document: &Document,
        what: &str,
        reporter: &dyn Reporter,
    ) -> Result<Answered, RegistryError> {
        let below = format!("manifests/{}", selector(reference));
        let ask = Ask {
            what,
            repository: &self.name,
            access: Access::Push,
            from: None,
            method: Method::Put,
            place: Place::Below(&below),
            headers: &[("content-type", document.descriptor.media_type.clone())],
            payload: Payload::Bytes(document.bytes.clone().into()),
            limit: MANIFEST_LIMIT,
            again: true,
        };
        let answered = self.registry.ask(ask, &|_| {}, reporter).await?;
        if !answered.is_success() {
            return Err(RegistryError::of(what, &answered));
        }
        check_stored(what, &answered, &document.descriptor.digest)?;
        Ok(answered)
    }

    /// Removes a manifest or index; a fallback list that names it is left as it is, for its subject
    /// may be gone too.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or the registry refuses.
    pub async fn delete_document(
        &self,
        digest: &Digest,
        reporter: &dyn Reporter,
    ) -> Result<(), RegistryError> {
        let subject = match self.document(&self.name.at(*digest), reporter).await {
            Ok(document) => document.subject().map(|subject| subject.digest),
            Err(RegistryError::Manifest { .. }) => None,
            Err(error) => return Err(error),
        };
        self.delete(&format!("manifests/{digest}"), reporter)
            .await?;
        match subject {
            Some(subject) => self.unlist_referrer(&subject, digest, reporter).await,
            None => Ok(()),
        }
    }

    /// Removes a tag, where the registry can do that without removing what it names.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or the registry refuses: many can't.
    pub async fn delete_tag(
        &self,
        tag: &str,
        reporter: &dyn Reporter,
    ) -> Result<(), RegistryError> {
        self.name.tagged(tag)?;
        self.delete(&format!("manifests/{tag}"), reporter).await
    }

    /// Removes a blob.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or the registry refuses.
    pub async fn delete_blob(
        &self,
        digest: &Digest,
        reporter: &dyn Reporter,
    ) -> Result<(), RegistryError> {
        self.delete(&format!("blobs/{digest}"), reporter).await
    }

    async fn delete(&self, below: &str, reporter: &dyn Reporter) -> Result<(), RegistryError> {
        let what = format!("deleting {} of {}", below, self.name);
        let ask = Ask {
            what: &what,
            repository: &self.name,
            access: Access::Delete,
            from: None,
            method: Method::Delete,
            place: Place::Below(below),
            headers: &[],
            payload: Payload::Nothing,
            limit: MANIFEST_LIMIT,
            again: true,
        };
        let answered = self.registry.ask(ask, &|_| {}, reporter).await?;
        match answered.status {
            200..=299 => Ok(()),
            404 => Err(RegistryError::NotFound(format!("{}/{below}", self.name))),
            _ => Err(RegistryError::of(what, &answered)),
        }
    }

    /// Whether it has a blob.
    ///
    /// # Errors
    /// The registry can't be asked, or has something else under that digest.
    pub async fn has_blob(
        &self,
        blob: &Descriptor,
        reporter: &dyn Reporter,
    ) -> Result<bool, RegistryError> {
        let what = format!("looking for {}@{}", self.name, blob.digest);
        let below = format!("blobs/{}", blob.digest);
        let ask = Ask {
            what: &what,
            repository: &self.name,
            access: Access::Pull,
            from: None,
            method: Method::Head,
            place: Place::Below(&below),
            headers: &[],
            payload: Payload::Nothing,
            limit: MANIFEST_LIMIT,
            again: true,
        };
        let answered = self.registry.ask(ask, &|_| {}, reporter).await?;
        match answered.status {
            200 => {}
            404 => return Ok(false),
            _ => return Err(RegistryError::of(what, &answered)),
        }
        let length = answered.header("content-length");
        if let Some(length) = length.and_then(|length| length.parse::<u64>().ok())
            && length != blob.size
            // Some say nothing of the length, and write it as 0.
            && length != 0
        {
            return Err(RegistryError::lie(
                what,
                format!(
                    "{} has {} bytes and it says {length}",
                    blob.digest, blob.size
                ),
            ));
        }
        Ok(true)
    }

    /// Fetches a blob; what an earlier call or process has of it is gone on with. It is in no store
    /// yet: see [`Arrived::keep`].
    ///
    /// # Errors
    /// It isn't there, or isn't what is described.
    pub async fn fetch_blob(
        &self,
        blob: &Descriptor,
        store: &Store,
        reporter: &dyn Reporter,
    ) -> Result<Arrived, RegistryError> {
        let what = format!("fetching {}@{}", self.name, blob.digest);
        let url = self
            .registry
            .url(&self.name, &format!("blobs/{}", blob.digest), reporter)
            .await?;
        let name = short(&blob.digest);
        let wanted = Wanted {
            name: &name,
            url: &url,
            limit: BLOB_LIMIT,
            size: Some(blob.size),
            expected: Some(Expected::Sha256(blob.digest)),
            only_https: url.scheme() == "https",
        };
        let mut anew = false;
        loop {
            let authorization = self
                .registry
                .authorization(&self.name, anew, &what, reporter)
                .await?;
            let asker = Asker::Named(authorization.as_ref());
            let network = &self.registry.network;
            return match network.fetch_as(store, &wanted, asker, reporter).await {
                Ok(arrived) => Ok(arrived),
                Err(Refusal::NotThere) => Err(RegistryError::NotFound(format!(
                    "{}@{}",
                    self.name, blob.digest
                ))),
                // A token may have ended meanwhile.
                Err(Refusal::Unauthorised { .. }) if !anew => {
                    anew = true;
                    continue;
                }
                Err(Refusal::WrongContents {
                    expected,
                    actual,
                    size,
                }) => Err(RegistryError::lie(
                    what,
                    format!("it should have given {expected} and gave {actual} ({size} bytes)"),
                )),
                Err(Refusal::WrongSize { expected, actual }) => Err(RegistryError::lie(
                    what,
                    format!("the blob has {expected} bytes and it says {actual}"),
                )),
                Err(source) => Err(RegistryError::NoAnswer { what, source }),
            };
        }
    }

    /// The tags, sorted.
    ///
    /// # Errors
    /// There is no such repository, or the list makes no sense.
    pub async fn tags(&self, reporter: &dyn Reporter) -> Result<Vec<String>, RegistryError> {
        let what = format!("listing the tags of {}", self.name);
        let mut tags = BTreeSet::new();
        self.pages("tags/list?n=1000", &what, reporter, |answered| {
            let page: Tags = serde_json::from_slice(&answered.body)
                .map_err(|_| RegistryError::lie(&*what, "its list of tags is none"))?;
            for tag in page.tags.unwrap_or_default() {
                if !crate::is_tag(&tag) {
                    let tag: String = tag.chars().take(40).collect();
                    let reason = format!("{tag:?} is among its tags and can't be one");
                    return Err(RegistryError::lie(&*what, reason));
                }
                tags.insert(tag);
            }
            Ok(tags.len())
        })
        .await?
        .ok_or_else(|| RegistryError::NotFound(self.name.to_string()))?;
        Ok(tags.into_iter().collect())
    }

    /// Reads a list page by page; `None` if there is no such list.
    async fn pages(
        &self,
        first: &str,
        what: &str,
        reporter: &dyn Reporter,
        mut take: impl FnMut(&Answered) -> Result<usize, RegistryError>,
    ) -> Result<Option<Answered>, RegistryError> {
        let lie = |reason: &str| Err(RegistryError::lie(what, reason));
        let mut next: Option<Url> = None;
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for _ in 0..PAGES {
            let place = match &next {
                Some(url) => Place::At(url),
                None => Place::Below(first),
            };
            let ask = Ask {
                what,
                repository: &self.name,
                access: Access::Pull,
                from: None,
                method: Method::Get,
                place,
                headers: &[("accept", format!("{}, application/json", media_type::INDEX))],
                payload: Payload::Nothing,
                limit: PAGE_LIMIT,
                again: true,
            };
            let answered = self.registry.ask(ask, &|_| {}, reporter).await?;
            match answered.status {
                200 => {}
                404 if next.is_none() => return Ok(None),
                _ => return Err(RegistryError::of(what, &answered)),
            }
            if take(&answered)? > LIST_LIMIT {
                return lie("its list has no end");
            }
            let Some(link) = answered.headers("link").find_map(next_link) else {
                return Ok(Some(answered));
            };
            let Ok(url) = answered.url.join(link) else {
                return lie("the next page of its list is no URL");
            };
            // Registries behind proxies may name themselves otherwise; the path is what counts.
            let mut own = answered.url.clone();
            own.set_path(url.path());
            own.set_query(url.query());
            if !seen.insert(own.to_string()) {
                return lie("its list goes round in circles");
            }
            next = Some(own);
        }
        lie("its list has no end")
    }

    /// What refers to a manifest: signatures, SBOMs and the like, as the registry or its fallback
    /// list has it.
    ///
    /// # Errors
    /// The list makes no sense.
    pub async fn referrers(
        &self,
        subject: &Digest,
        reporter: &dyn Reporter,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let what = format!("asking what refers to {}@{subject}", self.name);
        let mut found: Vec<Descriptor> = Vec::new();
        let first = format!("referrers/{subject}");
        let listed = self
            .pages(&first, &what, reporter, |answered| {
                let index =
                    Index::parse(&answered.body).map_err(|source| RegistryError::Manifest {
                        what: what.clone(),
                        source,
                    })?;
                found.extend(index.manifests);
                Ok(found.len())
            })
            .await;
        match listed {
            Ok(Some(_)) => {}
            Ok(None) => found = self.fallback_list(subject, reporter).await?.manifests,
            // Registries that know no such question have many words for that.
            Err(RegistryError::Failed {
                status: 400 | 405 | 406 | 501,
                ..
            }) => found = self.fallback_list(subject, reporter).await?.manifests,
            Err(error) => return Err(error),
        }
        let mut seen = BTreeSet::new();
        found.retain(|entry| seen.insert(entry.digest));
        Ok(found)
    }

    async fn fallback_list(
        &self,
        subject: &Digest,
        reporter: &dyn Reporter,
    ) -> Result<Index, RegistryError> {
        let reference = self.name.tagged(&fallback_tag(subject))?;
        let what = format!("reading {reference}");
        let found = self.get_manifest(&reference, &what, reporter).await?;
        match found.map(|document| document.contents) {
            None => Ok(Index::new(Vec::new())),
            Some(DocumentContents::Index(index)) => Ok(*index),
            Some(DocumentContents::Manifest(_)) => Err(RegistryError::lie(
                what,
                "the list of what refers to an image is no list",
            )),
        }
    }

    /// Puts an artefact into the fallback list of its subject. Others may be at it too, and the
    /// registry keeps the last: it is looked at again and done over until it holds.
    async fn list_referrer(
        &self,
        subject: &Digest,
        entry: &Descriptor,
        reporter: &dyn Reporter,
    ) -> Result<(), RegistryError> {
        self.change_list(subject, reporter, |index| {
            let known = index.manifests.iter();
            let known = known
                .map(|other| other.digest)
                .any(|digest| digest == entry.digest);
            if !known {
                index.manifests.push(entry.clone());
            }
            !known
        })
        .await
    }

    async fn unlist_referrer(
        &self,
        subject: &Digest,
        gone: &Digest,
        reporter: &dyn Reporter,
    ) -> Result<(), RegistryError> {
        self.change_list(subject, reporter, |index| {
            let before = index.manifests.len();
            index.manifests.retain(|entry| entry.digest != *gone);
            index.manifests.len() != before
        })
        .await
    }

    async fn change_list(
        &self,
        subject: &Digest,
        reporter: &dyn Reporter,
        mut change: impl FnMut(&mut Index) -> bool,
    ) -> Result<(), RegistryError> {
        let reference = self.name.tagged(&fallback_tag(subject))?;
        let what = format!("writing {reference}");
        for attempt in 0..self.registry.settings.attempts.max(2) {
            let mut index = self.fallback_list(subject, reporter).await?;
            if !change(&mut index) {
                return Ok(());
            }
            if attempt > 0 {
                let message = format!("{what}: somebody else is writing it too; trying again");
                reporter.report(Event::Notice { message: &message });
                tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 50)).await;
            }
            index.media_type = Some(media_type::INDEX.to_owned());
            let list = Document::read(media_type::INDEX, index.to_bytes()?).map_err(|source| {
                RegistryError::Manifest {
                    what: reference.to_string(),
                    source,
                }
            })?;
            self.write_manifest(&reference, &list, &what, reporter)
                .await?;
        }
        let mut index = self.fallback_list(subject, reporter).await?;
        match change(&mut index) {
            false => Ok(()),
            true => Err(RegistryError::lie(
                what,
                "others write the same list all the time; try again later",
            )),
        }
    }
}

/// The media type of an answer, unless it says no more than that it is something.
fn media_type_of(answered: &Answered) -> Option<String> {
    let header = answered.header("content-type")?;
    let media_type = header.split(';').next().unwrap_or_default().trim();
    let says_nothing = matches!(
        media_type,
        "" | "application/json" | "application/octet-stream" | "text/plain"
    );
    (!says_nothing).then(|| media_type.to_owned())
}

/// Checks what a registry says that it has stored.
pub(super) fn check_stored(
    what: &str,
    answered: &Answered,
    expected: &Digest,
) -> Result<(), RegistryError> {
    match answered.header("docker-content-digest") {
        Some(found) if found.starts_with("sha256:") && found != expected.to_string() => {
            Err(RegistryError::lie(
                what,
                format!("it was given {expected} and says that it stored {found}"),
            ))
        }
        _ => Ok(()),
    }
}

/// A digest as bars show it.
pub(super) fn short(digest: &Digest) -> String {
    format!("sha256:{}", digest.hex().get(..12).unwrap_or_default())
}
