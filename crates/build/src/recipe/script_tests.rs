//! Runs the scripts of the built-in pipelines with `/bin/sh` on small trees.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use base::{Arch, SourceText};

use super::*;

/// A workspace in which `/home/build` of the scripts is a temporary folder.
struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new(files: &[&str]) -> Workspace {
        let workspace = Workspace(tempfile::tempdir().unwrap());
        for file in files {
            workspace.write(file, "");
        }
        workspace
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn link(&self, name: &str, target: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// Runs `pipeline` in the subpackage `x-part` of the package `x`; gives whether it succeeded
    /// and what it printed.
    fn run(&self, pipeline: &str, with: &str) -> (bool, String) {
        let recipe = format!(
            "package: {{name: x, version: '1'}}\nsubpackages:\n  - name: x-part\n    pipeline:\n      - uses: {pipeline}\n        with: {with}\n"
        );
        let library = PipelineLibrary::default();
        let resolved = Recipe::parse(SourceText::new("x.yaml", recipe))
            .and_then(|recipe| recipe.resolve(&ResolveOptions::new(Arch::host(), &library)))
            .unwrap();
        let mut output = String::new();
        let succeeded = resolved.subpackages[0]
            .steps
            .iter()
            .all(|step| self.step(step, &mut output));
        (succeeded, output)
    }

    fn step(&self, step: &Step, output: &mut String) -> bool {
        let here = self.0.path().display().to_string();
        if let Action::Run { script } = &step.action {
            let script = script.replace("/home/build", &here);
            let done = Command::new("/bin/sh")
                .arg("-c")
                .arg(format!(
                    "set -e\n(set -o pipefail) 2>/dev/null && set -o pipefail\n{script}\nexit 0"
                ))
                .current_dir(step.working_directory.replace("/home/build", &here))
                .envs(&step.environment)
                .output()
                .unwrap();
            *output += &String::from_utf8_lossy(&done.stdout);
            *output += &String::from_utf8_lossy(&done.stderr);
            if !done.status.success() {
                return false;
            }
        }
        step.steps.iter().all(|step| self.step(step, output))
    }

    fn passes(&self, pipeline: &str, with: &str) {
        let (succeeded, output) = self.run(pipeline, with);
        assert!(succeeded, "{pipeline}: {output}");
    }

    /// All files and links, and folders that are empty, below the packages.
    fn listing(&self) -> Vec<String> {
        fn walk(folder: &Path, root: &Path, out: &mut Vec<String>) {
            let mut entries: Vec<_> = fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            entries.sort();
            if entries.is_empty() {
                out.push(format!("{}/", folder.strip_prefix(root).unwrap().display()));
            }
            for path in entries {
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, root, out);
                } else {
                    out.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let root = self.path("melange-out");
        let mut out = Vec::new();
        walk(&root, &root, &mut out);
        out
    }
}

#[test]
fn documentation_moves() {
    let files = [
        "melange-out/x/usr/share/man/man1/a b.1",
        "melange-out/x/usr/local/share/man/man1/c.1",
        "melange-out/x/usr/share/info/dir",
        "melange-out/x/usr/share/info/x.info",
        "melange-out/x/usr/share/doc/x/README",
        "melange-out/x/usr/share/locale/de/LC_MESSAGES/x.mo",
        "melange-out/x/usr/bin/x",
    ];
    let workspace = Workspace::new(&files);
    workspace.passes("split/manpages", "{}");
    insta::assert_snapshot!(workspace.listing().join("\n"), @r"
    x/usr/bin/x
    x/usr/share/doc/x/README
    x/usr/share/info/dir
    x/usr/share/info/x.info
    x/usr/share/locale/de/LC_MESSAGES/x.mo
    x-part/usr/share/man/man1/a b.1
    x-part/usr/share/man/man1/c.1
    ");
    workspace.passes("split/infodir", "{}");
    workspace.passes("split/locales", "{}");
    workspace.passes("split/alldocs", "{package: x}");
    insta::assert_snapshot!(workspace.listing().join("\n"), @r"
    x/usr/bin/x
    x-part/usr/share/doc/x/README
    x-part/usr/share/info/x.info
    x-part/usr/share/locale/de/LC_MESSAGES/x.mo
    x-part/usr/share/man/man1/a b.1
    x-part/usr/share/man/man1/c.1
    ");
    // Again, with nothing left to move.
    for pipeline in [
        "split/manpages",
        "split/infodir",
        "split/locales",
        "split/alldocs",
    ] {
        workspace.passes(pipeline, "{}");
    }
    let (succeeded, output) = workspace.run("split/alldocs", "{package: x-part}");
    assert!(
        !succeeded && output.contains("cannot be split from itself"),
        "{output}"
    );
}

#[test]
fn development_files_move() {
    let workspace = Workspace::new(&[
        "melange-out/x/usr/include/x/a b.h",
        "melange-out/x/usr/lib/pkgconfig/x.pc",
        "melange-out/x/usr/lib/cmake/X/X.cmake",
        "melange-out/x/usr/lib/libx.so.1.0",
        "melange-out/x/usr/lib/plugin.so",
        "melange-out/x/usr/lib/libx.a",
        "melange-out/x/usr/lib/x/include/inner.h",
        "melange-out/x/usr/share/x/with space.c",
        "melange-out/x/usr/share/aclocal/x.m4",
        "melange-out/x/usr/bin/x-config",
        "melange-out/x/usr/bin/x",
        "melange-out/x-part/usr/include/there.h",
    ]);
    workspace.link("melange-out/x/usr/lib/libx.so", "libx.so.1.0");
    workspace.link("melange-out/x/usr/lib/libx.so.1", "libx.so.1.0");
    workspace.link("melange-out/x/lib/liby.so", "liby.so.2");
    workspace.passes("split/dev", "{}");
    insta::assert_snapshot!(workspace.listing().join("\n"), @r"
    x/usr/bin/x
    x/usr/lib/libx.so.1
    x/usr/lib/libx.so.1.0
    x/usr/lib/plugin.so
    x-part/lib/liby.so
    x-part/usr/bin/x-config
    x-part/usr/include/there.h
    x-part/usr/include/x/a b.h
    x-part/usr/lib/cmake/X/X.cmake
    x-part/usr/lib/libx.a
    x-part/usr/lib/libx.so
    x-part/usr/lib/pkgconfig/x.pc
    x-part/usr/lib/x/include/inner.h
    x-part/usr/share/aclocal/x.m4
    x-part/usr/share/x/with space.c
    ");
}

#[test]
fn libraries_and_programs_move() {
    let files = [
        "melange-out/x/usr/lib/libssl.so.3",
        "melange-out/x/usr/lib/libcrypto.so.3",
        "melange-out/x/usr/lib/libother.so.1",
        "melange-out/x/usr/lib/deep/libssl.so.3",
        "melange-out/x/opt/my libs/libssl.so.9",
        "melange-out/x/usr/lib/libssl.a",
        "melange-out/x/usr/bin/openssl tool",
        "melange-out/x/lib/libz.a",
    ];
    let workspace = Workspace::new(&files);
    workspace.link("melange-out/x/usr/lib/libssl.so.3.1", "libssl.so.3");
    workspace.passes(
        "split/lib",
        "{patterns: \"ssl\\n  crypto\\n\", paths: \"/opt/my libs/\\nnowhere\"}",
    );
    insta::assert_snapshot!(workspace.listing().join("\n"), @r"
    x/lib/libz.a
    x/usr/bin/openssl tool
    x/usr/lib/deep/libssl.so.3
    x/usr/lib/libother.so.1
    x/usr/lib/libssl.a
    x-part/opt/my libs/libssl.so.9
    x-part/usr/lib/libcrypto.so.3
    x-part/usr/lib/libssl.so.3
    x-part/usr/lib/libssl.so.3.1
    ");
    workspace.passes("split/static", "{}");
    workspace.passes("split/bin", "{}");
    workspace.passes("split/lib", "{}");
    insta::assert_snapshot!(workspace.listing().join("\n"), @r"
    x/usr/lib/deep/libssl.so.3
    x-part/lib/libz.a
    x-part/opt/my libs/libssl.so.9
    x-part/usr/bin/openssl tool
    x-part/usr/lib/libcrypto.so.3
    x-part/usr/lib/libother.so.1
    x-part/usr/lib/libssl.a
    x-part/usr/lib/libssl.so.3
    x-part/usr/lib/libssl.so.3.1
    ");
    let (succeeded, output) = workspace.run("split/bin", "{}");
    assert!(!succeeded && output.contains("there is no"), "{output}");
}

#[test]
fn patches_apply_in_their_order() {
    let patch =
        |old: &str, new: &str| format!("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-{old}\n+{new}\n");
    let workspace = Workspace::new(&["melange-out/x/x"]);
    workspace.write("file", "one\n");
    workspace.write("1.patch", &patch("one", "two"));
    workspace.write("sub dir/2 b.patch", &patch("two", "three"));
    workspace.write(
        "sub dir/3.patch",
        &patch("three", "four").replace("a/file", "p/a/file"),
    );
    workspace.write("sub dir/series", "# comment\n\n2 b.patch\n3.patch -p2");
    let read = || fs::read_to_string(workspace.path("file")).unwrap();
    workspace.passes("patch", "{patches: \"1.patch\\n\"}");
    assert_eq!(read(), "two\n");
    workspace.passes("patch", "{series: sub dir/series}");
    assert_eq!(read(), "four\n");

    for (with, complaint) in [
        ("{patches: 1.patch}", "FAILED"),
        ("{}", "is required"),
        ("{patches: none.patch}", "no such file: none.patch"),
        (
            "{patches: 1.patch, strip-components: \"1; touch evil\"}",
            "must be numbers",
        ),
        (
            "{patches: \"$(touch evil) `touch evil` ';touch evil;\"}",
            "no such file: $(touch",
        ),
        ("{series: \"$(touch evil)\"}", "no such file: $(touch evil)"),
        (
            "{series: \"x;touch evil|touch evil\"}",
            "no such file: x;touch",
        ),
        ("{series: none}", "no such file: none"),
        (
            "{patches: 1.patch, fuzz: \"2;touch evil\"}",
            "must be numbers",
        ),
        ("{patches: 1.patch, fuzz: abc}", "must be numbers"),
        (
            "{patches: 1.patch, strip-components: \"-1\"}",
            "must be numbers",
        ),
    ] {
        let (succeeded, output) = workspace.run("patch", with);
        assert!(!succeeded && output.contains(complaint), "{with}: {output}");
        assert!(!workspace.path("evil").exists());
    }
    // What a series names is a file's name, whatever it holds.
    for name in [
        "it's",
        "`touch evil`",
        "$(touch evil)",
        "a;touch evil",
        "a|touch evil",
        "a&touch evil",
        "a>evil",
        "$HOME",
        "*",
    ] {
        workspace.write("hostile", name);
        let (succeeded, output) = workspace.run("patch", "{series: hostile}");
        let complaint = format!("no such file: ./{name}\n");
        assert!(
            !succeeded && output.contains(&complaint),
            "{name}: {output}"
        );
        assert!(!workspace.path("evil").exists());
    }
    // patch itself writes to no file outside.
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().join("evil").display().to_string();
    for name in ["../evil", "x/../../evil", &absolute] {
        let hostile = format!("--- {name}\n+++ {name}\n@@ -0,0 +1 @@\n+evil\n");
        workspace.write("outside.patch", &hostile);
        let (succeeded, output) =
            workspace.run("patch", "{patches: outside.patch, strip-components: 0}");
        assert!(!succeeded, "{name}: {output}");
        assert!(!workspace.path("../evil").exists() && !Path::new(&absolute).exists());
    }
}

#[test]
fn make_installs_without_libtool_archives() {
    let workspace = Workspace::new(&["melange-out/x/x"]);
    workspace.write(
        "my src/Makefile",
        "all:\n\ttouch built-$(KIND)\n\ninstall:\n\tmkdir -p $(DESTDIR)/usr/lib\n\ttouch $(DESTDIR)/usr/lib/libx.la '$(DESTDIR)/usr/lib/a b.la' $(DESTDIR)/usr/lib/libx.so.1\n",
    );
    workspace.passes(
        "autoconf/make",
        "{dir: my src, opts: \"KIND=static \\\\\\n  X=1\\n\", targets: \"all\\n\"}",
    );
    assert!(workspace.path("my src/built-static").exists());
    workspace.passes("autoconf/make-install", "{dir: my src}");
    assert_eq!(workspace.listing(), ["x/x", "x-part/usr/lib/libx.so.1"]);
}

#[test]
fn configure_gets_the_usual_folders() {
    let workspace = Workspace::new(&["melange-out/x/x"]);
    workspace.write(
        "src/configure",
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > arguments\n",
    );
    fs::set_permissions(
        workspace.path("src/configure"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    workspace.passes(
        "autoconf/configure",
        "{dir: src, host: my-host, build: my-build, opts: \"--a \\\\\\n  --b='c d'\\n\"}",
    );
    insta::assert_snapshot!(fs::read_to_string(workspace.path("src/arguments")).unwrap(), @r"
    --host=my-host
    --build=my-build
    --prefix=/usr
    --sysconfdir=/etc
    --localstatedir=/var
    --libdir=/usr/lib
    --mandir=/usr/share/man
    --infodir=/usr/share/info
    --a
    --b=c d
    ");
}

/// The running test is a program with debugging symbols.
#[test]
fn symbols_are_stripped_or_split_off() {
    let sections = |path: &Path| {
        let done = Command::new("readelf")
            .arg("-SW")
            .arg(path)
            .output()
            .unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let program = std::env::current_exe().unwrap();
    let workspace = Workspace::new(&["melange-out/x-part/usr/share/a b.txt"]);
    workspace.write("melange-out/x-part/usr/lib/almost", "text\n\u{7f}ELF\n");
    let stripped = workspace.path("melange-out/x-part/usr/bin/my program");
    fs::create_dir_all(stripped.parent().unwrap()).unwrap();
    fs::copy(&program, &stripped).unwrap();
    assert!(sections(&stripped).contains(".debug_line"));
    workspace.passes("strip", "{}");
    assert!(!sections(&stripped).contains(".debug_line"));
    assert!(sections(&stripped).contains(".symtab"));
    workspace.passes("strip", "{opts: --strip-all}");
    assert!(!sections(&stripped).contains(".symtab"));

    let workspace = Workspace::new(&["melange-out/x/usr/share/file"]);
    let original = workspace.path("melange-out/x/usr/bin/my program");
    fs::create_dir_all(original.parent().unwrap()).unwrap();
    fs::copy(&program, &original).unwrap();
    fs::hard_link(&original, workspace.path("melange-out/x/usr/bin/other")).unwrap();
    let before = fs::metadata(&original).unwrap();
    workspace.passes("split/debug", "{}");
    let after = fs::metadata(&original).unwrap();
    assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()));
    assert!(after.len() < before.len());
    assert!(sections(&original).contains(".gnu_debuglink"));
    let symbols = workspace.path("melange-out/x-part/usr/lib/debug/usr/bin/my program.debug");
    assert!(sections(&symbols).contains(".debug_line"));
    assert_eq!(fs::metadata(&symbols).unwrap().nlink(), 2);
}
