//! apk's database of the image: what is installed, what was asked for, and whom it trusts.

use apk::database::{Database, DatabaseError as ApkError, InstalledPackage, Place};
use apk::repository::Location;
use apk::signature::Keyring;
use archive::tree::{Node, TreePath};
use base::Epoch;
use rayon::prelude::*;

use crate::accounts::Names;
use crate::build::Unpacked;
use crate::configuration::{ImageConfiguration, redacted};
use crate::filesystem::{Filesystem, FilesystemError};
use crate::plan::ImagePlan;

/// The database can't be written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It can't be put into words.
    #[error(transparent)]
    Apk(#[from] ApkError),
    /// A file can't be changed.
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
    /// Two keys of one name.
    #[error(
        "two different keys would be /etc/apk/keys/{0}: one of the keyring, one of `runtime_keyring`; give one another name"
    )]
    KeyCollision(String),
    /// A key can't be read.
    #[error("the key `{name}` of `runtime_keyring` can't be used: {source}")]
    Key {
        /// The key.
        name: String,
        /// Why.
        #[source]
        source: key::KeyError,
    },
}

/// Writes the database, once everything else is in place.
pub(crate) fn write(
    filesystem: &mut Filesystem,
    plan: &ImagePlan,
    packages: &[Unpacked],
    names: &Names,
) -> Result<(), DatabaseError> {
    let below = plan.base.as_ref();
    let mut installed: Vec<InstalledPackage> =
        below.map(|base| base.packages.clone()).unwrap_or_default();
    let held = filesystem.held(packages.len());
    let all = packages.par_iter().zip(&plan.packages).zip(held);
    installed.par_extend(all.enumerate().map(|(index, ((package, planned), held))| {
        // apk records owners as they are on disk, where names have the image's numbers.
        let mut manifest = package.stored.run.manifest.clone();
        for entry in &mut manifest.entries {
            (entry.uid, entry.gid) = names.numbers(&entry.user, entry.uid, &entry.group, entry.gid);
        }
        let mut record = InstalledPackage::new(&package.package, &manifest);
        record.repository_tag.clone_from(&planned.tag);
        if held.owned != package.stored.files() {
            record.retain_files(|path| {
                TreePath::new(path)
                    .ok()
                    .and_then(|path| filesystem.entry(&path))
                    .is_some_and(|(_, placed)| placed.owner == Some(index))
            });
        }
        record
    }));
    let mut world = plan.world.clone();
    let mut repositories = repositories(&plan.configuration);
    let mut keys = keys(&plan.keyring, &plan.configuration)?;
    if let Some(base) = below {
        for term in &base.database.world {
            if world.iter().all(|wanted| wanted.name != term.name) {
                world.push(term.clone());
            }
        }
        for line in &base.database.repositories {
            if !repositories.contains(line) {
                repositories.push(line.clone());
            }
        }
        for (name, key) in base.database.keys.keys() {
            if keys.get(name).is_none() {
                keys.add(name, key.clone());
            }
        }
    }
    let database = Database {
        arches: vec![plan.arch.apk().to_owned()],
        world,
        repositories,
        keys,
        packages: installed,
    };
    // Time 0 everywhere: the layers of the same plan are the same at every epoch.
    let is_below = |path: &str| {
        let real = filesystem.follow(path).ok().flatten();
        real.and_then(|path| filesystem.entry(&path))
            .is_some_and(|(_, placed)| placed.below)
    };
    let place = if !is_below("usr/lib/apk/db/installed") && is_below("lib/apk/db/installed") {
        Place::Lib
    } else {
        Place::UsrLib
    };
    for (path, node) in database.to_tree(place, Epoch(0))? {
        if node.is_directory() {
            filesystem.make_directory(path.as_str(), node)?;
        } else {
            filesystem.put(path.as_str(), node)?;
        }
    }
    let lock = Node::file(Vec::new()).with_mode(0o600);
    filesystem.put(&format!("{}/lock", place.folder()), lock)?;
    Ok(())
}

/// What apk inside the image goes by. Folders of the machine that builds mean nothing there, so of
/// `repositories` only URLs are listed; credentials are left out.
fn repositories(configuration: &ImageConfiguration) -> Vec<String> {
    let contents = &configuration.contents;
    let remote = contents
        .repositories
        .iter()
        .filter(|repository| matches!(repository.location, Location::Url(_)));
    let lines: std::collections::BTreeSet<String> = contents
        .runtime_repositories
        .iter()
        .chain(remote)
        .map(redacted)
        .collect();
    lines.into_iter().collect()
}

/// The keys by which the packages of the image may be verified, and those that only it trusts.
fn keys(keyring: &Keyring, configuration: &ImageConfiguration) -> Result<Keyring, DatabaseError> {
    let mut keys = keyring.clone();
    for entry in &configuration.contents.runtime_keyring {
        let key =
            key::PublicKey::from_pem(&entry.content).map_err(|source| DatabaseError::Key {
                name: entry.name.clone(),
                source,
            })?;
        if keys.get(&entry.name).is_some_and(|other| *other != key) {
            return Err(DatabaseError::KeyCollision(entry.name.clone()));
        }
        keys.add(entry.name.clone(), key);
    }
    Ok(keys)
}
