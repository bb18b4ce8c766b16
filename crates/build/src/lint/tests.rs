use archive::tree::{FileTree, Node, TreePath};
use base::{Arch, Severity};

use base::Problem;

use super::*;

struct Case {
    name: &'static str,
    tree: FileTree,
    tests: Option<Vec<String>>,
    no_provides: bool,
    disabled: Vec<String>,
}

fn tree(files: Vec<(&str, Node)>) -> FileTree {
    let mut tree = FileTree::new();
    for (path, node) in files {
        let path = TreePath::new(path).unwrap();
        tree.insert_parents(&path, &Node::directory());
        tree.insert(path, node);
    }
    tree
}

fn files(paths: &[&str]) -> Case {
    let node = || Node::file(&b"blah\n"[..]);
    case(paths.iter().map(|path| (*path, node())).collect())
}

fn case(files: Vec<(&str, Node)>) -> Case {
    Case {
        name: "some-package",
        tree: tree(files),
        tests: Some(Vec::new()),
        no_provides: false,
        disabled: Vec::new(),
    }
}

impl Case {
    fn called(self, name: &'static str) -> Case {
        Case { name, ..self }
    }

    fn tested(self, pipeline: &str) -> Case {
        Case {
            tests: Some(vec![pipeline.to_owned()]),
            ..self
        }
    }

    fn run(&self, levels: &Levels) -> Vec<Problem> {
        let view = LintView {
            name: self.name,
            arch: Arch::X86_64,
            tree: &self.tree,
            tests: self.tests.as_deref(),
            no_provides: self.no_provides,
            disabled: &self.disabled,
        };
        let findings = lint(&view, levels).unwrap();
        let problems = findings.iter().map(|finding| finding.problem(self.name));
        problems.collect()
    }

    fn fails(&self, linter: &'static str) -> bool {
        let levels = Levels::only(&[linter.to_owned()], &[]).unwrap();
        let problems = self.run(&levels);
        assert!(problems.iter().all(|problem| problem.rule == linter));
        !problems.is_empty()
    }
}

#[test]
fn the_table_is_sorted_and_complete() {
    let names: Vec<&str> = LINTERS.iter().map(|linter| linter.name).collect();
    assert!(names.is_sorted());
    let at = |level| {
        let names: Vec<&str> = LINTERS
            .iter()
            .filter(|linter| linter.level == level)
            .map(|linter| linter.name)
            .collect();
        names.join(" ")
    };
    assert_eq!(
        at(Level::Require),
        "dev infodir libtool/la-files setuidgid tempdir usrmerge varempty worldwrite"
    );
    assert_eq!(at(Level::Off), "documentation empty");
    for linter in &LINTERS {
        assert!(linter.explanation.ends_with('.'), "{}", linter.name);
        for end in [linter.remedy, linter.difference] {
            assert!(!end.ends_with('.'), "{}", linter.name);
        }
    }
}

/// Paths that a linter reports, and paths beside them that it lets pass.
#[test]
fn paths_tell() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("dev", &["dev/test.txt"], &["usr/dev/x", "devices"]),
        ("varempty", &["var/empty/test.txt"], &["var/emptyish"]),
        ("opt", &["opt/test.txt"], &["usr/opt/x"]),
        ("srv", &["srv/test.txt"], &["usr/srv"]),
        ("usrlocal", &["usr/local/test.txt"], &["usr/locale/x"]),
        (
            "object",
            &["usr/bin/object.o"],
            &["usr/bin/o", "usr/lib/x.so"],
        ),
        ("dll", &["usr/lib/foo.dll"], &["usr/lib/foo.so"]),
        ("dylib", &["usr/lib/foo.dylib"], &["usr/lib/foo.so"]),
        (
            "staticarchive",
            &["usr/lib/libfoo.a"],
            &["usr/lib/libfoo.so"],
        ),
        ("libtool/la-files", &["usr/lib/libfoo.la"], &["usr/lib/la"]),
        (
            "documentation",
            &["usr/bin/README.md", "usr/share/README", "x/foo.1x"],
            &["usr/bin/foo", "usr/lib/x.1xy"],
        ),
        (
            "maninfo",
            &[
                "usr/share/man/man1/foo.1",
                "usr/share/man/de/man1/foo.1.gz",
                "usr/local/share/man/man3/baz.3",
                "usr/man/man5/qux.5",
                "usr/share/info/test.info-1",
                "usr/share/info/dir",
                "usr/local/share/info/test.info",
            ],
            &["usr/bin/man", "usr/share/manual/x"],
        ),
        (
            "infodir",
            &["usr/share/info/dir"],
            &["usr/share/info/directory.info"],
        ),
        (
            "sbom",
            &["var/lib/db/sbom/x.json"],
            &["var/lib/db/sbom/x.spdx.json"],
        ),
        (
            "tempdir",
            &["tmp/test", "var/tmp/test", "var/run/test", "run/test"],
            &["usr/tmp/x", "runner"],
        ),
        (
            "usrmerge",
            &[
                "usr/sbin/x",
                "sbin/x",
                "bin/x",
                "lib/libx.so.1",
                "lib64/x",
                "bin",
                "usr/sbin",
            ],
            &["usr/bin/x", "usr/lib/libx.so.1", "library/x"],
        ),
        (
            "cudaruntimelib",
            &["usr/lib/libnvidia-ml.so", "usr/lib/libcuda.so.560.35.05"],
            &[
                "usr/local/lib64/stubs/libcuda.so",
                "usr/lib/libcudart.so.12",
            ],
        ),
        (
            "nonlinux",
            &[
                "usr/lib/darwin/foo.so",
                "usr/lib/foo-darwin.so",
                "usr/lib/osx/foo.so",
                "usr/lib/foo-windows.exe",
                "usr/lib/Win32/x",
            ],
            &[
                "usr/lib/foo.so",
                "usr/share/pos-xml/x",
                "usr/lib/windowspath.py",
            ],
        ),
        (
            "unsupportedarch",
            &[
                "usr/lib/i386/libfoo.so",
                "usr/lib/libfoo-i686.so",
                "usr/lib/ppc64le/libbar.so",
                "usr/lib/riscv64/libtest.so",
                "usr/lib/s390x/libfoo.so",
            ],
            &[
                "usr/lib/aarch64/libfoo.so",
                "usr/lib/x86_64/libfoo.so",
                "usr/lib/libfoo-amd64.so",
                "usr/lib/sparcle/x",
            ],
        ),
        (
            "pkgconf",
            &["usr/lib/pkgconfig/x.pc", "usr/share/pkgconfig/x.pc"],
            &["usr/lib/x.pc"],
        ),
        (
            "lddcheck",
            &["usr/lib/x.so", "usr/lib/x.so.1.2"],
            &["usr/lib/x.so.conf", "usr/so"],
        ),
        (
            "python/docs",
            &["usr/lib/python3.14/site-packages/docs/x"],
            &["usr/lib/python3.14/docs/x"],
        ),
        (
            "python/test",
            &["usr/lib/python3.14/site-packages/test/x"],
            &["usr/lib/python3.14/site-packages/foo/test/x"],
        ),
    ];
    for (linter, bad, good) in table {
        for path in *bad {
            assert!(files(&[path]).fails(linter), "{linter}: {path}");
        }
        for path in *good {
            assert!(!files(&[path]).fails(linter), "{linter}: {path}");
        }
    }
}

#[test]
fn names_exempt() {
    for (linter, path, name) in [
        ("opt", "opt/x", "x-compat"),
        ("srv", "srv/x", "x-compat"),
        ("usrlocal", "usr/local/x", "x-compat"),
        ("dll", "usr/lib/x.dll", "x-dev"),
        ("dylib", "usr/lib/x.dylib", "x-dev"),
        ("staticarchive", "usr/lib/x.a", "x-dev"),
        ("staticarchive", "usr/lib/x.a", "x-static"),
        ("maninfo", "usr/share/man/man1/x.1", "x-doc"),
        ("documentation", "usr/README", "x-doc"),
    ] {
        assert!(files(&[path]).fails(linter));
        assert!(
            !files(&[path]).called(name).fails(linter),
            "{linter} {name}"
        );
    }
    // Only `checks.disabled` lets .la files pass.
    assert!(
        files(&["usr/lib/x.la"])
            .called("x-dev")
            .fails("libtool/la-files")
    );
}

#[test]
fn modes_tell() {
    let with = |mode| case(vec![("usr/bin/x", Node::file(&b"x"[..]).with_mode(mode))]);
    for mode in [0o4755, 0o2755, 0o1755] {
        assert!(with(mode).fails("setuidgid"));
    }
    assert!(!with(0o755).fails("setuidgid"));
    assert!(with(0o666).fails("worldwrite"));
    assert!(!with(0o664).fails("worldwrite"));
    let folder = case(vec![("usr/x", Node::directory().with_mode(0o1777))]);
    assert!(!folder.fails("setuidgid") && !folder.fails("worldwrite"));
    let problems = with(0o4755).run(&Levels::default());
    assert_eq!(
        problems[0].message,
        "some-package contains files with setuid, setgid or sticky bits: /usr/bin/x (4755)"
    );
}

#[test]
fn links_and_folders() {
    let link = case(vec![("sbin", Node::symlink("usr/bin"))]);
    assert!(!link.fails("usrmerge"));
    let folder = |path| case(vec![(path, Node::directory())]);
    assert!(folder("usr/sbin").fails("usrmerge"));
    assert!(!folder("tmp/x").fails("tempdir"));
    assert!(folder("run/x").fails("tempdir"));
    let snippet = Node::file(&b"d /run/x\n"[..]);
    let made = |node| {
        case(vec![
            ("run/x", node),
            ("usr/lib/tmpfiles.d/x.conf", snippet.clone()),
        ])
    };
    assert!(!made(Node::directory()).fails("tempdir"));
    assert!(made(Node::file(&b""[..])).fails("tempdir"));
}

#[test]
fn tests_cover_libraries_and_modules() {
    let library = || files(&["usr/lib/libx.so.1"]);
    assert!(!library().tested("test/ldd-check").fails("lddcheck"));
    assert!(!library().tested("test/tw/ldd-check").fails("lddcheck"));
    assert!(library().tested("test/pkgconf").fails("lddcheck"));
    let module = || files(&["usr/lib/pkgconfig/x.pc"]);
    assert!(!module().tested("test/pkgconf").fails("pkgconf"));
    let seed = Case {
        tests: None,
        ..library()
    };
    assert!(!seed.fails("lddcheck"));
}

#[test]
fn emptiness() {
    let folders = || case(vec![("usr/share", Node::directory())]);
    assert!(folders().fails("empty"));
    assert!(files(&["var/lib/db/sbom/x.spdx.json"]).fails("empty"));
    assert!(!files(&["usr/x"]).fails("empty"));
    let meant = Case {
        no_provides: true,
        ..folders()
    };
    assert!(!meant.fails("empty"));
}

#[test]
fn copies() {
    let large = || Node::file("same content ".repeat(100).into_bytes());
    let twice = |one: &str, other: &str| case(vec![(one, large()), (other, large())]);
    let copies = twice("usr/lib/x.txt", "usr/share/x.txt");
    let levels = Levels::only(&[], &["duplicate".to_owned()]).unwrap();
    assert_eq!(
        copies.run(&levels)[0].message,
        "some-package contains 2 copies of `x.txt`, which waste 1300 bytes: \
         /usr/lib/x.txt, /usr/share/x.txt"
    );
    assert!(!twice("usr/lib/x.txt", "usr/share/y.txt").fails("duplicate"));
    for licence in ["LICENSE", "COPYING.md", "MIT-LICENSE.txt", "UNLICENSE"] {
        let (one, other) = (format!("a/{licence}"), format!("b/{licence}"));
        assert!(!twice(&one, &other).fails("duplicate"), "{licence}");
    }
    let small = files(&["usr/lib/a/__init__.py", "usr/lib/b/__init__.py"]);
    assert!(!small.fails("duplicate"));
    let linked = case(vec![
        ("usr/a/x", large()),
        (
            "usr/b/x",
            Node::new(archive::tree::NodeKind::HardLink {
                target: TreePath::new("usr/a/x").unwrap(),
            }),
        ),
    ]);
    assert!(!linked.fails("duplicate"));
}

#[test]
fn python_modules() {
    let site = |names: &[&str]| {
        let paths: Vec<String> = names
            .iter()
            .map(|name| format!("usr/lib/python3.14/site-packages/{name}"))
            .collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        files(&paths)
    };
    let one = [
        "foo/x.py",
        "foo-0.1-py3.14.egg-info",
        "foo-0.1.dist-info/x",
        "foo.pth",
        "foo.cpython-314-x86_64-linux-gnu.so",
        "__pycache__/x",
        "_foo.py",
        "tests/x",
        "docs/x",
    ];
    assert!(!site(&one).fails("python/multiple"));
    let mut two = one.to_vec();
    two.push("bar.py");
    let levels = Levels::only(&["python/multiple".to_owned()], &[]).unwrap();
    assert_eq!(
        site(&two).run(&levels)[0].message,
        "some-package installs 2 Python modules at once: bar, foo"
    );
}

#[test]
fn binaries() {
    let program = crate::analyse::tests::compile("int main(void) { return 0; }\n", &["-g"]);
    let stripped = crate::analyse::tests::compile("int main(void) { return 0; }\n", &["-s"]);
    let with = |path, bytes: &[u8]| case(vec![(path, Node::file(bytes).with_mode(0o755))]);
    assert!(with("usr/bin/x", &program).fails("strip"));
    assert!(!with("usr/bin/x", &stripped).fails("strip"));
    assert!(!with("usr/bin/x", &program).called("x-dbg").fails("strip"));
    assert!(!with("usr/lib/debug/x", &program).fails("strip"));

    assert!(!with("usr/bin/x", &program).fails("binaryarch"));
    let mut foreign = stripped.clone();
    foreign[18..20].copy_from_slice(&[243, 0]);
    let foreign = with("usr/bin/x", &foreign);
    assert!(foreign.fails("binaryarch"));
    assert!(
        foreign.run(&Levels::default())[0]
            .message
            .contains("/usr/bin/x (riscv)")
    );
    let text = with("usr/bin/x", b"\x7fEL");
    assert!(!text.fails("binaryarch") && !text.fails("strip"));
}

#[test]
fn disabling_is_the_packages_own() {
    let mut case = files(&["dev/x", "opt/x"]);
    let severities = |case: &Case| {
        let problems = case.run(&Levels::default());
        let pairs = problems
            .iter()
            .map(|problem| (problem.rule, problem.severity));
        pairs.collect::<Vec<_>>()
    };
    assert_eq!(
        severities(&case),
        [("dev", Severity::Error), ("opt", Severity::Warning)]
    );
    case.disabled = vec!["dev".to_owned(), "opt".to_owned()];
    assert_eq!(severities(&case), [("dev", Severity::Warning)]);
    let other = files(&["dev/x"]);
    assert_eq!(severities(&other), [("dev", Severity::Error)]);
}

#[test]
fn unknown_linters_are_refused() {
    let error = Levels::only(&[], &["setuid".to_owned()]).unwrap_err();
    assert!(error.to_string().starts_with("there is no linter `setuid`"));
    let tree = FileTree::new();
    let disabled = ["usrmerg".to_owned()];
    let view = LintView {
        name: "x",
        arch: Arch::X86_64,
        tree: &tree,
        tests: None,
        no_provides: false,
        disabled: &disabled,
    };
    let error = lint(&view, &Levels::default()).unwrap_err();
    assert!(
        error.to_string().ends_with("did you mean `usrmerge`?"),
        "{error}"
    );
}

#[test]
fn long_lists_are_cut() {
    let paths: Vec<String> = (0..13).map(|number| format!("dev/{number:02}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let problems = files(&paths).run(&Levels::default());
    assert!(problems[0].message.ends_with("/dev/09 and 3 more"));
    assert!(
        problems[0]
            .help
            .as_ref()
            .unwrap()
            .contains("`checks.disabled`")
    );
}
