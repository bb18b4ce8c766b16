//! Repositories of packages as large as a real image's, made from those of the seed: what measurements
//! of images are taken on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use apk::index::{FILE_NAME, Index, IndexEntry};
use apk::package::{Package, PackageContents, PackageInfo};
use apk::signature::Signer;
use archive::Limits;
use archive::tree::{FileTree, Node, NodeKind, TreePath};
use base::{Arch, Epoch};

pub(crate) const USAGE: &str = "generate-packages SEED FOLDER --signing-key KEY
            write FOLDER/whole/ARCH, 149 packages of what those in SEED/ARCH hold, which need
            nothing and share no file, and FOLDER/changed-N/ARCH, the same but for one file of one";

/// When packages say they were built: their bytes depend on the seed alone.
const EPOCH: Epoch = Epoch(1_700_000_000);
/// As many as the image of the measurements has.
const COUNT: usize = 149;
/// Repositories in which one package is another.
const CHANGED: usize = 8;
/// Packages that make a first group, of one recipe; the next has one more, and so on.
const ORIGINS: usize = 60;

pub(crate) fn generate(words: &[&str]) -> Result<String, String> {
    let (seed, folder, key) = match words {
        [seed, folder, "--signing-key", key] => {
            (Path::new(seed), Path::new(folder), Path::new(key))
        }
        _ => return Err(format!("a seed, a folder and a key are needed\n{USAGE}")),
    };
    let private = key::load_private(key, || None).map_err(|error| error.to_string())?;
    let signer = Signer::of_file(key, private).map_err(|error| error.to_string())?;
    let arch = Arch::host();
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let trees = split(contents(&seed.join(arch.apk()), scratch.path())?);
    let whole = folder.join("whole").join(arch.apk());
    let mut entries = Vec::new();
    for (number, (name, tree)) in trees.iter().enumerate() {
        entries.push(write(&whole, &info(name, number, "1-r0"), tree, &signer)?);
    }
    index(&whole, &entries, &signer)?;
    // One of the middle by its size, as most packages are.
    let mut by_size: Vec<usize> = (0..trees.len()).collect();
    by_size.sort_by_key(|place| entries.get(*place).map(|entry| entry.size));
    let place = by_size.get(by_size.len() / 2).copied().unwrap_or(0);
    for number in 0..CHANGED {
        let changed = folder.join(format!("changed-{number}")).join(arch.apk());
        let Some((name, tree)) = trees.get(place) else {
            break;
        };
        let mut tree = tree.clone();
        let path = TreePath::new(&format!("usr/share/{name}.changed"))
            .map_err(|error| error.to_string())?;
        tree.insert_parents(&path, &Node::directory());
        tree.insert(path, Node::file(format!("{number}\n").into_bytes()));
        let mut entries = entries.clone();
        let written = write(&changed, &info(name, place, "2-r0"), &tree, &signer)?;
        if let Some(entry) = entries.get_mut(place) {
            *entry = written;
        }
        for entry in entries.iter().filter(|entry| entry.info.name != *name) {
            let name = entry.info.file_name();
            std::fs::hard_link(whole.join(&name), changed.join(&name))
                .map_err(|error| error.to_string())?;
        }
        index(&changed, &entries, &signer)?;
    }
    let sizes: u64 = entries.iter().map(|entry| entry.size).sum();
    Ok(format!(
        "{}: {} packages, {sizes} bytes",
        folder.display(),
        entries.len()
    ))
}

fn write(
    folder: &Path,
    info: &PackageInfo,
    tree: &FileTree,
    signer: &Signer,
) -> Result<IndexEntry, String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let mut info = info.clone();
    info.installed_size = tree.iter().map(|(_, node)| node.size()).sum();
    let contents = PackageContents {
        info,
        scripts: BTreeMap::new(),
        extras: BTreeMap::new(),
        tree,
    };
    let path = folder.join(contents.info.file_name());
    let written = apk::package::write(&path, &contents, Some(signer), EPOCH);
    Ok(IndexEntry::written(
        &written.map_err(|error| error.to_string())?,
    ))
}

fn index(folder: &Path, entries: &[IndexEntry], signer: &Signer) -> Result<(), String> {
    let mut index = Index::default();
    index.merge(entries.to_vec());
    index
        .write(&folder.join(FILE_NAME), [signer], EPOCH)
        .map_err(|error| error.to_string())
}

fn info(name: &str, number: usize, version: &str) -> PackageInfo {
    PackageInfo {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: Arch::host().apk().to_owned(),
        origin: format!("origin-{}", number % ORIGINS),
        description: format!("what {name} holds"),
        licenses: vec!["MIT".to_owned()],
        build_time: Some(EPOCH.0),
        ..PackageInfo::default()
    }
}

/// What each package of the seed holds, by its name; a path that several have is the first's.
fn contents(seed: &Path, scratch: &Path) -> Result<Vec<(String, FileTree)>, String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(seed)
        .map_err(|error| format!("{}: {error}", seed.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "apk"))
        .collect();
    files.sort();
    let limits = Limits::default();
    let mut met: BTreeSet<TreePath> = BTreeSet::new();
    let mut found = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let package = Package::open(file).map_err(|error| error.to_string())?;
        let folder = scratch.join(number.to_string());
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        let manifest = package
            .unpack(&folder, &limits)
            .map_err(|error| error.to_string())?;
        let mut tree = FileTree::new();
        for (path, node) in manifest.tree(&folder).iter() {
            let is_usable = matches!(node.kind, NodeKind::File { .. } | NodeKind::Symlink { .. });
            if is_usable && met.insert(path.clone()) {
                tree.insert_parents(path, &Node::directory());
                tree.insert(path.clone(), node.clone());
            }
        }
        if !tree.is_empty() {
            found.push((package.info().name.clone(), tree));
        }
    }
    Ok(found)
}

/// Halves those with the most files until there are [`COUNT`].
fn split(mut trees: Vec<(String, FileTree)>) -> Vec<(String, FileTree)> {
    let count = |tree: &FileTree| tree.iter().filter(|(_, node)| !node.is_directory()).count();
    while trees.len() < COUNT {
        trees.sort_by_key(|(name, tree)| (count(tree), name.clone()));
        let Some((name, tree)) = trees.pop() else {
            break;
        };
        let half = count(&tree) / 2;
        let (mut one, mut other) = (FileTree::new(), FileTree::new());
        let files = tree.iter().filter(|(_, node)| !node.is_directory());
        for (place, (path, node)) in files.enumerate() {
            let part = if place < half { &mut one } else { &mut other };
            part.insert_parents(path, &Node::directory());
            part.insert(path.clone(), node.clone());
        }
        trees.push((format!("{name}-a"), one));
        trees.push((format!("{name}-b"), other));
    }
    trees.sort_by(|(one, _), (other, _)| one.cmp(other));
    trees
}
