use std::borrow::Cow;

use super::field::{Field, Fields, ReverseField};
use super::population::{PackageId, Population, Repository};
use super::relations::{Bearing, bearing};
use crate::catalogue::CatalogueError;
use crate::dependency::Dependency;
use crate::index::IndexEntry;
use crate::package::{Script, TermList};
use crate::repository::NamePattern;

/// What a field of a package says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Several texts.
    List(Vec<String>),
}

/// What is told of a package: its fields in apk's order. Those that say nothing are left out.
pub type Description = Vec<(Field, Value)>;

/// The order in which fields are told.
const ORDER: [Field; 30] = [
    Field::Package,
    Field::Name,
    Field::Version,
    Field::Description,
    Field::Arch,
    Field::License,
    Field::Origin,
    Field::Maintainer,
    Field::Url,
    Field::Commit,
    Field::BuildTime,
    Field::InstalledSize,
    Field::FileSize,
    Field::ProviderPriority,
    Field::Depends,
    Field::Provides,
    Field::InstallIf,
    Field::Recommends,
    Field::Layer,
    Field::Tags,
    Field::Repositories,
    Field::DownloadUrl,
    Field::ReverseDepends,
    Field::ReverseInstallIf,
    Field::Contents,
    Field::Triggers,
    Field::Scripts,
    Field::ReplacesPriority,
    Field::Replaces,
    Field::Status,
];

/// apk's order of the scripts.
const SCRIPTS: [Script; 7] = [
    Script::PreInstall,
    Script::PostInstall,
    Script::PreDeinstall,
    Script::PostDeinstall,
    Script::PreUpgrade,
    Script::PostUpgrade,
    Script::Trigger,
];

/// How packages are described.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telling {
    /// Which fields.
    pub fields: Fields,
    /// What reverse dependencies are told as.
    pub reverse: ReverseField,
    /// Of reverse dependencies, only those that are installed.
    pub installed_only: bool,
}

impl<'a> Population<'a> {
    /// Describes a package. The second part of the result says that a field which was asked for
    /// can't be known of it: those of installed packages alone, and the hash.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn describe(
        &self,
        id: PackageId,
        telling: &Telling,
    ) -> Result<(Description, bool), CatalogueError> {
        let entry = self.entry(id)?;
        let mut description = Description::new();
        for field in ORDER {
            if !telling.fields.has(field) {
                continue;
            }
            let value = match field {
                Field::Repositories => Some(Value::List(self.places(id))),
                Field::ReverseDepends => {
                    let found = self.reverse_depends(id, telling.installed_only)?;
                    Some(Value::List(self.told_as(id, &found, telling.reverse)?))
                }
                Field::ReverseInstallIf => {
                    let found = self.reverse_install_if(id, telling.installed_only)?;
                    Some(Value::List(self.told_as(id, &found, telling.reverse)?))
                }
                Field::FileSize => number(self.file_size(id)?),
                Field::DownloadUrl => self.download_url(id, &entry).map(Value::Text),
                field => self.value(id, &entry, field),
            };
            description.extend(value.map(|value| (field, value)));
        }
        let unknown = telling.fields.has(Field::Hash)
            || (!self.is_installed(id) && telling.fields.intersects(Fields::INSTALLED));
        Ok((description, unknown))
    }

    /// A field that stands in the package's own entry.
    pub(super) fn value(&self, id: PackageId, entry: &IndexEntry, field: Field) -> Option<Value> {
        let info = &entry.info;
        match field {
            Field::Package => Some(Value::Text(self.label(id))),
            Field::Name => text(&info.name),
            Field::Version => text(&info.version),
            Field::Description => text(&info.description),
            Field::Arch => text(&info.arch),
            Field::License => text(&info.license()),
            Field::Origin => text(&info.origin),
            Field::Maintainer => text(&info.maintainer),
            Field::Url => text(&info.url),
            Field::Commit => text(&info.commit),
            Field::BuildTime => number(info.build_time.unwrap_or(0)),
            Field::InstalledSize => number(info.installed_size),
            Field::FileSize => number(entry.size),
            Field::ProviderPriority => number(info.provider_priority.unwrap_or(0)),
            Field::Depends
            | Field::Provides
            | Field::InstallIf
            | Field::Recommends
            | Field::Replaces => {
                let terms = self.terms(id, entry, field);
                list(terms.map(Dependency::to_string).collect())
            }
            Field::Tags => match self.installed(id) {
                Some(installed) => list(installed.tags.clone()),
                None => list(info.tags.clone()),
            },
            Field::Layer => number(info.layer.unwrap_or(0)),
            Field::Contents => {
                self.installed(id)?;
                Some(Value::List(self.paths(id)))
            }
            Field::Triggers => {
                self.installed(id)?;
                list(info.triggers.clone())
            }
            Field::Scripts => {
                let scripts = &self.installed(id)?.scripts;
                let names = SCRIPTS.iter().filter(|script| scripts.contains_key(script));
                list(names.map(|script| script.as_str().to_owned()).collect())
            }
            Field::ReplacesPriority => {
                self.installed(id)?;
                number(info.replaces_priority.unwrap_or(0))
            }
            Field::Status => self.status(id).map(Value::List),
            Field::Query
            | Field::Error
            | Field::PathTarget
            | Field::Owner
            | Field::Hash
            | Field::Repositories
            | Field::DownloadUrl
            | Field::ReverseDepends
            | Field::ReverseInstallIf => None,
        }
    }

    /// The terms that a field of dependencies holds.
    pub(super) fn terms<'e>(
        &self,
        id: PackageId,
        entry: &'e IndexEntry,
        field: Field,
    ) -> impl Iterator<Item = &'e Dependency> {
        let list = match field {
            Field::Depends => Some(TermList::Depends),
            Field::Provides => Some(TermList::Provides),
            Field::InstallIf => Some(TermList::InstallIf),
            Field::Recommends => Some(TermList::Recommends),
            Field::Replaces if self.is_installed(id) => Some(TermList::Replaces),
            _ => None,
        };
        let terms = list.map(|list| entry.info.as_written(list));
        terms.into_iter().flatten()
    }

    /// The paths of an installed package's files, in the order of the database.
    pub fn paths(&self, id: PackageId) -> Vec<String> {
        let directories = self.installed(id).map_or(&[][..], |it| &it.directories);
        let mut paths = Vec::new();
        for directory in directories {
            for file in &directory.files {
                paths.push(match directory.path.as_str() {
                    "" => file.name.clone(),
                    path => format!("{path}/{}", file.name),
                });
            }
        }
        paths
    }

    fn status(&self, id: PackageId) -> Option<Vec<String>> {
        let broken = self.installed(id)?.broken;
        let words = [
            (true, "installed"),
            (broken.files, "broken-files"),
            (broken.script, "broken-script"),
            (broken.attributes, "broken-xattr"),
        ];
        let words = words
            .iter()
            .filter_map(|(holds, word)| holds.then_some(*word));
        Some(words.map(str::to_owned).collect())
    }

    /// Where a package is: the installed database, then repositories.
    fn places(&self, id: PackageId) -> Vec<String> {
        let installed = self.is_installed(id).then(|| INSTALLED.to_owned());
        let repositories = self.repositories(id);
        installed
            .into_iter()
            .chain(repositories.map(Repository::name))
            .collect()
    }

    /// Where the package file can be had: from a folder rather than from the network.
    fn download_url(&self, id: PackageId, entry: &IndexEntry) -> Option<String> {
        // To apk the cache is a repository of its own, and the best one.
        if let Some(cached) = self.sources.cached {
            let name = NamePattern::standard(NamePattern::CACHE).file_name(entry);
            if cached.get(&name) == Some(&entry.size) {
                return Some(name);
            }
        }
        let within_reach = || self.repositories(id).filter(|it| it.available);
        let repository = within_reach()
            .find(|repository| repository.is_local())
            .or_else(|| within_reach().next())?;
        let places = repository.loaded.package_places(entry).ok()?;
        places.first().map(ToString::to_string)
    }

    /// The packages that depend on this one: on its name or one that it provides, in a way that it
    /// satisfies. Each comes once, in apk's order.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn reverse_depends(
        &self,
        id: PackageId,
        installed_only: bool,
    ) -> Result<Vec<PackageId>, CatalogueError> {
        self.reverse_depends_but(id, installed_only, &mut vec![false; self.len()])
    }

    /// The same, without those that were seen before: apk looks at no package twice.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn reverse_depends_but(
        &self,
        id: PackageId,
        installed_only: bool,
        seen: &mut [bool],
    ) -> Result<Vec<PackageId>, CatalogueError> {
        let relations = self.relations()?;
        let entry = self.entry(id)?;
        let provided = entry.info.as_written(TermList::Provides);
        let provided = provided.map(|term| term.name.as_str());
        let mut found = Vec::new();
        for name in std::iter::once(self.name(id)).chain(provided) {
            for dependent in relations.dependents(name) {
                if installed_only && !self.is_installed(dependent) {
                    continue;
                }
                let Some(seen) = seen.get_mut(dependent.0 as usize) else {
                    continue;
                };
                if std::mem::replace(seen, true) {
                    continue;
                }
                let dependent_entry = self.entry(dependent)?;
                let mut terms = dependent_entry.info.as_written(TermList::Depends);
                if terms.any(|term| !term.conflict && bearing(term, &entry) == Bearing::Satisfies) {
                    found.push(dependent);
                }
            }
        }
        Ok(found)
    }

    /// The packages whose `install_if` this one satisfies a term of.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn reverse_install_if(
        &self,
        id: PackageId,
        installed_only: bool,
    ) -> Result<Vec<PackageId>, CatalogueError> {
        let entry = self.entry(id)?;
        let mut found = Vec::new();
        for conditional in self.relations()?.conditional(self.name(id)) {
            if (installed_only && !self.is_installed(conditional)) || found.contains(&conditional) {
                continue;
            }
            let conditional_entry = self.entry(conditional)?;
            let mut terms = conditional_entry.info.as_written(TermList::InstallIf);
            if terms.any(|term| !term.conflict && bearing(term, &entry) == Bearing::Satisfies) {
                found.push(conditional);
            }
        }
        Ok(found)
    }

    /// The installed packages whose `install_if` speaks of this one's name, in any way but as a
    /// conflict: what `info --rinstall-if` lists.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn installed_because_of(&self, id: PackageId) -> Result<Vec<PackageId>, CatalogueError> {
        let mut found = Vec::new();
        for name in self.relations()?.conditional_names(self.name(id)) {
            let Some(installed) = self.installed_of(name) else {
                continue;
            };
            let entry = self.entry(installed)?;
            let mut terms = entry.info.as_written(TermList::InstallIf);
            if terms.any(|term| term.name == self.name(id) && !term.conflict) {
                found.push(installed);
            }
        }
        Ok(found)
    }

    fn told_as(
        &self,
        target: PackageId,
        packages: &[PackageId],
        reverse: ReverseField,
    ) -> Result<Vec<String>, CatalogueError> {
        let mut told: Vec<String> = Vec::new();
        for id in packages {
            let word: Cow<'_, str> = match reverse {
                ReverseField::Name => self.name(*id).into(),
                ReverseField::Package => {
                    told.push(self.label(*id));
                    continue;
                }
                // apk tells nothing where the package asked about has no origin.
                ReverseField::Origin if self.entry(target)?.info.origin.is_empty() => continue,
                ReverseField::Origin => self.entry(*id)?.info.origin.clone().into(),
            };
            if !told.iter().any(|known| *known == word) {
                told.push(word.into_owned());
            }
        }
        Ok(told)
    }
}

/// What apk calls the installed database among repositories.
pub const INSTALLED: &str = "lib/apk/db/installed";

fn text(value: &str) -> Option<Value> {
    (!value.is_empty()).then(|| Value::Text(value.to_owned()))
}

fn number(value: u64) -> Option<Value> {
    (value != 0).then_some(Value::Number(value))
}

fn list(values: Vec<String>) -> Option<Value> {
    (!values.is_empty()).then_some(Value::List(values))
}
