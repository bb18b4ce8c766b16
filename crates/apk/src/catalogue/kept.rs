//! Catalogues that are kept in the store, by the sum of the index that they were made from.
//!
//! What is kept is a copy that can be made again: a file that is not what was once written is
//! removed, and nobody waits for the disk when one is written.

use std::fs::{self, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use store::{MappedFile, Store, StoreError, WriteError};

use super::format::{FORMAT, Layout, Section, Sum, sum};
use super::made::Made;
use super::make;
use crate::index;

/// The folder beneath the store.
const FOLDER: &str = "catalogues";

/// How many are kept: those written last.
pub(super) const KEPT: usize = 24;

/// A catalogue that an earlier run of the program made.
pub(super) struct Kept {
    bytes: MappedFile,
    layout: Layout,
    /// The blocks of the details that were found whole.
    whole: Vec<AtomicBool>,
    path: PathBuf,
    /// The index it was made from.
    source: PathBuf,
    sum: Sum,
    /// The same made again, should a detail be damaged.
    again: OnceLock<Option<Box<Made>>>,
}

impl Kept {
    /// The catalogue of the index at `source`, whose sum is given, if it is kept. The solver's
    /// part is checked; one that is damaged is removed.
    pub(super) fn find(store: &Store, source: &Path, sum: Sum) -> Result<Option<Kept>, StoreError> {
        let path = path(store, &sum);
        let bytes = match MappedFile::open(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(layout) = Layout::of(&bytes).filter(|layout| is_whole(layout, &bytes)) else {
            remove(&path)?;
            return Ok(None);
        };
        let blocks = layout.blocks_of(&(0..bytes.len())).end;
        Ok(Some(Kept {
            bytes,
            layout,
            whole: (0..blocks).map(|_| AtomicBool::new(false)).collect(),
            path,
            source: source.to_owned(),
            sum,
            again: OnceLock::new(),
        }))
    }

    pub(super) fn section(&self, section: Section) -> &[u8] {
        self.layout.section(&self.bytes, section)
    }

    pub(super) fn keys(&self) -> [u64; 2] {
        self.layout.keys
    }

    /// A piece of the details. None if it is damaged and the index is no longer there.
    pub(super) fn details(&self, range: Range<usize>) -> Option<&[u8]> {
        let from = self.layout.details.start;
        let there = from.checked_add(range.start)?..from.checked_add(range.end)?;
        let mut blocks = self.layout.blocks_of(&there);
        if blocks.all(|block| self.is_block_whole(block)) {
            return self.bytes.get(there);
        }
        let again = self.again.get_or_init(|| self.make_again());
        again.as_ref()?.details.get(range)
    }

    fn is_block_whole(&self, block: usize) -> bool {
        let Some(known) = self.whole.get(block) else {
            return false;
        };
        if known.load(Ordering::Relaxed) {
            return true;
        }
        let whole = self.layout.is_block_whole(&self.bytes, block);
        known.store(whole, Ordering::Relaxed);
        whole
    }

    /// The index was trusted when it had this sum.
    fn make_again(&self) -> Option<Box<Made>> {
        // Who finds it damaged the next time will remove it.
        remove(&self.path).ok();
        let bytes = index::bytes_of(&self.source).ok()?;
        if sum(&bytes) != self.sum {
            return None;
        }
        let contents = index::IndexFile::check(&self.source, &bytes, None)
            .and_then(|file| file.contents())
            .ok()?;
        make(contents).ok().map(Box::new)
    }
}

/// Checks all that the solver looks at.
fn is_whole(layout: &Layout, bytes: &[u8]) -> bool {
    if !layout.is_header_whole(bytes) {
        return false;
    }
    let blocks = layout.solver_blocks();
    let (next, whole) = (AtomicUsize::new(0), AtomicBool::new(true));
    let check = || {
        while whole.load(Ordering::Relaxed) {
            let block = next.fetch_add(1, Ordering::Relaxed);
            if block >= blocks {
                break;
            }
            if !layout.is_block_whole(bytes, block) {
                whole.store(false, Ordering::Relaxed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 1..threads.min(4).min(blocks) {
            scope.spawn(check);
        }
        check();
    });
    whole.into_inner()
}

/// Keeps a catalogue for later runs.
pub(super) fn keep(store: &Store, sum: &Sum, made: &Made) -> Result<(), StoreError> {
    let path = path(store, sum);
    let folder = store.root().join(FOLDER);
    fs::create_dir_all(&folder).map_err(WriteError::at("create the folder", &folder))?;
    let mut beside = store.temp_file()?;
    made.write(beside.as_file_mut())
        .and_then(|()| {
            let file = beside.as_file();
            file.set_permissions(Permissions::from_mode(0o444))
        })
        .map_err(WriteError::at("write", &path))?;
    beside
        .persist(&path)
        .map_err(|error| WriteError::at("write", &path)(error.error))?;
    Ok(leave_the_latest(&folder)?)
}

pub(super) fn path(store: &Store, sum: &Sum) -> PathBuf {
    let name = format!("{}-{FORMAT}", hex::encode(sum));
    store.root().join(FOLDER).join(name)
}

fn remove(path: &Path) -> Result<(), WriteError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(WriteError::at("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn leave_the_latest(folder: &Path) -> Result<(), WriteError> {
    let read = fs::read_dir(folder).map_err(WriteError::at("read the folder", folder))?;
    let mut files = Vec::new();
    for entry in read {
        let entry = entry.map_err(WriteError::at("read the folder", folder))?;
        // One that another process has just removed is of no interest.
        if let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) {
            files.push((modified, entry.path()));
        }
    }
    files.sort_unstable_by(|left, right| right.cmp(left));
    files
        .iter()
        .skip(KEPT)
        .try_for_each(|(_, path)| remove(path))
}
