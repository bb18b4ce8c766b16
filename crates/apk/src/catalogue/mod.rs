//! Indexes in compact form: made once from an index, then found again without reading its text.

mod build;
mod candidates;
mod details;
mod format;
mod kept;
mod made;
mod reachable;
mod term;
mod text;

use std::fmt;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use base::{Digest, Sha1};
use store::{Store, StoreError};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use self::build::{Builder, first_slot};
use self::candidates::Candidates;
use self::format::{DefectRecord, Extent, NameRecord, PackageRecord, Section, Sum, TermRecord};
use self::kept::Kept;
use self::made::Made;
pub use self::reachable::Reachable;
use crate::dependency::{Dependency, Identity};
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

fn make(contents: IndexContents) -> Result<Made, CatalogueError> {
    match contents {
        IndexContents::Text { description, text } => made_of_text(&description, &text),
        IndexContents::Index(index) => made_of_index(&index),
    }
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
    /// made it. What was made of it is kept in the store and found there the next time; the
    /// signature is checked every time.
    ///
    /// # Errors
    /// See [`IndexError`]. Nothing behind the signature is looked at before it was found good.
    pub fn open(
        path: &Path,
        keyring: Option<&Keyring>,
        store: Option<&Store>,
    ) -> Result<Catalogue, IndexError> {
        let bytes = index::bytes_of(path)?;
        let look_up = |store| -> Result<(Sum, Option<Kept>), StoreError> {
            let sum = format::sum(&bytes);
            Ok((sum, Kept::find(store, path, sum)?))
        };
        let (file, found) = thread::scope(|scope| {
            let found = store.map(|store| scope.spawn(move || look_up(store)));
            let file = IndexFile::check(path, &bytes, keyring);
            (file, found.map(thread::ScopedJoinHandle::join))
        });
        let file = file?;
        let found = found.map(|found| found.unwrap_or_else(|panic| resume_unwind(panic)));
        let sum = match found.transpose()? {
            Some((_, Some(kept))) => return Ok(Catalogue::holding(Contents::Kept(Box::new(kept)))),
            Some((sum, None)) => Some(sum),
            None => None,
        };
        let made = make(file.contents()?).map_err(|source| match source {
            CatalogueError::Text(source) => IndexError::Text {
                path: path.to_owned(),
                source,
            },
            source => IndexError::Catalogue {
                path: path.to_owned(),
                source,
            },
        })?;
        if let (Some(store), Some(sum)) = (store, sum) {
            kept::keep(store, &sum, &made)?;
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

    /// How packages are called, if the index says so.
    pub fn names(&self) -> Option<NamePattern> {
        let text = std::str::from_utf8(self.contents.section(Section::NamePattern)).ok()?;
        let text = Some(text).filter(|text| !text.is_empty())?;
        NamePattern::of_index(text).ok()
    }

    /// The index's description.
    pub fn description(&self) -> &str {
        let bytes = self.contents.records(Section::Description);
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.contents.packages().len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of a package; none at a place beyond the last.
    pub fn name(&self, place: usize) -> Option<&str> {
        let (record, _) = self.contents.package(place)?;
        Some(self.contents.name(record.name))
    }

    /// The version of a package; none at a place beyond the last.
    pub fn version(&self, place: usize) -> Option<&str> {
        let (record, _) = self.contents.package(place)?;
        Some(self.contents.text(&record.version))
    }

    /// All that the index says of a package.
    ///
    /// # Errors
    /// There is no such place, or what was kept of it is damaged.
    pub fn entry(&self, place: usize) -> Result<IndexEntry, CatalogueError> {
        let contents = &self.contents;
        let Some((record, next)) = contents.package(place) else {
            let length = self.len();
            return Err(CatalogueError::NoEntry { place, length });
        };
        let [depends, provides, install_if] = contents.terms(record, next);
        let text = |extent| contents.text(extent).to_owned();
        let mut info = PackageInfo {
            name: contents.name(record.name).to_owned(),
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
            defects: contents.defects(place, record).collect(),
            ..PackageInfo::default()
        };
        let range = record.details.get() as usize..next.details.get() as usize;
        let details = contents.details(range);
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
        let (record, _) = self.contents.package(place)?;
        Some(identity(record))
    }

    /// The bytes of a package's file; none at a place beyond the last.
    pub fn size(&self, place: usize) -> Option<u64> {
        let (record, _) = self.contents.package(place)?;
        Some(record.size.get())
    }

    /// What the solver needs of all packages, in order.
    pub fn candidates(&self) -> Vec<Candidate> {
        let places: Vec<usize> = (0..self.len()).collect();
        let candidates = Candidates::all(&self.contents, &places).into_iter();
        candidates.map(|(_, candidate)| candidate).collect()
    }

    /// What of the index could not be understood, in the order of its packages.
    pub fn defects(&self) -> impl Iterator<Item = Defect> {
        let records: &[DefectRecord] = self.contents.records(Section::Defects);
        records.iter().map(|record| self.contents.defect(record))
    }

    /// The places of the packages of this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        let id = self.contents.find_name(name);
        self.providers(name).filter(move |place| {
            let package = self.contents.package(*place);
            package.is_some_and(|(record, _)| Some(record.name) == id.map(U32::new))
        })
    }

    /// The places of the packages that have this name or provide it.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = usize> {
        let id = self.contents.find_name(name);
        let places = id.map_or(&[][..], |id| self.contents.providers(id));
        places.iter().map(|place| place.get() as usize)
    }

    /// The place of the package of this name and version: the first, if there are several.
    pub fn find(&self, name: &str, version: &str) -> Option<usize> {
        self.named(name)
            .find(|place| self.version(*place) == Some(version))
    }

    /// The place of the first package of this identity, of which the first 20 bytes count.
    pub fn find_identity(&self, identity: &Identity) -> Option<usize> {
        self.contents.find_identity(identity)
    }
}

fn identity(record: &PackageRecord) -> Identity {
    if record.is(PackageRecord::SHA256) {
        return Identity::Sha256(Digest::from_bytes(record.identity));
    }
    let digest = record.identity.first_chunk().copied().unwrap_or_default();
    Identity::Sha1(Sha1::from_bytes(digest))
}

/// What a section consists of.
trait Record: FromBytes + Immutable + KnownLayout + Unaligned {}

impl<T: FromBytes + Immutable + KnownLayout + Unaligned> Record for T {}

impl Contents {
    fn section(&self, section: Section) -> &[u8] {
        match self {
            Contents::Made(made) => made.section(section),
            Contents::Kept(kept) => kept.section(section),
        }
    }

    /// The records of a section; none if they don't fit.
    fn records<T: Record>(&self, section: Section) -> &[T] {
        let records = <[T]>::ref_from_bytes(self.section(section));
        records.unwrap_or_default()
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

    /// One more than there are.
    fn packages(&self) -> &[PackageRecord] {
        self.records(Section::Packages)
    }

    /// A package's record, and the next, which says where its lists end.
    fn package(&self, place: usize) -> Option<(&PackageRecord, &PackageRecord)> {
        match self.packages().get(place..place.checked_add(2)?)? {
            [record, next] => Some((record, next)),
            _ => None,
        }
    }

    fn name_count(&self) -> usize {
        let names: &[NameRecord] = self.records(Section::Names);
        names.len().saturating_sub(1)
    }

    fn text(&self, extent: &Extent) -> &str {
        let bytes: &[u8] = self.records(Section::Strings);
        let bytes = bytes.get(extent.range()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    fn name(&self, name: U32) -> &str {
        let names: &[NameRecord] = self.records(Section::Names);
        let record = names.get(name.get() as usize);
        record.map_or("", |record| self.text(&record.text))
    }

    /// What a package depends on, provides, and is installed for.
    fn terms(&self, record: &PackageRecord, next: &PackageRecord) -> [Vec<Dependency>; 3] {
        let lists: &[U32] = self.records(Section::Lists);
        let terms: &[TermRecord] = self.records(Section::Terms);
        let bounds = [
            record.depends,
            record.provides,
            record.install_if,
            next.depends,
        ];
        let [a, b, c, d] = bounds.map(|bound| bound.get() as usize);
        [a..b, b..c, c..d].map(|range: Range<usize>| {
            let list = lists.get(range).unwrap_or_default().iter();
            let terms = list.filter_map(|place| terms.get(place.get() as usize));
            terms.map(|term| self.term(term)).collect()
        })
    }

    fn term(&self, record: &TermRecord) -> Dependency {
        let end = u32::try_from(record.text.range().end).unwrap_or(u32::MAX);
        let version = Extent {
            start: record.version,
            length: U32::new(end.saturating_sub(record.version.get())),
        };
        let tag = (record.tag.length.get() > 0).then(|| self.text(&record.tag).to_owned());
        Dependency {
            name: self.name(record.name).to_owned(),
            tag,
            constraint: term::constraint(record.constraint, self.text(&version)),
            conflict: record.is(TermRecord::CONFLICT),
        }
    }

    fn defects(&self, place: usize, record: &PackageRecord) -> impl Iterator<Item = Defect> {
        let mut defects: &[DefectRecord] = &[];
        if record.is(PackageRecord::DEFECTS) {
            let all: &[DefectRecord] = self.records(Section::Defects);
            let first = all.partition_point(|defect| (defect.package.get() as usize) < place);
            defects = all.get(first..).unwrap_or_default();
        }
        let own = defects
            .iter()
            .take_while(move |defect| defect.package.get() as usize == place);
        own.map(|defect| self.defect(defect))
    }

    fn defect(&self, defect: &DefectRecord) -> Defect {
        Defect {
            field: self.text(&defect.field).to_owned(),
            reason: self.text(&defect.reason).to_owned(),
            fatal: defect.fatal != 0,
        }
    }

    /// The place in a hash table of what `is` accepts, of those that `key` leads to.
    fn look_up(&self, table: Section, key: &[u8], is: impl Fn(u32) -> bool) -> Option<u32> {
        let slots: &[U32] = self.records(table);
        if !slots.len().is_power_of_two() {
            return None;
        }
        let first = first_slot(self.keys(), key, slots.len());
        let (before, after) = slots.split_at_checked(first)?;
        let places = after.iter().chain(before).map(|slot| slot.get());
        places
            .map_while(|place| place.checked_sub(1))
            .find(|place| is(*place))
    }

    fn find_name(&self, name: &str) -> Option<u32> {
        let names: &[NameRecord] = self.records(Section::Names);
        let strings: &[u8] = self.records(Section::Strings);
        self.look_up(Section::NameSlots, name.as_bytes(), |place| {
            let record = names.get(place as usize);
            let text = record.and_then(|record| strings.get(record.text.range()));
            text == Some(name.as_bytes())
        })
    }

    fn find_identity(&self, identity: &Identity) -> Option<usize> {
        let short = match identity.shortened() {
            Identity::Sha1(digest) => *digest.as_bytes(),
            Identity::Sha256(_) => return None,
        };
        let packages = self.packages();
        let place = self.look_up(Section::IdentitySlots, &short, |place| {
            let record = packages.get(place as usize);
            record.is_some_and(|record| record.short_identity() == short)
        });
        place.map(|place| place as usize)
    }

    /// Who has or provides a name.
    fn providers(&self, name: u32) -> &[U32] {
        self.list(Section::Providers, name, |record| record.providers)
    }

    /// Whose `install_if` speaks of a name.
    fn conditional(&self, name: u32) -> &[U32] {
        self.list(Section::Conditional, name, |record| record.conditional)
    }

    fn list(&self, section: Section, name: u32, start: impl Fn(&NameRecord) -> U32) -> &[U32] {
        let names: &[NameRecord] = self.records(Section::Names);
        let name = name as usize;
        let (Some(record), Some(next)) = (names.get(name), names.get(name.saturating_add(1)))
        else {
            return &[];
        };
        let range = start(record).get() as usize..start(next).get() as usize;
        self.records(section).get(range).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
