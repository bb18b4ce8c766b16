//! What apk's commands leave behind on a system, and what they take from it: logs, lists, modes,
//! progress. The expected texts are apk 3.0.6's on the same packages.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use apk::dependency::Dependency;
use apk::package::Script;
use apk::version::Version;
use archive::tree::{Node, NodeKind, TreePath};
use testkit::{Program, Server};

use crate::yard::{Recipe, Yard, json, package, usual};

/// A root with a shell, for scripts.
fn with_shell(recipes: &[Recipe]) -> Yard {
    let yard = Yard::new(recipes);
    let bin = yard.path("root/bin");
    fs::create_dir_all(&bin).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
        .expect("a static busybox: scripts/install test");
    fs::copy(busybox, bin.join("busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
    yard
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The log, without what names the machine and the moment.
fn log(yard: &Yard) -> String {
    let log = yard.steady(&yard.read("root/var/log/apk.log"));
    let lines = log.lines().filter(|line| !line.starts_with("apk-tools "));
    let lines = lines.map(|line| match line.strip_prefix("Running `") {
        Some(rest) => {
            let words = rest.split_once("--no-network").unwrap().1;
            let (words, time) = words.split_once("` at ").unwrap();
            assert_eq!(time.len(), "2024-01-31 23:59:59".len(), "{line}");
            format!("Running{words}\n")
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn directories_are_made_as_their_packages_have_them() {
    let files = package("files", "1-r0")
        .directory("srv/data", 0o750)
        .directory("srv/open", 0o1777)
        .directory("srv/open/gone", 0o711)
        .file("srv/data/file", "text");
    let yard = Yard::new(&[files]);
    yard.says(&["add", "files"]);
    let [data, open, gone] =
        ["srv/data", "srv/open", "srv/open/gone"].map(|path| yard.root().join(path));
    let spoil = || {
        set_mode(&data, 0o777);
        set_mode(&open, 0o700);
        fs::remove_dir(&gone).unwrap();
    };
    spoil();
    let found = yard.says(&["audit", "--full", "--check-permissions"]);
    assert!(found.contains("m srv/data/\nm srv/open/\n"), "{found}");
    // Nothing else sets them right, and a simulation nothing at all.
    yard.says(&["fix"]);
    let said = yard.says(&["fix", "-v", "--simulate", "--directory-permissions"]);
    insta::assert_snapshot!(said, @"
    fixing directory srv/data
    fixing directory srv/open
    fixing directory srv/open/gone
    OK: 1 packages, 5 dirs, 1 files, 1000 B
    ");
    assert_eq!(
        (mode(&data), mode(&open), gone.exists()),
        (0o777, 0o700, false)
    );
    insta::assert_snapshot!(
        yard.says(&["fix", "--directory-permissions"]),
        @"OK: 1000 B in 1 packages"
    );
    assert_eq!(
        (mode(&data), mode(&open), mode(&gone)),
        (0o750, 0o1777, 0o711)
    );
    assert_eq!(yard.read("root/srv/data/file"), "text");
    let found = yard.says(&["audit", "--full", "--check-permissions"]);
    assert!(!found.contains("srv"), "{found}");
    spoil();
    let document = yard.says(&["fix", "--directory-permissions", "--format", "json"]);
    let directories = &json(&document)["directories"];
    assert_eq!(
        *directories,
        serde_json::json!(["srv/data", "srv/open", "srv/open/gone"])
    );
    // One that can't be made is told of, and nothing else is done.
    fs::remove_dir(&gone).unwrap();
    fs::write(&gone, "in the way").unwrap();
    let failed = yard
        .run(&["fix", "--directory-permissions", "files"])
        .code(1);
    assert_eq!(failed.stdout, "");
    assert!(
        failed
            .stderr
            .contains("failed to fix directory permissions: srv/open/gone: Not a directory"),
        "{}",
        failed.stderr
    );
    assert_eq!(fs::read_to_string(&gone).unwrap(), "in the way");
}

#[test]
fn triggers_hear_of_directories_that_were_set_right() {
    let mut listener = package("listener", "1-r0")
        .directory("srv", 0o755)
        .script(Script::Trigger, "echo told: $*");
    listener.info.triggers = vec!["/srv".to_owned()];
    let yard = with_shell(&[listener]);
    yard.says(&["add", "listener"]);
    set_mode(&yard.path("root/srv"), 0o700);
    insta::assert_snapshot!(yard.says(&["fix", "--directory-permissions"]), @"
    Executing listener-1-r0.trigger
    * told: /srv
    OK: 1000 B in 1 packages
    ");
    assert_eq!(mode(&yard.path("root/srv")), 0o755);
}

#[test]
fn scripts_speak_on_the_streams_that_they_chose() {
    let loud = package("loud", "1-r0").script(
        Script::PostInstall,
        "echo said\necho complained >&2\nexit 3",
    );
    let yard = with_shell(std::slice::from_ref(&loud));
    let finished = yard.run(&["add", "loud"]).code(1);
    insta::assert_snapshot!(finished.stdout, @"
    (1/1) Installing loud (1-r0)
      Executing loud-1-r0.post-install
      * said
    1 error; 1000 B in 1 packages
    ");
    insta::assert_snapshot!(finished.stderr, @"
      * complained
    ERROR: lib/apk/exec/loud-1-r0.post-install: exited with error 3
    ");
    // However little apk itself is to say.
    let finished = yard.run(&["-q", "fix", "loud"]);
    assert_eq!(finished.stdout, "");
    let yard = with_shell(&[loud]);
    let finished = yard.run(&["-q", "add", "loud"]).code(1);
    assert_eq!(finished.stdout, "  * said\n");
    assert!(
        finished.stderr.starts_with("  * complained\n"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_log_has_all_that_was_said() {
    let yard = Yard::new(&usual());
    yard.run(&["add", "app"]).success();
    yard.run(&["-q", "del", "app"]).success();
    yard.run(&["add", "nosuch"]).code(1);
    yard.run(&["add", "libfoo@edge"]).code(99);
    yard.run(&["del", "nosuch"]).code(1);
    yard.run(&["fix", "nosuch"]).code(1);
    yard.run(&["update"]).success();
    // What changes nothing leaves no trace, and what is not to.
    yard.run(&["add", "--simulate", "app"]).success();
    yard.run(&["info", "app"]);
    yard.run(&["--no-logfile", "add", "base"]).success();
    yard.write("root/lib/apk/db/installed", "nonsense\n");
    yard.run(&["add", "base"]).code(1);
    insta::assert_snapshot!(log(&yard).trim(), @"
    Running add app
    (1/3) Installing libfoo (1.0-r0)
    (2/3) Installing base (1.2-r0)
    (3/3) Installing app (1.0-r0)
    OK: 16.0 MiB in 3 packages

    Running -q del app

    Running add nosuch
    ERROR: unable to select packages:
      nosuch (no such package):
        required by: world[nosuch]

    no choice of packages satisfies all that is asked for
      nosuch is asked for, which nothing provides in YARD/main (x86_64)
        help: drop nosuch from the world
        or: add a repository that has nosuch for x86_64

    Running add libfoo@edge
    WARNING: The repository tag for world dependency 'libfoo@edge' does not exist
    ERROR: Not committing changes due to missing repository tags.

    Running del nosuch
    ERROR: No such package: nosuch

    Running fix nosuch
    ERROR: Package 'nosuch' not found

    Running update
    main of tests [YARD/main]
    OK: 6 distinct packages available

    Running add base
    error: Failed to open apk database
      because: YARD/root: `lib/apk/db/installed` of the installed database: line 1: it is no field: expected a letter, a colon and a value
    ");
}

#[test]
fn the_cache_lists_what_only_it_has() {
    let yard = Yard::new(&usual());
    let list = "root/etc/apk/cache/installed";
    fs::create_dir_all(yard.path("root/etc/apk/cache")).unwrap();
    let loose = package("loose", "1-r0").file("opt/loose", "text");
    loose.write(&yard.path(""));
    let add = ["add", "-t", ".needs=1", "base", "loose-1-r0.apk"];
    // A system on disk has its own list.
    yard.says(&add);
    assert!(!yard.has(list));
    yard.says(&["del", ".needs"]);
    let in_memory = |words: &[&str]| {
        let mut all = vec!["--root-tmpfs=yes"];
        all.extend(words);
        yard.says(&all)
    };
    in_memory(&add);
    let text = yard.read(list);
    let names: Vec<&str> = text.lines().filter(|line| line.starts_with("P:")).collect();
    assert_eq!(names, ["P:.needs", "P:loose"], "{text}");
    assert!(text.contains("\nD:base loose><Q1"), "{text}");
    assert!(text.contains("\nT:virtual meta package\n"), "{text}");
    // At its next start the system has its settings alone, and is made anew.
    for gone in ["root/lib", "root/opt", "root/usr"] {
        let _ = fs::remove_dir_all(yard.path(gone));
    }
    insta::assert_snapshot!(in_memory(&["--initramfs-diskless-boot", "fix"]), @"
    (1/3) Installing base (1.2-r0)
    (2/3) Installing loose (1-r0)
    (3/3) Installing .needs (1)
    OK: 2000 B in 3 packages
    ");
    assert_eq!(yard.read("root/opt/loose"), "text");
    assert_eq!(yard.read(list), text);
    // What a repository has got needs no list.
    let mut recipes = usual();
    recipes.push(loose);
    yard.repository("main", &recipes);
    in_memory(&["update"]);
    let listed = yard.read(list);
    let names: Vec<&str> = listed
        .lines()
        .filter(|line| line.starts_with("P:"))
        .collect();
    assert_eq!(names, ["P:.needs"], "{listed}");
    in_memory(&["del", ".needs"]);
    assert!(!yard.has(list));
}

#[test]
fn without_network_the_store_will_do() {
    let yard = Yard::new(&usual());
    let server = Server::of(yard.path("main"));
    let repositories = format!("{}\n", server.url(""));
    yard.write("root/etc/apk/repositories", &repositories);
    yard.run(&["--network", "add", "libfoo"]).success();
    yard.says(&["del", "libfoo"]);
    // There is no `etc/apk/cache`: indexes are kept where apk looks for them, packages in the store.
    let kept: Vec<_> = fs::read_dir(yard.path("root/var/cache/apk"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].starts_with("APKINDEX."), "{kept:?}");
    let asked = server.asked().len();
    insta::assert_snapshot!(yard.says(&["add", "libfoo"]), @"
    (1/1) Installing libfoo (1.0-r0)
    OK: 1000 B in 1 packages
    ");
    assert_eq!(server.asked().len(), asked);
    let masked = yard.run(&["add", "base"]).code(1).stderr;
    assert!(masked.contains("    masked in: --no-network\n"), "{masked}");
}

#[test]
fn progress_is_told_to_who_asks_for_it() {
    let yard = Yard::new(&usual());
    let told = yard.path("told");
    let words = |words: &[&str]| -> String {
        File::create(&told).unwrap();
        let program = env!("CARGO_BIN_EXE_polpo");
        Program::new("/bin/sh")
            .args(["-c", "exec \"$@\" 3>>told", "sh", program, "apk", "--root"])
            .arg(yard.root())
            .args(["--allow-untrusted", "--progress-fd", "3"])
            .args(words)
            .env("APK_CONFIG", "/dev/null")
            .env("POLPO_STORE", yard.path("store"))
            .folder(&yard.path(""))
            .run()
            .success();
        fs::read_to_string(&told).unwrap()
    };
    let repository = |name: &str| yard.path("main/x86_64").join(name);
    let sizes = ["base-1.2-r0.apk", "libfoo-1.0-r0.apk"]
        .map(|name| fs::metadata(repository(name)).unwrap().len());
    let package = 64 << 10;
    let total = sizes[0] + sizes[1] + 2 * package;
    let lines = |stage: &str| {
        let first = sizes[0] + package;
        [sizes[0], first, first + sizes[1], total]
            .map(|done| format!("{done}/{total} {stage}\n"))
            .concat()
    };
    assert_eq!(
        words(&["--no-network", "add", "--simulate", "base", "libfoo"]),
        lines("install")
    );
    assert_eq!(
        words(&["--no-network", "add", "base", "libfoo"]),
        lines("install")
    );
    // Nothing to be done is told with nothing.
    assert_eq!(words(&["--no-network", "add", "base", "libfoo"]), "");
    yard.says(&["del", "base", "libfoo"]);
    let server = Server::of(yard.path("main"));
    let repositories = format!("{}\n", server.url(""));
    yard.write("root/etc/apk/repositories", &repositories);
    assert_eq!(
        words(&["add", "base", "libfoo"]),
        lines("download") + &lines("install")
    );
    assert_eq!(words(&["fetch", "base", "libfoo"]), lines("fetch"));
    assert_eq!(
        words(&["fetch", "--output", "/tmp", "--simulate", "base"]),
        format!(
            "{0}/{1} fetch\n{1}/{1} fetch\n",
            sizes[0],
            sizes[0] + package
        )
    );
    // A descriptor that nobody has opened is passed over, as with apk.
    yard.says(&["--progress-fd", "99", "del", "base", "libfoo"]);
}

#[test]
fn progress_within_a_large_package_is_told() {
    // What can't be compressed: each byte costs one.
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(3 << 20)
    .collect();
    let mut large = package("large", "1-r0");
    large.info.installed_size = noise.len() as u64;
    let yard = Yard::new(&[large.node("opt/large", Node::file(noise))]);
    let server = Server::of(yard.path("main"));
    let told = yard.path("told");
    for (repository, stage, words) in [
        (server.url(""), "download", "add large"),
        (
            yard.path("main").display().to_string(),
            "install",
            "fix --reinstall large",
        ),
        (server.url(""), "fetch", "fetch large"),
        (
            yard.path("main").display().to_string(),
            "fetch",
            "fetch large",
        ),
    ] {
        yard.write("root/etc/apk/repositories", &format!("{repository}\n"));
        let _ = fs::remove_file(yard.path("large-1-r0.apk"));
        File::create(&told).unwrap();
        let line = format!("exec \"$@\" {words} 3>>told");
        Program::new("/bin/sh")
            .args([
                "-c",
                &line,
                "sh",
                env!("CARGO_BIN_EXE_polpo"),
                "apk",
                "--root",
            ])
            .arg(yard.root())
            .args(["--allow-untrusted", "--progress-fd", "3"])
            .env("APK_CONFIG", "/dev/null")
            .env("POLPO_STORE", yard.path(&format!("store-{stage}")))
            .folder(&yard.path(""))
            .run()
            .success();
        let text = fs::read_to_string(&told).unwrap();
        let done: Vec<u64> = text
            .lines()
            .filter(|line| line.ends_with(stage))
            .map(|line| line.split_once('/').unwrap().0.parse().unwrap())
            .collect();
        // Lines of 128 KiB and more each, never back, and the whole at the end.
        assert!(done.len() > 4 && done.len() < 30, "{repository} {text}");
        assert!(done.is_sorted(), "{text}");
        let last = text.lines().rfind(|line| line.ends_with(stage)).unwrap();
        let (last, total) = last.split_once('/').unwrap();
        assert_eq!(total, format!("{last} {stage}"), "{text}");
    }
}

#[test]
fn a_database_of_a_later_apk_is_used_by_force_alone() {
    let yard = Yard::new(&usual());
    yard.says(&["add", "libfoo", "base"]);
    let installed = "root/lib/apk/db/installed";
    let later = yard.read(installed).replacen("\nF:", "\nf:Q\nF:", 1);
    yard.write(installed, &later);
    let refused = yard.run(&["info", "-e", "libfoo"]).code(1);
    assert!(
        refused.stderr.contains("the flag 'Q' in `f:` is not known"),
        "{}",
        refused.stderr
    );
    for force in ["--force-old-apk", "--force"] {
        let passed = yard.run(&[force, "info", "-e", "libfoo"]).success();
        assert_eq!(passed.stdout, "libfoo\n");
        assert_eq!(
            passed.stderr,
            "WARNING: This apk-tools is OLD! Some packages might not function properly.\n"
        );
    }
    yard.run(&["--force-old-apk", "del", "libfoo"]).success();
    assert!(
        !yard.read(installed).contains("Q\n"),
        "{}",
        yard.read(installed)
    );
    yard.says(&["info"]);
}

#[test]
fn a_wrong_value_is_refused_in_apks_words() {
    let yard = Yard::new(&[]);
    let refused = |words: &[&str]| {
        let finished = yard.run(words).code(2);
        assert_eq!(finished.stdout, "");
        finished.stderr
    };
    insta::assert_snapshot!(refused(&["mkpkg", "--compression", "AAA"]), @"ERROR: command line: invalid argument for option 'compression': 'AAA': `AAA` is no compression: none, deflate (a level of 0 to 9 may follow: deflate:9) or zstd (0 to 22: zstd:19)");
    insta::assert_snapshot!(refused(&["info", "--wait", "long"]), @"ERROR: command line: invalid argument for option 'wait': 'long': invalid digit found in string");
    insta::assert_snapshot!(refused(&["add", "--cache=maybe"]), @"ERROR: command line: invalid argument for option 'cache': 'maybe'");
}

/// Packages of all kinds of files, in two versions.
fn versions(version: &'static str) -> Vec<Recipe> {
    let link = |target: &str| {
        Node::new(NodeKind::HardLink {
            target: TreePath::new(target).unwrap(),
        })
    };
    let mut marked = Node::file(*b"marked").with_mode(0o4755);
    marked.xattrs.insert("user.mark".to_owned(), b"x".to_vec());
    let mut kinds = package("kinds", version)
        .file("etc/kinds.conf", version)
        .node("opt/kinds/marked", marked)
        .node("opt/kinds/second", link("opt/kinds/marked"))
        .node("opt/kinds/link", Node::symlink("/nowhere"))
        .node("opt/kinds/owned", Node::file(*b"o").with_owner(7, 8))
        .directory(
            "opt/kinds/empty",
            if version == "1-r0" { 0o700 } else { 0o1770 },
        )
        .script(Script::PostInstall, "exit 0")
        .script(Script::Trigger, "exit 0");
    kinds.info.triggers = vec!["/opt/*".to_owned(), "+/usr".to_owned()];
    kinds.info.replaces = vec![Dependency::any("other")];
    kinds.info.replaces_priority = Some(5);
    let mut docs = package("kinds-doc", version).file("usr/share/doc/kinds", version);
    docs.info.install_if = vec![
        Dependency::exact("kinds", Version::parse(version).unwrap()),
        Dependency::any("base"),
    ];
    vec![
        kinds,
        docs,
        package("base", "1-r0").file("usr/lib/base", "b"),
    ]
}

#[test]
fn the_database_is_apks_own_to_the_letter() {
    let yard = Yard::new(&[]);
    yard.repository("first", &versions("1-r0"));
    yard.repository("second", &versions("2-r0"));
    yard.repository(
        "edge",
        &[package("base", "2-r0").file("usr/lib/base", "new")],
    );
    let uses = |name: &str| {
        let line = |name: &str| yard.path(name).display().to_string();
        let text = format!("{}\n@edge {}\n", line(name), line("edge"));
        yard.write("root/etc/apk/repositories", &text);
    };
    uses("first");
    yard.says(&["--no-scripts", "add", "kinds", "base"]);
    yard.write("root/etc/kinds.conf", "changed");
    uses("second");
    yard.says(&["--no-scripts", "upgrade"]);
    yard.says(&["--no-scripts", "add", "base@edge"]);
    yard.says(&["--no-scripts", "add", "-t", ".needs=1", "kinds"]);
    assert_eq!(yard.world(), ".needs=1\nbase@edge\nkinds\n");
    // A virtual package's identity is its maker's own.
    let installed = yard.read("root/lib/apk/db/installed");
    let (identity, rest) = installed.split_once('\n').unwrap();
    assert!(identity.starts_with("C:Q1"), "{identity}");
    insta::assert_snapshot!(rest, @"
    P:.needs
    V:1
    A:noarch
    S:0
    I:0
    T:virtual meta package
    U:
    L:
    D:kinds

    C:Q1MjDi/Stsxb6JiTZ/Jx3S9bm5/w4=
    P:base
    V:2-r0
    A:x86_64
    S:584
    I:1000
    T:base for tests
    U:
    L:
    t:1700000000
    s:edge
    F:usr
    F:usr/lib
    R:base
    Z:Q1wqawPxkN+ytKqR+K+NR3qbw0Adw=

    C:Q1iI1V42zziPv47QN5gD0gyFzBmVc=
    P:kinds
    V:2-r0
    A:x86_64
    S:1125
    I:1000
    T:kinds for tests
    U:
    L:
    t:1700000000
    r:other
    q:5
    F:etc
    R:kinds.conf
    Z:Q1mJv+DXZQoPrgB2Y6+CaCzO2+XSE=
    F:opt
    F:opt/kinds
    R:link
    a:0:0:777
    Z:Q1bdLRIcCkmj1zbbyuHaJ0Zvl84oA=
    R:marked
    a:0:0:4755:Q1gh6OHp6NuECbLszp3kR0ZTR9t50=
    Z:Q1j7NpenkfAzIoeuDHGqlNKbff10A=
    R:owned
    a:7:8:644
    Z:Q1eoGvPlkaxxP4HqHv6T3PNhV9g3Y=
    R:second
    Z:Q1j7NpenkfAzIoeuDHGqlNKbff10A=
    F:opt/kinds/empty
    M:0:0:1770

    C:Q16oOSS5jgCGXv+woy8sRpQrw6MxM=
    P:kinds-doc
    V:2-r0
    A:x86_64
    S:632
    I:1000
    T:kinds-doc for tests
    U:
    L:
    t:1700000000
    i:kinds=2-r0 base
    F:usr
    F:usr/share
    F:usr/share/doc
    R:kinds
    Z:Q1mJv+DXZQoPrgB2Y6+CaCzO2+XSE=
    ");
    assert_eq!(
        yard.read("root/lib/apk/db/triggers"),
        "Q1iI1V42zziPv47QN5gD0gyFzBmVc= /opt/* +/usr\n"
    );
    let scripts = Program::new("tar")
        .args(["-tf", "root/lib/apk/db/scripts.tar"])
        .folder(&yard.path(""))
        .run()
        .success();
    insta::assert_snapshot!(scripts.stdout, @"
    kinds-2-r0.X1888d55e36cf388fbf8ed0379803d20c85cc19957.post-install
    kinds-2-r0.X1888d55e36cf388fbf8ed0379803d20c85cc19957.trigger
    ");
    // Both names are of the one file, which the second leaves as the first made it.
    let [first, second] = ["opt/kinds/marked", "opt/kinds/second"]
        .map(|path| fs::metadata(yard.root().join(path)).unwrap());
    assert_eq!((first.ino(), first.nlink()), (second.ino(), 2));
    assert_eq!(first.mode() & 0o7777, 0o4755);
    assert_eq!(mode(&yard.path("root/opt/kinds/empty")), 0o1770);
    assert_eq!(yard.read("root/etc/kinds.conf"), "changed");
    assert_eq!(yard.read("root/etc/kinds.conf.apk-new"), "2-r0");
}

#[test]
fn indexes_that_cannot_be_understood_are_told_of() {
    let yard = Yard::new(&[]);
    fs::create_dir_all(yard.path("index")).unwrap();
    let warning = |field: &str, command: &[&str]| {
        let text = format!("C:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\nP:odd\nV:1\nA:x86_64\n{field}\n\n");
        yard.write("index/APKINDEX", &text);
        Program::new("tar")
            .args([
                "-C",
                "index",
                "-czf",
                "main/x86_64/APKINDEX.tar.gz",
                "APKINDEX",
            ])
            .folder(&yard.path(""))
            .run()
            .success();
        yard.run(command).stderr
    };
    let info = ["info"];
    assert_eq!(warning("D:base", &info), "");
    assert_eq!(
        warning("D:base@tag", &info),
        "WARNING: The indexes contain broken packages which are not installable.\n"
    );
    for field in ["p:odd=1=2", "i:base foo@tag"] {
        assert_eq!(
            warning(field, &info),
            "WARNING: The indexes contain broken packages which might not function properly.\n"
        );
    }
    assert_eq!(
        warning("X:new", &info),
        "WARNING: This apk-tools is OLD! Some packages are not installable.\n"
    );
    let refused = warning("D:base@tag", &["add", "odd"]);
    assert!(
        refused.starts_with(
            "WARNING: The indexes contain broken packages which are not installable.\n\
             ERROR: unable to select packages:\n  odd-1:\n    error: uninstallable\n"
        ),
        "{refused}"
    );
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left_on_it() {
    let yard = Yard::new(&[
        package("small", "1-r0").file("opt/small", "small"),
        package("empty", "1-r0")
            .directory("opt/a", 0o755)
            .directory("opt/a/b", 0o755),
    ]);
    let script = r#"
        cp -a "$ROOT" "$ROOT.copy"
        mount -t tmpfs -o size=256k none "$ROOT"
        cp -a "$ROOT.copy/." "$ROOT"
        apk() { "$POLPO" apk --root "$ROOT" --allow-untrusted --no-network --no-logfile "$@"; }
        apk add small
        dd if=/dev/zero of="$ROOT/filler" bs=4k 2>/dev/null || true
        ls "$ROOT/lib/apk/db"
        for words in "del small" "add empty"; do
            apk $words && exit 1
            ls "$ROOT/lib/apk/db"
        done
        apk info
        rm "$ROOT/filler"
        apk del small
    "#;
    let said = Program::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec", script])
        .env("ROOT", yard.root())
        .env("POLPO", env!("CARGO_BIN_EXE_polpo"))
        .env("APK_CONFIG", "/dev/null")
        .env("NO_COLOR", "1")
        .env("POLPO_STORE", yard.path("store"))
        .run()
        .success();
    let listed = "installed\nlock\nscripts.tar\ntriggers\n";
    insta::assert_snapshot!(yard.steady(&said.stdout).replace(listed, "LISTED\n"), @"
    (1/1) Installing small (1-r0)
    OK: 1000 B in 1 packages
    LISTED
    LISTED
    LISTED
    small
    (1/1) Purging small (1-r0)
    OK: 0 B in 0 packages
    ");
    insta::assert_snapshot!(yard.steady(&said.stderr), @"
    error: the system can't be changed
      because: can't write YARD/root/lib/apk/db/journal: No space left on device (os error 28); the disk is full: free some space on it, then run this again
    error: the system can't be changed
      because: can't write YARD/root/lib/apk/db/journal: No space left on device (os error 28); the disk is full: free some space on it, then run this again
    ");
}

/// An access control list as `system.posix_acl_access` has it: a tag, permissions and an id each.
fn access_control(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn access_control_lists_are_packed_installed_and_audited() {
    const NAME: &str = "system.posix_acl_access";
    const NOBODY: u32 = u32::MAX;
    let list = access_control(&[
        (0x01, 6, NOBODY),
        (0x02, 4, 1234),
        (0x04, 0, NOBODY),
        (0x10, 4, NOBODY),
        (0x20, 0, NOBODY),
    ]);
    let yard = Yard::new(&[]);
    yard.write("tree/opt/secret", "text");
    let secret = yard.path("tree/opt/secret");
    set_mode(&secret, 0o640);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&secret, NAME, &list, flags).unwrap();
    let info = ["-I", "name:acl", "-I", "version:1-r0", "-I", "arch:noarch"];
    let make = ["mkpkg", "--files", "tree", "--output", "acl.apk"];
    yard.says(&[&make[..], &info].concat());
    yard.says(&["add", "./acl.apk"]);
    let installed = yard.path("root/opt/secret");
    let read = || {
        let mut value = vec![0; 256];
        let length = rustix::fs::getxattr(&installed, NAME, &mut value).unwrap();
        value.truncate(length);
        value
    };
    assert_eq!(read(), list);
    assert_eq!(mode(&installed), 0o640);
    let audited = || yard.says(&["audit", "--full", "/opt"]);
    assert_eq!(audited(), "");
    let open = access_control(&[
        (0x01, 6, NOBODY),
        (0x02, 6, 1234),
        (0x04, 0, NOBODY),
        (0x10, 4, NOBODY),
        (0x20, 0, NOBODY),
    ]);
    rustix::fs::setxattr(&installed, NAME, &open, flags).unwrap();
    assert_eq!(audited(), "x opt/secret\n");
    rustix::fs::removexattr(&installed, NAME).unwrap();
    set_mode(&installed, 0o640);
    assert_eq!(audited(), "x opt/secret\n");
}
