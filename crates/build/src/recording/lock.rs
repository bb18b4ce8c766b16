//! The file beside a recipe that says what its builds and tests got from the network.
//!
//! JSON, in one form only: sorted, indented by two spaces, one newline at the end.
//!
//! ```json
//! {
//!   "format": 1,
//!   "recorded": {
//!     "x86_64": {
//!       "build": [{"url": "https://…", "digest": "sha256:…", "size": 7}],
//!       "tests": {"NAME": []}
//!     }
//!   }
//! }
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base::Arch;
use serde::{Deserialize, Serialize};
use store::{WriteError, write_atomically};
use url::Url;

use super::exchange::{KEPT_HEADERS, Recording, redacted};

/// The present format.
const FORMAT: u32 = 1;

/// No lock is larger: 200,000 exchanges of 640 bytes.
const LARGEST: u64 = 128 << 20;

/// Where the lock of the recipe at `recipe` lies: `hello.lock.json` beside `hello.yaml`.
pub fn lock_path(recipe: &Path) -> PathBuf {
    recipe.with_extension("lock.json")
}

/// What is recorded for a recipe, for each architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceLock {
    format: u32,
    /// By architecture.
    pub recorded: BTreeMap<Arch, Recorded>,
}

impl Default for SourceLock {
    fn default() -> SourceLock {
        SourceLock {
            format: FORMAT,
            recorded: BTreeMap::new(),
        }
    }
}

/// What is recorded for one architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// What the build asked for, if it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Recording>,
    /// What the test of each package asked for, if it was recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tests: BTreeMap<String, Recording>,
}

/// A lock can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceLockError {
    /// It can't be read.
    #[error("can't read the source lock `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is too large.
    #[error("the source lock `{}` is larger than {} MiB, more than any recording; record again with `--network record`", path.display(), LARGEST >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not what it should be.
    #[error("`{}` is no source lock: {source}; it is written by `--network record`, not by hand", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("the source lock `{}` has format {format}, and this program knows {FORMAT}; record again with `--network record`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// An exchange of it can't be replayed.
    #[error("the source lock `{}` has an exchange that can't be: `{url}`: {reason}; record again with `--network record`", path.display())]
    Exchange {
        /// The file.
        path: PathBuf,
        /// The exchange's URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It can't be put into JSON.
    #[error("the source lock `{}` can't be written as JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

impl SourceLock {
    /// Reads a lock; `None` when there is none.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub fn read(path: &Path) -> Result<Option<SourceLock>, SourceLockError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::FileTooLarge => SourceLockError::TooLarge {
                path: path.to_owned(),
            },
            _ => SourceLockError::Read {
                path: path.to_owned(),
                source,
            },
        };
        let bytes = store::find_bounded(path, LARGEST).map_err(failed)?;
        bytes
            .map(|bytes| SourceLock::parse(path, &bytes))
            .transpose()
    }

    /// The lock that `bytes`, the contents of `path`, are.
    ///
    /// # Errors
    /// They are none.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<SourceLock, SourceLockError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let syntax = |source| SourceLockError::Syntax {
            path: path.to_owned(),
            source,
        };
        let Versioned { format } = serde_json::from_slice(bytes).map_err(syntax)?;
        if format != FORMAT {
            return Err(SourceLockError::Format {
                path: path.to_owned(),
                format,
            });
        }
        let mut lock: SourceLock = serde_json::from_slice(bytes).map_err(syntax)?;
        for recording in lock.recordings_mut() {
            if let Some((url, reason)) = first_fault(recording) {
                return Err(SourceLockError::Exchange {
                    path: path.to_owned(),
                    url,
                    reason,
                });
            }
            // A merge by hand may have put them in any order.
            *recording = Recording::new(recording.exchanges().iter().cloned());
        }
        Ok(lock)
    }

    fn recordings_mut(&mut self) -> impl Iterator<Item = &mut Recording> {
        self.recorded
            .values_mut()
            .flat_map(|recorded| recorded.build.iter_mut().chain(recorded.tests.values_mut()))
    }

    /// What is recorded of the build for `arch`.
    pub fn build(&self, arch: Arch) -> Option<&Recording> {
        self.recorded.get(&arch)?.build.as_ref()
    }

    /// What is recorded of the test of `package` for `arch`.
    pub fn test(&self, arch: Arch, package: &str) -> Option<&Recording> {
        self.recorded.get(&arch)?.tests.get(package)
    }

    /// Puts what `change` makes of the lock at `path` in its place, by one rename.
    ///
    /// # Errors
    /// The lock there can't be read, or not be written.
    pub fn update(
        path: &Path,
        change: impl FnOnce(&mut SourceLock),
    ) -> Result<(), SourceLockError> {
        let mut lock = SourceLock::read(path)?.unwrap_or_default();
        change(&mut lock);
        let bytes = lock.to_json().map_err(|source| SourceLockError::Json {
            path: path.to_owned(),
            source,
        })?;
        // What is the same keeps its time.
        if fs::read(path).is_ok_and(|before| before == bytes) {
            return Ok(());
        }
        Ok(write_atomically(path, &bytes)?)
    }

    /// The lock's bytes, always the same for the same lock.
    ///
    /// # Errors
    /// JSON can't hold it, which no lock is known to be.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// The first exchange that no recording can have made.
fn first_fault(recording: &Recording) -> Option<(String, &'static str)> {
    recording.exchanges().iter().find_map(|exchange| {
        let url = Url::parse(&exchange.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let reason = match url {
            None => "not the URL of a web server",
            Some(url) if redacted(&url).as_str() != exchange.url => {
                "the URL has credentials or is not in its usual form"
            }
            Some(_) if !matches!(&*exchange.method, "GET" | "HEAD" | "POST") => {
                "the method is not GET, HEAD or POST"
            }
            Some(_) if !(200..500).contains(&exchange.status) => {
                "only answers with a status from 200 to 499 are recorded"
            }
            Some(_) => {
                let kept = |name: &String| {
                    KEPT_HEADERS.contains(&name.as_str()) || name == "content-length"
                };
                let sent = |name: &String| matches!(name.as_str(), "accept" | "git-protocol");
                if !exchange.headers.keys().all(kept) || !exchange.request.keys().all(sent) {
                    "it has a header that is never recorded"
                } else if !exchange
                    .headers
                    .values()
                    .chain(exchange.request.values())
                    .all(|value| hyper::header::HeaderValue::from_str(value).is_ok())
                {
                    "the value of a header is no text of one line"
                } else {
                    return None;
                }
            }
        };
        Some((exchange.url.clone(), reason))
    })
}
