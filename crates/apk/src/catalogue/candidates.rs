//! What the solver needs of packages. Many of them speak of the same terms, which they share.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use zerocopy::little_endian::U32;

use super::format::{Extent, Section, TermRecord};
use super::{Contents, identity};
use crate::dependency::Dependency;
use crate::package::Defect;
use crate::solver::Candidate;

/// Packages whose candidates are made in some milliseconds.
const WORTH_A_THREAD: usize = 2000;

pub(super) struct Candidates<'c> {
    contents: &'c Contents,
    lists: &'c [U32],
    terms: &'c [TermRecord],
    /// Terms that were needed already, by their place.
    shared: Vec<Option<Arc<Dependency>>>,
}

impl<'c> Candidates<'c> {
    fn new(contents: &'c Contents) -> Candidates<'c> {
        let terms: &[TermRecord] = contents.records(Section::Terms);
        Candidates {
            contents,
            lists: contents.records(Section::Lists),
            terms,
            shared: vec![None; terms.len()],
        }
    }

    /// Those at `places`, with their places, on two threads if it is worth their while.
    pub(super) fn all(contents: &Contents, places: &[usize]) -> Vec<(usize, Candidate)> {
        let some = |places: &[usize]| -> Vec<(usize, Candidate)> {
            let mut candidates = Candidates::new(contents);
            let places = places.iter();
            places
                .filter_map(|place| Some((*place, candidates.get(*place)?)))
                .collect()
        };
        if places.len() < WORTH_A_THREAD {
            return some(places);
        }
        let (first, second) = places.split_at(places.len() / 2);
        thread::scope(|scope| {
            let second = scope.spawn(|| some(second));
            let mut all = some(first);
            all.extend(second.join().unwrap_or_else(|panic| resume_unwind(panic)));
            all
        })
    }

    /// None at a place beyond the last.
    fn get(&mut self, place: usize) -> Option<Candidate> {
        let (record, next) = self.contents.package(place)?;
        let defects = self.contents.defects(place, record);
        let fatal = defects.filter(|defect| defect.fatal);
        Some(Candidate {
            name: self.contents.name(record.name).to_owned(),
            version: self.text(&record.version),
            arch: self.text(&record.arch),
            origin: self.text(&record.origin),
            identity: Some(identity(record)),
            depends: self.list(record.depends, record.provides),
            provides: self.list(record.provides, record.install_if),
            install_if: self.list(record.install_if, next.depends),
            provider_priority: record.provider_priority.get(),
            size: record.size.get(),
            installed_size: record.installed_size.get(),
            cached: false,
            defects: fatal
                .map(|Defect { field, reason, .. }| format!("{field}: {reason}"))
                .collect(),
        })
    }

    fn text(&self, extent: &Extent) -> String {
        self.contents.text(extent).to_owned()
    }

    fn list(&mut self, start: U32, end: U32) -> Vec<Arc<Dependency>> {
        let range = start.get() as usize..end.get() as usize;
        let places = self.lists.get(range).unwrap_or_default().iter();
        places
            .filter_map(|place| self.term(place.get() as usize))
            .collect()
    }

    fn term(&mut self, place: usize) -> Option<Arc<Dependency>> {
        let (record, shared) = (self.terms.get(place)?, self.shared.get_mut(place)?);
        let term = shared.get_or_insert_with(|| Arc::new(self.contents.term(record)));
        Some(Arc::clone(term))
    }
}
