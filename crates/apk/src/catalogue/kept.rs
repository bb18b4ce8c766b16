//! Catalogues that are kept in the store, by the sum of the index that they were made from. That a
//! key signed these very bytes is kept as another name of the file, with the key in it.
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

use base::Digest;
use key::PublicKey;
use store::{MappedFile, Store, StoreError, WriteError};

use super::format::{FORMAT, Layout, Section, Sum, sum};
use super::made::Made;
use super::make;
use crate::index::{self, IndexError};
use crate::signature::Keyring;

/// The folder beneath the store.
const FOLDER: &str = "catalogues";

/// How many names are kept: those written last.
pub(super) const KEPT: usize = 24;

/// Who was found to have signed the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voucher {
    /// Nobody looked.
    Nobody,
    /// A key, by its bytes and the name that it goes by.
    Key(Digest),
}

impl Voucher {
    pub(super) fn of(name: &str, key: &PublicKey) -> Voucher {
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        text.extend_from_slice(key.spki());
        Voucher::Key(Digest::of(&text))
    }
}

/// Where the catalogue of an index is kept.
pub(super) struct Shelf<'s> {
    store: &'s Store,
    /// The index.
    source: &'s Path,
    sum: Sum,
}

/// The catalogue of the index at `source` which a key of `keyring` signed, or whoever if there is
/// no keyring; none if that is not known yet.
pub(super) fn find_trusted(
    store: &Store,
    source: &Path,
    keyring: Option<&Keyring>,
) -> Result<Option<Kept>, IndexError> {
    let sum = *index::blake3_of(source)?.as_bytes();
    let shelf = Shelf::new(store, source, sum);
    let Some(keyring) = keyring else {
        return Ok(shelf.find(Voucher::Nobody)?);
    };
    for (name, key) in keyring.keys() {
        if let Some(kept) = shelf.find(Voucher::of(name, key))? {
            return Ok(Some(kept));
        }
    }
    Ok(None)
}

impl<'s> Shelf<'s> {
    pub(super) fn new(store: &'s Store, source: &'s Path, sum: Sum) -> Shelf<'s> {
        Shelf { store, source, sum }
    }

    fn folder(&self) -> PathBuf {
        self.store.root().join(FOLDER)
    }

    pub(super) fn path(&self, voucher: Voucher) -> PathBuf {
        let mut name = format!("{}-{FORMAT}", hex::encode(self.sum));
        if let Voucher::Key(key) = voucher {
            name.push('-');
            name.push_str(&key.hex());
        }
        self.folder().join(name)
    }

    /// What is kept. The solver's part is checked; one that is damaged is removed.
    pub(super) fn find(&self, voucher: Voucher) -> Result<Option<Kept>, StoreError> {
        let bytes = match MappedFile::open(&self.path(voucher)) {
            Ok(bytes) => bytes,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(layout) = Layout::of(&bytes).filter(|layout| is_whole(layout, &bytes)) else {
            remove_all(&self.folder(), &self.sum)?;
            return Ok(None);
        };
        let blocks = layout.blocks_of(&(0..bytes.len())).end;
        Ok(Some(Kept {
            bytes,
            layout,
            whole: (0..blocks).map(|_| AtomicBool::new(false)).collect(),
            folder: self.folder(),
            source: self.source.to_owned(),
            sum: self.sum,
            again: OnceLock::new(),
        }))
    }

    /// Keeps a catalogue for later runs.
    pub(super) fn keep(&self, made: &Made) -> Result<(), StoreError> {
        let path = self.path(Voucher::Nobody);
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(WriteError::at("create the folder", &folder))?;
        let beside = self.store.temp_file()?;
        let file = beside.as_file();
        made.write(file)
            .and_then(|()| file.set_permissions(Permissions::from_mode(0o444)))
            .map_err(WriteError::at("write", &path))?;
        beside
            .persist(&path)
            .map_err(|error| WriteError::at("write", &path)(error.error))?;
        Ok(leave_the_latest(&folder)?)
    }

    /// Remembers who signed the index of what is kept.
    pub(super) fn vouch(&self, voucher: Voucher) -> Result<(), StoreError> {
        if voucher == Voucher::Nobody {
            return Ok(());
        }
        let path = self.path(voucher);
        match fs::hard_link(self.path(Voucher::Nobody), &path) {
            // Another process was faster, or has just removed what is no longer needed.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                ) =>
            {
                Err(WriteError::at("write", &path)(error).into())
            }
            _ => Ok(()),
        }
    }
}

/// A catalogue that an earlier run of the program made.
pub(super) struct Kept {
    bytes: MappedFile,
    layout: Layout,
    /// The blocks of the details that were found whole.
    whole: Vec<AtomicBool>,
    folder: PathBuf,
    /// The index it was made from.
    source: PathBuf,
    sum: Sum,
    /// The same made again, should a detail be damaged.
    again: OnceLock<Option<Box<Made>>>,
}

impl Kept {
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
        remove_all(&self.folder, &self.sum).ok();
        let bytes = index::bytes_of(&self.source).ok()?;
        if sum(&bytes) != self.sum {
            return None;
        }
        let file = index::IndexFile::check(&self.source, &bytes, None).ok()?;
        make(&file, &self.source, bytes.len()).ok().map(Box::new)
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

/// Removes a catalogue by all its names.
fn remove_all(folder: &Path, sum: &Sum) -> Result<(), WriteError> {
    let begin = hex::encode(sum);
    let paths = paths_in(folder)?;
    let named = |path: &&PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&begin))
    };
    paths.iter().filter(named).try_for_each(|path| remove(path))
}

fn paths_in(folder: &Path) -> Result<Vec<PathBuf>, WriteError> {
    let failed = WriteError::at("read the folder", folder);
    let entries = fs::read_dir(folder).and_then(|entries| {
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect::<io::Result<Vec<_>>>()
    });
    entries.map_err(failed)
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
    let mut files = Vec::new();
    for path in paths_in(folder)? {
        // One that another process has just removed is of no interest.
        if let Ok(modified) = path.metadata().and_then(|metadata| metadata.modified()) {
            files.push((modified, path));
        }
    }
    files.sort_unstable_by(|left, right| right.cmp(left));
    files
        .iter()
        .skip(KEPT)
        .try_for_each(|(_, path)| remove(path))
}
