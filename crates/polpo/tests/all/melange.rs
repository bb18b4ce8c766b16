//! Called by melange's name, and the commands on finished packages that its scripts use.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use archive::tree::Node;
use testkit::{Finished, ISC, Program};

use crate::yard::{json, package};

/// A folder with `bin/melange`, a recipe and the packages it might have made.
struct Scene(tempfile::TempDir);

const RECIPE: &str = "\
package:
  name: hello
  version: '1.0'
  epoch: 2
  description: says hello
  copyright: [{license: MIT}]
pipeline:
  - runs: 'true'
subpackages:
  - name: hello-compat
    pipeline: [{runs: 'true'}]
";

impl Scene {
    fn new() -> Scene {
        let scene = Scene(tempfile::tempdir().unwrap());
        let folder = scene.0.path();
        fs::create_dir(folder.join("bin")).unwrap();
        let program = env!("CARGO_BIN_EXE_polpo");
        symlink(program, folder.join("bin/melange")).unwrap();
        fs::write(folder.join("hello.yaml"), RECIPE).unwrap();
        let packages = folder.join("packages/x86_64");
        fs::create_dir_all(&packages).unwrap();
        let script = Node::file(&b"#!/usr/bin/perl\n"[..]).with_mode(0o755);
        package("hello", "1.0-r2")
            .depends("busybox cmd:gone")
            .node("usr/bin/hello", script)
            .file("opt/hello/readme", "hello")
            .write(&packages);
        package("hello-compat", "1.0-r2")
            .node("dev/x", Node::file(&b""[..]))
            .write(&packages);
        scene
    }

    fn melange(&self, words: &[&str]) -> Program {
        Program::new(self.path("bin/melange"))
            .env("POLPO_PROGRESS", "lines")
            .env("NO_COLOR", "1")
            .env("POLPO_STORE", self.0.path().join("store"))
            .args(words)
            .folder(self.0.path())
    }

    fn run(&self, words: &[&str]) -> Finished {
        self.melange(words).run()
    }

    fn says(&self, words: &[&str]) -> String {
        self.melange(words).run().success().stdout
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }
}

const HELLO: &str = "packages/x86_64/hello-1.0-r2.apk";
const COMPAT: &str = "packages/x86_64/hello-compat-1.0-r2.apk";

fn signed_by(path: &Path, name: &str) -> bool {
    let bytes = fs::read(path).unwrap();
    let plain = archive::decompress::open(&bytes[..], archive::Limits::default()).unwrap();
    let mut reader = archive::tar::Reader::new(plain, archive::Limits::default());
    let first = reader.next().unwrap().unwrap();
    first.header().path == format!(".SIGN.RSA256.{name}.pub")
}

#[test]
fn recipes_are_asked() {
    let scene = Scene::new();
    assert_eq!(
        scene.says(&["package-version", "hello.yaml"]),
        "hello-1.0-r2"
    );
    let names = "{{ range .Subpackages }}{{ .Name }};{{ end }}";
    assert_eq!(scene.says(&["query", "hello.yaml", names]), "hello-compat;");
    fs::rename(scene.path("hello.yaml"), scene.path("melange.yaml")).unwrap();
    let compiled = scene.says(&["compile", "--arch", "x86_64", "--out-dir", "x"]);
    assert_eq!(json(&compiled)["package"]["name"], "hello");
    assert!(scene.says(&["version"]).starts_with("polpo "));
    assert!(
        scene
            .says(&["completion", "bash"])
            .contains("--persist-lint-results")
    );
    // One exit code for every failure, as melange has it.
    for words in [
        &["query", "gone.yaml", "x"][..],
        &["build", "--arch"],
        &["tarnish"],
    ] {
        scene.run(words).code(1);
    }
}

#[test]
fn packages_that_no_recipe_made_are_not_built_again() {
    let scene = Scene::new();
    let said = scene.run(&["rebuild", HELLO]).code(1).stderr;
    assert!(
        said.contains("holds no .melange.yaml, so nothing says how it was"),
        "{said}"
    );
    fs::write(scene.path("none.apk"), "no package").unwrap();
    let said = scene.run(&["rebuild", "none.apk"]).code(1).stderr;
    assert!(said.contains("none.apk"), "{said}");
}

/// What is not quite one of SPDX's texts counts as that one or as none: never as a difference that the
/// recipe is blamed for.
#[test]
fn texts_that_are_hardly_a_licence_are_told_as_such() {
    let scene = Scene::new();
    let words: Vec<&str> = ISC.split_inclusive(' ').collect();
    let changed = |every: usize| -> String {
        let mut words = words.clone();
        words
            .iter_mut()
            .step_by(every)
            .for_each(|word| *word = "otherwise ");
        words.concat()
    };
    let sources = scene.path("sources");
    fs::create_dir_all(sources.join("node_modules/x")).unwrap();
    fs::write(sources.join("COPYING"), changed(60)).unwrap();
    fs::write(sources.join("COPYING.half"), changed(4)).unwrap();
    fs::write(sources.join("LICENSE.odd"), changed(12)).unwrap();
    fs::write(sources.join("COPYRIGHT"), "Copyright 2026 somebody").unwrap();
    fs::write(sources.join("node_modules/x/LICENSE"), ISC).unwrap();
    insta::assert_snapshot!(scene.says(&["license-check", "sources"]), @"
    sources: COPYING: ISC
    sources: COPYING.half: no licence that is known
    sources: COPYRIGHT: no licence that is known
    sources: LICENSE.odd: no licence that is known
    ");
}

#[test]
fn packages_are_indexed_and_signed() {
    let scene = Scene::new();
    scene.says(&["keygen", "--key-size", "2048"]);
    assert!(scene.path("melange.rsa.pub").exists());
    let index = "packages/x86_64/APKINDEX.tar.gz";
    scene.says(&["index", "-o", index, HELLO]);
    scene.says(&[
        "index", "-m", "-s", index, "-o", index, "-a", "x86_64", COMPAT,
    ]);
    let listed = scene.path(index);
    let entries = apk::index::Index::read_unverified(&listed).unwrap();
    let names: Vec<&str> = entries
        .entries
        .iter()
        .map(|entry| entry.info.name.as_str())
        .collect();
    assert_eq!(names, ["hello", "hello-compat"]);

    assert!(!signed_by(&listed, "melange.rsa"));
    scene.says(&["sign-index", index]);
    assert!(signed_by(&listed, "melange.rsa"));
    scene.says(&["keygen", "other.rsa"]);
    let again = scene.run(&["sign-index", "--signing-key", "other.rsa", index]);
    assert!(again.stderr.contains("is signed already"));
    assert!(signed_by(&listed, "melange.rsa"));
    scene.says(&["sign-index", "--signing-key", "other.rsa", "-f", index]);
    assert!(signed_by(&listed, "other.rsa"));

    let before = apk::package::Package::open(&scene.path(HELLO)).unwrap();
    scene.says(&["sign", "-k", "melange.rsa", HELLO, COMPAT]);
    assert!(signed_by(&scene.path(HELLO), "melange.rsa"));
    let once = fs::read(scene.path(HELLO)).unwrap();
    let after = apk::package::Package::open(&scene.path(HELLO)).unwrap();
    assert_eq!(after.identity(), before.identity());
    after.manifest(&archive::Limits::default()).unwrap();
    // The signature that is there is replaced, not followed by another.
    scene.says(&["sign", "-k", "melange.rsa", HELLO]);
    assert_eq!(fs::read(scene.path(HELLO)).unwrap(), once);
}

#[test]
fn licences_are_checked() {
    let scene = Scene::new();
    let sources = scene.path("sources/hello-1.0");
    fs::create_dir_all(sources.join("a/b")).unwrap();
    fs::write(sources.join("COPYING"), ISC).unwrap();
    fs::write(sources.join("a/b/LICENSE"), "All rights reserved.").unwrap();
    // A folder.
    let says = scene.says(&["license-check", "sources/hello-1.0"]);
    assert_eq!(says.trim(), "sources/hello-1.0: COPYING: ISC");
    let deep = scene.says(&["license-check", "sources/hello-1.0", "--scan-type=deep"]);
    insta::assert_snapshot!(deep, @"
    sources/hello-1.0: COPYING: ISC
    sources/hello-1.0: a/b/LICENSE: no licence that is known
    ");
    // A package.
    package("texts", "1-r0")
        .file("usr/share/licenses/texts/COPYING", ISC)
        .file("usr/lib/other/COPYING", ISC)
        .write(&scene.path("packages/x86_64"));
    let says = scene.says(&["license-check", "packages/x86_64/texts-1-r0.apk"]);
    insta::assert_snapshot!(says, @"
    packages/x86_64/texts-1-r0.apk: usr/share/licenses/texts/COPYING: ISC
    warning: texts: `usr/share/licenses/texts/COPYING` holds the text of ISC, and the recipe names no licence
    ");
    // A recipe, whose sources are unpacked where its steps have them; no step runs.
    let archive = scene.path("hello.tar");
    let tar = std::process::Command::new("tar")
        .args(["-C", "sources", "-cf", "hello.tar", "hello-1.0"])
        .current_dir(scene.path(""))
        .status();
    assert!(tar.unwrap().success());
    let hash = base::Digest::of(&fs::read(&archive).unwrap())
        .hex()
        .to_string();
    let mirror = scene.path("mirror");
    fs::create_dir(&mirror).unwrap();
    fs::rename(archive, mirror.join(format!("sha256:{hash}"))).unwrap();
    let recipe = |licence: &str| {
        RECIPE.replace("license: MIT", &format!("license: {licence}")).replace(
            "pipeline:\n  - runs: 'true'\n",
            &format!(
                "pipeline:\n  - uses: fetch\n    with: {{uri: 'https://example.invalid/hello.tar', expected-sha256: {hash}}}\n  - runs: exit 1\n"
            ),
        )
    };
    fs::write(scene.path("licensed.yaml"), recipe("MIT")).unwrap();
    let words = |more: &[&'static str]| {
        let given = ["license-check", "licensed.yaml", "--source-mirror=mirror"];
        [&given[..], more].concat()
    };
    let check = |more| {
        let mut program = testkit::Program::new(env!("CARGO_BIN_EXE_polpo"));
        program = program
            .env("POLPO_STORE", scene.path("store"))
            .env("POLPO_PROGRESS", "lines");
        program.args(words(more)).folder(&scene.path("")).run()
    };
    insta::assert_snapshot!(check(&[]).success().stdout, @"
    licensed.yaml: COPYING: ISC
    warning: hello: `COPYING` holds the text of ISC, and the recipe says MIT
    ");
    check(&["--fail"]).code(1);
    fs::write(scene.path("licensed.yaml"), recipe("ISC")).unwrap();
    let agrees = check(&["--fail"]).success().stdout;
    assert_eq!(agrees.trim(), "licensed.yaml: COPYING: ISC");
    // Corrected, with everything else as it was; what is right is left alone.
    check(&["--fix"]).success();
    assert_eq!(
        fs::read_to_string(scene.path("licensed.yaml")).unwrap(),
        recipe("ISC")
    );
    fs::write(scene.path("licensed.yaml"), recipe("MIT")).unwrap();
    insta::assert_snapshot!(check(&["--fix", "--fail"]).success().stdout, @"
    licensed.yaml: COPYING: ISC
    warning: hello: `COPYING` holds the text of ISC, and the recipe says MIT
    licensed.yaml: copyright: MIT → ISC (COPYING)
    ");
    assert_eq!(
        fs::read_to_string(scene.path("licensed.yaml")).unwrap(),
        recipe("ISC, license-path: COPYING")
    );
    fs::write(scene.path("licensed.yaml"), recipe("MIT")).unwrap();
    check(&["--fix=simple"]).success();
    assert_eq!(
        fs::read_to_string(scene.path("licensed.yaml")).unwrap(),
        recipe("ISC")
    );
    let refused = scene
        .run(&["license-check", "sources/hello-1.0", "--fix"])
        .code(1);
    assert!(
        refused.stderr.contains("is no recipe"),
        "{}",
        refused.stderr
    );
    let neither = scene.run(&["license-check", "mirror/none"]).code(1);
    assert!(
        neither.stderr.contains("neither a recipe"),
        "{}",
        neither.stderr
    );
}

#[test]
fn packages_are_checked() {
    let scene = Scene::new();
    let told = scene.run(&["lint", HELLO]).success();
    assert!(
        told.stdout
            .contains("warning[opt]: hello installs files in /opt: /opt/hello/readme")
    );
    let refused = scene
        .run(&[
            "lint",
            "--persist-lint-results",
            "--out-dir",
            "results",
            HELLO,
            COMPAT,
        ])
        .code(1);
    assert!(
        refused
            .stdout
            .contains("error[dev]: hello-compat installs files in /dev: /dev/x")
    );
    let kept =
        fs::read_to_string(scene.path("results/x86_64/lint-hello-compat-1.0-r2.json")).unwrap();
    let kept = json(&kept);
    assert_eq!(kept["package_name"], "hello-compat-1.0-r2");
    assert_eq!(kept["findings"]["dev"][0]["details"]["paths"][0], "dev/x");
    let only_opt = scene
        .run(&["lint", "--lint-require=opt", "--lint-warn=", HELLO, COMPAT])
        .code(1);
    assert!(!only_opt.stdout.contains("[dev]"));
    let unknown = scene.run(&["lint", "--lint-require=optt", HELLO]);
    assert!(unknown.stderr.contains("did you mean `opt`?"));
    let missing = scene.run(&["lint", "gone.apk", COMPAT]).code(1);
    assert!(missing.stderr.contains("gone.apk") && missing.stdout.contains("error[dev]"));

    let polpo = |words: &[&str]| {
        let program = Program::new(env!("CARGO_BIN_EXE_polpo"));
        let program = program.env("POLPO_STORE", scene.path("store"));
        program.args(words).folder(scene.0.path()).run()
    };
    // Of files that are too large for memory, too.
    let zlib = crate::world::world()
        .packages()
        .join("x86_64/zlib-1.3.1-r0.apk");
    let checked = polpo(&["lint", zlib.to_str().unwrap()]).success();
    assert!(
        checked.stdout.starts_with("1 checked: 0 to be mended"),
        "{}",
        checked.stdout
    );
    let sarif = polpo(&["lint", "--format", "sarif", HELLO, COMPAT]).stdout;
    crate::recipe_files::valid_sarif(&sarif);
    let sarif = json(&sarif);
    let run = &sarif["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert!(
        results
            .iter()
            .any(|result| result["ruleId"] == "dev" && result["level"] == "error")
    );
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(
        rules.len(),
        json(&polpo(&["lint", "--list", "--format", "json"]).stdout)
            .as_array()
            .unwrap()
            .len()
    );
}

#[test]
fn packages_are_analysed_again() {
    let scene = Scene::new();
    let scanned = scene.says(&["scan", "hello.yaml", "--package", "hello"]);
    assert!(scanned.contains("depend = cmd:perl\n") && scanned.contains("depend = busybox\n"));
    assert!(scanned.contains("provides = cmd:hello=1.0-r2\n"));
    let diff = scene.run(&["scan", "--diff", "hello.yaml"]).code(1);
    assert_eq!(
        diff.stdout,
        "--- hello-1.0-r2.apk\n+++ analysed again\n-depend = cmd:gone\n+depend = cmd:perl\n\
         +provides = cmd:hello=1.0-r2\n"
    );
}
