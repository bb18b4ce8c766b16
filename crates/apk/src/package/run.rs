//! The run of a package: what a layer of an image takes over, written while the package is read once.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use archive::Limits;
use archive::gzip::Members;
use archive::recode::recode;
use archive::segment::{Inflate, Summary};
use archive::tar;
use archive::tree::{Content, Node, NodeKind, TreePath};
use base::{Digest, DigestReader, Sha1};
use serde::{Deserialize, Serialize};

use super::pieces::next_of;
use super::visit::Visited;
use super::{Entry, EntryKind, Manifest, Package, PackageError, Segment};
use crate::dependency::Identity;

/// Bytes that are read and written at a time.
const PIECE: usize = 128 << 10;
/// A gzip member's trailer.
const TRAILER: usize = 8;
/// What tars are made of.
const BLOCK: u64 = 512;

/// A package's entries but for its directories as tar without an end, written to a file; compressed, too,
/// where that could be taken from how the package is compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What the package holds, every hash of it checked.
    pub manifest: Manifest,
    /// Where the content of each entry of the manifest begins in the run; 0 for what has none.
    contents: Vec<u64>,
    /// Bytes of the run.
    pub length: u64,
    /// CRC-32 of the run.
    pub crc32: u32,
    /// How it is there deflated.
    pub deflated: Deflated,
}

/// A run as deflate blocks (see [`archive::segment`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deflated {
    /// As a part of the package's file. Its headers have apk's checksums.
    Within(Segment),
    /// As the file that was written beside it; so many bytes.
    Beside(u64),
    /// Not at all.
    No,
}

/// A run can't be written.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The package is no good.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A file can't be written.
    #[error("can't write a package's run: {0}")]
    Write(#[from] io::Error),
    /// An entry can't be written.
    #[error("/{path} of a package can't be put into a layer: {source}")]
    Entry {
        /// The entry.
        path: String,
        /// Why.
        #[source]
        source: tar::WriteError,
    },
}

impl Run {
    /// Whether headers of the run have apk's checksums.
    pub fn has_checksums(&self) -> bool {
        matches!(self.deflated, Deflated::Within(_))
    }

    /// The content of the entry at `place` of the manifest; `file` holds the run.
    pub fn content(&self, place: usize, file: &Arc<Path>) -> Option<Content> {
        let entry = self.manifest.entries.get(place)?;
        match entry.kind {
            EntryKind::File { size } => Some(Content::Part {
                path: Arc::clone(file),
                offset: *self.contents.get(place)?,
                size,
            }),
            _ => None,
        }
    }

    /// The package's entries with what is at them; `file` holds the run.
    pub fn nodes<'r>(
        &'r self,
        file: &'r Arc<Path>,
    ) -> impl Iterator<Item = (TreePath, Node, Option<Identity>)> + 'r {
        // Every path was found safe when the manifest was made.
        let entries = self.manifest.entries.iter().enumerate();
        entries.filter_map(|(place, entry)| {
            let mut node = Node::of(entry.header(), Path::new("")).ok()?;
            if let (NodeKind::File { content, .. }, Some(there)) =
                (&mut node.kind, self.content(place, file))
            {
                *content = there;
            }
            Some((TreePath::new(&entry.path).ok()?, node, entry.checksum))
        })
    }
}

/// A run isn't written this way: the package is of another kind, or no good, or the disk is full. The plain
/// way tells which.
struct Otherwise;

impl From<PackageError> for Otherwise {
    fn from(_: PackageError) -> Otherwise {
        Otherwise
    }
}

impl From<io::Error> for Otherwise {
    fn from(_: io::Error) -> Otherwise {
        Otherwise
    }
}

impl From<Stopped> for Otherwise {
    fn from(_: Stopped) -> Otherwise {
        Otherwise
    }
}

/// The data as it is compressed, shared by those who read it in turn.
struct Shared<R>(Rc<RefCell<R>>);

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Shared<R> {
        Shared(Rc::clone(&self.0))
    }
}

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

/// Content that is kept in a file as it is read.
struct Kept<'f, R> {
    content: R,
    file: &'f File,
}

impl<R: Read> Read for Kept<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.file.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// Whether a run has between two contents what polpo writes there: zeros up to a whole block, then the next
/// entry's header with its checksum.
fn has_between(run: &File, place: Range<u64>, header: &tar::Header) -> io::Result<bool> {
    let padding = (place.start.next_multiple_of(BLOCK) - place.start) as usize;
    let mut expected = vec![0; padding];
    expected.reserve(3 * BLOCK as usize);
    let mut writer = tar::Writer::new(expected);
    if writer.header(header).is_err() {
        return Ok(false);
    }
    let expected = writer.into_inner();
    if place.end - place.start != expected.len() as u64 {
        return Ok(false);
    }
    let mut there = vec![0; expected.len()];
    run.read_exact_at(&mut there, place.start)?;
    Ok(there == expected)
}

/// Whether a run ends with these zeros: what fills the last block up.
fn has_zeros(run: &File, place: Range<u64>) -> io::Result<bool> {
    if place.start > place.end || place.end - place.start >= BLOCK {
        return Ok(false);
    }
    let mut there = vec![0; (place.end - place.start) as usize];
    run.read_exact_at(&mut there, place.start)?;
    Ok(there.iter().all(|byte| *byte == 0))
}

/// What writes a run.
struct Writing<'f> {
    out: BufWriter<&'f mut File>,
    /// Where nobody else sums up the same bytes.
    crc: Option<crc32fast::Hasher>,
    length: u64,
    contents: Vec<u64>,
}

impl<'f> Writing<'f> {
    fn new(file: &'f mut File) -> io::Result<Writing<'f>> {
        let writing = Writing::without_sum(file)?;
        Ok(Writing {
            crc: Some(crc32fast::Hasher::new()),
            ..writing
        })
    }

    fn without_sum(file: &'f mut File) -> io::Result<Writing<'f>> {
        file.rewind()?;
        file.set_len(0)?;
        Ok(Writing {
            out: BufWriter::with_capacity(PIECE, file),
            crc: None,
            length: 0,
            contents: Vec::new(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        self.length += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Writes an entry; `each` is given every piece of its content, with its place in it.
    fn entry(
        &mut self,
        header: &tar::Header,
        content: &mut dyn BufRead,
        mut each: impl FnMut(Piece<'_>) -> io::Result<()>,
    ) -> Result<(), Stopped> {
        if header.kind == tar::EntryKind::Directory {
            self.contents.push(0);
            return Ok(());
        }
        let mut head = tar::Writer::new(Vec::with_capacity(1536));
        head.header(header).map_err(|source| Stopped::Entry {
            path: header.path.clone(),
            source,
        })?;
        let head = head.into_inner();
        each(Piece::Other(&head))?;
        self.write(&head)?;
        let has_content = matches!(header.kind, tar::EntryKind::File { .. });
        self.contents
            .push(if has_content { self.length } else { 0 });
        let (size, mut place) = (header.kind.size(), 0);
        while place < size {
            // Whoever reads the package knows better why it can't be read.
            let piece = next_of(content).map_err(|_| Stopped::Content)?;
            let piece = &piece[..piece.len().min(PIECE)];
            if piece.is_empty() {
                break;
            }
            each(Piece::Content(place, piece))?;
            self.write(piece)?;
            let count = piece.len();
            content.consume(count);
            place += count as u64;
        }
        let padding = (size.next_multiple_of(512) - size) as usize;
        if padding > 0 {
            let zeros = &[0; 512][..padding];
            each(Piece::Other(zeros))?;
            self.write(zeros)?;
        }
        Ok(())
    }

    fn finish(mut self, manifest: Manifest, deflated: Deflated) -> io::Result<Run> {
        self.out.flush()?;
        Ok(Run {
            manifest,
            contents: self.contents,
            length: self.length,
            crc32: self.crc.map_or(0, crc32fast::Hasher::finalize),
            deflated,
        })
    }
}

enum Piece<'p> {
    /// From that place in the content on.
    Content(u64, &'p [u8]),
    Other(&'p [u8]),
}

/// Why an entry isn't written.
enum Stopped {
    /// Its content can't be read.
    Content,
    Write(io::Error),
    Entry {
        path: String,
        source: tar::WriteError,
    },
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Write(error)
    }
}

impl Package {
    /// Reads the package once, checks all that [`Package::manifest`] does, and writes its run into the empty
    /// file `run`. Where the package's own compression can be taken over, and isn't part of its file as it is,
    /// the run is written into the empty file `beside` too, deflated. What is written depends on the package
    /// alone.
    ///
    /// # Errors
    /// See [`RunError`]; the files are to be thrown away then.
    pub fn write_run(
        &self,
        limits: &Limits,
        run: &mut File,
        beside: &mut File,
    ) -> Result<Run, RunError> {
        if self.adb().is_none() {
            if let Ok(written) = self.run_within(limits, run) {
                return Ok(written);
            }
            if let Ok(written) = self.run_recoded(limits, run, beside) {
                return Ok(written);
            }
            beside.set_len(0)?;
        }
        let mut writing = Writing::new(run)?;
        let mut failed = None;
        let manifest = self.visit(limits, |entry, content| {
            let header = tar::Header {
                checksum: None,
                ..entry.header()
            };
            match writing.entry(&header, content, |_| Ok(())) {
                // What was read tells why by itself.
                Ok(()) | Err(Stopped::Content) => Ok(()),
                Err(Stopped::Write(error)) => Err(RunError::Write(error)),
                Err(Stopped::Entry { path, source }) => {
                    // A package that is no good is told to be so first.
                    failed.get_or_insert(RunError::Entry { path, source });
                    Ok(())
                }
            }
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(writing.finish(manifest, Deflated::No)?),
        }
    }

    /// Of a package whose file has the run as a segment: what is read is that segment, and what it inflates
    /// to is the run. Every byte of it that is no content is held to what polpo writes.
    fn run_within(&self, limits: &Limits, run: &mut File) -> Result<Run, Otherwise> {
        // The length as the trailer has it: not that of more than 4 GiB, whose run isn't taken over.
        let mut trailer = [0; 4];
        self.range(self.size().saturating_sub(4), self.size())
            .read_exact(&mut trailer)?;
        let length = u64::from(u32::from_le_bytes(trailer));
        let Some(segments) = self.find_segments(length, limits)? else {
            return Err(Otherwise);
        };
        let recorded_datahash = self.recorded_datahash()?;
        let input = Shared(Rc::new(RefCell::new(DigestReader::new(
            self.range(self.data_offset(), self.size()),
        ))));
        let head = segments.directories.offset - self.data_offset();
        io::copy(&mut input.clone().take(head), &mut io::sink())?;
        let inflate = |segment: &Segment| Inflate::new(input.clone(), segment.summary());
        run.rewind()?;
        run.set_len(0)?;
        let run: &File = run;
        let files = Kept {
            content: inflate(&segments.files),
            file: run,
        };
        let data = inflate(&segments.directories)
            .chain(files)
            .chain(io::repeat(0).take(1024));
        let mut contents = Vec::new();
        let mut recorded: Vec<Option<Sha1>> = Vec::new();
        // Where the entry before has ended, but for its padding.
        let mut end = 0;
        let mut is_as_written = true;
        let visited = self.visit_data(
            limits,
            BufReader::with_capacity(PIECE, data),
            |Visited { header, offset, .. }, _| {
                recorded.push(header.checksum);
                if header.kind == tar::EntryKind::Directory {
                    is_as_written &= end == 0;
                    contents.push(0);
                    return Ok::<(), Otherwise>(());
                }
                let Some(content) = offset.checked_sub(segments.directories.length) else {
                    return Err(Otherwise);
                };
                is_as_written &= has_between(run, end..content, header)?;
                let has_content = matches!(header.kind, tar::EntryKind::File { .. });
                contents.push(if has_content { content } else { 0 });
                end = content + header.kind.size();
                Ok(())
            },
        )?;
        let mut input = input;
        io::copy(&mut input, &mut io::sink())?;
        let digest = input
            .0
            .replace(DigestReader::new(self.range(0, 0)))
            .finish()
            .1;
        let summary = segments.files.summary();
        is_as_written &= has_zeros(run, end..summary.length)?;
        is_as_written &= visited
            .entries
            .iter()
            .zip(&recorded)
            .all(|(entry, recorded)| entry.checksum == recorded.map(Identity::Sha1));
        if digest != recorded_datahash || !is_as_written {
            return Err(Otherwise);
        }
        let manifest = self.manifest_of(digest, visited.length, visited.entries);
        Ok(Run {
            manifest,
            contents,
            length: summary.length,
            crc32: summary.crc32,
            deflated: Deflated::Within(segments.files),
        })
    }

    /// Of any other: its matches are taken over.
    fn run_recoded(
        &self,
        limits: &Limits,
        run: &mut File,
        beside: &mut File,
    ) -> Result<Run, Otherwise> {
        let recorded_datahash = self.recorded_datahash()?;
        let head = {
            let mut members = Members::new(self.range(self.data_offset(), self.size()), *limits);
            match members.next() {
                Ok(Some(_)) => members.offset(),
                _ => return Err(Otherwise),
            }
        };
        let mut input = DigestReader::new(self.range(self.data_offset(), self.size()));
        io::copy(&mut Read::by_ref(&mut input).take(head), &mut io::sink())?;
        let mut writing = Writing::without_sum(run)?;
        beside.rewind()?;
        beside.set_len(0)?;
        let (mut source, mut recoder) = recode(
            input,
            BufWriter::with_capacity(PIECE, &mut *beside),
            *limits,
        );
        let visited = self.visit_data(
            limits,
            &mut source,
            |Visited { header, offset, .. }, content| {
                if header.kind == tar::EntryKind::Directory {
                    recoder.pass(offset)?;
                }
                let header = tar::Header {
                    checksum: None,
                    ..header.clone()
                };
                let until = offset + header.kind.size();
                writing
                    .entry(&header, content, |piece| match piece {
                        Piece::Content(place, bytes) => recoder.take(offset + place, bytes, until),
                        Piece::Other(bytes) => recoder.insert(bytes),
                    })
                    .map_err(Otherwise::from)
            },
        )?;
        let ended = source.finish().ok_or(Otherwise)?;
        let (mut trailer, mut input) = ended.rest;
        // One byte more than there may be.
        Read::by_ref(&mut input)
            .take(TRAILER as u64 + 1)
            .read_to_end(&mut trailer)?;
        let mut expected = ended.crc32.to_le_bytes().to_vec();
        expected.extend_from_slice(&(ended.length as u32).to_le_bytes());
        let (_, digest, _) = input.finish();
        if trailer != expected || digest != recorded_datahash || ended.length != visited.length {
            return Err(Otherwise);
        }
        let (out, summary) = recoder.finish()?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let manifest = self.manifest_of(digest, visited.length, visited.entries);
        let length = summary.length;
        let deflated = if is_worth_it(&summary, ended.stored) {
            Deflated::Beside(summary.deflated)
        } else {
            beside.set_len(0)?;
            Deflated::No
        };
        let written = writing.finish(manifest, deflated)?;
        match written.length == length {
            true => Ok(Run {
                crc32: summary.crc32,
                ..written
            }),
            false => Err(Otherwise),
        }
    }

    fn manifest_of(&self, datahash: Digest, length: u64, entries: Vec<Entry>) -> Manifest {
        Manifest {
            identity: self.identity(),
            datahash: Some(datahash),
            length,
            entries,
        }
    }
}

/// Whether a package was compressed when it was written: of one that was merely stored, the run is
/// compressed like any other.
fn is_worth_it(summary: &Summary, stored: u64) -> bool {
    stored < summary.length / 8 || summary.deflated < summary.length / 2
}
