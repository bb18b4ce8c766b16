//! Roots that packages are installed into. What is expected was seen of apk 3.0.6, with the same
//! packages and the same steps, unless it says otherwise.

mod audit;
mod damage;
mod interrupted;
mod root;
mod rules;
mod scripts;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use archive::tree::{FileTree, Node};
use base::{Event, Reporter};
use polpo_apk::dependency::Dependency;
use polpo_apk::index::IndexEntry;
use polpo_apk::install::{
    Access, Arrival, CommitOptions, Committed, Create, OpenOptions, Root, Step, Transaction,
};
use polpo_apk::package::{Package, PackageContents, PackageInfo, Script, write};
use tempfile::TempDir;

use crate::sample::{EPOCH, path};

/// Whether the tests run as root: an ordinary user's roots are in usermode.
fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// What is installed into a root, and what was said.
struct System {
    folder: TempDir,
    created: bool,
}

/// Keeps the lines that a commit says.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Reporter for Lines {
    fn report(&self, event: Event<'_>) {
        let line = match event {
            Event::Step { name, .. } => name,
            Event::Output { line, .. } => line,
            Event::Notice { message } => message,
            _ => return,
        };
        self.0.lock().unwrap().push(line.to_owned());
    }
}

impl Lines {
    fn take(&self) -> String {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A package that is to be made.
struct Recipe {
    info: PackageInfo,
    scripts: BTreeMap<Script, Vec<u8>>,
    tree: FileTree,
}

/// A package's name and version, with files of root's: a path and its text, or a path that ends
/// with `/`.
fn recipe(name: &str, version: &str, files: &[(&str, &str)]) -> Recipe {
    let mut recipe = Recipe {
        info: PackageInfo {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "x86_64".to_owned(),
            ..PackageInfo::default()
        },
        scripts: BTreeMap::new(),
        tree: FileTree::new(),
    };
    for (place, text) in files {
        recipe = match place.strip_suffix('/') {
            Some(directory) => recipe.node(directory, Node::directory()),
            None => recipe.node(place, Node::file(text.as_bytes().to_vec())),
        };
    }
    recipe
}

impl Recipe {
    fn node(mut self, place: &str, node: Node) -> Recipe {
        let place = path(place);
        self.tree.insert_parents(&place, &Node::directory());
        self.tree.insert(place, node);
        self
    }

    fn replaces(mut self, terms: &str, priority: u64) -> Recipe {
        self.info.replaces = Dependency::parse_list(terms).unwrap();
        self.info.replaces_priority = Some(priority);
        self
    }

    fn origin(mut self, origin: &str) -> Recipe {
        self.info.origin = origin.to_owned();
        self
    }

    fn triggers(mut self, patterns: &[&str]) -> Recipe {
        self.info.triggers = patterns.iter().map(ToString::to_string).collect();
        self
    }

    fn script(mut self, script: Script, lines: &str) -> Recipe {
        let text = format!("#!/bin/sh\n{lines}\n");
        self.scripts.insert(script, text.into_bytes());
        self
    }

    /// Writes the package into a folder.
    fn write(self, folder: &Path) -> PathBuf {
        let file = folder.join(self.info.file_name());
        let contents = PackageContents {
            info: self.info,
            scripts: self.scripts,
            extras: BTreeMap::new(),
            tree: &self.tree,
        };
        write(&file, &contents, None, EPOCH).unwrap();
        file
    }
}

/// What is to be done: packages that are installed or upgraded, and names that are removed.
enum Do<'d> {
    Install(&'d Path),
    Remove(&'d str),
}

fn steps(root: &Root, what: &[Do<'_>]) -> Vec<Step> {
    what.iter()
        .map(|what| match what {
            Do::Remove(name) => Step {
                before: Some((*name).to_owned()),
                after: Arrival::Nothing,
                repository_tag: None,
                message: Some(format!("Purging {name}")),
            },
            Do::Install(file) => {
                let package = Package::open(file).unwrap();
                let entry = IndexEntry::of(&package);
                let name = entry.info.name.clone();
                Step {
                    before: root.package(&name).map(|_| name.clone()),
                    message: Some(format!("Installing {name} ({})", entry.info.version)),
                    after: Arrival::Package {
                        file: file.to_path_buf(),
                        entry: Box::new(entry),
                    },
                    repository_tag: None,
                }
            }
        })
        .collect()
}

impl System {
    fn new() -> System {
        System {
            folder: tempfile::tempdir().unwrap(),
            created: false,
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn options(create: bool) -> OpenOptions {
        OpenOptions {
            access: Access::Write,
            create: match (create, is_root()) {
                (false, _) => Create::Never,
                (true, true) => Create::Database,
                (true, false) => Create::Usermode,
            },
            arches: vec!["x86_64".to_owned()],
            ..OpenOptions::default()
        }
    }

    fn open(&self, lines: &Lines) -> Root {
        Root::open(&self.root(), &System::options(!self.created), lines).unwrap()
    }

    /// Makes a package and installs it, without scripts.
    fn install(&mut self, recipe: Recipe) -> (Committed, String) {
        self.install_with(recipe, quiet())
    }

    fn install_with(&mut self, recipe: Recipe, options: CommitOptions) -> (Committed, String) {
        let file = recipe.write(self.folder.path());
        self.commit(&[Do::Install(&file)], options)
    }

    fn remove(&mut self, name: &str) -> (Committed, String) {
        self.commit(&[Do::Remove(name)], quiet())
    }

    fn commit(&mut self, what: &[Do<'_>], options: CommitOptions) -> (Committed, String) {
        let lines = Lines::default();
        let mut root = self.open(&lines);
        self.created = true;
        let transaction = Transaction {
            steps: steps(&root, what),
            world: Vec::new(),
            options,
        };
        let committed = root.commit(&transaction, &lines).unwrap();
        (committed, lines.take())
    }

    /// Writes a file as the administrator would.
    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root().join(path)).is_ok()
    }

    fn mode(&self, path: &str) -> u32 {
        let found = fs::symlink_metadata(self.root().join(path)).unwrap();
        found.permissions().mode() & 0o7777
    }

    fn inode(&self, path: &str) -> u64 {
        fs::symlink_metadata(self.root().join(path)).unwrap().ino()
    }

    /// The text of `installed`, where the packages' own hashes are left out.
    fn installed(&self) -> String {
        self.read("lib/apk/db/installed")
            .lines()
            .filter(|line| !line.starts_with("C:") && !line.starts_with("S:"))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// The files of a directory with their texts, or where links lead.
    fn files(&self, directory: &str) -> String {
        listing(&self.root().join(directory))
    }

    /// The names of the packages that have the file, by the database.
    fn owners(&self, path: &str) -> Vec<String> {
        let root = Root::open(&self.root(), &OpenOptions::default(), &base::Silent).unwrap();
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let has = |package: &&polpo_apk::database::InstalledPackage| {
            package.directories.iter().any(|known| {
                known.path == directory && known.files.iter().any(|file| file.name == name)
            })
        };
        let owners = root.installed().iter().filter(has);
        owners
            .map(|package| package.entry.info.name.clone())
            .collect()
    }
}

/// A line for each file below a folder: its path, and its text or where it leads. The lock is only
/// there from the second transaction on.
fn listing(folder: &Path) -> String {
    let mut lines = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if found.is_dir() {
                lines.push(format!("{name}/\n"));
                folders.push(path);
            } else if found.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                lines.push(format!("{name} -> {}\n", target.display()));
            } else if !name.ends_with("lib/apk/db/lock") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                lines.push(format!("{name}: {}\n", text.trim_end()));
            }
        }
    }
    lines.sort();
    lines.concat()
}

/// Without scripts.
fn quiet() -> CommitOptions {
    CommitOptions {
        no_scripts: true,
        ..CommitOptions::default()
    }
}
