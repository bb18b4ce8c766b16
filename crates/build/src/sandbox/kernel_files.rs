//! What of `/proc` is hidden or made read-only.
//!
//! When root builds, uid 0 inside is uid 0 of the host as far as the owner of a file is concerned,
//! and the kernel's files ask for no more than that: `/proc/sys/kernel/core_pattern` would be a
//! way out. bubblewrap covers some of them, but not those it finds closed at the top, as `/proc/sys`
//! seems to be. So everything that is not about processes is covered here. For other users the
//! kernel does so itself, but for the few settings of the sandbox's own namespaces.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// bubblewrap's arguments that cover the kernel's own files; they come after `--proc /proc`.
pub(super) fn covers() -> Vec<[String; 3]> {
    if !rustix::process::geteuid().is_root() {
        return vec![["--ro-bind", "/proc/sys", "/proc/sys"].map(str::to_owned)];
    }
    covers_of(Path::new("/proc"))
}

fn covers_of(proc: &Path) -> Vec<[String; 3]> {
    let Ok(entries) = fs::read_dir(proc) else {
        return Vec::new();
    };
    let mut covers: Vec<[String; 3]> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                return None; // a process
            }
            let metadata = entry.path().symlink_metadata().ok()?;
            let mode = metadata.permissions().mode();
            let source = if metadata.is_dir() || metadata.is_file() && mode & 0o222 != 0 {
                format!("/proc/{name}")
            } else if metadata.is_file() && mode & 0o004 == 0 {
                "/dev/null".to_owned() // for root's eyes only, and so not for steps
            } else {
                return None;
            };
            Some(["--ro-bind".to_owned(), source, format!("/proc/{name}")])
        })
        .collect();
    covers.sort();
    covers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_roots_files_are_covered() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        for name in ["sys", "irq", "1", "4711"] {
            fs::create_dir(path(name)).unwrap();
        }
        for (name, mode) in [("mtrr", 0o644), ("kmsg", 0o400), ("cpuinfo", 0o444)] {
            fs::write(path(name), "").unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("4711", path("self")).unwrap();
        let covers: Vec<String> = covers_of(folder.path())
            .iter()
            .map(|cover| cover.join(" "))
            .collect();
        insta::assert_snapshot!(covers.join("\n"), @r"
        --ro-bind /dev/null /proc/kmsg
        --ro-bind /proc/irq /proc/irq
        --ro-bind /proc/mtrr /proc/mtrr
        --ro-bind /proc/sys /proc/sys
        ");
        // This host has what matters most.
        let real = covers_of(Path::new("/proc"));
        assert!(real.iter().any(|cover| cover[2] == "/proc/sys"));
    }
}
