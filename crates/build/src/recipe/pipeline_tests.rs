//! The built-in pipelines as recipes rely on them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use base::{Arch, SourceText};

use super::built_in::Native;
use super::*;

/// What melange 0.59's definitions take: names, inputs (`*`: required, `=`: the default), needs.
const CONTRACT: &str = r"
R/build: package* path=. version* [R R-dev R-doc busybox]
autoconf/configure: build=${{host.triplet.gnu}} dir=. host=${{host.triplet.gnu}} opts [autoconf automake libtool]
autoconf/make: dir=. opts targets [make]
autoconf/make-install: dir=. opts targets=install [make]
cargo/build: install-dir=bin jobs modroot=. opts=--release output output-dir=target/release prefix=usr rustflags [build-base busybox cargo-auditable rust]
cmake/build: opts output-dir=output [cmake ninja]
cmake/configure: opts output-dir=output [cmake ninja]
cmake/install: output-dir=output [cmake ninja]
fetch: delete=false directory=. dns-timeout=20 expected-none expected-sha256 expected-sha512 extract=true purl-name=${{package.name}} purl-version=${{package.version}} reason retry-limit=5 strip-components=1 timeout=5 uri* [wget]
git-am: patches* [git]
git-checkout: branch cherry-picks depth=unset destination=. expected-commit expected-commit-is-branch-tip=false initial-backoff=2 max-backoff=60 max-retries=3 reason recurse-submodules=false repository* shallow-submodules=false sparse-paths submodule-jobs=1 tag type-hint [git]
go/build: amd64=v2 arm64=v8.0 buildmode=default deps experiments extra-args go-package=go ignore-untracked-files=true install-dir=bin ldflags modroot=. output* packages* prefix=usr strip=-w tags tidy=false toolchaintags=netgo,osusergo vendor=false [${{inputs.go-package}} build-base busybox ca-certificates-bundle]
go/build/v2: amd64=v2 arm64=v8.0 buildmode=default experiments extra-args ignore-untracked-files=true install-dir=bin ldflags modroot=. output packages=. prefix=usr strip=-w tags toolchaintags=netgo,osusergo vendor=false [busybox ca-certificates-bundle]
go/bump: deps* go-version modroot=. replaces show-diff=false tidy-compat tidy=true work=false [git gobump]
go/covdata: cover-dir=/home/build package=go [${{inputs.package}} busybox jq]
go/install: amd64=v2 arm64=v8.0 experiments go-package=go install-dir=bin ldflags package* prefix=usr strip=-w tags toolchaintags=netgo,osusergo version [${{inputs.go-package}} build-base busybox ca-certificates-bundle git]
llvm/covreport: ignore-filename-regex object package=llvm-19 [${{inputs.package}}]
maven/configure-mirror:  [busybox]
maven/pombump: debug=false dependencies patch-file=./pombump-deps.yaml pom=pom.xml properties properties-file=./pombump-properties.yaml show-dependency-tree=false [busybox pombump]
meson/compile: output-dir=output [meson]
meson/configure: opts output-dir=output [meson]
meson/install: output-dir=output [meson]
npm/install: npm-package=npm overrides package* prefix=${{targets.contextdir}}/usr/ version* [${{inputs.npm-package}} busybox nodejs npm]
patch: fuzz=2 patches series strip-components=1 [patch]
pecl/install: extension* [automake busybox]
pecl/phpize: php-config=php-config prefix=/usr [autoconf busybox]
perl/cleanup:  [busybox]
perl/make:  [busybox perl]
python/build:  [busybox python3]
python/build-wheel:  [busybox py3-build py3-installer python3]
python/import: from import imports python=DEFAULT venv [wolfi-base]
python/install:  [busybox python3]
python/test: command* [wolfi-base]
ruby/build: dir=. gem* opts output [busybox ca-certificates-bundle]
ruby/clean:  [busybox ca-certificates-bundle]
ruby/install: dir=. gem gem-file opts version* [busybox ca-certificates-bundle]
split/alldocs: package [busybox]
split/bin: package [busybox]
split/debug: package [binutils busybox scanelf]
split/dev: package prefix=/usr [busybox]
split/infodir: package [busybox]
split/lib: package paths patterns [busybox]
split/locales: package [busybox]
split/manpages: package [busybox]
split/static: package [busybox]
strip: opts=-g [binutils scanelf]
xcover/ensure: min-coverage package=xcover [${{inputs.package}} busybox jq]
xcover/profile: exclude-functions executable-path* include-functions log-level=info package=xcover scope=project verbose=false wait-timeout=60 [${{inputs.package}} busybox]
xcover/status: package=xcover [${{inputs.package}} busybox]
xcover/stop: package=xcover [busybox]
xcover/wait: package=xcover wait-timeout=60 [${{inputs.package}} busybox]
";

/// Needs that polpo does not have, for it does without: sources are fetched outside the guest, and
/// ELF headers are read by binutils.
const NOT_NEEDED: [(&str, &str); 3] = [
    ("fetch", "wget"),
    ("split/debug", "scanelf"),
    ("strip", "scanelf"),
];

#[test]
fn names_inputs_defaults_and_needs_are_those_of_melange() {
    let library = PipelineLibrary::default();
    let mut table = String::from("\n");
    for name in PipelineLibrary::built_in() {
        let step = &library.load(name).unwrap().step;
        let mut inputs: Vec<String> = step
            .inputs
            .iter()
            .map(|(name, input)| {
                let required = if input.required { "*" } else { "" };
                let default = match input.default.as_str() {
                    "" => String::new(),
                    default => format!("={default}"),
                };
                format!("{}{required}{default}", name.value)
            })
            .collect();
        inputs.sort();
        let mut needs: Vec<&str> = step
            .needs
            .packages
            .iter()
            .map(|package| package.value.as_str())
            .collect();
        for (pipeline, package) in NOT_NEEDED {
            if pipeline == name {
                assert!(!needs.contains(&package), "{name}");
                needs.push(package);
            }
        }
        needs.sort_unstable();
        table += &format!("{name}: {} [{}]\n", inputs.join(" "), needs.join(" "));
    }
    assert_eq!(table, CONTRACT);
}

/// The steps of `pipeline` in the package `x`, given `with`.
fn resolved(pipeline: &str, with: &BTreeMap<String, String>) -> Vec<Step> {
    let with = serde_json::to_string(with).unwrap();
    let recipe = format!(
        "package: {{name: x, version: '1'}}\npipeline:\n  - uses: {pipeline}\n    with: {with}\n"
    );
    let library = PipelineLibrary::default();
    Recipe::parse(SourceText::new("x.yaml", recipe))
        .and_then(|recipe| recipe.resolve(&ResolveOptions::new(Arch::X86_64, &library)))
        .unwrap()
        .steps
}

fn scripts(steps: &[Step], into: &mut Vec<String>) {
    for step in steps {
        if let Action::Run { script } = &step.action {
            into.push(script.clone());
        }
        scripts(&step.steps, into);
    }
}

/// A value for every input that must have one.
fn least(pipeline: &str) -> BTreeMap<String, String> {
    let library = PipelineLibrary::default();
    let step = &library.load(pipeline).unwrap().step;
    let required = step.inputs.iter().filter(|(_, input)| input.required);
    let mut with: BTreeMap<String, String> = required
        .map(|(name, _)| (name.value.clone(), "some-value".to_owned()))
        .collect();
    if pipeline == "git-checkout" {
        with.insert("repository".to_owned(), "https://example.org/x".to_owned());
    }
    if pipeline == "fetch" {
        with.insert("uri".to_owned(), "https://example.org/x.tar.gz".to_owned());
        with.insert("expected-sha256".to_owned(), "0".repeat(64));
    }
    with
}

/// Whatever an input holds, it is no code, but where its description says that the shell reads it.
#[test]
fn inputs_are_no_code() {
    let library = PipelineLibrary::default();
    for pipeline in PipelineLibrary::built_in() {
        let step = &library.load(pipeline).unwrap().step;
        for (name, input) in step.inputs.iter() {
            let is_code = [
                "read by the shell",
                "Read by the shell",
                "a script for the shell",
            ]
            .iter()
            .any(|words| input.description.contains(words));
            let needs = step.needs.packages.iter();
            let is_package = needs
                .into_iter()
                .any(|need| need.contains(&format!("inputs.{}}}", name.value)));
            if Native::of(pipeline).is_some() {
                continue;
            }
            let mut with = least(pipeline);
            let value = if is_package {
                "hostile"
            } else {
                "hostile$(touch evil)`touch evil`';touch evil;\";touch evil;"
            };
            with.insert(name.value.clone(), value.to_owned());
            let mut found = Vec::new();
            scripts(&resolved(pipeline, &with), &mut found);
            let spliced = found.iter().any(|script| script.contains("hostile"));
            assert!(
                !spliced || is_code,
                "{pipeline}: {} is spliced into its script",
                name.value
            );
            assert!(
                spliced || !is_code,
                "{pipeline}: {} is not read by the shell",
                name.value
            );
        }
    }
}

/// Options as Wolfi's recipes have them: continued lines, quotes, substitutions, a comment at the end.
const OPTIONS: [&str; 6] = [
    "",
    "--a \\\n--b='c d' \\\n",
    "CFLAGS=\"$CFLAGS -DX\" LIBDIR=\"/usr/lib/\" TESTS='t/pp/*.t t/xs/*.t'",
    "-DA=\"b c\" \\\n-DNO_MAN=ON  # needs what we don't have\n",
    "-X main.commit=$(git rev-parse HEAD) -X 'main.date=$(date -u -d \"@$SOURCE_DATE_EPOCH\" \"+%FT%TZ\")'",
    "$([ -d /usr/lib/old ] && echo a='no' b='no')",
];

#[test]
fn scripts_are_read_by_every_shell() {
    let library = PipelineLibrary::default();
    for pipeline in PipelineLibrary::built_in() {
        let step = &library.load(pipeline).unwrap().step;
        for options in OPTIONS {
            let mut with = least(pipeline);
            for (name, input) in step.inputs.iter() {
                if input.description.contains("read by the shell") || name.value == "command" {
                    with.insert(name.value.clone(), options.to_owned());
                }
            }
            if with.get("command").is_some_and(String::is_empty)
                || with.get("packages").is_some_and(String::is_empty)
            {
                continue;
            }
            let mut found = Vec::new();
            scripts(&resolved(pipeline, &with), &mut found);
            for script in found {
                for shell in [&["sh"][..], &["bash"], &["busybox", "sh"]] {
                    let done = Command::new(shell[0])
                        .args(&shell[1..])
                        .args(["-n", "-c", &format!("\n{script}")])
                        .output()
                        .unwrap();
                    let said = String::from_utf8_lossy(&done.stderr);
                    assert!(
                        done.status.success() && said.is_empty(),
                        "{pipeline} with {options:?}, {shell:?}: {said}\n{script}"
                    );
                }
            }
        }
    }
}

/// A folder in which `/home/build` of the scripts lies, and programs that only write down how they
/// are called.
struct Workbench(tempfile::TempDir);

impl Workbench {
    fn new(programs: &[&str]) -> Workbench {
        let bench = Workbench(tempfile::tempdir().unwrap());
        for program in programs {
            bench.program(program, "");
        }
        bench
    }

    /// A program that does `more` after it has written down how it is called.
    fn program(&self, name: &str, more: &str) {
        let path = self.0.path().join("programs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let log = self.0.path().join("log");
        let text = format!(
            "#!/bin/sh\n{{ printf '%s' {name}; for a; do printf ' <%s>' \"$a\"; done; printf '\\n'; }} >> '{}'\n{more}\n",
            log.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("build").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs `pipeline`: whether it succeeded, and what was called and printed.
    fn run(&self, pipeline: &str, with: &[(&str, &str)]) -> (bool, String) {
        let _ = fs::remove_file(self.0.path().join("log"));
        let home = self.path("");
        fs::create_dir_all(&home).unwrap();
        let here = home.display().to_string();
        let here = here.trim_end_matches('/');
        let with = with
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut said = String::new();
        let succeeded = self.steps(&resolved(pipeline, &with.collect()), here, &mut said);
        let log = fs::read_to_string(self.0.path().join("log")).unwrap_or_default();
        (succeeded, (log + &said).replace(here, "/home/build"))
    }

    fn steps(&self, steps: &[Step], here: &str, said: &mut String) -> bool {
        let path = format!(
            "{}:{}",
            self.0.path().join("programs").display(),
            std::env::var("PATH").unwrap()
        );
        let at = |text: &str| {
            let root = self.0.path().display();
            text.replace("/home/build", here)
                .replace("/root/", &format!("{root}/root/"))
                .replace("/var/cache/melange", &format!("{root}/cache"))
        };
        steps.iter().all(|step| {
            if let Action::Run { script } = &step.action {
                let environment = step
                    .environment
                    .iter()
                    .map(|(name, value)| (name, at(value)));
                let done = Command::new("bash")
                    .args(["-c", &format!("set -eo pipefail\n{}\nexit 0", at(script))])
                    .current_dir(here)
                    .envs(environment)
                    .env("PATH", &path)
                    .env("HOME", here)
                    .env("SOURCE_DATE_EPOCH", "7")
                    .env_remove("RUSTFLAGS")
                    .output()
                    .unwrap();
                *said += &String::from_utf8_lossy(&done.stdout);
                *said += &String::from_utf8_lossy(&done.stderr);
                if !done.status.success() {
                    return false;
                }
            }
            self.steps(&step.steps, here, said)
        })
    }

    fn passes(&self, pipeline: &str, with: &[(&str, &str)]) -> String {
        let (succeeded, said) = self.run(pipeline, with);
        assert!(succeeded, "{pipeline}: {said}");
        said
    }
}

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
fn packages_of_other_languages() {
    let bench = Workbench::new(&["gem", "make", "phpize", "gobump", "mvn", "Rscript", "git"]);
    bench.program("ruby", "echo /usr/lib/ruby/gems/3.4.0");
    bench.program("pombump", "echo new");
    bench.program(
        "Rscript",
        "echo \"$input_path $input_library\"; mkdir \"$input_library/x\"",
    );
    bench.program("git", "echo \"$GIT_COMMITTER_DATE\"");
    bench.program("configure", "");
    fs::copy(bench.0.path().join("programs/configure"), {
        bench.write("x", "");
        bench.path("configure")
    })
    .unwrap();
    bench.write("g/a.gemspec", "one\n  s.signing_key = 'x'\n");
    bench.write("pom.xml", "old\n");
    bench.write("pombump-deps.yaml", "");
    fs::create_dir(bench.0.path().join("cache")).unwrap();
    let mut said = String::new();
    said += &bench.passes(
        "ruby/build",
        &[
            ("gem", "a"),
            ("dir", "g"),
            ("output", "a.gem"),
            ("opts", "--strict"),
        ],
    );
    assert_eq!(
        fs::read_to_string(bench.path("g/a.gemspec")).unwrap(),
        "one\n"
    );
    said += &bench.passes(
        "ruby/install",
        &[
            ("gem", "a"),
            ("version", "1.2"),
            ("opts", "-- --use-system-libraries"),
        ],
    );
    said += &bench.passes(
        "ruby/install",
        &[("gem-file", "b.gem"), ("version", "${SOURCE_DATE_EPOCH}")],
    );
    for version in ["$(touch evil)", "${X:-$(touch evil)}", "$", "${1}"] {
        let (succeeded, said) = bench.run("ruby/install", &[("gem", "a"), ("version", version)]);
        assert!(!succeeded && said.contains("is no variable"), "{said}");
    }
    assert!(!bench.path("evil").exists());
    bench.write("melange-out/x/usr/lib/ruby/gems/3.4.0/cache/a.gem", "");
    bench.write(
        "melange-out/x/usr/lib/ruby/gems/3.4.0/extensions/a/gem_make.out",
        "",
    );
    bench.write("melange-out/x/usr/lib/ruby/gems/3.4.0/gems/a/a.rb", "");
    bench.passes("ruby/clean", &[]);
    let gems = bench.path("melange-out/x/usr/lib/ruby/gems/3.4.0");
    assert!(!gems.join("cache").exists() && !gems.join("extensions/a/gem_make.out").exists());
    assert!(gems.join("gems/a/a.rb").exists());
    said += &bench.passes("pecl/phpize", &[("php-config", "php-config8")]);
    said += &bench.passes("pecl/install", &[("extension", "apcu")]);
    assert_eq!(
        fs::read_to_string(bench.path("melange-out/x/etc/php/conf.d/apcu.ini")).unwrap(),
        "extension=apcu.so\n"
    );
    said += &bench.passes("go/bump", &[("deps", "a@v1 b@v2"), ("tidy", "false")]);
    said += &bench.passes(
        "maven/pombump",
        &[
            ("properties", "a@1"),
            ("show-dependency-tree", "true"),
            ("debug", "true"),
        ],
    );
    assert_eq!(fs::read_to_string(bench.path("pom.xml")).unwrap(), "new\n");
    said += &bench.passes("maven/configure-mirror", &[]);
    let settings = fs::read_to_string(bench.0.path().join("root/.m2/settings.xml")).unwrap();
    assert!(
        settings
            .contains("<url>https://maven-central.storage-download.googleapis.com/maven2/</url>")
    );
    assert!(bench.0.path().join("root/.m2/repository").is_symlink());
    said += &bench.passes(
        "R/build",
        &[
            ("package", "x"),
            ("version", "1"),
            ("path", "x'); evil('.tar.gz"),
        ],
    );
    said += &bench.passes("git-am", &[("patches", "a.patch\n b.patch\n $(evil)")]);
    insta::assert_snapshot!(said, @r#"
    gem <build> <a.gemspec> <--output> <a.gem> <--strict>
    ruby <-e> <puts Gem.default_dir>
    gem <install> <a-1.2.gem> <--install-dir> </home/build/melange-out/x/usr/lib/ruby/gems/3.4.0/> <--bindir> </home/build/melange-out/x/usr/bin> <--version> <1.2> <--ignore-dependencies> <--no-document> <--verbose> <--local> <--> <--use-system-libraries>
    ruby <-e> <puts Gem.default_dir>
    gem <install> <b.gem> <--install-dir> </home/build/melange-out/x/usr/lib/ruby/gems/3.4.0/> <--bindir> </home/build/melange-out/x/usr/bin> <--version> <7> <--ignore-dependencies> <--no-document> <--verbose> <--local>
    phpize
    configure <--prefix=/usr> <--with-php-config=php-config8>
    make <INSTALL_ROOT=/home/build/melange-out/x> <install>
    gobump <--packages> <a@v1 b@v2> <--replaces> <> <--tidy=false> <--show-diff=false> <--go-version=> <--compat=> <--work=false>
    mvn <dependency:tree>
    pombump <pom.xml> <--patch-file> <./pombump-deps.yaml> <--properties> <a@1>
    1c1
    < old
    ---
    > new
    Rscript <-e> <
      install.packages(
        Sys.getenv("input_path"), lib = Sys.getenv("input_library"), repos = NULL, type = "source"
      )
    >
    x'); evil('.tar.gz /home/build/melange-out/x/usr/lib/R/library
    git <am> <--> <a.patch> <b.patch> <$(evil)>
    @315532800 +0000
    "#);
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

#[test]
fn npm_installs_with_overrides() {
    let bench = Workbench::new(&[]);
    bench.program(
        "npm",
        "cat package.json 2>/dev/null || :; mkdir -p node_modules/x",
    );
    let mut said = bench.passes("npm/install", &[("package", "@a/b"), ("version", "^1.0.0")]);
    said += &bench.passes(
        "npm/install",
        &[
            ("package", "x"),
            ("version", "2"),
            (
                "overrides",
                "# why\nyargs@^17.0.0, @scope/get@~9 # more\n'$(evil)'@1",
            ),
        ],
    );
    assert!(!bench.path("melange-out/x/usr/lib/package.json").exists());
    let (succeeded, wrong) = bench.run(
        "npm/install",
        &[("package", "x"), ("version", "1"), ("npm-package", "yarn")],
    );
    assert!(!succeeded);
    said += &wrong;
    insta::assert_snapshot!(said, @r#"
    npm <install> <-g> <@a/b@^1.0.0> <--prefix> </home/build/melange-out/x/usr/>
    npm <install> <-g> <x@2> <--prefix> </home/build/melange-out/x/usr/>
    npm <install> <--install-strategy=shallow> <.>
    {"dependencies":{"x":"2"},"overrides":{"yargs":"^17.0.0","@scope/get":"~9","'$(evil)'":"1"}}npm/install: the input npm-package is npm or pnpm, not 'yarn'
    "#);
}

#[test]
fn python_imports_are_tested() {
    let bench = Workbench::new(&[]);
    let mut said = String::new();
    let python = [("python", "python3")];
    let mut run = |with: &[(&str, &str)]| {
        let with: Vec<_> = python.iter().chain(with).copied().collect();
        let (succeeded, text) = bench.run("python/import", &with);
        said += &format!("{succeeded}: {text}");
    };
    run(&[(
        "imports",
        "import json # why\n\n  from os import path\nimport sys; sys.stdout.write('$(evil)\\n')\n",
    )]);
    run(&[("import", "json")]);
    run(&[("import", "path"), ("from", "os")]);
    run(&[("import", "json"), ("imports", "import os")]);
    run(&[("from", "os")]);
    run(&[]);
    run(&[("import", "json"), ("venv", "none")]);
    let (succeeded, text) = bench.run(
        "python/import",
        &[
            ("imports", "import no_such_thing_anywhere\nimport os"),
            ("python", "python3"),
        ],
    );
    assert!(!succeeded && text.contains("ModuleNotFoundError"));
    assert!(
        text.contains("failed: import no_such_thing_anywhere")
            && text.contains("passed: import os")
    );
    insta::assert_snapshot!(said, @r"
    true: python3: passed: import json
    python3: passed: from os import path
    $(evil)
    python3: passed: import sys; sys.stdout.write('$(evil)\n')
    true: python3: passed: import json
    true: python3: passed: from os import path
    false: python/import: import and imports exclude each other
    false: python/import: from needs import
    false: python/import: one of the inputs import and imports is required
    false: python/import: python and venv exclude each other
    ");
}

#[test]
fn python_packages_are_built_and_installed() {
    let bench = Workbench::new(&[]);
    bench.program("python3", "[ \"$1\" != -m ] || { mkdir -p dist build-out; touch dist/x-1.whl; }; mkdir -p \"$OUT/d/__pycache__\"; touch \"$OUT/d/__pycache__/a.pyc\"");
    fs::remove_file(bench.0.path().join("programs/python3")).unwrap();
    bench.program("python3.99", "case \"$*\" in '-m build') mkdir -p dist; touch dist/x-1.whl ;; *installer*) mkdir -p \"$4/lib/__pycache__\"; touch \"$4/lib/a.py\" \"$4/lib/__pycache__/a.pyc\" ;; esac");
    for name in ["python", "python3"] {
        std::os::unix::fs::symlink("python3.99", bench.0.path().join("programs").join(name))
            .unwrap();
    }
    let mut said = bench.passes("python/build", &[]);
    said += &bench.passes("python/install", &[]);
    said += &bench.passes("python/build-wheel", &[]);
    said += &bench.passes(
        "python/test",
        &[("command", "for a in 1 2; do echo $a; done")],
    );
    assert!(bench.path("melange-out/x/lib/a.py").exists());
    assert!(!bench.path("melange-out/x/lib/__pycache__/a.pyc").exists());
    insta::assert_snapshot!(said, @"
    python3.99 <setup.py> <build>
    python3.99 <setup.py> <install> <--prefix=/usr> <--root=/home/build/melange-out/x>
    python3.99 <-m> <build>
    python3.99 <-m> <installer> <-d> </home/build/melange-out/x> <dist/x-1.whl>
    1
    2
    ");
}

#[test]
fn perl_modules_get_perls_flags() {
    let bench = Workbench::new(&[]);
    bench.write(
        "Makefile.PL",
        "print \"@ARGV $ENV{PERL_MM_USE_DEFAULT} $ENV{CFLAGS}\\n\";\n",
    );
    let said = bench.passes("perl/make", &[]);
    assert!(said.starts_with("INSTALLDIRS=vendor 1  -"), "{said}");
    bench.write("melange-out/x/usr/lib/perl5/perllocal.pod", "");
    bench.write("melange-out/x/usr/lib/perl5/auto/X/.packlist", "");
    bench.write("melange-out/x/usr/lib/perl5/X.pm", "");
    bench.passes("perl/cleanup", &[]);
    assert!(
        !bench
            .path("melange-out/x/usr/lib/perl5/perllocal.pod")
            .exists()
    );
    assert!(
        !bench
            .path("melange-out/x/usr/lib/perl5/auto/X/.packlist")
            .exists()
    );
    assert!(bench.path("melange-out/x/usr/lib/perl5/X.pm").exists());
}

fn checkouts(with: &str) -> Result<Vec<GitCheckout>, String> {
    let recipe = format!(
        "package: {{name: x, version: '1'}}\npipeline:\n  - if: ${{{{build.arch}}}} == 'x86_64'\n    working-directory: deps\n    pipeline:\n      - uses: git-checkout\n        with: {with}\n"
    );
    let library = PipelineLibrary::default();
    let resolved = Recipe::parse(SourceText::new("x.yaml", recipe))
        .and_then(|recipe| recipe.resolve(&ResolveOptions::new(Arch::X86_64, &library)))
        .map_err(|problems| {
            let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
            messages.join("\n")
        })?;
    let checkout = |request: &SourceRequest<'_>| match request {
        SourceRequest::GitCheckout(checkout) => Some((*checkout).clone()),
        SourceRequest::Fetch(_) => None,
    };
    Ok(resolved.sources().iter().filter_map(checkout).collect())
}

#[test]
fn git_checkout_is_native() {
    let commit = "0123456789ABCDEF0123456789abcdef01234567";
    let depth = |with: &str| {
        let with = format!("{{repository: 'https://example.org/a.git', {with}}}");
        checkouts(&with).unwrap().remove(0).depth
    };
    assert_eq!(
        depth(&format!("tag: v1, expected-commit: {commit}")),
        Some(1)
    );
    assert_eq!(
        depth(&format!("branch: b, expected-commit: {commit}")),
        None
    );
    assert_eq!(depth("branch: b"), Some(1));
    assert_eq!(depth("branch: b, depth: -1"), None);
    assert_eq!(depth("branch: b, depth: 20"), Some(20));
    let tip = "expected-commit-is-branch-tip: true";
    assert_eq!(
        depth(&format!("branch: b, expected-commit: {commit}, {tip}")),
        Some(1)
    );
    let everything = format!(
        "{{repository: 'https://example.org/a.git', tag: v1, expected-commit: {commit}, destination: src, recurse-submodules: true, \
         submodule-jobs: 4, shallow-submodules: true, sparse-paths: \"a b/c\\nd\", type-hint: gitlab, max-retries: 1, \
         cherry-picks: \"# none\\n\\nrelease/1.x/abcdef12:  fix   this #99\\nabcd: that: too\\n\"}}"
    );
    insta::assert_debug_snapshot!(checkouts(&everything).unwrap(), @r#"
    [
        GitCheckout {
            repository: "https://example.org/a.git",
            destination: "src",
            depth: Some(
                1,
            ),
            branch: None,
            tag: Some(
                "v1",
            ),
            expected_commit: Some(
                "0123456789abcdef0123456789abcdef01234567",
            ),
            must_be_tip: false,
            submodules: Some(
                Submodules {
                    shallow: true,
                    jobs: 4,
                },
            ),
            cherry_picks: [
                CherryPick {
                    branch: Some(
                        "release/1.x",
                    ),
                    commit: "abcdef12",
                    comment: "fix this",
                },
                CherryPick {
                    branch: None,
                    commit: "abcd",
                    comment: "that: too",
                },
            ],
            sparse_paths: [
                "a",
                "b/c",
                "d",
            ],
            type_hint: "gitlab",
            retries: Retries {
                limit: 1,
                first_pause: 2,
                longest_pause: 60,
            },
        },
    ]
    "#);
    let mut said = String::new();
    for with in [
        "tag: a, branch: b",
        "branch: '--upload-pack=x'",
        "tag: 'a b'",
        "depth: 0",
        "depth: all",
        "tag: v1, expected-commit-is-branch-tip: true",
        "recurse-submodules: perhaps",
        "cherry-picks: abcdef1",
        "cherry-picks: 'abcdef1:'",
        "cherry-picks: 'b/$(evil): why'",
        "sparse-paths: ../x",
        "expected-commit: abc",
        "max-retries: '-1'",
    ] {
        let with = format!("{{repository: 'https://example.org/a.git', {with}}}");
        said += &(checkouts(&with).unwrap_err() + "\n");
    }
    for repository in ["ext::sh -c evil", "--upload-pack=evil", "ftp://x/y"] {
        said += &(checkouts(&format!("{{repository: '{repository}'}}")).unwrap_err() + "\n");
    }
    insta::assert_snapshot!(said, @"
    x.yaml:7:62: it is the branch `b` or the tag `a`, not both
    x.yaml:7:65: `--upload-pack=x` can't be the name of a branch
    x.yaml:7:62: `a b` can't be the name of a tag
    x.yaml:7:64: `depth` is a number from 1 to 100000, not `0`
    x.yaml:7:64: `depth` is a number from 1 to 100000, not `all`
    x.yaml:7:97: `expected-commit-is-branch-tip` says something of a `branch` and an `expected-commit`
    x.yaml:7:77: `recurse-submodules` is `true` or `false`, not `perhaps`
    x.yaml:7:71: the cherry-pick `abcdef1` has no colon
    x.yaml:7:71: the cherry-pick `abcdef1:` does not say why
    x.yaml:7:71: the cherry-pick `b/$(evil): why` names no commit by its hash
    x.yaml:7:71: `../x` is no folder of the repository
    x.yaml:7:74: `expected-commit` has 40 hexadecimal digits, not 3
    x.yaml:7:70: `max-retries` is a number from 0 to 100000, not `-1`
    x.yaml:7:28: the repository `ext::sh -c evil` can't be used: that is no URL
    x.yaml:7:28: the repository `--upload-pack=evil` can't be used: that is no URL
    x.yaml:7:28: the repository `ftp://x/y` can't be used: its scheme is none of https, http, git, ssh, file
    ");
}

#[test]
fn a_source_of_which_nothing_is_known_is_named_as_such() {
    let with = BTreeMap::from([
        ("uri".to_owned(), "https://example.org/x.tar".to_owned()),
        ("expected-none".to_owned(), "it changes daily".to_owned()),
    ]);
    let steps = resolved("fetch", &with);
    let Action::Fetch(fetch) = &steps[0].action else {
        panic!()
    };
    assert_eq!(fetch.expected, None);
}

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

/// A repository's patches become commits with the same hashes at any time.
#[test]
fn patches_become_commits() {
    let heads: Vec<String> = (0..2)
        .map(|_| {
            let bench = Workbench::new(&[]);
            bench.write("file", "one\n");
            let git = |arguments: &[&str]| {
                let output = Command::new("git")
                    .args(arguments)
                    .current_dir(bench.path(""))
                    .env("GIT_CONFIG_GLOBAL", "/dev/null")
                    .env("GIT_AUTHOR_DATE", "1600000000 +0000")
                    .env("GIT_COMMITTER_DATE", "1600000000 +0000")
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{output:?}");
                String::from_utf8(output.stdout).unwrap()
            };
            git(&["init", "-q", "."]);
            git(&["config", "user.name", "A"]);
            git(&["config", "user.email", "a@example.org"]);
            git(&["add", "file"]);
            git(&["commit", "-q", "-m", "one"]);
            bench.write("file", "two\n");
            git(&["commit", "-q", "-a", "-m", "two"]);
            bench.write("../my.patch", &git(&["format-patch", "--stdout", "HEAD^"]));
            git(&["reset", "-q", "--hard", "HEAD^"]);
            bench.passes("git-am", &[("patches", "\n ../my.patch\n")]);
            assert_eq!(fs::read_to_string(bench.path("file")).unwrap(), "two\n");
            let (succeeded, said) = bench.run("git-am", &[("patches", "none.patch")]);
            assert!(!succeeded && said.contains("none.patch"), "{said}");
            git(&["rev-parse", "HEAD"])
        })
        .collect();
    assert_eq!(heads[0], heads[1]);
}

/// docs/src/reference/pipelines.md is what the definitions say. `POLPO_UPDATE=1` writes it anew.
#[test]
fn the_reference_of_pipelines_is_current() {
    let cell = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").replace('|', "\\|")
    };
    let library = PipelineLibrary::default();
    let mut page = String::from(
        "# Pipelines

The pipelines that come with polpo. A step names one with `uses` and gives its inputs with `with`; definitions in a folder
of `--pipeline-dir` go before these. A **required** input has no default. Inputs come to scripts as environment variables and
are never taken for code, but those that are said to be read by the shell: these may hold quotes, substitutions and
continued lines. What a pipeline *needs* is added to the packages of the guest.
",
    );
    for name in PipelineLibrary::built_in() {
        let step = &library.load(name).unwrap().step;
        page += &format!("\n## {name}\n\n{}.\n", step.name.as_ref().unwrap().value);
        if !step.needs.packages.is_empty() {
            let needs: Vec<String> = step
                .needs
                .packages
                .iter()
                .map(|package| format!("`{}`", package.value))
                .collect();
            page += &format!("\nNeeds {}.\n", needs.join(", "));
        }
        if Native::of(name).is_some() {
            page += "\npolpo does it itself, outside the sandbox; what it brings is kept in the store.\n";
        }
        if step.inputs.iter().next().is_none() {
            continue;
        }
        page += "\n| input | default | what it is |\n|---|---|---|\n";
        for (input, about) in step.inputs.iter() {
            let default = match (about.required, about.default.as_str()) {
                (true, "") => "**required**".to_owned(),
                (_, "") => String::new(),
                (_, default) => format!("`{default}`"),
            };
            page += &format!(
                "| `{}` | {default} | {} |\n",
                input.value,
                cell(&about.description)
            );
        }
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/src/reference/pipelines.md"
    );
    if std::env::var_os("POLPO_UPDATE").is_some() {
        fs::write(path, &page).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "{path} is stale: run this test with POLPO_UPDATE=1"
    );
}
