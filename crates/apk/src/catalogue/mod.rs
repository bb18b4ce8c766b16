//! Indexes in compact form: made once from an index, then found again without reading its text.

mod build;
mod candidates;
mod details;
mod format;
mod kept;
mod made;
mod reachable;
mod scan;
mod term;
mod text;
mod view;

use std::fmt;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use base::{Digest, Sha1};
use store::Store;
use zerocopy::little_endian::U32;

use self::build::Builder;
use self::candidates::Candidates;
use self::format::{PackageRecord, Section};
use self::kept::{Kept, Shelf, Voucher};
use self::made::Made;
pub use self::reachable::Reachable;
use self::view::View;
use crate::dependency::Identity;
use crate::index::{self, Index, IndexContents, IndexEntry, IndexError, IndexFile, TextError};
use crate::package::{Defect, PackageInfo};
use crate::repository::NamePattern;
use crate::signature::Keyring;
use crate::solver::Candidate;

/// An entry can't be had, or an index has no compact form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// There are fewer entries.
    #[error("the index has {length} packages, so none at place {place}")]
    NoEntry {
        /// The place asked for, counted from 0.
        place: usize,
        /// How many there are.
        length: usize,
    },
    /// The compact form is damaged there.
    #[error("what was kept of the index is damaged at package {place}; try again")]
    Damaged {
        /// The place asked for, counted from 0.
        place: usize,
    },
    /// The text can't be understood.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It would be 4 GiB.
    #[error("the index is too large to be used: its compact form would exceed 4 GiB")]
    TooLarge,
}

/// What an index says, in its order. Entries are known by their place, counted from 0. Clones
/// share it.
#[derive(Clone)]
pub struct Catalogue {
    contents: Arc<Contents>,
}

enum Contents {
    /// Made by this run of the program.
    Made(Box<Made>),
    /// Made by an earlier one.
    Kept(Box<Kept>),
}

/// Pieces of a text that wait to be read.
const WAITING: usize = 4;

/// How much longer the text of an index is than its file, about.
const TIMES: usize = 4;

/// The most that memory is set aside for before it is known to be needed.
const FORESEEN: usize = 64 << 20;

/// Makes the compact form of the index at `path`, whose file has so many bytes: one thread inflates while
/// another reads the text.
fn make(file: &IndexFile<'_>, path: &Path, length: usize) -> Result<Made, IndexError> {
    let failed = |source| match source {
        CatalogueError::Text(source) => IndexError::Text {
            path: path.to_owned(),
            source,
        },
        source => IndexError::Catalogue {
            path: path.to_owned(),
            source,
        },
    };
    let length = length.saturating_mul(TIMES).min(FORESEEN);
    let (sender, pieces) = sync_channel(WAITING);
    let (returning, returned) = channel();
    let (contents, parsed) = thread::scope(|scope| {
        let parsing = scope.spawn(move || {
            // The one who inflates may be done.
            text::parse_pieces(length, pieces, |piece| _ = returning.send(piece))
        });
        let contents = file.contents(|piece| {
            // All pieces are taken, unless it panics, which joining tells.
            let _ = sender.send(piece);
            returned.try_recv().unwrap_or_default()
        });
        drop(sender);
        (contents, parsing.join())
    });
    let parsed = parsed.unwrap_or_else(|panic| resume_unwind(panic));
    match contents? {
        IndexContents::Index(index) => made_of_index(&index),
        IndexContents::Text { description } => match parsed {
            Ok(builder) => builder
                .finish(&description, "")
                .ok_or(CatalogueError::TooLarge),
            Err(text::Fault::NotUtf8) => return Err(file.not_utf8()),
            Err(text::Fault::Text(error)) => Err(error.into()),
        },
    }
    .map_err(failed)
}

fn made_of_text(description: &str, text: &str) -> Result<Made, CatalogueError> {
    let made = text::parse(text)?.finish(description, "");
    made.ok_or(CatalogueError::TooLarge)
}

fn made_of_index(index: &Index) -> Result<Made, CatalogueError> {
    let mut builder = Builder::new(index.entries.len() * 400);
    index.entries.iter().for_each(|entry| builder.add(entry));
    let names = index.names.as_ref().map_or("", NamePattern::as_str);
    let made = builder.finish(&index.description, names);
    made.ok_or(CatalogueError::TooLarge)
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue")
            .field("description", &self.description())
            .field("packages", &self.len())
            .finish_non_exhaustive()
    }
}

impl Catalogue {
    /// The index at `path`, which a key of `keyring` must have signed; without a keyring, whoever
    /// made it. What was made of it is kept in the store and found there the next time, by the
    /// index's bytes and the key that was found to have signed them.
    ///
    /// # Errors
    /// See [`IndexError`]. Nothing behind the signature is looked at before it was found good.
    pub fn open(
        path: &Path,
        keyring: Option<&Keyring>,
        store: Option<&Store>,
    ) -> Result<Catalogue, IndexError> {
        if let Some(store) = store
            && let Some(kept) = kept::find_trusted(store, path, keyring)?
        {
            return Ok(Catalogue::holding(Contents::Kept(Box::new(kept))));
        }
        let bytes = index::bytes_of(path)?;
        let file = IndexFile::check(path, &bytes, keyring)?;
        let shelf = store.map(|store| Shelf::new(store, path, format::sum(&bytes)));
        let key = file
            .signer
            .and_then(|name| Some((name, keyring?.get(name)?)));
        let voucher = key.map_or(Voucher::Nobody, |(name, key)| Voucher::of(name, key));
        if let Some(shelf) = &shelf
            && let Some(kept) = shelf.find(Voucher::Nobody)?
        {
            shelf.vouch(voucher)?;
            return Ok(Catalogue::holding(Contents::Kept(Box::new(kept))));
        }
        let made = make(&file, path, bytes.len())?;
        if let Some(shelf) = &shelf {
            shelf.keep(&made)?;
            shelf.vouch(voucher)?;
        }
        Ok(Catalogue::holding(Contents::Made(Box::new(made))))
    }

    /// Reads the text of an index, as [`Index::parse`] does.
    ///
    /// # Errors
    /// [`CatalogueError::Text`], or it is too large.
    pub fn parse(description: &str, text: &str) -> Result<Catalogue, CatalogueError> {
        let made = made_of_text(description, text)?;
        Ok(Catalogue::holding(Contents::Made(Box::new(made))))
    }

    /// The compact form of an index.
    ///
    /// # Errors
    /// It is too large.
    pub fn of(index: &Index) -> Result<Catalogue, CatalogueError> {
        let made = made_of_index(index)?;
        Ok(Catalogue::holding(Contents::Made(Box::new(made))))
    }

    fn holding(contents: Contents) -> Catalogue {
        Catalogue {
            contents: Arc::new(contents),
        }
    }

    fn view(&self) -> View<'_> {
        View::new(&self.contents)
    }

    /// How packages are called, if the index says so.
    pub fn names(&self) -> Option<NamePattern> {
        let text = std::str::from_utf8(self.contents.section(Section::NamePattern)).ok()?;
        let text = Some(text).filter(|text| !text.is_empty())?;
        NamePattern::of_index(text).ok()
    }

    /// The index's description.
    pub fn description(&self) -> &str {
        let bytes = self.contents.section(Section::Description);
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.view().package_count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of a package; none at a place beyond the last.
    pub fn name(&self, place: usize) -> Option<&str> {
        let view = self.view();
        let (record, _) = view.package(place)?;
        Some(view.name(record.name.get()))
    }

    /// The version of a package; none at a place beyond the last.
    pub fn version(&self, place: usize) -> Option<&str> {
        let view = self.view();
        let (record, _) = view.package(place)?;
        Some(view.text(&record.version))
    }

    /// All that the index says of a package.
    ///
    /// # Errors
    /// There is no such place, or what was kept of it is damaged.
    pub fn entry(&self, place: usize) -> Result<IndexEntry, CatalogueError> {
        let view = self.view();
        let Some((record, next)) = view.package(place) else {
            let length = self.len();
            return Err(CatalogueError::NoEntry { place, length });
        };
        let [depends, provides, install_if] = view.terms_of(record, next);
        let text = |extent| view.text(extent).to_owned();
        let mut info = PackageInfo {
            name: view.name(record.name.get()).to_owned(),
            version: text(&record.version),
            arch: text(&record.arch),
            installed_size: record.installed_size.get(),
            origin: text(&record.origin),
            depends,
            provides,
            install_if,
            provider_priority: record
                .is(PackageRecord::PRIORITY)
                .then_some(record.provider_priority.get()),
            defects: view.defects(place, record).collect(),
            ..PackageInfo::default()
        };
        let range = record.details.get() as usize..next.details.get() as usize;
        let details = self.contents.details(range);
        details
            .and_then(|details| details::read(details, &mut info))
            .ok_or(CatalogueError::Damaged { place })?;
        Ok(IndexEntry {
            identity: identity(record),
            size: record.size.get(),
            info,
        })
    }

    /// All entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = Result<IndexEntry, CatalogueError>> {
        (0..self.len()).map(|place| self.entry(place))
    }

    /// What identifies a package; none at a place beyond the last.
    pub fn identity(&self, place: usize) -> Option<Identity> {
        let (record, _) = self.view().package(place)?;
        Some(identity(record))
    }

    /// The bytes of a package's file; none at a place beyond the last.
    pub fn size(&self, place: usize) -> Option<u64> {
        let (record, _) = self.view().package(place)?;
        Some(record.size.get())
    }

    /// What the solver needs of all packages, in order.
    pub fn candidates(&self) -> Vec<Candidate> {
        let places: Vec<usize> = (0..self.len()).collect();
        Candidates::all(self.view().with_text(), &places)
    }

    /// What of the index could not be understood, in the order of its packages.
    pub fn defects(&self) -> impl Iterator<Item = Defect> {
        let view = self.view();
        view.defects.iter().map(move |record| view.defect(record))
    }

    /// The places of the packages of this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        let view = self.view();
        let id = view.find_name(name);
        self.providers(name).filter(move |place| {
            let package = view.package(*place);
            package.is_some_and(|(record, _)| Some(record.name) == id.map(U32::new))
        })
    }

    /// Whether a package has this name, or speaks of it: in what it provides, depends on (or
    /// conflicts with) or is installed for.
    pub fn mentions(&self, name: &str) -> bool {
        self.view().find_name(name).is_some()
    }

    /// The places of the packages that have this name or provide it.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = usize> {
        let view = self.view();
        let places = view
            .find_name(name)
            .map_or(&[][..], |id| view.providers(id));
        places.iter().map(|place| place.get() as usize)
    }

    /// The place of the package of this name and version: the first, if there are several.
    pub fn find(&self, name: &str, version: &str) -> Option<usize> {
        self.named(name)
            .find(|place| self.version(*place) == Some(version))
    }

    /// The place of the first package of this identity, of which the first 20 bytes count.
    pub fn find_identity(&self, identity: &Identity) -> Option<usize> {
        self.view().find_identity(identity)
    }
}

fn identity(record: &PackageRecord) -> Identity {
    if record.is(PackageRecord::SHA256) {
        return Identity::Sha256(Digest::from_bytes(record.identity));
    }
    let digest = record.identity.first_chunk().copied().unwrap_or_default();
    Identity::Sha1(Sha1::from_bytes(digest))
}

impl Contents {
    fn section(&self, section: Section) -> &[u8] {
        match self {
            Contents::Made(made) => made.section(section),
            Contents::Kept(kept) => kept.section(section),
        }
    }

    fn keys(&self) -> [u64; 2] {
        match self {
            Contents::Made(made) => made.keys,
            Contents::Kept(kept) => kept.keys(),
        }
    }

    fn details(&self, range: Range<usize>) -> Option<&[u8]> {
        match self {
            Contents::Made(made) => made.details.get(range),
            Contents::Kept(kept) => kept.details(range),
        }
    }
}

#[cfg(test)]
mod tests;
