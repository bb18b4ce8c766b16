//! Fetching by URL: from web servers and object stores, with patience.
//!
//! A transfer that breaks off goes on where it ended, in this process or a later one, if the server
//! still has the same file. What fails for a while is tried again, after pauses that double, or as
//! the server's `Retry-After` says; nothing here is left to chance or to a clock.

mod credentials;
mod exchange;
mod http;
mod object;
mod partial;

pub use credentials::{CredentialError, Credentials, without_credentials};
pub use exchange::{Answered, Authorization, Exchange, Method, Payload};
pub use partial::Arrived;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base::{Digest, Event, Reporter, Task, Unit, Verb};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::refusal::Refusal;
use crate::{Expected, Store, StoreError};
use partial::{Notes, Partial};

/// A try that brings this many bytes counts as progress: the patience begins anew.
const PROGRESS: u64 = 64 << 10;

/// Who sends less in the time for which a server may send nothing is given up: bytes that drip keep a
/// connection for ever.
const LEAST: u64 = 4 << 10;

const MAXIMUM_REDIRECTS: usize = 10;

const KNOWN: &str = "fetched-url";

/// Whether URLs of this scheme can be fetched.
pub fn can_fetch(scheme: &str) -> bool {
    matches!(scheme, "http" | "https") || object::is_object(scheme)
}

/// How patient and how well known polpo is on the network.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// Never touch the network.
    pub offline: bool,
    /// What servers are told.
    pub credentials: CredentialSource,
    /// How often a place is asked, as long as nothing comes.
    pub attempts: u32,
    /// The pause before the second try; the next is twice as long.
    pub first_pause: Duration,
    /// No pause is longer; a server that asks for a longer one is given up.
    pub longest_pause: Duration,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a server may send nothing.
    pub read_timeout: Duration,
    /// Files of certificates (PEM) whose owners may vouch for servers, besides the system's.
    pub authorities: Vec<PathBuf>,
}

impl Default for NetworkSettings {
    fn default() -> NetworkSettings {
        NetworkSettings {
            offline: false,
            credentials: CredentialSource::Given(Credentials::default()),
            attempts: 4,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(20),
            read_timeout: Duration::from_secs(60),
            authorities: Vec::new(),
        }
    }
}

/// Where credentials come from.
#[derive(Clone, Debug)]
pub enum CredentialSource {
    /// These.
    Given(Credentials),
    /// Those that the environment names, read when the first server is asked: what is wrong with
    /// them is no concern of work that needs no server.
    Environment,
}

/// The way to servers. Clones share connections.
#[derive(Clone, Debug)]
pub struct Network {
    settings: Arc<NetworkSettings>,
    credentials: Arc<OnceLock<Result<Credentials, Arc<CredentialError>>>>,
    http: http::Http,
    objects: object::Objects,
}

impl Default for Network {
    fn default() -> Network {
        Network::new(NetworkSettings::default())
    }
}

/// A file to be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What messages call it: the package, or the file's name.
    pub name: &'a str,
    /// Where it is.
    pub url: &'a Url,
    /// The most bytes that may come.
    pub limit: u64,
    /// How many bytes it has, where that is known.
    pub size: Option<u64>,
    /// What it must be, where that is known.
    pub expected: Option<Expected>,
    /// Redirects may not leave `https`, if the URL is one.
    pub only_https: bool,
}

/// Who a server is told that asks.
#[derive(Clone, Copy, Debug, Default)]
pub enum Asker<'a> {
    /// Whoever the environment names: `.netrc`, `HTTP_AUTH`, what stands in the URL.
    #[default]
    Environment,
    /// This one, or nobody; only the server of the URL itself is told.
    Named(Option<&'a Authorization>),
}

/// What a server says by which it can tell later whether its file has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`, with its quotes.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

impl Validators {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// What tells for every byte whether it is still the same file (RFC 9110, 8.8.1 and 13.1.5).
    fn strong(&self) -> Option<&str> {
        match &self.etag {
            Some(etag) => (!etag.starts_with("W/")).then_some(etag),
            None => self.last_modified.as_deref(),
        }
    }
}

/// A file as it was fetched before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its SHA-256.
    pub digest: Digest,
    /// Where it is in the store.
    pub path: PathBuf,
    /// What the server said of it.
    pub validators: Validators,
}

#[derive(Serialize, Deserialize)]
struct KnownRecord {
    digest: Digest,
    validators: Validators,
}

/// What one question to a server brought.
enum Answer {
    /// It still has the file that the validators are of.
    Unchanged,
    /// The rest that was asked for does not fit the file as it is now.
    Changed,
    /// Bytes.
    Body {
        /// Where they begin in the file.
        start: u64,
        /// How many bytes the whole file has.
        total: Option<u64>,
        validators: Validators,
        body: Body,
    },
}

enum Body {
    Http(Box<reqwest::Response>),
    Object(BoxStream<'static, object_store::Result<bytes::Bytes>>),
}

impl Body {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, Refusal> {
        match self {
            Body::Http(response) => response
                .chunk()
                .await
                .map_err(|error| Refusal::Transport(error.without_url())),
            Body::Object(stream) => stream.next().await.transpose().map_err(Refusal::Object),
        }
    }
}

/// What is asked of a server.
struct Question<'a> {
    url: &'a Url,
    /// Only if it is not this any more.
    unless: Option<&'a Validators>,
    /// From this byte on, if it is still this.
    rest: Option<(u64, &'a Validators)>,
    only_https: bool,
    asker: Asker<'a>,
}

impl Network {
    /// Makes no connection yet.
    pub fn new(settings: NetworkSettings) -> Network {
        let settings = Arc::new(settings);
        Network {
            http: http::Http::new(Arc::clone(&settings)),
            objects: object::Objects::new(Arc::clone(&settings)),
            credentials: Arc::default(),
            settings,
        }
    }

    /// A network that is never touched.
    pub fn offline() -> Network {
        Network::new(NetworkSettings {
            offline: true,
            ..NetworkSettings::default()
        })
    }

    /// Whether the network may not be used.
    pub fn is_offline(&self) -> bool {
        self.settings.offline
    }

    /// Fetches a file. It is no part of the store until [`Arrived::keep`]; what must be checked of
    /// it beyond `wanted` can be checked before.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn fetch(
        &self,
        store: &Store,
        wanted: &Wanted<'_>,
        reporter: &dyn Reporter,
    ) -> Result<Arrived, Refusal> {
        self.fetch_as(store, wanted, Asker::Environment, reporter)
            .await
    }

    /// As [`Network::fetch`], and says who asks.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn fetch_as(
        &self,
        store: &Store,
        wanted: &Wanted<'_>,
        asker: Asker<'_>,
        reporter: &dyn Reporter,
    ) -> Result<Arrived, Refusal> {
        match self.ask(store, wanted, None, asker, reporter).await? {
            Some(arrived) => Ok(arrived),
            None => Err(Refusal::Nonsense("304 to a question without a condition")),
        }
    }

    /// Fetches a file unless it still is what `known` is of. `None`: it is.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn fetch_changed(
        &self,
        store: &Store,
        wanted: &Wanted<'_>,
        known: &Validators,
        reporter: &dyn Reporter,
    ) -> Result<Option<Arrived>, Refusal> {
        let known = (!known.is_empty()).then_some(known);
        self.ask(store, wanted, known, Asker::Environment, reporter)
            .await
    }

    /// What was fetched from `url` before and remembered, every byte checked again.
    ///
    /// # Errors
    /// The store can't be read. A damaged file is removed and not known any more.
    pub fn known(&self, store: &Store, url: &Url) -> Result<Option<Known>, StoreError> {
        let Some(record) = store.record_get::<KnownRecord>(KNOWN, &key(url, None))? else {
            return Ok(None);
        };
        match store.open_verified(&record.digest) {
            Ok(_) => {}
            Err(StoreError::Missing(_) | StoreError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let KnownRecord { digest, validators } = record;
        Ok(store.path(&digest).map(|path| Known {
            digest,
            path,
            validators,
        }))
    }

    /// Remembers what is in the store now as what `url` is.
    ///
    /// # Errors
    /// The store can't be written to.
    pub fn remember(
        &self,
        store: &Store,
        url: &Url,
        digest: Digest,
        validators: &Validators,
    ) -> Result<(), StoreError> {
        let record = KnownRecord {
            digest,
            validators: validators.clone(),
        };
        store.record_put(KNOWN, &key(url, None), &record)
    }

    async fn ask(
        &self,
        store: &Store,
        wanted: &Wanted<'_>,
        unless: Option<&Validators>,
        asker: Asker<'_>,
        reporter: &dyn Reporter,
    ) -> Result<Option<Arrived>, Refusal> {
        if !can_fetch(wanted.url.scheme()) {
            return Err(Refusal::Url(shown(wanted.url)));
        }
        if self.settings.offline {
            return Err(Refusal::Offline);
        }
        let key = key(wanted.url, wanted.expected.as_ref());
        let mut partial = Partial::open(store, &key, wanted.expected)?;
        let task = Task::start(reporter, Verb::Fetch, wanted.name, wanted.size, Unit::Bytes);
        let mut transfer = Transfer {
            network: self,
            wanted,
            unless,
            asker,
            task: &task,
            told: 0,
        };
        let mut again = true;
        loop {
            if !transfer.patiently(&mut partial, reporter).await? {
                task.unchanged();
                return Ok(None);
            }
            let arrived = partial.finish();
            let Some(expected) = wanted.expected else {
                task.done();
                return Ok(Some(arrived));
            };
            let actual = arrived.like(&expected);
            if actual == expected {
                task.done();
                return Ok(Some(arrived));
            }
            if !(arrived.is_resumed() && again) {
                return Err(Refusal::WrongContents {
                    expected,
                    actual,
                    size: arrived.size(),
                });
            }
            // Parts of two files, maybe; the whole of one is worth a try.
            again = false;
            drop(arrived);
            partial = Partial::open(store, &key, wanted.expected)?;
        }
    }
}

struct Transfer<'a> {
    network: &'a Network,
    wanted: &'a Wanted<'a>,
    unless: Option<&'a Validators>,
    asker: Asker<'a>,
    task: &'a Task<'a>,
    /// How many bytes the task has been told of.
    told: u64,
}

impl Transfer<'_> {
    /// Asks until all has come, or patience ends. Whether there is something new.
    async fn patiently(
        &mut self,
        partial: &mut Partial,
        reporter: &dyn Reporter,
    ) -> Result<bool, Refusal> {
        let settings = &self.network.settings;
        let (mut failures, mut pause) = (0, settings.first_pause);
        loop {
            let before = partial.size();
            let refusal = match self.once(partial).await {
                Err(refusal) if refusal.is_transient() => refusal,
                other => return other,
            };
            if partial.size() >= before.saturating_add(PROGRESS) {
                (failures, pause) = (0, settings.first_pause);
            }
            failures += 1;
            if failures >= settings.attempts {
                return Err(refusal);
            }
            let asked = match &refusal {
                Refusal::Busy { seconds, .. } => Duration::from_secs(*seconds),
                Refusal::Changed => continue,
                _ => pause,
            };
            if asked > settings.longest_pause {
                return Err(refusal);
            }
            let (name, place) = (self.wanted.name, shown(self.wanted.url));
            let message = format!("{name} from {place}: {refusal}; trying again");
            reporter.report(Event::Notice { message: &message });
            tokio::time::sleep(asked).await;
            pause = (pause * 2).min(settings.longest_pause);
        }
    }

    async fn once(&mut self, partial: &mut Partial) -> Result<bool, Refusal> {
        // A whole file may wait here, its process killed before it could be looked at.
        if partial.size() > 0 && self.is_whole(partial) {
            partial.resume();
            return Ok(true);
        }
        let notes = partial.notes().clone();
        let fits = notes.validators.strong().is_some() || self.wanted.expected.is_some();
        let short = notes.total.is_none_or(|total| partial.size() < total);
        let rest =
            (partial.size() > 0 && fits && short).then_some((partial.size(), &notes.validators));
        let question = Question {
            url: self.wanted.url,
            unless: self.unless,
            rest,
            only_https: self.wanted.only_https,
            asker: self.asker,
        };
        let (start, total, validators, mut body) = match self.network.put(&question).await? {
            Answer::Unchanged => return Ok(false),
            Answer::Changed => {
                partial.restart(Notes::default())?;
                return Err(Refusal::Changed);
            }
            Answer::Body {
                start,
                total,
                validators,
                body,
            } => (start, total, validators, body),
        };
        if start == 0 {
            partial.restart(Notes { validators, total })?;
        } else if rest.is_none_or(|(size, _)| size != start) {
            return Err(Refusal::Nonsense("other bytes than were asked for"));
        } else if notes.total.is_some() && total.is_some() && notes.total != total {
            partial.restart(Notes::default())?;
            return Err(Refusal::Changed);
        } else {
            partial.resume();
        }
        if let (Some(expected), Some(actual)) = (self.wanted.size, total)
            && expected != actual
        {
            partial.restart(Notes::default())?;
            return Err(Refusal::WrongSize { expected, actual });
        }
        let limit = self.wanted.size.unwrap_or(self.wanted.limit);
        if total.is_some_and(|total| total > limit) {
            return Err(Refusal::TooLarge { limit });
        }
        self.tell(partial.size());
        let window = self.network.settings.read_timeout;
        let (mut since, mut come) = (Instant::now(), 0);
        while let Some(bytes) = body.next().await? {
            come += bytes.len() as u64;
            if come >= LEAST {
                (since, come) = (Instant::now(), 0);
            } else if since.elapsed() > window {
                let seconds = window.as_secs_f64();
                return Err(Refusal::Silent { seconds });
            }
            if partial.size() + bytes.len() as u64 > limit {
                partial.restart(Notes::default())?;
                return Err(Refusal::TooLarge { limit });
            }
            partial.take(&bytes)?;
            self.tell(partial.size());
        }
        match total.or(self.wanted.size) {
            Some(expected) if expected != partial.size() => {
                let actual = partial.size();
                Err(Refusal::Broken { expected, actual })
            }
            _ => Ok(true),
        }
    }

    fn is_whole(&self, partial: &Partial) -> bool {
        let known = self.wanted.expected.is_some();
        let total = self.wanted.size.or(partial.notes().total);
        known && total == Some(partial.size())
    }

    fn tell(&mut self, size: u64) {
        // After a restart the same bytes come again; they are told of once.
        self.task.advance(size.saturating_sub(self.told));
        self.told = self.told.max(size);
    }
}

impl Network {
    fn credentials(&self) -> Result<&Credentials, Refusal> {
        let credentials = self
            .credentials
            .get_or_init(|| match &self.settings.credentials {
                CredentialSource::Given(credentials) => Ok(credentials.clone()),
                CredentialSource::Environment => Credentials::from_environment().map_err(Arc::new),
            });
        credentials
            .as_ref()
            .map_err(|error| Refusal::Credentials(Arc::clone(error)))
    }

    async fn put(&self, question: &Question<'_>) -> Result<Answer, Refusal> {
        let credentials = self.credentials()?;
        if object::is_object(question.url.scheme()) {
            self.objects.put(question, credentials).await
        } else {
            self.http.put(question, credentials).await
        }
    }
}

/// What names a URL in the store: who asks is no part of it.
fn key(url: &Url, expected: Option<&Expected>) -> Digest {
    let mut text = without_credentials(url.as_str());
    if let Some(expected) = expected {
        text.push_str(&format!(" {expected}"));
    }
    Digest::of(text.as_bytes())
}

/// A URL for messages.
fn shown(url: &Url) -> String {
    without_credentials(url.as_str())
}
