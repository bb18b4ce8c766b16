//! What of some indexes a request can lead to.

use zerocopy::little_endian::U32;

use super::candidates::Candidates;
use super::format::{PackageRecord, Section, TermRecord};
use super::{Catalogue, Contents};
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

    /// The packages of all indexes.
    pub fn candidates_mut(&mut self) -> impl Iterator<Item = &mut Candidate> {
        let shelves = self.shelves.iter_mut();
        shelves.flat_map(|shelf| &mut shelf.candidates)
    }

    /// The places of those packages in their index.
    pub fn places(&self, index: usize) -> &[usize] {
        self.shelves.get(index).map_or(&[], |shelf| &shelf.places)
    }
}

/// The index does not speak of the name.
const NOWHERE: u32 = u32::MAX;

struct Search<'c> {
    indexes: Vec<View<'c>>,
    /// For each name found, its place in each index.
    names: Vec<Vec<u32>>,
    /// How many of the names were followed.
    followed: usize,
}

/// An index, and what was found of it.
struct View<'c> {
    contents: &'c Contents,
    packages: &'c [PackageRecord],
    lists: &'c [U32],
    terms: &'c [TermRecord],
    named: Vec<bool>,
    found: Vec<bool>,
}

impl<'c> View<'c> {
    fn new(catalogue: &'c Catalogue) -> View<'c> {
        let contents = &*catalogue.contents;
        View {
            contents,
            packages: contents.packages(),
            lists: contents.records(Section::Lists),
            terms: contents.records(Section::Terms),
            named: vec![false; contents.name_count()],
            found: vec![false; contents.packages().len()],
        }
    }

    /// The names that a package speaks of, its own first. Some come several times.
    fn names_of(&self, place: usize) -> impl Iterator<Item = u32> + use<'c> {
        let (lists, terms) = (self.lists, self.terms);
        let pair = self.contents.package(place);
        let own = pair.map(|(record, _)| record.name.get());
        let range = pair.map_or(0..0, |(record, next)| {
            record.depends.get() as usize..next.depends.get() as usize
        });
        let list = lists.get(range).unwrap_or_default().iter();
        let terms = list.filter_map(move |place| terms.get(place.get() as usize));
        own.into_iter().chain(terms.map(|term| term.name.get()))
    }
}

impl<'c> Search<'c> {
    fn new(catalogues: &[&'c Catalogue]) -> Search<'c> {
        Search {
            indexes: catalogues.iter().map(|of| View::new(of)).collect(),
            names: Vec::new(),
            followed: 0,
        }
    }

    fn name(&mut self, name: &str) {
        let mut indexes = self.indexes.iter().enumerate();
        let found = indexes.find_map(|(index, view)| Some((index, view.contents.find_name(name)?)));
        if let Some((index, id)) = found {
            self.name_in(index, id);
        }
    }

    /// Takes in a name of an index, and with it the same name of the others.
    fn name_in(&mut self, index: usize, id: u32) {
        let Some(view) = self.indexes.get(index) else {
            return;
        };
        if view.named.get(id as usize).is_none_or(|named| *named) {
            return;
        }
        let text = view.contents.name(U32::new(id));
        let ids = self.indexes.iter_mut().enumerate().map(|(other, view)| {
            let id = match other == index {
                true => Some(id),
                false => view.contents.find_name(text),
            };
            match id.and_then(|id| Some((id, view.named.get_mut(id as usize)?))) {
                Some((id, named)) => {
                    *named = true;
                    id
                }
                None => NOWHERE,
            }
        });
        let ids = ids.collect();
        self.names.push(ids);
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
                let contents = self.indexes[index].contents;
                if let Some(place) = contents.find_identity(&identity) {
                    self.package(index, place);
                }
            }
        }
    }

    /// Takes in a package and all names it speaks of.
    fn package(&mut self, index: usize, place: usize) {
        let view = &mut self.indexes[index];
        match view.found.get_mut(place) {
            Some(found @ false) => *found = true,
            _ => return,
        }
        for id in view.names_of(place) {
            self.name_in(index, id);
        }
    }

    /// Takes in a package wherever it is: of several with its identity, the first is the one.
    fn package_everywhere(&mut self, index: usize, place: usize) {
        let view = &self.indexes[index];
        let Some(record) = view.packages.get(place) else {
            return;
        };
        if view.found.get(place) == Some(&true) || record.is(PackageRecord::REPEATED) {
            return;
        }
        self.package(index, place);
        let identity = super::identity(record);
        for other in 0..self.indexes.len() {
            let contents = self.indexes[other].contents;
            if other != index
                && let Some(place) = contents.find_identity(&identity)
            {
                self.package(other, place);
            }
        }
    }

    fn follow(&mut self) {
        while let Some(ids) = self.names.get(self.followed) {
            self.followed += 1;
            for (index, id) in ids.clone().into_iter().enumerate() {
                let contents = self.indexes[index].contents;
                let lists = [contents.providers(id), contents.conditional(id)];
                for place in lists.into_iter().flatten() {
                    self.package_everywhere(index, place.get() as usize);
                }
            }
        }
    }

    fn finish(mut self) -> Reachable<'c> {
        self.follow();
        // A name is first mentioned in the first index that has it, and there in its turn.
        let mut order: Vec<(usize, u32)> = self
            .names
            .iter()
            .filter_map(|ids| {
                let mut ids = ids.iter().enumerate();
                let (index, id) = ids.find(|(_, id)| **id != NOWHERE)?;
                Some((index, *id))
            })
            .collect();
        order.sort_unstable();
        let names = order.into_iter().map(|(index, id)| {
            let contents = self.indexes[index].contents;
            contents.name(U32::new(id))
        });
        let names = names.collect();
        let shelves = self.indexes.iter().map(|view| {
            let found = view.found.iter().enumerate();
            let found = found.filter_map(|(place, found)| found.then_some(place));
            let found: Vec<usize> = found.collect();
            let (places, candidates) = Candidates::all(view.contents, &found).into_iter().unzip();
            Shelf { places, candidates }
        });
        Reachable {
            names,
            shelves: shelves.collect(),
        }
    }
}
