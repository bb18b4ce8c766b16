//! Packages that no .deb stands for: the root's own folders and accounts, and meta-packages.

use apk::package::PackageInfo;
use archive::tree::{FileTree, Node, TreePath};
use base::{Arch, Epoch};

use super::dependencies::parsed;
use super::tree::{add_parents, owned, root_directory};
use super::{Seed, SeedError};

/// The name of the package of folders, links and accounts.
pub(super) const BASE_LAYOUT: &str = "seed-baselayout";

/// Who these packages are from: Debian made the files, not the apks.
pub(super) const NAMESPACE: &str = "polpo-seed";

/// Less than any version of the packages that take their place.
const VERSION: &str = "0-r0";

/// Folders with a mode of their own or that no package brings.
const FOLDERS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("usr/lib64", 0o755),
    ("usr/sbin", 0o755),
    ("usr/local/bin", 0o755),
    ("usr/share", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("sbin", "usr/sbin"),
    ("var/run", "../run"),
];

const FILES: &[(&str, u32, &str)] = &[
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\n\
         build:x:1000:1000:build:/home/build:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    (
        "etc/group",
        0o644,
        "root:x:0:\ntty:x:5:\nbuild:x:1000:\nnogroup:x:65534:\n",
    ),
    (
        "etc/shadow",
        0o640,
        "root:*:0::::::\nbuild:*:0::::::\nnobody:*:0::::::\n",
    ),
    (
        "etc/nsswitch.conf",
        0o644,
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    ),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n"),
];

/// The root's folders, links into /usr and accounts.
pub(super) fn base_layout(
    seed: &Seed,
    arch: Arch,
    epoch: Epoch,
) -> Result<(PackageInfo, FileTree), SeedError> {
    let mut tree = FileTree::new();
    let mut put = |path: &str, node: Node| {
        // The paths above are all safe.
        if let Ok(path) = TreePath::new(path) {
            tree.insert(path, node);
        }
    };
    for (path, mode) in FOLDERS {
        put(path, root_directory().with_mode(*mode));
    }
    for (path, target) in LINKS {
        put(path, owned(Node::symlink(*target)));
    }
    for (path, mode, text) in FILES {
        let node = Node::file(text.as_bytes().to_vec()).with_mode(*mode);
        put(path, owned(node));
    }
    let os_release = format!(
        "ID={NAMESPACE}\nNAME=\"polpo seed\"\nPRETTY_NAME=\"polpo seed of Debian {suite}\"\nVERSION_ID={suite}\n",
        suite = seed.suite
    );
    put("etc/os-release", owned(Node::file(os_release.into_bytes())));
    add_parents(&mut tree);
    let info = info(
        BASE_LAYOUT,
        "folders, links and accounts of the seed's root",
        arch,
        epoch,
    );
    let info = PackageInfo {
        provides: parsed(["baselayout=0".to_owned()])?,
        installed_size: tree.size(),
        ..info
    };
    Ok((info, tree))
}

/// The packages that only name others.
pub(super) fn meta_packages(
    seed: &Seed,
    arch: Arch,
    epoch: Epoch,
) -> Result<Vec<PackageInfo>, SeedError> {
    seed.meta_packages
        .iter()
        .map(|(name, package)| {
            Ok(PackageInfo {
                depends: parsed(package.depends.iter().cloned())?,
                ..info(name, &package.description, arch, epoch)
            })
        })
        .collect()
}

fn info(name: &str, description: &str, arch: Arch, epoch: Epoch) -> PackageInfo {
    PackageInfo {
        name: name.to_owned(),
        version: VERSION.to_owned(),
        arch: arch.apk().to_owned(),
        origin: name.to_owned(),
        description: description.to_owned(),
        build_time: Some(epoch.0),
        licenses: vec!["Apache-2.0".to_owned()],
        ..PackageInfo::default()
    }
}
