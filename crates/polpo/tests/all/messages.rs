//! What people read when something is wrong. Each message is pinned, and nothing else has changed.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::Program;

use crate::world::{checkout, polpo, world};

/// A folder with a recipe of its own, and the world's seed to build it with.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        Scene {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// `polpo build` of the recipe `text`, with the folder `mirror` as the only mirror.
    fn build(&self, text: &str) -> Program {
        self.write("recipe.yaml", text);
        polpo(&world().store())
            .args([
                "build",
                "recipe.yaml",
                "--offline",
                "--source-mirror",
                "mirror",
                "--out-dir",
                "out",
            ])
            .arg("-r")
            .arg(world().seed())
            .arg("-k")
            .arg(world().keys())
            .arg("--signing-key")
            .arg(world().signing_key())
            .folder(self.folder.path())
    }

    /// What stderr says, with the paths of this run taken out.
    fn shown(&self, stderr: &str) -> String {
        let mut text = stderr.to_owned();
        for (path, name) in [
            (self.folder.path().to_path_buf(), "[SCENE]"),
            (world().store(), "[STORE]"),
            (world().seed(), "[SEED]"),
            (world().packages(), "[PACKAGES]"),
            (world().keys(), "[KEYS]"),
            (checkout(), "[CHECKOUT]"),
        ] {
            text = text.replace(&path.display().to_string(), name);
        }
        let lines = text.lines().filter(|line| !line.contains(": done in "));
        without_digests(&lines.collect::<Vec<_>>().join("\n"))
    }

    /// Fails with `code`, leaves no output behind, and returns what was said.
    #[track_caller]
    fn fails(&self, program: Program, code: i32) -> String {
        let finished = program.run().code(code);
        assert_eq!(finished.stdout, "");
        let left: Vec<_> = fs::read_dir(self.path("out/x86_64"))
            .into_iter()
            .flatten()
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        self.shown(&finished.stderr)
    }
}

/// Digests depend on the keys of this run; only those that the tests themselves name are kept.
fn without_digests(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_hexdigit()) {
        let length = rest[start..]
            .find(|letter: char| !letter.is_ascii_hexdigit())
            .unwrap_or(rest.len() - start);
        let word = &rest[start..start + length];
        shown.push_str(&rest[..start]);
        let named = word == EMPTY_SHA256 || word == "ab".repeat(32);
        shown.push_str(if length == 64 && !named {
            "[DIGEST]"
        } else {
            word
        });
        rest = &rest[start + length..];
    }
    shown.push_str(rest);
    shown
}

/// A recipe that fetches `uri` with `sha256` and does nothing else.
fn fetching(uri: &str, sha256: &str) -> String {
    format!(
        "package:\n  name: thing\n  version: \"1\"\n  epoch: 0\n  copyright:\n    - license: MIT\n\
         environment:\n  contents:\n    packages:\n      - build-base\n\
         pipeline:\n  - uses: fetch\n    with:\n      uri: {uri}\n      expected-sha256: {sha256}\n"
    )
}

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn sha256(path: &Path) -> String {
    let sum = Program::new("sha256sum").arg(path).run().success().stdout;
    sum.split(' ').next().unwrap().to_owned()
}

#[test]
fn unknown_key_wrong_type_and_duplicate_key_all_at_once() {
    let scene = Scene::new();
    let said = scene.fails(
        scene.build(
            "package:\n  name: thing\n  version: \"1\"\n  epoch: many\n  licence: MIT\n  name: other\npipline:\n  - runs: true\n",
        ),
        2,
    );
    insta::assert_snapshot!(said, @r#"
    wrong-type

      error: expected an integer that is not negative, found `many`
       ╭─[recipe.yaml:4:10]
     3 │   version: "1"
     4 │   epoch: many
       ·          ──┬─
       ·            ╰── not an integer that is not negative
     5 │   licence: MIT
       ╰────
    unknown-key

      error: unknown key `licence` in package
       ╭─[recipe.yaml:5:3]
     4 │   epoch: many
     5 │   licence: MIT
       ·   ───┬───
       ·      ╰── unknown
     6 │   name: other
       ╰────
      help: valid keys: annotations, checks, commit, copyright, cpe, dependencies, description, epoch,
            name, options, resources, scriptlets, setcap, target-architecture, test-resources,
            timeout, url, version
    duplicate-key

      error: the key `name` stands twice
       ╭─[recipe.yaml:2:3]
     1 │ package:
     2 │   name: thing
       ·   ──┬─
       ·     ╰── first here
     3 │   version: "1"
       ╰────
       ╭─[recipe.yaml:6:3]
     5 │   licence: MIT
     6 │   name: other
       ·   ──┬─
       ·     ╰── again here
     7 │ pipline:
       ╰────
      help: remove one of the two
    unknown-key

      error: unknown key `pipline` in the recipe
       ╭─[recipe.yaml:7:1]
     6 │   name: other
     7 │ pipline:
       · ───┬───
       ·    ╰── unknown
     8 │   - runs: true
       ╰────
      help: did you mean `pipeline`? Valid keys: capabilities, data, environment, options, package,
            pipeline, subpackages, test, update, var-transforms, vars
    4 errors; nothing was changed
    "#);
}

#[test]
fn missing_recipe() {
    let scene = Scene::new();
    let program = polpo(&world().store())
        .args(["build", "nowhere.yaml"])
        .folder(scene.folder.path());
    insta::assert_snapshot!(scene.fails(program, 2), @"
    unreadable

      error: the recipe nowhere.yaml can't be read: No such file or directory (os error 2)
      help: check the path; recipes are YAML files
    ");
}

#[test]
fn unknown_variable() {
    let scene = Scene::new();
    let said = scene.fails(
        scene.build(
            "package:\n  name: thing\n  version: \"1\"\n  epoch: 0\n  copyright:\n    - license: MIT\npipeline:\n  - runs: echo ${{package.verison}}\n",
        ),
        2,
    );
    insta::assert_snapshot!(said, @"
    unknown-variable

      error: unknown variable `package.verison`
       ╭─[recipe.yaml:8:16]
     7 │ pipeline:
     8 │   - runs: echo ${{package.verison}}
       ·                ────────────────────
       ╰────
      help: did you mean `${{package.version}}`?
    ");
}

#[test]
fn source_with_another_hash() {
    let scene = Scene::new();
    // A mirror that answers with other bytes than were asked for.
    scene.write(&format!("mirror/sha256/{EMPTY_SHA256}"), "not empty");
    let said = scene.fails(
        scene.build(&fetching("https://example.invalid/thing.tar", EMPTY_SHA256)),
        1,
    );
    insta::assert_snapshot!(said, @"
        note thing.tar from mirror: wrong contents: expected sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, got sha256:[DIGEST] (9 bytes)
    error: thing 1-r0 was not built
      because: thing: can't fetch thing.tar (sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855):
                 mirror: wrong contents: expected sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, got sha256:[DIGEST] (9 bytes)
                 https://example.invalid/thing.tar: not asked: the network is not to be used (offline)
                 (if upstream has replaced the file on purpose, update the recipe's hash)
    ");
}

#[test]
fn unreachable_source() {
    let scene = Scene::new();
    fs::create_dir(scene.path("mirror")).unwrap();
    let recipe = fetching("http://127.0.0.1:9/thing.tar", &"ab".repeat(32));
    insta::assert_snapshot!(scene.fails(scene.build(&recipe), 1), @"
    error: thing 1-r0 was not built
      because: thing: can't fetch thing.tar (sha256:abababababababababababababababababababababababababababababababab):
                 mirror: it is not there
                 http://127.0.0.1:9/thing.tar: not asked: the network is not to be used (offline)
    ");
    scene.write("recipe.yaml", recipe);
    let online = polpo(&world().store())
        .args(["build", "recipe.yaml", "--out-dir", "out"])
        .arg("-r")
        .arg(world().seed())
        .arg("-k")
        .arg(world().keys())
        .folder(scene.folder.path());
    insta::assert_snapshot!(scene.fails(online, 1), @"
        note thing.tar from http://127.0.0.1:9/thing.tar: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111); trying again
        note thing.tar from http://127.0.0.1:9/thing.tar: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111); trying again
        note thing.tar from http://127.0.0.1:9/thing.tar: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111); trying again
       fetch thing.tar: failed
    error: thing 1-r0 was not built
      because: thing: can't fetch thing.tar (sha256:abababababababababababababababababababababababababababababababab):
                 http://127.0.0.1:9/thing.tar: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)
    ");
}

#[test]
fn unsatisfiable_guest() {
    let scene = Scene::new();
    let said = scene.fails(
        scene.build(
            "package:\n  name: thing\n  version: \"1\"\n  epoch: 0\n  copyright:\n    - license: MIT\n\
             environment:\n  contents:\n    packages:\n      - build-base\n      - binutls>3\npipeline:\n  - runs: true\n",
        ),
        1,
    );
    insta::assert_snapshot!(said, @"
    error: thing 1-r0 was not built
      because: thing: the guest's packages can't be chosen: no choice of packages satisfies all that is asked for
                 binutls>3 is asked for, which nothing provides in [SEED] (x86_64)
                   help: ask for binutils instead of binutls>3
                   or: drop binutls>3 from the world
                   or: add a repository that has binutls>3 for x86_64
    ");
}

#[test]
fn failing_step() {
    let scene = Scene::new();
    let said = scene.fails(
        scene.build(
            "package:\n  name: thing\n  version: \"1\"\n  epoch: 0\n  copyright:\n    - license: MIT\n\
             environment:\n  contents:\n    packages:\n      - build-base\n\
             pipeline:\n  - name: Work\n    runs: |\n      echo one\n      ls /nowhere\n      echo two\n",
        ),
        1,
    );
    insta::with_settings!({ filters => vec![(r"sha256/[0-9a-f]{2}/", "sha256/xx/")] }, {
        insta::assert_snapshot!(said, @"
           build thing-1-r0: Work
           build thing-1-r0: failed
        error: thing 1-r0 was not built
          because: thing: step `Work` failed with exit code 2 at `ls /nowhere`
                     | one
                     | ls: cannot access '/nowhere': No such file or directory
                   the whole log is `[STORE]/blobs/sha256/xx/[DIGEST]`
                   run it again with `--debug` to see its commands and to get a shell where it failed
        ");
    });
}

/// A repository like the world's packages, with its index changed by `change`.
fn repository(scene: &Scene, change: impl FnOnce(&Path)) -> PathBuf {
    let copy = scene.path("repository");
    Program::new("cp")
        .arg("-r")
        .arg(world().packages())
        .arg(&copy)
        .run()
        .success();
    change(&copy.join("x86_64"));
    copy
}

fn image_from(scene: &Scene, repository: &Path) -> Program {
    world().image(&scene.path("store"), repository, &scene.path("image"))
}

#[test]
fn unsigned_index() {
    let scene = Scene::new();
    let repository = repository(&scene, |folder| {
        let index = fs::read(folder.join("APKINDEX.tar.gz")).unwrap();
        // The second gzip member is the index without its signature.
        let second = (1..index.len())
            .find(|at| index[*at..].starts_with(&[0x1f, 0x8b, 8]))
            .unwrap();
        fs::write(folder.join("APKINDEX.tar.gz"), &index[second..]).unwrap();
    });
    insta::assert_snapshot!(scene.fails(image_from(&scene, &repository), 1), @"
    error: the repositories can't be used
      because: repository [SCENE]/repository: index [SCENE]/repository/x86_64/APKINDEX.tar.gz: it is not signed; sign it with the key of the repository (`polpo melange sign-index` signs an index, `polpo melange sign` a package)
    ");
}

#[test]
fn wrongly_signed_index() {
    let scene = Scene::new();
    let repository = repository(&scene, |folder| {
        let mut index = fs::read(folder.join("APKINDEX.tar.gz")).unwrap();
        let last = index.len() - 9;
        index[last] ^= 1;
        fs::write(folder.join("APKINDEX.tar.gz"), index).unwrap();
    });
    insta::assert_snapshot!(scene.fails(image_from(&scene, &repository), 1), @"
    error: the repositories can't be used
      because: repository [SCENE]/repository: index [SCENE]/repository/x86_64/APKINDEX.tar.gz: the signature by test.rsa.pub is wrong: the file was changed after it was signed, or another key of that name signed it; get both again from their source
    ");
}

#[test]
fn index_signed_by_a_stranger() {
    let scene = Scene::new();
    // The folder is made.
    polpo(&world().store())
        .args(["key", "generate"])
        .arg(scene.path("keys/stranger.rsa"))
        .run()
        .success();
    let program = polpo(&scene.path("store"))
        .args(["image", "build"])
        .arg(checkout().join("os/images/hello.yaml"))
        .args(["hello:latest", "image", "-k", "keys", "-r"])
        .arg(world().packages())
        .folder(scene.folder.path());
    insta::assert_snapshot!(scene.fails(program, 1), @"
    error: the repositories can't be used
      because: repository [PACKAGES]: index [PACKAGES]/x86_64/APKINDEX.tar.gz: it is signed by test.rsa.pub, which is not among the trusted keys (stranger.rsa.pub); if that key is to be trusted, add its file to the keyring (`-k`; of `apk`, the folder of `--keys-dir`)
    ");
}

#[test]
fn truncated_and_corrupt_package() {
    for (name, change) in [
        (
            "truncated",
            (|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2)) as fn(&mut Vec<u8>),
        ),
        ("corrupt", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x20;
        }),
    ] {
        let scene = Scene::new();
        let repository = repository(&scene, |folder| {
            let package = folder.join("hello-2.10-r0.apk");
            let mut bytes = fs::read(&package).unwrap();
            change(&mut bytes);
            fs::write(&package, bytes).unwrap();
        });
        let said = scene.fails(image_from(&scene, &repository), 1);
        assert!(!scene.path("image").exists());
        let filters = vec![
            (r"sha256/[0-9a-f]{2}/", "sha256/xx/"),
            (
                r"has \d+ bytes, its index says \d+",
                "has N bytes, its index says M",
            ),
        ];
        insta::with_settings!({ filters => filters }, {
            match name {
                "truncated" => insta::assert_snapshot!(said, @"
                error: hello:latest was not built
                  because: repository [SCENE]/repository: package [SCENE]/repository/x86_64/hello-2.10-r0.apk has N bytes, its index says M; renew the index or get the package again
                "),
                _ => insta::assert_snapshot!(said, @"
                  unpack hello:latest: failed
                error: hello:latest was not built
                  because: package hello-2.10-r0 of [SCENE]/repository: the data of package [SCENE]/store/blobs/sha256/xx/[DIGEST] is not what its .PKGINFO says: datahash sha256:[DIGEST], in fact sha256:[DIGEST]; get it again from its source
                "),
            }
        });
    }
}

/// Makes a tar with Python's tarfile, which writes whatever it is told to.
fn evil_tar(scene: &Scene, entry: &str) -> PathBuf {
    let path = scene.path("evil.tar.gz");
    let script = format!(
        "import io, sys, tarfile\n\
         with tarfile.open(sys.argv[1], 'w:gz') as tar:\n\
         \x20   def add(name, data=b'x', **fields):\n\
         \x20       entry = tarfile.TarInfo(name)\n\
         \x20       entry.size = len(data)\n\
         \x20       for key, value in fields.items():\n\
         \x20           setattr(entry, key, value)\n\
         \x20       tar.addfile(entry, io.BytesIO(data))\n\
         \x20   {entry}\n"
    );
    Program::new("python3")
        .args(["-c", &script])
        .arg(&path)
        .run()
        .success();
    path
}

#[test]
fn evil_sources() {
    for (name, entry) in [
        ("climbs", "add('thing/../../../escaped')"),
        ("absolute", "add('/escaped')"),
        (
            "through a link",
            "add('thing/link', b'', type=tarfile.SYMTYPE, linkname='/tmp'); add('thing/link/escaped')",
        ),
        (
            "hard link",
            "add('thing/passwd', b'', type=tarfile.LNKTYPE, linkname='../../etc/passwd')",
        ),
        ("bomb", "add('thing/bomb', bytes(1 << 28))"),
    ] {
        let scene = Scene::new();
        let tar = evil_tar(&scene, entry);
        let digest = sha256(&tar);
        scene.write(&format!("mirror/sha256/{digest}"), fs::read(&tar).unwrap());
        let recipe = fetching("https://example.invalid/evil.tar.gz", &digest);
        let said = scene.fails(scene.build(&recipe), 1);
        assert!(!Path::new("/escaped").exists() && !Path::new("/tmp/escaped").exists());
        insta::with_settings!({ snapshot_suffix => name }, {
            insta::assert_snapshot!("evil_source", said);
        });
    }
}

/// Runs `program` where `folder` is a file system that `mount` makes.
fn mounted(mount: &str, program: &Path, arguments: &[&str]) -> Program {
    Program::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec"])
        .arg(format!("{mount}; exec \"$@\""))
        .arg("sh")
        .arg(program)
        .args(arguments)
}

fn image_arguments(scene: &Scene) -> Vec<String> {
    let word = |path: PathBuf| path.display().to_string();
    vec![
        "image".into(),
        "build".into(),
        word(checkout().join("os/images/hello.yaml")),
        "hello:latest".into(),
        word(scene.path("disk/image")),
        "-r".into(),
        word(world().packages()),
        "-r".into(),
        word(world().seed()),
        "-k".into(),
        word(world().keys()),
    ]
}

#[test]
fn full_disk_and_read_only_folder() {
    for (name, mount) in [
        ("full disk", "mount -t tmpfs -o size=256k none \"$DISK\""),
        ("read-only", "mount -t tmpfs -o ro none \"$DISK\""),
    ] {
        let scene = Scene::new();
        fs::create_dir(scene.path("disk")).unwrap();
        let arguments = image_arguments(&scene);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let program = mounted(mount, Path::new(env!("CARGO_BIN_EXE_polpo")), &arguments)
            .env("DISK", scene.path("disk"))
            .env("POLPO_STORE", world().store())
            .env("POLPO_PROGRESS", "none")
            .env("NO_COLOR", "1");
        let said = scene.fails(program, 1);
        match name {
            "full disk" => insta::assert_snapshot!(said, @"
            error: hello:latest was not built
              because: can't write [SCENE]/disk/.image.partial/layout/blobs/sha256/[DIGEST]: No space left on device (os error 28); free some space there or choose another folder
            "),
            _ => insta::assert_snapshot!(said, @"
            error: hello:latest was not built
              because: can't create the folder [SCENE]/disk/.image.partial: Read-only file system (os error 30); choose a folder you may write to
            "),
        }
    }
}

#[test]
fn what_does_not_exist_is_told_to_be_missing() {
    let scene = Scene::new();
    let verify = |name: &str| {
        let program = polpo(&scene.path("store")).args(["verify", name]);
        scene.fails(program.folder(scene.folder.path()), 2)
    };
    insta::assert_snapshot!(verify("./gone.apk"), @"error: ./gone.apk does not exist");
    insta::assert_snapshot!(verify("gone/APKINDEX.tar.gz"), @"error: gone/APKINDEX.tar.gz does not exist");
}

#[test]
fn an_image_is_for_the_architecture_that_was_named() {
    let scene = Scene::new();
    let run = |words: &[&str]| {
        let program = polpo(&world().store()).args(words).arg(world().layout());
        let program = program.args(["--arch", "riscv64"]);
        let said = scene.fails(program, 1);
        said.replace(
            &scene.shown(&world().layout().display().to_string()),
            "[LAYOUT]",
        )
    };
    insta::assert_snapshot!(run(&["image", "files"]), @"
    error: the files of [LAYOUT] can't be listed
      because: the image in [LAYOUT] is not made for riscv64; it has amd64
    ");
    insta::assert_snapshot!(run(&["image", "run"]), @"
    error: [LAYOUT] can't be run
      because: the image in [LAYOUT] is not made for riscv64; it has amd64
    ");
}

#[test]
fn a_program_that_the_image_has_not_is_told_as_shells_tell_it() {
    let scene = Scene::new();
    let run = |words: &[&str], code| {
        let program = polpo(&world().store()).args(["image", "run"]);
        let said = scene.fails(program.arg(world().layout()).args(words), code);
        let layout = scene.shown(&world().layout().display().to_string());
        said.replace(&layout, "[LAYOUT]")
    };
    insta::assert_snapshot!(run(&["nosuch", "--option"], 127), @"
    error: [LAYOUT] can't be run
      because: there is no `nosuch` in the folders of its PATH (/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin)
    ");
    insta::assert_snapshot!(run(&["/usr/bin/nosuch"], 127), @"
    error: [LAYOUT] can't be run
      because: there is no /usr/bin/nosuch in it
    ");
    insta::assert_snapshot!(run(&["/etc/passwd"], 126), @"
    error: [LAYOUT] can't be run
      because: /etc/passwd can't be executed there: it is no file, or has no right to be run
    ");
    insta::assert_snapshot!(run(&["/usr"], 126), @"
    error: [LAYOUT] can't be run
      because: /usr can't be executed there: it is no file, or has no right to be run
    ");
}

#[test]
fn a_folder_of_pipelines_that_is_not_there_is_noticed() {
    let scene = Scene::new();
    scene.write(
        "recipe.yaml",
        "package:\n  name: thing\n  version: \"1\"\n  epoch: 0\npipeline:\n  - runs: true\n",
    );
    let program = polpo(&scene.path("store")).args(["recipe", "show", "recipe.yaml"]);
    let program = program.args(["--pipeline-dir", "pipelnes"]);
    let shown = program.folder(scene.folder.path()).run().success();
    insta::assert_snapshot!(scene.shown(&shown.stderr).trim(), @"note there is no folder of pipelines pipelnes: it is passed over");
}

#[test]
fn programs_are_told_of_failures_as_of_progress() {
    let scene = Scene::new();
    let told = |words: &[&str], code| {
        let program = polpo(&scene.path("store")).args(words);
        let program = program.args(["--progress", "json"]);
        let said = program.folder(scene.folder.path()).run().code(code).stderr;
        for line in said.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(event["event"].is_string(), "{line}");
        }
        scene.shown(&said)
    };
    scene.write("recipe.yaml", "package:\n  name: thing\n  versoin: \"1\"\n");
    insta::assert_snapshot!(told(&["recipe", "show", "recipe.yaml"], 2), @r#"
    {"event":"problem","rule":"missing-key","severity":"error","message":"package has no `version`","file":"recipe.yaml","line":2,"column":3,"line_text":"  name: thing"}
    {"event":"problem","rule":"unknown-key","severity":"error","message":"unknown key `versoin` in package","file":"recipe.yaml","line":3,"column":3,"line_text":"  versoin: \"1\"","help":"did you mean `version`? Valid keys: annotations, checks, commit, copyright, cpe, dependencies, description, epoch, name, options, resources, scriptlets, setcap, target-architecture, test-resources, timeout, url, version"}
    {"because":[],"code":2,"error":"2 errors; nothing was changed","event":"failed"}
    "#);
    insta::assert_snapshot!(told(&["image", "run", "gone"], 1), @r#"{"because":["gone is not an OCI image layout: it has no file `oci-layout`; polpo makes one by `polpo image build`"],"code":1,"error":"gone can't be run","event":"failed"}"#);
    insta::assert_snapshot!(told(&["verify", "gone.apk"], 2), @r#"{"because":[],"code":2,"error":"gone.apk does not exist","event":"failed"}"#);
}

#[test]
fn images_have_names_that_registries_take() {
    let scene = Scene::new();
    for name in ["Bad Tag!", "", "hello:"] {
        let program = polpo(&scene.path("store")).args(["image", "build"]);
        let program = program.arg(checkout().join("os/images/hello.yaml"));
        let program = program.args([name, "image", "-r"]).arg(world().packages());
        let said = scene.fails(program.folder(scene.folder.path()), 2);
        assert_eq!(
            said.trim_end(),
            format!("error: `{name}` is no name of an image, such as `hello:latest`")
        );
    }
}

#[test]
fn a_script_that_nobody_can_take_is_no_panic() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut program = polpo(Path::new("store"));
    let told = program
        .command()
        .args(["completions", "zsh"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(1));
    let stderr = String::from_utf8(told.stderr).unwrap();
    assert!(stderr.contains("the result can't be printed"), "{stderr}");
}
