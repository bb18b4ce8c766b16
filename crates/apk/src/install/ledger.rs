//! Who has what: the directories and files of all installed packages, while they change
//! (apk-tools' `apk_db_dir`, `apk_db_dir_instance` and `apk_db_file`).

use std::collections::BTreeMap;

use super::precedence::takes_directory;
use super::protect::{Protected, Rule};
use super::transaction::Statistics;
use crate::database::{InstalledPackage, Permissions};

/// A package's place in the ledger; it stays while the ledger lives.
pub(super) type PackageId = usize;

/// Who has a directory or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The overlay: paths that are never overwritten.
    Overlay,
    /// A package.
    Package(PackageId),
}

/// A package in the ledger.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) package: InstalledPackage,
    /// The transaction removes it or replaces it by another.
    pub(super) leaving: bool,
    /// It came with this transaction: its triggers see every directory.
    pub(super) fresh: bool,
}

impl Slot {
    pub(super) fn new(package: InstalledPackage) -> Slot {
        Slot {
            package,
            leaving: false,
            fresh: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.package.entry.info.name
    }

    pub(super) fn origin(&self) -> &str {
        &self.package.entry.info.origin
    }

    pub(super) fn replaces_priority(&self) -> u64 {
        self.package.entry.info.replaces_priority.unwrap_or(0)
    }

    /// Whether its `replaces` speaks of the other, by the other's own name.
    pub(super) fn replaces(&self, other: &Slot) -> bool {
        let entry = &other.package.entry;
        self.package.entry.info.replaces.iter().any(|term| {
            if term.name != entry.info.name {
                return term.conflict;
            }
            term.matches(Some(&entry.info.version), Some(&entry.identity)) != term.conflict
        })
    }
}

/// A package's claim to a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) holder: Holder,
    pub(super) permissions: Permissions,
}

/// A directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    /// Claims, and directories in it.
    references: usize,
    claims: Vec<Claim>,
    /// Who decides on its mode and owner.
    owner: Option<Holder>,
    files: BTreeMap<String, Holder>,
    pub(super) protected: Protected,
    /// Its packages' files changed: triggers are told.
    pub(super) modified: bool,
    /// It was looked at, and made where it was missing.
    pub(super) looked_at: bool,
    /// On disk it has the mode and owner that its owner says, so they may be changed.
    pub(super) settled: bool,
}

impl Directory {
    /// Whether a package has it or something in it.
    pub(super) fn exists(&self) -> bool {
        self.references > 0
    }

    pub(super) fn owner(&self) -> Option<Claim> {
        self.owner.and_then(|owner| self.claim(owner))
    }

    pub(super) fn claim(&self, holder: Holder) -> Option<Claim> {
        self.claims
            .iter()
            .find(|claim| claim.holder == holder)
            .copied()
    }

    pub(super) fn file(&self, name: &str) -> Option<Holder> {
        self.files.get(name).copied()
    }
}

/// What a change of claims leads to on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The directory's mode and owner become those of its owner.
    Permissions(String, Permissions),
    /// Nobody has the directory any more: it goes if it is empty.
    Remove(String),
}

/// The installed packages with their directories and files.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    slots: Vec<Option<Slot>>,
    directories: BTreeMap<String, Directory>,
}

impl Ledger {
    /// The ledger of a database, with the rules that protect paths, and the overlay's paths.
    pub(super) fn new(
        packages: Vec<InstalledPackage>,
        rules: Vec<Rule>,
        overlay: &[String],
    ) -> Ledger {
        let root = Directory {
            protected: Protected::root(rules),
            ..Directory::default()
        };
        let mut ledger = Ledger {
            slots: Vec::new(),
            directories: BTreeMap::from([(String::new(), root)]),
        };
        for path in overlay {
            let path = path.trim_start_matches('/');
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            let usual = Permissions {
                uid: 0,
                gid: 0,
                mode: 0o755,
                attributes: None,
            };
            ledger.add_claim(directory, Holder::Overlay, usual);
            if name.is_empty() {
                ledger.directory_mut(directory).looked_at = true;
            } else {
                ledger.set_holder(directory, name, Holder::Overlay);
            }
        }
        for package in packages {
            ledger.add_installed(package);
        }
        ledger
    }

    /// A package of the database. Of two that list one file, the first has it.
    fn add_installed(&mut self, package: InstalledPackage) {
        let directories: Vec<(String, Permissions, Vec<String>)> = package
            .directories
            .iter()
            .map(|directory| {
                let names = directory.files.iter().map(|file| file.name.clone());
                (
                    directory.path.clone(),
                    directory.permissions,
                    names.collect(),
                )
            })
            .collect();
        let id = self.add(Slot::new(package));
        for (path, permissions, names) in directories {
            self.add_claim(&path, Holder::Package(id), permissions);
            self.settle_owner(&path, Holder::Package(id));
            let directory = self.directory_mut(&path);
            for name in names {
                directory.files.entry(name).or_insert(Holder::Package(id));
            }
        }
    }

    /// Takes a package in, without directories yet.
    pub(super) fn add(&mut self, slot: Slot) -> PackageId {
        self.slots.push(Some(slot));
        self.slots.len() - 1
    }

    /// Forgets a package. Its claims must be gone.
    pub(super) fn remove(&mut self, id: PackageId) {
        if let Some(slot) = self.slots.get_mut(id) {
            *slot = None;
        }
    }

    pub(super) fn slot(&self, id: PackageId) -> Option<&Slot> {
        self.slots.get(id)?.as_ref()
    }

    pub(super) fn slot_mut(&mut self, id: PackageId) -> Option<&mut Slot> {
        self.slots.get_mut(id)?.as_mut()
    }

    /// The package behind a holder; none for the overlay.
    pub(super) fn holder(&self, holder: Holder) -> Option<&Slot> {
        match holder {
            Holder::Overlay => None,
            Holder::Package(id) => self.slot(id),
        }
    }

    /// The package of that name: the one that came last, where two have it for a moment.
    pub(super) fn find(&self, name: &str) -> Option<PackageId> {
        self.slots
            .iter()
            .rposition(|slot| slot.as_ref().is_some_and(|slot| slot.name() == name))
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (PackageId, &Slot)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = (&str, &Directory)> {
        self.directories
            .iter()
            .map(|(path, directory)| (path.as_str(), directory))
    }

    pub(super) fn directory(&self, path: &str) -> Option<&Directory> {
        self.directories.get(path)
    }

    /// The directory, made known where it isn't.
    pub(super) fn directory_mut(&mut self, path: &str) -> &mut Directory {
        if !self.directories.contains_key(path) {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let protected = self.directory_mut(parent).protected.child(name);
            self.directories.insert(
                path.to_owned(),
                Directory {
                    protected,
                    ..Directory::default()
                },
            );
        }
        self.directories.entry(path.to_owned()).or_default()
    }

    /// How a path would be protected, whether or not a package has it.
    pub(super) fn protected(&self, path: &str) -> Protected {
        match self.directories.get(path) {
            Some(directory) => directory.protected.clone(),
            None => {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                self.protected(parent).child(name)
            }
        }
    }

    /// Who has a file.
    pub(super) fn file(&self, directory: &str, name: &str) -> Option<Holder> {
        self.directories.get(directory)?.file(name)
    }

    /// Gives a file to someone; says who had it.
    pub(super) fn set_holder(
        &mut self,
        directory: &str,
        name: &str,
        holder: Holder,
    ) -> Option<Holder> {
        self.directory_mut(directory)
            .files
            .insert(name.to_owned(), holder)
    }

    /// Nobody has the file any more.
    pub(super) fn remove_file(&mut self, directory: &str, name: &str) {
        if let Some(directory) = self.directories.get_mut(directory) {
            directory.files.remove(name);
        }
    }

    /// Notes that someone has a directory; one claim each.
    pub(super) fn add_claim(&mut self, path: &str, holder: Holder, permissions: Permissions) {
        let claim = Claim {
            holder,
            permissions,
        };
        let directory = self.directory_mut(path);
        if let Some(known) = directory
            .claims
            .iter_mut()
            .find(|known| known.holder == holder)
        {
            *known = claim;
            return;
        }
        directory.claims.push(claim);
        self.refer(path);
    }

    /// Counts one more that needs the directory: a claim, or a directory in it.
    fn refer(&mut self, path: &str) {
        let mut path = path;
        loop {
            let directory = self.directory_mut(path);
            directory.references += 1;
            if directory.references > 1 || path.is_empty() {
                return;
            }
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }

    /// Lets a new claim decide on the directory, if it may. Says whether it does.
    pub(super) fn settle_owner(&mut self, path: &str, holder: Holder) -> bool {
        let before = self.directories.get(path).and_then(|known| known.owner);
        if let Some(before) = before
            && !takes_directory(self.holder(before), self.holder(holder))
        {
            return false;
        }
        self.directory_mut(path).owner = Some(holder);
        true
    }

    /// Takes a claim back. The directory falls to another of its packages, or is nobody's.
    pub(super) fn remove_claim(&mut self, path: &str, holder: Holder) -> Vec<Consequence> {
        let mut consequences = Vec::new();
        let Some(directory) = self.directories.get_mut(path) else {
            return consequences;
        };
        directory.claims.retain(|claim| claim.holder != holder);
        if directory.owner == Some(holder) {
            directory.owner = None;
            let claims = directory.claims.clone();
            for claim in claims {
                self.settle_owner(path, claim.holder);
            }
            if let Some(directory) = self.directories.get_mut(path)
                && let Some(owner) = directory.owner()
                && directory.settled
            {
                directory.modified = true;
                consequences.push(Consequence::Permissions(path.to_owned(), owner.permissions));
            }
        }
        let mut path = path;
        loop {
            let Some(directory) = self.directories.get_mut(path) else {
                return consequences;
            };
            directory.references = directory.references.saturating_sub(1);
            if directory.references > 0 || path.is_empty() {
                return consequences;
            }
            directory.modified = true;
            directory.looked_at = false;
            directory.settled = false;
            consequences.push(Consequence::Remove(path.to_owned()));
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }

    /// Counts what is installed, as apk counts it: the root is a directory too.
    pub(super) fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        for (_, slot) in self.slots() {
            statistics.packages += 1;
            statistics.bytes = statistics
                .bytes
                .saturating_add(slot.package.entry.info.installed_size);
        }
        for directory in self.directories.values() {
            statistics.directories += usize::from(directory.exists());
            statistics.files += directory.files.len();
        }
        statistics
    }

    /// The packages as the database is to say it: each with the files that it has, sorted as apk
    /// sorts names.
    pub(super) fn into_packages(self) -> Vec<InstalledPackage> {
        let Ledger { slots, directories } = self;
        let mut packages: Vec<InstalledPackage> = Vec::new();
        for (id, slot) in slots.into_iter().enumerate() {
            let Some(Slot { mut package, .. }) = slot else {
                continue;
            };
            for directory in &mut package.directories {
                let Some(known) = directories.get(&directory.path) else {
                    continue;
                };
                directory
                    .files
                    .retain(|file| known.file(&file.name) == Some(Holder::Package(id)));
            }
            packages.push(package);
        }
        packages
    }
}
