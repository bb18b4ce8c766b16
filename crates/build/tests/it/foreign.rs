//! Programs of another architecture, run by QEMU's emulator.

use std::fs;
use std::path::{Path, PathBuf};

use base::{Arch, Digest};
use polpo_build::guest::{GuestError, GuestMode, Layers};
use polpo_build::recipe::Accounts;

use crate::support::{Bench, init_program};

/// The folder that `scripts/install test` puts the emulator and a foreign busybox into.
pub(crate) fn programs() -> PathBuf {
    let named = std::env::var_os("POLPO_TEST_FOREIGN").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/foreign"))
}

/// A guest with a busybox for aarch64 and nothing else.
fn foreign_bench() -> Bench {
    let mut bench = Bench::new();
    let busybox = programs().join("busybox-aarch64");
    assert!(
        busybox.is_file(),
        "scripts/install test installs {busybox:?}"
    );
    let key = Digest::of(b"foreign busybox");
    let path = bench
        .store()
        .tree::<GuestError>(&key, |tree| {
            fs::create_dir(tree.join("bin")).unwrap();
            fs::copy(&busybox, tree.join("bin/busybox")).unwrap();
            for name in ["sh", "uname", "mkdir", "cat", "id", "cp", "echo", "ls"] {
                std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
            }
            Ok(())
        })
        .unwrap();
    bench.layers = Layers::stack(bench.store(), &[(key, path)], &Accounts::default()).unwrap();
    bench.plan.arch = Arch::Aarch64;
    bench
}

/// The path is a whole process's, so the test is run again in one of its own.
#[test]
fn steps_of_another_architecture_are_emulated() {
    const INNER: &str = "POLPO_TEST_EMULATOR";
    if std::env::var_os(INNER).is_none() {
        let path = std::env::join_paths(
            std::iter::once(programs())
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "foreign::steps_of_another_architecture_are_emulated",
            ])
            .arg("--nocapture")
            .env(INNER, "1")
            .env("POLPO_TEST_INIT", init_program().program)
            .env("PATH", path.unwrap())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        return;
    }
    for mode in [GuestMode::Overlay, GuestMode::Copy] {
        let mut bench = foreign_bench();
        bench.executor.guest = mode;
        bench.step("uname -m; id -u; /bin/busybox uname -m; ls /bin/ | cat; cp /bin/busybox melange-out/hello/");
        bench.step("(exec -a echo /bin/busybox called by another name); cat melange-out/hello/busybox > x; (exit 3) || echo $?");
        let output = match bench.build() {
            Ok(output) => output,
            Err(error) => panic!("{mode}: {error}"),
        };
        insta::allow_duplicates! {
            insta::assert_snapshot!(bench.lines.text(), @r"
            aarch64
            0
            aarch64
            busybox
            cat
            cp
            echo
            id
            ls
            mkdir
            sh
            uname
            called by another name
            3
            ");
        }
        drop(output);
    }
    // Nothing of it is left for others.
    let registered = Path::new("/proc/sys/fs/binfmt_misc/polpo-aarch64");
    assert!(!registered.exists());
}
