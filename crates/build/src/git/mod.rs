//! Git repositories as sources: checked out by their commits, outside the sandbox, once.
//!
//! What a checkout comes to is a tar archive in the store, files and `.git`, whose bytes follow from
//! the repository's contents alone: where and when it was made leaves no trace in it. `.git` is made
//! anew, with what scripts ask it for: the commit, its history as deep as was asked for, the tags on
//! it, an index by which nothing is changed. One version of git packs the same objects to the same
//! bytes; another may pack them otherwise.

mod checkout;
mod index;
mod process;
mod repository;

use std::io;
use std::path::PathBuf;

use base::{Digest, Epoch, Event, Reporter};
use serde::{Deserialize, Serialize};
use store::{Origins, Store, StoreError, without_credentials};

use crate::plan::key_bytes;
use crate::recipe::GitCheckout;

pub use index::IndexError;

/// Rises when the same repository would become other bytes.
const FORMAT: u32 = 1;

/// Commits are dated no earlier (1980-01-01): archives such as zip have no earlier times.
const EARLIEST: u64 = 315_532_800;

/// A repository can't be checked out.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// git can't be run.
    #[error("can't run git, which checks {repository} out: {source}; install git")]
    Program {
        /// The repository.
        repository: String,
        /// Why not.
        source: io::Error,
    },
    /// git failed.
    #[error("{repository}: git can't {action}{}", said(lines))]
    Failed {
        /// The repository.
        repository: String,
        /// What it was to do.
        action: String,
        /// The last lines that it said.
        lines: Vec<String>,
    },
    /// git did not end.
    #[error("{repository}: git did not {action} within {seconds} seconds")]
    TimedOut {
        /// The repository.
        repository: String,
        /// What it was to do.
        action: String,
        /// How long it had.
        seconds: u64,
    },
    /// The network may not be used.
    #[error(
        "{repository} is not in the store, and the network is not to be used (offline); fetch it before with `polpo source fetch`"
    )]
    Offline {
        /// The repository.
        repository: String,
    },
    /// It is on this machine.
    #[error(
        "{repository} is a folder of this machine, which is another one on others; allow that with `--local-repositories`, or give a URL"
    )]
    Local {
        /// The repository.
        repository: String,
    },
    /// It has no such branch or tag.
    #[error("{repository} has no {what}")]
    Missing {
        /// The repository.
        repository: String,
        /// What it has not, in words.
        what: String,
    },
    /// The commit is another one.
    #[error("{repository}: {what} is commit {found}, not the expected {expected}{}; {help}", tag_object.as_ref().map(|hash| format!(" (the tag's own object is {hash})")).unwrap_or_default())]
    Commit {
        /// The repository.
        repository: String,
        /// The branch or tag, in words.
        what: String,
        /// What the recipe expects.
        expected: String,
        /// What is there.
        found: String,
        /// The hash of an annotated tag.
        tag_object: Option<String>,
        /// What to do.
        help: &'static str,
    },
    /// The repository is of a kind that is not known.
    #[error("{repository}: {reason}")]
    Unsupported {
        /// The repository.
        repository: String,
        /// What is not known.
        reason: String,
    },
    /// The index that git wrote makes no sense.
    #[error("{repository}: {source}")]
    Index {
        /// The repository.
        repository: String,
        /// Why not.
        source: IndexError,
    },
    /// A file can't be read or written.
    #[error("{repository}: can't {action} `{path}`: {source}", path = path.display())]
    Io {
        /// The repository.
        repository: String,
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The files can't be archived.
    #[error("{repository}: {source}")]
    Archive {
        /// The repository.
        repository: String,
        /// Why not.
        source: archive::tar::WriteError,
    },
    /// The store failed.
    #[error("{repository}: {source}")]
    Store {
        /// The repository.
        repository: String,
        /// Why.
        source: StoreError,
    },
}

fn said(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!(":\n  {}", lines.join("\n  "))
}

/// A repository that is in the store, checked out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedOut {
    /// The commit that `HEAD` is, cherry-picks included.
    pub head: String,
    /// The commit of the branch or tag that it began with.
    pub commit: String,
    /// The tar archive of the files and `.git`, a blob of the store.
    pub tree: Digest,
    /// What people ought to know of it.
    pub notices: Vec<String>,
}

/// Whether a repository is a folder of this machine.
pub(crate) fn is_local(repository: &str) -> bool {
    repository.starts_with(['/', '.']) || repository.starts_with("file://")
}

/// Everything that decides what a checkout comes to.
#[derive(Debug, Serialize)]
struct Key<'a> {
    format: u32,
    repository: &'a str,
    depth: Option<u32>,
    branch: &'a Option<String>,
    tag: &'a Option<String>,
    commit: &'a Option<String>,
    must_be_tip: bool,
    submodules: Option<bool>,
    cherry_picks: Vec<(&'a Option<String>, &'a str)>,
    sparse_paths: &'a [String],
    /// Only cherry-picks are dated by it.
    epoch: Option<Epoch>,
}

/// The key of `checkout` in the store, at the build's time.
fn key(checkout: &GitCheckout, epoch: Epoch) -> Digest {
    let picks = checkout.cherry_picks.iter();
    Digest::of(&key_bytes(&Key {
        format: FORMAT,
        repository: &checkout.repository,
        depth: checkout.depth,
        branch: &checkout.branch,
        tag: &checkout.tag,
        commit: &checkout.expected_commit,
        must_be_tip: checkout.must_be_tip,
        submodules: checkout.submodules.map(|submodules| submodules.shallow),
        cherry_picks: picks
            .map(|pick| (&pick.branch, pick.commit.as_str()))
            .collect(),
        sparse_paths: &checkout.sparse_paths,
        epoch: (!checkout.cherry_picks.is_empty()).then_some(dated(epoch)),
    }))
}

/// The time of commits that are made here.
fn dated(epoch: Epoch) -> Epoch {
    Epoch(epoch.0.max(EARLIEST))
}

/// The commit that the tag `tag` of a repository leads to, asked of the repository itself.
///
/// # Errors
/// The repository can't be asked, or has no such tag.
pub async fn commit_of_tag(
    store: &Store,
    repository: &str,
    tag: &str,
    origins: &Origins,
) -> Result<String, GitError> {
    let name = without_credentials(repository);
    let local = is_local(repository);
    if origins.network.is_offline() && !local {
        return Err(GitError::Offline { repository: name });
    }
    if local && !origins.local_repositories {
        return Err(GitError::Local { repository: name });
    }
    checkout::commit_of_tag(store, repository, tag).await
}

/// Brings a repository into the store, unless it is there by its commit. One whose recipe names no
/// commit is asked anew each time the network may be used.
///
/// # Errors
/// It can't be had, or is not what the recipe expects.
pub async fn check_out(
    store: &Store,
    checkout: &GitCheckout,
    origins: &Origins,
    epoch: Epoch,
    reporter: &dyn Reporter,
) -> Result<CheckedOut, GitError> {
    let repository = without_credentials(&checkout.repository);
    let key = key(checkout, epoch);
    let failed = |source| GitError::Store {
        repository: repository.clone(),
        source,
    };
    let before: Option<CheckedOut> = store.record_get("git-checkout", &key).map_err(failed)?;
    let local = is_local(&checkout.repository);
    let unreachable = origins.network.is_offline() && !local;
    let before = before
        .filter(|_| checkout.expected_commit.is_some() || unreachable)
        .filter(|record| store.contains(&record.tree));
    let checked_out = match before {
        Some(record) => record,
        None if unreachable => return Err(GitError::Offline { repository }),
        None if local && !origins.local_repositories => return Err(GitError::Local { repository }),
        None => {
            let record = checkout::make(store, checkout, dated(epoch), reporter).await?;
            store
                .record_put("git-checkout", &key, &record)
                .map_err(failed)?;
            record
        }
    };
    for message in &checked_out.notices {
        reporter.report(Event::Notice { message });
    }
    Ok(checked_out)
}
