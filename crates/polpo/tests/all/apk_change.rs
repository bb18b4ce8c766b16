//! apk's commands that change a system, on real roots. What they print was compared, word for word,
//! with apk 3.0.6 on the same packages.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use testkit::{Program, Reply, Server};

use crate::yard::{Yard, json, package, usual};

#[test]
fn what_is_asked_for_is_installed_with_all_that_it_needs() {
    let yard = Yard::new(&usual());
    insta::assert_snapshot!(yard.says(&["add", "app"]), @"
    (1/3) Installing libfoo (1.0-r0)
    (2/3) Installing base (1.2-r0)
    (3/3) Installing app (1.0-r0)
    OK: 16.0 MiB in 3 packages
    ");
    assert_eq!(yard.world(), "app\n");
    assert_eq!(yard.read("root/usr/bin/app"), "app 1.0");
    assert_eq!(yard.read("root/etc/base.conf"), "base 1.2\n");
    // Again: nothing is left to do.
    insta::assert_snapshot!(yard.says(&["add", "app"]), @"OK: 16.0 MiB in 3 packages");
    insta::assert_snapshot!(yard.says(&["-q", "add", "app"]), @"");
    insta::assert_snapshot!(
        yard.says(&["-v", "add", "app"]),
        @"OK: 3 packages, 5 dirs, 3 files, 16.0 MiB"
    );
    // An older one, by name.
    insta::assert_snapshot!(yard.says(&["-v", "add", "base<1.2"]), @"
    The following packages will be DOWNGRADED:
      base (1.2-r0 -> 1.1-r0)
    After this operation, 0 B of additional disk space will be used.
    (1/1) Downgrading base (1.2-r0 -> 1.1-r0)
    OK: 3 packages, 5 dirs, 3 files, 16.0 MiB
    ");
    assert_eq!(yard.world(), "app\nbase<1.2\n");
    assert_eq!(yard.read("root/etc/base.conf"), "base 1.1\n");
    // The run is in the log.
    let log = yard.read("root/var/log/apk.log");
    assert!(log.contains("\nRunning `"), "{log}");
    assert!(log.contains("\n(3/3) Installing app (1.0-r0)\n"), "{log}");
}

#[test]
fn what_nobody_needs_goes() {
    let yard = Yard::new(&usual());
    yard.says(&["add", "app", "base"]);
    insta::assert_snapshot!(yard.says(&["del", "libfoo"]), @"
    World updated, but the following packages are not removed due to:
      libfoo: app

    OK: 16.0 MiB in 3 packages
    ");
    insta::assert_snapshot!(yard.says(&["del", "app"]), @"
    (1/2) Purging app (1.0-r0)
    (2/2) Purging libfoo (1.0-r0)
    OK: 1000 B in 1 packages
    ");
    assert_eq!(yard.world(), "base\n");
    assert!(!yard.has("root/usr/bin/app"));
    assert!(!yard.has("root/usr"));
    // With all that depends on it.
    yard.says(&["add", "app"]);
    insta::assert_snapshot!(yard.says(&["del", "-r", "lib*"]), @"
    (1/2) Purging app (1.0-r0)
    (2/2) Purging libfoo (1.0-r0)
    OK: 1000 B in 1 packages
    ");
    // apk counts what it does not know.
    let unknown = yard.run(&["del", "nothing", "nowhere"]).code(2);
    insta::assert_snapshot!(unknown.stderr, @"
    ERROR: No such package: nothing
    ERROR: No such package: nowhere
    ");
    assert_eq!(unknown.stdout, "");
}

#[test]
fn a_request_without_a_solution_is_reported_as_apk_does_and_then_explained() {
    let yard = Yard::new(&usual());
    let refused = yard.run(&["add", "app", "other", "broken"]).code(1);
    assert_eq!(refused.stdout, "");
    let (report, explanation) = refused.stderr.split_once("\n\n").unwrap();
    insta::assert_snapshot!(report, @"
    ERROR: unable to select packages:
      app-1.0-r0:
        breaks: other-2.0-r0[!app]
        satisfies: world[app]
      nonexistent (no such package):
        required by: broken-1-r0[nonexistent]
    ");
    insta::assert_snapshot!(yard.steady(explanation), @"
    no choice of packages satisfies all that is asked for; 2 things stand in the way
      broken-1-r0 needs nonexistent, which nothing provides in YARD/main (x86_64)
        broken → broken-1-r0 → nonexistent
        help: drop broken from the world
        or: add a repository that has nonexistent for x86_64
      other-2.0-r0 rules out app (`!app`), but app is asked for
        other → other-2.0-r0 → !app
        help: drop app from the world
        or: drop other from the world
        or: build other-2.0-r0 anew without `!app`
    ");
    assert_eq!(yard.world(), "");
    assert!(!yard.has("root/usr"));
    let document = yard
        .run(&["add", "--format", "json", "app", "other"])
        .code(1);
    assert_eq!(document.stderr, "");
    let document = json(&document.stdout);
    insta::assert_snapshot!(document["report"].as_str().unwrap(), @"
      app-1.0-r0:
        breaks: other-2.0-r0[!app]
        satisfies: world[app]
    ");
    let remedies = &document["unsolvable"]["causes"][0]["remedies"];
    assert_eq!(remedies[0]["changes"][0]["kind"], "drop", "{document:#}");
}

#[test]
fn a_simulation_touches_nothing() {
    let yard = Yard::new(&usual());
    let before = snapshot(&yard.root());
    insta::assert_snapshot!(yard.says(&["add", "--simulate", "app"]), @"
    (1/3) Installing libfoo (1.0-r0)
    (2/3) Installing base (1.2-r0)
    (3/3) Installing app (1.0-r0)
    OK: 16.0 MiB in 3 packages
    ");
    let document = json(&yard.says(&["add", "-s", "--format=json", "app"]));
    assert_eq!(document["simulated"], true);
    assert_eq!(document["installed"]["packages"], 3);
    assert_eq!(document["world"], serde_json::json!(["app"]));
    insta::assert_snapshot!(
        yard.steady(&format!("{:#}", document["changes"][2])),
        @r#"
    {
      "action": "install",
      "after": "1.0-r0",
      "installed_size": 16777216,
      "name": "app",
      "repository": "YARD/main",
      "size": 612
    }
    "#
    );
    assert_eq!(snapshot(&yard.root()), before);
    // Nor does it need the lock: somebody else may be at work.
    let lock = fs::File::create(yard.path("root/lib/apk/db/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    yard.says(&["add", "--simulate", "app"]);
    let locked = yard.run(&["add", "app"]).code(1);
    assert!(locked.stderr.contains("is locked"), "{}", locked.stderr);
}

/// All files below a folder, with their text.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.insert(path.clone(), Vec::new());
                folders.push(path);
            } else {
                files.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn a_name_for_several_packages_takes_them_away_again() {
    let yard = Yard::new(&usual());
    insta::assert_snapshot!(yard.says(&["add", "-t", ".deps=1", "app", "base<1.2"]), @"
    (1/4) Installing libfoo (1.0-r0)
    (2/4) Installing base (1.1-r0)
    (3/4) Installing app (1.0-r0)
    (4/4) Installing .deps (1)
    OK: 16.0 MiB in 4 packages
    ");
    assert_eq!(yard.world(), ".deps=1\n");
    // Other needs make another package once the version is another.
    insta::assert_snapshot!(
        yard.says(&["add", "--virtual=.deps=1", "libfoo"]),
        @"OK: 16.0 MiB in 4 packages"
    );
    insta::assert_snapshot!(yard.says(&["add", "--virtual=.deps=2", "libfoo"]), @"
    (1/3) Upgrading .deps (1 -> 2)
    (2/3) Purging app (1.0-r0)
    (3/3) Purging base (1.1-r0)
    OK: 1000 B in 2 packages
    ");
    insta::assert_snapshot!(yard.says(&["del", ".deps"]), @"
    (1/2) Purging .deps (2)
    (2/2) Purging libfoo (1.0-r0)
    OK: 0 B in 0 packages
    ");
    // Without a version it has the time for one.
    let mut program = yard.apk(&["add", "-t", "later"]);
    program.command().env("SOURCE_DATE_EPOCH", "1700000000");
    let empty = program.run().success();
    insta::assert_snapshot!(empty.stdout, @"
    (1/1) Installing later (20231114.221320)
    OK: 0 B in 1 packages
    ");
    assert_eq!(empty.stderr, "WARNING: creating empty virtual package\n");
    let wrong = yard.run(&["add", "-t", "a>1", "libfoo"]).code(99);
    assert_eq!(wrong.stderr, "ERROR: a>1: bad package specifier\n");
    let wrong = yard.run(&["add", "lib foo"]).code(99);
    assert_eq!(
        wrong.stderr,
        "ERROR: 'lib foo' is not a valid world dependency, format is name(@tag)([<>~=]version)\n"
    );
}

#[test]
fn a_package_file_is_installed_and_kept_in_the_cache() {
    let yard = Yard::new(&usual());
    fs::create_dir_all(yard.path("root/etc/apk/cache")).unwrap();
    let folder = &yard.path("");
    let entry = package("local", "3-r0")
        .depends("libfoo")
        .file("usr/bin/local", "local")
        .write(folder);
    insta::assert_snapshot!(yard.says(&["add", "local-3-r0.apk"]), @"
    (1/2) Installing libfoo (1.0-r0)
    (2/2) Installing local (3-r0)
    OK: 2000 B in 2 packages
    ");
    assert_eq!(yard.world(), format!("local><{}\n", entry.identity));
    let cached: Vec<String> = fs::read_dir(yard.path("root/etc/apk/cache"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        cached[0].starts_with("local-3-r0.") && cached.len() == 1,
        "{cached:?}"
    );
    // It is gone from where it was, and is installed again out of the cache.
    fs::remove_file(yard.path("local-3-r0.apk")).unwrap();
    insta::assert_snapshot!(yard.says(&["add", "app"]), @"
    (1/2) Installing base (1.2-r0)
    (2/2) Installing app (1.0-r0)
    OK: 16.0 MiB in 4 packages
    ");
    // What is no package is refused.
    yard.write("no.apk", "no package");
    let refused = yard.run(&["add", "no.apk"]).code(99);
    assert!(
        refused.stderr.starts_with("ERROR: no.apk: "),
        "{}",
        refused.stderr
    );
    // So is one that nobody trusted has signed.
    package("local", "4-r0").write(folder);
    let mut program = Program::new(env!("CARGO_BIN_EXE_polpo"))
        .args(["apk", "--no-network", "--root"])
        .arg(yard.root())
        .args(["add", "local-4-r0.apk"])
        .env("APK_CONFIG", "/dev/null")
        .folder(folder);
    program.command().env("POLPO_STORE", yard.path("store"));
    let refused = program.run().code(99);
    assert!(
        refused
            .stderr
            .contains("local-4-r0.apk: UNTRUSTED signature"),
        "{}",
        refused.stderr
    );
}

#[test]
fn installed_packages_are_brought_up_to_date() {
    let yard = Yard::new(&usual());
    yard.says(&["add", "app", "libfoo"]);
    yard.repository(
        "main",
        &[
            package("app", "1.1-r0").depends("so:libfoo.so.1 base"),
            package("libfoo", "1.2-r0").provides("so:libfoo.so.1=1.2"),
            package("base", "1.1-r0"),
        ],
    );
    insta::assert_snapshot!(yard.says(&["upgrade", "-s", "libfoo"]), @"
    (1/1) Upgrading libfoo (1.0-r0 -> 1.2-r0)
    OK: 16.0 MiB in 3 packages
    ");
    insta::assert_snapshot!(yard.says(&["upgrade", "-s", "--ignore", "libfoo"]), @"
    (1/1) Upgrading app (1.0-r0 -> 1.1-r0)
    OK: 3000 B in 3 packages
    ");
    insta::assert_snapshot!(yard.says(&["upgrade"]), @"
    (1/2) Upgrading libfoo (1.0-r0 -> 1.2-r0)
    (2/2) Upgrading app (1.0-r0 -> 1.1-r0)
    OK: 3000 B in 3 packages
    ");
    // base went from 1.2 to 1.1 in the repository.
    insta::assert_snapshot!(yard.says(&["upgrade", "--available"]), @"
    (1/1) Downgrading base (1.2-r0 -> 1.1-r0)
    OK: 3000 B in 3 packages
    ");
    // What is gone from the repositories is told of, and pruned on request.
    yard.repository("main", &[package("base", "1.1-r0")]);
    insta::assert_snapshot!(yard.says(&["-v", "upgrade"]), @"
    NOTE: Consider running apk upgrade with --prune and/or --available.
    The following packages are no longer available from a repository:
      app libfoo
    OK: 3 packages, 0 dirs, 0 files, 3000 B
    ");
    insta::assert_snapshot!(yard.says(&["upgrade", "--prune"]), @"
    (1/3) Purging app (1.1-r0)
    (2/3) Purging base (1.1-r0)
    (3/3) Purging libfoo (1.2-r0)
    OK: 0 B in 0 packages
    ");
    let unknown = yard.run(&["upgrade", "nowhere"]).code(1);
    assert_eq!(unknown.stderr, "ERROR: Package 'nowhere' not found\n");
}

#[test]
fn packages_are_repaired() {
    let yard = Yard::new(&usual());
    yard.says(&["add", "app"]);
    fs::remove_file(yard.path("root/usr/bin/app")).unwrap();
    insta::assert_snapshot!(yard.says(&["fix", "app"]), @"
    (1/1) Reinstalling app (1.0-r0)
    OK: 16.0 MiB in 3 packages
    ");
    assert_eq!(yard.read("root/usr/bin/app"), "app 1.0");
    insta::assert_snapshot!(yard.says(&["fix", "--depends", "app"]), @"
    (1/3) Reinstalling libfoo (1.0-r0)
    (2/3) Reinstalling base (1.2-r0)
    (3/3) Reinstalling app (1.0-r0)
    OK: 16.0 MiB in 3 packages
    ");
    insta::assert_snapshot!(yard.says(&["fix"]), @"OK: 16.0 MiB in 3 packages");
    let unknown = yard.run(&["fix", "a", "b"]).code(2);
    insta::assert_snapshot!(unknown.stderr, @"
    ERROR: Package 'a' not found
    ERROR: Package 'b' not found
    ");
    // What no repository has can't be unpacked again.
    yard.repository("main", &[]);
    insta::assert_snapshot!(yard.says(&["fix", "app"]), @"
    (1/1) [APK unavailable, skipped] Reinstalling app (1.0-r0)
    OK: 16.0 MiB in 3 packages
    ");
}

#[test]
fn indexes_are_listed_and_missing_ones_told_of() {
    let yard = Yard::new(&usual());
    insta::assert_snapshot!(yard.steady(&yard.says(&["update"])), @"
    main of tests [YARD/main]
    OK: 6 distinct packages available
    ");
    let missing = yard.run(&["update", "-X", "/nowhere"]).success();
    assert_eq!(
        missing.stderr,
        "WARNING: opening /nowhere/x86_64/APKINDEX.tar.gz: No such file or directory\n"
    );
    let document = json(&yard.says(&["update", "--format", "json"]));
    assert_eq!(document["packages"], 6);
    assert_eq!(document["repositories"][0]["description"], "main of tests");
    // An index that nobody trusted has signed is none.
    let untrusted = Program::new(env!("CARGO_BIN_EXE_polpo"))
        .args(["apk", "update", "--root"])
        .arg(yard.root())
        .env("APK_CONFIG", "/dev/null")
        .env("POLPO_STORE", yard.path("store"))
        .run()
        .success();
    assert!(
        untrusted
            .stderr
            .contains("APKINDEX.tar.gz: UNTRUSTED signature"),
        "{}",
        untrusted.stderr
    );
    assert_eq!(untrusted.stdout, "OK: 0 distinct packages available\n");
}

#[test]
fn tags_pin_packages_to_repositories() {
    let yard = Yard::new(&usual());
    yard.repository(
        "edge",
        &[package("libfoo", "2.0-r0"), package("new", "1-r0")],
    );
    let unknown = yard.run(&["add", "libfoo@edge"]).code(99);
    insta::assert_snapshot!(unknown.stderr, @"
    WARNING: The repository tag for world dependency 'libfoo@edge' does not exist
    ERROR: Not committing changes due to missing repository tags.
    ");
    let edge = format!("@edge {}", yard.path("edge").display());
    insta::assert_snapshot!(
        yard.says(&["--repository-config", &edge, "add", "libfoo@edge"]),
        @"
    (1/1) Installing libfoo@edge (2.0-r0)
    OK: 1000 B in 1 packages
    "
    );
    assert_eq!(yard.world(), "libfoo@edge\n");
    let masked = yard
        .run(&["--repository-config", &edge, "add", "new"])
        .code(1);
    let (report, _) = masked.stderr.split_once("\n\n").unwrap();
    insta::assert_snapshot!(report, @"
    ERROR: unable to select packages:
      new-1-r0:
        masked in: @edge
        satisfies: world[new]
    ");
}

/// What is expected here is what apk 3.0.6 printed.
#[test]
fn tags_that_no_repository_has_are_told_as_apk_tells_them() {
    let yard = Yard::new(&usual());
    yard.write("root/etc/apk/world", "libfoo@edge\n");
    let del = yard.run(&["del", "other"]).code(99);
    insta::assert_snapshot!(del.stderr, @"
    WARNING: The repository tag for world dependency 'libfoo@edge' does not exist
    ERROR: Not committing changes due to missing repository tags.
    ");
    // What can't be had with any tag is told first.
    yard.write("root/etc/apk/world", "nowhere@edge\n");
    let del = yard.run(&["del", "other"]).code(1);
    let (report, explained) = del.stderr.split_once("\n\n").unwrap();
    insta::assert_snapshot!(report, @"
    ERROR: unable to select packages:
      nowhere (no such package):
        required by: world[nowhere@edge]
    ");
    assert!(
        explained.contains("no repository has the tag @edge"),
        "{explained}"
    );

    // Tags are told in the order of their first mention, of which the world's are the first.
    for repository in ["one", "two"] {
        yard.repository(repository, &[package("new", "1-r0")]);
    }
    let [one, two] = ["one", "two"].map(|name| yard.path(name).display().to_string());
    let repositories = format!("@one {one}\n@two {two}\n");
    yard.write("root/etc/apk/repositories", &repositories);
    let masked_in = |world: &str| {
        yard.write("root/etc/apk/world", world);
        let add = yard.run(&["add", "new"]).code(1);
        let mut lines = add.stderr.lines();
        let line = lines.find(|line| line.contains("masked in:")).unwrap();
        line.trim().to_owned()
    };
    assert_eq!(masked_in(""), "masked in: @one @two");
    assert_eq!(masked_in("nowhere@two\n"), "masked in: @two @one");
}

/// As with apk 3.0.6, of which this is what it printed.
#[test]
fn a_name_is_known_where_anything_mentions_it() {
    let yard = Yard::new(&usual());
    // `broken` needs it, and nothing has it.
    for command in ["del", "upgrade", "fix"] {
        assert_eq!(
            yard.says(&[command, "nonexistent"]),
            "OK: 0 B in 0 packages\n"
        );
    }
}

#[test]
fn a_person_is_asked_before_anything_is_changed() {
    let yard = Yard::new(&usual());
    let answer = |answer: &str| {
        yard.write("answer", answer);
        let mut program = yard.apk(&["add", "-i", "libfoo"]);
        let file = fs::File::open(yard.path("answer")).unwrap();
        program.command().stdin(Stdio::from(file));
        program.run()
    };
    insta::assert_snapshot!(answer("n\n").code(99).stdout, @"
    The following NEW packages will be installed:
      libfoo
    After this operation, 1000 B of additional disk space will be used.
    Do you want to continue [Y/n]? 
    ");
    assert_eq!(yard.world(), "");
    insta::assert_snapshot!(answer("y\n").success().stdout, @"
    The following NEW packages will be installed:
      libfoo
    After this operation, 1000 B of additional disk space will be used.
    Do you want to continue [Y/n]? (1/1) Installing libfoo (1.0-r0)
    OK: 1000 B in 1 packages
    ");
}

#[test]
fn files_of_others_are_overwritten_by_force_alone() {
    let recipes = [
        package("one", "1").file("etc/file", "one"),
        package("two", "1").file("etc/file", "two"),
    ];
    let yard = Yard::new(&recipes);
    yard.says(&["add", "one"]);
    let refused = yard.run(&["add", "two"]).code(1);
    insta::assert_snapshot!(refused.stdout, @"
    (1/1) Installing two (1)
    1 error; 2000 B in 2 packages
    ");
    assert_eq!(
        refused.stderr,
        "ERROR: two-1: trying to overwrite etc/file owned by one-1.\n"
    );
    assert_eq!(yard.read("root/etc/file"), "one");
    // It counts as installed, and as broken until it is fixed.
    let forced = yard.run(&["fix", "--force-overwrite"]).success();
    assert_eq!(
        forced.stderr,
        "WARNING: two-1: overwriting etc/file owned by one-1.\n"
    );
    assert_eq!(yard.read("root/etc/file"), "two");
}

#[test]
fn packages_are_fetched() {
    let mut recipes = usual();
    recipes.push(package("base", "0.9-r0").built(1_600_000_000));
    let yard = Yard::new(&recipes);
    fs::create_dir(yard.path("out")).unwrap();
    let files = || {
        let mut names: Vec<String> = fs::read_dir(yard.path("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    insta::assert_snapshot!(yard.says(&["fetch", "-o", "out", "-R", "app"]), @"
    Downloading app-1.0-r0
    Downloading base-1.2-r0
    Downloading libfoo-1.0-r0
    ");
    assert_eq!(
        files(),
        ["app-1.0-r0.apk", "base-1.2-r0.apk", "libfoo-1.0-r0.apk"]
    );
    // What is there stays, and with --purge nothing else does.
    insta::assert_snapshot!(
        yard.says(&["fetch", "--purge", "-o", "out", "base", "app"]),
        @"Purging libfoo-1.0-r0.apk"
    );
    insta::assert_snapshot!(
        yard.steady(&yard.says(&["fetch", "--simulate", "--url", "lib*", "base<1.2"])),
        @"
    YARD/main/x86_64/base-1.1-r0.apk
    YARD/main/x86_64/libfoo-1.0-r0.apk
    "
    );
    yard.says(&[
        "fetch",
        "-o",
        "out",
        "--pkgname-spec",
        "${name}_${version}.pkg",
        "libfoo",
    ]);
    assert_eq!(
        files(),
        ["app-1.0-r0.apk", "base-1.2-r0.apk", "libfoo_1.0-r0.pkg"]
    );
    let outside = yard
        .run(&["fetch", "--pkgname-spec", "../${name}-x", "libfoo"])
        .code(2);
    assert!(outside.stderr.contains("../libfoo-x"), "{}", outside.stderr);
    let unknown = yard.run(&["fetch", "nowhere", "nothing", "no*"]).code(2);
    insta::assert_snapshot!(unknown.stdout, @"
    nowhere: unable to select package (or its dependencies)
    nothing: unable to select package (or its dependencies)
    ");
    let bytes = yard
        .apk(&["fetch", "-s", "libfoo"])
        .command()
        .output()
        .unwrap();
    assert_eq!(
        bytes.stdout,
        fs::read(yard.path("main/x86_64/libfoo-1.0-r0.apk")).unwrap()
    );
    insta::assert_snapshot!(
        yard.says(&["fetch", "--simulate", "--built-after", "2020-10-01 00:00:00", "base=0.9-r0", "base<1.2"]),
        @"Downloading base-1.1-r0"
    );
    let document = json(&yard.says(&["fetch", "--format", "json", "--simulate", "libfoo"]));
    assert_eq!(document["packages"][0]["name"], "libfoo");
    assert_eq!(document["simulated"], true);
    // A package that is not the one its index speaks of is not delivered.
    let file = yard.path("main/x86_64/other-2.0-r0.apk");
    fs::copy(yard.path("main/x86_64/libfoo-1.0-r0.apk"), file).unwrap();
    let wrong = yard.run(&["fetch", "-o", "out", "other"]).code(1);
    assert!(
        wrong.stderr.starts_with("ERROR: other-2.0-r0: "),
        "{}",
        wrong.stderr
    );
    assert!(!yard.has("out/other-2.0-r0.apk"));
}

#[test]
fn a_cache_is_cleaned() {
    let yard = Yard::new(&usual());
    let cache = "root/etc/apk/cache";
    fs::create_dir_all(yard.path(cache)).unwrap();
    let folder = &yard.path("");
    package("local", "3-r0")
        .file("usr/bin/local", "local")
        .write(folder);
    package("stray", "3-r0")
        .file("usr/bin/stray", "stray")
        .write(folder);
    yard.says(&["add", "local-3-r0.apk", "stray-3-r0.apk"]);
    yard.says(&["del", "stray"]);
    for junk in ["APKINDEX.00000000.tar.gz", "junk", "installed"] {
        yard.write(&format!("{cache}/{junk}"), "");
    }
    let simulated = yard.says(&["cache", "clean", "-s", "-v"]);
    assert_eq!(simulated.lines().count(), 3, "{simulated}");
    let cleaned = yard.says(&["cache", "clean", "-v"]);
    assert_eq!(cleaned, simulated);
    let left: Vec<String> = fs::read_dir(yard.path(cache))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().any(|name| name.starts_with("local-3-r0.")));
    // On a disk, what is installed has no need of its copy.
    let document = json(&yard.says(&["cache", "purge", "--root-tmpfs=no", "--format", "json"]));
    assert_eq!(document["removed"].as_array().unwrap().len(), 1);
}

#[test]
fn options_come_from_the_configuration_too() {
    let yard = Yard::new(&usual());
    yard.write("config", "simulate yes # for now\nnonsense\n");
    let mut program = yard.apk(&["add", "libfoo"]);
    program.command().env("APK_CONFIG", yard.path("config"));
    let simulated = program.run().success();
    assert_eq!(
        simulated.stderr,
        "WARNING: config: unrecognized option 'nonsense'\n"
    );
    assert_eq!(yard.world(), "");
    // What the command line says counts more.
    let mut program = yard.apk(&["add", "libfoo", "--no-simulate"]);
    program.command().env("APK_CONFIG", yard.path("config"));
    program.run().success();
    assert_eq!(yard.world(), "libfoo\n");
    let wrong = yard.run(&["add", "--nonsense"]).code(2);
    assert_eq!(
        wrong.stderr,
        "ERROR: command line: unrecognized option 'nonsense'\n"
    );
}

#[test]
fn polpo_answers_to_the_name_of_apk() {
    let yard = Yard::new(&usual());
    let program = yard.path("apk");
    symlink(env!("CARGO_BIN_EXE_polpo"), &program).unwrap();
    let version = Program::new(&program).arg("--version").run().success();
    assert!(
        version.stdout.starts_with("apk-tools 3.0.6 (polpo "),
        "{}",
        version.stdout
    );
    let added = Program::new(&program)
        .arg("--root")
        .arg(yard.root())
        .args(["--allow-untrusted", "add", "libfoo"])
        .env("APK_CONFIG", "/dev/null")
        .env("POLPO_STORE", yard.path("store"))
        .run()
        .success();
    insta::assert_snapshot!(added.stdout, @"
    (1/1) Installing libfoo (1.0-r0)
    OK: 1000 B in 1 packages
    ");
}

#[test]
fn a_broken_world_is_mended_by_force() {
    let yard = Yard::new(&usual());
    yard.write("root/etc/apk/world", "libfoo\ngone\n");
    yard.run(&["add", "base"]).code(1);
    let forced = json(&yard.says(&["add", "--force-broken-world", "--format=json", "base"]));
    assert_eq!(forced["left_out"], serde_json::json!(["gone"]));
    assert_eq!(forced["installed"]["packages"], 2);
}

#[test]
fn repositories_are_asked_over_the_network_and_remembered() {
    let yard = Yard::new(&usual());
    let server = Server::of(yard.path("main"));
    yard.write(
        "root/etc/apk/repositories",
        &format!("{}\n", server.url("")),
    );
    fs::create_dir_all(yard.path("root/etc/apk/cache")).unwrap();
    let online = |words: &[&str]| {
        let mut all = vec!["--network"];
        all.extend(words);
        yard.run(&all)
    };
    let updated = online(&["update"]).success();
    insta::assert_snapshot!(updated.stdout.replace(&server.url(""), "SERVER"), @"
    main of tests [SERVER]
    OK: 6 distinct packages available
    ");
    assert_eq!(updated.stderr, "");
    insta::assert_snapshot!(online(&["add", "libfoo"]).success().stdout, @"
    (1/1) Installing libfoo (1.0-r0)
    OK: 1000 B in 1 packages
    ");
    let cached: Vec<String> = fs::read_dir(yard.path("root/etc/apk/cache"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(cached.len(), 2, "{cached:?}");
    // Without network: what the cache has, and what it has not is said.
    yard.says(&["del", "libfoo"]);
    yard.says(&["add", "libfoo"]);
    let masked = yard.run(&["add", "app"]).code(1);
    let (report, _) = masked.stderr.split_once("\n\n").unwrap();
    insta::assert_snapshot!(report, @"
    ERROR: unable to select packages:
      base-1.2-r0:
        masked in: --no-network
        satisfies: app-1.0-r0[base>1]
      app-1.0-r0:
        masked in: --no-network
        satisfies: world[app]
    ");
    online(&["cache", "download", "app"]).success();
    yard.says(&["add", "app"]);
    // A server that no longer has its index leaves the one that was fetched before.
    server.on("/x86_64/APKINDEX.tar.gz", Reply::status(404));
    let stale = online(&["update"]).code(1);
    assert!(
        stale
            .stdout
            .ends_with("0 unavailable, 1 stale; 6 distinct packages available\n"),
        "{}",
        stale.stdout
    );
    assert!(
        stale.stderr.starts_with("WARNING: updating http"),
        "{}",
        stale.stderr
    );
    let refused = online(&["upgrade", "-U"]).code(99);
    assert!(
        refused.stderr.ends_with(
            "ERROR: Not continuing due to stale/unavailable repositories. \
             Use --force-missing-repositories to continue.\n"
        ),
        "{}",
        refused.stderr
    );
}
