use std::process::Command;

use super::*;

/// What the host's C compiler makes of `source`. Tests that need a real program fail without it.
pub(crate) fn compile(source: &str, arguments: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("x.c");
    let output = folder.path().join("x");
    std::fs::write(&input, source).unwrap();
    let done = Command::new("gcc")
        .arg("-o")
        .args([&output, &input])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    std::fs::read(output).unwrap()
}

fn library(soname: &str) -> Vec<u8> {
    let soname = format!("-Wl,-soname,{soname}");
    compile(
        "int answer(void) { return 42; }\n",
        &["-shared", "-fPIC", "-nostdlib", &soname],
    )
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

fn text(text: &str) -> Node {
    Node::file(text.as_bytes())
}

fn program(bytes: Vec<u8>) -> Node {
    Node::file(bytes).with_mode(0o755)
}

fn view<'a>(name: &'a str, tree: &'a FileTree) -> PackageView<'a> {
    PackageView {
        name,
        version: "1.2-r3",
        tree,
        runtime: &[],
        provides: &[],
        options: Options::default(),
        library_versions: None,
    }
}

/// One line a kind, so that a test reads like the result.
fn shown(found: &Dependencies) -> String {
    let line = |kind: &str, names: &BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        format!("{kind}: {}", names.join(" "))
    };
    format!(
        "{}\n{}\n{}",
        line("runtime", &found.runtime),
        line("provides", &found.provides),
        line("vendored", &found.vendored)
    )
}

fn generated(name: &str, tree: &FileTree) -> String {
    shown(&generate(&view(name, tree), &[]).unwrap())
}

#[test]
fn programs_need_their_loader_and_libraries() {
    let bytes = compile("int main(void) { return 0; }\n", &[]);
    let tree = tree(vec![
        ("usr/bin/x", program(bytes.clone())),
        ("usr/libexec/y", program(bytes)),
        ("usr/bin/unexecutable", text("x")),
        ("usr/bin/z", Node::symlink("x")),
    ]);
    let loader = match std::env::consts::ARCH {
        "x86_64" => "ld-linux-x86-64.so.2",
        _ => "ld-linux-aarch64.so.1",
    };
    assert_eq!(
        generated("x", &tree),
        format!("runtime: so:{loader} so:libc.so.6\nprovides: cmd:x=1.2-r3\nvendored: ")
    );
}

#[test]
fn libraries_are_provided_where_the_loader_looks() {
    let tree = tree(vec![
        ("usr/lib/libone.so.1.2", program(library("libone.so.1"))),
        ("usr/lib/libone.so.1", Node::symlink("libone.so.1.2")),
        ("usr/lib/plugins/libtwo.so", program(library("libtwo.so"))),
        ("opt/x/libthree.so.3", program(library("libthree.so.3"))),
        ("opt/y/libfour.so.4", program(library("libfour.so.4"))),
        ("usr/lib/libfour.so.4", Node::symlink("/opt/y/libfour.so.4")),
        ("etc/ld.so.conf.d/x.conf", text("# x\n/opt/x/\ninclude y\n")),
        ("usr/lib/libfive.so", text("INPUT(libfive.so.5)")),
    ]);
    insta::assert_snapshot!(generated("x", &tree), @r"
    runtime: so:libfour.so.4 so:libone.so.1
    provides: so-ver:libfour.so.4=1.2-r3 so-ver:libone.so.1=1.2-r3 so-ver:libthree.so.3=1.2-r3 so:libfour.so.4=4 so:libone.so.1=1 so:libthree.so.3=3
    vendored: so-ver:libfour.so.4=1.2-r3 so-ver:libtwo.so=1.2-r3 so:libfour.so.4=4 so:libtwo.so=0
    ");
    // What a package provides itself it doesn't need.
    let settled = analyse(&view("x", &tree), &[]).unwrap();
    assert!(settled.runtime.is_empty());
}

#[test]
fn links_lead_to_libraries_of_siblings() {
    let main = tree(vec![
        ("usr/lib/libone.so.1.2", program(library("libone.so.1"))),
        ("usr/lib/libone.so.1", Node::symlink("libone.so.1.2")),
        ("my/lib/libtwo.so.2", program(library("libtwo.so.2"))),
        ("etc/ld.so.conf.d/my.conf", text("/my/lib\n")),
    ]);
    let development = tree(vec![
        ("usr/lib/libone.so", Node::symlink("libone.so.1")),
        (
            "usr/lib/libtwo.so",
            Node::symlink("../../my/lib/libtwo.so.2"),
        ),
        ("usr/lib/absent.so", Node::symlink("absent.so.1")),
        ("usr/lib/loop.so", Node::symlink("loop.so")),
        ("usr/lib/up.so", Node::symlink("..")),
    ]);
    let found = analyse(&view("x-dev", &development), &[&main]).unwrap();
    assert_eq!(
        shown(&found),
        "runtime: so:libone.so.1 so:libtwo.so.2\nprovides: \nvendored: "
    );
}

#[test]
fn versions_are_needed_where_they_are_known() {
    let needing = compile(
        "int main(void) { return 0; }\n",
        &["-Wl,--no-as-needed", "-lm"],
    );
    let tree = tree(vec![("usr/bin/x", program(needing))]);
    let versions = BTreeMap::from([
        ("libm.so.6".to_owned(), "2.43-r0".to_owned()),
        ("ld-linux-x86-64.so.2".to_owned(), "2.43-r0".to_owned()),
    ]);
    let mut view = PackageView {
        library_versions: Some(&versions),
        ..view("x", &tree)
    };
    let versioned = |view: &PackageView<'_>| {
        let found = generate(view, &[]).unwrap();
        let needs = found.runtime.into_iter();
        needs
            .filter(|need| need.starts_with("so-ver:"))
            .collect::<Vec<_>>()
    };
    assert_eq!(versioned(&view), ["so-ver:libm.so.6>=2.43-r0"]);
    view.options.no_versioned_shlib_deps = true;
    assert!(versioned(&view).is_empty());
}

#[test]
fn pkg_config_modules() {
    let tree = tree(vec![
        (
            "usr/lib/pkgconfig/one.pc",
            text("Name: one\nRequires: glib-2.0 >= 2, two\n"),
        ),
        (
            "usr/share/pkgconfig/two.pc",
            text("Requires.private: three\n"),
        ),
        ("usr/lib/pkgconfig/alias.pc", Node::symlink("one.pc")),
        ("usr/libexec/pkgconfig/own.pc", text("Requires: four\n")),
    ]);
    insta::assert_snapshot!(generated("x-dev", &tree), @r"
    runtime: pc:glib-2.0 pc:three pc:two
    provides: pc:one=1.2-r3 pc:two=1.2-r3
    vendored: pc:own=1.2-r3
    ");
    let settled = analyse(&view("x-dev", &tree), &[]).unwrap();
    let needs: Vec<&String> = settled.runtime.iter().collect();
    assert_eq!(needs, ["pc:glib-2.0", "pc:three"]);
}

#[test]
fn languages_and_documentation() {
    let directory = Node::directory;
    let perl = tree(vec![("lib/perl5/vendor_perl", directory())]);
    assert!(generated("x", &perl).starts_with("runtime: perl~5\n"));
    let python = tree(vec![("usr/lib/python3.12/site-packages", directory())]);
    assert!(generated("x", &python).starts_with("runtime: python-3.12-base\n"));
    let ruby = tree(vec![("usr/lib/ruby/gems/3.4.0/gems/x", directory())]);
    assert!(generated("x", &ruby).starts_with("runtime: ruby-3.4\n"));
    for (tree, declared) in [
        (&perl, "perl"),
        (&python, "python3"),
        (&ruby, "ruby-3.3"),
        (&ruby, "ruby"),
    ] {
        let runtime = [declared.to_owned()];
        let view = PackageView {
            runtime: &runtime,
            ..view("x", tree)
        };
        assert!(
            generate(&view, &[]).unwrap().runtime.is_empty(),
            "{declared}"
        );
    }
    for other in [
        "usr/lib/perl5/core/x_perl",
        "usr/lib/python/site-packages",
        "usr/lib/ruby/gems/3.4/gems",
    ] {
        let tree = tree_of_folder(other);
        assert!(generated("x", &tree).starts_with("runtime: \n"), "{other}");
    }
    let pages = tree(vec![
        ("usr/share/man/man1/x.1", text("")),
        ("usr/share/info/x.info", text("")),
    ]);
    assert!(generated("x-doc", &pages).starts_with("runtime: man-db texinfo\n"));
    assert!(generated("x", &pages).starts_with("runtime: \n"));
}

fn tree_of_folder(path: &str) -> FileTree {
    tree(vec![(path, Node::directory())])
}

#[test]
fn scripts_need_their_interpreter() {
    let script = |line: &str| text(line).with_mode(0o755);
    let tree = tree(vec![
        ("usr/bin/one", script("#!/usr/bin/env bash\n")),
        ("usr/local/sbin/two", script("#!/usr/bin/perl -w\n")),
        ("usr/share/three", script("#!/usr/bin/ruby\n")),
        ("usr/bin/four", script("#!/usr/bin/env bash -x\n")),
        ("usr/bin/five", script("#!/bin/sh\n")),
    ]);
    let found = generate(&view("x", &tree), &[]).unwrap();
    assert_eq!(
        found.runtime.iter().collect::<Vec<_>>(),
        ["cmd:bash", "cmd:perl"]
    );
    assert_eq!(
        found.problems[0].message,
        "/usr/bin/four: `#!/usr/bin/env bash -x` gives env several arguments without -S"
    );
}

#[test]
fn options_leave_out() {
    let tree = tree(vec![
        ("usr/bin/x", text("#!/usr/bin/perl\n").with_mode(0o755)),
        ("usr/lib/libx.so.1", program(library("libx.so.1"))),
    ]);
    let with = |options| {
        let view = PackageView {
            options,
            ..view("x", &tree)
        };
        let found = generate(&view, &[]).unwrap();
        (found.runtime.len(), found.provides.len())
    };
    let none = Options::default();
    assert_eq!(with(none), (1, 3));
    let no_commands = Options {
        no_commands: true,
        ..none
    };
    assert_eq!(with(no_commands), (0, 2));
    let no_depends = Options {
        no_depends: true,
        ..none
    };
    assert_eq!(with(no_depends), (0, 3));
    let no_provides = Options {
        no_provides: true,
        ..none
    };
    assert_eq!(with(no_provides), (1, 0));
}

#[test]
fn needs_that_are_filled_within() {
    let needing = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libinner.so.1");
        std::fs::write(&path, library("libinner.so.1")).unwrap();
        compile(
            "int answer(void); int main(void) { return answer(); }\n",
            &[path.to_str().unwrap()],
        )
    };
    let tree = tree(vec![
        ("usr/bin/x", program(needing)),
        (
            "usr/libexec/x/libinner.so.1",
            program(library("libinner.so.1")),
        ),
    ]);
    let plain = analyse(&view("x", &tree), &[]).unwrap();
    assert!(!plain.runtime.contains("so:libinner.so.1"));
    assert!(plain.runtime.contains("so:libc.so.6"));
    // Somebody who writes the need down means it.
    let runtime = ["so:libinner.so.1".to_owned(), "y".to_owned()];
    let provides = ["y=1".to_owned(), "so:libc.so.6".to_owned()];
    let declared = PackageView {
        runtime: &runtime,
        provides: &provides,
        ..view("x", &tree)
    };
    let found = analyse(&declared, &[]).unwrap();
    assert!(found.runtime.contains("so:libinner.so.1"));
    assert!(!found.runtime.contains("y") && !found.runtime.contains("so:libc.so.6"));
    assert!(found.provides.contains("y=1"));
}

#[test]
fn names_that_would_say_more_are_left_out() {
    let tree = tree(vec![
        ("usr/bin/a b", text("x").with_mode(0o755)),
        ("usr/bin/evil=9", text("x").with_mode(0o755)),
        ("usr/lib/libx.so.1", program(library("libx.so.1 evil"))),
        ("usr/lib/pkgconfig/y.pc", text("Requires: ok @tag\n")),
        ("usr/bin/[", text("x").with_mode(0o755)),
    ]);
    let found = generate(&view("x", &tree), &[]).unwrap();
    assert_eq!(
        shown(&found),
        "runtime: pc:ok\nprovides: cmd:[=1.2-r3 pc:y=1.2-r3\nvendored: "
    );
    let messages: Vec<&str> = found.problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(messages.len(), 4);
    assert_eq!(
        messages[0],
        "/usr/bin/a b: `a b` can't be named in a dependency"
    );
}

#[test]
fn damaged_files_tell_nothing() {
    let bytes = library("libx.so.1");
    for length in (0..bytes.len()).step_by(97) {
        let tree = tree(vec![(
            "usr/lib/libx.so.1",
            program(bytes[..length].to_vec()),
        )]);
        assert!(generate(&view("x", &tree), &[]).is_ok());
    }
    for position in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[position] ^= 0xff;
        let tree = tree(vec![("usr/lib/libx.so.1", program(changed))]);
        assert!(generate(&view("x", &tree), &[]).is_ok());
    }
}

#[test]
fn libraries_without_section_headers_are_read_by_their_segments() {
    let mut bytes = library("libx.so.1");
    // e_shoff, e_shnum and e_shstrndx of a 64-bit file.
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    let tree = tree(vec![("usr/lib/libx.so.1", program(bytes))]);
    assert!(generated("x", &tree).contains("so:libx.so.1=1"));
}

#[test]
fn unreadable_files_are_errors() {
    let missing = Node::new(NodeKind::File {
        content: Content::Disk("/absent/file".into()),
        size: 1,
    });
    let tree = tree(vec![("usr/bin/x", missing)]);
    let error = generate(&view("x", &tree), &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("can't read `usr/bin/x` of package x")
    );
}
