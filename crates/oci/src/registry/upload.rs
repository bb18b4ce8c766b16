//! Sending blobs (OCI distribution, "Pushing blobs").

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Event, Reporter, Task, Unit, Verb};
use store::{Answered, Method, Payload};
use url::Url;

use super::client::{Access, Ask, Place};
use super::error::RegistryError;
use super::reference::RepositoryName;
use super::repository::{Repository, check_stored, short};
use crate::Descriptor;

const ANSWER_LIMIT: u64 = 1 << 20;
/// A server that takes no large requests is sent pieces of these sizes, until it takes them.
const SMALLER: [u64; 3] = [32 << 20, 8 << 20, 1 << 20];

/// What became of a blob that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existing,
    /// The registry had it in another repository.
    Mounted,
    /// It was sent.
    Sent,
}

/// An upload under way.
struct Session {
    url: Url,
    /// No piece but the last may be smaller.
    least: u64,
}

/// Why an upload got no further.
enum Stopped {
    /// Nothing helps.
    Failed(RegistryError),
    /// It has to be begun anew.
    Lost(RegistryError),
    /// The server takes no requests of this size.
    TooLarge(RegistryError),
}

impl From<RegistryError> for Stopped {
    fn from(error: RegistryError) -> Stopped {
        match &error {
            RegistryError::NoAnswer { source, .. } if source.is_transient() => Stopped::Lost(error),
            RegistryError::Failed {
                status: 404 | 408 | 416 | 425 | 429 | 500 | 502..=504,
                ..
            } => Stopped::Lost(error),
            RegistryError::Failed { status: 413, .. } => Stopped::TooLarge(error),
            _ => Stopped::Failed(error),
        }
    }
}

/// One blob on its way.
struct Upload<'a> {
    repository: &'a Repository,
    blob: &'a Descriptor,
    file: &'a Arc<File>,
    what: String,
    reporter: &'a dyn Reporter,
    task: Task<'a>,
    /// How many bytes the task was told of.
    told: AtomicU64,
}

impl Repository {
    /// Lets the registry take a blob from one of the repositories `from`. `None`: it has it neither
    /// here nor, as far as it says, there.
    ///
    /// # Errors
    /// The registry can't be asked.
    pub async fn claim_blob(
        &self,
        blob: &Descriptor,
        from: &[RepositoryName],
        reporter: &dyn Reporter,
    ) -> Result<Option<Pushed>, RegistryError> {
        if self.has_blob(blob, reporter).await? {
            return Ok(Some(Pushed::Existing));
        }
        let what = format!("mounting {}@{}", self.name, blob.digest);
        for sibling in from.iter().filter(|name| self.is_sibling(name)) {
            let begun = begin(self, blob, Some(sibling), &what, reporter).await;
            match begun {
                Ok(None) => return Ok(Some(Pushed::Mounted)),
                Ok(Some(_)) | Err(RegistryError::Denied { .. }) => {}
                Err(RegistryError::NotLoggedIn { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn is_sibling(&self, name: &RepositoryName) -> bool {
        name.registry() == self.name.registry() && name.path() != self.name.path()
    }

    /// Sends the blob that `file` holds, unless the repository has it, or the registry can take it
    /// from one of the repositories `from`.
    ///
    /// What breaks off is gone on with where the registry can; else it is begun anew.
    ///
    /// # Errors
    /// The registry refuses it, or patience ended.
    pub async fn push_blob(
        &self,
        blob: &Descriptor,
        file: &Arc<File>,
        from: &[RepositoryName],
        reporter: &dyn Reporter,
    ) -> Result<Pushed, RegistryError> {
        if self.has_blob(blob, reporter).await? {
            return Ok(Pushed::Existing);
        }
        let upload = Upload {
            repository: self,
            blob,
            file,
            what: format!("sending {}@{}", self.name, blob.digest),
            reporter,
            task: Task::start(
                reporter,
                Verb::Push,
                &short(&blob.digest),
                Some(blob.size),
                Unit::Bytes,
            ),
            told: AtomicU64::new(0),
        };
        let siblings = from.iter().filter(|name| self.is_sibling(name));
        match upload.patiently(siblings.collect()).await {
            Ok(pushed) => {
                match pushed {
                    Pushed::Sent => upload.task.done(),
                    Pushed::Mounted | Pushed::Existing => upload.task.unchanged(),
                }
                Ok(pushed)
            }
            Err(error) => Err(error),
        }
    }
}

impl Upload<'_> {
    async fn patiently(&self, siblings: Vec<&RepositoryName>) -> Result<Pushed, RegistryError> {
        let settings = &self.repository.registry.settings;
        let mut siblings = siblings.into_iter();
        let mut chunk = settings.chunk;
        let mut smaller = SMALLER.into_iter();
        let (mut failures, mut pause) = (0, settings.pause);
        loop {
            let stopped = match self.once(&mut siblings, chunk).await {
                Ok(pushed) => return Ok(pushed),
                Err(stopped) => stopped,
            };
            let error = match stopped {
                Stopped::Failed(error) => return Err(error),
                Stopped::TooLarge(error) => {
                    let now = chunk.unwrap_or(u64::MAX).min(self.blob.size);
                    match smaller.find(|size| *size < now) {
                        Some(size) => chunk = Some(size),
                        None => return Err(error),
                    }
                    continue;
                }
                Stopped::Lost(error) => error,
            };
            failures += 1;
            if failures >= settings.attempts {
                return Err(error);
            }
            self.notice(&error, "beginning anew");
            tokio::time::sleep(pause).await;
            pause *= 2;
            // The answer may have been lost, not the blob.
            if self.repository.has_blob(self.blob, self.reporter).await? {
                return Ok(Pushed::Sent);
            }
        }
    }

    fn notice(&self, error: &RegistryError, then: &str) {
        let message = format!("{error}; {then}");
        self.reporter.report(Event::Notice { message: &message });
    }

    async fn once<'s>(
        &self,
        siblings: &mut impl Iterator<Item = &'s RepositoryName>,
        chunk: Option<u64>,
    ) -> Result<Pushed, Stopped> {
        let mut session = None;
        // A registry that can't mount begins an upload instead.
        if let Some(sibling) = siblings.next() {
            match self.begin(Some(sibling)).await {
                Ok(None) => return Ok(Pushed::Mounted),
                Ok(Some(begun)) => session = Some(begun),
                // That nobody may read the sibling does not matter here.
                Err(RegistryError::Denied { .. } | RegistryError::NotLoggedIn { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let session = match session {
            Some(session) => session,
            None => match self.begin(None).await? {
                Some(session) => session,
                None => return Ok(Pushed::Mounted),
            },
        };
        let settings = &self.repository.registry.settings;
        let whole = self.blob.size <= settings.at_once && chunk.is_none();
        if whole {
            self.finish(&session.url, Some(0)).await?;
        } else {
            self.pieces(session, chunk).await?;
        }
        Ok(Pushed::Sent)
    }

    async fn begin(&self, from: Option<&RepositoryName>) -> Result<Option<Session>, RegistryError> {
        begin(self.repository, self.blob, from, &self.what, self.reporter).await
    }

    async fn location(&self, answered: &Answered) -> Result<Url, RegistryError> {
        let repository = self.repository;
        repository
            .registry
            .location(&repository.name, &self.what, answered)
            .await
    }

    /// Sends piece after piece, and goes on where the registry says that it is.
    async fn pieces(&self, session: Session, chunk: Option<u64>) -> Result<(), Stopped> {
        let size = self.blob.size;
        let chunk = chunk.unwrap_or(u64::MAX).max(session.least).max(1);
        let settings = &self.repository.registry.settings;
        let (mut url, mut at) = (session.url, 0);
        let (mut failures, mut pause) = (0, settings.pause);
        while at < size {
            let end = at.saturating_add(chunk).min(size);
            let error = match self.piece(&url, at, end).await {
                Ok((next, reached)) => {
                    (url, at) = (next, reached);
                    (failures, pause) = (0, settings.pause);
                    continue;
                }
                Err(error) => error,
            };
            let error = match Stopped::from(error) {
                Stopped::Lost(error) => error,
                other => return Err(other),
            };
            failures += 1;
            if failures >= settings.attempts {
                return Err(Stopped::Lost(error));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            match self.status(&url).await? {
                Some((next, reached)) if reached <= size => {
                    if reached > at {
                        failures = 0;
                    }
                    self.notice(&error, &format!("going on after {reached} of {size} bytes"));
                    (url, at) = (next, reached);
                }
                _ => return Err(Stopped::Lost(error)),
            }
        }
        Ok(self.finish(&url, None).await?)
    }

    /// Sends bytes; says where to go on, and how many the registry has.
    async fn piece(&self, url: &Url, at: u64, end: u64) -> Result<(Url, u64), RegistryError> {
        let mut headers = vec![("content-type", "application/octet-stream".to_owned())];
        // Without a range it is a stream, which more registries take than ranges.
        if at > 0 || end < self.blob.size {
            headers.push(("content-range", format!("{at}-{}", end - 1)));
        }
        let payload = Payload::Part {
            file: Arc::clone(self.file),
            start: at,
            length: end - at,
        };
        let answered = self
            .ask(
                Method::Patch,
                Place::At(url),
                None,
                &headers,
                payload,
                false,
            )
            .await?;
        if !matches!(answered.status, 201 | 202 | 204) {
            return Err(RegistryError::of(&*self.what, &answered));
        }
        let reached = match answered.header("range").map(range_end) {
            Some(Some(last)) => last + 1,
            // Not every registry says it.
            _ => end,
        };
        if reached <= at || reached > end {
            return Err(RegistryError::lie(
                &*self.what,
                format!("it was sent the bytes from {at} to {end} and says that it has {reached}"),
            ));
        }
        let next = match answered.header("location") {
            Some(_) => self.location(&answered).await?,
            None => url.clone(),
        };
        Ok((next, reached))
    }

    /// How far an upload is, if the registry knows it still.
    async fn status(&self, url: &Url) -> Result<Option<(Url, u64)>, Stopped> {
        let answered = self
            .ask(
                Method::Get,
                Place::At(url),
                None,
                &[],
                Payload::Nothing,
                true,
            )
            .await?;
        if !matches!(answered.status, 200 | 202 | 204) {
            return Ok(None);
        }
        let reached = match answered.header("range").map(range_end) {
            // One byte and none are written alike; none is what can be gone on with.
            Some(Some(0)) => 0,
            Some(Some(last)) => last + 1,
            _ => return Ok(None),
        };
        let next = match answered.header("location") {
            Some(_) => self.location(&answered).await?,
            None => url.clone(),
        };
        Ok(Some((next, reached)))
    }

    /// Ends an upload, with the bytes from `rest` on if they are still to be sent.
    async fn finish(&self, url: &Url, rest: Option<u64>) -> Result<(), RegistryError> {
        let mut url = url.clone();
        url.query_pairs_mut()
            .append_pair("digest", &self.blob.digest.to_string());
        let payload = match rest {
            Some(start) => Payload::Part {
                file: Arc::clone(self.file),
                start,
                length: self.blob.size.saturating_sub(start),
            },
            None => Payload::Bytes(Default::default()),
        };
        let headers = [("content-type", "application/octet-stream".to_owned())];
        let answered = self
            .ask(Method::Put, Place::At(&url), None, &headers, payload, false)
            .await?;
        match answered.status {
            201 | 204 => check_stored(&self.what, &answered, &self.blob.digest),
            _ => Err(RegistryError::of(&*self.what, &answered)),
        }
    }

    async fn ask(
        &self,
        method: Method,
        place: Place<'_>,
        from: Option<&RepositoryName>,
        headers: &[(&'static str, String)],
        payload: Payload,
        again: bool,
    ) -> Result<Answered, RegistryError> {
        let start = match &payload {
            Payload::Part { start, .. } => *start,
            _ => 0,
        };
        let here = AtomicU64::new(start);
        let sent = |by: u64| {
            let now = here.fetch_add(by, Ordering::Relaxed) + by;
            // What goes again was told of before.
            let before = self.told.fetch_max(now, Ordering::Relaxed);
            self.task.advance(now.saturating_sub(before));
        };
        let ask = Ask {
            what: &self.what,
            repository: &self.repository.name,
            access: Access::Push,
            from,
            method,
            place,
            headers,
            payload,
            limit: ANSWER_LIMIT,
            again,
        };
        let registry = &self.repository.registry;
        registry.ask(ask, &sent, self.reporter).await
    }
}

/// Begins an upload; `None`: the blob is there now.
async fn begin(
    repository: &Repository,
    blob: &Descriptor,
    from: Option<&RepositoryName>,
    what: &str,
    reporter: &dyn Reporter,
) -> Result<Option<Session>, RegistryError> {
    let mut below = "blobs/uploads/".to_owned();
    if let Some(from) = from {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("mount", &blob.digest.to_string())
            .append_pair("from", from.path());
        below.push('?');
        below.push_str(&query.finish());
    }
    let ask = Ask {
        what,
        repository: &repository.name,
        access: Access::Push,
        from,
        method: Method::Post,
        place: Place::Below(&below),
        headers: &[],
        payload: Payload::Nothing,
        limit: ANSWER_LIMIT,
        again: true,
    };
    let registry = &repository.registry;
    let answered = registry.ask(ask, &|_| {}, reporter).await?;
    match answered.status {
        201 if from.is_some() => {
            check_stored(what, &answered, &blob.digest)?;
            Ok(None)
        }
        202 => {
            let least = answered.header("oci-chunk-min-length");
            Ok(Some(Session {
                url: registry.location(&repository.name, what, &answered).await?,
                least: least.and_then(|text| text.parse().ok()).unwrap_or(0),
            }))
        }
        _ => Err(RegistryError::of(what, &answered)),
    }
}

/// The last byte of `0-99`, also of `bytes=0-99`.
fn range_end(text: &str) -> Option<u64> {
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (start, end) = text.split_once('-')?;
    (start.trim() == "0").then(|| end.trim().parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::range_end;

    #[test]
    fn ranges() {
        assert_eq!(range_end("0-99"), Some(99));
        assert_eq!(range_end("bytes=0-0"), Some(0));
        for wrong in ["", "5-9", "0", "0-x", "-1"] {
            assert_eq!(range_end(wrong), None, "{wrong}");
        }
    }
}
