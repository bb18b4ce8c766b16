//! A Merkle tree (RFC 6962) in memory, and the signed notes that logs make of it.

use super::signing::{base64, sha256};

fn leaf(entry: &[u8]) -> [u8; 32] {
    sha256(&[&[0], entry].concat())
}

fn node(left: &[u8], right: &[u8]) -> [u8; 32] {
    sha256(&[&[1], left, right].concat())
}

/// The largest power of two below `count`.
fn split(count: usize) -> usize {
    1 << (usize::BITS - 1 - (count - 1).leading_zeros())
}

fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => sha256(b""),
        [only] => *only,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node(&root(left), &root(right))
        }
    }
}

fn path(index: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut found, other) = match index < middle {
        true => (path(index, left), root(right)),
        false => (path(index - middle, right), root(left)),
    };
    found.push(other);
    found
}

/// What a log has.
pub(super) struct Tree {
    leaves: Vec<[u8; 32]>,
}

/// Where an entry is in a log, and the proof of it.
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) size: usize,
    pub(super) root: [u8; 32],
    pub(super) hashes: Vec<[u8; 32]>,
}

impl Tree {
    /// With a few entries of others in it, so that proofs have something to prove.
    pub(super) fn new() -> Tree {
        let others: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
        Tree {
            leaves: others.into_iter().map(leaf).collect(),
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.leaves.len()
    }

    pub(super) fn add(&mut self, entry: &[u8]) -> Place {
        self.leaves.push(leaf(entry));
        let (index, size) = (self.leaves.len() - 1, self.leaves.len());
        Place {
            index,
            size,
            root: root(&self.leaves),
            hashes: path(index, &self.leaves),
        }
    }
}

impl Place {
    /// A checkpoint (C2SP tlog-checkpoint) of the log `origin`, signed as the key with this hash.
    pub(super) fn checkpoint(
        &self,
        origin: &str,
        signer: &str,
        key_hash: &[u8],
        sign: impl Fn(&[u8]) -> Vec<u8>,
    ) -> String {
        let note = format!("{origin}\n{}\n{}\n", self.size, base64(self.root));
        let mut signature = key_hash[..4].to_vec();
        signature.extend(sign(note.as_bytes()));
        format!("{note}\n\u{2014} {signer} {}\n", base64(signature))
    }

    pub(super) fn hashes(&self) -> Vec<String> {
        self.hashes.iter().map(base64).collect()
    }
}
