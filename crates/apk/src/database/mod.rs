//! What apk knows of a system: the installed database and the settings beside it.
//!
//! `usr/lib/apk/db/{installed,scripts.tar,triggers}` and `etc/apk/{world,repositories,arch,keys/}`
//! (apk-tools' `database.c`; apk finds the first three by `lib/apk/db`, which is the same folder
//! where `lib` is a link to `usr/lib`).

mod adb;
mod installed;
pub(crate) mod scripts;

pub use adb::{Owners, to_adb};
pub use installed::{
    Broken, InstalledDirectory, InstalledFile, InstalledPackage, Permissions, Unknown, parse,
    to_text,
};
pub(crate) use installed::{attributes_hash, parse_with, short, sorted};

use std::collections::BTreeMap;
use std::io::{self, Read};

use archive::tar;
use archive::tree::{FileTree, Node, TreePath};
use base::Epoch;
use key::{KeyError, PublicKey};

use crate::dependency::{Dependency, Identity, InvalidDependency};
use crate::index::TextError;
use crate::signature::Keyring;

/// Bytes of a database's file that is read.
pub(crate) const MAXIMUM_FILE: u64 = 300 << 20;

/// Where the installed database lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// `usr/lib/apk/db`: where `lib` is a link to `usr/lib`.
    #[default]
    UsrLib,
    /// `lib/apk/db`: where `lib` is a directory.
    Lib,
}

impl Place {
    /// The folder, relative to the root.
    pub fn folder(self) -> &'static str {
        match self {
            Place::UsrLib => "usr/lib/apk/db",
            Place::Lib => "lib/apk/db",
        }
    }
}

/// A database can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A file's bytes can't be had.
    #[error("can't read `{file}` of the installed database: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any may be.
    #[error("`{file}` of the installed database is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file is no text.
    #[error("`{file}` of the installed database is not UTF-8")]
    NotUtf8 {
        /// The file.
        file: String,
    },
    /// The list of packages can't be understood.
    #[error("`{file}` of the installed database: {source}")]
    Text {
        /// The file.
        file: String,
        /// What is wrong.
        source: TextError,
    },
    /// The world holds a term that is none.
    #[error("`etc/apk/world`: {0}")]
    World(#[from] InvalidDependency),
    /// The scripts can't be read.
    #[error("`{file}` of the installed database: {source}")]
    Scripts {
        /// The file.
        file: String,
        /// What is wrong.
        source: tar::ReadError,
    },
    /// A key is none.
    #[error("`etc/apk/keys/{name}`: {source}")]
    Key {
        /// The file's name.
        name: String,
        /// What is wrong.
        source: KeyError,
    },
    /// A key's name can't be a file's.
    #[error("`{name}` can't be the file name of a key")]
    KeyName {
        /// The name.
        name: String,
    },
}

/// What apk knows of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// `etc/apk/arch`: the architectures that packages may have, the first one the system's.
    pub arches: Vec<String>,
    /// `etc/apk/world`: what was asked for.
    pub world: Vec<Dependency>,
    /// `etc/apk/repositories`, line by line.
    pub repositories: Vec<String>,
    /// `etc/apk/keys`.
    pub keys: Keyring,
    /// The installed packages.
    pub packages: Vec<InstalledPackage>,
}

impl Database {
    /// The files, with the directories they lie in (root's, 0755, at `epoch`), to be put into a
    /// system's tree.
    ///
    /// # Errors
    /// A key's name can't be a file's, or a script's can't be written.
    pub fn to_tree(&self, place: Place, epoch: Epoch) -> Result<FileTree, DatabaseError> {
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        let mut world: Vec<String> = self.world.iter().map(Dependency::to_string).collect();
        world.sort();
        world.dedup();
        files.push(("etc/apk/world".to_owned(), lines(&world)));
        files.push(("etc/apk/repositories".to_owned(), lines(&self.repositories)));
        files.push(("etc/apk/arch".to_owned(), lines(&self.arches)));
        for (name, key) in self.keys.keys() {
            if name.contains('/') || tar::safe_path(name) != Ok(name) {
                return Err(DatabaseError::KeyName {
                    name: name.escape_debug().to_string(),
                });
            }
            files.push((format!("etc/apk/keys/{name}"), key.to_pem().into_bytes()));
        }
        let folder = place.folder();
        let installed = to_text(&self.packages).into_bytes();
        files.push((format!("{folder}/installed"), installed));
        files.push((
            format!("{folder}/scripts.tar"),
            scripts::to_archive(&self.packages),
        ));
        files.push((
            format!("{folder}/triggers"),
            triggers(&self.packages).into_bytes(),
        ));

        let mut tree = FileTree::new();
        let directory = Node::directory().with_mtime(epoch.0);
        for parent in ["etc/apk/keys", folder] {
            insert(&mut tree, parent, directory.clone(), &directory);
        }
        for (path, bytes) in files {
            insert(
                &mut tree,
                &path,
                Node::file(bytes).with_mtime(epoch.0),
                &directory,
            );
        }
        Ok(tree)
    }

    /// Reads the database out of a system's tree: by `usr/lib` or, failing that, `lib`. What is
    /// missing is empty. Scripts of packages that are not installed are passed over.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub fn read(tree: &FileTree) -> Result<Database, DatabaseError> {
        let place = [Place::UsrLib, Place::Lib]
            .into_iter()
            .find(|place| tree.contains(&format!("{}/installed", place.folder())))
            .unwrap_or_default();
        let folder = place.folder();
        let bytes = |file: &str| bytes(tree, file);
        let (packages, _) = read_packages(folder, &bytes, Unknown::Refuse)?;
        let list = |file: &str| -> Result<Vec<String>, DatabaseError> {
            Ok(lines_of(&text(&bytes, file)?))
        };
        let mut keys = Keyring::default();
        for (path, node) in tree.children("etc/apk/keys") {
            if !node.is_file() {
                continue;
            }
            let name = path.file_name();
            let key = PublicKey::from_pem(&text(&bytes, path.as_str())?).map_err(|source| {
                DatabaseError::Key {
                    name: name.to_owned(),
                    source,
                }
            })?;
            keys.add(name, key);
        }
        Ok(Database {
            arches: list("etc/apk/arch")?,
            world: Dependency::parse_list(&text(&bytes, "etc/apk/world")?)?,
            repositories: list("etc/apk/repositories")?,
            keys,
            packages,
        })
    }
}

fn insert(tree: &mut FileTree, path: &str, node: Node, directory: &Node) {
    // Every path here is safe: the fixed ones, and the keys', which were checked.
    if let Ok(path) = TreePath::new(path) {
        tree.insert_parents(&path, directory);
        tree.insert(path, node);
    }
}

fn lines(items: &[String]) -> Vec<u8> {
    let mut out = String::new();
    for item in items {
        // An item can't begin a line of its own.
        out.extend(item.chars().map(|c| if c.is_control() { ' ' } else { c }));
        out.push('\n');
    }
    out.into_bytes()
}

/// The bytes of a file, none if it isn't there.
fn bytes(tree: &FileTree, file: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
    let Some(archive::tree::NodeKind::File { content, .. }) = tree.get(file).map(|node| &node.kind)
    else {
        return Ok(None);
    };
    let failed = |source| DatabaseError::Read {
        file: file.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    content
        .open()
        .map_err(failed)?
        .take(MAXIMUM_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAXIMUM_FILE {
        return Err(DatabaseError::TooLarge {
            file: file.to_owned(),
            limit: MAXIMUM_FILE,
        });
    }
    Ok(Some(bytes))
}

/// Reads a file of the database, as none where there is no such file.
pub(crate) type ReadFile<'a> = dyn Fn(&str) -> Result<Option<Vec<u8>>, DatabaseError> + 'a;

/// A file's text, empty where there is none.
pub(crate) fn text(read: &ReadFile<'_>, file: &str) -> Result<String, DatabaseError> {
    String::from_utf8(read(file)?.unwrap_or_default()).map_err(|_| DatabaseError::NotUtf8 {
        file: file.to_owned(),
    })
}

/// The lines of a file that say something.
pub(crate) fn lines_of(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The packages of the database in `folder`, with their triggers and scripts. Scripts of packages
/// that are not installed are passed over. Says also whether what is not known was.
pub(crate) fn read_packages(
    folder: &str,
    read: &ReadFile<'_>,
    unknown: Unknown,
) -> Result<(Vec<InstalledPackage>, bool), DatabaseError> {
    let file = format!("{folder}/installed");
    let (mut packages, passed_over) = parse_with(&text(read, &file)?, unknown)
        .map_err(|source| DatabaseError::Text { file, source })?;
    let by_identity: BTreeMap<Identity, usize> = packages
        .iter()
        .enumerate()
        .map(|(place, package)| (short(package.entry.identity), place))
        .collect();
    for line in lines_of(&text(read, &format!("{folder}/triggers"))?) {
        let mut words = line.split_ascii_whitespace();
        let identity = words.next().and_then(|word| word.parse().ok());
        if let Some(package) = identity
            .and_then(|identity: Identity| by_identity.get(&short(identity)))
            .and_then(|place| packages.get_mut(*place))
        {
            package.entry.info.triggers = words.map(str::to_owned).collect();
        }
    }
    for (identity, script, bytes) in scripts::read(folder, read)? {
        if let Some(package) = by_identity
            .get(&short(identity))
            .and_then(|place| packages.get_mut(*place))
        {
            package.scripts.insert(script, bytes);
        }
    }
    Ok((packages, passed_over))
}

/// The text of `triggers`.
pub(crate) fn triggers(packages: &[InstalledPackage]) -> String {
    sorted(packages)
        .iter()
        .filter(|package| !package.entry.info.triggers.is_empty())
        .map(|package| {
            let patterns = package.entry.info.triggers.join(" ");
            format!("{} {patterns}\n", short(package.entry.identity))
        })
        .collect()
}
