use std::cell::Cell;
use std::io::{self, Read};
use std::ops;

use archive::Limits;
use archive::gzip::{Member, Members};
use archive::segment::{Inflate, Summary, before_end_blocks};
use archive::tar::{self, EntryKind};
use serde::{Deserialize, Serialize};

use super::read::Range;
use super::{Entry, Manifest, Package, PackageError, Part};
use crate::member::Counted;

/// Where the entries of a package lie in its file, to be taken over without compressing again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// The directories, in their order.
    pub directories: Segment,
    /// All other entries; hard links come after their targets.
    pub files: Segment,
}

/// A run of raw deflate blocks (RFC 1951) that refers to nothing before it and ends on a byte
/// boundary without ending the stream. It inflates to whole tar entries, without end blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Where it begins, in bytes from the start of the package file.
    pub offset: u64,
    /// Its own length in bytes.
    pub deflated: u64,
    /// Bytes that it inflates to, a multiple of 512.
    pub length: u64,
    /// CRC-32 of those bytes.
    pub crc32: u32,
}

impl Segment {
    pub(super) fn new(offset: u64, summary: Summary) -> Segment {
        Segment {
            offset,
            deflated: summary.deflated,
            length: summary.length,
            crc32: summary.crc32,
        }
    }

    /// What splicing it needs to know.
    pub fn summary(&self) -> Summary {
        Summary {
            crc32: self.crc32,
            length: self.length,
            deflated: self.deflated,
        }
    }
}

/// Flushes that are tried as the end of the directories. One suffices for a thousand of them.
const MAXIMUM_TRIALS: usize = 64;

/// Bytes that are searched for that end, and how many of them at a time.
const MAXIMUM_DIRECTORIES: u64 = 16 << 20;
const SEARCHED: u64 = 64 << 10;

impl Package {
    /// Where the data's segments lie, if it was written with them; `manifest` is this package's.
    /// Reads all of the data once more: what is given out was inflated, alone, to the last byte.
    /// So it is worth keeping, by the package's digest.
    ///
    /// # Errors
    /// The file can't be read. A package without segments is no error; one of format 3 has none.
    pub fn segments(
        &self,
        manifest: &Manifest,
        limits: &Limits,
    ) -> Result<Option<Segments>, PackageError> {
        let mut directories_first = manifest
            .entries
            .iter()
            .skip_while(|entry| entry.is_directory());
        if directories_first.any(Entry::is_directory) {
            return Ok(None);
        }
        let Some(segments) = self.find_segments(manifest.length, limits)? else {
            return Ok(None);
        };
        let is_so = self
            .inflates(&segments.files)
            .map_err(|source| self.unreadable(source))?;
        Ok(is_so.then_some(segments))
    }

    /// Where the segments of data of this length are, by what stands around them; of the files nothing was
    /// inflated yet.
    pub(super) fn find_segments(
        &self,
        length: u64,
        limits: &Limits,
    ) -> Result<Option<Segments>, PackageError> {
        if self.adb().is_some() {
            return Ok(None);
        }
        let unreadable = |source| self.unreadable(source);
        let found = before_end_blocks(
            &mut self.range(0, self.size()),
            self.data_offset(),
            self.size().saturating_sub(self.data_offset()),
            length,
        );
        let Some((range, whole)) = found.map_err(unreadable)? else {
            return Ok(None);
        };
        let length = self.begin_data(limits, |data| {
            leading_directories(data, limits).map_err(|error| self.tar(Part::Data, error))
        })?;
        let (crc, read) = self.begin_data(limits, |data| {
            crc_of(data.take(length))
                .map_err(|error| self.tar(Part::Data, tar::ReadError::Io(error)))
        })?;
        let (Some(files_length), true) = (whole.length.checked_sub(length), read == length) else {
            return Ok(None);
        };
        let Some(end) = self
            .end_of_directories(range.clone(), length, crc.clone().finalize())
            .map_err(unreadable)?
        else {
            return Ok(None);
        };
        let directories = Segment {
            offset: range.start,
            deflated: end - range.start,
            length,
            crc32: crc.clone().finalize(),
        };
        let files = Segment {
            offset: end,
            deflated: range.end - end,
            length: files_length,
            crc32: {
                // The CRC-32 of both is that of the first, carried over the second, xor the second's.
                let mut carried = crc;
                carried.combine(&crc32fast::Hasher::new_with_initial_len(0, files_length));
                carried.finalize() ^ whole.crc32
            },
        };
        Ok(Some(Segments { directories, files }))
    }

    fn begin_data<T>(
        &self,
        limits: &Limits,
        read: impl FnOnce(Member<'_, Range>) -> Result<T, PackageError>,
    ) -> Result<T, PackageError> {
        let failed = |error| self.gzip(Part::Data, error);
        let mut members = Members::new(self.range(self.data_offset(), self.size()), *limits);
        let member = members.next().map_err(failed)?;
        read(member.ok_or_else(|| self.truncated(Part::Data))?)
    }

    /// The bytes of a segment of this package.
    pub fn segment_bytes(&self, segment: &Segment) -> impl Read + '_ {
        self.range(
            segment.offset,
            segment.offset.saturating_add(segment.deflated),
        )
    }

    /// The first flush at which the data has inflated to `length` bytes of this CRC-32.
    fn end_of_directories(
        &self,
        range: ops::Range<u64>,
        length: u64,
        crc32: u32,
    ) -> io::Result<Option<u64>> {
        const FLUSH: [u8; 4] = [0, 0, 0xff, 0xff];
        let searched = (range.end - range.start).min(MAXIMUM_DIRECTORIES);
        let mut file = self.range(range.start, range.start + searched);
        let mut bytes: Vec<u8> = Vec::new();
        let mut trials = 0;
        loop {
            // The directories are most often in the first of these.
            let begin = bytes.len();
            if file.by_ref().take(SEARCHED).read_to_end(&mut bytes)? == 0 {
                return Ok(None);
            }
            let begin = begin.saturating_sub(FLUSH.len() - 1);
            let windows = bytes.get(begin..).unwrap_or_default().windows(FLUSH.len());
            for (place, _) in windows.enumerate().filter(|(_, window)| *window == FLUSH) {
                let deflated = (begin + place + FLUSH.len()) as u64;
                let trial = Segment {
                    offset: range.start,
                    deflated,
                    length,
                    crc32,
                };
                if self.inflates(&trial)? {
                    return Ok(Some(range.start + deflated));
                }
                trials += 1;
                if trials == MAXIMUM_TRIALS {
                    return Ok(None);
                }
            }
        }
    }

    /// Whether a segment is one: inflates alone, to what it should.
    fn inflates(&self, segment: &Segment) -> io::Result<bool> {
        let mut inflate = Inflate::new(self.segment_bytes(segment), segment.summary());
        let mut buffer = vec![0; 64 << 10];
        let mut length = 0;
        loop {
            match inflate.read(&mut buffer) {
                Ok(0) => return Ok(length == segment.length),
                Ok(count) => length += count as u64,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The length of the directory entries that the data begins with.
fn leading_directories(data: impl Read, limits: &Limits) -> Result<u64, tar::ReadError> {
    let count = Cell::new(0);
    let mut tar = tar::Reader::new(Counted::new(data, &count), *limits);
    loop {
        // A header is read by `next` and no sooner, and directories have no contents.
        let before = count.get();
        match tar.next()? {
            Some(entry) if entry.header().kind == EntryKind::Directory => {}
            _ => return Ok(before),
        }
    }
}

fn crc_of(mut data: impl Read) -> io::Result<(crc32fast::Hasher, u64)> {
    let mut crc = crc32fast::Hasher::new();
    let mut length = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match data.read(&mut buffer) {
            Ok(0) => return Ok((crc, length)),
            Ok(count) => {
                crc.update(&buffer[..count]);
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
