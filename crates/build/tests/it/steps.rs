//! What steps can rely on, and how they end.

use std::fs;
use std::time::{Duration, Instant};

use polpo_build::executor::ExecuteError;
use polpo_build::guest::{GuestMode, Layers};
use polpo_build::plan::{PlacedFile, PlannedSource, PlannedStep};
use polpo_build::recipe::Accounts;

use crate::support::{Bench, Lines, listing, runtime};

#[test]
fn a_step_finds_its_directory_and_environment() {
    let mut bench = Bench::new();
    if let PlannedStep::Run {
        working_directory,
        environment,
        ..
    } =
        bench.step("pwd; echo $FLAVOUR $SOURCE_DATE_EPOCH; umask; echo ${LC_ALL-unset} ${TZ-unset}")
    {
        *working_directory = "/home/build/a b/c".to_owned();
        environment.insert("FLAVOUR".to_owned(), "sweet & sour".to_owned());
    }
    bench.step("pwd; echo ${FLAVOUR-gone}; echo $PATH");
    bench.build().unwrap();
    insta::assert_snapshot!(bench.lines.text(), @r"
    /home/build/a b/c
    sweet & sour 1
    0022
    unset unset
    /home/build
    gone
    /usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin
    ");
}

#[test]
fn a_failure_says_where_and_shows_the_end_of_the_log() {
    let mut bench = Bench::new();
    bench.step("true");
    bench.step("for i in $(seq 30); do echo line $i; done\nfalse | cat\necho not reached");
    let error = bench.build().unwrap_err();
    let ExecuteError::Step(failure) = error else {
        panic!("{error}");
    };
    assert_eq!((failure.step.as_str(), failure.code), ("step 2", 1));
    assert_eq!(failure.last_lines.len(), 20);
    assert_eq!(failure.last_lines.last().unwrap(), "line 30");
    let log = fs::read_to_string(&failure.log).unwrap();
    assert!(log.starts_with("## step 1\n## step 2\nline 1\n"), "{log}");
    bench.step("exit 7");
    let error = bench.build().unwrap_err().to_string();
    assert!(
        error.starts_with("step `step 1` failed with exit code 7\n"),
        "{error}"
    );
    bench.step("kill -9 $$");
    let error = bench.build().unwrap_err().to_string();
    assert!(error.contains("exit code 137"), "{error}");
    // A closed pipe ends its writer, as everywhere.
    bench.step("set +o pipefail; yes | head -1 >/dev/null; (yes; echo $? >&2) | head -1");
    bench.build().unwrap();
    assert!(
        !bench.lines.text().contains("roken pipe"),
        "{}",
        bench.lines.text()
    );
}

#[test]
fn a_long_script_is_a_script() {
    let mut bench = Bench::new();
    let script = format!("echo {}\nwc -c <<E\n{}\nE", "x", "y".repeat(300_000));
    assert_eq!(bench.run(&script), "x\n300001");
}

#[test]
fn a_shell_that_will_not_do_is_named() {
    let mut bench = Bench::with(&[&[("bin/sh", "#!/bin/busybox sh\nexit 2\n")]]);
    let tree = bench.layers.find("bin/sh").unwrap();
    fs::set_permissions(&tree, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bench.step("true");
    let error = bench.build().unwrap_err();
    assert!(matches!(error, ExecuteError::NoPipefail), "{error}");
}

#[test]
fn a_guest_without_a_shell_is_named() {
    let mut bench = Bench::new();
    bench.layers = Layers::stack(bench.store(), &[], &Accounts::default()).unwrap();
    // What needs no shell is done without one.
    bench.build().unwrap();
    bench.step("true");
    let error = bench.build().unwrap_err();
    insta::assert_snapshot!(error, @"the guest has no shell (/bin/sh): add a package that provides one, such as `busybox`, to `contents.packages` of the environment");
    assert!(bench.lines.text().is_empty());

    let mut bench = Bench::new();
    bench.step("rm -r /bin");
    bench.step("true");
    let error = bench.build().unwrap_err();
    insta::assert_snapshot!(error, @"the guest's shell (/bin/sh) is gone: a step before this one removed it or what it needs");
}

#[test]
fn what_a_step_leaves_running_ends_with_it() {
    let mut bench = Bench::new();
    bench.step(
        "(while true; do echo x >> /home/build/ticks; sleep 0.01; done) >/dev/null 2>&1 &
        (setsid sleep 1000 &) ; sleep 0.1",
    );
    bench.step("ps; wc -c < ticks; sleep 0.2; wc -c < ticks");
    let start = Instant::now();
    bench.build().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    let text = bench.lines.text();
    assert!(!text.contains("sleep 1000"), "{text}");
    let counts: Vec<&str> = text.lines().rev().take(2).collect();
    assert_eq!(counts[0], counts[1], "{text}");
}

#[test]
fn time_runs_out_for_the_whole_process_tree() {
    let mut bench = Bench::new();
    bench.plan.limits.timeout = Some(1);
    bench.step("echo before; (trap '' TERM INT HUP; sleep 61.5) & setsid sleep 61.5 & sleep 61.5");
    let start = Instant::now();
    let error = bench.build().unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(8));
    let ExecuteError::TimedOut {
        log, seconds: 1, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert!(fs::read_to_string(log).unwrap().contains("before"));
    assert_eq!(processes_with("61.5"), 0);
}

#[test]
fn a_dropped_build_is_stopped_and_swept() {
    let mut bench = Bench::new();
    bench.step("echo up; yes & sleep 62.5");
    let lines = Lines::default();
    let temporary = bench.store().root().join("tmp");
    let before = listing(&temporary).lines().count();
    runtime().block_on(async {
        let build = bench
            .executor
            .execute_upon(bench.layers.clone(), &bench.plan, "hello", &lines);
        let deadline = tokio::time::sleep(Duration::from_millis(500));
        tokio::select! {
            result = build => panic!("{result:?}"),
            () = deadline => {}
        }
    });
    assert!(lines.text().starts_with("up"));
    assert_eq!(processes_with("62.5"), 0);
    assert_eq!(listing(&temporary).lines().count(), before);
}

pub(crate) fn processes_with(argument: &str) -> usize {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| {
            line.split(|byte| *byte == 0)
                .any(|word| word == argument.as_bytes())
        })
        .count()
}

#[test]
fn the_same_plan_gives_the_same_tree_however_the_guest_is_made() {
    let mut trees = Vec::new();
    let mut guests = Vec::new();
    for mode in [GuestMode::Overlay, GuestMode::Overlay, GuestMode::Copy] {
        let mut bench = Bench::with(&[
            &[
                ("etc/a", "lower"),
                ("usr/bin/tool", "tool"),
                ("lib", "-> usr/lib"),
                ("usr/lib/b", "b"),
            ],
            &[("etc/a", "upper"), ("lib/c", "c"), ("var/x/y", "y")],
        ]);
        bench.executor.guest = mode;
        bench.step(
            "cd melange-out/hello; mkdir -p usr/bin; echo '#!/bin/sh' > usr/bin/hello
            chmod 4755 usr/bin/hello; ln usr/bin/hello usr/bin/other; ln -s hello usr/bin/link
            mkdir -m 1777 tmp; cat /etc/a /lib/b /lib/c /usr/lib/c > usr/all; mkdir empty",
        );
        bench.step("find / -xdev -path /home/build -prune -o -exec stat -c '%n %f %u %g' {} + | grep -v ' 41[0-9a-f][0-9a-f] ' | sort; ls -ln / | cut -c1-10,57-");
        let output = bench.build().unwrap();
        trees.push(listing(&output.trees["hello"]));
        guests.push(bench.lines.text());
    }
    assert_eq!(trees[0], trees[1]);
    assert_eq!(trees[0], trees[2]);
    assert!(trees[0].contains("usr/bin/hello 104755"), "{}", trees[0]);
    let all = base::Digest::of(b"upperbcc").to_string();
    assert!(
        trees[0].contains(&format!("usr/all 100644 {all}")),
        "{}",
        trees[0]
    );
    assert_eq!(guests[0], guests[2]);
}

#[test]
fn sources_and_files_are_placed_from_outside() {
    let mut bench = Bench::new();
    let blob = bench.store().put(&b"a patch"[..]).unwrap();
    bench.plan.files = vec![PlacedFile {
        path: "patches/fix.patch".to_owned(),
        digest: blob.digest,
        mode: 0o755,
    }];
    bench.plan.sources = vec![PlannedSource {
        commit: None,
        uri: "https://example.org/file".to_owned(),
        digest: blob.digest,
    }];
    bench.step("ls -l patches/fix.patch | cut -c1-10; mkdir src; ln -s / out; ln -s src in");
    let place = |path: &str| PlannedStep::Place {
        name: "fetch".to_owned(),
        source: blob.digest,
        path: path.to_owned(),
    };
    bench.plan.steps.push(place("/home/build/in/file"));
    bench.step("cat src/file");
    bench.build().unwrap();
    assert_eq!(bench.lines.text(), "-rwxr-xr-x\na patch");
    bench.step("ln -s / out");
    bench.plan.steps.push(place("/home/build/out/evil"));
    let error = bench.build().unwrap_err().to_string();
    assert!(error.contains("out of the workspace"), "{error}");
    bench.plan.steps.push(place("/etc/evil"));
    bench.build().unwrap_err();
}

/// A build that does not end: [`a_killed_build_dies_whole`] runs it in a process of its own.
#[test]
#[ignore = "never ends by itself"]
fn endless_build() {
    let mut bench = Bench::new();
    let folder = std::env::var_os("POLPO_TEST_STORE").unwrap();
    bench.use_store(std::path::Path::new(&folder));
    bench.step("(setsid sleep 63.5 &); (trap '' TERM HUP INT; sleep 63.5) & sleep 63.5");
    bench.build().unwrap_err();
}

#[test]
fn a_killed_build_dies_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "steps::endless_build"])
        .env("POLPO_TEST_STORE", folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let wait = |until: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !until() {
            assert!(start.elapsed() < Duration::from_secs(20), "waited in vain");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait(&|| processes_with("63.5") == 3);
    assert!(has_workspace(folder.path()));
    child.kill().unwrap(); // SIGKILL: nothing can be tidied up
    child.wait().unwrap();
    wait(&|| processes_with("63.5") == 0);
    // The next one who opens the store does so.
    let _store = store::Store::open(folder.path()).unwrap();
    assert!(!has_workspace(folder.path()));
}

/// Whether the store has a build's folder: `tmp/SESSION/FOLDER/workspace`.
fn has_workspace(store: &std::path::Path) -> bool {
    let folders = |path: std::path::PathBuf| {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path())
    };
    folders(store.join("tmp"))
        .flat_map(folders)
        .any(|folder| folder.join("workspace").exists())
}

#[test]
fn a_refused_overlay_becomes_a_copy() {
    let mut bench = Bench::new();
    let real = bench.init().program.display().to_string();
    let refusing = |failure: &str| {
        let script = format!(
            "if grep -q overlay \"$1\"; then echo '{failure}' > \"${{1%/*}}/failure.json\"; exit 125; fi
            exec '{real}' \"$0\" \"$1\""
        );
        polpo_build::sandbox::InitProgram {
            program: "/bin/sh".into(),
            arguments: ["-c".into(), script.into()].into(),
        }
    };
    bench.use_init(refusing(r#"{"stage":"overlay","errno":22}"#));
    assert_eq!(
        bench.run("head -1 /etc/hosts"),
        "127.0.0.1\tlocalhost polpo"
    );
    bench.executor.guest = GuestMode::Overlay;
    bench.step("true");
    let error = bench.build().unwrap_err().to_string();
    assert!(
        error.starts_with("the guest can't be mounted as an overlay here"),
        "{error}"
    );
    bench.executor.guest = GuestMode::Automatic;
    bench.use_init(refusing(r#"{"stage":"unshare","errno":1}"#));
    bench.step("true");
    let error = bench.build().unwrap_err().to_string();
    assert!(
        error.contains("user namespaces (Operation not permitted"),
        "{error}"
    );
}

#[test]
fn a_guest_may_have_more_packages_than_the_kernel_stacks() {
    let names: Vec<String> = (0..520).map(|number| format!("opt/{number:03}")).collect();
    let files: Vec<[(&str, &str); 2]> = names
        .iter()
        .map(|name| [(name.as_str(), "x"), ("etc/last", name.as_str())])
        .collect();
    let trees: Vec<&[(&str, &str)]> = files.iter().map(|tree| &tree[..]).collect();
    let mut bench = Bench::with(&trees);
    assert_eq!(
        bench.run("ls /opt | wc -l; cat /etc/last; : > /opt/000"),
        "520\nopt/519"
    );
    let lowest = bench.layers.find("opt/000").unwrap();
    assert_eq!(fs::read(lowest).unwrap(), b"x");
}

#[test]
fn links_and_empty_folders_beside_the_recipe_are_there() {
    let mut bench = Bench::new();
    bench.plan.links = [
        ("current".to_owned(), "empty/inner".to_owned()),
        ("deep/er/host".to_owned(), "/etc/hosts".to_owned()),
    ]
    .into();
    bench.plan.folders = vec!["empty/inner".to_owned()];
    assert_eq!(
        bench.run("ls -d current/.; readlink deep/er/host; head -1 deep/er/host"),
        "current/.\n/etc/hosts\n127.0.0.1\tlocalhost polpo"
    );
    bench.plan.links = [("../out".to_owned(), "x".to_owned())].into();
    bench.step("true");
    bench.build().unwrap_err();
}

#[test]
fn a_workspace_of_ones_own_is_kept() {
    let mut bench = Bench::new();
    let above = bench.folder.path().join("work");
    bench.executor.workspace = Some(above.clone());
    bench.step("pwd; echo kept > file");
    let output = bench.build().unwrap();
    assert_eq!(bench.lines.text(), "/home/build");
    assert!(output.trees["hello"].starts_with(&above));
    drop(output);
    let folder = above.join(base::Arch::host().apk());
    assert_eq!(
        fs::read_to_string(folder.join("workspace/file")).unwrap(),
        "kept\n"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&folder.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    // It is not for a build to take away what is there.
    bench.step("true");
    let error = bench.build().unwrap_err().to_string();
    assert!(error.contains("is not empty"), "{error}");
}
