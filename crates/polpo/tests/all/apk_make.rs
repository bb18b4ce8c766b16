//! apk's commands that make, sign, show and convert packages and indexes. What they print, and the
//! hashes pinned here, are those of apk 3.0.6 on the same files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use apk::index::{Index, IndexEntry};
use apk::package::{PackageContents, PackageInfo, write};
use archive::tree::{FileTree, Node, TreePath};
use base::{Digest, Epoch};
use key::{Algorithm, PrivateKey};
use tempfile::TempDir;
use testkit::{Finished, Program};

mod indexes;

/// A folder with a system of its own, in which commands run.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        for name in ["root/etc/apk/keys", "root/lib/apk/db", "work"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in ["etc/apk/world", "lib/apk/db/installed"] {
            fs::write(folder.path().join("root").join(name), "").unwrap();
        }
        Bench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn hash(&self, name: &str) -> String {
        Digest::of(&self.read(name)).hex()
    }

    /// `polpo apk`, with keys of the system's alone.
    fn strict(&self, words: &[&str]) -> Program {
        Program::new(env!("CARGO_BIN_EXE_polpo"))
            .env("POLPO_STORE", self.folder.path().join("store"))
            .env("NO_COLOR", "1")
            .folder(&self.folder.path().join("work"))
            .args(["apk", "--root"])
            .arg(self.folder.path().join("root"))
            .args(words)
    }

    fn apk(&self, words: &[&str]) -> Finished {
        self.strict(words).arg("--allow-untrusted").run()
    }

    /// A key pair, the public half trusted; the path of the private one.
    fn key(&self, name: &str) -> String {
        let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
        let path = self.path(name);
        key::save_pair(&key, &path, None).unwrap();
        let public = key::public_path(&path);
        let trusted = self.folder.path().join("root/etc/apk/keys");
        fs::copy(&public, trusted.join(public.file_name().unwrap())).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A package of format 2.
    fn older(&self, info: PackageInfo) {
        let mut tree = FileTree::new();
        tree.insert(TreePath::new("file").unwrap(), Node::file(*b"contents"));
        let contents = PackageContents {
            info,
            scripts: Default::default(),
            extras: Default::default(),
            tree: &tree,
        };
        let path = self.path(&contents.info.file_name());
        write(&path, &contents, None, Epoch(1)).unwrap();
    }
}

fn info(name: &str, version: &str) -> PackageInfo {
    PackageInfo {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: "x86_64".to_owned(),
        origin: format!("{name}-src"),
        description: format!("{name} for tests"),
        ..PackageInfo::default()
    }
}

#[test]
fn a_package_is_made_as_apk_makes_it() {
    let bench = Bench::new();
    let files = bench.path("files");
    fs::create_dir_all(files.join("usr/bin")).unwrap();
    fs::write(files.join("usr/bin/tool"), "#!/bin/sh\necho hi\n").unwrap();
    for (path, mode) in [
        ("", 0o755),
        ("usr", 0o755),
        ("usr/bin", 0o700),
        ("usr/bin/tool", 0o4755),
    ] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(files.join(path), permissions).unwrap();
    }
    fs::write(bench.path("hook"), "#!/bin/sh\nexit 0\n").unwrap();
    // Whoever runs this is called so: names are in the package, numbers are not.
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    for (file, text) in [
        (
            "passwd",
            format!(
                "root:x:{user}:{group}::/:\n",
                user = user.as_raw(),
                group = group.as_raw()
            ),
        ),
        ("group", format!("root:x:{}:\n", group.as_raw())),
    ] {
        fs::write(bench.folder.path().join("root/etc").join(file), text).unwrap();
    }
    let make = |more: &[&str]| {
        let words = [
            "mkpkg",
            "--no-xattrs",
            "-I",
            "name:tool",
            "-I",
            "version:1.0-r0",
            "-I",
            "arch:x86_64",
            "-I",
            "description:a tool",
            "-I",
            "depends:b>1 !c",
            "-F",
            "files",
            "-s",
            "post-install:hook",
            "-t",
            "/usr/*",
            "-c",
            "none",
        ];
        bench
            .strict(&words)
            .args(more)
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .run()
    };
    let made = make(&[]).success();
    assert_eq!(made.stdout, "");
    assert_eq!(
        bench.hash("tool-1.0-r0.apk"),
        "29fb317da387c2fa3336fd84ba5d33049e9495a743cf85619aa271cf9f5f3720"
    );
    make(&["--compat", "3.0.6", "-o", "new.apk"]).success();
    assert_eq!(
        bench.hash("new.apk"),
        "3dac190d692f0f82b25d3e9181cda99a4d60633e4c851bfccebc26570d9c9d3d"
    );
    let json = make(&["--format", "json"]).success().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["file"], "tool-1.0-r0.apk");
    assert_eq!(
        json["sha256"],
        "29fb317da387c2fa3336fd84ba5d33049e9495a743cf85619aa271cf9f5f3720"
    );

    let shown = bench.apk(&["adbdump", "new.apk"]).success().stdout;
    assert!(shown.contains("      - name: tool\n"), "{shown}");
    let json = bench.apk(&["adbdump", "--format", "json", "new.apk"]);
    let json: serde_json::Value = serde_json::from_str(&json.success().stdout).unwrap();
    assert_eq!(json["paths"][0]["files"][0]["name"], "tool");
}

#[test]
fn what_can_not_be_a_package_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path("../empty"), "").unwrap();
    for (words, why) in [
        (&["mkpkg"][..], "required info field 'name' not provided"),
        (
            &["mkpkg", "-I", "name:a"],
            "required info field 'version' not provided",
        ),
        (
            &[
                "mkpkg",
                "-I",
                "name:a",
                "-I",
                "version:1",
                "-I",
                "tags:lost&found",
            ],
            "`lost&found` is no tag",
        ),
        (
            &[
                "mkpkg",
                "-I",
                "name:a",
                "-I",
                "version:1",
                "-I",
                "file-size:1",
            ],
            "invalid info field: file-size",
        ),
        (
            &["mkpkg", "-I", "name:a", "-I", "version:1", "-s", "later:x"],
            "invalid script type: later",
        ),
        (
            &["mkpkg", "-I", "name:a", "-I", "version:1", "-F", "nowhere"],
            "file directory 'nowhere'",
        ),
        (&["mkndx"], "Please specify --output FILE"),
        (
            &["mkndx", "-o", "x", "--filter-spec", "${name}-${version}"],
            "--filter-spec requires --index",
        ),
        (
            &["mkndx", "-o", "x", "--rewrite-arch", "noarch"],
            "use instead: --pkgname-spec 'noarch/${name}-${version}.apk'",
        ),
        (
            &["mkndx", "-o", "x", "missing.apk"],
            "1 errors, not creating index",
        ),
        (&["adbdump", "../empty"], "it ends within its header"),
        (&["adbgen", "../empty"], "line 1: `#%SCHEMA: `"),
        (&["adbsign", "../empty"], "it ends within its header"),
        (&["index", "-o", "x", "../empty"], "../empty"),
    ] {
        let finished = bench.apk(words).code(99);
        assert!(finished.stderr.contains(why), "{}", finished.stderr);
        assert!(
            finished.stderr.starts_with("ERROR: "),
            "{}",
            finished.stderr
        );
    }
    assert_eq!(fs::read_dir(bench.path("")).unwrap().count(), 0);
}

/// Packages of format 3 without files.
fn some(bench: &Bench) {
    for (name, version) in [("test-a", "1.0"), ("test-a", "2.0"), ("test-b", "1.0")] {
        let name = format!("name:{name}");
        let version = format!("version:{version}");
        let words = [
            "mkpkg",
            "-I",
            &name,
            "-I",
            &version,
            "-I",
            "arch:noarch",
            "-c",
            "none",
        ];
        bench.apk(&words).success();
    }
}

#[test]
fn an_index_is_made_as_apk_makes_it() {
    let bench = Bench::new();
    some(&bench);
    let made = bench
        .apk(&[
            "mkndx",
            "-c",
            "none",
            "-d",
            "text",
            "-o",
            "i.adb",
            "test-a-1.0.apk",
        ])
        .success();
    assert_eq!(made.stdout, "Index has 1 packages (of which 1 are new)\n");
    assert_eq!(
        bench.hash("i.adb"),
        "a2c371213620d69f7f047308c80424eeb1c77c86bc81152d02b5470a367da215"
    );
    let again = bench
        .apk(&[
            "mkndx",
            "-vv",
            "-o",
            "again.adb",
            "-x",
            "i.adb",
            "test-a-1.0.apk",
            "test-b-1.0.apk",
        ])
        .success();
    assert_eq!(
        again.stdout,
        "test-a-1.0.apk: indexed from old index\n\
         test-b-1.0.apk: indexed new package\n\
         Index has 2 packages (of which 1 are new)\n"
    );
    let quiet = bench.apk(&["mkndx", "-q", "-o", "i.adb", "test-a-1.0.apk"]);
    assert_eq!(quiet.success().stdout, "");

    // A part of an index, whose packages are elsewhere.
    bench
        .apk(&[
            "mkndx",
            "-o",
            "all.adb",
            "test-a-1.0.apk",
            "test-a-2.0.apk",
            "test-b-1.0.apk",
        ])
        .success();
    let filtered = bench
        .apk(&[
            "mkndx",
            "--format",
            "json",
            "--filter-spec",
            "${name}-${version}",
            "--pkgname-spec",
            "http://test/${name}-${version}.apk",
            "-x",
            "all.adb",
            "-o",
            "some.adb",
            "test-a-2.0",
            "nothing-1",
        ])
        .success();
    let json: serde_json::Value = serde_json::from_str(&filtered.stdout).unwrap();
    assert_eq!(json, serde_json::json!({ "packages": 1, "new": 0 }));
    let index = Index::read_unverified(&bench.path("some.adb")).unwrap();
    assert_eq!(index.entries.len(), 1);
    let names = index.names.unwrap();
    assert_eq!(
        names.file_name(&index.entries[0]),
        "http://test/test-a-2.0.apk"
    );

    let short = [
        "mkndx",
        "--hash",
        "sha256-160",
        "-o",
        "short.adb",
        "test-a-1.0.apk",
    ];
    bench.apk(&short).success();
    let shown = bench.apk(&["adbdump", "short.adb"]).success().stdout;
    let hash = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix("hashes: "));
    assert_eq!(hash.map(str::len), Some(40));

    let other = [
        "mkndx",
        "--pkgname-spec",
        "${name}_${version}.pkg",
        "-o",
        "o.adb",
        "test-a-1.0.apk",
    ];
    let warned = bench.apk(&other).success();
    assert_eq!(
        warned.stderr,
        "WARNING: test-a-1.0.apk: not matching package name specification \
         '${name}_${version}.pkg'\n"
    );
}

#[test]
fn files_are_signed_and_only_trusted_ones_again() {
    let bench = Bench::new();
    some(&bench);
    let (first, second) = (bench.key("first.ec"), bench.key("second.ec"));
    let plain = bench.read("test-a-1.0.apk");
    // Nobody trusted signed it yet.
    let refused = bench
        .strict(&["adbsign", "--sign-key", &first, "test-a-1.0.apk"])
        .run()
        .code(99);
    assert!(refused.stderr.contains("not signed"), "{}", refused.stderr);
    assert_eq!(bench.read("test-a-1.0.apk"), plain);
    bench
        .apk(&["adbsign", "--sign-key", &first, "test-a-1.0.apk"])
        .success();
    let signatures = || {
        let shown = bench.strict(&["adbdump", "test-a-1.0.apk"]).run().success();
        let lines = shown.stdout.lines();
        lines
            .filter(|line| line.starts_with("# sig v00 h04 ") && line.ends_with(": OK"))
            .count()
    };
    assert_eq!(signatures(), 1);
    bench
        .strict(&[
            "adbsign",
            "--sign-key",
            &second,
            "-c",
            "zstd:3",
            "test-a-1.0.apk",
        ])
        .run()
        .success();
    assert_eq!(signatures(), 2);
    assert!(bench.read("test-a-1.0.apk").starts_with(b"ADBc\x02\x03"));
    let words = [
        "adbsign",
        "--reset-signatures",
        "--sign-key",
        &second,
        "test-a-1.0.apk",
    ];
    bench.strict(&words).run().success();
    assert_eq!(signatures(), 1);
    // One that can't be signed doesn't keep others from it.
    let words = [
        "adbsign",
        "--format",
        "json",
        "-c",
        "none",
        "missing",
        "test-a-1.0.apk",
    ];
    let finished = bench.apk(&words).code(99);
    let json: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(json[1], serde_json::json!({ "file": "test-a-1.0.apk" }));
    assert!(json[0]["error"].is_string());
    assert!(bench.read("test-a-1.0.apk").starts_with(b"ADB."));
    bench
        .strict(&[
            "mkndx",
            "--sign-key",
            &first,
            "-o",
            "i.adb",
            "test-a-1.0.apk",
        ])
        .run()
        .success();
    bench
        .strict(&["mkndx", "-o", "i.adb", "test-a-2.0.apk"])
        .run()
        .code(99);
}

#[test]
fn texts_become_files_again() {
    let bench = Bench::new();
    some(&bench);
    bench
        .apk(&["mkndx", "-o", "i.adb", "test-a-1.0.apk", "test-b-1.0.apk"])
        .success();
    let text = bench.apk(&["adbdump", "i.adb"]).success().stdout;
    fs::write(bench.path("i.yaml"), &text).unwrap();
    let mut generate = bench.strict(&["adbgen", "i.yaml"]);
    let generated = generate.command().output().unwrap();
    assert!(generated.status.success());
    fs::write(bench.path("again.adb"), &generated.stdout).unwrap();
    let without_size = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("# ADB"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let again = bench.apk(&["adbdump", "again.adb"]).success().stdout;
    assert_eq!(without_size(&again), without_size(&text));
    // What a person wrote has its place named.
    fs::write(
        bench.path("bad.yaml"),
        "#%SCHEMA: 78646E69\npackages:\n  - name: a\n    colour: blue\n",
    )
    .unwrap();
    let refused = bench.apk(&["adbgen", "bad.yaml"]).code(99);
    assert_eq!(
        refused.stderr,
        "ERROR: bad.yaml: line 4: `info` has no field `colour`\n"
    );
}

#[test]
fn an_older_index_is_merged_pruned_and_converted() {
    let bench = Bench::new();
    let mut needy = info("needy", "1-r0");
    needy.depends =
        apk::dependency::Dependency::parse_list("so:libgone.so.1 other !never").unwrap();
    bench.older(needy);
    bench.older(info("other", "1-r0"));
    let made = bench
        .apk(&[
            "index",
            "-d",
            "text",
            "-o",
            "A.tar.gz",
            "needy-1-r0.apk",
            "other-1-r0.apk",
            "gone.apk",
        ])
        .success();
    assert_eq!(made.stdout, "Index has 2 packages (of which 2 are new)\n");
    assert_eq!(
        made.stderr,
        "WARNING: File 'gone.apk' is unaccessible\n\
         WARNING: No provider for the dependencies:\n  so:libgone.so.1\n\
         WARNING: Total of 1 unsatisfiable package names. Your repository may be broken.\n"
    );
    let names = |file: &str| {
        let index = Index::read_unverified(&bench.path(file)).unwrap();
        let name = |entry: &IndexEntry| entry.info.file_name();
        index.entries.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names("A.tar.gz"), ["needy-1-r0.apk", "other-1-r0.apk"]);

    let mut newer = info("other", "2-r0");
    newer.origin = "other-src".to_owned();
    bench.older(newer);
    let merge = [
        "index",
        "--no-warnings",
        "-x",
        "A.tar.gz",
        "--merge",
        "other-2-r0.apk",
        "-o",
    ];
    bench.apk(&[&merge[..], &["B.tar.gz"]].concat()).success();
    assert_eq!(
        names("B.tar.gz"),
        ["needy-1-r0.apk", "other-1-r0.apk", "other-2-r0.apk"]
    );
    let prune = [
        &merge[..],
        &["C.tar.gz", "--prune-origin", "--rewrite-arch", "noarch"],
    ]
    .concat();
    let pruned = bench.apk(&prune).success();
    assert_eq!(pruned.stderr, "");
    assert_eq!(names("C.tar.gz"), ["needy-1-r0.apk", "other-2-r0.apk"]);
    let index = Index::read_unverified(&bench.path("C.tar.gz")).unwrap();
    assert_eq!(index.entries[1].info.arch, "noarch");
    let reused = bench
        .apk(&[
            "index",
            "-vv",
            "--no-warnings",
            "-x",
            "B.tar.gz",
            "-o",
            "D.tar.gz",
            "other-2-r0.apk",
        ])
        .success();
    assert_eq!(
        reused.stdout,
        "other-2-r0.apk: indexed from old index\nIndex has 1 packages (of which 0 are new)\n"
    );

    let mut convert = bench.strict(&["convndx", "--allow-untrusted", "B.tar.gz", "D.tar.gz"]);
    let converted = convert.command().output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&converted.stderr),
        "B.tar.gz: 3 packages\nD.tar.gz: 4 packages\n"
    );
    fs::write(bench.path("converted.adb"), &converted.stdout).unwrap();
    assert_eq!(names("converted.adb").len(), 4);
    // An index that nobody trusted signed is not converted.
    bench.strict(&["convndx", "B.tar.gz"]).run().code(99);
}

#[test]
fn an_installed_database_is_converted() {
    let bench = Bench::new();
    let installed = "C:Q1TeeSfx1iNeOBVZCxS+J3bjEZxHw=\nP:sample\nV:1-r0\nA:x86_64\nS:7\nI:8\n\
        T:sample for tests\nU:\nL:MIT\nD:other\nF:etc\nM:0:0:700\nR:file\na:0:0:600\n\
        Z:Q1TeeSfx1iNeOBVZCxS+J3bjEZxHw=\nR:plain\nF:usr\n\n";
    let database = bench.folder.path().join("root/lib/apk/db/installed");
    fs::write(database, installed).unwrap();
    bench.apk(&["convdb", "-c", "none"]).success();
    assert_eq!(
        bench.hash("installed.adb"),
        "a315c4298a66b07bf2f7531ea60ce65428c011754a477c088c565fc71aa729cc"
    );
    let shown = bench.apk(&["adbdump", "installed.adb"]).success().stdout;
    fs::write(bench.path("installed.yaml"), &shown).unwrap();
    let mut generate = bench.strict(&["adbgen", "installed.yaml"]);
    fs::write(
        bench.path("again.adb"),
        generate.command().output().unwrap().stdout,
    )
    .unwrap();
    let again = bench.apk(&["adbdump", "again.adb"]).success().stdout;
    assert_eq!(again.lines().count(), shown.lines().count());
    assert!(again.contains("        hash: 4de7927f1d6235e3815590b14be2776e3119c47c\n"));
}

/// apk takes any word for an architecture: there are more than machines that polpo builds for.
#[test]
fn an_architecture_is_any_word() {
    let bench = Bench::new();
    for (name, arch) in [("plain", "noarch"), ("strange", "pdp11")] {
        let file = format!("repository/{name}-1.0.apk");
        fs::create_dir_all(bench.path("repository")).unwrap();
        let (name, arch) = (format!("name:{name}"), format!("arch:{arch}"));
        let words = [
            "mkpkg",
            "-I",
            &name,
            "-I",
            "version:1.0",
            "-I",
            &arch,
            "-o",
            &file,
        ];
        bench.apk(&words).success();
    }
    let folder = bench.path("repository");
    let folder = folder.to_str().unwrap();
    let (one, two) = (
        format!("{folder}/plain-1.0.apk"),
        format!("{folder}/strange-1.0.apk"),
    );
    let index = format!("{folder}/Packages.adb");
    bench.apk(&["mkndx", "-o", &index, &one, &two]).success();
    // By the index itself, and as a repository with a folder for each architecture.
    fs::create_dir_all(format!("{folder}/pdp11")).unwrap();
    for file in [&index, &two] {
        let name = file.strip_prefix(folder).unwrap();
        fs::copy(file, format!("{folder}/pdp11{name}")).unwrap();
    }
    let v3 = format!("v3 {folder}");
    for (option, place) in [("--repository", &index), ("--repository-config", &v3)] {
        let fetch = |out: &str, arch: &[&str]| {
            fs::create_dir_all(bench.path(out)).unwrap();
            let words = [
                "fetch", "--from", "none", option, place, "-o", out, "-R", "strange",
            ];
            bench.apk(&[&words[..], arch].concat())
        };
        fetch("got", &["--arch", "pdp11"]).success();
        assert_eq!(bench.read("got/strange-1.0.apk"), fs::read(&two).unwrap());
        fs::remove_file(bench.path("got/strange-1.0.apk")).unwrap();
        fetch("none", &["--arch", "x86_64"]).code(99);
    }
    let refused = bench.apk(&["list", "--arch", "../pdp11"]).code(2);
    assert!(
        refused.stderr.contains("`../pdp11` names no architecture"),
        "{}",
        refused.stderr
    );
}
