//! How far a layer begins as one that was made before: there its hashes go on, and what one changed
//! package costs is what stands behind it.

use std::collections::BTreeMap;

use base::{Digest, Sha256Hasher};
use serde::{Deserialize, Serialize};
use store::Store;

use super::{Compression, FORMAT, LayerError};

/// The kind of the store's records of prefixes, by the first part of a layer: those of the layer that was
/// made last.
const PREFIXES: &str = "layer-prefix";

/// What names the beginnings of a layer: one for each part, which it ends with.
pub(super) struct Prefixes {
    keys: Vec<Digest>,
}

/// A beginning of a layer, and the states of its hashes there.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Prefix {
    key: Digest,
    tar: String,
    blob: String,
}

/// So many parts that need not be hashed.
pub(super) struct Known {
    pub(super) parts: usize,
    pub(super) tar: Sha256Hasher,
    pub(super) blob: Sha256Hasher,
}

impl Prefixes {
    /// Of a layer whose parts have these keys.
    pub(super) fn of(compression: Compression, parts: &[Digest]) -> Result<Prefixes, LayerError> {
        let mut key = Digest::of(&serde_json::to_vec(&(FORMAT, compression))?);
        let mut keys = Vec::with_capacity(parts.len());
        for part in parts {
            key = Digest::of(&[*key.as_bytes(), *part.as_bytes()].concat());
            keys.push(key);
        }
        Ok(Prefixes { keys })
    }

    fn kept(&self, store: &Store) -> Result<BTreeMap<Digest, Prefix>, LayerError> {
        let Some(first) = self.keys.first() else {
            return Ok(BTreeMap::new());
        };
        let kept: Vec<Prefix> = store.record_get(PREFIXES, first)?.unwrap_or_default();
        Ok(kept
            .into_iter()
            .map(|prefix| (prefix.key, prefix))
            .collect())
    }

    /// The longest of them that is known.
    pub(super) fn longest_known(&self, store: &Store) -> Result<Option<Known>, LayerError> {
        let kept = self.kept(store)?;
        let places = self.keys.iter().enumerate().rev();
        let known = places
            .filter_map(|(place, key)| {
                let prefix = kept.get(key)?;
                Some(Known {
                    parts: place + 1,
                    tar: Sha256Hasher::resumed(&prefix.tar)?,
                    blob: Sha256Hasher::resumed(&prefix.blob)?,
                })
            })
            .next();
        Ok(known)
    }

    /// Keeps those of the first `done` parts that are known, and the states after each part behind them.
    pub(super) fn remember(
        &self,
        store: &Store,
        done: usize,
        states: impl Iterator<Item = (String, String)>,
    ) -> Result<(), LayerError> {
        let (Some(first), Some((begun, rest))) =
            (self.keys.first(), self.keys.split_at_checked(done))
        else {
            return Ok(());
        };
        let mut kept = self.kept(store)?;
        let mut prefixes: Vec<Prefix> = begun.iter().filter_map(|key| kept.remove(key)).collect();
        prefixes.extend(rest.iter().zip(states).map(|(key, (tar, blob))| Prefix {
            key: *key,
            tar,
            blob,
        }));
        Ok(store.record_put(PREFIXES, first, &prefixes)?)
    }
}
