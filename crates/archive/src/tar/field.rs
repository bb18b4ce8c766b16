//! Where things are in a ustar block.

use super::BLOCK;

/// A field of the 512-byte header.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) start: usize,
    pub(super) length: usize,
}

impl Field {
    pub(super) const NAME: Field = Field::at(0, 100);
    pub(super) const MODE: Field = Field::at(100, 8);
    pub(super) const UID: Field = Field::at(108, 8);
    pub(super) const GID: Field = Field::at(116, 8);
    pub(super) const SIZE: Field = Field::at(124, 12);
    pub(super) const MTIME: Field = Field::at(136, 12);
    pub(super) const CHECKSUM: Field = Field::at(148, 8);
    pub(super) const FLAG: Field = Field::at(156, 1);
    pub(super) const TARGET: Field = Field::at(157, 100);
    /// Magic and version together.
    pub(super) const MAGIC: Field = Field::at(257, 8);
    pub(super) const USER: Field = Field::at(265, 32);
    pub(super) const GROUP: Field = Field::at(297, 32);
    pub(super) const MAJOR: Field = Field::at(329, 8);
    pub(super) const MINOR: Field = Field::at(337, 8);
    pub(super) const PREFIX: Field = Field::at(345, 155);

    const fn at(start: usize, length: usize) -> Field {
        Field { start, length }
    }

    pub(super) fn bytes(self, block: &[u8; BLOCK]) -> &[u8] {
        &block[self.start..self.start + self.length]
    }

    /// The bytes before the first NUL.
    pub(super) fn text(self, block: &[u8; BLOCK]) -> &[u8] {
        let bytes = self.bytes(block);
        let end = bytes.iter().position(|byte| *byte == 0);
        &bytes[..end.unwrap_or(bytes.len())]
    }

    /// Writes as much of `text` as fits. Where it is cut after a slash the slash goes too, so that no
    /// reader takes the entry for a directory.
    pub(super) fn put_text(self, block: &mut [u8; BLOCK], text: &[u8]) {
        let field = &mut block[self.start..self.start + self.length];
        let count = text.len().min(field.len());
        field[..count].copy_from_slice(&text[..count]);
        if text.len() > field.len() && field.last() == Some(&b'/') {
            let kept = field.iter().rposition(|byte| *byte != b'/');
            field[kept.map_or(0, |last| last + 1)] = 0;
        }
    }

    /// Whether octal digits with a NUL behind them can hold `number`.
    pub(super) fn fits_octal(self, number: u64) -> bool {
        let bits = (self.length - 1) * 3;
        bits >= 63 || number < 1 << bits
    }

    /// Writes octal digits, or zero where a pax record has to hold the number.
    pub(super) fn put_octal(self, block: &mut [u8; BLOCK], number: u64) {
        let shown = if self.fits_octal(number) { number } else { 0 };
        let digits = format!("{shown:0width$o}", width = self.length - 1);
        self.put_text(block, digits.as_bytes());
    }
}

/// The kinds of entries.
pub(super) struct Flag;

impl Flag {
    pub(super) const FILE: u8 = b'0';
    pub(super) const OLD_FILE: u8 = 0;
    pub(super) const CONTIGUOUS: u8 = b'7';
    pub(super) const HARD_LINK: u8 = b'1';
    pub(super) const SYMLINK: u8 = b'2';
    pub(super) const CHAR_DEVICE: u8 = b'3';
    pub(super) const BLOCK_DEVICE: u8 = b'4';
    pub(super) const DIRECTORY: u8 = b'5';
    pub(super) const FIFO: u8 = b'6';
    pub(super) const EXTENDED: u8 = b'x';
    pub(super) const GLOBAL: u8 = b'g';
    pub(super) const GNU_LONG_NAME: u8 = b'L';
    pub(super) const GNU_LONG_TARGET: u8 = b'K';
    pub(super) const GNU_VOLUME: u8 = b'V';
}
