//! Steps that take more of the machine than they may.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use polpo_build::executor::ExecuteError;
use polpo_build::sandbox::Excess;

use crate::support::{Bench, listing};

/// Carries the bench's plan out, which must take too much; nothing may be left of it.
fn exceeds(bench: &mut Bench) -> Excess {
    let temporary = bench.store().root().join("tmp");
    let before = listing(&temporary).lines().count();
    let start = Instant::now();
    let error = bench.build().unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(60), "{error}");
    assert_eq!(listing(&temporary).lines().count(), before);
    assert_eq!(mounts_beneath(bench.store().root()), Vec::<String>::new());
    match error {
        ExecuteError::Exceeded { step, excess, log } => {
            assert_eq!(step, "step 1");
            assert!(fs::read_to_string(log).unwrap().contains("before"));
            excess
        }
        error => panic!("{error}"),
    }
}

/// What is mounted there, as everybody outside sees it.
fn mounts_beneath(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let beneath = mounts.lines().filter(|line| line.contains(folder));
    beneath.map(str::to_owned).collect()
}

#[test]
fn a_fork_bomb_is_put_out() {
    let mut bench = Bench::new();
    bench.plan.limits.processes = Some(150);
    bench.step("echo before; set +e; bomb() { bomb | bomb & sleep 64.5; }; bomb; wait; sleep 64.5");
    assert_eq!(exceeds(&mut bench), Excess::Processes(150));
    assert_eq!(crate::steps::processes_with("64.5"), 0);
    // Many, but no more than there may be.
    assert_eq!(
        bench.run("for i in $(seq 100); do sleep 0.3 & done; wait; echo done"),
        "done"
    );
}

#[test]
fn memory_is_limited_for_all_processes_together() {
    let mut bench = Bench::new();
    bench.plan.limits.memory = Some(200 << 20);
    bench.step(
        "echo before; for i in 1 2 3 4 5 6; do dd if=/dev/zero of=/dev/null bs=60M & done; wait; false",
    );
    assert_eq!(exceeds(&mut bench), Excess::Memory(200 << 20));
    bench.step("echo before; dd if=/dev/zero of=/dev/null bs=600M; true; false");
    assert_eq!(exceeds(&mut bench), Excess::Memory(200 << 20));
    // A folder in memory counts, too, and nothing else in /dev takes files.
    let text = bench.run(
        "set +eo pipefail; dd if=/dev/zero of=/dev/shm/x bs=1M count=150 2>&1 | head -1; rm /dev/shm/x
        (echo x > /dev/file) 2>&1 || true
        dd if=/dev/zero of=/dev/null bs=60M count=2 2>/dev/null && echo well",
    );
    insta::assert_snapshot!(text, @r"
    dd: error writing '/dev/shm/x': No space left on device
    /bin/sh: can't create /dev/file: Read-only file system
    well
    ");
}

#[test]
fn the_disk_is_limited() {
    let mut bench = Bench::new();
    bench.plan.limits.disk = Some(30 << 20);
    // One file, many files, and files outside the workspace.
    for script in [
        "echo before; dd if=/dev/zero of=x bs=1M 2>/dev/null",
        "echo before; i=0; while true; do i=$((i + 1)); dd if=/dev/zero of=x$i bs=100k count=10 2>/dev/null; done",
        "echo before; i=0; while true; do i=$((i + 1)); dd if=/dev/zero of=/var/x$i bs=1M count=1 2>/dev/null; done",
        // What is printed is kept, too.
        "echo before; dd if=/dev/zero bs=1M | tr '\\0' x",
    ] {
        bench.step(script);
        assert_eq!(exceeds(&mut bench), Excess::Disk(30 << 20), "{script}");
    }
    assert_eq!(
        bench.run("dd if=/dev/zero of=x bs=1M count=20 2>/dev/null; echo well"),
        "well"
    );
}

#[test]
fn processors_are_limited() {
    let mut bench = Bench::new();
    bench.plan.limits.processors = Some(500);
    assert_eq!(bench.run("nproc"), "1");
}

#[test]
fn what_outlives_a_build_on_other_systems_does_not_here() {
    let mut bench = Bench::new();
    let folder = bench.store().root().join("tmp");
    let before = listing(&folder).lines().count();
    bench.step(
        "set +o pipefail; cp /bin/busybox melange-out/hello/su; chmod 6755 melange-out/hello/su
        cp /bin/busybox /tmp/su; chmod 4755 /tmp/su; chmod 1777 .
        mknod melange-out/hello/disk b 8 0 2>&1 | tail -1; mknod null c 1 3 2>&1 | tail -1
        mkfifo pipe; (trap '' TERM HUP; sleep 65.5 <> pipe) >/dev/null 2>&1 &
        setsid nohup sleep 65.5 >/dev/null 2>&1 & sleep 0.1",
    );
    let output = bench.build().unwrap();
    assert_eq!(
        bench.lines.text(),
        "mknod: melange-out/hello/disk: Operation not permitted\nmknod: null: Operation not permitted"
    );
    assert_eq!(crate::steps::processes_with("65.5"), 0);
    // Nobody else gets at programs that would run as this user.
    let private = output.folder.path().metadata().unwrap().permissions();
    assert_eq!(private.mode() & 0o777, 0o700);
    let tree = &output.trees["hello"];
    assert!(listing(tree).contains("\nsu 106755"), "{}", listing(tree));
    drop(output);
    assert_eq!(listing(&folder).lines().count(), before);
}
