//! Bringing back what was recorded elsewhere, or has left the store.

use base::{Digest, Reporter};
use store::{Expected, FetchError, Origins, Source, Store};

use super::exchange::{Exchange, Recording};
use super::upstream::is_redacted;

/// What was recorded is not to be had any more.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// No place has the bytes.
    #[error(
        "the recorded answer of {url} is not in the store and can't be had again: {source}\n  (an index may have changed since; bring the bytes by `--source-mirror`, from a folder or server that has them by SHA-256, or record again with `--network record`)"
    )]
    Gone {
        /// What was asked.
        url: String,
        /// Why not.
        source: FetchError,
    },
}

/// Brings every body of `recording` into the store: from there, from mirrors by hash, then from the
/// URL it was got from, or from the one that redirected there.
///
/// # Errors
/// One is gone.
pub async fn restore(
    store: &Store,
    recording: &Recording,
    origins: &Origins,
    reporter: &dyn Reporter,
) -> Result<(), RestoreError> {
    let empty = Digest::of(b"");
    for exchange in recording.exchanges() {
        if store.contains(&exchange.digest) {
            continue;
        }
        if exchange.digest == empty {
            // Every body that is none.
            if store.put(std::io::empty()).is_ok() {
                continue;
            }
        }
        let mut result = Ok(());
        for url in places(recording, exchange) {
            let source = Source {
                name: exchange.url.clone(),
                url: url.to_owned(),
                expected: Expected::Sha256(exchange.digest),
            };
            match store::fetch(store, &source, origins, reporter).await {
                Ok(_) => {
                    result = Ok(());
                    break;
                }
                Err(source) => {
                    result = Err(RestoreError::Gone {
                        url: exchange.url.clone(),
                        source,
                    });
                }
            }
        }
        result?;
    }
    Ok(())
}

/// Where an answer may be got again: by a plain GET alone; with nothing, only mirrors are asked.
fn places<'r>(recording: &'r Recording, exchange: &'r Exchange) -> Vec<&'r str> {
    let mut places = Vec::new();
    let plain = |exchange: &Exchange| exchange.method == "GET" && exchange.status == 200;
    if plain(exchange) && !is_redacted(&exchange.url) {
        places.push(exchange.url.as_str());
    }
    let mut wanted = exchange.url.as_str();
    // As long a chain of redirects as anyone follows.
    for _ in 0..10 {
        let mut exchanges = recording.exchanges().iter();
        let from = exchanges.find(|other| {
            other.method == "GET"
                && other.headers.get("location").map(String::as_str) == Some(wanted)
        });
        let Some(from) = from else { break };
        if !is_redacted(&from.url) {
            places.push(&from.url);
        }
        wanted = &from.url;
    }
    if places.is_empty() {
        places.push("");
    }
    places
}
