//! The network of builds and tests, from the command line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use apk::index::{FILE_NAME, Index, IndexEntry};
use apk::package::{PackageContents, PackageInfo};
use apk::signature::Signer;
use archive::tree::FileTree;
use base::{Arch, Digest, Epoch};
use key::{Algorithm, PrivateKey};
use tempfile::TempDir;
use testkit::{Finished, Program, Reply, Server};

use crate::world::polpo;

/// A repository of a busybox, a key, and a recipe that fetches by itself.
pub(crate) struct Shop {
    folder: TempDir,
    server: Server,
}

impl Shop {
    pub(crate) fn new() -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
        fs::create_dir(path("keys")).unwrap();
        key::save_pair(&key, &path("keys/test.rsa"), None).unwrap();
        let signer = Signer::new("test.rsa.pub", key).unwrap();

        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .iter()
            .map(Path::new)
            .find(|path| path.is_file())
            .expect("a static busybox: scripts/install test");
        let bin = path("tree/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        for name in [
            "sh", "wget", "mkdir", "cat", "grep", "test", "tr", "sleep", "dd", "id", "ls",
            "readlink",
        ] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        let tree = FileTree::scan(&path("tree")).unwrap();
        let contents = PackageContents {
            info: PackageInfo {
                name: "busybox".to_owned(),
                version: "1.35.0-r0".to_owned(),
                arch: Arch::host().apk().to_owned(),
                installed_size: 1,
                ..PackageInfo::default()
            },
            scripts: BTreeMap::new(),
            extras: BTreeMap::new(),
            tree: &tree,
        };
        let seed = path("seed").join(Arch::host().apk());
        fs::create_dir_all(&seed).unwrap();
        let file = seed.join("busybox-1.35.0-r0.apk");
        let written = apk::package::write(&file, &contents, Some(&signer), Epoch(1)).unwrap();
        let mut index = Index::default();
        index.merge([IndexEntry::written(&written)]);
        index
            .write(&seed.join(FILE_NAME), Some(&signer), Epoch(1))
            .unwrap();
        fs::write(
            path("hello.yaml"),
            "package:
  name: hello
  version: \"1.0\"
  epoch: 0
  description: Says hello
  copyright:
    - license: MIT
environment:
  contents:
    packages: [busybox]
pipeline:
  - name: greet
    runs: |
      mkdir -p ${{targets.destdir}}/usr/share
      wget -q -O - http://registry.example/greeting > ${{targets.destdir}}/usr/share/greeting
test:
  environment:
    contents:
      packages: [busybox]
  pipeline:
    - name: compare
      runs: test \"$(wget -q -O - http://registry.example/expected)\" = \"$(cat /usr/share/greeting)\"
",
        )
        .unwrap();
        let server = Server::start();
        server
            .on("/greeting", Reply::ok("hello\n"))
            .on("/greeting", Reply::ok("good evening\n"))
            .on("/expected", Reply::ok("hello"));
        Shop { folder, server }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn run(&self, store: &str, command: &str, more: &[&str]) -> Finished {
        self.program(store, command).args(more).run()
    }

    pub(crate) fn program(&self, store: &str, command: &str) -> Program {
        let program = polpo(&self.path(store))
            .folder(self.folder.path())
            .env(
                "POLPO_NETWORK_MIRRORS",
                format!("http://registry.example={}", self.server.url("")),
            )
            .args([
                command,
                "hello.yaml",
                "-r",
                "seed",
                "-k",
                "keys/test.rsa.pub",
            ]);
        match command {
            "build" => program.args(["--signing-key", "keys/test.rsa"]),
            _ => program,
        }
    }

    fn package(&self) -> Vec<u8> {
        let file = format!("packages/{}/hello-1.0-r0.apk", Arch::host().apk());
        fs::read(self.path(&file)).unwrap()
    }
}

#[test]
fn a_build_is_recorded_beside_its_recipe_and_replayed_by_itself() {
    let shop = Shop::new();
    let denied = shop.run("store", "build", &[]).code(1).stderr;
    assert!(denied.contains("step `greet` failed"), "{denied}");
    let none = shop
        .run("store", "build", &["--network", "replay"])
        .code(2)
        .stderr;
    assert!(
        none.contains("hello.lock.json has no recording of this"),
        "{none}"
    );
    assert!(!shop.path("hello.lock.json").exists());

    let told = shop
        .run("store", "build", &["--network", "record"])
        .success()
        .stderr;
    assert!(
        told.contains("1 answers of the network (6 bytes) are recorded in hello.lock.json"),
        "{told}"
    );
    let lock = fs::read_to_string(shop.path("hello.lock.json")).unwrap();
    let arch = Arch::host().apk();
    let digest = Digest::of(b"hello\n");
    assert_eq!(
        lock,
        format!(
            "{{
  \"format\": 1,
  \"recorded\": {{
    \"{arch}\": {{
      \"build\": [
        {{
          \"url\": \"http://registry.example/greeting\",
          \"digest\": \"{digest}\",
          \"size\": 6
        }}
      ]
    }}
  }}
}}
"
        )
    );
    let package = shop.package();
    // With another store, everything is done again; the bytes come from a mirror, by hash.
    fs::create_dir(shop.path("by-hash")).unwrap();
    fs::write(shop.path("by-hash").join(digest.hex()), "hello\n").unwrap();
    fs::remove_dir_all(shop.path("packages")).unwrap();
    shop.run("other-store", "build", &["--source-mirror", "by-hash"])
        .success();
    assert_eq!(shop.package(), package);
    assert_eq!(shop.server.paths(), ["/greeting"], "nobody was asked again");
    let unchanged = shop.run("store", "build", &[]).success().stderr;
    assert!(unchanged.contains("unchanged"), "{unchanged}");
    shop.run("store", "build", &["--network", "deny"]).code(1);

    // Recorded anew, the recipe gets what there is now.
    shop.run("store", "build", &["--network", "record"])
        .success();
    assert_ne!(shop.package(), package);
    assert_ne!(
        fs::read_to_string(shop.path("hello.lock.json")).unwrap(),
        lock
    );
}

#[test]
fn tests_have_recordings_of_their_own() {
    let shop = Shop::new();
    shop.run("store", "build", &["--network", "record"])
        .success();
    shop.run("store", "test", &[]).code(1);
    shop.run("store", "test", &["--network", "record"])
        .success();
    let lock = fs::read_to_string(shop.path("hello.lock.json")).unwrap();
    for url in [
        "http://registry.example/greeting",
        "http://registry.example/expected",
    ] {
        assert!(lock.contains(url), "{lock}");
    }
    shop.run("store", "test", &["--again"]).success();
    assert_eq!(shop.server.paths(), ["/greeting", "/expected"]);
}

#[test]
fn a_lock_that_is_none_stops_the_build() {
    let shop = Shop::new();
    let told = |text: &str| {
        fs::write(shop.path("hello.lock.json"), text).unwrap();
        let stderr = shop.run("store", "build", &[]).code(1).stderr;
        stderr.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let exchange = |fields: &str| {
        let digest = Digest::of(b"");
        format!(
            r#"{{"format":1,"recorded":{{"x86_64":{{"build":[{{{fields},"digest":"{digest}","size":0}}]}}}}}}"#
        )
    };
    for (text, expected) in [
        ("{".to_owned(), "is no source lock"),
        (
            r#"{"format":7}"#.to_owned(),
            "has format 7, and this program knows 1",
        ),
        (
            r#"{"format":1,"recorded":{},"more":1}"#.to_owned(),
            "unknown field `more`",
        ),
        (
            exchange(r#""url":"file:///etc/passwd""#),
            "not the URL of a web server",
        ),
        (
            exchange(r#""url":"https://me:x@x.example/""#),
            "the URL has credentials",
        ),
        (
            exchange(r#""url":"https://x.example/","method":"PUT""#),
            "the method is not",
        ),
        (
            exchange(r#""url":"https://x.example/","status":502"#),
            "only answers with a status",
        ),
        (
            exchange(r#""url":"https://x.example/","headers":{"set-cookie":"a"}"#),
            "never recorded",
        ),
        (
            exchange(r#""url":"https://x.example/","headers":{"etag":"a\nb"}"#),
            "no text of one line",
        ),
    ] {
        let told = told(&text);
        assert!(told.contains(expected), "{text}: {told}");
    }
}
