//! The commands of `polpo apk` that look at packages and systems, held against what apk 3.0.6 says.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use apk::index::Index;
use base::Epoch;
use tempfile::TempDir;
use testkit::{Finished, Program, corpus};

/// A system with two repositories: one without a tag, one `@edge`.
struct System {
    folder: TempDir,
}

const INSTALLED: &str = include_str!("apk_query/installed");
const TRIGGERS: &str = include_str!("apk_query/triggers");
const WORLD: &str = include_str!("apk_query/world");
const INDEXES: [(&str, &str); 2] = [
    ("stable", include_str!("apk_query/stable")),
    ("edge", include_str!("apk_query/edge")),
];

impl System {
    fn new() -> System {
        let system = System {
            folder: tempfile::tempdir().unwrap(),
        };
        for (repository, text) in INDEXES {
            let index = Index {
                description: format!("{repository} of the test"),
                entries: Index::parse(text).unwrap(),
                ..Index::default()
            };
            let bytes = index.to_bytes(None, Epoch(0)).unwrap();
            system.write(&format!("{repository}/x86_64/APKINDEX.tar.gz"), bytes);
        }
        let repositories = format!(
            "{stable}\n@edge {edge}\n",
            stable = system.path("stable").display(),
            edge = system.path("edge").display(),
        );
        for (path, text) in [
            ("root/etc/apk/arch", "x86_64\n"),
            ("root/etc/apk/repositories", repositories.as_str()),
            ("root/etc/apk/world", WORLD),
            ("root/lib/apk/db/installed", INSTALLED),
            ("root/lib/apk/db/triggers", TRIGGERS),
        ] {
            system.write(path, text);
        }
        system
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Runs `polpo apk` with a line of arguments as a shell reads them; `DIR` is the folder.
    fn run(&self, line: &str) -> Finished {
        let folder = self.folder.path().display().to_string();
        let script = format!(
            "exec '{}' apk --root '{folder}/root' --allow-untrusted --no-network {}",
            env!("CARGO_BIN_EXE_polpo"),
            line.replace("DIR", &folder),
        );
        polpo("sh").args(["-c", &script]).run()
    }

    /// What it said on stdout, with `DIR` for the folder.
    fn says(&self, line: &str) -> String {
        let finished = self.run(line).success();
        self.hide(&finished.stdout)
    }

    fn hide(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "DIR")
    }
}

/// A program that sees no configuration of this machine's apk.
fn polpo(program: &str) -> Program {
    Program::new(program).env("APK_CONFIG", "/dev/null")
}

fn apk(arguments: &[&str]) -> Program {
    polpo(env!("CARGO_BIN_EXE_polpo"))
        .arg("apk")
        .args(arguments)
}

/// Each block of a transcript is a line of arguments, what apk 3.0.6 answered on stdout, and its
/// exit code. Gives how many there are.
fn hold_against(system: &System, transcript: &str) -> usize {
    let mut asked = 0;
    let mut differences = String::new();
    for block in transcript.split("\n\n$ ") {
        let block = block.trim_start_matches("$ ").trim_end_matches('\n');
        let (line, answer) = block.split_once('\n').unwrap();
        let finished = system.run(line);
        let code = finished.status.code().unwrap();
        let said = format!("{}= {code}", system.hide(&finished.stdout));
        asked += 1;
        if said != answer {
            differences.push_str(&format!(
                "$ {line}\n--- apk\n{answer}\n--- polpo\n{said}\n{}\n",
                finished.stderr
            ));
        }
    }
    assert!(differences.is_empty(), "{differences}");
    asked
}

#[test]
fn apk_says_the_same() {
    let transcript = include_str!("apk_query/transcript");
    assert_eq!(hold_against(&System::new(), transcript), 185);
}

/// Terms that follow no grammar, in an index and in the installed database alike: some end their
/// list, the others stand in it as they are written.
#[test]
fn apk_says_the_same_of_terms_that_follow_no_grammar() {
    let records = include_str!("apk_query/ungrammatical");
    let transcript = include_str!("apk_query/ungrammatical-transcript");
    let system = System::new();
    system.write("root/lib/apk/db/installed", records);
    system.write("root/lib/apk/db/triggers", "");
    system.write("root/etc/apk/repositories", "");
    system.write("root/etc/apk/world", "");
    system.write("APKINDEX", records);
    system.write("repo/x86_64/APKINDEX.tar.gz", "");
    polpo("tar")
        .args(["-czf", "repo/x86_64/APKINDEX.tar.gz", "APKINDEX"])
        .folder(&system.path("."))
        .run()
        .success();
    assert_eq!(hold_against(&system, transcript), 28);
    let finished = system.run("info -e foo").success();
    assert_eq!(
        finished.stderr,
        "WARNING: The indexes contain broken packages which are not installable.\n"
    );
    // Where apk prints `foofive`, as if that were a name.
    let any = records.replace("D:foo foo>\n", "D:foo<=>five\n");
    system.write("root/lib/apk/db/installed", any);
    assert_eq!(system.says("info -R a"), "a-1 depends on:\nfoo\n\n");
}

/// Where apk 3.0.6 goes against its own manual, the manual holds: words of a query have versions.
#[test]
fn words_of_a_query_have_versions() {
    let system = System::new();
    for (line, packages) in [
        (
            "query --all-matches --fields package 'libz>=1.3'",
            "libz-1.3-r0 libz-1.4-r0",
        ),
        (
            "query --all-matches --fields package 'libz=1.4-r0'",
            "libz-1.4-r0",
        ),
        (
            "query --all-matches --fields package 'libz~1.4'",
            "libz-1.4-r0",
        ),
        ("query --fields package 'libz>9'", ""),
        (
            "query --all-matches --match provides --fields package 'so:libz.so.1>1.3'",
            "libz-1.4-r0",
        ),
        (
            "query --match maintainer --fields package 'Ada Example <ada@example.org>'",
            "base-1.1-r0",
        ),
    ] {
        let said = system.says(line);
        let found: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("Package: "))
            .collect();
        assert_eq!(found.join(" "), packages, "{line}");
    }
}

/// A link that no package has is the link of the system that is asked about.
#[test]
fn links_are_read_in_the_root() {
    let system = System::new();
    symlink("/usr/lib/libz.so.1.3", system.path("root/link")).unwrap();
    assert_eq!(
        system.says("info -W /link"),
        "/link symlink target is owned by libz-1.3-r0\n"
    );
    assert_eq!(
        system.says("info --format yaml -W /link"),
        "# 1 items\n- query: /link\n  path-target: /usr/lib/libz.so.1.3\n  name: libz\n"
    );
}

#[test]
fn what_cannot_be_solved_is_said() {
    let system = System::new();
    let finished = system
        .run("query --recursive 'libz>9' --fields package")
        .code(99);
    assert_eq!(finished.stdout, "");
    assert!(
        finished
            .stderr
            .starts_with("ERROR: unable to select packages:\n"),
        "{}",
        finished.stderr
    );
    let finished = system.run("query --recursive 'a b'").code(99);
    assert!(finished.stderr.contains("is not a valid world dependency"));
}

#[test]
fn every_answer_has_a_document() {
    let system = System::new();
    let mut documents = String::new();
    for line in [
        "list --format json -P so:libz.so.1",
        "list --format yaml -u",
        "search --format json -r -e libz",
        "policy --format json libz",
        "dot --format json ring-b",
        "stats --format json",
        "version --format json -a",
        "version --format json -t 1 2",
        "version --format json -I",
        "manifest --format json libz",
        "info --format json -e base",
    ] {
        documents.push_str(&format!("$ {line}\n{}", system.says(line)));
    }
    insta::assert_snapshot!(documents);
}

#[test]
fn what_was_not_found_is_counted() {
    let system = System::new();
    let summary = system.run("query --summarize name base nose noses").code(2);
    assert_eq!((&*summary.stdout, &*summary.stderr), ("base\n", ""));
}

#[test]
fn lists_of_fields_are_checked() {
    let system = System::new();
    for (line, said) in [
        ("query --fields name,nose base", "`nose` is no field"),
        (
            "query --fields name:version base",
            "`version` is no way to tell",
        ),
        ("query --match hash base", "`hash` is no field"),
        ("query --match all base", "not all fields"),
        ("query --summarize name,origin base", "one field"),
        ("query --from nowhere base", "nowhere"),
    ] {
        let finished = system.run(line).code(2);
        assert!(
            finished.stderr.contains(said),
            "{line}: {}",
            finished.stderr
        );
    }
}

fn hello() -> PathBuf {
    corpus().join("apk/packages/hello-wolfi-2.12.1-r1.apk")
}

/// apk 3.0.6 finds the same two of the corpus damaged.
#[test]
fn every_package_of_the_corpus_is_verified() {
    let mut packages: Vec<PathBuf> = fs::read_dir(corpus().join("apk/packages"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    packages.sort();
    let finished = apk(&["verify", "--allow-untrusted"])
        .args(&packages)
        .run()
        .code(2);
    let expected: String = packages
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let result = match name {
                "aws-c-s3-0.4.9-r0.apk" | "neon-4604-r0.apk" => "v2 package integrity error",
                _ => "OK",
            };
            format!("{}: {result}\n", path.display())
        })
        .collect();
    assert_eq!(finished.stdout, expected);
    assert!(packages.len() > 20);
}

#[test]
fn signatures_count() {
    let folder = corpus().join("apko/apk/rsa256-signed");
    let index = folder.join("APKINDEX.tar.gz");
    let verify = |keys: &Path| {
        apk(&["verify", "--keys-dir"])
            .arg(keys)
            .arg(&index)
            .arg(hello())
            .run()
    };
    let keys = tempfile::tempdir().unwrap();
    let finished = verify(keys.path()).code(2);
    assert_eq!(
        finished.stdout,
        format!(
            "{}: UNTRUSTED signature\n{}: UNTRUSTED signature\n",
            index.display(),
            hello().display()
        )
    );
    assert!(
        finished
            .stderr
            .contains("which is not among the trusted keys")
    );
    let name = "test-rsa256.rsa.pub";
    fs::copy(folder.join(name), keys.path().join(name)).unwrap();
    let finished = verify(keys.path()).code(1);
    assert!(
        finished
            .stdout
            .starts_with(&format!("{}: OK\n", index.display()))
    );
    // With -q, the files that are no good.
    let finished = apk(&["verify", "-q", "--keys-dir"])
        .arg(keys.path())
        .args([&index, &hello()])
        .run()
        .code(1);
    assert_eq!(finished.stdout, format!("{}\n", hello().display()));
    assert_eq!(finished.stderr, "");
}

/// What apk 3.0.6 says of the same damage, but for the data: there apk says that the format is
/// invalid, as it comes upon what it can't inflate before it has the hash.
#[test]
fn damage_is_named_as_apk_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(hello()).unwrap();
    let length = bytes.len();
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        bytes
    };
    let damaged: [(&str, Vec<u8>, &str); 7] = [
        ("empty", b"AD".to_vec(), "unexpected end of file"),
        (
            "text",
            b"hello\n".to_vec(),
            "file format is invalid or inconsistent",
        ),
        (
            "cut",
            bytes[..length - 100].to_vec(),
            "unexpected end of file",
        ),
        (
            "start",
            flipped(700),
            "file format is invalid or inconsistent",
        ),
        ("data", flipped(length - 5000), "v2 package integrity error"),
        ("twice", bytes.repeat(2), "v2 package integrity error"),
        (
            "trailing",
            [&bytes[..], b"x\n"].concat(),
            "v2 package integrity error",
        ),
    ];
    for (name, bytes, said) in damaged {
        fs::write(folder.path().join(name), bytes).unwrap();
        let finished = apk(&["verify", "--allow-untrusted", name])
            .folder(folder.path())
            .run()
            .code(1);
        assert_eq!(finished.stdout, format!("{name}: {said}\n"));
    }
    let finished = apk(&["verify", "missing", "."]).folder(folder.path()).run();
    assert_eq!(
        finished.code(2).stdout,
        "missing: No such file or directory\n.: Is a directory\n"
    );
    let document = apk(&["verify", "--format", "json", "--allow-untrusted", "text"])
        .folder(folder.path())
        .run()
        .code(1)
        .stdout;
    insta::assert_snapshot!(document, @r#"
    [
      {
        "file": "text",
        "result": "file format is invalid or inconsistent",
        "reason": "text is neither a package nor an index: it begins neither as gzip nor as ADB does"
      }
    ]
    "#);
}

#[test]
fn packages_are_extracted() {
    let folder = tempfile::tempdir().unwrap();
    let extract = |more: &[&str]| {
        apk(&["extract", "--allow-untrusted", "--destination"])
            .arg(folder.path())
            .args(more)
            .arg(hello())
            .run()
    };
    let shown = hello().display().to_string();
    assert_eq!(
        extract(&[]).success().stdout,
        format!("Extracting {shown}...\n")
    );
    let program = folder.path().join("usr/bin/hello");
    assert_eq!(
        fs::metadata(&program).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    assert!(!folder.path().join(".PKGINFO").exists());
    // What is there stays, unless that is asked for.
    fs::write(&program, "mine").unwrap();
    let refused = extract(&[]).code(99);
    assert!(refused.stderr.contains("File exists"), "{}", refused.stderr);
    assert_eq!(fs::read(&program).unwrap(), b"mine");
    extract(&["--force-overwrite"]).success();
    assert_ne!(fs::read(&program).unwrap(), b"mine");
}

#[test]
fn nothing_untrusted_or_unsuitable_is_extracted() {
    let folder = tempfile::tempdir().unwrap();
    let index = corpus().join("apko/apk/rsa256-signed/APKINDEX.tar.gz");
    let keys = tempfile::tempdir().unwrap();
    for (trust, file, said) in [
        (false, hello(), "UNTRUSTED signature"),
        (true, index, "file format not supported (in this applet)"),
        (true, "missing".into(), "No such file or directory"),
    ] {
        let mut program = apk(&["extract", "--keys-dir"]).arg(keys.path());
        if trust {
            program = program.arg("--allow-untrusted");
        }
        let finished = program.arg(&file).folder(folder.path()).run().code(99);
        let expected = format!("ERROR: {}: {said}\n", file.display());
        assert!(
            finished.stderr.starts_with(&expected),
            "{}",
            finished.stderr
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
    let finished = apk(&["extract", "--destination", "missing"])
        .arg(hello())
        .folder(folder.path())
        .run()
        .code(99);
    assert_eq!(
        finished.stderr,
        "ERROR: Error opening destination 'missing': No such file or directory\n"
    );
}

/// Sums of apk 3.0.6.
#[test]
fn checksums_of_a_package_are_listed() {
    let package = corpus().join("apk/packages/libcap-2.69-r0.apk");
    let finished = apk(&["manifest", "--allow-untrusted"])
        .arg(&package)
        .run()
        .success();
    assert_eq!(
        finished.stdout,
        "sha1:9243f92e21180e1fd30f18924cea09f2075e1802  usr/lib/libcap.so.2.69\n\
         sha1:52e82c234138898651edea158a4d4f0d76f5f719  usr/lib/libpsx.so.2.69\n\
         sha1:fadb1d7d86ae0c9b995f23d82b75294944fa0784  var/lib/db/sbom/libcap-2.69-r0.spdx.json\n"
    );
}

/// A package of format 3, made by the program itself.
#[test]
fn format_3_is_looked_at_too() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("files/usr/bin/thing", "hello\n");
    write("files/etc/empty", "");
    symlink("thing", folder.path().join("files/usr/bin/link")).unwrap();
    let run = |arguments: &[&str]| apk(arguments).folder(folder.path()).run();
    run(&[
        "mkpkg",
        "-F",
        "files",
        "-I",
        "name:thing",
        "-I",
        "version:1.2-r3",
        "-I",
        "arch:x86_64",
        "-o",
        "thing-1.2-r3.apk",
    ])
    .success();
    let thing = "thing-1.2-r3.apk";
    let verified = run(&["verify", "--allow-untrusted", thing]).success();
    assert_eq!(verified.stdout, "thing-1.2-r3.apk: OK\n");
    let verified = run(&["verify", thing]).code(1);
    assert_eq!(verified.stdout, "thing-1.2-r3.apk: UNTRUSTED signature\n");
    let listed = run(&["manifest", "--allow-untrusted", "./thing-1.2-r3.apk"]).success();
    assert_eq!(
        listed.stdout,
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  etc/empty\n\
         none:  usr/bin/link\n\
         sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  usr/bin/thing\n"
    );
    fs::create_dir(folder.path().join("out")).unwrap();
    run(&[
        "extract",
        "--allow-untrusted",
        "--destination",
        "out",
        thing,
    ])
    .success();
    let out = folder.path().join("out");
    assert_eq!(fs::read(out.join("usr/bin/thing")).unwrap(), b"hello\n");
    assert_eq!(
        fs::read_link(out.join("usr/bin/link")).unwrap(),
        Path::new("thing")
    );
}

/// A system of which something was changed, added and lost.
fn changed_system() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let sum = |text: &str| apk::dependency::Identity::Sha1(base::Sha1::of(text.as_bytes()));
    let files = [
        ("usr/bin/same", "same", 0o755),
        ("usr/bin/changed", "changed", 0o755),
        ("usr/bin/mode", "mode", 0o700),
        ("usr/share/doc/readme", "doc", 0o644),
        ("usr/share/extra", "extra", 0o644),
        ("etc/conf", "conf", 0o644),
        ("etc/edited", "edited", 0o644),
        ("etc/edited.apk-new", "new", 0o644),
        ("etc/added", "added", 0o644),
        ("opt/new/file", "new", 0o644),
    ];
    let installed = format!(
        "C:{one}\nP:tools\nV:1.0-r0\nA:noarch\nS:1\nI:1\nT:\nU:\nL:MIT\n\
         F:usr\nF:usr/bin\n\
         R:changed\na:0:0:755\nZ:{original}\nR:link\na:0:0:777\nZ:{same}\n\
         R:missing\nZ:{original}\nR:mode\na:0:0:755\nZ:{mode}\nR:same\na:0:0:755\nZ:{same}\n\
         F:usr/share\nF:usr/share/doc\nR:readme\nZ:{doc}\n\n\
         C:{two}\nP:config\nV:2.0-r0\nA:noarch\nS:1\nI:1\nT:\nU:\nL:MIT\n\
         F:etc\nR:conf\nZ:{conf}\nR:edited\nZ:{original}\nR:lost\nZ:{original}\n\n",
        one = sum("one"),
        two = sum("two"),
        original = sum("original"),
        same = sum("same"),
        mode = sum("mode"),
        doc = sum("doc"),
        conf = sum("conf"),
    );
    for (path, text, mode) in [
        ("lib/apk/db/installed", installed.as_str(), 0o644),
        ("etc/apk/world", "", 0o644),
        ("etc/apk/arch", "x86_64\n", 0o644),
    ]
    .into_iter()
    .chain(files)
    {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("same", root.join("usr/bin/link")).unwrap();
    folder
}

/// Findings of apk 3.0.6, which lists them as they lie on disk; here they come in order.
#[test]
fn a_changed_system_is_audited() {
    let folder = changed_system();
    let root = folder.path().to_str().unwrap();
    if !rustix::process::geteuid().is_root() {
        // Owners of an ordinary user's system are not what packages say.
        let refused = apk(&["audit", "--root", root]).run().code(99);
        assert_eq!(refused.stderr, "ERROR: audit does not support usermode!\n");
        return;
    }
    let audit = |arguments: &[&str]| {
        let finished = apk(&["audit", "--root", root]).args(arguments).run();
        finished.success().stdout.replace('\n', " ")
    };
    for (arguments, found) in [
        (&[][..], "A etc/added D etc/apk/ U etc/edited "),
        (&["-q"], "etc/added etc/apk/ etc/edited "),
        (
            &["--system"],
            "U usr/bin/changed X etc/lost X usr/bin/missing ",
        ),
        (
            &["--system", "--check-permissions", "/usr"],
            "U usr/bin/changed M usr/bin/mode X usr/bin/missing ",
        ),
        (
            &["--full", "/opt", "/usr/share"],
            "D opt/new/ A usr/share/extra ",
        ),
        (&["--full", "-r", "/opt"], "d opt/new/ A opt/new/file "),
        (&["--packages", "--system"], "tools-1.0-r0 config-2.0-r0 "),
        (&["-q", "--packages", "--system"], "tools config "),
        (&["etc"], ""),
    ] {
        assert_eq!(audit(arguments), found, "{arguments:?}");
    }
    let details = apk(&["audit", "--root", root, "--system", "--details", "/usr"])
        .run()
        .success()
        .stdout;
    insta::assert_snapshot!(details, @r"
    - mode=755 uid=0 gid=0 hash=d73ef92426f2b11dfc4aed4d4bfc41c49ee1087c
    + mode=755 uid=0 gid=0 hash=37c6c57bedf4305ef41249c1794760b5cb8fad17
    U usr/bin/changed
    - mode=644 uid=0 gid=0 hash=d73ef92426f2b11dfc4aed4d4bfc41c49ee1087c
    X usr/bin/missing
    ");
    let document = apk(&[
        "audit",
        "--root",
        root,
        "--system",
        "--details",
        "--format",
        "json",
        "/usr",
    ])
    .run()
    .success()
    .stdout;
    insta::assert_snapshot!(document, @r#"
    [
      {
        "path": "usr/bin/changed",
        "deviation": "U",
        "package": "tools-1.0-r0",
        "expected": {
          "mode": "755",
          "uid": 0,
          "gid": 0,
          "hash": "d73ef92426f2b11dfc4aed4d4bfc41c49ee1087c"
        },
        "found": {
          "mode": "755",
          "uid": 0,
          "gid": 0,
          "hash": "37c6c57bedf4305ef41249c1794760b5cb8fad17"
        }
      },
      {
        "path": "usr/bin/missing",
        "deviation": "X",
        "package": "tools-1.0-r0",
        "expected": {
          "mode": "644",
          "uid": 0,
          "gid": 0,
          "hash": "d73ef92426f2b11dfc4aed4d4bfc41c49ee1087c"
        }
      }
    ]
    "#);
}
