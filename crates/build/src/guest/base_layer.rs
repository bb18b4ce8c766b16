//! What a guest has beside its packages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base::Digest;
use store::Store;

use super::GuestError;
use crate::recipe::Accounts;

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

/// The tree above all packages, if they need one: the users and groups that the recipe adds, and
/// the commands of a busybox that says in `etc/busybox-paths.d` where it is to be found, which its
/// own post-install script would link.
pub(super) fn uppermost(
    store: &Store,
    layers: &[PathBuf],
    accounts: &Accounts,
) -> Result<Option<PathBuf>, GuestError> {
    let commands = commands(layers)?;
    let users = accounts.users.iter().map(|user| {
        let home = or(&user.home, "/home/build");
        let shell = or(&user.shell, "/bin/sh");
        let name = &user.name;
        (
            name.as_str(),
            format!("{name}:x:{}:{}:{name}:{home}:{shell}\n", user.uid, user.gid),
        )
    });
    let groups = accounts.groups.iter().map(|group| {
        let members = group.members.join(",");
        let line = format!("{}:x:{}:{members}\n", group.name, group.gid);
        (group.name.as_str(), line)
    });
    let mut files = Vec::new();
    for (path, lines) in [
        ("etc/passwd", users.collect::<Vec<_>>()),
        ("etc/group", groups.collect()),
    ] {
        if let Some(text) = appended(layers, path, &lines)? {
            files.push((path, text));
        }
    }
    if commands.is_empty() && files.is_empty() {
        return Ok(None);
    }
    let key = Digest::of(format!("guest top 2 {commands:?} {files:?}").as_bytes());
    let tree = store.tree(&key, |folder| {
        for name in &commands {
            let path = folder.join(name);
            create_folders_above(&path)?;
            std::os::unix::fs::symlink("/bin/busybox", &path)
                .map_err(GuestError::at("create", &path))?;
        }
        for (name, text) in &files {
            create_folders_above(&folder.join(name))?;
            write(folder, name, text)?;
        }
        set_mode(folder, 0o755)
    })?;
    Ok(Some(tree))
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// The uppermost `path` with those `lines` whose names it does not have yet; `None` when it has
/// them all.
fn appended(
    layers: &[PathBuf],
    path: &str,
    lines: &[(&str, String)],
) -> Result<Option<String>, GuestError> {
    let mut text = String::new();
    for layer in layers.iter().rev() {
        let file = layer.join(path);
        if has_own_etc(layer) && file.symlink_metadata().is_ok_and(|found| found.is_file()) {
            let bytes = fs::read(&file).map_err(GuestError::at("read", &file))?;
            text = String::from_utf8_lossy(&bytes).into_owned();
            break;
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut added = false;
    for (name, line) in lines {
        if !text
            .lines()
            .any(|known| known.split(':').next() == Some(name))
        {
            text.push_str(line);
            added = true;
        }
    }
    Ok(added.then_some(text))
}

/// Whether the tree's `etc` is a folder, and no link that could lead out of the tree.
fn has_own_etc(layer: &Path) -> bool {
    let etc = layer.join("etc").symlink_metadata();
    etc.is_ok_and(|metadata| metadata.is_dir())
}

/// Makes the folders that `path` lacks, whatever the caller's umask.
fn create_folders_above(path: &Path) -> Result<(), GuestError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|above| above.symlink_metadata().is_err())
        .collect();
    for above in missing.into_iter().rev() {
        fs::create_dir(above).map_err(GuestError::at("create", above))?;
        set_mode(above, 0o755)?;
    }
    Ok(())
}

/// The commands that a busybox among the packages wants to be called by, without those that a
/// package brings.
fn commands(layers: &[PathBuf]) -> Result<Vec<String>, GuestError> {
    let mut commands: Vec<String> = Vec::new();
    for layer in layers.iter().filter(|layer| has_own_etc(layer)) {
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
    Ok(commands)
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A umask is the whole process's, so the test is run again in one of its own.
    #[test]
    fn folders_are_everyones_to_read_whatever_the_umask() {
        const INNER: &str = "POLPO_TEST_WITHIN_UMASK";
        if std::env::var_os(INNER).is_none() {
            let name = "guest::base_layer::tests::folders_are_everyones_to_read_whatever_the_umask";
            let status = Command::new("/bin/sh")
                .args(["-c", "umask 077; exec \"$@\"", "sh"])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(INNER, "1")
                .status()
                .unwrap();
            assert!(status.success());
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        create_folders_above(&folder.path().join("usr/local/bin/awk")).unwrap();
        create_folders_above(&folder.path().join("usr/bin/awk")).unwrap();
        let mode = |name: &str| {
            let metadata = fs::metadata(folder.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o7777
        };
        assert_eq!(mode("."), 0o700);
        for name in ["usr", "usr/local", "usr/local/bin", "usr/bin"] {
            assert_eq!(mode(name), 0o755, "{name}");
        }
    }
}
