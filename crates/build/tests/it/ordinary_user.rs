//! The same tests, run by a user without any rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::init_program;

/// Copies of the tests and of the program that becomes the sandbox, because nobody else may be able to
/// enter the folders these are in; and a folder to write to.
fn copies(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let tests = copy(&std::env::current_exe().unwrap(), &folder.join("tests"));
    let init = copy(&init_program().program, &folder.join("sandbox-init"));
    let temporary = folder.join("tmp");
    fs::create_dir(&temporary).unwrap();
    std::os::unix::fs::chown(&temporary, Some(1000), Some(1000)).unwrap();
    (tests, init, temporary)
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
    to.to_owned()
}

/// As if root had given this user further ids (subuid(5)).
#[test]
fn an_ordinary_user_can_give_files_to_others() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (tests, init, temporary) = copies(folder.path());
    let mut mounts = Vec::new();
    for (name, text) in [
        ("subuid", "maker:700000:65536\n"),
        ("subgid", "1000:800000:65536\n"),
        (
            "passwd",
            "root:x:0:0::/:/bin/sh\nmaker:x:1000:1000::/:/bin/sh\n",
        ),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        mounts.push(format!("mount --bind {} /etc/{name}", path.display()));
    }
    let script = format!(
        "{} && exec setpriv --reuid 1000 --regid 1000 --clear-groups \"$0\" owners::",
        mounts.join(" && ")
    );
    let output = Command::new("unshare")
        .args(["--mount", "--", "sh", "-c", &script])
        .arg(tests)
        .env("POLPO_TEST_INIT", init)
        .env("POLPO_TEST_HAS_IDS", "1")
        .env("TMPDIR", &temporary)
        .env("HOME", &temporary)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(!text.contains(" 0 passed"), "{text}");
}

#[test]
fn everything_holds_for_an_ordinary_user_too() {
    if !rustix::process::geteuid().is_root() {
        return; // and so it did, in the other tests
    }
    let folder = tempfile::tempdir().unwrap();
    let (tests, init, temporary) = copies(folder.path());
    let copy = |from: &Path, name: &str| copy(from, &folder.path().join(name));
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    for name in ["qemu-aarch64-static", "busybox-aarch64"] {
        copy(
            &crate::foreign::programs().join(name),
            &format!("foreign/{name}"),
        );
    }
    let kernel = crate::support::kernel();
    let lib = kernel.parent().unwrap().parent().unwrap().join("lib");
    fs::create_dir(folder.path().join("boot")).unwrap();
    copy(&kernel, "boot/vmlinuz");
    let copied = Command::new("cp")
        .args(["-r", "--"])
        .args([lib, folder.path().join("lib")])
        .status();
    assert!(copied.unwrap().success());
    let output = Command::new(tests)
        .args(["--skip", "everything_holds_for_an_ordinary_user_too"])
        // These want programs that may lie in another user's home.
        .args(["--skip", "network_clients", "--skip", "bills"])
        .env("POLPO_TEST_INIT", init)
        .env("POLPO_TEST_FOREIGN", foreign)
        .env("POLPO_TEST_KERNEL", folder.path().join("boot/vmlinuz"))
        .env("TMPDIR", &temporary)
        .env("HOME", &temporary)
        .env_remove("XDG_RUNTIME_DIR")
        .current_dir("/")
        .uid(1000)
        .gid(1000)
        .output()
        .unwrap();
    // podman keeps a user's namespaces in a process that stays.
    let mut end = Command::new("podman");
    end.args(["system", "migrate"])
        .env("HOME", &temporary)
        .env_remove("XDG_RUNTIME_DIR")
        .current_dir("/");
    let ended = end.uid(1000).gid(1000).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains(" 0 passed"), "{text}");
}
