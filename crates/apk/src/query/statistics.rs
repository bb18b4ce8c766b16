use std::collections::BTreeSet;

use super::population::Population;
use super::relations::version_text;
use crate::catalogue::CatalogueError;
use crate::database::Permissions;
use crate::dependency::{Constraint, Dependency};
use crate::index::IndexEntry;
use crate::package::TermList;

/// What `stats` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Installed packages.
    pub packages: usize,
    /// Directories of installed packages, and those that hold them.
    pub directories: usize,
    /// Files of installed packages.
    pub files: usize,
    /// What installed packages say they need, in bytes.
    pub bytes: u64,
    /// Installed packages that have triggers.
    pub triggers: usize,
    /// Names of packages, and names that something provides or speaks of.
    pub names: usize,
    /// Packages, installed or in repositories.
    pub available_packages: usize,
    /// Different texts, as apk keeps each of them once.
    pub atoms: usize,
}

impl<'a> Population<'a> {
    /// Counts. `arches` are the architectures of the system.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn statistics(&self, arches: &[String]) -> Result<Statistics, CatalogueError> {
        let mut statistics = Statistics {
            names: self.relations()?.name_count(),
            available_packages: self.len(),
            ..Statistics::default()
        };
        let mut directories: BTreeSet<&str> = BTreeSet::new();
        let mut files: BTreeSet<(&str, &str)> = BTreeSet::new();
        for installed in self.sources().installed {
            statistics.packages += 1;
            statistics.bytes += installed.entry.info.installed_size;
            statistics.triggers += usize::from(!installed.entry.info.triggers.is_empty());
            for directory in &installed.directories {
                let mut path = directory.path.as_str();
                while directories.insert(path) && !path.is_empty() {
                    path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                }
                let names = directory.files.iter().map(|file| file.name.as_str());
                files.extend(names.map(|name| (directory.path.as_str(), name)));
            }
        }
        statistics.directories = directories.len();
        statistics.files = files.len();
        statistics.atoms = self.atoms(arches)?;
        Ok(statistics)
    }

    fn atoms(&self, arches: &[String]) -> Result<usize, CatalogueError> {
        let mut atoms = Atoms::default();
        atoms.text("noarch");
        for arch in arches {
            atoms.text(arch);
        }
        for tag in self.tags() {
            atoms.text(&format!("@{tag}"));
        }
        atoms.terms(self.sources().world);
        for mode in [0o755, 0o644] {
            atoms.permissions(&Permissions {
                uid: 0,
                gid: 0,
                mode,
                attributes: None,
            });
        }
        for installed in self.sources().installed {
            atoms.entry(&installed.entry);
            atoms.terms(installed.entry.info.as_written(TermList::Replaces));
            for tag in &installed.tags {
                atoms.text(tag);
            }
            for directory in &installed.directories {
                atoms.permissions(&directory.permissions);
                for file in &directory.files {
                    atoms.permissions(&file.permissions);
                }
            }
        }
        for repository in self.sources().repositories {
            let catalogue = &repository.loaded.catalogue;
            atoms.text(catalogue.description());
            for entry in catalogue.entries() {
                atoms.entry(&entry?);
            }
        }
        Ok(atoms.texts.len() + atoms.permissions.len())
    }
}

#[derive(Default)]
struct Atoms {
    texts: BTreeSet<String>,
    permissions: BTreeSet<(u64, u64, u32, Vec<u8>)>,
}

impl Atoms {
    fn text(&mut self, text: &str) {
        if !text.is_empty() && !self.texts.contains(text) {
            self.texts.insert(text.to_owned());
        }
    }

    fn terms<'t>(&mut self, terms: impl IntoIterator<Item = &'t Dependency>) {
        for term in terms {
            match &term.constraint {
                Some(Constraint::Identity(identity)) => self.text(&identity.to_string()),
                _ => self.text(version_text(term).unwrap_or_default()),
            }
        }
    }

    fn entry(&mut self, entry: &IndexEntry) {
        let info = &entry.info;
        for text in [
            &info.version,
            &info.description,
            &info.url,
            &info.arch,
            &info.origin,
            &info.maintainer,
            &info.commit,
        ] {
            self.text(text);
        }
        self.text(&info.license());
        for tag in &info.tags {
            self.text(tag);
        }
        for list in [
            TermList::Depends,
            TermList::Provides,
            TermList::InstallIf,
            TermList::Recommends,
        ] {
            self.terms(info.as_written(list));
        }
    }

    fn permissions(&mut self, permissions: &Permissions) {
        let attributes = permissions.attributes.as_ref();
        self.permissions.insert((
            permissions.uid,
            permissions.gid,
            permissions.mode,
            attributes
                .map(|hash| hash.to_string().into_bytes())
                .unwrap_or_default(),
        ));
    }
}
