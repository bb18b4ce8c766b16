use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
// Looked up only, never iterated: the random order of its buckets shows nowhere.
#[allow(clippy::disallowed_types)]
use std::collections::HashMap;

use super::relations::Relations;
use crate::catalogue::CatalogueError;
use crate::database::InstalledPackage;
use crate::dependency::{Dependency, Identity};
use crate::index::IndexEntry;
use crate::repository::LoadedRepository;
use crate::version;

/// Where the packages of a query come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// `etc/apk/world`.
    pub world: &'a [Dependency],
    /// The installed packages, in the order of the database; none where a query leaves them out.
    pub installed: &'a [InstalledPackage],
    /// The repositories whose indexes were read, in apk's order.
    pub repositories: &'a [Repository<'a>],
    /// The files of the package cache by name, with their bytes; none where a query leaves it out.
    pub cached: Option<&'a BTreeMap<String, u64>>,
}

/// A repository of a query.
#[derive(Clone, Copy, Debug)]
pub struct Repository<'a> {
    /// The repository with its index.
    pub loaded: &'a LoadedRepository,
    /// Whether its packages can be fetched now: not so for a remote one without network.
    pub available: bool,
}

impl<'a> Repository<'a> {
    /// Its URL without a password, or its folder, without a slash at the end.
    pub fn name(&self) -> String {
        let name = self.loaded.repository.location.to_string();
        match name.trim_end_matches('/') {
            "" => name,
            trimmed => trimmed.to_owned(),
        }
    }

    /// Whether it is a folder of this machine.
    pub fn is_local(&self) -> bool {
        !self.loaded.repository.is_remote()
    }

    fn tag(&self) -> Option<&'a str> {
        self.loaded.repository.tag.as_deref()
    }
}

/// A package of a [`Population`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageId(pub(super) u32);

/// All packages that a query looks through: those that are installed and those of repositories,
/// each once, however many repositories have it.
///
/// Building it looks at names, versions and identities only. All else is read from the indexes
/// when it is asked for.
#[derive(Debug)]
pub struct Population<'a> {
    pub(super) sources: Sources<'a>,
    packages: Vec<Known<'a>>,
    /// Sorted by name; those of one name in the order in which they came.
    by_name: Vec<PackageId>,
    origins: Vec<Origin<'a>>,
    tags: Vec<&'a str>,
    relations: OnceCell<Relations<'a>>,
}

/// A repository, however many lines name it.
#[derive(Debug)]
struct Origin<'a> {
    /// Its place in [`Sources::repositories`].
    place: usize,
    tags: Vec<Option<&'a str>>,
}

#[derive(Debug)]
struct Known<'a> {
    name: &'a str,
    version: &'a str,
    identity: Identity,
    installed: Option<u32>,
    /// The place in the index of the first repository that has it.
    place: u32,
    repositories: Few,
}

/// A set of repositories that costs nothing while it has one.
#[derive(Debug, Default)]
struct Few {
    first: Option<u32>,
    more: Vec<u32>,
}

impl Few {
    fn add(&mut self, item: u32) {
        match self.first {
            None => self.first = Some(item),
            Some(first) if first == item || self.more.last() == Some(&item) => {}
            Some(_) => self.more.push(item),
        }
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.first.iter().chain(&self.more);
        all.map(|item| *item as usize)
    }
}

/// The bytes of an identity that apk knows packages by: the first 20, whatever the hash is.
pub(super) fn key(identity: &Identity) -> [u8; 20] {
    let mut key = [0; 20];
    match identity {
        Identity::Sha1(hash) => key = *hash.as_bytes(),
        Identity::Sha256(hash) => key.copy_from_slice(&hash.as_bytes()[..20]),
    }
    key
}

impl<'a> Population<'a> {
    /// Looks at every package once.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn new(sources: Sources<'a>) -> Result<Population<'a>, CatalogueError> {
        #[allow(clippy::disallowed_types)]
        let mut known: HashMap<[u8; 20], u32> = HashMap::new();
        let total = sources.repositories.iter();
        let total = total.map(|repository| repository.loaded.catalogue.len());
        let total = total.sum::<usize>() + sources.installed.len();
        known.reserve(total);
        let mut packages: Vec<Known<'a>> = Vec::with_capacity(total);
        for (place, installed) in sources.installed.iter().enumerate() {
            let next = packages.len() as u32;
            let id = *known.entry(key(&installed.entry.identity)).or_insert(next);
            if id == next {
                packages.push(Known {
                    name: &installed.entry.info.name,
                    version: &installed.entry.info.version,
                    identity: installed.entry.identity,
                    installed: Some(place as u32),
                    place: 0,
                    repositories: Few::default(),
                });
            }
        }
        let mut origins: Vec<Origin<'a>> = Vec::new();
        for (place, repository) in sources.repositories.iter().enumerate() {
            let mut before = origins.iter_mut();
            let same = |origin: &&mut Origin<'a>| {
                let known = &sources.repositories[origin.place].loaded.repository;
                let other = &repository.loaded.repository;
                known.location == other.location && known.layout == other.layout
            };
            if let Some(origin) = before.find(same) {
                // Named before: this line gives it another tag.
                if !origin.tags.contains(&repository.tag()) {
                    origin.tags.push(repository.tag());
                }
                continue;
            }
            let index = origins.len();
            origins.push(Origin {
                place,
                tags: vec![repository.tag()],
            });
            let catalogue = &repository.loaded.catalogue;
            for place in 0..catalogue.len() {
                let missing = || CatalogueError::NoEntry {
                    place,
                    length: catalogue.len(),
                };
                let identity = catalogue.identity(place).ok_or_else(missing)?;
                let next = packages.len() as u32;
                let id = *known.entry(key(&identity)).or_insert(next);
                if id == next {
                    packages.push(Known {
                        name: catalogue.name(place).ok_or_else(missing)?,
                        version: catalogue.version(place).ok_or_else(missing)?,
                        identity,
                        installed: None,
                        place: place as u32,
                        repositories: Few::default(),
                    });
                }
                let Some(package) = packages.get_mut(id as usize) else {
                    continue;
                };
                if package.repositories.first.is_none() {
                    package.place = place as u32;
                }
                package.repositories.add(index as u32);
            }
        }
        let mut by_name: Vec<PackageId> = (0..packages.len() as u32).map(PackageId).collect();
        by_name.sort_by(|left, right| {
            let name = |id: &PackageId| packages[id.0 as usize].name;
            name(left).cmp(name(right))
        });
        let mut tags = Vec::new();
        let world = sources.world.iter().filter_map(|term| term.tag.as_deref());
        let pinned = sources.installed.iter();
        let pinned = pinned.filter_map(|installed| installed.repository_tag.as_deref());
        let tagged = sources.repositories.iter().filter_map(Repository::tag);
        for tag in world.chain(pinned).chain(tagged) {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Ok(Population {
            sources,
            packages,
            by_name,
            origins,
            tags,
            relations: OnceCell::new(),
        })
    }

    /// What it was built from.
    pub fn sources(&self) -> &Sources<'a> {
        &self.sources
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// Every package: the installed ones, then each repository's in the order of its index.
    pub fn packages(&self) -> impl Iterator<Item = PackageId> + use<> {
        (0..self.packages.len() as u32).map(PackageId)
    }

    fn known(&self, id: PackageId) -> &Known<'a> {
        &self.packages[id.0 as usize]
    }

    /// A package's name.
    pub fn name(&self, id: PackageId) -> &'a str {
        self.known(id).name
    }

    /// A package's version.
    pub fn version(&self, id: PackageId) -> &'a str {
        self.known(id).version
    }

    /// A package's identity.
    pub fn identity(&self, id: PackageId) -> Identity {
        self.known(id).identity
    }

    /// `name-version`.
    pub fn label(&self, id: PackageId) -> String {
        let known = self.known(id);
        format!("{}-{}", known.name, known.version)
    }

    /// What the installed database says of a package, if it is installed.
    pub fn installed(&self, id: PackageId) -> Option<&'a InstalledPackage> {
        let place = self.known(id).installed?;
        self.sources.installed.get(place as usize)
    }

    /// Whether a package is installed.
    pub fn is_installed(&self, id: PackageId) -> bool {
        self.known(id).installed.is_some()
    }

    /// The repositories, in order; one that several lines name comes once.
    pub fn all_repositories(&self) -> impl Iterator<Item = &'a Repository<'a>> {
        let origins = self.origins.iter();
        origins.filter_map(|origin| self.sources.repositories.get(origin.place))
    }

    /// The repositories that have a package, in order; one that several lines name comes once.
    pub fn repositories(&self, id: PackageId) -> impl Iterator<Item = &'a Repository<'a>> {
        self.origins(id)
            .filter_map(|origin| self.sources.repositories.get(origin.place))
    }

    fn origins(&self, id: PackageId) -> impl Iterator<Item = &Origin<'a>> {
        let indexes = self.known(id).repositories.iter();
        indexes.filter_map(|index| self.origins.get(index))
    }

    /// Whether a repository has a package, within reach or not.
    pub fn is_in_repository(&self, id: PackageId) -> bool {
        self.known(id).repositories.first.is_some()
    }

    /// Whether a package can be had now from a repository.
    pub fn is_available(&self, id: PackageId) -> bool {
        self.repositories(id).any(|repository| repository.available)
    }

    /// The tags of repositories, of installed packages and of the world, in the order in which apk
    /// comes to know them.
    pub fn tags(&self) -> &[&'a str] {
        &self.tags
    }

    /// All that is known of a package; of an installed one, as the installed database has it.
    ///
    /// # Errors
    /// Its index can't be read.
    pub fn entry(&self, id: PackageId) -> Result<Cow<'a, IndexEntry>, CatalogueError> {
        let known = self.known(id);
        if let Some(installed) = self.installed(id) {
            return Ok(Cow::Borrowed(&installed.entry));
        }
        self.indexed(known).map(Cow::Owned)
    }

    /// What the first repository that has it says.
    fn indexed(&self, known: &Known<'a>) -> Result<IndexEntry, CatalogueError> {
        let place = known.place as usize;
        let first = known.repositories.iter().next();
        let origin = first.and_then(|index| self.origins.get(index));
        match origin.and_then(|origin| self.sources.repositories.get(origin.place)) {
            Some(repository) => repository.loaded.catalogue.entry(place),
            None => Err(CatalogueError::NoEntry { place, length: 0 }),
        }
    }

    /// Bytes of the package file: a repository knows better than the installed database.
    ///
    /// # Errors
    /// Its index can't be read.
    pub fn file_size(&self, id: PackageId) -> Result<u64, CatalogueError> {
        match self.installed(id) {
            Some(installed) if !self.is_in_repository(id) => Ok(installed.entry.size),
            _ => Ok(self.indexed(self.known(id))?.size),
        }
    }

    /// The packages of a name, in the order in which they came.
    pub fn named(&self, name: &str) -> &[PackageId] {
        let start = self.by_name.partition_point(|id| self.name(*id) < name);
        let length = self.by_name[start..].partition_point(|id| self.name(*id) == name);
        &self.by_name[start..start + length]
    }

    /// All packages, by name: one slice for each name, sorted.
    pub fn groups(&self) -> impl Iterator<Item = &[PackageId]> {
        self.by_name
            .chunk_by(|left, right| self.name(*left) == self.name(*right))
    }

    /// The installed package of a name.
    pub fn installed_of(&self, name: &str) -> Option<PackageId> {
        let named = self.named(name).iter().copied();
        { named }.find(|id| self.is_installed(*id))
    }

    /// Whether a repository with this tag (none: one without a tag) has a package.
    pub fn may_come_with(&self, id: PackageId, tag: Option<&str>) -> bool {
        self.origins(id).any(|origin| origin.tags.contains(&tag))
    }

    /// The installed package that this one is an upgrade of, if a repository that the installed one
    /// may come from has it.
    pub fn upgrades(&self, id: PackageId) -> Option<PackageId> {
        let installed = self.installed_of(self.name(id))?;
        let tag = self.installed(installed)?.repository_tag.as_deref();
        let newer = self.may_come_with(id, tag)
            && version::compare(self.version(installed), self.version(id)) == Ordering::Less;
        newer.then_some(installed)
    }

    /// The order in which packages are printed: by name without case, then by version.
    pub fn display_order(&self, left: PackageId, right: PackageId) -> Ordering {
        compare_names(self.name(left), self.name(right))
            .then_with(|| version::compare(self.version(left), self.version(right)))
    }

    /// Who provides and needs which name; found out when first asked for.
    ///
    /// # Errors
    /// An index can't be read.
    pub(super) fn relations(&self) -> Result<&Relations<'a>, CatalogueError> {
        if let Some(relations) = self.relations.get() {
            return Ok(relations);
        }
        let relations = Relations::new(self)?;
        Ok(self.relations.get_or_init(|| relations))
    }
}

/// The order of names where apk prints them: without regard to case, then with it.
pub fn compare_names(left: &str, right: &str) -> Ordering {
    let folded = left.bytes().map(|byte| byte.to_ascii_lowercase());
    folded
        .cmp(right.bytes().map(|byte| byte.to_ascii_lowercase()))
        .then_with(|| left.cmp(right))
}
