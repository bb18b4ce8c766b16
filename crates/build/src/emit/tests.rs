use std::os::unix::fs::symlink;

use apk::package::Package;
use attest::spdx::{Document, RecipeRecord};
use base::{Arch, Digest};

use super::*;
use crate::recipe::{Copyright, PackageOptions, ResolvedSubpackage, Trigger};

/// A build that left `hello` and `hello-dev`.
struct Fixture {
    recipe: ResolvedRecipe,
    origin: Origin,
    levels: Levels,
    root: tempfile::TempDir,
}

fn package(name: &str) -> ResolvedPackage {
    ResolvedPackage {
        name: name.to_owned(),
        version: "1.2".to_owned(),
        epoch: 3,
        full_version: "1.2-r3".to_owned(),
        description: "says hello".to_owned(),
        url: "https://example.org/hello".to_owned(),
        commit: "c0ffee".to_owned(),
        licenses: ["MIT OR ISC", "Zlib"]
            .map(|license| Copyright {
                license: license.to_owned(),
                ..Copyright::default()
            })
            .to_vec(),
        ..ResolvedPackage::default()
    }
}

impl Fixture {
    fn new() -> Fixture {
        let mut main = package("hello");
        main.runtime = vec!["zlib>=1".to_owned(), "cmd:hello".to_owned()];
        main.replaces = vec!["hi<1".to_owned()];
        main.provider_priority = Some(10);
        main.scriptlets = Scriptlets {
            post_install: Some("#!/bin/sh\n".to_owned()),
            trigger: Some(Trigger {
                script: "#!/bin/sh\ntrue\n".to_owned(),
                paths: vec!["/usr/share/*".to_owned()],
            }),
            ..Scriptlets::default()
        };
        main.setcap = vec![FileCapabilities {
            path: "/usr/bin/hello".to_owned(),
            effective: 1 << 10,
            permitted: 1 << 10,
            inheritable: 0,
            reason: "listens below 1024".to_owned(),
        }];
        let environment = GuestRequest {
            repositories: vec![
                "/srv/packages".to_owned(),
                "https://user:secret@example.org/os".to_owned(),
            ],
            keyring: vec!["keys/local.pub".to_owned()],
            ..GuestRequest::default()
        };
        let recipe = ResolvedRecipe {
            arch: Arch::X86_64,
            package: main,
            environment,
            steps: Vec::new(),
            subpackages: vec![ResolvedSubpackage {
                package: package("hello-dev"),
                steps: Vec::new(),
                test: None,
            }],
            test: None,
            capabilities: Default::default(),
            limits: crate::plan::Limits::default(),
            test_limits: crate::plan::Limits::default(),
            recipe_digest: Digest::of(b"recipe"),
        };
        let root = tempfile::tempdir().unwrap();
        let fixture = Fixture {
            recipe,
            origin: Origin {
                namespace: "wolfi".to_owned(),
                recipe: Some(RecipeRecord {
                    path: "hello.yaml".to_owned(),
                    digest: Digest::of(b"recipe"),
                    repository: None,
                    commit: None,
                }),
                ..Origin::default()
            },
            levels: Levels::default(),
            root,
        };
        fixture.file("hello", "usr/bin/hello", "#!/usr/bin/env bash\n", 0o755);
        fixture.file("hello", "usr/share/hello/text", "hello\n", 0o644);
        fixture.file(
            "hello-dev",
            "usr/share/pkgconfig/hello.pc",
            "Requires: zlib\n",
            0o644,
        );
        fixture
    }

    fn folder(&self, package: &str) -> PathBuf {
        self.root.path().join("trees").join(package)
    }

    fn file(&self, package: &str, path: &str, text: &str, mode: u32) {
        let path = self.folder(package).join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn emit_to(&self, out: &str) -> Result<Vec<EmittedPackage>, EmitError> {
        let folders = ["hello", "hello-dev"]
            .map(|name| (name.to_owned(), self.folder(name)))
            .into_iter()
            .filter(|(_, folder)| folder.exists())
            .collect();
        let out = self.root.path().join(out);
        let options = EmitOptions {
            owners: &Owners::default(),
            out: &out,
            epoch: Epoch(1_700_000_000),
            origin: &self.origin,
            levels: &self.levels,
            library_versions: None,
            strip_origin_name: false,
        };
        emit(&self.recipe, &folders, &options)
    }

    fn emit(&self) -> Result<Vec<EmittedPackage>, EmitError> {
        self.emit_to("out")
    }

    fn refused(&self) -> String {
        let error = self.emit().unwrap_err().to_string();
        let made = std::fs::read_dir(self.root.path().join("out"));
        assert!(made.is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
        error
    }
}

fn texts(terms: &[Dependency]) -> Vec<String> {
    terms.iter().map(ToString::to_string).collect()
}

#[test]
fn packages_say_what_recipe_and_files_tell() {
    let fixture = Fixture::new();
    let emitted = fixture.emit().unwrap();
    let names: Vec<&str> = emitted
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(names, ["hello", "hello-dev"]);

    let main = Package::open(&emitted[0].path).unwrap();
    let info = main.info();
    assert_eq!(texts(&info.depends), ["cmd:bash", "zlib>=1"]);
    assert_eq!(texts(&info.provides), ["cmd:hello=1.2-r3"]);
    assert_eq!(texts(&info.replaces), ["hi<1"]);
    assert_eq!(info.licenses, ["MIT OR ISC", "Zlib"]);
    assert_eq!(
        (info.origin.as_str(), info.maintainer.as_str()),
        ("hello", "wolfi")
    );
    assert_eq!(
        (info.build_time, info.provider_priority),
        (Some(1_700_000_000), Some(10))
    );
    assert_eq!(info.triggers, ["/usr/share/*"]);
    let scripts: Vec<Script> = main.scripts().keys().copied().collect();
    assert_eq!(scripts, [Script::PostInstall, Script::Trigger]);
    assert_eq!(emitted[0].entry, IndexEntry::of(&main));

    let unpacked = tempfile::tempdir().unwrap();
    let limits = archive::Limits::default();
    let manifest = main.unpack(unpacked.path(), &limits).unwrap();
    let tree = manifest.tree(unpacked.path());
    assert_eq!(info.installed_size, tree.size());
    for (path, node) in tree.iter() {
        let owner = (node.uid, node.gid, node.user.as_str(), node.group.as_str());
        assert_eq!(owner, (0, 0, "root", "root"), "{path}");
        assert_eq!(node.mtime, 1_700_000_000);
    }
    let capability = &tree.get("usr/bin/hello").unwrap().xattrs["security.capability"];
    assert_eq!(
        hex::encode(capability),
        "010000030004000000000000000000000000000000000000"
    );

    let path = unpacked
        .path()
        .join("var/lib/db/sbom/hello-1.2-r3.spdx.json");
    let document = Document::from_json(&std::fs::read(path).unwrap()).unwrap();
    let described = document
        .packages
        .iter()
        .find(|package| document.describes(&package.id))
        .unwrap();
    assert_eq!(
        described.license_declared.as_deref(),
        Some("(MIT OR ISC) AND Zlib")
    );
    assert!(
        document
            .packages
            .iter()
            .any(|package| package.name == "hello.yaml")
    );

    let development = Package::open(&emitted[1].path).unwrap();
    assert_eq!(texts(&development.info().provides), ["pc:hello=1.2-r3"]);
    assert_eq!(development.info().origin, "hello");
    assert_eq!(emitted[1].problems[0].rule, "pkgconf");
}

#[test]
fn the_recipe_is_kept_without_the_machine() {
    let fixture = Fixture::new();
    let emitted = fixture.emit().unwrap();
    let records: Vec<Vec<u8>> = emitted
        .iter()
        .map(|package| Package::open(&package.path).unwrap().extras()[RECIPE_FILE].clone())
        .collect();
    assert_eq!(records[0], records[1]);
    let text = String::from_utf8(records[0].clone()).unwrap();
    for absent in [
        "/srv/packages",
        "secret",
        "local.pub",
        fixture.root.path().to_str().unwrap(),
    ] {
        assert!(!text.contains(absent), "{absent}");
    }
    assert!(text.contains("https://example.org/os"));
    let kept: ResolvedRecipe = serde_json::from_str(&text).unwrap();
    assert_eq!(kept.package, fixture.recipe.package);
}

#[test]
fn equal_builds_give_equal_bytes() {
    let digests = |fixture: &Fixture, out: &str| -> Vec<Digest> {
        let emitted = fixture.emit_to(out).unwrap();
        emitted
            .iter()
            .map(|package| package.written.digest)
            .collect()
    };
    let (one, other) = (Fixture::new(), Fixture::new());
    let first = digests(&one, "out");
    assert_eq!(first, digests(&other, "elsewhere"));
    other.file("hello", "usr/share/hello/text", "hallo\n", 0o644);
    let changed = digests(&other, "out");
    assert_ne!(first[0], changed[0]);
    assert_eq!(first[1], changed[1]);
}

#[test]
fn texts_say_no_more_than_texts() {
    let mut fixture = Fixture::new();
    fixture.recipe.package.description = "says hello\nprovides = evil=9\n\n".to_owned();
    fixture.recipe.package.licenses[0].license = "MIT\ndepend = evil".to_owned();
    let emitted = fixture.emit().unwrap();
    let info = Package::open(&emitted[0].path).unwrap().info().clone();
    assert_eq!(info.description, "says hello provides = evil=9");
    assert_eq!(texts(&info.provides), ["cmd:hello=1.2-r3"]);
    assert!(!texts(&info.depends).contains(&"evil".to_owned()));
    assert_eq!(emitted[0].problems[0].rule, "licence");
    fixture.recipe.package.url = "https://example.org\ndepend = evil".to_owned();
    assert!(fixture.emit().is_err());
}

#[test]
fn what_a_build_leaves_behind_is_refused() {
    for path in [
        "home/build/x",
        ".PKGINFO",
        ".melange.gcc.spec",
        "melange-out/hello/x",
    ] {
        let fixture = Fixture::new();
        fixture.file("hello", path, "x", 0o644);
        let message = fixture.refused();
        assert!(message.contains(&format!("/{path}")), "{message}");
    }
}

#[test]
fn capabilities_are_for_files_of_the_package() {
    let mut fixture = Fixture::new();
    symlink("hello", fixture.folder("hello").join("usr/bin/hi")).unwrap();
    for path in ["/usr/bin/absent", "usr/bin", "usr/bin/hi"] {
        fixture.recipe.package.setcap[0].path = path.to_owned();
        assert!(fixture.refused().contains(&format!("`{path}`")));
    }
    // A subpackage's capabilities count as well.
    fixture.recipe.package.setcap.clear();
    fixture.file("hello-dev", "usr/bin/ping", "x", 0o755);
    fixture.recipe.subpackages[0].package.setcap = vec![FileCapabilities {
        path: "usr/bin/ping".to_owned(),
        inheritable: 1,
        ..FileCapabilities::default()
    }];
    let emitted = fixture.emit().unwrap();
    let package = Package::open(&emitted[1].path).unwrap();
    let manifest = package.manifest(&archive::Limits::default()).unwrap();
    let ping = manifest
        .entries
        .iter()
        .find(|entry| entry.path == "usr/bin/ping");
    assert_eq!(
        hex::encode(&ping.unwrap().xattrs["security.capability"]),
        "000000030000000001000000000000000000000000000000"
    );
}

#[test]
fn required_linters_stop_everything() {
    let mut fixture = Fixture::new();
    fixture.file("hello-dev", "dev/null", "", 0o644);
    let message = fixture.refused();
    assert!(
        message.contains("dev: hello-dev installs files in /dev: /dev/null"),
        "{message}"
    );
    assert!(message.contains("help: remove the files"), "{message}");
    // What the main package disables is still required of the subpackage.
    fixture.recipe.package.disabled_checks = vec!["dev".to_owned()];
    fixture.refused();
    fixture.recipe.subpackages[0].package.disabled_checks = vec!["dev".to_owned()];
    let emitted = fixture.emit().unwrap();
    assert_eq!(emitted[1].problems[0].rule, "dev");
    assert_eq!(emitted[1].problems[0].severity, Severity::Warning);
    fixture.recipe.package.disabled_checks = vec!["devil".to_owned()];
    assert!(matches!(
        fixture.emit(),
        Err(EmitError::Lint(LintError::Unknown { .. }))
    ));
}

#[test]
fn what_apk_could_not_read_is_refused() {
    let mut fixture = Fixture::new();
    fixture.recipe.package.runtime = vec!["a b".to_owned()];
    assert!(
        fixture
            .emit()
            .unwrap_err()
            .to_string()
            .starts_with("`a b` among the depend")
    );
    fixture.recipe.package.runtime.clear();
    fixture.recipe.package.replaces_priority = Some(-1);
    let message = fixture.emit().unwrap_err().to_string();
    assert_eq!(
        message,
        "replaces_priority of package hello is -1; it can't be below 0"
    );
    fixture.recipe.package.replaces_priority = None;
    fixture.recipe.package.full_version = "one-r0".to_owned();
    assert!(fixture.emit().is_err());
}

#[test]
fn a_package_without_files_is_a_package() {
    let mut fixture = Fixture::new();
    std::fs::remove_dir_all(fixture.folder("hello-dev")).unwrap();
    fixture.recipe.subpackages[0].package.options = PackageOptions {
        no_provides: true,
        ..PackageOptions::default()
    };
    let emitted = fixture.emit().unwrap();
    let package = Package::open(&emitted[1].path).unwrap();
    let manifest = package.manifest(&archive::Limits::default()).unwrap();
    let last = manifest.entries.last().unwrap();
    assert_eq!(last.path, "var/lib/db/sbom/hello-dev-1.2-r3.spdx.json");
}
