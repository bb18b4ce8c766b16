//! The signer, and steps and neighbours that want its key or its word.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use apk::index::{FILE_NAME, Index, Stamp, Stamping};
use apk::package::{Package, PackageContents};
use apk::signature::{Keyring, Signer};
use archive::tree::FileTree;
use attest::dsse::Envelope;
use attest::intoto::Statement;
use attest::slsa::{Provenance, ResourceDescriptor};
use base::{Arch, Digest, Outcome};
use key::{Algorithm, PrivateKey};
use polpo_build::build_recipe::{BuildError, BuiltRecipe};
use polpo_build::executor::LocalExecutor;
use polpo_build::provenance::{BuildFacts, beside};
use polpo_build::recipe::ResolvedRecipe;
use polpo_build::signing::{Purpose, SignerProgram, SigningError, SigningProcess};
use store::Store;

use crate::recipe::{EPOCH, Workshop};
use crate::support::{init_program, listing, signer_program};

const PACKAGE: &str = "hello-1.0-r2.apk";

/// The program that tries to get into others.
fn attack(folder: &Path) -> PathBuf {
    let program = folder.join("attack");
    let path = folder.join("attack.c");
    fs::write(&path, include_str!("attack.c")).unwrap();
    let made = Command::new("gcc")
        .args(["-static", "-O1", "-o"])
        .args([&program, &path])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    program
}

fn repository(workshop: &Workshop) -> PathBuf {
    workshop.path("out").join(Arch::host().apk())
}

fn build(workshop: &Workshop, recipe: &ResolvedRecipe) -> Result<BuiltRecipe, BuildError> {
    workshop.build_with(recipe, |options| options.provenance = true)
}

/// Builds with nothing kept: what a build gives that nobody disturbs.
fn build_undisturbed(workshop: &Workshop, recipe: &ResolvedRecipe, out: &Path) -> BuiltRecipe {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let executor = LocalExecutor::new(store, init_program()).unwrap();
    workshop
        .build_elsewhere(recipe, &executor, out, |options| options.provenance = true)
        .unwrap()
}

/// What the provenance beside the package says that it was made of, signed by the workshop's key.
fn materials(workshop: &Workshop) -> Vec<ResourceDescriptor> {
    let line = fs::read(beside(&repository(workshop).join(PACKAGE))).unwrap();
    let verified = Envelope::from_json(&line)
        .unwrap()
        .verify(&[workshop.signer.public().clone()])
        .unwrap();
    let statement = Statement::<Provenance>::from_verified(&verified).unwrap();
    let digest = Digest::of(&fs::read(repository(workshop).join(PACKAGE)).unwrap());
    assert_eq!(statement.subject[0].digest["sha256"], digest.hex());
    statement.predicate.build_definition.resolved_dependencies
}

#[test]
fn steps_reach_neither_key_nor_signer() {
    let workshop = Workshop::new();
    let beside = workshop.path("recipe/hello");
    fs::copy(attack(workshop.folder.path()), beside.join("attack")).unwrap();
    let (key, signer, builder) = (
        workshop.path("test.rsa").display().to_string(),
        workshop.signer.id(),
        std::process::id(),
    );
    let recipe = workshop.recipe(&format!(
        "      echo BEGIN
      cat {key} 2>&1 || true
      for process in /proc/[0-9]*; do
        cat $process/root{key} $process/cwd/test.rsa 2>/dev/null || true
        cat $process/cmdline 2>/dev/null | tr '\\0' ' ' | grep 'signer-[p]rocess' || true
        cat $process/environ 2>/dev/null | tr '\\0' '\\n' | grep -i password || true
        ls -l $process/fd 2>/dev/null | grep socket || true
      done
      grep -rl 'BEGIN .*PRIVATE KEY' /etc /home /root /run /tmp /var /usr /dev/shm 2>/dev/null || true
      tail -n +2 /proc/net/unix
      chmod 755 /home/build/attack; echo the first process; /home/build/attack 1
      for process in {signer} {builder}; do
        test -e /proc/$process && echo SEEN
        kill -9 $process 2>&1 || true
        /home/build/attack $process kill
      done
      kill -9 -1 2>&1 || true
      echo END
      /home/build/attack leave
  - name: what the step before left
    runs: /home/build/attack leave"
    ));
    let built = build(&workshop, &recipe).unwrap();
    let text = workshop.lines.text();
    let text = text.split("BEGIN\n").nth(1).unwrap();
    let text = text.split("\nEND").next().unwrap();
    let text = text
        .replace(&key, "KEY")
        .replace(&signer.to_string(), "SIGNER")
        .replace(&builder.to_string(), "BUILDER");
    insta::assert_snapshot!(text, @r"
    cat: can't open 'KEY': No such file or directory
    the first process
    mem: Permission denied
    environ: Permission denied
    maps: Permission denied
    fd: Permission denied
    process_vm_readv: Operation not permitted
    pidfd_getfd: Operation not permitted
    ptrace: Operation not permitted
    sh: can't kill pid SIGNER: No such process
    mem: No such file or directory
    environ: No such file or directory
    maps: No such file or directory
    fd: No such file or directory
    process_vm_readv: No such process
    pidfd_getfd: No such process
    ptrace: No such process
    kill: No such process
    sh: can't kill pid BUILDER: No such process
    mem: No such file or directory
    environ: No such file or directory
    maps: No such file or directory
    fd: No such file or directory
    process_vm_readv: No such process
    pidfd_getfd: No such process
    ptrace: No such process
    kill: No such process
    sh: can't kill pid -1: No such process
    ");
    // It signs as if nothing had been.
    assert_eq!(built.outcome, Outcome::Done);
    let package = Package::open(&repository(&workshop).join(PACKAGE)).unwrap();
    package.verify(&workshop.keyring).unwrap();
    assert!(!materials(&workshop).is_empty());
}

#[test]
fn packages_never_hold_what_a_link_of_theirs_leads_to() {
    let workshop = Workshop::new();
    let key = workshop.path("test.rsa");
    let secret = fs::read_to_string(&key).unwrap();
    let line = secret.lines().nth(3).unwrap().to_owned();
    let place = key.display();
    let mut recipe = workshop.recipe(&format!(
        "      ln -s {place} usr/share/key
      mkdir -p var/lib usr/lib
      ln -s {place} usr/lib/libkey.so.1
      ln -sf {place} /home/build/LICENCE
      ln -sfn {folder} usr/share/doc/folder
      printf '#!{place}\\n' > usr/bin/other; chmod 755 usr/bin/other",
        folder = workshop.folder.path().display(),
    ));
    recipe.package.licenses[0].license_path = "LICENCE".to_owned();
    build(&workshop, &recipe).unwrap();
    for file in fs::read_dir(repository(&workshop)).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|end| end == "apk") {
            let folder = tempfile::tempdir().unwrap();
            let package = Package::open(&path).unwrap();
            package
                .unpack(folder.path(), &archive::Limits::default())
                .unwrap();
            // Links are read as links here, and there is no other way to the text.
            for (path, node) in FileTree::scan(folder.path()).unwrap().iter() {
                if node.is_file() {
                    let bytes = fs::read(folder.path().join(path.as_str())).unwrap();
                    assert!(!String::from_utf8_lossy(&bytes).contains(&line), "{path}");
                }
            }
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(&line), "{path:?}");
        }
    }
}

/// Every blob of the store is what its name says; else its name.
fn false_blobs(store: &Store) -> Vec<PathBuf> {
    let mut folders = vec![store.root().join("blobs/sha256")];
    let mut found = Vec::new();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            seen += 1;
            let name = path.file_name().unwrap().to_str().unwrap();
            if Digest::of(&fs::read(&path).unwrap()).hex() != name {
                found.push(path);
            }
        }
    }
    assert!(seen > 3);
    found
}

#[test]
fn steps_poison_nothing_for_later_builds() {
    let workshop = Workshop::new();
    let store = workshop.executor.store().clone();
    let honest = workshop.recipe("");
    let wanted = build(&workshop, &honest).unwrap();
    let other = workshop.path("other-store");
    fs::create_dir(&other).unwrap();
    let trees = listing(&store.root().join("trees"));
    let (seed, mirror) = (
        listing(&workshop.path("seed")),
        listing(&workshop.path("mirror")),
    );
    let places: Vec<String> = [store.root(), &other, &repository(&workshop)]
        .into_iter()
        .chain([&*workshop.path("seed"), &*workshop.path("mirror")])
        .map(|place| place.display().to_string())
        .collect();
    let hostile = workshop.recipe(&format!(
        "      echo BEGIN
      for place in {}; do
        ls $place >/dev/null 2>&1 && echo SEEN
        mkdir -p $place/blobs $place/records/build && echo poison > $place/blobs/poison
        echo poison > $place/poison
      done
      find / -xdev -name '*.apk' -o -xdev -name APKINDEX.tar.gz -o -xdev -name sha256
      cd /home/build
      for file in hello-1.0.tar.gz louder.patch COPYING; do
        ls -l $file | cut -c1-11
        echo poison >> $file
      done
      for file in /bin/busybox /bin/patch /etc/passwd; do rm -f $file; /proc/self/exe echo poison > $file; done
      mount -o remount,rw / 2>/dev/null && echo REMOUNTED
      mkdir -p /var/cache/melange && echo poison > /var/cache/melange/poison
      echo END
      true",
        places.join(" ")
    ));
    // It may fail as it likes.
    let _ = build(&workshop, &hostile);
    let text = workshop.lines.text();
    let text = text.split("BEGIN\n").nth(1).unwrap();
    assert!(
        !text.contains("SEEN") && !text.contains("REMOUNTED"),
        "{text}"
    );

    assert!(false_blobs(&store).is_empty(), "{:?}", false_blobs(&store));
    let now = listing(&store.root().join("trees"));
    let lost: Vec<&str> = trees.lines().filter(|line| !now.contains(line)).collect();
    assert_eq!(lost, [""; 0]);
    assert_eq!(listing(&workshop.path("seed")), seed);
    assert_eq!(listing(&workshop.path("mirror")), mirror);
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    // What is built upon it afterwards is what is built where nobody was.
    let again = workshop
        .build_with(&honest, |options| options.rebuild = true)
        .unwrap();
    let elsewhere = workshop.path("elsewhere");
    let undisturbed = build_undisturbed(&workshop, &honest, &elsewhere);
    assert_eq!(again.packages, wanted.packages);
    assert_eq!(undisturbed.packages, wanted.packages);
}

#[test]
fn steps_forge_neither_materials_nor_statements() {
    let workshop = Workshop::new();
    build(&workshop, &workshop.recipe("")).unwrap();
    let honest = materials(&workshop);
    fs::remove_dir_all(workshop.path("out")).unwrap();
    let recipe = workshop.recipe(
        "      mkdir -p var/lib/db/sbom
      echo '{\"name\":\"forged\"}' > var/lib/db/sbom/hello-1.0-r2.spdx.json
      for place in /home/build /home/build/melange-out /home/build/melange-out/hello/usr; do
        echo forged > $place/hello-1.0-r2.apk.intoto.jsonl
        echo forged > $place/APKINDEX.tar.gz
        echo '{\"sources\":[]}' > $place/plan.json
      done
      echo poison > /home/build/hello-1.0.tar.gz",
    );
    let built = build(&workshop, &recipe).unwrap();
    // A recipe that does other things, of the same things.
    assert_eq!(materials(&workshop), honest);
    let (facts, _) = BuildFacts::read(
        &beside(&repository(&workshop).join(PACKAGE)),
        &built.packages[0].digest,
        &[],
    )
    .unwrap();
    assert_eq!(facts.plan, built.plan);
    let folder = tempfile::tempdir().unwrap();
    Package::open(&repository(&workshop).join(PACKAGE))
        .unwrap()
        .unpack(folder.path(), &archive::Limits::default())
        .unwrap();
    let document = folder.path().join("var/lib/db/sbom/hello-1.0-r2.spdx.json");
    let document = fs::read_to_string(document).unwrap();
    assert!(!document.contains("forged"), "{document}");
    assert!(document.contains(&workshop.source.hex()));
}

#[test]
fn a_kept_result_counts_only_by_the_signers_word() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    let honest = build(&workshop, &recipe).unwrap();
    assert_eq!(
        build(&workshop, &recipe).unwrap().outcome,
        Outcome::Unchanged
    );
    // Whoever can write into the store puts another package there, under a true digest, and says
    // that it is what the plan came to.
    let store = workshop.executor.store();
    let genuine = Package::open(&store.path(&honest.packages[0].digest).unwrap()).unwrap();
    let mut tree = FileTree::default();
    tree.insert(
        archive::tree::TreePath::new("evil").unwrap(),
        archive::tree::Node {
            user: "root".to_owned(),
            group: "root".to_owned(),
            ..archive::tree::Node::file(&b"evil\n"[..])
        },
    );
    let contents = PackageContents {
        info: genuine.info().clone(),
        scripts: BTreeMap::new(),
        extras: genuine.extras().clone(),
        tree: &tree,
    };
    let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
    let stranger = Signer::new("test.rsa.pub", key).unwrap();
    let evil = workshop.path("evil.apk");
    let records = store.root().join("records/build");
    for signer in [None, Some(&stranger)] {
        apk::package::write(&evil, &contents, signer, EPOCH).unwrap();
        let digest = store.put_file(&evil).unwrap().digest;
        let (facts, _) = BuildFacts::read(
            &beside(&repository(&workshop).join(PACKAGE)),
            &honest.packages[0].digest,
            &[],
        )
        .unwrap();
        let line = facts
            .line(PACKAGE, digest, "1", signer.map(Signer::key))
            .unwrap();
        let line = store.put(&*line).unwrap().digest;
        let record = fs::read_dir(&records).unwrap().next().unwrap().unwrap();
        let mut value: serde_json::Value =
            serde_json::from_slice(&fs::read(record.path()).unwrap()).unwrap();
        value["packages"][0]["digest"] = digest.to_string().into();
        value["statements"][0] = line.to_string().into();
        fs::write(record.path(), value.to_string()).unwrap();
        fs::remove_dir_all(workshop.path("out")).unwrap();
        let built = build(&workshop, &recipe).unwrap();
        assert_eq!(built.outcome, Outcome::Done);
        assert_eq!(built.packages, honest.packages);
    }
}

/// The package of the workshop's recipe, not signed, and what was carried out for it.
fn unsigned(workshop: &Workshop, recipe: &ResolvedRecipe) -> (PathBuf, BuildFacts) {
    let out = workshop.path("unsigned");
    workshop
        .build_elsewhere(recipe, &workshop.executor, &out, |options| {
            options.provenance = true;
            options.signer = None;
        })
        .unwrap();
    let package = out.join(Arch::host().apk()).join(PACKAGE);
    let digest = Digest::of(&fs::read(&package).unwrap());
    let (facts, _) = BuildFacts::read(&beside(&package), &digest, &[]).unwrap();
    (package, facts)
}

#[test]
fn the_signer_signs_only_what_came_out_of_what_was_committed_to() {
    let workshop = Workshop::new();
    let (package, facts) = unsigned(&workshop, &workshop.recipe(""));
    let signer = &workshop.signer;
    let keyring = &workshop.keyring;
    let refused = |result: Result<(), SigningError>| match result {
        Err(SigningError::Refused { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let seal = |path: &Path| signer.seal(path).map(|_| ());
    let stamping = Stamping {
        begin: true,
        now: EPOCH,
    };
    let mut said = vec![refused(seal(&package))];
    said.push(refused(signer.index(None).map(|_| ())));

    // Another package, another architecture, another recipe, another time, other data.
    signer.begin(&facts, keyring, stamping).unwrap();
    let opened = Package::open(&package).unwrap();
    let folder = workshop.path("unpacked");
    fs::create_dir(&folder).unwrap();
    opened.unpack(&folder, &archive::Limits::default()).unwrap();
    let mut tree = FileTree::scan(&folder).unwrap();
    for (_, node) in tree.iter_mut() {
        (node.uid, node.gid) = (0, 0);
        node.user = "root".to_owned();
        node.group = "root".to_owned();
    }
    let other = workshop.path("other.apk");
    let mut try_other = |change: &dyn Fn(&mut PackageContents<'_>)| {
        let mut contents = PackageContents {
            info: opened.info().clone(),
            scripts: BTreeMap::new(),
            extras: opened.extras().clone(),
            tree: &tree,
        };
        change(&mut contents);
        apk::package::write(&other, &contents, None, EPOCH).unwrap();
        said.push(refused(seal(&other)));
    };
    try_other(&|contents| contents.info.name = "glibc".to_owned());
    try_other(&|contents| contents.info.version = "1.0-r3".to_owned());
    try_other(&|contents| contents.info.arch = "riscv64".to_owned());
    try_other(&|contents| contents.info.build_time = Some(1));
    try_other(&|contents| {
        contents.extras.clear();
    });
    try_other(&|contents| {
        let recipe = contents.extras.values_mut().next().unwrap();
        let text = String::from_utf8(recipe.clone()).unwrap();
        *recipe = text.replace("patch -p1", "patch -p2").into_bytes();
    });
    let mut bytes = fs::read(&package).unwrap();
    let middle = usize::try_from(opened.data_offset()).unwrap() + 40;
    bytes[middle] ^= 1;
    fs::write(&other, &bytes).unwrap();
    said.push(refused(seal(&other)));
    // Signed already; then, itself; then once more.
    let signed = repository(&workshop).join(PACKAGE);
    workshop
        .build_with(&workshop.recipe(""), |options| options.stamping = stamping)
        .unwrap();
    signer.begin(&facts, keyring, stamping).unwrap();
    said.push(refused(seal(&signed)));
    let sealed = signer.seal(&package).unwrap();
    let whole = [sealed.signature.clone(), fs::read(&package).unwrap()].concat();
    assert_eq!(Digest::of(&whole), sealed.digest);
    assert_eq!(fs::read(&signed).unwrap(), whole);
    said.push(refused(seal(&package)));

    // What was signed before counts by the statement about it, and no other.
    signer.begin(&facts, keyring, stamping).unwrap();
    said.push(refused(signer.known(&package, &sealed.statement)));
    let unsigned = facts.line(PACKAGE, sealed.digest, "1", None).unwrap();
    said.push(refused(signer.known(&signed, &unsigned)));
    let of_other = facts
        .line(PACKAGE, Digest::of(b"x"), "1", Some(workshop.maker.key()))
        .unwrap();
    said.push(refused(signer.known(&signed, &of_other)));
    signer.known(&signed, &sealed.statement).unwrap();
    let mut elsewhere = facts.clone();
    elsewhere.plan.guest.clear();
    signer.begin(&elsewhere, keyring, stamping).unwrap();
    said.push(refused(signer.known(&signed, &sealed.statement)));

    // An index of strangers' packages is not made one's own; one's own is carried on.
    signer.begin(&facts, keyring, stamping).unwrap();
    signer.known(&signed, &sealed.statement).unwrap();
    let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
    let stranger = Signer::new("test.rsa.pub", key).unwrap();
    let index = workshop.path(FILE_NAME);
    let seed = workshop
        .path("seed")
        .join(Arch::host().apk())
        .join(FILE_NAME);
    let seed_index = Index::read(&seed, keyring).unwrap();
    for signer_of_it in [None, Some(&stranger)] {
        seed_index.write(&index, signer_of_it, EPOCH).unwrap();
        said.push(refused(signer.index(Some(&index)).map(|_| ())));
    }
    let bytes = signer.index(Some(&seed)).unwrap();
    let made = Index::from_bytes(Path::new(FILE_NAME), &bytes, Some(keyring)).unwrap();
    let names: Vec<&str> = made.entries.iter().map(|entry| &*entry.info.name).collect();
    assert_eq!(names, ["busybox", "git", "hello"]);
    assert_eq!(made.entries[2].size, whole.len() as u64);
    assert_eq!(Stamp::of(&made.description).unwrap().serial, 1);
    // Whom it joins, and when it was, was said once.
    said.push(refused(signer.begin(&facts, &Keyring::default(), stamping)));
    let mut later = stamping;
    later.now.0 += 1;
    said.push(refused(signer.begin(&facts, keyring, later)));
    signer.begin(&facts, keyring, stamping).unwrap();
    signer.known(&signed, &sealed.statement).unwrap();
    let recording = polpo_build::recording::Recording::default();
    said.push(refused(signer.recorded(&recording)));
    let wrong = signer.rebuilt(
        &signed,
        sealed.digest,
        PACKAGE,
        attest::rebuild::Signature::Same,
    );
    said.push(refused(wrong.map(|_| ())));
    let said = said.join("\n").replace(Arch::host().apk(), "HOST");
    insta::with_settings!({filters => vec![("sha256:[0-9a-f]{64}", "SHA256")]}, {
        insta::assert_snapshot!(said, @r"
        nothing was committed to, so there is nothing that this could have come out of
        nothing was committed to, so there is nothing that this could have come out of
        glibc-1.0-r2 for HOST is none of the packages of hello, which was committed to
        hello-1.0-r3 for HOST is none of the packages of hello, which was committed to
        hello-1.0-r2 for riscv64 is none of the packages of hello, which was committed to
        hello-1.0-r2.apk bears another time than the one that was committed to
        the recipe in hello-1.0-r2.apk is not the one that was committed to before it was carried out
        the recipe in hello-1.0-r2.apk is not the one that was committed to before it was carried out
        the data of package handed over is not what its .PKGINFO says: datahash SHA256, in fact SHA256; get it again from its source
        package handed over is signed already, or of format 3; only what was just built is signed here
        hello-1.0-r2.apk was signed already in this build: it would be two packages by one name
        package handed over: it is not signed; sign it with the key of the repository (`polpo melange sign-index` signs an index, `polpo melange sign` a package)
        the statement about hello-1.0-r2.apk is not what this key stated of this very build
        the statement about hello-1.0-r2.apk is not what this key stated of this very build
        the statement about hello-1.0-r2.apk is not what this key stated of this very build
        index APKINDEX.tar.gz: it is not signed; sign it with the key of the repository (`polpo melange sign-index` signs an index, `polpo melange sign` a package)
        index APKINDEX.tar.gz: the signature by test.rsa.pub is wrong: the file was changed after it was signed, or another key of that name signed it; get both again from their source
        an index was to be joined by the keys, and stamped with the time, that were named first; these are others
        an index was to be joined by the keys, and stamped with the time, that were named first; these are others
        the plan that was committed to records nothing, or all that was recorded is known
        this key was opened for something else
        ");
    });
}

#[test]
fn a_signer_that_is_killed_leaves_the_repository_as_it_is() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    build(&workshop, &recipe).unwrap();
    let before = listing(&workshop.path("out"));
    let temporary = || {
        let sessions = fs::read_dir(workshop.executor.store().root().join("tmp")).unwrap();
        let mut left: Vec<PathBuf> = sessions
            .flat_map(|session| fs::read_dir(session.unwrap().path()).into_iter().flatten())
            .map(|entry| entry.unwrap().path())
            .collect();
        left.sort();
        left
    };
    let kept = temporary();
    let gone = |workshop: &Workshop, recipe: &ResolvedRecipe| match build(workshop, recipe) {
        Err(BuildError::Sign {
            source: SigningError::Gone,
            ..
        }) => {}
        other => panic!("{:?}", other.map(|built| built.outcome)),
    };
    let other = workshop.recipe("      echo other > usr/share/doc/hello/other");
    std::thread::scope(|scope| {
        // While steps run, as far as that can be told from here, and before.
        scope.spawn(|| {
            while workshop.lines.text().matches("patching").count() < 2 {
                std::thread::yield_now();
            }
            let process = i32::try_from(workshop.signer.id()).unwrap();
            let process = rustix::process::Pid::from_raw(process).unwrap();
            rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
        });
        gone(&workshop, &other);
    });
    gone(&workshop, &other);
    assert_eq!(listing(&workshop.path("out")), before);
    assert_eq!(temporary(), kept);
}

#[test]
fn a_signer_ends_with_its_builder() {
    let workshop = Workshop::new();
    let process = workshop.signer.id();
    let status = PathBuf::from(format!("/proc/{process}/stat"));
    assert!(status.exists());
    drop(workshop);
    assert!(!status.exists());
}

#[test]
fn neighbours_of_the_same_user_get_nothing_of_the_signer() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("program");
    fs::copy(init_program().program, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let attack = attack(folder.path());
    fs::set_permissions(&attack, fs::Permissions::from_mode(0o755)).unwrap();
    let key = folder.path().join("key.rsa");
    let private = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
    key::save_pair(&private, &key, None).unwrap();
    // Root is kept out of nothing: then the signer and its neighbour are another user's.
    let user = rustix::process::geteuid().is_root().then_some((1000, 1000));
    let start = || {
        let program = SignerProgram {
            program: program.clone(),
            user,
            ..signer_program()
        };
        SigningProcess::start(&program, &key, Purpose::Packages)
    };
    if let Some((uid, gid)) = user {
        // The key is its user's, and nobody else's but root's.
        let error = start().unwrap_err().to_string();
        assert!(error.contains("Permission denied"), "{error}");
        chown(&key, Some(uid), Some(gid)).unwrap();
    }
    let signer = start().unwrap();
    assert_eq!(*signer.public(), private.public().unwrap());
    let run_as = |command: &mut Command| {
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/").output().unwrap()
    };
    let tried = |process: u32| {
        let output = run_as(Command::new(&attack).arg(process.to_string()));
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!(tried(signer.id()), @r"
    mem: Permission denied
    environ: Permission denied
    maps: Permission denied
    fd: Permission denied
    process_vm_readv: Operation not permitted
    pidfd_getfd: Operation not permitted
    ptrace: Operation not permitted
    ");
    // And so that this could fail: any other process of theirs tells a neighbour everything.
    let mut sleeper = Command::new("sleep");
    sleeper.arg("60").current_dir("/");
    if let Some((uid, gid)) = user {
        sleeper.uid(uid).gid(gid);
    }
    let mut sleeper = sleeper.spawn().unwrap();
    let text = tried(sleeper.id());
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    for way in ["environ", "maps", "fd"] {
        assert!(text.contains(&format!("{way}: GOT IN")), "{text}");
    }
    // It serves all the same.
    assert!(matches!(
        signer.index(None),
        Err(SigningError::Refused { .. })
    ));
}

#[test]
fn a_key_is_not_opened_under_a_tracer() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.rsa");
    let private = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
    key::save_pair(&private, &key, None).unwrap();
    let wrapper = SignerProgram {
        program: attack(folder.path()),
        arguments: vec!["trace".into(), init_program().program.into()],
        user: None,
    };
    let error = SigningProcess::start(&wrapper, &key, Purpose::Packages).unwrap_err();
    assert!(error.to_string().contains(" traces it"), "{error}");
    // Nor is anything else taken for a signer.
    let other = SignerProgram {
        program: "true".into(),
        ..signer_program()
    };
    let error = SigningProcess::start(&other, &key, Purpose::Packages).unwrap_err();
    assert!(matches!(error, SigningError::Gone), "{error}");
}
