//! Questions that protocols over HTTP are made of: any method, a body that streams, an answer that
//! is held in memory and therefore limited.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::{Event, Reporter};
use base64::Engine as _;
use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue,
};
use reqwest::{Client, RequestBuilder, Response};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::http::{bare, next_place, place, retry_after, same_server};
use super::{MAXIMUM_REDIRECTS, Network, NetworkSettings, shown};
use crate::refusal::Refusal;

/// Bytes that are read of a file at a time while it is sent.
const CHUNK: u64 = 1 << 17;
/// How often a sender is looked at: whether it moves, and how far it is.
const TICK: Duration = Duration::from_millis(100);
/// The most that is read of an answer that is a failure.
const FAILURE_LIMIT: u64 = 64 << 10;
/// A server has this many times longer to answer what was sent whole, for it may have to store it.
const COMMIT_PATIENCE: u32 = 5;

/// What is done to what a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read it.
    Get,
    /// Ask what reading it would say of it.
    Head,
    /// Whatever the server does with a message.
    Post,
    /// Write it.
    Put,
    /// Change it.
    Patch,
    /// Remove it.
    Delete,
}

impl Method {
    fn of_http(self) -> reqwest::Method {
        match self {
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        }
    }
}

/// The value of an `Authorization` header. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(HeaderValue);

impl Authorization {
    /// A user and a password (RFC 7617). `None`: no header can carry them.
    pub fn basic(user: &str, password: &str) -> Option<Authorization> {
        let encoded =
            base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Authorization::new(&format!("Basic {encoded}"))
    }

    /// A token (RFC 6750). `None`: no header can carry it.
    pub fn bearer(token: &str) -> Option<Authorization> {
        Authorization::new(&format!("Bearer {token}"))
    }

    fn new(text: &str) -> Option<Authorization> {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        Some(Authorization(value))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization")
    }
}

/// What is sent with a question.
#[derive(Clone, Debug, Default)]
pub enum Payload {
    /// Nothing.
    #[default]
    Nothing,
    /// Bytes at hand.
    Bytes(Bytes),
    /// Bytes of a file, read as they are sent.
    Part {
        /// The file; where it is positioned does not matter.
        file: Arc<File>,
        /// The first byte.
        start: u64,
        /// How many.
        length: u64,
    },
}

impl Payload {
    fn length(&self) -> u64 {
        match self {
            Payload::Nothing => 0,
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Part { length, .. } => *length,
        }
    }
}

/// One question to a web server.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// What is to be done.
    pub method: Method,
    /// To what. What the URL says of users is never sent.
    pub url: &'a Url,
    /// Headers, by lower-case name.
    pub headers: &'a [(&'static str, String)],
    /// What the server of `url` is told of who asks. No other server is, wherever it sends us.
    pub authorization: Option<&'a Authorization>,
    /// What is sent.
    pub payload: Payload,
    /// The most bytes that the answer may have.
    pub limit: u64,
    /// Ask again when it fails for a while. Not for what may not be done twice.
    pub again: bool,
}

/// What a server answered. A failure is an answer too.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Who answered, in the end.
    pub url: Url,
    headers: HeaderMap,
    /// Its body; of a failure no more than the first 64 KiB.
    pub body: Vec<u8>,
}

impl Answered {
    /// A header's first value, if it is ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of a header that are ASCII.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let values = self.headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok())
    }

    /// How long the server asks to be left alone, in seconds.
    pub fn retry_after(&self) -> Option<u64> {
        retry_after(&self.headers)
    }

    /// Whether it went well.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500 | 502..=504)
    }
}

impl Network {
    /// Puts a question and gives the answer, whatever its status; where `again` allows, what fails
    /// for a while is asked again, after pauses that double or as the server's `Retry-After` says.
    /// `sent` is told of the bytes of the payload as they go; of those that go again, once.
    ///
    /// # Errors
    /// No answer could be had: see [`Refusal`].
    pub async fn exchange(
        &self,
        question: &Exchange<'_>,
        sent: &(dyn Fn(u64) + Sync),
        reporter: &dyn Reporter,
    ) -> Result<Answered, Refusal> {
        if !matches!(question.url.scheme(), "http" | "https") {
            return Err(Refusal::Url(shown(question.url)));
        }
        if self.settings.offline {
            return Err(Refusal::Offline);
        }
        let settings = &self.settings;
        let (mut failures, mut pause) = (0, settings.first_pause);
        let mut told = 0;
        loop {
            let mut progress = |total: u64| {
                sent(total.saturating_sub(told));
                told = told.max(total);
            };
            let result = self.exchange_once(question, &mut progress).await;
            failures += 1;
            let last = failures >= settings.attempts || !question.again;
            let (asked, why) = match &result {
                Ok(answered) if answered.is_transient() && !last => {
                    let asked = answered.retry_after().map(Duration::from_secs);
                    (asked, Refusal::Status(answered.status).to_string())
                }
                Err(refusal) if refusal.is_transient() && !last => (None, refusal.to_string()),
                _ => return result,
            };
            let rest = asked.unwrap_or(pause);
            if rest > settings.longest_pause {
                return result;
            }
            let (name, place) = (question.name, place(question.url));
            let message = format!("{name} at {place}: {why}; trying again");
            reporter.report(Event::Notice { message: &message });
            sleep(rest).await;
            pause = (pause * 2).min(settings.longest_pause);
        }
    }

    async fn exchange_once(
        &self,
        question: &Exchange<'_>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Answered, Refusal> {
        let (client, settings) = (self.http.sender(self.credentials()?)?, &self.settings);
        let mut url = bare(question.url);
        for _ in 0..=MAXIMUM_REDIRECTS {
            let mut request = client
                .request(question.method.of_http(), url.clone())
                .header(ACCEPT_ENCODING, "identity");
            for (name, value) in question.headers {
                let value = HeaderValue::from_str(value)
                    .map_err(|_| Refusal::Nonsense("a word that no header can carry"))?;
                request = request.header(HeaderName::from_static(name), value);
            }
            if let Some(authorization) = question.authorization
                && same_server(&url, question.url)
            {
                request = request.header(AUTHORIZATION, authorization.header());
            }
            let response = send(client, request, &question.payload, settings, progress).await?;
            let status = response.status().as_u16();
            let follows = match question.method {
                Method::Get | Method::Head => matches!(status, 301 | 302 | 303 | 307 | 308),
                _ => matches!(status, 307 | 308),
            };
            if follows {
                url = next_place(&url, response.headers(), true)?;
                continue;
            }
            return receive(response, url, question, settings).await;
        }
        Err(Refusal::Redirect {
            place: place(&url),
            reason: "it has sent us on too often",
        })
    }
}

/// Sends, and watches that the bytes keep going.
async fn send(
    client: &Client,
    request: RequestBuilder,
    payload: &Payload,
    settings: &NetworkSettings,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Response, Refusal> {
    let gone = Arc::new(AtomicU64::new(0));
    let length = payload.length();
    let request = match payload {
        Payload::Nothing => request,
        Payload::Bytes(bytes) => {
            gone.store(length, Ordering::Relaxed);
            request.body(bytes.clone())
        }
        Payload::Part {
            file,
            start,
            length,
        } => {
            let pieces = Pieces {
                file: Arc::clone(file),
                at: *start,
                left: *length,
                gone: Arc::clone(&gone),
            };
            request
                .header(CONTENT_LENGTH, *length)
                .body(reqwest::Body::wrap_stream(futures_util::stream::iter(
                    pieces,
                )))
        }
    };
    let request = request.build().map_err(transport)?;
    let mut response = std::pin::pin!(client.execute(request));
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        let answered = timeout(TICK, &mut response).await;
        let now = gone.load(Ordering::Relaxed);
        progress(now);
        if let Ok(answered) = answered {
            return answered.map_err(transport);
        }
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        let patience = match now == length && length > 0 {
            true => settings.read_timeout * COMMIT_PATIENCE,
            false => settings.read_timeout,
        };
        if since.elapsed() > patience {
            return Err(silent(patience));
        }
    }
}

/// Reads an answer, which has to come at a decent pace.
async fn receive(
    mut response: Response,
    url: Url,
    question: &Exchange<'_>,
    settings: &NetworkSettings,
) -> Result<Answered, Refusal> {
    let status = response.status().as_u16();
    let success = response.status().is_success();
    let limit = if success {
        question.limit
    } else {
        FAILURE_LIMIT
    };
    let mut body = Vec::new();
    let patience = settings.read_timeout * 2;
    let read = async {
        while let Some(bytes) = response.chunk().await.map_err(transport)? {
            let room = limit.saturating_sub(body.len() as u64);
            if bytes.len() as u64 > room {
                if success {
                    return Err(Refusal::TooLarge { limit });
                }
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                body.extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
                return Ok(());
            }
            body.extend_from_slice(&bytes);
        }
        Ok(())
    };
    match timeout(patience, read).await {
        Ok(Ok(())) => {}
        // What a failure says is a courtesy; the failure counts without it.
        Ok(Err(_)) | Err(_) if !success => {}
        Ok(Err(refusal)) => return Err(refusal),
        Err(_) => return Err(silent(patience)),
    }
    Ok(Answered {
        status,
        url,
        headers: response.headers().clone(),
        body,
    })
}

fn silent(patience: Duration) -> Refusal {
    Refusal::Silent {
        seconds: patience.as_secs_f64(),
    }
}

fn transport(error: reqwest::Error) -> Refusal {
    Refusal::Transport(error.without_url())
}

/// Reads a part of a file piece by piece.
struct Pieces {
    file: Arc<File>,
    at: u64,
    left: u64,
    gone: Arc<AtomicU64>,
}

impl Iterator for Pieces {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.left == 0 {
            return None;
        }
        let count = self.left.min(CHUNK);
        let mut buffer = vec![0; usize::try_from(count).unwrap_or_default()];
        if let Err(error) = self.file.read_exact_at(&mut buffer, self.at) {
            self.left = 0;
            return Some(Err(error));
        }
        self.at += count;
        self.left -= count;
        self.gone.fetch_add(count, Ordering::Relaxed);
        Some(Ok(Bytes::from(buffer)))
    }
}
