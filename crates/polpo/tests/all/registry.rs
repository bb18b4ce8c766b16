//! Publishing and copying by the command line, with a registry of this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base::{Arch, Digest};
use oci::{ImageConfig, Index, Layout, Manifest, Platform, media_type};
use tempfile::TempDir;
use testkit::{Fault, FaultProxy, Finished, Program, Registry, RegistryOptions};

use crate::world::polpo_in;

/// A folder with a home of its own.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(desk.path("home")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn polpo(&self, words: &[&str]) -> Program {
        polpo_in(self.folder.path(), words)
    }

    fn run(&self, words: &[&str]) -> Finished {
        self.polpo(words).run()
    }

    /// Runs it with this on standard input.
    fn told(&self, input: &str, words: &[&str]) -> Finished {
        let path = self.path("input");
        fs::write(&path, input).unwrap();
        let mut program = self.polpo(words);
        program.command().stdin(fs::File::open(path).unwrap());
        program.run()
    }

    /// A layout of an image for two architectures under `v1`, each of one layer.
    fn layout(&self, name: &str, layer_bytes: usize) -> Digest {
        let layout = Layout::create(self.path(name)).unwrap();
        let parts = [Arch::X86_64, Arch::Aarch64].map(|arch| {
            let files = self.path("files");
            fs::create_dir_all(&files).unwrap();
            let mut mark = arch.apk().as_bytes().to_vec();
            // No two blocks are alike, so that nothing shrinks.
            let mut state = 88_172_645_463_325_252_u64 ^ arch.apk().len() as u64;
            while mark.len() < layer_bytes {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                mark.extend_from_slice(&state.to_le_bytes());
            }
            fs::write(files.join("mark"), mark).unwrap();
            let tar = self.path("layer.tar");
            Program::new("tar")
                .args([
                    "--format=ustar",
                    "--numeric-owner",
                    "--mtime=@0",
                    "--mode=0644",
                ])
                .args(["--owner=0", "--group=0", "-cf"])
                .arg(&tar)
                .arg("-C")
                .arg(&files)
                .arg("mark")
                .run()
                .success();
            let bytes = fs::read(tar).unwrap();
            let platform = Platform::linux(arch);
            let mut config = ImageConfig {
                architecture: platform.architecture.clone(),
                os: "linux".to_owned(),
                ..ImageConfig::default()
            };
            config.rootfs.kind = "layers".to_owned();
            config.rootfs.diff_ids = vec![Digest::of(&bytes)];
            let config = layout
                .put_blob(media_type::CONFIG, &config.to_bytes().unwrap())
                .unwrap();
            let layer = layout.put_blob(media_type::LAYER_TAR, &bytes).unwrap();
            let mut image = layout
                .put_manifest(&Manifest::image(config, vec![layer]))
                .unwrap();
            image.platform = Some(platform);
            image
        });
        let index = layout.put_index(&Index::new(parts.to_vec())).unwrap();
        layout.tag("v1", &index).unwrap();
        index.digest
    }
}

fn assert_whole(root: &Path) {
    let layout = Layout::open(root).unwrap();
    let mut documents = layout.index().unwrap().manifests;
    while let Some(descriptor) = documents.pop() {
        let document = layout.document(&descriptor).unwrap();
        documents.extend(document.manifests().to_vec());
        for blob in document.blobs() {
            layout.open_blob(blob).unwrap();
        }
    }
}

#[test]
fn log_in_publish_copy_and_log_out() {
    let desk = Desk::new();
    let registry = Registry::with(&RegistryOptions {
        user: Some(("ann", "s3cr:et")),
        ..RegistryOptions::default()
    });
    let digest = desk.layout("hello", 1000);
    let name = registry.name("team/hello:v1");
    let steady = |text: &str| {
        text.replace(registry.address(), "REGISTRY")
            .replace(&digest.to_string(), "DIGEST")
            .replace(&desk.folder.path().display().to_string(), "DESK")
    };

    let refused = desk.run(&["image", "publish", "hello", &name]).code(1);
    insta::assert_snapshot!(steady(&refused.stderr), @"
    error: hello was not published
      because: looking for REGISTRY/team/hello@sha256:b20cc4959e6dba4c5cdc9b9362aefde6c70bba90b2e024aa8d2b94112ff03cb7: REGISTRY wants to know who asks, and no credentials are known for it; give some with `polpo login REGISTRY`
    ");
    let refused = desk
        .told(
            "wrong\n",
            &["login", registry.address(), "-u", "ann", "--password-stdin"],
        )
        .code(1);
    insta::assert_snapshot!(steady(&refused.stderr), @"
    error: not logged in to REGISTRY
      because: logging in to REGISTRY: REGISTRY refuses this to the user `ann` (401): UNAUTHORIZED authentication required; ask for the right to do it, or `polpo login REGISTRY` as somebody else
    ");
    assert!(!desk.path("home/.docker/config.json").exists());
    let logged = desk
        .told(
            "s3cr:et\n",
            &["login", registry.address(), "-u", "ann", "--password-stdin"],
        )
        .success();
    insta::assert_snapshot!(steady(&logged.stderr), @"    note logged in to REGISTRY as ann; kept in DESK/home/.docker/config.json");
    let config = desk.path("home/.docker/config.json");
    assert_eq!(
        fs::metadata(&config).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // skopeo goes in by what polpo keeps.
    let other = registry.name("team/hello:latest");
    let published = desk
        .run(&[
            "image",
            "publish",
            "hello",
            &name,
            &other,
            "--image-refs",
            "refs",
        ])
        .success();
    insta::assert_snapshot!(steady(&published.stdout), @"
    REGISTRY/team/hello:v1@DIGEST
    REGISTRY/team/hello:latest@DIGEST
    ");
    insta::assert_snapshot!(steady(&fs::read_to_string(desk.path("refs")).unwrap()), @"
    REGISTRY/team/hello@sha256:e29fcb67520674c6a500c9d9af7e9749ceba57fa479b44d4c7b5cc68ed075d90
    REGISTRY/team/hello@sha256:b20cc4959e6dba4c5cdc9b9362aefde6c70bba90b2e024aa8d2b94112ff03cb7
    REGISTRY/team/hello@DIGEST
    ");
    let raw = Program::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--raw", "--authfile"])
        .arg(&config)
        .arg(format!("docker://{other}"))
        .run()
        .success();
    assert_eq!(Digest::of(raw.stdout.as_bytes()), digest);

    let copied = desk
        .run(&["image", "copy", &name, "oci:copy:v2", "--format", "json"])
        .success();
    insta::assert_snapshot!(steady(&copied.stdout), @r#"
    [
      {
        "digest": "DIGEST",
        "media_type": "application/vnd.oci.image.index.v1+json",
        "names": [
          "copy:v2"
        ],
        "parts": [
          "sha256:e29fcb67520674c6a500c9d9af7e9749ceba57fa479b44d4c7b5cc68ed075d90",
          "sha256:b20cc4959e6dba4c5cdc9b9362aefde6c70bba90b2e024aa8d2b94112ff03cb7"
        ],
        "manifests": {
          "all": 3,
          "existing": 0,
          "mounted": 0
        },
        "blobs": {
          "all": 4,
          "existing": 0,
          "mounted": 0
        },
        "referrers": {
          "all": 0,
          "existing": 0,
          "mounted": 0
        },
        "sent_bytes": 20806
      }
    ]
    "#);
    assert_whole(&desk.path("copy"));
    let tags = desk
        .run(&["image", "tags", &registry.name("team/hello")])
        .success();
    assert_eq!(tags.stdout, "latest\nv1\n");

    let progress = desk
        .run(&[
            "--progress",
            "json",
            "image",
            "publish",
            "hello",
            &registry.name("x/hello:v1"),
        ])
        .success();
    let bytes = progress
        .stderr
        .lines()
        .filter(|line| line.contains("advanced"))
        .count();
    assert!(progress.stderr.contains("push"), "{}", progress.stderr);
    assert!(bytes > 0, "{}", progress.stderr);

    let left = desk.run(&["logout", registry.address()]).success();
    insta::assert_snapshot!(steady(&left.stderr), @"    note forgotten for REGISTRY: DESK/home/.docker/config.json");
    desk.run(&["image", "copy", &name, "oci:none"]).code(1);
    assert!(!desk.path("none").exists());
    for said in [
        &refused.stderr,
        &logged.stderr,
        &published.stderr,
        &progress.stderr,
    ] {
        assert!(!said.contains("s3cr"), "{said}");
    }
}

#[test]
fn names_that_would_lead_elsewhere_are_refused_before_anything_is_sent() {
    let desk = Desk::new();
    desk.layout("hello", 100);
    let registry = Registry::start();
    let proxy = FaultProxy::before(registry.address());
    let good = proxy.name("hello:v1");
    for (words, wanted) in [
        (
            vec!["image", "publish", "hello", &good, "hello:v1"],
            "docker.io/library/hello:v1",
        ),
        (
            vec!["image", "publish", "hello", &good, "r.example/Hello"],
            "lower case",
        ),
        (
            vec!["image", "copy", "./hello", "team/hello:v1"],
            "docker.io/team/hello:v1",
        ),
        (vec!["image", "copy", "./hello", "oci:"], "names no place"),
        (
            vec!["image", "copy", "cpio:x", &good],
            "can only be copied to",
        ),
        (vec!["login", "registry"], "is no registry"),
        (
            vec!["image", "publish", "hello", "ann:s3cret@r.example/hello"],
            "polpo login",
        ),
    ] {
        let refused = desk.run(&words).code(2);
        assert!(refused.stderr.contains(wanted), "{}", refused.stderr);
        assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
    }
    let wrong = format!("{}@{}", proxy.name("hello"), Digest::of(b"other"));
    let refused = desk.run(&["image", "publish", "hello", &wrong]).code(1);
    assert!(
        refused.stderr.contains("is not what is to be published"),
        "{}",
        refused.stderr
    );
    assert!(proxy.seen().is_empty());
}

#[test]
fn credential_helpers_keep_what_they_are_told() {
    let desk = Desk::new();
    let registry = Registry::with(&RegistryOptions {
        user: Some(("ann", "s3cr:et")),
        ..RegistryOptions::default()
    });
    desk.layout("hello", 100);
    let helpers = desk.path("bin");
    fs::create_dir(&helpers).unwrap();
    let kept = desk.path("kept");
    let helper = helpers.join("docker-credential-desk");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nget) read -r server; [ -f {0} ] || {{ echo 'credentials not found in native keychain'; exit 1; }}; cat {0};;\nstore) cat > {0};;\nerase) rm {0};;\nesac\n",
        kept.display()
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(desk.path("home/.docker")).unwrap();
    let config = desk.path("home/.docker/config.json");
    fs::write(&config, r#"{"credsStore": "desk"}"#).unwrap();
    let search = format!("{}:{}", helpers.display(), std::env::var("PATH").unwrap());

    let input = desk.path("input");
    fs::write(&input, "s3cr:et").unwrap();
    let mut login = desk
        .polpo(&["login", registry.address(), "-u", "ann", "--password-stdin"])
        .env("PATH", &search);
    login.command().stdin(fs::File::open(input).unwrap());
    login.run().success();
    assert!(fs::read_to_string(&kept).unwrap().contains("s3cr:et"));
    assert!(!fs::read_to_string(&config).unwrap().contains("auth"));
    let name = registry.name("hello:v1");
    let publish = ["image", "publish", "hello", &name];
    desk.polpo(&publish).env("PATH", &search).run().success();
    desk.polpo(&["logout", registry.address()])
        .env("PATH", &search)
        .run()
        .success();
    assert!(!kept.exists());
    desk.polpo(&publish).env("PATH", &search).run().code(1);
    // A helper that is not there is named, with the file that names it.
    let refused = desk.run(&publish).code(1);
    assert!(
        refused.stderr.contains("docker-credential-desk"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("config.json"), "{}", refused.stderr);
}

#[test]
fn an_image_goes_to_every_kind_of_place() {
    let desk = Desk::new();
    let registry = Registry::start();
    let digest = desk.layout("hello", 1000);
    let name = registry.name("hello:v1");
    desk.run(&["image", "copy", "hello", &name]).success();
    // Out of the registry, and out of the layout: the same bytes.
    for (kind, file) in [
        ("oci-archive", "layout.tar"),
        ("docker-archive", "docker.tar"),
        ("rootfs", "root.tar"),
        ("cpio", "root.cpio"),
    ] {
        for source in ["oci:hello:v1", &name] {
            let from = if source == name { "registry" } else { "layout" };
            let place = format!("{kind}:{from}-{file}");
            desk.run(&["image", "copy", source, &place, "--arch", "x86_64"])
                .success();
        }
        let read = |from: &str| fs::read(desk.path(&format!("{from}-{file}"))).unwrap();
        assert!(read("registry") == read("layout"), "{kind}");
    }
    let listed = Program::new("tar")
        .arg("-tf")
        .arg(desk.path("layout-root.tar"))
        .run()
        .success();
    assert_eq!(listed.stdout, "mark\n");
    // A packed layout is a source like any other, and can be published.
    desk.run(&["image", "copy", "hello", "oci-archive:all.tar:v1"])
        .success();
    let again = registry.name("again:v1");
    let published = desk.run(&["image", "publish", "all.tar", &again]).success();
    assert!(
        published.stdout.contains(&digest.to_string()),
        "{}",
        published.stdout
    );
    desk.run(&["image", "copy", "oci-archive:all.tar:v1", "oci:unpacked"])
        .success();
    assert_whole(&desk.path("unpacked"));

    let storage = desk.path("storage.conf");
    fs::write(
        &storage,
        format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            desk.path("podman").display(),
            desk.path("podman-run").display()
        ),
    )
    .unwrap();
    desk.polpo(&["image", "copy", "hello", "podman:localhost/hello:dev"])
        .env("CONTAINERS_STORAGE_CONF", &storage)
        .run()
        .success();
    let images = Program::new("podman")
        .args(["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .env("CONTAINERS_STORAGE_CONF", &storage)
        .run()
        .success();
    assert_eq!(images.stdout, "localhost/hello:dev\n");
    let refused = desk
        .polpo(&["image", "copy", "hello", "docker:hello"])
        .env("PATH", desk.path("none"))
        .run()
        .code(1);
    assert!(
        refused.stderr.contains("docker can't be run"),
        "{}",
        refused.stderr
    );
}

/// Killed again and again in the middle, a copy into a layout leaves a layout that is whole, or none.
#[test]
fn a_killed_copy_leaves_a_good_layout() {
    let desk = Desk::new();
    let registry = Registry::start();
    let digest = desk.layout("hello", 2_000_000);
    desk.layout("other", 1000);
    let name = registry.name("hello:v1");
    desk.run(&["image", "publish", "hello", &name]).success();
    desk.run(&["image", "copy", "oci:other:v1", "oci:there:old"])
        .success();
    let proxy = FaultProxy::before(registry.address());
    proxy.on(
        "GET",
        "/blobs/",
        1000,
        Fault::Late(Duration::from_millis(40)),
    );
    proxy.on(
        "GET",
        "/manifests/",
        1000,
        Fault::Late(Duration::from_millis(20)),
    );
    let slow = proxy.name("hello:v1");
    let mut killed = 0;
    for round in 0..12_u64 {
        for place in ["new", "there"] {
            let mut program = desk.polpo(&["image", "copy", &slow, &format!("oci:{place}:v1")]);
            let command = program.command();
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(20 + 25 * round));
            killed += u32::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
            if desk.path(place).exists() {
                assert_whole(&desk.path(place));
            }
        }
        let tags = Layout::open(desk.path("there")).unwrap().tags().unwrap();
        assert!(tags.contains(&"old".to_owned()), "{tags:?}");
    }
    assert!(
        killed >= 6,
        "only {killed} were still running when they were killed"
    );
    for place in ["new", "there"] {
        desk.run(&["image", "copy", &name, &format!("oci:{place}:v1")])
            .success();
        assert_whole(&desk.path(place));
        let layout = Layout::open(desk.path(place)).unwrap();
        assert_eq!(layout.resolve(Some("v1")).unwrap().digest, digest);
        Program::new("skopeo")
            .args(["inspect", "--raw"])
            .arg(format!("oci:{}:v1", desk.path(place).display()))
            .run()
            .success();
    }
}

/// A publication that is killed is finished by the next, and the tag only appears with all behind it.
#[test]
fn a_killed_publication_names_nothing_that_is_not_whole() {
    let desk = Desk::new();
    let registry = Registry::start();
    desk.layout("hello", 2_000_000);
    let proxy = FaultProxy::before(registry.address());
    for method in ["HEAD", "POST", "PUT"] {
        proxy.on(method, "", 1000, Fault::Late(Duration::from_millis(15)));
    }
    let name = proxy.name("hello:v1");
    for round in 0..10_u64 {
        let mut program = desk.polpo(&["image", "publish", "hello", &name]);
        let command = program.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + 30 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let tags = desk.run(&["image", "tags", &registry.name("hello")]);
        if tags.stdout.contains("v1") {
            let place = format!("oci:round{round}");
            desk.run(&["image", "copy", &registry.name("hello:v1"), &place])
                .success();
            assert_whole(&desk.path(&format!("round{round}")));
        }
    }
    desk.run(&["image", "publish", "hello", &registry.name("hello:v1")])
        .success();
}

#[test]
fn an_image_file_is_built_and_published() {
    let desk = Desk::new();
    let registry = Registry::start();
    fs::create_dir(desk.path("keys")).unwrap();
    desk.run(&["key", "generate", "keys/test.rsa"]).success();
    let packages = desk.path("packages/x86_64");
    fs::create_dir_all(&packages).unwrap();
    let entry = crate::yard::package("hello", "1.0-r0")
        .file("usr/bin/hello", "#!/bin/sh\n")
        .write(&packages);
    let index = apk::index::Index {
        entries: vec![entry],
        ..apk::index::Index::default()
    };
    let key = key::load_private(&desk.path("keys/test.rsa"), || None).unwrap();
    let signer = apk::signature::Signer::new("test.rsa.pub", key).unwrap();
    index
        .write(
            &packages.join("APKINDEX.tar.gz"),
            Some(&signer),
            crate::yard::EPOCH,
        )
        .unwrap();
    fs::write(
        desk.path("hello.yaml"),
        "contents: {packages: [hello]}\nentrypoint: {command: /usr/bin/hello}\n",
    )
    .unwrap();
    let name = registry.name("hello:v1");
    let publish = ["image", "publish", "hello.yaml", &name];
    let options = ["--", "-r", "packages", "-k", "keys", "--arch", "x86_64"];
    let published = desk.run(&[&publish[..], &options].concat()).success();
    let again = desk.run(&[&publish[..], &options].concat()).success();
    assert_eq!(published.stdout, again.stdout);
    desk.run(&["image", "copy", &name, "oci:copy"]).success();
    assert_whole(&desk.path("copy"));
    desk.run(&[
        "image",
        "copy",
        &name,
        "rootfs:root.tar",
        "--arch",
        "x86_64",
    ])
    .success();
    let listed = Program::new("tar")
        .arg("-tf")
        .arg(desk.path("root.tar"))
        .run()
        .success();
    assert!(
        listed.stdout.contains("usr/bin/hello\n"),
        "{}",
        listed.stdout
    );

    let refused = desk
        .run(&[&publish[..], &["--", "--no-such-option"]].concat())
        .code(2);
    assert!(
        refused.stderr.contains("--no-such-option"),
        "{}",
        refused.stderr
    );
    let refused = desk
        .run(&["image", "publish", "copy", &name, "--", "-k", "keys"])
        .code(2);
    assert!(
        refused.stderr.contains("nothing to build"),
        "{}",
        refused.stderr
    );
}

#[test]
fn an_interrupted_copy_leaves_nothing() {
    let desk = Desk::new();
    let registry = Registry::start();
    desk.layout("hello", 1000);
    desk.run(&["image", "publish", "hello", &registry.name("hello:v1")])
        .success();
    let proxy = FaultProxy::before(registry.address());
    proxy.on("GET", "/blobs/", 1000, Fault::Late(Duration::from_secs(60)));
    fs::create_dir(desk.path("out")).unwrap();
    let mut program = desk.polpo(&["image", "copy", &proxy.name("hello:v1"), "oci:out/new:v1"]);
    let command = program.command();
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    while proxy.count("GET", "/blobs/") == 0 {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("nothing half-made is left"), "{said}");
    assert_eq!(fs::read_dir(desk.path("out")).unwrap().count(), 0);
}
