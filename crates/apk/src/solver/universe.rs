// Looked up only, never iterated: the random order of its buckets shows nowhere.
#[allow(clippy::disallowed_types)]
use std::collections::HashMap;
use std::ops::Range;

use super::bucket::bucket;
use super::order::{Orders, Spoken};
use super::request::{Candidate, Repository, Request, Selected, Solution, Sources, UnindexedKind};
use super::state::Banned;
use super::unsolvable::Unsolvable;
use crate::catalogue::Reachable;
use crate::dependency::{Dependency, Identity};

/// A name that something has, provides or asks for: an index into the tables.
pub(super) type NameId = u32;
/// A package: an index into the tables.
pub(super) type PackageId = u32;

/// The tag of repositories that have none, as a bit.
pub(super) const UNTAGGED: u64 = 1;

/// Who answers to a name, and as which version of it: none if provided without.
#[derive(Clone, Copy)]
pub(super) struct Provider<'a> {
    pub(super) package: PackageId,
    pub(super) version: Option<&'a str>,
}

/// A dependency whose name has been looked up.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    pub(super) name: NameId,
    pub(super) dependency: &'a Dependency,
}

pub(super) struct Package<'a> {
    pub(super) candidate: &'a Candidate,
    pub(super) name: NameId,
    depends: Range<u32>,
    provides: Range<u32>,
    install_if: Range<u32>,
    /// The index of the first repository that has it, counted from 1; 0 if none has.
    pub(super) rank: u32,
    /// The first repository that it can be fetched from, or else the first that has it.
    pub(super) place: Option<(usize, usize)>,
    /// The tags of the repositories that have it, and the one it was installed with, as bits.
    pub(super) tags: u64,
    /// The same, without the one it was installed with.
    pub(super) repository_tags: u64,
    /// A repository that has it can be reached.
    pub(super) reachable: bool,
    pub(super) unindexed: Option<UnindexedKind>,
    pub(super) installed: bool,
    /// The tag it was installed with, as a bit.
    pub(super) installed_tag: u64,
    pub(super) uninstallable: bool,
    /// It provides a name without a version.
    pub(super) provides_unversioned: bool,
}

impl Package<'_> {
    pub(super) fn is_file(&self) -> bool {
        self.unindexed == Some(UnindexedKind::File)
    }

    pub(super) fn is_cached(&self) -> bool {
        self.candidate.cached || self.unindexed == Some(UnindexedKind::Virtual)
    }
}

/// Lists by name, in one piece of memory.
struct Table<T> {
    offsets: Vec<u32>,
    items: Vec<T>,
}

impl<T: Copy> Table<T> {
    /// Keeps the order of the items of each name.
    fn new(names: usize, rows: &[(NameId, T)]) -> Table<T> {
        let mut offsets = vec![0u32; names + 1];
        for (name, _) in rows {
            offsets[*name as usize + 1] += 1;
        }
        for name in 0..names {
            offsets[name + 1] += offsets[name];
        }
        let mut next = offsets.clone();
        let mut order = vec![0u32; rows.len()];
        for (row, (name, _)) in rows.iter().enumerate() {
            let slot = &mut next[*name as usize];
            order[*slot as usize] = row as u32;
            *slot += 1;
        }
        Table {
            offsets,
            items: order.iter().map(|row| rows[*row as usize].1).collect(),
        }
    }

    /// Nothing for a name that came after the table was built.
    fn of(&self, name: NameId) -> &[T] {
        let name = name as usize;
        match (self.offsets.get(name), self.offsets.get(name + 1)) {
            (Some(start), Some(end)) => &self.items[*start as usize..*end as usize],
            _ => &[],
        }
    }

    /// How many items each name has.
    fn counts(&self) -> impl Iterator<Item = usize> + '_ {
        self.offsets
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as usize)
    }
}

/// All packages that may be chosen, and who provides which name. Built once, asked often.
pub struct Universe<'a> {
    sources: Sources<'a>,
    pub(super) packages: Vec<Package<'a>>,
    names: Vec<&'a str>,
    #[allow(clippy::disallowed_types)]
    ids: HashMap<&'a str, NameId, foldhash::fast::RandomState>,
    tags: Vec<&'a str>,
    tags_in_use: u64,
    installed: Vec<PackageId>,
    terms: Vec<Term<'a>>,
    providers: Table<Provider<'a>>,
    orders: Orders,
    dependents: Table<NameId>,
    conditional: Table<NameId>,
}

impl<'a> Universe<'a> {
    /// Builds the tables. Every package is looked at once.
    pub fn new(sources: Sources<'a>) -> Universe<'a> {
        let mut builder = Builder::default();
        let total = sources.repositories.iter().map(|repo| repo.packages.len());
        let total = total.sum::<usize>() + sources.installed.len() + sources.unindexed.len();
        builder.reserve(total);

        for installed in sources.installed {
            let id = builder.package(installed.package, &sources);
            builder.packages[id as usize].installed = true;
            builder.installed.push(id);
        }
        for unindexed in sources.unindexed {
            let id = builder.package(unindexed.package, &sources);
            builder.packages[id as usize].unindexed = Some(unindexed.kind);
        }
        // As in apk, a tag has the place of its first mention.
        let installed = sources.installed.iter();
        let tags = sources.tags.iter().copied();
        for tag in tags.chain(installed.filter_map(|installed| installed.tag)) {
            builder.tag(tag);
        }
        let names = sources.reachable.map_or(&[][..], Reachable::names);
        let names: Vec<NameId> = names.iter().map(|name| builder.name(name)).collect();
        for (index, repository) in sources.repositories.iter().enumerate() {
            builder.repository(index, repository, &sources, &names);
        }
        for (index, installed) in sources.installed.iter().enumerate() {
            builder.installed_tag(builder.installed[index], installed.tag);
        }
        builder.finish(sources)
    }

    /// What to install for `request`, in order; or why nothing will do.
    pub fn solve(&self, request: &Request<'_>) -> Result<Solution<'a>, Unsolvable> {
        super::propagate::solve(self, request)
    }

    /// As [`Universe::solve`], without a word where there is no solution.
    pub(crate) fn try_solve(&self, request: &Request<'_>) -> Option<Solution<'a>> {
        super::propagate::attempt_silently(self, request, &Banned::new(), &mut 0)
    }

    /// What the tables were built from.
    pub fn sources(&self) -> &Sources<'a> {
        &self.sources
    }

    /// The packages that have or provide `name`, in no particular order of preference.
    pub fn providers_of<'s>(
        &'s self,
        name: &str,
    ) -> impl Iterator<Item = Selected<'a>> + use<'s, 'a> {
        let providers = match self.ids.get(name) {
            Some(id) => self.providers.of(*id),
            None => &[],
        };
        providers
            .iter()
            .map(|provider| self.selected(provider.package))
    }

    pub(super) fn name_count(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name_id(&self, name: &str) -> Option<NameId> {
        self.ids.get(name).copied()
    }

    pub(super) fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// Tags in the order of their bits, from bit 1 on.
    pub(super) fn tags(&self) -> &[&'a str] {
        &self.tags
    }

    /// Whether a repository has the tag of this bit.
    pub(super) fn tag_in_use(&self, bit: u64) -> bool {
        self.tags_in_use & bit != 0
    }

    /// The tag of a bit, unless it is `UNTAGGED`.
    pub(super) fn tag_of(&self, bit: u64) -> Option<&'a str> {
        let index = bit.trailing_zeros().checked_sub(1)?;
        self.tags.get(index as usize).copied()
    }

    /// In the order of the installed database.
    pub(super) fn installed(&self) -> &[PackageId] {
        &self.installed
    }

    pub(super) fn package(&self, id: PackageId) -> &Package<'a> {
        &self.packages[id as usize]
    }

    pub(super) fn selected(&self, id: PackageId) -> Selected<'a> {
        let package = self.package(id);
        Selected {
            package: package.candidate,
            place: package.place,
            available: package.reachable || package.is_cached() || package.is_file(),
        }
    }

    pub(super) fn providers(&self, name: NameId) -> &[Provider<'a>] {
        self.providers.of(name)
    }

    /// The providers of its name that a term speaks of, if they need not each be asked.
    pub(super) fn spoken_of(&self, term: &Term<'_>) -> Option<Spoken<'_>> {
        let identity = |of: &Provider<'a>| self.package(of.package).candidate.identity;
        let providers = self.providers(term.name);
        self.orders
            .spoken_of(term.name, providers, identity, term.dependency)
    }

    /// Whether a package has or provides a name.
    pub(super) fn has_name(&self, id: PackageId, name: NameId) -> bool {
        let providers = self.providers(name);
        match providers.len() < self.provides(id).len() {
            true => providers.iter().any(|provider| provider.package == id),
            false => self.names_of(id).any(|of| of == name),
        }
    }

    /// The names of packages that depend on (or conflict with) a name, in apk's order.
    pub(super) fn dependents(&self, name: NameId) -> &[NameId] {
        self.dependents.of(name)
    }

    /// The packages that depend on (or conflict with) a name; one may come several times.
    pub(super) fn dependent_packages(&self, name: NameId) -> impl Iterator<Item = PackageId> + '_ {
        let names = self.dependents(name).iter();
        let providers = names.flat_map(|name| self.providers(*name));
        providers.map(|provider| provider.package)
    }

    /// The names of packages whose `install_if` speaks of a name, in apk's order.
    pub(super) fn conditional(&self, name: NameId) -> &[NameId] {
        self.conditional.of(name)
    }

    pub(super) fn depends(&self, id: PackageId) -> &[Term<'a>] {
        self.range(&self.package(id).depends)
    }

    pub(super) fn provides(&self, id: PackageId) -> &[Term<'a>] {
        self.range(&self.package(id).provides)
    }

    pub(super) fn install_if(&self, id: PackageId) -> &[Term<'a>] {
        self.range(&self.package(id).install_if)
    }

    /// A package's own name and those it provides.
    pub(super) fn names_of(&self, id: PackageId) -> impl Iterator<Item = NameId> + '_ {
        std::iter::once(self.package(id).name)
            .chain(self.provides(id).iter().map(|provided| provided.name))
    }

    fn range(&self, range: &Range<u32>) -> &[Term<'a>] {
        &self.terms[range.start as usize..range.end as usize]
    }
}

#[derive(Default)]
struct Builder<'a> {
    packages: Vec<Package<'a>>,
    #[allow(clippy::disallowed_types)]
    by_identity: HashMap<Identity, PackageId, foldhash::fast::RandomState>,
    names: Vec<&'a str>,
    #[allow(clippy::disallowed_types)]
    ids: HashMap<&'a str, NameId, foldhash::fast::RandomState>,
    tags: Vec<&'a str>,
    /// The tags that a repository has, as bits.
    tags_in_use: u64,
    installed: Vec<PackageId>,
    terms: Vec<Term<'a>>,
}

impl<'a> Builder<'a> {
    fn reserve(&mut self, packages: usize) {
        self.packages.reserve(packages);
        self.by_identity.reserve(packages);
        self.names.reserve(packages * 2);
        self.ids.reserve(packages * 2);
        self.terms.reserve(packages * 6);
    }

    /// `names` are the ids of those that can be reached.
    fn repository(
        &mut self,
        index: usize,
        repository: &Repository<'a>,
        sources: &Sources<'a>,
        names: &[NameId],
    ) {
        let bit = match repository.tag {
            None => UNTAGGED,
            Some(tag) => self.tag(tag),
        };
        self.tags_in_use |= bit;
        let mentioned = sources.reachable.map(|of| of.mentioned(index).iter());
        let mut mentioned = mentioned.map(|places| places.map(|place| names[*place as usize]));
        for (position, candidate) in repository.packages.iter().enumerate() {
            let id = match &mut mentioned {
                Some(ids) => {
                    self.package_with(candidate, sources, |_, _| ids.next().unwrap_or_default())
                }
                None => self.package(candidate, sources),
            };
            let package = &mut self.packages[id as usize];
            package.tags |= bit;
            package.repository_tags |= bit;
            if package.rank == 0 {
                package.rank = u32::try_from(index + 1).unwrap_or(u32::MAX);
            }
            if package.place.is_none() || (repository.available && !package.reachable) {
                let places = sources.reachable.map(|of| of.places(index));
                let place = places.map_or(Some(position), |places| places.get(position).copied());
                package.place = place.map(|place| (index, place));
            }
            package.reachable |= repository.available;
        }
    }

    fn installed_tag(&mut self, id: PackageId, tag: Option<&'a str>) {
        let bit = match tag {
            None => UNTAGGED,
            Some(tag) => self.tag(tag),
        };
        let package = &mut self.packages[id as usize];
        package.installed_tag = bit;
        package.tags |= bit & self.tags_in_use;
    }

    fn tag(&mut self, tag: &'a str) -> u64 {
        let index = match self.tags.iter().position(|known| *known == tag) {
            Some(index) => index,
            None => {
                self.tags.push(tag);
                self.tags.len() - 1
            }
        };
        tag_bit(index)
    }

    fn name(&mut self, name: &'a str) -> NameId {
        let next = self.names.len() as NameId;
        let id = *self.ids.entry(name).or_insert(next);
        if id == next {
            self.names.push(name);
        }
        id
    }

    fn package(&mut self, candidate: &'a Candidate, sources: &Sources<'a>) -> PackageId {
        self.package_with(candidate, sources, Builder::name)
    }

    /// The package of that identity, or else a new one. As in apk, either way its names are
    /// mentioned now: `id` gives that of each in turn.
    fn package_with(
        &mut self,
        candidate: &'a Candidate,
        sources: &Sources<'a>,
        mut id: impl FnMut(&mut Self, &'a str) -> NameId,
    ) -> PackageId {
        let package = self.packages.len() as PackageId;
        let mut known = package;
        if let Some(identity) = candidate.identity {
            // apk tells packages apart by the first 20 bytes, which is all that a database keeps.
            known = *self
                .by_identity
                .entry(identity.shortened())
                .or_insert(package);
        }
        let first = self.terms.len();
        let name = id(self, &candidate.name);
        let [depends, provides, install_if] = [
            &candidate.depends,
            &candidate.provides,
            &candidate.install_if,
        ]
        .map(|dependencies| {
            let start = self.terms.len() as u32;
            for dependency in dependencies {
                let name = id(self, &dependency.name);
                self.terms.push(Term { name, dependency });
            }
            start..self.terms.len() as u32
        });
        if known != package {
            self.terms.truncate(first);
            return known;
        }
        let suits = candidate.arch.is_empty()
            || candidate.arch == "noarch"
            || sources.arches.contains(&candidate.arch.as_str());
        self.packages.push(Package {
            candidate,
            name,
            depends,
            provides,
            install_if,
            rank: 0,
            place: None,
            tags: 0,
            repository_tags: 0,
            reachable: false,
            unindexed: None,
            installed: false,
            installed_tag: 0,
            uninstallable: !suits || !candidate.defects.is_empty(),
            provides_unversioned: candidate
                .provides
                .iter()
                .any(|provided| provided.version().is_none()),
        });
        package
    }

    fn finish(self, sources: Sources<'a>) -> Universe<'a> {
        let mut providers = Vec::with_capacity(self.terms.len());
        let terms = |range: &Range<u32>| &self.terms[range.start as usize..range.end as usize];
        for (id, package) in self.packages.iter().enumerate() {
            let id = id as PackageId;
            let own = Provider {
                package: id,
                version: Some(package.candidate.version.as_str()),
            };
            providers.push((package.name, own));
            for provided in terms(&package.provides) {
                let version = provided.dependency.version();
                let provider = Provider {
                    package: id,
                    version: version.map(|version| version.as_str()),
                };
                providers.push((provided.name, provider));
            }
        }
        let names = self.names.len();
        let providers = Table::new(names, &providers);
        let mut dependents = Reverse::new(names, self.terms.len());
        let mut conditional = Reverse::new(names, 0);
        for name in in_apk_order(&self.names) {
            for provider in providers.of(name) {
                let package = &self.packages[provider.package as usize];
                dependents.add(name, terms(&package.depends));
                conditional.add(name, terms(&package.install_if));
            }
        }
        Universe {
            sources,
            orders: Orders::new(providers.counts()),
            providers,
            dependents: Table::new(names, &dependents.rows),
            conditional: Table::new(names, &conditional.rows),
            packages: self.packages,
            names: self.names,
            ids: self.ids,
            tags: self.tags,
            tags_in_use: self.tags_in_use,
            installed: self.installed,
            terms: self.terms,
        }
    }
}

/// Collects who speaks of a name, each once.
struct Reverse {
    rows: Vec<(NameId, NameId)>,
    last: Vec<NameId>,
}

impl Reverse {
    fn new(names: usize, rows: usize) -> Reverse {
        Reverse {
            rows: Vec::with_capacity(rows),
            last: vec![NameId::MAX; names],
        }
    }

    /// All terms of one name must come in a row.
    fn add(&mut self, name: NameId, terms: &[Term<'_>]) {
        for term in terms {
            if std::mem::replace(&mut self.last[term.name as usize], name) != name {
                self.rows.push((term.name, name));
            }
        }
    }
}

fn in_apk_order(names: &[&str]) -> Vec<NameId> {
    let mut order: Vec<(u32, NameId)> = names
        .iter()
        .enumerate()
        .map(|(id, name)| (bucket(name), id as NameId))
        .collect();
    // Within a bucket, what came last is first.
    order.sort_unstable_by_key(|(bucket, id)| (*bucket, std::cmp::Reverse(*id)));
    order.into_iter().map(|(_, id)| id).collect()
}

/// The bit of the tag at this place in the list of tags; none for the 64th and later ones.
pub(super) fn tag_bit(index: usize) -> u64 {
    u32::try_from(index + 1)
        .ok()
        .and_then(|shift| UNTAGGED.checked_shl(shift))
        .unwrap_or(0)
}
