//! What a guest has beside its packages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base::Digest;
use store::Store;

use super::GuestError;

/// Folders every guest has: those the sandbox mounts upon and those programs take for granted.
const FOLDERS: [(&str, u32); 14] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("home/build", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/cache/melange", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// Files every guest has unless a package brings its own.
const FILES: [(&str, &str); 4] = [
    (
        "etc/group",
        "root:x:0:root\nnogroup:x:65533:\nnobody:x:65534:\n",
    ),
    (
        "etc/hosts",
        "127.0.0.1\tlocalhost polpo\n::1\tlocalhost polpo\n",
    ),
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/resolv.conf", ""),
];

/// The tree beneath all packages.
pub(super) fn lowest(store: &Store) -> Result<PathBuf, GuestError> {
    let key = Digest::of(format!("guest base 1 {FOLDERS:?} {FILES:?}").as_bytes());
    let tree = store.tree(&key, |folder| {
        for (name, _) in FOLDERS {
            let path = folder.join(name);
            fs::create_dir(&path).map_err(GuestError::at("create", &path))?;
        }
        for (name, text) in FILES {
            write(folder, name, text)?;
        }
        for (name, mode) in FOLDERS.iter().rev() {
            set_mode(&folder.join(name), *mode)?;
        }
        set_mode(folder, 0o755)
    })?;
    Ok(tree)
}

/// The tree above all packages, if they need one: the commands of a busybox that says in
/// `etc/busybox-paths.d` where it is to be found, which its own post-install script would link.
pub(super) fn uppermost(store: &Store, layers: &[PathBuf]) -> Result<Option<PathBuf>, GuestError> {
    let mut commands: Vec<String> = Vec::new();
    for layer in layers {
        let folder = layer.join("etc/busybox-paths.d");
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.map_err(GuestError::at("list", &folder))?.path();
            let text = fs::read_to_string(&path).map_err(GuestError::at("read", &path))?;
            commands.extend(text.lines().filter_map(command));
        }
    }
    commands.sort();
    commands.dedup();
    commands.retain(|path| {
        !layers
            .iter()
            .any(|layer| layer.join(path).symlink_metadata().is_ok())
    });
    if commands.is_empty() {
        return Ok(None);
    }
    let key = Digest::of(format!("guest commands 1 {commands:?}").as_bytes());
    let tree = store.tree(&key, |folder| {
        for name in &commands {
            let path = folder.join(name);
            if let Some(above) = path.parent() {
                fs::create_dir_all(above).map_err(GuestError::at("create", above))?;
            }
            std::os::unix::fs::symlink("/bin/busybox", &path)
                .map_err(GuestError::at("create", &path))?;
        }
        set_mode(folder, 0o755)
    })?;
    Ok(Some(tree))
}

/// A line of `etc/busybox-paths.d` as a path within a tree, if it is one that can be linked.
fn command(line: &str) -> Option<String> {
    let path = line.trim().trim_start_matches('/');
    let plain = !path.is_empty()
        && path
            .split('/')
            .all(|component| !matches!(component, "" | "." | ".."));
    plain.then(|| path.to_owned())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), GuestError> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(GuestError::at("write", &path))?;
    set_mode(&path, 0o644)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), GuestError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(GuestError::at("set the mode of", path))
}
