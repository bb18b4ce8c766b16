//! Which logs have entered a signature, and whether that is true and enough.

use std::collections::BTreeSet;

use key::PublicKey;
use sigstore_merkle::{hash_leaf, verify_inclusion_proof};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, Checkpoint, KindVersion, Sha256Hash, TransparencyLogEntry};
use sigstore_verify::crypto::{Keyring, VerificationKey};

use super::hashed::{self, UnloggableError};
use crate::json::{self, JsonError};

/// More entries than this are not looked at: Sigstore's own programs look at as many.
const MAX_ENTRIES: usize = 32;

/// Entries longer than this are not read: they have a certificate at the most, and no statement.
const MAX_LENGTH: usize = 1 << 20;

/// Why what logs are said to have entered does not count.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// An unreasonable number of entries.
    #[error("{found} logs are said to have entered it; at most {MAX_ENTRIES} are asked")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// The same entry again.
    #[error("an entry of a log comes twice")]
    Twice,
    /// All of them are others' logs.
    #[error("none of the logs that are said to have entered it is one of the trusted root")]
    Strangers,
    /// Another log than the one that is named.
    #[error("an entry is not signed by the log that it names")]
    OtherLog,
    /// Nothing but the say-so.
    #[error("an entry of a log has no inclusion proof")]
    Unproven,
    /// Something else was entered.
    #[error("the log entry is of another signature, key or statement")]
    OtherBody,
    /// The body is no entry's JSON.
    #[error("the log entry can't be read: {0}")]
    Json(#[from] JsonError),
    /// Logs enter no signatures of such keys.
    #[error("the log entry can't be genuine: {0}")]
    Unloggable(#[from] UnloggableError),
    /// The hashes do not lead from the entry to the log's signature.
    #[error("the inclusion proof of the log entry does not hold: {0}")]
    Proof(#[source] Box<sigstore_merkle::Error>),
    /// Not as many logs as have to.
    #[error("{found} of the logs of the trusted root have entered it, and {needed} have to")]
    TooFew {
        /// How many have.
        found: usize,
        /// How many have to.
        needed: usize,
    },
}

/// The logs of a trusted root.
pub(super) struct Logs {
    keys: Keyring,
    /// How many different ones have to have entered each signature.
    pub(super) needed: usize,
}

impl Logs {
    pub(super) fn new(root: &TrustedRoot) -> Result<Logs, sigstore_trust_root::Error> {
        Ok(Logs {
            keys: root.rekor_keys()?,
            needed: 0,
        })
    }

    fn key(&self, entry: &TransparencyLogEntry) -> Option<&VerificationKey> {
        let id = Sha256Hash::try_from(entry.log_id.key_id.as_bytes()).ok()?;
        self.keys.key(&id)
    }

    /// Takes entries out of a bundle that prove nothing here: those of logs that the root does not know,
    /// which a signer may have wanted for others. What is left is held to the very log that each entry
    /// names, for else a log could stand in for another one of the root, and counted.
    ///
    /// # Errors
    /// There are too many entries, one comes twice or is not its log's, or there are some and no log
    /// is known, or too few.
    pub(super) fn hold(&self, bundle: &mut Bundle) -> Result<(), EntryError> {
        let entries = &mut bundle.verification_material.tlog_entries;
        let found = entries.len();
        if found > MAX_ENTRIES {
            return Err(EntryError::TooMany { found });
        }
        let mut places = BTreeSet::new();
        for entry in entries.iter() {
            let log = entry.log_id.key_id.as_bytes().to_vec();
            if !places.insert((log, entry.log_index.get())) {
                return Err(EntryError::Twice);
            }
        }
        entries.retain(|entry| self.key(entry).is_some());
        if entries.is_empty() && found > 0 {
            return Err(EntryError::Strangers);
        }
        let mut logs = BTreeSet::new();
        for entry in entries.iter() {
            let key = self.key(entry).ok_or(EntryError::OtherLog)?;
            match &entry.inclusion_proof {
                Some(proof) => {
                    let checkpoint = proof.checkpoint.checkpoint().ok_or(EntryError::Unproven)?;
                    signed_by(checkpoint, key)?;
                }
                // A promise is one of the log that is named: it is looked up by that name.
                None if entry.inclusion_promise.is_some() => {}
                None => return Err(EntryError::Unproven),
            }
            logs.insert(entry.log_id.key_id.as_bytes());
        }
        self.hold_count(logs.len())
    }

    /// Holds a number of logs to how many there have to be.
    pub(super) fn hold_count(&self, found: usize) -> Result<(), EntryError> {
        match found < self.needed {
            true => Err(EntryError::TooFew {
                found,
                needed: self.needed,
            }),
            false => Ok(()),
        }
    }
}

fn signed_by(checkpoint: &Checkpoint, key: &VerificationKey) -> Result<(), EntryError> {
    let message = checkpoint.signed_data();
    let mut signatures = checkpoint.signatures().iter();
    match signatures.any(|signature| key.verify(message, &signature.signature).is_ok()) {
        true => Ok(()),
        false => Err(EntryError::OtherLog),
    }
}

/// Verifies what logs of version 2 entered of a key's signature over a message, and takes it out of the
/// bundle: such an entry has to be what it would be if it were made anew, in the tree that its
/// checkpoint, which was verified, tells of.
///
/// # Errors
/// Something else was entered, or it is not proven.
pub(super) fn settle_hashed(
    bundle: &mut Bundle,
    message: &[u8],
    signature: &[u8],
    key: &PublicKey,
) -> Result<(), EntryError> {
    let entries = &mut bundle.verification_material.tlog_entries;
    let is_hashed =
        |entry: &TransparencyLogEntry| entry.kind_version == KindVersion::HashedRekordV002;
    for entry in entries.iter().filter(|entry| is_hashed(entry)) {
        let entered = entry.canonicalized_body.as_bytes();
        let expected = hashed::body(message, signature, hashed::public_key(key)?);
        if json::value(entered, MAX_LENGTH)? != expected {
            return Err(EntryError::OtherBody);
        }
        let proof = entry.inclusion_proof.as_ref().ok_or(EntryError::Unproven)?;
        let checkpoint = proof.checkpoint.checkpoint().ok_or(EntryError::Unproven)?;
        verify_inclusion_proof(
            &hash_leaf(entered),
            entry.log_index.get(),
            checkpoint.tree_size(),
            &proof.hashes,
            checkpoint.root_hash(),
        )
        .map_err(|error| EntryError::Proof(Box::new(error)))?;
    }
    entries.retain(|entry| !is_hashed(entry));
    Ok(())
}
