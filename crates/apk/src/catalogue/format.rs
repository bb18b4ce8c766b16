//! How a catalogue lies in its bytes, which are the same in memory and in a file.
//!
//! ```text
//! header           what follows, and where
//! block checks     CRC-32 of each block of what follows
//! solver's part    packages, names, terms, strings: all that solving looks at
//! details          descriptions, licences and the like, entry by entry
//! ```
//!
//! Blocks are counted from the end of the checks, and the details begin with one, so that they
//! need not be read before they are asked for. Numbers are little-endian. Offsets are checked at
//! every use: bytes that somebody has forged may say nonsense, but nothing worse.

use std::ops::Range;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What the bytes begin with.
pub(super) const MAGIC: [u8; 8] = *b"apkindex";

/// Raised whenever the bytes come to mean something else.
pub(super) const FORMAT: u32 = 4;

/// What an index is known by, and the beginning of its catalogue is checked by: BLAKE3, which takes a
/// fraction of the time that SHA-256 does.
pub(super) type Sum = [u8; 32];

pub(super) fn sum(bytes: &[u8]) -> Sum {
    *blake3::hash(bytes).as_bytes()
}

/// What tells whether a block is as it was written: CRC-32, of which all that the solver looks at costs
/// nearly nothing. Whoever could forge it could write the sums of what is forged, too.
pub(super) fn check(bytes: &[u8]) -> U32 {
    U32::new(crc32fast::hash(bytes))
}

/// Bytes of a block.
pub(super) const BLOCK: usize = 1 << 17;

/// The sections of the solver's part.
#[derive(Clone, Copy)]
pub(super) enum Section {
    /// The text of the index's description.
    Description,
    /// How packages are called, if the index says so: the text of a pattern.
    NamePattern,
    /// [`PackageRecord`]s in the index's order, and one more that ends the last one's lists.
    Packages,
    /// Lists of terms: their places among the terms.
    Lists,
    /// [`TermRecord`]s.
    Terms,
    /// [`NameRecord`]s in the order in which the packages mention the names, and one more that
    /// ends the last one's lists.
    Names,
    /// A hash table: one more than a name's place, 0 where there is none.
    NameSlots,
    /// For each name the packages that have or provide it.
    Providers,
    /// For each name the packages whose `install_if` speaks of it.
    Conditional,
    /// A hash table: one more than the place of the first package with an identity, or 0.
    IdentitySlots,
    /// [`DefectRecord`]s in the order of the packages.
    Defects,
    /// UTF-8.
    Strings,
}

pub(super) const SECTIONS: usize = 12;

impl Section {
    /// In the order in which they lie.
    pub(super) const ALL: [Section; SECTIONS] = [
        Section::Description,
        Section::NamePattern,
        Section::Packages,
        Section::Lists,
        Section::Terms,
        Section::Names,
        Section::NameSlots,
        Section::Providers,
        Section::Conditional,
        Section::IdentitySlots,
        Section::Defects,
        Section::Strings,
    ];
}

/// A piece of the bytes; of a text, a piece of the strings.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Extent {
    pub(super) start: U32,
    pub(super) length: U32,
}

impl Extent {
    pub(super) fn range(&self) -> Range<usize> {
        let start = self.start.get() as usize;
        start..start.saturating_add(self.length.get() as usize)
    }
}

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) format: U32,
    /// How many blocks there are.
    pub(super) blocks: U32,
    /// The sum of the rest of the header and the checks of the blocks.
    pub(super) sum: Sum,
    /// Keys of the hash tables.
    pub(super) keys: [U64; 2],
    /// The last part.
    pub(super) details: Extent,
    pub(super) sections: [Extent; SECTIONS],
}

/// Where in the header begins what its sum covers.
pub(super) const COVERED: usize = 8 + 4 + 4 + 32;

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct PackageRecord {
    pub(super) name: U32,
    pub(super) version: Extent,
    pub(super) arch: Extent,
    pub(super) origin: Extent,
    /// 20 bytes of a SHA-1 and zeros, or a SHA-256.
    pub(super) identity: [u8; 32],
    pub(super) provider_priority: U64,
    pub(super) size: U64,
    pub(super) installed_size: U64,
    /// Where in the lists its `depends` begin.
    pub(super) depends: U32,
    /// Where those end and its `provides` begin.
    pub(super) provides: U32,
    /// Where those end and its `install_if` begins; it ends where the next package's lists begin.
    pub(super) install_if: U32,
    /// Where its details begin, from the first of all.
    pub(super) details: U32,
    pub(super) flags: u8,
}

impl PackageRecord {
    /// The identity is a SHA-256.
    pub(super) const SHA256: u8 = 1;
    /// A provider priority was given.
    pub(super) const PRIORITY: u8 = 2;
    /// It is among the defects.
    pub(super) const DEFECTS: u8 = 4;
    /// An earlier package has its identity: to the solver, this one is that.
    pub(super) const REPEATED: u8 = 8;

    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What tells packages apart; see [`crate::dependency::Identity::shortened`].
    pub(super) fn short_identity(&self) -> [u8; SHORT_IDENTITY] {
        self.identity.first_chunk().copied().unwrap_or_default()
    }
}

/// Bytes of an identity that count.
pub(super) const SHORT_IDENTITY: usize = 20;

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct TermRecord {
    pub(super) name: U32,
    /// The term as it is written.
    pub(super) text: Extent,
    /// Where in the strings its version or identity begins; it ends with the term.
    pub(super) version: U32,
    /// Its tag, of no length where there is none.
    pub(super) tag: Extent,
    /// See [`super::term`].
    pub(super) constraint: u8,
    pub(super) flags: u8,
}

impl TermRecord {
    pub(super) const CONFLICT: u8 = 1;

    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct NameRecord {
    pub(super) text: Extent,
    /// Where its list among the providers begins.
    pub(super) providers: U32,
    /// Where its list among the conditional packages begins.
    pub(super) conditional: U32,
}

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DefectRecord {
    pub(super) package: U32,
    pub(super) field: Extent,
    pub(super) reason: Extent,
    pub(super) fatal: u8,
}

/// Where things are in a catalogue's bytes.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Where the blocks begin.
    body: usize,
    pub(super) keys: [u64; 2],
    pub(super) details: Range<usize>,
    sections: [Range<usize>; SECTIONS],
}

impl Layout {
    /// None if the bytes don't begin as a catalogue of this format does, or have another length.
    /// What is in the blocks is not looked at.
    pub(super) fn of(bytes: &[u8]) -> Option<Layout> {
        let (header, _) = Header::ref_from_prefix(bytes).ok()?;
        let body = body(header.blocks.get() as usize)?;
        let blocks = bytes.len().checked_sub(body)?.div_ceil(BLOCK);
        let whole = header.magic == MAGIC
            && header.format.get() == FORMAT
            && header.details.range().end == bytes.len()
            && header.blocks.get() as usize == blocks;
        whole.then(|| Layout {
            body,
            keys: header.keys.map(U64::get),
            details: header.details.range(),
            sections: header.sections.map(|extent| extent.range()),
        })
    }

    /// The bytes of a section; none if it lies outside.
    pub(super) fn section<'b>(&self, bytes: &'b [u8], section: Section) -> &'b [u8] {
        let range = self.sections[section as usize].clone();
        bytes.get(range).unwrap_or_default()
    }

    /// Where the zeros begin that fill the last block before the details.
    #[cfg(test)]
    pub(super) fn end_of_sections(&self) -> usize {
        self.sections
            .iter()
            .map(|range| range.end)
            .max()
            .unwrap_or(0)
    }

    /// Whether the header has its sum.
    pub(super) fn is_header_whole(&self, bytes: &[u8]) -> bool {
        let header = Header::ref_from_prefix(bytes).ok();
        let covered = bytes.get(COVERED..self.body);
        header.is_some_and(|(header, _)| covered.map(sum) == Some(header.sum))
    }

    /// How many blocks there are before the details.
    pub(super) fn solver_blocks(&self) -> usize {
        self.details.start.saturating_sub(self.body).div_ceil(BLOCK)
    }

    /// The blocks that a range of the bytes lies in.
    pub(super) fn blocks_of(&self, range: &Range<usize>) -> Range<usize> {
        let start = range.start.saturating_sub(self.body) / BLOCK;
        let end = range.end.saturating_sub(self.body).div_ceil(BLOCK);
        start..end
    }

    /// Whether a block is as it was written.
    pub(super) fn is_block_whole(&self, bytes: &[u8], block: usize) -> bool {
        let checks = bytes.get(size_of::<Header>()..self.body);
        let checks = checks.and_then(|bytes| <[U32]>::ref_from_bytes(bytes).ok());
        let expected = checks.and_then(|checks| checks.get(block));
        let actual = self.block(bytes, block).map(check);
        actual.is_some() && expected.copied() == actual
    }

    fn block<'b>(&self, bytes: &'b [u8], block: usize) -> Option<&'b [u8]> {
        let start = block.checked_mul(BLOCK)?.checked_add(self.body)?;
        bytes.get(start..start.saturating_add(BLOCK).min(bytes.len()))
    }
}

/// Where the blocks begin if there are so many.
pub(super) fn body(blocks: usize) -> Option<usize> {
    blocks
        .checked_mul(size_of::<U32>())?
        .checked_add(size_of::<Header>())
}
