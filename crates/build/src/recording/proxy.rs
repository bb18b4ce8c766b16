//! The proxy itself: an HTTP/1.1 server that takes connections out of a sandbox.
//!
//! It answers questions for `http://` URLs (RFC 9112, 3.2.2) and, after `CONNECT`, those for
//! `https://` ones, for which it has the certificates.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::authority::{Authority, AuthorityError};
use super::exchange::{Recording, redacted};
use super::respond::{self, Sent};
use super::steps::{CERTIFICATE, TRUST_STORE};
use super::tape::{Asked, Miss, Outcome, Tape};
use super::upstream::{RecorderSettings, Upstream};
use crate::sandbox::Gateway;

/// How many connections are served at a time; the rest wait.
const MOST_CONNECTIONS: usize = 128;

/// No URL is longer.
const LONGEST_URL: usize = 8 << 10;

/// No question has a larger body: git's are lists of what it has.
const LARGEST_QUESTION: usize = 8 << 20;

/// How long a build waits at its end for what a step asked for and did not wait for.
const PATIENCE: Duration = Duration::from_secs(300);

/// The proxy can't be started.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No certificates.
    #[error("the network can't be recorded or replayed: {0}")]
    Authority(#[from] AuthorityError),
    /// No way to servers.
    #[error("the network can't be recorded: {0}")]
    Upstream(String),
    /// No threads, or no place for a file.
    #[error("the network can't be recorded or replayed: can't {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Answers what the steps of one build ask.
pub struct Proxy {
    tape: Arc<Tape>,
    authority: Arc<Authority>,
    connections: Arc<Semaphore>,
    serving: Mutex<Option<JoinHandle<()>>>,
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

impl Proxy {
    /// One that answers as servers do, and keeps that.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub fn record(store: Store, settings: RecorderSettings) -> Result<Proxy, ProxyError> {
        let upstream =
            Upstream::new(settings).map_err(|error| ProxyError::Upstream(error.to_string()))?;
        Proxy::new(Tape::new(store, &Recording::default(), Some(upstream)))
    }

    /// One that answers as `recording` says. The bodies must be in `store`.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub fn replay(store: Store, recording: &Recording) -> Result<Proxy, ProxyError> {
        Proxy::new(Tape::new(store, recording, None))
    }

    fn new(tape: Tape) -> Result<Proxy, ProxyError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("network")
            .enable_all()
            .build()
            .map_err(|source| ProxyError::Io {
                action: "start threads",
                source,
            })?;
        Ok(Proxy {
            tape: Arc::new(tape),
            authority: Arc::new(Authority::new()?),
            connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            serving: Mutex::default(),
            runtime: Some(runtime),
        })
    }

    /// Puts into `folder` what steps must have to trust this proxy: it goes to
    /// [`GUEST_FOLDER`](super::GUEST_FOLDER) of the sandbox.
    ///
    /// # Errors
    /// The folder can't be written to.
    pub fn write_certificates(&self, folder: &Path) -> Result<(), ProxyError> {
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes);
        write(CERTIFICATE, self.authority.pem().as_bytes())
            .and_then(|()| write(TRUST_STORE, &self.authority.java_trust_store()))
            .map_err(|source| ProxyError::Io {
                action: "write the certificates",
                source,
            })
    }

    /// Says which step asks from now on.
    pub fn begin_step(&self, name: &str) {
        self.tape.begin_step(name);
    }

    /// What got no answer since this was last asked.
    pub fn take_misses(&self) -> Vec<Miss> {
        self.tape.take_misses()
    }

    /// What is recorded, once all that was asked for has come.
    pub fn recording(&self) -> Recording {
        if let Some(runtime) = &self.runtime {
            let tape = Arc::clone(&self.tape);
            let settled = async move { tokio::time::timeout(PATIENCE, tape.settle()).await };
            // What has not come by then is not recorded; whoever wants it is told.
            let _ = runtime.block_on(settled);
        }
        self.tape.recording()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Gateway for Proxy {
    fn serve(&self, listener: TcpListener) {
        let Some(runtime) = &self.runtime else {
            return;
        };
        let connection = Connection {
            tape: Arc::clone(&self.tape),
            authority: Arc::clone(&self.authority),
            tunnel: None,
        };
        let connections = Arc::clone(&self.connections);
        let task = runtime.spawn(accept(listener, connection, connections));
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        // The sandbox before this one is gone, and with its socket goes its network.
        if let Some(before) = serving.replace(task) {
            before.abort();
        }
    }
}

async fn accept(listener: TcpListener, connection: Connection, connections: Arc<Semaphore>) {
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener));
    let Ok(listener) = listener else {
        return; // steps find a server that does not answer
    };
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                // Else small answers wait 40 ms for the client's acknowledgement.
                let _ = stream.set_nodelay(true);
                let connection = connection.clone();
                tokio::spawn(async move {
                    connection.run(stream).await;
                    drop(permit);
                });
            }
            // No descriptors left, or the like: it passes.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One connection, or what is inside one.
#[derive(Clone)]
struct Connection {
    tape: Arc<Tape>,
    authority: Arc<Authority>,
    /// Scheme and authority of all URLs, within a tunnel.
    tunnel: Option<Arc<str>>,
}

type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Connection {
    /// Boxed: a tunnel is a connection within one.
    fn run<S>(self, stream: S) -> Served
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let service = service_fn(move |request| {
                let connection = self.clone();
                async move { Ok::<_, Infallible>(connection.answer(request).await) }
            });
            // A step that goes away is no affair of ours.
            let _ = http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        })
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Sent> {
        if request.method() == Method::CONNECT && self.tunnel.is_none() {
            return self.open_tunnel(request);
        }
        let method = request.method().clone();
        let url = match self.url(request.uri()) {
            Ok(url) => url,
            Err(reason) => return self.refused(&method, &request.uri().to_string(), 400, reason),
        };
        if let Err(reason) = allowed(&method, &url) {
            return self.refused(&method, redacted(&url).as_str(), 403, reason);
        }
        let (head, body) = request.into_parts();
        let body = if method == Method::POST {
            match Limited::new(body, LARGEST_QUESTION).collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => {
                    let reason = "the body of the question broke off or is too large";
                    return self.refused(&method, redacted(&url).as_str(), 413, reason);
                }
            }
        } else {
            Bytes::new()
        };
        let at_once = !respond::needs_whole(&head.headers);
        let headers = head.headers.clone();
        let asked = Asked {
            method: method.clone(),
            url,
            headers: head.headers,
            body,
        };
        match self.tape.answer(asked, at_once).await {
            Outcome::Kept(exchange) => {
                respond::kept(&exchange, &method, &headers, self.tape.store())
            }
            Outcome::Coming { head, body } => respond::coming(&head, body),
            Outcome::Refused(status, reason) => respond::refusal(status, &reason),
        }
    }

    fn refused(&self, method: &Method, url: &str, status: u16, reason: &str) -> Response<Sent> {
        let shown: String = url.chars().take(200).collect();
        let step = self.tape.step();
        self.tape.miss(&step, method.as_str(), &shown, reason);
        respond::refusal(status, reason)
    }

    fn open_tunnel(self, request: Request<Incoming>) -> Response<Sent> {
        let authority = request.uri().authority().cloned();
        let Some(authority) = authority.filter(|authority| !authority.as_str().contains('@'))
        else {
            let shown = request.uri().to_string();
            return self.refused(&Method::CONNECT, &shown, 400, "it names no server");
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let plain = authority.port_u16() == Some(80);
        let scheme = if plain { "http" } else { "https" };
        let inner = Connection {
            tunnel: Some(format!("{scheme}://{authority}").into()),
            ..self
        };
        tokio::spawn(async move {
            let Ok(upgraded) = hyper::upgrade::on(request).await else {
                return;
            };
            let stream = TokioIo::new(upgraded);
            if plain {
                return inner.run(stream).await;
            }
            let failed = |reason: String| {
                let (step, url) = (inner.tape.step(), format!("https://{authority}/"));
                inner.tape.miss(&step, "CONNECT", &url, &reason);
            };
            let tls = match inner.authority.server(&host) {
                Ok(tls) => tls,
                Err(error) => return failed(error.to_string()),
            };
            match TlsAcceptor::from(tls).accept(stream).await {
                Ok(stream) => inner.clone().run(stream).await,
                Err(error) => failed(format!(
                    "the client did not begin a TLS connection that it trusts ({error}); only \
                     https can pass, and the client must take its certificates from the \
                     environment, such as SSL_CERT_FILE"
                )),
            }
        });
        Response::new(Sent::Whole(None))
    }

    /// The whole URL of a question.
    fn url(&self, uri: &Uri) -> Result<Url, &'static str> {
        let text = match &self.tunnel {
            Some(start) => {
                let path = uri.path_and_query().map_or("/", |path| path.as_str());
                format!("{start}{path}")
            }
            None => uri.to_string(),
        };
        if text.len() > LONGEST_URL {
            return Err("the URL is longer than 8 KiB");
        }
        Url::parse(&text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or("it is no http:// or https:// URL")
    }
}

/// Whether this may be asked at all: what only reads.
fn allowed(method: &Method, url: &Url) -> Result<(), &'static str> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        Method::POST => {
            let path = url.path();
            let reads = path.ends_with("/git-upload-pack")
                || path.starts_with("/-/npm/v1/security/")
                || path.contains("/-/npm/v1/security/");
            if reads {
                Ok(())
            } else {
                Err(
                    "POST is only recorded for `git fetch` and `npm audit`: it may change \
                     something on the server, and what a build gets must not depend on that",
                )
            }
        }
        _ => Err("only GET and HEAD, and POST for `git fetch` and `npm audit`, are recorded"),
    }
}
