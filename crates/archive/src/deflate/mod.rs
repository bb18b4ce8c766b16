//! Deflate blocks (RFC 1951) of literals and matches: found here in any content, or known already.

mod blocks;
pub(crate) mod huffman;
mod matcher;

pub(crate) use blocks::{Blocks, Counts};
pub(crate) use matcher::Matcher;

/// What deflate can refer back to.
pub(crate) const WINDOW: usize = 32 << 10;
/// The shortest match.
pub(crate) const SHORTEST: usize = 3;
/// The longest.
pub(crate) const LONGEST: usize = 258;

/// Literals, then a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) literals: u32,
    /// From 3 to 258; 0 where a decoder found no match.
    pub(crate) length: u16,
    /// From 1 to 32768.
    pub(crate) distance: u16,
}

#[cfg(test)]
mod tests;
