//! A recipe becomes packages in a signed repository, and they are tested.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use apk::index::{FILE_NAME, Index, IndexEntry, Stamping};
use apk::package::{Package, PackageContents, PackageInfo};
use apk::repository::{Access, AccessSettings, Repository};
use apk::signature::{Keyring, Signer};
use archive::tree::FileTree;
use base::{Arch, Digest, Epoch, Outcome, SourceText};
use polpo_build::build_recipe::{BuildError, BuildOptions, BuiltRecipe, build_recipe};
use polpo_build::executor::LocalExecutor;
use polpo_build::lint::Levels;
use polpo_build::plan::{Limits, Network};
use polpo_build::recipe::{PipelineLibrary, Recipe, ResolveOptions, ResolvedRecipe};
use polpo_build::recording::{Recording, SourceLock};
use polpo_build::signing::{Purpose, SigningProcess};
use polpo_build::test_run::{TestOptions, TestReport, test_recipe};
use store::{Mirror, Origins, Store};
use tempfile::TempDir;
use testkit::ISC;

use crate::support::{Lines, busybox_tree, init_program, listing, runtime, signer_program};

pub(crate) const EPOCH: Epoch = Epoch(1_700_000_000);

/// A repository of busybox, a mirror with a source, a recipe.
pub(crate) struct Workshop {
    pub(crate) folder: TempDir,
    pub(crate) executor: LocalExecutor,
    /// Who signs the packages of its repository, and has the same key.
    pub(crate) maker: Signer,
    pub(crate) signer: SigningProcess,
    pub(crate) keyring: Keyring,
    levels: Levels,
    pub(crate) origins: Origins,
    pub(crate) source: Digest,
    pub(crate) lines: Lines,
}

impl Workshop {
    pub(crate) fn new() -> Workshop {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let store = Store::open(path("store")).unwrap();
        let key = key::PrivateKey::generate(key::Algorithm::Rsa4096).unwrap();
        key::save_pair(&key, &path("test.rsa"), None).unwrap();
        let maker = Signer::new("test.rsa.pub", key).unwrap();

        let tree = path("busybox");
        fs::create_dir(&tree).unwrap();
        busybox_tree(&tree);
        // As Alpine packs it: links are made on the spot, here by the guest.
        let commands = fs::read_dir(tree.join("bin")).unwrap();
        let mut names: Vec<String> = commands
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "busybox" && name != "sh")
            .collect();
        names.sort();
        for name in &names {
            fs::remove_file(tree.join("bin").join(name)).unwrap();
        }
        let list: String = names.iter().map(|name| format!("/bin/{name}\n")).collect();
        fs::create_dir_all(tree.join("etc/busybox-paths.d")).unwrap();
        fs::write(tree.join("etc/busybox-paths.d/busybox"), list).unwrap();
        let arch = Arch::host();
        let seed = path("seed").join(arch.apk());
        fs::create_dir_all(&seed).unwrap();
        let files = FileTree::scan(&tree).unwrap();
        let contents = PackageContents {
            info: PackageInfo {
                name: "busybox".to_owned(),
                version: "1.35.0-r0".to_owned(),
                arch: arch.apk().to_owned(),
                installed_size: 1,
                ..PackageInfo::default()
            },
            scripts: BTreeMap::new(),
            extras: BTreeMap::new(),
            tree: &files,
        };
        let file = seed.join("busybox-1.35.0-r0.apk");
        let written = apk::package::write(&file, &contents, Some(&maker), EPOCH).unwrap();
        let mut index = Index::default();
        index.merge([IndexEntry::written(&written)]);
        // What the pipeline of that name brings into guests; nothing here runs it.
        let git = PackageContents {
            info: PackageInfo {
                name: "git".to_owned(),
                ..contents.info.clone()
            },
            tree: &FileTree::default(),
            ..contents
        };
        let file = seed.join("git-1.35.0-r0.apk");
        let written = apk::package::write(&file, &git, Some(&maker), EPOCH).unwrap();
        index.merge([IndexEntry::written(&written)]);
        index
            .write(&seed.join(FILE_NAME), Some(&maker), EPOCH)
            .unwrap();

        let upstream = path("hello-1.0");
        fs::create_dir(&upstream).unwrap();
        fs::write(upstream.join("hello.sh"), "#!/bin/sh\necho hello, world\n").unwrap();
        fs::write(upstream.join("COPYING"), "Do as you like.\n").unwrap();
        let archive = path("hello.tar.gz");
        let status = Command::new("tar")
            .args(["-czf"])
            .arg(&archive)
            .arg("-C")
            .arg(folder.path())
            .arg("hello-1.0")
            .status()
            .unwrap();
        assert!(status.success());
        let bytes = fs::read(&archive).unwrap();
        let source = Digest::of(&bytes);
        let mirror = path("mirror");
        fs::create_dir(&mirror).unwrap();
        fs::write(mirror.join(source.hex()), bytes).unwrap();

        let beside = path("recipe/hello");
        fs::create_dir_all(&beside).unwrap();
        fs::write(
            beside.join("louder.patch"),
            "--- a/hello.sh\n+++ b/hello.sh\n@@ -1,2 +1,2 @@\n #!/bin/sh\n-echo hello, world\n+echo HELLO, WORLD\n",
        )
        .unwrap();
        Workshop {
            executor: LocalExecutor::new(store, init_program())
                .expect("bubblewrap must be installed for these tests"),
            keyring: maker.keyring(),
            maker,
            signer: SigningProcess::start(
                &signer_program(),
                &folder.path().join("test.rsa"),
                Purpose::Packages,
            )
            .unwrap(),
            levels: Levels::default(),
            origins: Origins {
                mirrors: vec![Mirror::Folder(mirror)],
                network: store::Network::offline(),
                ..Origins::default()
            },
            source,
            folder,
            lines: Lines::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn recipe(&self, more: &str) -> ResolvedRecipe {
        let text = format!(
            "package:
  name: hello
  version: 1.0
  epoch: 2
  description: Says hello
  copyright:
    - license: MIT
environment:
  contents:
    packages:
      - busybox
pipeline:
  - uses: fetch
    with:
      uri: https://example.org/hello-1.0.tar.gz
      expected-sha256: {}
  - name: louder
    runs: |
      test -f hello-1.0.tar.gz
      patch -p1 < louder.patch
  - name: install
    runs: |
      cd ${{{{targets.destdir}}}}
      mkdir -p usr/bin usr/share/doc/hello
      cp /home/build/hello.sh usr/bin/hello
      chmod 755 usr/bin/hello
      cp /home/build/COPYING usr/share/doc/hello/
      getent passwd build 2>/dev/null || grep ^build: /etc/passwd
{more}
subpackages:
  - name: hello-doc
    description: Documents
    pipeline:
      - runs: |
          mkdir -p ${{{{targets.contextdir}}}}/usr/share
          mv ${{{{targets.destdir}}}}/usr/share/doc ${{{{targets.contextdir}}}}/usr/share/
    test:
      environment:
        contents:
          packages: [busybox]
      pipeline:
        - runs: test -f /usr/share/doc/hello/COPYING; ! test -e /usr/bin/hello
test:
  environment:
    contents:
      packages: [busybox]
  pipeline:
    - name: says
      runs: |
        test -z \"${{SOURCE_DATE_EPOCH:-}}\"
        hello | grep 'HELLO, WORLD'
",
            self.source.hex()
        );
        let library = PipelineLibrary::new(Vec::new());
        let recipe = Recipe::parse(SourceText::new("hello.yaml", text)).unwrap();
        recipe
            .resolve(&ResolveOptions::new(Arch::host(), &library))
            .unwrap()
    }

    fn access(&self) -> Access {
        let store = self.executor.store().clone();
        Access::new(store, store::Network::offline(), AccessSettings::default())
    }

    fn build(&self, recipe: &ResolvedRecipe, rebuild: bool) -> Result<BuiltRecipe, BuildError> {
        self.build_with(recipe, |options| options.rebuild = rebuild)
    }

    pub(crate) fn build_with(
        &self,
        recipe: &ResolvedRecipe,
        change: impl FnOnce(&mut BuildOptions<'_>),
    ) -> Result<BuiltRecipe, BuildError> {
        self.build_elsewhere(recipe, &self.executor, &self.path("out"), change)
    }

    /// Builds in the store of another executor.
    pub(crate) fn build_elsewhere(
        &self,
        recipe: &ResolvedRecipe,
        executor: &LocalExecutor,
        out: &Path,
        change: impl FnOnce(&mut BuildOptions<'_>),
    ) -> Result<BuiltRecipe, BuildError> {
        let repositories = [Repository::folder(self.path("seed"))];
        let beside = self.path("recipe/hello");
        let access = Access::new(
            executor.store().clone(),
            store::Network::offline(),
            AccessSettings::default(),
        );
        let mut options = BuildOptions {
            repositories: &repositories,
            keyring: &self.keyring,
            access: &access,
            origins: &self.origins,
            source_folder: Some(&beside),
            epoch: EPOCH,
            limits: Limits::default(),
            network: Network::Denied,
            recording: Recording::default(),
            out,
            stamping: Stamping::default(),
            signer: Some(&self.signer),
            namespace: "polpo",
            recipe: None,
            levels: &self.levels,
            persist_lint_results: false,
            strip_origin_name: false,
            rebuild: false,
            provenance: false,
            cyclonedx: false,
        };
        change(&mut options);
        let store = executor.store();
        runtime().block_on(build_recipe(store, executor, recipe, &options, &self.lines))
    }

    fn test(&self, recipe: &ResolvedRecipe) -> Vec<TestReport> {
        let repositories = ["out", "seed"].map(|name| Repository::folder(self.path(name)));
        let access = self.access();
        let options = TestOptions {
            repositories: &repositories,
            keyring: &self.keyring,
            access: &access,
            origins: &self.origins,
            source_folder: None,
            epoch: EPOCH,
            limits: Limits::default(),
            network: Network::Denied,
            lock: &SourceLock::default(),
            again: false,
        };
        let store = self.executor.store();
        runtime()
            .block_on(test_recipe(
                store,
                &self.executor,
                recipe,
                &options,
                &self.lines,
            ))
            .unwrap()
    }
}

fn entries(out: &Path, keyring: &Keyring) -> Vec<String> {
    let index = out.join(Arch::host().apk()).join(FILE_NAME);
    let index = Index::read(&index, keyring).unwrap();
    index
        .entries
        .iter()
        .map(|entry| format!("{}-{}", entry.info.name, entry.info.version))
        .collect()
}

#[test]
fn a_recipe_becomes_tested_packages() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    let built = match workshop.build(&recipe, false) {
        Ok(built) => built,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(built.outcome, Outcome::Done);
    let out = workshop.path("out");
    assert_eq!(
        entries(&out, &workshop.keyring),
        ["hello-1.0-r2", "hello-doc-1.0-r2"]
    );
    let folder = out.join(Arch::host().apk());
    let package = Package::open(&folder.join("hello-1.0-r2.apk")).unwrap();
    package.verify(&workshop.keyring).unwrap();
    let files = workshop.path("unpacked");
    fs::create_dir(&files).unwrap();
    package.unpack(&files, &archive::Limits::default()).unwrap();
    let hello = fs::read_to_string(files.join("usr/bin/hello")).unwrap();
    assert!(hello.contains("HELLO"), "{hello}");
    assert!(!files.join("usr/share/doc").exists());
    let log = workshop.executor.store().path(&built.log).unwrap();
    assert!(fs::read_to_string(log).unwrap().contains("build:x:1000"));

    // Nothing changed: nothing is done, and what was lost comes back.
    let before = listing(&out);
    let again = workshop.build(&recipe, false).unwrap();
    assert_eq!(again.outcome, Outcome::Unchanged);
    assert_eq!(listing(&out), before);
    fs::remove_file(folder.join("hello-doc-1.0-r2.apk")).unwrap();
    fs::remove_file(folder.join(FILE_NAME)).unwrap();
    workshop.build(&recipe, false).unwrap();
    assert_eq!(listing(&out), before);

    // Built again, the same comes out.
    let rebuilt = workshop.build(&recipe, true);
    match rebuilt {
        Ok(rebuilt) => assert_eq!(rebuilt.outcome, Outcome::Done),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(listing(&out), before);

    let reports = workshop.test(&recipe);
    let outcomes: Vec<_> = reports
        .iter()
        .map(|report| match &report.failure {
            None => (report.package.as_str(), report.outcome),
            Some(failure) => panic!("{}: {failure}", report.package),
        })
        .collect();
    assert_eq!(
        outcomes,
        [("hello", Outcome::Done), ("hello-doc", Outcome::Done)]
    );
    let again = workshop.test(&recipe);
    assert!(
        again
            .iter()
            .all(|report| report.outcome == Outcome::Unchanged)
    );

    // A file beside the recipe is part of the plan.
    fs::write(workshop.path("recipe/hello/new"), "").unwrap();
    assert_eq!(
        workshop.build(&recipe, false).unwrap().outcome,
        Outcome::Done
    );
}

#[test]
fn what_changes_from_build_to_build_is_found() {
    let workshop = Workshop::new();
    let recipe = workshop
        .recipe("      head -c 8 /dev/urandom > ${{targets.destdir}}/usr/share/doc/hello/seed");
    workshop.build(&recipe, false).unwrap();
    let before = listing(&workshop.path("out"));
    let error = workshop.build(&recipe, true).unwrap_err();
    let BuildError::NotReproducible { files, kept, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(files, &["hello-doc-1.0-r2.apk"]);
    assert!(kept.join(&files[0]).is_file());
    fs::remove_dir_all(kept).unwrap();
    assert_eq!(listing(&workshop.path("out")), before);
}

#[test]
fn a_failed_build_leaves_the_repository_alone() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("      exit 3");
    let error = workshop.build(&recipe, false).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("hello: step `install` failed with exit code 3"),
        "{error}"
    );
    assert!(!workshop.path("out").exists());
}

#[test]
fn a_damaged_package_is_forgotten_once_it_is_repaired() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    let seed = workshop.path("seed").join(Arch::host().apk());
    let file = seed.join("busybox-1.35.0-r0.apk");
    let good = fs::read(&file).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 0xff;
    fs::write(&file, bad).unwrap();
    for _ in 0..2 {
        let error = workshop.build(&recipe, false).unwrap_err();
        assert!(matches!(error, BuildError::Guest { .. }), "{error}");
        assert!(
            error.to_string().contains(&file.display().to_string()),
            "{error}"
        );
    }
    fs::write(&file, good).unwrap();
    assert_eq!(
        workshop.build(&recipe, false).unwrap().outcome,
        Outcome::Done
    );
}

#[test]
fn a_signed_repository_is_not_carried_on_without_a_key() {
    let workshop = Workshop::new();
    workshop.build(&workshop.recipe(""), false).unwrap();
    let out = workshop.path("out");
    let before = listing(&out);
    let other = workshop.recipe("      echo other > usr/share/doc/hello/other");
    let error = workshop
        .build_with(&other, |options| options.signer = None)
        .unwrap_err();
    let BuildError::SignedRepository { repository } = &error else {
        panic!("{error}");
    };
    assert_eq!(repository, &out);
    assert!(error.to_string().contains("--signing-key"), "{error}");
    assert_eq!(listing(&out), before);

    // One that never was signed stays so.
    let index = out.join(Arch::host().apk()).join(FILE_NAME);
    fs::remove_dir_all(&out).unwrap();
    for recipe in [workshop.recipe(""), other] {
        let built = workshop.build_with(&recipe, |options| options.signer = None);
        assert_eq!(built.unwrap().outcome, Outcome::Done);
        assert_eq!(Index::read_unverified(&index).unwrap().entries.len(), 2);
    }
    // And a key does not begin to vouch for it.
    let before = listing(&out);
    let error = workshop.build(&workshop.recipe(""), false).unwrap_err();
    assert!(matches!(error, BuildError::Index(_)), "{error}");
    assert_eq!(listing(&out), before);
}

#[test]
fn a_repository_of_strangers_gets_no_files() {
    let workshop = Workshop::new();
    let folder = workshop.path("out").join(Arch::host().apk());
    fs::create_dir_all(&folder).unwrap();
    let key = key::PrivateKey::generate(key::Algorithm::Rsa4096).unwrap();
    let stranger = Signer::new("stranger.rsa.pub", key).unwrap();
    let index = folder.join(FILE_NAME);
    Index::default()
        .write(&index, Some(&stranger), EPOCH)
        .unwrap();
    let before = listing(&workshop.path("out"));
    let error = workshop.build(&workshop.recipe(""), false).unwrap_err();
    assert!(matches!(error, BuildError::Index(_)), "{error}");
    assert_eq!(listing(&workshop.path("out")), before);
}

/// The document in the package `hello`.
fn document(workshop: &Workshop) -> String {
    let folder = workshop.path("out").join(Arch::host().apk());
    let package = Package::open(&folder.join("hello-1.0-r2.apk")).unwrap();
    let files = tempfile::tempdir().unwrap();
    package
        .unpack(files.path(), &archive::Limits::default())
        .unwrap();
    fs::read_to_string(files.path().join("var/lib/db/sbom/hello-1.0-r2.spdx.json")).unwrap()
}

#[test]
fn what_had_the_network_is_built_anew_and_says_so() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    let words = "built with network access: sources beyond those named are unknown";
    workshop.build(&recipe, false).unwrap();
    assert!(!document(&workshop).contains(words));
    for _ in 0..2 {
        let built = workshop.build_with(&recipe, |options| options.network = Network::Allowed);
        assert_eq!(built.unwrap().outcome, Outcome::Done);
        assert_eq!(document(&workshop).matches(words).count(), 1);
    }
    // What was built without it is still known.
    assert_eq!(
        workshop.build(&recipe, false).unwrap().outcome,
        Outcome::Unchanged
    );
    assert!(!document(&workshop).contains(words));
}

#[test]
fn other_checks_are_another_build() {
    let mut workshop = Workshop::new();
    let recipe = workshop.recipe("");
    let build = |workshop: &Workshop| workshop.build(&recipe, false).unwrap().outcome;
    assert_eq!(build(&workshop), Outcome::Done);
    assert_eq!(build(&workshop), Outcome::Unchanged);
    workshop.levels = Levels::only(&[], &[]).unwrap();
    assert_eq!(build(&workshop), Outcome::Done);
}

#[test]
fn one_source_from_two_places_has_its_hash_at_both() {
    let workshop = Workshop::new();
    let hex = workshop.source.hex();
    let recipe = workshop.recipe(&format!(
        "  - uses: fetch
    with:
      uri: https://example.net/copy.tar.gz
      expected-sha256: {hex}
      extract: false"
    ));
    workshop.build(&recipe, false).unwrap();
    let document = document(&workshop);
    assert!(document.contains("https://example.net/copy.tar.gz"));
    let checksum = format!("\"checksumValue\": \"{hex}\"");
    assert_eq!(document.matches(&checksum).count(), 2, "{document}");
}

/// A step that checks a repository out finds what earlier steps left, and later steps find it; once
/// it is in the store, neither network nor repository are needed.
#[test]
fn checkouts_keep_their_place_among_steps() {
    let mut workshop = Workshop::new();
    let repository = workshop.path("repository");
    fs::create_dir(&repository).unwrap();
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
            .args(arguments)
            .current_dir(&repository)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    fs::write(repository.join("tool"), "#!/bin/sh\necho tool\n").unwrap();
    fs::write(repository.join("both"), "theirs\n").unwrap();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    git(&["tag", "v1"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let more = format!(
        "  - runs: mkdir src; echo ours > src/both; echo kept > src/kept
  - if: ${{{{build.arch}}}} != 'none'
    working-directory: src
    pipeline:
      - uses: git-checkout
        with:
          repository: file://{}
          tag: v1
          expected-commit: {commit}
      - uses: git-checkout
        if: ${{{{build.arch}}}} == 'none'
        with:
          repository: https://example.org/not-asked
  - working-directory: src
    runs: |
      test \"$(cat both kept)\" = \"$(printf 'theirs\\nkept')\"
      grep {commit} .git/HEAD
      cp tool ${{{{targets.destdir}}}}/usr/bin/tool
",
        repository.display()
    );
    let recipe = workshop.recipe(&more);
    let error = workshop.build(&recipe, false).unwrap_err().to_string();
    assert!(error.contains("--local-repositories"), "{error}");
    workshop.origins.local_repositories = true;
    let built = match workshop.build(&recipe, false) {
        Ok(built) => built,
        Err(error) => panic!("{error}"),
    };
    let planned = built.plan.sources.last().unwrap();
    assert_eq!(planned.commit.as_deref(), Some(commit.as_str()));
    assert!(workshop.executor.store().contains(&planned.digest));
    let package = workshop
        .path("out")
        .join(Arch::host().apk())
        .join("hello-1.0-r2.apk");
    let files = workshop.path("unpacked");
    fs::create_dir(&files).unwrap();
    let package = Package::open(&package).unwrap();
    package.unpack(&files, &archive::Limits::default()).unwrap();
    assert!(files.join("usr/bin/tool").exists());
    let document =
        fs::read_to_string(files.join("var/lib/db/sbom/hello-1.0-r2.spdx.json")).unwrap();
    assert!(document.contains(&commit), "{document}");

    fs::remove_dir_all(&repository).unwrap();
    let again = workshop.build(&recipe, true).unwrap();
    assert_eq!(again.packages, built.packages);
    assert_eq!(again.plan.digest(), built.plan.digest());
}

/// A recipe whose step fetches by itself.
fn fetching(workshop: &Workshop) -> ResolvedRecipe {
    workshop.recipe(
        "  - name: more
    runs: |
      wget -q -O ${{targets.destdir}}/usr/bin/crate http://registry.example/crates/more/more-1.2.crate
      wget -q -O - http://registry.example/index | grep -q more
",
    )
}

#[test]
fn a_recorded_build_is_replayed_to_the_same_packages() {
    let server = testkit::Server::start();
    server
        .on("/crates/more/more-1.2.crate", testkit::Reply::ok("more"))
        .on("/index", testkit::Reply::ok("more 1.2\n"));
    let mut workshop = Workshop::new();
    let rewrite = format!("http://registry.example={}", server.url(""));
    workshop.executor.recorder.rewrites = vec![rewrite.parse().unwrap()];
    let recipe = fetching(&workshop);
    let built = |network, recording: &Recording, rebuild| {
        workshop.build_with(&recipe, |options| {
            options.network = network;
            options.recording = recording.clone();
            options.rebuild = rebuild;
        })
    };
    let none = Recording::default();
    let refused = built(Network::Denied, &none, false).unwrap_err();
    assert!(
        refused.to_string().contains("`--network record`"),
        "{refused}"
    );
    let first = built(Network::Recorded, &none, false).unwrap();
    let recording = first.plan.recording.clone();
    assert_eq!(recording.exchanges().len(), 2);
    let packages = listing(&workshop.path("out"));

    // Nobody is asked again, what comes out is the same, and is known to be.
    fs::remove_dir_all(workshop.path("out")).unwrap();
    let second = built(Network::Replayed, &recording, true).unwrap();
    assert_eq!(second.outcome, Outcome::Done);
    assert_eq!(listing(&workshop.path("out")), packages);
    assert_eq!(second.plan, first.plan);
    let third = built(Network::Replayed, &recording, false).unwrap();
    assert_eq!(third.outcome, Outcome::Unchanged);
    assert_eq!(server.paths().len(), 2);

    // The package says what it is made of, and not that nobody knows.
    let file = workshop.path("out").join(Arch::host().apk());
    let package = Package::open(&file.join("hello-1.0-r2.apk")).unwrap();
    let files = workshop.path("unpacked");
    fs::create_dir(&files).unwrap();
    package.unpack(&files, &archive::Limits::default()).unwrap();
    let document = files.join("var/lib/db/sbom/hello-1.0-r2.spdx.json");
    let document = fs::read_to_string(document).unwrap();
    for expected in [
        "pkg:cargo/more@1.2",
        "http://registry.example/crates/more/more-1.2.crate",
        &Digest::of(b"more").hex(),
    ] {
        assert!(document.contains(expected), "{document}");
    }
    assert!(
        !document.contains("built with network access"),
        "{document}"
    );
    assert!(!document.contains("registry.example/index"), "{document}");

    // Where the store has nothing of it, mirrors do, by hash.
    let mut elsewhere = Workshop::new();
    elsewhere.executor.recorder = workshop.executor.recorder.clone();
    let replayed = |workshop: &Workshop| {
        workshop.build_with(&recipe, |options| {
            options.network = Network::Replayed;
            options.recording = recording.clone();
        })
    };
    let source = workshop.source.hex();
    let source = |workshop: &Workshop| workshop.path("mirror").join(&source);
    fs::copy(source(&workshop), source(&elsewhere)).unwrap();
    let error = replayed(&elsewhere).unwrap_err().to_string();
    assert!(
        error.contains("the recorded answer of http://registry.example/crates/more"),
        "{error}"
    );
    assert!(error.contains("--source-mirror"), "{error}");
    for bytes in ["more", "more 1.2\n"] {
        let name = Digest::of(bytes.as_bytes()).hex();
        fs::write(elsewhere.path("mirror").join(name), bytes).unwrap();
    }
    if let Err(error) = replayed(&elsewhere) {
        panic!("{error}");
    }
}

/// A source without a checksum is fetched anew where the network may be used; the plan names what
/// came, and without the network it is the last that came.
#[test]
fn sources_without_a_checksum() {
    let mut workshop = Workshop::new();
    let served = workshop.path("served");
    fs::create_dir(&served).unwrap();
    let server = testkit::Server::of(&served);
    let uri = server.url("/today.txt");
    let more = format!(
        "  - uses: fetch
    with:
      uri: {uri}
      expected-none: it changes
      extract: false
  - runs: cp today.txt ${{{{targets.destdir}}}}/usr/bin/today
"
    );
    let recipe = workshop.recipe(&more);
    let error = workshop.build(&recipe, false).unwrap_err().to_string();
    assert!(
        error.contains("whose checksum is not known") && error.contains("offline"),
        "{error}"
    );
    let mut plans = Vec::new();
    for (offline, text) in [(false, "one"), (false, "two"), (true, "three")] {
        fs::write(served.join("today.txt"), text).unwrap();
        workshop.origins.network = if offline {
            store::Network::offline()
        } else {
            store::Network::default()
        };
        let built = match workshop.build(&recipe, false) {
            Ok(built) => built,
            Err(error) => panic!("{error}"),
        };
        plans.push(built.plan.sources.last().unwrap().digest);
    }
    assert_eq!(
        plans,
        [Digest::of(b"one"), Digest::of(b"two"), Digest::of(b"two")]
    );
}

#[test]
fn a_source_may_go_anywhere_in_the_guest() {
    let workshop = Workshop::new();
    let text = format!(
        "package: {{name: hello, version: 1.0, copyright: [{{license: MIT}}]}}
environment: {{contents: {{packages: [busybox]}}}}
pipeline:
  - uses: fetch
    working-directory: /home/some where
    with:
      uri: https://example.org/hello-1.0.tar.gz
      expected-sha256: {source}
  - uses: fetch
    with:
      uri: https://example.org/hello-1.0.tar.gz
      expected-sha256: {source}
      directory: ../../../../../../../etc/hello
      delete: true
  - runs: |
      mkdir -p ${{{{targets.destdir}}}}/usr/share
      (cd '/home/some where'; ls; ls /etc/hello; ls -A) > ${{{{targets.destdir}}}}/usr/share/seen
",
        source = workshop.source.hex()
    );
    let library = PipelineLibrary::new(Vec::new());
    let recipe = Recipe::parse(SourceText::new("hello.yaml", text)).unwrap();
    let recipe = recipe
        .resolve(&ResolveOptions::new(Arch::host(), &library))
        .unwrap();
    if let Err(error) = workshop.build(&recipe, false) {
        panic!("{error}");
    }
    let package = format!("out/{}/hello-1.0-r0.apk", Arch::host().apk());
    let package = Package::open(&workshop.path(&package)).unwrap();
    let into = workshop.path("unpacked");
    fs::create_dir(&into).unwrap();
    package.unpack(&into, &archive::Limits::default()).unwrap();
    insta::assert_snapshot!(fs::read_to_string(into.join("usr/share/seen")).unwrap(), @r"
    COPYING
    hello-1.0.tar.gz
    hello.sh
    COPYING
    hello.sh
    COPYING
    hello-1.0.tar.gz
    hello.sh
    ");
    assert!(!Path::new("/etc/hello").exists());
}

#[test]
fn a_licence_among_the_sources_is_compared_with_the_recipes() {
    let workshop = Workshop::new();
    fs::write(workshop.path("recipe/hello/LICENSE"), ISC).unwrap();
    let said = |recipe: &ResolvedRecipe| {
        let built = workshop
            .build(recipe, true)
            .unwrap_or_else(|error| panic!("{error}"));
        let found = built.problems.iter();
        let found = found.filter(|problem| problem.rule == "licence-text");
        found
            .map(|problem| problem.message.clone())
            .collect::<Vec<_>>()
    };
    let mut recipe = workshop.recipe("");
    assert_eq!(
        said(&recipe),
        ["hello: `LICENSE` holds the text of ISC, and the recipe says MIT"]
    );
    recipe.package.licenses[0].license = "MIT AND ISC".to_owned();
    assert_eq!(said(&recipe), [""; 0]);
}
