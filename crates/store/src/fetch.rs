//! Bringing sources into the store: from the store itself, mirrors by hash, then their own URL.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base::{Digest, Event, Reporter, Sha256Hasher};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use url::Url;

use crate::apt::{Apt, Lists};
use crate::network::{Network, Wanted, without_credentials};
use crate::{Blob, Mirror, Refusal, Store, StoreError, WriteError};

/// No source is larger; a server that sends more is cut off.
const LARGEST: u64 = 16 << 30;

/// What a source's bytes must hash to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expected {
    /// Their SHA-256, which is also their address in the store.
    Sha256(Digest),
    /// Their SHA-512, as recipes with `expected-sha512` have it.
    Sha512([u8; 64]),
}

/// The text is no digest that a source can be fetched by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a SHA-256 (64 hexadecimal digits) nor a SHA-512 (128), with or without `sha256:` or `sha512:`"
)]
pub struct InvalidExpected(pub String);

impl Expected {
    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Expected::Sha256(_) => "sha256",
            Expected::Sha512(_) => "sha512",
        }
    }

    /// The digits alone, lower-case.
    pub fn hex(&self) -> String {
        match self {
            Expected::Sha256(digest) => digest.hex(),
            Expected::Sha512(bytes) => hex::encode(bytes),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Expected {
    type Err = InvalidExpected;

    fn from_str(text: &str) -> Result<Expected, InvalidExpected> {
        let invalid = || InvalidExpected(text.to_owned());
        let (algorithm, digits) = match text.split_once(':') {
            Some((algorithm, digits)) => (Some(algorithm), digits),
            None => (None, text),
        };
        match (algorithm, digits.len()) {
            (None | Some("sha256"), 64) => {
                digits.parse().map(Expected::Sha256).map_err(|_| invalid())
            }
            (None | Some("sha512"), 128) => {
                let mut bytes = [0; 64];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| invalid())?;
                Ok(Expected::Sha512(bytes))
            }
            _ => Err(invalid()),
        }
    }
}

impl Serialize for Expected {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Expected, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A file to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What messages call it: the package, or the file's name.
    pub name: String,
    /// Where its author keeps it; empty when only mirrors have it.
    pub url: String,
    /// What it must be.
    pub expected: Expected,
}

/// Where sources may come from, besides the store.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Asked in this order, before a source's own URL.
    pub mirrors: Vec<Mirror>,
    /// How the network is used, if at all.
    pub network: Network,
    /// Whether git repositories may be folders of this machine.
    pub local_repositories: bool,
}

/// Where a fetched file came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It was in the store already.
    Store,
    /// A mirror, as [`Mirror`] shows itself.
    Mirror(String),
    /// Its own URL, without credentials.
    Upstream(String),
}

/// A file that is in the store now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its SHA-256.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where it is; it must not be changed.
    pub path: PathBuf,
    /// Where this call found it. Where it came from at first is in the record `origin`.
    pub origin: Origin,
}

/// A source could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No place gave it.
    #[error("can't fetch {name} ({expected}){}", listed(refusals))]
    Nowhere {
        /// The source's name.
        name: String,
        /// What it must be.
        expected: Expected,
        /// Every place asked and why it did not help, in order.
        refusals: Vec<(String, Refusal)>,
    },
    /// The store failed.
    #[error("can't fetch {name}: {source}")]
    Store {
        /// The source's name.
        name: String,
        /// Why.
        #[source]
        source: StoreError,
    },
}

fn listed(refusals: &[(String, Refusal)]) -> String {
    if refusals.is_empty() {
        return ": it has no URL and there are no mirrors; add a mirror".to_owned();
    }
    let mut text = String::from(":");
    for (place, refusal) in refusals {
        text.push_str(&format!("\n  {place}: {refusal}"));
    }
    if refusals
        .iter()
        .any(|(_, refusal)| matches!(refusal, Refusal::WrongContents { .. }))
    {
        text.push_str(
            "\n  (if upstream has replaced the file on purpose, update the recipe's hash)",
        );
    }
    text
}

/// Brings a source into the store and says where it is: the store is looked into first, then
/// each mirror, then the source's own URL. Bytes that do not match are never stored; the next
/// place is asked and the mismatch is reported.
///
/// # Errors
/// [`FetchError::Nowhere`] with every place's reason, or the store failed.
pub async fn fetch(
    store: &Store,
    source: &Source,
    origins: &Origins,
    reporter: &dyn Reporter,
) -> Result<Fetched, FetchError> {
    let failed = |error| FetchError::Store {
        name: source.name.clone(),
        source: error,
    };
    if let Some(fetched) = stored(store, &source.expected).map_err(failed)? {
        return Ok(fetched);
    }
    let mut refusals: Vec<(String, Refusal)> = Vec::new();
    for mirror in &origins.mirrors {
        let place = mirror.to_string();
        match from_mirror(store, source, mirror, &origins.network, reporter).await {
            Ok(blob) => {
                return keep(store, source, blob, Origin::Mirror(place)).map_err(failed);
            }
            Err(Failure::Refused(refusal)) => {
                refuse(&mut refusals, source, place, *refusal, reporter)
            }
            Err(Failure::Store(error)) => return Err(failed(error)),
        }
    }
    if !source.url.is_empty() {
        let url = &source.url;
        let place = without_credentials(url);
        match from_url(store, source, url, &origins.network, reporter).await {
            Ok(blob) => {
                return keep(store, source, blob, Origin::Upstream(place)).map_err(failed);
            }
            Err(Failure::Refused(refusal)) => {
                refuse(&mut refusals, source, place, *refusal, reporter);
            }
            Err(Failure::Store(error)) => return Err(failed(error)),
        }
    }
    Err(FetchError::Nowhere {
        name: source.name.clone(),
        expected: source.expected,
        refusals,
    })
}

fn refuse(
    refusals: &mut Vec<(String, Refusal)>,
    source: &Source,
    place: String,
    refusal: Refusal,
    reporter: &dyn Reporter,
) {
    if matches!(refusal, Refusal::WrongContents { .. }) {
        let message = format!("{} from {place}: {refusal}", source.name);
        reporter.report(Event::Notice { message: &message });
    }
    refusals.push((place, refusal));
}

fn stored(store: &Store, expected: &Expected) -> Result<Option<Fetched>, StoreError> {
    let digest = match expected {
        Expected::Sha256(digest) => *digest,
        Expected::Sha512(bytes) => match store.record_get("sha512", &Digest::of(bytes))? {
            Some(digest) => digest,
            None => return Ok(None),
        },
    };
    let Some(path) = store.path(&digest) else {
        return Ok(None);
    };
    // A record is only a hint: bytes known by their SHA-512 are hashed again before they count.
    if let Expected::Sha512(bytes) = expected {
        let mut file = store.open_verified(&digest)?;
        let mut hasher = sha2::Sha512::new();
        std::io::copy(&mut file, &mut HashOnly(&mut hasher))
            .map_err(WriteError::at("read", &path))?;
        if <[u8; 64]>::from(hasher.finalize()) != *bytes {
            return Ok(None);
        }
    }
    let size = std::fs::metadata(&path)
        .map_err(WriteError::at("read", &path))?
        .len();
    Ok(Some(Fetched {
        digest,
        size,
        path,
        origin: Origin::Store,
    }))
}

struct HashOnly<'h>(&'h mut sha2::Sha512);

impl Write for HashOnly<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn keep(store: &Store, source: &Source, blob: Blob, origin: Origin) -> Result<Fetched, StoreError> {
    if let Expected::Sha512(bytes) = &source.expected {
        store.record_put("sha512", &Digest::of(bytes), &blob.digest)?;
    }
    store.record_put("origin", &blob.digest, &origin)?;
    let path = store
        .path(&blob.digest)
        .ok_or(StoreError::Missing(blob.digest))?;
    Ok(Fetched {
        digest: blob.digest,
        size: blob.size,
        path,
        origin,
    })
}

/// One place's failure, or one of the store that ends everything.
enum Failure {
    Refused(Box<Refusal>),
    Store(StoreError),
}

impl<R: Into<Refusal>> From<R> for Failure {
    fn from(refusal: R) -> Failure {
        match refusal.into() {
            Refusal::Store(error) => Failure::Store(error),
            refusal => Failure::Refused(Box::new(refusal)),
        }
    }
}

async fn from_mirror(
    store: &Store,
    source: &Source,
    mirror: &Mirror,
    network: &Network,
    reporter: &dyn Reporter,
) -> Result<Blob, Failure> {
    let (algorithm, hex) = (source.expected.algorithm(), source.expected.hex());
    match mirror {
        Mirror::Folder(folder) => {
            let names = [
                format!("{algorithm}/{hex}"),
                hex.clone(),
                format!("{algorithm}:{hex}"),
            ];
            let Some(path) = names
                .iter()
                .map(|name| folder.join(name))
                .find(|path| path.is_file())
            else {
                return Err(Refusal::NotThere.into());
            };
            from_file(store, &path, source.expected)
        }
        Mirror::Http(base) => {
            let first = format!("{base}/{algorithm}/{hex}");
            match from_url(store, source, &first, network, reporter).await {
                Err(Failure::Refused(refusal)) if matches!(*refusal, Refusal::NotThere) => {
                    let second = format!("{base}/{hex}");
                    from_url(store, source, &second, network, reporter).await
                }
                other => other,
            }
        }
        Mirror::Apt { suites } => {
            let Expected::Sha256(digest) = source.expected else {
                // The archive's indexes know files by SHA-256 alone.
                return Err(Refusal::NotThere.into());
            };
            let (store, suites) = (store.clone(), suites.clone());
            let offline = network.is_offline();
            let found = tokio::task::spawn_blocking(move || {
                let apt = Apt::open(&store, Lists::Sources, &suites, offline)?;
                match apt.find(&digest)? {
                    Some(file) => apt.download(&[file], &base::Silent).map(Some),
                    None => Ok(None),
                }
            })
            .await;
            match found {
                Ok(Ok(Some(blobs))) => blobs.first().copied().ok_or(Refusal::NotThere.into()),
                Ok(Ok(None)) | Err(_) => Err(Refusal::NotThere.into()),
                Ok(Err(error)) => Err(error.into()),
            }
        }
    }
}

fn from_file(store: &Store, path: &Path, expected: Expected) -> Result<Blob, Failure> {
    let mut file = std::fs::File::open(path).map_err(WriteError::at("read", path))?;
    let mut incoming = Incoming::new(store, expected)?;
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count =
            std::io::Read::read(&mut file, &mut buffer).map_err(WriteError::at("read", path))?;
        if count == 0 {
            return incoming.finish(store);
        }
        incoming.take(&buffer[..count])?;
    }
}

/// Bytes on their way into the store.
struct Incoming {
    file: tempfile::NamedTempFile,
    expected: Expected,
    sha256: Sha256Hasher,
    sha512: Option<sha2::Sha512>,
    size: u64,
}

impl Incoming {
    fn new(store: &Store, expected: Expected) -> Result<Incoming, Failure> {
        Ok(Incoming {
            file: store.temp_file().map_err(Failure::Store)?,
            expected,
            sha256: Sha256Hasher::default(),
            sha512: matches!(expected, Expected::Sha512(_)).then(sha2::Sha512::new),
            size: 0,
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.size += bytes.len() as u64;
        if self.size > LARGEST {
            return Err(Refusal::TooLarge { limit: LARGEST }.into());
        }
        self.sha256.update(bytes);
        if let Some(hasher) = &mut self.sha512 {
            hasher.update(bytes);
        }
        let path = self.file.path().to_owned();
        self.file
            .write_all(bytes)
            .map_err(|error| Failure::Store(WriteError::at("write", &path)(error).into()))
    }

    fn finish(self, store: &Store) -> Result<Blob, Failure> {
        let digest = self.sha256.finish();
        let actual = match self.sha512 {
            Some(hasher) => Expected::Sha512(hasher.finalize().into()),
            None => Expected::Sha256(digest),
        };
        if actual != self.expected {
            return Err(Refusal::WrongContents {
                expected: self.expected,
                actual,
                size: self.size,
            }
            .into());
        }
        store.adopt(self.file, digest).map_err(Failure::Store)?;
        Ok(Blob {
            digest,
            size: self.size,
        })
    }
}

async fn from_url(
    store: &Store,
    source: &Source,
    url: &str,
    network: &Network,
    reporter: &dyn Reporter,
) -> Result<Blob, Failure> {
    let parsed = Url::parse(url).map_err(|_| Refusal::Url(without_credentials(url)))?;
    let wanted = Wanted {
        name: &source.name,
        url: &parsed,
        limit: LARGEST,
        size: None,
        expected: Some(source.expected),
        only_https: false,
    };
    let arrived = network.fetch(store, &wanted, reporter).await?;
    let blob = Blob {
        digest: arrived.digest(),
        size: arrived.size(),
    };
    arrived.keep(store).map_err(Failure::Store)?;
    Ok(blob)
}
