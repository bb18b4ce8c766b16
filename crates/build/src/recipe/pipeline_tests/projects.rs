//! Small projects of every build system, with the real programs.

use std::fs;

use super::workbench::Workbench;
use super::*;

/// Small projects, by the tools themselves.
#[test]
fn projects_of_every_build_system_are_built() {
    let c = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";
    let installed = |bench: &Workbench| {
        let program = bench.path("melange-out/x/usr/bin/hello");
        let output = Command::new(program).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
    };

    let bench = Workbench::new(&[]);
    bench.write("hello.c", c);
    bench.write(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.10)\nproject(hello C)\ninclude(GNUInstallDirs)\nadd_executable(hello hello.c)\nadd_library(x STATIC hello.c)\ninstall(TARGETS hello x)\ninstall(FILES hello.c DESTINATION ${CMAKE_INSTALL_DATADIR}/${WORD})\n",
    );
    bench.passes("cmake/configure", &[("opts", "-DWORD=\"two words\" \\\n")]);
    let said = bench.passes("cmake/build", &[]);
    assert!(said.contains("-O3 -DNDEBUG"), "{said}");
    bench.passes("cmake/install", &[]);
    installed(&bench);
    assert!(bench.path("melange-out/x/usr/lib/libx.a").exists());
    assert!(
        bench
            .path("melange-out/x/usr/share/two words/hello.c")
            .exists()
    );

    let bench = Workbench::new(&[]);
    bench.write("hello.c", c);
    bench.write(
        "meson.build",
        "project('hello', 'c')\nexecutable('hello', 'hello.c', install: true)\ninstall_data('hello.c', install_dir: get_option('datadir'))\n",
    );
    bench.passes(
        "meson/configure",
        &[("output-dir", "out"), ("opts", "-Ddatadir=share/x")],
    );
    bench.passes("meson/compile", &[("output-dir", "out")]);
    bench.passes("meson/install", &[("output-dir", "out")]);
    installed(&bench);
    assert!(bench.path("melange-out/x/usr/share/x/hello.c").exists());

    let bench = Workbench::new(&[]);
    bench.write("lib/Hello.pm", "package Hello;\nour $VERSION = '1';\n1;\n");
    bench.write(
        "Makefile.PL",
        "use ExtUtils::MakeMaker;\nWriteMakefile(NAME => 'Hello', VERSION_FROM => 'lib/Hello.pm');\n",
    );
    bench.passes("perl/make", &[]);
    bench.passes("autoconf/make", &[]);
    bench.passes("autoconf/make-install", &[]);
    bench.passes("perl/cleanup", &[]);
    let mut found = Vec::new();
    files(&bench.path("melange-out/x"), &mut found);
    assert!(
        found.iter().any(|path| path.ends_with("perl5/Hello.pm")),
        "{found:?}"
    );
    assert!(
        !found
            .iter()
            .any(|path| path.ends_with(".packlist") || path.ends_with("perllocal.pod")),
        "{found:?}"
    );

    let bench = Workbench::new(&[]);
    bench.write("hello.py", "WORD = 'hello'\n");
    bench.write(
        "setup.py",
        "from setuptools import setup\nsetup(name='hello', version='1', py_modules=['hello'])\n",
    );
    bench.passes("python/build", &[]);
    bench.passes("python/install", &[]);
    let mut found = Vec::new();
    files(&bench.path("melange-out/x/usr"), &mut found);
    let module = found
        .iter()
        .find(|path| path.ends_with("/hello.py"))
        .unwrap();
    assert!(
        found.iter().any(|path| path.contains("egg-info")),
        "{found:?}"
    );
    let folder = module.trim_end_matches("/hello.py");
    let import = format!(
        "import sys; sys.path.insert(0, '{folder}'); import hello; assert hello.WORD == 'hello'"
    );
    bench.passes(
        "python/import",
        &[("python", "python3"), ("imports", &import)],
    );
}

fn files(folder: &std::path::Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(path.display().to_string());
        }
    }
}
