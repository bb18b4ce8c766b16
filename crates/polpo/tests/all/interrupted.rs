//! kill -9 at any moment leaves nothing half-written that a next run would use.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::world::{recipe, world};

/// Numbers that differ from test to test but not from run to run.
struct Numbers(u64);

impl Numbers {
    /// The next number below `bound` (xorshift64).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Fetch, unpack, build and index: killed many times on one store and one output folder, then finished.
#[test]
fn a_killed_build_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (store, out) = (folder.path().join("store"), folder.path().join("packages"));
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut killed = 0;
    for _ in 0..12 {
        let mut build = world().build(&store, &["baselayout", "hello"], &out);
        let command = build.command().stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + numbers.below(6000)));
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(
        killed >= 3,
        "only {killed} builds were still running when they were killed"
    );
    world()
        .build(&store, &["baselayout", "hello"], &out)
        .run()
        .success();
    for name in ["baselayout-1-r1", "hello-2.10-r0", "hello-doc-2.10-r0"] {
        let file = format!("x86_64/{name}.apk");
        assert!(
            fs::read(out.join(&file)).unwrap() == fs::read(world().packages().join(&file)).unwrap(),
            "{name}"
        );
    }
    // Nothing is left lying about but what the last run needed.
    let leftovers: Vec<_> = fs::read_dir(out.join("x86_64"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".apk") && name != "APKINDEX.tar.gz" && name != ".lock")
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    let temporary: Vec<_> = fs::read_dir(store.join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "lock")
        .collect();
    assert!(temporary.is_empty(), "{temporary:?}");
}

/// The sandbox goes down with polpo: no process of a killed build lives on.
#[test]
fn a_killed_build_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let mark = format!("86{}", std::process::id());
    let path = folder.path().join("sleeper.yaml");
    fs::write(
        &path,
        fs::read_to_string(recipe("baselayout"))
            .unwrap()
            .replace("cd \"${{targets.destdir}}\"", &format!("sleep {mark}")),
    )
    .unwrap();
    let mut build = world()
        .build(&world().store(), &[], &folder.path().join("out"))
        .arg(&path);
    let command = build.command().stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let sleeping = || running("sleep", &mark);
    wait_until(&sleeping);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(&|| !sleeping());
}

fn wait_until(condition: &dyn Fn() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited half a minute in vain");
}

#[test]
fn a_killed_image_build_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (folder.path().join("store"), folder.path().join("image"));
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for _ in 0..15 {
        let mut build = world().image(&store, &world().packages(), &layout);
        let command = build.command().stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(numbers.below(900)));
        child.kill().unwrap();
        child.wait().unwrap();
        if layout.exists() {
            // Whatever is there under its name is whole.
            let reference = format!("oci:{}:latest", layout.display());
            testkit::Program::new("skopeo")
                .args(["inspect", &reference])
                .run()
                .success();
        }
    }
    world()
        .image(&store, &world().packages(), &layout)
        .run()
        .success();
    let index = |layout: &std::path::Path| fs::read_to_string(layout.join("index.json")).unwrap();
    let digest = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["manifests"][0]["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest(&index(&layout)), digest(&index(&world().layout())));
}

#[test]
fn an_interrupted_build_cleans_up_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mark = format!("87{}", std::process::id());
    let path = folder.path().join("sleeper.yaml");
    fs::write(
        &path,
        format!(
            "package:\n  name: sleeper\n  version: \"1\"\n  epoch: 0\n  copyright:\n    - license: MIT\n\
             environment:\n  contents:\n    packages:\n      - build-base\npipeline:\n  - runs: sleep {mark}\n"
        ),
    )
    .unwrap();
    let mut build = world()
        .build(&store, &[], &folder.path().join("out"))
        .arg(&path);
    let command = build.command().stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until(&|| running("sleep", &mark));
    testkit::Program::new("kill")
        .args(["-INT", &child.id().to_string()])
        .run()
        .success();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.ends_with("interrupted; nothing half-made is left\n"),
        "{said}"
    );
    assert!(!running("sleep", &mark));
    let left: Vec<_> = fs::read_dir(store.join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whether a process with this command line lives on this machine.
fn running(program: &str, argument: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|process| {
        fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| line == format!("{program}\0{argument}\0").as_bytes())
    })
}
