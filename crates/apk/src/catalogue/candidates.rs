//! What the solver needs of packages. Many of them speak of the same terms, which they share.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use zerocopy::little_endian::U32;

use super::format::Extent;
use super::identity;
use super::view::View;
use crate::dependency::Dependency;
use crate::package::Defect;
use crate::solver::Candidate;

/// Packages whose candidates are made in some milliseconds.
const WORTH_A_THREAD: usize = 2000;

pub(super) struct Candidates<'c> {
    view: View<'c>,
    /// Terms that were needed already.
    shared: Vec<Arc<Dependency>>,
    /// By its place, one more than a term's place among those; 0 if it was not needed yet.
    known: Vec<u32>,
}

impl<'c> Candidates<'c> {
    fn new(view: View<'c>) -> Candidates<'c> {
        Candidates {
            view,
            shared: Vec::new(),
            known: vec![0; view.terms.len()],
        }
    }

    /// Those at `places`, which are there, on two threads if it is worth their while.
    pub(super) fn all(view: View<'_>, places: &[usize]) -> Vec<Candidate> {
        let some = |places: &[usize], capacity| -> Vec<Candidate> {
            let mut candidates = Candidates::new(view);
            let mut all = Vec::with_capacity(capacity);
            all.extend(places.iter().filter_map(|place| candidates.get(*place)));
            all
        };
        if places.len() < WORTH_A_THREAD {
            return some(places, places.len());
        }
        let (first, second) = places.split_at(places.len() / 2);
        thread::scope(|scope| {
            let second = scope.spawn(|| some(second, second.len()));
            let mut all = some(first, places.len());
            all.append(&mut second.join().unwrap_or_else(|panic| resume_unwind(panic)));
            all
        })
    }

    /// None at a place beyond the last.
    fn get(&mut self, place: usize) -> Option<Candidate> {
        let (record, next) = self.view.package(place)?;
        let defects = self.view.defects(place, record);
        let fatal = defects.filter(|defect| defect.fatal);
        Some(Candidate {
            name: self.view.name(record.name.get()).to_owned(),
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
        self.view.text(extent).to_owned()
    }

    fn list(&mut self, from: U32, to: U32) -> Vec<Arc<Dependency>> {
        let places = self.view.list(from, to).iter();
        places
            .filter_map(|place| self.term(place.get() as usize))
            .collect()
    }

    fn term(&mut self, place: usize) -> Option<Arc<Dependency>> {
        let (record, known) = (self.view.terms.get(place)?, self.known.get_mut(place)?);
        if *known == 0 {
            self.shared.push(Arc::new(self.view.term(record)));
            *known = u32::try_from(self.shared.len()).ok()?;
        }
        self.shared.get(*known as usize - 1).map(Arc::clone)
    }
}
