//! The record of a package while it is unpacked, in the order that apk lists directories in.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::PackageId;
use super::place::split;
use crate::database::{InstalledDirectory, InstalledFile, Permissions};
use crate::package::Manifest;

/// apk sorts a package's directories once more than these are out of order.
const UNSORTED: usize = 32;

/// Root's, 0755: what a directory has that nothing says otherwise of.
pub(super) const USUAL: Permissions = Permissions {
    uid: 0,
    gid: 0,
    mode: 0o755,
    attributes: None,
};

/// A package that is being unpacked.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) id: PackageId,
    /// The package's name.
    pub(super) name: String,
    /// `name-version`.
    pub(super) label: String,
    directories: Vec<InstalledDirectory>,
    places: BTreeMap<String, usize>,
    /// Files by their paths: which of their directory's they are.
    files: BTreeMap<String, usize>,
    current: Option<usize>,
    unsorted: usize,
    /// Files that lie beside their place.
    extracted: BTreeSet<String>,
    /// Directories that the journal knows.
    touched: BTreeSet<String>,
    pub(super) broken_files: bool,
    pub(super) broken_attributes: bool,
    /// Whether some of its files have several names.
    pub(super) has_hard_links: bool,
}

impl Incoming {
    /// A package that begins with the directories that it has already: none, unless it is installed
    /// again.
    pub(super) fn new(
        id: PackageId,
        name: &str,
        version: &str,
        directories: Vec<InstalledDirectory>,
    ) -> Incoming {
        let mut incoming = Incoming {
            id,
            name: name.to_owned(),
            label: format!("{name}-{version}"),
            files: numbered(&directories),
            directories,
            places: BTreeMap::new(),
            current: None,
            unsorted: 0,
            extracted: BTreeSet::new(),
            touched: BTreeSet::new(),
            broken_files: false,
            broken_attributes: false,
            has_hard_links: false,
        };
        incoming.number();
        incoming
    }

    fn number(&mut self) {
        self.places = self
            .directories
            .iter()
            .enumerate()
            .map(|(place, directory)| (directory.path.clone(), place))
            .collect();
    }

    /// Where the directory is listed. As with apk, looking for one may sort them.
    fn find(&mut self, path: &str) -> Option<usize> {
        if let Some(current) = self.current
            && self.directories.get(current)?.path == path
        {
            return Some(current);
        }
        if self.unsorted > UNSORTED {
            let current = self
                .current
                .and_then(|current| self.directories.get(current))
                .map(|current| current.path.clone());
            self.directories
                .sort_by(|left, right| left.path.cmp(&right.path));
            self.number();
            self.current = current.and_then(|path| self.places.get(&path).copied());
            self.unsorted = 0;
        }
        self.places.get(path).copied()
    }

    /// Whether the package has the directory.
    pub(super) fn has_directory(&mut self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// The directory, listed if it isn't; its files come next.
    pub(super) fn directory(&mut self, path: &str) -> &mut InstalledDirectory {
        let place = match self.find(path) {
            Some(place) => place,
            None => {
                let last = self.directories.last();
                let is_out_of_order =
                    self.unsorted > 0 || last.is_some_and(|last| path < last.path.as_str());
                self.unsorted += usize::from(is_out_of_order);
                self.directories.push(InstalledDirectory {
                    path: path.to_owned(),
                    permissions: USUAL,
                    files: Vec::new(),
                });
                let place = self.directories.len() - 1;
                self.places.insert(path.to_owned(), place);
                place
            }
        };
        self.current = Some(place);
        &mut self.directories[place]
    }

    /// Lists a file in its directory, or says anew what its owner and mode are.
    pub(super) fn file(&mut self, path: &str, permissions: Permissions) {
        let (directory, name) = split(path);
        let known = self.files.get(path).copied();
        let files = &mut self.directory(directory).files;
        if let Some(file) = known.and_then(|number| files.get_mut(number)) {
            file.permissions = permissions;
            return;
        }
        let number = files.len();
        files.push(InstalledFile {
            name: name.to_owned(),
            permissions,
            checksum: None,
        });
        self.files.insert(path.to_owned(), number);
    }

    /// Whether the directory is touched for the first time.
    pub(super) fn touch(&mut self, path: &str) -> bool {
        !self.touched.contains(path) && self.touched.insert(path.to_owned())
    }

    pub(super) fn touched(&self) -> impl Iterator<Item = &str> {
        self.touched.iter().map(String::as_str)
    }

    /// The file lies beside its place.
    pub(super) fn extracted(&mut self, path: &str) {
        self.extracted.insert(path.to_owned());
    }

    pub(super) fn is_extracted(&self, path: &str) -> bool {
        self.extracted.contains(path)
    }

    /// The directories with their files, sorted by name, and the checksums that were computed.
    pub(super) fn finish(mut self, manifest: &Manifest) -> Finished {
        let checksums: BTreeMap<&str, _> = manifest
            .entries
            .iter()
            .filter_map(|entry| Some((entry.path.as_str(), entry.recorded()?)))
            .collect();
        for directory in &mut self.directories {
            directory
                .files
                .sort_by(|left, right| left.name.cmp(&right.name));
            for file in &mut directory.files {
                let path = join(&directory.path, &file.name);
                // Of what could not be unpacked, apk says that it is not known.
                if self.extracted.contains(&path) {
                    file.checksum = checksums.get(path.as_str()).copied();
                }
            }
        }
        Finished {
            directories: self.directories,
            extracted: self.extracted,
            broken_files: self.broken_files,
            broken_attributes: self.broken_attributes,
            has_hard_links: self.has_hard_links,
        }
    }
}

/// Files by their paths, with their numbers in their directories; of several with one path, the last.
fn numbered(directories: &[InstalledDirectory]) -> BTreeMap<String, usize> {
    let files = directories.iter().flat_map(|directory| {
        let files = directory.files.iter().enumerate();
        files.map(|(number, file)| (join(&directory.path, &file.name), number))
    });
    files.collect()
}

/// A package that was unpacked and verified.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) directories: Vec<InstalledDirectory>,
    /// Files that lie beside their place.
    pub(super) extracted: BTreeSet<String>,
    pub(super) broken_files: bool,
    pub(super) broken_attributes: bool,
    pub(super) has_hard_links: bool,
}

/// A name in a directory.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}
