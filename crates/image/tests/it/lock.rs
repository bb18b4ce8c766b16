//! Locks: followed without index or network, held to every byte, refused when they don't fit.

use std::path::Path;

use apk::repository::Access;
use base::{Silent, SourceText};
use image::configuration::{self, Loaded};
use image::lock::{Lock, LockError, Locked, follow, lock};
use image::{BuiltImage, ImagePlan};
use store::Store;

use crate::bed::{ARCH, Bed, EPOCH, access, info, list, text, tree, wait};

const FILE: &str = "contents: {packages: [hello]}\narchs: [x86_64]\n";

struct Scene {
    bed: Bed,
    loaded: Loaded,
    text: String,
}

fn loaded(bed: &Bed, text: &str) -> Loaded {
    let path = bed.path("image.yaml");
    std::fs::write(&path, text).unwrap();
    configuration::load(&path, &[]).unwrap()
}

impl Scene {
    fn new() -> Scene {
        let bed = Bed::with_hello();
        let loaded = loaded(&bed, FILE);
        let store = bed.store();
        let plan = bed.plan(&store, FILE);
        let mut made = lock(&loaded, "image.yaml", &[], &[plan], &store).unwrap();
        made.checksum = Some(made.seal().unwrap());
        let text = String::from_utf8(made.to_bytes().unwrap()).unwrap();
        Scene { bed, loaded, text }
    }

    fn follow(&self, text: &str, access: &Access) -> Result<Vec<ImagePlan>, LockError> {
        let lock = Lock::parse(SourceText::new("image.lock.json", text.to_owned()))?;
        let keyring = self.bed.keyring();
        let locked = Locked {
            loaded: &self.loaded,
            lock: &lock,
            path: Path::new("image.lock.json"),
            folder: Path::new(""),
            keyring: &keyring,
        };
        wait(follow(&locked, &[ARCH], access, &Silent))
    }

    fn image(&self, plans: Vec<ImagePlan>, store: &Store) -> BuiltImage {
        image::build(&plans[0], "test", EPOCH, store, &Silent).unwrap()
    }

    fn refused(&self, text: &str) -> String {
        let store = Store::open(self.bed.path("other")).unwrap();
        let error = self.follow(text, &access(&store)).unwrap_err();
        self.bed.shown(error)
    }

    /// Without its own checksum, as apko's are: only what it says itself holds it.
    fn unsealed(&self) -> String {
        let (before, _) = self.text.rsplit_once(",\n  \"checksum\"").unwrap();
        format!("{before}\n}}\n")
    }
}

#[test]
fn a_locked_image_is_the_same_without_index_and_from_the_store_alone() {
    let scene = Scene::new();
    let store = scene.bed.store();
    let made = scene.bed.build(FILE);
    let packages = scene.bed.path("packages");
    // Another store takes the packages from where the lock says they are; there is no index.
    std::fs::remove_file(packages.join("x86_64/APKINDEX.tar.gz")).unwrap();
    let other = Store::open(scene.bed.path("other")).unwrap();
    for text in [scene.text.clone(), scene.unsealed()] {
        let plans = scene.follow(&text, &access(&other)).unwrap();
        assert_eq!(
            scene.image(plans, &other).descriptor.digest,
            made.descriptor.digest
        );
    }
    // Then the store has them, and nothing else is needed.
    std::fs::remove_dir_all(&packages).unwrap();
    for store in [&store, &other] {
        let plans = scene.follow(&scene.text, &access(store)).unwrap();
        assert_eq!(
            scene.image(plans, store).descriptor.digest,
            made.descriptor.digest
        );
    }
}

#[test]
fn a_lock_edited_by_hand_is_refused() {
    let scene = Scene::new();
    let edited = scene
        .text
        .replace("\"version\": \"1.0-r0\"", "\"version\": \"1.1-r0\"");
    insta::assert_snapshot!(scene.refused(&edited), @"image.lock.json:53:16: the lock was changed after it was made: its contents don't have this checksum");
    // One of apko's says nothing of itself; its packages don't fit it then.
    let unsealed = scene.unsealed();
    let edited = unsealed.replace("\"version\": \"1.0-r0\"", "\"version\": \"1.1-r0\"");
    assert!(
        scene.refused(&edited).contains("1.1-r0"),
        "{}",
        scene.refused(&edited)
    );
    let package = |name: &str| {
        let start = unsealed
            .find(&format!("{{\n        \"name\": \"{name}\""))
            .unwrap();
        let end = start + unsealed[start..].find("\n      }").unwrap() + "\n      }".len();
        unsealed[start..end].to_owned()
    };
    let (base, hello) = (package("base"), package("hello"));
    let without = unsealed.replace(&format!("{base},\n      "), "");
    insta::assert_snapshot!(scene.refused(&without), @"line 13 of the lock: hello for x86_64 needs `base`, which no package of the lock is or provides; was it edited by hand? Make it anew by `polpo image lock`");
    let data = hello
        .rsplit("sha256-")
        .next()
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let first = if data.starts_with('A') { 'B' } else { 'A' };
    let other = unsealed.replace(data, &format!("{first}{}", &data[1..]));
    let said = scene.refused(&other);
    assert!(
        said.contains("the data of hello-1.0-r0 is sha256-"),
        "{said}"
    );
    let identity = format!(
        "Q1{}",
        hello
            .rsplit("\"Q1")
            .next()
            .unwrap()
            .split('"')
            .next()
            .unwrap()
    );
    let other = unsealed.replace(&identity, "Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert!(
        scene.refused(&other).contains("Q1AAAA"),
        "{}",
        scene.refused(&other)
    );
}

#[test]
fn a_package_that_changed_under_its_lock_is_refused() {
    let mut scene = Scene::new();
    let mut hello = info("hello");
    hello.depends = list("base");
    scene.bed.package(
        hello,
        tree([("usr/bin/hello", text("another").with_mode(0o755))]),
    );
    let said = scene.refused(&scene.text);
    assert!(said.contains("hello"), "{said}");
    assert!(said.contains("Q1"), "{said}");
}

#[test]
fn drift_names_the_lines() {
    let mut scene = Scene::new();
    scene.loaded = loaded(
        &scene.bed,
        "contents:\n  packages:\n    - hello>=2\n    - curl\n    - '!dash'\n    - base\narchs: [x86_64]\n",
    );
    insta::assert_snapshot!(scene.refused(&scene.text), @"
    DIR/image.yaml:3:7: `hello>=2` is not what the lock has for x86_64: hello 1.0-r0 (line 32)
    DIR/image.yaml:4:7: `curl` is not in the lock for x86_64
    ");
    // What touches no package is drift too.
    scene.loaded = loaded(&scene.bed, &format!("# changed\n{FILE}"));
    let said = scene.refused(&scene.text);
    assert!(
        said.contains("the image file changed since the lock was made"),
        "{said}"
    );
}

#[test]
fn what_is_no_lock_is_told() {
    let scene = Scene::new();
    for (text, part) in [
        ("[]", "mapping"),
        ("{}", "`version`"),
        ("{\"version\": \"v2\", \"contents\": {}}", "`v2`"),
        (
            "{\"version\": \"v1\", \"contents\": {\"pakages\": []}}",
            "did you mean `packages`",
        ),
        (
            "{\"version\": \"v1\", \"contents\": {\"packages\": [{\"name\": \"a\", \"url\": \"b\", \"version\": \"1\", \"architecture\": \"x86_64\"}]}}",
            "no `checksum`",
        ),
    ] {
        let error = Lock::parse(SourceText::new("lock.json", text.to_owned())).unwrap_err();
        let LockError::Problems(problems) = &error else {
            panic!("{error}");
        };
        let all: String = problems
            .iter()
            .map(|problem| format!("{problem} {}", problem.help.clone().unwrap_or_default()))
            .collect();
        assert!(all.contains(part), "{text}: {all}");
    }
    // apko's of before 0.13 has no checksums.
    let old = testkit::corpus().join("apko/cli/apko.pre-0.13.lock.json");
    let error = Lock::read(&old).unwrap_err();
    assert!(scene.bed.shown(error).contains("no `checksum`"));
}
