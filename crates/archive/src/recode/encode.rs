//! Deflate blocks of given matches and literals.

use crate::deflate::{Blocks, Counts, Sequence};

/// Literals and matches after which a block ends at the latest.
const MOST: usize = 1 << 16;
/// Fewer are not worth the codes of a block of their own.
const LEAST: usize = 1 << 12;

/// Gathers what makes a block.
pub(super) struct Encoder {
    /// What is finished.
    pub(super) blocks: Blocks,
    sequences: Vec<Sequence>,
    literals: Vec<u8>,
    /// Literals behind the last match.
    behind: u32,
}

impl Encoder {
    pub(super) fn new() -> Encoder {
        Encoder {
            blocks: Blocks::new(Vec::new()),
            sequences: Vec::new(),
            literals: Vec::new(),
            behind: 0,
        }
    }

    #[inline]
    pub(super) fn literals(&mut self, bytes: &[u8]) {
        if let [byte] = bytes {
            self.literals.push(*byte);
            self.behind += 1;
            if self.literals.len() >= MOST {
                self.end_block();
            }
            return;
        }
        for bytes in bytes.chunks(MOST) {
            self.literals.extend_from_slice(bytes);
            self.behind += bytes.len() as u32;
            if self.literals.len() >= MOST {
                self.end_block();
            }
        }
    }

    /// A match: a length from 3 to 258, a distance from 1 to 32768.
    #[inline]
    pub(super) fn matching(&mut self, length: u16, distance: u16) {
        self.sequences.push(Sequence {
            literals: std::mem::take(&mut self.behind),
            length,
            distance,
        });
        if self.sequences.len() >= MOST {
            self.end_block();
        }
    }

    /// Where a block is well ended, if it is long enough by now.
    pub(super) fn may_end_block(&mut self) {
        if self.sequences.len() + self.literals.len() >= LEAST {
            self.end_block();
        }
    }

    /// A block as it is: `count` bits of `bytes` behind the first `from`.
    pub(super) fn block(&mut self, bytes: &[u8], from: usize, count: usize) {
        self.end_block();
        self.blocks.copy(bytes, from, count);
    }

    /// Ends at a byte's boundary, with an empty stored block.
    pub(super) fn flush(&mut self) {
        self.end_block();
        self.blocks.flush();
    }

    fn end_block(&mut self) {
        if self.sequences.is_empty() && self.literals.is_empty() {
            return;
        }
        let mut counts = Counts::new();
        counts.literals(&self.literals);
        for sequence in &self.sequences {
            counts.matching(sequence.length, sequence.distance);
        }
        self.blocks
            .block::<false>(&self.sequences, &self.literals, &counts);
        self.sequences.clear();
        self.literals.clear();
        self.behind = 0;
    }
}
