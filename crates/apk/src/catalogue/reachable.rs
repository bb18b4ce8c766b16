//! What of some indexes a request can lead to.

use super::Catalogue;
use super::candidates::Candidates;
use super::format::PackageRecord;
use super::view::View;
use crate::solver::Candidate;

/// The packages of some indexes that can be reached from some names: those that have or provide
/// them, what these depend on, provide and conflict with, what is installed because of them, and
/// so on. The solver looks at no others, so that its answer is the same as over all.
#[derive(Debug)]
pub struct Reachable<'c> {
    names: Vec<&'c str>,
    shelves: Vec<Shelf>,
}

/// The reachable packages of one index.
#[derive(Debug)]
struct Shelf {
    places: Vec<usize>,
    candidates: Vec<Candidate>,
    mentioned: Vec<u32>,
}

impl<'c> Reachable<'c> {
    /// What can be reached in `catalogues`, which are in the order of the repositories, from
    /// `names` and all that `known` packages (those installed, say) speak of.
    pub fn find<'n>(
        catalogues: &[&'c Catalogue],
        known: impl IntoIterator<Item = &'n Candidate>,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Reachable<'c> {
        let mut search = Search::new(catalogues);
        for name in names {
            search.name(name);
        }
        for candidate in known {
            search.known(candidate);
        }
        search.finish()
    }

    /// All names that the packages speak of, in the order in which the indexes mention them.
    pub fn names(&self) -> &[&'c str] {
        &self.names
    }

    /// The packages of an index, in its order.
    pub fn candidates(&self, index: usize) -> &[Candidate] {
        self.shelves
            .get(index)
            .map_or(&[], |shelf| &shelf.candidates)
    }

    /// The same, to be changed.
    pub fn candidates_mut(&mut self, index: usize) -> &mut [Candidate] {
        self.shelves
            .get_mut(index)
            .map_or(&mut [], |shelf| &mut shelf.candidates)
    }

    /// The names that those packages speak of, as places among [`Reachable::names`], package by
    /// package: its own, then those of its `depends`, `provides` and `install_if`.
    pub(crate) fn mentioned(&self, index: usize) -> &[u32] {
        self.shelves
            .get(index)
            .map_or(&[], |shelf| &shelf.mentioned)
    }

    /// The places of those packages in their index.
    pub fn places(&self, index: usize) -> &[usize] {
        self.shelves.get(index).map_or(&[], |shelf| &shelf.places)
    }
}

/// The index does not speak of the name.
const NOWHERE: u32 = u32::MAX;

struct Search<'c> {
    indexes: Vec<Region<'c>>,
    /// For each name found, its place in each index, one after the other.
    names: Vec<u32>,
    /// How many of those places were followed.
    followed: usize,
}

/// An index, and what was found of it.
struct Region<'c> {
    view: View<'c>,
    named: Vec<bool>,
    found: Vec<bool>,
}

impl<'c> Region<'c> {
    fn new(catalogue: &'c Catalogue) -> Region<'c> {
        let view = catalogue.view().with_text();
        Region {
            view,
            named: vec![false; view.name_count()],
            found: vec![false; view.package_count()],
        }
    }

    /// The names that a package speaks of, its own first. Some come several times.
    fn names_of(&self, place: usize) -> impl Iterator<Item = u32> + use<'c> {
        let view = self.view;
        let package = view.package(place);
        let own = package.map(|(record, _)| record.name.get());
        let list = package.map_or(&[][..], |(record, next)| {
            view.list(record.depends, next.depends)
        });
        let terms = list.iter();
        let terms = terms.filter_map(move |place| view.terms.get(place.get() as usize));
        own.into_iter().chain(terms.map(|term| term.name.get()))
    }
}

impl<'c> Search<'c> {
    fn new(catalogues: &[&'c Catalogue]) -> Search<'c> {
        Search {
            indexes: catalogues.iter().map(|of| Region::new(of)).collect(),
            names: Vec::new(),
            followed: 0,
        }
    }

    fn name(&mut self, name: &str) {
        let mut indexes = self.indexes.iter().enumerate();
        let found = indexes.find_map(|(index, of)| Some((index, of.view.find_name(name)?)));
        if let Some((index, id)) = found {
            self.name_in(index, id);
        }
    }

    /// Takes in a name of an index, and with it the same name of the others.
    fn name_in(&mut self, index: usize, id: u32) {
        let Some(region) = self.indexes.get(index) else {
            return;
        };
        if region.named.get(id as usize).is_none_or(|named| *named) {
            return;
        }
        let text = region.view.name(id);
        for (other, region) in self.indexes.iter_mut().enumerate() {
            let id = match other == index {
                true => Some(id),
                false => region.view.find_name(text),
            };
            let place = match id.and_then(|id| Some((id, region.named.get_mut(id as usize)?))) {
                Some((id, named)) => {
                    *named = true;
                    id
                }
                None => NOWHERE,
            };
            self.names.push(place);
        }
    }

    fn known(&mut self, candidate: &Candidate) {
        let terms = [
            &candidate.depends,
            &candidate.provides,
            &candidate.install_if,
        ];
        self.name(&candidate.name);
        for term in terms.into_iter().flatten() {
            self.name(&term.name);
        }
        if let Some(identity) = candidate.identity {
            for index in 0..self.indexes.len() {
                let view = self.indexes[index].view;
                if let Some(place) = view.find_identity(&identity) {
                    self.package(index, place);
                }
            }
        }
    }

    /// Takes in a package and all names it speaks of.
    fn package(&mut self, index: usize, place: usize) {
        let region = &mut self.indexes[index];
        match region.found.get_mut(place) {
            Some(found @ false) => *found = true,
            _ => return,
        }
        for id in region.names_of(place) {
            self.name_in(index, id);
        }
    }

    /// Takes in a package wherever it is: of several with its identity, the first is the one.
    fn package_everywhere(&mut self, index: usize, place: usize) {
        let region = &self.indexes[index];
        let Some((record, _)) = region.view.package(place) else {
            return;
        };
        if region.found.get(place) == Some(&true) || record.is(PackageRecord::REPEATED) {
            return;
        }
        self.package(index, place);
        let identity = super::identity(record);
        for other in 0..self.indexes.len() {
            let view = self.indexes[other].view;
            if other != index
                && let Some(place) = view.find_identity(&identity)
            {
                self.package(other, place);
            }
        }
    }

    /// For each name of an index that was found, its place among all that were found.
    fn among_names(&self, index: usize, order: &[(usize, u32)], names: &[&str]) -> Vec<u32> {
        let region = &self.indexes[index];
        let mut among = vec![0; region.named.len()];
        for ((place, (first, id)), name) in (0..).zip(order).zip(names) {
            let id = match *first == index {
                true => Some(*id),
                // In this index it has another place.
                false => region.view.find_name(name),
            };
            if let Some(slot) = id.and_then(|id| among.get_mut(id as usize)) {
                *slot = place;
            }
        }
        among
    }

    fn follow(&mut self) {
        while let Some(id) = self.names.get(self.followed).copied() {
            let index = self.followed % self.indexes.len();
            self.followed += 1;
            let view = self.indexes[index].view;
            let lists = [view.providers(id), view.conditional(id)];
            for place in lists.into_iter().flatten() {
                self.package_everywhere(index, place.get() as usize);
            }
        }
    }

    fn finish(mut self) -> Reachable<'c> {
        self.follow();
        // A name is first mentioned in the first index that has it, and there in its turn.
        let names = self.names.chunks_exact(self.indexes.len().max(1));
        let mut order: Vec<(usize, u32)> = names
            .filter_map(|ids| {
                let mut ids = ids.iter().enumerate();
                let (index, id) = ids.find(|(_, id)| **id != NOWHERE)?;
                Some((index, *id))
            })
            .collect();
        order.sort_unstable();
        let names: Vec<&str> = order
            .iter()
            .map(|(index, id)| self.indexes[*index].view.name(*id))
            .collect();
        let shelves = self.indexes.iter().enumerate().map(|(index, region)| {
            let found = region.found.iter().enumerate();
            let found = found.filter_map(|(place, found)| found.then_some(place));
            let places: Vec<usize> = found.collect();
            let candidates = Candidates::all(region.view, &places);
            let among = self.among_names(index, &order, &names);
            let ids = places.iter().flat_map(|place| region.names_of(*place));
            let mentioned = ids.map(|id| among.get(id as usize).copied().unwrap_or_default());
            Shelf {
                mentioned: mentioned.collect(),
                places,
                candidates,
            }
        });
        let shelves = shelves.collect();
        Reachable { names, shelves }
    }
}
