//! A catalogue that was just made, and how it is written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::panic::resume_unwind;
use std::thread;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::format::{
    self, BLOCK, COVERED, DefectRecord, Extent, FORMAT, Header, MAGIC, NameRecord, PackageRecord,
    Section, TermRecord, check, sum,
};

/// Its parts, not yet in one piece.
pub(super) struct Made {
    pub(super) description: String,
    pub(super) name_pattern: String,
    pub(super) packages: Vec<PackageRecord>,
    pub(super) lists: Vec<U32>,
    pub(super) terms: Vec<TermRecord>,
    pub(super) names: Vec<NameRecord>,
    pub(super) name_slots: Vec<U32>,
    pub(super) providers: Vec<U32>,
    pub(super) conditional: Vec<U32>,
    pub(super) identity_slots: Vec<U32>,
    pub(super) defects: Vec<DefectRecord>,
    pub(super) strings: Vec<u8>,
    pub(super) details: Vec<u8>,
    pub(super) keys: [u64; 2],
}

impl Made {
    /// None if a number of it has not fitted.
    pub(super) fn checked(self) -> Option<Made> {
        self.header().is_some().then_some(self)
    }

    /// The bytes of a section.
    pub(super) fn section(&self, section: Section) -> &[u8] {
        match section {
            Section::Description => self.description.as_bytes(),
            Section::NamePattern => self.name_pattern.as_bytes(),
            Section::Packages => self.packages.as_bytes(),
            Section::Lists => self.lists.as_bytes(),
            Section::Terms => self.terms.as_bytes(),
            Section::Names => self.names.as_bytes(),
            Section::NameSlots => self.name_slots.as_bytes(),
            Section::Providers => self.providers.as_bytes(),
            Section::Conditional => self.conditional.as_bytes(),
            Section::IdentitySlots => self.identity_slots.as_bytes(),
            Section::Defects => self.defects.as_bytes(),
            Section::Strings => &self.strings,
        }
    }

    /// Says where everything goes. None if that is not below 4 GiB.
    fn header(&self) -> Option<Header> {
        let number = |value: usize| u32::try_from(value).ok().map(U32::new);
        let solver: usize = Section::ALL
            .map(|section| self.section(section).len())
            .iter()
            .sum();
        let solver = solver.next_multiple_of(BLOCK);
        let blocks = (solver + self.details.len()).div_ceil(BLOCK);
        let body = format::body(blocks)?;
        let mut header = Header {
            magic: MAGIC,
            format: U32::new(FORMAT),
            blocks: number(blocks)?,
            keys: self.keys.map(U64::new),
            details: Extent {
                start: number(body + solver)?,
                length: number(self.details.len())?,
            },
            ..Header::default()
        };
        number(body + solver + self.details.len())?;
        let mut start = body;
        for (extent, section) in header.sections.iter_mut().zip(Section::ALL) {
            let length = self.section(section).len();
            *extent = Extent {
                start: number(start)?,
                length: number(length)?,
            };
            start += length;
        }
        Some(header)
    }

    /// Writes the whole into `file`, which is empty, on several threads.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let Some(mut header) = self.header() else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        let blocks = header.blocks.get() as usize;
        let body = format::body(blocks).unwrap_or_default();
        let content = self.content();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = blocks.div_ceil(threads.min(MOST_THREADS)).max(1);
        let shares = (0..blocks).step_by(share);
        let shares = shares.map(|first| first..(first + share).min(blocks));
        let write = |share| content.write(share, body, file);
        let checks: Vec<U32> = thread::scope(|scope| {
            let writing: Vec<_> = shares
                .map(|share| scope.spawn(move || write(share)))
                .collect();
            let mut checks = Vec::with_capacity(blocks);
            for thread in writing {
                let written = thread.join();
                checks.extend(written.unwrap_or_else(|panic| resume_unwind(panic))?);
            }
            Ok::<_, io::Error>(checks)
        })?;
        let covered = header.as_bytes().get(COVERED..).unwrap_or_default();
        header.sum = sum(&[covered, checks.as_bytes()].concat());
        file.write_all_at(&[header.as_bytes(), checks.as_bytes()].concat(), 0)
    }

    /// What the blocks hold.
    fn content(&self) -> Content<'_> {
        let mut parts = Vec::with_capacity(Section::ALL.len() + 1);
        let mut start = 0;
        for section in Section::ALL {
            let part = self.section(section);
            parts.push((start, part));
            start += part.len();
        }
        start = start.next_multiple_of(BLOCK);
        parts.push((start, &self.details));
        let length = start + self.details.len();
        Content { parts, length }
    }
}

/// Threads that write.
const MOST_THREADS: usize = 4;

/// Blocks that are written at once.
const AT_ONCE: usize = 8;

/// The content of the blocks: parts, by where they begin, and zeros between them.
struct Content<'m> {
    parts: Vec<(usize, &'m [u8])>,
    length: usize,
}

impl Content<'_> {
    /// Writes some blocks where they belong, behind `body` bytes; gives their checks.
    fn write(&self, blocks: Range<usize>, body: usize, file: &File) -> io::Result<Vec<U32>> {
        let mut checks = Vec::with_capacity(blocks.len());
        let mut bytes = Vec::new();
        let end = (blocks.end * BLOCK).min(self.length);
        for start in (blocks.start * BLOCK..end).step_by(AT_ONCE * BLOCK) {
            let range = start..(start + AT_ONCE * BLOCK).min(end);
            bytes.clear();
            bytes.resize(range.len(), 0);
            for (begin, part) in &self.parts {
                let from = range.start.max(*begin);
                let to = range.end.min(begin + part.len());
                if from < to {
                    bytes[from - range.start..to - range.start]
                        .copy_from_slice(&part[from - begin..to - begin]);
                }
            }
            checks.extend(bytes.chunks(BLOCK).map(check));
            file.write_all_at(&bytes, (body + start) as u64)?;
        }
        Ok(checks)
    }
}
