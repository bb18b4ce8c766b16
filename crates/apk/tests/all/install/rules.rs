//! Who owns what, and what is protected.

use archive::tree::{Node, NodeKind};
use polpo_apk::install::{CommitOptions, ProblemKind};

use super::{Do, System, is_root, quiet, recipe};
use crate::sample::path;

#[test]
fn an_upgrade_leaves_nothing_behind() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "one"), ("opt/gone/x", "x")]));
    let (committed, lines) =
        system.install(recipe("a", "2", &[("opt/f", "two"), ("opt/new/y", "y")]));
    assert_eq!((committed.errors, committed.problems.len()), (0, 0));
    assert_eq!(committed.statistics.packages, 1);
    // `/`, `opt` and `opt/new`.
    assert_eq!(committed.statistics.directories, 3);
    assert_eq!(committed.statistics.files, 2);
    assert_eq!(lines, "(1/1) Installing a (2)\n");
    insta::assert_snapshot!(system.files("opt"), @r"
    f: two
    new/
    new/y: y
    ");
    insta::assert_snapshot!(system.installed(), @r"
    P:a
    V:2
    A:x86_64
    I:1
    T:
    U:
    L:
    F:opt
    R:f
    Z:Q1rXguzax3D8brmmLkT5CHP7l/sms=
    F:opt/new
    R:y
    Z:Q1lcsL/Sl3x2EpjZYk5LTUxyo5l0o=
    ");
    system.remove("a");
    assert!(!system.has("opt"));
    assert_eq!(system.installed(), "");
}

#[test]
fn a_file_has_one_owner() {
    struct Case {
        first: super::Recipe,
        second: super::Recipe,
        overwrite: bool,
        /// The owner and text of the file in the end, and what is said of it.
        owner: &'static str,
        text: &'static str,
        said: &'static str,
    }
    let one = |name: &str| recipe(name, "1", &[("opt/f", name)]);
    let cases = [
        Case {
            first: one("a"),
            second: one("b"),
            overwrite: false,
            owner: "a",
            text: "a",
            said: "ERROR: b-1: trying to overwrite opt/f owned by a-1.\n",
        },
        Case {
            first: one("a"),
            second: one("b"),
            overwrite: true,
            owner: "b",
            text: "b",
            said: "WARNING: b-1: overwriting opt/f owned by a-1.\n",
        },
        Case {
            first: one("a"),
            second: one("b").replaces("a", 0),
            overwrite: false,
            owner: "b",
            text: "b",
            said: "",
        },
        Case {
            first: one("a"),
            second: one("b").replaces("a<1", 0),
            overwrite: false,
            owner: "a",
            text: "a",
            said: "ERROR: b-1: trying to overwrite opt/f owned by a-1.\n",
        },
        Case {
            first: one("a").replaces("b", 5),
            second: one("b").replaces("a", 3),
            overwrite: false,
            owner: "a",
            text: "a",
            said: "",
        },
        Case {
            first: one("a").replaces("b", 5),
            second: one("b").replaces("a", 9),
            overwrite: false,
            owner: "b",
            text: "b",
            said: "",
        },
        Case {
            first: one("a").origin("source"),
            second: one("b").origin("source"),
            overwrite: false,
            owner: "b",
            text: "b",
            said: "",
        },
    ];
    for (place, case) in cases.into_iter().enumerate() {
        let mut system = System::new();
        system.install(case.first);
        let options = CommitOptions {
            overwrite: case.overwrite,
            ..quiet()
        };
        let (committed, lines) = system.install_with(case.second, options);
        assert_eq!(system.owners("opt/f"), [case.owner], "case {place}");
        assert_eq!(system.read("opt/f"), case.text, "case {place}");
        let said = lines.strip_prefix("(1/1) Installing b (1)\n").unwrap();
        assert_eq!(said, case.said, "case {place}");
        let is_error = case.said.starts_with("ERROR");
        assert_eq!(committed.errors, usize::from(is_error), "case {place}");
        // The loser is installed all the same, and broken.
        assert_eq!(system.installed().contains("\nf:f\n"), is_error);
        assert!(!system.files("opt").contains(".apk."), "case {place}");
    }
}

#[test]
fn what_was_taken_over_stays_when_the_loser_goes() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "a"), ("opt/own", "a")]));
    system.install(recipe("b", "1", &[("opt/f", "b")]).replaces("a", 0));
    system.remove("a");
    insta::assert_snapshot!(system.files("opt"), @"f: b");
    // And an upgrade of the loser may not take it back.
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "a")]));
    system.install(recipe("b", "1", &[("opt/f", "b")]).replaces("a", 0));
    system.install(recipe("a", "2", &[("opt/f", "a2"), ("opt/own", "a2")]));
    insta::assert_snapshot!(system.files("opt"), @r"
    f: b
    own: a2
    ");
    assert_eq!(system.owners("opt/f"), ["b"]);
}

#[test]
fn changed_settings_stay() {
    let first = || recipe("c", "1", &[("etc/conf", "v1"), ("etc/gone", "v1")]);
    let second = || recipe("c", "2", &[("etc/conf", "v2"), ("etc/late", "v2")]);
    struct Case {
        name: &'static str,
        /// What the administrator does in between.
        written: &'static [(&'static str, &'static str)],
        options: CommitOptions,
        after: &'static str,
    }
    let cases = [
        Case {
            name: "untouched",
            written: &[],
            options: quiet(),
            after: "conf: v2\nlate: v2\n",
        },
        Case {
            name: "changed",
            written: &[("etc/conf", "mine"), ("etc/gone", "mine")],
            options: quiet(),
            after: "conf.apk-new: v2\nconf: mine\ngone: mine\nlate: v2\n",
        },
        Case {
            name: "changed to what comes",
            written: &[("etc/conf", "v2")],
            options: quiet(),
            after: "conf: v2\nlate: v2\n",
        },
        Case {
            name: "there before",
            written: &[("etc/late", "mine")],
            options: quiet(),
            after: "conf: v2\nlate.apk-new: v2\nlate: mine\n",
        },
        Case {
            name: "clean",
            written: &[("etc/conf", "mine"), ("etc/gone", "mine")],
            options: CommitOptions {
                clean_protected: true,
                ..quiet()
            },
            after: "conf: mine\ngone: mine\nlate: v2\n",
        },
        Case {
            name: "purged",
            written: &[("etc/gone", "mine")],
            options: CommitOptions {
                purge: true,
                ..quiet()
            },
            after: "conf: v2\nlate: v2\n",
        },
    ];
    for case in cases {
        let mut system = System::new();
        system.install(first());
        for (path, text) in case.written {
            system.write(path, text);
        }
        let (committed, lines) = system.install_with(second(), case.options);
        let etc: String = system
            .files("etc")
            .lines()
            .filter(|line| !line.starts_with("apk/"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(etc, case.after, "{}", case.name);
        let beside = case.after.matches(".apk-new").count();
        assert_eq!(committed.new_files.len(), beside, "{}", case.name);
        let said = lines.matches("  Installing file to etc/").count();
        assert_eq!(said, beside, "{}", case.name);
        assert_eq!(committed.errors, 0, "{}", case.name);
    }
}

#[test]
fn what_lies_beside_a_setting_goes_with_it() {
    let mut system = System::new();
    system.install(recipe("c", "1", &[("etc/conf", "v1")]));
    system.write("etc/conf", "mine");
    system.install(recipe("c", "2", &[("etc/conf", "v2")]));
    assert!(system.has("etc/conf.apk-new"));
    system.remove("c");
    assert!(system.has("etc/conf") && !system.has("etc/conf.apk-new"));
}

#[test]
fn a_system_protects_what_it_says() {
    let mut system = System::new();
    system.write(
        "etc/apk/protected_paths.d/own.list",
        "# mine\n+srv/*/conf\n-etc/open\n",
    );
    system.write("etc/apk/protected_paths.d/no", "+opt\n");
    let files = |text| {
        recipe(
            "p",
            text,
            &[
                ("srv/x/conf/f", text),
                ("srv/x/f", text),
                ("opt/f", text),
                ("etc/open/f", text),
            ],
        )
    };
    system.install(files("1"));
    for path in ["srv/x/conf/f", "srv/x/f", "opt/f", "etc/open/f"] {
        system.write(path, "mine");
    }
    let (committed, _) = system.install(files("2"));
    assert_eq!(committed.new_files, ["srv/x/conf/f"]);
    assert_eq!(system.read("srv/x/conf/f"), "mine");
    for path in ["srv/x/f", "opt/f", "etc/open/f"] {
        assert_eq!(system.read(path), "2", "{path}");
    }
}

#[test]
fn an_overlay_is_never_overwritten() {
    let mut system = System::new();
    for path in ["etc/a", "etc/b", "data/d", "data/e"] {
        system.write(path, "overlay");
    }
    let options = CommitOptions {
        overlay: vec!["etc/b".to_owned(), "/data/e".to_owned()],
        ..quiet()
    };
    let files = ["etc/a", "etc/b", "data/d", "data/e"].map(|path| (path, "package"));
    let (committed, _) = system.install_with(recipe("o", "1", &files), options);
    assert_eq!(committed.new_files, ["etc/a"]);
    for (path, text) in [
        ("etc/a", "overlay"),
        ("etc/a.apk-new", "package"),
        ("etc/b", "overlay"),
        ("data/d", "package"),
        ("data/e", "overlay"),
    ] {
        assert_eq!(system.read(path), text, "{path}");
    }
    assert!(!system.has("etc/b.apk-new"));
    assert_eq!(system.owners("data/e"), ["o"]);
}

#[test]
fn a_directory_goes_with_its_last_package_and_when_it_is_empty() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/sub/a", "a")]));
    system.install(recipe("b", "1", &[("opt/sub/b", "b"), ("opt/empty/", "")]));
    system.remove("a");
    assert!(system.has("opt/sub"));
    system.write("opt/sub/mine", "mine");
    system.remove("b");
    assert!(system.has("opt/sub/mine") && !system.has("opt/empty") && !system.has("opt/sub/b"));
}

#[test]
fn one_package_decides_on_a_directory() {
    if !is_root() {
        // In usermode directories never are as root's packages say, so apk lets them be.
        let mut system = System::new();
        system.install(recipe("a", "1", &[("opt/f", "")]).node("opt", dir(0o500)));
        assert_eq!(system.mode("opt"), 0o700);
        return;
    }
    let with = |name: &str, version: &str, mode| {
        let file = format!("opt/{name}");
        recipe(name, version, &[(&file, "")]).node("opt", dir(mode))
    };
    // The first by name, where priorities are equal.
    let mut system = System::new();
    system.install(with("m", "1", 0o711));
    system.install(with("z", "1", 0o700));
    assert_eq!(system.mode("opt"), 0o711);
    system.install(with("a", "1", 0o701));
    assert_eq!(system.mode("opt"), 0o701);
    // apk leaves it at 0701 then, as it never looked at it in this transaction.
    system.remove("a");
    assert_eq!(system.mode("opt"), 0o711);
    system.install(with("z", "2", 0o770).replaces("", 1));
    assert_eq!(system.mode("opt"), 0o770);
    // What the administrator changed stays.
    let opt = system.root().join("opt");
    std::fs::set_permissions(&opt, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    system.install(with("z", "3", 0o750).replaces("", 1));
    assert_eq!(system.mode("opt"), 0o555);
}

fn dir(mode: u32) -> Node {
    Node::directory().with_mode(mode)
}

#[test]
fn kinds_and_modes_of_files() {
    let hard = |target| {
        Node::new(NodeKind::HardLink {
            target: path(target),
        })
        .with_mode(0o4755)
    };
    let mut with_attribute = Node::file(*b"x");
    with_attribute
        .xattrs
        .insert("user.colour".to_owned(), b"blue".to_vec());
    let package = |version| {
        recipe("k", version, &[])
            .node("bin/su", Node::file(*b"su").with_mode(0o4755))
            .node("bin/su2", hard("bin/su"))
            .node("bin/link", Node::symlink("su"))
            .node("bin/attribute", with_attribute.clone())
            .node("run/pipe", Node::new(NodeKind::Fifo).with_mode(0o620))
            .node("top", Node::file(*b"top").with_mode(0o600))
            .node("tmp", dir(0o1777))
    };
    let mut system = System::new();
    for version in ["1", "2"] {
        let (committed, _) = system.install(package(version));
        assert_eq!(committed.problems, []);
        assert_eq!(system.mode("bin/su"), 0o4755);
        assert_eq!(system.inode("bin/su"), system.inode("bin/su2"));
        assert_eq!(system.mode("top"), 0o600);
        assert_eq!(system.mode("tmp"), 0o1777);
        let root = system.root();
        let target = std::fs::read_link(root.join("bin/link")).unwrap();
        assert_eq!(target.to_str(), Some("su"));
        let mut value = vec![0; 16];
        let length =
            rustix::fs::getxattr(root.join("bin/attribute"), "user.colour", &mut value).unwrap();
        assert_eq!(&value[..length], b"blue");
        // An ordinary user makes no devices, nor apk a pipe for one; the database lists it.
        assert_eq!(system.has("run/pipe"), is_root());
        let mtime =
            std::os::unix::fs::MetadataExt::mtime(&std::fs::metadata(root.join("top")).unwrap());
        assert_eq!(mtime, 1_700_000_000);
    }
    let text = system.installed();
    assert!(text.contains("R:su\na:0:0:4755\n") && text.contains("R:pipe\na:0:0:620\nF:tmp\n"));
    assert!(
        text.contains("R:attribute\na:0:0:644:Q1tSakRwTMVRKHCFBtABcESBO9Xfk=\n"),
        "{text}"
    );
    system.remove("k");
    assert!(!system.has("bin") && !system.has("top"));
}

#[test]
fn owners_are_looked_up_in_the_root() {
    let mut system = System::new();
    system.write("etc/passwd", "root:x:0:0::/:\nbob:x:1077:1078::/:\n");
    let owned = |user: &str, group: &str| {
        let mut node = Node::file(*b"x").with_owner(5, 6);
        (node.user, node.group) = (user.to_owned(), group.to_owned());
        node
    };
    system.install(
        recipe("o", "1", &[("etc/group", "bobs:x:1079:\n")])
            .node("home/f", owned("bob", "bobs"))
            .node("home/g", owned("nobody-knows", "")),
    );
    // The group file came after the files were unpacked.
    system.install(recipe("p", "1", &[]).node("srv/f", owned("bob", "bobs")));
    let text = system.installed();
    assert!(text.contains("R:f\na:1077:6:644\n"), "{text}");
    assert!(text.contains("R:g\na:5:6:644\n"), "{text}");
    assert!(text.contains("F:srv\nR:f\na:1077:1079:644\n"), "{text}");
    if is_root() {
        let found = std::fs::metadata(system.root().join("srv/f")).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!((found.uid(), found.gid()), (1077, 1079));
    }
}

#[test]
fn one_file_by_two_paths_survives_the_merge_of_directories() {
    let mut system = System::new();
    std::fs::create_dir_all(system.root().join("usr/lib")).unwrap();
    std::os::unix::fs::symlink("usr/lib", system.root().join("lib")).unwrap();
    system.install(recipe("u", "1", &[("lib/m", "1"), ("lib/n", "1")]));
    assert_eq!(system.read("usr/lib/m"), "1");
    system.install(recipe("u", "2", &[("usr/lib/m", "2")]));
    assert_eq!(system.read("lib/m"), "2");
    assert!(!system.has("lib/n"));
    assert!(system.root().join("lib").is_symlink());
}

#[test]
fn installing_again_repairs() {
    let mut system = System::new();
    let package = || recipe("a", "1", &[("opt/f", "f"), ("opt/g", "g"), ("etc/c", "c")]);
    system.install(package());
    let before = system.installed();
    std::fs::remove_file(system.root().join("opt/f")).unwrap();
    system.write("opt/g", "changed");
    system.write("etc/c", "mine");
    let (committed, _) = system.install(package());
    assert_eq!(committed.errors, 0);
    assert_eq!(system.read("opt/f") + &system.read("opt/g"), "fg");
    assert_eq!(system.read("etc/c"), "mine");
    assert!(system.has("etc/c.apk-new"));
    assert_eq!(system.installed(), before);
}

#[test]
fn a_file_in_the_way_breaks_the_package_and_nothing_else() {
    let mut system = System::new();
    std::fs::create_dir_all(system.root().join("opt/f/mine")).unwrap();
    system.write("srv", "a file");
    let (committed, lines) = system.install(recipe(
        "a",
        "1",
        &[("opt/f", "f"), ("opt/g", "g"), ("srv/x", "x")],
    ));
    assert_eq!(committed.errors, 1);
    insta::assert_snapshot!(lines, @r"
    (1/1) Installing a (1)
    ERROR: a-1: failed to extract srv/x: Not a directory
    ERROR: a-1: failed to commit opt/f: Is a directory
    ");
    let kinds: Vec<_> = committed
        .problems
        .iter()
        .map(|problem| &problem.kind)
        .collect();
    assert!(matches!(
        kinds[..],
        [ProblemKind::File { .. }, ProblemKind::Commit { .. }]
    ));
    assert!(system.has("opt/f/mine") && system.read("opt/g") == "g");
    assert_eq!(system.read("srv"), "a file");
    assert!(system.installed().contains("\nf:f\n"));
    assert!(!system.files("opt").contains(".apk."));
}

#[test]
fn several_steps_are_one_transaction() {
    let mut system = System::new();
    let folder = system.folder.path().to_owned();
    system.install(recipe("old", "1", &[("opt/f", "old"), ("opt/o", "o")]));
    let new = recipe("new", "1", &[("opt/f", "new")]).write(&folder);
    let other = recipe("other", "1", &[("opt/other", "other")]).write(&folder);
    // What goes in the same transaction may be overwritten.
    let what = [Do::Install(&new), Do::Install(&other), Do::Remove("old")];
    let (committed, lines) = system.commit(&what, quiet());
    assert_eq!(committed.errors, 0, "{lines}");
    insta::assert_snapshot!(lines, @r"
    (1/3) Installing new (1)
    (2/3) Installing other (1)
    (3/3) Purging old
    ");
    insta::assert_snapshot!(system.files("opt"), @r"
    f: new
    other: other
    ");
}
