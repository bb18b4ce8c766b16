//! The same tests, run by a user without any rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::init_program;

#[test]
fn everything_holds_for_an_ordinary_user_too() {
    if !rustix::process::geteuid().is_root() {
        return; // and so it did, in the other tests
    }
    // Copies, because nobody else may be able to enter the folders these are in.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = |from: &std::path::Path, name: &str| {
        let to = folder.path().join(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        to
    };
    let tests = copy(&std::env::current_exe().unwrap(), "tests");
    let init = copy(&init_program().program, "sandbox-init");
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
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    std::os::unix::fs::chown(&temporary, Some(1000), Some(1000)).unwrap();
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
