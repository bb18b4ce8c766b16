//! A catalogue that was just made, and how it is written.

use std::io::{self, Seek, SeekFrom, Write};

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::format::{
    self, BLOCK, COVERED, DefectRecord, Extent, FORMAT, Header, MAGIC, NameRecord, PackageRecord,
    Section, Sum, TermRecord, sum,
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

    /// Writes the whole from the beginning of `file` on, which is empty.
    pub(super) fn write(&self, file: &mut (impl Write + Seek)) -> io::Result<()> {
        let Some(mut header) = self.header() else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        let blocks = header.blocks.get() as usize;
        let body = format::body(blocks).unwrap_or_default();
        file.seek(SeekFrom::Start(body as u64))?;
        let mut writer = Blocks {
            file,
            block: Vec::with_capacity(BLOCK),
            sums: Vec::with_capacity(blocks),
        };
        for section in Section::ALL {
            writer.write(self.section(section))?;
        }
        writer.end_block(true)?;
        writer.write(&self.details)?;
        writer.end_block(false)?;
        let sums = writer.sums;
        let mut covered = header
            .as_bytes()
            .get(COVERED..)
            .unwrap_or_default()
            .to_vec();
        covered.extend(sums.as_bytes());
        header.sum = sum(&covered);
        file.seek(SeekFrom::Start(0))?;
        file.write_all(header.as_bytes())?;
        file.write_all(sums.as_bytes())
    }
}

/// Writes bytes and finds the sums of their blocks.
struct Blocks<'f, F> {
    file: &'f mut F,
    block: Vec<u8>,
    sums: Vec<Sum>,
}

impl<F: Write> Blocks<'_, F> {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = (BLOCK - self.block.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.block.extend(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.end_block(false)?;
            }
        }
        Ok(())
    }

    /// Ends a block that something is in; with zeros at its end if it is to be full.
    fn end_block(&mut self, full: bool) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        if full {
            self.block.resize(BLOCK, 0);
        }
        self.file.write_all(&self.block)?;
        self.sums.push(sum(&self.block));
        self.block.clear();
        Ok(())
    }
}
