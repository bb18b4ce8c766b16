// Looked up only, never iterated: the random order of its buckets shows nowhere.
use std::borrow::Cow;
#[allow(clippy::disallowed_types)]
use std::collections::HashMap;

use super::population::{PackageId, Population};
use crate::catalogue::CatalogueError;
use crate::dependency::{Constraint, Dependency};
use crate::index::IndexEntry;
use crate::package::TermList;
use crate::solver::bucket;

/// A name that something has, provides or speaks of: an index into the table of names.
pub(super) type NameId = u32;

/// Who answers to a name.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    pub(super) package: PackageId,
    /// The version that it provides the name as, or none; not for its own name.
    pub(super) version: Option<Box<str>>,
    /// Whether it is the package's own name.
    pub(super) own: bool,
}

/// Who provides and needs which name, in the orders that apk keeps.
#[derive(Debug)]
pub(super) struct Relations<'a> {
    names: Vec<Cow<'a, str>>,
    #[allow(clippy::disallowed_types)]
    ids: HashMap<Cow<'a, str>, NameId>,
    /// All names, as apk walks its table of them.
    order: Vec<NameId>,
    providers: Table<Provider>,
    dependents: Table<NameId>,
    conditional: Table<NameId>,
}

/// Lists by name.
#[derive(Debug)]
struct Table<T> {
    offsets: Vec<u32>,
    items: Vec<T>,
}

impl<T> Table<T> {
    /// Keeps the order of the items of each name.
    fn new(names: usize, mut rows: Vec<(NameId, T)>) -> Table<T> {
        rows.sort_by_key(|(name, _)| *name);
        let mut offsets = vec![0u32; names + 1];
        for (name, _) in &rows {
            offsets[*name as usize + 1] += 1;
        }
        for name in 0..names {
            offsets[name + 1] += offsets[name];
        }
        Table {
            offsets,
            items: rows.into_iter().map(|(_, item)| item).collect(),
        }
    }

    fn of(&self, name: NameId) -> &[T] {
        let name = name as usize;
        match (self.offsets.get(name), self.offsets.get(name + 1)) {
            (Some(start), Some(end)) => &self.items[*start as usize..*end as usize],
            _ => &[],
        }
    }
}

#[derive(Default)]
struct Builder<'a> {
    names: Vec<Cow<'a, str>>,
    #[allow(clippy::disallowed_types)]
    ids: HashMap<Cow<'a, str>, NameId>,
}

impl<'a> Builder<'a> {
    fn name(&mut self, name: Cow<'a, str>) -> NameId {
        if let Some(id) = self.ids.get(&name) {
            return *id;
        }
        let id = self.names.len() as NameId;
        self.names.push(name.clone());
        self.ids.insert(name, id);
        id
    }

    fn terms<'t>(&mut self, terms: impl IntoIterator<Item = &'t Dependency>) -> Vec<NameId> {
        terms
            .into_iter()
            .map(|term| match self.ids.get(term.name.as_str()) {
                Some(id) => *id,
                None => self.name(Cow::Owned(term.name.clone())),
            })
            .collect()
    }
}

impl<'a> Relations<'a> {
    pub(super) fn new(population: &Population<'a>) -> Result<Relations<'a>, CatalogueError> {
        let mut builder = Builder::default();
        // apk reads the world first, then the installed packages, then the indexes, and makes a
        // name where it first reads of it.
        builder.terms(population.sources().world);
        let mut providers = Vec::new();
        let mut depends = Vec::with_capacity(population.len());
        for id in population.packages() {
            let entry = population.entry(id)?;
            let info = &entry.info;
            let own = builder.name(Cow::Borrowed(population.name(id)));
            providers.push((
                own,
                Provider {
                    package: id,
                    version: None,
                    own: true,
                },
            ));
            let depended = builder.terms(info.as_written(TermList::Depends));
            let provided = builder.terms(info.as_written(TermList::Provides));
            let conditional = builder.terms(info.as_written(TermList::InstallIf));
            if population.is_installed(id) {
                builder.terms(info.as_written(TermList::Replaces));
            }
            for (name, term) in provided.iter().zip(info.as_written(TermList::Provides)) {
                let provider = Provider {
                    package: id,
                    version: version_text(term).map(Box::from),
                    own: false,
                };
                providers.push((*name, provider));
            }
            depends.push((depended, conditional));
        }
        let names = builder.names.len();
        let providers = Table::new(names, providers);
        // Of a bucket, what came last is first.
        let mut order: Vec<NameId> = (0..names as NameId).rev().collect();
        order.sort_by_cached_key(|id| bucket(&builder.names[*id as usize]));
        let (mut dependents, mut conditional) = (Reverse::new(names), Reverse::new(names));
        for name in &order {
            for provider in providers.of(*name) {
                if let Some((depended, on)) = depends.get(provider.package.0 as usize) {
                    dependents.add(*name, depended);
                    conditional.add(*name, on);
                }
            }
        }
        Ok(Relations {
            order,
            providers,
            dependents: Table::new(names, dependents.rows),
            conditional: Table::new(names, conditional.rows),
            names: builder.names,
            ids: builder.ids,
        })
    }

    /// How many names there are.
    pub(super) fn name_count(&self) -> usize {
        self.names.len()
    }

    /// All names, as apk walks its table of them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.order.iter();
        names.filter_map(|id| self.names.get(*id as usize).map(AsRef::as_ref))
    }

    /// Who answers to a name.
    pub(super) fn providers(&self, name: &str) -> &[Provider] {
        self.ids.get(name).map_or(&[], |id| self.providers.of(*id))
    }

    /// The packages that answer to names of packages that depend on a name: one may come often.
    pub(super) fn dependents(&self, name: &str) -> impl Iterator<Item = PackageId> {
        self.through(name, &self.dependents)
    }

    /// The same, for `install_if`.
    pub(super) fn conditional(&self, name: &str) -> impl Iterator<Item = PackageId> {
        self.through(name, &self.conditional)
    }

    /// The names of packages whose `install_if` speaks of a name.
    pub(super) fn conditional_names(&self, name: &str) -> impl Iterator<Item = &str> {
        let list = self
            .ids
            .get(name)
            .map_or(&[][..], |id| self.conditional.of(*id));
        list.iter()
            .filter_map(|id| self.names.get(*id as usize).map(AsRef::as_ref))
    }

    fn through<'t>(
        &'t self,
        name: &str,
        table: &'t Table<NameId>,
    ) -> impl Iterator<Item = PackageId> + use<'t, 'a> {
        let list = self.ids.get(name).map_or(&[][..], |id| table.of(*id));
        list.iter()
            .flat_map(|name| self.providers.of(*name))
            .map(|provider| provider.package)
    }
}

/// Collects who speaks of a name, each once.
struct Reverse {
    rows: Vec<(NameId, NameId)>,
    last: Vec<NameId>,
}

impl Reverse {
    fn new(names: usize) -> Reverse {
        Reverse {
            rows: Vec::new(),
            last: vec![NameId::MAX; names],
        }
    }

    /// All terms of one name must come in a row.
    fn add(&mut self, name: NameId, terms: &[NameId]) {
        for term in terms {
            if std::mem::replace(&mut self.last[*term as usize], name) != name {
                self.rows.push((*term, name));
            }
        }
    }
}

/// The text after the operator.
pub(super) fn version_text(term: &Dependency) -> Option<&str> {
    match &term.constraint {
        Some(Constraint::Version(_, version)) => Some(version.as_str()),
        Some(Constraint::NoIdentity(text)) => Some(text),
        Some(Constraint::Identity(_)) | None => None,
    }
}

/// What a package is to a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearing {
    /// It is of another name and provides others.
    None,
    /// It is what is asked for.
    Satisfies,
    /// It is of the name, but not what is asked for.
    Differs,
}

/// What the package `offered` is to a term that is no conflict.
pub(super) fn bearing(term: &Dependency, offered: &IndexEntry) -> Bearing {
    let judge = |version: Option<&str>| {
        if term.matches(version, Some(&offered.identity)) {
            Bearing::Satisfies
        } else {
            Bearing::Differs
        }
    };
    if term.name == offered.info.name {
        return judge(Some(&offered.info.version));
    }
    let mut provides = offered.info.as_written(TermList::Provides);
    match provides.find(|provided| provided.name == term.name) {
        Some(provided) => judge(version_text(provided)),
        None => Bearing::None,
    }
}
