//! What is recorded so far, or what is replayed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Digest, DigestWriter};
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, header};
use reqwest::Response;
use store::Store;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, mpsc};
use url::Url;

use super::exchange::{Exchange, FORWARDED_HEADERS, KEPT_HEADERS, Recording, redacted};
use super::upstream::{Upstream, UpstreamError, is_transient};

/// A step that asks for more than this is after something else than sources.
const MOST_EXCHANGES: usize = 200_000;

/// How many questions are put to servers at a time, whoever asked there or gone; the rest wait.
const MOST_AT_A_TIME: usize = 128;

/// How many misses are remembered.
const MOST_MISSES: usize = 100;

/// How long a step may leave what it asked for unread before it is fetched without it.
const STALLED: Duration = Duration::from_secs(60);

/// Answers of a mirror that are looked into are no larger.
const LARGEST_TEXT: u64 = 256 << 20;

/// A question to the network that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Miss {
    /// The step that asked.
    pub step: String,
    /// `GET`, `HEAD`, `POST`, or another.
    pub method: String,
    /// What it asked for, without credentials.
    pub url: String,
    /// Why there was no answer, and what to do.
    pub reason: String,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Miss {
            step,
            method,
            url,
            reason,
        } = self;
        write!(f, "{method} {url} (step `{step}`): {reason}")
    }
}

/// What is asked: by it, answers are found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    pub(super) method: String,
    /// As it is kept.
    pub(super) url: String,
    pub(super) body: Option<Digest>,
}

/// A question as it came.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A question that is put to a server.
struct Asking {
    step: String,
    question: Question,
    asked: Asked,
    turn: Turn,
}

/// Until it ends, nobody else puts the same question.
struct Turn {
    _own: OwnedMutexGuard<()>,
    _permit: OwnedSemaphorePermit,
}

/// What comes of a question.
pub(super) enum Outcome {
    /// The answer, as it is kept.
    Kept(Arc<Exchange>),
    /// The answer is under way; its digest is not known yet.
    Coming {
        head: Exchange,
        body: mpsc::Receiver<std::io::Result<Bytes>>,
    },
    /// There is no answer: a status, and why.
    Refused(u16, String),
}

/// The state of a recording or a replay.
pub(super) struct Tape {
    store: Store,
    upstream: Option<Upstream>,
    known: Mutex<BTreeMap<Question, Vec<Arc<Exchange>>>>,
    /// Each question is put once, whoever else has it.
    under_way: Mutex<BTreeMap<Question, Arc<tokio::sync::Mutex<()>>>>,
    at_a_time: Arc<Semaphore>,
    /// Whole URLs of redirects, by what steps are told of them.
    whole: Mutex<BTreeMap<String, Url>>,
    misses: Mutex<Vec<Miss>>,
    step: Mutex<String>,
    bytes: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tape {
    /// One that is recorded, by way of `upstream`, or replayed.
    pub(super) fn new(store: Store, recording: &Recording, upstream: Option<Upstream>) -> Tape {
        let mut known: BTreeMap<Question, Vec<Arc<Exchange>>> = BTreeMap::new();
        for exchange in recording.exchanges() {
            let question = question_of(exchange);
            known
                .entry(question)
                .or_default()
                .push(Arc::new(exchange.clone()));
        }
        Tape {
            store,
            upstream,
            known: Mutex::new(known),
            under_way: Mutex::default(),
            at_a_time: Arc::new(Semaphore::new(MOST_AT_A_TIME)),
            whole: Mutex::default(),
            misses: Mutex::default(),
            step: Mutex::default(),
            bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn begin_step(&self, name: &str) {
        name.clone_into(&mut lock(&self.step));
    }

    /// Everything that is known.
    pub(super) fn recording(&self) -> Recording {
        let known = lock(&self.known);
        Recording::new(
            known
                .values()
                .flatten()
                .map(|exchange| Exchange::clone(exchange)),
        )
    }

    /// Waits until nothing is under way.
    pub(super) async fn settle(&self) {
        let turns: Vec<_> = lock(&self.under_way).values().cloned().collect();
        for turn in turns {
            drop(turn.lock_owned().await);
        }
    }

    /// What got no answer since this was last asked.
    pub(super) fn take_misses(&self) -> Vec<Miss> {
        std::mem::take(&mut lock(&self.misses))
    }

    /// The step that asks now.
    pub(super) fn step(&self) -> String {
        lock(&self.step).clone()
    }

    /// Remembers a question of a step that got no answer.
    pub(super) fn miss(&self, step: &str, method: &str, url: &str, reason: &str) {
        let miss = Miss {
            step: step.to_owned(),
            method: method.to_owned(),
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let mut misses = lock(&self.misses);
        if misses.len() < MOST_MISSES && !misses.contains(&miss) {
            misses.push(miss);
        }
    }

    /// Answers a question. `at_once` is whether the answer may begin before all of it has come.
    ///
    /// What is put to a server is put to the end though whoever asked goes away: the next build may wait
    /// for what this one did not.
    pub(super) async fn answer(self: &Arc<Self>, asked: Asked, at_once: bool) -> Outcome {
        let public = match &self.upstream {
            Some(upstream) => upstream.public(&asked.url),
            None => asked.url.clone(),
        };
        let question = Question {
            method: asked.method.to_string(),
            url: redacted(&public).to_string(),
            body: (asked.method == Method::POST).then(|| Digest::of(&asked.body)),
        };
        if let Some(exchange) = self.find(&question, &asked.headers) {
            return Outcome::Kept(exchange);
        }
        let step = self.step();
        let turn = match self.turn(&question).await {
            Ok(turn) => turn,
            Err(reason) => {
                self.miss(&step, &question.method, &question.url, &reason);
                return Outcome::Refused(403, reason);
            }
        };
        if let Some(exchange) = self.find(&question, &asked.headers) {
            return Outcome::Kept(exchange);
        }
        let tape = Arc::clone(self);
        let put = tokio::spawn(async move {
            let asking = Asking {
                step,
                question,
                asked,
                turn,
            };
            tape.record(asking, public, at_once).await
        });
        put.await
            .unwrap_or_else(|error| Outcome::Refused(502, error.to_string()))
    }

    /// Waits until nobody else puts the question, and few enough put others.
    async fn turn(&self, question: &Question) -> Result<Turn, String> {
        if self.upstream.is_none() {
            return Err(
                "it is not in the recording; record the recipe again with `--network record`"
                    .to_owned(),
            );
        }
        let own = {
            let mut under_way = lock(&self.under_way);
            if under_way.len() >= MOST_EXCHANGES {
                return Err(format!(
                    "more than {MOST_EXCHANGES} questions are not recorded"
                ));
            }
            Arc::clone(under_way.entry(question.clone()).or_default())
        };
        let own = own.lock_owned().await;
        let permit = Arc::clone(&self.at_a_time).acquire_owned().await;
        Ok(Turn {
            _own: own,
            _permit: permit.map_err(|error| error.to_string())?,
        })
    }

    /// The kept answer to a question: to a `HEAD`, the one to a `GET` will do.
    fn find(&self, question: &Question, headers: &HeaderMap) -> Option<Arc<Exchange>> {
        let known = lock(&self.known);
        let of = |question: &Question| {
            let mut exchanges = known.get(question)?.iter();
            exchanges
                .find(|exchange| {
                    exchange.request.iter().all(|(name, value)| {
                        sent(headers, name).as_deref().unwrap_or_default() == value
                    })
                })
                .cloned()
        };
        of(question).or_else(|| {
            let get = || Question {
                method: "GET".to_owned(),
                ..question.clone()
            };
            (question.method == "HEAD").then(|| of(&get()))?
        })
    }

    async fn record(self: &Arc<Self>, asking: Asking, public: Url, at_once: bool) -> Outcome {
        let (step, question) = (asking.step.clone(), asking.question.clone());
        let outcome = self.ask(asking, public, at_once).await;
        if let Outcome::Refused(_, reason) = &outcome {
            self.miss(&step, &question.method, &question.url, reason);
        }
        outcome
    }

    async fn ask(self: &Arc<Self>, asking: Asking, public: Url, at_once: bool) -> Outcome {
        let Some(upstream) = &self.upstream else {
            return Outcome::Refused(403, "nothing is recorded".to_owned());
        };
        let Asking {
            step,
            question,
            asked,
            turn,
        } = asking;
        let whole = lock(&self.whole).get(&question.url).cloned();
        let url = whole.unwrap_or(public);
        let mut headers = HeaderMap::new();
        for name in FORWARDED_HEADERS {
            let name = HeaderName::from_static(name);
            for value in asked.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let response = match upstream
            .ask(&asked.method, &url, &headers, &asked.body)
            .await
        {
            Ok(response) => response,
            Err(error @ (UpstreamError::Host(_) | UpstreamError::Address { .. })) => {
                return Outcome::Refused(403, error.to_string());
            }
            Err(error) => return Outcome::Refused(502, chain(&error)),
        };
        let status = response.status().as_u16();
        if matches!(status, 401 | 407) || is_transient(status) || status < 200 {
            let reason = format!("the server answers {status}, which is not recorded");
            return Outcome::Refused(status, reason);
        }
        let head = self.head(&question, upstream, &url, &response, &asked.headers);
        let largest = upstream.settings().largest_answer;
        let length = response.content_length();
        if length.is_some_and(|length| length > largest) {
            return Outcome::Refused(403, too_large(largest));
        }
        let looked_into = upstream.is_rewritten(&url) && is_text(&head);
        let download = Download {
            tape: Arc::clone(self),
            head: head.clone(),
            largest,
            looked_into,
            _turn: turn,
        };
        match length {
            Some(size) if at_once && !looked_into && asked.method != Method::HEAD => {
                let (sender, body) = mpsc::channel(16);
                // Whatever becomes of the step, what it asked for is kept whole.
                let tape = Arc::clone(self);
                tokio::spawn(async move {
                    let failure = download.run(response, Some(&sender)).await.err();
                    if let Some(reason) = failure {
                        tape.miss(&step, &question.method, &question.url, &reason);
                        let _ = sender.send(Err(std::io::Error::other(reason))).await;
                    }
                });
                Outcome::Coming {
                    head: Exchange { size, ..head },
                    body,
                }
            }
            _ => match download.run(response, None).await {
                Ok(exchange) => Outcome::Kept(exchange),
                Err(reason) => Outcome::Refused(502, reason),
            },
        }
    }

    /// All of an answer but its body.
    fn head(
        &self,
        question: &Question,
        upstream: &Upstream,
        url: &Url,
        response: &Response,
        sent_headers: &HeaderMap,
    ) -> Exchange {
        let received = response.headers();
        let mut headers = BTreeMap::new();
        for name in KEPT_HEADERS {
            let values: Vec<&str> = received
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .collect();
            if !values.is_empty() {
                headers.insert(name.to_owned(), values.join(", "));
            }
        }
        if let Some(location) = headers.get_mut("location")
            && let Ok(whole) = url.join(location)
        {
            let public = upstream.public(&whole);
            let shown = redacted(&public);
            lock(&self.whole).insert(shown.to_string(), public);
            *location = shown.to_string();
        }
        if question.method == "HEAD"
            && let Some(length) = received.get(header::CONTENT_LENGTH)
            && let Ok(length) = length.to_str()
        {
            headers.insert("content-length".to_owned(), length.to_owned());
        }
        let varies = received.get_all(header::VARY).iter().any(|value| {
            let names = value.to_str().unwrap_or("*").split(',');
            names
                .map(str::trim)
                .any(|name| name == "*" || name.eq_ignore_ascii_case("accept"))
        });
        let mut request = BTreeMap::new();
        for (name, wanted) in [("accept", varies), ("git-protocol", true)] {
            if wanted && let Some(value) = sent(sent_headers, name) {
                request.insert(name.to_owned(), value);
            }
        }
        Exchange {
            url: question.url.clone(),
            method: question.method.clone(),
            request,
            question: question.body,
            status: response.status().as_u16(),
            headers,
            digest: Digest::of(b""),
            size: 0,
        }
    }
}

fn sent(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn question_of(exchange: &Exchange) -> Question {
    Question {
        method: exchange.method.clone(),
        url: exchange.url.clone(),
        body: exchange.question,
    }
}

fn too_large(largest: u64) -> String {
    format!(
        "the answer is larger than {largest} bytes; if that is as it should be, raise `--network-limit`"
    )
}

/// An error with its causes: what a connection failed at is at the end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

/// Whether URLs may stand in the body.
fn is_text(head: &Exchange) -> bool {
    let kind = head.headers.get("content-type").map_or("", String::as_str);
    !head.headers.contains_key("content-encoding")
        && (kind.is_empty()
            || ["json", "html", "xml", "text/"]
                .iter()
                .any(|word| kind.contains(word)))
}

/// An answer that comes into the store.
struct Download {
    tape: Arc<Tape>,
    head: Exchange,
    largest: u64,
    looked_into: bool,
    _turn: Turn,
}

impl Download {
    async fn run(
        self,
        mut response: Response,
        mut reader: Option<&mpsc::Sender<std::io::Result<Bytes>>>,
    ) -> Result<Arc<Exchange>, String> {
        let tape = &self.tape;
        let failed = |error: store::StoreError| error.to_string();
        let mut file = DigestWriter::new(tape.store.temp_file().map_err(failed)?);
        let mut text = Vec::new();
        let mut whole = 0_u64;
        let largest = if self.looked_into {
            self.largest.min(LARGEST_TEXT)
        } else {
            self.largest
        };
        let total = self
            .tape
            .upstream
            .as_ref()
            .map_or(0, |upstream| upstream.settings().largest_recording);
        while let Some(bytes) = response
            .chunk()
            .await
            .map_err(|error| chain(&error.without_url()))?
        {
            let length = bytes.len() as u64;
            whole += length;
            if whole > largest {
                return Err(too_large(largest));
            }
            if tape.bytes.fetch_add(length, Ordering::Relaxed) + length > total {
                return Err(format!(
                    "all answers together are larger than {total} bytes; if that is as it should be, raise `--network-limit`"
                ));
            }
            if self.looked_into {
                text.extend_from_slice(&bytes);
            } else {
                file.write_all(&bytes).map_err(|error| error.to_string())?;
            }
            if let Some(sender) = reader {
                let sent = tokio::time::timeout(STALLED, sender.send(Ok(bytes))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    reader = None;
                }
            }
        }
        if self.looked_into {
            let text = match (String::from_utf8(text), &tape.upstream) {
                (Ok(text), Some(upstream)) => upstream.public_text(&text).into_bytes(),
                (Ok(text), None) => text.into_bytes(),
                (Err(error), _) => error.into_bytes(),
            };
            file.write_all(&text).map_err(|error| error.to_string())?;
        }
        let (file, digest, size) = file.finish();
        let store = tape.store.clone();
        tokio::task::spawn_blocking(move || store.adopt(file, digest))
            .await
            .map_err(|error| error.to_string())?
            .map_err(failed)?;
        let exchange = Arc::new(Exchange {
            digest,
            size,
            ..self.head
        });
        lock(&tape.known)
            .entry(question_of(&exchange))
            .or_default()
            .push(Arc::clone(&exchange));
        Ok(exchange)
    }
}
