//! Packages that others build again, and systems that take no others.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::{Finished, Program};

use crate::world::{checkout, polpo, world};

/// A copy of the world's packages, and two rebuilders.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench {
            folder: tempfile::tempdir().unwrap(),
        };
        let packages = bench.repository().join("x86_64");
        fs::create_dir_all(&packages).unwrap();
        for file in fs::read_dir(world().packages().join("x86_64")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), packages.join(file.file_name())).unwrap();
        }
        fs::create_dir_all(bench.path("rebuilders")).unwrap();
        for (name, kind) in [("one.pem", "ecdsa-p256"), ("two.pem", "ed25519")] {
            world()
                .polpo()
                .args(["key", "generate", "--type", kind])
                .arg(bench.path(name))
                .run()
                .success();
            let public = format!("{name}.pub");
            fs::rename(bench.path(&public), bench.path("rebuilders").join(public)).unwrap();
        }
        bench.apk().arg("--initdb").arg("add").run().success();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    fn statements(&self) -> PathBuf {
        self.repository().join("x86_64/rebuilds.jsonl")
    }

    fn rebuild(&self, package: &Path, key: &str) -> Finished {
        world()
            .polpo()
            .arg("rebuild")
            .arg(package)
            .arg("-r")
            .arg(world().seed())
            .arg("-k")
            .arg(world().keys())
            .arg("--source-dir")
            .arg(checkout().join("os/packages/baselayout"))
            .arg("--attest")
            .arg(self.statements())
            .arg("--attest-key")
            .arg(self.path(key))
            .run()
    }

    /// `apk add --simulate` on an empty root, with these rebuilders required.
    fn add(&self, repository: &str, number: &str, names: &[&str]) -> Finished {
        self.apk()
            .args(["--repository", repository])
            .args(["--rebuilt-by", number, "--rebuilder"])
            .arg(self.path("rebuilders"))
            .args(["--simulate", "add"])
            .args(names)
            .run()
    }

    fn apk(&self) -> Program {
        let root = self.path("root");
        fs::create_dir_all(&root).unwrap();
        polpo(&self.path("store"))
            .args(["apk", "--arch", "x86_64", "--no-logfile", "--root"])
            .arg(root)
            .arg("--keys-dir")
            .arg(world().keys())
    }
}

fn package(folder: &Path, name: &str) -> PathBuf {
    let mut found = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.starts_with(&format!("{name}-")) && file.ends_with(".apk")
        });
    found.next().unwrap()
}

#[test]
fn only_what_was_rebuilt_often_enough_is_chosen() {
    let bench = Bench::new();
    let repository = bench.repository();
    let place = repository.to_str().unwrap();
    let baselayout = package(&repository.join("x86_64"), "baselayout");

    // Nobody has, then one, then the same one again.
    let refused = bench.add(place, "1", &["baselayout"]).code(1);
    assert!(
        refused
            .stderr
            .contains("rebuilt by nobody of the builders that are trusted, 1 must have"),
        "{}",
        refused.stderr
    );
    let first = bench.rebuild(&baselayout, "one.pem").success();
    assert!(
        first.stderr.contains("states the rebuild"),
        "{}",
        first.stderr
    );
    let again = bench.rebuild(&baselayout, "one.pem").success();
    assert!(
        again.stderr.contains("states already the rebuild"),
        "{}",
        again.stderr
    );
    bench.add(place, "1", &["baselayout"]).success();
    let refused = bench.add(place, "2", &["baselayout"]).code(1);
    assert!(
        refused.stderr.contains("rebuilt by 1 of the builders"),
        "{}",
        refused.stderr
    );

    // Two have; what depends on something that nobody has is out of reach.
    bench.rebuild(&baselayout, "two.pem").success();
    bench.add(place, "2", &["baselayout"]).success();
    bench.add(place, "2", &["baselayout", "hello"]).code(1);
    let lines = fs::read_to_string(bench.statements()).unwrap();
    assert_eq!(lines.lines().count(), 2);

    // Nor is there a way around by files.
    let hello = package(&repository.join("x86_64"), "hello");
    bench.add(place, "1", &[hello.to_str().unwrap()]).code(1);
    bench
        .add(place, "1", &[baselayout.to_str().unwrap()])
        .success();
    let fetched = bench
        .apk()
        .args(["--repository", place, "--rebuilt-by", "1", "--rebuilder"])
        .arg(bench.path("rebuilders"))
        .args(["fetch", "--stdout", "hello"])
        .run();
    assert!(!fetched.status.success());
    assert!(
        fetched.stderr.contains("rebuilt by nobody"),
        "{}",
        fetched.stderr
    );

    // The same over the network, and afterwards without it.
    let server = testkit::Server::of(&repository);
    let url = server.url("/");
    bench.add(&url, "2", &["baselayout"]).success();
    drop(server);
    let known = bench
        .apk()
        .args(["--no-network", "--repository", &url, "--rebuilt-by", "2"])
        .arg("--rebuilder")
        .arg(bench.path("rebuilders"))
        .args(["--simulate", "add", "baselayout"])
        .run()
        .code(1);
    // The statements were kept; the package itself was not fetched.
    assert!(
        known.stderr.contains("out of reach (--no-network)")
            && !known.stderr.contains("rebuilt by"),
        "{}",
        known.stderr
    );

    // A statement that was changed is a stranger's; what is none is told.
    fs::write(
        bench.statements(),
        format!("{}nonsense\n", lines.replace("\"sig\":\"M", "\"sig\":\"N")),
    )
    .unwrap();
    let refused = bench.add(place, "2", &["baselayout"]).code(1);
    assert!(
        refused.stderr.contains("line 3 is left out"),
        "{}",
        refused.stderr
    );
    let refused = bench.add(place, "3", &["baselayout"]).code(2);
    assert!(
        refused
            .stderr
            .contains("--rebuilt-by 3 needs as many rebuilders, and --rebuilder names 2"),
        "{}",
        refused.stderr
    );
}

#[test]
fn images_take_only_what_was_rebuilt() {
    let bench = Bench::new();
    let image = bench.path("image.yaml");
    fs::write(&image, "contents:\n  packages: [baselayout]\n").unwrap();
    let packages = || {
        polpo(&bench.path("store"))
            .args(["image", "packages"])
            .arg(&image)
            .args(["--arch", "x86_64", "-r"])
            .arg(bench.repository())
            .arg("-k")
            .arg(world().keys())
            .args(["--rebuilt-by", "1", "--rebuilder"])
            .arg(bench.path("rebuilders"))
            .run()
    };
    let refused = packages().code(1);
    assert!(
        refused.stderr.contains("rebuilt by nobody of the builders"),
        "{}",
        refused.stderr
    );
    let file = package(&bench.repository().join("x86_64"), "baselayout");
    bench.rebuild(&file, "one.pem").success();
    let listed = packages().success();
    assert!(listed.stdout.contains("baselayout"), "{}", listed.stdout);
}

#[test]
fn what_comes_out_otherwise_is_not_attested() {
    let bench = Bench::new();
    let recipe = bench.path("random.yaml");
    let text = "package:\n  name: random\n  version: 1.0.0\n  epoch: 0\n  description: Never the same\n  \
        copyright:\n    - license: MIT\nenvironment:\n  contents:\n    packages: [build-base]\npipeline:\n  \
        - runs: |\n      mkdir -p ${{targets.destdir}}/usr/share\n      \
        cat /proc/sys/kernel/random/uuid > ${{targets.destdir}}/usr/share/random\n";
    fs::write(&recipe, text).unwrap();
    world()
        .polpo()
        .arg("build")
        .arg(&recipe)
        .arg("-r")
        .arg(world().packages())
        .arg("-r")
        .arg(world().seed())
        .arg("-k")
        .arg(world().keys())
        .arg("--out-dir")
        .arg(bench.path("out"))
        .arg("--signing-key")
        .arg(world().signing_key())
        .run()
        .success();
    let made = package(&bench.path("out").join("x86_64"), "random");
    let differs = world()
        .polpo()
        .arg("rebuild")
        .arg(&made)
        .arg("-r")
        .arg(world().packages())
        .arg("-r")
        .arg(world().seed())
        .arg("-k")
        .arg(world().keys())
        .arg("--attest")
        .arg(bench.statements())
        .arg("--attest-key")
        .arg(bench.path("one.pem"))
        .run()
        .code(1);
    assert!(
        differs.stdout.contains("usr/share/random"),
        "{}",
        differs.stdout
    );
    assert!(!bench.statements().exists());
}
