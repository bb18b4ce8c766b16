//! Indexes in compact form: made once from an index, then found again without reading its text.

use crate::dependency::Identity;
use crate::index::{Index, IndexEntry};
use crate::solver::Candidate;

/// An entry can't be had.
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
}

/// What an index says, in its order. Entries are known by their place, counted from 0.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    index: Index,
}

impl Catalogue {
    /// The index's description.
    pub fn description(&self) -> &str {
        &self.index.description
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.index.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.entries.is_empty()
    }

    /// The name of a package; none at a place beyond the last.
    pub fn name(&self, place: usize) -> Option<&str> {
        self.index
            .entries
            .get(place)
            .map(|entry| entry.info.name.as_str())
    }

    /// The version of a package; none at a place beyond the last.
    pub fn version(&self, place: usize) -> Option<&str> {
        self.index
            .entries
            .get(place)
            .map(|entry| entry.info.version.as_str())
    }

    /// All that the index says of a package.
    ///
    /// # Errors
    /// There is no such place.
    pub fn entry(&self, place: usize) -> Result<IndexEntry, CatalogueError> {
        let entry = self.index.entries.get(place).cloned();
        entry.ok_or(CatalogueError::NoEntry {
            place,
            length: self.len(),
        })
    }

    /// All entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = Result<IndexEntry, CatalogueError>> {
        (0..self.len()).map(|place| self.entry(place))
    }

    /// What the solver needs of a package; none at a place beyond the last.
    pub fn candidate(&self, place: usize) -> Option<Candidate> {
        self.index.entries.get(place).map(IndexEntry::candidate)
    }

    /// The places of the packages of this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(move |place| self.name(*place) == Some(name))
    }

    /// The places of the packages that have this name or provide it.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = usize> {
        let entries = self.index.entries.iter().enumerate();
        entries.filter_map(move |(place, entry)| {
            let mut provides = entry.info.provides.iter();
            let provides = provides.any(|provided| provided.name == name);
            (provides || entry.info.name == name).then_some(place)
        })
    }

    /// The place of the package of this name and version: the first, if there are several.
    pub fn find(&self, name: &str, version: &str) -> Option<usize> {
        self.named(name)
            .find(|place| self.version(*place) == Some(version))
    }

    /// The place of the first package of this identity.
    pub fn find_identity(&self, identity: &Identity) -> Option<usize> {
        let mut entries = self.index.entries.iter();
        entries.position(|entry| entry.identity == *identity)
    }
}

impl From<Index> for Catalogue {
    fn from(index: Index) -> Catalogue {
        Catalogue { index }
    }
}
