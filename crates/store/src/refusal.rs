//! Why one place did not give a file.

use std::path::PathBuf;
use std::sync::Arc;

use crate::apt::AptError;
use crate::{CredentialError, Expected, StoreError, WriteError};

/// Why one place did not give a file.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It has no such file.
    #[error("it is not there")]
    NotThere,
    /// The network may not be used.
    #[error("not asked: the network is not to be used (offline)")]
    Offline,
    /// Other bytes came.
    #[error("wrong contents: expected {expected}, got {actual} ({size} bytes)")]
    WrongContents {
        /// What was promised.
        expected: Expected,
        /// The same kind of digest of what came.
        actual: Expected,
        /// How many bytes came.
        size: u64,
    },
    /// More or fewer bytes came, or are announced.
    #[error("wrong contents: expected {expected} bytes, the server has {actual}")]
    WrongSize {
        /// How many there should be.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
    /// The server wants to know who asks.
    #[error(
        "the server answered {status}; give a user and password in the URL, in ~/.netrc or in HTTP_AUTH"
    )]
    Unauthorised {
        /// 401 or 407.
        status: u16,
    },
    /// The server answered with a failure.
    #[error("the server answered {0}")]
    Status(u16),
    /// The server does not want to be asked for a while.
    #[error(
        "the server answered {status} and asks to be left alone for {seconds} seconds; try again then"
    )]
    Busy {
        /// Its status.
        status: u16,
        /// What it says in `Retry-After`.
        seconds: u64,
    },
    /// The server sent us on, and not well.
    #[error("the server sends to {place}: {reason}")]
    Redirect {
        /// Where to; credentials and query left out.
        place: String,
        /// What is wrong with that.
        reason: &'static str,
    },
    /// The server's answer contradicts what was asked or itself.
    #[error("the server's answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// The server's file is another than before, so what has come of it is no use.
    #[error("it changes while it is fetched")]
    Changed,
    /// The connection ended early.
    #[error("the connection ended after {actual} of {expected} bytes")]
    Broken {
        /// How many bytes there are.
        expected: u64,
        /// How many have come.
        actual: u64,
    },
    /// Hardly anything comes or goes.
    #[error("the server has let hardly anything through for {seconds} seconds")]
    Silent {
        /// For how long.
        seconds: f64,
    },
    /// A file of certificates can't be used.
    #[error("not asked: the certificates in {} can't be used: {reason}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The connection failed.
    #[error("{}", chain(.0))]
    Transport(#[source] reqwest::Error),
    /// The object store failed.
    #[error("{}", chain(.0))]
    Object(#[source] object_store::Error),
    /// It sends more than was asked for.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The most that was to come.
        limit: u64,
    },
    /// What the server is to be told can't be read.
    #[error("not asked: {0}")]
    Credentials(#[source] Arc<CredentialError>),
    /// apt can't help.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The place itself can't be read.
    #[error(transparent)]
    Disk(#[from] WriteError),
    /// The store can't take it; no other place would help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The URL can't be fetched.
    #[error("`{0}` can't be fetched: its scheme is none of http, https, s3, gs, az")]
    Url(String),
}

impl Refusal {
    /// Whether asking the same place again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Refusal::Status(status) => matches!(status, 408 | 425 | 429 | 500..=599),
            Refusal::Busy { .. }
            | Refusal::Changed
            | Refusal::Broken { .. }
            | Refusal::Silent { .. } => true,
            Refusal::Transport(error) => !error.is_builder(),
            Refusal::Object(error) => matches!(error, object_store::Error::Generic { .. }),
            _ => false,
        }
    }
}

/// An error and its causes: reqwest's own words leave the causes out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some errors have said what their cause says.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
