//! The road from source to a running image, and that it gives the same bytes everywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use testkit::Program;

use crate::world::{RECIPES, checkout, polpo, recipe, world};

#[test]
fn the_image_greets() {
    let run = world()
        .polpo()
        .args(["image", "run"])
        .arg(world().layout())
        .run()
        .success();
    assert_eq!(run.stdout, "Hello, world!\n");
}

#[test]
fn arguments_and_exit_codes_reach_the_program() {
    let run = world()
        .polpo()
        .args(["image", "run"])
        .arg(world().layout())
        .args(["/usr/bin/hello", "--greeting", "Ciao"])
        .run()
        .success();
    assert_eq!(run.stdout, "Ciao\n");
    // The loader of the image's own libc, asked to load what is not there, ends with 127.
    world()
        .polpo()
        .args(["image", "run"])
        .arg(world().layout())
        .args(["/lib64/ld-linux-x86-64.so.2", "/nowhere"])
        .run()
        .code(127);
}

#[test]
fn nothing_in_the_image_is_without_a_package_or_other_than_its_package_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world()
        .polpo()
        .args(["image", "copy"])
        .arg(world().layout())
        .arg(format!("rootfs:{}", path("root.tar").display()))
        .run()
        .success();
    fs::create_dir(path("root")).unwrap();
    Program::new("tar")
        .args(["--xattrs", "--numeric-owner", "-xpf"])
        .arg(path("root.tar"))
        .arg("-C")
        .arg(path("root"))
        .run()
        .success();
    let apk = |words: &[&str]| {
        let found = world()
            .polpo()
            .args(["apk", "--no-network", "--root"])
            .arg(path("root"))
            .args(words)
            .run()
            .success();
        (found.stdout, found.stderr)
    };
    let audit = ["audit", "--full", "--recursive", "--check-permissions"];
    assert_eq!(apk(&audit), Default::default());
    // Whatever is added is told all the same.
    fs::create_dir(path("root/srv")).unwrap();
    fs::write(path("root/usr/bin/hello"), "another one").unwrap();
    assert_eq!(apk(&audit).0, "d srv/\nU usr/bin/hello\n");
}

#[test]
fn every_package_passes_its_tests() {
    world()
        .polpo()
        .arg("test")
        .args(RECIPES.map(recipe))
        .arg("-r")
        .arg(world().seed())
        .arg("-k")
        .arg(world().keys())
        .arg("--out-dir")
        .arg(world().packages())
        .run()
        .success();
}

#[test]
fn a_second_build_changes_nothing_and_says_so() {
    let before = files(&world().packages());
    let run = world()
        .build(&world().store(), &RECIPES, &world().packages())
        .run()
        .success();
    let unchanged = run
        .stderr
        .lines()
        .filter(|line| line.ends_with(": unchanged"))
        .count();
    assert_eq!(unchanged, RECIPES.len(), "{}", run.stderr);
    assert!(!run.stderr.contains("done in"), "{}", run.stderr);
    assert_eq!(files(&world().packages()), before);
}

#[test]
fn the_chain_verifies_and_is_printed() {
    let text = world().verify(&world().layout()).run().success().stdout;
    for word in [
        "hello 2.10-r0",
        "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b",
    ] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    let json = world()
        .verify(&world().layout())
        .args(["--format", "json"])
        .run()
        .success()
        .stdout;
    serde_json::from_str::<serde_json::Value>(&json).unwrap();
}

#[test]
fn repositories_hold_for_an_independent_reader() {
    for repository in [world().seed(), world().packages()] {
        independent("repository", &repository.join("x86_64"))
            .arg(world().keys())
            .run()
            .success();
    }
}

#[test]
fn the_layout_holds_for_an_independent_reader() {
    independent("layout", &world().layout()).run().success();
}

fn independent(what: &str, folder: &Path) -> Program {
    let script = checkout().join("crates/polpo/tests/all/independent.py");
    Program::new("python3")
        .arg("-B")
        .arg(script)
        .arg(what)
        .arg(folder)
}

/// Another folder and store, another umask, locale, time zone, core count and user's environment.
#[test]
fn the_same_bytes_elsewhere() {
    let other = tempfile::Builder::new()
        .prefix("elsewhere ")
        .tempdir()
        .unwrap();
    let store = other.path().join("a store");
    let packages = other.path().join("packages");
    let mut build = world().build(&store, &["baselayout", "hello", "zlib"], &packages);
    build = build
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("LANG", "tr_TR.UTF-8")
        .env("TZ", "Asia/Kathmandu")
        .env("HOME", other.path())
        .env("CFLAGS", "-O0")
        .folder(other.path());
    restrict(build.command());
    build.run().success();
    let made = files(&packages);
    let mut wanted = files(&world().packages());
    // The index names busybox too, which was not built here.
    wanted.retain(|name, _| made.contains_key(name));
    let index = "x86_64/APKINDEX.tar.gz";
    let (mut made_packages, mut wanted_packages) = (made.clone(), wanted.clone());
    made_packages.remove(index);
    wanted_packages.remove(index);
    assert!(made_packages.len() >= 7, "{:?}", made_packages.keys());
    assert_same(&made_packages, &wanted_packages);

    let layout = other.path().join("hello");
    let mut image = world()
        .image(&store, &packages, &layout)
        .env("LC_ALL", "tr_TR.UTF-8");
    restrict(image.command());
    image.run().success();
    assert_eq!(image_digest(&layout), image_digest(&world().layout()));
}

/// What root builds, an ordinary user builds too, byte by byte. Where the tests run as an ordinary
/// user, everything they build shows it.
#[test]
fn the_same_bytes_for_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (store, packages) = (home.path().join("store"), home.path().join("packages"));
    let key = home.path().join(world().signing_key().file_name().unwrap());
    for suffix in ["", ".pub"] {
        let [from, to] =
            [world().signing_key(), key.clone()].map(|path| format!("{}{suffix}", path.display()));
        fs::copy(from, to).unwrap();
    }
    let give = |path: &Path| {
        Program::new("chown")
            .args(["-R", "1000:1000"])
            .arg(path)
            .run()
            .success()
    };
    give(home.path());
    // The program and the recipes lie where only root may look: they come along.
    let program = home.path().join("polpo");
    testkit::copy_program(Path::new(env!("CARGO_BIN_EXE_polpo")), &program);
    for folder in [world().seed(), checkout().join("os")] {
        Program::new("cp")
            .arg("-r")
            .arg(folder)
            .arg(home.path())
            .run()
            .success();
    }
    give(home.path());
    Program::new("setpriv")
        .args(["--reuid=1000", "--regid=1000", "--clear-groups"])
        .arg(&program)
        .arg("build")
        .args(
            ["baselayout", "zlib"].map(|name| home.path().join(format!("os/packages/{name}.yaml"))),
        )
        .arg("-r")
        .arg(home.path().join("seed"))
        .arg("-k")
        .arg(home.path())
        .args(["--source-mirror", "apt:trixie", "--signing-key"])
        .arg(&key)
        .arg("--out-dir")
        .arg(&packages)
        .env("POLPO_STORE", &store)
        .env("HOME", home.path())
        .folder(home.path())
        .run()
        .success();
    let mut made = files(&packages);
    made.retain(|name, _| name.ends_with(".apk"));
    assert!(made.len() >= 5, "{:?}", made.keys());
    let mut wanted = files(&world().packages());
    wanted.retain(|name, _| made.contains_key(name));
    assert_same(&made, &wanted);
}

/// One core, and a umask that takes everything from everybody else.
fn restrict(command: &mut std::process::Command) {
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let environment: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    let folder = command.get_current_dir().map(ToOwned::to_owned);
    *command = std::process::Command::new("taskset");
    command
        .args(["-c", "0", "sh", "-c", "umask 077; exec \"$@\"", "sh"])
        .arg(program)
        .args(arguments);
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
}

fn assert_same(made: &BTreeMap<String, Vec<u8>>, wanted: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        wanted.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in made {
        assert!(bytes == &wanted[name], "{name} differs");
    }
}

/// The digest of the manifest that index.json tags.
fn image_digest(layout: &Path) -> String {
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let tagged = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|manifest| !manifest["annotations"]["org.opencontainers.image.ref.name"].is_null());
    tagged.unwrap()["digest"].as_str().unwrap().to_owned()
}

/// Every file below `folder` by its path, with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

#[test]
fn the_store_of_a_stranger_is_not_needed() {
    // A command that reads nothing from the store makes none.
    let nowhere = tempfile::tempdir().unwrap();
    let store = nowhere.path().join("store");
    polpo(&store).args(["completions", "bash"]).run().success();
    assert!(!store.exists());
}

/// `--debug` gives a shell at the terminal, in the sandbox where the step failed.
#[test]
fn a_failed_step_opens_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("failing.yaml"),
        "package:\n  name: failing\n  version: \"1\"\n  epoch: 0\n  copyright:\n    - license: MIT\n\
         environment:\n  contents:\n    packages:\n      - build-base\n\
         pipeline:\n  - runs: |\n      echo kept > marker\n      false\n",
    )
    .unwrap();
    let command = format!(
        "{} build failing.yaml -r {} -k {} --out-dir out --debug",
        env!("CARGO_BIN_EXE_polpo"),
        world().seed().display(),
        world().keys().display()
    );
    // `script` gives it a terminal; what is typed comes from a pipe.
    let typed = "sleep 5; echo 'echo \"<$(cat marker) $(pwd) $(id -u)>\"'; sleep 2; echo exit 7";
    let run = Program::new("sh")
        .args([
            "-c",
            &format!("({typed}) | script -qefc \"$COMMAND\" /dev/null"),
        ])
        .env("COMMAND", command)
        .env("POLPO_STORE", world().store())
        .folder(folder.path())
        .run()
        .code(1);
    assert!(
        run.stdout.contains("<kept /home/build 0>"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("failing 1-r0 was not built"),
        "{}",
        run.stdout
    );
}
