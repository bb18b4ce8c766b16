//! The data of a package on its way: from the moment it is begun, threads of its own decompress and hash
//! it, as far ahead of whoever reads as a bounded number of pieces may wait.

use std::io::{self, Read};
use std::thread::{Builder, JoinHandle};

use archive::Limits;
use archive::gzip::{GzipError, MemberSummary, Members};
use base::Digest;

use super::pieces::{Filler, Pieces, pieces, tapped};
use super::{Package, PackageError};
use crate::adb::{Compression, decompressed};

/// Data that was begun. Dropping it ends the work.
#[derive(Debug)]
pub struct Data(Parts);

#[derive(Debug)]
pub(super) enum Parts {
    V2(Pieces, Threads),
    V3(Compression, Pieces),
}

/// What works at the data of format 2.
#[derive(Debug)]
pub(super) struct Threads {
    inflating: JoinHandle<Result<Option<MemberSummary>, GzipError>>,
    hashing: JoinHandle<io::Result<Digest>>,
}

impl Package {
    /// Begins to decompress the data: a later [`Package::visit_begun`] finds work done already.
    ///
    /// # Errors
    /// No thread can be had, format 3 begins with what is none, or format 2 records no datahash.
    pub fn begin(&self, limits: &Limits) -> Result<Data, PackageError> {
        let limits = *limits;
        let unreadable = |error| self.unreadable(error);
        let (filler, pieces) = pieces();
        if self.adb().is_some() {
            let (compression, mut stream) = decompressed(self.range(0, self.size()), limits)
                .map_err(|error| self.damaged(error))?;
            thread(move || {
                if let Err(error) = filler.fill(&mut stream) {
                    filler.fail(error);
                }
            })
            .map_err(unreadable)?;
            return Ok(Data(Parts::V3(compression, pieces)));
        }
        self.recorded_datahash()?;
        let (compressed, hashed) = tapped(self.range(self.data_offset(), self.size()));
        let inflating = thread(move || inflate(compressed, limits, &filler));
        let hashing = thread(move || hashed.sha256());
        let threads = Threads {
            inflating: inflating.map_err(unreadable)?,
            hashing: hashing.map_err(unreadable)?,
        };
        Ok(Data(Parts::V2(pieces, threads)))
    }
}

impl Data {
    pub(super) fn into_parts(self) -> Parts {
        self.0
    }
}

impl Threads {
    /// What was inflated, none if who read it stopped, and the SHA-256 of what was compressed.
    pub(super) fn join(self) -> (Result<Option<MemberSummary>, GzipError>, io::Result<Digest>) {
        fn joined<T>(thread: JoinHandle<T>) -> T {
            let result = thread.join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }
        (joined(self.inflating), joined(self.hashing))
    }
}

fn thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().spawn(work)
}

/// Inflates the data member into pieces; none if who reads them has stopped.
fn inflate(
    compressed: impl Read,
    limits: Limits,
    filler: &Filler,
) -> Result<Option<MemberSummary>, GzipError> {
    let inflated = send_pieces(compressed, limits, filler);
    if inflated.is_err() {
        // The reader stops here; the reason is this function's result.
        filler.fail(io::Error::other("its data can't be inflated"));
    }
    inflated
}

fn send_pieces(
    compressed: impl Read,
    limits: Limits,
    filler: &Filler,
) -> Result<Option<MemberSummary>, GzipError> {
    let mut members = Members::new(compressed, limits);
    let Some(mut member) = members.next()? else {
        return Err(GzipError::Truncated { offset: 0 });
    };
    if !filler.fill(&mut member).map_err(inner)? {
        return Ok(None);
    }
    let summary = member.finish()?;
    if members.next()?.is_some() {
        return Err(GzipError::NotGzip {
            offset: summary.compressed,
        });
    }
    Ok(Some(summary))
}

/// The error of a gzip stream that was wrapped for reading.
fn inner(error: io::Error) -> GzipError {
    match error.downcast::<GzipError>() {
        Ok(error) => error,
        Err(error) => GzipError::Io(error),
    }
}
