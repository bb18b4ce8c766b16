//! Pipelines of languages and their packages.

use std::fs;

use super::workbench::Workbench;

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
