//! Reading the data of a package once: what threads of its own inflate is handed out by entries, whose
//! contents are hashed on the caller's.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use archive::Limits;
use archive::tar;
use base::Sha1;
use sha1::Digest as _;

use super::data::{Data, Parts};
use super::pieces::next_of;
use crate::dependency::Identity;

use super::{Entry, Manifest, Package, PackageError, Part};

impl Package {
    /// Reads all of the data once and gives `each` every entry with its contents, of which it may
    /// leave some unread. A file's or hard link's checksum isn't known yet then.
    ///
    /// Checked are the same things as in [`Package::manifest`], but the datahash at the end: until
    /// this returns, nothing that `each` was given is vouched for.
    ///
    /// # Errors
    /// See [`PackageError`], and those of `each`.
    pub fn visit<E: From<PackageError>>(
        &self,
        limits: &Limits,
        each: impl FnMut(&Entry, &mut dyn BufRead) -> Result<(), E>,
    ) -> Result<Manifest, E> {
        self.visit_begun(self.begin(limits)?, limits, each)
    }

    /// As [`Package::visit`], of data that was begun with the same limits.
    ///
    /// # Errors
    /// See [`PackageError`], and those of `each`.
    pub fn visit_begun<E: From<PackageError>>(
        &self,
        data: Data,
        limits: &Limits,
        mut each: impl FnMut(&Entry, &mut dyn BufRead) -> Result<(), E>,
    ) -> Result<Manifest, E> {
        let (mut pieces, threads) = match data.into_parts() {
            Parts::V2(pieces, threads) => (pieces, threads),
            Parts::V3(compression, pieces) => {
                return self.visit_adb(compression, pieces, limits, each);
            }
        };
        let visited = self.visit_data(limits, &mut pieces, |Visited { entry, .. }, content| {
            each(entry, content).map_err(Halt::Each)
        });
        // Whoever still inflates has nobody left to send to.
        drop(pieces);
        let entries = match visited {
            Ok(visited) => Ok(visited.entries),
            Err(Halt::Each(error)) => return Err(error),
            Err(Halt::Package(error)) => Err(error),
        };
        let recorded = self.recorded_datahash()?;
        let (summary, actual) = threads.join();
        let actual = actual.map_err(|error| self.unreadable(error))?;
        let summary = summary.map_err(|error| self.gzip(Part::Data, error));
        match (entries, summary) {
            (Ok(entries), Ok(Some(summary))) if actual == recorded => Ok(Manifest {
                identity: self.identity(),
                datahash: Some(actual),
                length: summary.decompressed,
                entries,
            }),
            (Ok(_), Ok(Some(_))) => Err(PackageError::WrongDatahash {
                path: self.path().to_owned(),
                recorded,
                actual,
            }
            .into()),
            (Ok(_), Ok(None)) => Err(self.truncated(Part::Data).into()),
            (_, Err(error)) | (Err(error), _) => {
                // Bytes that are not the right ones say more than what they were taken for.
                self.check_datahash(limits)?;
                Err(error.into())
            }
        }
    }

    /// Reads decompressed data to its end and gives `each` every entry. Checked is all but the datahash.
    pub(super) fn visit_data<E: From<PackageError>>(
        &self,
        limits: &Limits,
        mut data: impl BufRead,
        mut each: impl FnMut(Visited<'_>, &mut dyn BufRead) -> Result<(), E>,
    ) -> Result<VisitedData, E> {
        let mut tar = tar::Reader::new(&mut data, *limits);
        let mut entries = Vec::new();
        let mut known = BTreeMap::new();
        loop {
            let next = tar.next().map_err(|error| self.tar(Part::Data, error))?;
            let Some(mut content) = next else { break };
            let offset = content.offset();
            let header = content.header().clone();
            // The root: its mode is not the package's to say.
            if header.path == "." {
                continue;
            }
            let symlink = match &header.kind {
                tar::EntryKind::Symlink { target } => Some(Sha1::of(target.as_bytes())),
                _ => None,
            };
            let mut entry = Entry::new(&header, symlink);
            let mut hashed = Hashed {
                content: &mut content,
                hasher: sha1::Sha1::new(),
                ahead: 0,
            };
            let visited = Visited {
                header: &header,
                entry: &entry,
                offset,
            };
            each(visited, &mut hashed)?;
            skip(&mut hashed).map_err(|error| self.tar(Part::Data, tar::ReadError::Io(error)))?;
            let computed = match &header.kind {
                tar::EntryKind::File { .. } => {
                    Some(Sha1::from_bytes(hashed.hasher.finalize().into()))
                }
                _ => symlink,
            };
            if let (Some(recorded), Some(actual)) = (header.checksum, computed)
                && recorded != actual
            {
                return Err(E::from(PackageError::WrongFileChecksum {
                    path: self.path().to_owned(),
                    entry: header.path,
                    recorded,
                    actual,
                }));
            }
            let checksum = self.place(&header, computed, &mut known)?;
            entry.checksum = checksum.map(Identity::Sha1);
            entries.push(entry);
        }
        // To the end, so that all of it is hashed.
        let read = tar.offset();
        let rest = skip(tar.into_inner())
            .map_err(|error| self.tar(Part::Data, tar::ReadError::Io(error)))?;
        Ok(VisitedData {
            entries,
            length: read + rest,
        })
    }
}

/// An entry on its way.
pub(super) struct Visited<'v> {
    pub(super) header: &'v tar::Header,
    /// A file's or hard link's checksum isn't known yet.
    pub(super) entry: &'v Entry,
    /// Where its content begins in the data.
    pub(super) offset: u64,
}

/// Data that was read to its end.
pub(super) struct VisitedData {
    pub(super) entries: Vec<Entry>,
    /// Bytes of it.
    pub(super) length: u64,
}

/// Who stopped a visit.
enum Halt<E> {
    Each(E),
    Package(PackageError),
}

impl<E> From<PackageError> for Halt<E> {
    fn from(error: PackageError) -> Halt<E> {
        Halt::Package(error)
    }
}

/// Reads a stream to its end; gives the bytes that were left.
fn skip(stream: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let count = next_of(stream)?.len();
        if count == 0 {
            return Ok(skipped);
        }
        stream.consume(count);
        skipped += count as u64;
    }
}

/// An entry's contents, hashed while they are read.
struct Hashed<'c, R> {
    content: &'c mut R,
    hasher: sha1::Sha1,
    /// Bytes that are hashed and not consumed.
    ahead: usize,
}

impl<R: BufRead> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Hashed<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let there = self.content.fill_buf()?;
        if let Some(more) = there.get(self.ahead..) {
            self.hasher.update(more);
            self.ahead = there.len();
        }
        Ok(there)
    }

    fn consume(&mut self, count: usize) {
        self.content.consume(count);
        self.ahead -= count;
    }
}
