//! Pipelines of build systems and compilers.

use std::fs;

use super::workbench::Workbench;
use super::*;

#[test]
fn builders_are_called_as_melange_calls_them() {
    let bench = Workbench::new(&["cmake", "meson", "nproc"]);
    bench.program("nproc", "echo 3");
    let mut said = String::new();
    said += &bench.passes(
        "cmake/configure",
        &[
            ("output-dir", "my $out"),
            ("opts", "-DA='b c' \\\n -DD=$((1+1)) # why\n"),
        ],
    );
    said += &bench.passes("cmake/build", &[("opts", "--target test")]);
    said += &bench.passes("cmake/install", &[]);
    said += &bench.passes("meson/configure", &[("opts", "-Dtests=disabled")]);
    said += &bench.passes("meson/compile", &[]);
    said += &bench.passes("meson/install", &[("output-dir", "o")]);
    insta::assert_snapshot!(said, @"
    cmake <-B> <my $out> <-G> <Ninja> <-DCMAKE_INSTALL_PREFIX=/usr> <-DCMAKE_INSTALL_LIBDIR=lib> <-DCMAKE_BUILD_TYPE=Release> <-DCMAKE_VERBOSE_MAKEFILE=ON> <-DA=b c> <-DD=2>
    cmake <--build> <output> <--target> <test>
    cmake <--install> <output>
    meson <setup> <.> <output> <--prefix=/usr> <--wrap-mode=nodownload> <-Dtests=disabled>
    nproc
    meson <compile> <-j> <3> <-C> <output>
    meson <install> <-C> <o>
    ");
}

#[test]
fn go_builds_are_clean_and_reproducible() {
    let bench = Workbench::new(&[]);
    bench.program("go", "echo \"$GOAMD64 $GOARM64 [$GOEXPERIMENT] $GOBIN\" | sed 's,/tmp.*,TEMPORARY,'; cat \"$HOME/.config/git/ignore\" 2>/dev/null || :; [ -z \"$GOBIN\" ] || touch \"$GOBIN/program\"");
    let (succeeded, said) = bench.run("go/build", &[("packages", "."), ("output", "x")]);
    assert!(
        !succeeded && said.contains("there is no go.mod in ."),
        "{said}"
    );
    bench.write(".config/git/ignore", "mine\n");
    bench.write("src dir/go.mod", "module x\n");
    bench.write("go.mod.local", "module local\n");
    let mut said = String::new();
    said += &bench.passes(
        "go/build",
        &[
            ("modroot", "src dir"),
            ("packages", "./cmd/a ./cmd/b"),
            ("output", "x"),
            ("tags", "t"),
            ("ldflags", "-X main.a=$(echo b)\n-X \"main.c=d\""),
            ("tidy", "true"),
            ("vendor", "true"),
            ("deps", "a@v1 b@v2"),
            ("extra-args", "-v -x"),
            ("experiments", "loopvar"),
        ],
    );
    assert_eq!(
        fs::read_to_string(bench.path("src dir/go.mod")).unwrap(),
        "module local\n"
    );
    assert_eq!(
        fs::read_to_string(bench.path(".config/git/ignore")).unwrap(),
        "mine\n"
    );
    bench.write("go.mod", "module x\n");
    let steps = resolved("go/build/v2", &BTreeMap::new());
    assert_eq!(steps[0].steps[0].uses.as_deref(), Some("strip"));
    said += &bench.passes(
        "go/build/v2",
        &[("packages", "./..."), ("ignore-untracked-files", "false")],
    );
    said += &bench.passes(
        "go/install",
        &[("package", "example.org/x"), ("version", "v1.2.3")],
    );
    assert!(bench.path("melange-out/x/usr/bin/program").exists());
    insta::assert_snapshot!(said, @"
    go <mod> <tidy>
    go <get> <a@v1>
    go <get> <b@v2>
    go <mod> <tidy>
    go <mod> <vendor>
    go <build> <-o> </home/build/melange-out/x/usr/bin/x> <-tags> <netgo,osusergo,t> <-ldflags> <-w -X main.a=b
    -X main.c=d> <-trimpath> <-buildmode> <default> <-v> <-x> <./cmd/a> <./cmd/b>
    v2 v8.0 [loopvar] 
    **
    v2 v8.0 [loopvar] 
    **
    v2 v8.0 [loopvar] 
    **
    v2 v8.0 [loopvar] 
    **
    v2 v8.0 [loopvar] 
    **
    v2 v8.0 [loopvar] 
    **
    go <build> <-o> </home/build/melange-out/x/usr/bin/> <-tags> <netgo,osusergo> <-ldflags> <-w > <-trimpath> <-buildmode> <default> <./...>
    v2 v8.0 [] 
    mine
    go <install> <-trimpath> <-tags> <netgo,osusergo> <-ldflags> <-w > <example.org/x@v1.2.3>
    v2 v8.0 [] TEMPORARY
    mine
    go/install: program
    ");
}

#[test]
fn programs_of_cargo_are_installed() {
    let bench = Workbench::new(&[]);
    bench.program("cargo", "echo \"flags [$RUSTFLAGS]\"; mkdir -p target/release/deps; for p in one two; do echo > target/release/$p; chmod +x target/release/$p; done; echo > target/release/one.d");
    bench.write("crate/Cargo.toml", "");
    let mut said = bench.passes(
        "cargo/build",
        &[
            ("modroot", "crate"),
            ("rustflags", "-C linker=x"),
            ("jobs", "2"),
        ],
    );
    assert!(bench.path("melange-out/x/usr/bin/one").is_file());
    assert!(bench.path("melange-out/x/usr/bin/two").is_file());
    assert!(!bench.path("melange-out/x/usr/bin/one.d").exists());
    said += &bench.passes(
        "cargo/build",
        &[
            ("modroot", "crate"),
            ("output", "two"),
            ("install-dir", "libexec/x"),
            ("opts", "--release --features a,b"),
        ],
    );
    assert!(bench.path("melange-out/x/usr/libexec/x/two").is_file());
    assert!(!bench.path("melange-out/x/usr/libexec/x/one").exists());
    insta::assert_snapshot!(said, @"
    cargo <auditable> <build> <--target-dir> <target> <--release> <--jobs> <2>
    flags [-C linker=x]
    cargo <auditable> <build> <--target-dir> <target> <--release> <--features> <a,b>
    flags []
    ");
}

#[test]
fn coverage_is_measured_and_required() {
    let bench = Workbench::new(&["xcover", "llvm-profdata"]);
    bench.program("llvm-cov", "echo TOTAL 1 2 3 4 5 66.67%");
    bench.program(
        "apk",
        "printf 'x-1 contains:\\nusr/share/x\\nusr/bin/x\\nusr/bin/y\\n'",
    );
    bench.program("go", "echo 'total (statements) 81.5%'");
    bench.write("xcover-report.json", "{\"cov_by_func\": 50.5}");
    let mut said = String::new();
    said += &bench.passes(
        "xcover/profile",
        &[
            ("executable-path", "/usr/bin/x"),
            ("exclude-functions", "^runtime\\."),
        ],
    );
    for pipeline in ["xcover/wait", "xcover/status", "xcover/stop"] {
        said += &bench.passes(pipeline, &[]);
    }
    said += &bench.passes("xcover/ensure", &[("min-coverage", "50.5")]);
    let (succeeded, low) = bench.run("xcover/ensure", &[("min-coverage", "51")]);
    assert!(!succeeded);
    said += &low;
    said += &bench.passes("llvm/covreport", &[]);
    said += &bench.passes(
        "llvm/covreport",
        &[("object", "sh"), ("ignore-filename-regex", "a|b")],
    );
    said += &bench.passes("go/covdata", &[]);
    insta::assert_snapshot!(said, @r"
    xcover <run> <--path> </usr/bin/x> <--exclude=^runtime\.> <--include=> <--scope=project> <--log-level=info> <--verbose=false> <--status> <--detach>
    xcover <wait> <--timeout> <60s>
    xcover <wait> <--timeout> <60s>
    xcover <status>
    xcover <stop>
    Coverage is 50.5 %
    Coverage is 50.5 %
    Coverage 50.5 % is below the expected minimum of 51 %
    llvm-profdata <merge> <--sparse> <default_*.profraw> <--output> <default.profdata>
    apk <info> <-L> <x>
    llvm-cov <report> <--ignore-filename-regex=> <--instr-profile=default.profdata> <--object> </usr/bin/x> <--summary-only>
    Statements coverage: 66.67%
    llvm-profdata <merge> <--sparse> <default_*.profraw> <--output> <default.profdata>
    llvm-cov <report> <--ignore-filename-regex=a|b> <--instr-profile=default.profdata> <--object> </usr/bin/sh> <--summary-only>
    Statements coverage: 66.67%
    go <tool> <covdata> <func> <-i> </home/build>
    Statements coverage: 81.5%
    ");
}
